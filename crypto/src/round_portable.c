/* Stochastic rounding. */
#define ROUND plmm__round_portable
#include "round_impl.h"
