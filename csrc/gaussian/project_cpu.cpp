// Projection, CPU schedule: Gaussians are independent; one thread adds up the gradients of all images for a Gaussian.
#include <algorithm>
#include "../common/parallel.h"
#include "project_math.h"
#include "project_simd.h"

namespace asset3d::gaussian {
namespace {
constexpr int64_t kGrain = 2048;
}  // namespace

template <typename T>
void project_cpu(const ProjectArgs<T>& a) {
  parallel_for(0, a.n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t image = 0; image < a.n_images; ++image) {
      if constexpr (std::is_same_v<T, float>) {
        A3D_DISPATCH(project_lanes)(a, image, begin, end);
      } else {
        const View<T> view = view_of(a, image);
        for (int64_t i = begin; i < end; ++i) project_one(a, view, image, i);
      }
    }
  });
}

template <typename T>
void project_backward_cpu(const ProjectBackwardArgs<T>& a) {
  parallel_for(0, a.forward.n, kGrain, [&](int64_t begin, int64_t end) {
    if constexpr (std::is_same_v<T, float>) {
      std::fill(a.grad_means + 3 * begin, a.grad_means + 3 * end, T(0));
      std::fill(a.grad_quats + 4 * begin, a.grad_quats + 4 * end, T(0));
      std::fill(a.grad_scales + 3 * begin, a.grad_scales + 3 * end, T(0));
      std::fill(a.grad_opacities + begin, a.grad_opacities + end, T(0));
      for (int64_t image = 0; image < a.forward.n_images; ++image)
        A3D_DISPATCH(project_backward_lanes)(a, image, begin, end);
    } else {
      for (int64_t i = begin; i < end; ++i) project_backward_one(a, i);
    }
  });
}

template void project_cpu(const ProjectArgs<float>&);
template void project_cpu(const ProjectArgs<double>&);
template void project_backward_cpu(const ProjectBackwardArgs<float>&);
template void project_backward_cpu(const ProjectBackwardArgs<double>&);
}  // namespace asset3d::gaussian
