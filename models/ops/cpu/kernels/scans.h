// Recurrent layers: sixteen rows of a state, or sixteen channels, are carried through all tokens of one sequence, a lane
// each. So no sum runs across lanes, and what one item computes depends on no other.

namespace unillm::UNILLM_ISA {

inline Floats load_lanes(const float* from, int lanes) { return lanes == 16 ? load(from) : load_first(from, lanes); }
inline void store_lanes(float* to, Floats a, int lanes) { lanes == 16 ? store(to, a) : store_first(to, a, lanes); }
inline int at_most_sixteen(long left) { return static_cast<int>(left < 16 ? left : 16); }

// Rows [lanes, size], `stride` apart, as columns of sixteen.
inline void enter_rows(const float* rows, long stride, int lanes, long size, float* columns) {
  for (long k = 0; k < size; k += 16) {
    const int width = at_most_sixteen(size - k);
    Floats square[16];
    for (int i = 0; i < 16; ++i) square[i] = i < lanes ? load_lanes(rows + i * stride + k, width) : zero();
    transpose(square);
    for (int j = 0; j < width; ++j) store(columns + (k + j) * 16, square[j]);
  }
}

inline void leave_rows(const float* columns, long stride, int lanes, long size, float* rows) {
  for (long k = 0; k < size; k += 16) {
    const int width = at_most_sixteen(size - k);
    Floats square[16];
    for (int j = 0; j < 16; ++j) square[j] = j < width ? load(columns + (k + j) * 16) : zero();
    transpose(square);
    for (int i = 0; i < lanes; ++i) store_lanes(rows + i * stride + k, square[i], width);
  }
}

// A sequence's states before and after; null before the first token of all.
inline const float* source_of(const unillm_states& states, long sequence) {
  return states.fresh[sequence] ? nullptr : states.rows + states.sources[sequence] * states.row_stride;
}
inline float* target_of(const unillm_states& states, long sequence) {
  return states.rows + states.targets[sequence] * states.row_stride;
}

inline void enter_state(const float* rows, long stride, int lanes, long size, float* columns) {
  if (rows) return enter_rows(rows, stride, lanes, size, columns);
  for (long j = 0; j < size; ++j) store(columns + j * 16, zero());
}

inline const float* of_head(const unillm_heads& heads, long token, long head) {
  return heads.data + token * heads.token_stride + head / heads.share % heads.count * heads.head_stride;
}

// Four sums, so that none waits for the one before.
template <class TAKE>
inline Floats summed(long size, TAKE take) {
  Floats sums[4] = {zero(), zero(), zero(), zero()};
  long j = 0;
  for (; j + 4 <= size; j += 4) {
    for (int i = 0; i < 4; ++i) sums[i] = take(j + i, sums[i]);
  }
  for (; j < size; ++j) sums[0] = take(j, sums[0]);
  return add(add(sums[0], sums[1]), add(sums[2], sums[3]));
}

struct MatrixToken {
  const float *q, *k, *a, *b, *factors;
  Floats v, factor, taken;
};

// What else happens to a state: nothing, it forgets along a direction, or what a key finds gives way to the value.
enum Middle { ADDS, FORGETS, REPLACES };

template <bool PACED, Middle MIDDLE, bool BEFORE>
inline Floats matrix_token(const MatrixToken& token, float* state, long size) {
  Floats known = zero(), value = multiply(token.v, token.taken);
  if (MIDDLE == FORGETS) {
    known = summed(size, [&](long j, Floats sum) { return multiply_add(load(state + j * 16), broadcast(token.a[j]), sum); });
  }
  const auto factor = [&](long j) { return PACED ? broadcast(token.factors[j]) : token.factor; };
  if (MIDDLE == REPLACES) {
    known = summed(size, [&](long j, Floats sum) {
      return multiply_add(multiply(load(state + j * 16), factor(j)), broadcast(token.k[j]), sum);
    });
    value = multiply(subtract(token.v, known), token.taken);
  }
  return summed(size, [&](long j, Floats sum) {
    const Floats before = load(state + j * 16);
    Floats after = multiply(before, factor(j));
    if (MIDDLE == FORGETS) after = multiply_add(known, broadcast(token.b[j]), after);
    after = multiply_add(value, broadcast(token.k[j]), after);
    store(state + j * 16, after);
    return multiply_add(BEFORE ? before : after, broadcast(token.q[j]), sum);
  });
}

// Two tokens of a plain scan in one pass over the state.
inline void matrix_two_tokens(const MatrixToken& first, const MatrixToken& second, float* state, long size, Floats* out) {
  Floats sums[4] = {zero(), zero(), zero(), zero()};
  const Floats value = multiply(first.v, first.taken), next = multiply(second.v, second.taken);
  const auto take = [&](long j, Floats& early, Floats& late) {
    Floats number = multiply_add(value, broadcast(first.k[j]), multiply(load(state + j * 16), first.factor));
    early = multiply_add(number, broadcast(first.q[j]), early);
    number = multiply_add(next, broadcast(second.k[j]), multiply(number, second.factor));
    late = multiply_add(number, broadcast(second.q[j]), late);
    store(state + j * 16, number);
  };
  long j = 0;
  for (; j + 2 <= size; j += 2) {
    take(j, sums[0], sums[1]);
    take(j + 1, sums[2], sums[3]);
  }
  if (j < size) take(j, sums[0], sums[1]);
  out[0] = add(sums[0], sums[2]);
  out[1] = add(sums[1], sums[3]);
}

inline MatrixToken matrix_token_at(const unillm_matrix_scan& scan, long token, long head, long row, int lanes, float* factors) {
  MatrixToken found{};
  found.q = of_head(scan.q, token, head), found.k = of_head(scan.k, token, head);
  found.v = load_lanes(of_head(scan.v, token, head) + row, lanes);
  if (scan.a.data) found.a = of_head(scan.a, token, head), found.b = of_head(scan.b, token, head);
  found.taken = broadcast(scan.taken.data ? *of_head(scan.taken, token, head) : 1.0f);
  const float* decay = of_head(scan.decay, token, head);
  found.factors = factors;
  if (scan.paces == 1) found.factor = exponential(broadcast(*decay));
  for (long j = 0; scan.paces != 1 && j < scan.size; j += 16) {
    store(factors + j, exponential(load_lanes(decay + j, at_most_sixteen(scan.size - j))));
  }
  return found;
}

// Where the rows of one head's state lie before a token, null for zeros, and after it.
struct MatrixRows {
  const float* before;
  float* after;
  float* out;
  long size;
  int count;
};

// A token alone: rows as they lie, so that none has to be turned.
template <bool PACED, Middle MIDDLE, bool BEFORE>
inline void matrix_rows(const MatrixToken& token, const float* v, const MatrixRows& rows) {
  for (int i = 0; i < rows.count; ++i) {
    const float* from = rows.before ? rows.before + i * rows.size : nullptr;
    const auto number = [&](long j, int lanes) { return from ? load_lanes(from + j, lanes) : zero(); };
    const auto factor = [&](long j) { return PACED ? load(token.factors + j) : token.factor; };
    Floats known = zero(), sum = zero(), value = broadcast(v[i]);
    for (long j = 0; MIDDLE != ADDS && j < rows.size; j += 16) {
      const int lanes = at_most_sixteen(rows.size - j);
      const Floats found = MIDDLE == FORGETS ? number(j, lanes) : multiply(number(j, lanes), factor(j));
      known = multiply_add(found, load_lanes((MIDDLE == FORGETS ? token.a : token.k) + j, lanes), known);
    }
    if (MIDDLE != ADDS) known = broadcast(sum_lanes(known));
    value = multiply(MIDDLE == REPLACES ? subtract(value, known) : value, token.taken);
    for (long j = 0; j < rows.size; j += 16) {
      const int lanes = at_most_sixteen(rows.size - j);
      const Floats before = number(j, lanes);
      Floats after = multiply(before, factor(j));
      if (MIDDLE == FORGETS) after = multiply_add(known, load_lanes(token.b + j, lanes), after);
      after = multiply_add(value, load_lanes(token.k + j, lanes), after);
      store_lanes(rows.after + i * rows.size + j, after, lanes);
      sum = multiply_add(BEFORE ? before : after, load_lanes(token.q + j, lanes), sum);
    }
    rows.out[i] = sum_lanes(sum);
  }
}

struct MatrixSteps {
  Floats (*token)(const MatrixToken& token, float* state, long size);
  void (*rows)(const MatrixToken& token, const float* v, const MatrixRows& rows);
};

template <bool PACED, Middle MIDDLE, bool BEFORE>
constexpr MatrixSteps matrix_steps_of() {
  return {matrix_token<PACED, MIDDLE, BEFORE>, matrix_rows<PACED, MIDDLE, BEFORE>};
}

inline MatrixSteps matrix_steps(const unillm_matrix_scan& scan) {
  constexpr MatrixSteps steps[2][3][2] = {
      {{matrix_steps_of<false, ADDS, false>(), matrix_steps_of<false, ADDS, true>()},
       {matrix_steps_of<false, FORGETS, false>(), matrix_steps_of<false, FORGETS, true>()},
       {matrix_steps_of<false, REPLACES, false>(), matrix_steps_of<false, REPLACES, true>()}},
      {{matrix_steps_of<true, ADDS, false>(), matrix_steps_of<true, ADDS, true>()},
       {matrix_steps_of<true, FORGETS, false>(), matrix_steps_of<true, FORGETS, true>()},
       {matrix_steps_of<true, REPLACES, false>(), matrix_steps_of<true, REPLACES, true>()}}};
  const Middle middle = scan.replaces ? REPLACES : scan.a.data ? FORGETS : ADDS;
  return steps[scan.paces != 1][middle][scan.reads_before != 0];
}

// `memory`: for size columns of sixteen, and as many factors.
inline void scan_rows(const unillm_matrix_scan& scan, long sequence, long head, long row, float* memory) {
  const long first = scan.states.starts[sequence], last = scan.states.starts[sequence + 1];
  const int lanes = at_most_sixteen(scan.width - row);
  const long offset = (head * scan.width + row) * scan.size;
  const float* before = source_of(scan.states, sequence);
  before = before ? before + offset : nullptr;
  float* after = target_of(scan.states, sequence) + offset;
  float* factors = memory + scan.size * 16;
  float* out = scan.out + head * scan.width + row;
  const MatrixSteps steps = matrix_steps(scan);
  if (first + 1 == last) {
    const MatrixRows rows{before, after, out + first * scan.heads * scan.width, static_cast<long>(scan.size), lanes};
    return steps.rows(matrix_token_at(scan, first, head, row, lanes, factors), of_head(scan.v, first, head) + row, rows);
  }
  enter_state(before, scan.size, lanes, scan.size, memory);
  const bool plain = scan.paces == 1 && !scan.a.data && !scan.replaces && !scan.reads_before;
  const auto write = [&](long token, Floats sum) { store_lanes(out + token * scan.heads * scan.width, sum, lanes); };
  long token = first;
  for (; plain && token + 2 <= last; token += 2) {
    Floats sums[2];
    matrix_two_tokens(matrix_token_at(scan, token, head, row, lanes, factors),
                      matrix_token_at(scan, token + 1, head, row, lanes, factors), memory, scan.size, sums);
    write(token, sums[0]);
    write(token + 1, sums[1]);
  }
  for (; token < last; ++token) {
    write(token, steps.token(matrix_token_at(scan, token, head, row, lanes, factors), memory, scan.size));
  }
  leave_rows(memory, scan.size, lanes, scan.size, after);
}

// A token alone: the numbers of a channel as they lie.
inline void scan_channel_rows(const unillm_selective_scan& scan, long token, const float* before, float* after, long channel,
                              int lanes) {
  const float *b = scan.b + token * scan.b_stride, *c = scan.c + token * scan.c_stride;
  for (long i = channel; i < channel + lanes; ++i) {
    const float pace = scan.steps[token * scan.step_stride + i];
    const Floats step = broadcast(pace), taken = broadcast(pace * scan.x[token * scan.x_stride + i]);
    Floats sum = zero();
    for (long j = 0; j < scan.size; j += 16) {
      const int width = at_most_sixteen(scan.size - j);
      const long place = i * scan.size + j;
      const Floats factor = exponential(multiply(step, load_lanes(scan.decay + place, width)));
      const Floats kept = before ? multiply(factor, load_lanes(before + place, width)) : zero();
      const Floats number = multiply_add(taken, load_lanes(b + j, width), kept);
      store_lanes(after + place, number, width);
      sum = multiply_add(number, load_lanes(c + j, width), sum);
    }
    scan.out[token * scan.channels + i] = sum_lanes(sum);
  }
}

// `memory`: for size columns of sixteen, twice.
inline void scan_channels_from(const unillm_selective_scan& scan, long sequence, long channel, float* memory) {
  const int lanes = at_most_sixteen(scan.channels - channel);
  const long offset = channel * scan.size, first = scan.states.starts[sequence];
  const float* before = source_of(scan.states, sequence);
  if (first + 1 == scan.states.starts[sequence + 1]) {
    return scan_channel_rows(scan, first, before, target_of(scan.states, sequence), channel, lanes);
  }
  float* decay = memory + scan.size * 16;
  enter_state(before ? before + offset : nullptr, scan.size, lanes, scan.size, memory);
  enter_rows(scan.decay + offset, scan.size, lanes, scan.size, decay);
  for (long token = first; token < scan.states.starts[sequence + 1]; ++token) {
    const Floats step = load_lanes(scan.steps + token * scan.step_stride + channel, lanes);
    const Floats taken = multiply(step, load_lanes(scan.x + token * scan.x_stride + channel, lanes));
    const float* b = scan.b + token * scan.b_stride;
    const float* c = scan.c + token * scan.c_stride;
    const Floats sum = summed(scan.size, [&](long j, Floats so_far) {
      const Floats kept = multiply(exponential(multiply(step, load(decay + j * 16))), load(memory + j * 16));
      const Floats after = multiply_add(taken, broadcast(b[j]), kept);
      store(memory + j * 16, after);
      return multiply_add(after, broadcast(c[j]), so_far);
    });
    store_lanes(scan.out + token * scan.channels + channel, sum, lanes);
  }
  leave_rows(memory, scan.size, lanes, scan.size, target_of(scan.states, sequence) + offset);
}

inline void convolve_from(const unillm_convolution& call, long sequence, long channel) {
  const int lanes = at_most_sixteen(call.channels - channel), bytes = number_bytes(call.kind);
  const long past = call.taps - 1, first = call.states.starts[sequence];
  const long count = call.states.starts[sequence + 1] - first;
  const float* before = source_of(call.states, sequence);
  const char* x = static_cast<const char*>(call.x) + first * call.x_stride * bytes;
  const Floats bias = call.bias ? load_lanes(call.bias + channel, lanes) : zero();
  const auto input = [&](long number) {  // `past` of them lie before the first token
    if (number >= past) return load_at(x + (number - past) * call.x_stride * bytes, call.kind, channel, call.channels);
    return before ? load_lanes(before + number * call.channels + channel, lanes) : zero();
  };
  for (long token = 0; token < count; ++token) {
    Floats sum = bias;
    for (long tap = 0; tap < call.taps; ++tap) {
      sum = multiply_add(input(token + tap), load_lanes(call.weight + tap * call.channels + channel, lanes), sum);
    }
    if (call.silu) sum = multiply(sum, sigmoid(sum));
    store_lanes(call.out + (first + token) * call.channels + channel, sum, lanes);
  }
  // Source and target may be one: what is read lies behind what is written.
  float* after = target_of(call.states, sequence) + channel;
  for (long tap = 0; tap < past; ++tap) store_lanes(after + tap * call.channels, input(count + tap), lanes);
}

inline void carry_from(const unillm_carrying& call, long sequence, long channel) {
  const int lanes = at_most_sixteen(call.channels - channel), bytes = number_bytes(call.kind);
  const char* x = static_cast<const char*>(call.x);
  char* out = static_cast<char*>(call.out);
  const float* before = source_of(call.states, sequence);
  Floats held = before ? load_lanes(before + channel, lanes) : zero();
  for (long token = call.states.starts[sequence]; token < call.states.starts[sequence + 1]; ++token) {
    const Floats fresh = load_at(x + token * call.x_stride * bytes, call.kind, channel, call.channels);
    store_at(out + token * call.channels * bytes, call.kind, channel, call.channels, held);
    held = fresh;
  }
  store_lanes(target_of(call.states, sequence) + channel, held, lanes);
}

inline void fade_from(const unillm_fading& call, long sequence, long channel) {
  const int lanes = at_most_sixteen(call.channels - channel);
  const float* before = source_of(call.states, sequence);
  Floats held = before ? load_lanes(before + channel, lanes) : zero();
  for (long token = call.states.starts[sequence]; token < call.states.starts[sequence + 1]; ++token) {
    held = multiply_add(load_lanes(call.factors + token * call.factor_stride + channel, lanes), held,
                        load_lanes(call.terms + token * call.term_stride + channel, lanes));
    store_lanes(call.out + token * call.channels + channel, held, lanes);
  }
  store_lanes(target_of(call.states, sequence) + channel, held, lanes);
}

// Two weighted sums of one, both relative to the larger of their logarithms.
struct Shares {
  Floats log, early, late;
};
inline Shares shares_of(Floats early, Floats late) {
  const Floats log = larger(early, late);
  return {log, exponential(subtract(early, log)), exponential(subtract(late, log))};
}

inline void average_from(const unillm_averaging& call, long sequence, long channel) {
  const int lanes = at_most_sixteen(call.channels - channel);
  const float* before = source_of(call.states, sequence);
  const auto part = [&](int number) {
    return before ? load_lanes(before + number * call.channels + channel, lanes) : zero();
  };
  const Floats decay = load_lanes(call.decay + channel, lanes), bonus = load_lanes(call.bonus + channel, lanes);
  Floats sum = part(0), weight = part(1), log = before ? part(2) : broadcast(-1e38f);  // of what has not been
  for (long token = call.states.starts[sequence]; token < call.states.starts[sequence + 1]; ++token) {
    const Floats k = load_lanes(call.k + token * call.k_stride + channel, lanes);
    const Floats v = load_lanes(call.v + token * call.v_stride + channel, lanes);
    const Shares seen = shares_of(log, add(k, bonus)), kept = shares_of(add(log, decay), k);
    const Floats all = multiply_add(seen.late, v, multiply(seen.early, sum));
    store_lanes(call.out + token * call.channels + channel, divide(all, multiply_add(seen.early, weight, seen.late)), lanes);
    sum = multiply_add(kept.late, v, multiply(kept.early, sum));
    weight = multiply_add(kept.early, weight, kept.late);
    log = kept.log;
  }
  float* after = target_of(call.states, sequence) + channel;
  store_lanes(after, sum, lanes);
  store_lanes(after + call.channels, weight, lanes);
  store_lanes(after + 2 * call.channels, log, lanes);
}

}  // namespace unillm::UNILLM_ISA
