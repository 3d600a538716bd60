#include "plmm/rng.h"

#include "plmm/status.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, unsigned k)
{
    return x << k | x >> (64 - k);
}

void plmm_rng_init(plmm_rng *r, uint64_t seed, uint64_t stream)
{
    /* One finalised draw of each word, so that (1, 0) and (0, 1) do not meet. */
    uint64_t a = seed;
    uint64_t b = stream ^ UINT64_C(0xd1b54a32d192ed03);
    uint64_t x = splitmix64(&a) ^ rotl(splitmix64(&b), 32);
    for (unsigned i = 0; i < 4; i++) {
        r->s[i] = splitmix64(&x);
    }
}

uint64_t plmm_rng_u64(plmm_rng *r)
{
    uint64_t *s = r->s;
    uint64_t out = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

uint64_t plmm_rng_below(plmm_rng *r, uint64_t n)
{
    PLMM_ASSERT(n > 0);
    uint64_t reject = (UINT64_MAX - n + 1) % n; /* 2^64 mod n */
    uint64_t x = plmm_rng_u64(r);
    while (x < reject) {
        x = plmm_rng_u64(r);
    }
    return x % n;
}

double plmm_rng_double(plmm_rng *r)
{
    return (double)(plmm_rng_u64(r) >> 11) * 0x1p-53;
}

float plmm_rng_float(plmm_rng *r)
{
    return (float)(plmm_rng_u64(r) >> 40) * 0x1p-24f;
}

double plmm_rng_normal(plmm_rng *r)
{
    const double two_pi = 6.283185307179586;
    double u = 1.0 - plmm_rng_double(r); /* in (0, 1], so that log is finite */
    double v = plmm_rng_double(r);
    return sqrt(-2.0 * log(u)) * cos(two_pi * v);
}

void plmm_rng_shuffle(plmm_rng *r, uint32_t *x, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)plmm_rng_below(r, i);
        uint32_t t = x[i - 1];
        x[i - 1] = x[j];
        x[j] = t;
    }
}
