// Products of small matrices in registers, and packing for them. Included once per kind of unit, without a guard:
// A3D_PAIRS 0: a unit is a float; 1: a unit is two bfloat16 that are multiplied and added by one instruction.
//
// Every product has the shape sum[row][lane] += a[row][unit] * b[unit][lane]: a is broadcast, b is read in vectors.
//   scores       [key][query] = k[key][d] * q^T[d][query]        out^T   [d][query] = v^T[d][key] * p[key][query]
//   d p          [key][query] = v[key][d] * grad^T[d][query]     grad_q^T[d][query] = k^T[d][key] * ds[key][query]
//   grad_v       [key][d] = p[key][query] * grad[query][d]       grad_k  [key][d] = ds[key][query] * q[query][d]
// Lanes are queries in the first four: maxima and sums over keys then need no exchange between lanes.
namespace A3D_UNITS {
#if A3D_PAIRS
using Unit = uint32_t;  // low half: the even element
using Units = Int;
constexpr int kPack = 2;
A3D_LANE Units load_units(const Unit* p) { return load(reinterpret_cast<const int32_t*>(p)); }
A3D_LANE void store_units(Unit* p, Units a) { store(reinterpret_cast<int32_t*>(p), a); }
A3D_LANE Float dot(Units a, Units b, Float sum) { return _mm512_dpbf16_ps(sum.v, (__m512bh)a.v, (__m512bh)b.v); }
#else
using Unit = float;
using Units = Float;
constexpr int kPack = 1;
A3D_LANE Units load_units(const Unit* p) { return load(p); }
A3D_LANE void store_units(Unit* p, Units a) { store(p, a); }
A3D_LANE Float dot(Units a, Units b, Float sum) { return fma(a, b, sum); }
#endif
// Sums in registers: kRows rows, which divide every padded size, of up to kVectors vectors. Few of them in sanitized
// builds, whose checks take the compiler minutes for all.
#ifdef __SANITIZE_ADDRESS__
constexpr int kRows = 2, kVectors = 1;
#else
constexpr int kRows = kLanes == 16 ? 8 : 4, kVectors = 3;
#endif
constexpr int kWidth = kVectors * kLanes;  // queries of a tile
static_assert(kWidth <= kMaxWidth && kMaxWidth % kWidth == 0);

template <int C> struct Sums { Float at[kRows][C]; };

template <int C>
A3D_LANE void multiply(Sums<C>& sum, const Unit* a, int64_t a_row, int64_t a_unit, const Unit* b, int64_t b_unit,
                       int n) {
  for (int k = 0; k < n; ++k, a += a_unit, b += b_unit) {
    Units column[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) column[c] = load_units(b + c * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Units x(a[r * a_row]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sum.at[r][c] = dot(x, column[c], sum.at[r][c]);
    }
  }
}

// Calls fn(row, column, value) for each vector of the sums; fn returns what replaces it.
template <int C, typename Fn>
A3D_LANE void for_each_sum(Sums<C>& sum, Fn fn) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sum.at[r][c] = fn(r, c, sum.at[r][c]);
}

// sums[row][lane] += a * b for n_rows rows and C vectors of lanes.
template <int C>
A3D_LANE void add_product(float* sums, int64_t width, int n_rows, const Unit* a, int64_t a_row, int64_t a_unit,
                          const Unit* b, int64_t b_unit, int n) {
  for (int row = 0; row < n_rows; row += kRows) {
    float* target = sums + row * width;
    Sums<C> sum;
    for_each_sum(sum, [&](int r, int c, Float) { return load(target + r * width + c * kLanes); });
    multiply(sum, a + row * a_row, a_row, a_unit, b, b_unit, n);
    for_each_sum(sum, [&](int r, int c, Float value) { store(target + r * width + c * kLanes, value); return value; });
  }
}

// Calls fn(Vectors<C>{}) with the number of vectors that n lanes take.
template <int C> struct Vectors { static constexpr int value = C; };
template <typename Fn> A3D_LANE void with_vectors(int n_lanes, Fn fn) {
  if constexpr (kVectors == 3) {
    if (n_lanes > 2 * kLanes) return fn(Vectors<3>{});
    if (n_lanes > kLanes) return fn(Vectors<2>{});
  }
  fn(Vectors<1>{});
}

// 2^x for x <= 0, and for the little above 0 that rounding brings; never less than 2^-126. Relative error 2e-7, with
// pairs 8e-5 (a bfloat16 has 4e-3). The sum with 1.5 * 2^23 rounds x to an integer in the low bits.
A3D_LANE Float power_of_two(Float x) {
  const Float shifted = max(x, Float(-126.0f)) + Float(12582912.0f);
  const Float f = max(x, Float(-126.0f)) - (shifted - Float(12582912.0f));
#if A3D_PAIRS
  Float p = fma(Float(0.0551716648f), f, Float(0.24261114f));
  p = fma(p, f, Float(0.693260968f));
  p = fma(p, f, Float(0.999928057f));
#else
  Float p = fma(Float(0.00132764713f), f, Float(0.00967554189f));
  p = fma(p, f, Float(0.0555071309f));
  p = fma(p, f, Float(0.240221202f));
  p = fma(p, f, Float(0.693146944f));
  p = fma(p, f, Float(1.00000012f));
#endif
  return float_of_bits(bits_of(p) + (bits_of(shifted) << 23));
}

A3D_LANE void fill(float* out, int64_t n, float value) {
  for (int64_t i = 0; i < n; ++i) out[i] = value;
}

// --- packing ---------------------------------------------------------------------------------------------------------
#if A3D_PAIRS
// The even and the odd element of 16 pairs, rounded to nearest.
A3D_LANE Units pairs_of(Float even, Float odd) {
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(odd.v, even.v);
  alignas(64) static const uint16_t kOrder[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), both);
}
// 16 neighbours as 8 units.
A3D_LANE void store_neighbours(Unit* p, Float a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v));
}
A3D_LANE void copy_row(Unit* out, const Bfloat16* row, int d) {
  if (d % 2) out[d / 2] = row[d - 1].bits;
  std::memcpy(out, row, size_t(d / 2) * 4);
}
// Units of two rows: element i of both in unit i. `second` may be null: zeros.
A3D_LANE void pair_rows(Unit* out, const Bfloat16* first, const Bfloat16* second, int d) {
  if (second)
    for (int i = 0; i < d; ++i) out[i] = uint32_t(first[i].bits) | uint32_t(second[i].bits) << 16;
  else
    for (int i = 0; i < d; ++i) out[i] = first[i].bits;
}
#else
A3D_LANE void copy_row(Unit* out, const float* row, int d) { std::memcpy(out, row, size_t(d) * 4); }
A3D_LANE void copy_row(Unit* out, const Bfloat16* row, int d) {
  for (int i = 0; i < d; ++i) {
    const uint32_t bits = uint32_t(row[i].bits) << 16;
    std::memcpy(out + i, &bits, 4);
  }
}
#endif

