// Interpolation: schemas, checks, outputs, device choice.
#include <torch/csrc/stable/library.h>
#include <tuple>
#include "tensors.h"

namespace asset3d::triangle {
namespace {
// `chosen` holds the attributes with pixel derivatives; when it is empty, so may rast_db be.
template <typename T>
InterpolateArgs<T> make_args(const Tensor& attributes, const Tensor& rast, const Tensor& faces, const Tensor& rast_db,
                             const Tensor& chosen) {
  const ImageSize size = image_size(rast);
  check_tensor(attributes, "attributes", {-1, -1, -1});
  check_tensor(rast, "rast", {size.batch, size.height, size.width, 4});
  check_like(rast, attributes, "rast");
  check_faces(faces, attributes.size(1));
  STD_TORCH_CHECK(attributes.size(0) == 1 || attributes.size(0) == size.batch, "`attributes` has the wrong batch");
  STD_TORCH_CHECK(chosen.dim() == 1 && chosen.is_contiguous() && chosen.scalar_type() == ScalarType::Long,
                  "bad choice");
  if (chosen.numel()) {
    check_tensor(rast_db, "rast_db", {size.batch, size.height, size.width, 4});
    check_like(rast_db, attributes, "rast_db");
  }
  if (chosen.is_cpu())
    for (int64_t i = 0; i < chosen.numel(); ++i) {
      const int64_t index = chosen.const_data_ptr<int64_t>()[i];
      STD_TORCH_CHECK(index >= 0 && index < attributes.size(2), "attribute ", index, " does not exist");
    }
  InterpolateArgs<T> args{};
  args.attributes = attributes.const_data_ptr<T>();
  args.rast = rast.const_data_ptr<T>();
  args.rast_db = chosen.numel() ? rast_db.const_data_ptr<T>() : nullptr;
  args.faces = faces.const_data_ptr<int32_t>();
  args.chosen = chosen.const_data_ptr<int64_t>();
  args.size = size;
  args.n_vertices = attributes.size(1);
  args.n_faces = faces.size(0);
  args.attribute_batch = attributes.size(0);
  args.n_attributes = int(attributes.size(2));
  args.n_chosen = int(chosen.numel());
  return args;
}

std::tuple<Tensor, Tensor> interpolate(const Tensor& attributes, const Tensor& rast, const Tensor& faces,
                                       const Tensor& rast_db, const Tensor& chosen) {
  const ImageSize size = image_size(rast);
  Tensor out = torch::stable::new_empty(rast, {size.batch, size.height, size.width, attributes.size(2)});
  Tensor out_da = torch::stable::new_empty(rast, {size.batch, size.height, size.width, 2 * chosen.numel()});
  for_float_dtype(attributes, [&]<typename T>(T) {
    InterpolateArgs<T> args = make_args<T>(attributes, rast, faces, rast_db, chosen);
    args.out = out.mutable_data_ptr<T>();
    args.out_da = out_da.mutable_data_ptr<T>();
    A3D_ON_DEVICE(attributes, interpolate, args);
  });
  return {out, out_da};
}

std::tuple<Tensor, Tensor, Tensor> interpolate_backward(const Tensor& grad_out, const Tensor& grad_out_da,
                                                        const Tensor& attributes, const Tensor& rast,
                                                        const Tensor& faces, const Tensor& rast_db,
                                                        const Tensor& chosen) {
  const ImageSize size = image_size(rast);
  check_tensor(grad_out, "grad_out", {size.batch, size.height, size.width, attributes.size(2)});
  check_tensor(grad_out_da, "grad_out_da", {size.batch, size.height, size.width, 2 * chosen.numel()});
  check_like(grad_out, attributes, "grad_out");
  check_like(grad_out_da, attributes, "grad_out_da");
  Tensor grad_attributes =
      torch::stable::new_zeros(attributes, {attributes.size(0), attributes.size(1), attributes.size(2)});
  Tensor grad_rast = torch::stable::new_empty(rast, {size.batch, size.height, size.width, 4});
  Tensor grad_rast_db = chosen.numel() ? torch::stable::new_empty(rast, {size.batch, size.height, size.width, 4})
                                       : torch::stable::new_zeros(rast_db, rast_db.sizes());
  Tensor totals = totals_storage(attributes, attributes.numel());
  for_float_dtype(attributes, [&]<typename T>(T) {
    InterpolateArgs<T> args = make_args<T>(attributes, rast, faces, rast_db, chosen);
    args.grad_out = grad_out.const_data_ptr<T>();
    args.grad_out_da = grad_out_da.const_data_ptr<T>();
    args.grad_attributes = grad_attributes.mutable_data_ptr<T>();
    args.grad_rast = grad_rast.mutable_data_ptr<T>();
    args.grad_rast_db = chosen.numel() ? grad_rast_db.mutable_data_ptr<T>() : nullptr;
    args.totals = totals_of(totals, 3 * (1 + chosen.numel()) * size.pixels());
    A3D_ON_DEVICE(attributes, interpolate_backward, args);
  });
  return {grad_attributes, grad_rast, grad_rast_db};
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("interpolate(Tensor attributes, Tensor rast, Tensor faces, Tensor rast_db, Tensor chosen) -> (Tensor, Tensor)");
  m.def("interpolate_backward(Tensor grad_out, Tensor grad_out_da, Tensor attributes, Tensor rast, Tensor faces, "
        "Tensor rast_db, Tensor chosen) -> (Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) {
  m.impl("interpolate", TORCH_BOX(&interpolate));
  m.impl("interpolate_backward", TORCH_BOX(&interpolate_backward));
}
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) {
  m.impl("interpolate", TORCH_BOX(&interpolate));
  m.impl("interpolate_backward", TORCH_BOX(&interpolate_backward));
}
#endif
}  // namespace asset3d::triangle
