// Products with weights that are not packed: rows of 16- or 32-bit floats, as a file has them.
//
// A few rows of the weight meet a few rows of activations, each pair with sixteen sums of its own, one a lane. The lanes
// are added once for every `dense_columns` columns. Which rows meet which changes the order of no row's additions.
// Up to four rows of activations take the rows of the weight one by one, so that memory is read from front to back.

namespace unillm::UNILLM_ISA {

constexpr long dense_columns = 2048;                            // of a few rows, they stay in the nearest cache
constexpr int dense_sums = sums_in_registers >= 16 ? 16 : 4;    // rows of the weight times rows of activations
constexpr long dense_stretches = 4;                             // of `dense_columns`, of one row of the weight before the next
constexpr long dense_ahead = 4096;                              // bytes: the memory's latency at its full speed

#if defined(UNILLM_BFLOAT)
// Both in bfloat16: two products a lane.
struct BothHalf {
  static constexpr int columns = 32, weight_bytes = 2, x_bytes = 2;
  static Floats weight(const char* row, long k) { return as_floats(load_ints(row + 2 * k)); }
  static Floats x(const char* row, long k) { return weight(row, k); }
  static Floats last(const char* row, long k, long left) {
    alignas(64) char padded[64] = {};
    std::memcpy(padded, row + 2 * k, static_cast<size_t>(2 * left));
    return weight(padded, 0);
  }
  static Floats add_product(Floats sum, Floats w, Floats x) { return add_pairs(sum, w, x); }
};
#endif

// In fp32, whatever the weight is stored as.
template <int KIND>
struct Widened {
  static constexpr int columns = 16, weight_bytes = KIND == UNILLM_F32 ? 4 : 2, x_bytes = 4;
  static Floats weight(const char* row, long k) { return load_numbers(row, KIND, k); }
  static Floats x(const char* row, long k) { return load(reinterpret_cast<const float*>(row) + k); }
  static Floats last(const char* row, long k, long left) {
    return load_first_numbers(row, KIND, k, static_cast<int>(left));
  }
  static Floats add_product(Floats sum, Floats w, Floats x) { return multiply_add(w, x, sum); }
};

// The sums of sixteen (or fewer) vectors' lanes.
inline void sum_lanes_of_each(Floats* sums, int count, float* to) {
  if (count == 16) {
    transpose(sums);
    Floats total = sums[0];
    for (int i = 1; i < 16; ++i) total = add(total, sums[i]);
    store(to, total);
  } else {
    for (int i = 0; i < count; ++i) to[i] = sum_lanes(sums[i]);
  }
}

// Where the rows of the weight and of the activations lie that meet.
struct Meeting {
  const char* weight;
  long weight_stride;  // bytes
  const char* x;
  long x_stride;
};

// Adds `columns` columns of WEIGHTS rows times ROWS rows to sums[row * 16 + weight].
template <class FORM, int WEIGHTS, int ROWS>
inline void meet(const Meeting& at, long columns, float* sums) {
  Floats sum[dense_sums];
#pragma GCC unroll 16
  for (int i = 0; i < dense_sums; ++i) sum[i] = zero();
  long k = 0;
  for (; k + FORM::columns <= columns; k += FORM::columns) {
    Floats x[ROWS];
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row) x[row] = FORM::x(at.x + row * at.x_stride, k);
#pragma GCC unroll 16
    for (int w = 0; w < WEIGHTS; ++w) {
      const Floats weight = FORM::weight(at.weight + w * at.weight_stride, k);
#pragma GCC unroll 4
      for (int row = 0; row < ROWS; ++row) {
        sum[row * WEIGHTS + w] = FORM::add_product(sum[row * WEIGHTS + w], weight, x[row]);
      }
    }
  }
  if (k < columns) {
    for (int w = 0; w < WEIGHTS; ++w) {
      const Floats weight = FORM::last(at.weight + w * at.weight_stride, k, columns - k);
      for (int row = 0; row < ROWS; ++row) {
        Floats& own = sum[row * WEIGHTS + w];
        own = FORM::add_product(own, weight, FORM::x(at.x + row * at.x_stride, k));
      }
    }
  }
  alignas(64) float total[dense_sums];
  sum_lanes_of_each(sum, dense_sums, total);
  for (int row = 0; row < ROWS; ++row) {
    for (int w = 0; w < WEIGHTS; ++w) sums[row * tile_rows + w] += total[row * WEIGHTS + w];
  }
}

