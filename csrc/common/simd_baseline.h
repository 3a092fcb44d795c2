#pragma once
// 4 lanes written as plain loops: any machine and compiler; the compiler makes SSE2 or NEON of it.
// See simd_common.h for what every instruction set offers.

#if defined(__GNUC__)
#define A3D_LANE inline __attribute__((always_inline))
#else
#define A3D_LANE inline
#endif

namespace asset3d::simd::baseline {
constexpr int kLanes = 4;

struct Mask { int32_t v[kLanes]; };  // each lane 0 or -1
struct Float {
  float v[kLanes];
  Float() = default;
  A3D_LANE Float(float x) { for (float& lane : v) lane = x; }
};
struct Int {  // also holds unsigned 32-bit values
  int32_t v[kLanes];
  Int() = default;
  A3D_LANE Int(int32_t x) { for (int32_t& lane : v) lane = x; }
  A3D_LANE Int(uint32_t x) : Int(int32_t(x)) {}
};

template <typename Result, typename Fn> A3D_LANE Result each(Fn fn) {
  Result result;
  for (int i = 0; i < kLanes; ++i) result.v[i] = fn(i);
  return result;
}

A3D_LANE Float load(const float* p) { return each<Float>([=](int i) { return p[i]; }); }
A3D_LANE Float load(const float* p, Mask m) { return each<Float>([=](int i) { return m.v[i] ? p[i] : 0.0f; }); }
A3D_LANE Int load(const int32_t* p) { return each<Int>([=](int i) { return p[i]; }); }
A3D_LANE Int load(const int32_t* p, Mask m) { return each<Int>([=](int i) { return m.v[i] ? p[i] : 0; }); }
A3D_LANE void store(float* p, Float a) { for (int i = 0; i < kLanes; ++i) p[i] = a.v[i]; }
A3D_LANE void store(float* p, Float a, Mask m) { for (int i = 0; i < kLanes; ++i) if (m.v[i]) p[i] = a.v[i]; }
A3D_LANE void store(int32_t* p, Int a) { for (int i = 0; i < kLanes; ++i) p[i] = a.v[i]; }
A3D_LANE void store(int32_t* p, Int a, Mask m) { for (int i = 0; i < kLanes; ++i) if (m.v[i]) p[i] = a.v[i]; }

A3D_LANE Float gather(const float* p, Int j) { return each<Float>([=](int i) { return p[j.v[i]]; }); }
A3D_LANE Float gather(const float* p, Int j, Mask m) {
  return each<Float>([=](int i) { return m.v[i] ? p[j.v[i]] : 0.0f; });
}
A3D_LANE Int gather(const int32_t* p, Int j) { return each<Int>([=](int i) { return p[j.v[i]]; }); }
A3D_LANE Int gather(const int32_t* p, Int j, Mask m) {
  return each<Int>([=](int i) { return m.v[i] ? p[j.v[i]] : 0; });
}
A3D_LANE void gather_pairs(const float* p, Int j, Float& first, Float& second) {
  for (int i = 0; i < kLanes; ++i) {
    first.v[i] = p[2 * int64_t(j.v[i])];
    second.v[i] = p[2 * int64_t(j.v[i]) + 1];
  }
}
A3D_LANE void load_pairs(const float* p, Float& first, Float& second) {
  for (int i = 0; i < kLanes; ++i) {
    first.v[i] = p[2 * i];
    second.v[i] = p[2 * i + 1];
  }
}
A3D_LANE void store_pairs(float* p, Float first, Float second) {
  for (int i = 0; i < kLanes; ++i) {
    p[2 * i] = first.v[i];
    p[2 * i + 1] = second.v[i];
  }
}

A3D_LANE Float operator+(Float a, Float b) { return each<Float>([=](int i) { return a.v[i] + b.v[i]; }); }
A3D_LANE Float operator-(Float a, Float b) { return each<Float>([=](int i) { return a.v[i] - b.v[i]; }); }
A3D_LANE Float operator*(Float a, Float b) { return each<Float>([=](int i) { return a.v[i] * b.v[i]; }); }
A3D_LANE Float operator/(Float a, Float b) { return each<Float>([=](int i) { return a.v[i] / b.v[i]; }); }
A3D_LANE Float operator-(Float a) { return each<Float>([=](int i) { return -a.v[i]; }); }
A3D_LANE Float fma(Float a, Float b, Float c) { return a * b + c; }  // rounds twice
A3D_LANE Float fms(Float a, Float b, Float c) { return a * b - c; }
A3D_LANE Float min(Float a, Float b) { return each<Float>([=](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
A3D_LANE Float max(Float a, Float b) { return each<Float>([=](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
A3D_LANE Float abs(Float a) { return each<Float>([=](int i) { return __builtin_fabsf(a.v[i]); }); }
A3D_LANE Float sqrt(Float a) { return each<Float>([=](int i) { return __builtin_sqrtf(a.v[i]); }); }
A3D_LANE Float floor(Float a) { return each<Float>([=](int i) { return __builtin_floorf(a.v[i]); }); }
A3D_LANE Float ceil(Float a) { return each<Float>([=](int i) { return __builtin_ceilf(a.v[i]); }); }

template <typename Fn> A3D_LANE Int each_unsigned(Fn fn) { return each<Int>([=](int i) { return int32_t(fn(i)); }); }
A3D_LANE Int operator+(Int a, Int b) {
  return each_unsigned([=](int i) { return uint32_t(a.v[i]) + uint32_t(b.v[i]); });
}
A3D_LANE Int operator-(Int a, Int b) {
  return each_unsigned([=](int i) { return uint32_t(a.v[i]) - uint32_t(b.v[i]); });
}
A3D_LANE Int operator*(Int a, Int b) {
  return each_unsigned([=](int i) { return uint32_t(a.v[i]) * uint32_t(b.v[i]); });
}
A3D_LANE Int operator&(Int a, Int b) { return each<Int>([=](int i) { return a.v[i] & b.v[i]; }); }
A3D_LANE Int operator|(Int a, Int b) { return each<Int>([=](int i) { return a.v[i] | b.v[i]; }); }
A3D_LANE Int operator^(Int a, Int b) { return each<Int>([=](int i) { return a.v[i] ^ b.v[i]; }); }
A3D_LANE Int operator<<(Int a, int bits) { return each_unsigned([=](int i) { return uint32_t(a.v[i]) << bits; }); }
A3D_LANE Int operator>>(Int a, int bits) { return each_unsigned([=](int i) { return uint32_t(a.v[i]) >> bits; }); }
A3D_LANE Int min(Int a, Int b) { return each<Int>([=](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
A3D_LANE Int max(Int a, Int b) { return each<Int>([=](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }

// Out of range gives INT32_MIN, as the x86 instruction does.
A3D_LANE Int to_int(Float a) {
  return each<Int>([=](int i) {
    return a.v[i] >= -2147483648.0f && a.v[i] < 2147483648.0f ? int32_t(a.v[i]) : INT32_MIN;
  });
}
A3D_LANE Float to_float(Int a) { return each<Float>([=](int i) { return float(a.v[i]); }); }
A3D_LANE Int bits_of(Float a) { Int r; __builtin_memcpy(r.v, a.v, sizeof(r.v)); return r; }
A3D_LANE Float float_of_bits(Int a) { Float r; __builtin_memcpy(r.v, a.v, sizeof(r.v)); return r; }
A3D_LANE Int lane_numbers() { return each<Int>([](int i) { return i; }); }

A3D_LANE Mask operator<(Float a, Float b) { return each<Mask>([=](int i) { return -(a.v[i] < b.v[i]); }); }
A3D_LANE Mask operator<=(Float a, Float b) { return each<Mask>([=](int i) { return -(a.v[i] <= b.v[i]); }); }
A3D_LANE Mask operator==(Float a, Float b) { return each<Mask>([=](int i) { return -(a.v[i] == b.v[i]); }); }
A3D_LANE Mask operator!=(Float a, Float b) { return each<Mask>([=](int i) { return -(a.v[i] != b.v[i]); }); }
A3D_LANE Mask operator<(Int a, Int b) { return each<Mask>([=](int i) { return -(a.v[i] < b.v[i]); }); }
A3D_LANE Mask operator<=(Int a, Int b) { return each<Mask>([=](int i) { return -(a.v[i] <= b.v[i]); }); }
A3D_LANE Mask operator==(Int a, Int b) { return each<Mask>([=](int i) { return -(a.v[i] == b.v[i]); }); }
A3D_LANE Mask operator!=(Int a, Int b) { return each<Mask>([=](int i) { return -(a.v[i] != b.v[i]); }); }
A3D_LANE Mask operator&(Mask a, Mask b) { return each<Mask>([=](int i) { return a.v[i] & b.v[i]; }); }
A3D_LANE Mask operator|(Mask a, Mask b) { return each<Mask>([=](int i) { return a.v[i] | b.v[i]; }); }
A3D_LANE Mask operator^(Mask a, Mask b) { return each<Mask>([=](int i) { return a.v[i] ^ b.v[i]; }); }
A3D_LANE Mask operator~(Mask a) { return each<Mask>([=](int i) { return ~a.v[i]; }); }
A3D_LANE uint32_t bits(Mask m) {
  uint32_t result = 0;
  for (int i = 0; i < kLanes; ++i) result |= uint32_t(m.v[i] & 1) << i;
  return result;
}
A3D_LANE Mask mask_of_bits(uint32_t b) { return each<Mask>([=](int i) { return -int32_t(b >> i & 1); }); }

A3D_LANE Float select(Mask m, Float yes, Float no) {
  return each<Float>([=](int i) { return m.v[i] ? yes.v[i] : no.v[i]; });
}
A3D_LANE Int select(Mask m, Int yes, Int no) { return each<Int>([=](int i) { return m.v[i] ? yes.v[i] : no.v[i]; }); }
template <typename Combine> A3D_LANE float fold(Float a, Combine combine) {
  return combine(combine(a.v[0], a.v[2]), combine(a.v[1], a.v[3]));
}
}  // namespace asset3d::simd::baseline
#define A3D_SIMD_LOOPS 1  // scatter, compress_store and the reductions come from simd_common.h
