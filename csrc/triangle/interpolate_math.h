#pragma once
// Attributes of one pixel from the three corners of its face.
#include "rasterize_math.h"

namespace asset3d::triangle {

template <typename T>
struct CornerRows { int64_t first[3]; };  // flat index of attribute 0 of each corner

template <typename T>
A3D_FN CornerRows<T> corner_rows(const InterpolateArgs<T>& a, int64_t pixel, int64_t face) {
  const int64_t batch = a.attribute_batch == 1 ? 0 : pixel / (int64_t(a.size.width) * a.size.height);
  CornerRows<T> rows;
  for (int i = 0; i < 3; ++i)
    rows.first[i] = (batch * a.n_vertices + a.faces[3 * face + i]) * a.n_attributes;
  return rows;
}

template <typename T>
A3D_FN void interpolate_pixel(const InterpolateArgs<T>& a, int64_t pixel) {
  T* out = a.out + pixel * a.n_attributes;
  T* out_da = a.out_da + pixel * 2 * a.n_chosen;
  const int64_t face = face_of(a.rast + pixel * 4, a.n_faces);
  if (face < 0) {
    for (int k = 0; k < a.n_attributes; ++k) out[k] = 0;
    for (int k = 0; k < 2 * a.n_chosen; ++k) out_da[k] = 0;
    return;
  }
  const CornerRows<T> rows = corner_rows(a, pixel, face);
  const T u = a.rast[pixel * 4], v = a.rast[pixel * 4 + 1], rest = 1 - u - v;
  const T *p = a.attributes + rows.first[0], *q = a.attributes + rows.first[1], *r = a.attributes + rows.first[2];
  for (int k = 0; k < a.n_attributes; ++k) out[k] = u * p[k] + v * q[k] + rest * r[k];
  for (int k = 0; k < a.n_chosen; ++k) {
    const int64_t c = a.chosen[k];
    const T* db = a.rast_db + pixel * 4;
    const T along_u = p[c] - r[c], along_v = q[c] - r[c];
    out_da[2 * k] = db[0] * along_u + db[2] * along_v;
    out_da[2 * k + 1] = db[1] * along_u + db[3] * along_v;
  }
}

// Writes the gradients of the barycentrics; add(index, value) receives those of the attributes.
template <typename T, typename Add>
A3D_FN void interpolate_backward_pixel(const InterpolateArgs<T>& a, int64_t pixel, Add&& add) {
  T grad_u = 0, grad_v = 0, grad_db[4] = {0, 0, 0, 0};
  const int64_t face = face_of(a.rast + pixel * 4, a.n_faces);
  if (face >= 0) {
    const CornerRows<T> rows = corner_rows(a, pixel, face);
    const T u = a.rast[pixel * 4], v = a.rast[pixel * 4 + 1], rest = 1 - u - v;
    const T *p = a.attributes + rows.first[0], *q = a.attributes + rows.first[1], *r = a.attributes + rows.first[2];
    const T* grad = a.grad_out + pixel * a.n_attributes;
    for (int k = 0; k < a.n_attributes; ++k) {
      grad_u += grad[k] * (p[k] - r[k]);
      grad_v += grad[k] * (q[k] - r[k]);
      add(rows.first[0] + k, grad[k] * u);
      add(rows.first[1] + k, grad[k] * v);
      add(rows.first[2] + k, grad[k] * rest);
    }
    for (int k = 0; k < a.n_chosen; ++k) {
      const int64_t c = a.chosen[k];
      const T* db = a.rast_db + pixel * 4;
      const T gx = a.grad_out_da[pixel * 2 * a.n_chosen + 2 * k],
              gy = a.grad_out_da[pixel * 2 * a.n_chosen + 2 * k + 1];
      const T along_u = p[c] - r[c], along_v = q[c] - r[c];
      grad_db[0] += gx * along_u;
      grad_db[1] += gy * along_u;
      grad_db[2] += gx * along_v;
      grad_db[3] += gy * along_v;
      const T to_p = gx * db[0] + gy * db[1], to_q = gx * db[2] + gy * db[3];
      add(rows.first[0] + c, to_p);
      add(rows.first[1] + c, to_q);
      add(rows.first[2] + c, -to_p - to_q);
    }
  }
  T* out = a.grad_rast + pixel * 4;
  out[0] = grad_u;
  out[1] = grad_v;
  out[2] = out[3] = 0;
  if (a.grad_rast_db)
    for (int k = 0; k < 4; ++k) a.grad_rast_db[pixel * 4 + k] = grad_db[k];
}
}  // namespace asset3d::triangle
