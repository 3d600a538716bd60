/* simd_internal.h -- how wide the vector code of packing and sharing may be on this processor.
 * Results are equal to the bit whatever it is. */
#ifndef PLMM_SIMD_INTERNAL_H
#define PLMM_SIMD_INTERNAL_H

#include "plmm/status.h"

typedef enum plmm__simd {
    PLMM__SIMD_PORTABLE,
    PLMM__SIMD_AVX2,
    PLMM__SIMD_AVX512, /* F, BW, DQ, VL and IFMA */
    PLMM__SIMD_COUNT
} plmm__simd;

/* The widest this processor has. */
plmm__simd plmm__simd_widest(void);

/* That, or what a test has asked for. */
plmm__simd plmm__simd_now(void);

/* For tests, before other threads: plmm__simd_now is `level`, at most plmm__simd_widest(), from now
 * on. */
void plmm__simd_use(plmm__simd level);

const char *plmm__simd_name(plmm__simd level);

#endif
