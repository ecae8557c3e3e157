/* The C interface of the CPU kernels. It knows neither Python nor torch: pointers, sizes and numbers only.
 *
 * A context owns the thread pool and the scratch memory; calls on one context come one at a time. Matrices are
 * [rows, columns]; y[m][n] = sum over k of x[m][k] * w[n][k]. No call fails on valid sizes; sizes are the caller's to check.
 */
#ifndef UNILLM_CPU_H
#define UNILLM_CPU_H

#include <stdint.h>

#if defined(_WIN32)
#define UNILLM_API __declspec(dllexport)
#else
#define UNILLM_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Kinds of weights and of numbers: GGML's own type numbers, so that a file's needs no translation. Beyond 1000 our own, for
 * kinds whose blocks name points of a grid: 256 columns in a half that multiplies, 16 scales of four bits, and four bits a
 * column that choose what the grid's points consist of. Beyond 1100 floats of 8 and 4 bits, whose blocks begin with fp32
 * scales: of 128 columns, of 64, and two of 16 each. All but the last meet activations as these are, always. */
enum unillm_kind {
  UNILLM_F32 = 0,
  UNILLM_F16 = 1,
  UNILLM_Q4_0 = 2,
  UNILLM_Q4_1 = 3,
  UNILLM_Q5_0 = 6,
  UNILLM_Q5_1 = 7,
  UNILLM_Q8_0 = 8,
  UNILLM_Q2_K = 10,
  UNILLM_Q3_K = 11,
  UNILLM_Q4_K = 12,
  UNILLM_Q5_K = 13,
  UNILLM_Q6_K = 14,
  UNILLM_IQ4_NL = 20,
  UNILLM_IQ4_XS = 23,
  UNILLM_I8 = 24,
  UNILLM_BF16 = 30,
  UNILLM_MXFP4 = 39,
  UNILLM_GRID1 = 1001,
  UNILLM_GRID2 = 1002,
  UNILLM_GRID3_XXS = 1003,
  UNILLM_GRID3_S = 1004,
  UNILLM_E4M3 = 1101,
  UNILLM_E5M2 = 1102,
  UNILLM_NF4 = 1103,
  UNILLM_FP4 = 1104,
  UNILLM_NVFP4 = 1105
};

typedef struct unillm_context unillm_context;

/* Write the instruction sets that this library holds and this machine runs, best first, a space behind each; the number of
 * characters is returned. */
UNILLM_API int32_t unillm_instruction_sets(char* names, int32_t capacity);

/* `instruction_set` null: the best. Null is returned for one that is not there. */
UNILLM_API unillm_context* unillm_open(int32_t threads, const char* instruction_set);
UNILLM_API void unillm_close(unillm_context* context);

/* Bytes of a matrix once packed; 0 where this library does not pack the kind or the number of columns. */
UNILLM_API int64_t unillm_packed_bytes(int kind, int64_t rows, int64_t columns);

/* Interleave the blocks of a file, rows `row_bytes` apart, into tiles of 16 rows. `scales`: one a row, for I8 alone. */
UNILLM_API void unillm_pack(unillm_context* context, int kind, const void* blocks, int64_t row_bytes, const float* scales,
                            int64_t rows, int64_t columns, void* packed);

/* One product of several that share their activations. */
typedef struct unillm_product {
  const void* weight;    /* packed; for F32, F16, BF16 the rows as they are stored */
  int32_t kind;
  int32_t accumulate;    /* 0: y = xW', 1: y += xW' */
  int64_t columns;       /* of y: the weight's rows */
  float* y;
  int64_t y_stride;      /* numbers between rows of y */
  int64_t weight_stride; /* of F32, F16, BF16: numbers between rows */
} unillm_product;

/* y = x W' for every product. `exact`: fp32 activations; else int8 in blocks of 32. `gated`, where not exact: of two
 * products, alike in kind and columns, the first one's y = silu(x W') times what the second is, which is written nowhere. */
typedef struct unillm_multiplication {
  const unillm_product* products;
  const void* x;
  int64_t x_stride, rows, depth;
  int32_t count;         /* of products */
  int32_t x_kind, exact, gated;
} unillm_multiplication;

UNILLM_API void unillm_matmul(unillm_context* context, const unillm_multiplication* multiplication);

/* The same with weights in F32, F16 or BF16; y is of the kind of x. Activations meet a bfloat16 weight in bfloat16 where the
 * machine has instructions for it, unless `exact`; else both in fp32. */
UNILLM_API void unillm_dense(unillm_context* context, const unillm_multiplication* multiplication);

/* y[i] = x[i / choices] W' with W the matrix of the expert that chosen[i] names, for all i of rows * choices. */
typedef struct unillm_experts_product {
  const void* weights;          /* packed, one matrix behind the other */
  const void* x;                /* [rows, depth] */
  const int64_t* chosen;        /* [rows, choices]: in 0..experts - 1 */
  float* y;                     /* [rows * choices, columns] */
  int64_t x_stride, y_stride, rows, choices, depth, columns;
  int32_t experts, kind, x_kind, exact;
} unillm_experts_product;

UNILLM_API void unillm_experts(unillm_context* context, const unillm_experts_product* product);

/* What the machine can do at most, to be timed: read so many bytes, a multiple of 1 MiB, or make small integer dot products
 * on every thread, of which the number of multiplications and additions is returned. */
UNILLM_API int64_t unillm_read(unillm_context* context, const void* from, int64_t bytes);
UNILLM_API int64_t unillm_dots(unillm_context* context, int64_t rounds);

