// Spherical harmonics, CPU schedule: Gaussians are independent; one thread adds up the images of a Gaussian.
#include "../common/parallel.h"
#include "harmonics_math.h"

namespace asset3d::gaussian {
template <typename T>
void harmonics_cpu(const HarmonicsArgs<T>& a) {
  parallel_for(0, a.n, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t image = 0; image < a.n_images; ++image)
      for (int64_t i = begin; i < end; ++i) harmonics_one(a, image, i);
  });
}

template <typename T>
void harmonics_backward_cpu(const HarmonicsBackwardArgs<T>& b) {
  parallel_for(0, b.forward.n, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) harmonics_backward_one(b, i);
  });
}

template void harmonics_cpu(const HarmonicsArgs<float>&);
template void harmonics_cpu(const HarmonicsArgs<double>&);
template void harmonics_backward_cpu(const HarmonicsBackwardArgs<float>&);
template void harmonics_backward_cpu(const HarmonicsBackwardArgs<double>&);
}  // namespace asset3d::gaussian
