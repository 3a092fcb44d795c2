// Attention on CUDA in bfloat16 and float16, by products on tensor cores (mma.m16n8k16; see common/mma.h). A block of
// four warps owns 64 queries, in the backward also 64 keys, 16 per warp; tiles of the other side pass through shared
// memory. Every sum has one owner, so results repeat to the bit; in return the backward computes scores twice.
#include "../common/launch.h"
#include "../common/mma.h"
#include "attention_kernels.h"

namespace asset3d::attention {
namespace {
constexpr int kWarps = 4, kThreads = kWarps * kWarp;
constexpr int kRows = 16 * kWarps;  // that a block owns

// How a head size D, padded to one of a few, is computed.
template <int D>
struct Shape {
  static constexpr int stride = D + 8;  // of rows in shared memory: 16 bytes more, against bank conflicts
  static constexpr int keys = D <= 160 ? 64 : 32;        // of a tile in the forward and in the gradient of queries
  static constexpr int queries = D <= 160 ? 64 : 16;     // of a tile in the gradient of keys: 99 KiB hold all
  static constexpr int columns = D <= 128 ? D : D / (D <= 160 ? 2 : 4);  // of gradients that a block of keys sums
  static constexpr int forward_bytes = (kRows + 2 * keys) * stride * 2;
  static constexpr int query_bytes = (2 * kRows + 2 * keys) * stride * 2;
  static constexpr int key_bytes = (2 * kRows + 2 * queries) * stride * 2 + 2 * queries * 4;
};

__device__ __forceinline__ int lane_id() { return int(threadIdx.x % kWarp); }
__device__ __forceinline__ int warp_id() { return int(threadIdx.x / kWarp); }

// n_rows rows of D elements in shared memory from n rows of head_size; zeros elsewhere. Copies may still be on their
// way.
template <int D, typename T>
__device__ void load_rows(T* shared, const T* rows, int64_t row_stride, int64_t n, int n_rows, int head_size,
                          bool vectors) {
  for (int i = int(threadIdx.x); i < n_rows * (D / 8); i += kThreads) {
    const int r = i / (D / 8), d = i % (D / 8) * 8;
    T* to = shared + r * Shape<D>::stride + d;
    const T* from = rows + r * row_stride + d;
    if (vectors && r < n && d + 8 <= head_size) {
      mma::copy_16(to, from);
    } else {
      for (int e = 0; e < 8; ++e) to[e] = r < n && d + e < head_size ? from[e] : T{};
    }
  }
}

// Where this lane's row of an operand begins, for the 16 x 16 elements whose first is `corner`.
//   a: rows of a            columns_of_b: columns of b are rows in memory (k of scores)
//   rows_of_b: rows of b are rows in memory (v of outputs), loaded transposed
template <int D, typename T> __device__ const T* at_a(const T* corner) {
  return corner + lane_id() % 16 * Shape<D>::stride + lane_id() / 16 * 8;
}
template <int D, typename T> __device__ const T* at_columns_of_b(const T* corner) {
  return corner + (lane_id() % 8 + lane_id() / 16 * 8) * Shape<D>::stride + lane_id() / 8 % 2 * 8;
}
template <int D, typename T> __device__ const T* at_rows_of_b(const T* corner) {
  return corner + lane_id() % 16 * Shape<D>::stride + lane_id() / 16 * 8;
}

// sum[16 rows][16 columns] += a[16 rows][D] * b[16 rows][D]^T
template <int D, typename T>
__device__ void add_products(float (*sum)[4], const T* a, const T* b) {
#pragma unroll
  for (int d = 0; d < D; d += 16) {
    uint32_t left[4], right[4];
    mma::load_matrices(left, at_a<D>(a + d));
    mma::load_matrices(right, at_columns_of_b<D>(b + d));
    mma::multiply_add<T>(sum[0], left, right);
    mma::multiply_add<T>(sum[1], left, right + 2);
  }
}

// sum[16 rows][kColumns] += weights[16 rows][16] * rows[16][kColumns]
template <int D, int kColumns, typename T>
__device__ void add_weighted(float (&sum)[kColumns / 8][4], const float (*weights)[4], const T* rows) {
  const uint32_t left[4] = {mma::pack<T>(weights[0][0], weights[0][1]), mma::pack<T>(weights[0][2], weights[0][3]),
                            mma::pack<T>(weights[1][0], weights[1][1]), mma::pack<T>(weights[1][2], weights[1][3])};
#pragma unroll
  for (int d = 0; d < kColumns; d += 16) {
    uint32_t right[4];
    mma::load_transposed(right, at_rows_of_b<D>(rows + d));
    mma::multiply_add<T>(sum[d / 8], left, right);
    mma::multiply_add<T>(sum[d / 8 + 1], left, right + 2);
  }
}

// Rows `row` and row + 8 of this warp's sums, each times a factor, to global memory.
template <int kColumns, typename T, typename Row>
__device__ void store_sums(const float (&sum)[kColumns / 8][4], int first_column, int head_size,
                           const float (&factor)[2], Row row_of) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    T* row = row_of(warp_id() * 16 + lane_id() / 4 + half * 8);
    if (!row) continue;
#pragma unroll
    for (int t = 0; t < kColumns / 8; ++t)
      for (int i = 0; i < 2; ++i) {
        const int d = first_column + t * 8 + lane_id() % 4 * 2 + i;
        if (d < head_size) assign(row[d], sum[t][half * 2 + i] * factor[half]);
      }
  }
}

