// The packed product: tiles of 16 rows of a weight against panels of a few rows of activations.
//
// One function adds one block of columns to the sums of one row; it is the same arithmetic in the same order whatever the
// number of rows, and whether the tile comes as stored or already unpacked. A few rows read the stored tile, at the pace of
// memory. For more, a stretch of `tiles_at_once` tiles is unpacked into the nearest cache and swept by panel after panel:
// two tiles share every activation that is loaded, which is what bounds the inner loop.

namespace unillm::UNILLM_ISA {

constexpr long stretch_columns = 512;  // unpacked at a time: 9 KiB a tile
constexpr int prefetch_bytes = 3072;   // ahead of the stored tile: the memory's latency at its full speed

// The integer part: columns of one block, of one row, against TILES tiles. `low` and `high` are the halves of the block
// where the shape scales them apart, else two chains of one sum.
template <class FORM, int TILES, int ROWS>
inline void dot_block(const Block<FORM>* weight, PanelBlock<FORM, ROWS> x, int row, Ints* low, Ints* high) {
  for (int t = 0; t < TILES; ++t) {
    low[t] = FORM::shifted ? zero_ints() : x.start(row, 0);
    high[t] = FORM::per16 && !FORM::shifted ? x.start(row, 1) : zero_ints();
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int group = i / 2 + 4 * (i % 2);
    const Ints quants = x.quants(row, group);
#pragma GCC unroll 2
    for (int t = 0; t < TILES; ++t) {
      Ints& sum = i % 2 ? high[t] : low[t];
      sum = FORM::wide ? dot_wide(sum, weight[t].quants[group], quants) : dot(sum, weight[t].quants[group], quants);
    }
  }
}

template <class FORM, int ROWS>
inline Floats add_block(Floats sum, const Block<FORM>& weight, PanelBlock<FORM, ROWS> x, int row, Ints low, Ints high) {
  if constexpr (FORM::per16) {
    const Floats first = multiply(to_floats(low), weight.scale[0]);
    sum = multiply_add(multiply_add(to_floats(high), weight.scale[1], first), x.scale(row), sum);
  } else {
    sum = multiply_add(to_floats(add_ints(low, high)), multiply(weight.scale[0], x.scale(row)), sum);
  }
  if constexpr (FORM::shifted) {
    for (int i = 0; i < FORM::scales; ++i) sum = multiply_add(weight.shift[i], x.sum(row, i), sum);
  }
  return sum;
}

template <class FORMAT>
inline void prefetch_block(const uint8_t* tile, int block) {
  constexpr int share = FORMAT::tile_bytes / FORMAT::blocks;
  for (int i = 0; i < (share + 63) / 64; ++i) prefetch(tile + prefetch_bytes + block * share + 64 * i);
}

// Adds consecutive blocks of TILES tiles, `apart` bytes from one another, to the sums of one panel, [TILES][ROWS][16].
template <class FORMAT, int TILES, int ROWS>
inline void add_tiles(const uint8_t* tile, long apart, const uint8_t* head, long blocks, const uint8_t* panel,
                      float* const* sums) {
  using Form = typename FORMAT::Form;
  Floats sum[TILES][ROWS];
#pragma GCC unroll 2
  for (int t = 0; t < TILES; ++t) {
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row) sum[t][row] = load(sums[t] + tile_rows * row);
  }
  for (long done = 0; done < blocks; done += FORMAT::blocks, tile += FORMAT::tile_bytes) {
    const FORMAT first(tile, head), second(tile + apart, head);
    for (int b = 0; b < FORMAT::blocks; ++b, panel += PanelBlock<Form, ROWS>::bytes) {
      if constexpr (FORMAT::stored) prefetch_block<FORMAT>(tile, b);
      Block<Form> weight[TILES];
      first.read(b, weight[0]);
      if constexpr (TILES == 2) second.read(b, weight[1]);
      const PanelBlock<Form, ROWS> x{panel};
#pragma GCC unroll 4
      for (int row = 0; row < ROWS; ++row) {
        Ints low[TILES], high[TILES];
        dot_block<Form, TILES, ROWS>(weight, x, row, low, high);
#pragma GCC unroll 2
        for (int t = 0; t < TILES; ++t) {
          sum[t][row] = add_block<Form, ROWS>(sum[t][row], weight[t], x, row, low[t], high[t]);
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int t = 0; t < TILES; ++t) {
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row) store(sums[t] + tile_rows * row, sum[t][row]);
  }
}

template <class FORMAT, int TILES>
inline void add_panel(int rows, const uint8_t* tile, long apart, const uint8_t* head, long blocks, const uint8_t* panel,
                      float* const* sums) {
  if (rows == 4) return add_tiles<FORMAT, TILES, 4>(tile, apart, head, blocks, panel, sums);
  if (rows == 3) return add_tiles<FORMAT, TILES, 3>(tile, apart, head, blocks, panel, sums);
  if (rows == 2) return add_tiles<FORMAT, TILES, 2>(tile, apart, head, blocks, panel, sums);
  add_tiles<FORMAT, TILES, 1>(tile, apart, head, blocks, panel, sums);
}

inline void write_sums(const TileProduct& product, long tile, long first, long last, const float* sums) {
  const long column = tile * tile_rows;
  const int lanes = static_cast<int>(product.columns - column < tile_rows ? product.columns - column : tile_rows);
  for (long row = first; row < last; ++row, sums += tile_rows) {
    float* y = product.y + row * product.y_stride + column;
    const Floats sum = load(sums);
    if (lanes == tile_rows) {
      store(y, product.accumulate ? add(load(y), sum) : sum);
    } else {
      store_first(y, product.accumulate ? add(load_first(y, lanes), sum) : sum, lanes);
    }
  }
}

inline void clear(float* sums, long rows) {
  for (long row = 0; row < rows; ++row) store(sums + tile_rows * row, zero());
}

// sums = silu(sums) * others.
inline void close_gate(float* sums, const float* others, long rows) {
  for (long i = 0; i < rows * tile_rows; i += 16) {
    const Floats sum = load(sums + i);
    store(sums + i, multiply(multiply(sum, sigmoid(sum)), load(others + i)));
  }
}

template <class FORMAT>
inline void unpack(const uint8_t* tile, const uint8_t* head, long tiles, uint8_t* to) {
  using Form = typename FORMAT::Form;
  for (long t = 0; t < tiles; ++t, tile += FORMAT::tile_bytes) {
    const FORMAT stored(tile, head);
    for (int b = 0; b < FORMAT::blocks; ++b, to += Unpacked<Form>::tile_bytes) {
      prefetch_block<FORMAT>(tile, b);
      Block<Form> block;
      stored.read(b, block);
      Unpacked<Form>::write(block, to);
    }
  }
}

// Rows `first` to `last` against two tiles (or one), of which `heads` are the beginnings, stretch by stretch.
// `sums`: [tiles][rows][16].
template <class FORMAT>
inline void sweep_unpacked(const TileProduct& p, const uint8_t* const* heads, int tiles, long first, long last,
                           uint8_t* unpacked, float* sums) {
  using Form = typename FORMAT::Form;
  constexpr long stretch = stretch_columns / block_columns, apart = stretch * Unpacked<Form>::tile_bytes;
  clear(sums, tiles * (last - first));
  for (long block = 0; block < p.blocks; block += stretch) {
    const long blocks = p.blocks - block < stretch ? p.blocks - block : stretch;
    for (int t = 0; t < tiles; ++t) {
      const uint8_t* stored = heads[t] + p.head_bytes + block / FORMAT::blocks * FORMAT::tile_bytes;
      unpack<FORMAT>(stored, heads[t], blocks / FORMAT::blocks, unpacked + t * apart);
    }
    for (long row = first; row < last;) {
      const int rows = panel_rows(last - row);
      const uint8_t* panel = p.panels + (row * p.blocks + block * rows) * p.form.row_bytes;
      float* both[2] = {sums + (row - first) * tile_rows, sums + (last - first + row - first) * tile_rows};
      if (tiles == 2) {
        add_panel<Unpacked<Form>, 2>(rows, unpacked, apart, nullptr, blocks, panel, both);
      } else {
        add_panel<Unpacked<Form>, 1>(rows, unpacked, apart, nullptr, blocks, panel, both);
      }
      row += rows;
    }
  }
}

template <class FORMAT>
inline void multiply_few_rows(const TileProduct& p, long first_tile, long last_tile, const Scratch& scratch) {
  const auto sum_tile = [&](const uint8_t* head, float* sums) {
    clear(sums, p.rows);
    add_panel<FORMAT, 1>(static_cast<int>(p.rows), head + p.head_bytes, 0, head, p.blocks, p.panels, &sums);
  };
  for (long t = first_tile; t < last_tile; ++t) {
    sum_tile(p.weight + t * p.tile_stride, scratch.sums);
    if (p.gated) {
      float* others = scratch.sums + p.rows * tile_rows;
      sum_tile(p.gated + t * p.tile_stride, others);
      close_gate(scratch.sums, others, p.rows);
    }
    write_sums(p, t, 0, p.rows, scratch.sums);
  }
}

template <class FORMAT>
inline void multiply_many_rows(const TileProduct& p, long first_tile, long last_tile, const Scratch& scratch) {
  for (long first = 0; first < p.rows; first += p.rows_at_once) {
    const long last = first + p.rows_at_once < p.rows ? first + p.rows_at_once : p.rows;
    const long numbers = (last - first) * tile_rows;
    for (long t = first_tile; t < last_tile; t += tiles_at_once) {
      const int tiles = static_cast<int>(last_tile - t < tiles_at_once ? last_tile - t : tiles_at_once);
      const uint8_t* heads[] = {p.weight + t * p.tile_stride, p.weight + (t + 1) * p.tile_stride};
      sweep_unpacked<FORMAT>(p, heads, tiles, first, last, scratch.stretch, scratch.sums);
      for (int i = 0; i < tiles; ++i) write_sums(p, t + i, first, last, scratch.sums + i * numbers);
    }
  }
}

// A tile of either weight at a time: what is gated goes no further than the nearest cache.
template <class FORMAT>
inline void multiply_gated_rows(const TileProduct& p, long first_tile, long last_tile, const Scratch& scratch) {
  for (long first = 0; first < p.rows; first += p.rows_at_once) {
    const long last = first + p.rows_at_once < p.rows ? first + p.rows_at_once : p.rows;
    float* others = scratch.sums + (last - first) * tile_rows;
    for (long t = first_tile; t < last_tile; ++t) {
      const uint8_t* heads[] = {p.weight + t * p.tile_stride, p.gated + t * p.tile_stride};
      if constexpr (tiles_at_once == 2) {
        sweep_unpacked<FORMAT>(p, heads, 2, first, last, scratch.stretch, scratch.sums);
      } else {
        sweep_unpacked<FORMAT>(p, heads, 1, first, last, scratch.stretch, scratch.sums);
        sweep_unpacked<FORMAT>(p, heads + 1, 1, first, last, scratch.stretch, others);
      }
      close_gate(scratch.sums, others, last - first);
      write_sums(p, t, first, last, scratch.sums);
    }
  }
}

template <class FORMAT>
inline void multiply_tiles(const TileProduct& p, long first_tile, long last_tile, const Scratch& scratch) {
  if (p.rows <= most_rows) return multiply_few_rows<FORMAT>(p, first_tile, last_tile, scratch);
  if (p.gated) return multiply_gated_rows<FORMAT>(p, first_tile, last_tile, scratch);
  multiply_many_rows<FORMAT>(p, first_tile, last_tile, scratch);
}

}  // namespace unillm::UNILLM_ISA
