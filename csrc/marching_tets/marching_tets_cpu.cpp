// Marching tetrahedra, CPU schedule: threads share words of 32 vertices, edges or tets. The sums between the two passes fix where
// each word writes, so that the result does not depend on the number of threads.
#include <atomic>
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

// Threads share the words of edges: bits are only ever set, so that the order does not matter.
void set_bit(uint32_t* words, int32_t i) {
  const std::atomic_ref<uint32_t> word(words[i >> 5]);
  const uint32_t bit = 1u << (i & 31);
  if (!(word.load(std::memory_order_relaxed) & bit)) word.fetch_or(bit, std::memory_order_relaxed);
}

template <typename T>
bool is_crossed(const Args<T>& a, int64_t word) {
  int sides = 0;
  for (int32_t i = a.cover_first[word]; i < a.cover_first[word + 1] && sides != 3; ++i) sides |= sides_of_pair(a, i);
  return sides == 3;
}

template <typename T>
TetWords mark_tets(const Args<T>& a, int64_t word) {
  TetWords marks{0, 0};
  const int64_t end = 32 * word + 32 < a.n_tets ? 32 * word + 32 : a.n_tets;
  for (int64_t t = 32 * word; t < end; ++t) {
    const int inside = tet_case(a, t);
    const int corners = popcount(uint32_t(inside));
    if (corners % 4 == 0) continue;
    (corners == 2 ? marks.doubles : marks.singles) |= 1u << (t & 31);
    for_each_crossing(a, t, inside, [&](int32_t e) { set_bit(a.marks, e); });
  }
  return marks;
}

template <typename T>
uint32_t inside_word(const T* sdf, int64_t n) {
  uint32_t inside = 0;
  for (int i = 0; i < 32 && i < n; ++i) inside |= uint32_t(is_inside(sdf[i])) << i;
  return inside;
}
}  // namespace

template <typename T>
void mark_cpu(const Args<T>& a) {
  const int64_t n = a.found.n_words;
  for_each_word((a.n_vertices + 31) / 32,
                [&](int64_t word) { a.inside[word] = inside_word(a.sdf + 32 * word, a.n_vertices - 32 * word); });
  for_each_word((a.n_tets + 31) / 32, [&](int64_t word) {
    if (!is_crossed(a, word)) return;
    const TetWords tets = mark_tets(a, word);
    a.marks[kSingles * n + word] = tets.singles;
    a.marks[kDoubles * n + word] = tets.doubles;
  });
  for_each_word(kRows * n, [&](int64_t word) { a.found.counts[word] = popcount(a.marks[word]); });
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
    a.marks[8 * word] = inside_word(a.sdf + row * a.size[2] + first, a.size[2] - first);
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
