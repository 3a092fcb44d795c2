#pragma once
// exp2 and log2 of lanes, for *_simd.cpp; include it after simd.h. Relative error of exp2 below 2e-7.
#ifdef A3D_ISA
namespace asset3d::simd::A3D_ISA {
// 2^x for x in [-126, 127]; elsewhere anything, NaN too.
A3D_LANE Float exp2_within(Float x) {
  const Float shifted = x + Float(12582912.0f);  // 1.5 * 2^23: the low bits are now the nearest integer
  const Float rest = x - (shifted - Float(12582912.0f));
  Float y = fma(rest, Float(1.535336188e-4f), Float(1.339887440e-3f));
  y = fma(rest, y, Float(9.618437357e-3f));
  y = fma(rest, y, Float(5.550332548e-2f));
  y = fma(rest, y, Float(2.402264791e-1f));
  y = fma(rest, y, Float(6.931472028e-1f));
  y = fma(rest, y, Float(1.0f));
  return float_of_bits(bits_of(y) + (bits_of(shifted) << 23));
}

// The same; less gives 2^-126, more 2^127.
A3D_LANE Float exp2(Float x) { return exp2_within(min(max(x, Float(-126.0f)), Float(127.0f))); }

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

// a * c - b * b without the cancellation of rounded products (Kahan).
A3D_LANE Float exact_determinant(Float a, Float b, Float c) {
#if A3D_ISA_LANES > 4
  const Float square = b * b;
  return fms(a, c, square) + fms(-b, b, -square);
#else  // fma rounds twice there
  float x[kLanes], y[kLanes], z[kLanes];
  store(x, a), store(y, b), store(z, c);
  for (int i = 0; i < kLanes; ++i) x[i] = float(double(x[i]) * double(z[i]) - double(y[i]) * double(y[i]));
  return load(x);
#endif
}

// Rows of kWidth values: the first n <= kLanes of them, a vector per column; other lanes are zero, or not written.
template <int kWidth> A3D_LANE void load_rows(const float* p, int64_t n, Float* out) {
  if constexpr (kWidth == 2) {
    if (n >= kLanes) return load_pairs(p, out[0], out[1]);
  } else if constexpr (kWidth == 3) {
    return load_triples(p, n < kLanes ? int(n) : kLanes, out);
  }
  const Mask m = first_lanes(n);
  const Int at = lane_numbers() * Int(kWidth);
  for (int k = 0; k < kWidth; ++k) out[k] = gather(p + k, at, m);
}
template <int kWidth> A3D_LANE void store_rows(float* p, int64_t n, const Float* value) {
  if constexpr (kWidth == 2) {
    if (n >= kLanes) return store_pairs(p, value[0], value[1]);
  }
#if A3D_ISA_LANES == 16
  if constexpr (kWidth == 8) {  // transposed: pairs, fours, and eights of columns
    __m512 a[8], b[8];
    for (int k = 0; k < 8; k += 2) {
      a[k] = _mm512_unpacklo_ps(value[k].v, value[k + 1].v);
      a[k + 1] = _mm512_unpackhi_ps(value[k].v, value[k + 1].v);
    }
    for (int k = 0; k < 8; k += 4)
      for (int j = 0; j < 2; ++j) {  // b[k + 2 j + i]: rows 4 q + 2 j + i of columns k to k + 3, in quarter q
        const __m512d low = _mm512_castps_pd(a[k + j]), high = _mm512_castps_pd(a[k + 2 + j]);
        b[k + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
        b[k + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
      }
    for (int row = 0; row < 4; ++row) {
      const __m512 halves[2] = {_mm512_shuffle_f32x4(b[row], b[row + 4], 0x44),
                                _mm512_shuffle_f32x4(b[row], b[row + 4], 0xEE)};
      for (int half = 0; half < 2; ++half) {  // quarters q, q + 1 of columns 0 to 3, then those of columns 4 to 7
        const __m512 rows = _mm512_shuffle_f32x4(halves[half], halves[half], 0xD8);
        const int first = 8 * half + row, second = first + 4;
        if (first < n) _mm256_storeu_ps(p + 8 * first, _mm512_castps512_ps256(rows));
        if (second < n) _mm256_storeu_ps(p + 8 * second, _mm512_extractf32x8_ps(rows, 1));
      }
    }
    return;
  }
#endif
  float column[kWidth][kLanes];
  for (int k = 0; k < kWidth; ++k) store(column[k], value[k]);
  for (int i = 0; i < kLanes && i < n; ++i)
    for (int k = 0; k < kWidth; ++k) p[i * kWidth + k] = column[k][i];
}

// The columns of kLanes rows of 4 values that lie anywhere; row(i) says where.
template <typename Row> A3D_LANE void load_fours_at(const Row& row, Float* out) {
#if A3D_ISA_LANES == 16
  __m512 a[4];  // a[k]: rows 4 q + k, in quarter q
  for (int k = 0; k < 4; ++k) {
    a[k] = _mm512_castps128_ps512(_mm_loadu_ps(row(k)));
    a[k] = _mm512_insertf32x4(a[k], _mm_loadu_ps(row(4 + k)), 1);
    a[k] = _mm512_insertf32x4(a[k], _mm_loadu_ps(row(8 + k)), 2);
    a[k] = _mm512_insertf32x4(a[k], _mm_loadu_ps(row(12 + k)), 3);
  }
  for (int j = 0; j < 2; ++j) {  // within each quarter: columns 2 j and 2 j + 1 of rows 0 and 1, of rows 2 and 3
    const __m512 upper = j ? _mm512_unpackhi_ps(a[0], a[1]) : _mm512_unpacklo_ps(a[0], a[1]);
    const __m512 lower = j ? _mm512_unpackhi_ps(a[2], a[3]) : _mm512_unpacklo_ps(a[2], a[3]);
    out[2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(upper), _mm512_castps_pd(lower)));
    out[2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(upper), _mm512_castps_pd(lower)));
  }
#else
  float column[4][kLanes];
  for (int i = 0; i < kLanes; ++i)
    for (int k = 0; k < 4; ++k) column[k][i] = row(i)[k];
  for (int k = 0; k < 4; ++k) out[k] = load(column[k]);
#endif
}

#if A3D_ISA_LANES == 16
// Each adds the halves of two vectors into one: their 8 or 4 lanes apart, then within each quarter.
A3D_LANE Float add_halves(Float a, Float b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a.v, b.v, 0x44), _mm512_shuffle_f32x4(a.v, b.v, 0xEE));
}
A3D_LANE Float add_quarters(Float a, Float b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a.v, b.v, 0x88), _mm512_shuffle_f32x4(a.v, b.v, 0xDD));
}
A3D_LANE Float add_pairs(Float a, Float b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a.v, b.v, 0x44), _mm512_shuffle_ps(a.v, b.v, 0xEE));
}
A3D_LANE Float add_neighbours(Float a, Float b) {
  return _mm512_add_ps(_mm512_shuffle_ps(a.v, b.v, 0x88), _mm512_shuffle_ps(a.v, b.v, 0xDD));
}
#endif

// The sums of the lanes of 16 vectors.
A3D_LANE void sums_of_16(const Float* v, float* out) {
#if A3D_ISA_LANES == 16  // vector 4 e + j ends in element 4 j + e
  Float four[4];
  for (int e = 0; e < 4; ++e) four[e] = add_quarters(add_halves(v[e], v[e + 4]), add_halves(v[e + 8], v[e + 12]));
  store(out, add_neighbours(add_pairs(four[0], four[1]), add_pairs(four[2], four[3])));
#else
  for (int i = 0; i < 16; ++i) out[i] = reduce_add(v[i]);
#endif
}
}  // namespace asset3d::simd::A3D_ISA
#endif
