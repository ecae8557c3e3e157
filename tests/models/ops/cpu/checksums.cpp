// What each instruction set makes of the same numbers, as checksums of the results' bits, a line a calculation and set.
//
// Sums have one order in every set, so that those which multiply alike print alike, on whatever machine.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "tensor.h"
#include "unillm_cpu.h"

namespace {

constexpr int kinds[] = {UNILLM_Q4_0, UNILLM_Q4_1, UNILLM_Q5_0, UNILLM_Q5_1, UNILLM_Q8_0,   UNILLM_Q2_K,
                         UNILLM_Q3_K, UNILLM_Q4_K, UNILLM_Q5_K, UNILLM_Q6_K, UNILLM_IQ4_NL, UNILLM_IQ4_XS,
                         UNILLM_I8,   UNILLM_MXFP4, UNILLM_GRID1, UNILLM_GRID2, UNILLM_GRID3_XXS, UNILLM_GRID3_S,
                         UNILLM_E4M3, UNILLM_E5M2, UNILLM_NF4,  UNILLM_FP4,  UNILLM_NVFP4};
constexpr long columns = 512, weight_rows = 37, most_rows = 19;

struct Numbers {
  uint64_t state = 1;
  uint32_t next() { return static_cast<uint32_t>((state = state * 6364136223846793005u + 1442695040888963407u) >> 33); }
  float number() { return static_cast<float>(next() % 20001) / 10000.0f - 1.0f; }
  std::vector<float> numbers(long count) {
    std::vector<float> made(static_cast<size_t>(count));
    for (float& each : made) each = number();
    return made;
  }
};

// bfloat16, cut off.
std::vector<uint16_t> halved(const std::vector<float>& numbers) {
  std::vector<uint16_t> made;
  for (const float each : numbers) {
    uint32_t bits;
    std::memcpy(&bits, &each, 4);
    made.push_back(static_cast<uint16_t>(bits >> 16));
  }
  return made;
}

// Random blocks whose scales are ordinary numbers.
std::vector<uint8_t> blocks_of(int kind, Numbers& from) {
  const unillm::BlockLayout& layout = *unillm::block_layout(kind);
  const int scales = kind < UNILLM_E4M3 ? 0 : kind == UNILLM_NVFP4 ? 2 : 1;
  std::vector<uint8_t> made(static_cast<size_t>(weight_rows * columns / layout.columns * layout.bytes));
  for (uint8_t& byte : made) byte = static_cast<uint8_t>(from.next());
  for (size_t block = 0; block < made.size(); block += static_cast<size_t>(layout.bytes)) {
    for (const int half : layout.halves) {
      if (half < 0) continue;
      const uint16_t scale = static_cast<uint16_t>(0x2800 + from.next() % 0x800);
      std::memcpy(&made[block + static_cast<size_t>(half)], &scale, 2);
    }
    for (int i = 0; i < scales; ++i) {
      const float scale = from.number();
      std::memcpy(&made[block + static_cast<size_t>(4 * i)], &scale, 4);
    }
    if (layout.bytes_field >= 0) made[block + static_cast<size_t>(layout.bytes_field)] = static_cast<uint8_t>(120 + from.next() % 8);
  }
  return made;
}

void print(const std::string& what, const char* set, const std::vector<float>& results) {
  uint64_t sum = 14695981039346656037u;
  for (const float each : results) {
    uint32_t bits;
    std::memcpy(&bits, &each, 4);
    sum = (sum ^ bits) * 1099511628211u;
  }
  std::printf("%s %s %016llx\n", what.c_str(), set, static_cast<unsigned long long>(sum));
}

void packed(unillm_context* context, const char* set) {
  for (const int kind : kinds) {
    Numbers from;
    const std::vector<uint8_t> blocks = blocks_of(kind, from);
    const std::vector<float> scales = from.numbers(weight_rows), x = from.numbers(most_rows * columns);
    std::vector<uint8_t> tiles(static_cast<size_t>(unillm_packed_bytes(kind, weight_rows, columns)));
    const auto row_bytes = static_cast<int64_t>(blocks.size()) / weight_rows;
    unillm_pack(context, kind, blocks.data(), row_bytes, kind == UNILLM_I8 ? scales.data() : nullptr, weight_rows, columns,
                tiles.data());
    for (const long rows : {1L, 3L, most_rows}) {
      for (const int exact : {0, 1}) {
        std::vector<float> y(static_cast<size_t>(rows * weight_rows));
        const unillm_product product = {tiles.data(), kind, 0, weight_rows, y.data(), weight_rows, 0};
        const unillm_multiplication call = {&product, x.data(), columns, rows, columns, 1, UNILLM_F32, exact};
        unillm_matmul(context, &call);
        print("packed " + std::to_string(kind) + " rows " + std::to_string(rows) + (exact ? " exact" : ""), set, y);
      }
    }
  }
}

void dense(unillm_context* context, const char* set) {
  Numbers from;
  const std::vector<float> wide = from.numbers(weight_rows * columns), x = from.numbers(most_rows * columns);
  const std::vector<uint16_t> narrow = halved(wide);
  for (const int kind : {UNILLM_F32, UNILLM_BF16}) {
    const void* weight = kind == UNILLM_F32 ? static_cast<const void*>(wide.data()) : narrow.data();
    for (const long rows : {1L, 3L, most_rows}) {
      std::vector<float> y(static_cast<size_t>(rows * weight_rows));
      const unillm_product product = {weight, kind, 0, weight_rows, y.data(), weight_rows, columns};
      const unillm_multiplication call = {&product, x.data(), columns, rows, columns, 1, UNILLM_F32, 1};
      unillm_dense(context, &call);
      print("dense " + std::to_string(kind) + " rows " + std::to_string(rows), set, y);
    }
  }
}

void between(unillm_context* context, const char* set) {
  Numbers from;
  std::vector<float> x = from.numbers(most_rows * columns), out(x.size());
  const std::vector<float> other = from.numbers(most_rows * columns), weight = from.numbers(columns);
  const unillm_gate gate = {x.data(), other.data(), out.data(), most_rows, columns, columns, columns, columns, UNILLM_F32, UNILLM_SILU};
  unillm_gated(context, &gate);
  print("gated", set, out);
  const unillm_norm norm = {x.data(), other.data(), weight.data(), out.data(), most_rows, columns, columns, columns, columns,
                            UNILLM_F32, 1e-6f, 0.0f};
  unillm_rms_norm(context, &norm);
  print("rms_norm", set, out);
}

void attention(unillm_context* context, const char* set) {
  constexpr int heads = 4, kv_heads = 2, head_dim = 80, page = 16, pages = 4, tokens = 5;
  Numbers from;
  const std::vector<float> queries = from.numbers(tokens * heads * head_dim);
  const std::vector<float> keys = from.numbers(pages * page * kv_heads * head_dim), values = from.numbers(pages * page * kv_heads * head_dim);
  const int32_t table[] = {2, 0, 3, 1}, starts[] = {0, tokens}, lengths[] = {55};
  std::vector<float> out(queries.size());
  unillm_attention call{};
  call.queries = queries.data(), call.out = out.data(), call.keys = keys.data(), call.values = values.data();
  call.table = table, call.starts = starts, call.lengths = lengths;
  call.query_stride = call.out_stride = heads * head_dim;
  for (int64_t* strides : {call.key_strides, call.value_strides}) {
    strides[0] = page * kv_heads * head_dim, strides[1] = kv_heads * head_dim, strides[2] = head_dim;
  }
  call.table_stride = pages, call.sequences = 1, call.page_size = page;
  call.heads = heads, call.kv_heads = kv_heads, call.head_dim = head_dim, call.causal = 1, call.exact = 1, call.scale = 0.1f;
  unillm_attend(context, &call);
  print("attention", set, out);
}

// Two sequences, of one token and of several, that go on from states.
struct Sequences {
  static constexpr long tokens = 7;
  int64_t sources[2] = {0, 1}, targets[2] = {2, 3};
  uint8_t fresh[2] = {0, 0};
  int32_t starts[3] = {0, 1, tokens};
  std::vector<float> rows;
  Sequences(Numbers& from, long numbers) : rows(from.numbers(4 * numbers)) {}
  unillm_states states() {
    return {rows.data(), sources, targets, fresh, starts, static_cast<int64_t>(rows.size() / 4), 2};
  }
};

void scans(unillm_context* context, const char* set) {
  constexpr long heads = 3, width = 21, size = 40, tokens = Sequences::tokens, channels = heads * width;
  Numbers from;
  const std::vector<float> x = from.numbers(tokens * channels), pairs = from.numbers(4 * tokens * heads * size);
  std::vector<float> decay = from.numbers(tokens * channels * size), out(static_cast<size_t>(tokens * channels));
  for (float& each : decay) each = -each * each;
  for (const int replaces : {0, 1}) {
    Sequences sequences(from, channels * size);
    unillm_matrix_scan scan{};
    scan.states = sequences.states();
    const auto vectors = [&](const float* data, long numbers) {
      return unillm_heads{data, heads * numbers, numbers, 1, heads};
    };
    scan.q = vectors(pairs.data(), size), scan.k = vectors(pairs.data() + tokens * heads * size, size);
    scan.v = vectors(x.data(), width), scan.decay = vectors(decay.data(), 1), scan.taken = vectors(x.data(), 1);
    scan.out = out.data(), scan.tokens = tokens, scan.heads = heads, scan.width = width, scan.size = size;
    scan.paces = 1, scan.replaces = replaces;
    unillm_scan_matrix(context, &scan);
    print(replaces ? "replacing matrices" : "matrices", set, out);
    print(replaces ? "replacing states" : "states", set, sequences.rows);
  }
  Sequences kept(from, channels * size);
  const unillm_selective_scan selective = {kept.states(), x.data(), x.data(), decay.data(), pairs.data(), pairs.data() + size,
                                           out.data(), channels, channels, 2 * size, 2 * size, tokens, channels, size};
  unillm_scan_channels(context, &selective);
  print("channels", set, out);
  Sequences inputs(from, channels * 3);
  const unillm_convolution convolution = {inputs.states(), x.data(), pairs.data(), pairs.data(), out.data(),
                                          channels, tokens, channels, 4, UNILLM_F32, 1};
  unillm_convolve(context, &convolution);
  print("convolution", set, out);
  Sequences faded(from, channels);
  const unillm_fading fading = {faded.states(), pairs.data(), x.data(), out.data(), channels, channels, tokens, channels};
  unillm_fade(context, &fading);
  print("fading", set, out);
  Sequences mean(from, 3 * channels);
  const unillm_averaging averaging = {mean.states(), pairs.data(), x.data(), decay.data(), pairs.data(), out.data(),
                                      channels, channels, tokens, channels};
  unillm_average(context, &averaging);
  print("mean", set, out);
}

void mixers(unillm_context* context, const char* set) {
  constexpr long heads = 3, head = 21, tokens = 5, wide = heads * head;
  Numbers from;
  const std::vector<float> x = from.numbers(tokens * wide), gate = from.numbers(tokens * wide), weight = from.numbers(wide);
  std::vector<float> out(x.size()), decays(x.size());
  const unillm_pacing pacing = {x.data(), weight.data(), weight.data(), out.data(), decays.data(), wide, tokens, wide,
                                UNILLM_F32, 0.0f, 1.5f};
  unillm_pace(context, &pacing);
  print("paces", set, out);
  const unillm_unit unit = {x.data(), weight.data(), out.data(), wide, tokens, heads, head, 1e-6f};
  unillm_make_unit(context, &unit);
  print("units", set, out);
  const unillm_leaving leaving = {x.data(), gate.data(), weight.data(), gate.data(), weight.data(), out.data(), wide,
                                  wide, tokens, wide, head, wide, 0, UNILLM_F32, 1, 1e-6f};
  unillm_leave(context, &leaving);
  print("leaving", set, out);
}

}  // namespace

int main() {
  char names[256] = {};
  unillm_instruction_sets(names, sizeof names);
  std::istringstream sets(names);
  for (std::string set; sets >> set;) {
    unillm_context* context = unillm_open(2, set.c_str());
    packed(context, set.c_str());
    dense(context, set.c_str());
    between(context, set.c_str());
    attention(context, set.c_str());
    scans(context, set.c_str());
    mixers(context, set.c_str());
    unillm_close(context);
  }
}
