// Sixteen lanes in the vectors of GCC and clang: whatever the machine has, the compiler cuts them to.
#pragma once

namespace unillm::UNILLM_ISA {

typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint32_t Unsigned __attribute__((vector_size(64)));
typedef int16_t Shorts __attribute__((vector_size(64)));
typedef uint16_t Words __attribute__((vector_size(32)));
typedef uint8_t SixteenBytes __attribute__((vector_size(16)));
typedef float Floats __attribute__((vector_size(64)));

constexpr int tiles_at_once = 1;
constexpr int sums_in_registers = 4;  // of attention's small products

template <class VECTOR>
inline VECTOR read(const void* from) {
  VECTOR result;
  std::memcpy(&result, from, sizeof result);
  return result;
}
template <class VECTOR>
inline void write(void* to, const VECTOR& a) {
  std::memcpy(to, &a, sizeof a);
}

// ---- integers ----
inline Ints load_ints(const void* from) { return read<Ints>(from); }
inline void store_ints(void* to, Ints a) { write(to, a); }
inline Ints every_int(int value) { return Ints{} + value; }
inline Ints zero_ints() { return Ints{}; }
inline Ints every_byte(int value) { return every_int(static_cast<int32_t>((static_cast<uint32_t>(value) & 255u) * 0x01010101u)); }
inline Ints broadcast_ints(const void* word) { return every_int(read<int32_t>(word)); }
inline Ints bits_and(Ints a, Ints b) { return a & b; }
inline Ints bits_or(Ints a, Ints b) { return a | b; }
inline Ints bits_xor(Ints a, Ints b) { return a ^ b; }
inline Ints shift_left(Ints a, int bits) { return reinterpret_cast<Ints>(reinterpret_cast<Unsigned>(a) << static_cast<unsigned>(bits)); }
inline Ints shift_right(Ints a, int bits) { return reinterpret_cast<Ints>(reinterpret_cast<Unsigned>(a) >> static_cast<unsigned>(bits)); }
inline Ints shift_right_signed(Ints a, int bits) { return a >> bits; }
// Sums wrap around.
inline Ints add_ints(Ints a, Ints b) { return reinterpret_cast<Ints>(reinterpret_cast<Unsigned>(a) + reinterpret_cast<Unsigned>(b)); }
inline Ints subtract_ints(Ints a, Ints b) { return reinterpret_cast<Ints>(reinterpret_cast<Unsigned>(a) - reinterpret_cast<Unsigned>(b)); }
inline Ints lane_numbers() { return Ints{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
inline Ints bytes_to_ints(const uint8_t* sixteen) { return __builtin_convertvector(read<SixteenBytes>(sixteen), Ints); }
inline Ints lookup(const int8_t* table, Ints nibbles) {
  uint8_t bytes[64];
  write(bytes, nibbles);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(table[byte & 15]);
  return read<Ints>(bytes);
}
inline Floats lookup_floats(const float* table, Ints lanes) {
  Floats result;
  for (int i = 0; i < 16; ++i) result[i] = table[lanes[i] & 15];
  return result;
}

// ---- dot products: two products of bytes fit in sixteen bits ----
constexpr int wide_bias = 0;
inline Ints widen(Ints weights) { return weights; }
inline Ints narrow(Ints weights) { return weights; }
#if defined(UNILLM_NEON_DOT)
inline Ints dot(Ints sum, Ints weights, Ints activations) {
  int32x4_t sums[4];
  int8x16_t w[4], x[4];
  std::memcpy(sums, &sum, sizeof sums);
  std::memcpy(w, &weights, sizeof w);
  std::memcpy(x, &activations, sizeof x);
  for (int i = 0; i < 4; ++i) sums[i] = vdotq_s32(sums[i], w[i], x[i]);
  return read<Ints>(sums);
}
#else
inline Ints dot(Ints sum, Ints weights, Ints activations) {
  const Shorts w = reinterpret_cast<Shorts>(weights), x = reinterpret_cast<Shorts>(activations);
  const Shorts even = ((w << 8) >> 8) * ((x << 8) >> 8), odd = (w >> 8) * (x >> 8);
  const Ints pairs = reinterpret_cast<Ints>(even + odd);
  return sum + (shift_left(pairs, 16) >> 16) + (pairs >> 16);
}
#endif
inline Ints dot_wide(Ints sum, Ints weights, Ints activations) { return dot(sum, weights, activations); }

// ---- floats ----
inline Floats load(const float* from) { return read<Floats>(from); }
inline void store(float* to, Floats a) { write(to, a); }
inline Floats load_first(const float* from, int lanes) {
  Floats result = {};
  std::memcpy(&result, from, static_cast<size_t>(lanes) * 4);
  return result;
}
inline void store_first(float* to, Floats a, int lanes) { std::memcpy(to, &a, static_cast<size_t>(lanes) * 4); }
inline Floats zero() { return Floats{}; }
inline Floats broadcast(float value) { return Floats{} + value; }
inline Floats add(Floats a, Floats b) { return a + b; }
inline Floats subtract(Floats a, Floats b) { return a - b; }
inline Floats multiply(Floats a, Floats b) { return a * b; }
inline Floats divide(Floats a, Floats b) { return a / b; }
inline Floats as_floats(Ints a) { return reinterpret_cast<Floats>(a); }
inline Ints as_ints(Floats a) { return reinterpret_cast<Ints>(a); }
inline Floats choose(Ints mask, Floats yes, Floats no) { return as_floats((mask & as_ints(yes)) | (~mask & as_ints(no))); }
inline Floats larger(Floats a, Floats b) { return choose(a > b, a, b); }
inline Floats smaller(Floats a, Floats b) { return choose(a < b, a, b); }
inline Floats where_less(Ints a, Ints b, Floats yes, Floats no) { return choose(a < b, yes, no); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats absolute(Floats a) { return as_floats(as_ints(a) & 0x7fffffff); }
// Adding and taking away 1.5 * 2^23 leaves the nearest whole number, ties to even, for all below 2^22.
inline Floats nearest(Floats a) {
  const Floats rounded = (a + 12582912.0f) - 12582912.0f;
  return choose(absolute(a) < broadcast(4194304.0f), rounded, a);
}
inline Floats to_floats(Ints a) { return __builtin_convertvector(a, Floats); }
inline Ints to_ints(Floats a) { return __builtin_convertvector(nearest(a), Ints); }
inline Floats scale_by_power(Floats a, Floats power) {
  const Ints exponent = shift_left(to_ints(larger(power, broadcast(-127.0f))) + 127, 23);
  return a * as_floats(exponent);
}
inline float sum_lanes(Floats a) {
  float lanes[16];
  store(lanes, a);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}
inline float first_lane(Floats a) { return a[0]; }
inline float largest_lane(Floats a) {
  float lanes[16], largest = a[0];
  store(lanes, a);
  for (const float lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}
inline void store_low_bytes(int8_t* to, Ints a) { write(to, __builtin_convertvector(a, SixteenBytes)); }

// ---- sixteen-bit floats ----
// The exponent is re-biased by a product, which makes subnormal numbers right too.
inline Floats load_halves(const uint16_t* from) {
  const Ints words = __builtin_convertvector(read<Words>(from), Ints), rest = words & 0x7fff;
  const Ints finite = as_ints(as_floats(rest << 13) * as_floats(every_int(0x77800000)));
  const Ints other = (rest << 13) | 0x7f800000;
  return as_floats(shift_left(words & 0x8000, 16) | as_ints(choose(rest < 0x7c00, as_floats(finite), as_floats(other))));
}
inline void store_words(uint16_t* to, Ints a) { write(to, __builtin_convertvector(a, Words)); }
inline void store_halves(uint16_t* to, Floats a) {
  const Ints bits = as_ints(a), rest = bits & 0x7fffffff;
  // A subnormal half: the last bit of 0.5 + x is worth 2^-24, and the addition rounds to it.
  const Ints tiny = as_ints(as_floats(rest) + 0.5f) - 0x3f000000;
  const Ints normal = ((rest + 0xfff + ((rest >> 13) & 1)) >> 13) - 0x1c000;
  Floats half = choose(rest < 0x38800000, as_floats(tiny), as_floats(normal));
  half = choose(rest < 0x477ff000, half, as_floats(every_int(0x7c00)));
  half = choose(rest > 0x7f800000, as_floats(every_int(0x7e00)), half);
  store_words(to, (shift_right(bits, 16) & 0x8000) | as_ints(half));
}
inline Floats load_bfloats(const uint16_t* from) {
  return as_floats(shift_left(__builtin_convertvector(read<Words>(from), Ints), 16));
}

inline void transpose(Floats* rows) {
  float square[16][16];
  std::memcpy(square, rows, sizeof square);
  for (int i = 0; i < 16; ++i) {
    float column[16];
    for (int j = 0; j < 16; ++j) column[j] = square[j][i];
    rows[i] = load(column);
  }
}

inline void prefetch(const void* address) { __builtin_prefetch(address); }

}  // namespace unillm::UNILLM_ISA
