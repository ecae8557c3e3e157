#include "../kernels.h"
const unillm::Kernels* unillm::kernels_avx512bf16() { return nullptr; }
