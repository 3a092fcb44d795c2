// Volume: schemas, checks, outputs, device choice. The only file of this folder that knows torch tensors.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <cmath>
#include <tuple>
#include "../common/dispatch.h"
#include "../common/host_values.h"
#include "volume.h"

namespace asset3d::volume {
namespace {
using torch::headeronly::ScalarType;
using torch::stable::new_empty;
using torch::stable::new_zeros;
using torch::stable::Tensor;

// The messages a user reads come from asset3d/ops/volume.py; these only keep memory safe.
template <typename T>
Rays<T> make_rays(const char* op, const Tensor& origins, const Tensor& directions, const Tensor& lower,
                  const Tensor& upper) {
  const auto packed = [](const Tensor& t, int64_t n) { return t.is_contiguous() && t.numel() == n; };
  const int64_t n = origins.size(0);
  STD_TORCH_CHECK(packed(origins, 3 * n) && packed(directions, 3 * n), "rays must be contiguous (R, 3)");
  STD_TORCH_CHECK(packed(lower, 3) && packed(upper, 3), "the box must be contiguous (3)");
  refuse_non_finite<T>(op, "origins", origins);
  refuse_non_finite<T>(op, "directions", directions);
  refuse_non_finite<T>(op, "lower", lower);
  refuse_non_finite<T>(op, "upper", upper);
  return {origins.const_data_ptr<T>(), directions.const_data_ptr<T>(), lower.const_data_ptr<T>(),
          upper.const_data_ptr<T>(), n};
}

std::tuple<Tensor, Tensor> ray_box(
    const Tensor& origins, const Tensor& directions, const Tensor& lower, const Tensor& upper) {
  Tensor t_near = new_empty(origins, {origins.size(0)}), t_far = new_empty(origins, {origins.size(0)});
  for_float_dtype(origins, [&]<typename T>(T) {
    BoxArgs<T> args{make_rays<T>("ray_box", origins, directions, lower, upper), t_near.mutable_data_ptr<T>(),
                    t_far.mutable_data_ptr<T>()};
    A3D_ON_DEVICE(origins, ray_box, args);
  });
  return {t_near, t_far};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> ray_box_backward(
    const Tensor& grad_near, const Tensor& grad_far, const Tensor& origins, const Tensor& directions,
    const Tensor& lower, const Tensor& upper) {
  const int64_t n = origins.size(0);
  STD_TORCH_CHECK(grad_near.is_contiguous() && grad_near.numel() == n && grad_far.is_contiguous() &&
                  grad_far.numel() == n, "gradients of ray_box must be contiguous (R)");
  const auto zeros = [&] { return new_zeros(origins, {n, 3}); };
  Tensor grad_origins = zeros(), grad_directions = zeros(), grad_lower = zeros(), grad_upper = zeros();
  for_float_dtype(origins, [&]<typename T>(T) {
    BoxBackwardArgs<T> args{make_rays<T>("ray_box", origins, directions, lower, upper),
                            grad_near.const_data_ptr<T>(), grad_far.const_data_ptr<T>(),
                            grad_origins.mutable_data_ptr<T>(), grad_directions.mutable_data_ptr<T>(),
                            grad_lower.mutable_data_ptr<T>(), grad_upper.mutable_data_ptr<T>()};
    A3D_ON_DEVICE(origins, ray_box_backward, args);
  });
  return {grad_origins, grad_directions, grad_lower, grad_upper};
}

template <typename T>
MarchArgs<T> make_march(const Tensor& origins, const Tensor& directions, const Tensor& occupancy, const Tensor& lower,
                        const Tensor& upper, const Tensor& offsets, double step, int64_t max_samples) {
  STD_TORCH_CHECK(occupancy.is_contiguous() && occupancy.dim() == 3 && occupancy.numel() > 0 &&
                  occupancy.numel() < (int64_t(1) << 31) && occupancy.scalar_type() == ScalarType::Bool,
                  "occupancy must be contiguous (X, Y, Z) bool, not empty, at most 2^31 - 1 cells");
  STD_TORCH_CHECK(offsets.is_contiguous() && offsets.numel() == origins.size(0), "offsets must be contiguous (R)");
  STD_TORCH_CHECK(std::isfinite(step) && step > 0, "march_rays: `step` must be finite and > 0, got ", step);
  refuse_non_finite<T>("march_rays", "offsets", offsets);
  MarchArgs<T> args{};
  args.rays = make_rays<T>("march_rays", origins, directions, lower, upper);
  for (int d = 0; d < 3 && lower.is_cpu(); ++d)
    STD_TORCH_CHECK(args.rays.lower[d] < args.rays.upper[d], "march_rays: `lower` must be below `upper`, got ",
                    args.rays.lower[d], " and ", args.rays.upper[d], " on axis ", d);
  args.offsets = offsets.const_data_ptr<T>();
  args.occupancy = occupancy.const_data_ptr<bool>();
  for (int d = 0; d < 3; ++d) args.n_cells[d] = int32_t(occupancy.size(d));
  for (int d = 0; d < 3; ++d) args.n_blocks[d] = (args.n_cells[d] + kBlock - 1) / kBlock;
  args.step = T(step);
  args.max_samples = max_samples;
  return args;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> march_rays(
    const Tensor& origins, const Tensor& directions, const Tensor& occupancy, const Tensor& lower, const Tensor& upper,
    const Tensor& offsets, double step, int64_t max_samples) {
  Tensor counts = new_zeros(origins, {origins.size(0) + 1}, ScalarType::Int);
  Tensor first, t_start, t_end, ray;
  for_float_dtype(origins, [&]<typename T>(T) {
    MarchArgs<T> args = make_march<T>(origins, directions, occupancy, lower, upper, offsets, step, max_samples);
    Tensor blocks = new_empty(occupancy, {args.n_blocks[0], args.n_blocks[1], args.n_blocks[2]});
    args.blocks = blocks.mutable_data_ptr<bool>();
    args.counts = counts.mutable_data_ptr<int32_t>();
    [&] { A3D_ON_DEVICE(origins, mark_blocks, args); }();
    [&] { A3D_ON_DEVICE(origins, count_samples, args); }();
    first = cumulative_sum(counts);
    const int64_t n_samples = last_value(first);
    t_start = new_empty(origins, {n_samples}), t_end = new_empty(origins, {n_samples});
    ray = new_empty(origins, {n_samples}, ScalarType::Long);
    args.first = first.const_data_ptr<int64_t>();
    args.t_start = t_start.mutable_data_ptr<T>();
    args.t_end = t_end.mutable_data_ptr<T>();
    args.ray = ray.mutable_data_ptr<int64_t>();
    A3D_ON_DEVICE(origins, write_samples, args);
  });
  return {t_start, t_end, ray, first};
}

void check_first(const Tensor& first, int64_t n_samples) {
  STD_TORCH_CHECK(first.is_contiguous() && first.dim() == 1 && first.size(0) > 0 &&
                  first.scalar_type() == ScalarType::Long, "first must be contiguous (R + 1) int64");
  if (!first.is_cpu()) return;
  const int64_t* at = first.const_data_ptr<int64_t>();
  const int64_t n = first.size(0);
  bool rising = at[0] == 0 && at[n - 1] == n_samples;
  for (int64_t r = 1; r < n; ++r) rising &= at[r - 1] <= at[r];
  STD_TORCH_CHECK(rising, "composite_rays: `first` must rise from 0 to the number of samples ", n_samples,
                  ", got ", at[0], " ... ", at[n - 1], n > 1 ? " (or it falls in between)" : "");
}

template <typename T>
CompositeArgs<T> make_composite(const Tensor& alpha, const Tensor& values, const Tensor& first) {
  const int64_t n = alpha.numel();
  STD_TORCH_CHECK(alpha.is_contiguous() && alpha.dim() == 1, "alpha must be contiguous (S)");
  STD_TORCH_CHECK(values.is_contiguous() && values.dim() == 2 && values.size(0) == n,
                  "values must be contiguous (S, C)");
  check_first(first, n);
  CompositeArgs<T> args{};
  args.alpha = alpha.const_data_ptr<T>();
  args.values = values.const_data_ptr<T>();
  args.first = first.const_data_ptr<int64_t>();
  args.n_rays = first.size(0) - 1;
  args.n_samples = n;
  args.n_channels = values.size(1);
  return args;
}

std::tuple<Tensor, Tensor, Tensor> composite_rays(const Tensor& alpha, const Tensor& values, const Tensor& first) {
  const int64_t n_rays = first.size(0) - 1;
  Tensor accumulated = new_zeros(values, {n_rays, values.size(1)});
  Tensor opacity = new_empty(alpha, {n_rays}), weights = new_empty(alpha, {alpha.size(0)});
  for_float_dtype(alpha, [&]<typename T>(T) {
    refuse_non_finite<T>("composite_rays", "alpha", alpha);
    refuse_non_finite<T>("composite_rays", "values", values);
    CompositeArgs<T> args = make_composite<T>(alpha, values, first);
    args.accumulated = accumulated.mutable_data_ptr<T>();
    args.opacity = opacity.mutable_data_ptr<T>();
    args.weights = weights.mutable_data_ptr<T>();
    A3D_ON_DEVICE(alpha, composite, args);
  });
  return {accumulated, opacity, weights};
}

std::tuple<Tensor, Tensor> composite_rays_backward(
    const Tensor& grad_accumulated, const Tensor& grad_opacity, const Tensor& grad_weights, const Tensor& alpha,
    const Tensor& values, const Tensor& first) {
  Tensor grad_alpha = new_empty(alpha, {alpha.size(0)});
  Tensor grad_values = new_empty(values, {values.size(0), values.size(1)});
  const auto packed = [](const Tensor& t, int64_t n) { return t.is_contiguous() && t.numel() == n; };
  for_float_dtype(alpha, [&]<typename T>(T) {
    CompositeArgs<T> forward = make_composite<T>(alpha, values, first);
    STD_TORCH_CHECK(packed(grad_accumulated, forward.n_rays * forward.n_channels) &&
                    packed(grad_opacity, forward.n_rays) && packed(grad_weights, forward.n_samples),
                    "gradients of composite_rays must be contiguous, in the shapes of its outputs");
    CompositeBackwardArgs<T> args{forward, grad_accumulated.const_data_ptr<T>(), grad_opacity.const_data_ptr<T>(),
                                  grad_weights.const_data_ptr<T>(), grad_alpha.mutable_data_ptr<T>(),
                                  grad_values.mutable_data_ptr<T>()};
    A3D_ON_DEVICE(alpha, composite_backward, args);
  });
  return {grad_alpha, grad_values};
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("ray_box(Tensor origins, Tensor directions, Tensor lower, Tensor upper) -> (Tensor, Tensor)");
  m.def("ray_box_backward(Tensor grad_near, Tensor grad_far, Tensor origins, Tensor directions, Tensor lower, "
        "Tensor upper) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("march_rays(Tensor origins, Tensor directions, Tensor occupancy, Tensor lower, Tensor upper, Tensor offsets, "
        "float step, int max_samples) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("composite_rays(Tensor alpha, Tensor values, Tensor first) -> (Tensor, Tensor, Tensor)");
  m.def("composite_rays_backward(Tensor grad_accumulated, Tensor grad_opacity, Tensor grad_weights, Tensor alpha, "
        "Tensor values, Tensor first) -> (Tensor, Tensor)");
}
#define A3D_REGISTER(m)                                                \
  m.impl("ray_box", TORCH_BOX(&ray_box));                              \
  m.impl("ray_box_backward", TORCH_BOX(&ray_box_backward));            \
  m.impl("march_rays", TORCH_BOX(&march_rays));                        \
  m.impl("composite_rays", TORCH_BOX(&composite_rays));                \
  m.impl("composite_rays_backward", TORCH_BOX(&composite_rays_backward))
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) { A3D_REGISTER(m); }
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) { A3D_REGISTER(m); }
#endif
}  // namespace asset3d::volume
