// What one instruction set offers the rest of the library: single-threaded functions over pointers, in one table.
//
// Who calls them, on which thread and for which part, is decided above; they allocate nothing and know no context.
#pragma once

#include <cstdint>

#include "tensor.h"

namespace unillm {

// Rows of numbers as they lie in memory.
struct NumberRows {
  const void* data;
  int kind;      // UNILLM_F32, UNILLM_F16 or UNILLM_BF16
  long stride;   // numbers between rows
  long columns;
};

// How activations are written for one kind of weight; see kernels/activations.h.
struct ActivationForm {
  bool per16, shifted;
  int offset;
  int row_bytes;  // of one row in one block
};

// A packed weight against quantised (or spread) activations.
struct TileProduct {
  const uint8_t* weight;
  long tile_stride;      // bytes of 16 rows of the weight, head included
  int head_bytes;        // before the tiles of 16 rows
  long blocks;           // of 32 columns in a row of the weight
  const uint8_t* panels;
  ActivationForm form;
  long rows;             // of activations
  long rows_at_once;     // whose activations stay in the cache
  float* y;
  long y_stride;
  long columns;          // of y
  bool accumulate;
};

// One thread's own memory.
struct Scratch {
  uint8_t* stretch;  // part of a tile, unpacked
  float* sums;       // [2][rows_at_once][16]
};

constexpr long stretch_bytes = 32 * 1024;
constexpr long most_rows_at_once = 512;

struct Kernels {
  const char* name;
  ActivationForm (*form)(int kind);
  void (*quantize)(const NumberRows& x, const ActivationForm& form, long first, long last, uint8_t* panels);
  void (*spread)(const NumberRows& x, long first, long last, float* panels);
  void (*multiply)(int kind, const TileProduct& product, long first_tile, long last_tile, const Scratch& scratch);
  void (*multiply_exact)(int kind, const TileProduct& product, long first_tile, long last_tile, const Scratch& scratch);
};

// Null where this build or this machine has not got the instructions.
const Kernels* kernels_portable();
const Kernels* kernels_avx2();
const Kernels* kernels_avxvnni();
const Kernels* kernels_avx512();
const Kernels* kernels_avx512vnni();
const Kernels* kernels_avx512bf16();
const Kernels* kernels_neon();

}  // namespace unillm
