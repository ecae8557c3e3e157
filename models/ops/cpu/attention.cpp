// Attention as a job: which thread takes which queries of which key head.
#include <algorithm>
#include <vector>

#include "context.h"

namespace unillm {
namespace {

AttentionCall describe(const unillm_attention& from) {
  const auto strides = [](const int64_t* three) {
    return CacheStrides{static_cast<long>(three[0]), static_cast<long>(three[1]), static_cast<long>(three[2])};
  };
  return {from.queries, from.query_kind, static_cast<long>(from.query_stride), from.out, from.out_kind,
          static_cast<long>(from.out_stride), from.keys, from.values, from.cache_kind, strides(from.key_strides),
          strides(from.value_strides), from.key_scales, from.value_scales, strides(from.scale_strides), from.page_size, from.heads, from.kv_heads, from.head_dim, from.scale, from.softcap,
          static_cast<long>(from.window), static_cast<long>(from.chunk), from.causal != 0, from.exact != 0, from.sinks, from.alibi};
}

// How a key head's queries fall into blocks.
struct Split {
  int group;           // heads that share a key head
  int heads_at_once;
  int tokens_at_once;
  int parts() const { return (group + heads_at_once - 1) / heads_at_once; }
};

Split split_of(const unillm_attention& from) {
  const int group = from.heads / from.kv_heads, heads = std::min(group, most_query_rows);
  return {group, heads, most_query_rows / heads};
}

// The blocks of all sequences, without their heads; those with most to do come first, so that none is left last.
std::vector<QueryBlock> blocks_of(const unillm_attention& from, const Split& split) {
  std::vector<QueryBlock> blocks;
  for (int32_t i = 0; i < from.sequences; ++i) {
    const long begin = from.starts[i], end = from.starts[i + 1], context = from.lengths[i];
    for (long token = begin; token < end; token += split.tokens_at_once) {
      const long tokens = std::min<long>(split.tokens_at_once, end - token);
      blocks.push_back({from.table + i * from.table_stride, token, context - (end - token), context,
                        static_cast<int>(tokens), 0, 0, 0});
    }
  }
  const auto work = [](const QueryBlock& block) { return (block.position + 1) * block.rows; };
  std::stable_sort(blocks.begin(), blocks.end(),
                   [&](const QueryBlock& a, const QueryBlock& b) { return work(a) > work(b); });
  return blocks;
}

QueryBlock with_heads(QueryBlock block, const Split& split, int kv_head, int part) {
  block.kv_head = kv_head;
  block.heads = std::min(split.heads_at_once, split.group - part * split.heads_at_once);
  block.head = kv_head * split.group + part * split.heads_at_once;
  block.rows *= block.heads;
  return block;
}

}  // namespace
}  // namespace unillm

void unillm_attend(unillm_context* context, const unillm_attention* attention) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const unillm::AttentionCall call = unillm::describe(*attention);
  const unillm::Split split = unillm::split_of(*attention);
  const std::vector<unillm::QueryBlock> blocks = unillm::blocks_of(*attention, split);
  const size_t bytes = static_cast<size_t>(unillm::attention_scratch_bytes(call.head_dim));
  const long each = static_cast<long>(call.kv_heads) * split.parts(), items = static_cast<long>(blocks.size()) * each;
  const auto block_of = [&](long item) {
    const int head = static_cast<int>(item % each);
    return unillm::with_heads(blocks[static_cast<size_t>(item / each)], split, head / split.parts(), head % split.parts());
  };
  auto work = [&](long item, int thread) {
    float* scratch = reinterpret_cast<float*>(context->thread_memory[static_cast<size_t>(thread)].at_least(bytes));
    context->kernels.attend(call, block_of(item), block_of(std::min(item + 1, items - 1)), scratch);
  };
  context->pool.run(items, work);
}
