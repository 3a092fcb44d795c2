#pragma once
// What the kernels of ray marching and compositing receive: pointers and sizes, no tensors.
// R rays, S samples of all rays one after another, C channels.
#include <cstdint>

namespace asset3d::volume {

template <typename T>
struct Rays {
  const T* origins;     // (n, 3)
  const T* directions;  // (n, 3), of any length: t counts in lengths of the direction
  const T* lower;       // (3)
  const T* upper;       // (3)
  int64_t n;
};

template <typename T>
struct BoxArgs {
  Rays<T> rays;
  T* t_near;  // (R)
  T* t_far;   // (R)
};

template <typename T>
struct BoxBackwardArgs {
  Rays<T> rays;
  const T* grad_near;    // (R)
  const T* grad_far;     // (R)
  T* grad_origins;       // (R, 3)
  T* grad_directions;    // (R, 3)
  T* grad_lower;         // (R, 3), one row per ray: the caller sums
  T* grad_upper;         // (R, 3)
};

constexpr int kBlock = 8;  // cells along each side of a block

template <typename T>
struct MarchArgs {
  Rays<T> rays;
  const T* offsets;        // (R) in [0, 1)
  const bool* occupancy;   // (n_cells[0], n_cells[1], n_cells[2])
  bool* blocks;            // (n_blocks[0], n_blocks[1], n_blocks[2]): whether any of kBlock^3 cells is occupied
  int32_t n_cells[3], n_blocks[3];
  T step;
  int64_t max_samples;     // per ray
  int32_t* counts;         // (R + 1): 0, then the samples of each ray
  const int64_t* first;    // (R + 1): sums of counts
  T* t_start;              // (S)
  T* t_end;                // (S)
  int64_t* ray;            // (S)
};

template <typename T>
struct CompositeArgs {
  const T* alpha;          // (S)
  const T* values;         // (S, C)
  const int64_t* first;    // (R + 1)
  int64_t n_rays, n_samples, n_channels;
  T* accumulated;          // (R, C), zeroed
  T* opacity;              // (R)
  T* weights;              // (S)
};

template <typename T>
struct CompositeBackwardArgs {
  CompositeArgs<T> forward;     // its outputs are not set
  const T* grad_accumulated;    // (R, C)
  const T* grad_opacity;        // (R)
  const T* grad_weights;        // (S)
  T* grad_alpha;                // (S)
  T* grad_values;               // (S, C)
};

template <typename T> void ray_box_cpu(const BoxArgs<T>&);
template <typename T> void ray_box_cuda(const BoxArgs<T>&, void* stream);
template <typename T> void ray_box_backward_cpu(const BoxBackwardArgs<T>&);
template <typename T> void ray_box_backward_cuda(const BoxBackwardArgs<T>&, void* stream);
template <typename T> void mark_blocks_cpu(const MarchArgs<T>&);
template <typename T> void mark_blocks_cuda(const MarchArgs<T>&, void* stream);
template <typename T> void count_samples_cpu(const MarchArgs<T>&);
template <typename T> void count_samples_cuda(const MarchArgs<T>&, void* stream);
template <typename T> void write_samples_cpu(const MarchArgs<T>&);
template <typename T> void write_samples_cuda(const MarchArgs<T>&, void* stream);
template <typename T> void composite_cpu(const CompositeArgs<T>&);
template <typename T> void composite_cuda(const CompositeArgs<T>&, void* stream);
template <typename T> void composite_backward_cpu(const CompositeBackwardArgs<T>&);
template <typename T> void composite_backward_cuda(const CompositeBackwardArgs<T>&, void* stream);
}  // namespace asset3d::volume
