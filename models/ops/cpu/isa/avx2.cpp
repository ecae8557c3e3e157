// AVX2: nearly every PC since 2013.
#include "../target.h"
#if defined(UNILLM_X86)
#define UNILLM_ISA avx2
UNILLM_TARGET("avx2,fma,f16c")
#include "../simd/avx2.h"
#include "../kernels/all.h"

const unillm::Kernels* unillm::kernels_avx2() {
  static constexpr Kernels kernels = avx2::table("avx2");
  return has_avx2() ? &kernels : nullptr;
}
UNILLM_TARGET_END
#else
const unillm::Kernels* unillm::kernels_avx2() { return nullptr; }
#endif
