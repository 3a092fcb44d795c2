// Gaussian splatting, CUDA schedule. Projection: one thread per Gaussian, which adds up the gradients of all images.
#include <stdexcept>
#include "../common/launch.h"
#include "project_math.h"

namespace asset3d::gaussian {
namespace {
void refuse() { throw std::runtime_error("Gaussian splatting has no CUDA kernels in this build"); }
}  // namespace
template <typename T> void project_cuda(const ProjectArgs<T>&, void*) { refuse(); }
template <typename T> void project_backward_cuda(const ProjectBackwardArgs<T>&, void*) { refuse(); }
template <typename T> void blend_cuda(const BlendArgs<T>&, void*) { refuse(); }
template <typename T> void blend_backward_cuda(const BlendBackwardArgs<T>&, void*) { refuse(); }
template void project_cuda(const ProjectArgs<float>&, void*);
template void project_cuda(const ProjectArgs<double>&, void*);
template void project_backward_cuda(const ProjectBackwardArgs<float>&, void*);
template void project_backward_cuda(const ProjectBackwardArgs<double>&, void*);
template void blend_cuda(const BlendArgs<float>&, void*);
template void blend_cuda(const BlendArgs<double>&, void*);
template void blend_backward_cuda(const BlendBackwardArgs<float>&, void*);
template void blend_backward_cuda(const BlendBackwardArgs<double>&, void*);
}  // namespace asset3d::gaussian
