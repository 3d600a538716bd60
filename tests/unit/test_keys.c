/* crypto/keys: published and cross-checked vectors, refusals, wiping. */
#include "plmm/keys.h"
#include "test.h"
#include "vec.h"

static const char *const file = "tests/vectors/crypto.vec";

static plmm_seed counting_seed(void)
{
    plmm_seed s;
    for (size_t i = 0; i < sizeof s.b; i++) {
        s.b[i] = (uint8_t)i;
    }
    return s;
}

static void expect(const char *name, const void *got, size_t len)
{
    vec v = vec_get(file, name);
    vec_check(&v, got, len);
}

static void test_derivation(void)
{
    plmm_seed seed = counting_seed(), d;
    plmm_key key, out;
    uint8_t bytes[100], part[37];
    memcpy(key.b, seed.b, 32);
    plmm_kdf(out.b, seed.b, "test.lbl", "info", 4);
    expect("kdf.out", out.b, 32);
    plmm_key_derive(&key, &key, "test.lbl", "info", 4);
    CHECK(plmm_equal(&key, &out, 32), "in place");
    plmm_seed_derive(&d, &seed, "test.lbl", 7);
    expect("seed_derive.7", d.b, 32);
    plmm_kdf(out.b, seed.b, "test.lbm", "info", 4);
    CHECK(!plmm_equal(&key, &out, 32), "another label, another key");
    plmm_kdf(out.b, seed.b, "test.lbl", NULL, 0);
    CHECK(!plmm_equal(&key, &out, 32), "another info, another key");
    plmm_expand(bytes, sizeof bytes, &seed, "test.lbl");
    expect("expand.100", bytes, sizeof bytes);
    plmm_expand(part, sizeof part, &seed, "test.lbl");
    CHECK(memcmp(part, bytes, sizeof part) == 0, "a shorter output is a prefix");
    plmm_expand(NULL, 0, &seed, "test.lbl");
}

static void test_hashing(void)
{
    plmm_hash h, h2;
    plmm_hash_bytes(&h, "test.lbl", "abc", 3);
    expect("hash.abc", h.b, 32);
    plmm_hash_bytes(&h2, "test.lbl", NULL, 0);
    CHECK(!plmm_equal(&h, &h2, 32), "empty is something else");
    plmm_digest d;
    plmm_digest_init(&d);
    plmm_digest_update(&d, "a", 1);
    plmm_digest_update(&d, "bc", 2);
    plmm_digest_update(&d, NULL, 0);
    plmm_digest_final(&d, &h);
    expect("blake2b256.abc", h.b, 32);
    CHECK(plmm_is_zero(&d, sizeof d), "a finished digest is wiped");
}

/* Fields a and b, in one transcript. */
static plmm_hash of_two(const char *a, const char *b)
{
    plmm_transcript t;
    plmm_hash h;
    plmm_transcript_init(&t, "test.lbl");
    plmm_transcript_str(&t, a);
    plmm_transcript_str(&t, b);
    plmm_transcript_final(&t, &h);
    return h;
}

static void test_transcript(void)
{
    plmm_transcript t;
    plmm_hash h;
    plmm_transcript_init(&t, "test.lbl");
    plmm_transcript_bytes(&t, "ab", 2);
    plmm_transcript_bytes(&t, NULL, 0);
    plmm_transcript_str(&t, "plmm");
    plmm_transcript_u64(&t, (UINT64_C(1) << 40) + 1);
    plmm_transcript_f64(&t, -0.1);
    plmm_transcript_final(&t, &h);
    expect("transcript.out", h.b, 32);
    CHECK(plmm_is_zero(&t, sizeof t), "a finished transcript is wiped");
    plmm_hash x = of_two("ab", "c"), y = of_two("a", "bc"), z = of_two("abc", "");
    CHECK(!plmm_equal(&x, &y, 32) && !plmm_equal(&x, &z, 32) && !plmm_equal(&y, &z, 32),
          "fields do not run into each other");
}

