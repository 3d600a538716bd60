/* crypto/mask: published values of both ciphers, cross-checked lanes, ring edges, refusals. */
#include "aes_internal.h"
#include "mask_internal.h"
#include "plmm/bytes.h"
#include "plmm/mask.h"
#include "test.h"
#include "vec.h"

static const char *const file = "tests/vectors/crypto.vec";

typedef void (*apply_fn)(uint32_t *, size_t, uint64_t, uint32_t, const plmm_mask *, size_t);
static const apply_fn both[] = {plmm_mask_apply, plmm_mask_apply_ref};

static const uint32_t streams[] = {PLMM_STREAM_CHACHA20, PLMM_STREAM_AES256CTR};

static plmm_mask mask_of(uint32_t stream, uint8_t first, plmm_mask_sign sign)
{
    plmm_mask m;
    uint8_t secret[32] = {first};
    plmm_hash context = {{42}};
    plmm_error err = {0};
    plmm_status rc = plmm_mask_init(&m, stream, secret, &context, sign, &err);
    CHECK(rc == PLMM_OK, "%s", err.msg);
    return m;
}

/* The keystream of RFC 8439 A.1 (nonce 0): a mask with that very key, at that block. */
static void test_rfc8439(void)
{
    for (int i = 1; i <= 4; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "rfc8439.a1.%d", i);
        vec v = vec_get(file, name);
        plmm_mask m;
        plmm__mask_key(&m, PLMM_STREAM_CHACHA20, v.b);
        uint64_t offset = 16 * (uint64_t)plmm_load_le32(v.b + 32);
        for (size_t k = 0; k < COUNT(both); k++) {
            uint32_t x[16] = {0};
            both[k](x, 16, offset, 32, &m, 1);
            for (size_t j = 0; j < 16; j++) {
                CHECK(x[j] == plmm_load_le32(v.b + 36 + 4 * j), "%s path %zu lane %zu", name, k, j);
            }
        }
    }
}

/* count blocks of AES-256-CTR from a counter whose first 96 bits are any: they are added to the
 * first round key, which is the same. */
static void counter_mode(uint8_t *out, size_t count, const uint8_t key[32],
                         const uint8_t counter[16])
{
    plmm_mask m;
    uint32_t x[16] = {0};
    plmm__mask_key(&m, PLMM_STREAM_AES256CTR, key);
    for (size_t i = 0; i < 12; i++) {
        m.key[i] ^= counter[i];
    }
    plmm_mask_apply(x, 4 * count, 4 * (uint64_t)plmm_load_be32(counter + 12), 32, &m, 1);
    for (size_t i = 0; i < 4 * count; i++) {
        plmm_store_le32(out + 4 * i, x[i]);
    }
}

/* FIPS 197 (key schedule and cipher) and SP 800-38A (counter mode), on every path and by the
 * reference. */
static void test_aes(void)
{
    vec c3 = vec_get(file, "fips197.c3"), a3 = vec_get(file, "fips197.a3");
    vec f55 = vec_get(file, "sp800-38a.f55");
    vec block = c3, last = a3, stream = f55;
    uint8_t w[PLMM_MASK_KEY_BYTES], out[64];
    memcpy(block.b, c3.b + 48, block.len = 16);
    memcpy(last.b, a3.b + 32, last.len = 16);
    memcpy(stream.b, f55.b + 48, stream.len = 64);
    plmm__aes_round_keys(w, a3.b);
    vec_check(&last, w + 224, 16);
    plmm__aes_round_keys(w, c3.b);
    plmm__aes_block(out, c3.b + 32, w);
    vec_check(&block, out, 16);
    const plmm__aes *paths[PLMM__AES_PATHS];
    size_t n = plmm__aes_all(paths);
    for (size_t k = 0; k < n; k++) {
        printf("AES by %s\n", paths[k]->name);
        plmm__aes_use(paths[k]);
        paths[k]->expand(w, a3.b);
        vec_check(&last, w + 224, 16);
        counter_mode(out, 1, c3.b, c3.b + 32);
        vec_check(&block, out, 16);
        counter_mode(out, 4, f55.b, f55.b + 32);
        vec_check(&stream, out, 64);
    }
    plmm__aes_use(NULL);
}

