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

/* Kinds of weights and of numbers: GGML's own type numbers, so that a file's needs no translation. */
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
  UNILLM_I8 = 24,
  UNILLM_BF16 = 30,
  UNILLM_MXFP4 = 39
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
} unillm_product;

/* y = x W' for every product. `exact`: fp32 activations; else int8 in blocks of 32. */
UNILLM_API void unillm_matmul(unillm_context* context, const unillm_product* products, int32_t count, const void* x,
                              int32_t x_kind, int64_t x_stride, int64_t rows, int64_t depth, int32_t exact);

#ifdef __cplusplus
}
#endif
#endif
