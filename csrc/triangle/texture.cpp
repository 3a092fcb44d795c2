// Textures: schemas, checks, outputs, device choice.
#include <torch/csrc/stable/library.h>
#include <tuple>
#include "tensors.h"
#include "texture.h"

namespace asset3d::triangle {
namespace {
// Fills in the levels below a texture and returns how many texels they have.
int64_t fill_levels(Level* levels, int64_t height, int64_t width, int64_t n_levels) {
  STD_TORCH_CHECK(n_levels >= 1 && n_levels <= kMaxLevels, "there can be 1 to ", kMaxLevels, " levels");
  STD_TORCH_CHECK(height >= 1 && width >= 1 && height <= kMaxSide && width <= kMaxSide, "bad texture size");
  levels[0] = {0, int(height), int(width)};
  int64_t texels = 0;
  for (int64_t l = 1; l < n_levels; ++l) {
    STD_TORCH_CHECK((height > 1 || width > 1) && (height == 1 || height % 2 == 0) && (width == 1 || width % 2 == 0),
                    "the texture cannot be halved ", n_levels - 1, " times");
    height = height > 1 ? height / 2 : 1;
    width = width > 1 ? width / 2 : 1;
    levels[l] = {texels, int(height), int(width)};
    texels += height * width;
  }
  return texels;
}

template <typename T>
MipArgs<T> make_mip_args(int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t n_levels) {
  MipArgs<T> args{};
  args.batch = batch;
  args.n_channels = int(channels);
  args.n_levels = int(n_levels);
  args.mip_texels = fill_levels(args.levels, height, width, n_levels);
  return args;
}

Tensor mip_chain(const Tensor& texture, int64_t n_levels) {
  check_tensor(texture, "texture", {-1, -1, -1, -1});
  Level levels[kMaxLevels];
  const int64_t texels = fill_levels(levels, texture.size(1), texture.size(2), n_levels);
  Tensor mips = torch::stable::new_empty(texture, {texture.size(0), texels, texture.size(3)});
  for_float_dtype(texture, [&]<typename T>(T) {
    MipArgs<T> args = make_mip_args<T>(texture.size(0), texture.size(1), texture.size(2), texture.size(3), n_levels);
    args.texture = texture.const_data_ptr<T>();
    args.mips = mips.mutable_data_ptr<T>();
    A3D_ON_DEVICE(texture, mip_chain, args);
  });
  return mips;
}

Tensor mip_chain_backward(const Tensor& grad_mips, int64_t height, int64_t width, int64_t n_levels) {
  Level levels[kMaxLevels];
  check_tensor(grad_mips, "grad_mips", {-1, fill_levels(levels, height, width, n_levels), -1});
  const int64_t batch = grad_mips.size(0), channels = grad_mips.size(2);
  Tensor grad_texture = torch::stable::new_zeros(grad_mips, {batch, height, width, channels});
  Tensor running = torch::stable::clone(grad_mips);
  for_float_dtype(grad_mips, [&]<typename T>(T) {
    MipArgs<T> args = make_mip_args<T>(batch, height, width, channels, n_levels);
    args.mips = running.mutable_data_ptr<T>();
    args.grad_texture = grad_texture.mutable_data_ptr<T>();
    A3D_ON_DEVICE(grad_mips, mip_chain_backward, args);
  });
  return grad_texture;
}

template <typename T>
TextureArgs<T> make_args(const Tensor& texture, const Tensor& mips, const Tensor& uv, const Tensor& uv_da,
                         int64_t n_levels, int64_t filter, int64_t boundary) {
  const ImageSize size = image_size(uv);
  check_tensor(texture, "texture", {-1, -1, -1, -1});
  check_tensor(uv, "uv", {size.batch, size.height, size.width, 2});
  STD_TORCH_CHECK(texture.size(0) == 1 || texture.size(0) == size.batch, "`texture` has the wrong batch");
  STD_TORCH_CHECK(filter >= kNearest && filter <= kMipLinear && boundary >= kWrap && boundary <= kZero, "bad mode");
  TextureArgs<T> args{};
  args.mip_texels = fill_levels(args.levels, texture.size(1), texture.size(2), n_levels);
  check_tensor(mips, "mips", {texture.size(0), args.mip_texels, texture.size(3)});
  check_like(mips, texture, "mips");
  check_like(uv, texture, "uv");
  if (filter >= kMipNearest) {
    check_tensor(uv_da, "uv_da", {size.batch, size.height, size.width, 4});
    check_like(uv_da, texture, "uv_da");
    args.uv_da = uv_da.const_data_ptr<T>();
  }
  args.texture = texture.const_data_ptr<T>();
  args.mips = mips.const_data_ptr<T>();
  args.uv = uv.const_data_ptr<T>();
  args.size = size;
  args.texture_batch = texture.size(0);
  args.n_channels = int(texture.size(3));
  args.n_levels = int(n_levels);
  args.filter = int(filter);
  args.boundary = int(boundary);
  return args;
}

Tensor texture(const Tensor& texture, const Tensor& mips, const Tensor& uv, const Tensor& uv_da, int64_t n_levels,
               int64_t filter, int64_t boundary) {
  Tensor out = torch::stable::new_empty(texture, {uv.size(0), uv.size(1), uv.size(2), texture.size(3)});
  for_float_dtype(texture, [&]<typename T>(T) {
    TextureArgs<T> args = make_args<T>(texture, mips, uv, uv_da, n_levels, filter, boundary);
    args.out = out.mutable_data_ptr<T>();
    A3D_ON_DEVICE(texture, texture, args);
  });
  return out;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> texture_backward(const Tensor& grad_out, const Tensor& texture,
                                                            const Tensor& mips, const Tensor& uv, const Tensor& uv_da,
                                                            int64_t n_levels, int64_t filter, int64_t boundary) {
  check_tensor(grad_out, "grad_out", {uv.size(0), uv.size(1), uv.size(2), texture.size(3)});
  check_like(grad_out, texture, "grad_out");
  Tensor grad_texture = torch::stable::new_zeros(texture, texture.sizes());
  Tensor grad_mips = torch::stable::new_zeros(mips, mips.sizes());
  Tensor grad_uv = torch::stable::new_empty(uv, uv.sizes());
  Tensor grad_uv_da = torch::stable::new_zeros(uv_da, uv_da.sizes());
  Tensor totals = totals_storage(texture, texture.numel() + mips.numel());
  for_float_dtype(texture, [&]<typename T>(T) {
    TextureArgs<T> args = make_args<T>(texture, mips, uv, uv_da, n_levels, filter, boundary);
    args.grad_out = grad_out.const_data_ptr<T>();
    args.grad_texture = grad_texture.mutable_data_ptr<T>();
    args.grad_mips = grad_mips.mutable_data_ptr<T>();
    args.grad_uv = grad_uv.mutable_data_ptr<T>();
    args.grad_uv_da = args.uv_da ? grad_uv_da.mutable_data_ptr<T>() : nullptr;
    args.totals = totals_of(totals, 4 * args.size.pixels());  // taps per level
    A3D_ON_DEVICE(texture, texture_backward, args);
  });
  return {grad_texture, grad_mips, grad_uv, grad_uv_da};
}
}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(A3D_LIBRARY, m) {
  m.def("mip_chain(Tensor texture, int n_levels) -> Tensor");
  m.def("mip_chain_backward(Tensor grad_mips, int height, int width, int n_levels) -> Tensor");
  m.def(
      "texture(Tensor texture, Tensor mips, Tensor uv, Tensor uv_da, int n_levels, int filter, int boundary) -> "
      "Tensor");
  m.def(
      "texture_backward(Tensor grad_out, Tensor texture, Tensor mips, Tensor uv, Tensor uv_da, int n_levels, "
      "int filter, int boundary) -> (Tensor, Tensor, Tensor, Tensor)");
}
#define A3D_REGISTER_TEXTURE(m)                            \
  m.impl("mip_chain", TORCH_BOX(&mip_chain));                   \
  m.impl("mip_chain_backward", TORCH_BOX(&mip_chain_backward)); \
  m.impl("texture", TORCH_BOX(&texture));                       \
  m.impl("texture_backward", TORCH_BOX(&texture_backward))
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CPU, m) { A3D_REGISTER_TEXTURE(m); }
#ifdef A3D_CUDA
STABLE_TORCH_LIBRARY_IMPL(A3D_LIBRARY, CUDA, m) { A3D_REGISTER_TEXTURE(m); }
#endif
}  // namespace asset3d::triangle
