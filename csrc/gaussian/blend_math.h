#pragma once
// One Gaussian at one pixel, front to back:  alpha = min(alpha_max, opacity * exp(-q)),  weight = alpha * transmittance,
// transmittance *= 1 - alpha;  it is left out where alpha < alpha_min, and the pixel stops before the Gaussian that would
// take its transmittance to stop_transmittance or below.
// q = (dx, dy) conic (dx, dy)^T / 2 is evaluated as a sum of squares, by the Cholesky factor of the conic: never negative,
// and precise along a needle. Factors sqrt(log2(e) / 2) and log2(opacity) turn the exponential into exp2(level - u^2 - v^2).
// T is float, double or a vector of lanes.
#include <cmath>
#include "../common/macros.h"
#include "gaussian.h"

namespace asset3d::gaussian {
// A record per Gaussian and image: the geometry, then its colour and its depth, padded to a cache line.
enum RecordField { kMeanX, kMeanY, kL11, kL21, kL22, kLevel, kReachX, kReachY, kValues };
constexpr int64_t record_stride(int64_t n_channels) { return kValues + (n_channels + 1 + 7) / 8 * 8; }

// What a slot adds to the gradient: moments of g = dL/dq over the pixels, then the gradients of colour and depth.
enum Moment { kSum, kSumX, kSumY, kSumXX, kSumXY, kSumYY, kMoments };
constexpr int64_t partial_stride(int64_t n_channels) { return (kMoments + n_channels + 1 + 15) / 16 * 16; }

A3D_FN double determinant(double a, double b, double c) { return a * c - b * b; }
A3D_FN float determinant(float a, float b, float c) { return float(double(a) * double(c) - double(b) * double(b)); }

// Fills the geometry of a record; false, and a reach of zero, where there is nothing to draw.
template <typename T>
A3D_FN bool make_geometry(const Splats<T>& s, int64_t at, T* record) {
  const T *mean = s.means_2d + 2 * at, *conic = s.conics + 3 * at, *radius = s.radii + 2 * at;
  const T a = conic[0], det = determinant(conic[0], conic[1], conic[2]), opacity = s.opacities[at];
  const T total = mean[0] + mean[1] + conic[0] + conic[1] + conic[2] + opacity + s.depths[at];
  record[kReachX] = record[kReachY] = T(0);
  if (!(radius[0] > 0 && radius[1] > 0 && a > 0 && det > 0 && opacity >= s.alpha_min && total - total == T(0))) return false;
  const T half_log2e = T(0.72134752044448170);
  const T l11 = std::sqrt(a * half_log2e);
  record[kMeanX] = mean[0], record[kMeanY] = mean[1];
  record[kL11] = l11;
  record[kL21] = conic[1] * half_log2e / l11;
  record[kL22] = std::sqrt(det / a * half_log2e);
  record[kLevel] = std::log2(opacity);
  // u^2 + v^2 <= reach^2 holds where alpha >= alpha_min
  const T reach = std::sqrt(std::fmax(record[kLevel] - std::log2(s.alpha_min), T(0)));
  record[kReachY] = reach / record[kL22];
  record[kReachX] = reach * std::sqrt(record[kL21] * record[kL21] + record[kL22] * record[kL22]) / (l11 * record[kL22]);
  const T ends = record[kReachX] + record[kReachY];
  if (ends - ends == T(0)) return true;
  record[kReachX] = record[kReachY] = T(0);
  return false;
}

// A Gaussian along one row of pixels, at the distance dy from its centre.
template <typename T> struct Row { T shift, level; };

template <typename T>
A3D_FN Row<T> row_of(const T* record, T dy) {
  const T v = record[kL22] * dy;
  return {record[kL21] * dy, record[kLevel] - v * v};
}

// log2 of alpha, before it is clamped; `across` is L11 * dx.
template <typename T>
A3D_FN T exponent_at(T across, T shift, T level) {
  const T u = across + shift;
  return level - u * u;
}

// The gradient of alpha. `light` is the sum over the channels of gradient * value, `behind` the same sum over what lies
// behind, weighted, with what the background and the alpha of the pixel add.
template <typename T>
A3D_FN T alpha_gradient(T transmittance, T light, T behind, T inverse_passed) {
  return transmittance * light - behind * inverse_passed;
}

// Gradients of centre, conic and opacity from the moments.
template <typename T>
A3D_FN void geometry_gradient(const T* conic, T opacity, const T* moments, T* grad_mean, T* grad_conic, T* grad_opacity) {
  grad_mean[0] = -(conic[0] * moments[kSumX] + conic[1] * moments[kSumY]);
  grad_mean[1] = -(conic[1] * moments[kSumX] + conic[2] * moments[kSumY]);
  grad_conic[0] = T(0.5) * moments[kSumXX];
  grad_conic[1] = moments[kSumXY];
  grad_conic[2] = T(0.5) * moments[kSumYY];
  *grad_opacity = opacity > 0 ? -moments[kSum] / opacity : T(0);
}

// --- one pixel, as the scalar schedules walk it ----------------------------------------------------------------------
template <typename T> struct Shade { T alpha, exponent; bool blends, clamped; };

template <typename T>
A3D_FN Shade<T> shade_at(const T* record, T px, T py, T alpha_max, T lowest_exponent) {
  const Row<T> row = row_of(record, py - record[kMeanY]);
  const T exponent = exponent_at(record[kL11] * (px - record[kMeanX]), row.shift, row.level);
  const T alpha = std::exp2(exponent);
  return {alpha < alpha_max ? alpha : alpha_max, exponent, exponent >= lowest_exponent, alpha > alpha_max};
}

// The gradients of one pixel's outputs: expected depth = (sum of weight * depth) / alpha is undone here.
template <typename T>
struct PixelGradient {
  T behind;  // at the start: what the background and the alpha add, times the transmittance at the end
  T depth;   // of the sum of weight * depth
};

template <typename T>
A3D_FN PixelGradient<T> pixel_gradient(T transmittance, T alpha, T depth, T grad_alpha, T grad_depth, T background_light) {
  const bool empty = !(alpha > 0);
  const T grad_sum = empty ? T(0) : grad_depth / alpha;
  return {transmittance * (background_light - (grad_alpha - (empty ? T(0) : grad_sum * depth))), grad_sum};
}
}  // namespace asset3d::gaussian
