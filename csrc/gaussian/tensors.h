#pragma once
// From torch tensors to what the kernels receive; for the .cpp files of this folder that know tensors.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>
#include "gaussian.h"

namespace asset3d::gaussian {
using torch::headeronly::ScalarType;
using torch::stable::new_empty;
using torch::stable::Tensor;

// The messages a user reads come from asset3d/ops/gaussian.py; these only keep memory safe.
template <typename T>
const T* input(const char* name, const Tensor& t, const Tensor& like, int64_t n) {
  STD_TORCH_CHECK(
      t.is_contiguous() && t.numel() == n && t.scalar_type() == like.scalar_type() && t.device() == like.device(), name,
      " must be contiguous, with ", n, " values, of the dtype and on the device of the first argument");
  return t.const_data_ptr<T>();
}

inline ImageSize image_size(int64_t height, int64_t width) {
  STD_TORCH_CHECK(height >= 1 && width >= 1 && height <= (1 << 20) && width <= (1 << 20),
                  "a side of the image must be in 1..2^20");
  const ImageSize size{int32_t(width), int32_t(height)};
  STD_TORCH_CHECK(size.tiles() < (int64_t(1) << 31), "the image has too many tiles");
  return size;
}

inline void check_count(int64_t n) { STD_TORCH_CHECK(n < (int64_t(1) << 31), "at most 2^31 - 1 Gaussians, got ", n); }

template <typename T>
Splats<T> make_splats(const Tensor& means_2d, const Tensor& conics, const Tensor& opacities, const Tensor& depths,
                      const Tensor& radii, int64_t height, int64_t width, double alpha_min) {
  Splats<T> s{};
  STD_TORCH_CHECK(means_2d.dim() == 3, "means_2d must be (B, N, 2)");
  s.n_images = means_2d.size(0), s.n = means_2d.size(1);
  const int64_t seen = s.n * s.n_images;
  check_count(seen);
  s.means_2d = input<T>("means_2d", means_2d, means_2d, 2 * seen);
  s.conics = input<T>("conics", conics, means_2d, 3 * seen);
  s.opacities = input<T>("opacities", opacities, means_2d, seen);
  s.depths = input<T>("depths", depths, means_2d, seen);
  s.radii = input<T>("radii", radii, means_2d, 2 * seen);
  s.size = image_size(height, width);
  s.alpha_min = T(alpha_min);
  return s;
}
}  // namespace asset3d::gaussian
