// Rasterizing on CUDA: the nearest face of a pixel is the minimum over integers, (depth, face), which atomics find
// in any order. One thread draws a small face; a face with many pixels is put on a list, whose faces are then drawn
// by a block each. A last kernel writes the outputs of the visible faces.
#include "fixed_point.h"
#include "rasterize_math.h"

namespace asset3d::triangle {
namespace {
constexpr int kSmall = 64;           // pixels of the box of a face that one thread draws
constexpr int kLargeBlocks = 528;    // four per multiprocessor of a large GPU
constexpr unsigned long long kNone = ~0ull;

// Bits that compare like the numbers.
__device__ inline unsigned long long ordered(double v) {
  const unsigned long long bits = bits_of(v);
  return bits >> 63 ? ~bits : bits | 1ull << 63;
}
__device__ inline unsigned long long ordered(float v) {
  const unsigned bits = __float_as_uint(v);
  return bits >> 31 ? ~bits : bits | 1u << 31;
}

template <typename T>
__device__ inline void draw_pixel(const RasterizeArgs<T>& a, const Triangle<T>& t, int64_t batch, int64_t face, int x,
                                  int y, bool second) {
  const Edges<T> g = edges_at(t, pixel_center<T>(x, a.size.width), pixel_center<T>(y, a.size.height));
  const T z = g.z / g.w + T(0);  // no negative zero
  if (!(covers(g) && z >= T(-1) && z <= T(1))) return;
  unsigned long long* key = a.keys + ((batch * a.size.height + y) * a.size.width + x) * 2;
  const unsigned long long depth = ordered(z);
  if (!second) atomicMin(key, depth);
  else if (key[0] == depth) atomicMin(key + 1, (unsigned long long)face);
}

template <typename T>
__global__ void clear(const RasterizeArgs<T> a) {
  const int64_t i = global_thread();
  if (i < a.size.pixels() * 2) a.keys[i] = kNone;
  if (i < a.size.batch) a.large[i * (a.n_faces + 1)] = 0;
}

// The depth of every pixel in the first pass, the lowest face at that depth in the second.
template <typename T>
__global__ void draw_small(const RasterizeArgs<T> a, bool second) {
  const int64_t i = global_thread();
  if (i >= a.size.batch * a.n_faces) return;
  const int64_t batch = i / a.n_faces, face = i % a.n_faces;
  const Triangle<T> t = load_triangle(a.positions + batch * a.n_vertices * 4, a.faces, face);
  const PixelBox box = pixel_box(t, a.size.width, a.size.height);
  if (box.empty()) return;
  if (int64_t(box.x1 - box.x0 + 1) * (box.y1 - box.y0 + 1) > kSmall) {
    int32_t* list = a.large + batch * (a.n_faces + 1);
    if (!second) list[1 + atomicAdd(list, 1)] = int32_t(face);
    return;
  }
  for (int y = box.y0; y <= box.y1; ++y)
    for (int x = box.x0; x <= box.x1; ++x) draw_pixel(a, t, batch, face, x, y, second);
}

template <typename T>
__global__ void draw_large(const RasterizeArgs<T> a, bool second) {
  const int64_t batch = blockIdx.y;
  const int32_t* list = a.large + batch * (a.n_faces + 1);
  for (int32_t entry = blockIdx.x; entry < list[0]; entry += gridDim.x) {
    const int64_t face = list[1 + entry];
    const Triangle<T> t = load_triangle(a.positions + batch * a.n_vertices * 4, a.faces, face);
    const PixelBox box = pixel_box(t, a.size.width, a.size.height);
    const int width = box.x1 - box.x0 + 1, count = width * (box.y1 - box.y0 + 1);
    for (int i = threadIdx.x; i < count; i += blockDim.x)
      draw_pixel(a, t, batch, face, box.x0 + i % width, box.y0 + i / width, second);
  }
}

template <typename T>
__global__ void write_pixels(const RasterizeArgs<T> a) {
  const int64_t i = global_thread();
  if (i >= a.size.pixels()) return;
  T *rast = a.rast + i * 4, *rast_db = a.rast_db + i * 4;
  const unsigned long long face = a.keys[2 * i + 1];
  if (face == kNone) {
    for (int k = 0; k < 4; ++k) rast[k] = rast_db[k] = 0;
    return;
  }
  const int x = int(i % a.size.width), y = int(i / a.size.width % a.size.height);
  const int64_t batch = i / (int64_t(a.size.width) * a.size.height);
  const Triangle<T> t = load_triangle(a.positions + batch * a.n_vertices * 4, a.faces, int64_t(face));
  const Edges<T> g = edges_at(t, pixel_center<T>(x, a.size.width), pixel_center<T>(y, a.size.height));
  resolve(t, g, T(2) / T(a.size.width), T(2) / T(a.size.height), T(face + 1), rast, rast_db);
}

template <typename T, typename Add>
__device__ inline void backward_at_pixel(const RasterizeArgs<T>& a, Add add) {
  const int64_t i = global_thread();
  if (i < a.size.pixels()) rasterize_backward_pixel(a, i, add);
}
template <typename T>
__global__ void backward_largest(const RasterizeArgs<T> a) { backward_at_pixel(a, FindLargest{a.totals.largest}); }
template <typename T>
__global__ void backward_sum(const RasterizeArgs<T> a) {
  backward_at_pixel(a, AddFixed(a.totals));
}
}  // namespace

template <typename T>
void rasterize_cuda(const RasterizeArgs<T>& a, void* raw_stream) {
  [[maybe_unused]] const auto stream = static_cast<cudaStream_t>(raw_stream);
  const int64_t pixels = a.size.pixels(), faces = a.size.batch * a.n_faces;
  if (pixels == 0) return;
  A3D_LAUNCH(clear<T>, blocks_for(2 * pixels, kThreads), kThreads, 0, stream, a);
  for (const bool second : {false, true}) {
    if (faces == 0) break;
    A3D_LAUNCH(draw_small<T>, blocks_for(faces, kThreads), kThreads, 0, stream, a, second);
    const unsigned blocks = unsigned(a.n_faces < kLargeBlocks ? a.n_faces : kLargeBlocks);
    A3D_LAUNCH(draw_large<T>, dim3(blocks, unsigned(a.size.batch)), 128, 0, stream, a, second);
  }
  A3D_LAUNCH(write_pixels<T>, blocks_for(pixels, kThreads), kThreads, 0, stream, a);
}

template <typename T>
void rasterize_backward_cuda(const RasterizeArgs<T>& a, void* raw_stream) {
  [[maybe_unused]] const auto stream = static_cast<cudaStream_t>(raw_stream);
  const int64_t values = a.size.batch * a.n_vertices * 4;
  if (a.size.pixels() == 0 || values == 0) return;
  A3D_LAUNCH(backward_largest<T>, blocks_for(a.size.pixels(), kThreads), kThreads, 0, stream, a);
  A3D_LAUNCH(backward_sum<T>, blocks_for(a.size.pixels(), kThreads), kThreads, 0, stream, a);
  A3D_LAUNCH(convert_sums<T>, blocks_for(values, kThreads), kThreads, 0, stream, a.totals, a.grad_positions, values);
}

template void rasterize_cuda(const RasterizeArgs<float>&, void*);
template void rasterize_cuda(const RasterizeArgs<double>&, void*);
template void rasterize_backward_cuda(const RasterizeArgs<float>&, void*);
template void rasterize_backward_cuda(const RasterizeArgs<double>&, void*);
}  // namespace asset3d::triangle
