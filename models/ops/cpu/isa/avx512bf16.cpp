// AVX512 with VNNI and bfloat16: Cooper Lake, Sapphire Rapids and later; Zen 4 and later.
#include "../target.h"
#if defined(UNILLM_X86) && (defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10)
#define UNILLM_ISA avx512bf16
#define UNILLM_VNNI
#define UNILLM_BFLOAT
UNILLM_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")
#include "../simd/avx512.h"
#include "../kernels/all.h"

const unillm::Kernels* unillm::kernels_avx512bf16() {
  static constexpr Kernels kernels = avx512bf16::table("avx512bf16");
  return has_avx512() && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16") ? &kernels : nullptr;
}
UNILLM_TARGET_END
#else
const unillm::Kernels* unillm::kernels_avx512bf16() { return nullptr; }
#endif
