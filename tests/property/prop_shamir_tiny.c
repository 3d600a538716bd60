/* Sharing over the field of eleven elements, by the same code as over the large one: every polynomial
 * of degree up to one is shared at every choice of five points (of degree two at 28 of them, of
 * degree three at two), and then
 *
 *   any t shares give the secret,
 *   any t - 1 shares fit every secret equally: for each secret, each tuple of t - 1 values comes from
 *   exactly one polynomial, so what they show has one and the same distribution whatever was shared.
 */
#include "shamir_internal.h"

#define PRIME 11
#define WIDTH 1
#define GROUP 3
#define SPLIT 32
typedef uint64_t vec;
#define v_all(u)        ((uint64_t)(u))
#define v_load(q)       (*(q))
#define v_store(q, x)   ((void)(*(q) = (x)))
#define v_load32(q)     ((uint64_t) * (q))
#define v_store32(q, x) ((void)(*(q) = (uint32_t)(x)))
#define v_add(a, b)     ((a) + (b))
#define v_sub(a, b)     ((a) - (b))
#define v_mul(a, b)     ((uint64_t)(uint32_t)(a) * (uint32_t)(b))
#define v_same(x)       ((uint64_t)((x) == 0))
#define v_wrap(x)       ((x) + (PRIME & (0 - ((x) >> 63))))
#define v_reduce(z)     ((z) % PRIME)
#define reduce(z)       ((z) % PRIME)
#define v_sum(lo, hi, a, b)                                                                        \
    do {                                                                                           \
        uint64_t product = v_mul(a, b);                                                            \
        (lo) += (uint32_t)product;                                                                 \
        (hi) += product >> 32;                                                                     \
    } while (0)
#include "shamir_impl.h"

#include "test.h"

enum { N = 5, T_MAX = 4, SETS = 1 << N };

static const plmm__sharing tiny = {"tiny", uniform, evaluate, differences, multiply, invert, weigh};

/* What is looked up of one choice of points and t: how often a secret came with a tuple of values. */
static uint8_t seen[SETS][PRIME][PRIME * PRIME * PRIME];

static size_t ones(unsigned set)
{
    return (size_t)__builtin_popcount(set);
}

/* The members of a set of shares, in order. */
static size_t members(plmm_share *out, const plmm_share shares[N], unsigned set)
{
    size_t m = 0;
    for (size_t i = 0; i < N; i++) {
        if ((set >> i & 1) != 0) {
            out[m++] = shares[i];
        }
    }
    return m;
}

/* The values at 0 of the polynomials through m shares, by the weights of the large field's basis. */
static void at_zero(uint32_t secrets[LIMBS], const plmm_share *s, size_t m)
{
    uint32_t xs[8] = {0}, w[8], minus[8] = {0}, all = 1;
    for (size_t i = 0; i < m; i++) {
        xs[i] = s[i].x;
        minus[i] = PRIME - s[i].x;
        all = all * minus[i] % PRIME;
    }
    tiny.differences(w, xs, m);
    tiny.multiply(w, minus, m);
    tiny.invert(w, m);
    for (size_t i = 0; i < m; i++) {
        w[i] = w[i] * all % PRIME;
    }
    tiny.weigh(secrets, w, s, m);
}

/* Nine polynomials at once, one a limb. */
static void look(const plmm_share shares[N], const uint64_t *c, uint32_t t)
{
    for (unsigned set = 1; set < SETS; set++) {
        plmm_share s[N];
        size_t m = members(s, shares, set);
        if (m >= t) {
            uint32_t secrets[LIMBS];
            at_zero(secrets, s, m);
            for (size_t l = 0; l < LIMBS; l++) {
                CHECK(secrets[l] == c[l], "t %u, set %x, limb %zu", t, set, l);
            }
        }
        for (size_t l = 0; m == t - 1 && l < LIMBS; l++) {
            size_t tuple = 0;
            for (size_t i = 0; i < m; i++) {
                tuple = tuple * PRIME + s[i].y[l];
            }
            seen[set][c[l]][tuple]++;
        }
    }
}

/* Rows one by one from the highest must give what all at once give. */
static void share(plmm_share shares[N], const uint32_t xs[N], const uint64_t *c, uint32_t t)
{
    plmm_share again[N];
    for (size_t i = 0; i < N; i++) {
        shares[i] = again[i] = (plmm_share){.x = xs[i]};
    }
    tiny.evaluate(shares, N, c, t);
    for (size_t row = t; row-- > 0;) {
        tiny.evaluate(again, N, c + LIMBS * row, 1);
    }
    CHECK(memcmp(shares, again, sizeof again) == 0, "t %u: rows one by one", t);
}

static void try_all(const uint32_t xs[N], uint32_t t)
{
    plmm_share shares[N];
    uint64_t c[T_MAX * LIMBS], polynomials = 1, tuples = 1;
    for (uint32_t k = 0; k < t; k++) {
        tuples = polynomials;
        polynomials *= PRIME;
    }
    memset(seen, 0, sizeof seen);
    /* Nine times each, once in each limb's place. */
    for (uint64_t first = 0; first < polynomials; first++) {
        for (size_t l = 0; l < LIMBS; l++) {
            uint64_t rest = (first + l) % polynomials;
            for (size_t k = 0; k < t; k++, rest /= PRIME) {
                c[LIMBS * k + l] = rest % PRIME;
            }
        }
        share(shares, xs, c, t);
        look(shares, c, t);
    }
    for (unsigned set = 1; set < SETS; set++) {
        for (size_t secret = 0; ones(set) == t - 1 && secret < PRIME; secret++) {
            for (size_t tuple = 0; tuple < tuples; tuple++) {
                CHECK(seen[set][secret][tuple] == LIMBS, "t %u, set %x, secret %zu, tuple %zu", t,
                      set, secret, tuple);
            }
        }
    }
}

int main(void)
{
    int choices = 0;
    for (unsigned set = 0; set < 1u << (PRIME - 1); set++) {
        uint32_t xs[N];
        size_t n = 0;
        if (ones(set) != N) {
            continue;
        }
        for (uint32_t x = 1; x < PRIME; x++) {
            if ((set >> (x - 1) & 1) != 0) {
                xs[n++] = x;
            }
        }
        uint32_t most = choices % 126 == 0 ? T_MAX : choices % 9 == 0 ? T_MAX - 1 : T_MAX - 2;
        for (uint32_t t = 1; t <= most; t++) {
            try_all(xs, t);
        }
        choices++;
    }
    CHECK(choices == 252, "every five of ten points");
    return plmm_test_end();
}
