#pragma once
// One Gaussian at one pixel, front to back:
//   alpha = min(alpha_max, opacity * exp(-q)),  weight = alpha * transmittance,  transmittance *= 1 - alpha
// It is left out where alpha < alpha_min, and the pixel stops before the Gaussian that would take its transmittance to
// stop_transmittance or below. q = (dx, dy) conic (dx, dy)^T / 2 is evaluated as a sum of squares, by the Cholesky
// factor of the conic: never negative, and precise along a needle. Factors sqrt(log2(e) / 2) and log2(opacity) turn the
// exponential into exp2(level - u^2 - v^2). T is float, double or a vector of lanes.
#include <cmath>
#include "../common/macros.h"
#include "gaussian.h"

namespace asset3d::gaussian {
// What is drawn of a Gaussian.
template <typename T>
struct Geometry {
  T mean_x, mean_y;
  T l11, l21, l22;  // u = l11 dx + l21 dy, v = l22 dy
  T level;          // log2(opacity)
  T reach_y;        // it shows where |dy| <= reach_y at most; 0 where it is not drawn
  T widest;         // dy of its rightmost point; the leftmost is opposite
};
constexpr int64_t kGeometry = 8;
template <typename T>
A3D_FN const Geometry<T>& geometry_of(const T* row) {
  return *reinterpret_cast<const Geometry<T>*>(row);
}

// What a slot adds to the gradient: moments of g = dL/dq over the pixels, then the gradients of colour and depth.
enum Moment { kSum, kSumU, kSumV, kSumUU, kSumUV, kSumVV, kMoments };
A3D_FN constexpr int64_t partial_stride(int64_t n_channels) { return (kMoments + n_channels + 1 + 15) / 16 * 16; }

constexpr double kHalfLog2E = 0.72134752044448170;

A3D_FN double exact_determinant(double a, double b, double c) { return a * c - b * b; }
A3D_FN float exact_determinant(float a, float b, float c) {
  return float(double(a) * double(c) - double(b) * double(b));
}

// One projected Gaussian, as the caller gives it.
template <typename T> struct Splat { T mean_x, mean_y, conic[3], opacity, depth, radius_x, radius_y; };

template <typename T>
A3D_FN Splat<T> splat_at(const Splats<T>& s, int64_t at) {
  return {s.means_2d[2 * at], s.means_2d[2 * at + 1], {s.conics[3 * at], s.conics[3 * at + 1], s.conics[3 * at + 2]},
          s.opacities[at], s.depths[at], s.radii[2 * at], s.radii[2 * at + 1]};
}

// lowest is log2(alpha_min).
template <typename T, typename S>
A3D_FN Geometry<T> make_geometry(const Splat<T>& s, S alpha_min, S lowest) {
  using std::log2, std::sqrt;
  const T zero(0), factor = T(S(kHalfLog2E)), a = s.conic[0];
  const T det = exact_determinant(s.conic[0], s.conic[1], s.conic[2]);
  Geometry<T> g;
  g.mean_x = s.mean_x, g.mean_y = s.mean_y;
  g.l11 = sqrt(a * factor);
  g.l21 = s.conic[1] * factor / g.l11;
  g.l22 = sqrt(det / a * factor);
  g.level = log2(s.opacity);
  const T reach = sqrt(max(g.level - T(lowest), zero));
  g.reach_y = reach / g.l22;
  g.widest = -g.l21 * g.reach_y / sqrt(g.l21 * g.l21 + g.l22 * g.l22);
  const T all = s.mean_x + s.mean_y + s.depth + g.l11 + g.l21 + g.l22 + g.level + g.reach_y + g.widest;
  const auto drawn = (s.radius_x > zero) & (s.radius_y > zero) & (a > zero) & (det > zero) &
                     (s.opacity >= T(alpha_min)) & (all - all == zero);
  g.reach_y = select(drawn, g.reach_y, zero);
  return g;
}

// log2 of alpha, before it is clamped.
template <typename T>
A3D_FN T exponent_at(T level, T u, T v) { return level - u * u - v * v; }

// The gradient of alpha. `light` is the sum over the channels of gradient * value, `behind` the same sum over what lies
// behind, weighted, with what the background and the alpha of the pixel add.
template <typename T>
A3D_FN T alpha_gradient(T transmittance, T light, T behind, T inverse_passed) {
  return transmittance * light - behind * inverse_passed;
}

// Gradients of centre, conic and opacity from the moments. dq/dmean = -(l11 u, l21 u + l22 v) in natural units, and the
// conic has the moments of dx dx, dx dy and dy dy, where dy = v / l22 and dx = (u - l21 dy) / l11.
template <typename T>
A3D_FN void geometry_gradient(const Geometry<T>& g, T opacity, const T* moments, T* grad_mean, T* grad_conic,
                              T* grad_opacity) {
  const T natural = T(1 / kHalfLog2E), i1 = 1 / g.l11, i2 = 1 / g.l22, slant = g.l21 * i2;
  grad_mean[0] = -natural * g.l11 * moments[kSumU];
  grad_mean[1] = -natural * (g.l21 * moments[kSumU] + g.l22 * moments[kSumV]);
  grad_conic[0] = T(0.5) * i1 * i1 * (moments[kSumUU] - slant * (2 * moments[kSumUV] - slant * moments[kSumVV]));
  grad_conic[1] = i1 * i2 * (moments[kSumUV] - slant * moments[kSumVV]);
  grad_conic[2] = T(0.5) * i2 * i2 * moments[kSumVV];
  *grad_opacity = -moments[kSum] / opacity;
}

// --- one pixel, as the scalar schedules walk it ----------------------------------------------------------------------
template <typename T> struct Shade { T alpha, u, v; bool blends, clamped; };

template <typename T>
A3D_FN Shade<T> shade_at(const Geometry<T>& g, T px, T py, T alpha_max, T lowest) {
  const T dy = py - g.mean_y, u = g.l11 * (px - g.mean_x) + g.l21 * dy, v = g.l22 * dy;
  const T exponent = exponent_at(g.level, u, v), alpha = std::exp2(exponent);
  return {alpha < alpha_max ? alpha : alpha_max, u, v, exponent >= lowest, alpha > alpha_max};
}

// The gradients of one pixel's outputs: expected depth = (sum of weight * depth) / alpha is undone here.
template <typename T>
struct PixelGradient {
  T behind;  // at the start: what the background and the alpha add, times the transmittance at the end
  T depth;   // of the sum of weight * depth
};

template <typename T>
A3D_FN PixelGradient<T> pixel_gradient(T transmittance, T alpha, T depth, T grad_alpha, T grad_depth,
                                       T background_light) {
  const T grad_sum = select(alpha > T(0), grad_depth / alpha, T(0));
  return {transmittance * (background_light - (grad_alpha - grad_sum * depth)), grad_sum};
}
}  // namespace asset3d::gaussian
