/* Clip, rotate, scale, weigh, round stochastically, add noise, and back. The bounds are in
 * encode.h. */
#include "plmm/encode.h"

#include "mask_internal.h"
#include "round_internal.h"
#include "simd_internal.h"

#include <math.h>
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

/* What is true of rotation and noise only. */
static plmm_status check_options(const plmm_encoding *e, plmm_error *err)
{
    if (e->rotate > 1 || e->clip_bit > 1 || plmm_noise_name(e->noise) == NULL) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot use rotate %u, clip_bit %u and noise %u: the first two are 0 or 1, "
            "noise is 0 (none), 1 (skellam) or 2 (gaussian)",
            e->rotate, e->clip_bit, e->noise);
    }
    if ((e->rotate != 0 || e->noise != 0) &&
        (e->length < 1 || e->length > UINT32_C(1) << PLMM_ROTATE_MAX_LOG2)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot rotate or noise %u coordinates: they are "
                         "1..2^%d",
                         e->length, PLMM_ROTATE_MAX_LOG2);
    }
    if (e->noise == 0 && e->noise_sum != 0) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot have no noise of variance %llu/16",
                         (unsigned long long)e->noise_sum);
    }
    if (e->noise != 0 && (e->weight_max != 1 || e->quant_bits > PLMM_QUANT_BITS_MAX_NOISE ||
                          e->noise_sum > UINT64_C(1) << 60)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot add noise of variance %llu/16 to weight_max %u and %u quantiser "
                         "bits: with noise everybody weighs 1, quantiser bits are at most %d, a "
                         "variance at most 2^60/16",
                         (unsigned long long)e->noise_sum, e->weight_max, e->quant_bits,
                         PLMM_QUANT_BITS_MAX_NOISE);
    }
    return PLMM_OK;
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
    return check_options(e, err);
}

/* Of checked fields. */
static uint64_t reach_of(const plmm_encoding *e, uint32_t devices)
{
    uint64_t plain = devices * lane_max(e); /* < 2^20 * 2^31 */
    double each = ldexp(1.0, -PLMM_WRAP_LOG2) / (double)plmm_encoding_lanes(e, e->length);
    return plain + (uint64_t)plmm_noise_tail(e->noise, (double)e->noise_sum, each);
}

uint32_t plmm_encoding_ring_bits(const plmm_encoding *e)
{
    if (check_fields(e, NULL) != PLMM_OK) {
        return 0;
    }
    uint64_t reach = reach_of(e, e->n_max);
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
    const char *noise = e->noise_sum > 0 ? " and their noise" : "";
    if (need == 0) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot sum %u devices of up to %llu a coordinate%s: it needs more than "
                         "%d bits; lower n_max, the quantiser bits (%u) or weight_max (%u)",
                         e->n_max, (unsigned long long)lane_max(e), noise, PLMM_RING_BITS_MAX,
                         e->quant_bits, e->weight_max);
    }
    if (e->ring_bits < need) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot sum %u devices of up to %llu a coordinate%s in %u bits: the sum "
                         "could wrap; use at least %u bits",
                         e->n_max, (unsigned long long)lane_max(e), noise, e->ring_bits, need);
    }
    return PLMM_OK;
}

static void assert_checked(const plmm_encoding *e)
{
    PLMM_ASSERT(plmm_encoding_check(e, NULL) == PLMM_OK);
}

/* F: how much finer the lattice may be when a rotation has spread a vector. */
static double spread(const plmm_encoding *e)
{
    if (e->rotate == 0) {
        return 1;
    }
    int p = 0;
    while (e->length >> p > 1) {
        p++;
    }
    double f = sqrt(ldexp(1.0, p)) / 8;
    return f > 1 ? f : 1;
}

double plmm_encoding_scale(const plmm_encoding *e)
{
    assert_checked(e);
    return (double)x_max(e) * spread(e) / (e->clip * (double)e->weight_max);
}

size_t plmm_encoding_lanes(const plmm_encoding *e, size_t d)
{
    return d + (e->noise == 0 ? 1 : 0) + (e->clip_bit != 0 ? 1 : 0);
}

uint64_t plmm_encoding_reach(const plmm_encoding *e, uint32_t devices)
{
    assert_checked(e);
    return reach_of(e, devices);
}

double plmm_encoding_wrap(const plmm_encoding *e)
{
    assert_checked(e);
    double room = ldexp(1.0, (int)e->ring_bits - 1) - (double)e->n_max * (double)lane_max(e);
    return (double)plmm_encoding_lanes(e, e->length) *
           plmm_noise_tail_probability(e->noise, (double)e->noise_sum, room);
}

