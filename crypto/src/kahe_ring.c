/* The two primes and their powers of psi, made once in a process by whoever asks first. */
#include "kahe_internal.h"

#include <stdatomic.h>

#define PSI_0 UINT64_C(1094367314627419) /* 11^((q - 1) / 8192) */
#define PSI_1 UINT64_C(967006076000656)  /* 5^((q - 1) / 8192) */

static plmm__ring rings[PLMM_KAHE_PRIMES_MAX];

uint64_t plmm__pow_mod(uint64_t a, uint64_t e, const plmm__ring *r)
{
    uint64_t out = 1;
    for (int bit = 63; bit >= 0; bit--) {
        out = plmm__mul_mod(out, out, r);
        if ((e >> bit & 1) != 0) {
            out = plmm__mul_mod(out, a, r);
        }
    }
    return out;
}

static uint64_t invert(uint64_t a, const plmm__ring *r)
{
    return plmm__pow_mod(a, r->q - 2, r);
}

/* floor((2^50 - q) 2^78 / q), bit by bit. */
static uint64_t excess_of(uint64_t q)
{
    uint64_t rest = (UINT64_C(1) << 50) - q, out = 0;
    for (int i = 0; i < 78; i++) {
        rest <<= 1;
        out = out << 1 | (rest >= q ? 1 : 0);
        rest -= rest >= q ? q : 0;
    }
    return out;
}

static uint32_t reversed(uint32_t i)
{
    uint32_t out = 0;
    for (uint32_t bit = 1; bit < KAHE_N_MAX; bit <<= 1) {
        out = out << 1 | ((i & bit) != 0 ? 1 : 0);
    }
    return out;
}

static void powers(plmm__factor *out, plmm__factor *out52, uint64_t psi, const plmm__ring *r)
{
    uint64_t power = 1;
    for (uint32_t i = 0; i < KAHE_N_MAX; i++) {
        uint32_t at = reversed(i);
        out[at] = plmm__factor_of(power, r);
        out52[at] = plmm__factor52(out[at]);
        power = plmm__mul_mod(power, psi, r);
    }
}

static void ring_make(plmm__ring *r, uint64_t q, uint64_t psi)
{
    r->q = q;
    r->excess = excess_of(q);
    r->one = plmm__factor_of(1, r);
    r->by_28 = plmm__factor_of(UINT64_C(1) << 28, r);
    r->by_56 = plmm__factor_of(plmm__mul_mod(1 << 28, 1 << 28, r), r);
    r->by_size = plmm__factor_of(invert(4096, r), r);
    r->by_half = plmm__factor_of(invert(2048, r), r);
    r->by_q0 = plmm__factor_of(q == KAHE_PRIME_0 ? 0 : invert(KAHE_PRIME_0 - q, r), r);
    powers(r->forth, r->forth52, psi, r);
    powers(r->back, r->back52, invert(psi, r), r);
}

const plmm__ring *plmm__rings(void)
{
    enum { NEW, BUSY, READY };
    static atomic_int state;
    int seen = atomic_load_explicit(&state, memory_order_acquire);
    if (seen == READY) {
        return rings;
    }
    seen = NEW;
    if (atomic_compare_exchange_strong(&state, &seen, BUSY)) {
        ring_make(&rings[0], KAHE_PRIME_0, PSI_0);
        ring_make(&rings[1], KAHE_PRIME_1, PSI_1);
        atomic_store_explicit(&state, READY, memory_order_release);
    }
    while (atomic_load_explicit(&state, memory_order_acquire) != READY) {
        /* another thread is making them: about a millisecond, once in a process */
    }
    return rings;
}
