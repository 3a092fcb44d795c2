// Projection, CUDA schedule: one thread per Gaussian, blockIdx.y being the image; on the way back one thread per Gaussian,
// which adds up the gradients of all images in order.
#include "../common/launch.h"
#include "project_math.h"

namespace asset3d::gaussian {
namespace {
constexpr int kThreads = 256;

__device__ __forceinline__ int64_t global_thread() { return blockIdx.x * int64_t(blockDim.x) + threadIdx.x; }

template <typename T>
__device__ __forceinline__ Gaussian<T> gaussian_at(const ProjectArgs<T>& a, int64_t i) {
  const T *m = a.means + 3 * i, *q = a.quats + 4 * i, *s = a.scales + 3 * i;
  return {{m[0], m[1], m[2]}, {q[0], q[1], q[2], q[3]}, {s[0], s[1], s[2]}, a.opacities[i]};
}

template <typename T>
__global__ void __launch_bounds__(kThreads) project_kernel(const ProjectArgs<T> a) {
  const int64_t i = global_thread();
  if (i >= a.n) return;
  for (int64_t image = blockIdx.y; image < a.n_images; image += gridDim.y) {
    const View<T> view = view_of(a, image);
    const Gaussian<T> g = gaussian_at(a, i);
    const Projected<T> out = outputs_of(view, g, project(view, g));
    const int64_t at = image * a.n + i;
    a.means_2d[2 * at] = out.mean_x, a.means_2d[2 * at + 1] = out.mean_y;
    for (int k = 0; k < 3; ++k) a.conics[3 * at + k] = out.conic[k];
    a.depths[at] = out.depth, a.visible_opacities[at] = out.opacity;
    a.radii[2 * at] = out.radius_x, a.radii[2 * at + 1] = out.radius_y;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) project_backward_kernel(const ProjectBackwardArgs<T> a) {
  const ProjectArgs<T>& f = a.forward;
  const int64_t i = global_thread();
  if (i >= f.n) return;
  GaussianGradient<T> sum{{T(0), T(0), T(0)}, {T(0), T(0), T(0), T(0)}, {T(0), T(0), T(0)}, T(0)};
  for (int64_t image = 0; image < f.n_images; ++image) {
    const int64_t at = image * f.n + i;
    if (!(f.radii[2 * at] > 0)) continue;
    const View<T> view = view_of(f, image);
    const Gaussian<T> g = gaussian_at(f, i);
    const Projected<T> out{a.grad_means_2d[2 * at], a.grad_means_2d[2 * at + 1],
                           {a.grad_conics[3 * at], a.grad_conics[3 * at + 1], a.grad_conics[3 * at + 2]},
                           a.grad_depths[at], a.grad_visible_opacities[at], T(0), T(0)};
    const GaussianGradient<T> grad = project_backward(view, g, project(view, g), out);
    sum.mean = {sum.mean.x + grad.mean.x, sum.mean.y + grad.mean.y, sum.mean.z + grad.mean.z};
    for (int k = 0; k < 4; ++k) sum.quat[k] += grad.quat[k];
    sum.scale = {sum.scale.x + grad.scale.x, sum.scale.y + grad.scale.y, sum.scale.z + grad.scale.z};
    sum.opacity += grad.opacity;
  }
  a.grad_means[3 * i] = sum.mean.x, a.grad_means[3 * i + 1] = sum.mean.y, a.grad_means[3 * i + 2] = sum.mean.z;
  for (int k = 0; k < 4; ++k) a.grad_quats[4 * i + k] = sum.quat[k];
  a.grad_scales[3 * i] = sum.scale.x, a.grad_scales[3 * i + 1] = sum.scale.y, a.grad_scales[3 * i + 2] = sum.scale.z;
  a.grad_opacities[i] = sum.opacity;
}

inline unsigned blocks(int64_t n) { return unsigned((n + kThreads - 1) / kThreads); }
}  // namespace

template <typename T>
void project_cuda(const ProjectArgs<T>& a, void* stream) {
  if (!a.n || !a.n_images) return;
  const dim3 grid(blocks(a.n), unsigned(a.n_images < 65535 ? a.n_images : 65535));
  A3D_LAUNCH(project_kernel<T>, grid, kThreads, 0, static_cast<cudaStream_t>(stream), a);
}

template <typename T>
void project_backward_cuda(const ProjectBackwardArgs<T>& a, void* stream) {
  if (!a.forward.n) return;
  A3D_LAUNCH(project_backward_kernel<T>, dim3(blocks(a.forward.n)), kThreads, 0, static_cast<cudaStream_t>(stream), a);
}

template void project_cuda(const ProjectArgs<float>&, void*);
template void project_cuda(const ProjectArgs<double>&, void*);
template void project_backward_cuda(const ProjectBackwardArgs<float>&, void*);
template void project_backward_cuda(const ProjectBackwardArgs<double>&, void*);
}  // namespace asset3d::gaussian