// n_padded rows of `width` units from n rows of d elements; zeros elsewhere.
template <typename T>
A3D_LANE void pack_rows(Unit* out, int64_t width, const T* rows, int64_t stride, int n, int n_padded, int d) {
  const int used = (d + kPack - 1) / kPack;
  for (int r = 0; r < n; ++r, out += width) {
    copy_row(out, rows + r * stride, d);
    std::memset(out + used, 0, size_t(width - used) * 4);
  }
  std::memset(out, 0, size_t((n_padded - n) * width) * 4);
}

// Units that hold the elements of kPack neighbouring rows: [row / kPack][d].
template <typename T>
A3D_LANE void pack_columns(Unit* out, int64_t width, const T* rows, int64_t stride, int n, int n_padded, int d) {
#if A3D_PAIRS
  for (int r = 0; r < n_padded; r += 2, out += width) {
    if (r < n) pair_rows(out, rows + r * stride, r + 1 < n ? rows + (r + 1) * stride : nullptr, d);
    const int used = r < n ? d : 0;
    std::memset(out + used, 0, size_t(width - used) * 4);
  }
#else
  pack_rows(out, width, rows, stride, n, n_padded, d);
#endif
}

#if A3D_ISA_LANES == 16
// 16 x 16 words; rows and columns `in_row`, `out_row` words apart.
A3D_LANE void transpose_block(uint32_t* out, int64_t out_row, const uint32_t* in, int64_t in_row) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(in + i * in_row);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
    b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
    b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_si512(out + i * out_row, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
    _mm512_storeu_si512(out + (i + 4) * out_row, _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0x88));
    _mm512_storeu_si512(out + (i + 8) * out_row, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
    _mm512_storeu_si512(out + (i + 12) * out_row, _mm512_shuffle_i32x4(b[i + 4], b[i + 12], 0xdd));
  }
}
#endif

// out[column][row] = in[row][column], words of 32 bits.
A3D_LANE void transpose(void* out_words, int64_t out_row, const void* in_words, int64_t in_row, int rows, int columns) {
  uint32_t* out = static_cast<uint32_t*>(out_words);
  const uint32_t* in = static_cast<const uint32_t*>(in_words);
  int r = 0;
#if A3D_ISA_LANES == 16
  for (; r + 16 <= rows; r += 16) {
    int c = 0;
    for (; c + 16 <= columns; c += 16) transpose_block(out + c * out_row + r, out_row, in + r * in_row + c, in_row);
    for (; c < columns; ++c)
      for (int i = r; i < r + 16; ++i) out[c * out_row + i] = in[i * in_row + c];
  }
#endif
  for (; r < rows; ++r)
    for (int c = 0; c < columns; ++c) out[c * out_row + r] = in[r * in_row + c];
}

// [unit][query]: a tile of queries, zeros where there are none. `rows` holds kWidth rows of the unit count.
template <typename T>
A3D_LANE void pack_tile(Unit* out, const T* queries, int64_t stride, int n, int n_units, int d, Unit* rows) {
  pack_rows(rows, n_units, queries, stride, n, kWidth, d);
  transpose(out, kWidth, rows, n_units, kWidth, n_units);
}

A3D_LANE void store_row(float* out, const float* in, int d) { std::memcpy(out, in, size_t(d) * 4); }
A3D_LANE void store_row(Bfloat16* out, const float* in, int d) {
  for (int i = 0; i < d; ++i) assign(out[i], in[i]);
}

// n rows of d elements from a tile [d][query]; `rows` holds kWidth rows of d_padded floats.
template <typename T>
A3D_LANE void unpack_tile(T* out, int64_t stride, const float* tile, int n, int d, int d_padded, float* rows) {
  transpose(rows, d_padded, tile, kWidth, d_padded, kWidth);
  for (int i = 0; i < n; ++i) store_row(out + i * stride, rows + i * d_padded, d);
}
}  // namespace A3D_UNITS
