// Kinds whose numbers are floats of eight or four bits under an fp32 scale. They meet activations in fp32: no whole numbers
// hold them. A column of 16 rows is made where it is needed for a few rows of activations, and written down for many.
//
// A row's columns are added one behind the other, however many rows there are; what is done side by side are tiles.

namespace unillm::UNILLM_ISA {

// Eight bits each, the exponent wherever the format has it: moved to where fp32 has its own, numbers are too small by a
// power of two, which the scale makes up for.
template <int KIND, int SHIFT, unsigned MASK, int MISSING>
struct EightBits {
  static constexpr int kind = KIND, blocks = 4, tile_bytes = 132 * 16;
  static Floats scale(const uint8_t* tile) {
    const Floats power = as_floats(every_int((127 + MISSING) << 23));
    return multiply(load(reinterpret_cast<const float*>(tile)), power);
  }
  static Floats column(const uint8_t* tile, int k, Floats scale) {
    const Ints top = shift_left(load_ints(tile + 64 + 64 * (k / 4)), 24 - 8 * (k % 4));
    return multiply(as_floats(bits_and(shift_right_signed(top, SHIFT), every_int(static_cast<int>(MASK)))), scale);
  }
};
using E4M3 = EightBits<UNILLM_E4M3, 4, 0x87f00000u, 120>;
using E5M2 = EightBits<UNILLM_E5M2, 3, 0x8fe00000u, 112>;

// Four bits that choose.
template <int KIND, class TABLE>
struct FourBits {
  static constexpr int kind = KIND, blocks = 2, tile_bytes = 36 * 16;
  static Floats scale(const uint8_t* tile) { return load(reinterpret_cast<const float*>(tile)); }
  static Floats column(const uint8_t* tile, int k, Floats scale) {
    const Ints word = load_ints(tile + 64 + 64 * (k / 32 * 4 + k % 16 / 4));
    return multiply(lookup_floats(TABLE::numbers, shift_right(word, 8 * (k % 4) + k % 32 / 16 * 4)), scale);
  }
};
struct NormalTable {
  alignas(64) static constexpr float numbers[16] = {
      -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
      -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
      0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};
};
struct FloatTable {
  alignas(64) static constexpr float numbers[16] = {
      0.0f, 0.0052083334885537624f, 0.6666666865348816f, 1.0f, 0.3333333432674408f, 0.5f, 0.1666666716337204f, 0.25f,
      0.0f, -0.0052083334885537624f, -0.6666666865348816f, -1.0f, -0.3333333432674408f, -0.5f, -0.1666666716337204f, -0.25f};
};
using NF4 = FourBits<UNILLM_NF4, NormalTable>;
using FP4 = FourBits<UNILLM_FP4, FloatTable>;

template <int KIND, int SHIFT, unsigned MASK, int MISSING>
constexpr bool has_floats<EightBits<KIND, SHIFT, MASK, MISSING>> = true;
template <int KIND, class TABLE>
constexpr bool has_floats<FourBits<KIND, TABLE>> = true;

template <class FORMAT>
inline void write_floats(const uint8_t* tile, long tiles, float* to) {
  for (long t = 0; t < tiles; ++t, tile += FORMAT::tile_bytes) {
    const Floats scale = FORMAT::scale(tile);
    for (int k = 0; k < FORMAT::blocks * block_columns; ++k, to += tile_rows) store(to, FORMAT::column(tile, k, scale));
  }
}

// TILES tiles, `apart` bytes from one another, against one panel; nothing of them is written down.
template <class FORMAT, int TILES, int ROWS>
inline void meet_float_tiles(const uint8_t* tile, long apart, long depth, const float* panel, float (*sums)[ROWS][tile_rows]) {
  constexpr int columns = FORMAT::blocks * block_columns;
  Floats sum[TILES][ROWS], scale[TILES];
  for (int t = 0; t < TILES; ++t) {
    for (int row = 0; row < ROWS; ++row) sum[t][row] = zero();
  }
  for (long done = 0; done < depth; done += columns, tile += FORMAT::tile_bytes) {
    for (int t = 0; t < TILES; ++t) {
      scale[t] = FORMAT::scale(tile + t * apart);
      for (int i = 0; i < (FORMAT::tile_bytes + 63) / 64; ++i) prefetch(tile + t * apart + prefetch_bytes + 64 * i);
    }
#pragma GCC unroll 32
    for (int k = 0; k < columns; ++k, panel += ROWS) {
      Floats x[ROWS];
#pragma GCC unroll 4
      for (int row = 0; row < ROWS; ++row) x[row] = broadcast(panel[row]);
#pragma GCC unroll 4
      for (int t = 0; t < TILES; ++t) {
        const Floats column = FORMAT::column(tile + t * apart, k, scale[t]);
#pragma GCC unroll 4
        for (int row = 0; row < ROWS; ++row) sum[t][row] = multiply_add(column, x[row], sum[t][row]);
      }
    }
  }
  for (int t = 0; t < TILES; ++t) {
    for (int row = 0; row < ROWS; ++row) store(sums[t][row], sum[t][row]);
  }
}

template <class FORMAT, int ROWS>
inline void multiply_few_floats(const TileProduct& p, long first_tile, long last_tile) {
  constexpr int together = ROWS == 1 ? 4 : tiles_at_once;
  const float* panel = reinterpret_cast<const float*>(p.panels);
  const long depth = p.blocks * block_columns;
  alignas(64) float sums[together][ROWS][tile_rows];
  for (long t = first_tile; t < last_tile;) {
    const bool whole = last_tile - t >= together;
    const uint8_t* tile = p.weight + t * p.tile_stride + p.head_bytes;
    if (whole) {
      meet_float_tiles<FORMAT, together, ROWS>(tile, p.tile_stride, depth, panel, sums);
    } else {
      meet_float_tiles<FORMAT, 1, ROWS>(tile, p.tile_stride, depth, panel, sums);
    }
    for (int i = 0; i < (whole ? together : 1); ++i, ++t) write_sums(p, t, 0, ROWS, sums[i][0]);
  }
}

// Adds columns of TILES tiles that are written down, `apart` numbers from one another, to the sums of one panel.
template <int TILES, int ROWS>
inline void add_float_columns(const float* weight, long apart, long columns, const float* panel, float* const* sums) {
  Floats sum[TILES][ROWS];
#pragma GCC unroll 2
  for (int t = 0; t < TILES; ++t) {
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row) sum[t][row] = load(sums[t] + tile_rows * row);
  }
  for (long k = 0; k < columns; ++k, weight += tile_rows, panel += ROWS) {
    Floats column[TILES];
#pragma GCC unroll 2
    for (int t = 0; t < TILES; ++t) column[t] = load(weight + t * apart);
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row) {
      const Floats x = broadcast(panel[row]);
#pragma GCC unroll 2
      for (int t = 0; t < TILES; ++t) sum[t][row] = multiply_add(column[t], x, sum[t][row]);
    }
  }
