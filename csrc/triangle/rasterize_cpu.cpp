// Rasterizing on the CPU: faces are sorted into tiles in the order of their numbers; each tile keeps its depths in the
// cache, finds the nearest face of every pixel, then writes barycentrics and derivatives of the visible ones only.
#include <limits>
#include "cpu_schedule.h"
#include "rasterize_math.h"

namespace asset3d::triangle {
namespace {
constexpr int kTileWidth = 64, kTileHeight = 32, kLanes = 16;
constexpr int64_t kFacesPerChunk = 4096;

struct TileGrid {
  int columns, rows;
  explicit TileGrid(const ImageSize& size)
      : columns((size.width + kTileWidth - 1) / kTileWidth), rows((size.height + kTileHeight - 1) / kTileHeight) {}
  int64_t count() const { return int64_t(columns) * rows; }
  template <typename Fn>
  void for_each_tile(const PixelBox& box, Fn&& fn) const {
    for (int r = box.y0 / kTileHeight; r <= box.y1 / kTileHeight; ++r)
      for (int c = box.x0 / kTileWidth; c <= box.x1 / kTileWidth; ++c) fn(int64_t(r) * columns + c);
  }
};

template <typename T>
std::vector<PixelBox> face_boxes(const RasterizeArgs<T>& a, const T* positions) {
  std::vector<PixelBox> boxes(a.n_faces);
  parallel_for(0, a.n_faces, kFacesPerChunk, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f)
      boxes[f] = pixel_box(load_triangle(positions, a.faces, f), a.size.width, a.size.height);
  });
  return boxes;
}

template <typename T>
struct Tile {
  int x0, y0, x1, y1;  // pixels, inclusive
  T depth[kTileHeight][kTileWidth + kLanes];
  int32_t face[kTileHeight][kTileWidth + kLanes];
};

template <typename T>
void draw(const Triangle<T>& t, int32_t face, const PixelBox& box, const ImageSize& size, Tile<T>& tile) {
  const int x0 = std::max(box.x0, tile.x0), x1 = std::min(box.x1, tile.x1);
  const int y0 = std::max(box.y0, tile.y0), y1 = std::min(box.y1, tile.y1);
  for (int y = y0; y <= y1; ++y) {
    const T py = pixel_center<T>(y, size.height);
    for (int x = x0; x <= x1; x += kLanes) {
      T* depth = &tile.depth[y - tile.y0][x - tile.x0];
      int32_t* nearest = &tile.face[y - tile.y0][x - tile.x0];
      const int n = std::min(kLanes, x1 - x + 1);
      for (int lane = 0; lane < n; ++lane) {
        const Edges<T> g = edges_at(t, pixel_center<T>(x + lane, size.width), py);
        const T z = g.z / g.w;
        const bool visible = covers(g) & (z < depth[lane]) & (z >= T(-1)) & (z <= T(1));
        depth[lane] = visible ? z : depth[lane];
        nearest[lane] = visible ? face : nearest[lane];
      }
    }
  }
}

template <typename T>
void write_row(const RasterizeArgs<T>& a, const T* positions, int64_t batch, int y, int x0, int x1, const int32_t* face) {
  const T step_x = T(2) / T(a.size.width), step_y = T(2) / T(a.size.height);
  const T py = pixel_center<T>(y, a.size.height);
  const int64_t row = (batch * a.size.height + y) * a.size.width;
  for (int x = x0; x <= x1; ++x) {
    T *rast = a.rast + (row + x) * 4, *rast_db = a.rast_db + (row + x) * 4;
    const int32_t f = face[x - x0];
    if (f < 0) {
      for (int k = 0; k < 4; ++k) rast[k] = rast_db[k] = 0;
      continue;
    }
    const Triangle<T> t = load_triangle(positions, a.faces, f);
    resolve(t, edges_at(t, pixel_center<T>(x, a.size.width), py), step_x, step_y, f, rast, rast_db);
  }
}
}  // namespace

template <typename T>
void rasterize_cpu(const RasterizeArgs<T>& a) {
  const TileGrid grid(a.size);
  for (int64_t batch = 0; batch < a.size.batch; ++batch) {
    const T* positions = a.positions + batch * a.n_vertices * 4;
    const std::vector<PixelBox> boxes = face_boxes(a, positions);
    const Bins bins = bin_items(a.n_faces, grid.count(), kFacesPerChunk, [&](int64_t f, auto&& emit) {
      if (!boxes[f].empty()) grid.for_each_tile(boxes[f], emit);
    });
    for_each_job(grid.count(), [&](int64_t index) {
      Tile<T> tile;
      tile.x0 = int(index % grid.columns) * kTileWidth;
      tile.y0 = int(index / grid.columns) * kTileHeight;
      tile.x1 = std::min(tile.x0 + kTileWidth, a.size.width) - 1;
      tile.y1 = std::min(tile.y0 + kTileHeight, a.size.height) - 1;
      std::fill_n(&tile.depth[0][0], kTileHeight * (kTileWidth + kLanes), std::numeric_limits<T>::infinity());
      std::fill_n(&tile.face[0][0], kTileHeight * (kTileWidth + kLanes), -1);
      for (int64_t i = bins.first[index]; i < bins.first[index + 1]; ++i) {
        const int32_t f = bins.items[i];
        draw(load_triangle(positions, a.faces, f), f, boxes[f], a.size, tile);
      }
      for (int y = tile.y0; y <= tile.y1; ++y)
        write_row(a, positions, batch, y, tile.x0, tile.x1, tile.face[y - tile.y0]);
    });
  }
}

template <typename T>
void rasterize_backward_cpu(const RasterizeArgs<T>& a) {
  const int64_t pixels = int64_t(a.size.height) * a.size.width, values = a.n_vertices * 4;
  for (int64_t batch = 0; batch < a.size.batch; ++batch)
    scatter_bands<T>(pixels, values, 4, a.grad_positions + batch * values, [&](int64_t begin, int64_t end, T* sums) {
      T* origin = sums - batch * values;
      for (int64_t i = begin; i < end; ++i)
        rasterize_backward_pixel(a, batch * pixels + i, [&](int64_t at, T value) { origin[at] += value; });
    });
}

template void rasterize_cpu(const RasterizeArgs<float>&);
template void rasterize_cpu(const RasterizeArgs<double>&);
template void rasterize_backward_cpu(const RasterizeArgs<float>&);
template void rasterize_backward_cpu(const RasterizeArgs<double>&);
}  // namespace asset3d::triangle