// Over the four lanes that share a row of a fragment.
template <typename Combine> __device__ float of_row(float value, Combine combine) {
  value = combine(value, __shfl_xor_sync(kAllLanes, value, 1));
  return combine(value, __shfl_xor_sync(kAllLanes, value, 2));
}

// --- forward ---------------------------------------------------------------------------------------------------------
// Turns scores of 16 queries and kKeys keys, n of which exist, into probabilities; `keep` is for earlier sums.
template <int kKeys>
__device__ void take_probabilities(float (&scores)[kKeys / 8][4], int n, float scale, float (&top)[2],
                                   float (&total)[2], float (&keep)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float higher = top[half];
#pragma unroll
    for (int t = 0; t < kKeys / 8; ++t)
      for (int i = 0; i < 2; ++i) {
        float& score = scores[t][half * 2 + i];
        score = t * 8 + lane_id() % 4 * 2 + i < n ? score * scale : -INFINITY;
        higher = max(higher, score);
      }
    higher = of_row(higher, [](float x, float y) { return max(x, y); });
    keep[half] = exp2f(top[half] - higher);
    top[half] = higher;
    total[half] *= keep[half];  // the sum of this lane's keys; lanes are added at the end
#pragma unroll
    for (int t = 0; t < kKeys / 8; ++t)
      for (int i = 0; i < 2; ++i) {
        float& score = scores[t][half * 2 + i];
        score = exp2f(score - higher);
        total[half] += score;
      }
  }
}

