// Loops that do one thing as fast as it goes.

namespace unillm::UNILLM_ISA {

// Reads `bytes`, a multiple of 256, and returns something that depends on all of them.
inline long read_through(const uint8_t* from, long bytes) {
  Ints sums[4] = {zero_ints(), zero_ints(), zero_ints(), zero_ints()};
  for (long at = 0; at < bytes; at += 256) {
    for (int i = 0; i < 4; ++i) {
      prefetch(from + at + 4096 + 64 * i);
      sums[i] = bits_or(sums[i], load_ints(from + at + 64 * i));
    }
  }
  alignas(64) int32_t lanes[16];
  store_ints(reinterpret_cast<uint8_t*>(lanes), bits_or(bits_or(sums[0], sums[1]), bits_or(sums[2], sums[3])));
  long sum = 0;
  for (const int32_t lane : lanes) sum += lane;
  return sum;
}

// Dot products of bytes that stay in registers; the number of multiplications and additions is returned.
inline long dot_through(long rounds) {
  constexpr int chains = 12;
  alignas(64) int32_t seed[16];
  for (int i = 0; i < 16; ++i) seed[i] = static_cast<int32_t>(rounds) + i;
  const Ints weights = bits_and(load_ints(reinterpret_cast<const uint8_t*>(seed)), every_byte(15));
  const Ints activations = bits_and(shift_right(load_ints(reinterpret_cast<const uint8_t*>(seed)), 4), every_byte(15));
  Ints sums[chains];
  for (Ints& sum : sums) sum = zero_ints();
  for (long round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sums[i] = dot(sums[i], weights, activations);
  }
  Ints total = zero_ints();
  for (const Ints& sum : sums) total = add_ints(total, sum);
  store_ints(reinterpret_cast<uint8_t*>(seed), total);
  volatile int32_t kept = seed[0];  // else nothing of this would be computed
  (void)kept;
  return rounds * chains * 16 * 4 * 2;
}

}  // namespace unillm::UNILLM_ISA
