/* kernels_impl.h for AVX-512. */
#define KERNELS_TABLE plmm__kernels_avx512
#define KERNELS_NAME  "avx512"
#define KERNELS_LANES 16
#include "kernels_impl.h"
