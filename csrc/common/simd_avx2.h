#pragma once
// 8 lanes on AVX2 + FMA. See simd_common.h for what every instruction set offers.
#include <immintrin.h>

#define A3D_LANE inline __attribute__((always_inline))

namespace asset3d::simd::avx2 {
constexpr int kLanes = 8;

struct Mask { __m256i v; };  // each lane all ones or all zeros
struct Float {
  __m256 v;
  Float() = default;  // trivial: GCC compiles implicit constructors for the default target
  A3D_LANE Float(__m256 x) : v(x) {}
  A3D_LANE Float(float x) : v(_mm256_set1_ps(x)) {}
};
struct Int {  // also holds unsigned 32-bit values: + - * & | ^ << are the same
  __m256i v;
  Int() = default;
  A3D_LANE Int(__m256i x) : v(x) {}
  A3D_LANE Int(int32_t x) : v(_mm256_set1_epi32(x)) {}
  A3D_LANE Int(uint32_t x) : v(_mm256_set1_epi32(int32_t(x))) {}
};

A3D_LANE __m256i raw(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
A3D_LANE Float load(const float* p) { return _mm256_loadu_ps(p); }
A3D_LANE Float load(const float* p, Mask m) { return _mm256_maskload_ps(p, m.v); }
A3D_LANE Int load(const int32_t* p) { return raw(p); }
A3D_LANE Int load(const int32_t* p, Mask m) { return _mm256_maskload_epi32(p, m.v); }
A3D_LANE void store(float* p, Float a) { _mm256_storeu_ps(p, a.v); }
A3D_LANE void store(float* p, Float a, Mask m) { _mm256_maskstore_ps(p, m.v, a.v); }
A3D_LANE void store(int32_t* p, Int a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
A3D_LANE void store(int32_t* p, Int a, Mask m) { _mm256_maskstore_epi32(p, m.v, a.v); }

A3D_LANE Float gather(const float* p, Int i) { return _mm256_i32gather_ps(p, i.v, 4); }
A3D_LANE Float gather(const float* p, Int i, Mask m) {
  return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), p, i.v, _mm256_castsi256_ps(m.v), 4);
}
A3D_LANE Int gather(const int32_t* p, Int i) { return _mm256_i32gather_epi32(p, i.v, 4); }
A3D_LANE Int gather(const int32_t* p, Int i, Mask m) {
  return _mm256_mask_i32gather_epi32(_mm256_setzero_si256(), p, i.v, m.v, 4);
}
A3D_LANE void split_pairs(__m256 low, __m256 high, Float& first, Float& second) {
  const __m256 even = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0));
  const __m256 odd = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1));
  first = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), _MM_SHUFFLE(3, 1, 2, 0)));
  second = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(odd), _MM_SHUFFLE(3, 1, 2, 0)));
}
A3D_LANE void gather_pairs(const float* p, Int i, Float& first, Float& second) {
  const double* pairs = reinterpret_cast<const double*>(p);
  const __m256 low = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_castsi256_si128(i.v), 8));
  const __m256 high = _mm256_castpd_ps(_mm256_i32gather_pd(pairs, _mm256_extracti128_si256(i.v, 1), 8));
  split_pairs(low, high, first, second);
}
A3D_LANE void load_pairs(const float* p, Float& first, Float& second) {
  split_pairs(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8), first, second);
}
A3D_LANE void store_pairs(float* p, Float first, Float second) {
  const __m256 low = _mm256_unpacklo_ps(first.v, second.v), high = _mm256_unpackhi_ps(first.v, second.v);
  _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
  _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}

A3D_LANE Float operator+(Float a, Float b) { return _mm256_add_ps(a.v, b.v); }
A3D_LANE Float operator-(Float a, Float b) { return _mm256_sub_ps(a.v, b.v); }
A3D_LANE Float operator*(Float a, Float b) { return _mm256_mul_ps(a.v, b.v); }
A3D_LANE Float operator/(Float a, Float b) { return _mm256_div_ps(a.v, b.v); }
A3D_LANE Float operator-(Float a) { return _mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f)); }
A3D_LANE Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
A3D_LANE Float fms(Float a, Float b, Float c) { return _mm256_fmsub_ps(a.v, b.v, c.v); }
A3D_LANE Float min(Float a, Float b) { return _mm256_min_ps(a.v, b.v); }
A3D_LANE Float max(Float a, Float b) { return _mm256_max_ps(a.v, b.v); }
A3D_LANE Float abs(Float a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v); }
A3D_LANE Float sqrt(Float a) { return _mm256_sqrt_ps(a.v); }
A3D_LANE Float floor(Float a) { return _mm256_floor_ps(a.v); }
A3D_LANE Float ceil(Float a) { return _mm256_ceil_ps(a.v); }

