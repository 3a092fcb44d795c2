// Hash grid, inner loops over lanes of points. Levels are the outer loop of a tile, so that the points of a tile are
// transposed once, and the caller chooses few levels at a time, so that their rows stay in the cache.
#include "hash_grid_math.h"

namespace asset3d::hash_grid::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;
namespace {
constexpr int kTile = 512;

// Features of one row per lane. Pairs are gathered with one access.
template <int F>
A3D_LANE void read_rows(const float* rows, Int row, Float value[F]) {
  if constexpr (F == 1) value[0] = gather(rows, row);
  else for (int f = 0; f < F; f += 2) gather_pairs(rows, row * Int(F / 2) + Int(f / 2), value[f], value[f + 1]);
}

// The F values of this level for consecutive points: rows of `stride` values apart.
template <int F>
A3D_LANE void read_values(const float* p, int stride, Mask rest, Float value[F]) {
  const Int at = lane_numbers() * Int(stride);
  for (int f = 0; f < F; ++f) value[f] = gather(p + f, at, rest);
}
template <int F>
A3D_LANE void write_values(float* p, int stride, Mask rest, const Float value[F]) {
  if constexpr (F == 1) scatter(p, lane_numbers() * Int(stride), value[0], rest);
  else for (int f = 0; f < F; f += 2) scatter_pairs(p + f, lane_numbers() * Int(stride / 2), value[f], value[f + 1], rest);
}

template <int F>
A3D_LANE Float dot(const Float a[F], const Float b[F]) {
  Float sum = a[0] * b[0];
  for (int f = 1; f < F; ++f) sum = fma(a[f], b[f], sum);
  return sum;
}

// Some points, one array per axis.
struct Tile { float x[kDims][kTile]; };
A3D_LANE void transpose(const float* p, int64_t n, Tile& tile) {
  for (int64_t k = 0; k < n; k += kLanes) {
    Float point[kDims];
    rows_of_3(p + k * kDims, first_lanes(n - k), point);
    for (int d = 0; d < kDims; ++d) store(tile.x[d] + k, point[d]);
  }
}
A3D_LANE void read(const Tile& tile, int64_t k, Float out[kDims]) {
  for (int d = 0; d < kDims; ++d) out[d] = load(tile.x[d] + k);
}

template <int F, bool kSecond>
A3D_LANE void features_of_lanes(const Args<float>& a, int l, const Float x[kDims], const Float v[kDims], Float out[F]) {
  const Level& level = a.levels[l];
  const Cell<Float, Int> cell = cell_of<Int>(level, x);
  const Corners<Int> corners = corners_of(level, cell.vertex);
  const float* rows = a.table + level.first_row * F;
  const float* second_rows = kSecond && a.grad_grad_table ? a.grad_grad_table + level.first_row * F : nullptr;
  for (int f = 0; f < F; ++f) out[f] = Float(0.0f);
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) {
    const Int row = row_of(level, corners, c);
    Float value[F];
    if (!kSecond || a.grad_grad_x) {
      const Float factor = kSecond ? weight_along(cell, c, v) : weight(cell, c);
      read_rows<F>(rows, row, value);
      for (int f = 0; f < F; ++f) out[f] = fma(factor, value[f], out[f]);
    }
    if (kSecond && second_rows) {
      const Float factor = weight(cell, c);
      read_rows<F>(second_rows, row, value);
      for (int f = 0; f < F; ++f) out[f] = fma(factor, value[f], out[f]);
    }
  }
}

template <int F, bool kSecond>
void features_loop(const Args<float>& a, Part part) {
  const int stride = a.n_levels * F;
  Tile x, v{};
  for (int64_t first = part.first_point; first < part.last_point; first += kTile) {
    const int64_t n = std::min<int64_t>(kTile, part.last_point - first);
    transpose(a.x + first * kDims, n, x);
    if (kSecond && a.grad_grad_x) transpose(a.grad_grad_x + first * kDims, n, v);
    for (int l = part.first_level; l < part.last_level; ++l)
      for (int64_t k = 0; k < n; k += kLanes) {
        Float point[kDims], direction[kDims], out[F];
        read(x, k, point);
        if (kSecond) read(v, k, direction);
        features_of_lanes<F, kSecond>(a, l, point, direction, out);
        write_values<F>(a.out + (first + k) * stride + l * F, stride, first_lanes(n - k), out);
      }
  }
}

template <int F, bool kSecond>
A3D_LANE void point_gradient_of_lanes(const Args<float>& a, int l, const Float x[kDims], const Float v[kDims],
                                      const Float grad[F], Float sum[kDims]) {
  const Level& level = a.levels[l];
  const Cell<Float, Int> cell = cell_of<Int>(level, x);
  const Corners<Int> corners = corners_of(level, cell.vertex);
  const float* rows = a.table + level.first_row * F;
  const float* second_rows = kSecond && a.grad_grad_table ? a.grad_grad_table + level.first_row * F : nullptr;
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) {
    const Int row = row_of(level, corners, c);
    Float value[F], gradient[kDims];
    if (!kSecond || a.grad_grad_x) {
      read_rows<F>(rows, row, value);
      if (kSecond) weight_along_gradient(cell, c, v, gradient);
      else weight_gradient(cell, c, gradient);
      const Float factor = dot<F>(grad, value);
      for (int d = 0; d < kDims; ++d) sum[d] = fma(gradient[d], factor, sum[d]);
    }
    if (kSecond && second_rows) {
      read_rows<F>(second_rows, row, value);
      weight_gradient(cell, c, gradient);
      const Float factor = dot<F>(grad, value);
      for (int d = 0; d < kDims; ++d) sum[d] = fma(gradient[d], factor, sum[d]);
    }
  }
}

