// The Python modules asset3d._C and, in test builds, asset3d._emulated. Loading one registers its operators.
#include <pybind11/pybind11.h>

#include "common/host_values.h"
#include "common/parallel.h"
#include "common/simd.h"
#ifdef A3D_EMULATE
#include "common/cuda_emulator.h"
#endif

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
  info["isa"] = asset3d::simd::isa_name();
  info["threads"] = asset3d::thread_count();
#ifdef __SANITIZE_ADDRESS__
  info["sanitizer"] = true;
#else
  info["sanitizer"] = false;
#endif
  return info;
}
}  // namespace

PYBIND11_MODULE(A3D_MODULE, m) {
  m.doc() = "asset3d kernels; importing this module registers its operators with torch.";
  m.def("build_info", &build_info, "How this extension was built and which instruction set it runs, as a dict.");
  m.def("check_values", [](bool on) { asset3d::checks_device_values() = on; },
        "Whether operators on CUDA refuse non-finite values as those on the CPU do; see asset3d.check_values.");
#ifdef A3D_EMULATE
  m.def("set_seed", &a3d_emulator::set_seed,
        "Shuffle the order of emulated blocks and threads by this seed; 0 runs them in order.");
#endif
}
