// Attention, CPU schedule. The forward is parallel over (batch, head, range of queries): every query has one owner that
// visits the keys in order. The backward is parallel over (source, batch, head, range of keys): the owner of a key sums
// over the queries in order, and writes its share of the queries' gradient to memory of its own; a second pass adds the
// shares in order. How keys are divided depends on sizes alone, so every result has the same bits for any number of
// threads. float64, for gradcheck, and the case of one key are plain loops.
#include <atomic>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>
#include "../common/parallel.h"
#include "attention_math.h"

namespace asset3d::attention {
namespace {
constexpr int64_t kQueryFloats = 32768;  // of queries in a task: with their output they take a quarter of a 1 MB cache
constexpr int64_t kKeyFloats = 32768;    // of keys that a task of the backward holds at a time
constexpr int64_t kKeyTasks = 16;        // into which the backward divides its work, at least

// Hands out tasks one by one, since they differ in length; each thread has `n_floats` of memory of its own.
template <typename Fn>
void for_each_task(int64_t n_tasks, int64_t n_floats, Fn&& fn) {
  std::atomic<int64_t> next{0};
  parallel_for(0, std::min<int64_t>(thread_count(), n_tasks), 1, [&](int64_t begin, int64_t end) {
    const auto release = [](float* p) { ::operator delete[](p, std::align_val_t(64)); };
    const std::unique_ptr<float[], decltype(release)> memory(
        static_cast<float*>(::operator new[](size_t(n_floats) * sizeof(float), std::align_val_t(64))), release);
    for (; begin < end; ++begin)
      for (int64_t i; (i = next++) < n_tasks;) fn(i, memory.get());
  });
}

struct Divided {
  int64_t n_parts, size;
  Divided(int64_t n, int64_t most, int64_t step) {
    n_parts = std::max<int64_t>(1, (n + most - 1) / most);
    size = std::max(step, round_up((n + n_parts - 1) / n_parts, step));
    n_parts = std::max<int64_t>(1, (n + size - 1) / size);
  }
};

// --- float32 and bfloat16 --------------------------------------------------------------------------------------------
void attend_some(const Args<float>& a, const QueryTask& task, float* memory) {
  A3D_DISPATCH(attend_float)(a, task, memory);
}
void attend_some(const Args<Bfloat16>& a, const QueryTask& task, float* memory) {
#ifdef A3D_X86
  if (simd::has_bfloat16_products()) return avx512::attend_pairs(a, task, memory);
#endif
  A3D_DISPATCH(attend_bfloat16)(a, task, memory);
}
void key_gradient(const Args<float>& a, const KeyTask& task, float* memory) {
  A3D_DISPATCH(key_gradient_float)(a, task, memory);
}
void key_gradient(const Args<Bfloat16>& a, const KeyTask& task, float* memory) {
#ifdef A3D_X86
  if (simd::has_bfloat16_products()) return avx512::key_gradient_pairs(a, task, memory);
#endif
  A3D_DISPATCH(key_gradient_bfloat16)(a, task, memory);
}
void query_gradient(const Args<float>& a, const QueryTask& task, const float* partials, int n, int64_t stride) {
  A3D_DISPATCH(query_gradient_float)(a, task, partials, n, stride);
}
void query_gradient(const Args<Bfloat16>& a, const QueryTask& task, const float* partials, int n, int64_t stride) {
  A3D_DISPATCH(query_gradient_bfloat16)(a, task, partials, n, stride);
}

double dot(const double* x, const double* y, int n) {
  double sum = 0;
  for (int d = 0; d < n; ++d) sum += x[d] * y[d];
  return sum;
}
void row_products(const float* x, int64_t x_row, const float* y, int64_t y_row, int64_t n, int d, double factor,
                  float* out) {
  A3D_DISPATCH(row_products_float)(x, x_row, y, y_row, n, d, float(factor), out);
}
void row_products(const Bfloat16* x, int64_t x_row, const Bfloat16* y, int64_t y_row, int64_t n, int d, double factor,
                  float* out) {
  A3D_DISPATCH(row_products_bfloat16)(x, x_row, y, y_row, n, d, float(factor), out);
}
void row_products(const double* x, int64_t x_row, const double* y, int64_t y_row, int64_t n, int d, double factor,
                  double* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = factor * dot(x + i * x_row, y + i * y_row, d);
}

// Calls fn(batch, head, first, last) for runs of queries that together are all of them, in parallel.
template <typename T, typename Fn>
void for_each_run(const Args<T>& a, int64_t grain, Fn&& fn) {
  parallel_for(0, a.n_batch * a.n_heads * a.n_queries, grain, [&](int64_t begin, int64_t end) {
    for (int64_t next; begin < end; begin = next) {
      const int64_t pair = begin / a.n_queries, first = begin % a.n_queries;
      next = std::min(end, (pair + 1) * a.n_queries);
      fn(pair / a.n_heads, pair % a.n_heads, first, first + next - begin);
    }
  });
}

template <typename T>
void attend_tiled(const Args<T>& a) {
  const int64_t wanted = 4 * int64_t(thread_count());  // tasks, so that threads end together
  const int64_t pairs = a.n_batch * a.n_heads;
  const int64_t most = std::min(kQueryFloats / a.head_size, round_up(a.n_queries * pairs / wanted, kMaxWidth));
  const Divided queries(a.n_queries, std::max<int64_t>(most / kMaxWidth * kMaxWidth, kMaxWidth), kMaxWidth);
  for_each_task(pairs * queries.n_parts, query_workspace(a.head_size, queries.size), [&](int64_t i, float* memory) {
    const int64_t pair = i / queries.n_parts, first = i % queries.n_parts * queries.size;
    attend_some(a, {pair / a.n_heads, pair % a.n_heads, first, std::min(first + queries.size, a.n_queries)}, memory);
  });
}

// Sum over d of out * grad_out.
template <typename T>
std::vector<Sum<T>> output_products(const Args<T>& a) {
  std::vector<Sum<T>> delta(size_t(a.n_batch * a.n_heads * a.n_queries));
  for_each_run(a, 256, [&](int64_t b, int64_t h, int64_t first, int64_t last) {
    row_products(static_cast<const T*>(a.out.at(b, h, first)), a.out.row, a.grad_out.at(b, h, first), a.grad_out.row,
                 last - first, a.head_size, 1.0, delta.data() + (b * a.n_heads + h) * a.n_queries + first);
  });
  return delta;
}

// How the keys of one source are divided.
struct KeyParts {
  int source;
  Divided keys;
  int64_t first_task, first_slot;  // slot: memory for one share of the queries' gradient
};

template <typename T>
void attend_backward_tiled(const Args<T>& a) {
  const std::vector<float> delta = output_products(a);
  const int64_t chunk = std::max<int64_t>(kKeyFloats / a.head_size / kGradientBlock, 1) * kGradientBlock;
  std::vector<KeyParts> parts;
  int64_t n_tasks = 0, n_slots = 0;
  for (int s = 0; s < a.n_sources; ++s) {
    const Source<T>& source = a.sources[s];
    if (source.n_keys == 0 || (!source.grad_k.data && !a.grad_q.data)) continue;
    const int64_t ranges = (kKeyTasks + source.n_batch * a.n_heads - 1) / (source.n_batch * a.n_heads);
    const Divided keys(source.n_keys, round_up((source.n_keys + ranges - 1) / ranges, chunk), chunk);
    parts.push_back({s, keys, n_tasks, n_slots});
    n_tasks += source.n_batch * a.n_heads * keys.n_parts;
    n_slots += keys.n_parts;
  }
  const int64_t slot_size = a.n_batch * a.n_heads * partial_size(a.head_size, a.n_queries);
  const std::unique_ptr<float[]> partials(a.grad_q.data ? new float[size_t(n_slots * slot_size)] : nullptr);
  for_each_task(n_tasks, key_workspace(a.head_size, chunk), [&](int64_t i, float* memory) {
    size_t p = parts.size() - 1;
    while (parts[p].first_task > i) --p;
    const auto& [s, keys, first_task, first_slot] = parts[p];
    const int64_t range = (i - first_task) % keys.n_parts, pair = (i - first_task) / keys.n_parts;
    const int64_t first = range * keys.size, last = std::min(first + keys.size, a.sources[s].n_keys);
    float* partial = partials ? partials.get() + (first_slot + range) * slot_size : nullptr;
    key_gradient(a, KeyTask{s, pair / a.n_heads, pair % a.n_heads, first, last, chunk, partial, delta.data()}, memory);
  });
  if (!a.grad_q.data) return;
  constexpr int64_t kQueries = 10 * kMaxWidth;
  const int64_t ranges = (a.n_queries + kQueries - 1) / kQueries;
  for_each_task(a.n_batch * a.n_heads * ranges, 1, [&](int64_t i, float*) {
    const int64_t pair = i / ranges, first = i % ranges * kQueries;
    query_gradient(a, {pair / a.n_heads, pair % a.n_heads, first, std::min(first + kQueries, a.n_queries)},
                   partials.get(), int(n_slots), slot_size);
  });
}

// --- float64 ---------------------------------------------------------------------------------------------------------
// Calls fn(source, batch of the source, key) for all keys that query batch b sees, in order.
template <typename Fn>
void for_each_key(const Args<double>& a, int64_t b, Fn&& fn) {
  for (int s = 0; s < a.n_sources; ++s)
    for (int64_t m = 0; m < a.sources[s].n_keys; ++m) fn(a.sources[s], b / (a.n_batch / a.sources[s].n_batch), m);
}

void attend_query(const Args<double>& a, int64_t b, int64_t h, int64_t n) {
  double* out = a.out.at(b, h, n);
  double maximum = -INFINITY, sum = 0;
  std::fill(out, out + a.head_size, 0.0);
  for_each_key(a, b, [&](const Source<double>& source, int64_t batch, int64_t m) {
    const double score = base_2(a.scale) * dot(a.q.at(b, h, n), source.k.at(batch, h, m), a.head_size);
    const double top = std::max(maximum, score), keep = std::exp2(maximum - top), p = std::exp2(score - top);
    for (int d = 0; d < a.head_size; ++d) out[d] = out[d] * keep + p * source.v.at(batch, h, m)[d];
    sum = sum * keep + p;
    maximum = top;
  });
  for (int d = 0; d < a.head_size; ++d) out[d] *= inverse_sum(sum);
  a.log_sum[(b * a.n_heads + h) * a.n_queries + n] = log_sum_of(maximum, sum);
}

void attend_tiled(const Args<double>& a) {
  for_each_run(a, 16, [&](int64_t b, int64_t h, int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) attend_query(a, b, h, n);
  });
}

// Probability of a key and derivative of its score; `at` is the index of the query in (B, H, N).
struct Pair { double p, ds; };
Pair pair_of(const Args<double>& a, const Source<double>& source, int64_t batch, int64_t b, int64_t h, int64_t n,
             int64_t m, const double* delta) {
  const int64_t at = (b * a.n_heads + h) * a.n_queries + n;
  const double score = base_2(a.scale) * dot(a.q.at(b, h, n), source.k.at(batch, h, m), a.head_size);
  const double p = std::exp2(score - a.log_sum[at]);
  const double grad_p = dot(a.grad_out.at(b, h, n), source.v.at(batch, h, m), a.head_size);
  return {p, score_gradient(p, grad_p, delta[at], a.scale)};
}

void add(double* to, double factor, const double* values, int n) {
  for (int d = 0; d < n; ++d) to[d] += factor * values[d];
}

void key_gradients(const Args<double>& a, const Source<double>& source, int64_t batch, int64_t h, const double* delta) {
  const int64_t group = a.n_batch / source.n_batch;
  for (int64_t m = 0; m < source.n_keys; ++m) {
    double *grad_k = source.grad_k.at(batch, h, m), *grad_v = source.grad_v.at(batch, h, m);
    std::fill(grad_k, grad_k + a.head_size, 0.0);
    std::fill(grad_v, grad_v + a.head_size, 0.0);
    for (int64_t b = batch * group; b < (batch + 1) * group; ++b)
      for (int64_t n = 0; n < a.n_queries; ++n) {
        const Pair pair = pair_of(a, source, batch, b, h, n, m, delta);
        add(grad_k, pair.ds, a.q.at(b, h, n), a.head_size);
        add(grad_v, pair.p, a.grad_out.at(b, h, n), a.head_size);
      }
  }
}

void attend_backward_tiled(const Args<double>& a) {
  const std::vector<double> delta = output_products(a);
  if (a.grad_q.data)
    for_each_run(a, 16, [&](int64_t b, int64_t h, int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) {
        double* grad = a.grad_q.at(b, h, n);
        std::fill(grad, grad + a.head_size, 0.0);
        for_each_key(a, b, [&](const Source<double>& source, int64_t batch, int64_t m) {
          add(grad, pair_of(a, source, batch, b, h, n, m, delta.data()).ds, source.k.at(batch, h, m), a.head_size);
        });
      }
    });
  for (int s = 0; s < a.n_sources; ++s)
    if (const Source<double>& source = a.sources[s]; source.grad_k.data)
      parallel_for(0, source.n_batch * a.n_heads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) key_gradients(a, source, i / a.n_heads, i % a.n_heads, delta.data());
      });
}

