// Attention, inner loops over lanes. float32, and bfloat16 widened to it; on AVX-512 machines with VDPBF16PS also
// bfloat16 in pairs, whose target is wider than that of the file.
#include "../common/simd.h"
#include "attention_math.h"

namespace asset3d::attention::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;
#define A3D_UNITS floats
#define A3D_PAIRS 0
#include "attention_tiles.h"
#include "attention_forward.h"
#include "attention_backward.h"
#undef A3D_UNITS
#undef A3D_PAIRS

void attend_float(const Args<float>& a, const QueryTask& task, float* workspace) { floats::attend(a, task, workspace); }
void attend_bfloat16(const Args<Bfloat16>& a, const QueryTask& task, float* workspace) {
  floats::attend(a, task, workspace);
}
void key_gradient_float(const Args<float>& a, const KeyTask& task, float* workspace) {
  floats::key_gradient(a, task, workspace);
}
void key_gradient_bfloat16(const Args<Bfloat16>& a, const KeyTask& task, float* workspace) {
  floats::key_gradient(a, task, workspace);
}
void query_gradient_float(const Args<float>& a, const QueryTask& task, const float* partials, int n, int64_t stride) {
  floats::query_gradient(a, task, partials, n, stride);
}
void query_gradient_bfloat16(const Args<Bfloat16>& a, const QueryTask& task, const float* partials, int n,
                             int64_t stride) {
  floats::query_gradient(a, task, partials, n, stride);
}
void row_products_float(const float* x, int64_t x_row, const float* y, int64_t y_row, int64_t n, int d, float factor,
                        float* out) {
  floats::row_products(x, x_row, y, y_row, n, d, factor, out);
}
void row_products_bfloat16(const Bfloat16* x, int64_t x_row, const Bfloat16* y, int64_t y_row, int64_t n, int d,
                           float factor, float* out) {
  floats::row_products(x, x_row, y, y_row, n, d, factor, out);
}
}  // namespace asset3d::attention::A3D_ISA

#if A3D_ISA_LANES == 16
#pragma GCC push_options
#pragma GCC target("avx512bf16")
namespace asset3d::attention::A3D_ISA {
#define A3D_UNITS pairs
#define A3D_PAIRS 1
#include "attention_tiles.h"
#include "attention_forward.h"
#include "attention_backward.h"
#undef A3D_UNITS
#undef A3D_PAIRS
}  // namespace asset3d::attention::A3D_ISA
#pragma GCC pop_options

namespace asset3d::attention::A3D_ISA {  // declared for the target of the file, so defined for it
void attend_pairs(const Args<Bfloat16>& a, const QueryTask& task, float* workspace) {
  pairs::attend(a, task, workspace);
}
void key_gradient_pairs(const Args<Bfloat16>& a, const KeyTask& task, float* workspace) {
  pairs::key_gradient(a, task, workspace);
}
}  // namespace asset3d::attention::A3D_ISA
#endif
