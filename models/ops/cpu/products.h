// How a packed product is cut: into tiles of a weight's rows, and into as many rows of activations as a cache holds.
#pragma once

#include <algorithm>

#include "kernels.h"
#include "tensor.h"

namespace unillm {

// A core's second-level cache, less what the tiles need; shared by two hardware threads on some machines.
constexpr long cached_activations = 384 * 1024;
constexpr long chunks_per_thread = 8;

inline long blocks_of(long depth) { return (depth + block_columns - 1) / block_columns; }
inline long tiles_of(long rows) { return (rows + tile_rows - 1) / tile_rows; }

// Bytes of a row's activations: fp32 where the product is exact.
inline long activation_bytes(long depth, const ActivationForm& form, bool exact) {
  return blocks_of(depth) * (exact ? block_columns * static_cast<long>(sizeof(float)) : form.row_bytes);
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

}  // namespace unillm
