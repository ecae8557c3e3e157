// The doors of the library: contexts, which instruction set they use, and recorded calls.
#include <chrono>
#include <cstring>
#include <new>

#include "context.h"

namespace unillm {
namespace {

using Find = const Kernels* (*)();
constexpr Find best_first[] = {kernels_avx512bf16, kernels_avx512vnni, kernels_avx512, kernels_avxvnni, kernels_avx2,
                               kernels_neon,       kernels_portable};

const Kernels* find(const char* name) {
  for (const Find candidate : best_first) {
    const Kernels* kernels = candidate();
    if (kernels && (!name || std::strcmp(name, kernels->name) == 0)) return kernels;
  }
  return nullptr;
}

}  // namespace
}  // namespace unillm

int32_t unillm_instruction_sets(char* names, int32_t capacity) {
  int32_t length = 0;
  for (const unillm::Find candidate : unillm::best_first) {
    const unillm::Kernels* kernels = candidate();
    if (!kernels) continue;
    const auto size = static_cast<int32_t>(std::strlen(kernels->name));
    if (length + size + 1 > capacity) break;
    std::memcpy(names + length, kernels->name, static_cast<size_t>(size));
    names[length + size] = ' ';
    length += size + 1;
  }
  return length;
}

unillm_context* unillm_open(int32_t threads, const char* instruction_set) {
  const unillm::Kernels* kernels = unillm::find(instruction_set);
  return kernels && threads > 0 ? new (std::nothrow) unillm_context(threads, *kernels) : nullptr;
}

void unillm_close(unillm_context* context) { delete context; }

void unillm_replay(unillm_context* context, const unillm_step* steps, int64_t count, int64_t* nanoseconds) {
  using Clock = std::chrono::steady_clock;
  for (int64_t i = 0; i < count; ++i) {
    const auto began = nanoseconds ? Clock::now() : Clock::time_point{};
    steps[i].run(context, steps[i].operands);
    if (nanoseconds) nanoseconds[i] += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - began).count();
  }
}

// An extension module's entry: build tools and Windows linkers ask for it. Nobody imports the library; it is loaded.
extern "C" UNILLM_API void* PyInit__kernels() { return nullptr; }
