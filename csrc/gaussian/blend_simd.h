#pragma once
// The float32 loops of blending on the CPU, compiled per instruction set.
#include "../common/simd.h"
#include "gaussian.h"

namespace asset3d::gaussian {
// One tile of one image, whose entries are [first, last).
struct TileWork {
  int64_t image;
  int32_t x0, y0, x1, y1;  // pixels, the end excluded
  int64_t tile, first, last;
};
// The memory that a tile needs, in floats.
constexpr int64_t scratch_size(int64_t n_values) { return (n_values + 4) * kTile * kTile + 16 * n_values; }

A3D_PER_ISA(void blend_tile(const BlendArgs<float>& a, const TileWork& work, float* scratch))
A3D_PER_ISA(void blend_tile_backward(const BlendBackwardArgs<float>& a, const TileWork& work, float* scratch))
}  // namespace asset3d::gaussian
