// Lanes: pixels of a row of a tile, all 16 of them with AVX-512. A Gaussian visits the rows that it reaches; rows whose
// pixels have all stopped, and rows in which no pixel would change, cost little.
#include "../common/simd.h"
#include "../common/simd_math.h"
#include "blend_math.h"
#include "blend_simd.h"

namespace asset3d::gaussian::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;

namespace {
constexpr int kParts = kTile / kLanes, kPixels = kTile * kTile;
constexpr int kAhead = 6;  // entries whose records are fetched early

struct Rows { int first, last; };

// Rows of the tile within reach of a Gaussian whose centre lies at `mean_y` from the tile's first row.
A3D_LANE Rows rows_of(const float* record, float mean_y, int n_rows) {
  const float low = mean_y - record[kReachY] - 0.5f, high = mean_y + record[kReachY] - 0.5f + 1e-3f;
  const float last = float(n_rows - 1);
  return {int((low > 0.0f ? (low < 64.0f ? low : 64.0f) : 0.0f) + 0.999f), high < 0.0f ? -1 : int(high < last ? high : last)};
}

A3D_LANE Float centers(int part) { return to_float(lane_numbers() + Int(part * kLanes)) + Float(0.5f); }

A3D_LANE const float* record_at(const BlendArgs<float>& a, const TileWork& work, int64_t k, int64_t stride) {
  const int64_t ahead = k + kAhead < work.last ? k + kAhead : k;
  __builtin_prefetch(a.records + (work.image * a.splats.n + a.entries[ahead].gaussian) * stride);
  return a.records + (work.image * a.splats.n + a.entries[k].gaussian) * stride;
}

// Where the arrays of a tile lie, each of kPixels.
struct Planes {
  float *transmittance, *values;  // `values` has one plane per value
  int32_t* last;
  float* behind;
  float* sums;  // backward: kLanes per value
};
A3D_LANE Planes planes_in(float* scratch, int n_values) {
  float* at = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(scratch) + 63) & ~uintptr_t(63));
  return {at, at + 3 * kPixels, reinterpret_cast<int32_t*>(at + kPixels), at + 2 * kPixels, at + (3 + n_values) * kPixels};
}

// --- forward ---------------------------------------------------------------------------------------------------------
struct Live { uint32_t rows; uint32_t lanes[kTile]; };  // bits of what has not stopped

// kValues: colours and depth, or 0 for any number of them.
template <int kFixed>
A3D_LANE void blend_row(const BlendArgs<float>& a, const float* record, const Planes& p, int n_values, Float across,
                        Row<float> row, int r, int part, int32_t position, Live& live) {
  const int at = r * kTile + part * kLanes;
  const Float exponent = exponent_at(across, Float(row.shift), Float(row.level));
  Mask m = (exponent >= Float(std::log2(a.splats.alpha_min))) & mask_of_bits(live.lanes[r] >> (part * kLanes));
  if (none(m)) return;
  const Float alpha = min(exp2(exponent), Float(a.alpha_max));
  const Float before = load(p.transmittance + at), after = before * (Float(1.0f) - alpha);
  const Mask stops = m & (after <= Float(a.stop_transmittance));
  if (any(stops)) {
    live.lanes[r] &= ~(bits(stops) << (part * kLanes));
    if (live.lanes[r] == 0) live.rows &= ~(1u << r);
    m = m & ~stops;
  }
  const Float weight = select(m, before * alpha, Float(0.0f));
  store(p.transmittance + at, after, m);
  store(p.last + at, Int(position + 1), m);
  const int n = kFixed ? kFixed : n_values;
  for (int c = 0; c < n; ++c) {
    float* sum = p.values + c * kPixels + at;
    store(sum, fma(weight, Float(record[gaussian::kValues + c]), load(sum)));
  }
}

A3D_LANE void start_tile(const TileWork& work, const Planes& p, int n_values, Live& live) {
  const int height = work.y1 - work.y0, width = work.x1 - work.x0;
  live.rows = (1u << height) - 1;
  for (int r = 0; r < kTile; ++r) live.lanes[r] = (1u << width) - 1;
  for (int i = 0; i < kPixels; i += kLanes) {
    store(p.transmittance + i, Float(1.0f));
    store(p.last + i, Int(0));
    for (int c = 0; c < n_values; ++c) store(p.values + c * kPixels + i, Float(0.0f));
  }
}

