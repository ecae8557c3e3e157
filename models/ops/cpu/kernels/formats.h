// How a tile of each kind becomes bytes and scales: one small struct a kind, read once for 16 rows of the weight.
//
// A tile holds one stored block of 16 rows (see BlockLayout): the same words as in the file, interleaved by row, so that
// lane r of every vector belongs to row r. A `Shape` says what kinds of numbers come out; kinds with the same shape share
// the activations' layout and the kernels for many rows.

namespace unillm::UNILLM_ISA {

// `per16`: a scale for every 16 columns instead of 32. `shifted`: weights are scale * quant + shift; else the quants have
// a constant offset, which the activations' sums take out. `wide`: quants are signed and use all eight bits.
template <bool PER16, bool SHIFTED, bool WIDE>
struct Shape {
  static constexpr bool per16 = PER16, shifted = SHIFTED, wide = WIDE;
  static constexpr int scales = PER16 ? 2 : 1;
  static constexpr int row_bytes = block_columns + 4 + 4 * scales;  // of one row's activations in one block
};

// 32 columns of 16 rows: byte e of lane r of quants[g] is column 4 g + e of row r.
template <class SHAPE>
struct Block {
  Ints quants[8];
  Floats scale[SHAPE::scales];
  Floats shift[SHAPE::scales];
};

inline const uint16_t* halves_at(const uint8_t* address) { return reinterpret_cast<const uint16_t*>(address); }

inline Ints byte_of(Ints words, int index) { return bits_and(shift_right(words, 8 * index), every_int(255)); }

inline Ints signed_byte_of(Ints words, int index) {
  return shift_right_signed(shift_left(words, 24 - 8 * index), 24);
}

// Columns 0-15 are the low halves of 16 bytes, columns 16-31 the high halves.
inline void split_nibbles(const uint8_t* words, Ints* quants) {
  const Ints low = every_byte(15);
  for (int g = 0; g < 4; ++g) {
    const Ints both = load_ints(words + 64 * g);
    quants[g] = bits_and(both, low);
    quants[g + 4] = bits_and(shift_right(both, 4), low);
  }
}

// 32 bytes of which each holds one quant's `mask`ed bits, `bits` above the lowest.
inline void pick_bits(const uint8_t* words, int bits, int mask, Ints* quants) {
  for (int g = 0; g < 8; ++g) quants[g] = bits_and(shift_right(load_ints(words + 64 * g), bits), every_byte(mask));
}

// Adds the `mask`ed bits of 32 bytes, `bits` above the lowest, to the quants at `place`.
inline void add_high_bits(const uint8_t* words, int bits, int mask, int place, Ints* quants) {
  for (int g = 0; g < 8; ++g) {
    const Ints high = bits_and(shift_right(load_ints(words + 64 * g), bits), every_byte(mask));
    quants[g] = bits_or(quants[g], shift_left(high, place));
  }
}

// The fifth bits of Q5_0 and Q5_1: bit g of byte e of a lane belongs to column 4 g + e.
inline void add_fifth_bits(const uint8_t* word, Ints* quants) {
  const Ints bits = load_ints(word);
  for (int g = 0; g < 8; ++g) {
    const Ints placed = g < 4 ? shift_left(bits, 4 - g) : shift_right(bits, g - 4);
    quants[g] = bits_or(quants[g], bits_and(placed, every_byte(16)));
  }
}

struct Q4_0 {
  using Form = Shape<false, false, false>;
  static constexpr int kind = UNILLM_Q4_0, blocks = 1, tile_bytes = 288, offset = -8;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Q4_0(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    out.scale[0] = load_halves(halves_at(tile));
    split_nibbles(tile + 32, out.quants);
  }
};

struct Q4_1 {
  using Form = Shape<false, true, false>;
  static constexpr int kind = UNILLM_Q4_1, blocks = 1, tile_bytes = 320, offset = 0;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Q4_1(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    out.scale[0] = load_halves(halves_at(tile));
    out.shift[0] = load_halves(halves_at(tile + 32));
    split_nibbles(tile + 64, out.quants);
  }
};

struct Q5_0 {
  using Form = Shape<false, false, false>;
  static constexpr int kind = UNILLM_Q5_0, blocks = 1, tile_bytes = 352, offset = -16;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Q5_0(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    out.scale[0] = load_halves(halves_at(tile));
    split_nibbles(tile + 32, out.quants);
    add_fifth_bits(tile + 288, out.quants);
  }
};

struct Q5_1 {
  using Form = Shape<false, true, false>;
  static constexpr int kind = UNILLM_Q5_1, blocks = 1, tile_bytes = 384, offset = 0;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Q5_1(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    out.scale[0] = load_halves(halves_at(tile));
    out.shift[0] = load_halves(halves_at(tile + 32));
    split_nibbles(tile + 64, out.quants);
    add_fifth_bits(tile + 320, out.quants);
  }
};

struct Q8_0 {
  using Form = Shape<false, false, true>;
  static constexpr int kind = UNILLM_Q8_0, blocks = 1, tile_bytes = 544, offset = wide_bias;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Q8_0(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    out.scale[0] = load_halves(halves_at(tile));
    for (int g = 0; g < 8; ++g) out.quants[g] = widen(load_ints(tile + 32 + 64 * g));
  }
};

// Rows of signed bytes with one scale a row; the scales of 16 rows stand before their tiles.
struct I8 {
  using Form = Shape<false, false, true>;
  static constexpr int kind = UNILLM_I8, blocks = 1, tile_bytes = 512, offset = wide_bias;
  static constexpr bool stored = true;
  const uint8_t* tile;
  const float* scales;
  I8(const uint8_t* at, const uint8_t* head) : tile(at), scales(reinterpret_cast<const float*>(head)) {}
  void read(int, Block<Form>& out) const {
    out.scale[0] = load(scales);
    for (int g = 0; g < 8; ++g) out.quants[g] = widen(load_ints(tile + 64 * g));
  }
};

// What four-bit floats are, doubled to whole numbers, plus 12.
alignas(16) constexpr int8_t doubled_floats[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

// Four-bit floats under a power of two.
struct MXFP4 {
  using Form = Shape<false, false, false>;
  static constexpr int kind = UNILLM_MXFP4, blocks = 1, tile_bytes = 272, offset = -12;
  static constexpr bool stored = true;
  const uint8_t* tile;
  MXFP4(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    // Exponent e means 2^(e - 128) here, half of the format's 2^(e - 127). Below 2 that is no normal fp32.
    const Ints exponent = bytes_to_ints(tile);
    const Floats normal = as_floats(shift_left(subtract_ints(exponent, every_int(1)), 23));
    const Floats one = as_floats(every_int(0x00400000)), none = as_floats(every_int(0x00200000));
    const Floats tiny = where_less(exponent, every_int(1), none, one);
    out.scale[0] = where_less(exponent, every_int(2), tiny, normal);
    split_nibbles(tile + 16, out.quants);
    for (int g = 0; g < 8; ++g) out.quants[g] = lookup(doubled_floats, out.quants[g]);
  }
};

// Four-bit floats again, with an fp32 scale for every 16 columns.
struct NVFP4 {
  using Form = Shape<true, false, false>;
  static constexpr int kind = UNILLM_NVFP4, blocks = 1, tile_bytes = 384, offset = -12;
  static constexpr bool stored = true;
  const uint8_t* tile;
  NVFP4(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    const float* scales = reinterpret_cast<const float*>(tile);
    for (int i = 0; i < 2; ++i) out.scale[i] = multiply(load(scales + 16 * i), broadcast(0.5f));
    split_nibbles(tile + 128, out.quants);
    for (int g = 0; g < 8; ++g) out.quants[g] = lookup(doubled_floats, out.quants[g]);
  }
};

// The sixteen numbers that four bits choose among in IQ4_NL and IQ4_XS.
inline Ints curved(Ints nibbles) {
  alignas(16) static constexpr int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                    1,    13,   25,  38,  53,  69,  89,  113};
  return widen(lookup(values, nibbles));
}

struct IQ4_NL {
  using Form = Shape<false, false, true>;
  static constexpr int kind = UNILLM_IQ4_NL, blocks = 1, tile_bytes = 288, offset = wide_bias;
  static constexpr bool stored = true;
  const uint8_t* tile;
  IQ4_NL(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    out.scale[0] = load_halves(halves_at(tile));
    split_nibbles(tile + 32, out.quants);
    for (int g = 0; g < 8; ++g) out.quants[g] = curved(out.quants[g]);
  }
};

// Eight scales that count from 32: their low four bits in a word, their high two in a half.
struct IQ4_XS {
  using Form = Shape<false, false, true>;
  static constexpr int kind = UNILLM_IQ4_XS, blocks = 8, tile_bytes = 136 * 16, offset = wide_bias;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Floats scale;
  Ints high, low;
  IQ4_XS(const uint8_t* at, const uint8_t*)
      : tile(at), scale(load_halves(halves_at(at))), high(shift_right(as_ints(load_bfloats(halves_at(at + 32))), 16)), low(load_ints(at + 64)) {}
  void read(int block, Block<Form>& out) const {
    const Ints four = bits_and(shift_right(low, 4 * block), every_int(15));
    const Ints two = bits_and(shift_right(high, 2 * block), every_int(3));
    const Ints six = bits_or(four, shift_left(two, 4));
    out.scale[0] = multiply(scale, to_floats(subtract_ints(six, every_int(32))));
    split_nibbles(tile + 128 + 256 * block, out.quants);
    for (int g = 0; g < 8; ++g) out.quants[g] = curved(out.quants[g]);
  }
};

// What the points of a grid consist of, plus 64: four bits choose; and the step of its scales.
struct Grid1 {
  alignas(16) static constexpr int8_t values[16] = {55, 57, 63, 65, 71, 73};
  static constexpr int kind = UNILLM_GRID1;
  static constexpr float step = 0.125f;
};
struct Grid2 {
  alignas(16) static constexpr int8_t values[16] = {21, 39, 56, 72, 89, 107};
  static constexpr int kind = UNILLM_GRID2;
  static constexpr float step = 0.125f;
};
struct Grid3XXS {
  alignas(16) static constexpr int8_t values[16] = {2, 12, 20, 28, 36, 44, 52, 60, 68, 76, 84, 92, 100, 108, 116, 126};
  static constexpr int kind = UNILLM_GRID3_XXS;
  static constexpr float step = 0.25f;
};
struct Grid3S {
  alignas(16) static constexpr int8_t values[16] = {49, 51, 53, 55, 57, 59, 61, 63, 65, 67, 69, 71, 73, 75, 77, 79};
  static constexpr int kind = UNILLM_GRID3_S;
  static constexpr float step = 1.0f;
};

// Sixteen scales 2 s + 1 of which two words have the s, four bits each.
template <class GRID>
struct OfGrid {
  using Form = Shape<true, false, false>;
  static constexpr int kind = GRID::kind, blocks = 8, tile_bytes = 138 * 16, offset = -64;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Floats scale;
  Ints scales[2];
  OfGrid(const uint8_t* at, const uint8_t*)
      : tile(at),
        scale(multiply(load_halves(halves_at(at)), broadcast(GRID::step))),
        scales{load_ints(at + 32), load_ints(at + 96)} {}
  void read(int block, Block<Form>& out) const {
    for (int i = 0; i < 2; ++i) {
      const Ints four = bits_and(shift_right(scales[block / 4], 8 * (block % 4) + 4 * i), every_int(15));
      out.scale[i] = multiply(scale, to_floats(bits_or(shift_left(four, 1), every_int(1))));
    }
    split_nibbles(tile + 160 + 256 * block, out.quants);
    for (int g = 0; g < 8; ++g) out.quants[g] = lookup(GRID::values, out.quants[g]);
  }
};
using GRID1 = OfGrid<Grid1>;
using GRID2 = OfGrid<Grid2>;
using GRID3_XXS = OfGrid<Grid3XXS>;
using GRID3_S = OfGrid<Grid3S>;

// The six-bit scales of Q4_K and Q5_K: eight scales and eight minima of a row in three words.
struct SixBitPairs {
  Floats scale, shift;
  Ints scales[2], minima[2];
  explicit SixBitPairs(const uint8_t* tile)
      : scale(load_halves(halves_at(tile))), shift(subtract(zero(), load_halves(halves_at(tile + 32)))) {
    const Ints a = load_ints(tile + 64), b = load_ints(tile + 128), c = load_ints(tile + 192);
    const Ints six = every_byte(63), low = every_byte(15), high = every_byte(48);
    scales[0] = bits_and(a, six);
    minima[0] = bits_and(b, six);
    scales[1] = bits_or(bits_and(c, low), bits_and(shift_right(a, 2), high));
    minima[1] = bits_or(bits_and(shift_right(c, 4), low), bits_and(shift_right(b, 2), high));
  }
  template <class FORM>
  void read(int block, Block<FORM>& out) const {
    out.scale[0] = multiply(scale, to_floats(byte_of(scales[block / 4], block % 4)));
    out.shift[0] = multiply(shift, to_floats(byte_of(minima[block / 4], block % 4)));
  }
};

struct Q4_K {
  using Form = Shape<false, true, false>;
  static constexpr int kind = UNILLM_Q4_K, blocks = 8, tile_bytes = 144 * 16, offset = 0;
  static constexpr bool stored = true;
  const uint8_t* tile;
  SixBitPairs scales;
  Q4_K(const uint8_t* at, const uint8_t*) : tile(at), scales(at) {}
  void read(int block, Block<Form>& out) const {
    scales.read(block, out);
    pick_bits(tile + 256 + 512 * (block / 2), 4 * (block % 2), 15, out.quants);
  }
};

struct Q5_K {
  using Form = Shape<false, true, false>;
  static constexpr int kind = UNILLM_Q5_K, blocks = 8, tile_bytes = 176 * 16, offset = 0;
  static constexpr bool stored = true;
  const uint8_t* tile;
  SixBitPairs scales;
  Q5_K(const uint8_t* at, const uint8_t*) : tile(at), scales(at) {}
  void read(int block, Block<Form>& out) const {
    scales.read(block, out);
    pick_bits(tile + 256 + 512 + 512 * (block / 2), 4 * (block % 2), 15, out.quants);
    add_high_bits(tile + 256, block, 1, 4, out.quants);
  }
};

struct Q2_K {
  using Form = Shape<true, true, false>;
  static constexpr int kind = UNILLM_Q2_K, blocks = 8, tile_bytes = 84 * 16, offset = 0;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Floats scale, shift;
  Q2_K(const uint8_t* at, const uint8_t*)
      : tile(at), scale(load_halves(halves_at(at))), shift(subtract(zero(), load_halves(halves_at(at + 32)))) {}
  void read(int block, Block<Form>& out) const {
    const Ints four = load_ints(tile + 64 + 64 * (block / 2));
    for (int i = 0; i < 2; ++i) {
      const Ints pair = byte_of(four, 2 * (block % 2) + i);
      out.scale[i] = multiply(scale, to_floats(bits_and(pair, every_int(15))));
      out.shift[i] = multiply(shift, to_floats(shift_right(pair, 4)));
    }
    pick_bits(tile + 320 + 512 * (block / 4), 2 * (block % 4), 3, out.quants);
  }
};

struct Q3_K {
  using Form = Shape<true, false, false>;
  static constexpr int kind = UNILLM_Q3_K, blocks = 8, tile_bytes = 110 * 16, offset = -4;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Floats scale;
  Ints scales[4];
  Q3_K(const uint8_t* at, const uint8_t*) : tile(at), scale(load_halves(halves_at(at))) {
    const Ints a = load_ints(at + 32), b = load_ints(at + 96), c = load_ints(at + 160);
    const Ints low = every_byte(15), high = every_byte(48);
    scales[0] = bits_or(bits_and(a, low), bits_and(shift_left(c, 4), high));
    scales[1] = bits_or(bits_and(b, low), bits_and(shift_left(c, 2), high));
    scales[2] = bits_or(bits_and(shift_right(a, 4), low), bits_and(c, high));
    scales[3] = bits_or(bits_and(shift_right(b, 4), low), bits_and(shift_right(c, 2), high));
  }
  void read(int block, Block<Form>& out) const {
    for (int i = 0; i < 2; ++i) {
      const Ints six = byte_of(scales[block / 2], 2 * (block % 2) + i);
      out.scale[i] = multiply(scale, to_floats(subtract_ints(six, every_int(32))));
    }
    pick_bits(tile + 224 + 512 + 512 * (block / 4), 2 * (block % 4), 3, out.quants);
    add_high_bits(tile + 224, block, 1, 2, out.quants);
  }
};

struct Q6_K {
  using Form = Shape<true, false, false>;
  static constexpr int kind = UNILLM_Q6_K, blocks = 8, tile_bytes = 210 * 16, offset = -32;
  static constexpr bool stored = true;
  const uint8_t* tile;
  Floats scale;
  Q6_K(const uint8_t* at, const uint8_t*) : tile(at), scale(load_halves(halves_at(at))) {}
  void read(int block, Block<Form>& out) const {
    const Ints four = load_ints(tile + 32 + 64 * (block / 2));
    for (int i = 0; i < 2; ++i) {
      out.scale[i] = multiply(scale, to_floats(signed_byte_of(four, 2 * (block % 2) + i)));
    }
    const int half = block / 4, quarter = block % 4;
    const uint8_t* low = tile + 288 + 1024 * half + 512 * (quarter % 2);
    const uint8_t* high = tile + 288 + 2048 + 512 * half;
    pick_bits(low, 4 * (quarter / 2), 15, out.quants);
    add_high_bits(high, 2 * quarter, 3, 4, out.quants);
  }
};

// A tile already unpacked, for many rows of activations: what `read` gave, written down.
template <class FORM>
struct Unpacked {
  using Form = FORM;
  static constexpr int blocks = 1, offset = 0;
  static constexpr bool stored = false;
  static constexpr int tile_bytes = 512 + 64 * FORM::scales * (FORM::shifted ? 2 : 1);
  const uint8_t* tile;
  Unpacked(const uint8_t* at, const uint8_t*) : tile(at) {}
  void read(int, Block<Form>& out) const {
    const float* scales = reinterpret_cast<const float*>(tile + 512);
    for (int g = 0; g < 8; ++g) out.quants[g] = load_ints(tile + 64 * g);
    for (int i = 0; i < Form::scales; ++i) out.scale[i] = load(scales + 16 * i);
    if constexpr (Form::shifted) {
      for (int i = 0; i < Form::scales; ++i) out.shift[i] = load(scales + 16 * (Form::scales + i));
    }
  }
  static void write(const Block<Form>& block, uint8_t* to) {
    float* scales = reinterpret_cast<float*>(to + 512);
    for (int g = 0; g < 8; ++g) store_ints(to + 64 * g, block.quants[g]);
    for (int i = 0; i < Form::scales; ++i) store(scales + 16 * i, block.scale[i]);
    if constexpr (Form::shifted) {
      for (int i = 0; i < Form::scales; ++i) store(scales + 16 * (Form::scales + i), block.shift[i]);
    }
  }
};

}  // namespace unillm::UNILLM_ISA
