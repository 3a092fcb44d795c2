// Projection, CUDA schedule: one thread per Gaussian, blockIdx.y being the image; on the way back one thread per
// Gaussian, which adds up the gradients of all images in order.
#include "../common/launch.h"
#include "project_math.h"

namespace asset3d::gaussian {
namespace {
constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads) project_kernel(const ProjectArgs<T> a) {
  const int64_t i = global_thread();
  for (int64_t image = blockIdx.y; i < a.n && image < a.n_images; image += gridDim.y)
    project_one(a, view_of(a, image), image, i);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) project_backward_kernel(const ProjectBackwardArgs<T> a) {
  const int64_t i = global_thread();
  if (i < a.forward.n) project_backward_one(a, i);
}
}  // namespace

template <typename T>
void project_cuda(const ProjectArgs<T>& a, void* stream) {
  if (!a.n || !a.n_images) return;
  const dim3 grid(blocks_for(a.n, kThreads).x, unsigned(a.n_images < 65535 ? a.n_images : 65535));
  A3D_LAUNCH(project_kernel<T>, grid, kThreads, 0, static_cast<cudaStream_t>(stream), a);
}

template <typename T>
void project_backward_cuda(const ProjectBackwardArgs<T>& a, void* stream) {
  if (!a.forward.n) return;
  A3D_LAUNCH(project_backward_kernel<T>, blocks_for(a.forward.n, kThreads), kThreads, 0,
             static_cast<cudaStream_t>(stream), a);
}

template void project_cuda(const ProjectArgs<float>&, void*);
template void project_cuda(const ProjectArgs<double>&, void*);
template void project_backward_cuda(const ProjectBackwardArgs<float>&, void*);
template void project_backward_cuda(const ProjectBackwardArgs<double>&, void*);
}  // namespace asset3d::gaussian
