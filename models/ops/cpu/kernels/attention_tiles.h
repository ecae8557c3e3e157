// What attention reads: tiles of 32 keys and values of one head, found in their pages, in the words that products take.
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

// The first key that a query at `position` sees.
inline long first_seen(const AttentionCall& call, long position) {
  if (call.chunk > 0) return position / call.chunk * call.chunk;
  return call.window > 0 && position >= call.window ? position - call.window + 1 : 0;
}

// The keys that some query of a block sees, and where their first tile begins.
struct SeenKeys {
  long first, last, begin;

  SeenKeys(const AttentionCall& call, const QueryBlock& block)
      : first(first_seen(call, block.position)),
        last(call.causal ? block.position + block.rows / block.heads : block.context),
        begin(first / tile_keys * tile_keys) {}
};

// The rows of 16 tokens of this key head in the cache. Tokens that are not seen are zeros: their pages may be anyone's.
template <class MATH>
inline void find_rows(const AttentionBlock<MATH>& memory, const QueryBlock& block, const void* base,
                      const CacheStrides& strides, long token, const SeenKeys& keys, const void** rows) {
  const AttentionCall& call = memory.call;
  const long bytes = number_bytes(call.cache_kind);
  const char* head = static_cast<const char*>(base) + block.kv_head * strides.head * bytes;
  const int32_t* page = block.table + token / call.page_size;
  long place = token % call.page_size;
  for (int i = 0; i < 16; ++i, ++token) {
    const bool seen = token >= keys.first && token < keys.last;
    rows[i] = seen ? head + (*page * strides.page + place * strides.token) * bytes : static_cast<const void*>(memory.zeros);
    if (++place == call.page_size) place = 0, ++page;
  }
}

// The scales of a tile of a cache of I8. Those of tokens that are not seen are zeros, like their rows.
template <class MATH>
inline void find_scales(AttentionBlock<MATH>& memory, const QueryBlock& block, long token, const SeenKeys& keys) {
  const AttentionCall& call = memory.call;
  const CacheStrides& strides = call.scale_strides;
  for (int i = 0; i < tile_keys; ++i, ++token) {
    memory.key_scales[i] = memory.value_scales[i] = 0.0f;
    if (token < keys.first || token >= keys.last) continue;
    const long page = block.table[token / call.page_size];
    const long index = page * strides.page + token % call.page_size * strides.token + block.kv_head * strides.head;
    memory.key_scales[i] = call.key_scales[index];
    memory.value_scales[i] = call.value_scales[index];
  }
}

// The rows of a tile, and those of the next: pages lie anywhere, and nothing else tells the machine which come next.
// Whoever loads a part of a tile asks for the same part of the next one.
struct TileRows {
  const void* keys[tile_keys];
  const void* values[tile_keys];
  const void* next_keys[tile_keys];
  const void* next_values[tile_keys];

  template <class MATH>
  void find_next(const AttentionBlock<MATH>& memory, const QueryBlock& block, long token, const SeenKeys& keys) {
    const AttentionCall& call = memory.call;
    for (int half = 0; half < tile_keys; half += 16) {
      find_rows(memory, block, call.keys, call.key_strides, token + half, keys, next_keys + half);
      find_rows(memory, block, call.values, call.value_strides, token + half, keys, next_values + half);
    }
  }

  void advance() {
    std::memcpy(keys, next_keys, sizeof keys);
    std::memcpy(values, next_values, sizeof values);
  }
};

// Asks for what stands at dimension `dim` of some rows, if a line of memory begins there.
inline void ask_for(const void* const* rows, int count, long dim, long bytes) {
  if (dim * bytes % 64 != 0) return;
  for (int i = 0; i < count; ++i) prefetch(static_cast<const char*>(rows[i]) + dim * bytes);
}

// fp32 throughout.
struct Single {
  static constexpr int pack = 1;  // numbers in a word
  using Memory = AttentionBlock<Single>;

  static Floats add_product(Floats sum, Floats a, Floats b) { return multiply_add(a, b, sum); }

  // Sixteen words, from `word` on, of each of sixteen keys.
  static void load_keys(const Memory& memory, const TileRows& tile, int half, long word, Floats* keys) {
    with_kind(memory.call.cache_kind, [&](auto kind) {
      ask_for(tile.next_keys + half, 16, word, number_bytes(kind));
      for (int i = 0; i < 16; ++i) {
        keys[i] = load_dims<decltype(kind)::value>(tile.keys[half + i], word, memory.call.head_dim);
      }
    });
  }

  // Thirty-two dimensions, from `dim` on, of the values that share word `i` of a row's weights.
  static void load_values(const Memory& memory, const TileRows& tile, int i, long dim, Floats* both) {
    with_kind(memory.call.cache_kind, [&](auto kind) {
      for (int part = 0; part < 2; ++part) {
        ask_for(tile.next_values + i, 1, dim + 16 * part, number_bytes(kind));
        both[part] = load_dims<decltype(kind)::value>(tile.values[i], dim + 16 * part, memory.call.head_dim);
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

  static void load_keys(const Memory& memory, const TileRows& tile, int half, long word, Floats* keys) {
    ask_for(tile.next_keys + half, 16, 2 * word, 2);
    for (int i = 0; i < 16; ++i) keys[i] = load_words(tile.keys[half + i], word, memory.call.head_dim);
  }

  // Token i and token 16 + i share a word.
  static void load_values(const Memory& memory, const TileRows& tile, int i, long dim, Floats* both) {
    ask_for(tile.next_values + i, 1, dim, 2);
    ask_for(tile.next_values + 16 + i, 1, dim, 2);
    const Ints low = as_ints(load_words(tile.values[i], dim / 2, memory.call.head_dim));
    const Ints high = as_ints(load_words(tile.values[16 + i], dim / 2, memory.call.head_dim));
    both[0] = as_floats(pair_first_words(low, high));
    both[1] = as_floats(pair_last_words(low, high));
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

}  // namespace unillm::UNILLM_ISA
