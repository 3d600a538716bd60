/* crypto/seal: the draft's vector, every bit of a box, empty and in-place boxes, MACs. */
#include "plmm/seal.h"
#include "test.h"
#include "vec.h"

static const char *const file = "tests/vectors/crypto.vec";

static void test_published(void)
{
    vec key = vec_get(file, "xchacha.key"), nonce = vec_get(file, "xchacha.nonce");
    vec ad = vec_get(file, "xchacha.ad"), msg = vec_get(file, "xchacha.msg");
    vec box = vec_get(file, "xchacha.box");
    plmm_key k;
    plmm_nonce n;
    uint8_t got[200], back[200];
    plmm_error err = {0};
    memcpy(k.b, key.b, 32);
    memcpy(n.b, nonce.b, 24);
    plmm_seal(got, msg.b, msg.len, ad.b, ad.len, &n, &k);
    vec_check(&box, got, msg.len + PLMM_SEAL_OVERHEAD);
    CHECK(plmm_open(back, got, box.len, ad.b, ad.len, &n, &k, &err) == PLMM_OK, "%s", err.msg);
    vec_check(&msg, back, msg.len);
    CHECK(plmm_open(got, got, box.len, ad.b, ad.len, &n, &k, &err) == PLMM_OK, "in place");
    vec_check(&msg, got, msg.len);
    plmm_seal(got, got, msg.len, ad.b, ad.len, &n, &k);
    vec_check(&box, got, box.len);
}

static bool untouched(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0xa5) {
            return false;
        }
    }
    return true;
}

