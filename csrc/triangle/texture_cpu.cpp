// Textures on the CPU: look-up and gradient of uv are parallel over pixels; the gradient of the texels is parallel over
// bands of texel rows, each of which takes the pixels that read it in order, so that it repeats to the bit.
#include "cpu_schedule.h"
#include "texture_math.h"

namespace asset3d::triangle {
namespace {
constexpr int kBandsPerLevel = 16;

// Calls visit(band) once for each band of texel rows that a pixel reads.
template <typename T, typename Visit>
void for_each_band(const TextureArgs<T>& a, int64_t pixel, Visit&& visit) {
  const LevelChoice<T> choice = choose_levels(a, pixel);
  for (int k = 0; k < 2; ++k) {
    if (choice.weight[k] == 0) continue;
    const int level = choice.level[k], height = a.levels[level].height;
    const Taps1<T> rows = taps_of(a.uv[2 * pixel + 1], height, a.filter, a.boundary);
    int64_t previous = -1;
    for (const int row : rows.index) {
      if (row < 0) continue;
      const int64_t band = level * kBandsPerLevel + int64_t(row) * kBandsPerLevel / height;
      if (band != previous) visit(band);
      previous = band;
    }
  }
}

template <typename T>
void add_texel_rows(const TextureArgs<T>& a, int64_t pixel, int64_t band) {
  const LevelChoice<T> choice = choose_levels(a, pixel);
  const T* grad = a.grad_out + pixel * a.n_channels;
  for (int k = 0; k < 2; ++k) {
    if (choice.weight[k] == 0 || choice.level[k] != band / kBandsPerLevel) continue;
    Taps<T> taps = taps_at(a, pixel, choice.level[k]);
    for (int& row : taps.y.index)
      if (row >= 0 && int64_t(row) * kBandsPerLevel / taps.height != band % kBandsPerLevel) row = -1;
    for_each_tap(a, taps, [&](int64_t index, T weight, T, T) {
      T* out = index < a.texture_values() ? a.grad_texture + index : a.grad_mips + (index - a.texture_values());
      for (int c = 0; c < a.n_channels; ++c) out[c] += choice.weight[k] * weight * grad[c];
    });
  }
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
  parallel_for(0, a.size.pixels(), 2048, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) texture_pixel(a, i);
  });
}

template <typename T>
void texture_backward_cpu(const TextureArgs<T>& a) {
  parallel_for(0, a.size.pixels(), 2048, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) texture_backward_uv(a, i);
  });
  const int64_t groups = a.texture_batch == 1 ? 1 : a.size.batch;
  const int64_t pixels = groups ? a.size.pixels() / groups : 0;
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = group * pixels;
    const Bins bins = bin_items(pixels, a.n_levels * kBandsPerLevel, 4096, [&](int64_t i, auto&& emit) {
      if (has_gradient(a, first + i)) for_each_band(a, first + i, emit);
    });
    for_each_job(a.n_levels * kBandsPerLevel, [&](int64_t band) {
      for (int64_t k = bins.first[band]; k < bins.first[band + 1]; ++k) add_texel_rows(a, first + bins.items[k], band);
    });
  }
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
