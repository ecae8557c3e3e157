// What recurrent layers compute around their scans: paces, vectors of length 1, and the gated norm that leaves them.

namespace unillm::UNILLM_ISA {

inline void pace_token(const unillm_pacing& call, long token) {
  const char* steps = static_cast<const char*>(call.steps) + token * call.step_stride * number_bytes(call.kind);
  const Floats shortest = broadcast(call.shortest), longest = broadcast(call.longest);
  for (long k = 0; k < call.columns; k += 16) {
    const int lanes = at_most_sixteen(call.columns - k);
    Floats pace = load_at(steps, call.kind, k, call.columns);
    if (call.slowness) pace = add(pace, load_lanes(call.slowness + k, lanes));
    pace = smaller(larger(softplus(pace), shortest), longest);
    store_lanes(call.paces + token * call.columns + k, pace, lanes);
    if (!call.decay) continue;
    store_lanes(call.decays + token * call.columns + k, multiply(pace, load_lanes(call.decay + k, lanes)), lanes);
  }
}

inline void make_unit_of(const unillm_unit& call, long token, long head) {
  const float* x = call.x + token * call.x_stride + head * call.size;
  float* out = call.out + (token * call.heads + head) * call.size;
  Floats squares = zero();
  for (long k = 0; k < call.size; k += 16) {
    const Floats numbers = load_lanes(x + k, at_most_sixteen(call.size - k));
    squares = multiply_add(numbers, numbers, squares);
  }
  const Floats factor = broadcast(call.factors[head] / std::sqrt(sum_lanes(squares) + call.epsilon));
  for (long k = 0; k < call.size; k += 16) {
    const int lanes = at_most_sixteen(call.size - k);
    store_lanes(out + k, multiply(load_lanes(x + k, lanes), factor), lanes);
  }
}

// One group of a token. `memory`: for its numbers.
inline void leave_group(const unillm_leaving& call, long token, long group, float* memory) {
  const int bytes = number_bytes(call.kind);
  const long begin = group * call.group;
  const float* x = call.x + token * call.columns + begin;
  const float* skipped = call.skipped ? call.skipped + token * call.skipped_stride + begin : nullptr;
  const char* gate = static_cast<const char*>(call.gate) + (token * call.gate_stride + begin) * bytes;
  char* out = static_cast<char*>(call.out) + (token * call.columns + begin) * bytes;
  const auto open = [&](long k) {
    const Floats numbers = load_at(gate, call.kind, k, call.group);
    return multiply(numbers, sigmoid(numbers));
  };
  // The heads' own numbers, spread over their columns.
  for (long k = 0, head = begin / call.head, left = call.head - begin % call.head; skipped && k < call.group; ++k, --left) {
    if (left == 0) ++head, left = call.head;
    memory[k] = call.through[head];
  }
  Floats squares = zero();
  for (long k = 0; k < call.group; k += 16) {
    const int lanes = at_most_sixteen(call.group - k);
    Floats numbers = load_lanes(x + k, lanes);
    if (skipped) numbers = multiply_add(load_lanes(memory + k, lanes), load_lanes(skipped + k, lanes), numbers);
    if (call.gate_first || !call.weight) numbers = multiply(numbers, open(k));
    squares = multiply_add(numbers, numbers, squares);
    store_lanes(memory + k, numbers, lanes);
  }
  const float* weight = call.weight ? call.weight + group * call.weight_stride : nullptr;
  const float mean = sum_lanes(squares) / static_cast<float>(call.group);
  const Floats factor = broadcast(weight ? 1.0f / std::sqrt(mean + call.epsilon) : 1.0f);
  for (long k = 0; k < call.group; k += 16) {
    const int lanes = at_most_sixteen(call.group - k);
    Floats numbers = multiply(load_lanes(memory + k, lanes), factor);
    if (weight) numbers = multiply(numbers, load_lanes(weight + k, lanes));
    if (weight && !call.gate_first) numbers = multiply(numbers, open(k));
    store_at(out, call.kind, k, call.group, numbers);
  }
}

}  // namespace unillm::UNILLM_ISA
