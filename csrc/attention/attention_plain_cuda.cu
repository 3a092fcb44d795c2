// Attention on CUDA in float32 and float64, which tensor cores do not multiply exactly: one warp per query, whose lanes
// hold 32 keys while scores are computed and channels while values are summed; in the backward also one warp per key,
// whose lanes hold queries. Every sum has one owner, so results repeat to the bit.
#include "attention_kernels.h"

namespace asset3d::attention {
namespace {
constexpr int kChannels = kMaxHeadSize / kWarp;  // of a lane
constexpr int kThreads = kRowWarps * kWarp;

template <typename T>
__device__ T dot(const T* x, const T* y, int n) {
  T sum = 0;
  for (int d = 0; d < n; ++d) sum += x[d] * y[d];
  return sum;
}

// sum[j] += weight of lane i * row i of n, for the channels of this lane.
template <typename T, typename Row>
__device__ void add_rows(T (&sum)[kChannels], T weight, int n, int head_size, Row row) {
  const int lane = int(threadIdx.x % kWarp);
  for (int i = 0; i < n; ++i) {
    const T w = __shfl_sync(kAllLanes, weight, i);
    const T* values = row(i);
#pragma unroll
    for (int j = 0; j < kChannels; ++j)
      if (const int d = lane + j * kWarp; d < head_size) sum[j] += w * values[d];
  }
}

template <typename T>
__device__ void store_channels(T* row, const T (&sum)[kChannels], int head_size, T factor) {
#pragma unroll
  for (int j = 0; j < kChannels; ++j)
    if (const int d = int(threadIdx.x % kWarp) + j * kWarp; d < head_size) row[d] = sum[j] * factor;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) attend_kernel(const Args<T> a) {
  const auto [block, b] = block_of(a.n_batch);
  const int64_t n = block * kRowWarps + threadIdx.x / kWarp, h = blockIdx.y;
  const int lane = int(threadIdx.x % kWarp);
  if (n >= a.n_queries) return;
  const T scale = T(base_2(a.scale));
  T sum[kChannels] = {}, total = 0, top = -T(INFINITY);
  KeyTile tile;
  for (bool more = find_tile(a, 0, 0, kWarp, tile); more; more = next_tile(a, kWarp, tile)) {
    const Source<T>& source = a.sources[tile.source];
    const int64_t batch = batch_of_source(a, source, b);
    T score = -T(INFINITY);
    if (lane < tile.n) score = scale * dot(a.q.at(b, h, n), source.k.at(batch, h, tile.first + lane), a.head_size);
    const T higher = max(top, maximum_of_warp(score)), keep = exp2(top - higher), p = exp2(score - higher);
    top = higher;
    total = total * keep + sum_of_warp(p);
#pragma unroll
    for (int j = 0; j < kChannels; ++j) sum[j] *= keep;
    add_rows(sum, p, tile.n, a.head_size, [&](int i) { return source.v.at(batch, h, tile.first + i); });
  }
  store_channels(a.out.at(b, h, n), sum, a.head_size, inverse_sum(total));
  if (lane == 0) a.log_sum[(b * a.n_heads + h) * a.n_queries + n] = log_sum_of(top, total);
}

// Probability of a key for a query and the derivative of its score.
template <typename T> struct Weights { T p, ds; };
template <typename T>
__device__ Weights<T> weights_of(const Args<T>& a, const Source<T>& source, int64_t batch, int64_t b, int64_t h,
                                 int64_t n, int64_t m) {
  const int64_t at = (b * a.n_heads + h) * a.n_queries + n;
  const T score = T(base_2(a.scale)) * dot(a.q.at(b, h, n), source.k.at(batch, h, m), a.head_size);
  const T p = exp2(score - a.log_sum[at]);
  const T grad_p = dot(a.grad_out.at(b, h, n), source.v.at(batch, h, m), a.head_size);
  return {p, score_gradient(p, grad_p, a.delta[at], T(a.scale))};
}

template <typename T>
__global__ void __launch_bounds__(kThreads) query_gradient_kernel(const Args<T> a) {
  const auto [block, b] = block_of(a.n_batch);
  const int64_t n = block * kRowWarps + threadIdx.x / kWarp, h = blockIdx.y;
  const int lane = int(threadIdx.x % kWarp);
  if (n >= a.n_queries) return;
  T sum[kChannels] = {};
  KeyTile tile;
  for (bool more = find_tile(a, 0, 0, kWarp, tile); more; more = next_tile(a, kWarp, tile)) {
    const Source<T>& source = a.sources[tile.source];
    const int64_t batch = batch_of_source(a, source, b);
    const T ds = lane < tile.n ? weights_of(a, source, batch, b, h, n, tile.first + lane).ds : T(0);
    add_rows(sum, ds, tile.n, a.head_size, [&](int i) { return source.k.at(batch, h, tile.first + i); });
  }
  store_channels(a.grad_q.at(b, h, n), sum, a.head_size, T(1));
}

template <typename T>
__global__ void __launch_bounds__(kThreads) key_gradient_kernel(const Args<T> a, int s) {
  const Source<T>& source = a.sources[s];
  const auto [block, batch] = block_of(source.n_batch);
  const int64_t m = block * kRowWarps + threadIdx.x / kWarp, h = blockIdx.y;
  const int64_t group = a.n_batch / source.n_batch;
  const int lane = int(threadIdx.x % kWarp);
  if (m >= source.n_keys) return;
  T grad_k[kChannels] = {}, grad_v[kChannels] = {};
  for (int64_t b = batch * group; b < (batch + 1) * group; ++b)
    for (int64_t first = 0; first < a.n_queries; first += kWarp) {
      const int n = int(a.n_queries - first < kWarp ? a.n_queries - first : kWarp);
      Weights<T> w{T(0), T(0)};
      if (lane < n) w = weights_of(a, source, batch, b, h, first + lane, m);
      add_rows(grad_k, w.ds, n, a.head_size, [&](int i) { return a.q.at(b, h, first + i); });
      add_rows(grad_v, w.p, n, a.head_size, [&](int i) { return a.grad_out.at(b, h, first + i); });
    }
  store_channels(source.grad_k.at(batch, h, m), grad_k, a.head_size, T(1));
  store_channels(source.grad_v.at(batch, h, m), grad_v, a.head_size, T(1));
}
}  // namespace

template <typename T> void attend_cuda(const Args<T>& a, void* stream) {
  if (a.n_batch * a.n_heads * a.n_queries == 0) return;
  A3D_LAUNCH(attend_kernel<T>, grid_of(a, a.n_queries, kRowWarps, a.n_batch), kThreads, 0,
             static_cast<cudaStream_t>(stream), a);
}

template <typename T> void attend_backward_cuda(const Args<T>& a, void* stream_pointer) {
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);
  run_backward(
      a, stream,
      [&] {
        A3D_LAUNCH(query_gradient_kernel<T>, grid_of(a, a.n_queries, kRowWarps, a.n_batch), kThreads, 0, stream, a);
      },
      [&](int s) {
        const Source<T>& source = a.sources[s];
        A3D_LAUNCH(key_gradient_kernel<T>, grid_of(a, source.n_keys, kRowWarps, source.n_batch), kThreads, 0, stream, a,
                   s);
      });
}

template void attend_cuda(const Args<float>&, void*);
template void attend_cuda(const Args<double>&, void*);
template void attend_backward_cuda(const Args<float>&, void*);
template void attend_backward_cuda(const Args<double>&, void*);
}  // namespace asset3d::attention
