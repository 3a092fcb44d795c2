// Textures on the CPU: look-up and gradient of uv are parallel over pixels; the gradient of the texels is parallel over
// bands of texel rows, each of which takes the pixels that read it in order, so that it repeats to the bit.
#include <type_traits>
#include "cpu_schedule.h"
#include "texture_math.h"

namespace asset3d::triangle {
namespace {
constexpr int kBandsPerLevel = 16;

constexpr int16_t kNoBand = -1;
struct Bands { int16_t band[4]; };  // of texel rows that a pixel reads, each once

template <typename T>
Bands bands_of(const TextureArgs<T>& a, int64_t pixel, const LevelChoice<T>& choice) {
  Bands bands{{kNoBand, kNoBand, kNoBand, kNoBand}};
  for (int k = 0; k < 2; ++k) {
    if (choice.weight[k] == 0) continue;
    const int level = choice.level[k], height = a.levels[level].height;
    const Taps1<T> rows = taps_of(a.uv[2 * pixel + 1], height, a.filter, a.boundary);
    for (int j = 0; j < 2; ++j)
      if (rows.index[j] >= 0)
        bands.band[2 * k + j] = int16_t(level * kBandsPerLevel + rows.index[j] * kBandsPerLevel / height);
    if (bands.band[2 * k] == bands.band[2 * k + 1]) bands.band[2 * k + 1] = kNoBand;
  }
  return bands;
}

template <int Channels, typename T>
void add_texel_rows(const TextureArgs<T>& a, int64_t pixel, int band) {
  const LevelChoice<T> choice = choose_levels(a, pixel);
  const int n = channels_of<Channels>(a), k = choice.level[0] == band / kBandsPerLevel ? 0 : 1;
  const T* grad = a.grad_out + pixel * n;
  Taps<T> taps = taps_at(a, pixel, choice.level[k]);
  for (int& row : taps.y.index)
    if (row >= 0 && row * kBandsPerLevel / taps.height != band % kBandsPerLevel) row = -1;
  for_each_tap(a, taps, [&](int64_t index, T weight, T, T) {
    T* out = index < a.texture_values() ? a.grad_texture + index : a.grad_mips + (index - a.texture_values());
    for (int c = 0; c < n; ++c) out[c] += choice.weight[k] * weight * grad[c];
  });
}

// The gradient of uv on the way, the bands of every pixel that has a gradient, then the texels band by band.
template <int Channels, typename T>
void backward_with_channels(const TextureArgs<T>& a) {
  std::vector<Bands> bands(a.size.pixels());
  parallel_for(0, a.size.pixels(), 2048, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const LevelChoice<T> choice = choose_levels(a, i);
      texture_backward_uv<Channels>(a, i, choice);
      bands[i] = has_gradient(a, i) ? bands_of(a, i, choice) : Bands{{kNoBand, kNoBand, kNoBand, kNoBand}};
    }
  });
  const int64_t groups = a.texture_batch == 1 ? 1 : a.size.batch, pixels = groups ? a.size.pixels() / groups : 0;
  const int n_bands = a.n_levels * kBandsPerLevel;
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = group * pixels;
    const Bins bins = bin_items(pixels, n_bands, 16384, [&](int64_t i, auto&& emit) {
      for (const int16_t band : bands[first + i].band)
        if (band != kNoBand) emit(band);
    });
    for_each_job(n_bands, [&](int64_t band) {
      for (int64_t k = bins.first[band]; k < bins.first[band + 1]; ++k)
        add_texel_rows<Channels>(a, first + bins.items[k], int(band));
    });
  }
}

// Calls fn(constant) with the number of channels where loops of that length are compiled, else with 0.
template <typename Fn>
void with_channels(int n, Fn&& fn) {
  if (n == 1) fn(std::integral_constant<int, 1>{});
  else if (n == 3) fn(std::integral_constant<int, 3>{});
  else if (n == 4) fn(std::integral_constant<int, 4>{});
  else fn(std::integral_constant<int, 0>{});
}

template <typename T, typename Fn>
void for_each_texel(const MipArgs<T>& a, int level, Fn&& fn) {
  const Level& l = a.levels[level];
  parallel_for(0, a.batch * l.height, std::max(1, 4096 / l.width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int x = 0; x < l.width; ++x) fn(row / l.height, int(row % l.height), x);
  });
}
}  // namespace

template <typename T>
void texture_cpu(const TextureArgs<T>& a) {
  with_channels(a.n_channels, [&](auto channels) {
    parallel_for(0, a.size.pixels(), 2048, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) texture_pixel<decltype(channels)::value>(a, i);
    });
  });
}

template <typename T>
void texture_backward_cpu(const TextureArgs<T>& a) {
  with_channels(a.n_channels, [&](auto channels) { backward_with_channels<decltype(channels)::value>(a); });
}

template <typename T>
void mip_chain_cpu(const MipArgs<T>& a) {
  for (int level = 1; level < a.n_levels; ++level)
    for_each_texel(a, level, [&](int64_t batch, int y, int x) { average_texel(a, batch, level, y, x); });
}

template <typename T>
void mip_chain_backward_cpu(const MipArgs<T>& a) {
  for (int level = a.n_levels - 1; level > 0; --level)
    for_each_texel(a, level, [&](int64_t batch, int y, int x) { spread_texel(a, batch, level, y, x); });
}

template void texture_cpu(const TextureArgs<float>&);
template void texture_cpu(const TextureArgs<double>&);
template void texture_backward_cpu(const TextureArgs<float>&);
template void texture_backward_cpu(const TextureArgs<double>&);
template void mip_chain_cpu(const MipArgs<float>&);
template void mip_chain_cpu(const MipArgs<double>&);
template void mip_chain_backward_cpu(const MipArgs<float>&);
template void mip_chain_backward_cpu(const MipArgs<double>&);
}  // namespace asset3d::triangle
