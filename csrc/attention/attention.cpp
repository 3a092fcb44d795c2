// Attention: schemas, checks, outputs, device choice. The only file of this folder that knows torch tensors.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <atomic>
#include <string>
#include <tuple>
#include <vector>
#include "../common/dispatch.h"
#include "../common/host_values.h"
#include "../common/parallel.h"
#include "attention.h"

namespace asset3d::attention {
namespace {
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Tensors = std::vector<Tensor>;
using Ints = std::vector<int64_t>;

bool on_cuda([[maybe_unused]] const Tensor& t) {
#ifdef A3D_EMULATE
  return true;
#else
  return !t.is_cpu();
#endif
}

// Calls fn with a value of the element type.
template <typename Fn>
void for_dtype(const Tensor& q, Fn&& fn) {
  switch (q.scalar_type()) {
    case ScalarType::Float: return fn(float{});
    case ScalarType::Double: return fn(double{});
    case ScalarType::BFloat16: return fn(Bfloat16{});
    case ScalarType::Half:
      STD_TORCH_CHECK(on_cuda(q), "attention: float16 runs on CUDA only; on the CPU use bfloat16 or float32");
      return fn(Half{});
    default:
      STD_TORCH_CHECK(false, "attention: expected float32, float64, bfloat16 or float16, got ",
                      torch::headeronly::toString(q.scalar_type()));
  }
}

// --- values that are not finite --------------------------------------------------------------------------------------
template <typename T> struct ExponentOf;
template <> struct ExponentOf<float> { using Bits = uint32_t; static constexpr Bits mask = 0x7f800000u; };
template <> struct ExponentOf<double> { using Bits = uint64_t; static constexpr Bits mask = 0x7ff0000000000000ull; };
template <> struct ExponentOf<Bfloat16> { using Bits = uint16_t; static constexpr Bits mask = 0x7f80; };
template <> struct ExponentOf<Half> { using Bits = uint16_t; static constexpr Bits mask = 0x7c00; };

template <typename T>
bool has_non_finite(const T* row, int64_t n) {
  using Bits = typename ExponentOf<T>::Bits;
  const Bits mask = ExponentOf<T>::mask;
  Bits any = 0;
  for (int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, row + i, sizeof(T));
    any |= Bits((bits & mask) == mask);
  }
  return any != 0;
}

// One pass over the rows, in threads, bound by memory: 3 % of the forward for 4096 tokens, a tenth for 1024, a fifth
// for 77 keys, a third for 2.
template <typename T>
void refuse_non_finite_rows(const std::string& name, const Tensor& tensor, const View<const T>& view) {
  if (on_cuda(tensor)) {
    if (!checks_device_values()) return;
#ifndef A3D_EMULATE
    const Tensor host = torch::stable::to(tensor, torch::stable::Device(torch::headeronly::DeviceType::CPU));
    const T* data = static_cast<const T*>(torch::stable::contiguous(host).const_data_ptr());
    STD_TORCH_CHECK(!has_non_finite(data, host.numel()), "attention: `", name, "` has a value that is not finite");
    return;
#endif
  }
  const int64_t heads = tensor.size(1), rows = tensor.size(2), d = tensor.size(3);
  std::atomic<int64_t> bad{-1};
  parallel_for(0, tensor.size(0) * heads * rows, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (has_non_finite(view.at(i / rows / heads, i / rows % heads, i % rows), d)) bad = i;
  });
  const int64_t i = bad;
  STD_TORCH_CHECK(i < 0, "attention: `", name, "` has a value that is not finite in row [", i / rows / heads, ", ",
                  i / rows % heads, ", ", i % rows, "]");
}

// --- tensors to pointers. The messages a user reads come from asset3d/ops/attention.py; these keep memory safe. ------
template <typename Element, typename T>
View<Element> view_of(const Tensor& t, T* data) {
  return {data, t.stride(0), t.stride(1), t.stride(2)};
}

void check_like(const char* name, const Tensor& t, const Tensor& q, int64_t n_batch, int64_t n_rows) {
  STD_TORCH_CHECK(
      t.dim() == 4 && t.size(0) == n_batch && t.size(1) == q.size(1) && t.size(2) == n_rows && t.size(3) == q.size(3),
      "attention: ", name, " has the wrong shape");
  STD_TORCH_CHECK(t.scalar_type() == q.scalar_type() && t.device() == q.device(), "attention: ", name, " must match q");
  STD_TORCH_CHECK(t.stride(3) == 1 || t.size(3) <= 1 || t.numel() == 0, "attention: the last dimension of ", name,
                  " must be contiguous");
}

template <typename T>
View<const T> input(const char* name, const Tensor& t, const Tensor& q, int64_t n_batch, int64_t n_rows) {
  check_like(name, t, q, n_batch, n_rows);
  return view_of<const T>(t, static_cast<const T*>(t.const_data_ptr()));
}

// An output with the strides of `like` where they are dense; an empty tensor where it is not wanted.
template <typename T>
Tensor output(const Tensor& like, bool wanted, View<T>& view) {
  if (!wanted) return torch::stable::new_empty(like, {0});
  Tensor t = torch::stable::empty_like(like);
  view = view_of<T>(t, static_cast<T*>(t.mutable_data_ptr()));
  return t;
}