/* ---- what differential privacy asks ---- */

/* c: the clip in lattice units. */
static double lattice_clip(const plmm_encoding *e)
{
    return (double)x_max(e) * spread(e);
}

/* L2^2 of conditional rounding (Kairouz, Liu, Steinke 2021, equation 3), beta = exp(-1/2). */
static double rounded_square(const plmm_encoding *e)
{
    const double c = lattice_clip(e), d = e->length, root = sqrt(d);
    double sure = (c + root) * (c + root), likely = c * c + d / 4 + (c + root / 2);
    return sure < likely ? sure : likely;
}

uint32_t plmm_encoding_clip_amplitude(const plmm_encoding *e)
{
    if (e->noise == 0) {
        return 1;
    }
    double a = lattice_clip(e) / 10, most = (double)x_max(e);
    return (uint32_t)(a > most ? most : a < 1 ? 1 : a);
}

void plmm_encoding_sensitivity(const plmm_encoding *e, double *l2, double *l1)
{
    PLMM_ASSERT(check_fields(e, NULL) == PLMM_OK && e->noise != 0);
    double a = e->clip_bit != 0 ? plmm_encoding_clip_amplitude(e) : 0;
    double lanes = (double)plmm_encoding_lanes(e, e->length);
    double norm = sqrt(floor(rounded_square(e)) + a * a) * (1 + 0x1p-50);
    double root = sqrt(lanes);
    *l2 = norm;
    *l1 = norm * (root < norm ? root : norm);
}

uint32_t plmm_encoding_quant_bits(const plmm_encoding *e, double overhead)
{
    plmm_encoding t = *e;
    uint32_t most = e->noise != 0 ? PLMM_QUANT_BITS_MAX_NOISE : PLMM_QUANT_BITS_MAX;
    for (t.quant_bits = PLMM_QUANT_BITS_MIN; t.quant_bits < most; t.quant_bits++) {
        double c = lattice_clip(&t), error = sqrt((double)t.length) / 2;
        double cost = e->noise != 0 ? sqrt(rounded_square(&t)) / c - 1 : error / c;
        if (cost <= overhead) {
            break;
        }
    }
    return t.quant_bits;
}

uint64_t plmm_encoding_noise_units(const plmm_encoding *e, double multiplier)
{
    double l2, l1;
    plmm_encoding_sensitivity(e, &l2, &l1);
    double units = ceil(PLMM_NOISE_UNITS * (multiplier * l2) * (multiplier * l2));
    return units >= 1 && units <= 0x1p60 ? (uint64_t)units : 0;
}

/* ---- encoding ---- */

#if defined(__x86_64__)
#define PATH(name)                                                                                 \
    (plmm__simd_now() == PLMM__SIMD_AVX512 ? plmm__##name##_avx512                                 \
     : plmm__simd_now() == PLMM__SIMD_AVX2 ? plmm__##name##_avx2                                   \
                                           : plmm__##name##_portable)
#else
#define PATH(name) plmm__##name##_portable
#endif

plmm__round_fn *plmm__round_now(void)
{
    return PATH(round);
}

plmm__squares_fn *plmm__squares_now(void)
{
    return PATH(squares);
}

/* The exponent is all ones. */
static bool is_finite(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return (u & 0x7f800000) != 0x7f800000;
}

plmm_status plmm_vector_norm(double *norm, const float *x, size_t n, plmm_error *err)
{
    double sum = plmm__squares_now()(x, n);
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

/* x[i] = rounded v[i] factor; v may lie where x does. Returns the sum of squares if that fits
 * (always, with at most PLMM_QUANT_BITS_MAX_NOISE bits). */
static uint64_t round_lanes(int32_t *x, const plmm__float *v, size_t d, double factor, double most,
                            const plmm_seed *seed)
{
    const plmm_hash context = {{0}};
    plmm__round_fn *round = plmm__round_now();
    uint8_t secret[32];
    plmm_mask stream;
    _Alignas(64) uint32_t words[TILE_LANES];
    uint64_t square = 0;
    plmm_kdf(secret, seed->b, "round.v3", NULL, 0);
    plmm_status rc =
        plmm_mask_init(&stream, PLMM_STREAM_AES256CTR, secret, &context, PLMM_MASK_ADD, NULL);
    PLMM_ASSERT(rc == PLMM_OK); /* every build has it */
    for (size_t at = 0; at < d; at += TILE_LANES) {
        size_t m = d - at < TILE_LANES ? d - at : TILE_LANES;
        plmm_mask_fill(words, m, at, &stream);
        square += round(x + at, v + at, words, m, factor, most);
    }
    plmm_wipe(secret, sizeof secret);
    plmm_wipe(&stream, sizeof stream);
    plmm_wipe(words, sizeof words);
    return square;
}

/* x[0..d) = rounded lanes of delta clipped to shrink times it. Returns the sum of squares. */
static uint64_t place_lanes(int32_t *x, const plmm_encoding *e, const float *delta, size_t d,
                            double shrink, uint32_t weight, const plmm_seed *seed)
{
    const double most = (double)x_max(e);
    double factor = (double)weight * plmm_encoding_scale(e);
    if (e->rotate == 0) {
        /* Three factors in one; |delta[i]| * factor <= X * (1 + 4 * 2^-53). */
        return round_lanes(x, delta, d, shrink * factor, most, seed);
    }
    size_t count;
    plmm__float *v = (plmm__float *)x;
    for (size_t i = 0; i < d; i++) {
        v[i] = shrink < 1 ? (float)((double)delta[i] * shrink) : delta[i];
    }
    plmm__rotate(plmm__hadamard_paths(&count)[0], v, d, &e->rotation);
    return round_lanes(x, v, d, factor, most, seed);
}

static plmm_status check_input(const plmm_encoding *e, size_t d, uint32_t weight,
                               const plmm_xnoise *noise, plmm_error *err)
{
    assert_checked(e);
    if (weight < 1 || weight > e->weight_max) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot encode an update of weight %u: it is 1..%u",
                         weight, e->weight_max);
    }
    if ((e->rotate != 0 || e->noise != 0) && d != e->length) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot encode %zu coordinates: they are %u", d,
                         e->length);
    }
    if (noise != NULL) {
        PLMM_ASSERT(noise->kind == e->noise);
        PLMM_TRY(plmm_xnoise_check(noise, err));
    }
    return PLMM_OK;
}

