/* crypto/encode: vectors, the no-wrap bound at its edge, refusals, packing of foreign bytes. */
#include "plmm/bytes.h"
#include "plmm/encode.h"
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
    const uint64_t seeds[] = {875313, 14030634};
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
    return plmm_test_end();
}
