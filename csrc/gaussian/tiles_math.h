#pragma once
// Which tiles an ellipse touches. Along a row at the distance dy from its centre the ellipse u^2 + v^2 = reach^2 spans
//   dx in (-L21 dy -+ sqrt(reach^2 - (L22 dy)^2)) / L11,
// and over a band of rows the ends of that span are reached at the dy nearest to those of the widest point.
#include "blend_math.h"

namespace asset3d::gaussian {
struct TileRange { int32_t first, last; };  // empty when last < first

template <typename T>
A3D_FN int32_t clamp_to_int(T value, int32_t low, int32_t high) {
  return value <= T(low) ? low : value >= T(high) ? high : int32_t(value);
}

// Pixels whose centres may lie in [low, high], a little widened, for rounding; within 0 to n - 1.
template <typename T>
A3D_FN TileRange pixels_between(T low, T high, int32_t n) {
  const T slack = T(1e-3) + (sizeof(T) == 4 ? T(1e-6) : T(1e-12)) * (std::fabs(low) + std::fabs(high));
  return {clamp_to_int(std::ceil(low - slack - T(0.5)), 0, n), clamp_to_int(std::floor(high + slack - T(0.5)), -1, n - 1)};
}

template <typename T>
A3D_FN TileRange tile_rows(const T* record, ImageSize size) {
  if (!(record[kReachY] > 0)) return {0, -1};
  const TileRange rows = pixels_between(record[kMeanY] - record[kReachY], record[kMeanY] + record[kReachY], size.height);
  if (rows.last < rows.first) return {0, -1};
  return {rows.first / kTile, rows.last / kTile};
}

template <typename T> A3D_FN T nearest_to(T wish, T low, T high) { return wish < low ? low : wish > high ? high : wish; }

// Tiles of one row of tiles.
template <typename T>
A3D_FN TileRange tiles_in_row(const T* record, int32_t tile_y, ImageSize size) {
  const T l11 = record[kL11], l21 = record[kL21], l22 = record[kL22];
  const T ry = record[kReachY], reach_squared = ry * ry * l22 * l22;
  const T slack = T(1e-3);
  T low = T(tile_y * kTile) + T(0.5) - slack - record[kMeanY], high = low + T(kTile - 1) + 2 * slack;
  low = low > -ry ? low : -ry;
  high = high < ry ? high : ry;
  if (low > high) return {0, -1};
  const T widest = -l21 * ry / std::sqrt(l21 * l21 + l22 * l22);  // dy of the rightmost point
  const T right_dy = nearest_to(widest, low, high), left_dy = nearest_to(-widest, low, high);
  const auto half = [&](T dy) { return std::sqrt(std::fmax(reach_squared - l22 * l22 * dy * dy, T(0))); };
  const T right = (half(right_dy) - l21 * right_dy) / l11, left = (-half(left_dy) - l21 * left_dy) / l11;
  const TileRange columns = pixels_between(record[kMeanX] + left, record[kMeanX] + right, size.width);
  if (columns.last < columns.first) return {0, -1};
  return {columns.first / kTile, columns.last / kTile};
}

template <typename T>
A3D_FN int64_t count_tiles(const T* record, ImageSize size) {
  const TileRange rows = tile_rows(record, size);
  int64_t n = 0;
  for (int32_t y = rows.first; y <= rows.last; ++y) {
    const TileRange tiles = tiles_in_row(record, y, size);
    n += tiles.last - tiles.first + 1 > 0 ? tiles.last - tiles.first + 1 : 0;
  }
  return n;
}

// visit(tile) in the order of rows and columns.
template <typename T, typename Visit>
A3D_FN void for_each_tile(const T* record, ImageSize size, Visit&& visit) {
  const TileRange rows = tile_rows(record, size);
  for (int32_t y = rows.first; y <= rows.last; ++y) {
    const TileRange tiles = tiles_in_row(record, y, size);
    for (int32_t x = tiles.first; x <= tiles.last; ++x) visit(y * size.tiles_x() + x);
  }
}
}  // namespace asset3d::gaussian
