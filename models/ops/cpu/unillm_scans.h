/* What recurrent layers compute beside products, a part of the C interface (unillm_cpu.h, which says what holds for all).
 *
 * All in fp32 but for `carry`. Tokens of several sequences lie one behind the other; each sequence begins from its state
 * and leaves another. Strides count numbers; the numbers of a row, of a head, are adjacent.
 */
#ifndef UNILLM_SCANS_H
#define UNILLM_SCANS_H

/* A state of each sequence, of which source and target may be the same row: no target is another's source. */
typedef struct unillm_states {
  float* rows;
  const int64_t* sources;       /* [sequences]: the row before these tokens */
  const int64_t* targets;       /* [sequences]: the row after them; left alone where a sequence has none */
  const uint8_t* fresh;         /* [sequences]: 1 where a sequence begins, from zeros */
  const int32_t* starts;        /* [sequences + 1]: where a sequence's tokens begin */
  int64_t row_stride;
  int64_t sequences;
} unillm_states;

/* Vectors of each token and head. */
typedef struct unillm_heads {
  const float* data;
  int64_t token_stride, head_stride;
} unillm_heads;

/* state[i][j] = state[i][j] * exp(decay[j]) + (sum over j' of state[i][j'] * a[j']) * b[j] + v[i] * k[j], and
 * out[i] = sum over j of state[i][j] * q[j], of the state before the token or after it. State: [heads, width, size]. */
typedef struct unillm_matrix_scan {
  unillm_states states;
  unillm_heads q, k, v, decay, a, b; /* data of a and b null: without the middle */
  float* out;                        /* [tokens, heads, width] */
  int64_t tokens, heads, width, size;
  int32_t paces;                     /* numbers of a head's decay: 1 or size */
  int32_t reads_before;
} unillm_matrix_scan;

/* state[j] = exp(step * decay[j]) * state[j] + step * x * b[j], and out = sum over j of state[j] * c[j], for each channel;
 * state: [channels, size]. */
typedef struct unillm_selective_scan {
  unillm_states states;
  const float* x;               /* [tokens, channels] */
  const float* steps;           /* [tokens, channels] */
  const float* decay;           /* [channels, size] */
  const float* b;               /* [tokens, size] */
  const float* c;               /* [tokens, size] */
  float* out;                   /* [tokens, channels] */
  int64_t x_stride, step_stride, b_stride, c_stride;
  int64_t tokens, channels, size;
} unillm_selective_scan;

/* Each channel over its last `taps` inputs, the oldest first; state: the inputs before, [channels, taps - 1]. */
typedef struct unillm_convolution {
  unillm_states states;
  const float* x;               /* [tokens, channels] */
  const float* weight;          /* [channels, taps] */
  const float* bias;            /* [channels] or null */
  float* out;                   /* [tokens, channels] */
  int64_t x_stride, tokens, channels, taps;
  int32_t silu;                 /* of the result */
} unillm_convolution;

/* out = x of the token before; state: the last x, [channels]. */
typedef struct unillm_carrying {
  unillm_states states;
  const void* x;                /* [tokens, channels] */
  void* out;                    /* [tokens, channels] */
  int64_t x_stride, tokens, channels;
  int32_t kind;                 /* of x and out */
} unillm_carrying;

/* state = factor * state + term, which is the result too; state: [channels]. */
typedef struct unillm_fading {
  unillm_states states;
  const float* factors;         /* [tokens, channels] */
  const float* terms;           /* [tokens, channels] */
  float* out;                   /* [tokens, channels] */
  int64_t factor_stride, term_stride, tokens, channels;
} unillm_fading;

/* out = the mean of v so far, weighed by exp(k), the current one's by exp(k + bonus); all logarithms of weights grow by
 * decay with each token. State: weighted sum, weight, and the logarithm that both are times, [3, channels]. */
typedef struct unillm_averaging {
  unillm_states states;
  const float* k;               /* [tokens, channels] */
  const float* v;               /* [tokens, channels] */
  const float* decay;           /* [channels] */
  const float* bonus;           /* [channels] */
  float* out;                   /* [tokens, channels] */
  int64_t k_stride, v_stride, tokens, channels;
} unillm_averaging;

#ifdef __cplusplus
extern "C" {
#endif

UNILLM_API void unillm_scan_matrix(unillm_context* context, const unillm_matrix_scan* scan);
UNILLM_API void unillm_scan_channels(unillm_context* context, const unillm_selective_scan* scan);
UNILLM_API void unillm_convolve(unillm_context* context, const unillm_convolution* convolution);
UNILLM_API void unillm_carry(unillm_context* context, const unillm_carrying* carrying);
UNILLM_API void unillm_fade(unillm_context* context, const unillm_fading* fading);
UNILLM_API void unillm_average(unillm_context* context, const unillm_averaging* averaging);

#ifdef __cplusplus
}
#endif
#endif
