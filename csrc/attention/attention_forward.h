// Attention of some queries over all keys, in tiles of queries and blocks of keys with running maxima and sums.
// Included once per kind of unit, after attention_tiles.h.
namespace A3D_UNITS {
constexpr float kLowest = -3e38f;  // below every score, and its differences stay finite in base 2

// The state of the queries of a task: per tile [unit][query], [d][query], [query].
struct Queries {
  int n_tiles, d, d_padded, n_units;
  Unit* q;
  float *out, *maximum, *sum;
};

// Scores of a tile against n_rows packed keys, in base 2.
template <int C>
A3D_LANE void compute_scores(float* scores, const Unit* keys, int n_rows, const Unit* q, int n_units, Float scale) {
  for (int row = 0; row < n_rows; row += kRows) {
    Sums<C> sum;
    for_each_sum(sum, [](int, int, Float) { return Float(0.0f); });
    multiply(sum, keys + row * n_units, n_units, 1, q, kWidth, n_units);
    for_each_sum(sum, [&](int r, int c, Float value) {
      store(scores + (row + r) * kWidth + c * kLanes, value * scale);
      return value;
    });
  }
}

// Replaces scores by probabilities relative to the new maximum, packed as units [key / kPack][query]. Returns by how
// much earlier sums must be multiplied.
template <int C>
A3D_LANE void compute_probabilities(float* scores, int n_keys, float* maximum, float* sum, Float (&correction)[C]) {
  Float top[C], total[C];
  for (int c = 0; c < C; ++c) top[c] = load(maximum + c * kLanes);
  for (int k = 0; k < n_keys; ++k)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) top[c] = max(top[c], load(scores + k * kWidth + c * kLanes));
  for (int c = 0; c < C; ++c) {
    correction[c] = power_of_two(load(maximum + c * kLanes) - top[c]);
    total[c] = load(sum + c * kLanes) * correction[c];
    store(maximum + c * kLanes, top[c]);
  }
  for (int k = 0; k < n_keys; k += kPack)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      float* at = scores + k * kWidth + c * kLanes;
      const Float p = power_of_two(load(at) - top[c]);
      total[c] += p;
#if A3D_PAIRS
      Float next(0.0f);
      if (k + 1 < n_keys) next = power_of_two(load(at + kWidth) - top[c]);
      total[c] += next;
      store_units(reinterpret_cast<Unit*>(scores) + (k / 2) * kWidth + c * kLanes, pairs_of(p, next));
#else
      store(at, p);
#endif
    }
  for (int c = 0; c < C; ++c) store(sum + c * kLanes, total[c]);
}

// out^T = out^T * correction + v^T p.
template <int C>
A3D_LANE void add_values(float* out, int d_padded, const Unit* values, const Unit* p, int n,
                         const Float (&correction)[C]) {
  for (int row = 0; row < d_padded; row += kRows) {
    float* target = out + row * kWidth;
    Sums<C> sum;
    for_each_sum(sum, [&](int r, int c, Float) { return load(target + r * kWidth + c * kLanes) * correction[c]; });
    multiply(sum, values + row, 1, d_padded, p, kWidth, n);
    for_each_sum(sum, [&](int r, int c, Float value) { store(target + r * kWidth + c * kLanes, value); return value; });
  }
}

template <int C>
void attend_tile(const Queries& tiles, int tile, const Unit* keys, const Unit* values, int n_keys, Float scale,
                 float* scores) {
  Float correction[C];
  compute_scores<C>(scores, keys, int(round_up(n_keys, kRows)), tiles.q + tile * tiles.n_units * kWidth, tiles.n_units,
                    scale);
  compute_probabilities<C>(scores, n_keys, tiles.maximum + tile * kWidth, tiles.sum + tile * kWidth, correction);
  add_values<C>(tiles.out + int64_t(tile) * tiles.d_padded * kWidth, tiles.d_padded, values,
                reinterpret_cast<const Unit*>(scores), (n_keys + kPack - 1) / kPack, correction);
}

