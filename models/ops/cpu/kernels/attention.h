// Attention over paged keys and values, a block of queries of one key head at a time.
//
// Keys are taken in tiles of 32 that begin at multiples of 32 of the sequence, with an online softmax: the order of every
// sum depends on the positions alone, so that a token's result is the same bits whether it comes in a prompt, in a chunk of
// one, or by itself, and whatever else is in the batch. A tile is laid out once (keys by dimension, values by token) and
// then used by every query of the block: the heads that share a key head, times its tokens.
//
// A cache of 8-bit integers is read as the whole numbers that it holds: a key's scale multiplies its scores, a value's its
// weight, a number a token where the tile would have cost one a dimension.
//
// `Single` computes in fp32. `Paired` keeps two bfloat16 in a word and sums both products in fp32.

namespace unillm::UNILLM_ISA {

constexpr int tile_keys = 32;
constexpr float lowest = -1e30f;  // below every score, and still a number

inline long words_of(long dims, int pack) { return (dims + 16 * pack - 1) / (16 * pack) * 16; }

// The memory of one block, in words of 32 bits; see attention_scratch_bytes.
template <class MATH>
struct AttentionBlock {
  const AttentionCall& call;
  long words, width;      // of one head's row: words of a key, numbers of a value (padded to 16)
  float* keys;            // [words][32]
  float* values;          // [32 / pack][width]
  float* queries;         // [rows][words]
  float* scores;          // [rows][32]
  float* outputs;         // [rows][width]
  float* totals;          // [rows][16]
  float* largest;         // [rows]
  float* correction;      // [rows]
  float* zeros;           // [width]
  float* key_scales;      // [32]: of a tile, where the cache has them
  float* value_scales;    // [32]

  AttentionBlock(const AttentionCall& from, float* memory)
      : call(from), words(words_of(from.head_dim, MATH::pack)), width(words_of(from.head_dim, 1)) {
    keys = memory;
    values = keys + words * tile_keys;
    queries = values + tile_keys / MATH::pack * width;
    scores = queries + most_query_rows * words;
    outputs = scores + most_query_rows * tile_keys;
    totals = outputs + most_query_rows * width;
    largest = totals + most_query_rows * 16;
    correction = largest + most_query_rows;
    zeros = correction + most_query_rows;
    key_scales = zeros + width;
    value_scales = key_scales + tile_keys;
  }
};

// Sixteen numbers of a row from `dim` on, zeros behind the last of `dims`.
template <int KIND>
inline Floats load_dims(const void* row, long dim, long dims) {
  if (dim + 16 <= dims) return load_numbers(row, KIND, dim);
  return dim < dims ? load_first_numbers(row, KIND, dim, static_cast<int>(dims - dim)) : zero();
}

// Calls `use` with the kind of numbers as a constant.
template <class USE>
inline void with_kind(int kind, USE use) {
  if (kind == UNILLM_F32) return use(std::integral_constant<int, UNILLM_F32>());
  if (kind == UNILLM_F16) return use(std::integral_constant<int, UNILLM_F16>());
  if (kind == UNILLM_I8) return use(std::integral_constant<int, UNILLM_I8>());
  use(std::integral_constant<int, UNILLM_BF16>());
}

inline const void* number_at(const void* base, int kind, long index) {
  return static_cast<const char*>(base) + index * number_bytes(kind);
}

// The rows of 16 tokens of this key head in the cache. Tokens outside `first` to `last` are zeros: their pages may be
// anyone's.
template <class MATH>
inline void find_rows(const AttentionBlock<MATH>& memory, const QueryBlock& block, const void* base,
                      const CacheStrides& strides, long token, long first, long last, const void** rows) {
  const AttentionCall& call = memory.call;
  const long bytes = number_bytes(call.cache_kind);
  const char* head = static_cast<const char*>(base) + block.kv_head * strides.head * bytes;
  const int32_t* page = block.table + token / call.page_size;
  long place = token % call.page_size;
  for (int i = 0; i < 16; ++i, ++token) {
    const bool seen = token >= first && token < last;
    rows[i] = seen ? head + (*page * strides.page + place * strides.token) * bytes : static_cast<const void*>(memory.zeros);
    if (++place == call.page_size) place = 0, ++page;
  }
}

// The scales of a tile of a cache of I8. Those of tokens outside are zeros, like their rows.
template <class MATH>
inline void find_scales(AttentionBlock<MATH>& memory, const QueryBlock& block, long token, long first, long last) {
  const AttentionCall& call = memory.call;
  const CacheStrides& strides = call.scale_strides;
  for (int i = 0; i < tile_keys; ++i, ++token) {
    memory.key_scales[i] = memory.value_scales[i] = 0.0f;
    if (token < first || token >= last) continue;
    const long page = block.table[token / call.page_size];
    const long index = page * strides.page + token % call.page_size * strides.token + block.kv_head * strides.head;
    memory.key_scales[i] = call.key_scales[index];
    memory.value_scales[i] = call.value_scales[index];
  }
}

// The rows of a tile, and those of the next: pages lie anywhere, and nothing else tells the machine which come next. Each
// step of laying out a tile asks for as much of the next one.
struct TileRows {
  const void* keys[tile_keys];
  const void* values[tile_keys];
  const void* next_keys[tile_keys];
  const void* next_values[tile_keys];

