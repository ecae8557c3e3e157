// Recurrent layers as jobs: an item is sixteen rows of one sequence's state, or sixteen of its channels.
#include "context.h"

namespace unillm {
namespace {

// Calls work(sequence, block, memory) for every block of every sequence that has tokens. `numbers`: what an item reads and
// writes with each token; `floats`: of its memory.
template <class WORK>
void for_blocks(unillm_context& context, const unillm_states& states, long tokens, long blocks, long numbers, long floats,
                WORK work) {
  const long sequences = static_cast<long>(states.sequences);
  if (sequences == 0) return;
  for_rows(context, sequences * blocks, numbers * (tokens / sequences + 1), [&](long item, int thread) {
    const long sequence = item / blocks;
    if (states.starts[sequence] == states.starts[sequence + 1]) return;
    uint8_t* memory = context.thread_memory[static_cast<size_t>(thread)].at_least(static_cast<size_t>(floats) * sizeof(float));
    work(sequence, item % blocks, reinterpret_cast<float*>(memory));
  });
}

long blocks_of(int64_t numbers) { return static_cast<long>((numbers + 15) / 16); }

}  // namespace
}  // namespace unillm

void unillm_scan_matrix(unillm_context* context, const unillm_matrix_scan* scan) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const long size = static_cast<long>(scan->size), each = unillm::blocks_of(scan->width);
  const long floats = 16 * size + 16 * unillm::blocks_of(scan->size);
  unillm::for_blocks(*context, scan->states, static_cast<long>(scan->tokens), static_cast<long>(scan->heads) * each,
                     16 * size, floats, [&](long sequence, long block, float* memory) {
                       context->kernels.scan_matrix(*scan, sequence, block / each, block % each * 16, memory);
                     });
}

void unillm_scan_channels(unillm_context* context, const unillm_selective_scan* scan) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const long size = static_cast<long>(scan->size);
  unillm::for_blocks(*context, scan->states, static_cast<long>(scan->tokens), unillm::blocks_of(scan->channels), 64 * size,
                     32 * size, [&](long sequence, long block, float* memory) {
                       context->kernels.scan_channels(*scan, sequence, block * 16, memory);
                     });
}

void unillm_convolve(unillm_context* context, const unillm_convolution* convolution) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const long taps = static_cast<long>(convolution->taps);
  unillm::for_blocks(*context, convolution->states, static_cast<long>(convolution->tokens),
                     unillm::blocks_of(convolution->channels), 16 * taps, 0,
                     [&](long sequence, long block, float*) {
                       context->kernels.convolve(*convolution, sequence, block * 16);
                     });
}

void unillm_carry(unillm_context* context, const unillm_carrying* carrying) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  unillm::for_blocks(*context, carrying->states, static_cast<long>(carrying->tokens), unillm::blocks_of(carrying->channels),
                     16, 0, [&](long sequence, long block, float*) { context->kernels.carry(*carrying, sequence, block * 16); });
}

void unillm_fade(unillm_context* context, const unillm_fading* fading) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  unillm::for_blocks(*context, fading->states, static_cast<long>(fading->tokens), unillm::blocks_of(fading->channels), 32, 0,
                     [&](long sequence, long block, float*) { context->kernels.fade(*fading, sequence, block * 16); });
}

void unillm_average(unillm_context* context, const unillm_averaging* averaging) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  unillm::for_blocks(
      *context, averaging->states, static_cast<long>(averaging->tokens), unillm::blocks_of(averaging->channels), 256, 0,
      [&](long sequence, long block, float*) { context->kernels.average(*averaging, sequence, block * 16); });
}

void unillm_pace(unillm_context* context, const unillm_pacing* pacing) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  unillm::for_rows(*context, static_cast<long>(pacing->tokens), 8 * static_cast<long>(pacing->columns),
                   [&](long token, int) { context->kernels.pace(*pacing, token); });
}

void unillm_make_unit(unillm_context* context, const unillm_unit* unit) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const long heads = static_cast<long>(unit->heads);
  unillm::for_rows(*context, static_cast<long>(unit->tokens) * heads, static_cast<long>(unit->size),
                   [&](long row, int) { context->kernels.make_unit(*unit, row / heads, row % heads); });
}

void unillm_leave(unillm_context* context, const unillm_leaving* leaving) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const long group = static_cast<long>(leaving->group), groups = static_cast<long>(leaving->columns) / group;
  const size_t bytes = static_cast<size_t>(group + 16) * sizeof(float);
  unillm::for_rows(*context, static_cast<long>(leaving->tokens) * groups, 4 * group, [&](long row, int thread) {
    uint8_t* memory = context->thread_memory[static_cast<size_t>(thread)].at_least(bytes);
    context->kernels.leave(*leaving, row / groups, row % groups, reinterpret_cast<float*>(memory));
  });
}
