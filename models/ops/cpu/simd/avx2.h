// Sixteen lanes on AVX2: two registers each. With UNILLM_VNNI the dot product is one instruction (AVX-VNNI).
#pragma once

#include <immintrin.h>

namespace unillm::UNILLM_ISA {

struct Ints {
  __m256i low, high;
};
struct Floats {
  __m256 low, high;
};

constexpr int tiles_at_once = 1;  // a tile is two registers already
constexpr int sums_in_registers = 4;  // of attention's small products

// ---- integers ----
inline __m256i load_eight(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
inline void store_eight(void* to, __m256i a) { _mm256_storeu_si256(static_cast<__m256i*>(to), a); }
inline Ints both(__m256i a) { return {a, a}; }
inline Ints load_ints(const void* from) { return {load_eight(from), load_eight(static_cast<const char*>(from) + 32)}; }
inline void store_ints(void* to, Ints a) {
  store_eight(to, a.low);
  store_eight(static_cast<char*>(to) + 32, a.high);
}
inline Ints zero_ints() { return both(_mm256_setzero_si256()); }
inline Ints every_int(int value) { return both(_mm256_set1_epi32(value)); }
inline Ints every_byte(int value) { return both(_mm256_set1_epi8(static_cast<char>(value))); }
inline Ints broadcast_ints(const void* word) {
  int32_t value;
  std::memcpy(&value, word, 4);
  return every_int(value);
}
inline Ints bits_and(Ints a, Ints b) { return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)}; }
inline Ints bits_or(Ints a, Ints b) { return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)}; }
inline Ints bits_xor(Ints a, Ints b) { return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)}; }
inline __m256i left(__m256i a, int bits) { return reinterpret_cast<__m256i>(reinterpret_cast<__v8si>(a) << bits); }
inline __m256i right(__m256i a, int bits) { return reinterpret_cast<__m256i>(reinterpret_cast<__v8su>(a) >> bits); }
inline __m256i right_signed(__m256i a, int bits) { return reinterpret_cast<__m256i>(reinterpret_cast<__v8si>(a) >> bits); }
inline Ints shift_left(Ints a, int bits) { return {left(a.low, bits), left(a.high, bits)}; }
inline Ints shift_right(Ints a, int bits) { return {right(a.low, bits), right(a.high, bits)}; }
inline Ints shift_right_signed(Ints a, int bits) { return {right_signed(a.low, bits), right_signed(a.high, bits)}; }
inline Ints add_ints(Ints a, Ints b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
inline Ints subtract_ints(Ints a, Ints b) { return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)}; }
inline Ints lane_numbers() {
  return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}
inline Ints bytes_to_ints(const uint8_t* sixteen) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen));
  return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
}
inline Ints lookup(const int8_t* table, Ints nibbles) {
  const __m256i entries = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return {_mm256_shuffle_epi8(entries, nibbles.low), _mm256_shuffle_epi8(entries, nibbles.high)};
}
inline __m256 lookup_eight(const float* table, __m256i lanes) {
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), lanes);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), lanes);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(lanes, 28)));
}
inline Floats lookup_floats(const float* table, Ints lanes) {
  return {lookup_eight(table, lanes.low), lookup_eight(table, lanes.high)};
}

