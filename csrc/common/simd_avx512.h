#pragma once
// 16 lanes on AVX-512 (F, BW, DQ, VL). See simd_common.h for what every instruction set offers.
#include <immintrin.h>

#define A3D_LANE inline __attribute__((always_inline))

namespace asset3d::simd::avx512 {
constexpr int kLanes = 16;

struct Mask { __mmask16 v; };
struct Float {
  __m512 v;
  Float() = default;  // trivial: GCC compiles implicit constructors for the default target
  A3D_LANE Float(__m512 x) : v(x) {}
  A3D_LANE Float(float x) : v(_mm512_set1_ps(x)) {}
};
struct Int {  // also holds unsigned 32-bit values: + - * & | ^ << are the same
  __m512i v;
  Int() = default;
  A3D_LANE Int(__m512i x) : v(x) {}
  A3D_LANE Int(int32_t x) : v(_mm512_set1_epi32(x)) {}
  A3D_LANE Int(uint32_t x) : v(_mm512_set1_epi32(int32_t(x))) {}
};

A3D_LANE Float load(const float* p) { return _mm512_loadu_ps(p); }
A3D_LANE Float load(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m.v, p); }
A3D_LANE Int load(const int32_t* p) { return _mm512_loadu_si512(p); }
A3D_LANE Int load(const int32_t* p, Mask m) { return _mm512_maskz_loadu_epi32(m.v, p); }
A3D_LANE void store(float* p, Float a) { _mm512_storeu_ps(p, a.v); }
A3D_LANE void store(float* p, Float a, Mask m) { _mm512_mask_storeu_ps(p, m.v, a.v); }
A3D_LANE void store(int32_t* p, Int a) { _mm512_storeu_si512(p, a.v); }
A3D_LANE void store(int32_t* p, Int a, Mask m) { _mm512_mask_storeu_epi32(p, m.v, a.v); }
A3D_LANE int compress_store(float* p, Float a, Mask m) {
  _mm512_mask_storeu_ps(p, __mmask16((1u << __builtin_popcount(m.v)) - 1), _mm512_maskz_compress_ps(m.v, a.v));
  return __builtin_popcount(m.v);
}
A3D_LANE int compress_store(int32_t* p, Int a, Mask m) {
  _mm512_mask_storeu_epi32(p, __mmask16((1u << __builtin_popcount(m.v)) - 1), _mm512_maskz_compress_epi32(m.v, a.v));
  return __builtin_popcount(m.v);
}

A3D_LANE Float gather(const float* p, Int i) { return _mm512_i32gather_ps(i.v, p, 4); }
A3D_LANE Float gather(const float* p, Int i, Mask m) {
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m.v, i.v, p, 4);
}
A3D_LANE Int gather(const int32_t* p, Int i) { return _mm512_i32gather_epi32(i.v, p, 4); }
A3D_LANE Int gather(const int32_t* p, Int i, Mask m) {
  return _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), m.v, i.v, p, 4);
}
A3D_LANE void scatter(float* p, Int i, Float a, Mask m) { _mm512_mask_i32scatter_ps(p, m.v, i.v, a.v, 4); }
A3D_LANE void scatter(int32_t* p, Int i, Int a, Mask m) { _mm512_mask_i32scatter_epi32(p, m.v, i.v, a.v, 4); }

A3D_LANE void gather_pairs(const float* p, Int i, Float& first, Float& second) {
  const __m512 low = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_castsi512_si256(i.v), p, 8));
  const __m512 high = _mm512_castpd_ps(_mm512_i32gather_pd(_mm512_extracti64x4_epi64(i.v, 1), p, 8));
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  first = _mm512_permutex2var_ps(low, even, high);
  second = _mm512_permutex2var_ps(low, odd, high);
}
A3D_LANE void load_pairs(const float* p, Float& first, Float& second) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  const __m512 low = _mm512_loadu_ps(p), high = _mm512_loadu_ps(p + 16);
  first = _mm512_permutex2var_ps(low, even, high);
  second = _mm512_permutex2var_ps(low, odd, high);
}
A3D_LANE void load_triples(const float* p, int n, Float out[3]) {
  const uint64_t given = n >= 16 ? (uint64_t(1) << 48) - 1 : (uint64_t(1) << (3 * n)) - 1;
  const __m512 a = _mm512_maskz_loadu_ps(__mmask16(given), p),
               b = _mm512_maskz_loadu_ps(__mmask16(given >> 16), p + 16);
  const __m512 c = _mm512_maskz_loadu_ps(__mmask16(given >> 32), p + 32);
  // Element 3 j + d of the 48 goes to lane j of out[d]: first from a and b, then the lanes that lie in c.
  const __m512i ab = _mm512_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0);
  const __m512i from_c = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29);
  out[0] = _mm512_permutex2var_ps(_mm512_permutex2var_ps(a, ab, b), from_c, c);
  const __m512i ab1 = _mm512_setr_epi32(1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 0, 0, 0, 0, 0);
  const __m512i from_c1 = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 21, 24, 27, 30);
  out[1] = _mm512_permutex2var_ps(_mm512_permutex2var_ps(a, ab1, b), from_c1, c);
  const __m512i ab2 = _mm512_setr_epi32(2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 0, 0, 0, 0, 0, 0);
  const __m512i from_c2 = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 19, 22, 25, 28, 31);
  out[2] = _mm512_permutex2var_ps(_mm512_permutex2var_ps(a, ab2, b), from_c2, c);
}
A3D_LANE void store_pairs(float* p, Float first, Float second) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  _mm512_storeu_ps(p, _mm512_permutex2var_ps(first.v, low, second.v));
  _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(first.v, high, second.v));
}