template <typename T>
void finish_tile(const Args<T>& a, const QueryTask& task, const Queries& tiles, int tile, int n, float* rows) {
  const int64_t first = task.first + tile * kWidth;
  float* out = tiles.out + int64_t(tile) * tiles.d_padded * kWidth;
  const float *maximum = tiles.maximum + tile * kWidth, *sum = tiles.sum + tile * kWidth;
  for (int lane = 0; lane < kWidth; lane += kLanes) {
    float each[kLanes];
    for (int i = 0; i < kLanes; ++i) each[i] = inverse_sum(sum[lane + i]);
    const Float inverse = load(each);
    for (int at = lane; at < tiles.d_padded * kWidth; at += kWidth) store(out + at, load(out + at) * inverse);
  }
  unpack_tile(a.out.at(task.batch, task.head, first), a.out.row, out, n, a.head_size, tiles.d_padded, rows);
  float* log_sum = a.log_sum + (task.batch * a.n_heads + task.head) * a.n_queries + first;
  for (int i = 0; i < n; ++i) log_sum[i] = log_sum_of(maximum[i], sum[i]);
}

template <typename T>
void attend(const Args<T>& a, const QueryTask& task, float* workspace) {
  const int d = a.head_size, d_padded = int(round_up(d, 8)), n_units = d_padded / kPack;
  const int n_queries = int(task.last - task.first), n_tiles = (n_queries + kWidth - 1) / kWidth;
  const auto take = [&](int64_t n) { float* p = workspace; workspace += n; return p; };
  const Queries tiles{n_tiles, d, d_padded, n_units, reinterpret_cast<Unit*>(take(n_tiles * kWidth * n_units)),
                      take(n_tiles * kWidth * d_padded), take(n_tiles * kWidth), take(n_tiles * kWidth)};
  Unit* keys = reinterpret_cast<Unit*>(take(kScoreBlock * n_units));
  Unit* values = reinterpret_cast<Unit*>(take(kScoreBlock / kPack * d_padded));
  float *scores = take(kScoreBlock * kWidth), *rows = take(kWidth * d_padded);
  const auto in_tile = [&](int tile) { return std::min(kWidth, n_queries - tile * kWidth); };

  for (int tile = 0; tile < n_tiles; ++tile)
    pack_tile(tiles.q + tile * n_units * kWidth, a.q.at(task.batch, task.head, task.first + tile * kWidth), a.q.row,
              in_tile(tile), n_units, d, reinterpret_cast<Unit*>(rows));
  fill(tiles.out, n_tiles * kWidth * d_padded, 0.0f);
  fill(tiles.maximum, n_tiles * kWidth, kLowest);
  fill(tiles.sum, n_tiles * kWidth, 0.0f);
  const Float scale(float(base_2(a.scale)));
  for (int s = 0; s < a.n_sources; ++s) {
    const Source<T>& source = a.sources[s];
    const int64_t batch = task.batch / (a.n_batch / source.n_batch);
    for (int64_t first = 0; first < source.n_keys; first += kScoreBlock) {
      const int n = int(std::min<int64_t>(kScoreBlock, source.n_keys - first));
      pack_rows(keys, n_units, source.k.at(batch, task.head, first), source.k.row, n, int(round_up(n, kRows)), d);
      pack_columns(values, d_padded, source.v.at(batch, task.head, first), source.v.row, n, int(round_up(n, kPack)), d);
      for (int tile = 0; tile < n_tiles; ++tile)
        with_vectors(in_tile(tile), [&](auto vectors) {
          attend_tile<decltype(vectors)::value>(tiles, tile, keys, values, n, scale, scores);
        });
    }
  }
  for (int tile = 0; tile < n_tiles; ++tile) finish_tile(a, task, tiles, tile, in_tile(tile), rows);
}
}  // namespace A3D_UNITS
