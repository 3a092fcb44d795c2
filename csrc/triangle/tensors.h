#pragma once
// Checks that keep the kernels of this folder inside their memory. The messages a user reads come from asset3d/ops.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <algorithm>
#include <bit>
#include <initializer_list>
#include "../common/dispatch.h"
#include "triangle.h"

namespace asset3d::triangle {
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Size -1 means any.
inline void check_tensor(const Tensor& t, const char* name, std::initializer_list<int64_t> sizes) {
  bool good = t.dim() == int64_t(sizes.size()) && t.is_contiguous();
  int i = 0;
  for (const int64_t size : sizes) {
    if (good && size >= 0) good = t.size(i) == size;
    ++i;
  }
  STD_TORCH_CHECK(good, "`", name, "` has the wrong shape or is not contiguous");
}

inline void check_like(const Tensor& t, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == like.scalar_type() && t.device() == like.device(), "`", name,
                  "` differs in dtype or device");
}

// Every index must lie in [0, limit). On a GPU the wrapper has looked.
inline void check_indices(const Tensor& t, const char* name, int64_t limit) {
  STD_TORCH_CHECK(t.scalar_type() == ScalarType::Int, "`", name, "` must be int32");
  if (!t.is_cpu()) return;
  const int32_t* values = t.const_data_ptr<int32_t>();
  int32_t lowest = 0, highest = -1;
  for (int64_t i = 0, n = t.numel(); i < n; ++i) {
    lowest = std::min(lowest, values[i]);
    highest = std::max(highest, values[i]);
  }
  STD_TORCH_CHECK(lowest >= 0 && highest < limit, "`", name, "` has an index outside [0, ", limit, ")");
}

inline void check_faces(const Tensor& faces, int64_t n_vertices) {
  check_tensor(faces, "faces", {-1, 3});
  STD_TORCH_CHECK(faces.size(0) <= kMaxFaces, "`faces` has more than ", kMaxFaces, " rows");
  check_indices(faces, "faces", n_vertices);
}

inline ImageSize image_size(const Tensor& image) {
  STD_TORCH_CHECK(image.dim() == 4 && image.size(1) <= kMaxSide && image.size(2) <= kMaxSide, "bad image size");
  return {image.size(0), int(image.size(1)), int(image.size(2))};
}

inline bool runs_cuda_schedule(const Tensor& t) {
#ifdef A3D_EMULATE
  return true;
#else
  return !t.is_cpu();
#endif
}

// Scratch of a fixed-point scatter into n values; nothing for the CPU schedules.
inline Tensor totals_storage(const Tensor& like, int64_t n) {
  return torch::stable::new_zeros(like, {runs_cuda_schedule(like) ? n + 1 : 0}, ScalarType::Long);
}
// most: how many contributions can meet in one sum.
inline Totals totals_of(Tensor& storage, int64_t most) {
  if (storage.numel() == 0) return {nullptr, nullptr, 0};
  auto* first = reinterpret_cast<long long*>(storage.mutable_data_ptr<int64_t>());
  const int count_bits = most > 1 ? std::bit_width(uint64_t(most - 1)) : 0;
  STD_TORCH_CHECK(count_bits <= 40, most, " contributions to one sum leave too few bits for each; use a smaller batch");
  return {first, reinterpret_cast<unsigned long long*>(first + storage.numel() - 1), count_bits};
}
}  // namespace asset3d::triangle