static void check_lanes(const char *name, const uint32_t x[40])
{
    uint8_t bytes[160];
    vec v = vec_get(file, name);
    for (size_t i = 0; i < 40; i++) {
        plmm_store_le32(bytes + 4 * i, x[i]);
    }
    vec_check(&v, bytes, sizeof bytes);
}

static void test_own_vectors(uint32_t stream, const char *prefix)
{
    uint8_t secret[32];
    char name[40];
    plmm_hash context;
    plmm_mask m;
    vec ctx = vec_get(file, "mask.context");
    for (size_t i = 0; i < 32; i++) {
        secret[i] = (uint8_t)i;
    }
    memcpy(context.b, ctx.b, 32);
    plmm_error err = {0};
    CHECK(plmm_mask_init(&m, stream, secret, &context, PLMM_MASK_ADD, &err) == PLMM_OK, "%s",
          err.msg);
    (void)snprintf(name, sizeof name, "%s.key", prefix);
    vec key = vec_get(file, name);
    vec_check(&key, m.key, 32);
    for (size_t k = 0; k < COUNT(both); k++) {
        uint32_t x[40] = {0}, y[40] = {0};
        both[k](x, 40, 0, 32, &m, 1);
        (void)snprintf(name, sizeof name, "%s.b32.at0", prefix);
        check_lanes(name, x);
        both[k](y, 40, 1003, 20, &m, 1);
        (void)snprintf(name, sizeof name, "%s.b20.at1003", prefix);
        check_lanes(name, y);
    }
}

/* The last lanes there are: the counter's 32 bits are all used. */
static void test_last_lanes(void)
{
    uint8_t secret[32];
    plmm_hash context;
    plmm_mask m;
    vec ctx = vec_get(file, "mask.context");
    for (size_t i = 0; i < 32; i++) {
        secret[i] = (uint8_t)i;
    }
    memcpy(context.b, ctx.b, 32);
    CHECK(plmm_mask_init(&m, 2, secret, &context, PLMM_MASK_ADD, NULL) == PLMM_OK, "init");
    for (size_t k = 0; k < COUNT(both); k++) {
        uint32_t x[40] = {0};
        both[k](x, 40, (UINT64_C(1) << PLMM_MASK_LANES_MAX_LOG2) - 40, 32, &m, 1);
        check_lanes("mask.aes.b32.end", x);
    }
}

static void test_refusals(void)
{
    plmm_mask m;
    memset(&m, 0xa5, sizeof m);
    uint8_t secret[32] = {1};
    plmm_hash context = {{2}};
    plmm_error err = {0};
    for (uint32_t stream = 0; stream < 300; stream++) {
        plmm_status want = stream == 1 || stream == 2 ? PLMM_OK : PLMM_ERR_UNSUPPORTED;
        plmm_mask t = m;
        plmm_status rc = plmm_mask_init(&t, stream, secret, &context, PLMM_MASK_ADD, &err);
        CHECK(rc == want, "stream %u: %s", stream, err.msg);
        CHECK(want == PLMM_OK || memcmp(&t, &m, sizeof m) == 0, "stream %u: untouched", stream);
    }
    CHECK(strcmp(plmm_stream_name(PLMM_STREAM_CHACHA20), "chacha20") == 0, "named");
    CHECK(strcmp(plmm_stream_name(PLMM_STREAM_AES256CTR), "aes256ctr") == 0, "named");
    CHECK(plmm_stream_name(0) == NULL && plmm_stream_name(3) == NULL, "no others");
}

static void test_ring(void)
{
    uint32_t a[3] = {255, 1, 0xffffff00}, b[3] = {1, 2, 7};
    plmm_ring_add(a, b, 3, 8);
    CHECK(a[0] == 0 && a[1] == 3 && a[2] == 7, "mod 2^8");
    uint32_t c[2] = {UINT32_MAX, 5};
    plmm_ring_add(c, c, 2, 32);
    CHECK(c[0] == UINT32_MAX - 1 && c[1] == 10, "mod 2^32, in place");
    for (size_t k = 0; k < COUNT(both); k++) {
        uint32_t x[3] = {0x123456, 0xffffffff, 7};
        both[k](x, 3, 0, 20, NULL, 0);
        CHECK(x[0] == 0x23456 && x[1] == 0xfffff && x[2] == 7, "no mask: reduced");
        both[k](NULL, 0, 99, 20, NULL, 0);
        for (size_t i = 0; i < COUNT(streams); i++) {
            plmm_mask m = mask_of(streams[i], 1, PLMM_MASK_ADD);
            both[k](NULL, 0, 99, 20, &m, 1);
        }
    }
}

