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
  bool exact;     // fp32, as they are
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
  const uint8_t* gated = nullptr;  // a weight like it: y is silu of the product with `weight`, times that with this
};

// A weight as a file has it, against activations of which every row is a whole number of vectors.
struct DenseProduct {
  const char* weight;
  long weight_stride;    // bytes
  const char* x;
  long x_stride;         // bytes
  long rows;             // of activations
  long rows_at_once;     // that stay in the cache
  long depth;
  void* y;
  int y_kind;
  long y_stride;
  long columns;          // of y
  bool accumulate;
};

// Numbers between pages, between tokens of a page, between heads of a token.
struct CacheStrides {
  long page, token, head;
};

// One layer's attention for a batch; see unillm_attention.
struct AttentionCall {
  const void* queries;
  int query_kind;
  long query_stride;  // numbers between tokens
  void* out;
  int out_kind;
  long out_stride;
  const void* keys;
  const void* values;
  int cache_kind;
  CacheStrides key_strides, value_strides;
  const float* key_scales;    // of a cache of I8, else null
  const float* value_scales;
  CacheStrides scale_strides;
  long page_size;
  int heads, kv_heads;
  long head_dim;
  float scale, softcap;  // 0: no cap
  long window, chunk;    // 0: none
  bool causal, exact;
  const float* sinks;    // [heads] or null
  const float* alibi;    // [heads] or null
};

constexpr int most_query_rows = 64;  // of one block: tokens times the heads that share a key head

// Consecutive new tokens of one sequence, for one key head.
struct QueryBlock {
  const int32_t* table;  // of the sequence
  long token;            // the first, in the batch
  long position;         // the first, in its sequence
  long context;          // tokens of the sequence
  int rows;              // tokens times heads: heads vary fastest
  int heads;             // of those that share the key head, at most `most_query_rows`
  int head;              // the first of them
  int kv_head;
};

// Memory of one block, for heads padded to 16.
constexpr long attention_scratch_bytes(long head_dim) {
  const long width = (head_dim + 15) / 16 * 16;
  return 4 * (2 * 32 * width + most_query_rows * (2 * width + 32 + 16 + 2) + width + 2 * 32);
}

// out = norm(x) * (weight + offset), where x has first had the addend added, in place; see unillm_rms_norm.
struct NormCall {
  void* x;
  const void* addend;  // or null
  const float* weight;
  void* out;
  int kind;
  long columns, x_stride, addend_stride, out_stride;
  float epsilon, weight_offset;
};

struct GateCall {
  const void* gate;
  const void* up;
  void* out;
  int kind, activation;
  long columns, gate_stride, up_stride, out_stride;
};

// See unillm_rotate.
struct RotateCall {
  void* queries;
  const void* keys;
  const void* values;
  int kind;
  long query_stride, key_stride, value_stride;
  void* key_pages;
  void* value_pages;
  int cache_kind;
  CacheStrides key_strides, value_strides;
  float* key_scales;  // of a cache of I8, else null
  float* value_scales;
  CacheStrides scale_strides;
  const int64_t* slots;
  long page_size;
  int heads, kv_heads;
  long head_dim, rotated;
  const float* cosines;
  const float* sines;
  const float* query_norm;
  const float* key_norm;
  float epsilon, norm_offset;
  bool neighbours;
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
  int (*dense_kind)(int weight_kind, bool exact);
  void (*convert)(const NumberRows& x, int kind, long first, long last, long stride, void* to);
  void (*multiply_dense)(int weight_kind, int x_kind, const DenseProduct& product, long first_tile, long last_tile,
                         float* sums);
  void (*attend)(const AttentionCall& call, const QueryBlock& block, const QueryBlock& next, float* scratch);
  void (*normalize)(const NormCall& call, long row);
  void (*gate)(const GateCall& call, long row);
  void (*rotate)(const RotateCall& call, long token, float* head);
  void (*embed)(int kind, const TileProduct& table, long row, float* scratch, float* out);
  long (*largest)(const float* row, long columns);
  long (*read)(const uint8_t* from, long bytes);
  long (*dots)(long rounds);
  void (*scan_matrix)(const unillm_matrix_scan& scan, long sequence, long head, long row, float* memory);
  void (*scan_channels)(const unillm_selective_scan& scan, long sequence, long channel, float* memory);
  void (*convolve)(const unillm_convolution& convolution, long sequence, long channel);
  void (*carry)(const unillm_carrying& carrying, long sequence, long channel);
  void (*fade)(const unillm_fading& fading, long sequence, long channel);
  void (*average)(const unillm_averaging& averaging, long sequence, long channel);
  void (*pace)(const unillm_pacing& pacing, long token);
  void (*make_unit)(const unillm_unit& unit, long token, long head);
  void (*leave)(const unillm_leaving& leaving, long token, long group, float* memory);
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
