#pragma once
// What the kernels of marching tetrahedra receive: pointers and sizes, no tensors.
// V grid vertices, T tets, E edges, M surface vertices, F faces. A word is 32 edges, tets, or vertices along z.
#include <cstdint>

namespace asset3d::marching_tets {

// Rows of marks, counts and sums: edges that cross the surface, tets that give one triangle, tets that give two.
enum Row { kCrossings = 0, kSingles = 1, kDoubles = 2, kRows = 3 };

// What the first pass finds, and the sums that the second pass writes by.
struct Found {
  int32_t* counts;      // (kRows, n_words)
  const int64_t* sums;  // (kRows, n_words): of the counts before, running on from row to row; second pass only
  int64_t n_words;
  int64_t totals[kRows];  // second pass only
};

template <typename T>
struct Surface {
  T* vertices;       // (M, 3)
  int32_t* crossed;  // (M, 2): the ends of the edge that a vertex lies on, smaller index first
  int64_t* faces;    // (F, 3): faces of tets with one triangle, then those of tets with two
};

template <typename T>
struct Args {  // any tetrahedra
  const T* sdf;              // (V)
  const T* vertices;         // (V, 3)
  const int32_t* tets;       // (T, 4)
  const int32_t* edges;      // (E, 2), sorted
  const int32_t* tet_edges;  // (T, 6)
  const int32_t* cover_first;  // (words of tets + 1)
  const uint32_t* cover;       // (P, 2): see CoverArgs
  int64_t n_vertices, n_tets, n_edges;
  uint32_t* inside;          // (words of vertices): one bit per vertex, sdf > 0
  uint32_t* marks;           // (kRows, n_words), zeroed: one bit per edge or tet
  Found found;
  Surface<T> surface;
};

// Six tets in each cell of a regular grid, never stored.
template <typename T>
struct DenseArgs {
  const T* sdf;       // (size[0], size[1], size[2])
  int64_t size[3];
  T lower[3], spacing[3];
  int64_t row_words;  // words per row of vertices along z
  uint32_t* marks;    // (n_words, 8): [0] which vertices are inside, [code] which edges cross; see dense_math.h
  Found found;
  Surface<T> surface;
};

template <typename T>
struct BackwardArgs {
  const T* grad_surface;   // (M, 3)
  const int32_t* crossed;  // (M, 2)
  const T* sdf;            // (V)
  const T* vertices;       // (V, 3); null for a regular grid
  int64_t size[3];         // the rest of the regular grid
  T lower[3], spacing[3];
  int64_t n_surface, n_vertices;
  T* grad_sdf;             // (V), zeroed
  T* grad_vertices;        // (V, 3), zeroed; may be null
};

// Sorted unique edges of tets, on the host: built once per grid.
struct EdgesArgs {
  const int32_t* tets;  // (T, 4)
  int64_t n_tets, n_vertices;
  int32_t* tet_edges;   // (T, 6)
  int64_t* first;       // (V + 1), zeroed: where the entries of a smaller end start
  uint64_t* entries;    // (6 T): larger end and 6 * tet + edge
  int64_t* unique;      // (V + 1), zeroed: where the unique edges of a smaller end start
};

// The vertices of every 32 tets, as words of 32 vertices and masks: tests them all with a few operations, and most
// words of tets are found to be far from the surface without a look at the tets. On the host: built once per grid.
struct CoverArgs {
  const int32_t* tets;  // (T, 4)
  int64_t n_tets;
  int32_t* first;       // (words of tets + 1), zeroed: where the pairs of each word of tets start
  uint32_t* cover;      // (P, 2): word of vertices, mask
};

template <typename T> void mark_cpu(const Args<T>&);
template <typename T> void mark_cuda(const Args<T>&, void* stream);
template <typename T> void emit_cpu(const Args<T>&);
template <typename T> void emit_cuda(const Args<T>&, void* stream);
template <typename T> void mark_dense_cpu(const DenseArgs<T>&);
template <typename T> void mark_dense_cuda(const DenseArgs<T>&, void* stream);
template <typename T> void emit_dense_cpu(const DenseArgs<T>&);
template <typename T> void emit_dense_cuda(const DenseArgs<T>&, void* stream);
template <typename T> void backward_cpu(const BackwardArgs<T>&);
template <typename T> void backward_cuda(const BackwardArgs<T>&, void* stream);
// Swaps the last two corners of the tets of positive volume.
template <typename T> void orient(const T* vertices, int32_t* tets, int64_t n_tets);
void count_cover(const CoverArgs&);                       // fills first
void write_cover(const CoverArgs&);                       // fills cover
void sort_edges(const EdgesArgs&);                        // fills first, entries (sorted), unique
void write_edges(const EdgesArgs&, int32_t* edges);       // fills edges (E, 2) and tet_edges
}  // namespace asset3d::marching_tets