// Sixteen rows of the weight (or the last ones) from column `column` on, against ROWS rows at a time of `rows`.
template <class FORM, int WEIGHTS, int ROWS>
inline void meet_tile(const DenseProduct& p, const Meeting& tile, int weights, long columns, long rows, float* sums) {
  for (int w = 0; w < weights; w += WEIGHTS) {
    // At the end the last rows are taken again; their sums go where nobody looks.
    const int first = w + WEIGHTS <= weights || weights < WEIGHTS ? w : weights - WEIGHTS;
    const int shift = w - first;
    for (long row = 0; row < rows; row += ROWS) {
      Meeting at = tile;
      at.weight += first * p.weight_stride;
      at.x += row * p.x_stride;
      if (shift == 0) {
        meet<FORM, WEIGHTS, ROWS>(at, columns, sums + row * tile_rows + w);
      } else {
        float again[ROWS * tile_rows] = {};
        meet<FORM, WEIGHTS, ROWS>(at, columns, again);
        for (int r = 0; r < ROWS; ++r) {
          for (int i = 0; w + i < weights; ++i) sums[(row + r) * tile_rows + w + i] += again[r * tile_rows + shift + i];
        }
      }
    }
  }
}

template <class FORM, int ROWS>
inline void meet_rows(const DenseProduct& p, const Meeting& tile, int weights, long columns, long rows, float* sums) {
  constexpr int whole = ROWS == 3 ? 4 : dense_sums / ROWS;
  if (weights >= whole) return meet_tile<FORM, whole, ROWS>(p, tile, weights, columns, rows, sums);
  for (int w = 0; w < weights; ++w) {
    Meeting one = tile;
    one.weight += w * p.weight_stride;
    meet_tile<FORM, 1, ROWS>(p, one, 1, columns, rows, sums + w);
  }
}

template <class FORM>
inline void meet_all(const DenseProduct& p, const Meeting& tile, int weights, long columns, long rows, float* sums) {
  constexpr int most = dense_sums == 16 ? 4 : 2;
  const long whole = rows / most * most;
  if (whole) meet_rows<FORM, most>(p, tile, weights, columns, whole, sums);
  Meeting rest = tile;
  rest.x += whole * p.x_stride;
  float* own = sums + whole * tile_rows;
  if (rows - whole == 3) meet_rows<FORM, dense_sums == 16 ? 3 : 1>(p, rest, weights, columns, 3, own);
  if (rows - whole == 2) meet_rows<FORM, dense_sums == 16 ? 2 : 1>(p, rest, weights, columns, 2, own);
  if (rows - whole == 1) meet_rows<FORM, 1>(p, rest, weights, columns, 1, own);
}

// y of rows `first` to `last`, sixteen columns (or the last ones).
inline void write_dense(const DenseProduct& p, long column, long first, long last, const float* sums) {
  const long columns = p.columns - column < tile_rows ? p.columns - column : tile_rows;
  for (long row = first; row < last; ++row, sums += tile_rows) {
    char* y = static_cast<char*>(p.y) + (row * p.y_stride + column) * number_bytes(p.y_kind);
    Floats total = load(sums);
    if (p.accumulate) total = add(total, load_at(y, p.y_kind, 0, columns));
    store_at(y, p.y_kind, 0, columns, total);
  }
}

// One row of the weight against ROWS rows.
template <class FORM, int ROWS>
inline void meet_one(const Meeting& at, long columns, Floats* sums) {
  for (int row = 0; row < ROWS; ++row) sums[row] = zero();
  long k = 0;
  for (; k + FORM::columns <= columns; k += FORM::columns) {
    prefetch(at.weight + dense_ahead + k * FORM::weight_bytes);
    const Floats weight = FORM::weight(at.weight, k);
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row) {
      sums[row] = FORM::add_product(sums[row], weight, FORM::x(at.x + row * at.x_stride, k));
    }
  }
  if (k == columns) return;
  const Floats weight = FORM::last(at.weight, k, columns - k);
  for (int row = 0; row < ROWS; ++row) {
    sums[row] = FORM::add_product(sums[row], weight, FORM::x(at.x + row * at.x_stride, k));
  }
}

// What sixteen rows of the weight (or the last ones) make of ROWS rows of activations, a few stretches of columns of each.
template <class FORM, int ROWS>
struct MetInOrder {
  Floats lanes[dense_stretches][ROWS][tile_rows];

  void meet(const Meeting& tile, int weights, long columns) {
    for (int w = 0; w < weights; ++w) {
      for (long k = 0, stretch = 0; k < columns; k += dense_columns, ++stretch) {
        const Meeting at = {tile.weight + w * tile.weight_stride + k * FORM::weight_bytes, tile.weight_stride,
                            tile.x + k * FORM::x_bytes, tile.x_stride};
        Floats met[ROWS];
        meet_one<FORM, ROWS>(at, columns - k < dense_columns ? columns - k : dense_columns, met);
        for (int row = 0; row < ROWS; ++row) lanes[stretch][row][w] = met[row];
      }
    }
  }

