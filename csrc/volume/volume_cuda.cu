// Volume, CUDA schedule: one thread per ray where rays are marched, one warp per ray where samples are composited.
#include "../common/launch.h"
#include "../common/warp.h"
#include "volume_math.h"

namespace asset3d::volume {
namespace {
constexpr int kThreads = 128;

template <typename T>
__global__ void ray_box_kernel(const BoxArgs<T> a) {
  const int64_t r = global_thread();
  if (r < a.rays.n) ray_box_one(a, r);
}
template <typename T>
__global__ void ray_box_backward_kernel(const BoxBackwardArgs<T> a) {
  const int64_t r = global_thread();
  if (r < a.rays.n) ray_box_backward_one(a, r);
}
template <typename T>
__device__ __host__ int64_t block_count(const MarchArgs<T>& a) {
  return int64_t(a.n_blocks[0]) * a.n_blocks[1] * a.n_blocks[2];
}
template <typename T>
__global__ void mark_blocks_kernel(const MarchArgs<T> a) {
  const int64_t block = global_thread();
  if (block < block_count(a)) mark_block(a, block);
}
template <typename T>
__global__ void count_samples_kernel(const MarchArgs<T> a) {
  const int64_t r = global_thread();
  if (r < a.rays.n) count_samples_one(a, r);
}
template <typename T>
__global__ void write_samples_kernel(const MarchArgs<T> a) {
  const int64_t r = global_thread();
  if (r < a.rays.n) write_samples_one(a, r);
}

template <typename T>
__device__ Segment<T> from_lane(Segment<T> segment, int lane) {
  return {__shfl_sync(kAllLanes, segment.through, lane), __shfl_sync(kAllLanes, segment.light, lane)};
}

// Joins the segments of lanes 0..lane (of lane..31 when `reversed`), in the order of the samples.
template <typename T>
__device__ Segment<T> scan_of_warp(Segment<T> segment, int lane, bool reversed) {
  for (int step = 1; step < kWarp; step *= 2) {
    const int source = reversed ? lane + step : lane - step;
    const bool inside = source >= 0 && source < kWarp;
    const Segment<T> other = from_lane(segment, inside ? source : lane);
    if (inside) segment = reversed ? join(segment, other) : join(other, segment);
  }
  return segment;
}

template <typename T>
__global__ void composite_kernel(const CompositeArgs<T> a) {
  const int64_t r = global_thread() / kWarp;
  const int lane = threadIdx.x % kWarp;
  if (r >= a.n_rays) return;  // whole warps only
  const auto [begin, end] = samples_of(a, r);
  T transmittance = 1, opacity = 0;
  for (int64_t base = begin; base < end; base += kWarp) {
    const int64_t i = base + lane;
    const bool inside = i < end;
    const T alpha = inside ? a.alpha[i] : T(0);
    const Segment<T> upto = scan_of_warp(sample_segment(alpha, T(0)), lane, false);
    const T passed = __shfl_sync(kAllLanes, upto.through, lane == 0 ? 0 : lane - 1);
    const T weight = (lane == 0 ? transmittance : transmittance * passed) * alpha;
    if (inside) a.weights[i] = weight;
    opacity += sum_of_warp(weight);
    for (int64_t c = 0; c < a.n_channels; ++c) {
      const T sum = sum_of_warp(inside ? weight * a.values[i * a.n_channels + c] : T(0));
      if (lane == 0) a.accumulated[r * a.n_channels + c] += sum;
    }
    transmittance *= __shfl_sync(kAllLanes, upto.through, kWarp - 1);
  }
  if (lane == 0) a.opacity[r] = opacity;
}

template <typename T>
__device__ void transmittance_pass(const CompositeBackwardArgs<T>& a, int64_t r, int lane) {
  const CompositeArgs<T>& f = a.forward;
  const auto [begin, end] = samples_of(f, r);
  T transmittance = 1;
  for (int64_t base = begin; base < end; base += kWarp) {
    const int64_t i = base + lane;
    const bool inside = i < end;
    const T alpha = inside ? f.alpha[i] : T(0);
    const Segment<T> upto = scan_of_warp(sample_segment(alpha, T(0)), lane, false);
    const T passed = __shfl_sync(kAllLanes, upto.through, lane == 0 ? 0 : lane - 1);
    const T here = lane == 0 ? transmittance : transmittance * passed;
    if (inside) {
      a.grad_alpha[i] = here;  // kept here until the way back; each lane reads what it wrote
      for (int64_t c = 0; c < f.n_channels; ++c)
        a.grad_values[i * f.n_channels + c] = here * alpha * a.grad_accumulated[r * f.n_channels + c];
    }
    transmittance *= __shfl_sync(kAllLanes, upto.through, kWarp - 1);
  }
}

template <typename T>
__global__ void composite_backward_kernel(const CompositeBackwardArgs<T> a) {
  const int64_t r = global_thread() / kWarp;
  const int lane = threadIdx.x % kWarp;
  const CompositeArgs<T>& f = a.forward;
  if (r >= f.n_rays) return;
  transmittance_pass(a, r, lane);
  const auto [begin, end] = samples_of(f, r);
  Segment<T> behind{1, 0};
  for (int64_t base = begin + (end - begin + kWarp - 1) / kWarp * kWarp - kWarp; base >= begin; base -= kWarp) {
    const int64_t i = base + lane;
    const bool inside = i < end;
    const T own = inside ? weight_gradient(a, r, i) : T(0);
    const Segment<T> from_here = scan_of_warp(sample_segment(inside ? f.alpha[i] : T(0), own), lane, true);
    const Segment<T> next = from_lane(from_here, lane == kWarp - 1 ? lane : lane + 1);
    const Segment<T> rest = lane == kWarp - 1 ? behind : join(next, behind);
    if (inside) a.grad_alpha[i] = alpha_gradient(a.grad_alpha[i], own, rest.light);
    behind = join(from_lane(from_here, 0), behind);
  }
}

}  // namespace

#define A3D_DEFINE(name, Arguments, n_threads)                                                       \
  template <typename T>                                                                              \
  void name##_cuda(const Arguments<T>& a, void* stream) {                                            \
    const int64_t n = n_threads;                                                                     \
    if (n) A3D_LAUNCH(name##_kernel<T>, blocks_for(n, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), a); \
  }                                                                                                  \
  template void name##_cuda(const Arguments<float>&, void*);                                         \
  template void name##_cuda(const Arguments<double>&, void*);
A3D_DEFINE(ray_box, BoxArgs, a.rays.n)
A3D_DEFINE(ray_box_backward, BoxBackwardArgs, a.rays.n)
A3D_DEFINE(mark_blocks, MarchArgs, block_count(a))
A3D_DEFINE(count_samples, MarchArgs, a.rays.n)
A3D_DEFINE(write_samples, MarchArgs, a.rays.n)
A3D_DEFINE(composite, CompositeArgs, a.n_rays * kWarp)
A3D_DEFINE(composite_backward, CompositeBackwardArgs, a.forward.n_rays * kWarp)
}  // namespace asset3d::volume
