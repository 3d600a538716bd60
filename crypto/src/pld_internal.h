/* pld_internal.h -- a loss distribution, shared by pld.c and pld_compose.c. */
#ifndef PLMM_PLD_INTERNAL_H
#define PLMM_PLD_INTERNAL_H

#include "plmm/pld.h"

struct plmm_pld {
    double interval;
    int64_t lo; /* mass[i] is at loss (lo + i) * interval */
    size_t n;
    double *mass;    /* (n), >= 0; together at least 1 - infinite, perhaps a little more */
    double infinite; /* mass at infinite loss */
    double skew;     /* bound of the error of the losses themselves */
};

/* All zero; NULL when out of memory. */
plmm_pld *plmm__pld_make(double interval, int64_t lo, size_t n);

#endif
