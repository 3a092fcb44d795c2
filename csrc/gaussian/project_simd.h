#pragma once
// The float32 loops of projection on the CPU, compiled per instruction set.
#include "../common/simd.h"
#include "gaussian.h"

namespace asset3d::gaussian {
A3D_PER_ISA(void project_lanes(const ProjectArgs<float>& a, int64_t image, int64_t begin, int64_t end))
// Adds to the gradients.
A3D_PER_ISA(void project_backward_lanes(const ProjectBackwardArgs<float>& a, int64_t image, int64_t begin, int64_t end))
}  // namespace asset3d::gaussian
