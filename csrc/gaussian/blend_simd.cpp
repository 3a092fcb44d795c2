// Lanes: the 4 x 4 pixels of a block of a tile; all of them with AVX-512. A Gaussian visits the blocks that its ellipse
// touches and that have not stopped: those of the small ones that make up a picture fill squares better than rows.
#include "../common/simd.h"
#include "../common/simd_math.h"
#include "blend_simd.h"
#include "tiles_math.h"

namespace asset3d::gaussian::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;

namespace {
constexpr int kPixels = kTile * kTile, kBlockPixels = kBlock * kBlock, kParts = kBlockPixels / kLanes;
constexpr int kAcross = kTile / kBlock;  // blocks
constexpr int kBatch = 64;               // entries whose blocks are found at a time
static_assert(kBatch % kLanes == 0 && kGeometry == 8);

// Of a block's pixels, from its corner.
A3D_LANE Float column_of(int part) { return to_float((lane_numbers() + Int(part * kLanes)) & Int(kBlock - 1)); }
A3D_LANE Float row_of(int part) { return to_float((lane_numbers() + Int(part * kLanes)) >> 2); }

// Where pixel (x, y) of a tile lies in a plane: block after block.
A3D_LANE int place_of(int x, int y) { return ((y & ~3) + (x >> 2)) * kBlockPixels + (y & 3) * kBlock + (x & 3); }

struct Planes {  // each of kPixels
  float *transmittance, *behind, *values;  // `values`: one plane per value
  int32_t* last;
  float* sums;  // backward: kLanes per value
};
A3D_LANE Planes planes_in(float* scratch, int n_values) {
  float* at = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(scratch) + 63) & ~uintptr_t(63));
  return {at, at + kPixels, at + 3 * kPixels, reinterpret_cast<int32_t*>(at + 2 * kPixels),
          at + (3 + n_values) * kPixels};
}

// Numbers of the whole call, as lanes.
struct Limits {
  Float lowest_exponent, alpha_max, stop;
  A3D_LANE explicit Limits(const BlendArgs<float>& a)
      : lowest_exponent(std::log2(a.splats.alpha_min)), alpha_max(a.alpha_max), stop(a.stop_transmittance) {}
};

// --- which blocks ----------------------------------------------------------------------------------------------------
// Bits of the blocks of the tile that each of n <= kBatch entries touches. Lanes: entries.
A3D_LANE void find_blocks(const BlendArgs<float>& a, const TileWork& work, int64_t first, int n, int32_t* blocks) {
  const float* geometry = a.geometry + work.image * a.splats.n * kGeometry;
  for (int i = 0; i < n; i += kLanes) {
    const auto row = [&](int lane) {  // beyond the last one, that one again
      return geometry + a.entries[first + (i + lane < n ? i + lane : n - 1)].gaussian * kGeometry;
    };
    Float field[kGeometry];
    load_fours_at(row, field);
    load_fours_at([&](int lane) { return row(lane) + 4; }, field + 4);
    const Geometry<Float> g{field[0] - Float(float(work.x0)), field[1] - Float(float(work.y0)), field[2], field[3],
                            field[4], field[5], field[6], field[7]};
    const Float inverse_l11 = Float(1.0f) / g.l11;
    Int found(0);
    for (int row = 0; row < kAcross; ++row) {
      const Float top(float(row * kBlock) + 0.5f);
      const Span<Float> columns = columns_between(g, inverse_l11, top, top + Float(float(kBlock - 1)));
      for (int column = 0; column < kAcross; ++column) {
        const float left = float(column * kBlock) + 0.5f;
        const Mask touched = (columns.low <= Float(left + float(kBlock - 1))) & (columns.high >= Float(left));
        found = found | select(touched, Int(1 << (row * kAcross + column)), Int(0));
      }
    }
    store(blocks + i, found);
  }
}