// --- one key ---------------------------------------------------------------------------------------------------------
// Its probability is 1 whatever the scores: every query sees its value, and nothing moves the scores.
template <typename T>
const Source<T>& only_source(const Args<T>& a) {
  int s = 0;
  while (a.sources[s].n_keys == 0) ++s;
  return a.sources[s];
}

template <typename T>
void attend_one_key(const Args<T>& a) {
  const Source<T>& source = only_source(a);
  for_each_run(a, 512, [&](int64_t b, int64_t h, int64_t first, int64_t last) {
    const int64_t batch = b / (a.n_batch / source.n_batch);
    for (int64_t n = first; n < last; ++n)
      std::memcpy(a.out.at(b, h, n), source.v.at(batch, h, 0), size_t(a.head_size) * sizeof(T));
    row_products(a.q.at(b, h, first), a.q.row, source.k.at(batch, h, 0), 0, last - first, a.head_size, base_2(a.scale),
                 a.log_sum + (b * a.n_heads + h) * a.n_queries + first);
  });
}

template <typename T>
void fill_zero(const View<T>& view, int64_t n_batch, int64_t n_heads, int64_t n_rows, int head_size) {
  if (!view.data) return;
  parallel_for(0, n_batch * n_heads * n_rows, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memset(view.at(i / n_rows / n_heads, i / n_rows % n_heads, i % n_rows), 0, size_t(head_size) * sizeof(T));
  });
}

