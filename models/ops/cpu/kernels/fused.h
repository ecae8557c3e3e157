// The operations between the products, each one pass over memory: norms, gates, rotation and the cache's new rows,
// embedding rows out of packed tables, the largest of a vocabulary.

namespace unillm::UNILLM_ISA {

inline Floats load_at(const void* row, int kind, long column, long columns) {
  if (column + 16 <= columns) return load_numbers(row, kind, column);
  return load_first_numbers(row, kind, column, static_cast<int>(columns - column));
}

inline void store_at(void* row, int kind, long column, long columns, Floats numbers) {
  store_dims(row, kind, column, columns, numbers);
}

// Mean of squares -> its inverse root. Sixteen partial sums, so that the order depends on the row's length alone.
inline Floats inverse_root(const void* row, int kind, long columns, float epsilon) {
  Floats squares = zero();
  for (long k = 0; k < columns; k += 16) {
    const Floats numbers = load_at(row, kind, k, columns);
    squares = multiply_add(numbers, numbers, squares);
  }
  return broadcast(1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(columns) + epsilon));
}

inline void normalize_row(const NormCall& call, long row) {
  const int bytes = number_bytes(call.kind);
  char* x = static_cast<char*>(call.x) + row * call.x_stride * bytes;
  char* out = static_cast<char*>(call.out) + row * call.out_stride * bytes;
  if (call.addend) {
    const char* addend = static_cast<const char*>(call.addend) + row * call.addend_stride * bytes;
    for (long k = 0; k < call.columns; k += 16) {
      const Floats sum = add(load_at(x, call.kind, k, call.columns), load_at(addend, call.kind, k, call.columns));
      store_at(x, call.kind, k, call.columns, sum);
    }
  }
  const Floats factor = inverse_root(x, call.kind, call.columns, call.epsilon), offset = broadcast(call.weight_offset);
  for (long k = 0; k < call.columns; k += 16) {
    const Floats weight = add(load_at(call.weight, UNILLM_F32, k, call.columns), offset);
    store_at(out, call.kind, k, call.columns, multiply(multiply(load_at(x, call.kind, k, call.columns), factor), weight));
  }
}

inline Floats activate(int activation, Floats a) {
  if (activation == UNILLM_SILU) return multiply(a, sigmoid(a));
  // The tanh form of the Gaussian error's linear unit.
  const Floats cube = multiply(multiply(a, a), a);
  const Floats inner = multiply(broadcast(0.79788456f), multiply_add(broadcast(0.044715f), cube, a));
  return multiply(multiply(broadcast(0.5f), a), add(broadcast(1.0f), hyperbolic_tangent(inner)));
}

inline void gate_row(const GateCall& call, long row) {
  const int bytes = number_bytes(call.kind);
  const char* gate = static_cast<const char*>(call.gate) + row * call.gate_stride * bytes;
  const char* up = static_cast<const char*>(call.up) + row * call.up_stride * bytes;
  char* out = static_cast<char*>(call.out) + row * call.out_stride * bytes;
  for (long k = 0; k < call.columns; k += 16) {
    const Floats open = activate(call.activation, load_at(gate, call.kind, k, call.columns));
    store_at(out, call.kind, k, call.columns, multiply(open, load_at(up, call.kind, k, call.columns)));
  }
}

// One head, in fp32: its norm, then the rotation of its first `rotated` dimensions.
inline void normalize_head(float* head, long dims, const float* weight, float offset, float epsilon) {
  const Floats factor = inverse_root(head, UNILLM_F32, dims, epsilon);
  for (long k = 0; k < dims; k += 16) {
    const Floats scale = add(load_at(weight, UNILLM_F32, k, dims), broadcast(offset));
    store_at(head, UNILLM_F32, k, dims, multiply(multiply(load_at(head, UNILLM_F32, k, dims), factor), scale));
  }
}

// Dimension i turns with dimension i + rotated / 2.
inline void rotate_halves(float* head, long rotated, const float* cosine, const float* sine) {
  const long half = rotated / 2;
  for (long k = 0; k < half; k += 16) {
    const Floats a = load_at(head, UNILLM_F32, k, half), b = load_at(head + half, UNILLM_F32, k, half);
    const Floats c = load_at(cosine, UNILLM_F32, k, half), s = load_at(sine, UNILLM_F32, k, half);
    store_at(head, UNILLM_F32, k, half, subtract(multiply(a, c), multiply(b, s)));
    store_at(head + half, UNILLM_F32, k, half, add(multiply(b, c), multiply(a, s)));
  }
}

// Dimension 2 i turns with dimension 2 i + 1.
inline void rotate_neighbours(float* head, long rotated, const float* cosine, const float* sine) {
  for (long i = 0; i < rotated / 2; ++i) {
    const float a = head[2 * i], b = head[2 * i + 1];
    head[2 * i] = a * cosine[i] - b * sine[i];
    head[2 * i + 1] = b * cosine[i] + a * sine[i];
  }
}