template <typename T>
Args<T> make_args(const Tensor& q, const Tensors& keys, const Tensors& values, double scale) {
  STD_TORCH_CHECK(q.dim() == 4 && q.size(3) >= 1 && q.size(3) <= kMaxHeadSize,
                  "attention: q must be (B, heads, N, 1..256)");
  STD_TORCH_CHECK(keys.size() == values.size() && !keys.empty() && keys.size() <= kMaxSources,
                  "attention: 1 to 16 sources");
  Args<T> a{};
  a.q = input<T>("q", q, q, q.size(0), q.size(2));
  a.n_batch = q.size(0);
  a.n_heads = q.size(1);
  a.n_queries = q.size(2);
  a.head_size = int(q.size(3));
  a.scale = scale;
  a.n_sources = int(keys.size());
  for (size_t s = 0; s < keys.size(); ++s) {
    STD_TORCH_CHECK(keys[s].dim() == 4, "attention: keys must be (Bs, heads, M, D)");
    const int64_t n_batch = keys[s].size(0), n_keys = keys[s].size(2);
    STD_TORCH_CHECK(n_batch >= 1 ? q.size(0) % n_batch == 0 : q.size(0) == 0,
                    "attention: the batch of a source must divide that of q");
    Source<T>& source = a.sources[s];
    source.k = input<T>("a key", keys[s], q, n_batch, n_keys);
    source.v = input<T>("a value", values[s], q, n_batch, n_keys);
    source.n_batch = n_batch;
    source.n_keys = n_keys;
  }
  return a;
}

template <typename T>
void run(const Tensor& q, const Args<T>& a) {
  (void)q;
  A3D_ON_DEVICE(q, attend, a);
}

template <typename T>
void run_backward(const Tensor& q, const Args<T>& a) {
  (void)q;
  A3D_ON_DEVICE(q, attend_backward, a);
}

ScalarType sum_dtype(const Tensor& q) {
  return q.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

std::tuple<Tensor, Tensor> attention(const Tensor& q, Tensors keys, Tensors values, double scale) {
  Tensor out = q, log_sum = q;
  for_dtype(q, [&]<typename T>(T) {
    Args<T> a = make_args<T>(q, keys, values, scale);
    refuse_non_finite_rows<T>("q", q, a.q);
    for (size_t s = 0; s < keys.size(); ++s) {
      const std::string name = "sources[" + std::to_string(s) + "]";
      refuse_non_finite_rows<T>(name + " k", keys[s], a.sources[s].k);
      refuse_non_finite_rows<T>(name + " v", values[s], a.sources[s].v);
    }
    out = output(q, true, a.out);
    log_sum = torch::stable::new_empty(q, {q.size(0), q.size(1), q.size(2)}, sum_dtype(q));
    a.log_sum = static_cast<Sum<T>*>(log_sum.mutable_data_ptr());
    run(q, a);
  });
  return {out, log_sum};
}

std::tuple<Tensor, Tensors, Tensors> attention_backward(
    const Tensor& grad_out, const Tensor& q, Tensors keys, Tensors values, const Tensor& out, const Tensor& log_sum,
    double scale, bool want_q, Ints want_sources) {
  STD_TORCH_CHECK(want_sources.size() == keys.size(), "attention: want_sources has the wrong length");
  Tensor grad_q = q;
  Tensors grad_keys, grad_values;
  for_dtype(q, [&]<typename T>(T) {
    Args<T> a = make_args<T>(q, keys, values, scale);
    a.grad_out = input<T>("grad_out", grad_out, q, q.size(0), q.size(2));
    const View<const T> saved = input<T>("out", out, q, q.size(0), q.size(2));
    a.out = {const_cast<T*>(saved.data), saved.batch, saved.head, saved.row};
    STD_TORCH_CHECK(log_sum.is_contiguous() && log_sum.numel() == q.size(0) * q.size(1) * q.size(2) &&
                        log_sum.scalar_type() == sum_dtype(q) && log_sum.device() == q.device(),
                    "attention: bad log_sum");
    a.log_sum = static_cast<Sum<T>*>(const_cast<void*>(log_sum.const_data_ptr()));
    grad_q = output(q, want_q, a.grad_q);
    for (size_t s = 0; s < keys.size(); ++s) {
      grad_keys.push_back(output(keys[s], want_sources[s], a.sources[s].grad_k));
      grad_values.push_back(output(values[s], want_sources[s], a.sources[s].grad_v));
    }
    const Tensor delta = torch::stable::new_empty(log_sum, {on_cuda(q) ? log_sum.numel() : 0});
    a.delta = static_cast<Sum<T>*>(delta.mutable_data_ptr());
    run_backward(q, a);
  });
  return {grad_q, grad_keys, grad_values};
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("attention(Tensor q, Tensor[] keys, Tensor[] values, float scale) -> (Tensor, Tensor)");
  m.def("attention_backward(Tensor grad_out, Tensor q, Tensor[] keys, Tensor[] values, Tensor out, Tensor log_sum, "
        "float scale, bool want_q, int[] want_sources) -> (Tensor, Tensor[], Tensor[])");
}
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) {
  m.impl("attention", TORCH_BOX(&attention));
  m.impl("attention_backward", TORCH_BOX(&attention_backward));
}
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) {
  m.impl("attention", TORCH_BOX(&attention));
  m.impl("attention_backward", TORCH_BOX(&attention_backward));
}
#endif
}  // namespace asset3d::attention
