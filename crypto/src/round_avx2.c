/* Stochastic rounding. */
#define ROUND plmm__round_avx2
#include "round_impl.h"
