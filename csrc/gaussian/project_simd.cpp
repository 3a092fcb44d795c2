// Lanes: Gaussians. Grouping starts at the first one of a range, and lanes do not depend on each other: any split of
// the Gaussians among threads gives the same bits.
#include "../common/simd.h"
#include "../common/simd_math.h"
#include "project_math.h"
#include "project_simd.h"

namespace asset3d::gaussian::A3D_ISA {
using namespace asset3d::simd::A3D_ISA;

namespace {
template <int kWidth> A3D_LANE void add_rows(float* p, int64_t n, Mask m, const Float* value) {
  Float sum[kWidth];
  load_rows<kWidth>(p, n, sum);
  for (int k = 0; k < kWidth; ++k) sum[k] += select(m, value[k], Float(0.0f));
  store_rows<kWidth>(p, n, sum);
}

A3D_LANE Gaussian<Float> load_gaussians(const ProjectArgs<float>& a, int64_t i, int64_t n) {
  Float mean[3], quat[4], scale[3];
  load_rows<3>(a.means + 3 * i, n, mean);
  load_rows<4>(a.quats + 4 * i, n, quat);
  load_rows<3>(a.scales + 3 * i, n, scale);
  return {{mean[0], mean[1], mean[2]}, {quat[0], quat[1], quat[2], quat[3]}, {scale[0], scale[1], scale[2]},
          load(a.opacities + i, first_lanes(n))};
}
}  // namespace

void project_lanes(const ProjectArgs<float>& a, int64_t image, int64_t begin, int64_t end) {
  const View<float> view = view_of(a, image);
  for (int64_t i = begin; i < end; i += kLanes) {
    const Mask m = first_lanes(end - i);
    const int64_t at = image * a.n + i;
    const Gaussian<Float> g = load_gaussians(a, i, end - i);
    const Projected<Float> out = outputs_of(view, g, project(view, g));
    const Float mean[2] = {out.mean_x, out.mean_y}, radius[2] = {out.radius_x, out.radius_y};
    store_rows<2>(a.means_2d + 2 * at, end - i, mean);
    store_rows<3>(a.conics + 3 * at, end - i, out.conic);
    store(a.depths + at, out.depth, m);
    store(a.visible_opacities + at, out.opacity, m);
    store_rows<2>(a.radii + 2 * at, end - i, radius);
  }
}

void project_backward_lanes(const ProjectBackwardArgs<float>& a, int64_t image, int64_t begin, int64_t end) {
  const ProjectArgs<float>& f = a.forward;
  const View<float> view = view_of(f, image);
  for (int64_t i = begin; i < end; i += kLanes) {
    const Mask rest = first_lanes(end - i);
    const int64_t at = image * f.n + i;
    const Mask m = rest & (gather(f.radii + 2 * at, lane_numbers() << 1, rest) > Float(0.0f));
    if (none(m)) continue;
    const Gaussian<Float> g = load_gaussians(f, i, end - i);
    Float mean[2], conic[3];
    load_rows<2>(a.grad_means_2d + 2 * at, end - i, mean);
    load_rows<3>(a.grad_conics + 3 * at, end - i, conic);
    const Projected<Float> out{mean[0], mean[1], {conic[0], conic[1], conic[2]}, load(a.grad_depths + at, m),
                               load(a.grad_visible_opacities + at, m), Float(0.0f), Float(0.0f)};
    const GaussianGradient<Float> grad = project_backward(view, g, project(view, g), out);
    const Float grad_mean[3] = {grad.mean.x, grad.mean.y, grad.mean.z};
    const Float grad_scale[3] = {grad.scale.x, grad.scale.y, grad.scale.z};
    add_rows<3>(a.grad_means + 3 * i, end - i, m, grad_mean);
    add_rows<4>(a.grad_quats + 4 * i, end - i, m, grad.quat);
    add_rows<3>(a.grad_scales + 3 * i, end - i, m, grad_scale);
    store(a.grad_opacities + i, load(a.grad_opacities + i, m) + grad.opacity, m);
  }
}
}  // namespace asset3d::gaussian::A3D_ISA
