// Gradients: some keys against all queries they serve. Scores are computed again, from the saved log_sum.
// Included once per kind of unit, after attention_tiles.h.
namespace A3D_UNITS {
// What a chunk of keys needs and what is summed for it; sizes in comments.
struct Keys {
  int n = 0, n_padded = 0, d, d_padded, n_units, d_lanes;
  Unit *k = nullptr, *v = nullptr;             // [key][unit]
  Unit* k_columns = nullptr;                   // [key / kPack][d]
  float *grad_k = nullptr, *grad_v = nullptr;  // [key][d]; null where they are not wanted
};
// A tile of queries.
struct Tile {
  int n;
  Unit *q, *grad;                  // [unit][query]
  Unit *q_columns, *grad_columns;  // [query / kPack][d]
  float *log_sum, *delta;          // [query]
  float* grad_q;                   // [d][query]
};
// Probabilities and score gradients of a block of keys: as broadcast by key, and as read in vectors of queries.
struct Block {
  float* p;           // [key][query]
  Unit* p_rows;       // [key][query / kPack]
  Unit* ds_rows;      // [key][query / kPack]
  Unit* ds_columns;   // [key / kPack][query]
};

constexpr int kRowUnits = kWidth / kPack;

template <int C>
A3D_LANE void compute_block(const Keys& keys, const Tile& tile, const Block& block, int first, int n_rows,
                            Float scale_2, Float scale) {
  for (int row = 0; row < n_rows; row += kRows) {
    Sums<C> sum;
    for_each_sum(sum, [](int, int, Float) { return Float(0.0f); });
    multiply(sum, keys.k + (first + row) * keys.n_units, keys.n_units, 1, tile.q, kWidth, keys.n_units);
    for_each_sum(sum, [&](int r, int c, Float value) {
      // The score is rounded as it was on the way forward, or large ones would not cancel: hence no fms. A probability
      // is at most 1, but for that of padding, which meets zeros.
      const Float score = fma(value, scale_2, Float(-0.0f));
      const Float p = power_of_two(min(score - load(tile.log_sum + c * kLanes), Float(0.0f)));
      store(block.p + (row + r) * kWidth + c * kLanes, p);
#if A3D_PAIRS
      store_neighbours(block.p_rows + (row + r) * kRowUnits + c * kLanes / kPack, p);
#endif
      return Float(0.0f);
    });
    multiply(sum, keys.v + (first + row) * keys.n_units, keys.n_units, 1, tile.grad, kWidth, keys.n_units);
    for_each_sum(sum, [&](int r, int c, Float value) {
      const Float p = load(block.p + (row + r) * kWidth + c * kLanes);
      const Float ds = score_gradient(p, value, load(tile.delta + c * kLanes), scale);
#if A3D_PAIRS
      store_neighbours(block.ds_rows + (row + r) * kRowUnits + c * kLanes / kPack, ds);
#else
      store(block.ds_rows + (row + r) * kWidth + c * kLanes, ds);
#endif
      return ds;
    });
#if A3D_PAIRS
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r += 2)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        store_units(block.ds_columns + (row + r) / 2 * kWidth + c * kLanes, pairs_of(sum.at[r][c], sum.at[r + 1][c]));
#endif
  }
}

// grad[key][d] += rows[key][query] * columns[query][d]
A3D_LANE void add_to_keys(float* grad, const Keys& keys, int n_rows, const Unit* rows, const Unit* columns,
                          int n_queries) {
  const int n = (n_queries + kPack - 1) / kPack;
  int lane = 0;
  const auto add = [&](auto vectors) {
    constexpr int C = decltype(vectors)::value;
    add_product<C>(grad + lane, keys.d_lanes, n_rows, rows, kRowUnits, 1, columns + lane, keys.d_lanes, n);
    lane += C * kLanes;
  };
  if constexpr (kVectors == 3) {
    while (keys.d_lanes - lane >= 3 * kLanes && keys.d_lanes - lane != 4 * kLanes) add(Vectors<3>{});  // 4 = 2 + 2
    while (keys.d_lanes - lane >= 2 * kLanes) add(Vectors<2>{});
  }
  while (lane < keys.d_lanes) add(Vectors<1>{});
}

