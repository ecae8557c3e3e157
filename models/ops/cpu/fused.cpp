// The operations between the products, as jobs: rows shared out where there are enough of them.
#include <algorithm>
#include <cmath>

#include "context.h"

namespace unillm {
namespace {

// A sine and a cosine, in the time that others take for a number.
constexpr long turn_cost = 32;

CacheStrides strides_of(const int64_t* three) {
  return {static_cast<long>(three[0]), static_cast<long>(three[1]), static_cast<long>(three[2])};
}

}  // namespace
}  // namespace unillm

void unillm_rms_norm(unillm_context* context, const unillm_norm* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const unillm::NormCall call{from->x, from->addend, from->weight, from->out, from->kind, static_cast<long>(from->columns),
                              static_cast<long>(from->x_stride), static_cast<long>(from->addend_stride),
                              static_cast<long>(from->out_stride), from->epsilon, from->weight_offset};
  unillm::for_rows(*context, static_cast<long>(from->rows), call.columns,
                   [&](long row, int) { context->kernels.normalize(call, row); });
}

void unillm_gated(unillm_context* context, const unillm_gate* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const unillm::GateCall call{from->gate, from->up, from->out, from->kind, from->activation,
                              static_cast<long>(from->columns), static_cast<long>(from->gate_stride),
                              static_cast<long>(from->up_stride), static_cast<long>(from->out_stride)};
  unillm::for_rows(*context, static_cast<long>(from->rows), call.columns,
                   [&](long row, int) { context->kernels.gate(call, row); });
}

void unillm_rotate(unillm_context* context, const unillm_rotation* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const unillm::RotateCall call{
      from->queries, from->keys, from->values, from->kind, static_cast<long>(from->query_stride),
      static_cast<long>(from->key_stride), static_cast<long>(from->value_stride), from->key_pages, from->value_pages,
      from->cache_kind, unillm::strides_of(from->key_strides), unillm::strides_of(from->value_strides), from->key_scales,
      from->value_scales, unillm::strides_of(from->scale_strides), from->slots,
      from->page_size, from->heads, from->kv_heads, from->head_dim, from->rotated, from->cosines, from->sines,
      from->query_norm, from->key_norm, from->epsilon, from->norm_offset, from->neighbours != 0};
  const size_t bytes = static_cast<size_t>(from->head_dim + 16) * sizeof(float);
  const long numbers = static_cast<long>(from->heads + 2 * from->kv_heads) * from->head_dim;
  unillm::for_rows(*context, static_cast<long>(from->tokens), numbers, [&](long token, int thread) {
    auto* head = reinterpret_cast<float*>(context->thread_memory[static_cast<size_t>(thread)].at_least(bytes));
    context->kernels.rotate(call, token, head);
  });
}

void unillm_turns(unillm_context* context, const unillm_turning* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const long pairs = static_cast<long>(from->pairs);
  unillm::for_rows(*context, static_cast<long>(from->tokens), pairs * unillm::turn_cost, [&](long token, int) {
    const float position = static_cast<float>(from->positions[token]);
    const float* frequencies = from->frequencies + token * from->frequency_stride;
    for (long pair = 0; pair < pairs; ++pair) {
      const float angle = position * frequencies[pair];
      from->cosines[token * pairs + pair] = std::cos(angle) * from->factor;
      from->sines[token * pairs + pair] = std::sin(angle) * from->factor;
    }
  });
}

void unillm_embed(unillm_context* context, const unillm_rows* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const unillm::BlockLayout& layout = *unillm::block_layout(from->kind);
  unillm::TileProduct table{};
  table.weight = static_cast<const uint8_t*>(from->packed);
  table.columns = static_cast<long>(from->columns);
  table.head_bytes = layout.head_bytes;
  table.tile_stride = layout.head_bytes + (table.columns + layout.columns - 1) / layout.columns * layout.tile_bytes();
  const size_t bytes = static_cast<size_t>(layout.columns) * unillm::tile_rows * sizeof(float);
  const long numbers = table.columns * unillm::tile_rows;
  unillm::for_rows(*context, static_cast<long>(from->count), numbers, [&](long row, int thread) {
    auto* scratch = reinterpret_cast<float*>(context->thread_memory[static_cast<size_t>(thread)].at_least(bytes));
    context->kernels.embed(from->kind, table, static_cast<long>(from->ids[row]), scratch, from->out + row * from->out_stride);
  });
}

void unillm_argmax(unillm_context* context, const unillm_choice* from) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  unillm::for_rows(*context, static_cast<long>(from->rows), static_cast<long>(from->columns), [&](long row, int) {
    const float* x = from->x + row * from->stride;
    const long index = context->kernels.largest(x, static_cast<long>(from->columns));
    from->indices[row] = std::max(index, 0L);
    if (from->largest) from->largest[row] = index < 0 ? std::nanf("") : x[index];
  });
}
