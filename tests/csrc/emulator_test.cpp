// Checks the CUDA emulator with small kernels; prints what fails and returns non-zero.
#define A3D_EMULATE
#include <cstdio>
#include <vector>

#include "../../csrc/common/launch.h"

static int failures = 0;
#define EXPECT(condition) \
  do { if (!(condition)) { std::printf("seed %d: %s\n", int(a3d_emulator::seed), #condition); ++failures; } } while (0)

// Sum over a block: shuffles inside a warp, dynamic shared memory between warps, a partial last warp.
__global__ void block_sum(const int* in, int* out, int n) {
  A3D_DYNAMIC_SHARED(int, partial);
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  int value = i < n ? in[i] : 0;
  for (int d = 16; d > 0; d /= 2) {
    const int other = __shfl_down_sync(~0u, value, d);
    if (int(threadIdx.x) % 32 + d < 32 && threadIdx.x + d < blockDim.x) value += other;
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0) {
    int sum = 0;
    for (unsigned w = 0; w < (blockDim.x + 31) / 32; ++w) sum += partial[w];
    atomicAdd(out, sum);
  }
}

__global__ void votes(uint32_t* out) {
  const int t = int(threadIdx.x);
  out[0 * 32 + t] = __ballot_sync(~0u, t % 3 == 0);
  out[1 * 32 + t] = uint32_t(__any_sync(~0u, t == 7)) + 2u * uint32_t(__all_sync(~0u, t < 31));
  out[2 * 32 + t] = uint32_t(__shfl_up_sync(~0u, t, 1));
  out[3 * 32 + t] = uint32_t(__shfl_xor_sync(~0u, t, 4));
  const uint32_t half = t < 16 ? 0xffffu : 0xffff0000u;  // two groups exchange at the same time, different times each
  uint32_t sum = 0;
  for (int turn = 0; turn < (t < 16 ? 5 : 3); ++turn) sum += __reduce_add_sync(half, uint32_t(t + turn));
  out[4 * 32 + t] = sum;
  out[5 * 32 + t] = __match_any_sync(~0u, t % 4);
  out[6 * 32 + t] = __activemask() >> t & 1u;
  out[7 * 32 + t] = uint32_t(__syncthreads_count(t < 5));
}

__global__ void atomics(uint64_t* bits, double* sum, float* top, int* lock, int* counter) {
  const unsigned t = threadIdx.x + blockIdx.x * blockDim.x;
  atomicMin(&bits[0], uint64_t(1000 - t));
  atomicMax(&bits[1], uint64_t(t));
  atomicAdd(sum, 0.5);
  atomicMax(top, float(t));
  while (atomicCAS(lock, 0, 1) != 0) {}
  const int now = *counter;
  __threadfence();
  *counter = now + 1;
  atomicExch(lock, 0);
}

__global__ void unordered(int* last) { *last = int(threadIdx.x); }
__global__ void half_barrier() { if (threadIdx.x < 32) __syncwarp(); else if (threadIdx.x % 2) __syncwarp(); }
__global__ void wrong_mask() { __syncwarp(1u); }

template <typename Fn> bool raises(Fn fn) {
  try { fn(); } catch (const std::runtime_error&) { return true; }
  return false;
}

static void check_all() {
  std::vector<int> in(1000, 3);
  int total = 0;
  A3D_LAUNCH(block_sum, 9, 112, 4 * sizeof(int), nullptr, in.data(), &total, 1000);
  EXPECT(total == 3000);

  uint32_t out[8 * 32];
  A3D_LAUNCH(votes, 1, 32, 0, nullptr, out);
  for (int t = 0; t < 32; ++t) {
    EXPECT(out[t] == 0x49249249u);
    EXPECT(out[32 + t] == 1);
    EXPECT(out[64 + t] == uint32_t(t ? t - 1 : 0));
    EXPECT(out[96 + t] == uint32_t(t ^ 4));
    EXPECT(out[128 + t] == (t < 16 ? 5u * 120 + 16 * 10 : 3u * 376 + 16 * 3));
    EXPECT(out[160 + t] == 0x11111111u << (t % 4));
    EXPECT(out[192 + t] == 1);
    EXPECT(out[224 + t] == 5);
  }

  uint64_t bits[2] = {~0ull, 0};
  double sum = 0;
  float top = -1;
  int lock = 0, counter = 0;
  A3D_LAUNCH(atomics, 3, 64, 0, nullptr, bits, &sum, &top, &lock, &counter);
  EXPECT(bits[0] == 1000 - 191 && bits[1] == 191 && sum == 96 && top == 191 && counter == 192);

  EXPECT(raises([] { A3D_LAUNCH(half_barrier, 1, 64, 0, nullptr); }));
  EXPECT(raises([] { A3D_LAUNCH(wrong_mask, 1, 32, 0, nullptr); }));
  EXPECT(raises([] { A3D_LAUNCH(wrong_mask, 1, 2048, 0, nullptr); }));
  EXPECT(raises([] { A3D_LAUNCH(wrong_mask, 0, 32, 0, nullptr); }));
}

int main() {
  int orders = 0, first = -1;
  for (int seed = 0; seed < 9; ++seed) {
    a3d_emulator::set_seed(uint64_t(seed));
    check_all();
    int last = -1;
    A3D_LAUNCH(unordered, 1, 64, 0, nullptr, &last);
    if (seed == 0) EXPECT(last == 63);
    orders += first != last;
    first = last;
  }
  EXPECT(orders > 4);
  return failures != 0;
}
