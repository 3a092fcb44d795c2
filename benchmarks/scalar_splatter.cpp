// The baseline of the splatting benchmark: one thread, one Gaussian after the other in the order of depth, one pixel
// after the other of its bounding box. float32, no tiles, no vectors. The box is, by choice,
//   the published one: a square of three standard deviations of the longer axis, or as far as a high opacity shows, or
//   a tight one: per axis, and smaller where the opacity is low.
// The way back replays the Gaussians instead of keeping lists per pixel, which makes both faster than public ones.
//   c++ -O3 -shared -fPIC scalar_splatter.cpp
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace {
constexpr float kDilation = 0.3f, kAlphaMax = 0.99f, kAlphaMin = 1.0f / 255, kStop = 1e-4f;

struct Camera { float m[16], k[4]; int width, height, tight; };

struct Splat {
  float x, y, a, b, c, depth, opacity;
  int x0, x1, y0, y1;  // pixels, the end excluded; empty if not drawn
};

// What projection and its gradient share, for one Gaussian.
struct Frame {
  float r[3][3], quat[4], norm;    // rotation, unit quaternion, its former length
  float p[3], rx, ry, j[2][3], v[3][3], m[2][3], jr[2][3], cov[3], det;
};

Frame frame_of(const Camera& camera, const float* mean, const float* q, const float* s) {
  Frame f;
  f.norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  for (int i = 0; i < 4; ++i) f.quat[i] = q[i] / f.norm;
  const float w = f.quat[0], x = f.quat[1], y = f.quat[2], z = f.quat[3];
  const float r[9] = {1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
                      2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                      2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)};
  for (int i = 0; i < 9; ++i) f.r[i / 3][i % 3] = r[i];
  for (int i = 0; i < 3; ++i) {
    const float sign = i == 0 ? 1.0f : -1.0f;
    f.p[i] = sign * camera.m[4 * i + 3];
    for (int d = 0; d < 3; ++d) f.v[i][d] = sign * camera.m[4 * i + d], f.p[i] += f.v[i][d] * mean[d];
  }
  const float fx = camera.k[0], fy = camera.k[1], cx = camera.k[2], cy = camera.k[3], iz = 1 / f.p[2];
  const float mx = 0.15f * camera.width / fx, my = 0.15f * camera.height / fy;
  f.rx = std::min(std::max(f.p[0] * iz, -cx / fx - mx), (camera.width - cx) / fx + mx);
  f.ry = std::min(std::max(f.p[1] * iz, -cy / fy - my), (camera.height - cy) / fy + my);
  for (int d = 0; d < 3; ++d) {
    f.j[0][d] = fx * iz * (f.v[0][d] - f.rx * f.v[2][d]);
    f.j[1][d] = fy * iz * (f.v[1][d] - f.ry * f.v[2][d]);
  }
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 3; ++k) {
      f.jr[i][k] = f.j[i][0] * f.r[0][k] + f.j[i][1] * f.r[1][k] + f.j[i][2] * f.r[2][k];
      f.m[i][k] = f.jr[i][k] * s[k];
    }
  const auto dot = [](const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; };
  f.cov[0] = dot(f.m[0], f.m[0]) + kDilation, f.cov[1] = dot(f.m[0], f.m[1]), f.cov[2] = dot(f.m[1], f.m[1]) + kDilation;
  f.det = f.cov[0] * f.cov[2] - f.cov[1] * f.cov[1];
  return f;
}

Splat splat_of(const Camera& camera, const Frame& f, float opacity) {
  Splat s{};
  s.depth = f.p[2], s.opacity = opacity;
  if (!(s.depth > 0.01f) || !(f.det > 0) || !(opacity >= kAlphaMin)) return s;
  s.x = camera.k[0] * f.p[0] / f.p[2] + camera.k[2], s.y = camera.k[1] * f.p[1] / f.p[2] + camera.k[3];
  s.a = f.cov[2] / f.det, s.b = -f.cov[1] / f.det, s.c = f.cov[0] / f.det;
  const float reach = std::sqrt(2 * std::log(opacity / kAlphaMin)), middle = 0.5f * (f.cov[0] + f.cov[2]);
  const float longer = std::sqrt(middle + std::sqrt(std::max(middle * middle - f.det, 0.0f)));
  const float wide = camera.tight ? reach * std::sqrt(f.cov[0]) : std::max(reach, 3.0f) * longer;
  const float high = camera.tight ? reach * std::sqrt(f.cov[2]) : wide;
  s.x0 = std::max(0, int(std::ceil(s.x - wide - 0.5f))), s.x1 = std::min(camera.width, int(std::floor(s.x + wide - 0.5f)) + 1);
  s.y0 = std::max(0, int(std::ceil(s.y - high - 0.5f))), s.y1 = std::min(camera.height, int(std::floor(s.y + high - 0.5f)) + 1);
  return s;
}