inline void turn_head(const RotateCall& call, long token, float* head, const float* norm) {
  if (norm) normalize_head(head, call.head_dim, norm, call.norm_offset, call.epsilon);
  const float* cosine = call.cosines + token * call.rotated / 2;
  const float* sine = call.sines + token * call.rotated / 2;
  if (call.neighbours) {
    rotate_neighbours(head, call.rotated, cosine, sine);
  } else {
    rotate_halves(head, call.rotated, cosine, sine);
  }
}

inline void copy_head(const void* from, int from_kind, void* to, int to_kind, long dims) {
  for (long k = 0; k < dims; k += 16) store_at(to, to_kind, k, dims, load_at(from, from_kind, k, dims));
}

// The largest of a head over 127 for each step, ties to even; the step is not a number where one of the head is not.
inline void quantize_head(const float* head, int8_t* to, float* scale, long dims) {
  Floats largest = zero(), poison = zero();
  for (long k = 0; k < dims; k += 16) {
    const Floats numbers = load_at(head, UNILLM_F32, k, dims);
    largest = larger(largest, absolute(numbers));
    poison = multiply_add(numbers, zero(), poison);
  }
  const float top = largest_lane(largest);
  const Floats inverse = broadcast(top > 1e-30f ? 127.0f / top : 0.0f);
  *scale = top / 127.0f + sum_lanes(poison);
  for (long k = 0; k < dims; k += 16) {
    store_at(to, UNILLM_I8, k, dims, multiply(load_at(head, UNILLM_F32, k, dims), inverse));
  }
}

// `head` is memory for one head. Queries are turned in place; keys and values go to the cache.
inline void rotate_token(const RotateCall& call, long token, float* head) {
  const int bytes = number_bytes(call.kind), cache_bytes = number_bytes(call.cache_kind);
  const auto at = [&](const void* base, long stride, int index) {
    return const_cast<char*>(static_cast<const char*>(base)) + (token * stride + index * call.head_dim) * bytes;
  };
  for (int i = 0; i < call.heads; ++i) {
    char* query = at(call.queries, call.query_stride, i);
    copy_head(query, call.kind, head, UNILLM_F32, call.head_dim);
    turn_head(call, token, head, call.query_norm);
    copy_head(head, UNILLM_F32, query, call.kind, call.head_dim);
  }
  const long page = call.slots[token] / call.page_size, offset = call.slots[token] % call.page_size;
  const auto place = [&](void* base, const CacheStrides& strides, int index) {
    return static_cast<char*>(base) + (page * strides.page + offset * strides.token + index * strides.head) * cache_bytes;
  };
  for (int i = 0; i < call.kv_heads; ++i) {
    copy_head(at(call.keys, call.key_stride, i), call.kind, head, UNILLM_F32, call.head_dim);
    turn_head(call, token, head, call.key_norm);
    char* key = place(call.key_pages, call.key_strides, i);
    char* value = place(call.value_pages, call.value_strides, i);
    if (call.cache_kind == UNILLM_I8) {
      const long scale = page * call.scale_strides.page + offset * call.scale_strides.token + i * call.scale_strides.head;
      quantize_head(head, reinterpret_cast<int8_t*>(key), call.key_scales + scale, call.head_dim);
      copy_head(at(call.values, call.value_stride, i), call.kind, head, UNILLM_F32, call.head_dim);
      quantize_head(head, reinterpret_cast<int8_t*>(value), call.value_scales + scale, call.head_dim);
    } else {
      copy_head(head, UNILLM_F32, key, call.cache_kind, call.head_dim);
      copy_head(at(call.values, call.value_stride, i), call.kind, value, call.cache_kind, call.head_dim);
    }
  }
}

// One row of a packed table, dequantised exactly.
template <class FORMAT>
inline void embed_row(const TileProduct& table, long row, float* columns, float* out) {
  const uint8_t* head = table.weight + row / tile_rows * table.tile_stride;
  constexpr long tile_columns = FORMAT::blocks * block_columns;
  for (long k = 0; k < table.columns; k += tile_columns) {
    dequantize<FORMAT>(head + table.head_bytes + k / tile_columns * FORMAT::tile_bytes, head, 1, columns);
    const long here = table.columns - k < tile_columns ? table.columns - k : tile_columns;
    for (long i = 0; i < here; ++i) out[k + i] = columns[i * tile_rows + row % tile_rows];
  }
}

// The first of the largest; -1 where one is not a number.
inline long largest_index(const float* row, long columns) {
  const Ints infinite = as_ints(broadcast(__builtin_inff()));
  Floats largest = broadcast(-__builtin_inff()), strange = zero();
  const auto take = [&](Floats numbers) {
    largest = larger(largest, numbers);
    strange = where_less(infinite, as_ints(absolute(numbers)), broadcast(1.0f), strange);
  };
  for (long k = 0; k + 16 <= columns; k += 16) take(load(row + k));
  if (columns >= 16) take(load(row + columns - 16));  // numbers taken twice change nothing
  for (long k = 0; columns < 16 && k < columns; ++k) take(broadcast(row[k]));
  if (largest_lane(strange) > 0.0f) return -1;
  const float found = largest_lane(largest);
  for (long k = 0; k < columns; ++k) {
    if (row[k] == found) return k;
  }
  return 0;
}

}  // namespace unillm::UNILLM_ISA
