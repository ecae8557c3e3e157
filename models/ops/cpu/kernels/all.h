// Everything that is compiled once for each instruction set, and the table that it makes.
//
// The including file has named the set (UNILLM_ISA), turned its instructions on and included its header of simd/. No
// function here may be shared between sets, so nothing of the C++ library is used that could be instantiated twice.

#include "numbers.h"
#include "formats.h"
#include "functions.h"
#include "activations.h"
#include "tiles.h"
#include "exact.h"
#include "floats.h"
#include "attention_tiles.h"
#include "attention.h"
#include "fused.h"
#include "dense.h"
#include "limits.h"
#include "scans.h"
#include "mixers.h"

namespace unillm::UNILLM_ISA {

template <class FORMAT>
constexpr ActivationForm form_of() {
  using Form = typename FORMAT::Form;
  return {Form::per16, Form::shifted, FORMAT::offset, Form::row_bytes, false};
}

// Calls `use` with the format that `kind` names.
template <class USE>
inline void with_format(int kind, USE use) {
  switch (kind) {
    case UNILLM_Q4_0: return use(static_cast<Q4_0*>(nullptr));
    case UNILLM_Q4_1: return use(static_cast<Q4_1*>(nullptr));
    case UNILLM_Q5_0: return use(static_cast<Q5_0*>(nullptr));
    case UNILLM_Q5_1: return use(static_cast<Q5_1*>(nullptr));
    case UNILLM_Q8_0: return use(static_cast<Q8_0*>(nullptr));
    case UNILLM_Q2_K: return use(static_cast<Q2_K*>(nullptr));
    case UNILLM_Q3_K: return use(static_cast<Q3_K*>(nullptr));
    case UNILLM_Q4_K: return use(static_cast<Q4_K*>(nullptr));
    case UNILLM_Q5_K: return use(static_cast<Q5_K*>(nullptr));
    case UNILLM_Q6_K: return use(static_cast<Q6_K*>(nullptr));
    case UNILLM_I8: return use(static_cast<I8*>(nullptr));
    case UNILLM_NVFP4: return use(static_cast<NVFP4*>(nullptr));
    case UNILLM_MXFP4: return use(static_cast<MXFP4*>(nullptr));
    case UNILLM_IQ4_NL: return use(static_cast<IQ4_NL*>(nullptr));
    case UNILLM_IQ4_XS: return use(static_cast<IQ4_XS*>(nullptr));
    case UNILLM_GRID1: return use(static_cast<GRID1*>(nullptr));
    case UNILLM_GRID2: return use(static_cast<GRID2*>(nullptr));
    case UNILLM_GRID3_XXS: return use(static_cast<GRID3_XXS*>(nullptr));
    case UNILLM_GRID3_S: return use(static_cast<GRID3_S*>(nullptr));
    default: return;
  }
}

// The same of those whose numbers are floats; false where it names none of them.
template <class USE>
inline bool with_floats(int kind, USE use) {
  switch (kind) {
    case UNILLM_E4M3: return use(static_cast<E4M3*>(nullptr)), true;
    case UNILLM_E5M2: return use(static_cast<E5M2*>(nullptr)), true;
    case UNILLM_NF4: return use(static_cast<NF4*>(nullptr)), true;
    case UNILLM_FP4: return use(static_cast<FP4*>(nullptr)), true;
    default: return false;
  }
}

template <class FORMAT>
FORMAT format_of(FORMAT*);

ActivationForm form(int kind) {
  ActivationForm found{};
  found.exact = with_floats(kind, [](auto*) {});
  with_format(kind, [&](auto* format) { found = form_of<decltype(format_of(format))>(); });
  return found;
}

void multiply(int kind, const TileProduct& product, long first_tile, long last_tile, const Scratch& scratch) {
  with_format(kind, [&](auto* format) {
    multiply_tiles<decltype(format_of(format))>(product, first_tile, last_tile, scratch);
  });
}

void multiply_exact(int kind, const TileProduct& product, long first_tile, long last_tile, const Scratch& scratch) {
  const bool floats = with_floats(kind, [&](auto* format) {
    multiply_float_tiles<decltype(format_of(format))>(product, first_tile, last_tile, scratch);
  });
  if (floats) return;
  with_format(kind, [&](auto* format) {
    multiply_tiles_exact<decltype(format_of(format))>(product, first_tile, last_tile, scratch);
  });
}

void quantize(const NumberRows& x, const ActivationForm& form, long first, long last, uint8_t* panels) {
  quantize_rows(x, form, first, last, panels);
}

void spread(const NumberRows& x, long first, long last, float* panels) { spread_rows(x, first, last, panels); }

void convert(const NumberRows& x, int kind, long first, long last, long stride, void* to) {
  convert_rows(x, kind, first, last, stride, to);
}

void multiply_dense(int weight_kind, int x_kind, const DenseProduct& product, long first_tile, long last_tile, float* sums) {
  multiply_dense_kind(weight_kind, x_kind, product, first_tile, last_tile, sums);
}

void attend(const AttentionCall& call, const QueryBlock& block, const QueryBlock& next, float* scratch) {
#if defined(UNILLM_BFLOAT)
  if (call.cache_kind == UNILLM_BF16 && !call.exact) return attend_block<Paired>(call, block, next, scratch);
#endif
  attend_block<Single>(call, block, next, scratch);
}

void embed(int kind, const TileProduct& weight, long row, float* scratch, float* out) {
  const bool floats = with_floats(kind, [&](auto* format) {
    embed_row<decltype(format_of(format))>(weight, row, scratch, out);
  });
  if (floats) return;
  with_format(kind, [&](auto* format) { embed_row<decltype(format_of(format))>(weight, row, scratch, out); });
}

void normalize(const NormCall& call, long row) { normalize_row(call, row); }
void gate(const GateCall& call, long row) { gate_row(call, row); }
void rotate(const RotateCall& call, long token, float* head) { rotate_token(call, token, head); }
long largest(const float* row, long columns) { return largest_index(row, columns); }
long read(const uint8_t* from, long bytes) { return read_through(from, bytes); }
long dots(long rounds) { return dot_through(rounds); }

void scan_matrix(const unillm_matrix_scan& scan, long sequence, long head, long row, float* memory) {
  scan_rows(scan, sequence, head, row, memory);
}
void scan_channels(const unillm_selective_scan& scan, long sequence, long channel, float* memory) {
  scan_channels_from(scan, sequence, channel, memory);
}
void convolve(const unillm_convolution& call, long sequence, long channel) { convolve_from(call, sequence, channel); }
void carry(const unillm_carrying& call, long sequence, long channel) { carry_from(call, sequence, channel); }
void fade(const unillm_fading& call, long sequence, long channel) { fade_from(call, sequence, channel); }
void average(const unillm_averaging& call, long sequence, long channel) { average_from(call, sequence, channel); }
void pace(const unillm_pacing& call, long token) { pace_token(call, token); }
void make_unit(const unillm_unit& call, long token, long head) { make_unit_of(call, token, head); }
void leave(const unillm_leaving& call, long token, long group, float* memory) { leave_group(call, token, group, memory); }

constexpr Kernels table(const char* name) {
  return {name,   form,   quantize, spread, multiply, multiply_exact, dense_kind, convert, multiply_dense,
          attend, normalize, gate,  rotate, embed,    largest,        read,       dots,
          scan_matrix, scan_channels, convolve, carry, fade, average, pace, make_unit, leave};
}

}  // namespace unillm::UNILLM_ISA
