/* Clip, scale, weigh, round stochastically, and back. The bounds are in encode.h. */
#include "plmm/encode.h"

#include "mask_internal.h"
#include "plmm/bytes.h"

#include <math.h>
#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE 754");

/* ---- parameters ---- */

/* Largest magnitude of one device's lane: X or W. */
static uint64_t lane_max(const plmm_encoding *e)
{
    uint64_t x = (UINT64_C(1) << (e->quant_bits - 1)) - 1;
    return x > e->weight_max ? x : e->weight_max;
}

static uint64_t x_max(const plmm_encoding *e)
{
    return (UINT64_C(1) << (e->quant_bits - 1)) - 1;
}

/* Of every field but ring_bits. */
static plmm_status check_fields(const plmm_encoding *e, plmm_error *err)
{
    if (!(e->clip > 0x1p-100 && e->clip < 0x1p100)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot use clip %g: it must be positive and within 2^-100..2^100",
                         e->clip);
    }
    if (e->quant_bits < PLMM_QUANT_BITS_MIN || e->quant_bits > PLMM_QUANT_BITS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot use %u quantiser bits: they are %d..%d",
                         e->quant_bits, PLMM_QUANT_BITS_MIN, PLMM_QUANT_BITS_MAX);
    }
    if (e->weight_max < 1 || e->weight_max > INT32_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot use weight_max %u: it is 1..%d",
                         e->weight_max, INT32_MAX);
    }
    if (e->n_max < 1 || e->n_max > PLMM_COHORT_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot sum %u devices: they are 1..%d", e->n_max,
                         PLMM_COHORT_MAX);
    }
    return PLMM_OK;
}

uint32_t plmm_encoding_ring_bits(const plmm_encoding *e)
{
    if (check_fields(e, NULL) != PLMM_OK) {
        return 0;
    }
    uint64_t reach = e->n_max * lane_max(e); /* < 2^20 * 2^31 */
    for (uint32_t b = PLMM_RING_BITS_MIN; b <= PLMM_RING_BITS_MAX; b++) {
        if (reach <= (UINT64_C(1) << (b - 1)) - 1) {
            return b;
        }
    }
    return 0;
}

plmm_status plmm_encoding_check(const plmm_encoding *e, plmm_error *err)
{
    PLMM_TRY(check_fields(e, err));
    if (e->ring_bits < PLMM_RING_BITS_MIN || e->ring_bits > PLMM_RING_BITS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot use %u bits a coordinate: they are %d..%d",
                         e->ring_bits, PLMM_RING_BITS_MIN, PLMM_RING_BITS_MAX);
    }
    uint32_t need = plmm_encoding_ring_bits(e);
    if (need == 0) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot sum %u devices of up to %llu a coordinate: it needs more than %d "
                         "bits; lower n_max, the quantiser bits (%u) or weight_max (%u)",
                         e->n_max, (unsigned long long)lane_max(e), PLMM_RING_BITS_MAX,
                         e->quant_bits, e->weight_max);
    }
    if (e->ring_bits < need) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot sum %u devices of up to %llu a coordinate in %u bits: the sum "
                         "could wrap; use at least %u bits",
                         e->n_max, (unsigned long long)lane_max(e), e->ring_bits, need);
    }
    return PLMM_OK;
}

static void assert_checked(const plmm_encoding *e)
{
    PLMM_ASSERT(plmm_encoding_check(e, NULL) == PLMM_OK);
}

double plmm_encoding_scale(const plmm_encoding *e)
{
    assert_checked(e);
    return (double)x_max(e) / (e->clip * (double)e->weight_max);
}

/* ---- encoding ---- */

/* The exponent is all ones. */
static bool is_finite(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return (u & 0x7f800000) != 0x7f800000;
}

plmm_status plmm_vector_norm(double *norm, const float *x, size_t n, plmm_error *err)
{
    enum { LANES = 8 };
    double s[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            s[j] += (double)x[i + j] * (double)x[i + j]; /* exact product: 48 bits */
        }
    }
    for (size_t j = 0; i + j < n; j++) {
        s[j] += (double)x[i + j] * (double)x[i + j];
    }
    double sum = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
    if (!(sum < 0x1p1000)) { /* squares of finite floats stay below 2^256 each */
        for (size_t k = 0; k < n; k++) {
            if (!is_finite(x[k])) {
                return plmm_fail(err, PLMM_ERR_RANGE,
                                 "cannot encode the update: coordinate %zu of %zu is not a finite "
                                 "number; did training diverge?",
                                 k, n);
            }
        }
    }
    *norm = sqrt(sum);
    return PLMM_OK;
}

enum { TILE_LANES = 1024 };

/* floor(y), or one more if the random word is below the fraction; kept within the range that the
 * last bit of y's rounding error could leave. */