// A Gaussian in a tile: u and v at the pixels of the first block, and what each block adds to them.
struct Ellipse {
  Float u[kParts], v[kParts], level;
  alignas(64) float u_shift[kAcross * kAcross], v_shift[kAcross * kAcross];
  A3D_LANE Ellipse(const Geometry<float>& g, const TileWork& work) : level(g.level) {
    const Float l11(g.l11), l21(g.l21), l22(g.l22);
    const Float mean_x(g.mean_x - float(work.x0) - 0.5f), mean_y(g.mean_y - float(work.y0) - 0.5f);
    for (int part = 0; part < kParts; ++part) {  // 16 pixels of a block lie as the 16 blocks of a tile
      const Float column = column_of(part), row = row_of(part), dy = row - mean_y, size{float(kBlock)};
      u[part] = fma(l11, column - mean_x, l21 * dy);
      v[part] = l22 * dy;
      store(u_shift + part * kLanes, fma(l11, column, l21 * row) * size);
      store(v_shift + part * kLanes, l22 * row * size);
    }
  }
  A3D_LANE Float u_in(int block, int part) const { return u[part] + Float(u_shift[block]); }
  A3D_LANE Float v_in(int block, int part) const { return v[part] + Float(v_shift[block]); }
};
static_assert(kAcross == kBlock);

// Where the numbers of a Gaussian lie.
struct Source {
  const float *geometry, *color, *depth;
  A3D_LANE Source(const BlendArgs<float>& a, const TileWork& work, int64_t k) {
    const int64_t i = a.entries[k].gaussian, at = work.image * a.splats.n + i;
    geometry = a.geometry + at * kGeometry;
    color = a.colors + (a.shared_colors ? i : at) * a.n_channels;
    depth = a.splats.depths + at;
  }
};

// Colour and depth of a Gaussian: in registers, where their number is known, while it visits its blocks.
template <int kFixed>
struct Values {
  Float value[kFixed];
  A3D_LANE Values(const Source& source, int) {
    for (int c = 0; c < kFixed - 1; ++c) value[c] = Float(source.color[c]);
    value[kFixed - 1] = Float(*source.depth);
  }
  A3D_LANE Float operator[](int c) const { return value[c]; }
};
template <>
struct Values<0> {
  const Source& source;
  int n_channels;
  A3D_LANE Values(const Source& source, int n_channels) : source(source), n_channels(n_channels) {}
  A3D_LANE Float operator[](int c) const { return Float(c < n_channels ? source.color[c] : *source.depth); }
};

// Gaussians lie anywhere in memory: those of the next entries are fetched while some are worked on.
A3D_LANE void fetch(const BlendArgs<float>& a, const TileWork& work, int64_t first, int64_t last) {
  for (int64_t k = first; k < last; ++k) {
    const Source source(a, work, k);
    __builtin_prefetch(source.geometry);
    __builtin_prefetch(source.color);
    __builtin_prefetch(source.depth);
  }
}

// --- between planes and images ---------------------------------------------------------------------------------------
// fn(place in a plane, pixel of the image, how many): runs of pixels that lie side by side in both.
template <typename Fn>
A3D_LANE void for_each_run(const BlendArgs<float>& a, const TileWork& work, Fn fn) {
  for (int y = work.y0; y < work.y1; ++y) {
    const int64_t first = (work.image * a.splats.size.height + y) * a.splats.size.width + work.x0;
    for (int x = 0; x < work.x1 - work.x0; x += kBlock) {
      const int left = work.x1 - work.x0 - x;
      fn(place_of(x, y - work.y0), first + x, left < kBlock ? left : kBlock);
    }
  }
}

template <typename T>
A3D_LANE void copy_run(const T* from, T* to, int n) {
  if (n == kBlock) {
    __builtin_memcpy(to, from, kBlock * sizeof(T));
    return;
  }
  for (int i = 0; i < n; ++i) to[i] = from[i];
}

// --- forward ---------------------------------------------------------------------------------------------------------
// A pixel that has stopped keeps its transmittance with a minus sign. There is no branch on that: when a pixel stops
// can not be predicted. kFixed: colours and depth, or 0 for any number of them. kKeep: whether there will be a
// gradient.
template <int kFixed, bool kKeep>
A3D_LANE void blend_block(const Limits& limits, const Values<kFixed>& values, const Planes& p, int n_values,
                          const Ellipse& ellipse, int block, int part, int32_t position) {
  const int at = block * kBlockPixels + part * kLanes;
  const Float exponent = exponent_at(ellipse.level, ellipse.u_in(block, part), ellipse.v_in(block, part));
  const Float before = load(p.transmittance + at);
  const Mask shows = (exponent >= limits.lowest_exponent) & (before > Float(0.0f));
  if (kParts > 1 && none(shows)) return;
  const Float alpha = min(exp2_within(exponent), limits.alpha_max), after = before * (Float(1.0f) - alpha);
  const Mask stops = shows & (after <= limits.stop), adds = shows & ~stops;
  if (kKeep) store(p.last + at, Int(position), stops);
  store(p.transmittance + at, select(adds, after, select(stops, -before, before)));
  const Float weight = select(adds, before * alpha, Float(0.0f));
  const int n = kFixed ? kFixed : n_values;
  for (int c = 0; c < n; ++c) {
    float* sum = p.values + c * kPixels + at;
    store(sum, fma(weight, values[c], load(sum)));
  }
}

