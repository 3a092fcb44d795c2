// The Python modules asset3d._C and, in test builds, asset3d._emulated. Loading one registers its operators.
#include <pybind11/pybind11.h>

#ifndef A3D_ARCHES
#define A3D_ARCHES ""
#endif

namespace {
pybind11::dict build_info() {
  pybind11::dict info;
  info["compiler"] = __VERSION__;
#ifdef A3D_CUDA
  info["cuda"] = true;
#else
  info["cuda"] = false;
#endif
  info["cuda_arches"] = A3D_ARCHES;
  return info;
}
}  // namespace

PYBIND11_MODULE(A3D_MODULE, m) {
  m.doc() = "asset3d kernels; importing this module registers its operators with torch.";
  m.def("build_info", &build_info, "How this extension was built, as a dict.");
}
