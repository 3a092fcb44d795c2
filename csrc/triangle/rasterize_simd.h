#pragma once
// The float32 inner loops of rasterizing on the CPU, compiled per instruction set.
#include "../common/simd.h"
#include "triangle.h"

namespace asset3d::triangle {
constexpr int kTileWidth = 64, kTileHeight = 32, kTileMargin = 16;  // the margin takes the last lanes of a row

// Pixels whose centre each face may cover, inclusive; x0 > x1 or y0 > y1 for none.
struct FaceBoxes { int32_t *x0, *y0, *x1, *y1; };

template <typename T>
struct Tile {
  int x0, y0, x1, y1;  // pixels, inclusive
  T depth[kTileHeight][kTileWidth + kTileMargin];
  int32_t face[kTileHeight][kTileWidth + kTileMargin];
};

// positions are those of one image of the batch.
A3D_PER_ISA(void face_boxes(const RasterizeArgs<float>& a, const float* positions, const FaceBoxes& boxes,
                            int64_t begin, int64_t end))
A3D_PER_ISA(void draw_faces(const RasterizeArgs<float>& a, const float* positions, const FaceBoxes& boxes,
                            const int32_t* list, int64_t n_list, Tile<float>& tile))
A3D_PER_ISA(void write_tile(const RasterizeArgs<float>& a, const float* positions, int64_t batch,
                            const Tile<float>& tile))
// Pixels begin to end of one image of the batch; adds into sums (V, 4).
A3D_PER_ISA(void rasterize_backward_pixels(const RasterizeArgs<float>& a, int64_t batch, int64_t begin, int64_t end,
                                           float* sums))
}  // namespace asset3d::triangle
