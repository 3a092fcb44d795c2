// Marching tetrahedra, CPU schedule: threads share words of 32 vertices, edges or tets. The sums between the two passes
// fix where each word writes, so that the result does not depend on the number of threads.
#include <atomic>
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

// Calls body(word) for the wanted words, and fetch(word) some time before it: the few words of tets near a surface lie
// far apart in memory, and waiting for them would be most of the time.
template <typename Wanted, typename Fetch, typename Body>
void for_each_wanted(int64_t n_words, Wanted&& wanted, Fetch&& fetch, Body&& body) {
  constexpr int kBatch = 256, kAhead = 3;
  parallel_for(0, n_words, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kBatch) {
      int64_t words[kBatch];
      int n = 0;
      for (int64_t word = first; word < first + kBatch && word < end; ++word) {
        words[n] = word;
        n += wanted(word);
      }
      for (int i = -kAhead; i < n; ++i) {
        if (i + kAhead < n) fetch(words[i + kAhead]);
        if (i >= 0) body(words[i]);
      }
    }
  });
}

template <typename T>
void fetch_tets(const Args<T>& a, int64_t word) {  // past the end of the tables is harmless
  const char* tets = reinterpret_cast<const char*>(a.tets) + word * 512;
  const char* edges = reinterpret_cast<const char*>(a.tet_edges) + word * 768;
  for (int i = 0; i < 512; i += 64) __builtin_prefetch(tets + i);
  for (int i = 0; i < 768; i += 64) __builtin_prefetch(edges + i);
}

// Calls visit(element, rank) for every marked element of a word.
template <typename T, typename Visit>
void for_each_marked(const Args<T>& a, Row row, int64_t word, Visit&& visit) {
  uint32_t bits = a.marks[row * a.found.n_words + word];
  for (int64_t rank = start_of_word(a.found, row, word); bits; bits &= bits - 1)
    visit(32 * word + lowest_bit(bits), rank++);
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
  for_each_wanted(
      (a.n_tets + 31) / 32, [&](int64_t word) { return is_crossed(a, word); },
      [&](int64_t word) { fetch_tets(a, word); },
      [&](int64_t word) {
        const TetWords tets = mark_tets(a, word);
        a.marks[kSingles * n + word] = tets.singles;
        a.marks[kDoubles * n + word] = tets.doubles;
      });
  for_each_word(kRows * n, [&](int64_t word) {  // counts are zeroed
    if (a.marks[word]) a.found.counts[word] = popcount(a.marks[word]);
  });
}

template <typename T>
void emit_cpu(const Args<T>& a) {
  const int64_t n = a.found.n_words;
  for_each_word(n, [&](int64_t word) {
    for_each_marked(a, kCrossings, word, [&](int64_t e, int64_t rank) { emit_vertex(a, e, rank); });
  });
  for_each_wanted(
      n, [&](int64_t word) { return (a.marks[kSingles * n + word] | a.marks[kDoubles * n + word]) != 0; },
      [&](int64_t word) { fetch_tets(a, word); },
      [&](int64_t word) {
        for_each_marked(a, kSingles, word, [&](int64_t t, int64_t rank) { emit_triangles(a, t, kSingles, rank); });
        for_each_marked(a, kDoubles, word, [&](int64_t t, int64_t rank) { emit_triangles(a, t, kDoubles, rank); });
      });
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