#pragma GCC unroll 2
  for (int t = 0; t < TILES; ++t) {
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row) store(sums[t] + tile_rows * row, sum[t][row]);
  }
}

template <int TILES>
inline void add_float_panel(int rows, const float* weight, long apart, long columns, const float* panel, float* const* sums) {
  if (rows == 4) return add_float_columns<TILES, 4>(weight, apart, columns, panel, sums);
  if (rows == 3) return add_float_columns<TILES, 3>(weight, apart, columns, panel, sums);
  if (rows == 2) return add_float_columns<TILES, 2>(weight, apart, columns, panel, sums);
  add_float_columns<TILES, 1>(weight, apart, columns, panel, sums);
}

// Rows `first` to `last` against TILES tiles, stretch by stretch. `sums`: [TILES][rows][16].
template <class FORMAT, int TILES>
inline void sweep_floats(const TileProduct& p, long tile, long first, long last, const Scratch& scratch) {
  constexpr long tile_columns = FORMAT::blocks * block_columns, apart = exact_columns * tile_rows;
  float* weight = reinterpret_cast<float*>(scratch.stretch);
  const float* panels = reinterpret_cast<const float*>(p.panels);
  const long depth = p.blocks * block_columns;
  for (long k = 0; k < depth; k += exact_columns) {
    const long columns = depth - k < exact_columns ? depth - k : exact_columns;
    for (int t = 0; t < TILES; ++t) {
      const uint8_t* stored = p.weight + (tile + t) * p.tile_stride + p.head_bytes + k / tile_columns * FORMAT::tile_bytes;
      write_floats<FORMAT>(stored, columns / tile_columns, weight + t * apart);
    }
    for (long row = first; row < last;) {
      const int rows = panel_rows(last - row);
      float* sums[2] = {scratch.sums + (row - first) * tile_rows, scratch.sums + (last - first + row - first) * tile_rows};
      add_float_panel<TILES>(rows, weight, apart, columns, panels + row * depth + k * rows, sums);
      row += rows;
    }
  }
}

template <class FORMAT>
inline void multiply_float_tiles(const TileProduct& p, long first_tile, long last_tile, const Scratch& scratch) {
  if (p.rows == 1) return multiply_few_floats<FORMAT, 1>(p, first_tile, last_tile);
  if (p.rows == 2) return multiply_few_floats<FORMAT, 2>(p, first_tile, last_tile);
  if (p.rows == 3) return multiply_few_floats<FORMAT, 3>(p, first_tile, last_tile);
  if (p.rows == 4) return multiply_few_floats<FORMAT, 4>(p, first_tile, last_tile);
  for (long first = 0; first < p.rows; first += p.rows_at_once) {
    const long last = first + p.rows_at_once < p.rows ? first + p.rows_at_once : p.rows;
    for (long t = first_tile; t < last_tile;) {
      const int tiles = static_cast<int>(last_tile - t < tiles_at_once ? last_tile - t : tiles_at_once);
      clear(scratch.sums, tiles * (last - first));
      if (tiles == tiles_at_once) {
        sweep_floats<FORMAT, tiles_at_once>(p, t, first, last, scratch);
      } else {
        sweep_floats<FORMAT, 1>(p, t, first, last, scratch);
      }
      for (int i = 0; i < tiles; ++i, ++t) write_sums(p, t, first, last, scratch.sums + i * (last - first) * tile_rows);
    }
  }
}

}  // namespace unillm::UNILLM_ISA