static void test_refusals(void)
{
    plmm_key k = {{1}}, k2 = {{2}};
    plmm_nonce n, n2;
    uint8_t box[5 + PLMM_SEAL_OVERHEAD], back[sizeof box];
    plmm_error err = {0};
    plmm_nonce_counter(&n, 1);
    plmm_nonce_counter(&n2, 2);
    plmm_seal(box, (const uint8_t *)"hello", 5, "ad", 2, &n, &k);
    memset(back, 0xa5, sizeof back);
    CHECK(plmm_open(back, box, sizeof box, "ad", 2, &n, &k2, &err) == PLMM_ERR_AUTH, "key");
    CHECK(plmm_open(back, box, sizeof box, "ad", 2, &n2, &k, &err) == PLMM_ERR_AUTH, "nonce");
    CHECK(plmm_open(back, box, sizeof box, "aD", 2, &n, &k, &err) == PLMM_ERR_AUTH, "ad");
    CHECK(plmm_open(back, box, sizeof box, "ad", 1, &n, &k, &err) == PLMM_ERR_AUTH, "ad length");
    CHECK(plmm_open(back, box, sizeof box - 1, "ad", 2, &n, &k, &err) == PLMM_ERR_AUTH, "cut");
    CHECK(plmm_open(back, box, 15, "ad", 2, &n, &k, &err) == PLMM_ERR_WIRE, "too short");
    CHECK(strstr(err.msg, "15") != NULL, "%s", err.msg);
    for (size_t bit = 0; bit < 8 * sizeof box; bit++) {
        box[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(plmm_open(back, box, sizeof box, "ad", 2, &n, &k, NULL) == PLMM_ERR_AUTH, "bit %zu",
              bit);
        box[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    CHECK(untouched(back, sizeof back), "a box that does not open leaves the output alone");
    CHECK(plmm_open(back, box, sizeof box, "ad", 2, &n, &k, NULL) == PLMM_OK, "and the real one");
    CHECK(memcmp(back, "hello", 5) == 0 && untouched(back + 5, 16), "opens");
}

/* Messages that are deciphered aside and those that are not: opened, in place, and left alone. */
static void test_lengths(void)
{
    static uint8_t msg[5000], box[5000 + PLMM_SEAL_OVERHEAD], back[sizeof box];
    static const size_t lens[] = {1, 800, 4095, 4096, 4097, 5000};
    const plmm_key k = {{5}};
    const plmm_seed s = {{6}};
    plmm_nonce n;
    plmm_nonce_counter(&n, 7);
    plmm_expand(msg, sizeof msg, &s, "lengths.");
    for (size_t i = 0; i < COUNT(lens); i++) {
        const size_t len = lens[i], all = len + PLMM_SEAL_OVERHEAD;
        plmm_seal(box, msg, len, "ad", 2, &n, &k);
        memset(back, 0xa5, sizeof back);
        box[len / 2] ^= 1;
        CHECK(plmm_open(back, box, all, "ad", 2, &n, &k, NULL) == PLMM_ERR_AUTH, "%zu", len);
        CHECK(untouched(back, sizeof back), "%zu octets that do not open", len);
        box[len / 2] ^= 1;
        CHECK(plmm_open(back, box, all, "ad", 2, &n, &k, NULL) == PLMM_OK, "%zu", len);
        CHECK(memcmp(back, msg, len) == 0 && untouched(back + len, 16), "%zu octets", len);
        CHECK(plmm_open(box, box, all, "ad", 2, &n, &k, NULL) == PLMM_OK, "%zu in place", len);
        CHECK(memcmp(box, msg, len) == 0, "%zu octets in place", len);
    }
}

static void test_empty(void)
{
    plmm_key k = {{3}};
    plmm_nonce n;
    uint8_t box[PLMM_SEAL_OVERHEAD];
    plmm_error err = {0};
    plmm_nonce_counter(&n, UINT64_MAX);
    plmm_seal(box, NULL, 0, NULL, 0, &n, &k);
    CHECK(plmm_open(NULL, box, sizeof box, NULL, 0, &n, &k, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_open(NULL, box, sizeof box, "x", 1, &n, &k, &err) == PLMM_ERR_AUTH, "ad");
}

static void test_nonces(void)
{
    plmm_nonce a, b;
    plmm_seed s;
    for (size_t i = 0; i < 32; i++) {
        s.b[i] = (uint8_t)i;
    }
    plmm_nonce_seed(&a, &s);
    vec v = vec_get(file, "nonce_seed.out");
    vec_check(&v, a.b, 24);
    plmm_nonce_counter(&a, 0x0102030405060708);
    CHECK(a.b[0] == 8 && a.b[7] == 1 && plmm_is_zero(a.b + 8, 16), "little-endian, then zeros");
    plmm_nonce_counter(&b, 0x0102030405060709);
    CHECK(memcmp(&a, &b, sizeof a) != 0, "counters give different nonces");
}

static void test_mac(void)
{
    plmm_key k;
    plmm_tag t;
    plmm_error err = {0};
    for (size_t i = 0; i < 32; i++) {
        k.b[i] = (uint8_t)i;
    }
    plmm_mac(&t, &k, "test.lbl", "message", 7);
    vec v = vec_get(file, "mac.out");
    vec_check(&v, t.b, sizeof t.b);
    CHECK(plmm_mac_verify(&t, &k, "test.lbl", "message", 7, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_mac_verify(&t, &k, "test.lbm", "message", 7, &err) == PLMM_ERR_AUTH, "label");
    CHECK(plmm_mac_verify(&t, &k, "test.lbl", "messagf", 7, &err) == PLMM_ERR_AUTH, "message");
    for (size_t bit = 0; bit < 8 * sizeof t; bit++) {
        plmm_tag bad = t;
        bad.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(plmm_mac_verify(&bad, &k, "test.lbl", "message", 7, NULL) == PLMM_ERR_AUTH, "bit %zu",
              bit);
    }
    k.b[31] ^= 1;
    CHECK(plmm_mac_verify(&t, &k, "test.lbl", "message", 7, &err) == PLMM_ERR_AUTH, "key");
}

int main(void)
{
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    test_published();
    test_refusals();
    test_lengths();
    test_empty();
    test_nonces();
    test_mac();
    return plmm_test_end();
}