  template <class MATH>
  void find_next(const AttentionBlock<MATH>& memory, const QueryBlock& block, long token, long first, long last) {
    const AttentionCall& call = memory.call;
    for (int half = 0; half < tile_keys; half += 16) {
      find_rows(memory, block, call.keys, call.key_strides, token + half, first, last, next_keys + half);
      find_rows(memory, block, call.values, call.value_strides, token + half, first, last, next_values + half);
    }
  }

  void advance() {
    std::memcpy(keys, next_keys, sizeof keys);
    std::memcpy(values, next_values, sizeof values);
  }

  // A part of half of the keys, row after row.
  void prefetch_keys(int half, long part, long parts, long bytes) const {
    for (long i = 16 * part / parts; i < 16 * (part + 1) / parts; ++i) {
      for (long offset = 0; offset < bytes; offset += 64) prefetch(static_cast<const char*>(next_keys[half + i]) + offset);
    }
  }

  void prefetch_values(int i, long bytes) const {
    for (long offset = 0; offset < bytes; offset += 64) {
      prefetch(static_cast<const char*>(next_values[i]) + offset);
      prefetch(static_cast<const char*>(next_values[16 + i]) + offset);
    }
  }
};

// fp32 throughout.
struct Single {
  static constexpr int pack = 1;  // numbers in a word
  using Memory = AttentionBlock<Single>;

  static Floats add_product(Floats sum, Floats a, Floats b) { return multiply_add(a, b, sum); }

  static void lay_out_keys(Memory& memory, const TileRows& tile, int half) {
    const void* const* rows = tile.keys + half;
    with_kind(memory.call.cache_kind, [&](auto kind) {
      for (long dim = 0; dim < memory.words; dim += 16) {
        tile.prefetch_keys(half, dim / 16, memory.words / 16, memory.call.head_dim * number_bytes(kind));
        Floats square[16];
        for (int i = 0; i < 16; ++i) square[i] = load_dims<decltype(kind)::value>(rows[i], dim, memory.call.head_dim);
        transpose(square);
        for (int i = 0; i < 16; ++i) store(memory.keys + (dim + i) * tile_keys + half, square[i]);
      }
    });
  }

  static void lay_out_values(Memory& memory, const TileRows& tile) {
    const void* const* low = tile.values;
    const void* const* high = tile.values + 16;
    with_kind(memory.call.cache_kind, [&](auto kind) {
      for (int i = 0; i < 16; ++i) {
        float* first = memory.values + i * memory.width;
        float* second = first + 16 * memory.width;
        tile.prefetch_values(i, memory.call.head_dim * number_bytes(kind));
        for (long dim = 0; dim < memory.width; dim += 16) {
          store(first + dim, load_dims<decltype(kind)::value>(low[i], dim, memory.call.head_dim));
          store(second + dim, load_dims<decltype(kind)::value>(high[i], dim, memory.call.head_dim));
        }
      }
    });
  }

