// Projection: schemas, checks, outputs, device choice.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <string>
#include <tuple>
#include "../common/dispatch.h"
#include "../common/host_values.h"
#include "tensors.h"

namespace asset3d::gaussian {
namespace {
struct Lens {
  int64_t height, width;
  double nearest, farthest, dilation, alpha_min;
  bool normalize_quats, antialiased;
};

template <typename T>
ProjectArgs<T> make_project(const Tensor& means, const Tensor& quats, const Tensor& scales, const Tensor& opacities,
                            const Tensor& world_to_camera, const Tensor& intrinsics, const Lens& lens) {
  ProjectArgs<T> a{};
  a.n = means.size(0), a.n_images = intrinsics.size(0);
  check_count(a.n);
  a.means = input<T>("means", means, means, 3 * a.n);
  a.quats = input<T>("quats", quats, means, 4 * a.n);
  a.scales = input<T>("scales", scales, means, 3 * a.n);
  a.opacities = input<T>("opacities", opacities, means, a.n);
  a.world_to_camera = input<T>("world_to_camera", world_to_camera, means, 16 * a.n_images);
  a.intrinsics = input<T>("intrinsics", intrinsics, means, 4 * a.n_images);
  a.size = image_size(lens.height, lens.width);
  a.nearest = T(lens.nearest), a.farthest = T(lens.farthest), a.dilation = T(lens.dilation),
  a.alpha_min = T(lens.alpha_min);
  a.normalize_quats = lens.normalize_quats, a.antialiased = lens.antialiased;
  return a;
}

// Cameras that no lens has, most often a transposed matrix, draw something or nothing without a word.
template <typename T>
void check_cameras(const Tensor& world_to_camera, const Tensor& intrinsics) {
  constexpr const char* op = "project_gaussians";
  refuse_non_finite<T>(op, "world_to_camera", world_to_camera);
  refuse_non_finite<T>(op, "intrinsics", intrinsics);
  if (!world_to_camera.is_cpu()) return;
  for (int64_t b = 0; b < intrinsics.size(0); ++b) {
    const T *k = intrinsics.const_data_ptr<T>() + 4 * b, *last = world_to_camera.const_data_ptr<T>() + 16 * b + 12;
    STD_TORCH_CHECK(k[0] > 0 && k[1] > 0, op, ": `intrinsics` of camera ", b, " need fx > 0 and fy > 0, got ",
                    std::to_string(k[0]), " and ", std::to_string(k[1]));
    STD_TORCH_CHECK(last[0] == 0 && last[1] == 0 && last[2] == 0 && last[3] == 1, op,
                    ": the last row of `world_to_camera` of "
                    "camera ",
                    b, " must be 0 0 0 1, got ", std::to_string(last[0]), " ", std::to_string(last[1]), " ",
                    std::to_string(last[2]), " ", std::to_string(last[3]), "; is the matrix transposed?");
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> project(const Tensor& means, const Tensor& quats,
                                                           const Tensor& scales, const Tensor& opacities,
                                                           const Tensor& world_to_camera, const Tensor& intrinsics,
                                                           int64_t height, int64_t width, double nearest,
                                                           double farthest, double dilation, double alpha_min,
                                                           bool normalize_quats, bool antialiased) {
  const int64_t b = intrinsics.size(0), n = means.size(0);
  Tensor means_2d = new_empty(means, {b, n, 2}), conics = new_empty(means, {b, n, 3}),
         depths = new_empty(means, {b, n}), visible = new_empty(means, {b, n}), radii = new_empty(means, {b, n, 2});
  for_float_dtype(means, [&]<typename T>(T) {
    ProjectArgs<T> args = make_project<T>(means, quats, scales, opacities, world_to_camera, intrinsics,
        {height, width, nearest, farthest, dilation, alpha_min, normalize_quats, antialiased});
    check_cameras<T>(world_to_camera, intrinsics);
    args.means_2d = means_2d.mutable_data_ptr<T>(), args.conics = conics.mutable_data_ptr<T>();
    args.depths = depths.mutable_data_ptr<T>(), args.visible_opacities = visible.mutable_data_ptr<T>();
    args.radii = radii.mutable_data_ptr<T>();
    A3D_ON_DEVICE(means, project, args);
  });
  return {means_2d, conics, depths, visible, radii};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> project_backward(
    const Tensor& grad_means_2d, const Tensor& grad_conics, const Tensor& grad_depths, const Tensor& grad_visible,
    const Tensor& means, const Tensor& quats, const Tensor& scales, const Tensor& opacities,
    const Tensor& world_to_camera, const Tensor& intrinsics, const Tensor& radii, int64_t height, int64_t width,
    double nearest, double farthest, double dilation, double alpha_min, bool normalize_quats, bool antialiased) {
  const int64_t n = means.size(0);
  Tensor grad_means = new_empty(means, {n, 3}), grad_quats = new_empty(means, {n, 4}),
         grad_scales = new_empty(means, {n, 3}), grad_opacities = new_empty(means, {n});
  for_float_dtype(means, [&]<typename T>(T) {
    ProjectBackwardArgs<T> args{};
    args.forward = make_project<T>(means, quats, scales, opacities, world_to_camera, intrinsics,
        {height, width, nearest, farthest, dilation, alpha_min, normalize_quats, antialiased});
    const int64_t seen = args.forward.n * args.forward.n_images;
    args.forward.radii = const_cast<T*>(input<T>("radii", radii, means, 2 * seen));
    args.grad_means_2d = input<T>("grad_means_2d", grad_means_2d, means, 2 * seen);
    args.grad_conics = input<T>("grad_conics", grad_conics, means, 3 * seen);
    args.grad_depths = input<T>("grad_depths", grad_depths, means, seen);
    args.grad_visible_opacities = input<T>("grad_opacities", grad_visible, means, seen);
    args.grad_means = grad_means.mutable_data_ptr<T>(), args.grad_quats = grad_quats.mutable_data_ptr<T>();
    args.grad_scales = grad_scales.mutable_data_ptr<T>(), args.grad_opacities = grad_opacities.mutable_data_ptr<T>();
    A3D_ON_DEVICE(means, project_backward, args);
  });
  return {grad_means, grad_quats, grad_scales, grad_opacities};
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
#define A3D_LENS "int height, int width, float nearest, float farthest, float dilation, float alpha_min, " \
                 "bool normalize_quats, bool antialiased"
  m.def("gaussian_project(Tensor means, Tensor quats, Tensor scales, Tensor opacities, Tensor world_to_camera, "
        "Tensor intrinsics, " A3D_LENS ") -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "gaussian_project_backward(Tensor grad_means_2d, Tensor grad_conics, Tensor grad_depths, Tensor grad_opacities, "
      "Tensor means, Tensor quats, Tensor scales, Tensor opacities, Tensor world_to_camera, Tensor intrinsics, "
      "Tensor radii, " A3D_LENS ") -> (Tensor, Tensor, Tensor, Tensor)");
}
#define A3D_REGISTER(m) \
  m.impl("gaussian_project", TORCH_BOX(&project)); \
  m.impl("gaussian_project_backward", TORCH_BOX(&project_backward))
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) { A3D_REGISTER(m); }
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) { A3D_REGISTER(m); }
#endif
}  // namespace asset3d::gaussian
