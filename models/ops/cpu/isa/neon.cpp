// NEON with dot products: ARM servers since 2019, every Apple silicon.
#include "../target.h"
#if defined(UNILLM_ARM64)
#if defined(__linux__)
#include <sys/auxv.h>
#endif
#define UNILLM_ISA neon
#define UNILLM_NEON_DOT
UNILLM_TARGET("arch=armv8.2-a+dotprod")
#include "../simd/vectors.h"
#include "../kernels/all.h"

namespace unillm {
namespace {

bool has_dot_products() {
#if defined(__linux__)
  constexpr unsigned long dot_products = 1ul << 20;  // HWCAP_ASIMDDP
  return getauxval(AT_HWCAP) & dot_products;
#else
  return true;
#endif
}

}  // namespace
}  // namespace unillm

const unillm::Kernels* unillm::kernels_neon() {
  static constexpr Kernels kernels = neon::table("neon");
  return has_dot_products() ? &kernels : nullptr;
}
UNILLM_TARGET_END
#else
const unillm::Kernels* unillm::kernels_neon() { return nullptr; }
#endif
