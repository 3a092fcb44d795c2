#pragma once
// Scattered sums on a GPU that do not depend on the order of the threads: floating-point atomics do, integer ones do
// not. A first pass finds the largest magnitude, a second adds every contribution as a 64-bit integer multiple of a
// power of two that leaves room for as many as can meet in one sum, a third converts back. Up to 2^27 of them, 8 images
// of 2048^2 pixels and 4 taps, the error of each is below 2^-34 of the largest, far under that of float sums.
#include <cstdint>
#include <cstring>
#include "../common/launch.h"
#include "triangle.h"

namespace asset3d::triangle {

__device__ inline unsigned long long bits_of(double v) { return (unsigned long long)__double_as_longlong(v); }

// Magnitudes compare like their bits; NaN counts as the largest.
struct FindLargest {
  unsigned long long* largest;
  template <typename T>
  __device__ void operator()(int64_t, T value) const {
    const double magnitude = value < 0 ? -double(value) : double(value);
    if (magnitude != 0) atomicMax(largest, bits_of(magnitude));
  }
};

// Exponent of the unit of the sums: 2^count_bits contributions, each below twice the power of two in `largest`, stay
// within 62 bits, and the sign.
__device__ inline int unit_exponent(unsigned long long largest, int count_bits) {
  return int(largest >> 52 & 0x7ff) - 1023 + 1 + count_bits - 62;
}

__device__ inline bool is_finite_bits(unsigned long long largest) { return (largest >> 52 & 0x7ff) != 0x7ff; }

struct AddFixed {
  long long* sums;
  unsigned long long largest;
  int count_bits;
  __device__ explicit AddFixed(const Totals& t) : sums(t.sums), largest(*t.largest), count_bits(t.count_bits) {}
  template <typename T>
  __device__ void operator()(int64_t index, T value) const {
    if (value == 0 || !is_finite_bits(largest)) return;
    const long long units = llrint(ldexp(double(value), -unit_exponent(largest, count_bits)));
    atomicAdd(reinterpret_cast<unsigned long long*>(sums + index), (unsigned long long)units);
  }
};

template <typename T>
__global__ void convert_sums(Totals totals, T* out, int64_t n) {
  const int64_t i = global_thread();
  if (i >= n) return;
  const unsigned long long largest = *totals.largest;
  if (largest == 0) return;
  // A gradient that is not finite makes them all so: which vertices it would reach is not known here.
  out[i] = is_finite_bits(largest) ? T(ldexp(double(totals.sums[i]), unit_exponent(largest, totals.count_bits)))
                                   : T(__longlong_as_double(0x7ff8000000000000ll));
}

constexpr int kThreads = 256;
}  // namespace asset3d::triangle
