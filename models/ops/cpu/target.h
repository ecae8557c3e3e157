// How a source file turns on the instructions of one set, for the functions below it and for nothing else.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define UNILLM_X86
#include <cpuid.h>
#include <immintrin.h>
#endif
#if defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define UNILLM_ARM64
#include <arm_neon.h>
#endif

#include "kernels.h"

#define UNILLM_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define UNILLM_TARGET(set) UNILLM_PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#define UNILLM_TARGET_END UNILLM_PRAGMA(clang attribute pop)
#else
#define UNILLM_TARGET(set) UNILLM_PRAGMA(GCC target(set))
#define UNILLM_TARGET_END
#endif

namespace unillm {

#if defined(UNILLM_X86)
inline bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
inline bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}
inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

}  // namespace unillm