A3D_LANE void start_tile(const BlendArgs<float>& a, const TileWork& work, const Planes& p, int n_values) {
  const bool whole = work.x1 - work.x0 == kTile && work.y1 - work.y0 == kTile;
  for (int i = 0; i < kPixels; i += kLanes) {
    store(p.transmittance + i, Float(whole ? 1.0f : -1.0f));
    store(p.last + i, Int(int32_t(work.last - work.first)));
    for (int c = 0; c < n_values; ++c) store(p.values + c * kPixels + i, Float(0.0f));
  }
  if (whole) return;
  for_each_run(a, work, [&](int at, int64_t, int n) {
    for (int i = 0; i < n; ++i) p.transmittance[at + i] = 1.0f;
  });
}

// Bits of the blocks with a pixel that has not stopped.
A3D_LANE uint32_t live_blocks(const Planes& p) {
  uint32_t live = 0;
  for (int i = 0; i < kPixels; i += kLanes)
    if (any(load(p.transmittance + i) > Float(0.0f))) live |= 1u << (i / kBlockPixels);
  return live;
}

template <int kFixed, bool kKeep>
A3D_LANE void write_tile(const BlendArgs<float>& a, const TileWork& work, const Planes& p, int n_values) {
  const int channels = (kFixed ? kFixed : n_values) - 1;
  float *depths = p.values + channels * kPixels, *alphas = p.behind;
  for (int i = 0; i < kPixels; i += kLanes) {
    const Float transmittance = abs(load(p.transmittance + i)), alpha = Float(1.0f) - transmittance;
    store(p.transmittance + i, transmittance);
    store(alphas + i, alpha);
    store(depths + i, select(alpha > Float(0.0f), load(depths + i) / alpha, Float(0.0f)));
    for (int c = 0; c < channels && a.background; ++c) {
      float* value = p.values + c * kPixels + i;
      store(value, fma(transmittance, Float(a.background[c]), load(value)));
    }
  }
  for_each_run(a, work, [&](int at, int64_t pixel, int n) {
    if (kKeep) {
      copy_run(p.transmittance + at, a.transmittance + pixel, n);
      copy_run(p.last + at, a.last + pixel, n);
    }
    copy_run(alphas + at, a.alpha + pixel, n);
    copy_run(depths + at, a.depth + pixel, n);
    float* color = a.color + pixel * channels;
    if (kFixed && n == kBlock) {  // as many reads and writes as there are numbers, in one go
      float run[kBlock * (kFixed ? kFixed : 1)];
      for (int i = 0; i < kBlock; ++i)
        for (int c = 0; c < channels; ++c) run[i * channels + c] = p.values[c * kPixels + at + i];
      __builtin_memcpy(color, run, sizeof(float) * kBlock * ((kFixed ? kFixed : 1) - 1));
      return;
    }
    for (int i = 0; i < n; ++i)
      for (int c = 0; c < channels; ++c) color[i * channels + c] = p.values[c * kPixels + at + i];
  });
}

template <int kFixed, bool kKeep>
A3D_LANE void blend_tile_of(const BlendArgs<float>& a, const TileWork& work, float* scratch) {
  const int n_values = kFixed ? kFixed : int(a.n_channels) + 1;
  const Planes p = planes_in(scratch, n_values);
  const Limits limits(a);
  const auto end_of = [&](int64_t first) { return first + kBatch < work.last ? first + kBatch : work.last; };
  fetch(a, work, work.first, end_of(work.first));
  start_tile(a, work, p, n_values);
  int32_t blocks[kBatch];
  for (int64_t first = work.first; first < work.last; first += kBatch) {
    const uint32_t live = live_blocks(p);
    if (live == 0) break;
    const int n = int(end_of(first) - first);
    find_blocks(a, work, first, n, blocks);
    fetch(a, work, first + n, end_of(first + n));
    for (int i = 0; i < n; ++i) {
      uint32_t touched = uint32_t(blocks[i]) & live;
      if (touched == 0) continue;
      const Source source(a, work, first + i);
      const Ellipse ellipse(geometry_of(source.geometry), work);
      const Values<kFixed> values(source, n_values - 1);
      for (; touched; touched &= touched - 1)
        for (int part = 0; part < kParts; ++part)
          blend_block<kFixed, kKeep>(limits, values, p, n_values, ellipse, __builtin_ctz(touched), part,
                              int32_t(first + i - work.first));
    }
  }
  write_tile<kFixed, kKeep>(a, work, p, n_values);
}

