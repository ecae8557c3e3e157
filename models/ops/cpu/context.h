// What lives between calls: the threads, the instruction set, and memory that grows to the largest call seen.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace unillm {

// Memory aligned to a cache line, which only grows.
class Arena {
 public:
  uint8_t* at_least(size_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      memory_.reset(new uint8_t[bytes + 64]);
      size_ = bytes;
    }
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    return memory_.get() + (64 - address % 64) % 64;
  }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  size_t size_ = 0;
};

}  // namespace unillm

struct unillm_context {
  unillm_context(int threads, const unillm::Kernels& kernels)
      : kernels(kernels), pool(threads), thread_memory(static_cast<size_t>(threads)) {}

  unillm::Scratch scratch(int thread) {
    uint8_t* memory = thread_memory[static_cast<size_t>(thread)].at_least(
        unillm::stretch_bytes + 2 * unillm::most_rows_at_once * unillm::tile_rows * sizeof(float));
    return {memory, reinterpret_cast<float*>(memory + unillm::stretch_bytes)};
  }

  const unillm::Kernels& kernels;
  unillm::Pool pool;
  unillm::Arena activations;
  std::vector<unillm::Arena> thread_memory;
  std::mutex mutex;
};

namespace unillm {

// Numbers below which waking a thread costs more than it saves.
constexpr long worth_waking_for = 16384;

// Calls work(row, thread) for all rows.
template <class WORK>
void for_rows(unillm_context& context, long rows, long row_numbers, WORK work) {
  const long chunk = std::max(1L, worth_waking_for / std::max(1L, row_numbers));
  auto chunked = [&](long item, int thread) {
    for (long row = item * chunk; row < std::min(rows, (item + 1) * chunk); ++row) work(row, thread);
  };
  context.pool.run((rows + chunk - 1) / chunk, chunked);
}

}  // namespace unillm
