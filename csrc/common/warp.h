#pragma once
// Sums and maxima over the threads of a warp, and sums over those of a block, in every thread; in the same order every
// time. After launch.h.
namespace asset3d {
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

template <typename T>
__device__ __forceinline__ T sum_of_warp(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

template <typename T>
__device__ __forceinline__ T maximum_of_warp(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value = max(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

// `shared` holds a value per warp of the block, whose size is a multiple of kWarp.
template <typename T>
__device__ __forceinline__ T sum_of_block(T value, T* shared) {
  const T sum = sum_of_warp(value);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = sum;
  __syncthreads();
  T total = 0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) total += shared[w];
  return total;
}
}  // namespace asset3d
