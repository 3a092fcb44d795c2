// Lists of the Gaussians of each tile: schema, budget, device choice, and the sorts and sums between kernels on CUDA.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <array>
#include <optional>
#include <tuple>
#include "../common/dispatch.h"
#include "../common/host_values.h"
#include "blend_math.h"
#include "tensors.h"
#include "tiles_cpu.h"

namespace asset3d::gaussian {
namespace {
struct Lists { Tensor geometry, entries, tile_first, slot_first; };

Lists new_lists(const Tensor& means_2d, ImageSize size) {
  const int64_t b = means_2d.size(0), n = means_2d.size(1);
  return {new_empty(means_2d, {b, n, kGeometry}), Tensor(),
          new_empty(means_2d, {b * size.tiles() + 1}, ScalarType::Long),
          new_empty(means_2d, {b * n + 1}, ScalarType::Long)};
}

void check_budget(int64_t total, int64_t budget, int64_t largest, int64_t at, int64_t n) {
  const int64_t limit = budget < (int64_t(1) << 31) - 1 ? budget : (int64_t(1) << 31) - 1;
  const int64_t bytes = total * int64_t(sizeof(Entry));
  STD_TORCH_CHECK(total <= limit, "blend_gaussians: ", total,
                  " intersections of Gaussians and tiles exceed "
                  "`max_intersections` = ",
                  limit, " (they take about ", bytes,
                  " bytes, the gradient at least 8 times that); the largest is "
                  "Gaussian ",
                  n ? at % n : 0, " of image ", n ? at / n : 0, " with ", largest,
                  " tiles: prune or shrink such "
                  "Gaussians, render fewer images at once, or raise the limit");
}

#ifndef A3D_EMULATE
template <typename T>
Lists tiles_on_cpu(const Tensor& means_2d, const Splats<T>& splats, int64_t budget) {
  Lists lists = new_lists(means_2d, splats.size);
  TileLists<T> work(splats, budget, lists.geometry.mutable_data_ptr<T>());
  check_budget(work.total, budget, work.largest, work.largest_at, splats.n);
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
  check_budget(total, budget, count[at + 1], at, n);
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
  Tensor tiles = new_empty(means_2d, {total}, ScalarType::Int),
         listed = new_empty(means_2d, {total, 2}, ScalarType::Int);
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
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("gaussian_tiles(Tensor means_2d, Tensor conics, Tensor opacities, Tensor depths, Tensor radii, int height, "
        "int width, float alpha_min, int max_intersections) -> (Tensor, Tensor, Tensor, Tensor)");
}
#define A3D_REGISTER(m) \
  m.impl("gaussian_tiles", TORCH_BOX(&tiles))
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) { A3D_REGISTER(m); }
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) { A3D_REGISTER(m); }
#endif
}  // namespace asset3d::gaussian
