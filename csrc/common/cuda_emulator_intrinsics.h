#pragma once
// The built-in variables and functions of CUDA that kernels here use, on top of cuda_emulator.h. Add what is missing.

#define threadIdx (a3d_emulator::block->fibers[a3d_emulator::block->current].thread)
#define blockIdx a3d_emulator::block_idx
#define blockDim a3d_emulator::block_dim
#define gridDim a3d_emulator::grid_dim
constexpr int warpSize = a3d_emulator::kWarp;

// --- barriers --------------------------------------------------------------------------------------------------------
inline void __syncthreads() { a3d_emulator::sync_block(0); }
inline int __syncthreads_count(int p) { return a3d_emulator::sync_block(p != 0); }
inline int __syncthreads_or(int p) { return a3d_emulator::sync_block(p != 0) > 0; }
inline int __syncthreads_and(int p) { return a3d_emulator::sync_block(p == 0) == 0; }
inline void __syncwarp(uint32_t mask = ~0u) { a3d_emulator::ballot(mask, false); }
inline void __threadfence() { a3d_emulator::preempt(); }
inline void __threadfence_block() { a3d_emulator::preempt(); }
inline void __nanosleep(unsigned) { a3d_emulator::yield(); }

// --- warp exchanges --------------------------------------------------------------------------------------------------
// CUDA promises no more of __activemask than that the caller is in it; so the emulator names the caller alone.
inline uint32_t __activemask() { return 1u << a3d_emulator::lane(); }
inline uint32_t __ballot_sync(uint32_t mask, int p) { return a3d_emulator::ballot(mask, p != 0); }
inline int __any_sync(uint32_t mask, int p) { return a3d_emulator::ballot(mask, p != 0) != 0; }
inline int __all_sync(uint32_t mask, int p) { return a3d_emulator::ballot(mask, p == 0) == 0; }
template <typename T>
T __shfl_sync(uint32_t mask, T v, int source, int width = 32) {
  const int first = a3d_emulator::lane() & ~(width - 1);
  return a3d_emulator::shuffle_from(mask, v, first + (source & (width - 1)));
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T v, unsigned delta, int width = 32) {
  const int self = a3d_emulator::lane(), source = self + int(delta);
  return a3d_emulator::shuffle_from(mask, v, (self & (width - 1)) + int(delta) < width ? source : self);
}
template <typename T>
T __shfl_up_sync(uint32_t mask, T v, unsigned delta, int width = 32) {
  const int self = a3d_emulator::lane(), source = self - int(delta);
  return a3d_emulator::shuffle_from(mask, v, (self & (width - 1)) >= int(delta) ? source : self);
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T v, int bits, int width = 32) {
  const int self = a3d_emulator::lane(), source = self ^ bits;
  return a3d_emulator::shuffle_from(mask, v, source / width <= self / width ? source : self);
}
template <typename T>
uint32_t __match_any_sync(uint32_t mask, T value) {
  return a3d_emulator::exchange(mask, value, [=](const a3d_emulator::Slot* slots, uint32_t group) {
    uint32_t equal = 0;
    for (int i = 0; i < 32; ++i)
      if (group >> i & 1 && std::memcmp(&slots[i], &value, sizeof(T)) == 0) equal |= 1u << i;
    return equal;
  });
}
template <typename T>
T __reduce_add_sync(uint32_t mask, T v) {
  return a3d_emulator::reduce(mask, v, [](T a, T b) { return T(a + b); });
}
template <typename T>
T __reduce_min_sync(uint32_t mask, T v) {
  return a3d_emulator::reduce(mask, v, [](T a, T b) { return b < a ? b : a; });
}
template <typename T>
T __reduce_max_sync(uint32_t mask, T v) {
  return a3d_emulator::reduce(mask, v, [](T a, T b) { return a < b ? b : a; });
}

