/* shamir_impl.h -- the arithmetic of sharing over registers of WIDTH words of 64 bits, an element
 * each. Included by one file a width (and by a test, for a field so small that everything can be
 * tried), which defines
 *
 *   vec, WIDTH             a register: 1, 4 or 8 words
 *   GROUP                  how many limbs' sums the registers hold: 3 or 9
 *   v_all(u)
 *   v_load(p), v_store     WIDTH words of 64 bits
 *   v_load32, v_store32    WIDTH elements
 *   v_add, v_sub, v_and, v_srl(x, bits)
 *   v_mul(a, b)            of the lower 32 bits
 *   v_wrap(x)              x, or x + PRIME where x is negative
 *   v_same(x)              1 where x is 0, else 0
 *   SPLIT, v_sum(lo, hi, a, b)
 *                          lo + hi 2^SPLIT grows by a b < 2^64; 2^12 times at least
 *
 * and may define PRIME with v_reduce(z), z mod PRIME, and the same of one word, reduce(z). Products
 * are of elements below PRIME. */
#include "field_internal.h"
#include "plmm/keys.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { LIMBS = PLMM_SHAMIR_LIMBS, FLIGHT = 4, FLIGHT_POINTS = FLIGHT * WIDTH };
_Static_assert(PLMM__SHARING_PAD % WIDTH == 0, "padded arrays are whole registers");
_Static_assert(LIMBS % GROUP == 0, "limbs are whole groups");

#if !defined(PRIME)
#define PRIME     PLMM_SHAMIR_PRIME
#define reduce(z) plmm__reduce(z)
/* z < 2^63, by 2^31 = -11 twice. */
INLINE vec v_reduce(vec z)
{
    const vec low = v_all((UINT64_C(1) << 31) - 1), eleven = v_all(11);
    vec w = v_sub(v_add(v_and(z, low), v_all(64 * (uint64_t)PRIME)),
                  v_mul(v_srl(z, 31), eleven)); /* 11 * 2^32 < 64 p; w < 2^38 */
    return v_wrap(v_sub(v_and(w, low), v_mul(v_srl(w, 31), eleven))); /* -11 * 2^7 <, < 2^31 */
}
#endif

INLINE vec v_times(vec a, vec b)
{
    return v_reduce(v_mul(a, b));
}

/* lo + hi 2^SPLIT mod PRIME. */
INLINE vec v_total(vec lo, vec hi)
{
    const vec base = v_all((UINT64_C(1) << SPLIT) % PRIME);
    return v_reduce(v_add(v_mul(v_reduce(hi), base), v_reduce(lo)));
}

/* ---- from the stream ---- */

static inline uint64_t word64(const uint32_t *w)
{
    return (uint64_t)w[1] << 32 | w[0];
}

/* Scalar C, which the compiler turns into vectors: once a coefficient, and not once a share. */
static void uniform(uint64_t *c, const uint32_t *words, size_t count)
{
    const uint64_t half = (UINT64_C(1) << 32) % PRIME * ((UINT64_C(1) << 32) % PRIME) % PRIME;
    for (size_t i = 0; i < count; i++) {
        uint64_t lo = reduce(word64(words + 4 * i)), hi = reduce(word64(words + 4 * i + 2));
        c[i] = reduce(hi * half + lo);
    }
}

/* ---- polynomials ---- */

/* power[k][f] = x_f^k for k <= rows: FLIGHT chains at once, as each waits for itself. */
INLINE void powers(vec power[][FLIGHT], const vec x[FLIGHT], size_t rows)
{
    UNROLL for (size_t f = 0; f < FLIGHT; f++)
    {
        power[0][f] = v_all(1);
    }
    for (size_t k = 1; k <= rows; k++) {
        UNROLL for (size_t f = 0; f < FLIGHT; f++)
        {
            power[k][f] = v_times(power[k - 1][f], x[f]);
        }
    }
}

/* y[l] = y[l] power[rows] + sum over k of c[LIMBS k + l] power[k] for GROUP limbs l. */
INLINE void horner(vec *y, vec power[][FLIGHT], size_t f, const uint64_t *c, size_t rows)
{
    vec lo[GROUP], hi[GROUP];
    UNROLL for (size_t l = 0; l < GROUP; l++)
    {
        lo[l] = v_all(0);
        hi[l] = v_all(0);
    }
    for (size_t k = 0; k < rows; k++) {
        const vec p = power[k][f];
        UNROLL for (size_t l = 0; l < GROUP; l++)
        {
            v_sum(lo[l], hi[l], p, v_all(c[LIMBS * k + l]));
        }
    }
    UNROLL for (size_t l = 0; l < GROUP; l++)
    {
        vec before = v_times(y[l], power[rows][f]);
        y[l] = v_reduce(v_add(before, v_total(lo[l], hi[l])));
    }
}

/* The values of WIDTH shares, one of which is in each word; those beyond the last are not stored. */
INLINE void at_points(plmm_share *shares, size_t n, vec power[][FLIGHT], size_t f,
                      const uint64_t *c, size_t rows)
{
    uint64_t each[LIMBS][WIDTH] = {{0}};
    for (size_t j = 0; j < n; j++) {
        for (size_t l = 0; l < LIMBS; l++) {
            each[l][j] = shares[j].y[l];
        }
    }
    for (size_t g = 0; g < LIMBS; g += GROUP) {
        vec y[GROUP];
        UNROLL for (size_t l = 0; l < GROUP; l++)
        {
            y[l] = v_load(each[g + l]);
        }
        horner(y, power, f, c + g, rows);
        UNROLL for (size_t l = 0; l < GROUP; l++)
        {
            v_store(each[g + l], y[l]);
        }
    }
    for (size_t j = 0; j < n; j++) {
        for (size_t l = 0; l < LIMBS; l++) {
            shares[j].y[l] = (uint32_t)each[l][j];
        }
    }
    plmm_wipe(each, sizeof each);
}

