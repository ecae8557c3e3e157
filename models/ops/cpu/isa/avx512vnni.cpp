// AVX512 with VNNI: Cascade Lake, Ice Lake and later; Zen 4 and later.
#include "../target.h"
#if defined(UNILLM_X86)
#define UNILLM_ISA avx512vnni
#define UNILLM_VNNI
UNILLM_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
#include "../simd/avx512.h"
#include "../kernels/all.h"

const unillm::Kernels* unillm::kernels_avx512vnni() {
  static constexpr Kernels kernels = avx512vnni::table("avx512vnni");
  return has_avx512() && __builtin_cpu_supports("avx512vnni") ? &kernels : nullptr;
}
UNILLM_TARGET_END
#else
const unillm::Kernels* unillm::kernels_avx512vnni() { return nullptr; }
#endif