template <int C>
void add_gradients(const Keys& keys, const Tile& tile, const Block& block, Float scale_2, Float scale) {
  for (int first = 0; first < keys.n_padded; first += kGradientBlock) {
    const int n_rows = std::min(kGradientBlock, keys.n_padded - first);
    compute_block<C>(keys, tile, block, first, n_rows, scale_2, scale);
    if (keys.grad_k) {
      add_to_keys(keys.grad_v + int64_t(first) * keys.d_lanes, keys, n_rows, block.p_rows, tile.grad_columns, tile.n);
      add_to_keys(keys.grad_k + int64_t(first) * keys.d_lanes, keys, n_rows, block.ds_rows, tile.q_columns, tile.n);
    }
    if (tile.grad_q)
      add_product<C>(tile.grad_q, kWidth, keys.d_padded, keys.k_columns + int64_t(first / kPack) * keys.d_padded, 1,
                     keys.d_padded, block.ds_columns, kWidth, n_rows / kPack);
  }
}

template <typename T>
void pack_queries(const Args<T>& a, const Keys& keys, const Tile& tile, int64_t batch, int64_t head, int64_t first,
                  const float* delta, Unit* rows) {
  const T *q = a.q.at(batch, head, first), *grad = a.grad_out.at(batch, head, first);
  pack_tile(tile.q, q, a.q.row, tile.n, keys.n_units, keys.d, rows);
  pack_tile(tile.grad, grad, a.grad_out.row, tile.n, keys.n_units, keys.d, rows);
  if (keys.grad_k) {
    pack_columns(tile.q_columns, keys.d_lanes, q, a.q.row, tile.n, kWidth, keys.d);
    pack_columns(tile.grad_columns, keys.d_lanes, grad, a.grad_out.row, tile.n, kWidth, keys.d);
  }
  const int64_t at = (batch * a.n_heads + head) * a.n_queries + first;
  for (int i = 0; i < kWidth; ++i) {  // where there is no query the probability becomes 2^-126, times a gradient of 0
    tile.log_sum[i] = i < tile.n ? a.log_sum[at + i] : 1e30f;
    tile.delta[i] = i < tile.n ? delta[at + i] : 0.0f;
  }
}

// The gradients of a packed chunk of keys, from all queries of one batch.
template <typename T>
void visit_queries(const Args<T>& a, const KeyTask& task, const Keys& keys, Tile tile, const Block& block,
                   int64_t batch, bool first_chunk, Unit* rows) {
  const Float scale_2(float(base_2(a.scale))), scale(float(a.scale));
  float* partial =
      task.partial ? task.partial + (batch * a.n_heads + task.head) * partial_size(a.head_size, a.n_queries) : nullptr;
  for (int64_t first = 0; first < a.n_queries; first += kWidth) {
    tile.n = int(std::min<int64_t>(kWidth, a.n_queries - first));
    tile.grad_q = partial ? partial + first * keys.d_padded : nullptr;
    if (partial && first_chunk) fill(tile.grad_q, keys.d_padded * kWidth, 0.0f);
    pack_queries(a, keys, tile, batch, task.head, first, task.delta, rows);
    with_vectors(tile.n,
                 [&](auto vectors) { add_gradients<decltype(vectors)::value>(keys, tile, block, scale_2, scale); });
  }
}

