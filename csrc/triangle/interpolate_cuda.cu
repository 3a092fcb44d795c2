// Interpolation on CUDA: one thread per pixel; attribute gradients are summed in fixed point (fixed_point.h).
#include "fixed_point.h"
#include "interpolate_math.h"

namespace asset3d::triangle {
namespace {
template <typename T>
__global__ void interpolate_kernel(const InterpolateArgs<T> a) {
  const int64_t i = global_thread();
  if (i < a.size.pixels()) interpolate_pixel(a, i);
}
template <typename T, typename Add>
__device__ inline void backward_at_pixel(const InterpolateArgs<T>& a, Add add) {
  const int64_t i = global_thread();
  if (i < a.size.pixels()) interpolate_backward_pixel(a, i, add);
}
template <typename T>
__global__ void backward_largest(const InterpolateArgs<T> a) { backward_at_pixel(a, FindLargest{a.totals.largest}); }
template <typename T>
__global__ void backward_sum(const InterpolateArgs<T> a) {
  backward_at_pixel(a, AddFixed(a.totals));
}
}  // namespace

template <typename T>
void interpolate_cuda(const InterpolateArgs<T>& a, void* stream) {
  if (a.size.pixels() == 0) return;
  A3D_LAUNCH(interpolate_kernel<T>, blocks_for(a.size.pixels(), kThreads), kThreads, 0,
             static_cast<cudaStream_t>(stream), a);
}

template <typename T>
void interpolate_backward_cuda(const InterpolateArgs<T>& a, void* raw_stream) {
  [[maybe_unused]] const auto stream = static_cast<cudaStream_t>(raw_stream);
  const int64_t values = a.attribute_batch * a.n_vertices * a.n_attributes;
  if (a.size.pixels() == 0) return;
  A3D_LAUNCH(backward_largest<T>, blocks_for(a.size.pixels(), kThreads), kThreads, 0, stream, a);
  A3D_LAUNCH(backward_sum<T>, blocks_for(a.size.pixels(), kThreads), kThreads, 0, stream, a);
  if (values)
    A3D_LAUNCH(convert_sums<T>, blocks_for(values, kThreads), kThreads, 0, stream, a.totals, a.grad_attributes, values);
}

template void interpolate_cuda(const InterpolateArgs<float>&, void*);
template void interpolate_cuda(const InterpolateArgs<double>&, void*);
template void interpolate_backward_cuda(const InterpolateArgs<float>&, void*);
template void interpolate_backward_cuda(const InterpolateArgs<double>&, void*);
}  // namespace asset3d::triangle
