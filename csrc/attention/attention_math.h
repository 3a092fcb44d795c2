#pragma once
// The formulas of attention, for scalars and lanes, shared by every schedule.
//   score = scale * log2(e) * q . k    probability = 2^(score - log_sum)   out = sum over keys of probability * v
//   log_sum = log2 of the sum over keys of 2^score                         delta = out . grad_out
//   d score = probability * (grad_out . v - delta)         grad_v = sum over queries of probability * grad_out
//   grad_q = scale * sum over keys of d score * k          grad_k = scale * sum over queries of d score * q
// Exponentials are of base 2, and so is the saved log_sum: a change of base would round large scores once more.
#include <cmath>
#include "attention.h"

namespace asset3d::attention {
constexpr double kLog2E = 1.4426950408889634;

A3D_FN double base_2(double scale) { return scale * kLog2E; }

// Derivative of the loss in q . k, from the probability p and grad_p = grad_out . v.
template <typename F> A3D_FN F score_gradient(F p, F grad_p, F delta, F scale) { return p * (grad_p - delta) * scale; }

// From the maximum of the scores and the sum of 2^(score - maximum).
template <typename F> A3D_FN F log_sum_of(F maximum, F sum) {
  return sum > F(0) ? maximum + F(std::log2(sum)) : -F(INFINITY);
}

// Without keys there is nothing to see: zeros.
template <typename F> A3D_FN F inverse_sum(F sum) { return sum > F(0) ? F(1) / sum : F(0); }
}  // namespace asset3d::attention
