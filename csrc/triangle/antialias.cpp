// Antialiasing: schemas, checks, outputs, device choice.
#include <torch/csrc/stable/library.h>
#include <tuple>
#include "tensors.h"

namespace asset3d::triangle {
namespace {
template <typename T>
AntialiasArgs<T> make_args(const Tensor& positions, const Tensor& faces, ImageSize size) {
  check_tensor(positions, "positions", {size.batch, -1, 4});
  check_faces(faces, positions.size(1));
  AntialiasArgs<T> args{};
  args.positions = positions.const_data_ptr<T>();
  args.faces = faces.const_data_ptr<int32_t>();
  args.size = size;
  args.n_vertices = positions.size(1);
  args.n_faces = faces.size(0);
  return args;
}

Tensor analyze(const Tensor& rast, const Tensor& positions, const Tensor& faces, const Tensor& topology) {
  const ImageSize size = image_size(rast);
  check_tensor(rast, "rast", {size.batch, size.height, size.width, 4});
  check_like(rast, positions, "rast");
  check_tensor(topology, "topology", {faces.size(0), 3});
  check_indices(topology, "topology", 3 * faces.size(0));
  Tensor crossings = torch::stable::new_empty(rast, {size.batch, size.height, size.width, 2}, ScalarType::Int);
  Tensor facing = torch::stable::new_empty(rast, {size.batch, faces.size(0)}, ScalarType::Char);
  for_float_dtype(positions, [&]<typename T>(T) {
    AntialiasArgs<T> args = make_args<T>(positions, faces, size);
    args.rast = rast.const_data_ptr<T>();
    args.topology = topology.const_data_ptr<int32_t>();
    args.facing = facing.mutable_data_ptr<int8_t>();
    args.crossings = crossings.mutable_data_ptr<int32_t>();
    A3D_ON_DEVICE(positions, antialias_analyze, args);
  });
  return crossings;
}

template <typename T>
AntialiasArgs<T> make_blend_args(const Tensor& color, const Tensor& positions, const Tensor& faces,
                                 const Tensor& crossings) {
  const ImageSize size = image_size(color);
  check_tensor(color, "color", {size.batch, size.height, size.width, -1});
  check_like(color, positions, "color");
  check_tensor(crossings, "crossings", {size.batch, size.height, size.width, 2});
  STD_TORCH_CHECK(crossings.scalar_type() == ScalarType::Int, "`crossings` must be int32");
  AntialiasArgs<T> args = make_args<T>(positions, faces, size);
  args.crossings = const_cast<int32_t*>(crossings.const_data_ptr<int32_t>());
  args.color = color.const_data_ptr<T>();
  args.n_channels = int(color.size(3));
  return args;
}

Tensor antialias(const Tensor& color, const Tensor& positions, const Tensor& faces, const Tensor& crossings) {
  Tensor out = torch::stable::new_empty(color, color.sizes());
  for_float_dtype(color, [&]<typename T>(T) {
    AntialiasArgs<T> args = make_blend_args<T>(color, positions, faces, crossings);
    args.out = out.mutable_data_ptr<T>();
    A3D_ON_DEVICE(color, antialias, args);
  });
  return out;
}

std::tuple<Tensor, Tensor> antialias_backward(const Tensor& grad_out, const Tensor& color, const Tensor& positions,
                                              const Tensor& faces, const Tensor& crossings) {
  check_tensor(grad_out, "grad_out", {color.size(0), color.size(1), color.size(2), color.size(3)});
  check_like(grad_out, color, "grad_out");
  Tensor grad_color = torch::stable::new_empty(color, color.sizes());
  Tensor grad_positions = torch::stable::new_zeros(positions, positions.sizes());
  Tensor totals = totals_storage(positions, positions.numel());
  for_float_dtype(color, [&]<typename T>(T) {
    AntialiasArgs<T> args = make_blend_args<T>(color, positions, faces, crossings);
    args.grad_out = grad_out.const_data_ptr<T>();
    args.grad_color = grad_color.mutable_data_ptr<T>();
    args.grad_positions = grad_positions.mutable_data_ptr<T>();
    args.totals = totals_of(totals, 4 * args.size.pixels());  // two neighbours, two ends
    A3D_ON_DEVICE(color, antialias_backward, args);
  });
  return {grad_color, grad_positions};
}

#ifndef A3D_EMULATE
Tensor face_topology(const Tensor& faces, int64_t n_vertices) {
  STD_TORCH_CHECK(n_vertices >= 0, "`n_vertices` is negative");
  check_faces(faces, n_vertices);
  Tensor topology = torch::stable::new_empty(faces, {faces.size(0), 3});
  face_topology_cpu(faces.const_data_ptr<int32_t>(), faces.size(0), n_vertices, topology.mutable_data_ptr<int32_t>());
  return topology;
}
#endif
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("antialias_analyze(Tensor rast, Tensor positions, Tensor faces, Tensor topology) -> Tensor");
  m.def("antialias(Tensor color, Tensor positions, Tensor faces, Tensor crossings) -> Tensor");
  m.def(
      "antialias_backward(Tensor grad_out, Tensor color, Tensor positions, Tensor faces, Tensor crossings) -> (Tensor, "
      "Tensor)");
#ifndef A3D_EMULATE
  m.def("face_topology(Tensor faces, int n_vertices) -> Tensor");
#endif
}
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) {
  m.impl("antialias_analyze", TORCH_BOX(&analyze));
  m.impl("antialias", TORCH_BOX(&antialias));
  m.impl("antialias_backward", TORCH_BOX(&antialias_backward));
#ifndef A3D_EMULATE
  m.impl("face_topology", TORCH_BOX(&face_topology));
#endif
}
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) {
  m.impl("antialias_analyze", TORCH_BOX(&analyze));
  m.impl("antialias", TORCH_BOX(&antialias));
  m.impl("antialias_backward", TORCH_BOX(&antialias_backward));
}
#endif
}  // namespace asset3d::triangle
