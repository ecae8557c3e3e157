// From a file's blocks to tiles of 16 rows: the same bytes, interleaved by row.
#include <algorithm>
#include <cstring>

#include "context.h"

namespace unillm {
namespace {

struct NamedLayout {
  int kind;
  BlockLayout layout;
};

//                         columns bytes  halves     words                             high  byte head
constexpr NamedLayout layouts[] = {
    {UNILLM_Q4_0, {32, 18, {0, -1}, {{2, 4}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_Q4_1, {32, 20, {0, 2}, {{4, 4}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_Q5_0, {32, 22, {0, -1}, {{6, 4}, {0, 0}, {0, 0}}, 2, -1, 0}},
    {UNILLM_Q5_1, {32, 24, {0, 2}, {{8, 4}, {0, 0}, {0, 0}}, 4, -1, 0}},
    {UNILLM_Q8_0, {32, 34, {0, -1}, {{2, 8}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_Q2_K, {256, 84, {80, 82}, {{0, 4}, {16, 16}, {0, 0}}, -1, -1, 0}},
    {UNILLM_Q3_K, {256, 110, {108, -1}, {{96, 3}, {0, 8}, {32, 16}}, -1, -1, 0}},
    {UNILLM_Q4_K, {256, 144, {0, 2}, {{4, 3}, {16, 32}, {0, 0}}, -1, -1, 0}},
    {UNILLM_Q5_K, {256, 176, {0, 2}, {{4, 3}, {16, 8}, {48, 32}}, -1, -1, 0}},
    {UNILLM_Q6_K, {256, 210, {208, -1}, {{192, 4}, {0, 32}, {128, 16}}, -1, -1, 0}},
    {UNILLM_IQ4_NL, {32, 18, {0, -1}, {{2, 4}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_IQ4_XS, {256, 136, {0, 2}, {{4, 1}, {8, 32}, {0, 0}}, -1, -1, 0}},
    {UNILLM_GRID1, {256, 138, {0, -1}, {{2, 2}, {10, 32}, {0, 0}}, -1, -1, 0}},
    {UNILLM_GRID2, {256, 138, {0, -1}, {{2, 2}, {10, 32}, {0, 0}}, -1, -1, 0}},
    {UNILLM_GRID3_XXS, {256, 138, {0, -1}, {{2, 2}, {10, 32}, {0, 0}}, -1, -1, 0}},
    {UNILLM_GRID3_S, {256, 138, {0, -1}, {{2, 2}, {10, 32}, {0, 0}}, -1, -1, 0}},
    {UNILLM_E4M3, {128, 132, {-1, -1}, {{0, 33}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_E5M2, {128, 132, {-1, -1}, {{0, 33}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_NF4, {64, 36, {-1, -1}, {{0, 9}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_FP4, {64, 36, {-1, -1}, {{0, 9}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_NVFP4, {32, 24, {-1, -1}, {{0, 6}, {0, 0}, {0, 0}}, -1, -1, 0}},
    {UNILLM_I8, {32, 32, {-1, -1}, {{0, 8}, {0, 0}, {0, 0}}, -1, -1, 64}},
    {UNILLM_MXFP4, {32, 17, {-1, -1}, {{1, 4}, {0, 0}, {0, 0}}, -1, 0, 0}},
};

long tiles_of(long rows) { return (rows + tile_rows - 1) / tile_rows; }
long blocks_of(long columns, const BlockLayout& layout) { return (columns + layout.columns - 1) / layout.columns; }

// Bit 4 g + e of the field becomes bit g of byte e.
uint32_t spread_bits(uint32_t field) {
  uint32_t spread = 0;
  for (int e = 0; e < 4; ++e) {
    for (int g = 0; g < 8; ++g) spread |= (field >> (4 * g + e) & 1u) << (8 * e + g);
  }
  return spread;
}

// The blocks of up to 16 rows at one place of the row; rows past the last are zeros.
struct TileWriter {
  const BlockLayout& layout;
  const uint8_t* blocks[tile_rows];
  int rows;
  uint8_t* to;

  void halves() {
    for (const int offset : layout.halves) {
      if (offset < 0) continue;
      for (int row = 0; row < rows; ++row) std::memcpy(to + 2 * row, blocks[row] + offset, 2);
      to += 2 * tile_rows;
    }
  }

  void byte_scales() {
    if (layout.bytes_field < 0) return;
    for (int row = 0; row < rows; ++row) to[row] = blocks[row][layout.bytes_field];
    to += tile_rows;
  }

  void words() {
    for (const auto& run : layout.words) {
      for (int word = 0; word < run[1]; ++word, to += 4 * tile_rows) {
        for (int row = 0; row < rows; ++row) std::memcpy(to + 4 * row, blocks[row] + run[0] + 4 * word, 4);
      }
    }
  }

  void fifth_bits() {
    if (layout.high_bits < 0) return;
    for (int row = 0; row < rows; ++row) {
      uint32_t field;
      std::memcpy(&field, blocks[row] + layout.high_bits, 4);
      field = spread_bits(field);
      std::memcpy(to + 4 * row, &field, 4);
    }
    to += 4 * tile_rows;
  }

  void write() {
    if (rows < tile_rows) std::memset(to, 0, static_cast<size_t>(layout.tile_bytes()));
    halves();
    byte_scales();
    words();
    fifth_bits();
  }
};

struct Source {
  const uint8_t* blocks;
  long row_bytes, rows, columns;
};

// An int8 row is no whole number of blocks: its last one is copied and filled up with zeros.
void pack_tile(const BlockLayout& layout, const Source& source, long tile, uint8_t* to) {
  const int rows = static_cast<int>(std::min<long>(tile_rows, source.rows - tile * tile_rows));
  uint8_t tails[tile_rows][block_columns] = {};
  const long blocks = blocks_of(source.columns, layout);
  for (long b = 0; b < blocks; ++b, to += layout.tile_bytes()) {
    TileWriter writer{layout, {}, rows, to};
    const long left = source.columns - b * layout.columns;
    for (int row = 0; row < rows; ++row) {
      writer.blocks[row] = source.blocks + (tile * tile_rows + row) * source.row_bytes + b * layout.bytes;
      if (left < layout.columns) {
        std::memcpy(tails[row], writer.blocks[row], static_cast<size_t>(left));
        writer.blocks[row] = tails[row];
      }
    }
    writer.write();
  }
}

}  // namespace

const BlockLayout* block_layout(int kind) {
  for (const NamedLayout& named : layouts) {
    if (named.kind == kind) return &named.layout;
  }
  return nullptr;
}

}  // namespace unillm

int64_t unillm_packed_bytes(int kind, int64_t rows, int64_t columns) {
  const unillm::BlockLayout* layout = unillm::block_layout(kind);
  if (!layout || rows < 1 || columns < 1 || (kind != UNILLM_I8 && columns % layout->columns)) return 0;
  const long blocks = unillm::blocks_of(static_cast<long>(columns), *layout);
  return unillm::tiles_of(static_cast<long>(rows)) * (layout->head_bytes + blocks * layout->tile_bytes());
}

void unillm_pack(unillm_context* context, int kind, const void* blocks, int64_t row_bytes, const float* scales, int64_t rows,
                 int64_t columns, void* packed) {
  using namespace unillm;
  const std::lock_guard<std::mutex> lock(context->mutex);
  const BlockLayout& layout = *block_layout(kind);
  const Source source{static_cast<const uint8_t*>(blocks), static_cast<long>(row_bytes), static_cast<long>(rows),
                      static_cast<long>(columns)};
  const long stride = layout.head_bytes + blocks_of(source.columns, layout) * layout.tile_bytes();
  auto work = [&](long tile, int) {
    uint8_t* to = static_cast<uint8_t*>(packed) + tile * stride;
    if (layout.head_bytes) {
      const long first = tile * tile_rows, last = std::min(source.rows, first + tile_rows);
      std::memset(to, 0, static_cast<size_t>(layout.head_bytes));
      std::memcpy(to, scales + first, static_cast<size_t>(last - first) * sizeof(float));
    }
    pack_tile(layout, source, tile, to + layout.head_bytes);
  };
  context->pool.run(tiles_of(source.rows), work);
}
