/* GF(2^31 + 11): elements are uint32 below p. Products and sums are reduced without a branch or a
 * division. */
#ifndef PLMM_FIELD_INTERNAL_H
#define PLMM_FIELD_INTERNAL_H

#include "plmm/shamir.h"

/* z mod p for any z, by 2^31 = -11 twice and one conditional subtraction. */
static inline uint32_t plmm__reduce(uint64_t z)
{
    const uint64_t low = (UINT64_C(1) << 31) - 1;
    uint64_t w = (z & low) + 64 * (uint64_t)PLMM_SHAMIR_PRIME -
                 11 * (z >> 31);                                 /* 11 * 2^33 < 64 p; w < 2^38 */
    uint64_t v = (w & low) + PLMM_SHAMIR_PRIME - 11 * (w >> 31); /* 11 * 2^7 < p; v < 2 p */
    uint64_t r = v - PLMM_SHAMIR_PRIME;
    return (uint32_t)(r + (PLMM_SHAMIR_PRIME & (0 - (r >> 63))));
}

static inline uint32_t plmm__mul(uint32_t a, uint32_t b)
{
    return plmm__reduce((uint64_t)a * b);
}

static inline uint32_t plmm__sub(uint32_t a, uint32_t b)
{
    return plmm__reduce((uint64_t)a + PLMM_SHAMIR_PRIME - b);
}

/* 1 / a, or 0 of 0. */
uint32_t plmm__invert(uint32_t a);

/* s[0..b->m - b->t) = the syndromes of one limb of b->m shares. */
void plmm__syndromes(uint32_t *s, const plmm_shamir_basis *b, const plmm_share *shares,
                     size_t limb);

#endif
