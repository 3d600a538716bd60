#define KERNELS_TABLE plmm__kernels_baseline
#define KERNELS_NAME  "baseline"
#define KERNELS_LANES 4
#include "kernels_impl.h"
