#pragma once
// What an operator whose output size depends on its data needs on the host: sums, one value, and a look at the input.
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

namespace asset3d {
// Index of the first value that is infinite or NaN, or -1. The common case, all finite, is one vectorised pass.
template <typename T>
int64_t first_non_finite(const T* values, int64_t n) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  constexpr Bits kExponent = sizeof(T) == 4 ? Bits(0x7f800000u) : Bits(0x7ff0000000000000ull);
  const auto is_bad = [&](int64_t i) {
    Bits bits;
    std::memcpy(&bits, values + i, sizeof(T));
    return Bits((bits & kExponent) == kExponent);
  };
  Bits any = 0;
  for (int64_t i = 0; i < n; ++i) any |= is_bad(i);
  if (!any) return -1;
  for (int64_t i = 0;; ++i)
    if (is_bad(i)) return i;
}

// The switch of asset3d.check_values; of the whole process.
inline std::atomic<bool>& checks_device_values() {
  static std::atomic<bool> on{false};
  return on;
}

// Refuses non-finite values of a CPU tensor, and of a CUDA tensor where asset3d.check_values asks for it: that copies
// the tensor and waits for the device. Emulated operators take their tensors as if they were on CUDA.
template <typename T>
void refuse_non_finite(const char* op, const char* name, const torch::stable::Tensor& tensor) {
#ifdef A3D_EMULATE
  const bool on_device = true;
#else
  const bool on_device = !tensor.is_cpu();
#endif
  if (on_device && !checks_device_values()) return;
  using torch::headeronly::DeviceType;
  const torch::stable::Tensor host =
      tensor.is_cpu() ? tensor : torch::stable::to(tensor, torch::stable::Device(DeviceType::CPU));
  const int64_t bad = first_non_finite(host.const_data_ptr<T>(), host.numel());
  STD_TORCH_CHECK(bad < 0, op, ": `", name, "` has a value that is not finite at flat index ", bad,
                  ": ", std::to_string(host.const_data_ptr<T>()[bad < 0 ? 0 : bad]));
}

// Inclusive sums of the values of a 1-D tensor of int32, as int64, on its device.
inline torch::stable::Tensor cumulative_sum(const torch::stable::Tensor& counts) {
  using torch::headeronly::ScalarType;
  if (counts.is_cpu()) {
    torch::stable::Tensor sums = torch::stable::new_empty(counts, {counts.numel()}, ScalarType::Long);
    const int32_t* in = counts.const_data_ptr<int32_t>();
    int64_t* out = sums.mutable_data_ptr<int64_t>();
    for (int64_t i = 0, n = counts.numel(), sum = 0; i < n; ++i) out[i] = sum += in[i];
    return sums;
  }
  std::array<StableIValue, 3> stack{torch::stable::detail::from(counts), torch::stable::detail::from(int64_t(0)),
                                    torch::stable::detail::from(std::optional<ScalarType>(ScalarType::Long))};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::cumsum", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<torch::stable::Tensor>(stack[0]);
}

// The last value of each of `n_rows` rows of `n` values, n > 0, that lie one after another in a 1-D tensor of int64.
// Waits for the device, once.
inline void last_of_rows(const torch::stable::Tensor& values, int64_t n_rows, int64_t n, int64_t* out) {
  using torch::headeronly::DeviceType;
  torch::stable::Tensor last = torch::stable::select(torch::stable::view(values, {n_rows, n}), 1, n - 1);
  last = torch::stable::contiguous(last);
  if (!last.is_cpu()) last = torch::stable::to(last, torch::stable::Device(DeviceType::CPU));
  std::memcpy(out, last.const_data_ptr<int64_t>(), size_t(n_rows) * sizeof(int64_t));
}

inline int64_t last_value(const torch::stable::Tensor& values) {
  int64_t value;
  last_of_rows(values, 1, values.size(0), &value);
  return value;
}
}  // namespace asset3d