  static void lay_out_query(Memory& memory, int row, const void* query) {
    with_kind(memory.call.query_kind, [&](auto kind) {
      for (long dim = 0; dim < memory.words; dim += 16) {
        const Floats numbers = load_dims<decltype(kind)::value>(query, dim, memory.call.head_dim);
        store(memory.queries + row * memory.words + dim, numbers);
      }
    });
  }

  static void store_weights(float* to, Floats low, Floats high) {
    store(to, low);
    store(to + 16, high);
  }
};

#if defined(UNILLM_BFLOAT)
// Two bfloat16 a word, both products summed in fp32: for a cache of bfloat16. Queries and weights are rounded to it.
struct Paired {
  static constexpr int pack = 2;
  using Memory = AttentionBlock<Paired>;

  static Floats add_product(Floats sum, Floats a, Floats b) { return add_pairs(sum, a, b); }

  // Sixteen words, two neighbouring dimensions each.
  static Floats load_words(const void* row, long word, long dims) {
    const long dim = 2 * word;
    const uint16_t* from = static_cast<const uint16_t*>(row) + dim;
    if (dim + 32 <= dims) return as_floats(load_ints(from));
    alignas(64) uint16_t padded[32] = {};
    if (dim < dims) std::memcpy(padded, from, static_cast<size_t>(dims - dim) * 2);
    return as_floats(load_ints(padded));
  }

  static void lay_out_keys(Memory& memory, const TileRows& tile, int half) {
    const void* const* rows = tile.keys + half;
    for (long word = 0; word < memory.words; word += 16) {
      tile.prefetch_keys(half, word / 16, memory.words / 16, memory.call.head_dim * 2);
      Floats square[16];
      for (int i = 0; i < 16; ++i) square[i] = load_words(rows[i], word, memory.call.head_dim);
      transpose(square);
      for (int i = 0; i < 16; ++i) store(memory.keys + (word + i) * tile_keys + half, square[i]);
    }
  }

  // Token i and token 16 + i share a word.
  static void lay_out_values(Memory& memory, const TileRows& tile) {
    const void* const* low = tile.values;
    const void* const* high = tile.values + 16;
    for (int i = 0; i < 16; ++i) {
      tile.prefetch_values(i, memory.call.head_dim * 2);
      for (long dim = 0; dim < memory.width; dim += 16) {
        const Ints first = as_ints(load_dims<UNILLM_BF16>(low[i], dim, memory.call.head_dim));
        const Ints second = as_ints(load_dims<UNILLM_BF16>(high[i], dim, memory.call.head_dim));
        store_ints(memory.values + i * memory.width + dim, bits_or(shift_right(first, 16), second));
      }
    }
  }

  static void lay_out_query(Memory& memory, int row, const void* query) {
    uint16_t* to = reinterpret_cast<uint16_t*>(memory.queries + row * memory.words);
    with_kind(memory.call.query_kind, [&](auto kind) {
      for (long dim = 0; dim < 2 * memory.words; dim += 16) {
        store_numbers(to + dim, UNILLM_BF16, 0, load_dims<decltype(kind)::value>(query, dim, memory.call.head_dim));
      }
    });
  }

  static void store_weights(float* to, Floats low, Floats high) {
    store_ints(to, bits_or(round_to_bfloat(low), shift_left(round_to_bfloat(high), 16)));
  }
};
#endif

// ROWS rows times VECTORS vectors of 16 columns, summed over `depth` words: out = out * factor + left * right.
template <class MATH, int ROWS, int VECTORS>
inline void multiply_small(const float* left, long left_stride, const float* right, long right_stride, long depth, float* out,
                           long out_stride, const float* factor) {
  Floats sum[ROWS][VECTORS];
#pragma GCC unroll 12
  for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
      sum[row][v] = factor ? multiply(load(out + row * out_stride + 16 * v), broadcast(factor[row])) : zero();
    }
  }
  for (long k = 0; k < depth; ++k, right += right_stride) {
    Floats columns[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) columns[v] = load(right + 16 * v);
#pragma GCC unroll 12
    for (int row = 0; row < ROWS; ++row) {
      const Floats word = broadcast(left[row * left_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; ++v) sum[row][v] = MATH::add_product(sum[row][v], columns[v], word);
    }
  }
#pragma GCC unroll 12
  for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) store(out + row * out_stride + 16 * v, sum[row][v]);
  }
}

