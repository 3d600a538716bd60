/* Masks: fast path equals reference, ranges equal the whole, sums cancel, lanes are uniform. */
#include "aes_internal.h"
#include "plmm/mask.h"
#include "plmm/rng.h"
#include "test.h"

enum { LANES = 5000, MASKS = 4 };

static uint32_t a[LANES], b[LANES], c[LANES];

static void random_bytes(plmm_rng *r, uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)plmm_rng_u64(r);
    }
}

static plmm_mask random_mask(plmm_rng *r, plmm_mask_sign sign)
{
    plmm_mask m;
    uint8_t secret[32];
    plmm_hash context;
    random_bytes(r, secret, sizeof secret);
    random_bytes(r, context.b, sizeof context.b);
    uint32_t stream = 1 + (uint32_t)plmm_rng_below(r, 2);
    CHECK(plmm_mask_init(&m, stream, secret, &context, sign, NULL) == PLMM_OK, "init");
    return m;
}

static uint32_t random_lanes(plmm_rng *r, uint32_t *x, size_t n)
{
    uint32_t bits = 8 + (uint32_t)plmm_rng_below(r, 25);
    for (size_t i = 0; i < n; i++) {
        x[i] = (uint32_t)plmm_rng_u64(r) & (UINT32_MAX >> (32 - bits));
    }
    return bits;
}

static plmm_mask_sign random_sign(plmm_rng *r)
{
    return plmm_rng_below(r, 2) == 0 ? PLMM_MASK_ADD : PLMM_MASK_SUB;
}

/* Every path at any length, offset and width, streams mixed, gives the lanes of a, which are those
 * of b masked; and again with the vector cut in two. */
static void check_paths(plmm_rng *r, size_t n, uint64_t offset, uint32_t bits, const plmm_mask *m,
                        size_t count)
{
    const plmm__aes *paths[PLMM__AES_PATHS];
    size_t all = plmm__aes_all(paths);
    for (size_t k = 0; k < all; k++) {
        size_t cut = (size_t)plmm_rng_below(r, n + 1);
        plmm__aes_use(paths[k]);
        memcpy(c, b, n * 4);
        plmm_mask_apply(c, n, offset, bits, m, count);
        CHECK(memcmp(a, c, n * 4) == 0, "%s: n %zu offset %" PRIu64 " bits %u", paths[k]->name, n,
              offset, bits);
        memcpy(c, b, n * 4);
        plmm_mask_apply(c + cut, n - cut, offset + cut, bits, m, count);
        plmm_mask_apply(c, cut, offset, bits, m, count);
        CHECK(memcmp(a, c, n * 4) == 0, "%s: cut at %zu of %zu", paths[k]->name, cut, n);
    }
    plmm__aes_use(NULL);
}

/* The reference is slow: few lanes beside it, and many of the paths beside each other. */
static void prop_paths_agree(plmm_rng *r, bool reference)
{
    plmm_mask m[MASKS];
    size_t count = 1 + (size_t)plmm_rng_below(r, MASKS);
    size_t n = (size_t)plmm_rng_below(r, (reference ? 300 : LANES) + 1);
    uint64_t offset = plmm_rng_below(r, 3) == 0 ? 0 : plmm_rng_below(r, UINT64_C(1) << 33);
    uint32_t bits = random_lanes(r, a, n);
    memcpy(b, a, sizeof a);
    for (size_t j = 0; j < count; j++) {
        m[j] = random_mask(r, random_sign(r));
    }
    (reference ? plmm_mask_apply_ref : plmm_mask_apply)(a, n, offset, bits, m, count);
    check_paths(r, n, offset, bits, m, count);
}

/* Every path makes the same round keys. */
static void prop_schedules_agree(plmm_rng *r)
{
    const plmm__aes *paths[PLMM__AES_PATHS];
    size_t all = plmm__aes_all(paths);
    uint8_t key[32], want[PLMM_MASK_KEY_BYTES], got[PLMM_MASK_KEY_BYTES];
    random_bytes(r, key, sizeof key);
    paths[all - 1]->expand(want, key);
    for (size_t k = 0; k + 1 < all; k++) {
        paths[k]->expand(got, key);
        CHECK(memcmp(got, want, sizeof got) == 0, "%s: round keys", paths[k]->name);
    }
}

