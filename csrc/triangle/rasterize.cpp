// Rasterizing: schemas, checks, outputs, device choice.
#include <torch/csrc/stable/library.h>
#include <tuple>
#include "tensors.h"

namespace asset3d::triangle {
namespace {
template <typename T>
RasterizeArgs<T> make_args(const Tensor& positions, const Tensor& faces, ImageSize size) {
  check_tensor(positions, "positions", {-1, -1, 4});
  check_faces(faces, positions.size(1));
  STD_TORCH_CHECK(positions.size(1) < int64_t(1) << 28, "too many vertices");  // lanes address them by 32 bits
  RasterizeArgs<T> args{};
  args.positions = positions.const_data_ptr<T>();
  args.faces = faces.const_data_ptr<int32_t>();
  args.size = size;
  args.n_vertices = positions.size(1);
  args.n_faces = faces.size(0);
  return args;
}

std::tuple<Tensor, Tensor> rasterize(const Tensor& positions, const Tensor& faces, int64_t height, int64_t width) {
  STD_TORCH_CHECK(height >= 0 && width >= 0 && height <= kMaxSide && width <= kMaxSide, "bad image size");
  const int64_t batch = positions.size(0);
  Tensor rast = torch::stable::new_empty(positions, {batch, height, width, 4});
  Tensor rast_db = torch::stable::new_empty(positions, {batch, height, width, 4});
  const bool scratch = runs_cuda_schedule(positions);
  Tensor keys = torch::stable::new_empty(positions, {scratch ? batch * height * width * 2 : 0}, ScalarType::Long);
  Tensor large = torch::stable::new_empty(positions, {scratch ? batch * (faces.size(0) + 1) : 0}, ScalarType::Int);
  for_float_dtype(positions, [&]<typename T>(T) {
    RasterizeArgs<T> args = make_args<T>(positions, faces, {batch, int(height), int(width)});
    args.rast = rast.mutable_data_ptr<T>();
    args.rast_db = rast_db.mutable_data_ptr<T>();
    args.keys = reinterpret_cast<unsigned long long*>(keys.mutable_data_ptr<int64_t>());
    args.large = large.mutable_data_ptr<int32_t>();
    A3D_ON_DEVICE(positions, rasterize, args);
  });
  return {rast, rast_db};
}

Tensor rasterize_backward(const Tensor& grad_rast, const Tensor& grad_rast_db, const Tensor& positions,
                          const Tensor& faces, const Tensor& rast) {
  const ImageSize size = image_size(rast);
  for (const Tensor* t : {&grad_rast, &grad_rast_db, &rast}) {
    check_tensor(*t, "rast", {positions.size(0), size.height, size.width, 4});
    check_like(*t, positions, "rast");
  }
  Tensor grad_positions = torch::stable::new_zeros(positions, {positions.size(0), positions.size(1), 4});
  Tensor totals = totals_storage(positions, positions.numel());
  for_float_dtype(positions, [&]<typename T>(T) {
    RasterizeArgs<T> args = make_args<T>(positions, faces, size);
    args.rast = const_cast<T*>(rast.const_data_ptr<T>());
    args.grad_rast = grad_rast.const_data_ptr<T>();
    args.grad_rast_db = grad_rast_db.const_data_ptr<T>();
    args.grad_positions = grad_positions.mutable_data_ptr<T>();
    args.totals = totals_of(totals, 3 * size.pixels());
    A3D_ON_DEVICE(positions, rasterize_backward, args);
  });
  return grad_positions;
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("rasterize(Tensor positions, Tensor faces, int height, int width) -> (Tensor, Tensor)");
  m.def(
      "rasterize_backward(Tensor grad_rast, Tensor grad_rast_db, Tensor positions, Tensor faces, Tensor rast) -> "
      "Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) {
  m.impl("rasterize", TORCH_BOX(&rasterize));
  m.impl("rasterize_backward", TORCH_BOX(&rasterize_backward));
}
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) {
  m.impl("rasterize", TORCH_BOX(&rasterize));
  m.impl("rasterize_backward", TORCH_BOX(&rasterize_backward));
}
#endif
}  // namespace asset3d::triangle
