/* Encoding: bounds hold for any update, rounding is unbiased and tight, sums decode to the weighted
 * mean through masks and packing. */
#include "plmm/encode.h"
#include "plmm/rng.h"
#include "round_internal.h"
#include "simd_internal.h"
#include "test.h"

#include <math.h>

enum { D_MAX = 3000 };

static float delta[D_MAX];
static uint32_t x[D_MAX + 1], y[D_MAX + 1], z[D_MAX + 1];
static uint8_t bytes[4 * (D_MAX + 1)];

static plmm_seed random_seed(plmm_rng *r)
{
    plmm_seed s;
    for (size_t i = 0; i < sizeof s.b; i++) {
        s.b[i] = (uint8_t)plmm_rng_u64(r);
    }
    return s;
}

static plmm_encoding random_encoding(plmm_rng *r)
{
    plmm_encoding e = {0};
    do {
        e.clip = exp((double)plmm_rng_below(r, 20) - 10);
        e.quant_bits = 2 + (uint32_t)plmm_rng_below(r, 30);
        e.weight_max = 1 + (uint32_t)plmm_rng_below(r, 100);
        e.n_max = 1 + (uint32_t)plmm_rng_below(r, 1000);
        e.ring_bits = plmm_encoding_ring_bits(&e);
    } while (e.ring_bits == 0);
    return e;
}

static size_t random_delta(plmm_rng *r, double size)
{
    size_t d = (size_t)plmm_rng_below(r, D_MAX + 1);
    for (size_t i = 0; i < d; i++) {
        delta[i] = (float)(plmm_rng_normal(r) * size);
    }
    return d;
}

/* Every lane is within X and within one step of the exact value. */
static void prop_bounds(plmm_rng *r, int step)
{
    plmm_encoding e = random_encoding(r);
    size_t d = random_delta(r, e.clip * exp((double)plmm_rng_below(r, 16) - 12));
    uint32_t w = 1 + (uint32_t)plmm_rng_below(r, e.weight_max);
    plmm_seed seed = random_seed(r);
    plmm_error err = {0};
    double norm, most = (double)((UINT64_C(1) << (e.quant_bits - 1)) - 1);
    CHECK(plmm_encode(x, &norm, &e, delta, d, w, &seed, &err) == PLMM_OK, "%s", err.msg);
    double shrink = norm > e.clip ? e.clip / norm : 1, scale = plmm_encoding_scale(&e);
    for (size_t i = 0; i < d; i++) {
        double v = plmm_lane_signed(x[i], e.ring_bits);
        double exact = (double)delta[i] * shrink * w * scale;
        CHECK(fabs(v) <= most, "step %d: lane %zu is %g", step, i, v);
        CHECK(fabs(v - exact) < 1 + 1e-6, "step %d: lane %zu is %g for %g", step, i, v, exact);
        CHECK(x[i] >> (e.ring_bits - 1) >> 1 == 0, "step %d: lane %zu fits", step, i);
    }
    CHECK(x[d] == w, "step %d: the weight is last", step);
}

/* Lane i is rounded by word i of the documented stream, in every tile of a long vector. */
static void prop_rounding_words(plmm_rng *r, int step)
{
    const plmm_encoding e = {
        .clip = 1e6, .quant_bits = 24, .weight_max = 3, .n_max = 2, .ring_bits = 25};
    size_t d = random_delta(r, 1.0);
    plmm_seed seed = random_seed(r);
    CHECK(plmm_encode(x, NULL, &e, delta, d, 2, &seed, NULL) == PLMM_OK, "step %d", step);
    plmm_mask stream;
    const plmm_hash context = {{0}};
    uint8_t secret[32];
    plmm_kdf(secret, seed.b, "round.v3", NULL, 0);
    CHECK(plmm_mask_init(&stream, PLMM_STREAM_AES256CTR, secret, &context, PLMM_MASK_ADD, NULL) ==
              PLMM_OK,
          "stream");
    plmm_mask_fill(y, d, 0, &stream);
    for (size_t i = 0; i < d; i++) {
        double exact = (double)delta[i] * (2.0 * plmm_encoding_scale(&e));
        double down = floor(exact), up = plmm_lane_signed(x[i], e.ring_bits) - down;
        double word = (double)y[i] * 0x1p-32;
        CHECK(up == (word < exact - down ? 1.0 : 0.0), "step %d: lane %zu", step, i);
    }
}