// --- backward --------------------------------------------------------------------------------------------------------
template <int kFixed>
A3D_LANE void blend_block_backward(const Limits& limits, const Values<kFixed>& values, const Planes& p, int n_values,
                                   const Ellipse& ellipse, int block, int part, int32_t position, Float* moments,
                                   Float* sums) {
  const int at = block * kBlockPixels + part * kLanes;
  const Float u = ellipse.u_in(block, part), v = ellipse.v_in(block, part), exponent = exponent_at(ellipse.level, u, v);
  const Mask m = (exponent >= limits.lowest_exponent) & (Int(position) < load(p.last + at));
  if (kParts > 1 && none(m)) return;
  const Float raw = exp2_within(exponent), alpha = min(raw, limits.alpha_max);
  const Float inverse = Float(1.0f) / (Float(1.0f) - alpha);
  const Float after = load(p.transmittance + at), transmittance = after * inverse;
  const Float weight = select(m, transmittance * alpha, Float(0.0f));
  store(p.transmittance + at, select(m, transmittance, after));
  Float light(0.0f);
  const int n = kFixed ? kFixed : n_values;
  for (int c = 0; c < n; ++c) {
    const Float grad = load(p.values + c * kPixels + at);
    light = fma(grad, values[c], light);
    sums[c] = fma(weight, grad, sums[c]);
  }
  const Float behind = load(p.behind + at);
  const Float slope = -alpha * alpha_gradient(transmittance, light, behind, inverse);
  store(p.behind + at, fma(weight, light, behind));
  const Float g = select(m & (raw <= limits.alpha_max), slope, Float(0.0f)), gu = g * u, gv = g * v;
  moments[kSum] += g, moments[kSumU] += gu, moments[kSumV] += gv;
  moments[kSumUU] = fma(gu, u, moments[kSumUU]);
  moments[kSumUV] = fma(gu, v, moments[kSumUV]);
  moments[kSumVV] = fma(gv, v, moments[kSumVV]);
}

// Gradients of the tile's pixels as planes, and the most entries that any pixel of each block saw. Returns the most of
// all.
template <int kFixed>
A3D_LANE int start_tile_backward(const BlendBackwardArgs<float>& b, const TileWork& work, const Planes& p, int n_values,
                                 int32_t* block_last) {
  const BlendArgs<float>& a = b.forward;
  const int channels = (kFixed ? kFixed : n_values) - 1;
  float* grad_depth = p.values + channels * kPixels;
  if (work.x1 - work.x0 < kTile || work.y1 - work.y0 < kTile)  // the pixels outside of the image saw nothing
    for (int i = 0; i < (3 + n_values) * kPixels; i += kLanes) store(p.transmittance + i, Float(0.0f));
  for (int block = 0; block < kAcross * kAcross; ++block) block_last[block] = 0;
  float alphas[kPixels], depths[kPixels];
  for (float& alpha : alphas) alpha = 0.0f;
  for (float& depth : depths) depth = 0.0f;
  for_each_run(a, work, [&](int at, int64_t pixel, int n) {
    copy_run(a.transmittance + pixel, p.transmittance + at, n);
    copy_run(a.last + pixel, p.last + at, n);
    copy_run(a.alpha + pixel, alphas + at, n);
    copy_run(a.depth + pixel, depths + at, n);
    copy_run(b.grad_alpha + pixel, p.behind + at, n);
    copy_run(b.grad_depth + pixel, grad_depth + at, n);
    for (int i = 0; i < n; ++i)
      for (int c = 0; c < channels; ++c) p.values[c * kPixels + at + i] = b.grad_color[(pixel + i) * channels + c];
    int32_t& most = block_last[at / kBlockPixels];
    for (int i = 0; i < n; ++i) most = a.last[pixel + i] > most ? a.last[pixel + i] : most;
  });
  for (int i = 0; i < kPixels; i += kLanes) {
    const Float transmittance = load(p.transmittance + i);
    Float light(0.0f);
    for (int c = 0; c < channels && a.background; ++c)
      light = fma(load(p.values + c * kPixels + i), Float(a.background[c]), light);
    const PixelGradient<Float> own = pixel_gradient(transmittance, load(alphas + i), load(depths + i),
                                                    load(p.behind + i), load(grad_depth + i), light);
    store(p.behind + i, own.behind);
    store(grad_depth + i, own.depth);
  }
  for (int c = 0; c < channels && a.background; ++c) {
    Float sum(0.0f);
    for (int i = 0; i < kPixels; i += kLanes)
      sum = fma(load(p.transmittance + i), load(p.values + c * kPixels + i), sum);
    b.background_partials[work.tile * channels + c] = reduce_add(sum);
  }
  int most = 0;
  for (int block = 0; block < kAcross * kAcross; ++block) most = block_last[block] > most ? block_last[block] : most;
  return most;
}