/* The best stream is AES exactly where there are instructions for it; its name follows the path. */
static void test_best(void)
{
    const plmm__aes *paths[PLMM__AES_PATHS];
    size_t n = plmm__aes_all(paths);
    CHECK(n >= 1 && paths[n - 1] == &plmm__aes_portable, "portable is there, and last");
    for (size_t k = 0; k < n; k++) {
        plmm__aes_use(paths[k]);
        CHECK(plmm_stream_best() == (k + 1 < n ? PLMM_STREAM_AES256CTR : PLMM_STREAM_CHACHA20),
              "%s", paths[k]->name);
        CHECK(strcmp(plmm_stream_isa(2), paths[k]->name) == 0, "named");
    }
    plmm__aes_use(NULL);
    CHECK(strcmp(plmm_stream_isa(2), paths[0]->name) == 0, "the first is taken");
    CHECK(strcmp(plmm_stream_isa(1), "libsodium") == 0 && plmm_stream_isa(3) == NULL, "named");
}

/* A stream is a seekable source of words: what masking zeros gives, whatever the sign. */
static void test_fill(void)
{
    static uint32_t x[5000], y[5000];
    for (size_t i = 0; i < COUNT(streams); i++) {
        plmm_mask m = mask_of(streams[i], 7, PLMM_MASK_ADD);
        memset(x, 0, sizeof x);
        plmm_mask_apply(x, COUNT(x), 13, 32, &m, 1);
        m.sign = PLMM_MASK_SUB;
        memset(y, 0xa5, sizeof y);
        plmm_mask_fill(y, COUNT(y), 13, &m);
        CHECK(memcmp(x, y, sizeof x) == 0, "stream %u", streams[i]);
        plmm_mask_fill(NULL, 0, 13, &m);
    }
}

/* Every argument of the derivation changes every stream: compare 4096 bits, expect about half. */
static void test_separation(void)
{
    uint8_t secret[32] = {1};
    plmm_hash context = {{42}};
    plmm_mask ms[5];
    uint32_t x[5][128] = {{0}};
    ms[0] = mask_of(1, 1, PLMM_MASK_ADD);
    ms[3] = mask_of(2, 1, PLMM_MASK_ADD);
    secret[31] ^= 0x80;
    plmm_error err = {0};
    CHECK(plmm_mask_init(&ms[1], 1, secret, &context, PLMM_MASK_ADD, &err) == PLMM_OK, "secret");
    CHECK(plmm_mask_init(&ms[4], 2, secret, &context, PLMM_MASK_ADD, &err) == PLMM_OK, "secret");
    secret[31] ^= 0x80;
    context.b[31] ^= 1;
    CHECK(plmm_mask_init(&ms[2], 1, secret, &context, PLMM_MASK_ADD, &err) == PLMM_OK, "context");
    for (size_t i = 0; i < COUNT(ms); i++) {
        plmm_mask_apply(x[i], 128, 0, 32, &ms[i], 1);
    }
    for (size_t i = 0; i < COUNT(ms); i++) {
        for (size_t k = 0; k < i; k++) {
            int bits = 0;
            for (size_t j = 0; j < 128; j++) {
                bits += __builtin_popcount(x[k][j] ^ x[i][j]);
            }
            CHECK(bits > 2048 - 192 && bits < 2048 + 192, "%zu, %zu: %d of 4096 bits differ", i, k,
                  bits);
        }
    }
}

int main(void)
{
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    test_rfc8439();
    test_aes();
    test_own_vectors(PLMM_STREAM_CHACHA20, "mask");
    test_own_vectors(PLMM_STREAM_AES256CTR, "mask.aes");
    test_last_lanes();
    test_refusals();
    test_ring();
    test_best();
    test_fill();
    test_separation();
    return plmm_test_end();
}
