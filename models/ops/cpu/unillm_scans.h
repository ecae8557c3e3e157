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

/* Vectors of each token and head, of which there are `count`: each serves `share` heads side by side, and all of them again
 * those that follow. */
typedef struct unillm_heads {
  const float* data;
  int64_t token_stride, head_stride, share, count;
} unillm_heads;

/* state[i][j] = state[i][j] * exp(decay[j]) + (sum over j' of state[i][j'] * a[j']) * b[j] + taken * v[i] * k[j], and
 * out[i] = sum over j of state[i][j] * q[j], of the state before the token or after it. State: [heads, width, size].
 * `replaces`: v is first less what k finds in the decayed state, and there is no middle. */
typedef struct unillm_matrix_scan {
  unillm_states states;
  unillm_heads q, k, v, decay, a, b; /* data of a and b null: without the middle */
  unillm_heads taken;                /* one number each; data null: 1 */
  float* out;                        /* [tokens, heads, width] */
  int64_t tokens, heads, width, size;
  int32_t paces;                     /* numbers of a head's decay: 1 or size */
  int32_t reads_before, replaces;
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

/* Each channel over its last `taps` inputs, the oldest first; state: the inputs before, [taps - 1, channels]. */
typedef struct unillm_convolution {
  unillm_states states;
  const void* x;                /* [tokens, channels] */
  const float* weight;          /* [taps, channels] */
  const float* bias;            /* [channels] or null */
  float* out;                   /* [tokens, channels] */
  int64_t x_stride, tokens, channels, taps;
  int32_t kind;                 /* of x */
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

/* paces = softplus(steps + slowness) between `shortest` and `longest`, and decays = paces * decay. */
typedef struct unillm_pacing {
  const void* steps;            /* [tokens, columns] of `kind` */
  const float* slowness;        /* [columns] or null */
  const float* decay;           /* [columns], or null where nobody asks for decays */
  float* paces;                 /* [tokens, columns] */
  float* decays;                /* [tokens, columns] */
  int64_t step_stride, tokens, columns;
  int32_t kind;
  float shortest, longest;
} unillm_pacing;

/* out = x / root(sum of squares + epsilon) * factor, for each head. */
typedef struct unillm_unit {
  const float* x;               /* [tokens, heads, size] */
  const float* factors;         /* [heads] */
  float* out;                   /* [tokens, heads, size] */
  int64_t x_stride, tokens, heads, size; /* between tokens; a token's numbers are adjacent */
  float epsilon;
} unillm_unit;

/* What leaves a layer: y = x + through * skipped, then out = norm(y * silu(gate)), norm(y) * silu(gate) or y * silu(gate). */
typedef struct unillm_leaving {
  const float* x;               /* [tokens, columns] */
  const float* skipped;         /* [tokens, columns] or null */
  const float* through;         /* [columns / head] */
  const void* gate;             /* [tokens, columns] of `kind` */
  const float* weight;          /* of the norm, or null: none */
  void* out;                    /* [tokens, columns] of `kind` */
  int64_t skipped_stride, gate_stride, tokens, columns, head;
  int64_t group;                /* columns that are normed together */
  int64_t weight_stride;        /* between the weights of groups; 0: the same for all */
  int32_t kind, gate_first;
  float epsilon;
} unillm_leaving;

#ifdef __cplusplus
extern "C" {
#endif

UNILLM_API void unillm_scan_matrix(unillm_context* context, const unillm_matrix_scan* scan);
UNILLM_API void unillm_scan_channels(unillm_context* context, const unillm_selective_scan* scan);
UNILLM_API void unillm_convolve(unillm_context* context, const unillm_convolution* convolution);
UNILLM_API void unillm_carry(unillm_context* context, const unillm_carrying* carrying);
UNILLM_API void unillm_fade(unillm_context* context, const unillm_fading* fading);
UNILLM_API void unillm_average(unillm_context* context, const unillm_averaging* averaging);
UNILLM_API void unillm_pace(unillm_context* context, const unillm_pacing* pacing);
UNILLM_API void unillm_make_unit(unillm_context* context, const unillm_unit* unit);
UNILLM_API void unillm_leave(unillm_context* context, const unillm_leaving* leaving);

#ifdef __cplusplus
}
#endif
#endif