A3D_LANE void scatter_pairs(float* p, Int i, Float first, Float second, Mask m) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  const __m512d front = _mm512_castps_pd(_mm512_permutex2var_ps(first.v, low, second.v));
  const __m512d back = _mm512_castps_pd(_mm512_permutex2var_ps(first.v, high, second.v));
  _mm512_mask_i32scatter_pd(p, __mmask8(m.v), _mm512_castsi512_si256(i.v), front, 8);
  _mm512_mask_i32scatter_pd(p, __mmask8(m.v >> 8), _mm512_extracti64x4_epi64(i.v, 1), back, 8);
}

A3D_LANE Float operator+(Float a, Float b) { return _mm512_add_ps(a.v, b.v); }
A3D_LANE Float operator-(Float a, Float b) { return _mm512_sub_ps(a.v, b.v); }
A3D_LANE Float operator*(Float a, Float b) { return _mm512_mul_ps(a.v, b.v); }
A3D_LANE Float operator/(Float a, Float b) { return _mm512_div_ps(a.v, b.v); }
A3D_LANE Float operator-(Float a) { return _mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f)); }
A3D_LANE Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
A3D_LANE Float fms(Float a, Float b, Float c) { return _mm512_fmsub_ps(a.v, b.v, c.v); }
A3D_LANE Float min(Float a, Float b) { return _mm512_min_ps(a.v, b.v); }
A3D_LANE Float max(Float a, Float b) { return _mm512_max_ps(a.v, b.v); }
A3D_LANE Float abs(Float a) { return _mm512_abs_ps(a.v); }
A3D_LANE Float sqrt(Float a) { return _mm512_sqrt_ps(a.v); }
A3D_LANE Float floor(Float a) { return _mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
A3D_LANE Float ceil(Float a) { return _mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }

A3D_LANE Int operator+(Int a, Int b) { return _mm512_add_epi32(a.v, b.v); }
A3D_LANE Int operator-(Int a, Int b) { return _mm512_sub_epi32(a.v, b.v); }
A3D_LANE Int operator*(Int a, Int b) { return _mm512_mullo_epi32(a.v, b.v); }
A3D_LANE Int operator&(Int a, Int b) { return _mm512_and_si512(a.v, b.v); }
A3D_LANE Int operator|(Int a, Int b) { return _mm512_or_si512(a.v, b.v); }
A3D_LANE Int operator^(Int a, Int b) { return _mm512_xor_si512(a.v, b.v); }
A3D_LANE Int operator<<(Int a, int bits) { return _mm512_slli_epi32(a.v, unsigned(bits)); }
A3D_LANE Int operator>>(Int a, int bits) { return _mm512_srli_epi32(a.v, unsigned(bits)); }
A3D_LANE Int min(Int a, Int b) { return _mm512_min_epi32(a.v, b.v); }
A3D_LANE Int max(Int a, Int b) { return _mm512_max_epi32(a.v, b.v); }

A3D_LANE Int to_int(Float a) { return _mm512_cvttps_epi32(a.v); }
A3D_LANE Float to_float(Int a) { return _mm512_cvtepi32_ps(a.v); }
A3D_LANE Int bits_of(Float a) { return _mm512_castps_si512(a.v); }
A3D_LANE Float float_of_bits(Int a) { return _mm512_castsi512_ps(a.v); }
A3D_LANE Int lane_numbers() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

A3D_LANE Mask operator<(Float a, Float b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
A3D_LANE Mask operator<=(Float a, Float b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
A3D_LANE Mask operator==(Float a, Float b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
A3D_LANE Mask operator!=(Float a, Float b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
A3D_LANE Mask operator<(Int a, Int b) { return {_mm512_cmplt_epi32_mask(a.v, b.v)}; }
A3D_LANE Mask operator<=(Int a, Int b) { return {_mm512_cmple_epi32_mask(a.v, b.v)}; }
A3D_LANE Mask operator==(Int a, Int b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
A3D_LANE Mask operator!=(Int a, Int b) { return {_mm512_cmpneq_epi32_mask(a.v, b.v)}; }
A3D_LANE Mask operator&(Mask a, Mask b) { return {__mmask16(a.v & b.v)}; }
A3D_LANE Mask operator|(Mask a, Mask b) { return {__mmask16(a.v | b.v)}; }
A3D_LANE Mask operator^(Mask a, Mask b) { return {__mmask16(a.v ^ b.v)}; }
A3D_LANE Mask operator~(Mask a) { return {__mmask16(~a.v)}; }
A3D_LANE uint32_t bits(Mask m) { return m.v; }
A3D_LANE Mask mask_of_bits(uint32_t b) { return {__mmask16(b)}; }

A3D_LANE Float select(Mask m, Float yes, Float no) { return _mm512_mask_blend_ps(m.v, no.v, yes.v); }
A3D_LANE Int select(Mask m, Int yes, Int no) { return _mm512_mask_blend_epi32(m.v, no.v, yes.v); }
A3D_LANE float reduce_add(Float a) { return _mm512_reduce_add_ps(a.v); }
A3D_LANE float reduce_min(Float a) { return _mm512_reduce_min_ps(a.v); }
A3D_LANE float reduce_max(Float a) { return _mm512_reduce_max_ps(a.v); }
}  // namespace asset3d::simd::avx512
