/* Sharing in plain C, an element at a time. */
#include "shamir_internal.h"
#include "simd_internal.h"

#include <string.h>

#define WIDTH 1
#define GROUP 3
#define SPLIT 32
typedef uint64_t vec;
#define v_all(u)        ((uint64_t)(u))
#define v_load(p)       (*(p))
#define v_store(p, x)   ((void)(*(p) = (x)))
#define v_load32(p)     ((uint64_t) * (p))
#define v_store32(p, x) ((void)(*(p) = (uint32_t)(x)))
#define v_add(a, b)     ((a) + (b))
#define v_sub(a, b)     ((a) - (b))
#define v_and(a, b)     ((a) & (b))
#define v_srl(x, bits)  ((x) >> (bits))
#define v_mul(a, b)     ((uint64_t)(uint32_t)(a) * (uint32_t)(b))
#define v_same(x)       ((uint64_t)((x) == 0))
#define v_sum(lo, hi, a, b)                                                                        \
    do {                                                                                           \
        uint64_t product = v_mul(a, b);                                                            \
        (lo) += (uint32_t)product;                                                                 \
        (hi) += product >> 32;                                                                     \
    } while (0)

static inline vec v_wrap(vec x)
{
    return x + (PLMM_SHAMIR_PRIME & (0 - (x >> 63)));
}
#include "shamir_impl.h"

const plmm__sharing plmm__sharing_portable = {"portable", uniform, evaluate, differences,
                                              multiply,   invert,  weigh};

const plmm__sharing *plmm__sharing_now(void)
{
#if defined(__x86_64__)
    static const plmm__sharing *const of[] = {&plmm__sharing_portable, &plmm__sharing_avx2,
                                              &plmm__sharing_avx512};
    return of[plmm__simd_now()];
#else
    return &plmm__sharing_portable;
#endif
}
