// Any machine with a C++17 compiler.
#include "../target.h"
#define UNILLM_ISA portable
#if defined(__GNUC__)
#include "../simd/vectors.h"
#else
#include "../simd/portable.h"
#endif
#include "../kernels/all.h"

const unillm::Kernels* unillm::kernels_portable() {
  static constexpr Kernels kernels = portable::table("portable");
  return &kernels;
}
