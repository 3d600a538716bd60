/* crypto/encode: vectors, the no-wrap bound at its edge, refusals, packing of foreign bytes; with
 * noise: conditional rounding, sensitivity, the wrap bound, the clip's bit; rotation, residuals. */
#include "plmm/account.h"
#include "plmm/bytes.h"
#include "plmm/encode.h"
#include "plmm/rotate.h"
#include "test.h"
#include "vec.h"

#include <math.h>

static const char *const file = "tests/vectors/crypto.vec";
static const plmm_encoding sane = {
    .clip = 1.0, .quant_bits = 16, .weight_max = 20, .n_max = 100, .ring_bits = 23};

static void test_vector(const char *name)
{
    char key[40];
    vec delta_v = vec_get(file, "encode.delta");
    (void)snprintf(key, sizeof key, "encode.%s.params", name);
    vec p = vec_get(file, key);
    (void)snprintf(key, sizeof key, "encode.%s.norm", name);
    vec norm_v = vec_get(file, key);
    (void)snprintf(key, sizeof key, "encode.%s.lanes", name);
    vec lanes = vec_get(file, key);
    (void)snprintf(key, sizeof key, "encode.%s.packed", name);
    vec packed = vec_get(file, key);
    float delta[64];
    uint32_t x[65], back[65];
    uint8_t bytes[4 * 65];
    size_t d = delta_v.len / 4;
    plmm_encoding e = {.n_max = 10};
    plmm_seed seed;
    plmm_error err = {0};
    double norm;
    memcpy(delta, delta_v.b, delta_v.len);
    memcpy(&e.clip, p.b, 8);
    e.quant_bits = plmm_load_le32(p.b + 8);
    e.weight_max = plmm_load_le32(p.b + 12);
    e.ring_bits = plmm_load_le32(p.b + 16);
    for (size_t i = 0; i < 32; i++) {
        seed.b[i] = (uint8_t)i;
    }
    CHECK(plmm_encoding_check(&e, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_encode(x, &norm, &e, delta, d, plmm_load_le32(p.b + 20), &seed, &err) == PLMM_OK,
          "%s", err.msg);
    vec_check(&norm_v, &norm, 8);
    for (size_t i = 0; i <= d; i++) {
        plmm_store_le32(bytes + 4 * i, x[i]);
    }
    vec_check(&lanes, bytes, 4 * (d + 1));
    size_t len = plmm_packed_bytes(d + 1, e.ring_bits);
    plmm_pack(bytes, x, d + 1, e.ring_bits);
    vec_check(&packed, bytes, len);
    CHECK(plmm_unpack(back, d + 1, e.ring_bits, bytes, len, &err) == PLMM_OK, "%s", err.msg);
    CHECK(memcmp(back, x, 4 * (d + 1)) == 0, "%s: unpacked", name);
}

#define ENC(c, q, w, n, b)                                                                         \
    {                                                                                              \
        .clip = (c), .quant_bits = (q), .weight_max = (w), .n_max = (n), .ring_bits = (b)          \
    }

static void test_parameters(void)
{
    static const struct {
        const char *row;
        plmm_encoding e;
        uint32_t need; /* smallest ring; 0: none */
        plmm_status want;
        const char *says;
    } rows[] = {
        {"sane", ENC(1, 16, 20, 100, 23), 23, PLMM_OK, ""},
        {"more than needed", ENC(1, 16, 20, 100, 32), 23, PLMM_OK, ""},
        {"one bit short", ENC(1, 16, 20, 100, 22), 23, PLMM_ERR_RANGE, "at least 23 bits"},
        /* 128 * 32767 = 2^22 - 128 fits 23 bits, 129 does not: the bound is 2^22 - 1. */
        {"last that fits", ENC(1, 16, 1, 128, 23), 23, PLMM_OK, ""},
        {"first that does not", ENC(1, 16, 1, 129, 23), 24, PLMM_ERR_RANGE, "could wrap"},
        {"the weight decides", ENC(1, 4, 1000, 1000, 20), 21, PLMM_ERR_RANGE, "1000 a coordinate"},
        {"2^17 needs 2^18 - 1", ENC(1, 4, 128, 1024, 18), 19, PLMM_ERR_RANGE, "at least 19 bits"},
        {"smallest ring", ENC(1, 2, 1, 1, 8), 8, PLMM_OK, ""},
        {"largest", ENC(1, 31, 1, 2, 32), 32, PLMM_OK, ""},
        {"no ring", ENC(1, 31, 1, 3, 32), 0, PLMM_ERR_RANGE, "more than 32 bits"},
        {"clip 0", ENC(0, 16, 20, 100, 32), 0, PLMM_ERR_RANGE, "clip 0"},
        {"clip < 0", ENC(-1, 16, 20, 100, 32), 0, PLMM_ERR_RANGE, "clip -1"},
        {"clip huge", ENC(1e300, 16, 20, 100, 32), 0, PLMM_ERR_RANGE, "clip"},
        {"q 1", ENC(1, 1, 20, 100, 32), 0, PLMM_ERR_RANGE, "1 quantiser"},
        {"q 32", ENC(1, 32, 20, 100, 32), 0, PLMM_ERR_RANGE, "32 quantiser"},
        {"W 0", ENC(1, 16, 0, 100, 32), 0, PLMM_ERR_RANGE, "weight_max 0"},
        {"W huge", ENC(1, 16, UINT32_MAX, 1, 32), 0, PLMM_ERR_RANGE, "weight_max"},
        {"n 0", ENC(1, 16, 20, 0, 32), 0, PLMM_ERR_RANGE, "sum 0 devices"},
        {"n huge", ENC(1, 2, 1, PLMM_COHORT_MAX + 1, 32), 0, PLMM_ERR_RANGE, "devices"},
        {"b 7", ENC(1, 2, 1, 1, 7), 8, PLMM_ERR_RANGE, "7 bits"},
        {"b 33", ENC(1, 2, 1, 1, 33), 8, PLMM_ERR_RANGE, "33 bits"},
        {"b 0", ENC(1, 2, 1, 1, 0), 8, PLMM_ERR_RANGE, "0 bits"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_error err = {0};
        CHECK(plmm_encoding_check(&rows[i].e, &err) == rows[i].want, "%s: %s", rows[i].row,
              err.msg);
        CHECK(strstr(err.msg, rows[i].says) != NULL, "%s: '%s'", rows[i].row, err.msg);
        uint32_t need = plmm_encoding_ring_bits(&rows[i].e);
        CHECK(need == rows[i].need, "%s: needs %u", rows[i].row, need);
    }
    plmm_encoding e = sane;
    e.clip = (double)NAN;
    CHECK(plmm_encoding_check(&e, NULL) == PLMM_ERR_RANGE, "clip is a number");
    e.clip = (double)INFINITY;
    CHECK(plmm_encoding_check(&e, NULL) == PLMM_ERR_RANGE, "clip is finite");
}

static void test_bad_updates(void)
{
    float delta[20] = {0};
    uint32_t x[21];
    double norm = 7;
    const plmm_seed seed = {{1}};
    plmm_error err = {0};
    memset(x, 0xa5, sizeof x);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 60; i++) {
        delta[i % 20] = bad[i / 20];
        CHECK(plmm_encode(x, &norm, &sane, delta, 20, 1, &seed, &err) == PLMM_ERR_RANGE, "%zu", i);
        char where[24];
        (void)snprintf(where, sizeof where, "coordinate %zu of 20", i % 20);
        CHECK(strstr(err.msg, where) != NULL, "%s", err.msg);
        CHECK(x[0] == 0xa5a5a5a5 && x[20] == 0xa5a5a5a5 && norm == 7, "%zu: untouched", i);
        delta[i % 20] = 0;
    }
    CHECK(plmm_encode(x, &norm, &sane, delta, 20, 0, &seed, &err) == PLMM_ERR_RANGE, "weight 0");
    CHECK(plmm_encode(x, &norm, &sane, delta, 20, 21, &seed, &err) == PLMM_ERR_RANGE, "weight 21");
    CHECK(strstr(err.msg, "weight 21: it is 1..20") != NULL, "%s", err.msg);
    CHECK(plmm_encode(x, NULL, &sane, delta, 20, 20, &seed, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_is_zero(x, 80) && x[20] == 20, "zero stays zero, and the weight is last");
    CHECK(plmm_encode(x, NULL, &sane, NULL, 0, 3, &seed, &err) == PLMM_OK && x[0] == 3, "d = 0");
}

/* The largest floats there are do not overflow, and one coordinate at the clip reaches X
 * exactly. */
static void test_extremes(void)
{
    float delta[3] = {3.4e38f, -3.4e38f, 3.4e38f};
    uint32_t x[4];
    plmm_error err = {0};
    const plmm_seed seed = {{9}};
    double norm;
    CHECK(plmm_encode(x, &norm, &sane, delta, 3, 20, &seed, &err) == PLMM_OK, "%s", err.msg);
    double want = 32767 / sqrt(3.0);
    for (size_t i = 0; i < 3; i++) {
        double v = plmm_lane_signed(x[i], 23) * (i == 1 ? -1.0 : 1.0);
        CHECK(fabs(v - want) <= 1.0, "lane %zu is %g, not near %g", i, v, want);
    }
    const float edge[] = {1, -1, 100, -100, 1.0000001f};
    for (size_t i = 0; i < COUNT(edge); i++) {
        CHECK(plmm_encode(x, &norm, &sane, &edge[i], 1, 20, &seed, &err) == PLMM_OK, "%s", err.msg);
        int32_t v = plmm_lane_signed(x[0], 23);
        CHECK(v == (edge[i] > 0 ? 32767 : -32767), "%g becomes %d", (double)edge[i], v);
    }
    delta[0] = 1e-45f; /* subnormal: far below a step */
    CHECK(plmm_encode(x, &norm, &sane, delta, 1, 1, &seed, &err) == PLMM_OK, "%s", err.msg);
    CHECK(norm > 0 && x[0] <= 1, "subnormal");
}

/* Clipping a single coordinate can leave its product two last bits above X, and rounding then goes
 * up for 1024 of the 2^32 words: these seeds have such words. The lane stays at X all the same. */
static void test_rounding_at_the_bound(void)
{
    const plmm_encoding e = {
        .clip = 1, .quant_bits = 31, .weight_max = 1, .n_max = 1, .ring_bits = 31};
    const float delta[] = {0x1.84e86p+0f, -0x1.84e86p+0f};
    const uint64_t seeds[] = {2939787, 1219582};
    for (size_t i = 0; i < 2; i++) {
        uint32_t x[2];
        plmm_seed seed = {{0}};
        plmm_error err = {0};
        plmm_store_le64(seed.b, seeds[i]);
        CHECK(plmm_encode(x, NULL, &e, &delta[i], 1, 1, &seed, &err) == PLMM_OK, "%s", err.msg);
        int32_t v = plmm_lane_signed(x[0], 31);
        CHECK(v == (i == 0 ? 1 : -1) * ((1 << 30) - 1), "%g becomes %d", (double)delta[i], v);
    }
}

static void test_decode(void)
{
    const int64_t reach = INT64_C(2) * 32767;
    uint32_t x[3] = {32767, (uint32_t)-32767 & 0x7fffff, 30};
    float mean[2] = {-7, -7};
    double sum[2];
    uint64_t w = 99;
    plmm_error err = {0};
    CHECK(plmm_decode_mean(mean, &w, &sane, x, 2, 2, &err) == PLMM_OK, "%s", err.msg);
    /* 32767 steps are C * W = 20, over a weight of 30. */
    CHECK(w == 30 && mean[0] == 20.0f / 30 && mean[1] == -20.0f / 30, "%g", (double)mean[0]);
    CHECK(plmm_decode_sum(sum, &w, &sane, x, 2, 2, &err) == PLMM_OK, "%s", err.msg);
    CHECK(fabs(sum[0] - 20) < 1e-12 && fabs(sum[1] + 20) < 1e-12, "%g", sum[0]);
    mean[0] = -7;
    w = 99;
    for (int sign = -1; sign <= 1; sign += 2) {
        x[1] = (uint32_t)(sign * reach) & 0x7fffff;
        CHECK(plmm_decode_sum(sum, &w, &sane, x, 2, 2, &err) == PLMM_OK, "%s", err.msg);
        w = 99;
        x[1] = (uint32_t)(sign * (reach + 1)) & 0x7fffff;
        CHECK(plmm_decode_mean(mean, &w, &sane, x, 2, 2, &err) == PLMM_ERR_PEER, "beyond reach");
        CHECK(strstr(err.msg, "coordinate 1 is ") != NULL, "%s", err.msg);
    }
    x[1] = 0;
    x[2] = 1;
    CHECK(plmm_decode_mean(mean, &w, &sane, x, 2, 2, &err) == PLMM_ERR_PEER, "weights below n");
    x[2] = 41;
    CHECK(plmm_decode_mean(mean, &w, &sane, x, 2, 2, &err) == PLMM_ERR_PEER, "weights above nW");
    x[2] = 40;
    CHECK(plmm_decode_mean(mean, &w, &sane, x, 2, 0, &err) == PLMM_ERR_RANGE, "no device");
    CHECK(plmm_decode_mean(mean, &w, &sane, x, 2, 101, &err) == PLMM_ERR_RANGE, "too many");
    CHECK(mean[0] == -7 && w == 99, "a refused sum leaves the outputs alone");
}

static void test_foreign_packing(void)
{
    uint32_t x[5] = {1, 2, 3, 4, 0x7fffff}, y[5];
    uint8_t b[16];
    plmm_error err = {0};
    size_t len = plmm_packed_bytes(5, 23); /* 115 bits in 15 octets, 5 of padding */
    CHECK(len == 15 && plmm_packed_bytes(0, 23) == 0 && plmm_packed_bytes(8, 31) == 31, "sizes");
    plmm_pack(b, x, 5, 23);
    memset(y, 0xa5, sizeof y);
    for (size_t bad = 0; bad < 40; bad++) {
        if (bad != len) {
            CHECK(plmm_unpack(y, 5, 23, b, bad, &err) == PLMM_ERR_WIRE, "length %zu", bad);
            CHECK(plmm_unpack_add(y, 5, 23, b, bad, &err) == PLMM_ERR_WIRE, "length %zu", bad);
        }
    }
    CHECK(strstr(err.msg, "39 octets: 5 coordinates of 23 bits are 15") != NULL, "%s", err.msg);
    for (unsigned bit = 3; bit < 8; bit++) {
        b[14] ^= (uint8_t)(1u << bit);
        CHECK(plmm_unpack(y, 5, 23, b, len, &err) == PLMM_ERR_WIRE, "padding bit %u", bit);
        b[14] ^= (uint8_t)(1u << bit);
    }
    CHECK(y[0] == 0xa5a5a5a5 && y[4] == 0xa5a5a5a5, "untouched");
    CHECK(plmm_unpack(y, 5, 23, b, len, &err) == PLMM_OK && memcmp(x, y, sizeof x) == 0, "back");
    CHECK(plmm_unpack_add(y, 5, 23, b, len, &err) == PLMM_OK, "%s", err.msg);
    CHECK(y[0] == 2 && y[3] == 8 && y[4] == 0x7ffffe, "added mod 2^23");
    CHECK(plmm_unpack(y, 0, 23, NULL, 0, &err) == PLMM_OK, "nothing from nothing");
}

static void test_signed_lanes(void)
{
    CHECK(plmm_lane_signed(0, 8) == 0 && plmm_lane_signed(127, 8) == 127, "positive");
    CHECK(plmm_lane_signed(128, 8) == -128 && plmm_lane_signed(255, 8) == -1, "negative");
    CHECK(plmm_lane_signed(0x80000000, 32) == INT32_MIN, "32 bits");
    CHECK(plmm_lane_signed(UINT32_MAX, 32) == -1 && plmm_lane_signed(INT32_MAX, 32) == INT32_MAX,
          "32 bits");
}

/* ---- rotation and noise ---- */

static plmm_encoding noisy(uint32_t length, uint32_t bits, uint32_t n, uint64_t sum)
{
    plmm_encoding e = {.clip = 1,
                       .quant_bits = bits,
                       .weight_max = 1,
                       .n_max = n,
                       .rotate = 1,
                       .noise = PLMM_NOISE_SKELLAM,
                       .length = length,
                       .noise_sum = sum,
                       .rotation = {{5}}};
    e.ring_bits = plmm_encoding_ring_bits(&e);
    return e;
}

static void test_options(void)
{
    plmm_error err = {0};
    const plmm_encoding good = noisy(1000, 12, 100, 1000000);
    CHECK(plmm_encoding_check(&good, &err) == PLMM_OK, "%s", err.msg);
    plmm_encoding bad[10];
    const char *says[10] = {"rotate 2", "clip_bit 2",    "noise 3",      "0 coordinates",
                            "67108865", "weight_max 2",  "21 quantiser", "no noise of variance",
                            "2^60",     "their noise in"};
    for (size_t i = 0; i < 10; i++) {
        bad[i] = good;
    }
    bad[0].rotate = 2;
    bad[1].clip_bit = 2;
    bad[2].noise = 3;
    bad[3].length = 0;
    bad[4].length = (1 << 26) + 1;
    bad[5].weight_max = 2;
    bad[6].quant_bits = 21;
    bad[7].noise = 0;
    bad[8].noise_sum = (UINT64_C(1) << 60) + 1;
    bad[9].ring_bits--;
    for (size_t i = 0; i < 10; i++) {
        CHECK(plmm_encoding_check(&bad[i], &err) == PLMM_ERR_RANGE, "case %zu", i);
        CHECK(strstr(err.msg, says[i]) != NULL, "case %zu: %s", i, err.msg);
    }
    static int32_t x[1001];
    static float delta[1001];
    const plmm_seed seed = {{1}};
    CHECK(plmm_encode_int(x, NULL, &good, delta, 999, 1, NULL, &seed, &err) == PLMM_ERR_RANGE &&
              strstr(err.msg, "they are 1000") != NULL,
          "%s", err.msg);
    CHECK(plmm_encoding_lanes(&good, 1000) == 1000 && plmm_encoding_lanes(&sane, 9) == 10, "lanes");
}

/* A vector whose first rounding is too long in 2 of 100 cases: every result is within the bound,
 * some took another try, and the mean stays where it should. */
static void test_conditional_rounding(void)
{
    enum { D = 196, ROUNDS = 3000 };
    plmm_encoding e = noisy(D, 4, 10, 0);
    e.rotate = 0;
    float delta[D];
    int32_t x[D], first[D + 1];
    double l2, l1, total = 0;
    plmm_error err = {0};
    int again = 0;
    for (size_t i = 0; i < D; i++) {
        delta[i] = 1.0f / 14; /* norm 1: X = 7, so each is half a step */
    }
    plmm_encoding_sensitivity(&e, &l2, &l1);
    CHECK(fabs(l2 - sqrt(112)) < 1e-9 && fabs(l1 - 112) < 1e-9, "L2 %g L1 %g", l2, l1);
    plmm_encoding plain = e;
    plain.noise = 0;
    for (uint64_t k = 0; k < ROUNDS; k++) {
        plmm_seed seed = {{2}};
        double square = 0;
        plmm_store_le64(seed.b + 8, k);
        CHECK(plmm_encode_int(x, NULL, &e, delta, D, 1, NULL, &seed, &err) == PLMM_OK, "%s",
              err.msg);
        CHECK(plmm_encode_int(first, NULL, &plain, delta, D, 1, NULL, &seed, &err) == PLMM_OK, "%s",
              err.msg);
        again += memcmp(first, x, sizeof x) != 0;
        for (size_t i = 0; i < D; i++) {
            square += (double)x[i] * x[i];
            total += x[i];
        }
        CHECK(square <= l2 * l2 * (1 + 1e-12), "round %d: norm^2 %g above %g", (int)k, square,
              l2 * l2);
    }
    CHECK(again > ROUNDS / 200 && again < ROUNDS / 15, "%d tries were repeated", again);
    CHECK(fabs(total / ROUNDS / D - 0.5) < 0.005, "mean %g", total / ROUNDS / D);
}

/* What the accountant computes from the same numbers, and published values of it. */
static void test_sensitivity(void)
{
    for (uint32_t q = 4; q <= 20; q += 4) {
        for (uint32_t d = 1; d <= 1 << 20; d *= 32) {
            plmm_encoding e = noisy(d, q, 10, 0);
            double l2, l1, c = plmm_encoding_scale(&e) * e.clip;
            plmm_encoding_sensitivity(&e, &l2, &l1);
            double want = plmm_rounded_l2(c, d, 0.5);
            CHECK(fabs(l2 * l2 - floor(want * want)) < 1e-9 * l2 * l2, "q %u d %u: %g %g", q, d, l2,
                  want);
            CHECK(fabs(l1 / plmm_rounded_l1(l2, d) - 1) < 1e-9, "q %u d %u", q, d);
            e.clip_bit = 1;
            double a = plmm_encoding_clip_amplitude(&e), with;
            plmm_encoding_sensitivity(&e, &with, &l1);
            CHECK(fabs(with - sqrt(l2 * l2 + a * a)) < 1e-9 * with, "the bit counts");
            CHECK(a >= 1 && a <= (1 << (q - 1)) - 1, "amplitude %g", a);
        }
    }
    plmm_encoding e = noisy(1 << 20, 16, 10, 0);
    uint32_t q = plmm_encoding_quant_bits(&e, 0.01);
    double l2, l1;
    e.quant_bits = q;
    plmm_encoding_sensitivity(&e, &l2, &l1);
    CHECK(l2 <= 1.01 * plmm_encoding_scale(&e), "overhead %g", l2 / plmm_encoding_scale(&e));
    uint64_t units = plmm_encoding_noise_units(&e, 2);
    CHECK((double)units >= 16 * 4 * l2 * l2 && (double)units <= 16 * 4 * l2 * l2 + 2, "units");
    e.quant_bits = q - 1;
    plmm_encoding_sensitivity(&e, &l2, &l1);
    CHECK(l2 > 1.01 * plmm_encoding_scale(&e), "%u bits would have done", q - 1);
}

/* b leaves room for the noise, no more than needed: 2^-20 at most for all lanes together. */
static void test_wrap_bound(void)
{
    for (uint64_t sum = 1; sum < UINT64_C(1) << 50; sum *= 37) {
        plmm_encoding e = noisy(100000, 10, 200, sum);
        if (e.ring_bits == 0) {
            continue;
        }
        CHECK(plmm_encoding_wrap(&e) <= 0x1p-20, "variance %llu: %g", (unsigned long long)sum,
              plmm_encoding_wrap(&e));
        uint64_t reach = plmm_encoding_reach(&e, 200);
        CHECK(reach < UINT64_C(1) << (e.ring_bits - 1) &&
                  (reach >= UINT64_C(1) << (e.ring_bits - 2) || e.ring_bits == PLMM_RING_BITS_MIN),
              "reach %llu in %u bits", (unsigned long long)reach, e.ring_bits);
        CHECK(reach > 200 * 511 && plmm_encoding_reach(&e, 100) == reach - 100 * 511, "by device");
        double tail = plmm_noise_tail_probability(1, (double)sum, (double)(reach - 200 * 511) + 1);
        CHECK(1e5 * tail <= 0x1p-20, "variance %llu: %g", (unsigned long long)sum, tail);
    }
    CHECK(plmm_encoding_wrap(&sane) == 0, "no noise, no wrap");
}

/* n devices with noise in layers, two dropped: sums mod 2^b, surplus out, and the mean is the true
 * one within the noise that is left; the clip's bit counts. */
static void test_noisy_mean(void)
{
    enum { D = 3000, N = 20, ALIVE = 18 };
    static int32_t x[D + 1], sum[D + 1];
    static float delta[D], mean[D];
    static double want[D];
    plmm_error err = {0};
    plmm_encoding e = noisy(D, 12, N, 0);
    e.clip_bit = 1;
    const plmm_xnoise noise = {PLMM_NOISE_SKELLAM, 1, 4000000, N, 16, 2, 4};
    CHECK(plmm_xnoise_check(&noise, &err) == PLMM_OK, "%s", err.msg);
    e.noise_sum = N * plmm_xnoise_kept(&noise, 4);
    e.ring_bits = plmm_encoding_ring_bits(&e);
    uint32_t level = plmm_xnoise_level(&noise, N - ALIVE);
    memset(sum, 0, sizeof sum);
    for (size_t i = 0; i < D; i++) {
        want[i] = 0;
    }
    for (uint32_t k = 0; k < ALIVE; k++) {
        plmm_seed seed = {{(uint8_t)k, 77}}, root, revealed;
        for (size_t i = 0; i < D; i++) { /* norm 0.9, or 1.8 for four devices: clipped */
            delta[i] = (float)(sin((double)i + k) * 0.9 * sqrt(2.0 / D) * (k % 5 == 0 ? 2 : 1));
            want[i] += (double)delta[i] / (k % 5 == 0 ? 1.8 : 1) / ALIVE;
        }
        CHECK(plmm_encode_int(x, NULL, &e, delta, D, 1, &noise, &seed, &err) == PLMM_OK, "%s",
              err.msg);
        plmm_lanes_reduce(x, D + 1, e.ring_bits);
        plmm_ring_add((uint32_t *)sum, (const uint32_t *)x, D + 1, e.ring_bits);
        plmm_xnoise_root(&root, &seed);
        plmm_xnoise_chain(&revealed, &root, level + 1);
        CHECK(plmm_xnoise_remove(sum, D + 1, &noise, level, &revealed, &err) == PLMM_OK, "%s",
              err.msg);
    }
    plmm_lanes_reduce(sum, D + 1, e.ring_bits);
    uint64_t weight;
    CHECK(plmm_decode_mean(mean, &weight, &e, (uint32_t *)sum, D, ALIVE, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(weight == ALIVE, "uniform weights");
    double kept = ALIVE * (double)plmm_xnoise_kept(&noise, level) / 16, square = 0;
    double step = 1 / (plmm_encoding_scale(&e) * ALIVE),
           expect = (kept + ALIVE / 6.0) * step * step;
    for (size_t i = 0; i < D; i++) {
        square += ((double)mean[i] - want[i]) * ((double)mean[i] - want[i]) / D;
    }
    CHECK(square / expect > 0.8 && square / expect < 1.2, "error %g, expected %g", square, expect);
    double bits = plmm_decode_clip_count(&e, (uint32_t *)sum, D, ALIVE);
    double sd = sqrt(kept) / (2 * plmm_encoding_clip_amplitude(&e));
    CHECK(sd < 2 && fabs(bits - 14) < 5 * sd, "%g of 18 within the clip, deviation %g", bits, sd);
    sum[7] = (int32_t)(plmm_encoding_reach(&e, ALIVE) + 1);
    CHECK(plmm_decode_mean(mean, &weight, &e, (uint32_t *)sum, D, ALIVE, &err) == PLMM_ERR_PEER,
          "out of reach");
}

/* Without noise the bit is counted exactly, beside the weight. */
static void test_plain_clip_bit(void)
{
    plmm_encoding e = sane;
    uint32_t x[4], sum[4] = {0};
    e.clip_bit = 1;
    for (uint32_t k = 0; k < 7; k++) {
        float delta[2] = {k < 3 ? 0.1f : 3.0f, 0};
        const plmm_seed seed = {{(uint8_t)k}};
        CHECK(plmm_encode(x, NULL, &e, delta, 2, 5, &seed, NULL) == PLMM_OK, "encode");
        plmm_ring_add(sum, x, 4, e.ring_bits);
    }
    CHECK(sum[2] == 35 && plmm_decode_clip_count(&e, sum, 2, 7) == 3, "3 of 7");
}

/* A vector that the rotation makes a spike: the lane saturates, and nothing wraps. */
static void test_rotated_spike(void)
{
    enum { D = 4096 };
    static float delta[D];
    static uint32_t x[D + 1];
    plmm_encoding e = {.clip = 1,
                       .quant_bits = 8,
                       .weight_max = 1,
                       .n_max = 10,
                       .ring_bits = 12,
                       .rotate = 1,
                       .length = D,
                       .rotation = {{5}}};
    plmm_error err = {0};
    CHECK(plmm_encoding_check(&e, &err) == PLMM_OK, "%s", err.msg);
    CHECK(fabs(plmm_encoding_scale(&e) - 127.0 * 64 / 8) < 1e-9, "F is 8");
    memset(delta, 0, sizeof delta);
    delta[17] = -1;
    plmm_unrotate(delta, D, &e.rotation);
    CHECK(plmm_encode(x, NULL, &e, delta, D, 1, &(plmm_seed){{1}}, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lane_signed(x[17], 12) == -127, "lane is %d", plmm_lane_signed(x[17], 12));
}

/* Error feedback: what is sent over the rounds, and the last residual, is what was to be sent. */
static void test_residual(uint32_t rotate)
{
    enum { D = 500 };
    static float delta[D], residual[D], part[D];
    static int32_t x[D + 1];
    static uint32_t lanes[D + 1];
    static double wanted[D], sent[D];
    plmm_encoding e = {.clip = 1,
                       .quant_bits = 8,
                       .weight_max = 4,
                       .n_max = 10,
                       .ring_bits = 16,
                       .rotate = rotate,
                       .length = D,
                       .rotation = {{6}}};
    plmm_error err = {0};
    memset(residual, 0, sizeof residual);
    memset(wanted, 0, sizeof wanted);
    memset(sent, 0, sizeof sent);
    for (uint32_t k = 0; k < 50; k++) {
        const plmm_seed seed = {{(uint8_t)k, 8}};
        uint64_t w;
        for (size_t i = 0; i < D; i++) {
            float own = (float)(cos((double)(i * i) + k) * 0.01);
            wanted[i] += (double)own;
            delta[i] = own + residual[i];
        }
        CHECK(plmm_encode_int(x, NULL, &e, delta, D, 3, NULL, &seed, &err) == PLMM_OK, "%s",
              err.msg);
        plmm_encode_residual(residual, &e, x, delta, D, 3);
        memcpy(part, delta, sizeof part);
        plmm_encode_residual(part, &e, x, part, D, 3);
        CHECK(memcmp(part, residual, sizeof part) == 0, "in place");
        memcpy(lanes, x, sizeof lanes);
        plmm_lanes_reduce((int32_t *)lanes, D + 1, e.ring_bits);
        CHECK(plmm_decode_mean(part, &w, &e, lanes, D, 1, &err) == PLMM_OK, "%s", err.msg);
        double norm, bound = sqrt((double)D) / (plmm_encoding_scale(&e) * 3);
        CHECK(plmm_vector_norm(&norm, residual, D, NULL) == PLMM_OK && norm < bound, "%g", norm);
        for (size_t i = 0; i < D; i++) {
            sent[i] += (double)part[i];
        }
    }
    for (size_t i = 0; i < D; i++) {
        CHECK(fabs(sent[i] + (double)residual[i] - wanted[i]) < 1e-4, "lane %zu: %g + %g, not %g",
              i, sent[i], (double)residual[i], wanted[i]);
    }
}

int main(void)
{
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    test_vector("clipped");
    test_vector("whole");
    test_parameters();
    test_bad_updates();
    test_extremes();
    test_rounding_at_the_bound();
    test_decode();
    test_foreign_packing();
    test_signed_lanes();
    test_options();
    test_conditional_rounding();
    test_sensitivity();
    test_wrap_bound();
    test_noisy_mean();
    test_plain_clip_bit();
    test_rotated_spike();
    test_residual(0);
    test_residual(1);
    return plmm_test_end();
}
