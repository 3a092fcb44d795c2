#pragma once
// The two 16-bit floating-point types, on the host, on the GPU and in the emulator.
#include <cstdint>
#include <cstring>
#include "macros.h"

namespace asset3d {
struct Bfloat16 { uint16_t bits; };
struct Half { uint16_t bits; };

A3D_FN float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
A3D_FN uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

A3D_FN float to_float(float value) { return value; }
A3D_FN double to_float(double value) { return value; }
A3D_FN float to_float(Bfloat16 value) { return float_of_bits(uint32_t(value.bits) << 16); }
// The exponent's bias changes from 15 to 127 by a product, which also gives subnormal numbers their value.
A3D_FN float to_float(Half value) {
  const uint32_t magnitude = uint32_t(value.bits & 0x7fff) << 13;
  const float finite = float_of_bits(magnitude) * 5.192296858534828e33f;  // 2^112
  const uint32_t bits = (value.bits & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000u : bits_of_float(finite);
  return float_of_bits(bits | uint32_t(value.bits & 0x8000) << 16);
}

// Rounded to nearest, ties to even; not for NaN.
A3D_FN void assign(float& to, float value) { to = value; }
A3D_FN void assign(double& to, double value) { to = value; }
A3D_FN void assign(Bfloat16& to, float value) {
  const uint32_t bits = bits_of_float(value);
  to.bits = uint16_t((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}
A3D_FN void assign(Half& to, float value) {
  const uint32_t bits = bits_of_float(value), magnitude = bits & 0x7fffffffu;
  uint32_t result;
  if (magnitude >= 0x477ff000u)  // 65520 and more
    result = 0x7c00u;
  else if (magnitude < 0x38800000u)  // below the normal numbers: the sum with 0.5 leaves units of 2^-24 in the mantissa
    result = bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000u;
  else
    result = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1)) >> 13;
  to.bits = uint16_t(result | (bits >> 16 & 0x8000u));
}
}  // namespace asset3d