/* Every set of instructions rounds alike, rotated or not, and reports the same norm. */
static void prop_paths(plmm_rng *r, int step)
{
    plmm_encoding e = random_encoding(r);
    size_t d = random_delta(r, e.clip * exp((double)plmm_rng_below(r, 16) - 12));
    plmm_seed seed = random_seed(r);
    if (d > 0 && plmm_rng_below(r, 2) == 0) {
        e.rotate = 1;
        e.length = (uint32_t)d;
    }
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        plmm__simd_use(level);
        memset(level == PLMM__SIMD_PORTABLE ? y : x, 0xa5, sizeof x);
        CHECK(plmm_encode(level == PLMM__SIMD_PORTABLE ? y : x, NULL, &e, delta, d, 1, &seed,
                          NULL) == PLMM_OK,
              "step %d", step);
        CHECK(level == PLMM__SIMD_PORTABLE || memcmp(x, y, sizeof x) == 0, "step %d: %s", step,
              plmm__simd_name(level));
    }
    plmm__simd_use(plmm__simd_widest());
}

/* Where a fraction of 2^-32 and less decides, in each place of a vector, by each path. */
static void test_edges(void)
{
    enum { X = (1 << 30) - 1, PLACES = 37 };
    static const struct {
        float v;
        uint32_t word;
        int32_t want;
    } rows[] = {{0, 0, 0},
                {-0.0f, 0, 0},
                {0x1p-149f, 0, 1}, /* up with a probability of 2^-32, the least there is */
                {0x1p-149f, 1, 0},
                {-0x1p-149f, UINT32_MAX, 0}, /* down with none: the fraction is 1 - 2^-149 */
                {0x1p-32f, 0, 1},
                {0x1p-32f, 1, 0},
                {0x1.8p-32f, 1, 1},
                {0x1.8p-32f, 2, 0},
                {-0x1p-32f, UINT32_MAX - 1, 0},
                {-0x1p-32f, UINT32_MAX, -1},
                {0.5f, (1u << 31) - 1, 1},
                {0.5f, 1u << 31, 0},
                {-2.5f, (1u << 31) - 1, -2},
                {-2.5f, 1u << 31, -3},
                {3, 0, 3},
                {-3, UINT32_MAX, -3},
                {0x1p30f, 0, X},
                {-0x1p30f, UINT32_MAX, -X},
                {0x1p127f, 0, X},
                {-0x1p127f, UINT32_MAX, -X}};
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        plmm__simd_use(level);
        for (size_t i = 0; i < COUNT(rows) * PLACES; i++) {
            float v[PLACES] = {0};
            uint32_t words[PLACES] = {0};
            int32_t got[PLACES], want = rows[i / PLACES].want;
            size_t at = i % PLACES;
            v[at] = rows[i / PLACES].v;
            words[at] = rows[i / PLACES].word;
            uint64_t square = plmm__round_now()(got, v, words, PLACES, 1, X);
            CHECK(got[at] == want && square == (uint64_t)want * (uint64_t)want,
                  "%s: row %zu at %zu is %d", plmm__simd_name(level), i / PLACES, at, got[at]);
        }
    }
}

/* The documented order of the sum, over lengths with and without whole turns of the lanes. */
static void prop_squares(plmm_rng *r, int step)
{
    size_t d = plmm_rng_below(r, 2) == 0 ? random_delta(r, 1e3) : plmm_rng_below(r, 100);
    double lanes[32] = {0};
    for (size_t i = 0; i < d; i++) {
        lanes[i % 32] += (double)delta[i] * (double)delta[i];
    }
    for (size_t half = 16; half > 0; half /= 2) {
        for (size_t j = 0; j < half; j++) {
            lanes[j] += lanes[j + half];
        }
    }
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        plmm__simd_use(level);
        double got = plmm__squares_now()(delta, d);
        CHECK(memcmp(&got, &lanes[0], sizeof got) == 0, "step %d: %s: %g for %g", step,
              plmm__simd_name(level), got, lanes[0]);
    }
}

/* Mean over seeds of one lane's value: the fraction, within six standard errors. */
static void prop_unbiased(plmm_rng *r)
{
    const plmm_encoding e = {
        .clip = 1e3, .quant_bits = 20, .weight_max = 1, .n_max = 1, .ring_bits = 20};
    enum { D = 8, ROUNDS = 20000 };
    double sum[D] = {0}, scale = plmm_encoding_scale(&e);
    for (size_t i = 0; i < D; i++) {
        delta[i] = (float)(((double)i * 0.13 - 0.4) / scale);
    }
    for (int k = 0; k < ROUNDS; k++) {
        plmm_seed seed = random_seed(r);
        CHECK(plmm_encode(x, NULL, &e, delta, D, 1, &seed, NULL) == PLMM_OK, "encode");
        for (size_t i = 0; i < D; i++) {
            sum[i] += plmm_lane_signed(x[i], e.ring_bits);
        }
    }
    for (size_t i = 0; i < D; i++) {
        double want = (double)delta[i] * scale, f = want - floor(want);
        double bound = 6 * sqrt(f * (1 - f) / ROUNDS) + 1e-9;
        CHECK(fabs(sum[i] / ROUNDS - want) <= bound, "lane %zu: %g for %g", i, sum[i] / ROUNDS,
              want);
    }
}

