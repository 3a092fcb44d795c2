#pragma once
// Rays through a box, through a grid of occupied cells, and the light along them: the math and nothing else.
#include <cmath>
#include "../common/macros.h"
#include "volume.h"

namespace asset3d::volume {

// Steps along one ray that are looked at, at most: later ones could not be told apart in float32.
constexpr int64_t kMaxSteps = int64_t(1) << 24;

// The part of a ray, t >= 0, inside a box. `near_plane` and `far_plane` are the planes that bound it: 0, 1, 2 for the
// lower and 3, 4, 5 for the upper plane of x, y, z; -1 where the ray starts inside, or misses.
template <typename T>
struct Crossing {
  T t_near, t_far;
  int near_plane, far_plane;
};

template <typename T>
A3D_FN Crossing<T> clip_to_box(const T* origin, const T* direction, const T* lower, const T* upper) {
  const Crossing<T> miss{T(0), T(-1), -1, -1};
  Crossing<T> c{T(0), T(INFINITY), -1, -1};
  for (int d = 0; d < 3; ++d) {
    if (direction[d] == 0) {  // parallel to these planes: between them or not, whatever t
      if (origin[d] < lower[d] || origin[d] > upper[d]) return miss;
      continue;
    }
    const bool forward = direction[d] > 0;
    const T enter = ((forward ? lower[d] : upper[d]) - origin[d]) / direction[d];
    const T leave = ((forward ? upper[d] : lower[d]) - origin[d]) / direction[d];
    if (enter > c.t_near) c.t_near = enter, c.near_plane = forward ? d : d + 3;
    if (leave < c.t_far) c.t_far = leave, c.far_plane = forward ? d + 3 : d;
  }
  return c.far_plane < 0 || c.t_near > c.t_far ? miss : c;  // a zero direction has no far plane
}

template <typename T>
A3D_FN void ray_box_one(const BoxArgs<T>& a, int64_t r) {
  const Crossing<T> c =
      clip_to_box(a.rays.origins + 3 * r, a.rays.directions + 3 * r, a.rays.lower, a.rays.upper);
  a.t_near[r] = c.t_near;
  a.t_far[r] = c.t_far;
}

// t = (plane - origin) / direction, on one axis.
template <typename T>
A3D_FN void add_plane_gradient(const BoxBackwardArgs<T>& a, int64_t r, int plane, T t, T grad) {
  if (plane < 0) return;
  const int64_t at = 3 * r + plane % 3;
  const T scaled = grad / a.rays.directions[at];
  a.grad_origins[at] -= scaled;
  a.grad_directions[at] -= scaled * t;
  (plane < 3 ? a.grad_lower : a.grad_upper)[at] += scaled;
}

template <typename T>
A3D_FN void ray_box_backward_one(const BoxBackwardArgs<T>& a, int64_t r) {
  const Crossing<T> c =
      clip_to_box(a.rays.origins + 3 * r, a.rays.directions + 3 * r, a.rays.lower, a.rays.upper);
  add_plane_gradient(a, r, c.near_plane, c.t_near, a.grad_near[r]);
  add_plane_gradient(a, r, c.far_plane, c.t_far, a.grad_far[r]);
}

// Calls visit(t_middle) for every sample of ray r, front to back. Sample k lies at t_near + (k + offset) * step, and
// counts when it is before t_far in an occupied cell. Empty cells are crossed in one jump to the last sample that
// cannot be behind them, so that the samples are exactly those of a walk in single steps.
template <typename T, typename Visit>
A3D_FN void for_each_sample(const MarchArgs<T>& a, int64_t r, Visit&& visit) {
  using std::floor;
  const T* origin = a.rays.origins + 3 * r;
  const T* direction = a.rays.directions + 3 * r;
  const T* lower = a.rays.lower;
  const Crossing<T> c = clip_to_box(origin, direction, lower, a.rays.upper);
  T cell_size[3], scale[3];
  for (int d = 0; d < 3; ++d) {
    cell_size[d] = (a.rays.upper[d] - lower[d]) / T(a.cells[d]);
    scale[d] = T(a.cells[d]) / (a.rays.upper[d] - lower[d]);
  }
  int64_t left = a.max_samples;
  for (int64_t k = 0; k < kMaxSteps && left > 0;) {
    const T t = c.t_near + (T(k) + a.offsets[r]) * a.step;
    if (!(t < c.t_far)) return;
    int64_t cell[3];
    for (int d = 0; d < 3; ++d) {
      const T x = (origin[d] + t * direction[d] - lower[d]) * scale[d];
      const int64_t i = int64_t(floor(x));
      cell[d] = i < 0 ? 0 : i >= a.cells[d] ? a.cells[d] - 1 : i;
    }
    if (a.occupancy[(cell[0] * a.cells[1] + cell[1]) * a.cells[2] + cell[2]]) {
      visit(t);
      --left, ++k;
      continue;
    }
    T leave = c.t_far;
    for (int d = 0; d < 3; ++d) {
      if (direction[d] == 0) continue;
      const T plane = lower[d] + T(cell[d] + (direction[d] > 0)) * cell_size[d];
      const T t_plane = (plane - origin[d]) / direction[d];
      if (t_plane < leave) leave = t_plane;
    }
    const T jump = floor((leave - c.t_near) / a.step - a.offsets[r]);
    k = jump > T(k + 1) ? (jump < T(kMaxSteps) ? int64_t(jump) : kMaxSteps) : k + 1;
  }
}

template <typename T>
A3D_FN void count_samples_one(const MarchArgs<T>& a, int64_t r) {
  int32_t n = 0;
  for_each_sample(a, r, [&](T) { ++n; });
  a.counts[r + 1] = n;
}

template <typename T>
A3D_FN void write_samples_one(const MarchArgs<T>& a, int64_t r) {
  int64_t i = a.first[r];
  for_each_sample(a, r, [&](T t) {
    a.t_start[i] = t - a.step / 2;
    a.t_end[i] = t + a.step / 2;
    a.ray[i++] = r;
  });
}

// A run of samples lets `through` of the light behind it pass, and adds `light` of its own.
template <typename T>
struct Segment {
  T through, light;
};

template <typename T>
A3D_FN Segment<T> sample_segment(T alpha, T light) { return {1 - alpha, alpha * light}; }

// Associative: a warp joins 32 samples in 5 steps.
template <typename T>
A3D_FN Segment<T> join(Segment<T> front, Segment<T> back) {
  return {front.through * back.through, front.light + front.through * back.light};
}

// The derivative of the light of a whole ray by the alpha of one sample: what the sample adds, less what it hides.
// No division by 1 - alpha, so that an opaque sample has its exact gradient.
template <typename T>
A3D_FN T alpha_gradient(T transmittance, T own, T behind) { return transmittance * (own - behind); }

// What a unit of weight of sample i is worth to the loss.
template <typename T>
A3D_FN T weight_gradient(const CompositeBackwardArgs<T>& a, int64_t r, int64_t i) {
  const int64_t n_channels = a.forward.n_channels;
  T worth = a.grad_weights[i] + a.grad_opacity[r];
  for (int64_t c = 0; c < n_channels; ++c)
    worth += a.grad_accumulated[r * n_channels + c] * a.forward.values[i * n_channels + c];
  return worth;
}

// One ray after the other, front to back. Behind an exactly opaque sample every weight is exactly 0: the same sums,
// without reading the rest.
template <typename T>
A3D_FN void composite_one(const CompositeArgs<T>& a, int64_t r) {
  const int64_t begin = a.first[r], end = a.first[r + 1], n_channels = a.n_channels;
  T* accumulated = a.accumulated + r * n_channels;
  T transmittance = 1, opacity = 0;
  int64_t i = begin;
  for (; i < end && transmittance != 0; ++i) {
    const T weight = transmittance * a.alpha[i];
    a.weights[i] = weight;
    opacity += weight;
    for (int64_t c = 0; c < n_channels; ++c) accumulated[c] += weight * a.values[i * n_channels + c];
    transmittance *= 1 - a.alpha[i];
  }
  for (; i < end; ++i) a.weights[i] = 0;
  a.opacity[r] = opacity;
}

template <typename T>
A3D_FN void composite_backward_one(const CompositeBackwardArgs<T>& a, int64_t r) {
  const CompositeArgs<T>& f = a.forward;
  const int64_t begin = f.first[r], end = f.first[r + 1], n_channels = f.n_channels;
  T transmittance = 1;
  for (int64_t i = begin; i < end; ++i) {
    a.grad_alpha[i] = transmittance;  // kept here until the way back
    const T weight = transmittance * f.alpha[i];
    for (int64_t c = 0; c < n_channels; ++c)
      a.grad_values[i * n_channels + c] = weight * a.grad_accumulated[r * n_channels + c];
    transmittance *= 1 - f.alpha[i];
  }
  Segment<T> behind{1, 0};
  for (int64_t i = end - 1; i >= begin; --i) {
    const T own = weight_gradient(a, r, i);
    a.grad_alpha[i] = alpha_gradient(a.grad_alpha[i], own, behind.light);
    behind = join(sample_segment(f.alpha[i], own), behind);
  }
}
}  // namespace asset3d::volume
