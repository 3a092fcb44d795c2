// Blending, CPU schedule. Tiles are handed out to threads one by one; a tile writes its own pixels and, on the way
// back, its own slots, which are then added up Gaussian by Gaussian. So there are no atomics, and the results are the
// same to the bit for any number of threads.
#include <algorithm>
#include <atomic>
#include <vector>
#include "../common/parallel.h"
#include "blend_math.h"
#include "blend_simd.h"

namespace asset3d::gaussian {
namespace {
constexpr int64_t kGrain = 1024;  // Gaussians

// Calls fn(work, scratch) for every tile of every image.
template <typename T, typename Fn>
void for_each_tile_of(const BlendArgs<T>& a, Fn&& fn) {
  const ImageSize size = a.splats.size;
  const int64_t tiles = size.tiles(), n = tiles * a.splats.n_images;
  std::atomic<int64_t> next{0};
  parallel_for(0, std::min<int64_t>(n, thread_count()), 1, [&](int64_t begin, int64_t end) {
    std::vector<T> scratch(scratch_size(a.n_channels + 1) + kTile);
    for (; begin < end; ++begin)
      for (int64_t k; (k = next++) < n;) {
        const int32_t x = int32_t(k % tiles % size.tiles_x()) * kTile, y = int32_t(k % tiles / size.tiles_x()) * kTile;
        fn(TileWork{k / tiles, x, y, std::min(x + kTile, size.width), std::min(y + kTile, size.height), k,
                    a.tile_first[k], a.tile_first[k + 1]}, scratch.data());
      }
  });
}

// --- scalar, for float64 ---------------------------------------------------------------------------------------------
template <typename T>
void blend_pixel(const BlendArgs<T>& a, const TileWork& work, int32_t x, int32_t y, T* sums) {
  const int64_t pixel = (work.image * a.splats.size.height + y) * a.splats.size.width + x, channels = a.n_channels;
  const T lowest = std::log2(a.splats.alpha_min);
  T transmittance = 1;
  int64_t k = work.first;
  std::fill(sums, sums + channels + 1, T(0));
  for (; k < work.last; ++k) {
    const int64_t i = a.entries[k].gaussian, at = work.image * a.splats.n + i;
    const T* value = a.colors + (a.shared_colors ? i : at) * channels;
    const Shade<T> shade =
        shade_at(geometry_of(a.geometry + at * kGeometry), T(x) + T(0.5), T(y) + T(0.5), a.alpha_max, lowest);
    if (!shade.blends) continue;
    const T rest = transmittance * (1 - shade.alpha);
    if (rest <= a.stop_transmittance) break;
    const T weight = transmittance * shade.alpha;
    for (int64_t c = 0; c < channels; ++c) sums[c] += weight * value[c];
    sums[channels] += weight * a.splats.depths[at];
    transmittance = rest;
  }
  for (int64_t c = 0; c < channels; ++c)
    a.color[pixel * channels + c] = sums[c] + (a.background ? transmittance * a.background[c] : T(0));
  const T alpha = 1 - transmittance;
  a.alpha[pixel] = alpha;
  a.depth[pixel] = alpha > 0 ? sums[channels] / alpha : T(0);
  if (!a.last) return;
  a.transmittance[pixel] = transmittance;
  a.last[pixel] = int32_t(k - work.first);
}

// Walks back to front; adds to the partials of the tile's slots.
template <typename T>
void blend_pixel_backward(const BlendBackwardArgs<T>& b, const TileWork& work, int32_t x, int32_t y) {
  const BlendArgs<T>& a = b.forward;
  const int64_t pixel = (work.image * a.splats.size.height + y) * a.splats.size.width + x, channels = a.n_channels;
  const int64_t out_stride = partial_stride(channels);
  const T* grad = b.grad_color + pixel * channels;
  const T lowest = std::log2(a.splats.alpha_min);
  T transmittance = a.transmittance[pixel], background_light = 0;
  for (int64_t c = 0; c < channels && a.background; ++c) {
    background_light += grad[c] * a.background[c];
    b.background_partials[work.tile * channels + c] += transmittance * grad[c];
  }
  const PixelGradient<T> own = pixel_gradient(transmittance, a.alpha[pixel], a.depth[pixel], b.grad_alpha[pixel],
                                              b.grad_depth[pixel], background_light);
  T behind = own.behind;
  for (int64_t k = work.first + a.last[pixel] - 1; k >= work.first; --k) {
    const int64_t i = a.entries[k].gaussian, at = work.image * a.splats.n + i;
    const T* value = a.colors + (a.shared_colors ? i : at) * channels;
    const Shade<T> shade =
        shade_at(geometry_of(a.geometry + at * kGeometry), T(x) + T(0.5), T(y) + T(0.5), a.alpha_max, lowest);
    if (!shade.blends) continue;
    const T inverse = 1 / (1 - shade.alpha);
    transmittance *= inverse;
    const T weight = transmittance * shade.alpha;
    T* out = b.partials + a.entries[k].slot * out_stride;
    T light = own.depth * a.splats.depths[at];
    for (int64_t c = 0; c < channels; ++c) {
      light += grad[c] * value[c];
      out[kMoments + c] += weight * grad[c];
    }
    out[kMoments + channels] += weight * own.depth;
    const T g = shade.clamped ? T(0) : -shade.alpha * alpha_gradient(transmittance, light, behind, inverse);
    behind += weight * light;
    const T gu = g * shade.u, gv = g * shade.v;
    out[kSum] += g, out[kSumU] += gu, out[kSumV] += gv;
    out[kSumUU] += gu * shade.u, out[kSumUV] += gu * shade.v, out[kSumVV] += gv * shade.v;
  }
}

template <typename T>
void blend_tile_scalar(const BlendArgs<T>& a, const TileWork& work, T* scratch) {
  for (int32_t y = work.y0; y < work.y1; ++y)
    for (int32_t x = work.x0; x < work.x1; ++x) blend_pixel(a, work, x, y, scratch);
}

template <typename T>
void blend_tile_backward_scalar(const BlendBackwardArgs<T>& b, const TileWork& work) {
  const int64_t stride = partial_stride(b.forward.n_channels);
  for (int64_t k = work.first; k < work.last; ++k) {
    T* out = b.partials + b.forward.entries[k].slot * stride;
    std::fill(out, out + stride, T(0));
  }
  for (int32_t y = work.y0; y < work.y1; ++y)
    for (int32_t x = work.x0; x < work.x1; ++x) blend_pixel_backward(b, work, x, y);
}

// --- after the tiles -------------------------------------------------------------------------------------------------
// The gradients of Gaussian i from its slots in every image, in order.
template <typename T>
void gather_gradient(const BlendBackwardArgs<T>& b, int64_t i, T* sums) {
  const BlendArgs<T>& a = b.forward;
  const int64_t channels = a.n_channels, stride = partial_stride(channels);
  if (a.shared_colors) std::fill(b.grad_colors + i * channels, b.grad_colors + (i + 1) * channels, T(0));
  for (int64_t image = 0; image < a.splats.n_images; ++image) {
    const int64_t at = image * a.splats.n + i;
    std::fill(sums, sums + kMoments + channels + 1, T(0));
    for (int64_t slot = a.slot_first[at]; slot < a.slot_first[at + 1]; ++slot)
      for (int64_t c = 0; c < kMoments + channels + 1; ++c) sums[c] += b.partials[slot * stride + c];
    if (a.slot_first[at] == a.slot_first[at + 1]) {
      std::fill_n(b.grad_means_2d + 2 * at, 2, T(0)), std::fill_n(b.grad_conics + 3 * at, 3, T(0));
      b.grad_opacities[at] = T(0);
    } else {
      geometry_gradient(geometry_of(a.geometry + at * kGeometry), a.splats.opacities[at], sums,
                        b.grad_means_2d + 2 * at, b.grad_conics + 3 * at, b.grad_opacities + at);
    }
    b.grad_depths[at] = sums[kMoments + channels];
    T* color = b.grad_colors + (a.shared_colors ? i : at) * channels;
    for (int64_t c = 0; c < channels; ++c) color[c] = (a.shared_colors ? color[c] : T(0)) + sums[kMoments + c];
  }
}

template <typename T>
void sum_background(const BlendBackwardArgs<T>& b) {
  const int64_t channels = b.forward.n_channels, n = b.forward.splats.size.tiles() * b.forward.splats.n_images;
  std::fill(b.grad_background, b.grad_background + channels, T(0));
  for (int64_t tile = 0; tile < n; ++tile)
    for (int64_t c = 0; c < channels; ++c) b.grad_background[c] += b.background_partials[tile * channels + c];
}
}  // namespace

template <typename T>
void blend_cpu(const BlendArgs<T>& a) {
  for_each_tile_of(a, [&](const TileWork& work, T* scratch) {
    if constexpr (std::is_same_v<T, float>)
      A3D_DISPATCH(blend_tile)(a, work, scratch);
    else
      blend_tile_scalar(a, work, scratch);
  });
}

template <typename T>
void blend_backward_cpu(const BlendBackwardArgs<T>& b) {
  const BlendArgs<T>& a = b.forward;
  for_each_tile_of(a, [&](const TileWork& work, T* scratch) {
    if (a.background) std::fill_n(b.background_partials + work.tile * a.n_channels, a.n_channels, T(0));
    if constexpr (std::is_same_v<T, float>)
      A3D_DISPATCH(blend_tile_backward)(b, work, scratch);
    else
      blend_tile_backward_scalar(b, work);
  });
  parallel_for(0, a.splats.n, kGrain, [&](int64_t begin, int64_t end) {
    std::vector<T> sums(kMoments + a.n_channels + 1);
    for (int64_t i = begin; i < end; ++i) gather_gradient(b, i, sums.data());
  });
  if (a.background) sum_background(b);
}

template void blend_cpu(const BlendArgs<float>&);
template void blend_cpu(const BlendArgs<double>&);
template void blend_backward_cpu(const BlendBackwardArgs<float>&);
template void blend_backward_cpu(const BlendBackwardArgs<double>&);
}  // namespace asset3d::gaussian
