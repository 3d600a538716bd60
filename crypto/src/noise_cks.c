/* The discrete Gaussian of Canonne, Kamath and Steinke 2020 (algorithms 1 to 3), in integers. Times
 * depend on what is drawn: for tests and benchmarks only. */
#include "noise_cks.h"
#include "plmm/bytes.h"

/* True with probability exp(-a / b), a <= b: the parity of how many of a/b, a/2b, a/3b ... come. */
static bool exp_small(plmm__cks_source *s, uint64_t a, uint64_t b)
{
    uint64_t k = 1;
    while (s->bernoulli(s, a, b * k)) {
        k++;
    }
    return k % 2 == 1;
}

static bool exp_any(plmm__cks_source *s, uint64_t a, uint64_t b)
{
    while (a >= b) {
        if (!exp_small(s, 1, 1)) {
            return false;
        }
        a -= b;
    }
    return exp_small(s, a, b);
}

/* Discrete Laplace: P(y) proportional to exp(-|y| / t). */
static int64_t laplace(plmm__cks_source *s, uint64_t t)
{
    for (;;) {
        bool negative = s->bernoulli(s, 1, 2);
        uint64_t v = 0, u = s->uniform(s, t);
        while (!exp_small(s, u, t)) {
            u = s->uniform(s, t);
        }
        while (exp_small(s, 1, 1)) {
            v++;
        }
        int64_t y = (int64_t)(u + t * v);
        if (!negative || y != 0) {
            return negative ? -y : y;
        }
    }
}

int64_t plmm__cks_gaussian(plmm__cks_source *s, uint64_t units)
{
    uint64_t t = 1; /* floor(sigma) + 1 */
    while (PLMM_NOISE_UNITS * t * t <= units) {
        t++;
    }
    for (;;) {
        int64_t y = laplace(s, t);
        /* (|y| - sigma^2 / t)^2 / (2 sigma^2), sigma^2 = units / 16; |y| < 2^40 / 16 t in any life */
        int64_t gap = (int64_t)PLMM_NOISE_UNITS * (int64_t)t * (y < 0 ? -y : y) - (int64_t)units;
        uint64_t a = (uint64_t)(gap < 0 ? -gap : gap);
        if (a < UINT64_C(1) << 31 && exp_any(s, a * a, 32 * units * t * t)) {
            return y;
        }
    }
}

/* ---- the stream of a seed ---- */

typedef struct stream {
    plmm__cks_source source;
    plmm_seed seed;
    uint64_t blocks;
    size_t used;
    uint8_t octets[4096];
} stream;

static uint64_t next_word(stream *s)
{
    if (s->used == sizeof s->octets) {
        plmm_seed own;
        plmm_seed_derive(&own, &s->seed, "cks.blk1", s->blocks++);
        plmm_expand(s->octets, sizeof s->octets, &own, "cks.wrd1");
        plmm_wipe(&own, sizeof own);
        s->used = 0;
    }
    uint64_t v = plmm_load_le64(s->octets + s->used);
    s->used += 8;
    return v;
}

/* Uniform in 0..n-1, by rejection. */
static uint64_t uniform(plmm__cks_source *source, uint64_t n)
{
    stream *s = (stream *)source;
    if (n == 1) {
        return 0;
    }
    uint64_t low = n - 1;
    for (unsigned shift = 1; shift < 64; shift *= 2) {
        low |= low >> shift;
    }
    for (;;) {
        uint64_t v = next_word(s) & low;
        if (v < n) {
            return v;
        }
    }
}

static bool bernoulli(plmm__cks_source *source, uint64_t a, uint64_t b)
{
    return uniform(source, b) < a;
}

void plmm_noise_cks(int32_t *x, size_t n, uint64_t units, const plmm_seed *seed)
{
    PLMM_ASSERT(units >= 1 && units <= PLMM_NOISE_TABLE_UNITS);
    stream s = {.source = {uniform, bernoulli}, .seed = *seed, .used = sizeof s.octets};
    for (size_t i = 0; i < n; i++) {
        x[i] = (int32_t)plmm__cks_gaussian(&s.source, units);
    }
    plmm_wipe(&s, sizeof s);
}
