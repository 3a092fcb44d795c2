#pragma once
// Products of 16-bit matrices by one warp, and what feeds them; after launch.h. Under nvcc these are instructions of
// sm_80 and later, in the emulator they exchange the same values between the same lanes. All 32 lanes call them.
//
// In a fragment lane L holds, with row = L / 4 and pair = 2 * (L % 4), the elements pair and pair + 1 of
//   a[0] a[1] a[2] a[3]: rows `row`, `row + 8`, `row`, `row + 8` of the 16 x 16 matrix a; of the last two columns + 8
//   b[0] b[1]:           column `row` of the 16 x 8 matrix b, its rows pair and pair + 1; of the second rows + 8
//   c[0..1], c[2..3]:    rows `row` and `row + 8` of the 16 x 8 matrix c
// Low half first. So c of two neighbours, packed, is the a of the next product.
#include "narrow.h"

namespace asset3d::mma {
#ifdef A3D_EMULATE
template <typename T> uint32_t pack(float low, float high) {
  T a, b;
  assign(a, low);
  assign(b, high);
  return uint32_t(a.bits) | uint32_t(b.bits) << 16;
}

namespace detail {
struct FragmentA { uint32_t v[4]; };
struct FragmentB { uint32_t v[2]; };
template <typename Fragment> struct Warp { Fragment lane[32]; };
template <typename Fragment> Warp<Fragment> gather(Fragment own) {
  return a3d_emulator::exchange(0xffffffffu, own, [](const a3d_emulator::Slot* slots, uint32_t group) {
    Warp<Fragment> all;
    for (int i = 0; i < 32; ++i) all.lane[i] = a3d_emulator::read_slot<Fragment>(slots, group, i);
    return all;
  });
}
template <typename T> float element(uint32_t unit, int k) {
  T value;
  value.bits = uint16_t(k % 2 ? unit >> 16 : unit);
  return to_float(value);
}
}  // namespace detail

// c += a b
template <typename T>
void multiply_add(float (&c)[4], const uint32_t (&a)[4], const uint32_t* b) {
  const auto all_a = detail::gather(detail::FragmentA{{a[0], a[1], a[2], a[3]}});
  const auto all_b = detail::gather(detail::FragmentB{{b[0], b[1]}});
  const int lane = a3d_emulator::lane();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4, below = i / 2, column = 2 * (lane % 4) + i % 2;
    float sum = c[i];
    for (int k = 0; k < 16; ++k) {
      const uint32_t unit_a = all_a.lane[row * 4 + k % 8 / 2].v[below + 2 * (k / 8)];
      const uint32_t unit_b = all_b.lane[column * 4 + k % 8 / 2].v[k / 8];
      sum += detail::element<T>(unit_a, k) * detail::element<T>(unit_b, k);
    }
    c[i] = sum;
  }
}

namespace detail {
template <bool kTransposed> void load(uint32_t (&out)[4], const void* row_of_lane) {
  const auto rows = gather(row_of_lane);
  const int lane = a3d_emulator::lane();
  for (int m = 0; m < 4; ++m)
    for (int i = 0; i < 2; ++i) {
      const int row = kTransposed ? 2 * (lane % 4) + i : lane / 4, column = kTransposed ? lane / 4 : 2 * (lane % 4) + i;
      uint16_t bits;
      std::memcpy(&bits, static_cast<const uint16_t*>(rows.lane[8 * m + row]) + column, 2);
      out[m] = i ? out[m] | uint32_t(bits) << 16 : bits;
    }
  __syncwarp();  // nobody writes to the rows before all have read
}
}  // namespace detail

// Four 8 x 8 matrices in shared memory, whose rows of 16 bytes the lanes 8 m .. 8 m + 7 point to: out[m] is a fragment.
inline void load_matrices(uint32_t (&out)[4], const void* row) { detail::load<false>(out, row); }
inline void load_transposed(uint32_t (&out)[4], const void* row) { detail::load<true>(out, row); }

// 16 bytes from global to shared memory, there after wait_for_copies and a barrier.
inline void copy_16(void* shared, const void* global) { std::memcpy(shared, global, 16); }
inline void wait_for_copies() {}
#else
template <typename T> __device__ __forceinline__ uint32_t pack(float low, float high);
template <> __device__ __forceinline__ uint32_t pack<Bfloat16>(float low, float high) {
  uint32_t out;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}
template <> __device__ __forceinline__ uint32_t pack<Half>(float low, float high) {
  uint32_t out;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
  return out;
}

template <typename T> __device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4],
                                                                   const uint32_t* b);
#define A3D_MMA(type, name)                                                                             \
  template <> __device__ __forceinline__ void multiply_add<type>(float (&c)[4], const uint32_t (&a)[4], \
                                                                 const uint32_t* b) {                   \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name                                 \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "                                            \
                 "{%8, %9}, {%0, %1, %2, %3};"                                                          \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                       \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                   \
  }
A3D_MMA(Bfloat16, "bf16")
A3D_MMA(Half, "f16")
#undef A3D_MMA

__device__ __forceinline__ unsigned shared_address(const void* p) { return unsigned(__cvta_generic_to_shared(p)); }
__device__ __forceinline__ void load_matrices(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(shared_address(row)) : "memory");
}
__device__ __forceinline__ void load_transposed(uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(shared_address(row)) : "memory");
}
__device__ __forceinline__ void copy_16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#endif
}  // namespace asset3d::mma