void project_backward(const Camera& camera, const Frame& f, const float* scale, const float* g2, const float* gc, float gz,
                      float* gm, float* gq, float* gs) {
  const float i = 1 / f.det, a = f.cov[2] * i, b = -f.cov[1] * i, c = f.cov[0] * i, bb = 0.5f * gc[1];
  // gradient of the covariance: -conic * G * conic, with G the symmetric gradient of the conic
  const float t00 = a * gc[0] + b * bb, t01 = a * bb + b * gc[2], t10 = b * gc[0] + c * bb, t11 = b * bb + c * gc[2];
  const float v00 = -(t00 * a + t01 * b), v01 = -(t00 * b + t01 * c), v11 = -(t10 * b + t11 * c);
  float gj[2][3] = {}, gr[3][3];
  for (int k = 0; k < 3; ++k) {
    const float m0 = 2 * (v00 * f.m[0][k] + v01 * f.m[1][k]), m1 = 2 * (v01 * f.m[0][k] + v11 * f.m[1][k]);
    gs[k] = m0 * f.jr[0][k] + m1 * f.jr[1][k];
    for (int d = 0; d < 3; ++d) {
      gj[0][d] += m0 * scale[k] * f.r[d][k], gj[1][d] += m1 * scale[k] * f.r[d][k];
      gr[d][k] = scale[k] * (m0 * f.j[0][d] + m1 * f.j[1][d]);
    }
  }
  const float w = f.quat[0], x = f.quat[1], y = f.quat[2], z = f.quat[3];
  const float q[4] = {
      2 * (z * (gr[1][0] - gr[0][1]) + y * (gr[0][2] - gr[2][0]) + x * (gr[2][1] - gr[1][2])),
      2 * (y * (gr[1][0] + gr[0][1]) + z * (gr[2][0] + gr[0][2]) + w * (gr[2][1] - gr[1][2]) - 2 * x * (gr[1][1] + gr[2][2])),
      2 * (x * (gr[1][0] + gr[0][1]) + z * (gr[2][1] + gr[1][2]) + w * (gr[0][2] - gr[2][0]) - 2 * y * (gr[0][0] + gr[2][2])),
      2 * (x * (gr[2][0] + gr[0][2]) + y * (gr[2][1] + gr[1][2]) + w * (gr[1][0] - gr[0][1]) - 2 * z * (gr[0][0] + gr[1][1]))};
  const float radial = q[0] * w + q[1] * x + q[2] * y + q[3] * z;
  for (int k = 0; k < 4; ++k) gq[k] = (q[k] - f.quat[k] * radial) / f.norm;
  const float fx = camera.k[0], fy = camera.k[1], iz = 1 / f.p[2];
  const auto dot = [](const float* u, const float* v) { return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]; };
  const float along0 = dot(gj[0], f.v[2]), along1 = dot(gj[1], f.v[2]);
  float gp[3] = {fx * iz * g2[0], fy * iz * g2[1], gz};
  if (f.rx == f.p[0] * iz) gp[0] -= fx * iz * iz * along0;
  if (f.ry == f.p[1] * iz) gp[1] -= fy * iz * iz * along1;
  gp[2] -= f.p[0] * iz * gp[0] + f.p[1] * iz * gp[1] + iz * (dot(gj[0], f.j[0]) + dot(gj[1], f.j[1]));
  for (int d = 0; d < 3; ++d) gm[d] = f.v[0][d] * gp[0] + f.v[1][d] * gp[1] + f.v[2][d] * gp[2];
}

struct Scene { const float *means, *quats, *scales, *opacities, *colors; int64_t n; };

struct State {  // of the way forward
  std::vector<Splat> splats;
  std::vector<int32_t> order, last;
  std::vector<float> transmittance;
} state;
}  // namespace

