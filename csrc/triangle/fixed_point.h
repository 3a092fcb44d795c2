#pragma once
// Scattered sums on a GPU that do not depend on the order of the threads: floating-point atomics do, integer ones do
// not. A first pass finds the largest magnitude, a second adds every contribution as a 64-bit integer multiple of a
// power of two that leaves room for all of them, a third converts back. The error is below 2^-36 of the largest
// contribution each, far under that of float sums.
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

// Exponent of the unit of the sums, for up to 2^24 contributions to one of them.
__device__ inline int unit_exponent(unsigned long long largest) { return int(largest >> 52 & 0x7ff) - 1023 - 37; }

__device__ inline bool is_finite_bits(unsigned long long largest) { return (largest >> 52 & 0x7ff) != 0x7ff; }

struct AddFixed {
  long long* sums;
  unsigned long long largest;
  template <typename T>
  __device__ void operator()(int64_t index, T value) const {
    if (value == 0 || !is_finite_bits(largest)) return;
    const long long units = llrint(ldexp(double(value), -unit_exponent(largest)));
    atomicAdd(reinterpret_cast<unsigned long long*>(sums + index), (unsigned long long)units);
  }
};

template <typename T>
__global__ void convert_sums(Totals totals, T* out, int64_t n) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i >= n) return;
  const unsigned long long largest = *totals.largest;
  if (largest == 0) return;
  // A gradient that is not finite makes them all so: which vertices it would reach is not known here.
  out[i] = is_finite_bits(largest) ? T(ldexp(double(totals.sums[i]), unit_exponent(largest)))
                                   : T(__longlong_as_double(0x7ff8000000000000ll));
}

constexpr int kThreads = 256;
inline dim3 blocks_for(int64_t n) { return dim3(unsigned((n + kThreads - 1) / kThreads)); }
}  // namespace asset3d::triangle
