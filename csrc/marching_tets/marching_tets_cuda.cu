// Marching tetrahedra, CUDA schedule: one warp per word of 32 edges or tets; on a regular grid one
// thread per word. The backward pass adds with atomics; asset3d/ops/marching_tets.py has a path that repeats to the
// bit.
#include "../common/launch.h"
#include "dense_math.h"

namespace asset3d::marching_tets {
namespace {
constexpr int kThreads = 256;
constexpr unsigned kAll = 0xffffffffu;

template <typename T>
__global__ void inside_kernel(const Args<T> a) {
  const int64_t i = global_thread();
  const uint32_t word = __ballot_sync(kAll, i < a.n_vertices && is_inside(a.sdf[i]));
  if ((i & 31) == 0 && i < a.n_vertices) a.inside[i >> 5] = word;
}

// One warp per word of tets. Its lanes first look at the pairs of the cover: most warps end there.
template <typename T>
__global__ void mark_kernel(const Args<T> a) {
  const int64_t t = global_thread(), word = t >> 5;
  const int lane = int(t & 31);
  if (32 * word >= a.n_tets) return;  // whole warps only
  int sides = 0;
  for (int32_t i = a.cover_first[word] + lane; i < a.cover_first[word + 1]; i += 32) sides |= sides_of_pair(a, i);
  if (!__any_sync(kAll, sides & 1) || !__any_sync(kAll, sides & 2)) return;  // marks are zeroed
  const int inside = t < a.n_tets ? tet_case(a, t) : 0;
  const int corners = popcount(uint32_t(inside));
  const uint32_t singles = __ballot_sync(kAll, corners & 1), doubles = __ballot_sync(kAll, corners == 2);
  if (lane == 0) a.marks[kSingles * a.found.n_words + word] = singles;
  if (lane == 0) a.marks[kDoubles * a.found.n_words + word] = doubles;
  if (corners % 4)
    for_each_crossing(a, t, inside, [&](int32_t e) { atomicOr(&a.marks[e >> 5], 1u << (e & 31)); });
}

template <typename T>
__global__ void count_kernel(const Args<T> a) {
  const int64_t word = global_thread();
  if (word < kRows * a.found.n_words) a.found.counts[word] = popcount(a.marks[word]);
}

template <typename T>
__global__ void emit_kernel(const Args<T> a) {
  const int64_t i = global_thread(), word = i >> 5;
  if (word >= a.found.n_words) return;
  for (int r = 0; r < kRows; ++r) {
    const Row row = Row(r);
    const uint32_t bits = a.marks[row * a.found.n_words + word];
    if (!(bits >> (i & 31) & 1)) continue;
    const int64_t rank = start_of_word(a.found, row, word) + popcount(bits & below(int(i & 31)));
    if (row == kCrossings) emit_vertex(a, i, rank);
    else emit_triangles(a, i, row, rank);
  }
}

template <typename T>
__global__ void inside_dense_kernel(const DenseArgs<T> a) {
  const int64_t i = global_thread(), word = i >> 5, lane = i & 31;
  if (word >= a.found.n_words) return;
  const int64_t row = word / a.row_words, z = word % a.row_words * 32 + lane;
  const uint32_t bits = __ballot_sync(kAll, z < a.size[2] && is_inside(a.sdf[row * a.size[2] + z]));
  if (lane == 0) a.marks[8 * word] = bits;
}
template <typename T>
__global__ void mark_dense_kernel(const DenseArgs<T> a) {
  const int64_t word = global_thread();
  if (word < a.found.n_words) mark_word(a, word);
}
template <typename T>
__global__ void emit_dense_kernel(const DenseArgs<T> a) {
  const int64_t word = global_thread();
  if (word >= a.found.n_words) return;
  const Place p = place_of(a, word);
  emit_vertices_of_word(a, word, p);
  emit_faces_of_word(a, word, p);
}

template <typename T>
__global__ void backward_kernel(const BackwardArgs<T> a) {
  const int64_t i = global_thread();
  if (i < 2 * a.n_surface) backward_one(a, i / 2, int(i & 1), [](T* p, T value) { atomicAdd(p, value); });
}

}  // namespace

#define A3D_RUN(kernel, n, a)      \
  if (const int64_t n_threads = n) \
  A3D_LAUNCH(kernel<T>, blocks_for(n_threads, kThreads), kThreads, 0, static_cast<cudaStream_t>(stream), a)

template <typename T>
void mark_cuda(const Args<T>& a, void* stream) {
  A3D_RUN(inside_kernel, a.n_vertices, a);
  A3D_RUN(mark_kernel, a.n_tets, a);
  A3D_RUN(count_kernel, kRows * a.found.n_words, a);
}
template <typename T>
void emit_cuda(const Args<T>& a, void* stream) { A3D_RUN(emit_kernel, 32 * a.found.n_words, a); }
template <typename T>
void mark_dense_cuda(const DenseArgs<T>& a, void* stream) {
  A3D_RUN(inside_dense_kernel, 32 * a.found.n_words, a);
  A3D_RUN(mark_dense_kernel, a.found.n_words, a);
}
template <typename T>
void emit_dense_cuda(const DenseArgs<T>& a, void* stream) { A3D_RUN(emit_dense_kernel, a.found.n_words, a); }
template <typename T>
void backward_cuda(const BackwardArgs<T>& a, void* stream) { A3D_RUN(backward_kernel, 2 * a.n_surface, a); }

#define A3D_INSTANTIATE(T)                                    \
  template void mark_cuda(const Args<T>&, void*);             \
  template void emit_cuda(const Args<T>&, void*);             \
  template void mark_dense_cuda(const DenseArgs<T>&, void*);  \
  template void emit_dense_cuda(const DenseArgs<T>&, void*);  \
  template void backward_cuda(const BackwardArgs<T>&, void*);
A3D_INSTANTIATE(float)
A3D_INSTANTIATE(double)
}  // namespace asset3d::marching_tets
