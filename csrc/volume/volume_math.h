#pragma once
// Rays through a box, through a grid of occupied cells, and the light along them: the math and nothing else.
#include <cmath>
#include "../common/macros.h"
#include "volume.h"

namespace asset3d::volume {

// Steps along one ray that are looked at, at most: with many more, float32 could not tell them apart.
constexpr int32_t kMaxSteps = 1 << 20;

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

template <typename T>
A3D_FN void mark_block(const MarchArgs<T>& a, int64_t block) {
  int32_t begin[3], end[3];
  int64_t rest = block;
  for (int d = 2; d >= 0; --d) {
    begin[d] = int32_t(rest % a.n_blocks[d]) * kBlock;
    end[d] = begin[d] + kBlock < a.n_cells[d] ? begin[d] + kBlock : a.n_cells[d];
    rest /= a.n_blocks[d];
  }
  bool any = false;
  for (int32_t x = begin[0]; x < end[0] && !any; ++x)
    for (int32_t y = begin[1]; y < end[1]; ++y)
      for (int32_t z = begin[2]; z < end[2]; ++z)
        any |= a.occupancy[(int64_t(x) * a.n_cells[1] + y) * a.n_cells[2] + z];
  a.blocks[block] = any;
}

// A ray on its way through the grid.
template <typename T>
struct Walk {
  T origin[3], direction[3], inverse[3];  // 1 / direction, where that is not 0
  T lower[3], cell_size[3], scale[3];
  T t_near, t_far, offset, step, inverse_step;
};

template <typename T>
A3D_FN Walk<T> walk_of(const MarchArgs<T>& a, int64_t r) {
  Walk<T> w;
  const Crossing<T> c =
      clip_to_box(a.rays.origins + 3 * r, a.rays.directions + 3 * r, a.rays.lower, a.rays.upper);
  w.t_near = c.t_near, w.t_far = c.t_far, w.offset = a.offsets[r], w.step = a.step, w.inverse_step = 1 / a.step;
  for (int d = 0; d < 3; ++d) {
    w.origin[d] = a.rays.origins[3 * r + d];
    w.direction[d] = a.rays.directions[3 * r + d];
    w.inverse[d] = w.direction[d] == 0 ? T(0) : 1 / w.direction[d];
    w.lower[d] = a.rays.lower[d];
    w.cell_size[d] = (a.rays.upper[d] - w.lower[d]) / T(a.n_cells[d]);
    w.scale[d] = T(a.n_cells[d]) / (a.rays.upper[d] - w.lower[d]);
  }
  return w;
}

// The cell at t along one axis. Truncation is the floor: what is below 0 belongs to the first cell anyway.
template <typename T>
A3D_FN int32_t cell_at(const Walk<T>& w, T t, int d, int32_t n_cells) {
  const int32_t i = int32_t((w.origin[d] + t * w.direction[d] - w.lower[d]) * w.scale[d]);
  return i < 0 ? 0 : i >= n_cells ? n_cells - 1 : i;
}

// The last step that surely lies in the same empty box of `side` cells, aligned to that side, as the cell; not before
// k. Its error is far below one step, and the next step is looked up anew.
template <typename T>
A3D_FN int32_t step_across(const Walk<T>& w, const int32_t cell[3], int32_t side, int32_t k) {
  T leave = w.t_far;
  for (int d = 0; d < 3; ++d) {
    if (w.direction[d] == 0) continue;
    const int32_t plane = (cell[d] / side + (w.direction[d] > 0)) * side;
    const T t = (w.lower[d] + T(plane) * w.cell_size[d] - w.origin[d]) * w.inverse[d];
    if (t < leave) leave = t;
  }
  const T steps = (leave - w.t_near) * w.inverse_step - w.offset;
  return steps > T(k + 1) ? (steps < T(kMaxSteps) ? int32_t(steps) : kMaxSteps) : k + 1;
}

// Calls visit(t_middle) for every sample of ray r, front to back. Sample k lies at t_near + (k + offset) * step, and
// counts when it is before t_far in an occupied cell. Empty blocks and cells are crossed in one jump to the last sample
// that cannot be behind them, so that the samples are exactly those of a walk in single steps.
template <typename T, typename Visit>
A3D_FN void for_each_sample(const MarchArgs<T>& a, int64_t r, Visit&& visit) {
  const Walk<T> w = walk_of(a, r);
  int64_t left = a.max_samples;
  for (int32_t k = 0; k < kMaxSteps && left > 0;) {
    const T t = w.t_near + (T(k) + w.offset) * w.step;
    if (!(t < w.t_far)) return;
    int32_t cell[3];
    for (int d = 0; d < 3; ++d) cell[d] = cell_at(w, t, d, a.n_cells[d]);
    if (a.occupancy[(int64_t(cell[0]) * a.n_cells[1] + cell[1]) * a.n_cells[2] + cell[2]]) {
      visit(t);
      --left, ++k;
      continue;
    }
    const int64_t row = int64_t(cell[0] / kBlock) * a.n_blocks[1] + cell[1] / kBlock;
    k = step_across(w, cell, a.blocks[row * a.n_blocks[2] + cell[2] / kBlock] ? 1 : kBlock, k);
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

// The samples of a ray. On the CPU `first` was checked; on CUDA that would wait for the device, so that a wrong one
// gives wrong sums, but never reads outside.
struct Range {
  int64_t begin, end;
};
template <typename T>
A3D_FN Range samples_of(const CompositeArgs<T>& a, int64_t r) {
  const int64_t begin = a.first[r] < 0 ? 0 : a.first[r];
  return {begin, a.first[r + 1] < a.n_samples ? a.first[r + 1] : a.n_samples};
}

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
  const auto [begin, end] = samples_of(a, r);
  const int64_t n_channels = a.n_channels;
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
  const auto [begin, end] = samples_of(f, r);
  const int64_t n_channels = f.n_channels;
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