template <class MATH, int VECTORS>
inline void multiply_columns(int rows, const float* left, long left_stride, const float* right, long right_stride, long depth,
                             float* out, long out_stride, const float* factor) {
  constexpr int most = sums_in_registers / VECTORS;
  const auto advance = [&](int done) {
    rows -= done;
    left += done * left_stride;
    out += done * out_stride;
    factor += factor ? done : 0;
  };
  while (rows >= most) {
    multiply_small<MATH, most, VECTORS>(left, left_stride, right, right_stride, depth, out, out_stride, factor);
    advance(most);
  }
  if constexpr (most > 4) {
    while (rows >= 4) {
      multiply_small<MATH, 4, VECTORS>(left, left_stride, right, right_stride, depth, out, out_stride, factor);
      advance(4);
    }
  }
  if constexpr (most > 2) {
    while (rows >= 2) {
      multiply_small<MATH, 2, VECTORS>(left, left_stride, right, right_stride, depth, out, out_stride, factor);
      advance(2);
    }
  }
  while (rows >= 1) {
    multiply_small<MATH, 1, VECTORS>(left, left_stride, right, right_stride, depth, out, out_stride, factor);
    advance(1);
  }
}

// The lanes of a tile's half that a query at `position` sees, as minus infinity elsewhere.
inline Floats mask_scores(const AttentionCall& call, Floats scores, long position, long key, long last) {
  const Ints keys = add_ints(every_int(static_cast<int>(key)), lane_numbers());
  const long end = call.causal && position + 1 < last ? position + 1 : last;
  const Floats none = broadcast(-__builtin_inff());
  scores = where_less(keys, every_int(static_cast<int>(end)), scores, none);
  if (call.window <= 0) return scores;
  const long begin = position - call.window + 1;
  return where_less(keys, every_int(static_cast<int>(begin > 0 ? begin : 0)), none, scores);
}

inline Floats finish_scores(const AttentionCall& call, Floats scores, int head, long position, long key) {
  scores = multiply(scores, broadcast(call.scale));
  if (call.softcap > 0) {
    const Floats cap = broadcast(call.softcap);
    scores = multiply(cap, hyperbolic_tangent(divide(scores, cap)));
  }
  if (call.alibi) {
    const Ints distance = subtract_ints(add_ints(every_int(static_cast<int>(key)), lane_numbers()),
                                        every_int(static_cast<int>(position)));
    scores = multiply_add(broadcast(call.alibi[head]), to_floats(distance), scores);
  }
  return scores;
}

// One row's scores become weights; its largest score, its total and what corrects the tiles before are kept.
template <class MATH>
inline void soften_row(AttentionBlock<MATH>& memory, const QueryBlock& block, int row, long tile, long last) {
  const AttentionCall& call = memory.call;
  const int head = block.head + row % block.heads;
  const long position = block.position + row / block.heads;
  float* scores = memory.scores + row * tile_keys;
  const bool whole = tile + tile_keys <= last && (!call.causal || tile + tile_keys <= position + 1) &&
                     (call.window <= 0 || tile > position - call.window);
  Floats halves[2];
  for (int i = 0; i < 2; ++i) {
    Floats products = load(scores + 16 * i);
    if (call.key_scales) products = multiply(products, load(memory.key_scales + 16 * i));
    halves[i] = finish_scores(call, products, head, position, tile + 16 * i);
    if (!whole) halves[i] = mask_scores(call, halves[i], position, tile + 16 * i, last);
  }
  const float before = memory.largest[row], here = largest_lane(larger(halves[0], halves[1]));
  const float now = here > before ? here : before;
  for (Floats& half : halves) half = exponential(subtract(half, broadcast(now)));
  const Floats correction = now == before ? broadcast(1.0f) : exponential(broadcast(before - now));
  float* total = memory.totals + row * 16;
  store(total, multiply_add(load(total), correction, add(halves[0], halves[1])));
  if (call.value_scales) {
    for (int i = 0; i < 2; ++i) halves[i] = multiply(halves[i], load(memory.value_scales + 16 * i));
  }
  MATH::store_weights(scores, halves[0], halves[1]);
  memory.largest[row] = now;
  memory.correction[row] = first_lane(correction);
}

