// What is built once per grid, on the host. The sorted unique edges: a counting sort by the smaller end, then a small
// sort per vertex. The cover: the vertices of every 32 tets, collected into words.
#include <algorithm>
#include <utility>
#include "../common/parallel.h"
#include "marching_tets_math.h"

namespace asset3d::marching_tets {
namespace {
struct Edge {
  int32_t small, large;
};
Edge edge_of(const EdgesArgs& a, int64_t t, int k) {
  const int32_t v0 = a.tets[4 * t + edge_begin(k)], v1 = a.tets[4 * t + edge_end(k)];
  return v0 < v1 ? Edge{v0, v1} : Edge{v1, v0};
}
int64_t larger_end(uint64_t entry) { return int64_t(entry >> 32); }

bool is_new_edge(const EdgesArgs& a, int64_t v, int64_t i) {
  return i == a.first[v] || larger_end(a.entries[i]) != larger_end(a.entries[i - 1]);
}

// The words of vertices, with masks, of one word of tets.
struct Pairs {
  uint32_t word[128], mask[128];
  int n = 0;

  void add(int32_t v) {
    const uint32_t w = uint32_t(v) >> 5;
    int i = 0;
    while (i < n && word[i] != w) ++i;
    if (i == n) word[n] = w, mask[n++] = 0;
    mask[i] |= 1u << (v & 31);
  }
};
Pairs pairs_of(const CoverArgs& a, int64_t word) {
  Pairs pairs;
  const int64_t end = std::min(128 * word + 128, 4 * a.n_tets);
  for (int64_t i = 128 * word; i < end; ++i) pairs.add(a.tets[i]);
  return pairs;
}
}  // namespace

template <typename T>
void orient(const T* vertices, int32_t* tets, int64_t n_tets) {
  parallel_for(0, n_tets, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      int32_t* tet = tets + 4 * t;
      T e[3][3];
      for (int i = 0; i < 3; ++i)
        for (int d = 0; d < 3; ++d) e[i][d] = vertices[3 * int64_t(tet[i + 1]) + d] - vertices[3 * int64_t(tet[0]) + d];
      const T volume = (e[0][1] * e[1][2] - e[0][2] * e[1][1]) * e[2][0] +
                       (e[0][2] * e[1][0] - e[0][0] * e[1][2]) * e[2][1] +
                       (e[0][0] * e[1][1] - e[0][1] * e[1][0]) * e[2][2];
      if (volume > 0) std::swap(tet[2], tet[3]);
    }
  });
}
template void orient(const float*, int32_t*, int64_t);
template void orient(const double*, int32_t*, int64_t);

void count_cover(const CoverArgs& a) {
  const int64_t n_words = (a.n_tets + 31) / 32;
  parallel_for(0, n_words, 256, [&](int64_t begin, int64_t end) {
    for (int64_t word = begin; word < end; ++word) a.first[word + 1] = pairs_of(a, word).n;
  });
  for (int64_t word = 0; word < n_words; ++word) a.first[word + 1] += a.first[word];
}

void write_cover(const CoverArgs& a) {
  parallel_for(0, (a.n_tets + 31) / 32, 256, [&](int64_t begin, int64_t end) {
    for (int64_t word = begin; word < end; ++word) {
      const Pairs pairs = pairs_of(a, word);
      for (int i = 0; i < pairs.n; ++i) {
        a.cover[2 * (a.first[word] + i)] = pairs.word[i];
        a.cover[2 * (a.first[word] + i) + 1] = pairs.mask[i];
      }
    }
  });
}

void sort_edges(const EdgesArgs& a) {
  for (int64_t t = 0; t < a.n_tets; ++t)
    for (int k = 0; k < 6; ++k) ++a.first[edge_of(a, t, k).small + 1];
  for (int64_t v = 0; v < a.n_vertices; ++v) a.first[v + 1] += a.first[v];
  for (int64_t t = 0; t < a.n_tets; ++t)
    for (int k = 0; k < 6; ++k) {
      const Edge edge = edge_of(a, t, k);
      a.entries[a.first[edge.small]++] = uint64_t(edge.large) << 32 | uint64_t(6 * t + k);
    }
  for (int64_t v = a.n_vertices; v > 0; --v) a.first[v] = a.first[v - 1];  // undo the advance of the scatter
  a.first[0] = 0;
  parallel_for(0, a.n_vertices, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      std::sort(a.entries + a.first[v], a.entries + a.first[v + 1]);
      for (int64_t i = a.first[v]; i < a.first[v + 1]; ++i) a.unique[v + 1] += is_new_edge(a, v, i);
    }
  });
  for (int64_t v = 0; v < a.n_vertices; ++v) a.unique[v + 1] += a.unique[v];
}

void write_edges(const EdgesArgs& a, int32_t* edges) {
  parallel_for(0, a.n_vertices, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) {
      int64_t number = a.unique[v] - 1;
      for (int64_t i = a.first[v]; i < a.first[v + 1]; ++i) {
        number += is_new_edge(a, v, i);
        edges[2 * number] = int32_t(v);
        edges[2 * number + 1] = int32_t(larger_end(a.entries[i]));
        a.tet_edges[a.entries[i] & 0xffffffffu] = int32_t(number);
      }
    }
  });
}
}  // namespace asset3d::marching_tets
