#pragma once
// Colours that depend on the direction of view: real spherical harmonics to degree 3 as polynomials of a unit
// direction, in the order and with the signs of published splats. The constants are square roots of rational multiples
// of 1 / pi.
#include "../common/macros.h"
#include "gaussian.h"

namespace asset3d::gaussian {
constexpr int kMostHarmonics = 16;

template <typename T>
A3D_FN void harmonics(T x, T y, T z, int degree, T* v) {
  v[0] = T(0.28209479177387814);
  if (degree < 1) return;
  const T first = T(0.4886025119029199);
  v[1] = -first * y, v[2] = first * z, v[3] = -first * x;
  if (degree < 2) return;
  const T xx = x * x, yy = y * y, zz = z * z, mixed = T(1.0925484305920792);
  v[4] = mixed * x * y, v[5] = -mixed * y * z, v[6] = T(0.31539156525252005) * (2 * zz - xx - yy);
  v[7] = -mixed * x * z, v[8] = T(0.5462742152960396) * (xx - yy);
  if (degree < 3) return;
  const T a = T(0.5900435899266435), b = T(0.4570457994644658);
  v[9] = -a * y * (3 * xx - yy), v[10] = T(2.890611442640554) * x * y * z, v[11] = -b * y * (4 * zz - xx - yy);
  v[12] = T(0.3731763325901154) * z * (2 * zz - 3 * xx - 3 * yy), v[13] = -b * x * (4 * zz - xx - yy);
  v[14] = T(1.445305721320277) * z * (xx - yy), v[15] = -a * x * (xx - 3 * yy);
}

// Gradient of the direction from that of the harmonics, g.
template <typename T>
A3D_FN void harmonics_backward(T x, T y, T z, int degree, const T* g, T* grad) {
  grad[0] = grad[1] = grad[2] = T(0);
  if (degree < 1) return;
  const T first = T(0.4886025119029199);
  grad[0] = -first * g[3], grad[1] = -first * g[1], grad[2] = first * g[2];
  if (degree < 2) return;
  const T xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
  const T a = T(1.0925484305920792), b = T(0.31539156525252005), c = T(0.5462742152960396);
  grad[0] += a * (y * g[4] - z * g[7]) + 2 * x * (c * g[8] - b * g[6]);
  grad[1] += a * (x * g[4] - z * g[5]) - 2 * y * (c * g[8] + b * g[6]);
  grad[2] += 4 * b * z * g[6] - a * (y * g[5] + x * g[7]);
  if (degree < 3) return;
  const T d = T(0.5900435899266435), e = T(2.890611442640554), f = T(0.4570457994644658), h = T(0.3731763325901154),
          i = T(1.445305721320277);
  grad[0] += -6 * d * xy * g[9] + e * yz * g[10] + 2 * f * xy * g[11] - 6 * h * xz * g[12] -
             f * (4 * zz - 3 * xx - yy) * g[13] + 2 * i * xz * g[14] - 3 * d * (xx - yy) * g[15];
  grad[1] += -3 * d * (xx - yy) * g[9] + e * xz * g[10] - f * (4 * zz - xx - 3 * yy) * g[11] - 6 * h * yz * g[12] +
             2 * f * xy * g[13] - 2 * i * yz * g[14] + 6 * d * xy * g[15];
  grad[2] +=
      e * xy * g[10] - 8 * f * (yz * g[11] + xz * g[13]) + 3 * h * (2 * zz - xx - yy) * g[12] + i * (xx - yy) * g[14];
}

// The colour of one Gaussian in one image before it is clamped at 0, and its harmonics.
template <typename T>
A3D_FN void color_before_clamp(const HarmonicsArgs<T>& a, int64_t image, int64_t i, T* basis, T* color) {
  const T *direction = a.directions + (image * a.n + i) * 3, *coefficient = a.coefficients + i * a.n_coefficients * 3;
  harmonics(direction[0], direction[1], direction[2], a.degree, basis);
  color[0] = color[1] = color[2] = T(0.5);
  for (int k = 0; k < (a.degree + 1) * (a.degree + 1); ++k)
    for (int c = 0; c < 3; ++c) color[c] += basis[k] * coefficient[3 * k + c];
}

template <typename T>
A3D_FN void harmonics_one(const HarmonicsArgs<T>& a, int64_t image, int64_t i) {
  T basis[kMostHarmonics], color[3];
  color_before_clamp(a, image, i, basis, color);
  for (int c = 0; c < 3; ++c) a.colors[(image * a.n + i) * 3 + c] = color[c] < 0 ? T(0) : color[c];  // NaN stays
}

// Gaussian i in all images.
template <typename T>
A3D_FN void harmonics_backward_one(const HarmonicsBackwardArgs<T>& b, int64_t i) {
  const HarmonicsArgs<T>& a = b.forward;
  const int n_used = (a.degree + 1) * (a.degree + 1);
  const T* coefficient = a.coefficients + i * a.n_coefficients * 3;
  T* grad_coefficient = b.grad_coefficients + i * a.n_coefficients * 3;
  for (int64_t k = 0; k < a.n_coefficients * 3; ++k) grad_coefficient[k] = T(0);
  for (int64_t image = 0; image < a.n_images; ++image) {
    const int64_t at = (image * a.n + i) * 3;
    T basis[kMostHarmonics], grad_basis[kMostHarmonics], color[3], grad[3];
    color_before_clamp(a, image, i, basis, color);
    for (int c = 0; c < 3; ++c) grad[c] = color[c] < 0 ? T(0) : b.grad_colors[at + c];
    for (int k = 0; k < n_used; ++k) {
      grad_basis[k] = T(0);
      for (int c = 0; c < 3; ++c) {
        grad_coefficient[3 * k + c] += basis[k] * grad[c];
        grad_basis[k] += coefficient[3 * k + c] * grad[c];
      }
    }
    const T* direction = a.directions + at;
    harmonics_backward(direction[0], direction[1], direction[2], a.degree, grad_basis, b.grad_directions + at);
  }
}
}  // namespace asset3d::gaussian