template <class MATH>
inline void add_tile(AttentionBlock<MATH>& memory, const QueryBlock& block, const TileRows& rows, long tile, long last) {
  for (int half = 0; half < tile_keys; half += 16) MATH::lay_out_keys(memory, rows, half);
  MATH::lay_out_values(memory, rows);
  multiply_columns<MATH, 2>(block.rows, memory.queries, memory.words, memory.keys, tile_keys, memory.words, memory.scores,
                            tile_keys, nullptr);
  for (int row = 0; row < block.rows; ++row) soften_row(memory, block, row, tile, last);
  long column = 0;
  for (; column + 64 <= memory.width; column += 64) {
    multiply_columns<MATH, 4>(block.rows, memory.scores, tile_keys, memory.values + column, memory.width,
                              tile_keys / MATH::pack, memory.outputs + column, memory.width, memory.correction);
  }
  for (; column < memory.width; column += 16) {
    multiply_columns<MATH, 1>(block.rows, memory.scores, tile_keys, memory.values + column, memory.width,
                              tile_keys / MATH::pack, memory.outputs + column, memory.width, memory.correction);
  }
}

inline void store_dims(void* row, int kind, long dim, long dims, Floats numbers) {
  if (dim + 16 <= dims) return store_numbers(row, kind, dim, numbers);
  alignas(64) uint8_t padded[64];
  store_numbers(padded, kind, 0, numbers);
  const int bytes = number_bytes(kind);
  std::memcpy(static_cast<uint8_t*>(row) + dim * bytes, padded, static_cast<size_t>((dims - dim) * bytes));
}

template <class MATH>
inline void write_outputs(const AttentionBlock<MATH>& memory, const QueryBlock& block) {
  const AttentionCall& call = memory.call;
  for (int row = 0; row < block.rows; ++row) {
    const int head = block.head + row % block.heads;
    float total = sum_lanes(load(memory.totals + row * 16)), largest = memory.largest[row], factor = 1.0f;
    if (call.sinks) {
      // One more key with a score and no value.
      const float now = call.sinks[head] > largest ? call.sinks[head] : largest;
      factor = first_lane(exponential(broadcast(largest - now)));
      total = total * factor + first_lane(exponential(broadcast(call.sinks[head] - now)));
    }
    const Floats share = broadcast(total > 0 ? factor / total : 0.0f);
    const long index = (block.token + row / block.heads) * call.out_stride + head * call.head_dim;
    void* out = static_cast<char*>(call.out) + index * number_bytes(call.out_kind);
    for (long dim = 0; dim < call.head_dim; dim += 16) {
      store_dims(out, call.out_kind, dim, call.head_dim, multiply(load(memory.outputs + row * memory.width + dim), share));
    }
  }
}

template <class MATH>
inline void attend_block(const AttentionCall& call, const QueryBlock& block, float* scratch) {
  AttentionBlock<MATH> memory(call, scratch);
  for (long dim = 0; dim < memory.width; dim += 16) store(memory.zeros + dim, zero());
  for (int row = 0; row < block.rows; ++row) {
    const int head = block.head + row % block.heads;
    const long index = (block.token + row / block.heads) * call.query_stride + head * call.head_dim;
    MATH::lay_out_query(memory, row, number_at(call.queries, call.query_kind, index));
    memory.largest[row] = lowest;
    store(memory.totals + row * 16, zero());
    for (long dim = 0; dim < memory.width; dim += 16) store(memory.outputs + row * memory.width + dim, zero());
  }
  const long last = call.causal ? block.position + block.rows / block.heads : block.context;
  const long begin = call.window > 0 ? block.position - call.window + 1 : 0, first = begin > 0 ? begin : 0;
  const long begins = first / tile_keys * tile_keys;
  TileRows rows;
  rows.find_next(memory, block, begins, first, last);
  for (long tile = begins; tile < last; tile += tile_keys) {
    rows.advance();
    rows.find_next(memory, block, tile + tile_keys, first, last);
    if (call.key_scales) find_scales(memory, block, tile, first, last);
    add_tile(memory, block, rows, tile, last);
  }
  write_outputs(memory, block);
}

}  // namespace unillm::UNILLM_ISA