/* Devices encode, mask in a ring of pairs, pack; the sum is unpacked and decoded: the weighted mean
 * within the rounding bound, and the lanes equal the plain sum to the bit. */
static void prop_federated_mean(plmm_rng *r, int step)
{
    enum { D = 200 };
    plmm_encoding e = {.clip = 2,
                       .quant_bits = 14,
                       .weight_max = 30,
                       .n_max = 20,
                       .rotate = (uint32_t)step % 2,
                       .length = D,
                       .rotation = {{(uint8_t)step}}};
    e.ring_bits = plmm_encoding_ring_bits(&e);
    uint32_t n = 3 + (uint32_t)plmm_rng_below(r, 18);
    double want[D] = {0}, weights = 0;
    plmm_mask pair[21];
    const plmm_hash context = {{(uint8_t)step}};
    for (uint32_t i = 0; i < n; i++) {
        plmm_seed s = random_seed(r);
        CHECK(plmm_mask_init(&pair[i], 1, s.b, &context, PLMM_MASK_ADD, NULL) == PLMM_OK, "init");
    }
    memset(y, 0, sizeof y);
    memset(z, 0, sizeof z);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t w = 1 + (uint32_t)plmm_rng_below(r, 30);
        plmm_seed seed = random_seed(r);
        for (size_t j = 0; j < D; j++) {
            delta[j] = (float)(plmm_rng_normal(r) * 0.1); /* norm near 1.4: not clipped */
            want[j] += (double)delta[j] * w;
        }
        weights += w;
        CHECK(plmm_encode(x, NULL, &e, delta, D, w, &seed, NULL) == PLMM_OK, "encode");
        plmm_ring_add(z, x, D + 1, e.ring_bits);
        plmm_mask two[2] = {pair[i], pair[(i + 1) % n]};
        two[1].sign = PLMM_MASK_SUB;
        plmm_mask_apply(x, D + 1, 0, e.ring_bits, two, 2);
        plmm_pack(bytes, x, D + 1, e.ring_bits);
        size_t len = plmm_packed_bytes(D + 1, e.ring_bits);
        CHECK(plmm_unpack_add(y, D + 1, e.ring_bits, bytes, len, NULL) == PLMM_OK, "unpack");
    }
    CHECK(memcmp(y, z, (D + 1) * sizeof y[0]) == 0, "step %d: the sum of %u, bit for bit", step, n);
    float mean[D];
    uint64_t weight_sum = 0;
    plmm_error err = {0};
    CHECK(plmm_decode_mean(mean, &weight_sum, &e, y, D, n, &err) == PLMM_OK, "%s", err.msg);
    CHECK((double)weight_sum == weights, "step %d: weights", step);
    /* Rotated back, a coordinate has a share of every coordinate's error: 7 deviations of it. */
    double bound = (e.rotate ? 7 * sqrt(n / 4.0) : n) / plmm_encoding_scale(&e) / weights + 1e-6;
    for (size_t j = 0; j < D; j++) {
        CHECK(fabs((double)mean[j] - want[j] / weights) <= bound, "step %d: mean %zu is %g not %g",
              step, j, (double)mean[j], want[j] / weights);
    }
}

/* One mask left in: what should have been a sum is refused. */
static void prop_left_mask_is_seen(plmm_rng *r, int step)
{
    plmm_encoding e = {.clip = 1, .quant_bits = 10, .weight_max = 3, .n_max = 10, .ring_bits = 20};
    plmm_mask m;
    plmm_seed s = random_seed(r), rounding = random_seed(r);
    float mean[50] = {0};
    uint64_t w;
    for (size_t j = 0; j < 50; j++) {
        delta[j] = (float)plmm_rng_normal(r);
    }
    CHECK(plmm_encode(x, NULL, &e, delta, 50, 2, &rounding, NULL) == PLMM_OK, "encode");
    CHECK(plmm_mask_init(&m, 1, s.b, &(plmm_hash){{1}}, PLMM_MASK_ADD, NULL) == PLMM_OK, "init");
    plmm_mask_apply(x, 51, 0, e.ring_bits, &m, 1);
    CHECK(plmm_decode_mean(mean, &w, &e, x, 50, 1, NULL) == PLMM_ERR_PEER, "step %d", step);
}

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    for (int step = 0; step < 200; step++) {
        prop_bounds(&r, step);
        prop_paths(&r, step);
        prop_squares(&r, step);
        prop_rounding_words(&r, step);
        prop_federated_mean(&r, step);
        prop_left_mask_is_seen(&r, step);
    }
    test_edges();
    prop_unbiased(&r);
    return plmm_test_end();
}