template <int kFixed>
A3D_LANE void blend_tile_backward_of(const BlendBackwardArgs<float>& b, const TileWork& work, float* scratch) {
  const BlendArgs<float>& a = b.forward;
  const int n_values = kFixed ? kFixed : int(a.n_channels) + 1;
  const int64_t out_stride = partial_stride(a.n_channels);
  const Planes p = planes_in(scratch, n_values);
  const Limits limits(a);
  int32_t block_last[kAcross * kAcross], blocks[kBatch];
  const int most = start_tile_backward<kFixed>(b, work, p, n_values, block_last);
  for (int64_t k = work.first + most; k < work.last; ++k)
    for (int c = 0; c < kMoments + n_values; ++c) b.partials[a.entries[k].slot * out_stride + c] = 0.0f;
  Float totals[16];  // the moments, then the sums of the values if they are few
  for (Float& total : totals) total = Float(0.0f);
  Float* sums = kFixed ? totals + kMoments : reinterpret_cast<Float*>(p.sums);
  fetch(a, work, work.first + (most > kBatch ? most - kBatch : 0), work.first + most);
  for (int64_t end = work.first + most; end > work.first; end -= kBatch) {
    const int64_t first = end - kBatch > work.first ? end - kBatch : work.first;
    find_blocks(a, work, first, int(end - first), blocks);
    fetch(a, work, first - kBatch > work.first ? first - kBatch : work.first, first);
    uint32_t open = 0;  // blocks with a pixel that saw any of these entries
    for (int block = 0; block < kAcross * kAcross; ++block)
      open |= block_last[block] > first - work.first ? 1u << block : 0u;
    for (int64_t k = end - 1; k >= first; --k) {
      const Source source(a, work, k);
      const int32_t position = int32_t(k - work.first);
      const Ellipse ellipse(geometry_of(source.geometry), work);
      const Values<kFixed> values(source, n_values - 1);
      float* out = b.partials + a.entries[k].slot * out_stride;
      __builtin_prefetch(out, 1);
      for (int i = 0; i < kMoments; ++i) totals[i] = Float(0.0f);
      for (int c = 0; c < n_values; ++c) sums[c] = Float(0.0f);
      for (uint32_t touched = uint32_t(blocks[k - first]) & open; touched; touched &= touched - 1)
        for (int part = 0; part < kParts; ++part)
          blend_block_backward<kFixed>(limits, values, p, n_values, ellipse, __builtin_ctz(touched), part, position,
                                       totals, sums);
      sums_of_16(totals, out);
      for (int c = 0; !kFixed && c < n_values; ++c) out[kMoments + c] = reduce_add(sums[c]);
    }
  }
}
}  // namespace

void blend_tile(const BlendArgs<float>& a, const TileWork& work, float* scratch) {
  if (a.n_channels == 3 && !a.last) return blend_tile_of<4, false>(a, work, scratch);
  if (a.n_channels == 3) return blend_tile_of<4, true>(a, work, scratch);
  if (a.n_channels == 4 && !a.last) return blend_tile_of<5, false>(a, work, scratch);
  if (a.n_channels == 4) return blend_tile_of<5, true>(a, work, scratch);
  if (!a.last) return blend_tile_of<0, false>(a, work, scratch);
  blend_tile_of<0, true>(a, work, scratch);
}

void blend_tile_backward(const BlendBackwardArgs<float>& b, const TileWork& work, float* scratch) {
  if (b.forward.n_channels == 3) return blend_tile_backward_of<4>(b, work, scratch);
  if (b.forward.n_channels == 4) return blend_tile_backward_of<5>(b, work, scratch);
  blend_tile_backward_of<0>(b, work, scratch);
}
}  // namespace asset3d::gaussian::A3D_ISA
