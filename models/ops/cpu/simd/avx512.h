// Sixteen lanes on AVX512: one register each. With UNILLM_VNNI the dot product is one instruction.
//
// Every header in simd/ defines the same two types and the same functions, and nothing else: `Ints` (16 x int32, or 64
// bytes), `Floats` (16 x fp32). The kernels are written once over them.
#pragma once

#include <immintrin.h>

namespace unillm::UNILLM_ISA {

using Ints = __m512i;
using Floats = __m512;

constexpr int tiles_at_once = 2;  // swept together by many rows
constexpr int sums_in_registers = 24;  // of attention's small products

// ---- integers ----
inline Ints load_ints(const void* from) { return _mm512_loadu_si512(from); }
inline void store_ints(void* to, Ints a) { _mm512_storeu_si512(to, a); }
inline Ints zero_ints() { return _mm512_setzero_si512(); }
inline Ints broadcast_ints(const void* word) {
  int32_t value;
  std::memcpy(&value, word, 4);
  return _mm512_set1_epi32(value);
}
inline Ints every_int(int value) { return _mm512_set1_epi32(value); }
inline Ints every_byte(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
inline Ints bits_and(Ints a, Ints b) { return _mm512_and_si512(a, b); }
inline Ints bits_or(Ints a, Ints b) { return _mm512_or_si512(a, b); }
inline Ints bits_xor(Ints a, Ints b) { return _mm512_xor_si512(a, b); }
// Written with the compilers' own vector operators: a constant count becomes an immediate, another one a register.
inline Ints shift_left(Ints a, int bits) { return reinterpret_cast<Ints>(reinterpret_cast<__v16si>(a) << bits); }
inline Ints shift_right(Ints a, int bits) { return reinterpret_cast<Ints>(reinterpret_cast<__v16su>(a) >> bits); }
inline Ints shift_right_signed(Ints a, int bits) { return reinterpret_cast<Ints>(reinterpret_cast<__v16si>(a) >> bits); }
inline Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline Ints subtract_ints(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
inline Ints lane_numbers() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
inline Ints bytes_to_ints(const uint8_t* sixteen) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen)));
}
// Sixteen entries, looked up by every byte's low four bits.
inline Ints lookup(const int8_t* table, Ints nibbles) {
  const Ints entries = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return _mm512_shuffle_epi8(entries, nibbles);
}

// Sixteen floats, chosen by the low four bits of every lane.
inline Floats lookup_floats(const float* table, Ints lanes) { return _mm512_permutexvar_ps(lanes, _mm512_loadu_ps(table)); }

// ---- dot products: every lane adds the products of its four bytes ----
#if defined(UNILLM_VNNI)
inline Ints dot(Ints sum, Ints weights, Ints activations) { return _mm512_dpbusd_epi32(sum, weights, activations); }
// Signed bytes become unsigned ones 128 higher; `wide_bias` times the activations' sum takes that out again.
constexpr int wide_bias = -128;
inline Ints widen(Ints weights) { return bits_xor(weights, every_byte(0x80)); }
inline Ints narrow(Ints weights) { return widen(weights); }
inline Ints dot_wide(Ints sum, Ints weights, Ints activations) { return dot(sum, weights, activations); }
#else
inline Ints dot(Ints sum, Ints weights, Ints activations) {
  const Ints pairs = _mm512_maddubs_epi16(weights, activations);
  return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
constexpr int wide_bias = 0;
inline Ints widen(Ints weights) { return weights; }
inline Ints narrow(Ints weights) { return weights; }
inline Ints dot_wide(Ints sum, Ints weights, Ints activations) {
  const Ints signs = _mm512_mask_sub_epi8(activations, _mm512_movepi8_mask(weights), zero_ints(), activations);
  return dot(sum, _mm512_abs_epi8(weights), signs);
}
#endif

// ---- floats ----
#if defined(UNILLM_BFLOAT)
// Every lane holds two bfloat16.
inline Floats add_pairs(Floats sum, Floats a, Floats b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
// Lane i of the result is 16 bits of each, number i of the first or of the last sixteen; `a` below `b`.
alignas(64) constexpr uint16_t paired_words[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                   8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
inline Ints pair_first_words(Ints a, Ints b) { return _mm512_permutex2var_epi16(a, load_ints(paired_words), b); }
inline Ints pair_last_words(Ints a, Ints b) {
  return _mm512_permutex2var_epi16(a, _mm512_add_epi16(load_ints(paired_words), _mm512_set1_epi16(16)), b);
}
#endif
inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Floats a) { _mm512_storeu_ps(to, a); }
inline __mmask16 first(int lanes) { return static_cast<__mmask16>((1u << lanes) - 1); }
inline Floats load_first(const float* from, int lanes) { return _mm512_maskz_loadu_ps(first(lanes), from); }
inline void store_first(float* to, Floats a, int lanes) { _mm512_mask_storeu_ps(to, first(lanes), a); }
inline Floats zero() { return _mm512_setzero_ps(); }
inline Floats broadcast(float value) { return _mm512_set1_ps(value); }
inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
inline Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
inline Floats where_less(Ints a, Ints b, Floats yes, Floats no) {
  return _mm512_mask_blend_ps(_mm512_cmplt_epi32_mask(a, b), no, yes);
}
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats absolute(Floats a) { return _mm512_abs_ps(a); }
inline Floats nearest(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
inline Ints to_ints(Floats a) { return _mm512_cvtps_epi32(a); }
inline Floats as_floats(Ints a) { return _mm512_castsi512_ps(a); }
inline Ints as_ints(Floats a) { return _mm512_castps_si512(a); }
// 2^a for whole numbers, down to zero.
inline Floats scale_by_power(Floats a, Floats power) { return _mm512_scalef_ps(a, power); }
inline float sum_lanes(Floats a) {
  const __m256 halves = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 quarters = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  const __m128 pairs = _mm_add_ps(quarters, _mm_movehl_ps(quarters, quarters));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)));
}
inline float first_lane(Floats a) { return _mm512_cvtss_f32(a); }
inline float largest_lane(Floats a) { return _mm512_reduce_max_ps(a); }
// The low byte of every lane.
inline void store_low_bytes(int8_t* to, Ints a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(a));
}

// ---- sixteen-bit floats ----
inline Floats load_halves(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline void store_halves(uint16_t* to, Floats a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline Floats load_bfloats(const uint16_t* from) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return as_floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}
inline void store_words(uint16_t* to, Ints a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(a));
}

// Rows become columns.
inline void transpose(Floats* rows) {
  Ints a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(as_ints(rows[i]), as_ints(rows[i + 1]));
    a[i + 1] = _mm512_unpackhi_epi32(as_ints(rows[i]), as_ints(rows[i + 1]));
  }
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88);
    a[i + 4] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd);
    a[i + 8] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88);
    a[i + 12] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; ++i) {
    rows[i] = as_floats(_mm512_shuffle_i32x4(a[i], a[i + 8], 0x88));
    rows[i + 8] = as_floats(_mm512_shuffle_i32x4(a[i], a[i + 8], 0xdd));
  }
}

inline void prefetch(const void* address) { _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0); }

}  // namespace unillm::UNILLM_ISA
