// Projection, CPU schedule: Gaussians are independent; one thread adds up the gradients of all images for a Gaussian.
#include <algorithm>
#include "../common/parallel.h"
#include "project_math.h"
#include "project_simd.h"

namespace asset3d::gaussian {
namespace {
constexpr int64_t kGrain = 2048;

template <typename T>
Gaussian<T> gaussian_at(const ProjectArgs<T>& a, int64_t i) {
  const T *m = a.means + 3 * i, *q = a.quats + 4 * i, *s = a.scales + 3 * i;
  return {{m[0], m[1], m[2]}, {q[0], q[1], q[2], q[3]}, {s[0], s[1], s[2]}, a.opacities[i]};
}

template <typename T>
void project_range(const ProjectArgs<T>& a, int64_t image, int64_t begin, int64_t end) {
  const View<T> view = view_of(a, image);
  for (int64_t i = begin; i < end; ++i) {
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
void project_backward_range(const ProjectBackwardArgs<T>& a, int64_t image, int64_t begin, int64_t end) {
  const ProjectArgs<T>& f = a.forward;
  const View<T> view = view_of(f, image);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t at = image * f.n + i;
    if (!(f.radii[2 * at] > 0)) continue;
    const Gaussian<T> g = gaussian_at(f, i);
    Projected<T> out{a.grad_means_2d[2 * at], a.grad_means_2d[2 * at + 1],
                     {a.grad_conics[3 * at], a.grad_conics[3 * at + 1], a.grad_conics[3 * at + 2]},
                     a.grad_depths[at], a.grad_visible_opacities[at], T(0), T(0)};
    const GaussianGradient<T> grad = project_backward(view, g, project(view, g), out);
    a.grad_means[3 * i] += grad.mean.x, a.grad_means[3 * i + 1] += grad.mean.y, a.grad_means[3 * i + 2] += grad.mean.z;
    for (int k = 0; k < 4; ++k) a.grad_quats[4 * i + k] += grad.quat[k];
    a.grad_scales[3 * i] += grad.scale.x, a.grad_scales[3 * i + 1] += grad.scale.y, a.grad_scales[3 * i + 2] += grad.scale.z;
    a.grad_opacities[i] += grad.opacity;
  }
}
}  // namespace

template <typename T>
void project_cpu(const ProjectArgs<T>& a) {
  parallel_for(0, a.n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t image = 0; image < a.n_images; ++image) {
      if constexpr (std::is_same_v<T, float>)
        A3D_DISPATCH(project_lanes)(a, image, begin, end);
      else
        project_range(a, image, begin, end);
    }
  });
}

template <typename T>
void project_backward_cpu(const ProjectBackwardArgs<T>& a) {
  parallel_for(0, a.forward.n, kGrain, [&](int64_t begin, int64_t end) {
    std::fill(a.grad_means + 3 * begin, a.grad_means + 3 * end, T(0));
    std::fill(a.grad_quats + 4 * begin, a.grad_quats + 4 * end, T(0));
    std::fill(a.grad_scales + 3 * begin, a.grad_scales + 3 * end, T(0));
    std::fill(a.grad_opacities + begin, a.grad_opacities + end, T(0));
    for (int64_t image = 0; image < a.forward.n_images; ++image) {
      if constexpr (std::is_same_v<T, float>)
        A3D_DISPATCH(project_backward_lanes)(a, image, begin, end);
      else
        project_backward_range(a, image, begin, end);
    }
  });
}

template void project_cpu(const ProjectArgs<float>&);
template void project_cpu(const ProjectArgs<double>&);
template void project_backward_cpu(const ProjectBackwardArgs<float>&);
template void project_backward_cpu(const ProjectBackwardArgs<double>&);
}  // namespace asset3d::gaussian