A3D_LANE Int operator+(Int a, Int b) { return _mm256_add_epi32(a.v, b.v); }
A3D_LANE Int operator-(Int a, Int b) { return _mm256_sub_epi32(a.v, b.v); }
A3D_LANE Int operator*(Int a, Int b) { return _mm256_mullo_epi32(a.v, b.v); }
A3D_LANE Int operator&(Int a, Int b) { return _mm256_and_si256(a.v, b.v); }
A3D_LANE Int operator|(Int a, Int b) { return _mm256_or_si256(a.v, b.v); }
A3D_LANE Int operator^(Int a, Int b) { return _mm256_xor_si256(a.v, b.v); }
A3D_LANE Int operator<<(Int a, int bits) { return _mm256_slli_epi32(a.v, bits); }
A3D_LANE Int operator>>(Int a, int bits) { return _mm256_srli_epi32(a.v, bits); }
A3D_LANE Int min(Int a, Int b) { return _mm256_min_epi32(a.v, b.v); }
A3D_LANE Int max(Int a, Int b) { return _mm256_max_epi32(a.v, b.v); }

A3D_LANE Int to_int(Float a) { return _mm256_cvttps_epi32(a.v); }
A3D_LANE Float to_float(Int a) { return _mm256_cvtepi32_ps(a.v); }
A3D_LANE Int bits_of(Float a) { return _mm256_castps_si256(a.v); }
A3D_LANE Float float_of_bits(Int a) { return _mm256_castsi256_ps(a.v); }
A3D_LANE Int lane_numbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

template <int kPredicate> A3D_LANE Mask compare(Float a, Float b) {
  return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, kPredicate))};
}
A3D_LANE Mask operator<(Float a, Float b) { return compare<_CMP_LT_OQ>(a, b); }
A3D_LANE Mask operator<=(Float a, Float b) { return compare<_CMP_LE_OQ>(a, b); }
A3D_LANE Mask operator==(Float a, Float b) { return compare<_CMP_EQ_OQ>(a, b); }
A3D_LANE Mask operator!=(Float a, Float b) { return compare<_CMP_NEQ_UQ>(a, b); }
A3D_LANE Mask operator~(Mask a) { return {_mm256_xor_si256(a.v, _mm256_set1_epi32(-1))}; }
A3D_LANE Mask operator<(Int a, Int b) { return {_mm256_cmpgt_epi32(b.v, a.v)}; }
A3D_LANE Mask operator<=(Int a, Int b) { return ~Mask{_mm256_cmpgt_epi32(a.v, b.v)}; }
A3D_LANE Mask operator==(Int a, Int b) { return {_mm256_cmpeq_epi32(a.v, b.v)}; }
A3D_LANE Mask operator!=(Int a, Int b) { return ~Mask{_mm256_cmpeq_epi32(a.v, b.v)}; }
A3D_LANE Mask operator&(Mask a, Mask b) { return {_mm256_and_si256(a.v, b.v)}; }
A3D_LANE Mask operator|(Mask a, Mask b) { return {_mm256_or_si256(a.v, b.v)}; }
A3D_LANE Mask operator^(Mask a, Mask b) { return {_mm256_xor_si256(a.v, b.v)}; }
A3D_LANE uint32_t bits(Mask m) { return uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(m.v))); }
A3D_LANE Mask mask_of_bits(uint32_t b) {
  const __m256i one_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return {_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int32_t(b)), one_bit), one_bit)};
}

A3D_LANE Float select(Mask m, Float yes, Float no) { return _mm256_blendv_ps(no.v, yes.v, _mm256_castsi256_ps(m.v)); }
A3D_LANE Int select(Mask m, Int yes, Int no) { return _mm256_blendv_epi8(no.v, yes.v, m.v); }
template <typename Combine> A3D_LANE float fold(Float a, Combine combine) {
  alignas(32) float lane[kLanes];
  store(lane, a);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = combine(lane[i], lane[i + half]);
  return lane[0];
}
}  // namespace asset3d::simd::avx2
#define A3D_SIMD_LOOPS 1  // scatter, compress_store and the reductions come from simd_common.h
