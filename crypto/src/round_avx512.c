/* Stochastic rounding. */
#define ROUND plmm__round_avx512
#include "round_impl.h"
