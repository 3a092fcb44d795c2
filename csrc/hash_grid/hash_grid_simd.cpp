// Hash grid, inner loops over lanes of points. Rows and weights of the 8 corners are computed in lanes and stored; the
// rows themselves are then read by plain loads, which beat gather instructions and leave the CPU free to overlap cache
// misses of many points. Levels are the outer loop of a tile, so that its points are transposed once.
#include "hash_grid_math.h"

namespace asset3d::hash_grid::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;
namespace {
constexpr int kTile = 512;
constexpr uint64_t kCached = 1 << 13;  // numbers of a level that need no prefetching

// The F features of a row as one value that is loaded, multiplied and stored at once.
template <int F> struct RowType { typedef float type __attribute__((vector_size(4 * F), aligned(4), may_alias)); };
template <> struct RowType<1> { typedef float type __attribute__((may_alias)); };
template <int F> using Row = typename RowType<F>::type;

// One number per corner and lane.
struct CornerFloats { alignas(64) float at[8][kLanes]; };
struct CornerInts { alignas(64) int32_t at[8][kLanes]; };

// Some points, one array per axis.
struct Tile { alignas(64) float x[kDims][kTile]; };
A3D_LANE void transpose(const float* p, int64_t n, Tile& tile) {
  for (int64_t k = 0; k < n; k += kLanes) {
    Float point[kDims];
    load_triples(p + k * kDims, int(n - k), point);
    for (int d = 0; d < kDims; ++d) store(tile.x[d] + k, point[d]);
  }
}
A3D_LANE void read(const Tile& tile, int64_t k, Float out[kDims]) {
  for (int d = 0; d < kDims; ++d) out[d] = load(tile.x[d] + k);
}

// Finds the cell of each lane and the rows of its corners; `first` is subtracted from the rows.
A3D_LANE Cell<Float, Int> locate(const Level& level, const Float x[kDims], uint32_t first, CornerInts& rows) {
  const Cell<Float, Int> cell = cell_of<Int>(level, x);
  const Corners<Int> corners = corners_of(level, cell.vertex);
  A3D_UNROLL_8
  for (int c = 0; c < 8; ++c) store(rows.at[c], row_of(level, corners, c) - Int(first));
  return cell;
}

A3D_LANE void store_weights(const Cell<Float, Int>& cell, CornerFloats& out) {
  A3D_UNROLL_8
  for (int c = 0; c < 8; ++c) store(out.at[c], weight(cell, c));
}
A3D_LANE void store_weights_along(const Cell<Float, Int>& cell, const Float v[kDims], CornerFloats& out) {
  A3D_UNROLL_8
  for (int c = 0; c < 8; ++c) store(out.at[c], weight_along(cell, c, v));
}

// --- features --------------------------------------------------------------------------------------------------------

// out (or out +=) sum over corners of weight * row, for n lanes whose outputs are `stride` values apart.
template <int F, bool kAdd>
A3D_LANE void sum_rows(const float* rows, const CornerInts& row, const CornerFloats& weight, int n, float* out,
                       int stride) {
  for (int k = 0; k < n; ++k) {
    Row<F>* target = reinterpret_cast<Row<F>*>(out + int64_t(k) * stride);
    Row<F> sum{};
    if constexpr (kAdd) sum = *target;
    A3D_UNROLL_8
    for (int c = 0; c < 8; ++c)
      sum += weight.at[c][k] * *reinterpret_cast<const Row<F>*>(rows + int64_t(row.at[c][k]) * F);
    *target = sum;
  }
}

// Asks for the rows of some lanes ahead of use. Neighbours along x mostly share a cache line: every other corner will
// do.
template <int F>
A3D_LANE void prefetch(const float* rows, const CornerInts& row) {
  A3D_UNROLL_8
  for (int c = 0; c < 8; c += 2)
    for (int k = 0; k < kLanes; ++k) __builtin_prefetch(rows + int64_t(row.at[c][k]) * F);
}

template <int F>
void features_loop(const Args<float>& a, Part part) {
  const int stride = a.n_levels * F;
  Tile x;
  CornerInts rows[2];
  CornerFloats weights[2];
  for (int64_t first = part.first_point; first < part.last_point; first += kTile) {
    const int64_t n = std::min<int64_t>(kTile, part.last_point - first);
    transpose(a.x + first * kDims, n, x);
    for (int l = part.first_level; l < part.last_level; ++l) {
      const Level& level = a.levels[l];
      const float* table = a.table + level.first_row * F;
      const auto prepare = [&](int64_t k) __attribute__((always_inline)) {
        const int side = k / kLanes & 1;
        Float point[kDims];
        read(x, k, point);
        store_weights(locate(level, point, 0, rows[side]), weights[side]);
        if (level.n_rows * F > kCached) prefetch<F>(table, rows[side]);
      };
      prepare(0);
      for (int64_t k = 0; k < n; k += kLanes) {
        if (k + kLanes < n) prepare(k + kLanes);
        const int side = k / kLanes & 1;
        sum_rows<F, false>(table, rows[side], weights[side], int(std::min<int64_t>(kLanes, n - k)),
                           a.out + (first + k) * stride + l * F, stride);
      }
    }
  }
}

template <int F>
void second_features_loop(const Args<float>& a, Part part) {
  const int stride = a.n_levels * F;
  Tile x, v;
  CornerInts rows;
  CornerFloats weights;
  for (int64_t first = part.first_point; first < part.last_point; first += kTile) {
    const int64_t n = std::min<int64_t>(kTile, part.last_point - first);
    transpose(a.x + first * kDims, n, x);
    if (a.grad_grad_x) transpose(a.grad_grad_x + first * kDims, n, v);
    else std::memset(&v, 0, sizeof(v));
    for (int l = part.first_level; l < part.last_level; ++l)
      for (int64_t k = 0; k < n; k += kLanes) {
        const int lanes = int(std::min<int64_t>(kLanes, n - k));
        const int64_t begin = a.levels[l].first_row * F;
        float* out = a.out + (first + k) * stride + l * F;
        Float point[kDims], direction[kDims];
        read(x, k, point);
        read(v, k, direction);
        const Cell<Float, Int> cell = locate(a.levels[l], point, 0, rows);
        store_weights_along(cell, direction, weights);
        sum_rows<F, false>(a.table + begin, rows, weights, lanes, out, stride);
        if (!a.grad_grad_table) continue;
        store_weights(cell, weights);
        sum_rows<F, true>(a.grad_grad_table + begin, rows, weights, lanes, out, stride);
      }
  }
}

// --- gradient of the points ------------------------------------------------------------------------------------------

// Rows copied side by side, then read in lanes: dot of each with a value per lane.
template <int F>
struct RowCopies {
  alignas(64) float at[8][F * kLanes];

