#pragma once
// Vector lanes with run-time choice of the instruction set: avx512 (16 lanes), avx2 (8), baseline (4, any machine).
// A file named *_simd.cpp is compiled once per instruction set by setup.py. To vectorise an inner loop:
//   double.h       A3D_PER_ISA(void double_all(const float* in, float* out, int64_t begin, int64_t end))
//   op_simd.cpp    #include "../common/simd.h"    (and "double.h"; no torch or other std headers than simd.h brings)
//                  namespace asset3d::op::A3D_ISA {
//                  using namespace asset3d::simd::A3D_ISA;   // Float, Int, Mask, kLanes
//                  void double_all(const float* in, float* out, int64_t begin, int64_t end) {
//                    for (int64_t i = begin; i < end; i += kLanes) {
//                      const Mask rest = first_lanes(end - i);          // all lanes but in the last turn
//                      store(out + i, 2.0f * load(in + i, rest), rest); } } }
//   op_cpu.cpp     parallel_for(0, n, 1024, [&](int64_t b, int64_t e) { A3D_DISPATCH(double_all)(in, out, b, e); });
// A3D_PER_ISA stands inside namespace asset3d::op, and A3D_DISPATCH is used there. ASSET3D_ISA=baseline|avx2|avx512
// in the environment overrides the choice. float32 only; float64 (for gradcheck) stays a scalar loop. Scalar helpers
// from *_math.h must be A3D_FN: always inlined here. An out-of-line inline function or template that is not in
// namespace A3D_ISA would be merged by the linker with the copy that other files use, and a machine without AVX-512
// could end up running AVX-512 code: setup.py stops the build if it finds such a symbol, and as a second line of
// defence it puts the baseline objects first in link order, since the first copy wins.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define A3D_X86 1
#endif

namespace asset3d::simd {
enum class Isa { baseline, avx2, avx512 };
Isa isa();               // the best that this machine has, unless ASSET3D_ISA says less
const char* isa_name();  // "baseline", "avx2", "avx512"
bool has_bfloat16_products();  // VDPBF16PS beside avx512; ASSET3D_BFLOAT16=0 in the environment denies it

template <typename Fn>
Fn pick([[maybe_unused]] Fn baseline, [[maybe_unused]] Fn avx2, [[maybe_unused]] Fn avx512) {
#ifdef A3D_X86
  if (isa() == Isa::avx512) return avx512;
  if (isa() == Isa::avx2) return avx2;
#endif
  return baseline;
}
}  // namespace asset3d::simd

#ifdef A3D_X86
#define A3D_PER_ISA(...)              \
  namespace baseline { __VA_ARGS__; } \
  namespace avx2 { __VA_ARGS__; }     \
  namespace avx512 { __VA_ARGS__; }
#define A3D_DISPATCH(...) ::asset3d::simd::pick(&baseline::__VA_ARGS__, &avx2::__VA_ARGS__, &avx512::__VA_ARGS__)
#else
#define A3D_PER_ISA(...) namespace baseline { __VA_ARGS__; }
#define A3D_DISPATCH(...) (&baseline::__VA_ARGS__)
#endif

// Before a loop over 8 items, such as the corners of a cell. Not under sanitizers, whose checks make it huge.
#if defined(__SANITIZE_ADDRESS__) || !defined(__GNUC__)
#define A3D_UNROLL_8
#else
#define A3D_UNROLL_8 _Pragma("GCC unroll 8")
#endif

#ifdef A3D_ISA  // inside a *_simd.cpp: bring in the lanes of the set that is being compiled
#if A3D_ISA_LANES == 16
#include "simd_avx512.h"
#elif A3D_ISA_LANES == 8
#include "simd_avx2.h"
#else
#include "simd_baseline.h"
#endif
#include "simd_common.h"
#endif
