// AVX512 without VNNI: Skylake's servers.
#include "../target.h"
#if defined(UNILLM_X86)
#define UNILLM_ISA avx512
UNILLM_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#include "../simd/avx512.h"
#include "../kernels/all.h"

const unillm::Kernels* unillm::kernels_avx512() {
  static constexpr Kernels kernels = avx512::table("avx512");
  return has_avx512() ? &kernels : nullptr;
}
UNILLM_TARGET_END
#else
const unillm::Kernels* unillm::kernels_avx512() { return nullptr; }
#endif
