// Gaussian splatting: schemas, checks, outputs, device choice. The only file of this folder that knows torch tensors.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <array>
#include <atomic>
#include <optional>
#include <tuple>
#include "../common/dispatch.h"
#include "../common/host_values.h"
#include "../common/parallel.h"
#include "blend_math.h"
#include "gaussian.h"
#include "tiles_cpu.h"

namespace asset3d::gaussian {
namespace {
using torch::headeronly::ScalarType;
using torch::stable::new_empty;
using torch::stable::Tensor;

// The messages a user reads come from asset3d/ops/gaussian.py; these only keep memory safe.
template <typename T>
const T* input(const char* name, const Tensor& t, const Tensor& like, int64_t n) {
  STD_TORCH_CHECK(t.is_contiguous() && t.numel() == n && t.scalar_type() == like.scalar_type() && t.device() == like.device(),
                  name, " must be contiguous, with ", n, " values, of the dtype and on the device of the first argument");
  return t.const_data_ptr<T>();
}

ImageSize image_size(int64_t height, int64_t width) {
  STD_TORCH_CHECK(height >= 1 && width >= 1 && height <= (1 << 20) && width <= (1 << 20), "a side of the image must be in 1..2^20");
  const ImageSize size{int32_t(width), int32_t(height)};
  STD_TORCH_CHECK(size.tiles() < (int64_t(1) << 31), "the image has too many tiles");
  return size;
}

void check_count(int64_t n) { STD_TORCH_CHECK(n < (int64_t(1) << 31), "at most 2^31 - 1 Gaussians, got ", n); }

// --- projection ------------------------------------------------------------------------------------------------------
struct Lens { int64_t height, width; double nearest, farthest, dilation, alpha_min; bool normalize_quats, antialiased; };

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
  a.nearest = T(lens.nearest), a.farthest = T(lens.farthest), a.dilation = T(lens.dilation), a.alpha_min = T(lens.alpha_min);
  a.normalize_quats = lens.normalize_quats, a.antialiased = lens.antialiased;
  return a;
}

using FiveTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

FiveTensors project(const Tensor& means, const Tensor& quats, const Tensor& scales, const Tensor& opacities,
                    const Tensor& world_to_camera, const Tensor& intrinsics, int64_t height, int64_t width, double nearest,
                    double farthest, double dilation, double alpha_min, bool normalize_quats, bool antialiased) {
  const int64_t b = intrinsics.size(0), n = means.size(0);
  Tensor means_2d = new_empty(means, {b, n, 2}), conics = new_empty(means, {b, n, 3}), depths = new_empty(means, {b, n}),
         visible = new_empty(means, {b, n}), radii = new_empty(means, {b, n, 2});
  for_float_dtype(means, [&]<typename T>(T) {
    refuse_non_finite<T>("project_gaussians", "world_to_camera", world_to_camera);
    refuse_non_finite<T>("project_gaussians", "intrinsics", intrinsics);
    ProjectArgs<T> args = make_project<T>(means, quats, scales, opacities, world_to_camera, intrinsics,
        {height, width, nearest, farthest, dilation, alpha_min, normalize_quats, antialiased});
    args.means_2d = means_2d.mutable_data_ptr<T>(), args.conics = conics.mutable_data_ptr<T>();
    args.depths = depths.mutable_data_ptr<T>(), args.visible_opacities = visible.mutable_data_ptr<T>();
    args.radii = radii.mutable_data_ptr<T>();
    A3D_ON_DEVICE(means, project, args);
  });
  return {means_2d, conics, depths, visible, radii};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> project_backward(
    const Tensor& grad_means_2d, const Tensor& grad_conics, const Tensor& grad_depths, const Tensor& grad_visible,
    const Tensor& means, const Tensor& quats, const Tensor& scales, const Tensor& opacities, const Tensor& world_to_camera,
    const Tensor& intrinsics, const Tensor& radii, int64_t height, int64_t width, double nearest, double farthest,
    double dilation, double alpha_min, bool normalize_quats, bool antialiased) {
  const int64_t n = means.size(0);
  Tensor grad_means = new_empty(means, {n, 3}), grad_quats = new_empty(means, {n, 4}), grad_scales = new_empty(means, {n, 3}),
         grad_opacities = new_empty(means, {n});
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

// --- tiles -----------------------------------------------------------------------------------------------------------
template <typename T>
Splats<T> make_splats(const Tensor& means_2d, const Tensor& conics, const Tensor& opacities, const Tensor& depths,
                      const Tensor& radii, int64_t height, int64_t width, double alpha_min) {
  Splats<T> s{};
  STD_TORCH_CHECK(means_2d.dim() == 3, "means_2d must be (B, N, 2)");
  s.n_images = means_2d.size(0), s.n = means_2d.size(1);
  const int64_t seen = s.n * s.n_images;
  check_count(seen);
  s.means_2d = input<T>("means_2d", means_2d, means_2d, 2 * seen);
  s.conics = input<T>("conics", conics, means_2d, 3 * seen);
  s.opacities = input<T>("opacities", opacities, means_2d, seen);
  s.depths = input<T>("depths", depths, means_2d, seen);
  s.radii = input<T>("radii", radii, means_2d, 2 * seen);
  s.size = image_size(height, width);
  s.alpha_min = T(alpha_min);
  return s;
}

struct Lists { Tensor geometry, entries, tile_first, slot_first; };

Lists new_lists(const Tensor& means_2d, ImageSize size) {
  const int64_t b = means_2d.size(0), n = means_2d.size(1);
  return {new_empty(means_2d, {b, n, kGeometry}), Tensor(), new_empty(means_2d, {b * size.tiles() + 1}, ScalarType::Long),
          new_empty(means_2d, {b * n + 1}, ScalarType::Long)};
}

void check_budget(int64_t total, int64_t budget, int64_t largest, int64_t at, int64_t n, size_t value_bytes) {
  const int64_t limit = budget < (int64_t(1) << 31) - 1 ? budget : (int64_t(1) << 31) - 1;
  const int64_t bytes = total * int64_t(sizeof(Entry) + 16 * value_bytes);
  STD_TORCH_CHECK(total <= limit, "blend_gaussians: ", total, " intersections of Gaussians and tiles exceed "
                  "`max_intersections` = ", limit, " (they take about ", bytes, " bytes with the gradient); the largest is "
                  "Gaussian ", n ? at % n : 0, " of image ", n ? at / n : 0, " with ", largest, " tiles: prune or shrink such "
                  "Gaussians, render fewer images at once, or raise the limit");
}

#ifndef A3D_EMULATE
template <typename T>
Lists tiles_on_cpu(const Tensor& means_2d, const Splats<T>& splats, int64_t budget) {
  Lists lists = new_lists(means_2d, splats.size);
  TileLists<T> work(splats, budget, lists.geometry.mutable_data_ptr<T>());
  check_budget(work.total, budget, work.largest, work.largest_at, splats.n, sizeof(T));
  lists.entries = new_empty(means_2d, {work.total, 2}, ScalarType::Int);
  work.write(lists.slot_first.mutable_data_ptr<int64_t>(), lists.tile_first.mutable_data_ptr<int64_t>(),
             reinterpret_cast<Entry*>(lists.entries.mutable_data_ptr<int32_t>()));
  return lists;
}
#endif

#if defined(A3D_EMULATE) || defined(A3D_CUDA)
// Values along a dimension in rising order, equal ones in the order in which they were, and where they came from.
std::tuple<Tensor, Tensor> sorted(const Tensor& values, int64_t dim) {
  using torch::stable::detail::from;
  std::array<StableIValue, 4> stack{from(values), from(std::optional<bool>(true)), from(dim), from(false)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<Tensor>(stack[0]), torch::stable::detail::to<Tensor>(stack[1])};
}

// The budget, with the largest Gaussian looked up on the host only where it is exceeded.
template <typename T>
void check_counts(const Tensor& counts, int64_t total, int64_t budget, int64_t n) {
  if (total <= budget && total < (int64_t(1) << 31)) return;
  using torch::headeronly::DeviceType;
  const Tensor host = counts.is_cpu() ? counts : torch::stable::to(counts, torch::stable::Device(DeviceType::CPU));
  const int32_t* count = host.const_data_ptr<int32_t>();
  int64_t at = 0;
  for (int64_t i = 0; i + 1 < host.numel(); ++i)
    if (count[i + 1] > count[at + 1]) at = i;
  check_budget(total, budget, count[at + 1], at, n, sizeof(T));
}

template <typename T>
Lists tiles_on_device(const Tensor& means_2d, const Tensor& depths, const Splats<T>& splats, int64_t budget) {
#ifndef A3D_EMULATE
  const torch::stable::accelerator::DeviceGuard guard(means_2d.get_device_index());
#endif
  void* stream = current_stream(means_2d);
  Lists lists = new_lists(means_2d, splats.size);
  STD_TORCH_CHECK(splats.n_images * splats.size.tiles() < (int64_t(1) << 31), "the images have too many tiles");
  const int64_t seen = splats.n * splats.n_images;
  Tensor counts = torch::stable::new_zeros(means_2d, {seen + 1}, ScalarType::Int);
  Tensor ordered_counts = torch::stable::new_zeros(means_2d, {seen + 1}, ScalarType::Int);
  TileArgs<T> args{};
  args.splats = splats;
  args.geometry = lists.geometry.mutable_data_ptr<T>();
  args.counts = counts.mutable_data_ptr<int32_t>(), args.ordered_counts = ordered_counts.mutable_data_ptr<int32_t>();
  count_tiles_cuda(args, stream);
  lists.slot_first = cumulative_sum(counts);
  args.slot_first = lists.slot_first.const_data_ptr<int64_t>();
  const int64_t total = args.n_intersections = last_value(lists.slot_first);
  check_counts<T>(counts, total, budget, splats.n);
  const Tensor order = std::get<1>(sorted(depths, 1));
  args.order = order.const_data_ptr<int64_t>();
  order_counts_cuda(args, stream);
  const Tensor ordered_first = cumulative_sum(ordered_counts);
  args.ordered_first = ordered_first.const_data_ptr<int64_t>();
  Tensor tiles = new_empty(means_2d, {total}, ScalarType::Int), listed = new_empty(means_2d, {total, 2}, ScalarType::Int);
  lists.entries = new_empty(means_2d, {total, 2}, ScalarType::Int);
  args.tiles = tiles.mutable_data_ptr<int32_t>();
  args.listed = reinterpret_cast<Entry*>(listed.mutable_data_ptr<int32_t>());
  list_tiles_cuda(args, stream);
  const auto [sorted_tiles, sorted_from] = sorted(tiles, 0);
  args.sorted_tiles = sorted_tiles.template const_data_ptr<int32_t>();
  args.sorted_from = sorted_from.template const_data_ptr<int64_t>();
  args.tile_first = lists.tile_first.mutable_data_ptr<int64_t>();
  args.entries = reinterpret_cast<Entry*>(lists.entries.mutable_data_ptr<int32_t>());
  finish_tiles_cuda(args, stream);
  return lists;
}
#endif

std::tuple<Tensor, Tensor, Tensor, Tensor> tiles(
    const Tensor& means_2d, const Tensor& conics, const Tensor& opacities, const Tensor& depths, const Tensor& radii,
    int64_t height, int64_t width, double alpha_min, int64_t max_intersections) {
  Lists lists;
  for_float_dtype(means_2d, [&]<typename T>(T) {
    const Splats<T> splats = make_splats<T>(means_2d, conics, opacities, depths, radii, height, width, alpha_min);
#if defined(A3D_EMULATE)
    lists = tiles_on_device<T>(means_2d, depths, splats, max_intersections);
#elif defined(A3D_CUDA)
    lists = means_2d.is_cuda() ? tiles_on_device<T>(means_2d, depths, splats, max_intersections)
                               : tiles_on_cpu<T>(means_2d, splats, max_intersections);
#else
    lists = tiles_on_cpu<T>(means_2d, splats, max_intersections);
#endif
  });
  return {lists.geometry, lists.entries, lists.tile_first, lists.slot_first};
}

// --- blending --------------------------------------------------------------------------------------------------------
struct Look { int64_t height, width; double alpha_max, alpha_min, stop_transmittance; };

// Lists come from the operator above; a caller who makes them up must not reach outside of the memory on the CPU.
void check_lists(const Tensor& entries, const Tensor& tile_first, const Tensor& slot_first, int64_t n, int64_t n_images,
                 int64_t n_tiles) {
  const auto is = [](const Tensor& t, ScalarType type, int64_t count) {
    return t.is_contiguous() && t.scalar_type() == type && t.numel() == count;
  };
  STD_TORCH_CHECK(is(entries, ScalarType::Int, entries.size(0) * 2) && is(tile_first, ScalarType::Long, n_images * n_tiles + 1) &&
                  is(slot_first, ScalarType::Long, n_images * n + 1), "the lists of tiles do not fit the Gaussians");
  if (!entries.is_cpu()) return;
  const int64_t total = entries.size(0);
  const Entry* entry = reinterpret_cast<const Entry*>(entries.const_data_ptr<int32_t>());
  std::atomic<bool> bad{false};
  parallel_for(0, total, 1 << 15, [&](int64_t begin, int64_t end) {
    uint32_t outside = 0;
    for (int64_t i = begin; i < end; ++i)
      outside |= uint32_t(uint32_t(entry[i].gaussian) >= uint32_t(n)) | uint32_t(uint32_t(entry[i].slot) >= uint32_t(total));
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

template <typename T>
Tensor make_records(const Tensor& like, BlendArgs<T>& a) {
  const int64_t n = on_cpu(like) ? a.splats.n * a.splats.n_images : 0;
  Tensor records = new_empty(like, {n, record_stride(a.n_channels)});
  a.records = records.mutable_data_ptr<T>();
  return records;
}

int64_t chunks_of(const Tensor& like, const Tensor& entries, const Tensor& tile_first) {
  return on_cpu(like) ? 0 : chunk_count(entries.size(0), tile_first.size(0) - 1);
}

using SixTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

SixTensors blend(const Tensor& means_2d, const Tensor& conics, const Tensor& opacities, const Tensor& depths,
                  const Tensor& colors, std::optional<Tensor> background, const Tensor& radii, const Tensor& geometry,
                  const Tensor& entries, const Tensor& tile_first, const Tensor& slot_first, int64_t height, int64_t width, double alpha_max,
                  double alpha_min, double stop_transmittance) {
  const int64_t b = means_2d.size(0), channels = colors.size(colors.dim() - 1);
  Tensor color = new_empty(means_2d, {b, height, width, channels}), alpha = new_empty(means_2d, {b, height, width, 1}),
         depth = new_empty(means_2d, {b, height, width, 1}), transmittance = new_empty(means_2d, {b, height, width}),
         last = new_empty(means_2d, {b, height, width}, ScalarType::Int),
         state = new_empty(means_2d, {chunks_of(means_2d, entries, tile_first), channels + 2, kTile * kTile});
  for_float_dtype(means_2d, [&]<typename T>(T) {
    refuse_non_finite<T>("blend_gaussians", "colors", colors);
    if (background) refuse_non_finite<T>("blend_gaussians", "background", *background);
    const Splats<T> splats = make_splats<T>(means_2d, conics, opacities, depths, radii, height, width, alpha_min);
    BlendArgs<T> args = make_blend<T>(splats, means_2d, colors, background, geometry, entries, tile_first, slot_first,
                                      {height, width, alpha_max, alpha_min, stop_transmittance});
    const Tensor records = make_records(means_2d, args);
    args.color = color.mutable_data_ptr<T>(), args.alpha = alpha.mutable_data_ptr<T>();
    args.depth = depth.mutable_data_ptr<T>(), args.transmittance = transmittance.mutable_data_ptr<T>();
    args.last = last.mutable_data_ptr<int32_t>();
    args.state = state.mutable_data_ptr<T>(), args.n_chunks = state.size(0);
    A3D_ON_DEVICE(means_2d, blend, args);
  });
  return {color, alpha, depth, transmittance, last, state};
}

SixTensors blend_backward(
    const Tensor& grad_color, const Tensor& grad_alpha, const Tensor& grad_depth, const Tensor& means_2d,
    const Tensor& conics, const Tensor& opacities, const Tensor& depths, const Tensor& colors,
    std::optional<Tensor> background, const Tensor& radii, const Tensor& geometry, const Tensor& entries, const Tensor& tile_first,
    const Tensor& slot_first, const Tensor& alpha, const Tensor& depth, const Tensor& transmittance, const Tensor& last,
    const Tensor& state, int64_t height, int64_t width, double alpha_max, double alpha_min, double stop_transmittance) {
  const int64_t b = means_2d.size(0), n = means_2d.size(1), channels = colors.size(colors.dim() - 1);
  Tensor grad_means = new_empty(means_2d, {b, n, 2}), grad_conics = new_empty(means_2d, {b, n, 3}),
         grad_opacities = new_empty(means_2d, {b, n}), grad_depths = new_empty(means_2d, {b, n}),
         grad_colors = b ? torch::stable::empty_like(colors) : torch::stable::new_zeros(colors, colors.sizes()), grad_background = new_empty(means_2d, {background ? channels : 0});
  for_float_dtype(means_2d, [&]<typename T>(T) {
    const Splats<T> splats = make_splats<T>(means_2d, conics, opacities, depths, radii, height, width, alpha_min);
    BlendBackwardArgs<T> args{};
    args.forward = make_blend<T>(splats, means_2d, colors, background, geometry, entries, tile_first, slot_first,
                                 {height, width, alpha_max, alpha_min, stop_transmittance});
    BlendArgs<T>& f = args.forward;
    const Tensor records = make_records(means_2d, f);
    const int64_t pixels = b * height * width;
    f.alpha = const_cast<T*>(input<T>("alpha", alpha, means_2d, pixels));
    f.depth = const_cast<T*>(input<T>("depth", depth, means_2d, pixels));
    f.transmittance = const_cast<T*>(input<T>("transmittance", transmittance, means_2d, pixels));
    STD_TORCH_CHECK(last.is_contiguous() && last.numel() == pixels && last.scalar_type() == ScalarType::Int, "bad `last`");
    f.last = const_cast<int32_t*>(last.const_data_ptr<int32_t>());
    f.n_chunks = chunks_of(means_2d, entries, tile_first);
    f.state = const_cast<T*>(input<T>("state", state, means_2d, f.n_chunks * (channels + 2) * kTile * kTile));
    Tensor behind = new_empty(means_2d, {f.n_chunks, kTile * kTile});
    args.behind = behind.mutable_data_ptr<T>();
    args.grad_color = input<T>("grad_color", grad_color, means_2d, pixels * channels);
    args.grad_alpha = input<T>("grad_alpha", grad_alpha, means_2d, pixels);
    args.grad_depth = input<T>("grad_depth", grad_depth, means_2d, pixels);
    Tensor partials = new_empty(means_2d, {f.n_intersections, partial_stride(channels)});
    Tensor background_partials = new_empty(means_2d, {background ? splats.n_images * splats.size.tiles() * channels : 0});
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
#define A3D_LENS "int height, int width, float nearest, float farthest, float dilation, float alpha_min, " \
                 "bool normalize_quats, bool antialiased"
#define A3D_LOOK "int height, int width, float alpha_max, float alpha_min, float stop_transmittance"
#define A3D_SPLATS "Tensor means_2d, Tensor conics, Tensor opacities, Tensor depths, Tensor colors, Tensor? background, " \
                   "Tensor radii, Tensor geometry, Tensor entries, Tensor tile_first, Tensor slot_first"
  m.def("gaussian_project(Tensor means, Tensor quats, Tensor scales, Tensor opacities, Tensor world_to_camera, "
        "Tensor intrinsics, " A3D_LENS ") -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("gaussian_project_backward(Tensor grad_means_2d, Tensor grad_conics, Tensor grad_depths, Tensor grad_opacities, "
        "Tensor means, Tensor quats, Tensor scales, Tensor opacities, Tensor world_to_camera, Tensor intrinsics, "
        "Tensor radii, " A3D_LENS ") -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("gaussian_tiles(Tensor means_2d, Tensor conics, Tensor opacities, Tensor depths, Tensor radii, int height, "
        "int width, float alpha_min, int max_intersections) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("gaussian_blend(" A3D_SPLATS ", " A3D_LOOK ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def("gaussian_blend_backward(Tensor grad_color, Tensor grad_alpha, Tensor grad_depth, " A3D_SPLATS ", Tensor alpha, "
        "Tensor depth, Tensor transmittance, Tensor last, Tensor state, " A3D_LOOK ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}
#define A3D_REGISTER(m)                                              \
  m.impl("gaussian_project", TORCH_BOX(&project));                   \
  m.impl("gaussian_project_backward", TORCH_BOX(&project_backward)); \
  m.impl("gaussian_tiles", TORCH_BOX(&tiles));                       \
  m.impl("gaussian_blend", TORCH_BOX(&blend));                       \
  m.impl("gaussian_blend_backward", TORCH_BOX(&blend_backward))
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) { A3D_REGISTER(m); }
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) { A3D_REGISTER(m); }
#endif
}  // namespace asset3d::gaussian