template <typename T, int D>
__global__ void __launch_bounds__(kThreads) attend_kernel(const Args<T> a, bool vectors) {
  constexpr int kKeys = Shape<D>::keys, kStride = Shape<D>::stride;
  A3D_DYNAMIC_SHARED(T, shared);
  T *q = shared, *k = q + kRows * kStride, *v = k + kKeys * kStride;
  const auto [block, b] = block_of(a.n_batch);
  const int64_t first = block * kRows, h = blockIdx.y;
  const auto load = [&](const KeyTile& tile, View<const T> Source<T>::*side, T* to) {
    const Source<T>& source = a.sources[tile.source];
    const View<const T>& view = source.*side;
    load_rows<D>(to, view.at(batch_of_source(a, source, b), h, tile.first), view.row, tile.n, kKeys, a.head_size,
                 vectors);
  };
  float out[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  KeyTile tile;
  bool more = find_tile(a, 0, 0, kKeys, tile);
  load_rows<D>(q, a.q.at(b, h, first), a.q.row, a.n_queries - first, kRows, a.head_size, vectors);
  if (more) load(tile, &Source<T>::k, k);
  while (more) {
    mma::wait_for_copies();
    __syncthreads();  // k has come, and nobody needs the former v
    load(tile, &Source<T>::v, v);
    float scores[kKeys / 8][4] = {}, keep[2];
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j)
      add_products<D>(scores + 2 * j, q + warp_id() * 16 * kStride, k + j * 16 * kStride);
    take_probabilities<kKeys>(scores, tile.n, float(base_2(a.scale)), top, total, keep);
#pragma unroll
    for (int t = 0; t < D / 8; ++t)
      for (int i = 0; i < 4; ++i) out[t][i] *= keep[i / 2];
    mma::wait_for_copies();
    __syncthreads();  // v has come, and nobody needs k
    more = next_tile(a, kKeys, tile);
    if (more) load(tile, &Source<T>::k, k);
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j)
      add_weighted<D, D, T>(out, scores + 2 * j, v + j * 16 * kStride);
  }
  float factor[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    total[half] = of_row(total[half], [](float x, float y) { return x + y; });
    factor[half] = inverse_sum(total[half]);
    const int64_t n = first + warp_id() * 16 + lane_id() / 4 + half * 8;
    if (lane_id() % 4 == 0 && n < a.n_queries)
      a.log_sum[(b * a.n_heads + h) * a.n_queries + n] = log_sum_of(top[half], total[half]);
  }
  store_sums<D, T>(out, 0, a.head_size, factor,
                   [&](int row) { return first + row < a.n_queries ? a.out.at(b, h, first + row) : nullptr; });
}

// --- gradient of the queries -----------------------------------------------------------------------------------------
template <typename T, int D>
__global__ void __launch_bounds__(kThreads, 2) query_gradient_kernel(const Args<T> a, bool vectors) {
  constexpr int kKeys = Shape<D>::keys, kStride = Shape<D>::stride;
  A3D_DYNAMIC_SHARED(T, shared);
  T *q = shared, *grad = q + kRows * kStride, *k = grad + kRows * kStride, *v = k + kKeys * kStride;
  const auto [block, b] = block_of(a.n_batch);
  const int64_t first = block * kRows, h = blockIdx.y;
  const float scale = float(a.scale), scale_2 = float(base_2(a.scale));
  load_rows<D>(q, a.q.at(b, h, first), a.q.row, a.n_queries - first, kRows, a.head_size, vectors);
  load_rows<D>(grad, a.grad_out.at(b, h, first), a.grad_out.row, a.n_queries - first, kRows, a.head_size, vectors);
  float log_sum[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t n = first + warp_id() * 16 + lane_id() / 4 + half * 8, at = (b * a.n_heads + h) * a.n_queries + n;
    log_sum[half] = n < a.n_queries ? a.log_sum[at] : INFINITY;
    delta[half] = n < a.n_queries ? a.delta[at] : 0.0f;
  }
  float sum[D / 8][4] = {};
  KeyTile tile;
  for (bool more = find_tile(a, 0, 0, kKeys, tile); more; more = next_tile(a, kKeys, tile)) {
    const Source<T>& source = a.sources[tile.source];
    const int64_t batch = batch_of_source(a, source, b);
    load_rows<D>(k, source.k.at(batch, h, tile.first), source.k.row, tile.n, kKeys, a.head_size, vectors);
    load_rows<D>(v, source.v.at(batch, h, tile.first), source.v.row, tile.n, kKeys, a.head_size, vectors);
    mma::wait_for_copies();
    __syncthreads();
    for (int j = 0; j < tile.n; j += 16) {
      float scores[2][4] = {}, ds[2][4] = {};
      add_products<D>(scores, q + warp_id() * 16 * kStride, k + j * kStride);
      add_products<D>(ds, grad + warp_id() * 16 * kStride, v + j * kStride);
#pragma unroll
      for (int t = 0; t < 2; ++t)
        for (int i = 0; i < 4; ++i) {
          const bool exists = j + t * 8 + lane_id() % 4 * 2 + i % 2 < tile.n;
          const float p = exists ? exp2f(fminf(__fmul_rn(scores[t][i], scale_2) - log_sum[i / 2], 0.0f)) : 0.0f;
          ds[t][i] = score_gradient(p, ds[t][i], delta[i / 2], scale);
        }
      add_weighted<D, D, T>(sum, ds, k + j * kStride);
    }
    __syncthreads();
  }
  const float factor[2] = {1, 1};
  store_sums<D, T>(sum, 0, a.head_size, factor,
                   [&](int row) { return first + row < a.n_queries ? a.grad_q.at(b, h, first + row) : nullptr; });
}

