// Lists of the Gaussians of each tile, CUDA schedule: one thread per Gaussian counts its tiles, and lists them in the
// order of depth; the caller sums and sorts in between, stably, so that the order within a tile remains that of depth.
#include "../common/launch.h"
#include "tiles_math.h"

namespace asset3d::gaussian {
namespace {
constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads) count_tiles_kernel(const TileArgs<T> a) {
  const int64_t at = global_thread();
  if (at >= a.splats.n * a.splats.n_images) return;
  const Geometry<T> g = make_geometry(splat_at(a.splats, at), a.splats.alpha_min, T(std::log2(a.splats.alpha_min)));
  T* out = a.geometry + at * kGeometry;
  out[0] = g.mean_x, out[1] = g.mean_y, out[2] = g.l11, out[3] = g.l21;
  out[4] = g.l22, out[5] = g.level, out[6] = g.reach_y, out[7] = g.widest;
  a.counts[at + 1] = int32_t(count_tiles(g, a.splats.size));
}

template <typename T>
__device__ __forceinline__ int64_t gaussian_in_order(const TileArgs<T>& a, int64_t k) {
  return k / a.splats.n * a.splats.n + a.order[k];
}

template <typename T>
__global__ void __launch_bounds__(kThreads) order_counts_kernel(const TileArgs<T> a) {
  const int64_t k = global_thread();
  if (k < a.splats.n * a.splats.n_images) a.ordered_counts[k + 1] = a.counts[gaussian_in_order(a, k) + 1];
}

template <typename T>
__global__ void __launch_bounds__(kThreads) list_tiles_kernel(const TileArgs<T> a) {
  const int64_t k = global_thread();
  if (k >= a.splats.n * a.splats.n_images) return;
  const int64_t at = gaussian_in_order(a, k), end = a.ordered_first[k + 1];
  int64_t place = a.ordered_first[k], slot = a.slot_first[at];
  if (place == end) return;
  const int32_t first_tile = int32_t(k / a.splats.n * a.splats.size.tiles());
  for_each_tile(geometry_of(a.geometry + at * kGeometry), a.splats.size, [&](int32_t tile) {
    if (place >= end) return;  // as many as were counted
    a.tiles[place] = first_tile + tile;
    a.listed[place++] = {int32_t(a.order[k]), int32_t(slot++)};
  });
}

// Thread i ends the lists of the tiles before its entry's; the last thread those of all that are left.
template <typename T>
__global__ void __launch_bounds__(kThreads) finish_tiles_kernel(const TileArgs<T> a) {
  const int64_t i = global_thread(), n_tiles = a.splats.size.tiles() * a.splats.n_images;
  if (i > a.n_intersections) return;
  const int64_t before = i == 0 ? -1 : a.sorted_tiles[i - 1],
                here = i < a.n_intersections ? a.sorted_tiles[i] : n_tiles;
  for (int64_t tile = before + 1; tile <= here; ++tile) a.tile_first[tile] = i;
  if (i < a.n_intersections) a.entries[i] = a.listed[a.sorted_from[i]];
}

template <typename T, typename Kernel>
void launch(Kernel kernel, const TileArgs<T>& a, int64_t n, void* stream) {
  if (n) A3D_LAUNCH(kernel, blocks_for(n, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), a);
}
template <typename T> int64_t n_seen(const TileArgs<T>& a) { return a.splats.n * a.splats.n_images; }
}  // namespace

template <typename T>
void count_tiles_cuda(const TileArgs<T>& a, void* stream) { launch(count_tiles_kernel<T>, a, n_seen(a), stream); }
template <typename T>
void order_counts_cuda(const TileArgs<T>& a, void* stream) { launch(order_counts_kernel<T>, a, n_seen(a), stream); }
template <typename T>
void list_tiles_cuda(const TileArgs<T>& a, void* stream) { launch(list_tiles_kernel<T>, a, n_seen(a), stream); }
template <typename T>
void finish_tiles_cuda(const TileArgs<T>& a, void* stream) {
  launch(finish_tiles_kernel<T>, a, a.n_intersections + 1, stream);
}

#define A3D_INSTANTIATE(T)                                  \
  template void count_tiles_cuda(const TileArgs<T>&, void*);  \
  template void order_counts_cuda(const TileArgs<T>&, void*); \
  template void list_tiles_cuda(const TileArgs<T>&, void*);   \
  template void finish_tiles_cuda(const TileArgs<T>&, void*);
A3D_INSTANTIATE(float)
A3D_INSTANTIATE(double)
}  // namespace asset3d::gaussian
