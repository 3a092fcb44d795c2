#pragma once
// One triangle at one pixel, in homogeneous coordinates (Olano and Greer 1997): no clipping, no division by w.
// Shear the corners so that the pixel is the origin, (x - X w, y - Y w); the edge function of corner i is the cross
// product of the other two, and the edge functions divided by their sum are the perspective-correct weights.
#include <cmath>
#include "../common/macros.h"
#include "triangle.h"

// Multiply-add in one instruction? In a *_simd.cpp the predefined macros still speak of the default target.
#if defined(__CUDACC__) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) || \
    (defined(A3D_ISA_LANES) && A3D_ISA_LANES > 4)
#define A3D_TRIANGLE_FUSED 1
#endif

namespace asset3d::triangle {

template <typename T> struct Corner { T x, y, z, w; };
template <typename T> struct Triangle { Corner<T> corner[3]; };

// a * b + c, rounded once where the machine has the instruction.
template <typename T>
A3D_FN T fused(T a, T b, T c) {
#ifdef A3D_TRIANGLE_FUSED
  using std::fma;
  return fma(a, b, c);
#else
  return a * b + c;
#endif
}

// a * b - c * d with a sign that is always right (Kahan), so that two triangles agree about their common edge.
template <typename T>
A3D_FN T difference_of_products(T a, T b, T c, T d) {
#ifdef A3D_TRIANGLE_FUSED
  const T cd = c * d;
  const T error = fused(-c, d, cd);
  return fused(a, b, -cd) + error;
#else
  return a * b - c * d;
#endif
}

// Normalized device coordinate of the centre of pixel i of n.
template <typename T>
A3D_FN T pixel_center(int i, int n) { return fused(T(i), T(2) / T(n), T(1) / T(n) - T(1)); }

template <typename T>
A3D_FN Triangle<T> load_triangle(const T* positions, const int32_t* faces, int64_t face) {
  Triangle<T> t;
  for (int i = 0; i < 3; ++i) {
    const T* p = positions + int64_t(faces[3 * face + i]) * 4;
    t.corner[i] = {p[0], p[1], p[2], p[3]};
  }
  return t;
}

template <typename T>
struct Edges {
  T x[3], y[3];  // sheared corners
  T e[3];        // edge functions
  T sum;         // of e
  T w, z;        // sums of e * w and e * z; sum / w is 1/w of the surface, z / w its depth
};

template <typename T>
A3D_FN Edges<T> edges_at(const Triangle<T>& t, T px, T py) {
  Edges<T> g;
  for (int i = 0; i < 3; ++i) {
    g.x[i] = fused(-px, t.corner[i].w, t.corner[i].x);
    g.y[i] = fused(-py, t.corner[i].w, t.corner[i].y);
  }
  g.e[0] = difference_of_products(g.x[1], g.y[2], g.x[2], g.y[1]);
  g.e[1] = difference_of_products(g.x[2], g.y[0], g.x[0], g.y[2]);
  g.e[2] = difference_of_products(g.x[0], g.y[1], g.x[1], g.y[0]);
  g.sum = g.e[0] + g.e[1] + g.e[2];
  g.w = fused(g.e[0], t.corner[0].w, fused(g.e[1], t.corner[1].w, g.e[2] * t.corner[2].w));
  g.z = fused(g.e[0], t.corner[0].z, fused(g.e[1], t.corner[1].z, g.e[2] * t.corner[2].z));
  return g;
}

// Inside when no two edge functions differ in sign (either orientation), and in front when sum and w agree.
template <typename T>
A3D_FN bool covers(const Edges<T>& g) {
  const bool positive = (g.e[0] >= 0) & (g.e[1] >= 0) & (g.e[2] >= 0) & (g.sum > 0) & (g.w > 0);
  const bool negative = (g.e[0] <= 0) & (g.e[1] <= 0) & (g.e[2] <= 0) & (g.sum < 0) & (g.w < 0);
  return positive | negative;
}

// Derivatives of the edge functions and of their sum along the image.
template <typename T>
struct Slopes { T dx[3], dy[3], sum_dx, sum_dy; };

template <typename T>
A3D_FN Slopes<T> slopes_of(const Triangle<T>& t, const Edges<T>& g) {
  Slopes<T> d;
  for (int i = 0; i < 3; ++i) {
    const int j = (i + 1) % 3, k = (i + 2) % 3;
    d.dx[i] = t.corner[k].w * g.y[j] - t.corner[j].w * g.y[k];
    d.dy[i] = t.corner[j].w * g.x[k] - t.corner[k].w * g.x[j];
  }
  d.sum_dx = d.dx[0] + d.dx[1] + d.dx[2];
  d.sum_dy = d.dy[0] + d.dy[1] + d.dy[2];
  return d;
}

// The outputs of one covered pixel. number is the face's, counted from 1; step is the size of a pixel in normalized
// device coordinates.
template <typename T>
A3D_FN void resolve(const Triangle<T>& t, const Edges<T>& g, T step_x, T step_y, T number, T* rast,
                    T* rast_db) {
  const T scale = T(1) / g.sum, u = g.e[0] * scale, v = g.e[1] * scale;
  rast[0] = u;
  rast[1] = v;
  rast[2] = g.z / g.w;
  rast[3] = number;
  const Slopes<T> d = slopes_of(t, g);
  rast_db[0] = (d.dx[0] - u * d.sum_dx) * scale * step_x;
  rast_db[1] = (d.dy[0] - u * d.sum_dy) * scale * step_y;
  rast_db[2] = (d.dx[1] - v * d.sum_dx) * scale * step_x;
  rast_db[3] = (d.dy[1] - v * d.sum_dy) * scale * step_y;
}

template <typename T>
struct EdgeGrads { T e[3], dx[3], dy[3]; };

// Reverse of resolve, down to the edge functions and their derivatives.
template <typename T>
A3D_FN EdgeGrads<T> resolve_backward(const Triangle<T>& t, const Edges<T>& g, T step_x, T step_y, const T* grad,
                                     const T* grad_db) {
  const T scale = T(1) / g.sum, u = g.e[0] * scale, v = g.e[1] * scale, depth = g.z / g.w;
  const Slopes<T> d = slopes_of(t, g);
  const T ux = grad_db[0] * step_x * scale, uy = grad_db[1] * step_y * scale;
  const T vx = grad_db[2] * step_x * scale, vy = grad_db[3] * step_y * scale;
  const T grad_u = grad[0] - (ux * d.sum_dx + uy * d.sum_dy), grad_v = grad[1] - (vx * d.sum_dx + vy * d.sum_dy);
  const T through_sum = -scale * (ux * (d.dx[0] - u * d.sum_dx) + uy * (d.dy[0] - u * d.sum_dy) +
                                  vx * (d.dx[1] - v * d.sum_dx) + vy * (d.dy[1] - v * d.sum_dy)) -
                        scale * (grad_u * u + grad_v * v);
  const T grad_depth = grad[2] / g.w;
  EdgeGrads<T> out;
  for (int i = 0; i < 3; ++i) {
    out.e[i] = through_sum + grad_depth * (t.corner[i].z - depth * t.corner[i].w);
    out.dx[i] = -(ux * u + vx * v);
    out.dy[i] = -(uy * u + vy * v);
  }
  out.e[0] += grad_u * scale;
  out.e[1] += grad_v * scale;
  out.dx[0] += ux;
  out.dx[1] += vx;
  out.dy[0] += uy;
  out.dy[1] += vy;
  return out;
}

// Gradient of the three corners from the gradient of one pixel.
template <typename T>
A3D_FN Triangle<T> rasterize_backward_at(const Triangle<T>& t, T px, T py, T step_x, T step_y, const T* grad,
                                         const T* grad_db) {
  const Edges<T> g = edges_at(t, px, py);
  const EdgeGrads<T> h = resolve_backward(t, g, step_x, step_y, grad, grad_db);
  Triangle<T> out;
  const T grad_depth = grad[2] / g.w, depth = g.z / g.w;
  for (int i = 0; i < 3; ++i) out.corner[i] = {T(0), T(0), grad_depth * g.e[i], -grad_depth * depth * g.e[i]};
  for (int i = 0; i < 3; ++i) {
    const int j = (i + 1) % 3, k = (i + 2) % 3;
    const T wj = t.corner[j].w, wk = t.corner[k].w;
    out.corner[j].x += h.e[i] * g.y[k] - h.dy[i] * wk;
    out.corner[k].x += h.dy[i] * wj - h.e[i] * g.y[j];
    out.corner[j].y += h.dx[i] * wk - h.e[i] * g.x[k];
    out.corner[k].y += h.e[i] * g.x[j] - h.dx[i] * wj;
    out.corner[j].w += h.dy[i] * g.x[k] - h.dx[i] * g.y[k];
    out.corner[k].w += h.dx[i] * g.y[j] - h.dy[i] * g.x[j];
  }
  for (int i = 0; i < 3; ++i) out.corner[i].w -= px * out.corner[i].x + py * out.corner[i].y;
  return out;
}

// Face of a pixel, or -1; a channel that holds no face number of this mesh counts as empty.
template <typename T>
A3D_FN int64_t face_of(const T* rast, int64_t n_faces) {
  const T id = rast[3];
  return id >= T(1) && id <= T(n_faces) ? int64_t(id) - 1 : -1;
}

// add(index, value) receives the contributions of one pixel to the flat gradient of the positions.
template <typename T, typename Add>
A3D_FN void rasterize_backward_pixel(const RasterizeArgs<T>& a, int64_t pixel, Add&& add) {
  const int64_t face = face_of(a.rast + pixel * 4, a.n_faces);
  if (face < 0) return;
  const int column = int(pixel % a.size.width), row = int(pixel / a.size.width % a.size.height);
  const int64_t batch = pixel / (int64_t(a.size.width) * a.size.height);
  const Triangle<T> t = load_triangle(a.positions + batch * a.n_vertices * 4, a.faces, face);
  const Triangle<T> grad = rasterize_backward_at(
      t, pixel_center<T>(column, a.size.width), pixel_center<T>(row, a.size.height), T(2) / T(a.size.width),
      T(2) / T(a.size.height), a.grad_rast + pixel * 4, a.grad_rast_db + pixel * 4);
  for (int i = 0; i < 3; ++i) {
    const int64_t at = (batch * a.n_vertices + a.faces[3 * face + i]) * 4;
    const Corner<T>& c = grad.corner[i];
    add(at, c.x);
    add(at + 1, c.y);
    add(at + 2, c.z);
    add(at + 3, c.w);
  }
}

struct PixelBox { int x0, y0, x1, y1; A3D_FN bool empty() const { return x0 > x1 || y0 > y1; } };

// Pixels whose centre a triangle may cover. With a corner behind the camera: the whole image.
template <typename T>
A3D_FN PixelBox pixel_box(const Triangle<T>& t, int width, int height) {
  const T w0 = t.corner[0].w, w1 = t.corner[1].w, w2 = t.corner[2].w;
  if (w0 <= 0 && w1 <= 0 && w2 <= 0) return {1, 1, 0, 0};
  if (w0 <= 0 || w1 <= 0 || w2 <= 0) return {0, 0, width - 1, height - 1};
  T low_x = 2, high_x = -2, low_y = 2, high_y = -2;  // what lies outside the image does not matter
  for (int i = 0; i < 3; ++i) {
    const T scale = T(1) / t.corner[i].w, x = t.corner[i].x * scale, y = t.corner[i].y * scale;
    low_x = x < low_x ? x : low_x;
    high_x = x > high_x ? x : high_x;
    low_y = y < low_y ? y : low_y;
    high_y = y > high_y ? y : high_y;
  }
  const auto clamped = [](T v) { return v < -2 ? T(-2) : v > 2 ? T(2) : v; };
  const T margin = T(1e-3);  // pixels; far above the rounding of this estimate
  const T half_w = T(0.5) * width, half_h = T(0.5) * height;
  using std::ceil;
  using std::floor;
  const int x0 = int(ceil((clamped(low_x) + 1) * half_w - T(0.5) - margin));
  const int x1 = int(floor((clamped(high_x) + 1) * half_w - T(0.5) + margin));
  const int y0 = int(ceil((clamped(low_y) + 1) * half_h - T(0.5) - margin));
  const int y1 = int(floor((clamped(high_y) + 1) * half_h - T(0.5) + margin));
  return {x0 < 0 ? 0 : x0, y0 < 0 ? 0 : y0, x1 >= width ? width - 1 : x1, y1 >= height ? height - 1 : y1};
}
}  // namespace asset3d::triangle