// --- gradients of keys and values: with keys as rows, scores come out transposed -------------------------------------
template <typename T, int D>
__global__ void __launch_bounds__(kThreads, 2) key_gradient_kernel(const Args<T> a, int s, bool vectors) {
  constexpr int kQueries = Shape<D>::queries, kStride = Shape<D>::stride, kColumns = Shape<D>::columns;
  constexpr int kParts = D / kColumns;  // blocks that share the columns of the same keys
  A3D_DYNAMIC_SHARED(T, shared);
  T *k = shared, *v = k + kRows * kStride, *q = v + kRows * kStride, *grad = q + kQueries * kStride;
  float *log_sum = reinterpret_cast<float*>(grad + kQueries * kStride), *delta = log_sum + kQueries;
  const Source<T>& source = a.sources[s];
  const auto [block, batch] = block_of(source.n_batch);
  const int64_t first = block / kParts * kRows, h = blockIdx.y;
  const int column = int(block % kParts) * kColumns;
  const int64_t group = a.n_batch / source.n_batch;
  const float scale = float(a.scale), scale_2 = float(base_2(a.scale));
  load_rows<D>(k, source.k.at(batch, h, first), source.k.row, source.n_keys - first, kRows, a.head_size, vectors);
  load_rows<D>(v, source.v.at(batch, h, first), source.v.row, source.n_keys - first, kRows, a.head_size, vectors);
  float grad_k[kColumns / 8][4] = {}, grad_v[kColumns / 8][4] = {};
  for (int64_t i = 0, tiles = (a.n_queries + kQueries - 1) / kQueries; i < group * tiles; ++i) {
    const int64_t b = batch * group + i / tiles, start = i % tiles * kQueries,
                  at = (b * a.n_heads + h) * a.n_queries + start;
    const int n = int(a.n_queries - start < kQueries ? a.n_queries - start : kQueries);
    load_rows<D>(q, a.q.at(b, h, start), a.q.row, n, kQueries, a.head_size, vectors);
    load_rows<D>(grad, a.grad_out.at(b, h, start), a.grad_out.row, n, kQueries, a.head_size, vectors);
    for (int r = int(threadIdx.x); r < kQueries; r += kThreads) {
      log_sum[r] = r < n ? a.log_sum[at + r] : INFINITY;  // a probability of 0
      delta[r] = r < n ? a.delta[at + r] : 0.0f;
    }
    mma::wait_for_copies();
    __syncthreads();
    for (int j = 0; j < n; j += 16) {
      float p[2][4] = {}, ds[2][4] = {};
      add_products<D>(p, k + warp_id() * 16 * kStride, q + j * kStride);
      add_products<D>(ds, v + warp_id() * 16 * kStride, grad + j * kStride);
#pragma unroll
      for (int t = 0; t < 2; ++t)
        for (int e = 0; e < 4; ++e) {
          const int query = j + t * 8 + lane_id() % 4 * 2 + e % 2;
          const bool exists = first + warp_id() * 16 + lane_id() / 4 + e / 2 * 8 < source.n_keys;
          p[t][e] = exists ? exp2f(fminf(__fmul_rn(p[t][e], scale_2) - log_sum[query], 0.0f)) : 0.0f;
          ds[t][e] = score_gradient(p[t][e], ds[t][e], delta[query], scale);
        }
      add_weighted<D, kColumns, T>(grad_v, p, grad + j * kStride + column);
      add_weighted<D, kColumns, T>(grad_k, ds, q + j * kStride + column);
    }
    __syncthreads();
  }
  const float factor[2] = {1, 1};
  const auto row_of = [&](const View<T>& view) {
    return [&, first](int row) { return first + row < source.n_keys ? view.at(batch, h, first + row) : nullptr; };
  };
  store_sums<kColumns, T>(grad_k, column, a.head_size, factor, row_of(source.grad_k));
  store_sums<kColumns, T>(grad_v, column, a.head_size, factor, row_of(source.grad_v));
}

