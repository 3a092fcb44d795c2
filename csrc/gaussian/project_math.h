#pragma once
// One Gaussian seen by one camera (Zwicker et al. 2002, EWA splatting): its covariance R S S R^T goes through the
// linear part of the projection at its centre, J, and becomes that of a Gaussian in the image.
//   M = J V R S, 2 x 3;   covariance = M M^T + dilation * 1;   conic = covariance^-1
// The determinant is a sum of positive terms, |m0 x m1|^2 + dilation (|m0|^2 + |m1|^2) + dilation^2 with the rows of M:
// the difference of products that the covariance offers has no correct digit for a long needle.
// T is float, double or a vector of lanes; S the scalar type of constants.
#include <cmath>
#include "../common/macros.h"
#include "gaussian.h"

namespace asset3d::gaussian {
constexpr double kLog2E = 1.4426950408889634;  // log2(e)
constexpr double kAbsurd = 1e7;                // pixels: what reaches farther is not drawn

template <typename T> struct Vec3 { T x, y, z; };
template <typename T> A3D_FN T dot(Vec3<T> a, Vec3<T> b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
template <typename T> A3D_FN Vec3<T> cross(Vec3<T> a, Vec3<T> b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
template <typename T> A3D_FN Vec3<T> scaled(Vec3<T> a, T s) { return {a.x * s, a.y * s, a.z * s}; }
template <typename T> A3D_FN Vec3<T> sum(Vec3<T> a, Vec3<T> b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
template <typename T> A3D_FN Vec3<T> product(Vec3<T> a, Vec3<T> b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }

// A camera with the axes x right, y down, z forward.
template <typename S>
struct View {
  Vec3<S> row[3];
  S shift[3];
  S fx, fy, cx, cy;
  S x_low, x_high, y_low, y_high;  // x/z and y/z beyond which J stays the same: it grows without bound to the sides
  S width, height, nearest, farthest, dilation, alpha_min;
  bool normalize_quats, antialiased;
};

template <typename S>
A3D_FN View<S> view_of(const ProjectArgs<S>& a, int64_t image) {
  const S *m = a.world_to_camera + image * 16, *k = a.intrinsics + image * 4;
  View<S> v;
  for (int i = 0; i < 3; ++i) {
    const S sign = i == 0 ? S(1) : S(-1);
    v.row[i] = {sign * m[4 * i], sign * m[4 * i + 1], sign * m[4 * i + 2]};
    v.shift[i] = sign * m[4 * i + 3];
  }
  v.fx = k[0], v.fy = k[1], v.cx = k[2], v.cy = k[3];
  v.width = S(a.size.width), v.height = S(a.size.height);
  const S margin_x = S(0.15) * v.width / v.fx, margin_y = S(0.15) * v.height / v.fy;  // as gsplat: 30 % of the tangent
  v.x_low = -v.cx / v.fx - margin_x, v.x_high = (v.width - v.cx) / v.fx + margin_x;
  v.y_low = -v.cy / v.fy - margin_y, v.y_high = (v.height - v.cy) / v.fy + margin_y;
  v.nearest = a.nearest, v.farthest = a.farthest, v.dilation = a.dilation, v.alpha_min = a.alpha_min;
  v.normalize_quats = a.normalize_quats, v.antialiased = a.antialiased;
  return v;
}

template <typename T>
struct Gaussian {
  Vec3<T> mean;
  T quat[4];  // w x y z
  Vec3<T> scale;
  T opacity;
};

// Columns of the rotation of a quaternion; of whatever the formula gives where it has not length 1.
template <typename T>
A3D_FN void rotation_of(const T* q, Vec3<T>* column) {
  const T w = q[0], x = q[1], y = q[2], z = q[3], one(1), two(2);
  column[0] = {one - two * (y * y + z * z), two * (x * y + w * z), two * (x * z - w * y)};
  column[1] = {two * (x * y - w * z), one - two * (x * x + z * z), two * (y * z + w * x)};
  column[2] = {two * (x * z + w * y), two * (y * z - w * x), one - two * (x * x + y * y)};
}

template <typename T>
A3D_FN void rotation_backward(const T* q, const Vec3<T>* g, T* grad) {
  const T w = q[0], x = q[1], y = q[2], z = q[3], two(2);
  grad[0] = two * (z * (g[0].y - g[1].x) + y * (g[2].x - g[0].z) + x * (g[1].z - g[2].y));
  grad[1] = two * (y * (g[0].y + g[1].x) + z * (g[0].z + g[2].x) + w * (g[1].z - g[2].y) - two * x * (g[1].y + g[2].z));
  grad[2] = two * (x * (g[0].y + g[1].x) + z * (g[1].z + g[2].y) + w * (g[2].x - g[0].z) - two * y * (g[0].x + g[2].z));
  grad[3] = two * (x * (g[0].z + g[2].x) + y * (g[1].z + g[2].y) + w * (g[0].y - g[1].x) - two * z * (g[0].x + g[1].y));
}

// All that the projection and its gradient share.
template <typename T>
struct Projection {
  T quat[4], inverse_norm;
  Vec3<T> column[3];     // of the rotation
  T x, y, z, inverse_z;  // of the centre, in the camera
  T ratio_x, ratio_y;    // x/z and y/z, within the limits
  T j00, j02, j11, j12;
  Vec3<T> j0, j1;        // rows of J V
  Vec3<T> along0, along1;  // rows of J V R
  Vec3<T> m0, m1, normal;  // rows of M and their cross product
  T squared0, squared1, cov_xx, cov_xy, cov_yy, undilated, determinant, inverse_determinant;
  T kept;                // of the opacity, by antialiasing
};

template <typename T, typename S>
A3D_FN Projection<T> project(const View<S>& v, const Gaussian<T>& g) {
  using std::sqrt;
  Projection<T> p;
  const T norm = sqrt(g.quat[0] * g.quat[0] + g.quat[1] * g.quat[1] + g.quat[2] * g.quat[2] + g.quat[3] * g.quat[3]);
  p.inverse_norm = v.normalize_quats ? T(1) / norm : T(1);
  for (int i = 0; i < 4; ++i) p.quat[i] = g.quat[i] * p.inverse_norm;
  rotation_of(p.quat, p.column);
  const Vec3<T> r0{T(v.row[0].x), T(v.row[0].y), T(v.row[0].z)}, r1{T(v.row[1].x), T(v.row[1].y), T(v.row[1].z)},
      r2{T(v.row[2].x), T(v.row[2].y), T(v.row[2].z)};
  p.x = dot(r0, g.mean) + T(v.shift[0]);
  p.y = dot(r1, g.mean) + T(v.shift[1]);
  p.z = dot(r2, g.mean) + T(v.shift[2]);
  p.inverse_z = T(1) / p.z;
  p.ratio_x = min(max(p.x * p.inverse_z, T(v.x_low)), T(v.x_high));
  p.ratio_y = min(max(p.y * p.inverse_z, T(v.y_low)), T(v.y_high));
  p.j00 = T(v.fx) * p.inverse_z, p.j02 = -p.j00 * p.ratio_x;
  p.j11 = T(v.fy) * p.inverse_z, p.j12 = -p.j11 * p.ratio_y;
  p.j0 = sum(scaled(r0, p.j00), scaled(r2, p.j02));
  p.j1 = sum(scaled(r1, p.j11), scaled(r2, p.j12));
  p.along0 = {dot(p.j0, p.column[0]), dot(p.j0, p.column[1]), dot(p.j0, p.column[2])};
  p.along1 = {dot(p.j1, p.column[0]), dot(p.j1, p.column[1]), dot(p.j1, p.column[2])};
  p.m0 = product(p.along0, g.scale), p.m1 = product(p.along1, g.scale);
  p.normal = cross(p.m0, p.m1);
  const T dilation(v.dilation);
  p.squared0 = dot(p.m0, p.m0), p.squared1 = dot(p.m1, p.m1);
  p.cov_xx = p.squared0 + dilation, p.cov_yy = p.squared1 + dilation, p.cov_xy = dot(p.m0, p.m1);
  p.undilated = dot(p.normal, p.normal);
  p.determinant = p.undilated + dilation * (p.squared0 + p.squared1) + dilation * dilation;
  p.inverse_determinant = T(1) / p.determinant;
  p.kept = v.antialiased ? sqrt(max(p.undilated * p.inverse_determinant, T(0))) : T(1);
  return p;
}

template <typename T>
struct Projected {
  T mean_x, mean_y, conic[3], depth, opacity, radius_x, radius_y;
};

template <typename T> A3D_FN auto is_finite(T x) { return x - x == T(0); }

// The outputs; all zero where it is culled.
template <typename T, typename S>
A3D_FN Projected<T> outputs_of(const View<S>& v, const Gaussian<T>& g, const Projection<T>& p) {
  using std::log2, std::sqrt;
  Projected<T> o;
  o.mean_x = T(v.fx) * p.x * p.inverse_z + T(v.cx);
  o.mean_y = T(v.fy) * p.y * p.inverse_z + T(v.cy);
  o.conic[0] = p.cov_yy * p.inverse_determinant;
  o.conic[1] = -p.cov_xy * p.inverse_determinant;
  o.conic[2] = p.cov_xx * p.inverse_determinant;
  o.depth = p.z;
  o.opacity = g.opacity * p.kept;
  const T reach = T(S(2 / kLog2E)) * log2(max(o.opacity * T(S(1) / v.alpha_min), T(1)));  // squared, in deviations
  o.radius_x = sqrt(reach * p.cov_xx);
  o.radius_y = sqrt(reach * p.cov_yy);
  const auto given = is_finite(g.mean.x + g.mean.y + g.mean.z + g.scale.x + g.scale.y + g.scale.z + g.opacity +
                               p.inverse_norm + g.quat[0] + g.quat[1] + g.quat[2] + g.quat[3]);
  const auto in_depth = (p.z > T(v.nearest)) & (p.z < T(v.farthest));
  const T limit = T(S(kAbsurd)), zero(0);
  const auto drawable =
      is_finite(o.mean_x + o.mean_y + o.conic[0] + o.conic[1] + o.conic[2] + o.radius_x + o.radius_y) &
      (o.radius_x < limit) & (o.radius_y < limit) & (o.conic[0] > zero) & (o.conic[2] > zero);
  const auto shows = in_depth & (o.opacity >= T(v.alpha_min)) & (o.mean_x + o.radius_x > zero) &
                     (o.mean_x - o.radius_x < T(v.width)) & (o.mean_y + o.radius_y > zero) &
                     (o.mean_y - o.radius_y < T(v.height));
  const auto drawn = given & drawable & shows;
  const T culled = select(given, select(in_depth, select(drawable, zero, T(-1)), zero), T(-1));
  o.mean_x = select(drawn, o.mean_x, zero), o.mean_y = select(drawn, o.mean_y, zero);
  for (int i = 0; i < 3; ++i) o.conic[i] = select(drawn, o.conic[i], zero);
  o.depth = select(drawn, o.depth, zero), o.opacity = select(drawn, o.opacity, zero);
  o.radius_x = select(drawn, o.radius_x, culled), o.radius_y = select(drawn, o.radius_y, culled);
  return o;
}

template <typename T>
struct GaussianGradient {
  Vec3<T> mean;
  T quat[4];
  Vec3<T> scale;
  T opacity;
};

// Gradient of the rows of M from those of the conic and of the kept opacity.
template <typename T, typename S>
A3D_FN void covariance_backward(const View<S>& v, const Projection<T>& p, const Projected<T>& out, T grad_kept,
                                Vec3<T>& grad_m0, Vec3<T>& grad_m1) {
  const T inverse = p.inverse_determinant, two(2);
  T grad_determinant =
      -(out.conic[0] * p.cov_yy - out.conic[1] * p.cov_xy + out.conic[2] * p.cov_xx) * inverse * inverse;
  T grad_undilated(0);
  if (v.antialiased) {
    const T grad_ratio = select(p.kept > T(0), grad_kept / (two * max(p.kept, T(S(1e-6)))), T(0));
    grad_undilated = grad_ratio * inverse;
    grad_determinant = grad_determinant - grad_ratio * p.undilated * inverse * inverse;
  }
  grad_undilated = grad_undilated + grad_determinant;
  const T grad_squared0 = two * (out.conic[2] * inverse + T(v.dilation) * grad_determinant);
  const T grad_squared1 = two * (out.conic[0] * inverse + T(v.dilation) * grad_determinant);
  const T grad_xy = -out.conic[1] * inverse;
  grad_m0 =
      sum(sum(scaled(p.m0, grad_squared0), scaled(p.m1, grad_xy)), scaled(cross(p.m1, p.normal), two * grad_undilated));
  grad_m1 =
      sum(sum(scaled(p.m1, grad_squared1), scaled(p.m0, grad_xy)), scaled(cross(p.normal, p.m0), two * grad_undilated));
}

// `out` holds the gradients of the outputs; those of the radii are not looked at.
template <typename T, typename S>
A3D_FN GaussianGradient<T> project_backward(const View<S>& v, const Gaussian<T>& g, const Projection<T>& p,
                                            const Projected<T>& out) {
  GaussianGradient<T> grad;
  grad.opacity = out.opacity * p.kept;
  Vec3<T> grad_m0, grad_m1;
  covariance_backward(v, p, out, out.opacity * g.opacity, grad_m0, grad_m1);
  grad.scale = sum(product(grad_m0, p.along0), product(grad_m1, p.along1));
  const Vec3<T> s0 = product(grad_m0, g.scale), s1 = product(grad_m1, g.scale);
  const Vec3<T> grad_column[3] = {sum(scaled(p.j0, s0.x), scaled(p.j1, s1.x)),
                                  sum(scaled(p.j0, s0.y), scaled(p.j1, s1.y)),
                                  sum(scaled(p.j0, s0.z), scaled(p.j1, s1.z))};
  rotation_backward(p.quat, grad_column, grad.quat);
  const T radial =
      grad.quat[0] * p.quat[0] + grad.quat[1] * p.quat[1] + grad.quat[2] * p.quat[2] + grad.quat[3] * p.quat[3];
  for (int i = 0; i < 4; ++i)
    if (v.normalize_quats) grad.quat[i] = (grad.quat[i] - p.quat[i] * radial) * p.inverse_norm;

  const Vec3<T> grad_j0 = sum(sum(scaled(p.column[0], s0.x), scaled(p.column[1], s0.y)), scaled(p.column[2], s0.z));
  const Vec3<T> grad_j1 = sum(sum(scaled(p.column[0], s1.x), scaled(p.column[1], s1.y)), scaled(p.column[2], s1.z));
  const Vec3<T> r0{T(v.row[0].x), T(v.row[0].y), T(v.row[0].z)}, r1{T(v.row[1].x), T(v.row[1].y), T(v.row[1].z)},
      r2{T(v.row[2].x), T(v.row[2].y), T(v.row[2].z)};
  const T grad_j00 = dot(grad_j0, r0), grad_j02 = dot(grad_j0, r2), grad_j11 = dot(grad_j1, r1),
          grad_j12 = dot(grad_j1, r2);
  const T raw_x = p.x * p.inverse_z, raw_y = p.y * p.inverse_z, zero(0);
  const T grad_x = out.mean_x * p.j00 - select(raw_x == p.ratio_x, grad_j02 * p.j00 * p.inverse_z, zero);
  const T grad_y = out.mean_y * p.j11 - select(raw_y == p.ratio_y, grad_j12 * p.j11 * p.inverse_z, zero);
  const T grad_z = out.depth - raw_x * grad_x - raw_y * grad_y -
                   (grad_j00 * p.j00 + grad_j02 * p.j02 + grad_j11 * p.j11 + grad_j12 * p.j12) * p.inverse_z;
  grad.mean = sum(sum(scaled(r0, grad_x), scaled(r1, grad_y)), scaled(r2, grad_z));
  return grad;
}

// --- one Gaussian in memory, for the scalar schedules ----------------------------------------------------------------
template <typename T>
A3D_FN Gaussian<T> gaussian_at(const ProjectArgs<T>& a, int64_t i) {
  const T *m = a.means + 3 * i, *q = a.quats + 4 * i, *s = a.scales + 3 * i;
  return {{m[0], m[1], m[2]}, {q[0], q[1], q[2], q[3]}, {s[0], s[1], s[2]}, a.opacities[i]};
}

template <typename T>
A3D_FN void project_one(const ProjectArgs<T>& a, const View<T>& view, int64_t image, int64_t i) {
  const Gaussian<T> g = gaussian_at(a, i);
  const Projected<T> out = outputs_of(view, g, project(view, g));
  const int64_t at = image * a.n + i;
  a.means_2d[2 * at] = out.mean_x, a.means_2d[2 * at + 1] = out.mean_y;
  for (int k = 0; k < 3; ++k) a.conics[3 * at + k] = out.conic[k];
  a.depths[at] = out.depth, a.visible_opacities[at] = out.opacity;
  a.radii[2 * at] = out.radius_x, a.radii[2 * at + 1] = out.radius_y;
}

// The gradients of Gaussian i: the sum over the images, in order.
template <typename T>
A3D_FN void project_backward_one(const ProjectBackwardArgs<T>& a, int64_t i) {
  const ProjectArgs<T>& f = a.forward;
  const Gaussian<T> g = gaussian_at(f, i);
  T *mean = a.grad_means + 3 * i, *quat = a.grad_quats + 4 * i, *scale = a.grad_scales + 3 * i;
  for (int k = 0; k < 3; ++k) mean[k] = scale[k] = T(0);
  for (int k = 0; k < 4; ++k) quat[k] = T(0);
  a.grad_opacities[i] = T(0);
  for (int64_t image = 0; image < f.n_images; ++image) {
    const int64_t at = image * f.n + i;
    if (!(f.radii[2 * at] > 0)) continue;
    const View<T> view = view_of(f, image);
    const T* conic = a.grad_conics + 3 * at;
    const Projected<T> out{a.grad_means_2d[2 * at], a.grad_means_2d[2 * at + 1], {conic[0], conic[1], conic[2]},
                           a.grad_depths[at], a.grad_visible_opacities[at], T(0), T(0)};
    const GaussianGradient<T> grad = project_backward(view, g, project(view, g), out);
    mean[0] += grad.mean.x, mean[1] += grad.mean.y, mean[2] += grad.mean.z;
    for (int k = 0; k < 4; ++k) quat[k] += grad.quat[k];
    scale[0] += grad.scale.x, scale[1] += grad.scale.y, scale[2] += grad.scale.z;
    a.grad_opacities[i] += grad.opacity;
  }
}
}  // namespace asset3d::gaussian