template <typename T>
void key_gradient(const Args<T>& a, const KeyTask& task, float* workspace) {
  const Source<T>& source = a.sources[task.source];
  const int d = a.head_size, d_padded = int(round_up(d, 8)), n_units = d_padded / kPack,
            d_lanes = int(round_up(d, kLanes));
  const auto take = [&](int64_t n) { float* p = workspace; workspace += round_up(n, 16); return p; };
  const auto units = [&](int64_t n) { return reinterpret_cast<Unit*>(take(n)); };
  Keys keys{.d = d, .d_padded = d_padded, .n_units = n_units, .d_lanes = d_lanes};
  keys.k = units(task.chunk * n_units);
  keys.v = units(task.chunk * n_units);
  keys.k_columns = kPack == 1 ? keys.k : units(task.chunk / kPack * d_padded);
  if (source.grad_k.data) {
    keys.grad_k = take(task.chunk * d_lanes);
    keys.grad_v = take(task.chunk * d_lanes);
  }
  Tile tile{0, units(n_units * kWidth), units(n_units * kWidth), units(kRowUnits * d_lanes), units(kRowUnits * d_lanes),
            take(kWidth), take(kWidth), nullptr};
  Block block{take(kGradientBlock * kWidth), nullptr, units(kGradientBlock * kRowUnits), nullptr};
  block.p_rows = kPack == 1 ? reinterpret_cast<Unit*>(block.p) : units(kGradientBlock * kRowUnits);
  block.ds_columns = kPack == 1 ? block.ds_rows : units(kGradientBlock * kRowUnits);
  Unit* rows = units(kWidth * n_units);

  const int64_t group = a.n_batch / source.n_batch;
  for (int64_t first = task.first; first < task.last; first += task.chunk) {
    keys.n = int(std::min(task.chunk, task.last - first));
    keys.n_padded = int(round_up(keys.n, kRows));
    const T *k = source.k.at(task.batch, task.head, first), *v = source.v.at(task.batch, task.head, first);
    pack_rows(keys.k, n_units, k, source.k.row, keys.n, keys.n_padded, d);
    pack_rows(keys.v, n_units, v, source.v.row, keys.n, keys.n_padded, d);
    if (kPack > 1) pack_columns(keys.k_columns, d_padded, k, source.k.row, keys.n, keys.n_padded, d);
    if (keys.grad_k) {
      fill(keys.grad_k, keys.n_padded * d_lanes, 0.0f);
      fill(keys.grad_v, keys.n_padded * d_lanes, 0.0f);
    }
    for (int64_t b = task.batch * group; b < (task.batch + 1) * group; ++b)
      visit_queries(a, task, keys, tile, block, b, first == task.first, rows);
    for (int i = 0; keys.grad_k && i < keys.n; ++i) {
      store_row(source.grad_k.at(task.batch, task.head, first + i), keys.grad_k + i * d_lanes, d);
      store_row(source.grad_v.at(task.batch, task.head, first + i), keys.grad_v + i * d_lanes, d);
    }
  }
}

#if !A3D_PAIRS
// out[i] = factor * x[i] . y[i] for n rows.
template <typename T>
void row_products(const T* x, int64_t x_row, const T* y, int64_t y_row, int64_t n, int d, float factor, float* out) {
  float wide_x[kMaxHeadSize], wide_y[kMaxHeadSize];
  const auto widen = [&](const T* row, float* wide) {
    if constexpr (sizeof(T) == 4) return row;
    else return copy_row(wide, row, d), static_cast<const float*>(wide);
  };
  for (int64_t i = 0; i < n; ++i) {
    const float *a = widen(x + i * x_row, wide_x), *b = widen(y + i * y_row, wide_y);
    Float sum(0.0f);
    int at = 0;
    for (; at + kLanes <= d; at += kLanes) sum = fma(load(a + at), load(b + at), sum);
    if (at < d) sum = fma(load(a + at, first_lanes(d - at)), load(b + at, first_lanes(d - at)), sum);
    out[i] = factor * reduce_add(sum);
  }
}

template <typename T>
void query_gradient(const Args<T>& a, const QueryTask& task, const float* partials, int n, int64_t stride) {
  const int d_padded = int(round_up(a.head_size, 8));
  const float* partial = partials + (task.batch * a.n_heads + task.head) * partial_size(a.head_size, a.n_queries);
  float sum[kMaxHeadSize * kWidth], rows[kMaxHeadSize * kWidth];
  for (int64_t first = task.first; first < task.last; first += kWidth) {
    fill(sum, d_padded * kWidth, 0.0f);
    for (int i = 0; i < n; ++i)
      for (int64_t at = 0; at < d_padded * kWidth; at += kLanes)
        store(sum + at, load(sum + at) + load(partial + i * stride + first * d_padded + at));
    const int in_tile = int(std::min<int64_t>(kWidth, task.last - first));
    unpack_tile(a.grad_q.at(task.batch, task.head, first), a.grad_q.row, sum, in_tile, a.head_size, d_padded, rows);
  }
}
#endif
}  // namespace A3D_UNITS
