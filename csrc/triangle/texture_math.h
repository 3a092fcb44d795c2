#pragma once
// Texture look-up of one pixel: which texels, with which weights, from which levels (Williams 1983; the level follows
// the longest axis of the pixel's footprint).
#include <cmath>
#include "../common/macros.h"
#include "texture.h"

namespace asset3d::triangle {

// Two neighbouring texels along one axis; -1 is outside and counts as zero.
template <typename T>
struct Taps1 {
  int index[2];
  T weight[2];
};

template <typename T>
A3D_FN T clamp_to(T v, T low, T high) { return v > low ? (v < high ? v : high) : low; }  // NaN becomes low

template <typename T>
A3D_FN int wrap_index(int i, int n, int boundary) {
  if (boundary == kWrap) return i < 0 ? i + n : i >= n ? i - n : i;
  if (boundary == kClamp) return i < 0 ? 0 : i >= n ? n - 1 : i;
  return i < 0 || i >= n ? -1 : i;
}

// coordinate 0 is the edge before the first texel, 1 the edge after the last.
template <typename T>
A3D_FN Taps1<T> taps_of(T coordinate, int n, int filter, int boundary) {
  using std::floor;
  T at = boundary == kWrap ? clamp_to(coordinate - floor(coordinate), T(0), T(1)) * T(n) : coordinate * T(n);
  at = clamp_to(at, T(-2), T(n) + T(2));
  if (filter == kNearest) {
    const int index = wrap_index<T>(int(floor(at)), n, boundary);
    return {{index, -1}, {T(1), T(0)}};
  }
  at -= T(0.5);
  const T lower = floor(at), fraction = at - lower;
  return {{wrap_index<T>(int(lower), n, boundary), wrap_index<T>(int(lower) + 1, n, boundary)},
          {T(1) - fraction, fraction}};
}

template <typename T>
struct Taps {
  Taps1<T> x, y;
  int64_t base;  // flat index of value 0 of the level: below texture_values() in the texture, else in the mips
  int height, width;
};

template <typename T>
A3D_FN Taps<T> taps_at(const TextureArgs<T>& a, int64_t pixel, int level) {
  const Level& l = a.levels[level];
  const int64_t batch = a.texture_batch == 1 ? 0 : pixel / (int64_t(a.size.width) * a.size.height);
  const int64_t texel = batch * a.texels(level) + l.first;
  return {taps_of(a.uv[2 * pixel], l.width, a.filter, a.boundary),
          taps_of(a.uv[2 * pixel + 1], l.height, a.filter, a.boundary),
          texel * a.n_channels + (level ? a.texture_values() : 0), l.height, l.width};
}

template <typename T>
A3D_FN const T* values_at(const TextureArgs<T>& a, int64_t index) {
  return index < a.texture_values() ? a.texture + index : a.mips + (index - a.texture_values());
}

// Calls visit(index of channel 0, weight, slope along u, slope along v) for the texels inside.
template <typename T, typename Visit>
A3D_FN void for_each_tap(const TextureArgs<T>& a, const Taps<T>& taps, Visit&& visit) {
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 2; ++i) {
      const int x = taps.x.index[i], y = taps.y.index[j];
      if (x < 0 || y < 0) continue;
      const bool flat = a.filter == kNearest;
      const T slope_x = flat ? T(0) : (i ? T(1) : T(-1)) * taps.y.weight[j] * T(taps.width);
      const T slope_y = flat ? T(0) : (j ? T(1) : T(-1)) * taps.x.weight[i] * T(taps.height);
      visit(taps.base + (int64_t(y) * taps.width + x) * a.n_channels, taps.x.weight[i] * taps.y.weight[j], slope_x,
            slope_y);
    }
}

// The footprint of a pixel on the texture: the lengths that its longest axis is half the sum of.
template <typename T>
struct Footprint { T difference[2], sum[2], length[2]; };

