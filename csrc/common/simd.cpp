#include "simd.h"

#include <cstdlib>
#include <cstring>

namespace asset3d::simd {
namespace {
Isa best() {
#ifdef A3D_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return Isa::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa choose() {
  const Isa limit = best();
  const char* wish = std::getenv("ASSET3D_ISA");
  if (!wish) return limit;
  Isa wanted = limit;
  if (!std::strcmp(wish, "baseline")) wanted = Isa::baseline;
  if (!std::strcmp(wish, "avx2")) wanted = Isa::avx2;
  return wanted < limit ? wanted : limit;
}
}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

bool has_bfloat16_products() {
#ifdef A3D_X86
  static const bool has = [] {
    const char* wish = std::getenv("ASSET3D_BFLOAT16");
    return isa() == Isa::avx512 && __builtin_cpu_supports("avx512bf16") && !(wish && !std::strcmp(wish, "0"));
  }();
  return has;
#else
  return false;
#endif
}

const char* isa_name() {
  return isa() == Isa::avx512 ? "avx512" : isa() == Isa::avx2 ? "avx2" : "baseline";
}
}  // namespace asset3d::simd