// color (H, W, 3), alpha (H, W), depth (H, W); returns the number of blended pairs.
extern "C" int64_t splat_forward(const Scene* scene, const Camera* camera, float* color, float* alpha, float* depth) {
  const int64_t pixels = int64_t(camera->width) * camera->height;
  state.splats.resize(scene->n), state.order.resize(scene->n);
  for (int64_t i = 0; i < scene->n; ++i) {
    const Frame f = frame_of(*camera, scene->means + 3 * i, scene->quats + 4 * i, scene->scales + 3 * i);
    state.splats[i] = splat_of(*camera, f, scene->opacities[i]);
  }
  std::iota(state.order.begin(), state.order.end(), 0);
  std::sort(state.order.begin(), state.order.end(), [](int32_t a, int32_t b) {
    return state.splats[a].depth < state.splats[b].depth || (state.splats[a].depth == state.splats[b].depth && a < b);
  });
  state.transmittance.assign(pixels, 1.0f);
  state.last.assign(pixels, 0);
  std::vector<char> stopped(pixels, 0);
  std::fill(color, color + 3 * pixels, 0.0f), std::fill(depth, depth + pixels, 0.0f);
  int64_t pairs = 0;
  for (int64_t k = 0; k < scene->n; ++k) {
    const int32_t i = state.order[k];
    const Splat s = state.splats[i];
    const float *c = scene->colors + 3 * i;
    for (int y = s.y0; y < s.y1; ++y)
      for (int x = s.x0; x < s.x1; ++x) {
        const int64_t at = int64_t(y) * camera->width + x;
        if (stopped[at]) continue;
        const float dx = x + 0.5f - s.x, dy = y + 0.5f - s.y;
        const float q = 0.5f * (s.a * dx * dx + s.c * dy * dy) + s.b * dx * dy;
        const float a = std::min(kAlphaMax, s.opacity * std::exp(-q));
        if (a < kAlphaMin) continue;
        const float t = state.transmittance[at], rest = t * (1 - a);
        if (rest <= kStop) {
          stopped[at] = 1;
          continue;
        }
        const float w = t * a;
        for (int d = 0; d < 3; ++d) color[3 * at + d] += w * c[d];
        depth[at] += w * s.depth;
        state.transmittance[at] = rest;
        state.last[at] = int32_t(k) + 1;
        ++pairs;
      }
  }
  for (int64_t at = 0; at < pixels; ++at) {
    alpha[at] = 1 - state.transmittance[at];
    depth[at] = alpha[at] > 0 ? depth[at] / alpha[at] : 0;
  }
  return pairs;
}

// After splat_forward. Gradients (N, 3) (N, 4) (N, 3) (N) (N, 3).
extern "C" void splat_backward(const Scene* scene, const Camera* camera, const float* alpha, const float* depth,
                               const float* grad_color, const float* grad_alpha, const float* grad_depth, float* grad_means,
                               float* grad_quats, float* grad_scales, float* grad_opacities, float* grad_colors) {
  const int64_t pixels = int64_t(camera->width) * camera->height;
  std::vector<float> behind(pixels), grad_sum(pixels), t = state.transmittance;
  for (int64_t at = 0; at < pixels; ++at) {
    grad_sum[at] = alpha[at] > 0 ? grad_depth[at] / alpha[at] : 0;
    behind[at] = -t[at] * (grad_alpha[at] - grad_sum[at] * depth[at]);
  }
  for (int64_t k = scene->n - 1; k >= 0; --k) {
    const int32_t i = state.order[k];
    const Splat s = state.splats[i];
    const float* c = scene->colors + 3 * i;
    float g0 = 0, gx = 0, gy = 0, gxx = 0, gxy = 0, gyy = 0, gc[3] = {0, 0, 0}, gz = 0;
    for (int y = s.y0; y < s.y1; ++y)
      for (int x = s.x0; x < s.x1; ++x) {
        const int64_t at = int64_t(y) * camera->width + x;
        if (k >= state.last[at]) continue;
        const float dx = x + 0.5f - s.x, dy = y + 0.5f - s.y;
        const float q = 0.5f * (s.a * dx * dx + s.c * dy * dy) + s.b * dx * dy, raw = s.opacity * std::exp(-q);
        const float a = std::min(kAlphaMax, raw);
        if (a < kAlphaMin) continue;
        const float inverse = 1 / (1 - a), before = t[at] * inverse, w = before * a, *g = grad_color + 3 * at;
        t[at] = before;
        const float light = g[0] * c[0] + g[1] * c[1] + g[2] * c[2] + grad_sum[at] * s.depth;
        for (int d = 0; d < 3; ++d) gc[d] += w * g[d];
        gz += w * grad_sum[at];
        const float slope = raw > kAlphaMax ? 0 : -a * (before * light - behind[at] * inverse);
        behind[at] += w * light;
        g0 += slope, gx += slope * dx, gy += slope * dy;
        gxx += slope * dx * dx, gxy += slope * dx * dy, gyy += slope * dy * dy;
      }
    const float g2[2] = {-(s.a * gx + s.b * gy), -(s.b * gx + s.c * gy)}, conic[3] = {0.5f * gxx, gxy, 0.5f * gyy};
    const Frame f = frame_of(*camera, scene->means + 3 * i, scene->quats + 4 * i, scene->scales + 3 * i);
    project_backward(*camera, f, scene->scales + 3 * i, g2, conic, gz, grad_means + 3 * i, grad_quats + 4 * i, grad_scales + 3 * i);
    grad_opacities[i] = -g0 / s.opacity;
    for (int d = 0; d < 3; ++d) grad_colors[3 * i + d] = gc[d];
  }
}
