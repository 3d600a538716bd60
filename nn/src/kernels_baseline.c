/* kernels_impl.h for the instructions that every processor of the family has. */
#define KERNELS_TABLE plmm__kernels_baseline
#define KERNELS_NAME  "baseline"
#define KERNELS_LANES 4
#include "kernels_impl.h"