template <typename T>
A3D_FN Footprint<T> footprint_at(const TextureArgs<T>& a, int64_t pixel) {
  using std::sqrt;
  const T* d = a.uv_da + pixel * 4;
  const T width = T(a.levels[0].width), height = T(a.levels[0].height);
  const T ux = d[0] * width, uy = d[1] * width, vx = d[2] * height, vy = d[3] * height;
  Footprint<T> f{{ux - vy, uy + vx}, {ux + vy, uy - vx}, {}};
  f.length[0] = sqrt(f.difference[0] * f.difference[0] + f.difference[1] * f.difference[1]);
  f.length[1] = sqrt(f.sum[0] * f.sum[0] + f.sum[1] * f.sum[1]);
  return f;
}

// The one or two levels that a pixel reads.
template <typename T>
struct LevelChoice {
  int level[2];
  T weight[2];
  bool inside;  // strictly between the first and last level: the choice moves with the footprint
};

template <typename T>
A3D_FN LevelChoice<T> choose_levels(const TextureArgs<T>& a, int64_t pixel) {
  const int last = a.n_levels - 1;
  if (a.filter < kMipNearest || last == 0) return {{0, 0}, {T(1), T(0)}, false};
  using std::floor;
  using std::log2;
  const Footprint<T> f = footprint_at(a, pixel);
  const T raw = log2(T(0.5) * (f.length[0] + f.length[1])), level = clamp_to(raw, T(0), T(last));
  if (a.filter == kMipNearest) return {{int(level + T(0.5)), 0}, {T(1), T(0)}, false};
  const int lower = int(floor(level)) < last ? int(floor(level)) : last - 1;
  return {{lower, lower + 1}, {T(lower + 1) - level, level - T(lower)}, raw > 0 && raw < T(last)};
}

// Loops over channels have a known length where Channels is not 0.
template <int Channels, typename T>
A3D_FN int channels_of(const TextureArgs<T>& a) { return Channels ? Channels : a.n_channels; }

template <int Channels = 0, typename T>
A3D_FN void texture_pixel(const TextureArgs<T>& a, int64_t pixel) {
  const int n = channels_of<Channels>(a);
  T* out = a.out + pixel * n;
  T kept[Channels ? Channels : 1];  // a known number of channels is summed in registers
  T* sum = Channels ? kept : out;
  for (int c = 0; c < n; ++c) sum[c] = 0;
  const LevelChoice<T> choice = choose_levels(a, pixel);
  for (int k = 0; k < 2; ++k) {
    if (choice.weight[k] == 0) continue;
    const T share = choice.weight[k];
    for_each_tap(a, taps_at(a, pixel, choice.level[k]), [&](int64_t index, T weight, T, T) {
      const T* texel = values_at(a, index);
      for (int c = 0; c < n; ++c) sum[c] += share * weight * texel[c];
    });
  }
  if (Channels)
    for (int c = 0; c < n; ++c) out[c] = sum[c];
}

// Gradients of uv and of its pixel derivatives.
template <int Channels = 0, typename T>
A3D_FN void texture_backward_uv(const TextureArgs<T>& a, int64_t pixel, const LevelChoice<T>& choice) {
  const int n = channels_of<Channels>(a);
  const T* grad = a.grad_out + pixel * n;
  T grad_u = 0, grad_v = 0, grad_level = 0;
  for (int k = 0; k < 2; ++k) {
    if (choice.weight[k] == 0 && !choice.inside) continue;
    for_each_tap(a, taps_at(a, pixel, choice.level[k]), [&](int64_t index, T weight, T slope_x, T slope_y) {
      const T* texel = values_at(a, index);
      T dot = 0;
      for (int c = 0; c < n; ++c) dot += grad[c] * texel[c];
      grad_u += choice.weight[k] * slope_x * dot;
      grad_v += choice.weight[k] * slope_y * dot;
      grad_level += k ? weight * dot : -weight * dot;
    });
  }
  a.grad_uv[2 * pixel] = grad_u;
  a.grad_uv[2 * pixel + 1] = grad_v;
  if (!a.grad_uv_da) return;
  T* out = a.grad_uv_da + pixel * 4;
  for (int k = 0; k < 4; ++k) out[k] = 0;
  if (!choice.inside) return;
  const Footprint<T> f = footprint_at(a, pixel);
  const T scale = grad_level / (T(0.6931471805599453) * (f.length[0] + f.length[1]));
  const T p = f.length[0] > 0 ? scale / f.length[0] : T(0), q = f.length[1] > 0 ? scale / f.length[1] : T(0);
  const T width = T(a.levels[0].width), height = T(a.levels[0].height);
  out[0] = width * (p * f.difference[0] + q * f.sum[0]);
  out[1] = width * (p * f.difference[1] + q * f.sum[1]);
  out[2] = height * (p * f.difference[1] - q * f.sum[1]);
  out[3] = height * (q * f.sum[0] - p * f.difference[0]);
}

