// Marching tetrahedra, CPU schedule: threads share words of 32 edges or tets. The sums between the two passes fix where
// each word writes, so that the result does not depend on the number of threads.
#include <initializer_list>
#include "../common/parallel.h"
#include "dense_math.h"

namespace asset3d::marching_tets {
namespace {
constexpr int64_t kGrain = 512;  // words per task, at least

template <typename Body>
void for_each_word(int64_t n_words, Body&& body) {
  parallel_for(0, n_words, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t word = begin; word < end; ++word) body(word);
  });
}

// Calls visit(element, rank) for every marked element of a row.
template <typename T, typename Visit>
void for_each_marked(const Args<T>& a, Row row, Visit&& visit) {
  for_each_word(a.found.n_words, [&](int64_t word) {
    uint32_t bits = a.marks[row * a.found.n_words + word];
    if (!bits) return;
    for (int64_t rank = start_of_word(a.found, row, word); bits; bits &= bits - 1)
      visit(32 * word + lowest_bit(bits), rank++);
  });
}

template <typename T>
uint32_t mark_edges(const Args<T>& a, int64_t word) {
  uint32_t crossings = 0;
  const int64_t end = 32 * word + 32 < a.n_edges ? 32 * word + 32 : a.n_edges;
  for (int64_t e = 32 * word; e < end; ++e) crossings |= uint32_t(edge_crosses(a, e)) << (e & 31);
  return crossings;
}

template <typename T>
TetWords mark_tets(const Args<T>& a, int64_t word) {
  uint32_t corner[4] = {0, 0, 0, 0};
  const int64_t end = 32 * word + 32 < a.n_tets ? 32 * word + 32 : a.n_tets;
  for (int64_t t = 32 * word; t < end; ++t)
    for (int v = 0; v < 4; ++v) corner[v] |= uint32_t(is_inside(a.sdf[a.tets[4 * t + v]])) << (t & 31);
  return tet_words(corner[0], corner[1], corner[2], corner[3]);
}
}  // namespace

template <typename T>
void mark_cpu(const Args<T>& a) {
  const int64_t n = a.found.n_words;
  for_each_word(n, [&](int64_t word) {
    const TetWords tets = mark_tets(a, word);
    const uint32_t rows[kRows] = {mark_edges(a, word), tets.singles, tets.doubles};
    for (int r = 0; r < kRows; ++r) {
      a.marks[r * n + word] = rows[r];
      a.found.counts[r * n + word] = popcount(rows[r]);
    }
  });
}

template <typename T>
void emit_cpu(const Args<T>& a) {
  for_each_marked(a, kCrossings, [&](int64_t e, int64_t rank) { emit_vertex(a, e, rank); });
  for (const Row row : {kSingles, kDoubles})
    for_each_marked(a, row, [&](int64_t t, int64_t rank) { emit_triangles(a, t, row, rank); });
}

template <typename T>
void mark_dense_cpu(const DenseArgs<T>& a) {
  for_each_word(a.found.n_words, [&](int64_t word) {
    const int64_t row = word / a.row_words, first = word % a.row_words * 32;
    const int n = int(a.size[2] - first < 32 ? a.size[2] - first : 32);
    const T* sdf = a.sdf + row * a.size[2] + first;
    uint32_t inside = 0;
    for (int i = 0; i < n; ++i) inside |= uint32_t(is_inside(sdf[i])) << i;
    a.marks[8 * word] = inside;
  });
  for_each_word(a.found.n_words, [&](int64_t word) { mark_word(a, word); });
}

template <typename T>
void emit_dense_cpu(const DenseArgs<T>& a) {
  for_each_word(a.found.n_words, [&](int64_t word) {
    const Place p = place_of(a, word);
    emit_vertices_of_word(a, word, p);
    emit_faces_of_word(a, word, p);
  });
}

// Each thread owns a range of grid vertices and adds to those alone, in the order of the surface vertices: no atomics,
// and the same sums for any number of threads.
template <typename T>
void backward_cpu(const BackwardArgs<T>& a) {
  parallel_for(0, a.n_vertices, 8192, [&](int64_t begin, int64_t end) {
    const auto add = [](T* p, T value) { *p += value; };
    for (int64_t i = 0; i < a.n_surface; ++i)
      for (int side = 0; side < 2; ++side)
        if (const int64_t v = a.crossed[2 * i + side]; v >= begin && v < end) backward_one(a, i, side, add);
  });
}

#define A3D_INSTANTIATE(T)                            \
  template void mark_cpu(const Args<T>&);             \
  template void emit_cpu(const Args<T>&);             \
  template void mark_dense_cpu(const DenseArgs<T>&);  \
  template void emit_dense_cpu(const DenseArgs<T>&);  \
  template void backward_cpu(const BackwardArgs<T>&);
A3D_INSTANTIATE(float)
A3D_INSTANTIATE(double)
}  // namespace asset3d::marching_tets
