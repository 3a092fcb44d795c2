// The sorted unique edges of tetrahedra: a counting sort by the smaller end, then a small sort per vertex.
#include <algorithm>
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
}  // namespace

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
