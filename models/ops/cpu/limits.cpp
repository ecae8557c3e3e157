// What the machine can do at most: bytes read and small products made a second. For whoever wants to know how near the
// rest of the library comes to it; the clock is the caller's.
#include "context.h"

namespace unillm {
namespace {

constexpr long stretch = 1 << 20;  // bytes that a thread reads at a time

}  // namespace
}  // namespace unillm

int64_t unillm_read(unillm_context* context, const void* from, int64_t bytes) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  std::vector<long> sums(static_cast<size_t>(context->pool.threads()) * 16);
  auto work = [&](long item, int thread) {
    const auto* at = static_cast<const uint8_t*>(from) + item * unillm::stretch;
    sums[static_cast<size_t>(thread) * 16] += context->kernels.read(at, unillm::stretch);
  };
  context->pool.run(static_cast<long>(bytes) / unillm::stretch, work);
  long sum = 0;
  for (const long one : sums) sum += one;
  return sum;
}

int64_t unillm_dots(unillm_context* context, int64_t rounds) {
  const std::lock_guard<std::mutex> lock(context->mutex);
  const int threads = context->pool.threads();
  std::vector<long> made(static_cast<size_t>(threads) * 16);
  auto work = [&](long, int thread) { made[static_cast<size_t>(thread) * 16] += context->kernels.dots(static_cast<long>(rounds)); };
  context->pool.run(threads, work);
  long sum = 0;
  for (const long one : made) sum += one;
  return sum;
}