A3D_LANE void write_tile(const BlendArgs<float>& a, const TileWork& work, const Planes& p) {
  const int64_t channels = a.n_channels;
  for (int y = work.y0; y < work.y1; ++y) {
    const int64_t first = (work.image * a.splats.size.height + y) * a.splats.size.width + work.x0;
    const int at = (y - work.y0) * kTile, width = work.x1 - work.x0;
    for (int part = 0; part < kParts; ++part) {
      const Mask m = first_lanes(width - part * kLanes > 0 ? width - part * kLanes : 0);
      const int64_t pixel = first + part * kLanes;
      const Float transmittance = load(p.transmittance + at + part * kLanes), alpha = Float(1.0f) - transmittance;
      const Float depth = load(p.values + channels * kPixels + at + part * kLanes);
      store(a.transmittance + pixel, transmittance, m);
      store(a.alpha + pixel, alpha, m);
      store(a.depth + pixel, select(alpha > Float(0.0f), depth / alpha, Float(0.0f)), m);
      store(a.last + pixel, load(p.last + at + part * kLanes), m);
    }
    for (int64_t c = 0; c < channels; ++c) {
      const float light = a.background ? a.background[c] : 0.0f, *value = p.values + c * kPixels + at;
      for (int x = 0; x < width; ++x)
        a.color[(first + x) * channels + c] = value[x] + light * p.transmittance[at + x];
    }
  }
}

template <int kFixed>
A3D_LANE void blend_tile_of(const BlendArgs<float>& a, const TileWork& work, float* scratch) {
  const int n_values = int(a.n_channels) + 1;
  const int64_t stride = record_stride(a.n_channels);
  const Planes p = planes_in(scratch, n_values);
  Live live;
  start_tile(work, p, n_values, live);
  for (int64_t k = work.first; k < work.last && live.rows; ++k) {
    const float* record = record_at(a, work, k, stride);
    const float mean_x = record[kMeanX] - float(work.x0), mean_y = record[kMeanY] - float(work.y0);
    const Rows rows = rows_of(record, mean_y, work.y1 - work.y0);
    for (int part = 0; part < kParts; ++part) {
      const Float across = Float(record[kL11]) * (centers(part) - Float(mean_x));
      for (int r = rows.first; r <= rows.last; ++r)
        if (live.rows >> r & 1)
          blend_row<kFixed>(a, record, p, n_values, across, row_of(record, float(r) + 0.5f - mean_y), r, part,
                            int32_t(k - work.first), live);
    }
  }
  write_tile(a, work, p);
}

// --- backward --------------------------------------------------------------------------------------------------------
struct Moments { Float g, gy, gyy; };

template <int kFixed>
A3D_LANE void blend_row_backward(const BlendArgs<float>& a, const float* record, const Planes& p, int n_values, Float across,
                                 Row<float> row, float dy, int at, int32_t position, Moments& moments, Float* sums) {
  const Float exponent = exponent_at(across, Float(row.shift), Float(row.level));
  const Mask m = (exponent >= Float(std::log2(a.splats.alpha_min))) & (Int(position) < load(p.last + at));
  if (none(m)) return;
  const Float raw = exp2(exponent), alpha = min(raw, Float(a.alpha_max));
  const Float inverse = Float(1.0f) / (Float(1.0f) - alpha);
  const Float transmittance = load(p.transmittance + at) * inverse;
  const Float weight = select(m, transmittance * alpha, Float(0.0f));
  store(p.transmittance + at, transmittance, m);
  Float light(0.0f);
  const int n = kFixed ? kFixed : n_values;
  for (int c = 0; c < n; ++c) {
    const Float grad = load(p.values + c * kPixels + at);
    light = fma(grad, Float(record[gaussian::kValues + c]), light);
    sums[c] = fma(weight, grad, sums[c]);
  }
  const Float behind = load(p.behind + at);
  const Float g = -alpha * alpha_gradient(transmittance, light, behind, inverse);
  const Float kept = select(m & (raw <= Float(a.alpha_max)), g, Float(0.0f));
  store(p.behind + at, fma(weight, light, behind));
  moments.g += kept;
  moments.gy = fma(kept, Float(dy), moments.gy);
  moments.gyy = fma(kept, Float(dy * dy), moments.gyy);
}

// Gradients of the tile's pixels as planes; per row, the entries that any of its pixels shows. Returns the most of them.
A3D_LANE int start_tile_backward(const BlendBackwardArgs<float>& b, const TileWork& work, const Planes& p, int32_t* row_last) {
  const BlendArgs<float>& a = b.forward;
  const int64_t channels = a.n_channels;
  float* background = b.background_partials + work.tile * channels;
  int most = 0;
  for (int i = 0; i < kPixels; i += kLanes) store(p.last + i, Int(0));
  for (int i = 0; i < int(channels + 1) * kPixels; i += kLanes) store(p.values + i, Float(0.0f));
  for (int r = 0; r < work.y1 - work.y0; ++r) {
    const int64_t first = (work.image * a.splats.size.height + work.y0 + r) * a.splats.size.width + work.x0;
    row_last[r] = 0;
    for (int x = 0; x < work.x1 - work.x0; ++x) {
      const int64_t pixel = first + x;
      const int at = r * kTile + x;
      const float transmittance = a.transmittance[pixel];
      float light = 0.0f;
      for (int64_t c = 0; c < channels; ++c) {
        const float grad = b.grad_color[pixel * channels + c];
        p.values[c * kPixels + at] = grad;
        if (!a.background) continue;
        light += grad * a.background[c];
        background[c] += transmittance * grad;
      }
      const PixelGradient<float> own = pixel_gradient(transmittance, a.alpha[pixel], a.depth[pixel], b.grad_alpha[pixel],
                                                      b.grad_depth[pixel], light);
      p.transmittance[at] = transmittance;
      p.last[at] = a.last[pixel];
      p.values[channels * kPixels + at] = own.depth;
      p.behind[at] = own.behind;
      if (a.last[pixel] > row_last[r]) row_last[r] = a.last[pixel];
    }
    if (row_last[r] > most) most = row_last[r];
  }
  return most;
}

