// Sixteen lanes in plain C++: loops of a known length, for whatever the compiler makes of them.
#pragma once

namespace unillm::UNILLM_ISA {

struct Ints {
  int32_t lane[16];
};
struct Floats {
  float lane[16];
};

constexpr int tiles_at_once = 1;
constexpr int sums_in_registers = 4;  // of attention's small products

template <class FUNCTION>
inline Ints each_int(FUNCTION function) {
  Ints result;
  for (int i = 0; i < 16; ++i) result.lane[i] = function(i);
  return result;
}
template <class FUNCTION>
inline Floats each_float(FUNCTION function) {
  Floats result;
  for (int i = 0; i < 16; ++i) result.lane[i] = function(i);
  return result;
}
inline int32_t bits_of(float number) {
  int32_t bits;
  std::memcpy(&bits, &number, 4);
  return bits;
}
inline float float_of(uint32_t bits) {
  float number;
  std::memcpy(&number, &bits, 4);
  return number;
}
inline uint32_t plain(int32_t value) { return static_cast<uint32_t>(value); }
inline int32_t whole(uint32_t value) { return static_cast<int32_t>(value); }

// ---- integers ----
inline Ints load_ints(const void* from) {
  Ints result;
  std::memcpy(result.lane, from, 64);
  return result;
}
inline void store_ints(void* to, Ints a) { std::memcpy(to, a.lane, 64); }
inline Ints every_int(int value) {
  return each_int([&](int) { return value; });
}
inline Ints zero_ints() { return every_int(0); }
inline Ints every_byte(int value) { return every_int(whole((plain(value) & 255u) * 0x01010101u)); }
inline Ints broadcast_ints(const void* word) {
  int32_t value;
  std::memcpy(&value, word, 4);
  return every_int(value);
}
inline Ints bits_and(Ints a, Ints b) {
  return each_int([&](int i) { return a.lane[i] & b.lane[i]; });
}
inline Ints bits_or(Ints a, Ints b) {
  return each_int([&](int i) { return a.lane[i] | b.lane[i]; });
}
inline Ints bits_xor(Ints a, Ints b) {
  return each_int([&](int i) { return a.lane[i] ^ b.lane[i]; });
}
inline Ints shift_left(Ints a, int bits) {
  return each_int([&](int i) { return whole(plain(a.lane[i]) << bits); });
}
inline Ints shift_right(Ints a, int bits) {
  return each_int([&](int i) { return whole(plain(a.lane[i]) >> bits); });
}
inline Ints shift_right_signed(Ints a, int bits) {
  return each_int([&](int i) { return a.lane[i] >> bits; });
}
inline Ints add_ints(Ints a, Ints b) {
  return each_int([&](int i) { return whole(plain(a.lane[i]) + plain(b.lane[i])); });
}
inline Ints subtract_ints(Ints a, Ints b) {
  return each_int([&](int i) { return whole(plain(a.lane[i]) - plain(b.lane[i])); });
}
inline Ints lane_numbers() {
  return each_int([](int i) { return i; });
}
inline Ints bytes_to_ints(const uint8_t* sixteen) {
  return each_int([&](int i) { return static_cast<int32_t>(sixteen[i]); });
}
inline Ints lookup(const int8_t* table, Ints nibbles) {
  Ints result;
  uint8_t bytes[64];
  std::memcpy(bytes, nibbles.lane, 64);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(table[byte & 15]);
  std::memcpy(result.lane, bytes, 64);
  return result;
}
inline Floats lookup_floats(const float* table, Ints lanes) {
  return each_float([&](int i) { return table[lanes.lane[i] & 15]; });
}

// ---- dot products ----
constexpr int wide_bias = 0;
inline Ints widen(Ints weights) { return weights; }
inline Ints narrow(Ints weights) { return weights; }
// Weights below 128 are the same numbers signed and unsigned.
inline Ints dot(Ints sum, Ints weights, Ints activations) {
  int8_t w[64], x[64];
  std::memcpy(w, weights.lane, 64);
  std::memcpy(x, activations.lane, 64);
  return each_int([&](int i) {
    return sum.lane[i] + w[4 * i] * x[4 * i] + w[4 * i + 1] * x[4 * i + 1] + w[4 * i + 2] * x[4 * i + 2] +
           w[4 * i + 3] * x[4 * i + 3];
  });
}
inline Ints dot_wide(Ints sum, Ints weights, Ints activations) { return dot(sum, weights, activations); }

// ---- floats ----
inline Floats load(const float* from) {
  Floats result;
  std::memcpy(result.lane, from, 64);
  return result;
}
inline void store(float* to, Floats a) { std::memcpy(to, a.lane, 64); }
inline Floats load_first(const float* from, int lanes) {
  return each_float([&](int i) { return i < lanes ? from[i] : 0.0f; });
}
inline void store_first(float* to, Floats a, int lanes) { std::memcpy(to, a.lane, static_cast<size_t>(lanes) * 4); }
inline Floats broadcast(float value) {
  return each_float([&](int) { return value; });
}
inline Floats zero() { return broadcast(0.0f); }
inline Floats add(Floats a, Floats b) {
  return each_float([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline Floats subtract(Floats a, Floats b) {
  return each_float([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline Floats multiply(Floats a, Floats b) {
  return each_float([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline Floats divide(Floats a, Floats b) {
  return each_float([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline Floats larger(Floats a, Floats b) {
  return each_float([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Floats smaller(Floats a, Floats b) {
  return each_float([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Floats multiply_add(Floats a, Floats b, Floats c) {
  return each_float([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
inline Floats as_floats(Ints a) {
  return each_float([&](int i) { return float_of(plain(a.lane[i])); });
}
inline Ints as_ints(Floats a) {
  return each_int([&](int i) { return bits_of(a.lane[i]); });
}
inline Floats absolute(Floats a) {
  return each_float([&](int i) { return std::fabs(a.lane[i]); });
}
// Adding and taking away 1.5 * 2^23 leaves the nearest whole number, ties to even, for all below 2^22.
inline Floats nearest(Floats a) {
  return each_float([&](int i) {
    const float shifted = a.lane[i] + 12582912.0f;
    return std::fabs(a.lane[i]) < 4194304.0f ? shifted - 12582912.0f : a.lane[i];
  });
}
inline Floats to_floats(Ints a) {
  return each_float([&](int i) { return static_cast<float>(a.lane[i]); });
}
inline Ints to_ints(Floats a) {
  const Floats rounded = nearest(a);
  return each_int([&](int i) { return static_cast<int32_t>(rounded.lane[i]); });
}
inline Floats where_less(Ints a, Ints b, Floats yes, Floats no) {
  return each_float([&](int i) { return a.lane[i] < b.lane[i] ? yes.lane[i] : no.lane[i]; });
}
inline Floats scale_by_power(Floats a, Floats power) {
  const Ints exponent = shift_left(add_ints(to_ints(larger(power, broadcast(-127.0f))), every_int(127)), 23);
  return multiply(a, as_floats(exponent));
}
inline float sum_lanes(Floats a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.lane[i] += a.lane[i + width];
  }
  return a.lane[0];
}
inline float first_lane(Floats a) { return a.lane[0]; }
inline float largest_lane(Floats a) {
  float largest = a.lane[0];
  for (const float lane : a.lane) largest = lane > largest ? lane : largest;
  return largest;
}
inline void store_low_bytes(int8_t* to, Ints a) {
  for (int i = 0; i < 16; ++i) to[i] = static_cast<int8_t>(a.lane[i]);
}

// ---- sixteen-bit floats ----
inline float half_to_float(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
  if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  // The exponent is re-biased by a product, which makes subnormal numbers right too.
  return float_of(sign | bits_of(float_of(rest << 13) * float_of(0x77800000u)));
}
inline uint16_t float_to_half(float number) {
  const uint32_t bits = plain(bits_of(number)), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (rest >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  // A subnormal half: the last bit of 0.5 + x is worth 2^-24, and the addition rounds to it.
  if (rest < 0x38800000u) return static_cast<uint16_t>(sign | (plain(bits_of(float_of(rest) + 0.5f)) - 0x3f000000u));
  return static_cast<uint16_t>(sign | (((rest + 0xfffu + (rest >> 13 & 1u)) >> 13) - 0x1c000u));
}
inline Floats load_halves(const uint16_t* from) {
  return each_float([&](int i) { return half_to_float(from[i]); });
}
inline void store_halves(uint16_t* to, Floats a) {
  for (int i = 0; i < 16; ++i) to[i] = float_to_half(a.lane[i]);
}
inline Floats load_bfloats(const uint16_t* from) {
  return each_float([&](int i) { return float_of(static_cast<uint32_t>(from[i]) << 16); });
}
inline void store_words(uint16_t* to, Ints a) {
  for (int i = 0; i < 16; ++i) to[i] = static_cast<uint16_t>(a.lane[i]);
}

inline void transpose(Floats* rows) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < i; ++j) {
      const float kept = rows[i].lane[j];
      rows[i].lane[j] = rows[j].lane[i];
      rows[j].lane[i] = kept;
    }
  }
}

inline void prefetch(const void*) {}

}  // namespace unillm::UNILLM_ISA
