// The exact product: fp32 activations against weights dequantised as the format's description says, rounding by rounding.

namespace unillm::UNILLM_ISA {

constexpr long exact_columns = 256;  // dequantised at a time: 16 KiB

// Kinds whose numbers are floats: floats.h.
template <class FORMAT>
constexpr bool has_floats = false;

template <class FORMAT>
inline void write_floats(const uint8_t* tile, long tiles, float* to);

// Columns of 16 rows as fp32, [columns][16].
template <class FORMAT>
inline void write_whole_numbers(const uint8_t* tile, const uint8_t* head, long tiles, float* to) {
  using Form = typename FORMAT::Form;
  const Ints offset = every_int(Form::wide ? 0 : FORMAT::offset);
  for (long t = 0; t < tiles; ++t, tile += FORMAT::tile_bytes) {
    const FORMAT stored(tile, head);
    for (int b = 0; b < FORMAT::blocks; ++b) {
      Block<Form> block;
      stored.read(b, block);
      for (int k = 0; k < block_columns; ++k, to += tile_rows) {
        const Ints word = block.quants[k / 4];
        const Ints quant = Form::wide ? signed_byte_of(narrow(word), k % 4) : byte_of(word, k % 4);
        const int part = Form::per16 ? k / 16 : 0;
        const Floats number = multiply(block.scale[part], to_floats(add_ints(quant, offset)));
        if constexpr (Form::shifted) {
          store(to, add(number, block.shift[part]));
        } else {
          store(to, number);
        }
      }
    }
  }
}

template <class FORMAT>
inline void dequantize(const uint8_t* tile, const uint8_t* head, long tiles, float* to) {
  if constexpr (has_floats<FORMAT>) {
    write_floats<FORMAT>(tile, tiles, to);
  } else {
    write_whole_numbers<FORMAT>(tile, head, tiles, to);
  }
}

// Adds `columns` columns of a tile to the sums of one panel, [ROWS][16].
template <int ROWS>
inline void add_columns(const float* weight, long columns, const float* panel, float* sums) {
  Floats sum[ROWS];
#pragma GCC unroll 4
  for (int row = 0; row < ROWS; ++row) sum[row] = load(sums + tile_rows * row);
  for (long k = 0; k < columns; ++k, weight += tile_rows, panel += ROWS) {
    const Floats column = load(weight);
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row) sum[row] = multiply_add(column, broadcast(panel[row]), sum[row]);
  }
#pragma GCC unroll 4
  for (int row = 0; row < ROWS; ++row) store(sums + tile_rows * row, sum[row]);
}

inline void add_exact_panel(int rows, const float* weight, long columns, const float* panel, float* sums) {
  if (rows == 4) return add_columns<4>(weight, columns, panel, sums);
  if (rows == 3) return add_columns<3>(weight, columns, panel, sums);
  if (rows == 2) return add_columns<2>(weight, columns, panel, sums);
  add_columns<1>(weight, columns, panel, sums);
}

template <class FORMAT>
inline void sweep_exact(const TileProduct& p, const uint8_t* tile, const uint8_t* head, long first, long last,
                        const Scratch& scratch) {
  float* weight = reinterpret_cast<float*>(scratch.stretch);
  const float* panels = reinterpret_cast<const float*>(p.panels);
  const long depth = p.blocks * block_columns;
  constexpr long tile_columns = FORMAT::blocks * block_columns;
  for (long k = 0; k < depth; k += exact_columns) {
    const long columns = depth - k < exact_columns ? depth - k : exact_columns;
    dequantize<FORMAT>(tile + k / tile_columns * FORMAT::tile_bytes, head, columns / tile_columns, weight);
    for (long row = first; row < last;) {
      const int rows = panel_rows(last - row);
      add_exact_panel(rows, weight, columns, panels + row * depth + k * rows, scratch.sums + (row - first) * tile_rows);
      row += rows;
    }
  }
}

template <class FORMAT>
inline void multiply_tiles_exact(const TileProduct& p, long first_tile, long last_tile, const Scratch& scratch) {
  for (long first = 0; first < p.rows; first += p.rows_at_once) {
    const long last = first + p.rows_at_once < p.rows ? first + p.rows_at_once : p.rows;
    for (long t = first_tile; t < last_tile; ++t) {
      const uint8_t* head = p.weight + t * p.tile_stride;
      clear(scratch.sums, last - first);
      sweep_exact<FORMAT>(p, head + p.head_bytes, head, first, last, scratch);
      write_sums(p, t, first, last, scratch.sums);
    }
  }
}

}  // namespace unillm::UNILLM_ISA