template <typename T>
A3D_FN bool has_gradient(const TextureArgs<T>& a, int64_t pixel) {
  for (int c = 0; c < a.n_channels; ++c)
    if (a.grad_out[pixel * a.n_channels + c] != 0) return true;
  return false;
}

// add(index, value) receives the gradients of the texels that a pixel reads.
template <typename T, typename Add>
A3D_FN void texture_backward_texels(const TextureArgs<T>& a, int64_t pixel, Add&& add) {
  const T* grad = a.grad_out + pixel * a.n_channels;
  const LevelChoice<T> choice = choose_levels(a, pixel);
  for (int k = 0; k < 2; ++k) {
    if (choice.weight[k] == 0) continue;
    const T share = choice.weight[k];
    for_each_tap(a, taps_at(a, pixel, choice.level[k]), [&](int64_t index, T weight, T, T) {
      for (int c = 0; c < a.n_channels; ++c) add(index + c, share * weight * grad[c]);
    });
  }
}

// The texels of level - 1 that one texel of `level` averages; an axis of one texel stays as it is.
struct Parents { int y, x, n_y, n_x; };
A3D_FN Parents parents_of(const Level& finer, const Level& coarser, int y, int x) {
  const int n_y = finer.height / coarser.height, n_x = finer.width / coarser.width;
  return {y * n_y, x * n_x, n_y, n_x};
}

template <typename T>
A3D_FN T* mip_texel(const MipArgs<T>& a, T* level0, int64_t batch, int level, int y, int x) {
  const Level& l = a.levels[level];
  T* base = level ? a.mips + batch * a.mip_texels * a.n_channels
                  : level0 + batch * a.levels[0].height * a.levels[0].width * a.n_channels;
  return base + (l.first + int64_t(y) * l.width + x) * a.n_channels;
}

template <typename T>
A3D_FN void average_texel(const MipArgs<T>& a, int64_t batch, int level, int y, int x) {
  const Parents p = parents_of(a.levels[level - 1], a.levels[level], y, x);
  T* texture = const_cast<T*>(a.texture);
  T* out = mip_texel(a, texture, batch, level, y, x);
  const T share = T(1) / T(p.n_y * p.n_x);
  for (int c = 0; c < a.n_channels; ++c) {
    T sum = 0;
    for (int j = 0; j < p.n_y; ++j)
      for (int i = 0; i < p.n_x; ++i) sum += mip_texel(a, texture, batch, level - 1, p.y + j, p.x + i)[c];
    out[c] = sum * share;
  }
}

template <typename T>
A3D_FN void spread_texel(const MipArgs<T>& a, int64_t batch, int level, int y, int x) {
  const Parents p = parents_of(a.levels[level - 1], a.levels[level], y, x);
  const T* grad = mip_texel(a, a.grad_texture, batch, level, y, x);
  const T share = T(1) / T(p.n_y * p.n_x);
  for (int j = 0; j < p.n_y; ++j)
    for (int i = 0; i < p.n_x; ++i) {
      T* finer = mip_texel(a, a.grad_texture, batch, level - 1, p.y + j, p.x + i);
      for (int c = 0; c < a.n_channels; ++c) finer[c] += share * grad[c];
    }
}
}  // namespace asset3d::triangle