A3D_LANE void add_to_points(float* p, const Tile& sum, int64_t n) {
  for (int64_t k = 0; k < n; ++k)
    for (int d = 0; d < kDims; ++d) p[k * kDims + d] += sum.x[d][k];
}

template <int F, bool kSecond>
void point_gradient_loop(const Args<float>& a, Part part) {
  const int stride = a.n_levels * F;
  Tile x, v{}, sum;
  for (int64_t first = part.first_point; first < part.last_point; first += kTile) {
    const int64_t n = std::min<int64_t>(kTile, part.last_point - first);
    transpose(a.x + first * kDims, n, x);
    if (kSecond && a.grad_grad_x) transpose(a.grad_grad_x + first * kDims, n, v);
    std::memset(&sum, 0, sizeof(sum));
    for (int l = part.first_level; l < part.last_level; ++l)
      for (int64_t k = 0; k < n; k += kLanes) {
        Float point[kDims], direction[kDims], grad[F], total[kDims];
        read(x, k, point);
        if (kSecond) read(v, k, direction);
        read(sum, k, total);
        read_values<F>(a.grad_out + (first + k) * stride + l * F, stride, first_lanes(n - k), grad);
        point_gradient_of_lanes<F, kSecond>(a, l, point, direction, grad, total);
        for (int d = 0; d < kDims; ++d) store(sum.x[d] + k, total[d]);
      }
    add_to_points(a.grad_x + first * kDims, sum, n);
  }
}

// Two floats that are loaded, added and stored as one.
typedef float FloatPair __attribute__((vector_size(8), aligned(4), may_alias));

// Adds factor * value to one row per lane. Lanes may share rows, so the sums are made one after another.
template <int F, bool kAllRows>
A3D_LANE void add_to_rows(float* rows, Rows part, Int row, Float factor, const Float value[F], int n) {
  int32_t at[kLanes];
  float amount[F * kLanes];
  store(at, row - Int(part.first_row));
  const uint32_t n_rows = part.last_row - part.first_row;
  float* first = rows + int64_t(part.first_row) * F;
  if constexpr (F == 1) {
    store(amount, factor * value[0]);
    for (int k = 0; k < n; ++k)
      if (kAllRows || uint32_t(at[k]) < n_rows) first[at[k]] += amount[k];
    return;
  }
  for (int f = 0; f < F; f += 2) store_pairs(amount + f * kLanes, factor * value[f], factor * value[f + 1]);
  for (int k = 0; k < n; ++k)
    if (kAllRows || uint32_t(at[k]) < n_rows)
      for (int f = 0; f < F; f += 2)
        *reinterpret_cast<FloatPair*>(first + int64_t(at[k]) * F + f) +=
            *reinterpret_cast<const FloatPair*>(amount + f * kLanes + 2 * k);
}

template <int F, bool kSecond, bool kAllRows>
void table_gradient_loop(const Args<float>& a, Rows part) {
  const Level& level = a.levels[part.level];
  const int stride = a.n_levels * F;
  float* rows = a.grad_table + level.first_row * F;
  for (int64_t i = 0; i < a.n_points; i += kLanes) {
    const int n = int(std::min<int64_t>(kLanes, a.n_points - i));
    const Mask rest = first_lanes(n);
    Float x[kDims], v[kDims], value[F];
    rows_of_3(a.x + i * kDims, rest, x);
    if (kSecond) rows_of_3(a.grad_grad_x + i * kDims, rest, v);
    read_values<F>(a.grad_out + i * stride + part.level * F, stride, rest, value);
    const Cell<Float, Int> cell = cell_of<Int>(level, x);
    const Corners<Int> corners = corners_of(level, cell.vertex);
#pragma GCC unroll 8
    for (int c = 0; c < 8; ++c)
      add_to_rows<F, kAllRows>(rows, part, row_of(level, corners, c),
                               kSecond ? weight_along(cell, c, v) : weight(cell, c), value, n);
  }
}

template <int F, bool kSecond>
A3D_LANE void run_table_gradient(const Args<float>& a, Rows part) {
  const bool all = part.first_row == 0 && part.last_row == a.levels[part.level].n_rows;
  if (all) table_gradient_loop<F, kSecond, true>(a, part);
  else table_gradient_loop<F, kSecond, false>(a, part);
}

// Calls fn(integral constant) for the number of features.
template <typename Fn>
A3D_LANE void with_features(int n, Fn fn) {
  if (n == 1) fn(std::integral_constant<int, 1>());
  if (n == 2) fn(std::integral_constant<int, 2>());
  if (n == 4) fn(std::integral_constant<int, 4>());
  if (n == 8) fn(std::integral_constant<int, 8>());
}
}  // namespace

void features(const Args<float>& a, Part part) {
  with_features(a.n_features, [&](auto n) { features_loop<n(), false>(a, part); });
}
void second_features(const Args<float>& a, Part part) {
  with_features(a.n_features, [&](auto n) { features_loop<n(), true>(a, part); });
}
void point_gradient(const Args<float>& a, Part part) {
  with_features(a.n_features, [&](auto n) { point_gradient_loop<n(), false>(a, part); });
}
void second_point_gradient(const Args<float>& a, Part part) {
  with_features(a.n_features, [&](auto n) { point_gradient_loop<n(), true>(a, part); });
}
void table_gradient(const Args<float>& a, Rows part) {
  with_features(a.n_features, [&](auto n) { run_table_gradient<n(), false>(a, part); });
}
void second_table_gradient(const Args<float>& a, Rows part) {
  with_features(a.n_features, [&](auto n) { run_table_gradient<n(), true>(a, part); });
}
}  // namespace asset3d::hash_grid::A3D_ISA
