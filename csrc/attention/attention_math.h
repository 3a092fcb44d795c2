#pragma once
// The formulas of attention, for scalars and lanes, shared by every schedule.
//   score = scale * q . k          probability = exp(score - log_sum)      out = sum over keys of probability * v
//   log_sum = log of the sum over keys of exp(score)                       delta = out . grad_out
//   d score = probability * (grad_out . v - delta)         grad_v = sum over queries of probability * grad_out
//   grad_q = scale * sum over keys of d score * k          grad_k = scale * sum over queries of d score * q
// Exponentials are of base 2: schedules multiply scores by base_2(scale) and keep maxima and sums in that base.
#include <cmath>
#include "attention.h"

namespace asset3d::attention {
constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;

A3D_FN double base_2(double scale) { return scale * kLog2E; }

// Derivative of the loss in q . k, from the probability p and grad_p = grad_out . v.
template <typename F> A3D_FN F score_gradient(F p, F grad_p, F delta, F scale) { return p * (grad_p - delta) * scale; }

// Natural logarithm of the sum, from the maximum of the scores in base 2 and the sum of 2^(score - maximum).
template <typename F> A3D_FN F log_sum_of(F maximum, F sum) {
  return sum > F(0) ? (maximum + F(std::log2(sum))) * F(kLn2) : -F(INFINITY);
}

// Without keys there is nothing to see: zeros.
template <typename F> A3D_FN F inverse_sum(F sum) { return sum > F(0) ? F(1) / sum : F(0); }
}  // namespace asset3d::attention
