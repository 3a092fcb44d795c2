// Checks the fixed-point sums of csrc/triangle/fixed_point.h; prints what fails and returns non-zero.
#define A3D_EMULATE
#include <cmath>
#include <cstdio>

#include "../../csrc/triangle/fixed_point.h"

using namespace asset3d::triangle;

static int failures = 0;

// The sum of `count` contributions of `value`, where up to 2^count_bits are expected.
static double sum_of(int64_t count, int count_bits, double value) {
  long long sum = 0;
  unsigned long long largest = 0;
  const Totals totals{&sum, &largest, count_bits};
  FindLargest{totals.largest}(0, value);
  const AddFixed add(totals);
  for (int64_t i = 0; i < count; ++i) add(0, value);
  double out = 0;
  A3D_LAUNCH(convert_sums<double>, asset3d::blocks_for(1, kThreads), kThreads, 0, nullptr, totals, &out, int64_t(1));
  return out;
}

static void expect_sum(int64_t count, int count_bits, double value) {
  const double got = sum_of(count, count_bits, value), want = double(count) * value;
  // Each contribution is rounded to the unit.
  const double allowed = double(count) * std::ldexp(std::abs(value), count_bits - 62) + 1e-15 * std::abs(want);
  if (std::abs(got - want) <= allowed) return;
  std::printf("%lld times %g with %d bits: %.17g, not %.17g\n", (long long)count, value, count_bits, got, want);
  ++failures;
}

int main() {
  const double below_two = 2 - 1e-9;  // the most that the exponent of the largest contribution allows
  expect_sum(int64_t(1) << 26, 26, below_two);  // with room for 2^24 the sum had the other sign
  expect_sum((1 << 16) - 1, 16, -1e-30 * below_two);
  expect_sum(1, 0, below_two);
  expect_sum(1, 40, below_two);
  expect_sum(3, 2, 1e300);
  return failures != 0;
}