static uint32_t round_lane(double y, uint32_t word, double most, uint32_t low)
{
    double f = (double)(int64_t)y; /* |y| < 2^31, so this is exact; floor(y) is f or f - 1 */
    f -= f > y ? 1.0 : 0.0;
    double up = (double)word < (y - f) * 0x1p32 ? 1.0 : 0.0;
    double v = f + up;
    v = v > most ? most : v < -most ? -most : v;
    return (uint32_t)(int32_t)v & low;
}

plmm_status plmm_encode(uint32_t *x, double *norm, const plmm_encoding *e, const float *delta,
                        size_t d, uint32_t weight, const plmm_seed *rounding, plmm_error *err)
{
    assert_checked(e);
    if (weight < 1 || weight > e->weight_max) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot encode an update of weight %u: it is 1..%u",
                         weight, e->weight_max);
    }
    double l2 = 0;
    PLMM_TRY(plmm_vector_norm(&l2, delta, d, err));
    /* Three factors in one; |delta[i]| * factor <= X * (1 + 4 * 2^-53). */
    double shrink = l2 > e->clip ? e->clip / l2 : 1.0;
    double factor = shrink * (double)weight * plmm_encoding_scale(e);
    const double most = (double)x_max(e);
    const uint32_t low = plmm__low_bits(e->ring_bits);
    static const uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES];
    uint8_t key[32], words[4 * TILE_LANES];
    plmm_kdf(key, rounding->b, "round.v1", NULL, 0);
    for (size_t at = 0; at < d; at += TILE_LANES) {
        size_t m = d - at < TILE_LANES ? d - at : TILE_LANES;
        memset(words, 0, sizeof words);
        int rc = crypto_stream_chacha20_ietf_xor_ic(words, words, sizeof words, nonce,
                                                    (uint32_t)(at / 16), key);
        PLMM_ASSERT(rc == 0);
        for (size_t i = 0; i < m; i++) {
            uint32_t word = plmm_load_le32(words + 4 * i);
            x[at + i] = round_lane((double)delta[at + i] * factor, word, most, low);
        }
    }
    x[d] = weight;
    plmm_wipe(key, sizeof key);
    plmm_wipe(words, sizeof words);
    if (norm != NULL) {
        *norm = l2;
    }
    return PLMM_OK;
}

/* ---- decoding ---- */

static plmm_status check_sum(uint64_t *weight_sum, const plmm_encoding *e, const uint32_t *x,
                             size_t d, uint32_t devices, plmm_error *err)
{
    assert_checked(e);
    if (devices < 1 || devices > e->n_max) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot decode a sum of %u devices: they are 1..%u",
                         devices, e->n_max);
    }
    const int64_t reach = (int64_t)(devices * x_max(e));
    for (size_t i = 0; i < d; i++) {
        int64_t v = plmm_lane_signed(x[i], e->ring_bits);
        if (v > reach || v < -reach) {
            return plmm_fail(err, PLMM_ERR_PEER,
                             "cannot use the sum: coordinate %zu is %lld, and %u devices reach "
                             "%lld; a device sent a false vector or masks did not cancel",
                             i, (long long)v, devices, (long long)reach);
        }
    }
    int64_t w = plmm_lane_signed(x[d], e->ring_bits);
    if (w < (int64_t)devices || w > (int64_t)((uint64_t)devices * e->weight_max)) {
        return plmm_fail(err, PLMM_ERR_PEER,
                         "cannot use the sum: the weights of %u devices add to %lld, outside "
                         "%u..%llu; a device sent a false vector or masks did not cancel",
                         devices, (long long)w, devices,
                         (unsigned long long)devices * e->weight_max);
    }
    *weight_sum = (uint64_t)w;
    return PLMM_OK;
}

plmm_status plmm_decode_mean(float *mean, uint64_t *weight_sum, const plmm_encoding *e,
                             const uint32_t *x, size_t d, uint32_t devices, plmm_error *err)
{
    PLMM_TRY(check_sum(weight_sum, e, x, d, devices, err));
    const double divisor = plmm_encoding_scale(e) * (double)*weight_sum;
    for (size_t i = 0; i < d; i++) {
        mean[i] = (float)((double)plmm_lane_signed(x[i], e->ring_bits) / divisor);
    }
    return PLMM_OK;
}

plmm_status plmm_decode_sum(double *sum, uint64_t *weight_sum, const plmm_encoding *e,
                            const uint32_t *x, size_t d, uint32_t devices, plmm_error *err)
{
    PLMM_TRY(check_sum(weight_sum, e, x, d, devices, err));
    const double scale = plmm_encoding_scale(e);
    for (size_t i = 0; i < d; i++) {
        sum[i] = (double)plmm_lane_signed(x[i], e->ring_bits) / scale;
    }
    return PLMM_OK;
}
