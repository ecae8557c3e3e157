// AVX2 with AVX-VNNI: PCs since Alder Lake, which have no AVX512. The instruction is younger than some compilers.
#include "../target.h"
#if defined(UNILLM_X86) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define UNILLM_ISA avxvnni
#define UNILLM_VNNI
UNILLM_TARGET("avx2,fma,f16c,avxvnni")
#include "../simd/avx2.h"
#include "../kernels/all.h"

const unillm::Kernels* unillm::kernels_avxvnni() {
  static constexpr Kernels kernels = avxvnni::table("avxvnni");
  return has_avx2() && has_avxvnni() ? &kernels : nullptr;
}
UNILLM_TARGET_END
#else
const unillm::Kernels* unillm::kernels_avxvnni() { return nullptr; }
#endif
