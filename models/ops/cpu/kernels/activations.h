// The activations of a packed product: int8 in blocks of 32 columns, each with its own scale.
//
// Rows stand in panels of a few, block by block: the quants of all its rows, their scales, then their sums in the form
// that the weight's Shape wants. A panel is read from front to back once for every tile. A row's bytes depend on that row
// alone, so how rows are put in panels changes no result.

namespace unillm::UNILLM_ISA {

constexpr int most_rows = 4;  // in a panel: with two tiles of a weight, what fits in 32 registers

// The rows of a panel that begins `rest` rows before the end.
inline int panel_rows(long rest) { return rest < most_rows ? static_cast<int>(rest) : most_rows; }

template <class FORM, int ROWS>
struct PanelBlock {
  static constexpr int bytes = FORM::row_bytes * ROWS;
  const uint8_t* at;
  Ints quants(int row, int group) const { return broadcast_ints(at + row * block_columns + 4 * group); }
  Floats scale(int row) const { return broadcast(numbers()[row]); }
  Ints start(int row, int half) const { return broadcast_ints(numbers() + ROWS * (1 + half) + row); }
  Floats sum(int row, int half) const { return broadcast(numbers()[ROWS * (1 + half) + row]); }
  const float* numbers() const { return reinterpret_cast<const float*>(at + ROWS * block_columns); }
};

constexpr int blocks_at_once = 16;  // of one row: their maxima and sums are found side by side

// The sum or the largest of each of sixteen vectors' lanes.
inline Floats largest_of_each(Floats* vectors) {
  transpose(vectors);
  Floats largest = vectors[0];
  for (int i = 1; i < 16; ++i) largest = larger(largest, vectors[i]);
  return largest;
}
inline Ints sum_of_each(Floats* vectors) {
  transpose(vectors);
  Ints sum = as_ints(vectors[0]);
  for (int i = 1; i < 16; ++i) sum = add_ints(sum, as_ints(vectors[i]));
  return sum;
}

// Where one row's share of a panel goes.
struct PanelRow {
  uint8_t* block;  // the panel's first block of those written now
  int row, rows;
  long block_bytes;
  int8_t* quants(int b) const { return reinterpret_cast<int8_t*>(block + b * block_bytes) + row * block_columns; }
  void write(const Floats& numbers, int field, int blocks) const {
    alignas(64) float each[16];
    store(each, numbers);
    for (int b = 0; b < blocks; ++b) {
      std::memcpy(block + b * block_bytes + rows * (block_columns + 4 * field) + 4 * row, each + b, 4);
    }
  }
};

inline Floats load_columns(const NumberRows& x, long index, long left) {
  if (left >= 16) return load_numbers(x.data, x.kind, index);
  return left > 0 ? load_first_numbers(x.data, x.kind, index, static_cast<int>(left)) : zero();
}

// Up to sixteen blocks of one row, from column `column` on.
inline void quantize_blocks(const NumberRows& x, const ActivationForm& form, long row, long column, int blocks,
                            const PanelRow& to) {
  Floats low[16], high[16], work[16];
  for (int b = 0; b < blocks; ++b) {
    const long k = column + b * block_columns, index = row * x.stride + k, left = x.columns - k;
    low[b] = load_columns(x, index, left);
    high[b] = load_columns(x, index + 16, left - 16);
    work[b] = larger(absolute(low[b]), absolute(high[b]));
  }
  for (int b = blocks; b < 16; ++b) work[b] = zero();
  const Floats largest = largest_of_each(work), most = broadcast(127.0f), scale = divide(largest, most);
  alignas(64) float inverse[16];
  store(inverse, where_less(zero_ints(), as_ints(largest), divide(most, largest), zero()));
  Floats second[16];
  for (int b = blocks; b < 16; ++b) work[b] = second[b] = zero();
  for (int b = 0; b < blocks; ++b) {
    const Ints first_half = to_ints(multiply(low[b], broadcast(inverse[b])));
    const Ints second_half = to_ints(multiply(high[b], broadcast(inverse[b])));
    store_low_bytes(to.quants(b), first_half);
    store_low_bytes(to.quants(b) + 16, second_half);
    work[b] = as_floats(form.per16 ? first_half : add_ints(first_half, second_half));
    second[b] = as_floats(second_half);
  }
  to.write(scale, 0, blocks);
  // A start is a whole number below 2^24, so that the product of two floats is it.
  const auto finish = [&](Floats* halves, int field) {
    const Floats sums = to_floats(sum_of_each(halves));
    const Floats offset = broadcast(static_cast<float>(form.offset));
    to.write(form.shifted ? multiply(scale, sums) : as_floats(to_ints(multiply(offset, sums))), field, blocks);
  };
  finish(work, 1);
  if (form.per16) finish(second, 2);
}

inline void quantize_panel(const NumberRows& x, const ActivationForm& form, long first, int rows, uint8_t* panel) {
  const long blocks = (x.columns + block_columns - 1) / block_columns, block_bytes = rows * form.row_bytes;
  for (int row = 0; row < rows; ++row) {
    for (long b = 0; b < blocks; b += blocks_at_once) {
      const int now = static_cast<int>(blocks - b < blocks_at_once ? blocks - b : blocks_at_once);
      quantize_blocks(x, form, first + row, b * block_columns, now, {panel + b * block_bytes, row, rows, block_bytes});
    }
  }
}

// Rows from `first` to `last`, a panel each time as many as there are; `first` begins a panel.
inline void quantize_rows(const NumberRows& x, const ActivationForm& form, long first, long last, uint8_t* panels) {
  const long blocks = (x.columns + block_columns - 1) / block_columns;
  while (first < last) {
    const int rows = panel_rows(last - first);
    quantize_panel(x, form, first, rows, panels + first * blocks * form.row_bytes);
    first += rows;
  }
}

// The exact product's activations: fp32, column by column, the rows of a panel side by side.
inline void spread_rows(const NumberRows& x, long first, long last, float* panels) {
  const long depth = (x.columns + block_columns - 1) / block_columns * block_columns;
  while (first < last) {
    const int rows = panel_rows(last - first);
    float* panel = panels + first * depth;
    for (int row = 0; row < rows; ++row) {
      for (long k = 0; k < depth; k += 16) {
        alignas(64) float sixteen[16];
        store(sixteen, load_columns(x, (first + row) * x.stride + k, x.columns - k));
        for (int i = 0; i < 16; ++i) panel[(k + i) * rows + row] = sixteen[i];
      }
    }
    first += rows;
  }
}

}  // namespace unillm::UNILLM_ISA
