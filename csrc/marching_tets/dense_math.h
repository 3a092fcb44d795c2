#pragma once
// Marching tetrahedra on a regular grid whose tets are never stored: 32 cells along z at a time, as bits of words.
// Corner `code` of a cell is offset by (code >> 2, code >> 1 & 1, code & 1). An edge is named by its smaller vertex
// and the code of the other; sorted by (vertex, code) they are in the order of their vertex indices. The tets of a cell
// go from corner 0 to corner 7 along three axes, in any order of the axes (Kuhn), so that neighbours agree.
#include "marching_tets_math.h"

namespace asset3d::marching_tets {
constexpr int kTetsPerCell = 6;

// Corner v of tet p, two swapped where the volume would be positive. Also in asset3d/ops/marching_tets.py.
A3D_FN int kuhn_corner(int p, int v) {
  constexpr uint32_t kCorners[kTetsPerCell] = {07460, 07540, 07620, 07230, 07150, 07310};  // octal, corner 0 last
  return int(kCorners[p] >> (3 * v) & 7);
}

// Where a word is in the grid: vertices (x, y, 32 * w) and on.
struct Place {
  int64_t x, y, w;
};
template <typename T>
A3D_FN Place place_of(const DenseArgs<T>& a, int64_t word) {
  const int64_t row = word / a.row_words;
  return {row / a.size[1], row % a.size[1], word % a.row_words};
}

// The bits of a word whose vertex has `ahead` more vertices after it along z.
template <typename T>
A3D_FN uint32_t valid_bits(const DenseArgs<T>& a, const Place& p, int ahead) {
  const int64_t n = a.size[2] - ahead - 32 * p.w;
  return n <= 0 ? 0u : n >= 32 ? ~0u : below(int(n));
}

template <typename T>
A3D_FN bool has_corner(const DenseArgs<T>& a, const Place& p, int code) {
  return p.x + (code >> 2) < a.size[0] && p.y + (code >> 1 & 1) < a.size[1];
}

// Which of the 32 vertices at corner `code` of the word's cells are inside. The corner must exist along x and y.
template <typename T>
A3D_FN uint32_t inside_at(const DenseArgs<T>& a, int64_t word, const Place& p, int code) {
  const int64_t at = word + ((code >> 2) * a.size[1] + (code >> 1 & 1)) * a.row_words;
  const uint32_t here = a.marks[8 * at];
  if (!(code & 1)) return here;
  return here >> 1 | (p.w + 1 < a.row_words ? a.marks[8 * (at + 1)] << 31 : 0u);
}

template <typename T>
A3D_FN void mark_word(const DenseArgs<T>& a, int64_t word) {
  const Place p = place_of(a, word);
  uint32_t corner[8];
  int crossings = 0, singles = 0, doubles = 0;
  bool whole = true;  // cells start here
  for (int code = 0; code < 8; ++code) {
    const bool there = has_corner(a, p, code);
    whole &= there;
    corner[code] = there ? inside_at(a, word, p, code) : 0u;
    if (code == 0) continue;
    const uint32_t crossing = there ? (corner[0] ^ corner[code]) & valid_bits(a, p, code & 1) : 0u;
    a.marks[8 * word + code] = crossing;
    crossings += popcount(crossing);
  }
  const uint32_t cells = whole ? valid_bits(a, p, 1) : 0u;
  for (int tet = 0; tet < kTetsPerCell && cells; ++tet) {
    const TetWords t = tet_words(corner[kuhn_corner(tet, 0)], corner[kuhn_corner(tet, 1)],
                                 corner[kuhn_corner(tet, 2)], corner[kuhn_corner(tet, 3)]);
    singles += popcount(t.singles & cells);
    doubles += popcount(t.doubles & cells);
  }
  a.found.counts[kCrossings * a.found.n_words + word] = crossings;
  a.found.counts[kSingles * a.found.n_words + word] = singles;
  a.found.counts[kDoubles * a.found.n_words + word] = doubles;
}

template <typename T>
A3D_FN void emit_dense_vertex(const DenseArgs<T>& a, const int64_t begin[3], int code, int64_t rank) {
  int64_t end[3];
  T p0[3], p1[3];
  for (int d = 0; d < 3; ++d) {
    end[d] = begin[d] + (code >> (2 - d) & 1);
    p0[d] = a.lower[d] + T(begin[d]) * a.spacing[d];
    p1[d] = a.lower[d] + T(end[d]) * a.spacing[d];
  }
  const int64_t v0 = (begin[0] * a.size[1] + begin[1]) * a.size[2] + begin[2];
  const int64_t v1 = (end[0] * a.size[1] + end[1]) * a.size[2] + end[2];
  const Crossing<T> c = crossing_of(a.sdf[v0], a.sdf[v1]);
  for (int d = 0; d < 3; ++d) a.surface.vertices[3 * rank + d] = p0[d] * c.weight0 + p1[d] * c.weight1;
  a.surface.crossed[2 * rank] = int32_t(v0);
  a.surface.crossed[2 * rank + 1] = int32_t(v1);
}

template <typename T>
A3D_FN void emit_vertices_of_word(const DenseArgs<T>& a, int64_t word, const Place& p) {
  const uint32_t* marks = a.marks + 8 * word;
  uint32_t any = 0;
  for (int code = 1; code < 8; ++code) any |= marks[code];
  for (int64_t rank = start_of_word(a.found, kCrossings, word); any; any &= any - 1) {
    const int bit = lowest_bit(any);
    const int64_t begin[3] = {p.x, p.y, 32 * p.w + bit};
    for (int code = 1; code < 8; ++code)
      if (marks[code] >> bit & 1) emit_dense_vertex(a, begin, code, rank++);
  }
}

// The surface vertex on the edge from corner `from` to corner `to` of the cell at a bit of a word.
template <typename T>
A3D_FN int64_t vertex_on_dense_edge(const DenseArgs<T>& a, int64_t word, int bit, int from, int to) {
  const int start = from < to ? from : to, code = from ^ to;
  const int shifted = bit + (start & 1);
  const int64_t at = word + ((start >> 2) * a.size[1] + (start >> 1 & 1)) * a.row_words + (shifted >> 5);
  const uint32_t* marks = a.marks + 8 * at;
  int64_t rank = start_of_word(a.found, kCrossings, at);
  for (int c = 1; c < 8; ++c)
    rank += popcount(marks[c] & below(shifted & 31)) + (c < code ? int(marks[c] >> (shifted & 31) & 1) : 0);
  return rank;
}

template <typename T>
A3D_FN void emit_faces_of_word(const DenseArgs<T>& a, int64_t word, const Place& p) {
  if (!has_corner(a, p, 6)) return;
  uint32_t corner[8], any = 0, all = ~0u;
  for (int code = 0; code < 8; ++code) {
    corner[code] = inside_at(a, word, p, code);
    any |= corner[code];
    all &= corner[code];
  }
  int64_t rank[kRows] = {0, start_of_word(a.found, kSingles, word), start_of_word(a.found, kDoubles, word)};
  for (uint32_t cells = any & ~all & valid_bits(a, p, 1); cells; cells &= cells - 1) {
    const int bit = lowest_bit(cells);
    for (int tet = 0; tet < kTetsPerCell; ++tet) {
      int tet_case = 0;
      for (int v = 0; v < 4; ++v) tet_case |= int(corner[kuhn_corner(tet, v)] >> bit & 1) << v;
      const uint32_t triangles = triangles_of(tet_case);
      if (!triangles) continue;
      const Row row = popcount(uint32_t(tet_case)) == 2 ? kDoubles : kSingles;
      int64_t* face = a.surface.faces + 3 * first_face(a.found, row, rank[row]++);
      for (int i = 0; i < (row == kSingles ? 3 : 6); ++i) {
        const int k = edge_number(triangles, i);
        face[i] = vertex_on_dense_edge(a, word, bit, kuhn_corner(tet, edge_begin(k)), kuhn_corner(tet, edge_end(k)));
      }
    }
  }
}
}  // namespace asset3d::marching_tets
