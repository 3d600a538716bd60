/* crypto/shamir: the published shares of federated-compute, our own vectors, refusals. */
#include "plmm/bytes.h"
#include "plmm/shamir.h"
#include "test.h"
#include "vec.h"

static const char *const file = "tests/vectors/crypto.vec";
static plmm_shamir_basis basis; /* 24 KiB */

static plmm_status combine(uint8_t out[32], const plmm_share *s, size_t m, uint32_t t,
                           plmm_error *err)
{
    uint32_t xs[80];
    for (size_t i = 0; i < m; i++) {
        xs[i] = s[i].x;
    }
    PLMM_TRY(plmm_shamir_basis_init(&basis, xs, m, t, err));
    return plmm_shamir_combine(out, &basis, s, err);
}

/* Two limbs are shared there, (0, 33) with t = 3: in our limbs the number 33 * 2^31. */
static void test_published(void)
{
    vec v = vec_get(file, "fcp.shares");
    uint8_t want[32] = {0}, got[32];
    plmm_share all[5] = {{0}}, s[5];
    plmm_store_le64(want, UINT64_C(33) << 31);
    for (uint32_t i = 0; i < 5; i++) {
        all[i].x = i + 1;
        all[i].y[0] = plmm_load_be32(v.b + (size_t)8 * i);
        all[i].y[1] = plmm_load_be32(v.b + (size_t)8 * i + 4);
    }
    plmm_error err = {0};
    int triples = 0;
    for (unsigned set = 0; set < 32; set++) {
        size_t m = 0;
        for (unsigned i = 0; i < 5; i++) {
            if ((set >> i & 1) != 0) {
                s[m++] = all[i];
            }
        }
        plmm_status rc = combine(got, s, m, 3, &err);
        CHECK(rc == (m >= 3 ? PLMM_OK : PLMM_ERR_RANGE), "set %x: %s", set, err.msg);
        CHECK(m < 3 || memcmp(got, want, 32) == 0, "set %x gives another secret", set);
        triples += m == 3;
    }
    CHECK(triples == 10, "all ten triples");
}

static void test_own(const char *name, uint32_t t)
{
    char key[40];
    (void)snprintf(key, sizeof key, "shamir.%s.points", name);
    vec points = vec_get(file, key);
    (void)snprintf(key, sizeof key, "shamir.%s.shares", name);
    vec shares = vec_get(file, key);
    vec secret = vec_get(file, "shamir.secret");
    size_t n = points.len / 4;
    uint32_t xs[80] = {0};
    plmm_share s[80];
    uint8_t bytes[80 * PLMM_SHARE_BYTES], got[32];
    plmm_seed seed;
    plmm_error err = {0};
    for (size_t i = 0; i < 32; i++) {
        seed.b[i] = (uint8_t)i;
    }
    for (size_t i = 0; i < n; i++) {
        xs[i] = plmm_load_le32(points.b + 4 * i);
    }
    CHECK(plmm_shamir_split(s, n, t, xs, secret.b, &seed, &err) == PLMM_OK, "%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        plmm_share_encode(bytes + PLMM_SHARE_BYTES * i, &s[i]);
    }
    vec_check(&shares, bytes, PLMM_SHARE_BYTES * n);
    for (size_t i = 0; i < n; i++) {
        plmm_share d = {0};
        CHECK(plmm_share_decode(&d, xs[i], bytes + PLMM_SHARE_BYTES * i, PLMM_SHARE_BYTES, &err) ==
                  PLMM_OK,
              "%s", err.msg);
        CHECK(memcmp(&d, &s[i], sizeof d) == 0, "share %zu comes back", i);
    }
    CHECK(combine(got, s, n, t, &err) == PLMM_OK, "%s", err.msg);
    vec_check(&secret, got, 32);
}

static void test_bad_arguments(void)
{
    static const struct {
        const char *row;
        size_t n;
        uint32_t t;
        uint32_t xs[4];
        plmm_status want;
        const char *says;
    } rows[] = {
        {"good", 4, 2, {1, 2, 3, 4}, PLMM_OK, ""},
        {"t = 1 is allowed", 4, 1, {1, 2, 3, 4}, PLMM_OK, ""},
        {"t = n", 4, 4, {1, 2, 3, 4}, PLMM_OK, ""},
        {"t = 0", 4, 0, {1, 2, 3, 4}, PLMM_ERR_RANGE, "threshold"},
        {"t > n", 3, 4, {1, 2, 3, 4}, PLMM_ERR_RANGE, "have 3 of the 4"},
        {"n = 0", 0, 1, {1}, PLMM_ERR_RANGE, "have 0"},
        {"too many", PLMM_SHAMIR_SHARES_MAX + 1, 2, {1}, PLMM_ERR_RANGE, "at most 2048"},
        {"point 0", 4, 2, {1, 2, 0, 4}, PLMM_ERR_RANGE, "point 0 (share 2)"},
        {"point p", 4, 2, {1, 2, 3, PLMM_SHAMIR_PRIME}, PLMM_ERR_RANGE, "2147483659"},
        {"point twice", 4, 2, {1, 7, 3, 7}, PLMM_ERR_RANGE, "point 7 twice"},
    };
    const uint8_t secret[32] = {1};
    const plmm_seed seed = {{2}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_share s[4], before[4];
        plmm_error err = {0};
        memset(s, 0xa5, sizeof s);
        memcpy(before, s, sizeof s);
        plmm_status rc =
            plmm_shamir_split(s, rows[i].n, rows[i].t, rows[i].xs, secret, &seed, &err);
        CHECK(rc == rows[i].want, "%s: %s", rows[i].row, err.msg);
        CHECK(rc == PLMM_OK || memcmp(s, before, sizeof s) == 0, "%s: untouched", rows[i].row);
        CHECK(strstr(err.msg, rows[i].says) != NULL, "%s: '%s'", rows[i].row, err.msg);
        err.msg[0] = '\0';
        rc = plmm_shamir_basis_init(&basis, rows[i].xs, rows[i].n, rows[i].t, &err);
        CHECK(rc == rows[i].want, "basis, %s: %s", rows[i].row, err.msg);
        CHECK(strstr(err.msg, rows[i].says) != NULL, "basis, %s: '%s'", rows[i].row, err.msg);
    }
}

