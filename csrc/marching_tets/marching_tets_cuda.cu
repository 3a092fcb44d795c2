// Marching tetrahedra, CUDA schedule: one thread per edge or tet, one warp per word of marks; on a regular grid one
// thread per word. The backward pass adds with atomics; asset3d/ops/marching_tets.py has a path that repeats to the bit.
#include "../common/launch.h"
#include "dense_math.h"

namespace asset3d::marching_tets {
namespace {
constexpr int kThreads = 256;
constexpr unsigned kAll = 0xffffffffu;

__device__ int64_t thread_index() { return blockIdx.x * int64_t(blockDim.x) + threadIdx.x; }

template <typename T>
__device__ void store_mark(const Args<T>& a, Row row, int64_t i, bool marked) {
  const uint32_t word = __ballot_sync(kAll, marked);
  const int64_t at = row * a.found.n_words + (i >> 5);
  if ((i & 31) || (i >> 5) >= a.found.n_words) return;
  a.marks[at] = word;
  a.found.counts[at] = popcount(word);
}

template <typename T>
__global__ void mark_kernel(const Args<T> a) {
  const int64_t i = thread_index();
  store_mark(a, kCrossings, i, i < a.n_edges && edge_crosses(a, i));
  const int corners = i < a.n_tets ? popcount(uint32_t(tet_case(a, i))) : 0;
  store_mark(a, kSingles, i, corners & 1);
  store_mark(a, kDoubles, i, corners == 2);
}

template <typename T>
__global__ void emit_kernel(const Args<T> a) {
  const int64_t i = thread_index(), word = i >> 5;
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
  const int64_t i = thread_index(), word = i >> 5, lane = i & 31;
  if (word >= a.found.n_words) return;
  const int64_t row = word / a.row_words, z = word % a.row_words * 32 + lane;
  const uint32_t bits = __ballot_sync(kAll, z < a.size[2] && is_inside(a.sdf[row * a.size[2] + z]));
  if (lane == 0) a.marks[8 * word] = bits;
}
template <typename T>
__global__ void mark_dense_kernel(const DenseArgs<T> a) {
  const int64_t word = thread_index();
  if (word < a.found.n_words) mark_word(a, word);
}
template <typename T>
__global__ void emit_dense_kernel(const DenseArgs<T> a) {
  const int64_t word = thread_index();
  if (word >= a.found.n_words) return;
  const Place p = place_of(a, word);
  emit_vertices_of_word(a, word, p);
  emit_faces_of_word(a, word, p);
}

template <typename T>
__global__ void backward_kernel(const BackwardArgs<T> a) {
  const int64_t i = thread_index();
  if (i < 2 * a.n_surface) backward_one(a, i / 2, int(i & 1), [](T* p, T value) { atomicAdd(p, value); });
}

dim3 blocks(int64_t threads) { return dim3(unsigned((threads + kThreads - 1) / kThreads)); }
}  // namespace

#define A3D_RUN(kernel, n, a) \
  if (const int64_t n_threads = n) A3D_LAUNCH(kernel<T>, blocks(n_threads), kThreads, 0, static_cast<cudaStream_t>(stream), a)

template <typename T>
void mark_cuda(const Args<T>& a, void* stream) { A3D_RUN(mark_kernel, 32 * a.found.n_words, a); }
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