static void prop_add_then_subtract(plmm_rng *r, int step)
{
    plmm_mask m = random_mask(r, PLMM_MASK_ADD);
    uint32_t bits = random_lanes(r, a, LANES);
    memcpy(b, a, sizeof a);
    plmm_mask_apply(a, LANES, 0, bits, &m, 1);
    CHECK(memcmp(a, b, sizeof a) != 0, "step %d: masked", step);
    m.sign = PLMM_MASK_SUB;
    plmm_mask_apply(a, LANES, 0, bits, &m, 1);
    CHECK(memcmp(a, b, sizeof a) == 0, "step %d: unmasked", step);
}

/* n parties, each pair shares a mask that one adds and the other subtracts: the sum is the
 * inputs'. */
static void prop_pairs_cancel(plmm_rng *r, int step)
{
    enum { PARTIES = 6, D = 100 };
    static uint32_t x[PARTIES][D];
    uint32_t plain[D] = {0}, masked[D] = {0}, bits = 0;
    bits = random_lanes(r, x[0], D);
    for (size_t i = 0; i < PARTIES; i++) {
        for (size_t j = 0; j < D; j++) {
            x[i][j] = (uint32_t)plmm_rng_u64(r) & (UINT32_MAX >> (32 - bits));
        }
        plmm_ring_add(plain, x[i], D, bits);
    }
    for (size_t i = 0; i < PARTIES; i++) {
        for (size_t j = i + 1; j < PARTIES; j++) {
            plmm_mask m = random_mask(r, PLMM_MASK_ADD);
            plmm_mask_apply(x[i], D, 0, bits, &m, 1);
            m.sign = PLMM_MASK_SUB;
            plmm_mask_apply(x[j], D, 0, bits, &m, 1);
        }
    }
    for (size_t i = 0; i < PARTIES; i++) {
        plmm_ring_add(masked, x[i], D, bits);
    }
    CHECK(memcmp(plain, masked, sizeof plain) == 0, "step %d: %u bits", step, bits);
}

/* Chi-square over the low byte and over the high byte of masked zeros and of masked ones: 255
 * degrees of freedom, mean 255, standard deviation 22.6; the bound is eight of them. */
static void prop_uniform(plmm_rng *r)
{
    for (uint32_t plain = 0; plain < 2; plain++) {
        uint32_t low[256] = {0}, high[256] = {0};
        const uint32_t total = 40 * LANES;
        for (int block = 0; block < 40; block++) {
            plmm_mask m = random_mask(r, PLMM_MASK_ADD);
            for (size_t i = 0; i < LANES; i++) {
                a[i] = plain;
            }
            plmm_mask_apply(a, LANES, 0, 20, &m, 1);
            for (size_t i = 0; i < LANES; i++) {
                low[a[i] & 255]++;
                high[a[i] >> 12]++;
            }
        }
        double chi_low = 0, chi_high = 0, mean = total / 256.0;
        for (size_t i = 0; i < 256; i++) {
            chi_low += (low[i] - mean) * (low[i] - mean) / mean;
            chi_high += (high[i] - mean) * (high[i] - mean) / mean;
        }
        CHECK(chi_low < 436 && chi_low > 74, "plain %u: low byte chi-square %g", plain, chi_low);
        CHECK(chi_high < 436 && chi_high > 74, "plain %u: high byte %g", plain, chi_high);
    }
}

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    for (int step = 0; step < 200; step++) {
        prop_paths_agree(&r, step % 4 == 0);
        prop_schedules_agree(&r);
        prop_add_then_subtract(&r, step);
        prop_pairs_cancel(&r, step);
    }
    prop_uniform(&r);
    return plmm_test_end();
}
