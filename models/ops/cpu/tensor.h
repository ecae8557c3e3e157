// The words that every part of the library shares: kinds of stored blocks, kinds of numbers, and their sizes.
#pragma once

#include <cstdint>

#include "unillm_cpu.h"

namespace unillm {

constexpr int tile_rows = 16;      // rows of a weight that one tile interleaves
constexpr int block_columns = 32;  // columns that share one scale of the activations

// One stored block of one row: how many columns it covers, and which of its bytes a tile keeps. A tile of 16 rows is the
// 16-bit fields of all rows, then its words, each interleaved by row.
struct BlockLayout {
  int columns;
  int bytes;          // in the file
  int halves[2];      // offsets of the 16-bit scales; -1: none
  int words[3][2];    // offset and count of the 4-byte words, in the order in which the tile keeps them
  int high_bits;      // offset of a 32-bit field with the fifth bit of 32 quants (Q5_0, Q5_1); -1: none
  int bytes_field;    // offset of an 8-bit scale (MXFP4); -1: none
  int head_bytes;     // of the fp32 scales before 16 rows' tiles (I8)
  constexpr int tile_bytes() const {
    int total = 0;
    for (const int half : halves) total += half < 0 ? 0 : 2;
    for (const auto& run : words) total += 4 * run[1];
    total += high_bits < 0 ? 0 : 4;
    total += bytes_field < 0 ? 0 : 1;
    return total * tile_rows;
  }
};

// Null for a kind that is not stored in tiles.
const BlockLayout* block_layout(int kind);

}  // namespace unillm
