#pragma once
// The float32 loops of listing Gaussians by tile on the CPU, compiled per instruction set.
#include "../common/simd.h"
#include "gaussian.h"

namespace asset3d::gaussian {
constexpr int kSpanned = 64;  // Gaussians per call

// Tiles of some Gaussians: the rows of tiles of each, and the columns in the first two of those.
struct TileSpans {
  int32_t row[kSpanned], n_rows[kSpanned];
  int32_t first[2][kSpanned], last[2][kSpanned];
};

// The n <= kSpanned Gaussians from `begin` on; writes their geometry too.
A3D_PER_ISA(void tile_spans(const Splats<float>& s, int64_t begin, int n, float* geometry, TileSpans& spans))
}  // namespace asset3d::gaussian