// --- atomics: one fiber runs at a time, so plain code is atomic; with a seed other threads may run before it ---------
template <typename T> using A3DSame = std::type_identity_t<T>;
template <typename T, typename Fn>
T a3d_atomic(T* p, Fn&& next) {
  a3d_emulator::preempt();
  const T old = *p;
  *p = next(old);
  return old;
}
template <typename T> T atomicAdd(T* p, A3DSame<T> v) { return a3d_atomic(p, [=](T old) { return T(old + v); }); }
template <typename T> T atomicSub(T* p, A3DSame<T> v) { return a3d_atomic(p, [=](T old) { return T(old - v); }); }
template <typename T>
T atomicMin(T* p, A3DSame<T> v) {
  return a3d_atomic(p, [=](T old) { return v < old ? v : old; });
}
template <typename T>
T atomicMax(T* p, A3DSame<T> v) {
  return a3d_atomic(p, [=](T old) { return old < v ? v : old; });
}
template <typename T> T atomicExch(T* p, A3DSame<T> v) { return a3d_atomic(p, [=](T) { return v; }); }
template <typename T> T atomicAnd(T* p, A3DSame<T> v) { return a3d_atomic(p, [=](T old) { return T(old & v); }); }
template <typename T> T atomicOr(T* p, A3DSame<T> v) { return a3d_atomic(p, [=](T old) { return T(old | v); }); }
template <typename T> T atomicXor(T* p, A3DSame<T> v) { return a3d_atomic(p, [=](T old) { return T(old ^ v); }); }
template <typename T>
T atomicCAS(T* p, A3DSame<T> expected, A3DSame<T> desired) {
  const T old = a3d_atomic(p, [=](T now) { return now == expected ? T(desired) : now; });
  if (old != expected) a3d_emulator::yield();  // a lock's holder must get its turn
  return old;
}

// --- bits ------------------------------------------------------------------------------------------------------------
inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline int __clz(int v) { return v ? __builtin_clz(unsigned(v)) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
inline unsigned __brev(unsigned v) {
  unsigned out = 0;
  for (int i = 0; i < 32; ++i) out |= (v >> i & 1u) << (31 - i);
  return out;
}
template <typename To, typename From> To a3d_bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}
inline int __float_as_int(float v) { return a3d_bits_as<int>(v); }
inline unsigned __float_as_uint(float v) { return a3d_bits_as<unsigned>(v); }
inline float __int_as_float(int v) { return a3d_bits_as<float>(v); }
inline float __uint_as_float(unsigned v) { return a3d_bits_as<float>(v); }
inline long long __double_as_longlong(double v) { return a3d_bits_as<long long>(v); }
inline double __longlong_as_double(long long v) { return a3d_bits_as<double>(v); }

// --- math ------------------------------------------------------------------------------------------------------------
template <typename T> T __ldg(const T* p) { return *p; }
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline double rsqrt(double v) { return 1.0 / std::sqrt(v); }
inline float __saturatef(float v) { return v > 0 ? (v < 1 ? v : 1.0f) : 0.0f; }
inline float __expf(float v) { return std::exp(v); }
inline float __logf(float v) { return std::log(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { volatile float product = a * b; return product; }
inline float __fadd_rn(float a, float b) { volatile float sum = a + b; return sum; }
inline float __fsub_rn(float a, float b) { volatile float difference = a - b; return difference; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dmul_rn(double a, double b) { volatile double product = a * b; return product; }
inline double __dadd_rn(double a, double b) { volatile double sum = a + b; return sum; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline int __float2int_rd(float v) { return int(std::floor(v)); }
inline int __float2int_rn(float v) { return int(std::nearbyint(v)); }
inline int __float2int_rz(float v) { return int(v); }
template <typename A, typename B>
std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(b) < T(a) ? T(b) : T(a);
}
template <typename A, typename B>
std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(a) < T(b) ? T(b) : T(a);
}

// --- small vectors ---------------------------------------------------------------------------------------------------
#define A3D_EMULATED_VECTORS(scalar, name)                                                                   \
  struct alignas(2 * sizeof(scalar)) name##2 { scalar x, y; };                                               \
  struct name##3 { scalar x, y, z; };                                                                        \
  struct alignas(4 * sizeof(scalar) > 16 ? 16 : 4 * sizeof(scalar)) name##4 { scalar x, y, z, w; };          \
  inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }                                       \
  inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; }                          \
  inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
A3D_EMULATED_VECTORS(float, float)
A3D_EMULATED_VECTORS(double, double)
A3D_EMULATED_VECTORS(int, int)
#undef A3D_EMULATED_VECTORS
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
