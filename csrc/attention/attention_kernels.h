#pragma once
// What both CUDA schedules share: walking over the keys of all sources, sums of rows, and the case of one key.
#include "../common/launch.h"
#include "../common/warp.h"
#include "attention_math.h"

namespace asset3d::attention {
namespace {
// Keys [first, first + step) of a source; `n` of them exist.
struct KeyTile { int source; int64_t first; int n; };

// The tile at or after [source, first) that holds a key; false after the last.
template <typename T>
__device__ bool find_tile(const Args<T>& a, int source, int64_t first, int step, KeyTile& tile) {
  for (; source < a.n_sources; ++source, first = 0)
    if (first < a.sources[source].n_keys) {
      const int64_t left = a.sources[source].n_keys - first;
      tile = {source, first, int(left < step ? left : step)};
      return true;
    }
  return false;
}
template <typename T>
__device__ bool next_tile(const Args<T>& a, int step, KeyTile& tile) {
  return find_tile(a, tile.source, tile.first + step, step, tile);
}
template <typename T>
__device__ int64_t batch_of_source(const Args<T>& a, const Source<T>& source, int64_t b) {
  return b / (a.n_batch / source.n_batch);
}

// Blocks along x are those of batch 0, of batch 1, ...: along z there may be no more than 65535.
struct Block { int64_t at, batch; };
__device__ __forceinline__ Block block_of(int64_t n_batch) {
  const unsigned per_batch = gridDim.x / unsigned(n_batch);
  return {blockIdx.x % per_batch, blockIdx.x / per_batch};
}

// --- delta: one warp per query ---------------------------------------------------------------------------------------
constexpr int kRowWarps = 4;
template <typename T>
__global__ void __launch_bounds__(kRowWarps * kWarp) delta_kernel(const Args<T> a) {
  const auto [block, b] = block_of(a.n_batch);
  const int64_t n = block * kRowWarps + threadIdx.x / kWarp, h = blockIdx.y;
  if (n >= a.n_queries) return;
  const T *out = a.out.at(b, h, n), *grad = a.grad_out.at(b, h, n);
  Sum<T> sum = 0;
  for (int d = int(threadIdx.x % kWarp); d < a.head_size; d += kWarp)
    sum += Sum<T>(to_float(out[d])) * to_float(grad[d]);
  sum = sum_of_warp(sum);
  if (threadIdx.x % kWarp == 0) a.delta[(b * a.n_heads + h) * a.n_queries + n] = sum;
}

// --- one key: the scores have no gradient, and that of the value is the sum over the queries, in their order ---------
template <typename T>
__global__ void __launch_bounds__(kWarp) zero_row_kernel(const View<T> view, int64_t n_batch, int head_size) {
  const auto [block, batch] = block_of(n_batch);
  T* row = view.at(batch, blockIdx.y, block);
  for (int d = int(threadIdx.x); d < head_size; d += kWarp) row[d] = T{};
}

template <typename T>
__global__ void __launch_bounds__(kWarp) value_sum_kernel(const Args<T> a, int s) {
  const Source<T>& source = a.sources[s];
  const auto [block, batch] = block_of(source.n_batch);
  const int64_t h = blockIdx.y, group = a.n_batch / source.n_batch;
  const int d = int(block * kWarp + threadIdx.x);
  if (d >= a.head_size) return;
  Sum<T> sum = 0;
  for (int64_t b = batch * group; b < (batch + 1) * group; ++b)
    for (int64_t n = 0; n < a.n_queries; ++n) sum += to_float(a.grad_out.at(b, h, n)[d]);
  assign(source.grad_v.at(batch, h, 0)[d], sum);
}

// --- launches --------------------------------------------------------------------------------------------------------
inline int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

template <typename T>
dim3 grid_of(const Args<T>& a, int64_t rows, int64_t per_block, int64_t n_batch) {
  return dim3(unsigned(parts(rows, per_block) * n_batch), unsigned(a.n_heads));
}

template <typename T>
void zero_rows(const View<T>& view, const Args<T>& a, int64_t rows, int64_t n_batch, cudaStream_t stream) {
  if (view.data && rows)
    A3D_LAUNCH(zero_row_kernel<T>, grid_of(a, rows, 1, n_batch), kWarp, 0, stream, view, n_batch, a.head_size);
}

template <typename T>
void backward_of_one_key(const Args<T>& a, cudaStream_t stream) {
  zero_rows(a.grad_q, a, a.n_queries, a.n_batch, stream);
  for (int s = 0; s < a.n_sources; ++s) {
    const Source<T>& source = a.sources[s];
    if (!source.n_keys || !source.grad_v.data) continue;
    zero_rows(source.grad_k, a, 1, source.n_batch, stream);
    A3D_LAUNCH(value_sum_kernel<T>, grid_of(a, a.head_size, kWarp, source.n_batch), kWarp, 0, stream, a, s);
  }
}

// Runs what has keys and queries to look at; zeros where only one of them exists.
template <typename T, typename QueryGradient, typename KeyGradient>
void run_backward(const Args<T>& a, cudaStream_t stream, QueryGradient query_gradient, KeyGradient key_gradient) {
  if (a.n_batch * a.n_heads == 0) return;
  const int64_t keys = total_keys(a);
  if (keys == 1) return backward_of_one_key(a, stream);
  if (keys == 0) zero_rows(a.grad_q, a, a.n_queries, a.n_batch, stream);
  if (a.n_queries)
    A3D_LAUNCH(delta_kernel<T>, grid_of(a, a.n_queries, kRowWarps, a.n_batch), kRowWarps * kWarp, 0, stream, a);
  if (a.n_queries && keys && a.grad_q.data) query_gradient();
  for (int s = 0; s < a.n_sources; ++s)
    if (a.sources[s].n_keys && a.sources[s].grad_k.data) key_gradient(s);
}
}  // namespace
}  // namespace asset3d::attention
