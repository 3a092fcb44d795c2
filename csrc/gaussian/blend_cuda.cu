// Blending, CUDA schedule. Forward: a block per tile, a thread per pixel, a warp for 8 x 4 of them; the list is walked
// in chunks of 256 entries that the block reads together, and what each chunk adds is kept. Backward: a block per
// chunk, so that dense tiles are spread over the machine; the light behind each chunk follows from what the chunks
// after it added. Every intersection is in one chunk, whose warps are added up in order, and every Gaussian's slots are
// added up in order: no atomics, the same bits every time.
#include <stdexcept>
#include "../common/launch.h"
#include "../common/warp.h"
#include "blend_math.h"

namespace asset3d::gaussian {
namespace {
constexpr int kThreads = kChunkEntries, kWarps = kThreads / kWarp;
constexpr int kGroup = 8;  // values of a pass, where there are many
static_assert(kThreads == kTile * kTile);

struct Pixel { int32_t x, y; int64_t at; bool inside; };

// The pixel of this thread.
template <typename T>
__device__ __forceinline__ Pixel pixel_of(const Splats<T>& s, int64_t tile) {
  const int t = threadIdx.x;
  const int64_t image = tile / s.size.tiles(), in_image = tile % s.size.tiles();
  const int32_t x = int32_t(in_image % s.size.tiles_x()) * kTile + t % 8 + t / 32 % 2 * 8;
  const int32_t y = int32_t(in_image / s.size.tiles_x()) * kTile + t / 8 % 4 + t / 64 * 4;
  return {x, y, (image * s.size.height + y) * s.size.width + x, x < s.size.width && y < s.size.height};
}

template <typename T>
__device__ __forceinline__ T value_at(const BlendArgs<T>& a, int64_t image, int32_t gaussian, int64_t c) {
  if (c >= a.n_channels) return a.splats.depths[image * a.splats.n + gaussian];
  return a.colors[(a.shared_colors ? gaussian : image * a.splats.n + gaussian) * a.n_channels + c];
}

template <typename T>
__device__ __forceinline__ T* state_of(const BlendArgs<T>& a, int64_t chunk, int64_t c) {
  return a.state + (chunk * (a.n_channels + 2) + c) * kThreads + threadIdx.x;
}

// --- forward ---------------------------------------------------------------------------------------------------------
template <typename T> struct Walk { T transmittance; int32_t last; bool stopped; };

// One chunk at one pixel: adds into sums.
template <typename T, int kValues>
__device__ __forceinline__ void walk_chunk(const BlendArgs<T>& a, const Geometry<T>* geometry,
                                           const T (*values)[kValues], int n, int32_t start, const Pixel& pixel,
                                           T lowest, Walk<T>& walk, T* sums) {
  for (int k = 0; k < n; ++k) {
    const Shade<T> shade = shade_at(geometry[k], T(pixel.x) + T(0.5), T(pixel.y) + T(0.5), a.alpha_max, lowest);
    if (!shade.blends) continue;
    const T rest = walk.transmittance * (1 - shade.alpha);
    if (rest <= a.stop_transmittance) {
      walk.stopped = true;
      walk.last = start + k;
      return;
    }
    const T weight = walk.transmittance * shade.alpha;
#pragma unroll
    for (int c = 0; c < kValues; ++c) sums[c] += weight * values[k][c];
    walk.transmittance = rest;
  }
}

// The values from `first_value` on, kValues of them.
template <typename T, int kValues>
__global__ void __launch_bounds__(kThreads) blend_kernel(const BlendArgs<T> a, int64_t first_value) {
  __shared__ Geometry<T> geometry[kThreads];
  __shared__ T values[kThreads][kValues];
  const int64_t tile = blockIdx.x, image = tile / a.splats.size.tiles(), begin = a.tile_first[tile],
                end = a.tile_first[tile + 1];
  const Pixel pixel = pixel_of(a.splats, tile);
  const T lowest = std::log2(a.splats.alpha_min);
  Walk<T> walk{T(1), int32_t(end - begin), !pixel.inside};
  T total[kValues];
#pragma unroll
  for (int c = 0; c < kValues; ++c) total[c] = T(0);
  int64_t chunk = chunk_base(a.tile_first, tile);
  for (int64_t first = begin; first < end; first += kThreads, ++chunk) {
    if (__syncthreads_and(walk.stopped)) break;
    const int n = int(end - first < kThreads ? end - first : kThreads);
    if (int(threadIdx.x) < n) {
      const int32_t gaussian = a.entries[first + threadIdx.x].gaussian;
      geometry[threadIdx.x] = geometry_of(a.geometry + (image * a.splats.n + gaussian) * kGeometry);
#pragma unroll
      for (int c = 0; c < kValues; ++c)
        values[threadIdx.x][c] = first_value + c <= a.n_channels ? value_at(a, image, gaussian, first_value + c) : T(0);
    }
    __syncthreads();
    if (first_value == 0 && a.state) *state_of(a, chunk, a.n_channels + 1) = walk.transmittance;
    T sums[kValues];
#pragma unroll
    for (int c = 0; c < kValues; ++c) sums[c] = T(0);
    if (!walk.stopped)
      walk_chunk<T, kValues>(a, geometry, values, n, int32_t(first - begin), pixel, lowest, walk, sums);
#pragma unroll
    for (int c = 0; c < kValues; ++c) {
      total[c] += sums[c];
      if (a.state && first_value + c <= a.n_channels) *state_of(a, chunk, first_value + c) = sums[c];
    }
  }
  if (!pixel.inside) return;
  const T alpha = 1 - walk.transmittance;
#pragma unroll
  for (int c = 0; c < kValues; ++c) {
    const int64_t value = first_value + c;
    if (value < a.n_channels)
      a.color[pixel.at * a.n_channels + value] =
          total[c] + (a.background ? walk.transmittance * a.background[value] : T(0));
    else if (value == a.n_channels)
      a.depth[pixel.at] = alpha > T(0) ? total[c] / alpha : T(0);
  }
  if (first_value != 0) return;
  a.alpha[pixel.at] = alpha;
  if (!a.last) return;
  a.transmittance[pixel.at] = walk.transmittance;
  a.last[pixel.at] = walk.last;
}

// --- backward --------------------------------------------------------------------------------------------------------
template <typename T>
__device__ __forceinline__ PixelGradient<T> gradient_of(const BlendBackwardArgs<T>& b, const Pixel& pixel) {
  const BlendArgs<T>& a = b.forward;
  if (!pixel.inside) return {T(0), T(0)};
  T light = 0;
  for (int64_t c = 0; c < a.n_channels && a.background; ++c)
    light += b.grad_color[pixel.at * a.n_channels + c] * a.background[c];
  return pixel_gradient(a.transmittance[pixel.at], a.alpha[pixel.at], a.depth[pixel.at], b.grad_alpha[pixel.at],
                        b.grad_depth[pixel.at], light);
}

// A block per tile: the light behind each of its chunks, from the last one to the first.
template <typename T>
__global__ void __launch_bounds__(kThreads) behind_kernel(const BlendBackwardArgs<T> b) {
  const BlendArgs<T>& a = b.forward;
  const int64_t tile = blockIdx.x, n = a.tile_first[tile + 1] - a.tile_first[tile],
                base = chunk_base(a.tile_first, tile);
  const Pixel pixel = pixel_of(a.splats, tile);
  const PixelGradient<T> own = gradient_of(b, pixel);
  const int64_t last = pixel.inside ? a.last[pixel.at] : 0;
  T behind = own.behind;
  for (int64_t chunk = (n + kThreads - 1) / kThreads - 1; chunk >= 0; --chunk) {
    b.behind[(base + chunk) * kThreads + threadIdx.x] = behind;
    if (chunk * kThreads >= last) continue;  // nothing of it was seen
    behind += own.depth * *state_of(a, base + chunk, a.n_channels);
    for (int64_t c = 0; c < a.n_channels; ++c)
      behind += b.grad_color[pixel.at * a.n_channels + c] * *state_of(a, base + chunk, c);
  }
}

// The tile of a chunk: the last one whose chunks start at or before it.
template <typename T>
__device__ __forceinline__ int64_t tile_of_chunk(const BlendArgs<T>& a, int64_t chunk) {
  int64_t low = 0, high = a.splats.size.tiles() * a.splats.n_images;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (chunk_base(a.tile_first, middle) <= chunk ? low : high) = middle;
  }
  return low;
}

// What one pixel knows while it walks a chunk back to front.
template <typename T, int kFixed>
struct BackwardWalk {
  T transmittance, behind, grad_depth;
  T grad[kFixed ? kFixed - 1 : 1];  // of the colours, where their number is known
  int32_t last;
};

// One entry at one pixel: the moments, and the weight.
template <typename T, int kFixed>
__device__ __forceinline__ T walk_back(const BlendBackwardArgs<T>& b, const Geometry<T>& g, const T* values,
                                       int64_t image, int32_t gaussian, const Pixel& pixel, T lowest,
                                       BackwardWalk<T, kFixed>& walk, T* moments) {
  const BlendArgs<T>& a = b.forward;
  const Shade<T> shade = shade_at(g, T(pixel.x) + T(0.5), T(pixel.y) + T(0.5), a.alpha_max, lowest);
  if (!shade.blends) return T(0);
  const T inverse = 1 / (1 - shade.alpha);
  walk.transmittance *= inverse;
  T light;
  if constexpr (kFixed != 0) {
    light = walk.grad_depth * values[kFixed - 1];
#pragma unroll
    for (int c = 0; c + 1 < kFixed; ++c) light += walk.grad[c] * values[c];
  } else {
    light = walk.grad_depth * value_at(a, image, gaussian, a.n_channels);
    for (int64_t c = 0; c < a.n_channels; ++c)
      light += b.grad_color[pixel.at * a.n_channels + c] * value_at(a, image, gaussian, c);
  }
  const T weight = walk.transmittance * shade.alpha;
  const T g_of_q =
      shade.clamped ? T(0) : -shade.alpha * alpha_gradient(walk.transmittance, light, walk.behind, inverse);
  walk.behind += weight * light;
  moments[kSum] = g_of_q;
  moments[kSumU] = g_of_q * shade.u, moments[kSumV] = g_of_q * shade.v;
  moments[kSumUU] = moments[kSumU] * shade.u, moments[kSumUV] = moments[kSumU] * shade.v;
  moments[kSumVV] = moments[kSumV] * shade.v;
  return weight;
}

template <typename T, int kFixed>
__device__ __forceinline__ BackwardWalk<T, kFixed> start_walk(const BlendBackwardArgs<T>& b, const Pixel& pixel,
                                                              int64_t chunk, int32_t end_of_chunk) {
  const BlendArgs<T>& a = b.forward;
  BackwardWalk<T, kFixed> walk{};
  walk.last = pixel.inside ? a.last[pixel.at] : 0;
  if (!pixel.inside) return walk;
  // At the end of the chunk, or where the pixel stopped in it.
  walk.transmittance =
      walk.last <= end_of_chunk ? a.transmittance[pixel.at] : *state_of(a, chunk + 1, a.n_channels + 1);
  walk.behind = b.behind[chunk * kThreads + threadIdx.x];
  walk.grad_depth = gradient_of(b, pixel).depth;
  if constexpr (kFixed != 0)
    for (int c = 0; c + 1 < kFixed; ++c) walk.grad[c] = b.grad_color[pixel.at * a.n_channels + c];
  return walk;
}

// A block per chunk. `batch` entries at a time, the sums of the warps lie in shared memory: (batch, kWarps, moments and
// values), and are then added up in the order of the warps.
template <typename T, int kFixed>
__global__ void __launch_bounds__(kThreads) blend_backward_kernel(const BlendBackwardArgs<T> b, int batch) {
  A3D_DYNAMIC_SHARED(T, sums);
  __shared__ Geometry<T> geometry[kThreads];
  __shared__ T values[kFixed ? kThreads : 1][kFixed ? kFixed : 1];
  __shared__ Entry entries[kThreads];
  const BlendArgs<T>& a = b.forward;
  const int64_t chunk = blockIdx.x, tile = tile_of_chunk(a, chunk), image = tile / a.splats.size.tiles();
  const int64_t start = (chunk - chunk_base(a.tile_first, tile)) * kThreads;
  const int64_t first = a.tile_first[tile] + start, left = a.tile_first[tile + 1] - first;
  if (left <= 0) return;  // a number that no chunk has
  const int n = int(left < kThreads ? left : kThreads), width = kMoments + int(a.n_channels) + 1;
  if (int(threadIdx.x) < n) {
    const Entry entry = entries[threadIdx.x] = a.entries[first + threadIdx.x];
    geometry[threadIdx.x] = geometry_of(a.geometry + (image * a.splats.n + entry.gaussian) * kGeometry);
    if constexpr (kFixed != 0)
      for (int c = 0; c < kFixed; ++c) values[threadIdx.x][c] = value_at(a, image, entry.gaussian, c);
  }
  const Pixel pixel = pixel_of(a.splats, tile);
  const T lowest = std::log2(a.splats.alpha_min);
  BackwardWalk<T, kFixed> walk = start_walk<T, kFixed>(b, pixel, chunk, int32_t(start) + n);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  for (int end = n; end > 0; end -= batch) {
    const int begin = end > batch ? end - batch : 0;
    __syncthreads();  // the entries are there, and the sums have been read
    for (int k = end - 1; k >= begin; --k) {
      T moments[kMoments] = {T(0), T(0), T(0), T(0), T(0), T(0)}, weight = 0;
      if (start + k < walk.last)
        weight = walk_back<T, kFixed>(b, geometry[k], values[kFixed ? k : 0], image, entries[k].gaussian, pixel, lowest,
                                      walk, moments);
      T* out = sums + ((k - begin) * kWarps + warp) * width;
      const bool any = __any_sync(kAllLanes, weight != T(0));
      for (int i = 0; i < width; ++i) {
        T mine;
        if (i < kMoments) mine = moments[i];
        else if (i == width - 1) mine = weight * walk.grad_depth;
        else if constexpr (kFixed != 0) mine = weight * walk.grad[i - kMoments];
        else mine = weight != T(0) ? weight * b.grad_color[pixel.at * a.n_channels + i - kMoments] : T(0);
        const T sum = any ? sum_of_warp(mine) : T(0);
        if (lane == 0) out[i] = sum;
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < (end - begin) * width; i += kThreads) {
      const int k = i / width, c = i % width;
      T sum = 0;
      for (int w = 0; w < kWarps; ++w) sum += sums[(k * kWarps + w) * width + c];
      b.partials[entries[begin + k].slot * partial_stride(a.n_channels) + c] = sum;
    }
  }
}

// --- after the tiles -------------------------------------------------------------------------------------------------
constexpr int kPerGaussian = 16;  // threads that add up the slots of a Gaussian, a value or some each

template <typename T>
__device__ __forceinline__ void write_geometry_gradient(const BlendBackwardArgs<T>& b, int64_t at, bool seen,
                                                        const T* moments) {
  const BlendArgs<T>& a = b.forward;
  T mean[2] = {T(0), T(0)}, conic[3] = {T(0), T(0), T(0)}, opacity = 0;
  if (seen)
    geometry_gradient(geometry_of(a.geometry + at * kGeometry), a.splats.opacities[at], moments, mean, conic, &opacity);
  b.grad_means_2d[2 * at] = mean[0], b.grad_means_2d[2 * at + 1] = mean[1];
  for (int k = 0; k < 3; ++k) b.grad_conics[3 * at + k] = conic[k];
  b.grad_opacities[at] = opacity;
}

template <typename T>
__global__ void __launch_bounds__(kThreads) gather_kernel(const BlendBackwardArgs<T> b) {
  const BlendArgs<T>& a = b.forward;
  const int64_t wish = global_thread() / kPerGaussian, channels = a.n_channels;
  const int64_t i = wish < a.splats.n ? wish : a.splats.n - 1, stride = partial_stride(channels);  // whole warps stay
  const int self = threadIdx.x % kPerGaussian;
  for (int64_t image = 0; image < a.splats.n_images; ++image) {
    const int64_t at = image * a.splats.n + i, begin = a.slot_first[at], end = a.slot_first[at + 1];
    T moments[kMoments];
    for (int64_t c = self; c < (kMoments + channels + kPerGaussian) / kPerGaussian * kPerGaussian; c += kPerGaussian) {
      T sum = 0;
      for (int64_t slot = begin; slot < end && c <= kMoments + channels; ++slot) sum += b.partials[slot * stride + c];
      if (c < kPerGaussian)
        for (int k = 0; k < kMoments; ++k) moments[k] = __shfl_sync(kAllLanes, sum, k, kPerGaussian);
      if (wish >= a.splats.n || c < kMoments || c > kMoments + channels) continue;
      T* color = b.grad_colors + (a.shared_colors ? i : at) * channels + c - kMoments;
      if (c == kMoments + channels) b.grad_depths[at] = sum;
      else *color = a.shared_colors && image > 0 ? *color + sum : sum;
    }
    if (self == 0 && wish < a.splats.n) write_geometry_gradient(b, at, begin < end, moments);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) background_tile_kernel(const BlendBackwardArgs<T> b) {
  __shared__ T shared[kWarps];
  const BlendArgs<T>& a = b.forward;
  const Pixel pixel = pixel_of(a.splats, blockIdx.x);
  for (int64_t c = 0; c < a.n_channels; ++c) {
    const T own = pixel.inside ? a.transmittance[pixel.at] * b.grad_color[pixel.at * a.n_channels + c] : T(0);
    const T sum = sum_of_block(own, shared);
    if (threadIdx.x == 0) b.background_partials[blockIdx.x * a.n_channels + c] = sum;
  }
}

// A block per channel.
template <typename T>
__global__ void __launch_bounds__(kThreads) background_kernel(const BlendBackwardArgs<T> b) {
  __shared__ T shared[kWarps];
  const BlendArgs<T>& a = b.forward;
  T own = 0;
  for (int64_t tile = threadIdx.x; tile < a.splats.size.tiles() * a.splats.n_images; tile += kThreads)
    own += b.background_partials[tile * a.n_channels + blockIdx.x];
  const T sum = sum_of_block(own, shared);
  if (threadIdx.x == 0) b.grad_background[blockIdx.x] = sum;
}

// --- launches --------------------------------------------------------------------------------------------------------
template <typename T>
int64_t tile_count(const BlendArgs<T>& a) {
  const int64_t n = a.splats.size.tiles() * a.splats.n_images;
  if (n >= int64_t(1) << 31) throw std::runtime_error("blend_gaussians: the images have too many tiles for one launch");
  return n;
}

template <int kFixed, typename T>
void launch_backward(const BlendBackwardArgs<T>& b, [[maybe_unused]] cudaStream_t stream) {
  constexpr size_t kRoom = 16 << 10;  // bytes: with the entries of a chunk they fit the 48 KiB that need no asking
  const size_t per_entry = size_t(kMoments + b.forward.n_channels + 1) * kWarps * sizeof(T);
  if (per_entry > kRoom) throw std::runtime_error("blend_gaussians: too many channels for the gradient on CUDA");
  const int batch = int(kRoom / per_entry < 16 ? kRoom / per_entry : 16);
  if (b.forward.n_chunks)
    A3D_LAUNCH((blend_backward_kernel<T, kFixed>), dim3(unsigned(b.forward.n_chunks)), kThreads, batch * per_entry,
               stream, b, batch);
}
}  // namespace

template <typename T>
void blend_cuda(const BlendArgs<T>& a, void* stream_pointer) {
  [[maybe_unused]] const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);
  const dim3 grid(unsigned(tile_count(a)));
  if (!grid.x) return;
  if (a.n_channels == 3) {
    A3D_LAUNCH((blend_kernel<T, 4>), grid, kThreads, 0, stream, a, int64_t(0));
  } else if (a.n_channels == 4) {
    A3D_LAUNCH((blend_kernel<T, 5>), grid, kThreads, 0, stream, a, int64_t(0));
  } else {
    for (int64_t first = 0; first <= a.n_channels; first += kGroup)
      A3D_LAUNCH((blend_kernel<T, kGroup>), grid, kThreads, 0, stream, a, first);
  }
}

template <typename T>
void blend_backward_cuda(const BlendBackwardArgs<T>& b, void* stream_pointer) {
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);
  const BlendArgs<T>& a = b.forward;
  const dim3 grid(unsigned(tile_count(a)));
  if (grid.x) {
    A3D_LAUNCH(behind_kernel<T>, grid, kThreads, 0, stream, b);
    if (a.n_channels == 3) launch_backward<4>(b, stream);
    else if (a.n_channels == 4) launch_backward<5>(b, stream);
    else launch_backward<0>(b, stream);
    if (a.background) A3D_LAUNCH(background_tile_kernel<T>, grid, kThreads, 0, stream, b);
  }
  if (a.background && a.n_channels)
    A3D_LAUNCH(background_kernel<T>, dim3(unsigned(a.n_channels)), kThreads, 0, stream, b);
  const int64_t threads = a.splats.n * kPerGaussian;
  if (threads) A3D_LAUNCH(gather_kernel<T>, blocks_for(threads, kThreads), kThreads, 0, stream, b);
}

template void blend_cuda(const BlendArgs<float>&, void*);
template void blend_cuda(const BlendArgs<double>&, void*);
template void blend_backward_cuda(const BlendBackwardArgs<float>&, void*);
template void blend_backward_cuda(const BlendBackwardArgs<double>&, void*);
}  // namespace asset3d::gaussian
