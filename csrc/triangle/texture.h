#pragma once
// What the texture kernels receive. Level 0 is the texture; the smaller levels lie one after another in `mips`.
#include "triangle.h"

namespace asset3d::triangle {
constexpr int kMaxLevels = 15;  // level 0 of 16384 texels down to one

enum Filter { kNearest, kLinear, kMipNearest, kMipLinear };  // in the order of FILTERS in asset3d/ops/triangle.py
enum Boundary { kWrap, kClamp, kZero };

struct Level {
  int64_t first;  // texel of `mips` (of the texture for level 0)
  int height, width;
};

template <typename T>
struct TextureArgs {
  const T* texture;  // (B or 1, H, W, C)
  const T* mips;     // (B or 1, mip_texels, C)
  const T* uv;       // (B, h, w, 2)
  const T* uv_da;    // (B, h, w, 4) or null: no mip-maps
  T* out;            // (B, h, w, C)
  const T* grad_out;
  T* grad_texture;   // zeroed, like grad_mips
  T* grad_mips;
  T* grad_uv;
  T* grad_uv_da;     // or null
  ImageSize size;    // of the image
  int64_t texture_batch, mip_texels;
  int n_channels, n_levels, filter, boundary;
  Level levels[kMaxLevels];
  Totals totals;     // CUDA: the texture, then the mips

  A3D_FN int64_t texels(int level) const { return level ? mip_texels : int64_t(levels[0].height) * levels[0].width; }
  A3D_FN int64_t texture_values() const { return texture_batch * texels(0) * n_channels; }
  A3D_FN int64_t mip_values() const { return texture_batch * mip_texels * n_channels; }
};

// Averages of 2 x 2 texels, level after level.
template <typename T>
struct MipArgs {
  const T* texture;  // (B, H, W, C)
  T* mips;           // (B, mip_texels, C); in the backward pass the gradients, which it overwrites
  T* grad_texture;   // (B, H, W, C)
  int64_t batch, mip_texels;
  int n_channels, n_levels;
  Level levels[kMaxLevels];
};

template <typename T> void texture_cpu(const TextureArgs<T>&);
template <typename T> void texture_backward_cpu(const TextureArgs<T>&);
template <typename T> void mip_chain_cpu(const MipArgs<T>&);
template <typename T> void mip_chain_backward_cpu(const MipArgs<T>&);
template <typename T> void texture_cuda(const TextureArgs<T>&, void* stream);
template <typename T> void texture_backward_cuda(const TextureArgs<T>&, void* stream);
template <typename T> void mip_chain_cuda(const MipArgs<T>&, void* stream);
template <typename T> void mip_chain_backward_cuda(const MipArgs<T>&, void* stream);
}  // namespace asset3d::triangle