template <typename T>
void attend_backward_one_key(const Args<T>& a) {
  const Source<T>& source = only_source(a);
  fill_zero(a.grad_q, a.n_batch, a.n_heads, a.n_queries, a.head_size);
  fill_zero(source.grad_k, source.n_batch, a.n_heads, 1, a.head_size);
  if (!source.grad_v.data) return;
  const int64_t group = a.n_batch / source.n_batch;
  parallel_for(0, source.n_batch * a.n_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t batch = i / a.n_heads, h = i % a.n_heads;
      Sum<T> sum[kMaxHeadSize] = {};
      for (int64_t b = batch * group; b < (batch + 1) * group; ++b)
        for (int64_t n = 0; n < a.n_queries; ++n)
          for (int d = 0; d < a.head_size; ++d) sum[d] += to_float(a.grad_out.at(b, h, n)[d]);
      for (int d = 0; d < a.head_size; ++d) assign(source.grad_v.at(batch, h, 0)[d], sum[d]);
    }
  });
}
}  // namespace

template <typename T> void attend_cpu(const Args<T>& a) {
  if (a.n_batch * a.n_heads * a.n_queries == 0) return;
  if (total_keys(a) == 1) return attend_one_key(a);
  attend_tiled(a);
}

template <typename T> void attend_backward_cpu(const Args<T>& a) {
  if (a.n_batch * a.n_heads == 0) return;
  if (total_keys(a) == 1) return attend_backward_one_key(a);
  attend_backward_tiled(a);
}

// float16 has no products on CPUs; asset3d/ops/attention.py says what to use.
template <> void attend_cpu(const Args<Half>&) { throw std::runtime_error("attention: float16 runs on CUDA only"); }
template <> void attend_backward_cpu(const Args<Half>&) {
  throw std::runtime_error("attention: float16 runs on CUDA only");
}

template void attend_cpu(const Args<float>&);
template void attend_cpu(const Args<double>&);
template void attend_cpu(const Args<Bfloat16>&);
template void attend_backward_cpu(const Args<float>&);
template void attend_backward_cpu(const Args<double>&);
template void attend_backward_cpu(const Args<Bfloat16>&);
}  // namespace asset3d::attention
