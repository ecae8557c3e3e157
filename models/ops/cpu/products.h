// How products are cut: into tiles of a weight's rows, and into as many rows of activations as a cache holds; and which
// thread computes what.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "pool.h"
#include "tensor.h"

namespace unillm {

// A core's second-level cache, less what the tiles need; shared by two hardware threads on some machines.
constexpr long cached_activations = 384 * 1024;
constexpr long chunks_per_thread = 8;
constexpr long worth_sharing = 32768;  // numbers of activations that one thread prepares sooner than it wakes another
constexpr long rows_in_item = 16;      // a whole number of panels

inline long blocks_of(long depth) { return (depth + block_columns - 1) / block_columns; }
inline long tiles_of(long rows) { return (rows + tile_rows - 1) / tile_rows; }

// Bytes of a row's activations: fp32 where the product is exact.
inline long activation_bytes(long depth, const ActivationForm& form) {
  return blocks_of(depth) * (form.exact ? block_columns * static_cast<long>(sizeof(float)) : form.row_bytes);
}

// Rows whose activations stay cached while a tile's rows sweep them; a whole number of panels.
inline long rows_at_once(long rows, long row_bytes) {
  const long fit = cached_activations / row_bytes / 16 * 16;
  const long most = std::clamp(fit, 64L, most_rows_at_once);
  const long parts = (rows + most - 1) / most;
  return std::min(most, ((rows + parts - 1) / parts + 15) / 16 * 16);
}

// Bytes of 16 rows of a packed weight.
inline long tile_stride(const BlockLayout& layout, long depth) {
  return layout.head_bytes + blocks_of(depth) * block_columns / layout.columns * layout.tile_bytes();
}

// Calls prepare(first, last) for all rows of activations.
template <class PREPARE>
void share_rows(Pool& pool, long rows, long columns, PREPARE prepare) {
  const long share = rows * columns < worth_sharing ? rows : rows_in_item;
  auto work = [&](long item, int) { prepare(item * share, std::min(rows, (item + 1) * share)); };
  pool.run((rows + share - 1) / share, work);
}

// Calls multiply(product, first, last, thread) for all tiles of all products, as one job; `together` stay with one thread.
template <class MULTIPLY>
void share_tiles(Pool& pool, const unillm_product* products, int count, long together, MULTIPLY multiply) {
  long tiles = 0;
  for (int i = 0; i < count; ++i) tiles += tiles_of(products[i].columns);
  const long chunk = std::max(together, tiles / (pool.threads() * chunks_per_thread) / together * together);
  auto work = [&](long item, int thread) {
    long first = item * chunk, last = std::min(tiles, first + chunk);
    for (int i = 0; i < count && first < last; ++i) {
      const long own = tiles_of(products[i].columns);
      if (first < own) multiply(products[i], first, std::min(own, last), thread);
      first = std::max(0L, first - own);
      last -= own;
    }
  };
  pool.run((tiles + chunk - 1) / chunk, work);
}

}  // namespace unillm
