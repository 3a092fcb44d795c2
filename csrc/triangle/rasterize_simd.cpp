// Lanes: faces while their boxes are found, pixels of a row while they are drawn and written.
#include "../common/simd.h"
#include "rasterize_math.h"
#include "rasterize_simd.h"

namespace asset3d::triangle::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;

namespace {
A3D_LANE Float centers(int first, int n) {
  return fused(to_float(lane_numbers() + Int(first)), Float(2.0f / float(n)), Float(1.0f / float(n) - 1.0f));
}

// Corners of the faces in `face`; lanes outside the mask hold zeros.
A3D_LANE Triangle<Float> gather_triangles(const float* positions, const int32_t* faces, Int face, Mask m) {
  Triangle<Float> t;
  for (int i = 0; i < 3; ++i) {
    const Int at = gather(faces + i, face * Int(3), m) << 2;
    t.corner[i].x = gather(positions, at, m);
    t.corner[i].y = gather(positions + 1, at, m);
    t.corner[i].z = gather(positions + 2, at, m);
    t.corner[i].w = gather(positions + 3, at, m);
  }
  return t;
}

A3D_LANE Triangle<Float> broadcast(const float* positions, const int32_t* corners) {
  Triangle<Float> t;
  for (int i = 0; i < 3; ++i) {
    const float* p = positions + int64_t(corners[i]) * 4;
    t.corner[i].x = Float(p[0]);
    t.corner[i].y = Float(p[1]);
    t.corner[i].z = Float(p[2]);
    t.corner[i].w = Float(p[3]);
  }
  return t;
}

A3D_LANE Mask covered(const Edges<Float>& g) {
  const Float lowest = min(min(g.e[0], g.e[1]), g.e[2]), highest = max(max(g.e[0], g.e[1]), g.e[2]);
  const Float zero(0.0f);
  return ((lowest >= zero) & (g.sum > zero) & (g.w > zero)) | ((highest <= zero) & (g.sum < zero) & (g.w < zero));
}

struct Range { Float low, high; };

A3D_LANE Range range_of(Float a, Float b, Float c) {
  return {min(a, min(b, min(c, Float(2.0f)))), max(a, max(b, max(c, Float(-2.0f))))};
}
A3D_LANE Int first_pixel(Float low, int n) {
  return to_int(ceil((max(low, Float(-2.0f)) + Float(1.0f)) * Float(0.5f * float(n)) - Float(0.5f + 1e-3f)));
}
A3D_LANE Int last_pixel(Float high, int n) {
  return to_int(floor((min(high, Float(2.0f)) + Float(1.0f)) * Float(0.5f * float(n)) - Float(0.5f - 1e-3f)));
}
}  // namespace

void face_boxes(const RasterizeArgs<float>& a, const float* positions, const FaceBoxes& boxes, int64_t begin,
                int64_t end) {
  const int width = a.size.width, height = a.size.height;
  for (int64_t f = begin; f < end; f += kLanes) {
    const Mask m = first_lanes(end - f);
    Float x[3], y[3], w[3];
    for (int i = 0; i < 3; ++i) {
      const Int at = gather(a.faces + 3 * f + i, lane_numbers() * Int(3), m) << 2;
      w[i] = gather(positions + 3, at, m);
      const Float scale = Float(1.0f) / w[i];
      x[i] = gather(positions, at, m) * scale;
      y[i] = gather(positions + 1, at, m) * scale;
    }
    const Range rx = range_of(x[0], x[1], x[2]), ry = range_of(y[0], y[1], y[2]);
    const Float zero(0.0f), lowest = min(min(w[0], w[1]), w[2]), highest = max(max(w[0], w[1]), w[2]);
    const Mask some_behind = lowest <= zero, all_behind = highest <= zero;
    const Int right(width - 1), bottom(height - 1), none(-1), first(0);
    store(boxes.x0 + f, select(some_behind, first, max(first_pixel(rx.low, width), first)), m);
    store(boxes.y0 + f, select(some_behind, first, max(first_pixel(ry.low, height), first)), m);
    store(boxes.x1 + f, select(all_behind, none, select(some_behind, right, min(last_pixel(rx.high, width), right))),
          m);
    store(boxes.y1 + f, select(some_behind, bottom, min(last_pixel(ry.high, height), bottom)), m);
  }
}

