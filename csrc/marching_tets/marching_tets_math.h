#pragma once
// Marching tetrahedra: the tables, the vertex on an edge, its derivative, and one edge or tet at a time.
// A vertex is inside where sdf > 0. Order of vertices, edges and triangles: as in kaolin.
#include "../common/macros.h"
#include "marching_tets.h"

namespace asset3d::marching_tets {

// The triangles of a tet, by the case: bit v is set when its vertex v is inside. Six edge numbers of 3 bits, first
// triangle in the low bits; the edges of a tet are (0,1) (0,2) (0,3) (1,2) (1,3) (2,3). In a tet of negative volume,
// det(v1 - v0, v2 - v0, v3 - v0) < 0, they turn counter-clockwise seen from outside.
A3D_FN uint32_t triangles_of(int tet_case) {
#define A3D_SIX(a, b, c, d, e, f) (a | b << 3 | c << 6 | d << 9 | e << 12 | f << 15)
  constexpr uint32_t kTriangles[16] = {
      0, A3D_SIX(1, 0, 2, 0, 0, 0), A3D_SIX(4, 0, 3, 0, 0, 0), A3D_SIX(1, 4, 2, 1, 3, 4),
      A3D_SIX(3, 1, 5, 0, 0, 0), A3D_SIX(2, 3, 0, 2, 5, 3), A3D_SIX(1, 4, 0, 1, 5, 4), A3D_SIX(4, 2, 5, 0, 0, 0),
      A3D_SIX(4, 5, 2, 0, 0, 0), A3D_SIX(4, 1, 0, 4, 5, 1), A3D_SIX(3, 2, 0, 3, 5, 2), A3D_SIX(1, 3, 5, 0, 0, 0),
      A3D_SIX(4, 1, 2, 4, 3, 1), A3D_SIX(3, 0, 4, 0, 0, 0), A3D_SIX(2, 0, 1, 0, 0, 0), 0};
#undef A3D_SIX
  return kTriangles[tet_case];
}
A3D_FN int edge_number(uint32_t triangles, int i) { return int(triangles >> (3 * i) & 7); }

// The two ends of edge k of a tet.
A3D_FN int edge_begin(int k) { return k < 3 ? 0 : k < 5 ? 1 : 2; }
A3D_FN int edge_end(int k) { return k < 3 ? k + 1 : k < 5 ? k - 1 : 3; }

template <typename T>
A3D_FN bool is_inside(T sdf) { return sdf > 0; }

// Bits of a word below bit i.
A3D_FN uint32_t below(int i) { return (1u << i) - 1; }
A3D_FN int popcount(uint32_t word) {
#ifdef __CUDA_ARCH__
  return __popc(word);
#else  // spelled out: the builtin is a call on machines that may lack the instruction
  word -= word >> 1 & 0x55555555u;
  word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
  return int(((word + (word >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24);
#endif
}
A3D_FN int lowest_bit(uint32_t word) {
#ifdef __CUDA_ARCH__
  return __ffs(int(word)) - 1;
#else
  return __builtin_ctz(word);
#endif
}

// One bit for each of 32 tets, from the insides of their corners: an odd number of corners inside is 1 or 3, which
// is one triangle; two inside are two.
struct TetWords {
  uint32_t singles, doubles;
};
A3D_FN TetWords tet_words(uint32_t b0, uint32_t b1, uint32_t b2, uint32_t b3) {
  const uint32_t odd = b0 ^ b1 ^ b2 ^ b3;
  return {odd, (b0 | b1 | b2 | b3) & ~(b0 & b1 & b2 & b3) & ~odd};
}

// The surface crosses the edge from p0 (sdf s0) to p1 at weight0 * p0 + weight1 * p1. The signs differ, so that
// s0 - s1 is not zero.
template <typename T>
struct Crossing {
  T weight0, weight1;
};
template <typename T>
A3D_FN Crossing<T> crossing_of(T s0, T s1) {
  const T span = s0 - s1;
  return {-s1 / span, s0 / span};
}

// d weight1 / d s0 = weight0 / span, d weight1 / d s1 = weight1 / span, and weight0 = 1 - weight1.
template <typename T>
A3D_FN T sdf_gradient(T grad_along_edge, T s0, T s1, T own_weight) { return grad_along_edge * own_weight / (s0 - s1); }

// Where what element i of a word writes comes to lie among all of its row.
A3D_FN int64_t start_of_word(const Found& f, Row row, int64_t word) {
  int64_t base = 0;
  for (int r = 0; r < row; ++r) base += f.totals[r];
  return f.sums[row * f.n_words + word] - base;
}

// The first of the triangles that a tet writes, `rank` being its number among the tets of its row.
A3D_FN int64_t first_face(const Found& f, Row row, int64_t rank) {
  return row == kSingles ? rank : f.totals[kSingles] + 2 * rank;
}

template <typename T>
A3D_FN uint32_t inside_bit(const Args<T>& a, int32_t v) { return a.inside[v >> 5] >> (v & 31) & 1; }

template <typename T>
A3D_FN int tet_case(const Args<T>& a, int64_t t) {
  const int32_t* v = a.tets + 4 * t;
  return int(inside_bit(a, v[0]) | inside_bit(a, v[1]) << 1 | inside_bit(a, v[2]) << 2 | inside_bit(a, v[3]) << 3);
}

// What pair i of the cover of a word of tets says: bit 0, some of its vertices are inside; bit 1, some are outside.
template <typename T>
A3D_FN int sides_of_pair(const Args<T>& a, int32_t i) {
  const uint32_t mask = a.cover[2 * i + 1], inside = a.inside[a.cover[2 * i]] & mask;
  return int(inside != 0) | int(inside != mask) << 1;
}

// The edges of a tet that cross the surface, one bit each.
A3D_FN uint32_t crossing_edges(int tet_case) {
  constexpr uint8_t kEdges[8] = {0, 7, 25, 30, 42, 45, 51, 52};  // a case and its opposite are alike
  return kEdges[tet_case < 8 ? tet_case : 15 - tet_case];
}

// Calls visit(edge) for each of them.
template <typename T, typename Visit>
A3D_FN void for_each_crossing(const Args<T>& a, int64_t t, int tet_case, Visit&& visit) {
  for (uint32_t rest = crossing_edges(tet_case); rest; rest &= rest - 1) visit(a.tet_edges[6 * t + lowest_bit(rest)]);
}

template <typename T>
A3D_FN void emit_vertex(const Args<T>& a, int64_t e, int64_t rank) {
  const int32_t v0 = a.edges[2 * e], v1 = a.edges[2 * e + 1];
  const Crossing<T> c = crossing_of(a.sdf[v0], a.sdf[v1]);
  for (int d = 0; d < 3; ++d)
    a.surface.vertices[3 * rank + d] =
        a.vertices[3 * int64_t(v0) + d] * c.weight0 + a.vertices[3 * int64_t(v1) + d] * c.weight1;
  a.surface.crossed[2 * rank] = v0;
  a.surface.crossed[2 * rank + 1] = v1;
}

template <typename T>
A3D_FN int64_t vertex_on_edge(const Args<T>& a, int32_t e) {
  const int64_t word = e >> 5;
  return start_of_word(a.found, kCrossings, word) + popcount(a.marks[word] & below(e & 31));
}

template <typename T>
A3D_FN void emit_triangles(const Args<T>& a, int64_t t, Row row, int64_t rank) {
  const uint32_t triangles = triangles_of(tet_case(a, t));
  int64_t* face = a.surface.faces + 3 * first_face(a.found, row, rank);
  for (int i = 0; i < (row == kSingles ? 3 : 6); ++i)
    face[i] = vertex_on_edge(a, a.tet_edges[6 * t + edge_number(triangles, i)]);
}

template <typename T>
A3D_FN T coordinate(const BackwardArgs<T>& a, int32_t v, int d) {
  if (a.vertices) return a.vertices[3 * int64_t(v) + d];
  const int64_t yz = a.size[1] * a.size[2];
  const int64_t index = d == 0 ? v / yz : d == 1 ? v % yz / a.size[2] : v % a.size[2];
  return a.lower[d] + T(index) * a.spacing[d];
}

// Adds what surface vertex i gives to end 0 or 1 of its edge.
template <typename T, typename Add>
A3D_FN void backward_one(const BackwardArgs<T>& a, int64_t i, int end, Add&& add) {
  const int32_t v[2] = {a.crossed[2 * i], a.crossed[2 * i + 1]};
  const T s0 = a.sdf[v[0]], s1 = a.sdf[v[1]];
  const Crossing<T> c = crossing_of(s0, s1);
  const T weight = end ? c.weight1 : c.weight0;
  const T* grad = a.grad_surface + 3 * i;
  T along = 0;
  for (int d = 0; d < 3; ++d) along += grad[d] * (coordinate(a, v[1], d) - coordinate(a, v[0], d));
  add(&a.grad_sdf[v[end]], sdf_gradient(along, s0, s1, weight));
  if (!a.grad_vertices) return;
  for (int d = 0; d < 3; ++d) add(&a.grad_vertices[3 * int64_t(v[end]) + d], weight * grad[d]);
}
}  // namespace asset3d::marching_tets
