// Attention over paged keys and values, a block of queries of one key head at a time.
//
// Keys are taken in tiles of 32 that begin at multiples of 32 of the sequence, with an online softmax: the order of every
// sum depends on the positions alone, so that a token's result is the same bits whether it comes in a prompt, in a chunk of
// one, or by itself, and whatever else is in the batch. Of many queries, a tile is laid out once (keys by dimension, values
// by token) and then used by all: the heads that share a key head, times the block's tokens. Few take it as it is loaded.
//
// A cache of 8-bit integers is read as the whole numbers that it holds: a key's scale multiplies its scores, a value's its
// weight, a number a token where the tile would have cost one a dimension.

namespace unillm::UNILLM_ISA {

constexpr int few_query_rows = 4;

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
  const long begin = first_seen(call, position);
  return begin > 0 ? where_less(keys, every_int(static_cast<int>(begin)), none, scores) : scores;
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

// A row's scores as the softmax takes them; their largest is returned.
template <class MATH>
inline float finish_row(AttentionBlock<MATH>& memory, const QueryBlock& block, int row, long tile, long last, bool whole) {
  const AttentionCall& call = memory.call;
  const bool plain = whole && !call.alibi;  // then it matters to no score whose it is
  const int head = plain ? 0 : block.head + row % block.heads;
  const long position = plain ? 0 : block.position + row / block.heads;
  float* scores = memory.scores + row * tile_keys;
  Floats halves[2];
  for (int i = 0; i < 2; ++i) {
    Floats products = load(scores + 16 * i);
    if (call.key_scales) products = multiply(products, load(memory.key_scales + 16 * i));
    halves[i] = finish_scores(call, products, head, position, tile + 16 * i);
    if (!whole) halves[i] = mask_scores(call, halves[i], position, tile + 16 * i, last);
    store(scores + 16 * i, halves[i]);
  }
  return largest_lane(larger(halves[0], halves[1]));
}

// The scores of all rows become weights; their largest scores, their totals and what corrects the tiles before are kept.
template <class MATH>
inline void soften(AttentionBlock<MATH>& memory, const QueryBlock& block, long tile, long last) {
  const AttentionCall& call = memory.call;
  const long newest = block.position + (block.rows - 1) / block.heads;
  const bool whole = tile + tile_keys <= last && (!call.causal || tile + tile_keys <= block.position + 1) &&
                     tile >= first_seen(call, newest);
  for (int row = 0; row < block.rows; ++row) {
    memory.correction[row] = finish_row(memory, block, row, tile, last, whole);
  }
  for (int row = 0; row < block.rows; row += 16) {
    const Floats before = load(memory.largest + row), now = larger(load(memory.correction + row), before);
    store(memory.correction + row, exponential(subtract(before, now)));
    store(memory.largest + row, now);
  }
  for (int row = 0; row < block.rows; ++row) {
    const Floats now = broadcast(memory.largest[row]);
    float* scores = memory.scores + row * tile_keys;
    float* total = memory.totals + row * 16;
    Floats low = exponential(subtract(load(scores), now)), high = exponential(subtract(load(scores + 16), now));
    store(total, multiply_add(load(total), broadcast(memory.correction[row]), add(low, high)));
    if (call.value_scales) {
      low = multiply(low, load(memory.value_scales));
      high = multiply(high, load(memory.value_scales + 16));
    }
    MATH::store_weights(scores, low, high);
  }
}

template <class MATH>
inline void lay_out_keys(AttentionBlock<MATH>& memory, const TileRows& tile, int half) {
  for (long word = 0; word < memory.words; word += 16) {
    Floats square[16];
    MATH::load_keys(memory, tile, half, word, square);
    transpose(square);
    for (int i = 0; i < 16; ++i) store(memory.keys + (word + i) * tile_keys + half, square[i]);
  }
}

template <class MATH>
inline void lay_out_values(AttentionBlock<MATH>& memory, const TileRows& tile) {
  for (int i = 0; i < tile_keys / MATH::pack; ++i) {
    float* values = memory.values + i * memory.width;
    for (long dim = 0; dim < memory.width; dim += 32) {
      Floats both[2];
      MATH::load_values(memory, tile, i, dim, both);
      store(values + dim, both[0]);
      if (dim + 16 < memory.width) store(values + dim + 16, both[1]);
    }
  }
}

template <class MATH>
inline void add_tile(AttentionBlock<MATH>& memory, const QueryBlock& block, const TileRows& rows, long tile, long last) {
  for (int half = 0; half < tile_keys; half += 16) lay_out_keys(memory, rows, half);
  lay_out_values(memory, rows);
  multiply_columns<MATH, 2>(block.rows, memory.queries, memory.words, memory.keys, tile_keys, memory.words, memory.scores,
                            tile_keys, nullptr);
  soften(memory, block, tile, last);
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

// The scores of a few rows with half of a tile, the sums of `multiply_small`.
template <class MATH, int ROWS>
inline void score_few(AttentionBlock<MATH>& memory, const TileRows& tile) {
  Floats sum[2][ROWS];
  for (Floats(&half)[ROWS] : sum) {
    for (Floats& one : half) one = zero();
  }
  for (long word = 0; word < memory.words; word += 16) {
    for (int half = 0; half < 2; ++half) {
      Floats square[16];
      MATH::load_keys(memory, tile, 16 * half, word, square);
      transpose(square);
      for (int i = 0; i < 16; ++i) {
        for (int row = 0; row < ROWS; ++row) {
          const Floats query = broadcast(memory.queries[row * memory.words + word + i]);
          sum[half][row] = MATH::add_product(sum[half][row], square[i], query);
        }
      }
    }
  }
  for (int row = 0; row < ROWS; ++row) {
    for (int half = 0; half < 2; ++half) store(memory.scores + row * tile_keys + 16 * half, sum[half][row]);
  }
}

// Thirty-two columns of a few rows' outputs.
template <class MATH, int ROWS>
inline void add_few_values(AttentionBlock<MATH>& memory, const TileRows& tile, long dim) {
  const int parts = dim + 16 < memory.width ? 2 : 1;
  Floats sum[ROWS][2] = {};
  for (int row = 0; row < ROWS; ++row) {
    const Floats factor = broadcast(memory.correction[row]);
    for (int part = 0; part < parts; ++part) {
      sum[row][part] = multiply(load(memory.outputs + row * memory.width + dim + 16 * part), factor);
    }
  }
  for (int i = 0; i < tile_keys / MATH::pack; ++i) {
    Floats both[2];
    MATH::load_values(memory, tile, i, dim, both);
    for (int row = 0; row < ROWS; ++row) {
      const Floats weight = broadcast(memory.scores[row * tile_keys + i]);
      for (int part = 0; part < 2; ++part) sum[row][part] = MATH::add_product(sum[row][part], both[part], weight);
    }
  }
  for (int row = 0; row < ROWS; ++row) {
    for (int part = 0; part < parts; ++part) store(memory.outputs + row * memory.width + dim + 16 * part, sum[row][part]);
  }
}

template <class MATH, int ROWS>
inline void add_tile_to_few(AttentionBlock<MATH>& memory, const QueryBlock& block, const TileRows& rows, long tile, long last) {
  score_few<MATH, ROWS>(memory, rows);
  soften(memory, block, tile, last);
  for (long dim = 0; dim < memory.width; dim += 32) add_few_values<MATH, ROWS>(memory, rows, dim);
}

template <class MATH>
inline void add_tile_to_rows(AttentionBlock<MATH>& memory, const QueryBlock& block, const TileRows& rows, long tile, long last) {
  if (block.rows > few_query_rows) return add_tile(memory, block, rows, tile, last);
  if (block.rows == 4) return add_tile_to_few<MATH, 4>(memory, block, rows, tile, last);
  if (block.rows == 3) return add_tile_to_few<MATH, 3>(memory, block, rows, tile, last);
  if (block.rows == 2) return add_tile_to_few<MATH, 2>(memory, block, rows, tile, last);
  add_tile_to_few<MATH, 1>(memory, block, rows, tile, last);
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

// `next` is the block that this thread will most likely take then.
template <class MATH>
inline void attend_block(const AttentionCall& call, const QueryBlock& block, const QueryBlock& next, float* scratch) {
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
  const SeenKeys keys(call, block), then(call, next);
  TileRows rows;
  rows.find_next(memory, block, keys.begin, keys);
  for (long tile = keys.begin; tile < keys.last; tile += tile_keys) {
    rows.advance();
    if (tile + tile_keys < keys.last) {
      rows.find_next(memory, block, tile + tile_keys, keys);
    } else {
      rows.find_next(memory, next, then.begin, then);
    }
    if (call.key_scales) find_scales(memory, block, tile, keys);
    add_tile_to_rows(memory, block, rows, tile, keys.last);
  }
  write_outputs(memory, block);
}

}  // namespace unillm::UNILLM_ISA
