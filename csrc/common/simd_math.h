#pragma once
// exp2 and log2 of lanes, for *_simd.cpp; include it after simd.h. Relative error of exp2 below 2e-7.
#ifdef A3D_ISA
namespace asset3d::simd::A3D_ISA {
// 2^x for x in [-126, 127]; less gives 2^-126, more 2^127.
A3D_LANE Float exp2(Float x) {
  const Float clamped = min(max(x, Float(-126.0f)), Float(127.0f));
  const Float shifted = clamped + Float(12582912.0f);  // 1.5 * 2^23: the low bits are now the nearest integer
  const Float rest = clamped - (shifted - Float(12582912.0f));
  Float y = fma(rest, Float(1.535336188e-4f), Float(1.339887440e-3f));
  y = fma(rest, y, Float(9.618437357e-3f));
  y = fma(rest, y, Float(5.550332548e-2f));
  y = fma(rest, y, Float(2.402264791e-1f));
  y = fma(rest, y, Float(6.931472028e-1f));
  y = fma(rest, y, Float(1.0f));
  return float_of_bits(bits_of(y) + (bits_of(shifted) << 23));
}

// log2 of normal numbers > 0, to about 1e-7 absolute near 1 and relative elsewhere; of 0 and less a number below -126,
// of NaN and infinity one above 127. (atanh series on a mantissa in [sqrt(1/2), sqrt(2)).)
A3D_LANE Float log2(Float x) {
  const Int word = bits_of(max(x, Float(1.17549435e-38f)));
  const Int offset = word - Int(0x3f3504f3);  // sqrt(1/2)
  const Float exponent = to_float(((offset >> 23) ^ Int(256)) - Int(256));  // signed, 9 bits
  const Float mantissa = float_of_bits(word - ((offset >> 23) << 23));
  const Float s = (mantissa - Float(1.0f)) / (mantissa + Float(1.0f)), t = s * s;
  Float y = fma(t, Float(0.262311f), Float(0.320598983f));
  y = fma(t, y, Float(0.412198583f));
  y = fma(t, y, Float(0.577078016f));
  y = fma(t, y, Float(0.961796694f));
  y = fma(t, y, Float(2.885390082f));
  return fma(s, y, exponent);
}
}  // namespace asset3d::simd::A3D_ISA
#endif
