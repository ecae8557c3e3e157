// Any machine with a C++17 compiler.
#include "../target.h"
#define UNILLM_ISA portable
#include "../simd/portable.h"
#include "../kernels/all.h"

const unillm::Kernels* unillm::kernels_portable() {
  static constexpr Kernels kernels = portable::table("portable");
  return &kernels;
}