static void test_identity(void)
{
    plmm_error err = {0};
    vec seed_v = vec_get(file, "rfc8032.seed");
    plmm_seed seed;
    plmm_sign_pk pk, other;
    plmm_sign_sk sk;
    plmm_signature sig, bad;
    memcpy(seed.b, seed_v.b, 32);
    plmm_sign_keypair(&pk, &sk, &seed);
    expect("rfc8032.pk", pk.b, 32);
    plmm_sign_keypair(&other, &sk, &(plmm_seed){{9}});
    seed = counting_seed();
    plmm_sign_keypair(&pk, &sk, &seed);
    plmm_sign(&sig, &sk, "test.lbl", "message", 7);
    expect("sign.out", sig.b, 64);
    CHECK(plmm_verify(&sig, &pk, "test.lbl", "message", 7, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_verify(&sig, &pk, "test.lbm", "message", 7, &err) == PLMM_ERR_AUTH, "label");
    CHECK(plmm_verify(&sig, &pk, "test.lbl", "messagE", 7, &err) == PLMM_ERR_AUTH, "message");
    CHECK(plmm_verify(&sig, &pk, "test.lbl", "message", 6, &err) == PLMM_ERR_AUTH, "length");
    CHECK(plmm_verify(&sig, &other, "test.lbl", "message", 7, &err) == PLMM_ERR_AUTH, "key");
    CHECK(strstr(err.msg, "test.lbl") != NULL, "the sentence names the label: %s", err.msg);
    for (size_t bit = 0; bit < 512; bit++) {
        bad = sig;
        bad.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(plmm_verify(&bad, &pk, "test.lbl", "message", 7, NULL) == PLMM_ERR_AUTH, "bit %zu",
              bit);
    }
    plmm_sign_pk small = {{1}}; /* the neutral element verifies much in careless libraries */
    CHECK(plmm_verify(&sig, &small, "test.lbl", "message", 7, NULL) == PLMM_ERR_AUTH, "small");
}

static void test_agreement(void)
{
    plmm_error err = {0};
    vec a = vec_get(file, "rfc7748.alice"), b = vec_get(file, "rfc7748.bob");
    plmm_seed sa, sb;
    plmm_dh_sk ska, skb;
    plmm_dh_pk pka, pkb;
    plmm_key ab, ba, other;
    memcpy(sa.b, a.b, 32);
    memcpy(sb.b, b.b, 32);
    plmm_dh_keypair(&pka, &ska, &sa);
    plmm_dh_keypair(&pkb, &skb, &sb);
    CHECK(memcmp(pka.b, a.b + 32, 32) == 0 && memcmp(pkb.b, b.b + 32, 32) == 0, "RFC 7748 6.1");
    CHECK(plmm_dh_agree(&ab, &ska, &pka, &pkb, "test.dh1", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_dh_agree(&ba, &skb, &pkb, &pka, "test.dh1", &err) == PLMM_OK, "%s", err.msg);
    expect("agree.key", ab.b, 32);
    CHECK(plmm_equal(&ab, &ba, 32), "both sides agree");
    CHECK(plmm_dh_agree(&other, &ska, &pka, &pkb, "test.dh2", &err) == PLMM_OK, "%s", err.msg);
    CHECK(!plmm_equal(&ab, &other, 32), "another label, another key");
    CHECK(plmm_dh_agree(&other, &ska, &pka, &pka, "test.dh1", &err) == PLMM_ERR_PEER, "own key");
}

/* The points of small order on Curve25519 and its twist, and their encodings above the prime (from
 * RFC 7748's security considerations and Bernstein's list at cr.yp.to/ecdh.html). */
static void test_low_order(void)
{
    static const char *const hex[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    plmm_dh_sk sk;
    plmm_dh_pk pk, low;
    plmm_key out;
    plmm_dh_keypair(&pk, &sk, &(plmm_seed){{77}});
    for (size_t i = 0; i < 2 * COUNT(hex); i++) {
        const char *h = hex[i % COUNT(hex)];
        for (size_t j = 0; j < 32; j++) {
            low.b[j] = (uint8_t)(vec_nibble(h[2 * j]) << 4 | vec_nibble(h[2 * j + 1]));
        }
        low.b[31] |= i < COUNT(hex) ? 0 : 0x80; /* the bit X25519 ignores */
        memset(&out, 0xa5, sizeof out);
        plmm_error err = {0};
        CHECK(plmm_dh_agree(&out, &sk, &pk, &low, "test.dh1", &err) == PLMM_ERR_PEER, "%zu", i);
        CHECK(out.b[0] == 0xa5 && out.b[31] == 0xa5, "%zu: out is untouched", i);
        CHECK(strstr(err.msg, "low order") != NULL, "%s", err.msg);
    }
}

static void test_identity_agreement(void)
{
    plmm_seed seed = counting_seed();
    plmm_sign_pk pk, other_pk;
    plmm_sign_sk sk, other_sk;
    plmm_key a, b, c;
    plmm_error err = {0};
    plmm_sign_keypair(&pk, &sk, &seed);
    plmm_sign_keypair(&other_pk, &other_sk, &(plmm_seed){{9}});
    CHECK(plmm_identity_agree(&a, &sk, &other_pk, "test.id1", "art", 3, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(plmm_identity_agree(&b, &other_sk, &pk, "test.id1", "art", 3, &err) == PLMM_OK, "%s",
          err.msg);
    expect("identity_agree.key", a.b, 32);
    CHECK(plmm_equal(&a, &b, 32), "both sides agree");
    CHECK(plmm_identity_agree(&c, &sk, &other_pk, "test.id2", "art", 3, &err) == PLMM_OK &&
              !plmm_equal(&a, &c, 32),
          "another label, another key");
    CHECK(plmm_identity_agree(&c, &sk, &other_pk, "test.id1", "it", 2, &err) == PLMM_OK &&
              !plmm_equal(&a, &c, 32),
          "another info, another key");
    CHECK(plmm_identity_agree(&c, &sk, &other_pk, "test.id1", NULL, 0, &err) == PLMM_OK &&
              !plmm_equal(&a, &c, 32),
          "no info");
    memset(&c, 0xa5, sizeof c);
    CHECK(plmm_identity_agree(&c, &sk, &pk, "test.id1", "art", 3, &err) == PLMM_ERR_PEER &&
              strstr(err.msg, "own") != NULL,
          "own key: %s", err.msg);
    CHECK(c.b[0] == 0xa5 && c.b[31] == 0xa5, "out is untouched");
}

/* The eight points of small order of Ed25519, two that are no points, and a sum of a good one and one of
 * order two: y -> -y and x -> -x of a true key. */
static void test_no_identity(void)
{
    static const char *const hex[] = {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "0200000000000000000000000000000000000000000000000000000000000000",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    plmm_sign_pk pk, bad;
    plmm_sign_sk sk;
    plmm_key out;
    plmm_sign_keypair(&pk, &sk, &(plmm_seed){{77}});
    for (size_t i = 0; i <= COUNT(hex); i++) {
        plmm_error err = {0};
        if (i < COUNT(hex)) {
            for (size_t j = 0; j < 32; j++) {
                bad.b[j] =
                    (uint8_t)(vec_nibble(hex[i][2 * j]) << 4 | vec_nibble(hex[i][2 * j + 1]));
            }
        } else { /* -P + (0, -1): p - y, and the other sign */
            plmm_sign_keypair(&bad, &(plmm_sign_sk){{0}}, &(plmm_seed){{78}});
            uint8_t sign = bad.b[31] & 0x80;
            int borrow = 0;
            bad.b[31] &= 0x7f;
            for (size_t j = 0; j < 32; j++) {
                int v = (j == 0 ? 0xed : j == 31 ? 0x7f : 0xff) - bad.b[j] - borrow;
                borrow = v < 0;
                bad.b[j] = (uint8_t)v;
            }
            bad.b[31] |= (uint8_t)(sign ^ 0x80);
        }
        memset(&out, 0xa5, sizeof out);
        CHECK(plmm_identity_agree(&out, &sk, &bad, "test.id1", NULL, 0, &err) == PLMM_ERR_PEER,
              "%zu", i);
        CHECK(out.b[0] == 0xa5 && strstr(err.msg, "no point") != NULL, "%zu: %s", i, err.msg);
    }
}

static void test_small_things(void)
{
    uint8_t a[40], b[40];
    plmm_seed s = {{0}}, t = {{0}};
    memset(a, 7, sizeof a);
    memset(b, 7, sizeof b);
    CHECK(plmm_equal(a, b, sizeof a), "equal");
    b[39] ^= 0x80;
    CHECK(!plmm_equal(a, b, sizeof a) && plmm_equal(a, b, 39), "the last octet counts");
    CHECK(plmm_equal(a, b, 0), "nothing equals nothing");
    plmm_wipe(a, 39);
    CHECK(plmm_is_zero(a, 39) && !plmm_is_zero(a, 40), "wiped, no further");
    CHECK(plmm_seed_system(&s, NULL) == PLMM_OK && plmm_seed_system(&t, NULL) == PLMM_OK, "system");
    CHECK(!plmm_is_zero(&s, 32) && !plmm_equal(&s, &t, 32), "two draws differ");
}

int main(void)
{
    test_derivation(); /* before plmm_crypto_init: results do not depend on it */
    CHECK(plmm_crypto_init(NULL) == PLMM_OK && plmm_crypto_init(NULL) == PLMM_OK, "twice");
    test_derivation();
    test_hashing();
    test_transcript();
    test_identity();
    test_agreement();
    test_low_order();
    test_identity_agreement();
    test_no_identity();
    test_small_things();
    return plmm_test_end();
}