plmm_status plmm_encode_int(int32_t *x, double *norm, const plmm_encoding *e, const float *delta,
                            size_t d, uint32_t weight, const plmm_xnoise *noise,
                            const plmm_seed *seed, plmm_error *err)
{
    PLMM_TRY(check_input(e, d, weight, noise, err));
    double l2 = 0;
    PLMM_TRY(plmm_vector_norm(&l2, delta, d, err));
    double shrink = l2 > e->clip ? e->clip / l2 : 1.0;
    uint64_t square = place_lanes(x, e, delta, d, shrink, weight, seed);
    if (e->noise != 0) {
        const double most = floor(rounded_square(e));
        for (uint64_t k = 1; (double)square > most; k++) {
            plmm_seed again;
            plmm_seed_derive(&again, seed, "round.v2", k);
            square = place_lanes(x, e, delta, d, shrink, weight, &again);
            plmm_wipe(&again, sizeof again);
        }
    } else {
        x[d] = (int32_t)weight;
    }
    size_t lanes = plmm_encoding_lanes(e, d);
    if (e->clip_bit != 0) {
        int32_t a = (int32_t)plmm_encoding_clip_amplitude(e);
        x[lanes - 1] = l2 <= e->clip ? a : -a;
    }
    if (norm != NULL) {
        *norm = l2;
    }
    if (noise == NULL) {
        return PLMM_OK;
    }
    plmm_seed root;
    plmm_xnoise_root(&root, seed);
    plmm_status rc = plmm_xnoise_add(x, lanes, noise, &root, err);
    plmm_wipe(&root, sizeof root);
    return rc;
}

void plmm_lanes_reduce(int32_t *x, size_t n, uint32_t bits)
{
    const uint32_t low = plmm__low_bits(bits);
    for (size_t i = 0; i < n; i++) {
        x[i] = (int32_t)((uint32_t)x[i] & low);
    }
}

plmm_status plmm_encode(uint32_t *x, double *norm, const plmm_encoding *e, const float *delta,
                        size_t d, uint32_t weight, const plmm_seed *seed, plmm_error *err)
{
    PLMM_ASSERT(e->noise == 0);
    int32_t *lanes = (int32_t *)x;
    PLMM_TRY(plmm_encode_int(lanes, norm, e, delta, d, weight, NULL, seed, err));
    plmm_lanes_reduce(lanes, plmm_encoding_lanes(e, d), e->ring_bits);
    return PLMM_OK;
}

