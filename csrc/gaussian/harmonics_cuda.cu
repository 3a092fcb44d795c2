// Spherical harmonics, CUDA schedule: a thread per Gaussian, forward for the images in turn of blockIdx.y.
#include "../common/launch.h"
#include "harmonics_math.h"

namespace asset3d::gaussian {
namespace {
constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads) harmonics_kernel(const HarmonicsArgs<T> a) {
  const int64_t i = global_thread();
  for (int64_t image = blockIdx.y; i < a.n && image < a.n_images; image += gridDim.y) harmonics_one(a, image, i);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) harmonics_backward_kernel(const HarmonicsBackwardArgs<T> b) {
  const int64_t i = global_thread();
  if (i < b.forward.n) harmonics_backward_one(b, i);
}

}  // namespace

template <typename T>
void harmonics_cuda(const HarmonicsArgs<T>& a, void* stream) {
  if (!a.n || !a.n_images) return;
  const dim3 grid(blocks_for(a.n, kThreads).x, unsigned(a.n_images < 65535 ? a.n_images : 65535));
  A3D_LAUNCH(harmonics_kernel<T>, grid, kThreads, 0, static_cast<cudaStream_t>(stream), a);
}

template <typename T>
void harmonics_backward_cuda(const HarmonicsBackwardArgs<T>& b, void* stream) {
  if (!b.forward.n) return;
  A3D_LAUNCH(harmonics_backward_kernel<T>, blocks_for(b.forward.n, kThreads), kThreads, 0,
             static_cast<cudaStream_t>(stream), b);
}

template void harmonics_cuda(const HarmonicsArgs<float>&, void*);
template void harmonics_cuda(const HarmonicsArgs<double>&, void*);
template void harmonics_backward_cuda(const HarmonicsBackwardArgs<float>&, void*);
template void harmonics_backward_cuda(const HarmonicsBackwardArgs<double>&, void*);
}  // namespace asset3d::gaussian
