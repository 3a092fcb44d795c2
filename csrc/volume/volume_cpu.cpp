// Volume, CPU schedule: rays are independent, each is walked by one thread. Deterministic for any thread count.
#include "../common/parallel.h"
#include "volume_math.h"

namespace asset3d::volume {
namespace {
template <typename Body>
void for_each(int64_t n, Body&& body) {
  parallel_for(0, n, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}
}  // namespace

template <typename T>
void ray_box_cpu(const BoxArgs<T>& a) {
  for_each(a.rays.n, [&](int64_t r) { ray_box_one(a, r); });
}
template <typename T>
void ray_box_backward_cpu(const BoxBackwardArgs<T>& a) {
  for_each(a.rays.n, [&](int64_t r) { ray_box_backward_one(a, r); });
}
template <typename T>
void mark_blocks_cpu(const MarchArgs<T>& a) {
  for_each(int64_t(a.n_blocks[0]) * a.n_blocks[1] * a.n_blocks[2], [&](int64_t block) { mark_block(a, block); });
}
template <typename T>
void count_samples_cpu(const MarchArgs<T>& a) {
  for_each(a.rays.n, [&](int64_t r) { count_samples_one(a, r); });
}
template <typename T>
void write_samples_cpu(const MarchArgs<T>& a) {
  for_each(a.rays.n, [&](int64_t r) { write_samples_one(a, r); });
}
template <typename T>
void composite_cpu(const CompositeArgs<T>& a) {
  for_each(a.n_rays, [&](int64_t r) { composite_one(a, r); });
}
template <typename T>
void composite_backward_cpu(const CompositeBackwardArgs<T>& a) {
  for_each(a.forward.n_rays, [&](int64_t r) { composite_backward_one(a, r); });
}

#define A3D_INSTANTIATE(T)                                            \
  template void ray_box_cpu(const BoxArgs<T>&);                       \
  template void ray_box_backward_cpu(const BoxBackwardArgs<T>&);      \
  template void mark_blocks_cpu(const MarchArgs<T>&);                 \
  template void count_samples_cpu(const MarchArgs<T>&);               \
  template void write_samples_cpu(const MarchArgs<T>&);               \
  template void composite_cpu(const CompositeArgs<T>&);               \
  template void composite_backward_cpu(const CompositeBackwardArgs<T>&);
A3D_INSTANTIATE(float)
A3D_INSTANTIATE(double)
}  // namespace asset3d::volume