// --- launches --------------------------------------------------------------------------------------------------------
template <int D> struct Head { static constexpr int size = D; };
template <typename Fn> void with_head(int head_size, Fn fn) {
  if (head_size <= 32) return fn(Head<32>{});
  if (head_size <= 48) return fn(Head<48>{});
  if (head_size <= 64) return fn(Head<64>{});
  if (head_size <= 80) return fn(Head<80>{});
  if (head_size <= 128) return fn(Head<128>{});
  if (head_size <= 160) return fn(Head<160>{});
  fn(Head<256>{});
}

// Whether rows may be copied 16 bytes at a time.
template <typename T> bool is_aligned(const View<const T>& view) {
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && view.batch % 8 == 0 && view.head % 8 == 0 &&
         view.row % 8 == 0;
}
template <typename T> bool has_vectors(const Args<T>& a, bool backward) {
  bool all = a.head_size % 8 == 0 && is_aligned(a.q) && (!backward || is_aligned(a.grad_out));
  for (int s = 0; s < a.n_sources; ++s) all = all && is_aligned(a.sources[s].k) && is_aligned(a.sources[s].v);
  return all;
}
}  // namespace

template <typename T> void attend_cuda(const Args<T>& a, void* stream) {
  if (a.n_batch * a.n_heads * a.n_queries == 0) return;
  with_head(a.head_size, [&](auto head) {
    constexpr int D = decltype(head)::size, bytes = Shape<D>::forward_bytes;
    A3D_ALLOW_SHARED((attend_kernel<T, D>), bytes);
    A3D_LAUNCH((attend_kernel<T, D>), grid_of(a, a.n_queries, kRows, a.n_batch), kThreads, bytes,
               static_cast<cudaStream_t>(stream), a, has_vectors(a, false));
  });
}

template <typename T> void attend_backward_cuda(const Args<T>& a, void* stream_pointer) {
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);
  with_head(a.head_size, [&](auto head) {
    constexpr int D = decltype(head)::size, parts = D / Shape<D>::columns;
    const bool vectors = has_vectors(a, true);
    run_backward(
        a, stream,
        [&] {
          constexpr int bytes = Shape<D>::query_bytes;
          A3D_ALLOW_SHARED((query_gradient_kernel<T, D>), bytes);
          A3D_LAUNCH((query_gradient_kernel<T, D>), grid_of(a, a.n_queries, kRows, a.n_batch), kThreads, bytes, stream,
                     a, vectors);
        },
        [&](int s) {
          constexpr int bytes = Shape<D>::key_bytes;
          dim3 grid = grid_of(a, a.sources[s].n_keys, kRows, a.sources[s].n_batch);
          grid.x *= parts;
          A3D_ALLOW_SHARED((key_gradient_kernel<T, D>), bytes);
          A3D_LAUNCH((key_gradient_kernel<T, D>), grid, kThreads, bytes, stream, a, s, vectors);
        });
  });
}

template void attend_cuda(const Args<Bfloat16>&, void*);
template void attend_cuda(const Args<Half>&, void*);
template void attend_backward_cuda(const Args<Bfloat16>&, void*);
template void attend_backward_cuda(const Args<Half>&, void*);
}  // namespace asset3d::attention