  A3D_LANE void copy(const float* rows, const CornerInts& row) {
    A3D_UNROLL_8
    for (int c = 0; c < 8; ++c)
      for (int k = 0; k < kLanes; ++k) copy_row(rows + int64_t(row.at[c][k]) * F, at[c], k);
  }
  // Pairs of features lie together: f0 f1 of all lanes, then f2 f3 of all lanes.
  static A3D_LANE void copy_row(const float* from, float* to, int k) {
    if constexpr (F == 1) to[k] = *from;
    else
      for (int f = 0; f < F; f += 2)
        *reinterpret_cast<Row<2>*>(to + f * kLanes + 2 * k) = *reinterpret_cast<const Row<2>*>(from + f);
  }
  static A3D_LANE void split(const float* copies, Float out[F]) {
    if constexpr (F == 1) out[0] = load(copies);
    else for (int f = 0; f < F; f += 2) load_pairs(copies + f * kLanes, out[f], out[f + 1]);
  }
  A3D_LANE Float dot(int c, const Float value[F]) const {
    Float feature[F];
    split(at[c], feature);
    Float sum = feature[0] * value[0];
    for (int f = 1; f < F; ++f) sum = fma(feature[f], value[f], sum);
    return sum;
  }
};

// The F values of this level for consecutive points: rows of `stride` values apart.
template <int F>
A3D_LANE void read_values(const float* p, int stride, int n, Float value[F]) {
  alignas(64) float copies[F * kLanes] = {};
  for (int k = 0; k < n; ++k) RowCopies<F>::copy_row(p + int64_t(k) * stride, copies, k);
  RowCopies<F>::split(copies, value);
}

A3D_LANE void add_scaled(const Float direction[kDims], Float factor, Float sum[kDims]) {
  for (int d = 0; d < kDims; ++d) sum[d] = fma(direction[d], factor, sum[d]);
}

template <int F, bool kSecond>
A3D_LANE void add_point_gradient(const Args<float>& a, int l, const Float x[kDims], const Float v[kDims],
                                 const Float grad[F], Float sum[kDims]) {
  const int64_t begin = a.levels[l].first_row * F;
  CornerInts rows;
  RowCopies<F> copies;
  Float gradient[kDims];
  const Cell<Float, Int> cell = locate(a.levels[l], x, 0, rows);
  if (!kSecond || a.grad_grad_x) {
    copies.copy(a.table + begin, rows);
    A3D_UNROLL_8
    for (int c = 0; c < 8; ++c) {
      if constexpr (kSecond) weight_along_gradient(cell, c, v, gradient);
      else weight_gradient(cell, c, gradient);
      add_scaled(gradient, copies.dot(c, grad), sum);
    }
  }
  if (kSecond && a.grad_grad_table) {
    copies.copy(a.grad_grad_table + begin, rows);
    A3D_UNROLL_8
    for (int c = 0; c < 8; ++c) {
      weight_gradient(cell, c, gradient);
      add_scaled(gradient, copies.dot(c, grad), sum);
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
  Tile x, v, sum;
  for (int64_t first = part.first_point; first < part.last_point; first += kTile) {
    const int64_t n = std::min<int64_t>(kTile, part.last_point - first);
    transpose(a.x + first * kDims, n, x);
    if (kSecond && a.grad_grad_x) transpose(a.grad_grad_x + first * kDims, n, v);
    std::memset(&sum, 0, sizeof(sum));
    for (int l = part.first_level; l < part.last_level; ++l)
      for (int64_t k = 0; k < n; k += kLanes) {
        Float point[kDims], direction[kDims], grad[F], total[kDims];
        read(x, k, point);
        if (kSecond && a.grad_grad_x) read(v, k, direction);
        read(sum, k, total);
        read_values<F>(a.grad_out + (first + k) * stride + l * F, stride, int(std::min<int64_t>(kLanes, n - k)), grad);
        add_point_gradient<F, kSecond>(a, l, point, direction, grad, total);
        for (int d = 0; d < kDims; ++d) store(sum.x[d] + k, total[d]);
      }
    add_to_points(a.grad_x + first * kDims, sum, n);
  }
}

// --- gradient of the table -------------------------------------------------------------------------------------------

// Adds weight * value to one row per lane and corner. Lanes may share rows, so the sums are made one after another.
template <int F, bool kAllRows>
A3D_LANE void add_to_rows(float* rows, uint32_t n_rows, const CornerInts& row, const CornerFloats& weight,
                          const float* grad, int stride, int n) {
  for (int k = 0; k < n; ++k) {
    const Row<F> value = *reinterpret_cast<const Row<F>*>(grad + int64_t(k) * stride);
    A3D_UNROLL_8
    for (int c = 0; c < 8; ++c)
      if (kAllRows || uint32_t(row.at[c][k]) < n_rows)
        *reinterpret_cast<Row<F>*>(rows + int64_t(row.at[c][k]) * F) += weight.at[c][k] * value;
  }
}

template <int F, bool kSecond, bool kAllRows>
void table_gradient_loop(const Args<float>& a, Rows part) {
  const Level& level = a.levels[part.level];
  const int stride = a.n_levels * F;
  float* rows = a.grad_table + (level.first_row + part.first_row) * F;
  CornerInts row;
  CornerFloats weights;
  for (int64_t i = 0; i < a.n_points; i += kLanes) {
    const int n = int(std::min<int64_t>(kLanes, a.n_points - i));
    Float x[kDims], v[kDims];
    load_triples(a.x + i * kDims, n, x);
    const Cell<Float, Int> cell = locate(level, x, part.first_row, row);
    if constexpr (kSecond) {
      load_triples(a.grad_grad_x + i * kDims, n, v);
      store_weights_along(cell, v, weights);
    } else {
      store_weights(cell, weights);
    }
    add_to_rows<F, kAllRows>(rows, part.last_row - part.first_row, row, weights,
                             a.grad_out + i * stride + part.level * F, stride, n);
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
  if (n == 2) fn(std::integral_constant<int, 2>());
#ifndef __SANITIZE_ADDRESS__
  if (n == 1) fn(std::integral_constant<int, 1>());
  if (n == 4) fn(std::integral_constant<int, 4>());
  if (n == 8) fn(std::integral_constant<int, 8>());
#endif
}
}  // namespace

void features(const Args<float>& a, Part part) {
  with_features(a.n_features, [&](auto n) { features_loop<n()>(a, part); });
}
void second_features(const Args<float>& a, Part part) {
  with_features(a.n_features, [&](auto n) { second_features_loop<n()>(a, part); });
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
