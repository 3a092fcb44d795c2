// Textures on CUDA: one thread per pixel; texel gradients are summed in fixed point (fixed_point.h). Mip-maps: one
// kernel per level, one thread per texel.
#include "fixed_point.h"
#include "texture_math.h"

namespace asset3d::triangle {
namespace {
template <typename T>
__global__ void texture_kernel(const TextureArgs<T> a) {
  const int64_t i = global_thread();
  if (i < a.size.pixels()) texture_pixel(a, i);
}
template <typename T>
__global__ void backward_largest(const TextureArgs<T> a) {
  const int64_t i = global_thread();
  if (i >= a.size.pixels()) return;
  texture_backward_uv(a, i, choose_levels(a, i));
  texture_backward_texels(a, i, FindLargest{a.totals.largest});
}
template <typename T>
__global__ void backward_sum(const TextureArgs<T> a) {
  const int64_t i = global_thread();
  if (i < a.size.pixels()) texture_backward_texels(a, i, AddFixed(a.totals));
}

template <typename T>
__global__ void mip_kernel(const MipArgs<T> a, int level, bool spread) {
  const int64_t i = global_thread();
  const Level& l = a.levels[level];
  if (i >= a.batch * l.height * l.width) return;
  const int x = int(i % l.width), y = int(i / l.width % l.height);
  const int64_t batch = i / (int64_t(l.width) * l.height);
  if (spread) spread_texel(a, batch, level, y, x);
  else average_texel(a, batch, level, y, x);
}

template <typename T>
void launch_level(const MipArgs<T>& a, int level, bool spread, [[maybe_unused]] void* stream) {
  const int64_t n = a.batch * a.levels[level].height * a.levels[level].width;
  if (n)
    A3D_LAUNCH(mip_kernel<T>, blocks_for(n, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), a, level,
               spread);
}
}  // namespace

template <typename T>
void texture_cuda(const TextureArgs<T>& a, [[maybe_unused]] void* stream) {
  if (a.size.pixels() == 0) return;
  A3D_LAUNCH(texture_kernel<T>, blocks_for(a.size.pixels(), kThreads), kThreads, 0, static_cast<cudaStream_t>(stream),
             a);
}

template <typename T>
void texture_backward_cuda(const TextureArgs<T>& a, void* raw_stream) {
  [[maybe_unused]] const auto stream = static_cast<cudaStream_t>(raw_stream);
  const int64_t pixels = a.size.pixels(), values = a.texture_values(), mips = a.mip_values();
  if (pixels == 0) return;
  A3D_LAUNCH(backward_largest<T>, blocks_for(pixels, kThreads), kThreads, 0, stream, a);
  A3D_LAUNCH(backward_sum<T>, blocks_for(pixels, kThreads), kThreads, 0, stream, a);
  const Totals mip_totals{a.totals.sums + values, a.totals.largest, a.totals.count_bits};
  if (values)
    A3D_LAUNCH(convert_sums<T>, blocks_for(values, kThreads), kThreads, 0, stream, a.totals, a.grad_texture, values);
  if (mips) A3D_LAUNCH(convert_sums<T>, blocks_for(mips, kThreads), kThreads, 0, stream, mip_totals, a.grad_mips, mips);
}

template <typename T>
void mip_chain_cuda(const MipArgs<T>& a, void* stream) {
  for (int level = 1; level < a.n_levels; ++level) launch_level(a, level, false, stream);
}

template <typename T>
void mip_chain_backward_cuda(const MipArgs<T>& a, void* stream) {
  for (int level = a.n_levels - 1; level > 0; --level) launch_level(a, level, true, stream);
}

template void texture_cuda(const TextureArgs<float>&, void*);
template void texture_cuda(const TextureArgs<double>&, void*);
template void texture_backward_cuda(const TextureArgs<float>&, void*);
template void texture_backward_cuda(const TextureArgs<double>&, void*);
template void mip_chain_cuda(const MipArgs<float>&, void*);
template void mip_chain_cuda(const MipArgs<double>&, void*);
template void mip_chain_backward_cuda(const MipArgs<float>&, void*);
template void mip_chain_backward_cuda(const MipArgs<double>&, void*);
}  // namespace asset3d::triangle