static void test_foreign_shares(void)
{
    uint8_t b[PLMM_SHARE_BYTES] = {0};
    plmm_share s;
    plmm_error err = {0};
    CHECK(plmm_share_decode(&s, 5, b, sizeof b, &err) == PLMM_OK && s.x == 5, "zeros are a share");
    CHECK(plmm_share_decode(&s, 0, b, sizeof b, &err) == PLMM_ERR_WIRE, "point 0");
    CHECK(plmm_share_decode(&s, PLMM_SHAMIR_PRIME, b, sizeof b, &err) == PLMM_ERR_WIRE, "point p");
    CHECK(plmm_share_decode(&s, 5, b, sizeof b - 1, &err) == PLMM_ERR_WIRE, "short");
    CHECK(plmm_share_decode(&s, 5, b, sizeof b + 1, &err) == PLMM_ERR_WIRE, "long");
    for (size_t i = 0; i < PLMM_SHAMIR_LIMBS; i++) {
        plmm_store_le32(b + 4 * i, PLMM_SHAMIR_PRIME - 1);
        CHECK(plmm_share_decode(&s, 5, b, sizeof b, &err) == PLMM_OK, "limb %zu: p - 1", i);
        plmm_store_le32(b + 4 * i, PLMM_SHAMIR_PRIME);
        plmm_share before = s;
        CHECK(plmm_share_decode(&s, 5, b, sizeof b, &err) == PLMM_ERR_WIRE, "limb %zu: p", i);
        CHECK(memcmp(&before, &s, sizeof s) == 0, "limb %zu: untouched", i);
        plmm_store_le32(b + 4 * i, UINT32_MAX);
        CHECK(plmm_share_decode(&s, 5, b, sizeof b, &err) == PLMM_ERR_WIRE, "limb %zu: max", i);
        plmm_store_le32(b + 4 * i, 0);
    }
}

/* Every limb of every share, changed by one, is seen as soon as one share is to spare. */
static void test_tampering(void)
{
    uint8_t secret[32], got[32];
    plmm_share s[9];
    plmm_error err = {0};
    memset(secret, 0xff, sizeof secret);
    CHECK(plmm_shamir_split(s, 9, 5, NULL, secret, &(plmm_seed){{3}}, &err) == PLMM_OK, "%s",
          err.msg);
    for (size_t m = 5; m <= 9; m++) {
        CHECK(combine(got, s, m, 5, &err) == PLMM_OK && memcmp(got, secret, 32) == 0, "m %zu", m);
        for (size_t k = 0; k < m * PLMM_SHAMIR_LIMBS; k++) {
            uint32_t *y = &s[k / PLMM_SHAMIR_LIMBS].y[k % PLMM_SHAMIR_LIMBS], old = *y;
            *y = (old + 1) % PLMM_SHAMIR_PRIME;
            memset(got, 0xa5, sizeof got);
            plmm_status rc = combine(got, s, m, 5, &err);
            if (m > 5) {
                CHECK(rc == PLMM_ERR_PEER && got[0] == 0xa5 && got[31] == 0xa5, "m %zu k %zu", m,
                      k);
            } else {
                CHECK(rc == PLMM_ERR_PEER || memcmp(got, secret, 32) != 0, "m %zu k %zu", m, k);
            }
            *y = old;
        }
    }
    /* A threshold too low for the polynomial, and shares under another's point. */
    CHECK(combine(got, s, 9, 4, &err) == PLMM_ERR_PEER, "t too low");
    CHECK(combine(got, s, 9, 6, &err) == PLMM_OK, "t too high still holds");
    uint32_t y0 = s[0].x;
    s[0].x = 77;
    CHECK(combine(got, s, 9, 5, &err) == PLMM_ERR_PEER, "another point");
    CHECK(plmm_shamir_basis_init(&basis, (const uint32_t[]){1, 2, 3, 4, 5}, 5, 5, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_shamir_combine(got, &basis, s, &err) == PLMM_ERR_RANGE, "points differ");
    s[0].x = y0;
}

/* Values that no split makes: limbs of 2^31 and more, and a last limb of more than eight bits. */
static void test_not_a_secret(void)
{
    plmm_share s = {.x = 1};
    uint8_t got[32];
    plmm_error err = {0};
    s.y[3] = 0x7fffffff;
    s.y[8] = 0xff;
    CHECK(combine(got, &s, 1, 1, &err) == PLMM_OK && got[31] == 0xff, "%s", err.msg);
    s.y[3] = 0x80000000;
    CHECK(combine(got, &s, 1, 1, &err) == PLMM_ERR_PEER, "limb 2^31");
    s.y[3] = 0;
    s.y[8] = 0x100;
    CHECK(combine(got, &s, 1, 1, &err) == PLMM_ERR_PEER, "last limb");
}

int main(void)
{
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    test_published();
    test_own("a", 3);
    test_own("b", 7);
    test_own("long", 70); /* more coefficients than are taken at a time */
    test_bad_arguments();
    test_foreign_shares();
    test_tampering();
    test_not_a_secret();
    return plmm_test_end();
}
