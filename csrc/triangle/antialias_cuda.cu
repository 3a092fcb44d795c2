// Antialiasing on CUDA: one thread per pixel, for the analysis, the blend and its gradients; position gradients are
// summed in fixed point (fixed_point.h).
#include "antialias_math.h"
#include "fixed_point.h"

namespace asset3d::triangle {
namespace {
template <typename T>
__global__ void facing_kernel(const AntialiasArgs<T> a) {
  const int64_t i = global_thread();
  if (i >= a.size.batch * a.n_faces) return;
  const T* positions = a.positions + i / a.n_faces * a.n_vertices * 4;
  a.facing[i] = facing_of(load_triangle(positions, a.faces, i % a.n_faces));
}
template <typename T>
__global__ void analyze_kernel(const AntialiasArgs<T> a) {
  const int64_t i = global_thread();
  if (i < a.size.pixels()) analyze_pixel(a, i);
}
template <typename T>
__global__ void blend_kernel(const AntialiasArgs<T> a) {
  const int64_t i = global_thread();
  if (i < a.size.pixels()) antialias_pixel(a, i);
}
template <typename T>
__global__ void backward_color_kernel(const AntialiasArgs<T> a) {
  const int64_t i = global_thread();
  if (i < a.size.pixels()) antialias_backward_color(a, i);
}
template <typename T, typename Add>
__device__ inline void backward_at_pixel(const AntialiasArgs<T>& a, Add add) {
  const int64_t i = global_thread();
  if (i >= a.size.pixels()) return;
  antialias_backward_pair(a, i, false, add);
  antialias_backward_pair(a, i, true, add);
}
template <typename T>
__global__ void backward_largest(const AntialiasArgs<T> a) { backward_at_pixel(a, FindLargest{a.totals.largest}); }
template <typename T>
__global__ void backward_sum(const AntialiasArgs<T> a) {
  backward_at_pixel(a, AddFixed(a.totals));
}
}  // namespace

template <typename T>
void antialias_analyze_cuda(const AntialiasArgs<T>& a, void* raw_stream) {
  [[maybe_unused]] const auto stream = static_cast<cudaStream_t>(raw_stream);
  const int64_t faces = a.size.batch * a.n_faces;
  if (faces) A3D_LAUNCH(facing_kernel<T>, blocks_for(faces, kThreads), kThreads, 0, stream, a);
  if (a.size.pixels()) A3D_LAUNCH(analyze_kernel<T>, blocks_for(a.size.pixels(), kThreads), kThreads, 0, stream, a);
}

template <typename T>
void antialias_cuda(const AntialiasArgs<T>& a, void* stream) {
  if (a.size.pixels() == 0) return;
  A3D_LAUNCH(blend_kernel<T>, blocks_for(a.size.pixels(), kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), a);
}

template <typename T>
void antialias_backward_cuda(const AntialiasArgs<T>& a, void* raw_stream) {
  [[maybe_unused]] const auto stream = static_cast<cudaStream_t>(raw_stream);
  const int64_t pixels = a.size.pixels(), values = a.size.batch * a.n_vertices * 4;
  if (pixels == 0) return;
  A3D_LAUNCH(backward_color_kernel<T>, blocks_for(pixels, kThreads), kThreads, 0, stream, a);
  A3D_LAUNCH(backward_largest<T>, blocks_for(pixels, kThreads), kThreads, 0, stream, a);
  A3D_LAUNCH(backward_sum<T>, blocks_for(pixels, kThreads), kThreads, 0, stream, a);
  if (values)
    A3D_LAUNCH(convert_sums<T>, blocks_for(values, kThreads), kThreads, 0, stream, a.totals, a.grad_positions, values);
}

template void antialias_analyze_cuda(const AntialiasArgs<float>&, void*);
template void antialias_analyze_cuda(const AntialiasArgs<double>&, void*);
template void antialias_cuda(const AntialiasArgs<float>&, void*);
template void antialias_cuda(const AntialiasArgs<double>&, void*);
template void antialias_backward_cuda(const AntialiasArgs<float>&, void*);
template void antialias_backward_cuda(const AntialiasArgs<double>&, void*);
}  // namespace asset3d::triangle