/* One layer's attention, for the new tokens of every sequence in a batch, on the pages that hold their keys and values
 * (the new ones included). Strides count numbers; the numbers of one head are adjacent. */
typedef struct unillm_attention {
  const void* queries;          /* [tokens, heads, head_dim] */
  void* out;                    /* [tokens, heads, head_dim] */
  const void* keys;
  const void* values;
  const int32_t* table;         /* [sequences, table_stride]: each sequence's pages in order */
  const int32_t* starts;        /* [sequences + 1]: where a sequence's new tokens begin */
  const int32_t* lengths;       /* [sequences]: its tokens, the new ones included */
  const float* sinks;           /* [heads] or null */
  const float* alibi;           /* [heads] or null: score += slope * (key's position - query's position) */
  const float* key_scales;      /* of a cache of I8: what its numbers are multiplied by, one a token and head; else null */
  const float* value_scales;
  int64_t query_stride, out_stride;
  int64_t key_strides[3];       /* between pages, tokens of a page, heads */
  int64_t value_strides[3];
  int64_t scale_strides[3];     /* of both scales */
  int64_t table_stride;
  int64_t window;               /* a token sees itself and the window - 1 before it; 0: all before it */
  int64_t chunk;                /* a token sees those of its chunk, from multiples of this on; 0: there are none */
  int32_t query_kind, out_kind, cache_kind;
  int32_t sequences, page_size, heads, kv_heads, head_dim;
  int32_t causal;
  int32_t exact;                /* 1: fp32 arithmetic even where a bfloat16 cache would allow faster */
  float scale;
  float softcap;                /* 0: none */
} unillm_attention;

UNILLM_API void unillm_attend(unillm_context* context, const unillm_attention* attention);

/* Strides count numbers between rows. x += addend (where not null), then out = x / rms(x) * (weight + weight_offset). */
typedef struct unillm_norm {
  void* x;
  const void* addend;
  const float* weight;
  void* out;
  int64_t rows, columns, x_stride, addend_stride, out_stride;
  int32_t kind;                 /* of x, addend and out */
  float epsilon, weight_offset;
} unillm_norm;

UNILLM_API void unillm_rms_norm(unillm_context* context, const unillm_norm* norm);

enum unillm_activation { UNILLM_SILU = 0, UNILLM_GELU_TANH = 1 };

/* out = activation(gate) * up; out may be either of them. */
typedef struct unillm_gate {
  const void* gate;
  const void* up;
  void* out;
  int64_t rows, columns, gate_stride, up_stride, out_stride;
  int32_t kind, activation;
} unillm_gate;

UNILLM_API void unillm_gated(unillm_context* context, const unillm_gate* gate);

/* Norm (where not null) and rotate queries, in place, and keys; then write keys and values into their slots of the cache.
 * cosines and sines: [tokens, rotated / 2]. `neighbours`: dimensions 2 i and 2 i + 1 turn together, else i and
 * i + rotated / 2. rotated = 0: no rotation. */
typedef struct unillm_rotation {
  void* queries;                /* [tokens, heads, head_dim] */
  const void* keys;             /* [tokens, kv_heads, head_dim] */
  const void* values;           /* [tokens, kv_heads, head_dim] */
  void* key_pages;
  void* value_pages;
  float* key_scales;            /* of a cache of I8, one a token and head; else null */
  float* value_scales;
  const int64_t* slots;         /* [tokens]: page * page_size + offset */
  const float* cosines;
  const float* sines;
  const float* query_norm;      /* [head_dim] or null */
  const float* key_norm;
  int64_t tokens, query_stride, key_stride, value_stride;
  int64_t key_strides[3], value_strides[3], scale_strides[3];
  int32_t kind, cache_kind;
  int32_t page_size, heads, kv_heads, head_dim, rotated, neighbours;
  float epsilon, norm_offset;
} unillm_rotation;

UNILLM_API void unillm_rotate(unillm_context* context, const unillm_rotation* rotation);

/* cosines and sines [tokens, pairs] of position * frequency, times `factor`. */
typedef struct unillm_turning {
  const int64_t* positions;     /* [tokens] */
  const float* frequencies;     /* [pairs], or [tokens, pairs] */
  float* cosines;
  float* sines;
  int64_t tokens, pairs;
  int64_t frequency_stride;     /* 0: the same for all tokens */
  float factor;
} unillm_turning;

UNILLM_API void unillm_turns(unillm_context* context, const unillm_turning* turning);

/* Rows of a packed table, dequantised exactly: out [count, columns] fp32. */
typedef struct unillm_rows {
  const void* packed;
  const int64_t* ids;
  float* out;
  int64_t columns, count, out_stride;
  int32_t kind;
} unillm_rows;

UNILLM_API void unillm_embed(unillm_context* context, const unillm_rows* rows);

/* The first of the largest of each row; `largest`, where not null, gets that itself, or NaN where the row has one. */
typedef struct unillm_choice {
  const float* x;
  int64_t* indices;
  float* largest;
  int64_t stride, rows, columns;
} unillm_choice;

UNILLM_API void unillm_argmax(unillm_context* context, const unillm_choice* choice);

/* One of the library's calls, with what it takes. */
typedef struct unillm_step {
  void (*run)(unillm_context* context, const void* operands);
  const void* operands;
} unillm_step;

/* Make the calls in their order. `nanoseconds`: what each took is added to it; null: nobody asks. */
UNILLM_API void unillm_replay(unillm_context* context, const unillm_step* steps, int64_t count, int64_t* nanoseconds);

#ifdef __cplusplus
}
#endif

#include "unillm_scans.h"

#endif