static void evaluate(plmm_share *shares, size_t n, const uint64_t *c, size_t rows)
{
    vec power[PLMM__SHARING_ROWS + 1][FLIGHT], x[FLIGHT];
    PLMM_ASSERT(rows <= PLMM__SHARING_ROWS);
    for (size_t i = 0; i < n; i += FLIGHT_POINTS) {
        uint64_t points[FLIGHT_POINTS] = {0};
        size_t m = n - i < FLIGHT_POINTS ? n - i : FLIGHT_POINTS;
        for (size_t j = 0; j < m; j++) {
            points[j] = shares[i + j].x;
        }
        for (size_t f = 0; f < FLIGHT; f++) {
            x[f] = v_load(points + f * WIDTH);
        }
        powers(power, x, rows);
        for (size_t f = 0; f * WIDTH < m; f++) {
            size_t left = m - f * WIDTH;
            at_points(shares + i + f * WIDTH, left < WIDTH ? left : WIDTH, power, f, c, rows);
        }
    }
}

/* ---- points ---- */

static void differences(uint32_t *d, const uint32_t *x, size_t m)
{
    for (size_t i = 0; i < m; i += FLIGHT_POINTS) {
        vec own[FLIGHT], product[FLIGHT];
        uint32_t near[FLIGHT_POINTS] = {0};
        size_t n = m - i < FLIGHT_POINTS ? m - i : FLIGHT_POINTS;
        memcpy(near, x + i, n * sizeof near[0]);
        UNROLL for (size_t f = 0; f < FLIGHT; f++)
        {
            own[f] = v_load32(near + f * WIDTH);
            product[f] = v_all(1);
        }
        for (size_t j = 0; j < m; j++) {
            const vec other = v_all(x[j]);
            UNROLL for (size_t f = 0; f < FLIGHT; f++)
            {
                vec t = v_wrap(v_sub(own[f], other));
                product[f] = v_times(product[f], v_add(t, v_same(t)));
            }
        }
        UNROLL for (size_t f = 0; f < FLIGHT; f++)
        {
            v_store32(near + f * WIDTH, product[f]);
        }
        memcpy(d + i, near, n * sizeof near[0]);
    }
}

static void multiply(uint32_t *a, const uint32_t *b, size_t m)
{
    for (size_t i = 0; i < m; i += WIDTH) {
        v_store32(a + i, v_times(v_load32(a + i), v_load32(b + i)));
    }
}

/* a^(PRIME - 2) */
INLINE vec v_inverse(vec a)
{
    vec r = v_all(1);
    for (int bit = 31; bit >= 0; bit--) {
        r = v_times(r, r);
        if ((((uint64_t)PRIME - 2) >> bit & 1) != 0) { /* public exponent */
            r = v_times(r, a);
        }
    }
    return r;
}

/* One inversion for all (Montgomery's trick), in each word of the register. */
static void invert(uint32_t *a, size_t m)
{
    vec before[PLMM_SHAMIR_SHARES_MAX / WIDTH], product = v_all(1);
    size_t whole = (m + WIDTH - 1) / WIDTH;
    for (size_t i = m; i < whole * WIDTH; i++) {
        a[i] = 1;
    }
    for (size_t i = 0; i < whole; i++) {
        before[i] = product;
        product = v_times(product, v_load32(a + i * WIDTH));
    }
    product = v_inverse(product);
    for (size_t i = whole; i-- > 0;) {
        vec next = v_times(product, v_load32(a + i * WIDTH));
        v_store32(a + i * WIDTH, v_times(product, before[i]));
        product = next;
    }
}

/* ---- sums of shares ---- */

/* Eight limbs lie in registers, the ninth is added beside them. */
enum { WIDE = (LIMBS - 1) / WIDTH };

static void weigh(uint32_t sums[LIMBS], const uint32_t *w, const plmm_share *shares, size_t m)
{
    vec lo[WIDE], hi[WIDE];
    uint64_t last_lo = 0, last_hi = 0;
    uint32_t each[8];
    UNROLL for (size_t f = 0; f < WIDE; f++)
    {
        lo[f] = v_all(0);
        hi[f] = v_all(0);
    }
    for (size_t i = 0; i < m; i++) {
        const vec weight = v_all(w[i]);
        uint64_t p = (uint64_t)w[i] * shares[i].y[LIMBS - 1];
        last_lo += (uint32_t)p;
        last_hi += p >> 32;
        UNROLL for (size_t f = 0; f < WIDE; f++)
        {
            v_sum(lo[f], hi[f], v_load32(shares[i].y + f * WIDTH), weight);
        }
    }
    UNROLL for (size_t f = 0; f < WIDE; f++)
    {
        v_store32(each + f * WIDTH, v_total(lo[f], hi[f]));
    }
    memcpy(sums, each, sizeof each);
    last_lo = reduce(last_lo);
    last_hi = reduce(last_hi);
    sums[LIMBS - 1] = (uint32_t)reduce(last_hi * ((UINT64_C(1) << 32) % PRIME) + last_lo);
    plmm_wipe(each, sizeof each);
}
