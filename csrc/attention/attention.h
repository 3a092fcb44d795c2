#pragma once
// What an attention kernel receives: pointers, strides and sizes, no tensors.
// B = n_batch, H = n_heads, N = n_queries, M = keys of a source, D = head_size.
#include <cstdint>
#include "../common/macros.h"
#include "../common/narrow.h"
#include "../common/simd.h"

namespace asset3d::attention {
constexpr int kMaxSources = 16;
constexpr int kMaxHeadSize = 256;

// Sums, maxima and logarithms are kept in this type.
template <typename T> struct SumOf { using type = float; };
template <> struct SumOf<double> { using type = double; };
template <typename T> using Sum = typename SumOf<T>::type;

// (batch, head, row, D) with any strides but that of D, which is 1.
template <typename T>
struct View {
  T* data;
  int64_t batch, head, row;  // strides, in elements
  A3D_FN T* at(int64_t b, int64_t h, int64_t i) const { return data + b * batch + h * head + i * row; }
};

// Serves query b by its own batch b / (B / n_batch).
template <typename T>
struct Source {
  View<const T> k, v;      // (n_batch, H, M, D)
  View<T> grad_k, grad_v;  // data is null where they are not wanted
  int64_t n_batch, n_keys;
};

template <typename T>
struct Args {
  View<const T> q;         // (B, H, N, D)
  View<const T> grad_out;  // backward
  View<T> out;             // (B, H, N, D); written by the forward, read by the backward
  View<T> grad_q;          // data is null where it is not wanted
  Sum<T>* log_sum;         // (B, H, N) log2 of the sum over keys of exp(scale * q . k); written, or read
  Sum<T>* delta;           // (B, H, N) sum over d of out * grad_out; memory that the CUDA backward needs
  double scale;
  int64_t n_batch, n_heads, n_queries;
  int head_size, n_sources;
  Source<T> sources[kMaxSources];
};

template <typename T> int64_t total_keys(const Args<T>& a) {
  int64_t n = 0;
  for (int s = 0; s < a.n_sources; ++s) n += a.sources[s].n_keys;
  return n;
}

template <typename T> void attend_cpu(const Args<T>&);
template <typename T> void attend_backward_cpu(const Args<T>&);
template <typename T> void attend_cuda(const Args<T>&, void* stream);
template <typename T> void attend_backward_cuda(const Args<T>&, void* stream);

// --- vectorised work: attention_simd.cpp -----------------------------------------------------------------------------
constexpr int kMaxWidth = 48;       // queries of a tile: three vectors of lanes, 12, 24 or 48
constexpr int kScoreBlock = 128;    // keys whose scores against a tile are held at once in the forward
constexpr int kGradientBlock = 64;  // the same in the backward

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Queries [first, last) of one batch and head, against all keys; `first` is a multiple of kMaxWidth.
struct QueryTask { int64_t batch, head, first, last; };
// Keys [first, last) of one batch of a source and one head, against all queries they serve, `chunk` keys at a time. The
// gradient of the queries goes to partial_gradient(partial, batch, head), one tile of (D rounded up to 8) rows of
// queries after another.
struct KeyTask {
  int source;
  int64_t batch, head, first, last, chunk;
  float* partial;
  const float* delta;  // (B, H, N)
};
// Floats that each of them needs, aligned to 64 bytes.
constexpr int64_t query_workspace(int64_t head_size, int64_t n_queries) {
  const int64_t d = round_up(head_size, 16);
  return (n_queries + kMaxWidth) * (2 * d + 2) + kScoreBlock * (2 * d + kMaxWidth) + kMaxWidth * 2 * d;
}
constexpr int64_t key_workspace(int64_t head_size, int64_t chunk) {
  const int64_t d = round_up(head_size, 16);
  return 5 * chunk * d + kMaxWidth * (7 * d + 2) + 4 * kGradientBlock * kMaxWidth;
}
// Floats of the query gradient of one batch and head.
constexpr int64_t partial_size(int64_t head_size, int64_t n_queries) {
  return (n_queries + kMaxWidth) * round_up(head_size, 8);
}

A3D_PER_ISA(void attend_float(const Args<float>&, const QueryTask&, float* workspace))
A3D_PER_ISA(void attend_bfloat16(const Args<Bfloat16>&, const QueryTask&, float* workspace))
A3D_PER_ISA(void key_gradient_float(const Args<float>&, const KeyTask&, float* workspace))
A3D_PER_ISA(void key_gradient_bfloat16(const Args<Bfloat16>&, const KeyTask&, float* workspace))
// grad_q of one batch and head: the sum of n partial gradients, `stride` floats apart, in their order.
A3D_PER_ISA(void query_gradient_float(const Args<float>&, const QueryTask&, const float* partials, int n,
                                      int64_t stride))
A3D_PER_ISA(void query_gradient_bfloat16(const Args<Bfloat16>&, const QueryTask&, const float* partials, int n,
                                         int64_t stride))
// out[i] = factor * x[i] . y[i] for n rows of d elements, with the strides between rows.
A3D_PER_ISA(void row_products_float(const float* x, int64_t x_row, const float* y, int64_t y_row, int64_t n, int d,
                                    float factor, float* out))
A3D_PER_ISA(void row_products_bfloat16(const Bfloat16* x, int64_t x_row, const Bfloat16* y, int64_t y_row, int64_t n,
                                       int d, float factor, float* out))
#ifdef A3D_X86
namespace avx512 {  // with products of bfloat16 pairs (VDPBF16PS), for machines that have them
void attend_pairs(const Args<Bfloat16>&, const QueryTask&, float* workspace);
void key_gradient_pairs(const Args<Bfloat16>&, const KeyTask&, float* workspace);
}  // namespace avx512
#endif
}  // namespace asset3d::attention
