#pragma once
// What the triangle kernels receive: pointers and sizes, no tensors.
// Letters: B batch, V vertices, F faces, H and W pixels, A attributes, C channels. Row 0 of an image is y = -1.
#include <cstdint>
#include "../common/macros.h"

namespace asset3d::triangle {
// A face number travels in a floating-point channel, so it must be exact in float32.
constexpr int64_t kMaxFaces = (int64_t(1) << 24) - 1;
constexpr int kMaxSide = 16384;  // pixels

struct ImageSize {
  int64_t batch;
  int height, width;
  A3D_FN int64_t pixels() const { return batch * height * width; }
};

// Sums of a deterministic CUDA scatter (fixed_point.h).
struct Totals {
  long long* sums;              // fixed point
  unsigned long long* largest;  // bits of the largest magnitude of a contribution
  int count_bits;               // at most 2^count_bits contributions meet in one sum
};

template <typename T>
struct RasterizeArgs {
  const T* positions;    // (B, V, 4) clip space
  const int32_t* faces;  // (F, 3)
  T* rast;               // (B, H, W, 4) u, v, z/w, face + 1
  T* rast_db;            // (B, H, W, 4) du/dX du/dY dv/dX dv/dY per pixel
  const T* grad_rast;
  const T* grad_rast_db;
  T* grad_positions;     // (B, V, 4), zeroed
  ImageSize size;
  int64_t n_vertices, n_faces;
  unsigned long long* keys;  // CUDA forward: (B, H, W, 2) nearest depth and face
  int32_t* large;            // CUDA forward: (B, F + 1) faces with many pixels, their number first
  Totals totals;             // CUDA backward
};

template <typename T>
struct InterpolateArgs {
  const T* attributes;   // (B or 1, V, A)
  const T* rast;         // (B, H, W, 4)
  const T* rast_db;      // (B, H, W, 4) or null
  const int32_t* faces;  // (F, 3)
  const int64_t* chosen; // attributes with pixel derivatives
  T* out;                // (B, H, W, A)
  T* out_da;             // (B, H, W, 2 * n_chosen)
  const T* grad_out;
  const T* grad_out_da;
  T* grad_attributes;    // like attributes, zeroed
  T* grad_rast;
  T* grad_rast_db;       // or null
  ImageSize size;
  int64_t n_vertices, n_faces, attribute_batch;
  int n_attributes, n_chosen;
  Totals totals;
};

template <typename T>
struct AntialiasArgs {
  const T* positions;         // (B, V, 4)
  const int32_t* faces;       // (F, 3)
  const int32_t* topology;    // (F, 3) next half-edge around the same edge, itself at a border
  const T* rast;              // (B, H, W, 4)
  int8_t* facing;             // (B, F) scratch of the analysis: side of each face that the image shows
  int32_t* crossings;         // (B, H, W, 2) silhouette between a pixel and its right and lower neighbour
  const T* color;             // (B, H, W, C)
  T* out;
  const T* grad_out;
  T* grad_color;
  T* grad_positions;          // (B, V, 4), zeroed
  ImageSize size;
  int64_t n_vertices, n_faces;
  int n_channels;
  Totals totals;
};

template <typename T> void rasterize_cpu(const RasterizeArgs<T>&);
template <typename T> void rasterize_backward_cpu(const RasterizeArgs<T>&);
template <typename T> void interpolate_cpu(const InterpolateArgs<T>&);
template <typename T> void interpolate_backward_cpu(const InterpolateArgs<T>&);
template <typename T> void antialias_analyze_cpu(const AntialiasArgs<T>&);
template <typename T> void antialias_cpu(const AntialiasArgs<T>&);
template <typename T> void antialias_backward_cpu(const AntialiasArgs<T>&);
void face_topology_cpu(const int32_t* faces, int64_t n_faces, int64_t n_vertices, int32_t* topology);

template <typename T> void rasterize_cuda(const RasterizeArgs<T>&, void* stream);
template <typename T> void rasterize_backward_cuda(const RasterizeArgs<T>&, void* stream);
template <typename T> void interpolate_cuda(const InterpolateArgs<T>&, void* stream);
template <typename T> void interpolate_backward_cuda(const InterpolateArgs<T>&, void* stream);
template <typename T> void antialias_analyze_cuda(const AntialiasArgs<T>&, void* stream);
template <typename T> void antialias_cuda(const AntialiasArgs<T>&, void* stream);
template <typename T> void antialias_backward_cuda(const AntialiasArgs<T>&, void* stream);
}  // namespace asset3d::triangle
