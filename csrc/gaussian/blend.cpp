// Blending: schemas, checks, outputs, device choice.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <atomic>
#include <optional>
#include <tuple>
#include "../common/dispatch.h"
#include "../common/host_values.h"
#include "../common/parallel.h"
#include "blend_math.h"
#include "tensors.h"

namespace asset3d::gaussian {
namespace {
struct Look { int64_t height, width; double alpha_max, alpha_min, stop_transmittance; };

// Lists come from the operator above; a caller who makes them up must not reach outside of the memory on the CPU.
void check_lists(const Tensor& entries, const Tensor& tile_first, const Tensor& slot_first, int64_t n, int64_t n_images,
                 int64_t n_tiles) {
  const auto is = [](const Tensor& t, ScalarType type, int64_t count) {
    return t.is_contiguous() && t.scalar_type() == type && t.numel() == count;
  };
  STD_TORCH_CHECK(is(entries, ScalarType::Int, entries.size(0) * 2) &&
                      is(tile_first, ScalarType::Long, n_images * n_tiles + 1) &&
                      is(slot_first, ScalarType::Long, n_images * n + 1),
                  "the lists of tiles do not fit the Gaussians");
  if (!entries.is_cpu()) return;
  const int64_t total = entries.size(0);
  const Entry* entry = reinterpret_cast<const Entry*>(entries.const_data_ptr<int32_t>());
  std::atomic<bool> bad{false};
  parallel_for(0, total, 1 << 15, [&](int64_t begin, int64_t end) {
    uint32_t outside = 0;
    for (int64_t i = begin; i < end; ++i)
      outside |=
          uint32_t(uint32_t(entry[i].gaussian) >= uint32_t(n)) | uint32_t(uint32_t(entry[i].slot) >= uint32_t(total));
    if (outside) bad = true;
  });
  const auto check_rising = [&](const Tensor& t) {
    const int64_t *first = t.const_data_ptr<int64_t>(), count = t.numel();
    if (first[0] != 0 || first[count - 1] != total) bad = true;
    parallel_for(1, count, 1 << 15, [&](int64_t begin, int64_t end) {
      bool ok = true;
      for (int64_t i = begin; i < end; ++i) ok &= first[i - 1] <= first[i];
      if (!ok) bad = true;
    });
  };
  check_rising(tile_first);
  check_rising(slot_first);
  STD_TORCH_CHECK(!bad, "the lists of tiles are not those of these Gaussians");
}

template <typename T>
BlendArgs<T> make_blend(const Splats<T>& splats, const Tensor& like, const Tensor& colors,
                        const std::optional<Tensor>& background, const Tensor& geometry, const Tensor& entries,
                        const Tensor& tile_first, const Tensor& slot_first, const Look& look) {
  BlendArgs<T> a{};
  a.splats = splats;
  a.shared_colors = colors.dim() == 2;
  a.n_channels = colors.size(colors.dim() - 1);
  a.colors = input<T>("colors", colors, like, (a.shared_colors ? splats.n : splats.n * splats.n_images) * a.n_channels);
  if (background) a.background = input<T>("background", *background, like, a.n_channels);
  a.geometry = input<T>("geometry", geometry, like, splats.n * splats.n_images * kGeometry);
  check_lists(entries, tile_first, slot_first, splats.n, splats.n_images, splats.size.tiles());
  a.entries = reinterpret_cast<const Entry*>(entries.const_data_ptr<int32_t>());
  a.tile_first = tile_first.const_data_ptr<int64_t>(), a.slot_first = slot_first.const_data_ptr<int64_t>();
  a.n_intersections = entries.size(0);
  a.alpha_max = T(look.alpha_max), a.stop_transmittance = T(look.stop_transmittance);
  return a;
}

// Emulated operators work as those on CUDA do.
bool on_cpu([[maybe_unused]] const Tensor& t) {
#ifdef A3D_EMULATE
  return false;
#else
  return t.is_cpu();
#endif
}

int64_t chunks_of(const Tensor& like, const Tensor& entries, const Tensor& tile_first, bool keep) {
  return on_cpu(like) || !keep ? 0 : chunk_count(entries.size(0), tile_first.size(0) - 1);
}

using SixTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

SixTensors blend(const Tensor& means_2d, const Tensor& conics, const Tensor& opacities, const Tensor& depths,
                 const Tensor& colors, std::optional<Tensor> background, const Tensor& radii, const Tensor& geometry,
                 const Tensor& entries, const Tensor& tile_first, const Tensor& slot_first, int64_t height,
                 int64_t width, double alpha_max, double alpha_min, double stop_transmittance, bool keep) {
  const int64_t b = means_2d.size(0), kept = keep ? b : 0, channels = colors.size(colors.dim() - 1);
  Tensor color = new_empty(means_2d, {b, height, width, channels}), alpha = new_empty(means_2d, {b, height, width, 1}),
         depth = new_empty(means_2d, {b, height, width, 1}), transmittance = new_empty(means_2d, {kept, height, width}),
         last = new_empty(means_2d, {kept, height, width}, ScalarType::Int),
         state = new_empty(means_2d, {chunks_of(means_2d, entries, tile_first, keep), channels + 2, kTile * kTile});
  for_float_dtype(means_2d, [&]<typename T>(T) {
    refuse_non_finite<T>("blend_gaussians", "colors", colors);
    if (background) refuse_non_finite<T>("blend_gaussians", "background", *background);
    const Splats<T> splats = make_splats<T>(means_2d, conics, opacities, depths, radii, height, width, alpha_min);
    BlendArgs<T> args = make_blend<T>(splats, means_2d, colors, background, geometry, entries, tile_first, slot_first,
                                      {height, width, alpha_max, alpha_min, stop_transmittance});
    args.color = color.mutable_data_ptr<T>(), args.alpha = alpha.mutable_data_ptr<T>();
    args.depth = depth.mutable_data_ptr<T>();
    if (keep) {
      args.transmittance = transmittance.mutable_data_ptr<T>(), args.last = last.mutable_data_ptr<int32_t>();
      args.state = state.mutable_data_ptr<T>(), args.n_chunks = state.size(0);
    }
    A3D_ON_DEVICE(means_2d, blend, args);
  });
  return {color, alpha, depth, transmittance, last, state};
}

SixTensors blend_backward(const Tensor& grad_color, const Tensor& grad_alpha, const Tensor& grad_depth,
                          const Tensor& means_2d, const Tensor& conics, const Tensor& opacities, const Tensor& depths,
                          const Tensor& colors, std::optional<Tensor> background, const Tensor& radii,
                          const Tensor& geometry, const Tensor& entries, const Tensor& tile_first,
                          const Tensor& slot_first, const Tensor& alpha, const Tensor& depth,
                          const Tensor& transmittance, const Tensor& last, const Tensor& state, int64_t height,
                          int64_t width, double alpha_max, double alpha_min, double stop_transmittance) {
  const int64_t b = means_2d.size(0), n = means_2d.size(1), channels = colors.size(colors.dim() - 1);
  Tensor grad_means = new_empty(means_2d, {b, n, 2}), grad_conics = new_empty(means_2d, {b, n, 3}),
         grad_opacities = new_empty(means_2d, {b, n}), grad_depths = new_empty(means_2d, {b, n}),
         grad_colors = b ? torch::stable::empty_like(colors) : torch::stable::new_zeros(colors, colors.sizes()),
         grad_background = new_empty(means_2d, {background ? channels : 0});
  for_float_dtype(means_2d, [&]<typename T>(T) {
    const Splats<T> splats = make_splats<T>(means_2d, conics, opacities, depths, radii, height, width, alpha_min);
    BlendBackwardArgs<T> args{};
    args.forward = make_blend<T>(splats, means_2d, colors, background, geometry, entries, tile_first, slot_first,
                                 {height, width, alpha_max, alpha_min, stop_transmittance});
    BlendArgs<T>& f = args.forward;
    const int64_t pixels = b * height * width;
    STD_TORCH_CHECK(transmittance.numel() == pixels, "the images were made without keeping what the gradient needs");
    f.alpha = const_cast<T*>(input<T>("alpha", alpha, means_2d, pixels));
    f.depth = const_cast<T*>(input<T>("depth", depth, means_2d, pixels));
    f.transmittance = const_cast<T*>(input<T>("transmittance", transmittance, means_2d, pixels));
    STD_TORCH_CHECK(last.is_contiguous() && last.numel() == pixels && last.scalar_type() == ScalarType::Int,
                    "bad `last`");
    f.last = const_cast<int32_t*>(last.const_data_ptr<int32_t>());
    f.n_chunks = chunks_of(means_2d, entries, tile_first, true);
    f.state = const_cast<T*>(input<T>("state", state, means_2d, f.n_chunks * (channels + 2) * kTile * kTile));
    Tensor behind = new_empty(means_2d, {f.n_chunks, kTile * kTile});
    args.behind = behind.mutable_data_ptr<T>();
    args.grad_color = input<T>("grad_color", grad_color, means_2d, pixels * channels);
    args.grad_alpha = input<T>("grad_alpha", grad_alpha, means_2d, pixels);
    args.grad_depth = input<T>("grad_depth", grad_depth, means_2d, pixels);
    Tensor partials = new_empty(means_2d, {f.n_intersections, partial_stride(channels)});
    Tensor background_partials =
        new_empty(means_2d, {background ? splats.n_images * splats.size.tiles() * channels : 0});
    args.partials = partials.mutable_data_ptr<T>();
    args.background_partials = background_partials.mutable_data_ptr<T>();
    args.grad_means_2d = grad_means.mutable_data_ptr<T>(), args.grad_conics = grad_conics.mutable_data_ptr<T>();
    args.grad_opacities = grad_opacities.mutable_data_ptr<T>(), args.grad_depths = grad_depths.mutable_data_ptr<T>();
    args.grad_colors = grad_colors.mutable_data_ptr<T>(), args.grad_background = grad_background.mutable_data_ptr<T>();
    A3D_ON_DEVICE(means_2d, blend_backward, args);
  });
  return {grad_means, grad_conics, grad_opacities, grad_depths, grad_colors, grad_background};
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
#define A3D_LOOK "int height, int width, float alpha_max, float alpha_min, float stop_transmittance"
#define A3D_SPLATS                                                                                       \
  "Tensor means_2d, Tensor conics, Tensor opacities, Tensor depths, Tensor colors, Tensor? background, " \
  "Tensor radii, Tensor geometry, Tensor entries, Tensor tile_first, Tensor slot_first"
  m.def("gaussian_blend(" A3D_SPLATS ", " A3D_LOOK ", bool keep) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("gaussian_blend_backward(Tensor grad_color, Tensor grad_alpha, Tensor grad_depth, " A3D_SPLATS
        ", Tensor alpha, "
        "Tensor depth, Tensor transmittance, Tensor last, Tensor state, " A3D_LOOK
        ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}
#define A3D_REGISTER(m) \
  m.impl("gaussian_blend", TORCH_BOX(&blend)); \
  m.impl("gaussian_blend_backward", TORCH_BOX(&blend_backward))
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) { A3D_REGISTER(m); }
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) { A3D_REGISTER(m); }
#endif
}  // namespace asset3d::gaussian