  void add_to(float* sums, int weights, long columns) {
    for (long k = 0, stretch = 0; k < columns; k += dense_columns, ++stretch) {
      for (int row = 0; row < ROWS; ++row) {
        alignas(64) float total[tile_rows];
        for (int w = weights; w < tile_rows; ++w) lanes[stretch][row][w] = zero();
        for (int w = 0; w < tile_rows; w += dense_sums) sum_lanes_of_each(lanes[stretch][row] + w, dense_sums, total + w);
        store(sums + row * tile_rows, add(load(sums + row * tile_rows), load(total)));
      }
    }
  }
};

template <class FORM, int ROWS>
inline void multiply_dense_few(const DenseProduct& p, long first_tile, long last_tile, float* sums) {
  constexpr long at_once = dense_stretches * dense_columns;
  for (long t = first_tile; t < last_tile; ++t) {
    const long column = t * tile_rows;
    const int weights = static_cast<int>(p.columns - column < tile_rows ? p.columns - column : tile_rows);
    clear(sums, ROWS);
    for (long k = 0; k < p.depth; k += at_once) {
      const long columns = p.depth - k < at_once ? p.depth - k : at_once;
      MetInOrder<FORM, ROWS> tile;
      tile.meet({p.weight + column * p.weight_stride + k * FORM::weight_bytes, p.weight_stride, p.x + k * FORM::x_bytes,
                 p.x_stride}, weights, columns);
      tile.add_to(sums, weights, columns);
    }
    write_dense(p, column, 0, ROWS, sums);
  }
}

template <class FORM>
inline void multiply_dense_many(const DenseProduct& p, long first_tile, long last_tile, float* sums) {
  for (long first = 0; first < p.rows; first += p.rows_at_once) {
    const long last = first + p.rows_at_once < p.rows ? first + p.rows_at_once : p.rows;
    for (long t = first_tile; t < last_tile; ++t) {
      const long column = t * tile_rows;
      const int weights = static_cast<int>(p.columns - column < tile_rows ? p.columns - column : tile_rows);
      clear(sums, last - first);
      for (long k = 0; k < p.depth; k += dense_columns) {
        const Meeting tile = {p.weight + column * p.weight_stride + k * FORM::weight_bytes, p.weight_stride,
                              p.x + first * p.x_stride + k * FORM::x_bytes, p.x_stride};
        const long columns = p.depth - k < dense_columns ? p.depth - k : dense_columns;
        meet_all<FORM>(p, tile, weights, columns, last - first, sums);
      }
      write_dense(p, column, first, last, sums);
    }
  }
}

template <class FORM>
inline void multiply_dense_tiles(const DenseProduct& p, long first_tile, long last_tile, float* sums) {
  if (p.rows == 1) return multiply_dense_few<FORM, 1>(p, first_tile, last_tile, sums);
  if (p.rows == 2) return multiply_dense_few<FORM, 2>(p, first_tile, last_tile, sums);
  if (p.rows == 3) return multiply_dense_few<FORM, 3>(p, first_tile, last_tile, sums);
  if (p.rows == 4) return multiply_dense_few<FORM, 4>(p, first_tile, last_tile, sums);
  multiply_dense_many<FORM>(p, first_tile, last_tile, sums);
}

// What activations are converted to: bfloat16 where the machine multiplies it, else fp32.
inline int dense_kind(int weight_kind, bool exact) {
#if defined(UNILLM_BFLOAT)
  if (weight_kind == UNILLM_BF16 && !exact) return UNILLM_BF16;
#endif
  (void)weight_kind, (void)exact;
  return UNILLM_F32;
}

// Rows of activations as `kind`, `stride` numbers apart, zeros behind them.
inline void convert_rows(const NumberRows& x, int kind, long first, long last, long stride, void* to) {
  const int bytes = number_bytes(kind);
  for (long row = first; row < last; ++row) {
    char* out = static_cast<char*>(to) + row * stride * bytes;
    for (long k = 0; k < stride; k += 16) {
      store_numbers(out, kind, k, load_columns(x, row * x.stride + k, x.columns - k));
    }
  }
}

inline void multiply_dense_kind(int weight_kind, int x_kind, const DenseProduct& p, long first_tile, long last_tile,
                                float* sums) {
#if defined(UNILLM_BFLOAT)
  if (x_kind == UNILLM_BF16) return multiply_dense_tiles<BothHalf>(p, first_tile, last_tile, sums);
#endif
  (void)x_kind;
  if (weight_kind == UNILLM_BF16) return multiply_dense_tiles<Widened<UNILLM_BF16>>(p, first_tile, last_tile, sums);
  if (weight_kind == UNILLM_F16) return multiply_dense_tiles<Widened<UNILLM_F16>>(p, first_tile, last_tile, sums);
  multiply_dense_tiles<Widened<UNILLM_F32>>(p, first_tile, last_tile, sums);
}

}  // namespace unillm::UNILLM_ISA