void draw_faces(const RasterizeArgs<float>& a, const float* positions, const FaceBoxes& boxes, const int32_t* list,
                int64_t n_list, Tile<float>& tile) {
  for (int64_t i = 0; i < n_list; ++i) {
    const int32_t f = list[i];
    const int x0 = boxes.x0[f] > tile.x0 ? boxes.x0[f] : tile.x0, x1 = boxes.x1[f] < tile.x1 ? boxes.x1[f] : tile.x1;
    const int y0 = boxes.y0[f] > tile.y0 ? boxes.y0[f] : tile.y0, y1 = boxes.y1[f] < tile.y1 ? boxes.y1[f] : tile.y1;
    const Triangle<Float> t = broadcast(positions, a.faces + 3 * int64_t(f));
    for (int x = x0; x <= x1; x += kLanes) {
      const Float px = centers(x, a.size.width);
      const Mask inside_box = first_lanes(x1 - x + 1);
      for (int y = y0; y <= y1; ++y) {
        const Edges<Float> g = edges_at(t, px, Float(pixel_center<float>(y, a.size.height)));
        const Mask hit = covered(g) & inside_box;
        if (none(hit)) continue;
        float* depth = &tile.depth[y - tile.y0][x - tile.x0];
        const Float z = g.z / g.w;
        const Mask visible = hit & (z < load(depth)) & (z >= Float(-1.0f)) & (z <= Float(1.0f));
        store(depth, z, visible);
        store(&tile.face[y - tile.y0][x - tile.x0], Int(f), visible);
      }
    }
  }
}

void write_tile(const RasterizeArgs<float>& a, const float* positions, int64_t batch, const Tile<float>& tile) {
  const float step_x = 2.0f / float(a.size.width), step_y = 2.0f / float(a.size.height);
  const Int lanes = lane_numbers();
  for (int y = tile.y0; y <= tile.y1; ++y) {
    const Float py(pixel_center<float>(y, a.size.height));
    const int64_t row = (batch * a.size.height + y) * a.size.width;
    for (int x = tile.x0; x <= tile.x1; x += kLanes) {
      const int n = tile.x1 - x + 1 < kLanes ? tile.x1 - x + 1 : kLanes;
      const Mask m = first_lanes(n);
      const Int face = load(&tile.face[y - tile.y0][x - tile.x0]);
      const Mask hit = m & (face > Int(-1));
      float *rast = a.rast + (row + x) * 4, *rast_db = a.rast_db + (row + x) * 4;
      if (none(hit)) {
        for (int k = 0; k < 4 * n; ++k) rast[k] = rast_db[k] = 0.0f;
        continue;
      }
      const Triangle<Float> t = gather_triangles(positions, a.faces, face, hit);
      Float out[4], out_db[4];
      resolve(t, edges_at(t, centers(x, a.size.width), py), Float(step_x), Float(step_y), to_float(face + Int(1)), out,
              out_db);
      for (int k = 0; k < 4; ++k) {
        out[k] = select(hit, out[k], Float(0.0f));
        out_db[k] = select(hit, out_db[k], Float(0.0f));
      }
      for (int k = 0; k < 2; ++k) {
        const Int at = (lanes << 1) + Int(k);
        scatter_pairs(rast, at, out[2 * k], out[2 * k + 1], m);
        scatter_pairs(rast_db, at, out_db[2 * k], out_db[2 * k + 1], m);
      }
    }
  }
}

void rasterize_backward_pixels(const RasterizeArgs<float>& a, int64_t batch, int64_t begin, int64_t end, float* sums) {
  const int width = a.size.width, height = a.size.height;
  const float* positions = a.positions + batch * a.n_vertices * 4;
  const int64_t image = batch * int64_t(width) * height;
  const Int stride = lane_numbers() << 2;
  for (int64_t i = begin; i < end;) {
    const int x = int(i % width), y = int(i / width);
    const int64_t left = end - i < width - x ? end - i : width - x;
    const Mask m = first_lanes(left);
    const int64_t pixel = (image + i) * 4;
    i += left < kLanes ? left : kLanes;
    const Float number = gather(a.rast + pixel + 3, stride, m);
    const Mask hit = m & (number >= Float(1.0f)) & (number <= Float(float(a.n_faces)));
    if (none(hit)) continue;
    const Int face = to_int(number) - Int(1);
    const Triangle<Float> t = gather_triangles(positions, a.faces, face, hit);
    Float grad[4], grad_db[4];
    for (int k = 0; k < 4; ++k) {
      grad[k] = gather(a.grad_rast + pixel + k, stride, hit);
      grad_db[k] = gather(a.grad_rast_db + pixel + k, stride, hit);
    }
    const Triangle<Float> out =
        rasterize_backward_at(t, centers(x, width), Float(pixel_center<float>(y, height)), Float(2.0f / float(width)),
                              Float(2.0f / float(height)), grad, grad_db);
    float values[12][kLanes];
    int32_t faces[kLanes];
    store(faces, face);
    for (int k = 0; k < 3; ++k) {
      store(values[4 * k], out.corner[k].x);
      store(values[4 * k + 1], out.corner[k].y);
      store(values[4 * k + 2], out.corner[k].z);
      store(values[4 * k + 3], out.corner[k].w);
    }
    for (uint32_t rest = bits(hit); rest; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      for (int k = 0; k < 3; ++k) {
        float* sum = sums + int64_t(a.faces[3 * int64_t(faces[lane]) + k]) * 4;
        for (int c = 0; c < 4; ++c) sum[c] += values[4 * k + c][lane];
      }
    }
  }
}
}  // namespace asset3d::triangle::A3D_ISA
