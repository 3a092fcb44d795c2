// Interpolation on the CPU: parallel over pixels; the gradient of the attributes is summed per band of pixels.
#include "cpu_schedule.h"
#include "interpolate_math.h"

namespace asset3d::triangle {

template <typename T>
void interpolate_cpu(const InterpolateArgs<T>& a) {
  parallel_for(0, a.size.pixels(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) interpolate_pixel(a, i);
  });
}

template <typename T>
void interpolate_backward_cpu(const InterpolateArgs<T>& a) {
  const int64_t values = a.n_vertices * a.n_attributes;
  const bool shared = a.attribute_batch == 1;
  const int64_t groups = shared ? 1 : a.size.batch, pixels = a.size.pixels() / std::max<int64_t>(1, groups);
  for (int64_t group = 0; group < groups; ++group) {
    const auto run = [&](int64_t begin, int64_t end, T* sums) {
      T* origin = sums - group * values;
      for (int64_t i = begin; i < end; ++i)
        interpolate_backward_pixel(a, group * pixels + i, [&](int64_t at, T value) { origin[at] += value; });
    };
    scatter_bands<T>(pixels, std::max<int64_t>(1, values), a.n_attributes, a.grad_attributes + group * values, run);
  }
}

template void interpolate_cpu(const InterpolateArgs<float>&);
template void interpolate_cpu(const InterpolateArgs<double>&);
template void interpolate_backward_cpu(const InterpolateArgs<float>&);
template void interpolate_backward_cpu(const InterpolateArgs<double>&);
}  // namespace asset3d::triangle
