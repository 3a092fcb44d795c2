#pragma once
// Which tiles, and which blocks of a tile, an ellipse touches. Along a row at the distance dy from its centre the
// ellipse u^2 + v^2 = reach^2 spans
//   dx in (-l21 dy -+ sqrt(reach^2 - (l22 dy)^2)) / l11,
// and over a band of rows the ends of that span are reached at the dy nearest to those of the widest points.
#include "blend_math.h"

namespace asset3d::gaussian {
template <typename T> struct Span { T low, high; };  // of pixel positions; empty where high < low

// Positions are widened a little, for rounding.
template <typename T> A3D_FN T slack_of(T position) {
  using std::abs;
  return T(1e-3f) + abs(position) * T(1e-6f);
}

template <typename T> A3D_FN T within(T wish, T low, T high) {
  return min(max(wish, low), high);
}

// The columns that an ellipse covers in the rows from the pixel centre `top` to that of `bottom`.
template <typename T>
A3D_FN Span<T> columns_between(const Geometry<T>& g, T inverse_l11, T top, T bottom) {
  using std::sqrt;
  const T slack = slack_of(g.mean_y), reach = g.reach_y * g.l22, zero(0);
  const T low = max(top - slack - g.mean_y, -g.reach_y), high = min(bottom + slack - g.mean_y, g.reach_y);
  const T right_dy = within(g.widest, low, high), left_dy = within(-g.widest, low, high);
  const T right_v = g.l22 * right_dy, left_v = g.l22 * left_dy;
  const T right = (sqrt(max(reach * reach - right_v * right_v, zero)) - g.l21 * right_dy) * inverse_l11;
  const T left = (-sqrt(max(reach * reach - left_v * left_v, zero)) - g.l21 * left_dy) * inverse_l11;
  const T outer = slack_of(g.mean_x) + (right - left) * T(1e-6f);
  const auto some = low <= high;
  return {select(some, g.mean_x + left - outer, T(1)), select(some, g.mean_x + right + outer, zero)};
}

struct TileRange { int32_t first, last; };  // empty when last < first

template <typename T>
A3D_FN int32_t clamp_to_int(T value, int32_t low, int32_t high) {
  return value <= T(low) ? low : value >= T(high) ? high : int32_t(value);
}

// Tiles with a pixel centre in [low, high], of n pixels.
template <typename T>
A3D_FN TileRange tiles_between(T low, T high, int32_t n) {
  const int32_t first = clamp_to_int(std::ceil(low - T(0.5)), 0, n),
                last = clamp_to_int(std::floor(high - T(0.5)), -1, n - 1);
  return last < first ? TileRange{0, -1} : TileRange{first / kTile, last / kTile};
}

template <typename T>
A3D_FN TileRange tile_rows(const Geometry<T>& g, ImageSize size) {
  if (!(g.reach_y > 0)) return {0, -1};
  const T slack = slack_of(g.mean_y);
  return tiles_between(g.mean_y - g.reach_y - slack, g.mean_y + g.reach_y + slack, size.height);
}

// Tiles of one row of tiles.
template <typename T>
A3D_FN TileRange tiles_in_row(const Geometry<T>& g, int32_t tile_y, ImageSize size) {
  const T top = T(tile_y * kTile) + T(0.5);
  const Span<T> columns = columns_between(g, T(1) / g.l11, top, top + T(kTile - 1));
  return tiles_between(columns.low, columns.high, size.width);
}

template <typename T>
A3D_FN int64_t count_tiles(const Geometry<T>& g, ImageSize size) {
  const TileRange rows = tile_rows(g, size);
  int64_t n = 0;
  for (int32_t y = rows.first; y <= rows.last; ++y) {
    const TileRange tiles = tiles_in_row(g, y, size);
    n += tiles.last - tiles.first + 1;  // 0 for an empty range
  }
  return n;
}

// visit(tile) in the order of rows and columns.
template <typename T, typename Visit>
A3D_FN void for_each_tile(const Geometry<T>& g, ImageSize size, Visit&& visit) {
  const TileRange rows = tile_rows(g, size);
  for (int32_t y = rows.first; y <= rows.last; ++y) {
    const TileRange tiles = tiles_in_row(g, y, size);
    for (int32_t x = tiles.first; x <= tiles.last; ++x) visit(y * size.tiles_x() + x);
  }
}
}  // namespace asset3d::gaussian
