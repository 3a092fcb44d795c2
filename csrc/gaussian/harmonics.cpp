// Spherical harmonics: schemas, checks, outputs, device choice.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <tuple>
#include "../common/dispatch.h"
#include "../common/host_values.h"
#include "gaussian.h"

namespace asset3d::gaussian {
namespace {
using torch::stable::new_empty;
using torch::stable::Tensor;

// The messages a user reads come from asset3d/ops/gaussian.py; these only keep memory safe.
template <typename T>
HarmonicsArgs<T> make_args(const Tensor& coefficients, const Tensor& directions, int64_t degree) {
  STD_TORCH_CHECK(coefficients.dim() == 3 && coefficients.size(2) == 3 && coefficients.is_contiguous(),
                  "coefficients must be contiguous (N, K, 3)");
  STD_TORCH_CHECK(directions.dim() == 3 && directions.size(1) == coefficients.size(0) && directions.size(2) == 3 &&
                      directions.is_contiguous() && directions.scalar_type() == coefficients.scalar_type() &&
                      directions.device() == coefficients.device(),
                  "directions must be contiguous (B, N, 3) like coefficients");
  STD_TORCH_CHECK(degree >= 0 && degree <= 3 && (degree + 1) * (degree + 1) <= coefficients.size(1), "bad degree");
  HarmonicsArgs<T> a{};
  a.coefficients = coefficients.const_data_ptr<T>(), a.directions = directions.const_data_ptr<T>();
  a.n = coefficients.size(0), a.n_images = directions.size(0), a.n_coefficients = coefficients.size(1);
  a.degree = int(degree);
  return a;
}

Tensor harmonics(const Tensor& coefficients, const Tensor& directions, int64_t degree) {
  Tensor colors = new_empty(coefficients, {directions.size(0), directions.size(1), 3});
  for_float_dtype(coefficients, [&]<typename T>(T) {
    HarmonicsArgs<T> args = make_args<T>(coefficients, directions, degree);
    args.colors = colors.mutable_data_ptr<T>();
    A3D_ON_DEVICE(coefficients, harmonics, args);
  });
  return colors;
}

std::tuple<Tensor, Tensor> harmonics_backward(const Tensor& grad_colors, const Tensor& coefficients,
                                              const Tensor& directions, int64_t degree) {
  Tensor grad_coefficients = torch::stable::empty_like(coefficients),
         grad_directions = torch::stable::empty_like(directions);
  for_float_dtype(coefficients, [&]<typename T>(T) {
    HarmonicsBackwardArgs<T> args{};
    args.forward = make_args<T>(coefficients, directions, degree);
    STD_TORCH_CHECK(grad_colors.is_contiguous() && grad_colors.numel() == directions.numel() &&
                        grad_colors.scalar_type() == coefficients.scalar_type(),
                    "grad_colors must be contiguous (B, N, 3)");
    args.grad_colors = grad_colors.const_data_ptr<T>();
    args.grad_coefficients = grad_coefficients.mutable_data_ptr<T>();
    args.grad_directions = grad_directions.mutable_data_ptr<T>();
    A3D_ON_DEVICE(coefficients, harmonics_backward, args);
  });
  return {grad_coefficients, grad_directions};
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("spherical_harmonics(Tensor coefficients, Tensor directions, int degree) -> Tensor");
  m.def(
      "spherical_harmonics_backward(Tensor grad_colors, Tensor coefficients, Tensor directions, int degree) -> "
      "(Tensor, Tensor)");
}
#define A3D_REGISTER_HARMONICS(m)                     \
  m.impl("spherical_harmonics", TORCH_BOX(&harmonics)); \
  m.impl("spherical_harmonics_backward", TORCH_BOX(&harmonics_backward))
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) { A3D_REGISTER_HARMONICS(m); }
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) { A3D_REGISTER_HARMONICS(m); }
#endif
}  // namespace asset3d::gaussian
