// Rasterizing on the CPU: faces are sorted into tiles in the order of their numbers; each tile keeps its depths in the
// cache, finds the nearest face of every pixel, then writes barycentrics and derivatives of the visible ones only.
// float32 runs in lanes (rasterize_simd.cpp); float64, for gradcheck, in plain loops.
#include <limits>
#include "cpu_schedule.h"
#include "rasterize_math.h"
#include "rasterize_simd.h"

namespace asset3d::triangle {
namespace {
constexpr int64_t kFacesPerChunk = 4096;

void face_boxes_of(const RasterizeArgs<float>& a, const float* positions, const FaceBoxes& boxes, int64_t begin,
                   int64_t end) {
  A3D_DISPATCH(face_boxes)(a, positions, boxes, begin, end);
}
void face_boxes_of(const RasterizeArgs<double>& a, const double* positions, const FaceBoxes& boxes, int64_t begin,
                   int64_t end) {
  for (int64_t f = begin; f < end; ++f) {
    const PixelBox box = pixel_box(load_triangle(positions, a.faces, f), a.size.width, a.size.height);
    boxes.x0[f] = box.x0;
    boxes.y0[f] = box.y0;
    boxes.x1[f] = box.x1;
    boxes.y1[f] = box.y1;
  }
}

void draw(const RasterizeArgs<float>& a, const float* positions, const FaceBoxes& boxes, const int32_t* list, int64_t n,
          Tile<float>& tile) {
  A3D_DISPATCH(draw_faces)(a, positions, boxes, list, n, tile);
}
void draw(const RasterizeArgs<double>& a, const double* positions, const FaceBoxes& boxes, const int32_t* list,
          int64_t n, Tile<double>& tile) {
  for (int64_t i = 0; i < n; ++i) {
    const int32_t f = list[i];
    const Triangle<double> t = load_triangle(positions, a.faces, f);
    for (int y = std::max(boxes.y0[f], tile.y0); y <= std::min(boxes.y1[f], tile.y1); ++y)
      for (int x = std::max(boxes.x0[f], tile.x0); x <= std::min(boxes.x1[f], tile.x1); ++x) {
        const Edges<double> g =
            edges_at(t, pixel_center<double>(x, a.size.width), pixel_center<double>(y, a.size.height));
        const double z = g.z / g.w;
        double& depth = tile.depth[y - tile.y0][x - tile.x0];
        if (!(covers(g) && z < depth && z >= -1 && z <= 1)) continue;
        depth = z;
        tile.face[y - tile.y0][x - tile.x0] = f;
      }
  }
}

void write(const RasterizeArgs<float>& a, const float* positions, int64_t batch, const Tile<float>& tile) {
  A3D_DISPATCH(write_tile)(a, positions, batch, tile);
}
void write(const RasterizeArgs<double>& a, const double* positions, int64_t batch, const Tile<double>& tile) {
  const double step_x = 2.0 / a.size.width, step_y = 2.0 / a.size.height;
  for (int y = tile.y0; y <= tile.y1; ++y)
    for (int x = tile.x0; x <= tile.x1; ++x) {
      const int64_t at = ((batch * a.size.height + y) * a.size.width + x) * 4;
      const int32_t f = tile.face[y - tile.y0][x - tile.x0];
      std::fill_n(a.rast + at, 4, 0.0);
      std::fill_n(a.rast_db + at, 4, 0.0);
      if (f < 0) continue;
      const Triangle<double> t = load_triangle(positions, a.faces, f);
      const Edges<double> g =
          edges_at(t, pixel_center<double>(x, a.size.width), pixel_center<double>(y, a.size.height));
      resolve(t, g, step_x, step_y, double(f + 1), a.rast + at, a.rast_db + at);
    }
}

void backward(const RasterizeArgs<float>& a, int64_t batch, int64_t begin, int64_t end, float* sums) {
  A3D_DISPATCH(rasterize_backward_pixels)(a, batch, begin, end, sums);
}
void backward(const RasterizeArgs<double>& a, int64_t batch, int64_t begin, int64_t end, double* sums) {
  const int64_t pixels = int64_t(a.size.height) * a.size.width, first = batch * a.n_vertices * 4;
  for (int64_t i = begin; i < end; ++i)
    rasterize_backward_pixel(a, batch * pixels + i, [&](int64_t at, double value) { sums[at - first] += value; });
}

template <typename T>
void draw_tile(const RasterizeArgs<T>& a, const T* positions, int64_t batch, const FaceBoxes& boxes, const Bins& bins,
               int64_t index, int columns) {
  Tile<T> tile;
  tile.x0 = int(index % columns) * kTileWidth;
  tile.y0 = int(index / columns) * kTileHeight;
  tile.x1 = std::min(tile.x0 + kTileWidth, a.size.width) - 1;
  tile.y1 = std::min(tile.y0 + kTileHeight, a.size.height) - 1;
  std::fill_n(&tile.depth[0][0], kTileHeight * (kTileWidth + kTileMargin), std::numeric_limits<T>::infinity());
  std::fill_n(&tile.face[0][0], kTileHeight * (kTileWidth + kTileMargin), -1);
  draw(a, positions, boxes, bins.items.data() + bins.first[index], bins.first[index + 1] - bins.first[index], tile);
  write(a, positions, batch, tile);
}
}  // namespace

template <typename T>
void rasterize_cpu(const RasterizeArgs<T>& a) {
  const int columns = (a.size.width + kTileWidth - 1) / kTileWidth,
            rows = (a.size.height + kTileHeight - 1) / kTileHeight;
  std::vector<int32_t> storage(4 * a.n_faces);
  const FaceBoxes boxes{storage.data(), storage.data() + a.n_faces, storage.data() + 2 * a.n_faces,
                        storage.data() + 3 * a.n_faces};
  for (int64_t batch = 0; batch < a.size.batch; ++batch) {
    const T* positions = a.positions + batch * a.n_vertices * 4;
    parallel_for(0, a.n_faces, kFacesPerChunk,
                 [&](int64_t begin, int64_t end) { face_boxes_of(a, positions, boxes, begin, end); });
    const Bins bins = bin_items(a.n_faces, int64_t(columns) * rows, kFacesPerChunk, [&](int64_t f, auto&& emit) {
      if (boxes.x0[f] > boxes.x1[f] || boxes.y0[f] > boxes.y1[f]) return;
      for (int r = boxes.y0[f] / kTileHeight; r <= boxes.y1[f] / kTileHeight; ++r)
        for (int c = boxes.x0[f] / kTileWidth; c <= boxes.x1[f] / kTileWidth; ++c) emit(int64_t(r) * columns + c);
    });
    for_each_job(int64_t(columns) * rows,
                 [&](int64_t index) { draw_tile(a, positions, batch, boxes, bins, index, columns); });
  }
}

template <typename T>
void rasterize_backward_cpu(const RasterizeArgs<T>& a) {
  const int64_t pixels = int64_t(a.size.height) * a.size.width, values = a.n_vertices * 4;
  for (int64_t batch = 0; batch < a.size.batch; ++batch)
    scatter_bands<T>(pixels, values, 4, a.grad_positions + batch * values,
                     [&](int64_t begin, int64_t end, T* sums) { backward(a, batch, begin, end, sums); });
}

template void rasterize_cpu(const RasterizeArgs<float>&);
template void rasterize_cpu(const RasterizeArgs<double>&);
template void rasterize_backward_cpu(const RasterizeArgs<float>&);
template void rasterize_backward_cpu(const RasterizeArgs<double>&);
}  // namespace asset3d::triangle
