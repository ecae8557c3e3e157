// Sixteen numbers of a tensor, whatever they are stored as.

namespace unillm::UNILLM_ISA {

inline Floats load_signed_bytes(const uint8_t* sixteen) {
  return to_floats(shift_right_signed(shift_left(bytes_to_ints(sixteen), 24), 24));
}

inline Floats load_numbers(const void* from, int kind, long index) {
  if (kind == UNILLM_F32) return load(static_cast<const float*>(from) + index);
  if (kind == UNILLM_I8) return load_signed_bytes(static_cast<const uint8_t*>(from) + index);
  const uint16_t* words = static_cast<const uint16_t*>(from) + index;
  return kind == UNILLM_F16 ? load_halves(words) : load_bfloats(words);
}

// To the nearest, ties to even; what is not a number stays so.
inline Ints round_to_bfloat(Floats numbers) {
  const Ints bits = as_ints(numbers);
  const Ints odd = bits_and(shift_right(bits, 16), every_int(1));
  return shift_right(add_ints(add_ints(bits, every_int(0x7fff)), odd), 16);
}

inline void store_numbers(void* to, int kind, long index, Floats numbers) {
  if (kind == UNILLM_F32) return store(static_cast<float*>(to) + index, numbers);
  if (kind == UNILLM_I8) return store_low_bytes(static_cast<int8_t*>(to) + index, to_ints(numbers));
  uint16_t* words = static_cast<uint16_t*>(to) + index;
  if (kind == UNILLM_F16) return store_halves(words, numbers);
  store_words(words, round_to_bfloat(numbers));
}

inline int number_bytes(int kind) { return kind == UNILLM_F32 ? 4 : kind == UNILLM_I8 ? 1 : 2; }

// The first `lanes` of sixteen numbers, zeros behind them.
inline Floats load_first_numbers(const void* from, int kind, long index, int lanes) {
  alignas(64) uint8_t padded[64] = {};
  const int bytes = number_bytes(kind);
  std::memcpy(padded, static_cast<const uint8_t*>(from) + index * bytes, static_cast<size_t>(lanes) * bytes);
  return load_numbers(padded, kind, 0);
}

}  // namespace unillm::UNILLM_ISA
