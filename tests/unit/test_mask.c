/* crypto/mask: RFC 8439 and cross-checked lanes, ring edges, refusals. */
#include "plmm/bytes.h"
#include "plmm/mask.h"
#include "test.h"
#include "vec.h"

static const char *const file = "tests/vectors/crypto.vec";

typedef void (*apply_fn)(uint32_t *, size_t, uint64_t, uint32_t, const plmm_mask *, size_t);
static const apply_fn both[] = {plmm_mask_apply, plmm_mask_apply_ref};

static plmm_mask mask_of(uint8_t first, plmm_mask_sign sign)
{
    plmm_mask m;
    uint8_t secret[32] = {first};
    plmm_hash context = {{42}};
    plmm_error err = {0};
    plmm_status rc = plmm_mask_init(&m, PLMM_STREAM_CHACHA20, secret, &context, sign, &err);
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
        plmm_mask m = mask_of(0, PLMM_MASK_ADD);
        memcpy(m.key, v.b, 32);
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

static void test_own_vectors(void)
{
    uint8_t secret[32], bytes[160];
    plmm_hash context;
    plmm_mask m;
    vec ctx = vec_get(file, "mask.context"), key = vec_get(file, "mask.key");
    for (size_t i = 0; i < 32; i++) {
        secret[i] = (uint8_t)i;
    }
    memcpy(context.b, ctx.b, 32);
    plmm_error err = {0};
    CHECK(plmm_mask_init(&m, 1, secret, &context, PLMM_MASK_ADD, &err) == PLMM_OK, "%s", err.msg);
    vec_check(&key, m.key, 32);
    for (size_t k = 0; k < COUNT(both); k++) {
        uint32_t x[40] = {0}, y[40] = {0};
        both[k](x, 40, 0, 32, &m, 1);
        both[k](y, 40, 1003, 20, &m, 1);
        for (size_t i = 0; i < 40; i++) {
            plmm_store_le32(bytes + 4 * i, x[i]);
        }
        vec a = vec_get(file, "mask.b32.at0"), b = vec_get(file, "mask.b20.at1003");
        vec_check(&a, bytes, sizeof bytes);
        for (size_t i = 0; i < 40; i++) {
            plmm_store_le32(bytes + 4 * i, y[i]);
        }
        vec_check(&b, bytes, sizeof bytes);
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
        plmm_status want = stream == PLMM_STREAM_CHACHA20 ? PLMM_OK : PLMM_ERR_UNSUPPORTED;
        plmm_mask t = m;
        plmm_status rc = plmm_mask_init(&t, stream, secret, &context, PLMM_MASK_ADD, &err);
        CHECK(rc == want, "stream %u: %s", stream, err.msg);
        CHECK(want == PLMM_OK || memcmp(&t, &m, sizeof m) == 0, "stream %u: untouched", stream);
    }
    CHECK(strcmp(plmm_stream_name(PLMM_STREAM_CHACHA20), "chacha20") == 0, "named");
    CHECK(plmm_stream_name(2) == NULL, "AES is not in this build");
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
        plmm_mask m = mask_of(1, PLMM_MASK_ADD);
        both[k](NULL, 0, 99, 20, &m, 1);
    }
}

/* Every argument of the derivation changes every stream: compare 4096 bits, expect about half. */
static void test_separation(void)
{
    uint8_t secret[32] = {1};
    plmm_hash context = {{42}};
    plmm_mask ms[3];
    uint32_t x[3][128] = {{0}};
    ms[0] = mask_of(1, PLMM_MASK_ADD);
    secret[31] ^= 0x80;
    plmm_error err = {0};
    CHECK(plmm_mask_init(&ms[1], 1, secret, &context, PLMM_MASK_ADD, &err) == PLMM_OK, "secret");
    secret[31] ^= 0x80;
    context.b[31] ^= 1;
    CHECK(plmm_mask_init(&ms[2], 1, secret, &context, PLMM_MASK_ADD, &err) == PLMM_OK, "context");
    for (size_t i = 0; i < 3; i++) {
        plmm_mask_apply(x[i], 128, 0, 32, &ms[i], 1);
    }
    for (size_t i = 1; i < 3; i++) {
        int bits = 0;
        for (size_t j = 0; j < 128; j++) {
            bits += __builtin_popcount(x[0][j] ^ x[i][j]);
        }
        CHECK(bits > 2048 - 192 && bits < 2048 + 192, "%zu: %d of 4096 bits differ", i, bits);
    }
}

int main(void)
{
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    test_rfc8439();
    test_own_vectors();
    test_refusals();
    test_ring();
    test_separation();
    return plmm_test_end();
}
