// Attention, CUDA schedule.
#include <stdexcept>
#include "../common/launch.h"
#include "attention_math.h"

namespace asset3d::attention {
namespace {
[[noreturn]] void refuse() { throw std::runtime_error("attention: there is no CUDA kernel yet; move the tensors to the CPU"); }
}  // namespace
template <typename T> void attend_cuda(const Args<T>&, void*) { refuse(); }
template <typename T> void attend_backward_cuda(const Args<T>&, void*) { refuse(); }
template void attend_cuda(const Args<float>&, void*);
template void attend_cuda(const Args<double>&, void*);
template void attend_cuda(const Args<Bfloat16>&, void*);
template void attend_backward_cuda(const Args<float>&, void*);
template void attend_backward_cuda(const Args<double>&, void*);
template void attend_backward_cuda(const Args<Bfloat16>&, void*);
}  // namespace asset3d::attention