void plmm_encode_residual(float *residual, const plmm_encoding *e, const int32_t *x,
                          const float *delta, size_t d, uint32_t weight)
{
    PLMM_ASSERT(e->noise == 0);
    const double scale = plmm_encoding_scale(e) * (double)weight,
                 l2 = sqrt(plmm__squares_now()(delta, d));
    const double shrink = l2 > e->clip ? e->clip / l2 : 1.0;
    if (e->rotate == 0) {
        for (size_t i = 0; i < d; i++) {
            residual[i] = (float)((double)delta[i] * shrink - (double)x[i] / scale);
        }
        return;
    }
    for (size_t i = 0; i < d; i++) {
        residual[i] = (float)((double)delta[i] * shrink);
    }
    plmm_rotate(residual, d, &e->rotation);
    for (size_t i = 0; i < d; i++) {
        residual[i] = (float)((double)residual[i] - (double)x[i] / scale);
    }
    plmm_unrotate(residual, d, &e->rotation);
}

/* ---- decoding ---- */

/* The weight's lane: *weight_sum. */
static plmm_status check_weight(uint64_t *weight_sum, const plmm_encoding *e, uint32_t lane,
                                uint32_t devices, plmm_error *err)
{
    int64_t w = plmm_lane_signed(lane, e->ring_bits);
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

static plmm_status check_sum(uint64_t *weight_sum, const plmm_encoding *e, const uint32_t *x,
                             size_t d, uint32_t devices, plmm_error *err)
{
    assert_checked(e);
    if (devices < 1 || devices > e->n_max) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot decode a sum of %u devices: they are 1..%u",
                         devices, e->n_max);
    }
    if ((e->rotate != 0 || e->noise != 0) && d != e->length) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot decode %zu coordinates: they are %u", d,
                         e->length);
    }
    plmm_encoding plain = *e; /* of coordinates: a large weight gives them no room */
    plain.weight_max = 1;
    const int64_t reach = (int64_t)reach_of(&plain, devices);
    for (size_t i = 0; i < d; i++) {
        int64_t v = plmm_lane_signed(x[i], e->ring_bits);
        if (v > reach || v < -reach) {
            return plmm_fail(err, PLMM_ERR_PEER,
                             "cannot use the sum: coordinate %zu is %lld, and %u devices reach "
                             "%lld; a device sent a false vector or masks did not cancel",
                             i, (long long)v, devices, (long long)reach);
        }
    }
    if (e->noise != 0) {
        *weight_sum = devices;
        return PLMM_OK;
    }
    return check_weight(weight_sum, e, x[d], devices, err);
}

plmm_status plmm_decode_mean(float *mean, uint64_t *weight_sum, const plmm_encoding *e,
                             const uint32_t *x, size_t d, uint32_t devices, plmm_error *err)
{
    PLMM_TRY(check_sum(weight_sum, e, x, d, devices, err));
    const double divisor = plmm_encoding_scale(e) * (double)*weight_sum;
    for (size_t i = 0; i < d; i++) {
        mean[i] = (float)((double)plmm_lane_signed(x[i], e->ring_bits) / divisor);
    }
    if (e->rotate != 0) {
        plmm_unrotate(mean, d, &e->rotation);
    }
    return PLMM_OK;
}

/* Rotated back as floats in the first half of the doubles' memory, then spread from the end. */
static void unrotate_doubles(double *sum, size_t d, const plmm_hash *rotation)
{
    typedef double __attribute__((may_alias)) wide;
    plmm__float *v = (plmm__float *)sum;
    wide *w = sum;
    size_t count;
    for (size_t i = 0; i < d; i++) {
        v[i] = (float)w[i];
    }
    plmm__unrotate(plmm__hadamard_paths(&count)[0], v, d, rotation);
    for (size_t i = d; i-- > 0;) {
        w[i] = (double)v[i];
    }
}

plmm_status plmm_decode_sum(double *sum, uint64_t *weight_sum, const plmm_encoding *e,
                            const uint32_t *x, size_t d, uint32_t devices, plmm_error *err)
{
    PLMM_TRY(check_sum(weight_sum, e, x, d, devices, err));
    const double scale = plmm_encoding_scale(e);
    for (size_t i = 0; i < d; i++) {
        sum[i] = (double)plmm_lane_signed(x[i], e->ring_bits) / scale;
    }
    if (e->rotate != 0) {
        unrotate_doubles(sum, d, &e->rotation);
    }
    return PLMM_OK;
}

double plmm_decode_clip_count(const plmm_encoding *e, const uint32_t *x, size_t d, uint32_t devices)
{
    assert_checked(e);
    PLMM_ASSERT(e->clip_bit != 0);
    double lane = plmm_lane_signed(x[plmm_encoding_lanes(e, d) - 1], e->ring_bits);
    return (lane / plmm_encoding_clip_amplitude(e) + devices) / 2;
}
