/* crypto/seal: the draft's vector, every bit of a box, empty and in-place boxes, MACs. */
#include "plmm/seal.h"
#include "seal_internal.h"
#include "simd_internal.h"
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

/* ---- several at once ---- */

enum { MANY = 70, LEN_MAX = 900, AD_MAX = 130, ROOM = LEN_MAX + PLMM_SEAL_OVERHEAD };

static struct {
    uint8_t msg[MANY][LEN_MAX], box[MANY][ROOM], back[MANY][ROOM], ad[MANY][AD_MAX];
    plmm_nonce nonce[MANY];
    plmm_key key[MANY];
    plmm_sealing v[MANY];
} many;

static void many_fill(uint8_t seed)
{
    plmm_seed s = {{seed}};
    plmm_expand((uint8_t *)many.msg, sizeof many.msg, &s, "many.msg");
    plmm_expand((uint8_t *)many.ad, sizeof many.ad, &s, "many.ad.");
    plmm_expand((uint8_t *)many.nonce, sizeof many.nonce, &s, "many.non");
    plmm_expand((uint8_t *)many.key, sizeof many.key, &s, "many.key");
    memset(many.box, 0xa5, sizeof many.box);
    memset(many.back, 0xa5, sizeof many.back);
}

static void many_point(size_t n, bool open)
{
    for (size_t i = 0; i < n; i++) {
        many.v[i] = (plmm_sealing){.in = open ? many.box[i] : many.msg[i],
                                   .out = open ? many.back[i] : many.box[i],
                                   .ad = many.ad[i],
                                   .nonce = &many.nonce[i],
                                   .key = &many.key[i]};
    }
}

/* n boxes are those that plmm_seal makes, and nothing else is written; they open, but for those that
 * are spoiled in one of five ways. */
static void check_many(size_t n, size_t len, size_t ad_len)
{
    many_fill((uint8_t)(n + len + ad_len));
    many_point(n, false);
    plmm_seal_many(many.v, n, len, ad_len);
    for (size_t i = 0; i < MANY; i++) {
        uint8_t want[ROOM];
        memset(want, 0xa5, sizeof want);
        if (i < n) {
            plmm_seal(want, many.msg[i], len, many.ad[i], ad_len, &many.nonce[i], &many.key[i]);
        }
        CHECK(memcmp(many.box[i], want, ROOM) == 0, "box %zu of %zu, %zu octets, ad %zu", i, n, len,
              ad_len);
    }
    for (size_t i = 0; i < n; i++) {
        size_t bit = (37 * i + len) % (8 * (len + PLMM_SEAL_OVERHEAD));
        many.box[i][bit / 8] ^= (uint8_t)((i % 7 == 1) << bit % 8);
        many.key[i].b[i % 32] ^= (uint8_t)(i % 7 == 2);
        many.nonce[i].b[i % 24] ^= (uint8_t)(i % 7 == 3);
        many.ad[i][ad_len > 0 ? i % ad_len : 0] ^= (uint8_t)(i % 7 == 4);
        many.box[i][len + i % PLMM_SEAL_OVERHEAD] ^= (uint8_t)(i % 7 == 5 ? 0x80 : 0);
    }
    many_point(n, true);
    plmm_open_many(many.v, n, len, ad_len);
    for (size_t i = 0; i < n; i++) {
        bool good = i % 7 == 0 || i % 7 == 6 || (i % 7 == 4 && ad_len == 0);
        CHECK(many.v[i].ok == good, "box %zu of %zu, %zu octets, ad %zu: opens", i, n, len, ad_len);
        CHECK(good ? memcmp(many.back[i], many.msg[i], len) == 0 : untouched(many.back[i], len),
              "box %zu of %zu, %zu octets, ad %zu: what comes out", i, n, len, ad_len);
        CHECK(untouched(many.back[i] + len, ROOM - len), "box %zu of %zu: behind it", i, n);
    }
}

static void test_many(void)
{
    static const size_t ns[] = {0, 1, 4, 5, 15, 16, 17, 37, MANY},
                        lens[] = {0, 1, 15, 16, 17, 63, 64, 65, 127, 800, 881},
                        ads[] = {0, 1, 16, 48, 64, 65, 129};
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        plmm__simd_use(level);
        for (size_t i = 0; i < COUNT(ns); i++) {
            for (size_t j = 0; j < COUNT(lens); j++) {
                check_many(ns[i], lens[j], ads[(i + j) % COUNT(ads)]);
            }
        }
    }
    many_fill(9); /* in place */
    many_point(MANY, false);
    for (size_t i = 0; i < MANY; i++) {
        memcpy(many.box[i], many.msg[i], 800);
        many.v[i].in = many.v[i].out;
    }
    plmm_seal_many(many.v, MANY, 800, AD_MAX);
    plmm_open_many(many.v, MANY, 800, AD_MAX);
    for (size_t i = 0; i < MANY; i++) {
        CHECK(many.v[i].ok && memcmp(many.box[i], many.msg[i], 800) == 0, "box %zu in place", i);
    }
}

#if defined(__x86_64__)
/* RFC 8439 A.3, vectors 7 to 11 (and two more of that kind): sums at and around 2^130 - 5, 2^128. */
static void test_poly1305(void)
{
    static const struct {
        uint8_t r[9], pad, first[4],
            rest[4]; /* octets of a key; of each block, the first and others */
        uint32_t blocks;
        uint8_t tag_first, tag_rest;
    } rows[] = {{{2}, 0, {0xff}, {0xff}, 1, 3, 0},
                {{2}, 0xff, {2}, {0}, 1, 3, 0},
                {{1}, 0, {0xff, 0xf0, 0x11}, {0xff, 0xff, 0}, 3, 5, 0},
                {{1}, 0, {0xff, 0xfb, 1}, {0xff, 0xfe, 1}, 3, 0, 0},
                {{2}, 0, {0xfd}, {0xff}, 1, 0xfa, 0xff},
                {{0}, 0xff, {0xff}, {0xff}, 4, 0xff, 0xff},
                {{0}, 0, {1, 2, 3, 4}, {0}, 4, 0, 0}};
    if (plmm__simd_widest() != PLMM__SIMD_AVX512) {
        return;
    }
    for (size_t lane = 0; lane < SEAL_LANES; lane++) {
        for (size_t i = 0; i < COUNT(rows); i++) {
            uint8_t text[64], key[SEAL_LANES][32] = {{0}}, tag[SEAL_LANES][16], want[16];
            const uint8_t *at[SEAL_LANES];
            for (size_t o = 0; o < sizeof text; o++) {
                text[o] = o % 16 == 0 ? rows[i].first[o / 16] : rows[i].rest[o / 16];
            }
            for (size_t l = 0; l < SEAL_LANES; l++) {
                at[l] = text;
                memset(key[l], (int)(3 * l), l == lane ? 0 : 32);
            }
            memcpy(key[lane], rows[i].r, sizeof rows[i].r);
            memset(key[lane] + 16, rows[i].pad, 16);
            memset(want, rows[i].tag_rest, 16);
            want[0] = rows[i].tag_first;
            plmm__poly1305_avx512(tag, (const uint8_t(*)[32])key, at, 16 * (size_t)rows[i].blocks);
            CHECK(memcmp(tag[lane], want, 16) == 0, "lane %zu, row %zu: %02x %02x", lane, i,
                  tag[lane][0], tag[lane][1]);
        }
    }
}
#else
static void test_poly1305(void)
{
}
#endif

int main(void)
{
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    test_published();
    test_refusals();
    test_empty();
    test_nonces();
    test_many();
    test_poly1305();
    test_mac();
    return plmm_test_end();
}
