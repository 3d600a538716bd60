/* kernels_impl.h for AVX2. */
#define KERNELS_TABLE plmm__kernels_avx2
#define KERNELS_NAME  "avx2"
#define KERNELS_LANES 8
#include "kernels_impl.h"
