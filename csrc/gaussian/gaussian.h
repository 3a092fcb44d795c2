#pragma once
// What the kernels of Gaussian splatting receive: pointers and sizes, no tensors.
// B images, N Gaussians, C channels, I intersections: pairs of a Gaussian and a tile that it may show in.
#include <cstdint>
#include "../common/macros.h"

namespace asset3d::gaussian {
// Of numbers; vectors of lanes bring their own.
A3D_FN float select(bool m, float yes, float no) { return m ? yes : no; }
A3D_FN double select(bool m, double yes, double no) { return m ? yes : no; }
A3D_FN float max(float a, float b) { return a > b ? a : b; }
A3D_FN double max(double a, double b) { return a > b ? a : b; }
A3D_FN float min(float a, float b) { return a < b ? a : b; }
A3D_FN double min(double a, double b) { return a < b ? a : b; }

constexpr int kTile = 16;  // pixels along each side of a tile
constexpr int kBlock = 4;  // and of a block of a tile

struct ImageSize {
  int32_t width, height;
  A3D_FN int32_t tiles_x() const { return (width + kTile - 1) / kTile; }
  A3D_FN int32_t tiles_y() const { return (height + kTile - 1) / kTile; }
  A3D_FN int64_t tiles() const { return int64_t(tiles_x()) * tiles_y(); }
};

template <typename T>
struct ProjectArgs {
  const T *means, *quats, *scales, *opacities;  // (N, 3) (N, 4) wxyz (N, 3) (N)
  const T* world_to_camera;                     // (B, 4, 4), OpenGL axes
  const T* intrinsics;                          // (B, 4): fx fy cx cy
  int64_t n, n_images;
  ImageSize size;
  T nearest, farthest, dilation, alpha_min;
  bool normalize_quats, antialiased;
  T *means_2d, *conics, *depths, *visible_opacities;  // (B, N, 2) (B, N, 3) (B, N) (B, N); zero where culled
  T* radii;  // (B, N, 2): half sides of the box in which it shows; 0 outside of the image, -1 not finite or absurd
};

template <typename T>
struct ProjectBackwardArgs {
  ProjectArgs<T> forward;  // radii are given, the other outputs are not set
  const T *grad_means_2d, *grad_conics, *grad_depths, *grad_visible_opacities;
  T *grad_means, *grad_quats, *grad_scales, *grad_opacities;
};

template <typename T>
struct Splats {  // what is blended
  const T *means_2d, *conics, *opacities, *depths, *radii;  // (B, N, 2) (B, N, 3) (B, N) (B, N) (B, N, 2)
  int64_t n, n_images;
  ImageSize size;
  T alpha_min;
};

// One intersection. Those of a tile lie front to back; `slot` counts those of image 0's Gaussian 0, Gaussian 1, ...
struct Entry { int32_t gaussian, slot; };

template <typename T>
struct BlendArgs {
  Splats<T> splats;
  const T* colors;            // (B, N, C), or (N, C) where shared_colors
  const T* background;        // (C) or null
  const T* geometry;          // (B * N, kGeometry)
  const Entry* entries;       // (I)
  const int64_t* tile_first;  // (B * tiles + 1): where the entries of each tile start
  const int64_t* slot_first;  // (B * N + 1): where the slots of each Gaussian start
  int64_t n_channels, n_intersections;
  bool shared_colors;
  T alpha_max, stop_transmittance;
  T *color, *alpha, *depth;   // (B, H, W, C) (B, H, W) (B, H, W)
  // What the gradient needs; null where none is wanted:
  T* transmittance;           // (B, H, W): what is left of the light behind
  int32_t* last;              // (B, H, W): entries of its tile before the one at which the pixel stopped
  T* state;  // CUDA: (n_chunks, C + 2, kTile * kTile): of each chunk what it adds to every value of every
  int64_t n_chunks;           // pixel of its tile, and the transmittance at its start
};

// CUDA walks the list of a tile in chunks of as many entries as a block has threads. Those of a tile have the numbers
// from chunk_base on; a few numbers stay unused.
constexpr int kChunkEntries = kTile * kTile;
A3D_FN int64_t chunk_base(const int64_t* tile_first, int64_t tile) { return tile_first[tile] / kChunkEntries + tile; }
inline int64_t chunk_count(int64_t n_intersections, int64_t n_tiles) {
  return n_intersections / kChunkEntries + n_tiles;
}

template <typename T>
struct BlendBackwardArgs {
  BlendArgs<T> forward;  // all set
  const T *grad_color, *grad_alpha, *grad_depth;
  T* partials;           // (I, partial_stride(C)): the gradient that each slot contributes; to work in
  T* background_partials;  // (B * tiles, C), to work in, or null
  T* behind;             // CUDA: (n_chunks, kTile * kTile), to work in: the light behind each chunk
  T *grad_means_2d, *grad_conics, *grad_opacities, *grad_depths, *grad_colors, *grad_background;
};

// Listing by tile on CUDA, in steps between which the caller adds up and sorts.
template <typename T>
struct TileArgs {
  Splats<T> splats;
  T* geometry;                // (B * N, kGeometry)
  int32_t* counts;            // (B * N + 1): 0, then the tiles of each Gaussian
  const int64_t* slot_first;  // (B * N + 1): sums of counts
  const int64_t* order;       // (B, N): Gaussians of each image by depth
  int32_t* ordered_counts;    // (B * N + 1): 0, then the counts in that order
  const int64_t* ordered_first;  // sums of those
  int32_t* tiles;             // (I): tile of each entry in that order, image after image
  Entry* listed;              // (I)
  const int32_t* sorted_tiles;   // (I), rising
  const int64_t* sorted_from;    // (I): the place in `listed`
  int64_t n_intersections;
  int64_t* tile_first;        // (B * tiles + 1)
  Entry* entries;             // (I)
};

template <typename T> void count_tiles_cuda(const TileArgs<T>&, void* stream);    // geometry and counts
template <typename T> void order_counts_cuda(const TileArgs<T>&, void* stream);   // ordered_counts
template <typename T> void list_tiles_cuda(const TileArgs<T>&, void* stream);     // tiles and listed
template <typename T> void finish_tiles_cuda(const TileArgs<T>&, void* stream);   // tile_first and entries

template <typename T>
struct HarmonicsArgs {
  const T* coefficients;      // (N, n_coefficients, 3)
  const T* directions;        // (B, N, 3)
  int64_t n, n_images, n_coefficients;
  int degree;
  T* colors;                  // (B, N, 3)
};

template <typename T>
struct HarmonicsBackwardArgs {
  HarmonicsArgs<T> forward;   // colors are not set
  const T* grad_colors;       // (B, N, 3)
  T *grad_coefficients, *grad_directions;
};

template <typename T> void harmonics_cpu(const HarmonicsArgs<T>&);
template <typename T> void harmonics_cuda(const HarmonicsArgs<T>&, void* stream);
template <typename T> void harmonics_backward_cpu(const HarmonicsBackwardArgs<T>&);
template <typename T> void harmonics_backward_cuda(const HarmonicsBackwardArgs<T>&, void* stream);

template <typename T> void project_cpu(const ProjectArgs<T>&);
template <typename T> void project_cuda(const ProjectArgs<T>&, void* stream);
template <typename T> void project_backward_cpu(const ProjectBackwardArgs<T>&);
template <typename T> void project_backward_cuda(const ProjectBackwardArgs<T>&, void* stream);
template <typename T> void blend_cpu(const BlendArgs<T>&);
template <typename T> void blend_cuda(const BlendArgs<T>&, void* stream);
template <typename T> void blend_backward_cpu(const BlendBackwardArgs<T>&);
template <typename T> void blend_backward_cuda(const BlendBackwardArgs<T>&, void* stream);
}  // namespace asset3d::gaussian