// ---- dot products ----
#if defined(UNILLM_VNNI)
inline __m256i dot_eight(__m256i sum, __m256i weights, __m256i activations) {
  return _mm256_dpbusd_avx_epi32(sum, weights, activations);
}
constexpr int wide_bias = -128;
inline Ints widen(Ints weights) { return bits_xor(weights, every_byte(0x80)); }
inline Ints narrow(Ints weights) { return widen(weights); }
inline __m256i dot_wide_eight(__m256i sum, __m256i weights, __m256i activations) {
  return dot_eight(sum, weights, activations);
}
#else
inline __m256i dot_eight(__m256i sum, __m256i weights, __m256i activations) {
  const __m256i pairs = _mm256_maddubs_epi16(weights, activations);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
constexpr int wide_bias = 0;
inline Ints widen(Ints weights) { return weights; }
inline Ints narrow(Ints weights) { return weights; }
inline __m256i dot_wide_eight(__m256i sum, __m256i weights, __m256i activations) {
  return dot_eight(sum, _mm256_abs_epi8(weights), _mm256_sign_epi8(activations, weights));
}
#endif
inline Ints dot(Ints sum, Ints weights, Ints activations) {
  return {dot_eight(sum.low, weights.low, activations.low), dot_eight(sum.high, weights.high, activations.high)};
}
inline Ints dot_wide(Ints sum, Ints weights, Ints activations) {
  return {dot_wide_eight(sum.low, weights.low, activations.low), dot_wide_eight(sum.high, weights.high, activations.high)};
}

// ---- floats ----
inline Floats load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float* to, Floats a) {
  _mm256_storeu_ps(to, a.low);
  _mm256_storeu_ps(to + 8, a.high);
}
inline Ints first(int lanes) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), index), _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes - 8), index)};
}
inline Floats load_first(const float* from, int lanes) {
  const Ints mask = first(lanes);
  return {_mm256_maskload_ps(from, mask.low), _mm256_maskload_ps(from + 8, mask.high)};
}
inline void store_first(float* to, Floats a, int lanes) {
  const Ints mask = first(lanes);
  _mm256_maskstore_ps(to, mask.low, a.low);
  _mm256_maskstore_ps(to + 8, mask.high, a.high);
}
inline Floats zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Floats broadcast(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline Floats add(Floats a, Floats b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Floats subtract(Floats a, Floats b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Floats multiply(Floats a, Floats b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Floats divide(Floats a, Floats b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Floats larger(Floats a, Floats b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Floats smaller(Floats a, Floats b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline Floats multiply_add(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline Floats as_floats(Ints a) { return {_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)}; }
inline Ints as_ints(Floats a) { return {_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)}; }
inline Floats absolute(Floats a) { return as_floats(bits_and(as_ints(a), every_int(0x7fffffff))); }
inline Floats nearest(Floats a) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.low, mode), _mm256_round_ps(a.high, mode)};
}
inline Floats to_floats(Ints a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
inline Ints to_ints(Floats a) { return {_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)}; }
inline Floats where_less(Ints a, Ints b, Floats yes, Floats no) {
  return {_mm256_blendv_ps(no.low, yes.low, _mm256_castsi256_ps(_mm256_cmpgt_epi32(b.low, a.low))),
          _mm256_blendv_ps(no.high, yes.high, _mm256_castsi256_ps(_mm256_cmpgt_epi32(b.high, a.high)))};
}
inline Floats scale_by_power(Floats a, Floats power) {
  const Ints exponent = shift_left(add_ints(to_ints(larger(power, broadcast(-127.0f))), every_int(127)), 23);
  return multiply(a, as_floats(exponent));
}
inline float sum_lanes(Floats a) {
  const __m256 halves = _mm256_add_ps(a.low, a.high);
  const __m128 quarters = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  const __m128 pairs = _mm_add_ps(quarters, _mm_movehl_ps(quarters, quarters));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}
inline float first_lane(Floats a) { return _mm256_cvtss_f32(a.low); }
inline float largest_lane(Floats a) {
  const __m256 halves = _mm256_max_ps(a.low, a.high);
  const __m128 quarters = _mm_max_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  const __m128 pairs = _mm_max_ps(quarters, _mm_movehl_ps(quarters, quarters));
  return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_movehdup_ps(pairs)));
}
inline void store_low_bytes(int8_t* to, Ints a) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a.low, a.high), 0xd8);
  const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(words, words), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(bytes));
}

// ---- sixteen-bit floats ----
inline __m128i load_words(const uint16_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
inline Floats load_halves(const uint16_t* from) {
  return {_mm256_cvtph_ps(load_words(from)), _mm256_cvtph_ps(load_words(from + 8))};
}
inline void store_halves(uint16_t* to, Floats a) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(a.low, mode));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8), _mm256_cvtps_ph(a.high, mode));
}
inline Floats load_bfloats(const uint16_t* from) {
  const Ints words = {_mm256_cvtepu16_epi32(load_words(from)), _mm256_cvtepu16_epi32(load_words(from + 8))};
  return as_floats(shift_left(words, 16));
}
inline void store_words(uint16_t* to, Ints a) {
  store_eight(to, _mm256_permute4x64_epi64(_mm256_packus_epi32(a.low, a.high), 0xd8));
}

// ---- rows become columns ----
inline void transpose_eight(__m256* rows) {
  __m256 a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}
inline void transpose(Floats* rows) {
  __m256 quarters[2][2][8];  // [rows' half][columns' half]
  for (int i = 0; i < 16; ++i) {
    quarters[i / 8][0][i % 8] = rows[i].low;
    quarters[i / 8][1][i % 8] = rows[i].high;
  }
  for (int half = 0; half < 2; ++half) {
    transpose_eight(quarters[half][0]);
    transpose_eight(quarters[half][1]);
  }
  for (int i = 0; i < 16; ++i) rows[i] = {quarters[0][i / 8][i % 8], quarters[1][i / 8][i % 8]};
}

inline void prefetch(const void* address) { _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0); }

}  // namespace unillm::UNILLM_ISA
