// Checks every lane operation of one instruction set against scalar code. Built by tests/csrc/test_csrc.py through a
// unit of the kind that setup.py generates, so A3D_ISA is set. Prints what fails and returns non-zero.
#include <cstdio>

#include "../../csrc/common/simd.h"

namespace asset3d::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;

static int failures = 0;
#define EXPECT(condition) do { if (!(condition)) { std::printf("lane %d: %s\n", i, #condition); ++failures; } } while (0)

static float a[kLanes], b[kLanes], table[64], out[2 * kLanes];
static int32_t p[kLanes], q[kLanes], whole[kLanes];

static float lane(Float v, int i) { float r[kLanes]; store(r, v); return r[i]; }
static int32_t lane(Int v, int i) { int32_t r[kLanes]; store(r, v); return r[i]; }
static bool lane(Mask m, int i) { return bits(m) >> i & 1; }

static void fill() {
  for (int i = 0; i < kLanes; ++i) {
    a[i] = 1.75f * float(i) - 5.3f;
    b[i] = 3.1f - 0.7f * float(i);
    p[i] = (i * 2654435) ^ 77;
    q[i] = 13 - i;
  }
  for (int i = 0; i < 64; ++i) table[i] = 0.5f * float(i * i);
}

static void check_arithmetic() {
  const Float x = load(a), y = load(b);
  const Int m = load(p), n = load(q);
  for (int i = 0; i < kLanes; ++i) {
    EXPECT(lane(x + y, i) == a[i] + b[i]); EXPECT(lane(x - y, i) == a[i] - b[i]); EXPECT(lane(-x, i) == -a[i]);
    EXPECT(lane(x * y, i) == a[i] * b[i]); EXPECT(lane(x / y, i) == a[i] / b[i]);
    EXPECT(std::abs(lane(fma(x, y, x), i) - (a[i] * b[i] + a[i])) < 1e-4f);
    EXPECT(std::abs(lane(fms(x, y, x), i) - (a[i] * b[i] - a[i])) < 1e-4f);
    EXPECT(lane(min(x, y), i) == std::min(a[i], b[i])); EXPECT(lane(max(x, y), i) == std::max(a[i], b[i]));
    EXPECT(lane(abs(x), i) == std::fabs(a[i])); EXPECT(lane(sqrt(abs(x)), i) == std::sqrt(std::fabs(a[i])));
    EXPECT(lane(floor(x), i) == std::floor(a[i])); EXPECT(lane(ceil(x), i) == std::ceil(a[i]));
    EXPECT(lane(m + n, i) == p[i] + q[i]); EXPECT(lane(m - n, i) == p[i] - q[i]);
    EXPECT(uint32_t(lane(m * Int(2654435761u), i)) == uint32_t(p[i]) * 2654435761u);
    EXPECT(lane(m & n, i) == (p[i] & q[i])); EXPECT(lane(m | n, i) == (p[i] | q[i])); EXPECT(lane(m ^ n, i) == (p[i] ^ q[i]));
    EXPECT(uint32_t(lane(n << 3, i)) == uint32_t(q[i]) << 3); EXPECT(uint32_t(lane(n >> 3, i)) == uint32_t(q[i]) >> 3);
    EXPECT(lane(min(m, n), i) == std::min(p[i], q[i])); EXPECT(lane(max(m, n), i) == std::max(p[i], q[i]));
    EXPECT(lane(to_int(x), i) == int32_t(a[i])); EXPECT(lane(to_float(n), i) == float(q[i]));
    EXPECT(lane(float_of_bits(bits_of(x)), i) == a[i]); EXPECT(lane(lane_numbers(), i) == i);
  }
}