A3D_LANE void write_partial(float* out, const Moments* moments, const Float* sums, int n_values, float mean_x) {
  Float total[kMoments] = {Float(0.0f), Float(0.0f), Float(0.0f), Float(0.0f), Float(0.0f), Float(0.0f)};
  for (int part = 0; part < kParts; ++part) {
    const Float dx = centers(part) - Float(mean_x);
    const Moments& m = moments[part];
    total[kSum] += m.g, total[kSumX] += m.g * dx, total[kSumXX] += m.g * dx * dx;
    total[kSumY] += m.gy, total[kSumXY] += m.gy * dx, total[kSumYY] += m.gyy;
  }
  for (int k = 0; k < kMoments; ++k) out[k] = reduce_add(total[k]);
  for (int c = 0; c < n_values; ++c) out[kMoments + c] = reduce_add(sums[c]);
}

template <int kFixed>
A3D_LANE void blend_tile_backward_of(const BlendBackwardArgs<float>& b, const TileWork& work, float* scratch) {
  const BlendArgs<float>& a = b.forward;
  const int n_values = kFixed ? kFixed : int(a.n_channels) + 1;
  const int64_t stride = record_stride(a.n_channels), out_stride = partial_stride(a.n_channels);
  const Planes p = planes_in(scratch, n_values);
  int32_t row_last[kTile];
  const int most = start_tile_backward(b, work, p, row_last);
  for (int64_t k = work.first + most; k < work.last; ++k) {
    float* out = b.partials + a.entries[k].slot * out_stride;
    for (int c = 0; c < kMoments + n_values; ++c) out[c] = 0.0f;
  }
  Float fixed_sums[kFixed ? kFixed : 1];
  Float* sums = kFixed ? fixed_sums : reinterpret_cast<Float*>(p.sums);
  for (int64_t k = work.first + most - 1; k >= work.first; --k) {
    const int64_t ahead = k - kAhead > work.first ? k - kAhead : work.first;
    __builtin_prefetch(a.records + (work.image * a.splats.n + a.entries[ahead].gaussian) * stride);
    __builtin_prefetch(b.partials + a.entries[ahead].slot * out_stride, 1);
    const float* record = a.records + (work.image * a.splats.n + a.entries[k].gaussian) * stride;
    const float mean_x = record[kMeanX] - float(work.x0), mean_y = record[kMeanY] - float(work.y0);
    const Rows rows = rows_of(record, mean_y, work.y1 - work.y0);
    const int32_t position = int32_t(k - work.first);
    Moments moments[kParts];
    for (int c = 0; c < n_values; ++c) sums[c] = Float(0.0f);
    for (int part = 0; part < kParts; ++part) {
      moments[part] = {Float(0.0f), Float(0.0f), Float(0.0f)};
      const Float across = Float(record[kL11]) * (centers(part) - Float(mean_x));
      for (int r = rows.first; r <= rows.last; ++r) {
        const float dy = float(r) + 0.5f - mean_y;
        if (position < row_last[r])
          blend_row_backward<kFixed>(a, record, p, n_values, across, row_of(record, dy), dy, r * kTile + part * kLanes,
                                     position, moments[part], sums);
      }
    }
    write_partial(b.partials + a.entries[k].slot * out_stride, moments, sums, n_values, mean_x);
  }
}
}  // namespace

void blend_tile(const BlendArgs<float>& a, const TileWork& work, float* scratch) {
  if (a.n_channels == 3) return blend_tile_of<4>(a, work, scratch);
  if (a.n_channels == 4) return blend_tile_of<5>(a, work, scratch);
  blend_tile_of<0>(a, work, scratch);
}

void blend_tile_backward(const BlendBackwardArgs<float>& b, const TileWork& work, float* scratch) {
  if (b.forward.n_channels == 3) return blend_tile_backward_of<4>(b, work, scratch);
  if (b.forward.n_channels == 4) return blend_tile_backward_of<5>(b, work, scratch);
  blend_tile_backward_of<0>(b, work, scratch);
}
}  // namespace asset3d::gaussian::A3D_ISA
