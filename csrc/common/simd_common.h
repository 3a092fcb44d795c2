#pragma once
// What follows from the operations that each instruction set defines. All of them together:
//   Float Int Mask kLanes; load store (with a mask: other lanes are zero, or kept); gather scatter (mask); gather_pairs
//   (elements 2i and 2i + 1) load_pairs store_pairs scatter_pairs; load_triples (n points x y z, the rest zero);
//   compress_store (the lanes of a mask, packed; returns how many);
//   + - * / fma fms min max abs sqrt floor ceil; integers + - * & | ^ << and >> (logical); < <= > >= == != & | ^ ~;
//   select to_int (truncates) to_float bits_of float_of_bits lane_numbers first_lanes bits mask_of_bits;
//   any all none count; reduce_add reduce_min reduce_max.
namespace asset3d::simd::A3D_ISA {

A3D_LANE Mask operator>(Float a, Float b) { return b < a; }
A3D_LANE Mask operator>=(Float a, Float b) { return b <= a; }
A3D_LANE Mask operator>(Int a, Int b) { return b < a; }
A3D_LANE Mask operator>=(Int a, Int b) { return b <= a; }
A3D_LANE Float& operator+=(Float& a, Float b) { return a = a + b; }
A3D_LANE Float& operator-=(Float& a, Float b) { return a = a - b; }
A3D_LANE Float& operator*=(Float& a, Float b) { return a = a * b; }
A3D_LANE Int& operator+=(Int& a, Int b) { return a = a + b; }

A3D_LANE bool any(Mask m) { return bits(m) != 0; }
A3D_LANE bool none(Mask m) { return bits(m) == 0; }
A3D_LANE bool all(Mask m) { return bits(m) == (1u << kLanes) - 1; }
A3D_LANE int count(Mask m) { return __builtin_popcount(bits(m)); }
A3D_LANE Mask first_lanes(int64_t n) { return mask_of_bits(n >= kLanes ? (1u << kLanes) - 1 : (1u << n) - 1); }

#ifdef A3D_SIMD_LOOPS
template <typename Scalar, typename Vector> A3D_LANE void scatter_loop(Scalar* p, Int i, Vector a, Mask m) {
  Scalar value[kLanes];
  int32_t index[kLanes];
  store(value, a);
  store(index, i);
  for (uint32_t rest = bits(m); rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    p[index[lane]] = value[lane];
  }
}
A3D_LANE void scatter(float* p, Int i, Float a, Mask m) { scatter_loop(p, i, a, m); }
A3D_LANE void scatter(int32_t* p, Int i, Int a, Mask m) { scatter_loop(p, i, a, m); }

template <typename Scalar, typename Vector> A3D_LANE int compress_loop(Scalar* p, Vector a, Mask m) {
  Scalar value[kLanes];
  store(value, a);
  int n = 0;
  for (uint32_t rest = bits(m); rest; rest &= rest - 1) p[n++] = value[__builtin_ctz(rest)];
  return n;
}
A3D_LANE int compress_store(float* p, Float a, Mask m) { return compress_loop(p, a, m); }
A3D_LANE int compress_store(int32_t* p, Int a, Mask m) { return compress_loop(p, a, m); }

A3D_LANE void scatter_pairs(float* p, Int i, Float first, Float second, Mask m) {
  float a[kLanes], b[kLanes];
  int32_t index[kLanes];
  store(a, first);
  store(b, second);
  store(index, i);
  for (uint32_t rest = bits(m); rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest);
    p[2 * int64_t(index[lane])] = a[lane];
    p[2 * int64_t(index[lane]) + 1] = b[lane];
  }
}

A3D_LANE float reduce_add(Float a) { return fold(a, [](float x, float y) { return x + y; }); }
A3D_LANE float reduce_min(Float a) { return fold(a, [](float x, float y) { return x < y ? x : y; }); }
A3D_LANE float reduce_max(Float a) { return fold(a, [](float x, float y) { return x > y ? x : y; }); }
#endif

#ifdef A3D_SIMD_LOOPS
A3D_LANE void load_triples(const float* p, int n, Float out[3]) {
  const Int i = lane_numbers() * Int(3);
  for (int d = 0; d < 3; ++d) out[d] = gather(p + d, i, first_lanes(n));
}
#endif
}  // namespace asset3d::simd::A3D_ISA