static void check_masks() {
  const Float x = load(a), y = load(b);
  const Int m = load(p), n = load(q);
  for (int i = 0; i < kLanes; ++i) {
    EXPECT(lane(x < y, i) == (a[i] < b[i])); EXPECT(lane(x <= y, i) == (a[i] <= b[i])); EXPECT(lane(x > y, i) == (a[i] > b[i]));
    EXPECT(lane(x >= y, i) == (a[i] >= b[i])); EXPECT(lane(x == x, i)); EXPECT(lane(x != y, i) == (a[i] != b[i]));
    EXPECT(lane(m < n, i) == (p[i] < q[i])); EXPECT(lane(m <= n, i) == (p[i] <= q[i])); EXPECT(lane(m > n, i) == (p[i] > q[i]));
    EXPECT(lane(m >= n, i) == (p[i] >= q[i])); EXPECT(lane(m == m, i)); EXPECT(lane(m != n, i) == (p[i] != q[i]));
    EXPECT(lane(~(x < y), i) == !(a[i] < b[i])); EXPECT(lane((x < y) ^ (m < n), i) == ((a[i] < b[i]) != (p[i] < q[i])));
    EXPECT(lane((x < y) & (m < n), i) == (a[i] < b[i] && p[i] < q[i]));
    EXPECT(lane((x < y) | (m < n), i) == (a[i] < b[i] || p[i] < q[i]));
    EXPECT(lane(select(x < y, x, y), i) == (a[i] < b[i] ? a[i] : b[i]));
    EXPECT(lane(select(x < y, m, n), i) == (a[i] < b[i] ? p[i] : q[i]));
    EXPECT(lane(first_lanes(i), i) == false && lane(first_lanes(i + 1), i)); EXPECT(count(first_lanes(i)) == i);
    EXPECT(bits(mask_of_bits(1u << i)) == 1u << i);
    const Float not_a_number(NAN);
    EXPECT(none(not_a_number == not_a_number) && all(not_a_number != not_a_number) && none(not_a_number < x));
  }
  const int i = -1;
  EXPECT(all(first_lanes(99)) && none(first_lanes(0)) && any(first_lanes(1)) && !all(first_lanes(1)));
}

static void check_memory() {
  const Int index = lane_numbers() * Int(3) + Int(2);
  Float even, odd;
  gather_pairs(table, lane_numbers() + Int(5), even, odd);
  store_pairs(out, load(a), load(b));
  Float point[3];
  load_triples(table, kLanes, point);
  Float some_points[3], first, second;
  load_triples(table, 3, some_points);
  load_pairs(table, first, second);
  for (int i = 0; i < kLanes; ++i) {
    EXPECT(lane(gather(table, index), i) == table[3 * i + 2]);
    EXPECT(lane(gather(table, index, first_lanes(2)), i) == (i < 2 ? table[3 * i + 2] : 0));
    EXPECT(lane(load(a, first_lanes(3)), i) == (i < 3 ? a[i] : 0)); EXPECT(lane(load(p, first_lanes(3)), i) == (i < 3 ? p[i] : 0));
    EXPECT(lane(gather(p, lane_numbers() & Int(1)), i) == p[i & 1]);
    EXPECT(lane(even, i) == table[2 * i + 10] && lane(odd, i) == table[2 * i + 11]);
    EXPECT(out[2 * i] == a[i] && out[2 * i + 1] == b[i]);
    EXPECT(lane(point[0], i) == table[3 * i] && lane(point[2], i) == table[3 * i + 2]);
    EXPECT(lane(point[1], i) == table[3 * i + 1] && lane(some_points[1], i) == (i < 3 ? table[3 * i + 1] : 0));
    EXPECT(lane(first, i) == table[2 * i] && lane(second, i) == table[2 * i + 1]);
  }
  const Mask some = load(a) < load(b);
  const int n = compress_store(out, load(a), some);
  compress_store(whole, load(p), some);
  int k = 0, i = 0;
  for (; i < kLanes; ++i)
    if (a[i] < b[i]) { EXPECT(out[k] == a[i]); EXPECT(whole[k] == p[i]); ++k; }
  EXPECT(n == k);
  for (i = 0; i < kLanes; ++i) out[i] = -1;
  scatter(out, Int(kLanes - 1) - lane_numbers(), load(a), first_lanes(2));
  EXPECT(out[kLanes - 1] == a[0] && out[kLanes - 2] == a[1] && out[0] == -1);
  store(out, load(b), first_lanes(1));
  EXPECT(out[0] == b[0] && out[1] == -1 + (kLanes == 2));
  float sum = 0, low = a[0], high = a[0];
  for (i = 0; i < kLanes; ++i) { sum += a[i]; low = std::min(low, a[i]); high = std::max(high, a[i]); }
  EXPECT(std::abs(reduce_add(load(a)) - sum) < 1e-4f && reduce_min(load(a)) == low && reduce_max(load(a)) == high);
}
}  // namespace asset3d::A3D_ISA

int main() {
  using namespace asset3d::A3D_ISA;
  fill();
  check_arithmetic();
  check_masks();
  check_memory();
  return failures != 0;
}
