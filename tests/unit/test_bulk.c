/* crypto/bulk: on every path the tree that bulk.h describes, of libsodium's BLAKE2b, at every length
 * around a leaf and around what is done at once; every octet and the length count. */
#include "keys_internal.h"
#include "plmm/bulk.h"
#include "plmm/bytes.h"
#include "simd_internal.h"
#include "test.h"
#include "vec.h"

enum { MOST = 70 * PLMM_BULK_LEAF + 1000 };
static uint8_t in[MOST], top[8 + 32 * 80];

static plmm_hash expected(size_t len)
{
    plmm_hash out;
    size_t at = 8;
    plmm_store_le64(top, len);
    for (size_t i = 0; i < len; i += PLMM_BULK_LEAF, at += 32) {
        size_t n = len - i < PLMM_BULK_LEAF ? len - i : PLMM_BULK_LEAF;
        plmm__blake2b(top + at, 32, NULL, "plmm.lea", "bulk.v1.", in + i, n);
    }
    plmm__blake2b(out.b, 32, NULL, "plmm.top", "bulk.v1.", top, at);
    return out;
}

int main(void)
{
    static const size_t around[] = {0, 1, 2, 3, 4, 5, 8, 9, 12, 15, 16, 63, 64, 65, 70};
    plmm_hash got;
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    for (size_t i = 0; i < MOST; i++) {
        in[i] = (uint8_t)(i * i + i / 8192);
    }
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        plmm__simd_use(level);
        (void)fprintf(stderr, "leaves by %s\n", plmm__simd_name(level));
        for (size_t i = 0; i < COUNT(around); i++) {
            for (size_t d = 0; d < 4; d++) {
                static const size_t less[] = {0, 1, 100, PLMM_BULK_LEAF - 1};
                size_t len = around[i] * PLMM_BULK_LEAF;
                len = len < less[d] ? less[d] : len - less[d];
                plmm_hash want = expected(len);
                plmm_bulk_digest(&got, len == 0 ? NULL : in, len);
                CHECK(plmm_equal(&got, &want, sizeof got), "%s: %zu octets", plmm__simd_name(level),
                      len);
            }
        }
        for (size_t i = 0; i < 40; i++) { /* one bit, anywhere */
            size_t len = 17 * PLMM_BULK_LEAF + 77, at = i * 3571 % len;
            plmm_hash before;
            plmm_bulk_digest(&before, in, len);
            in[at] ^= 1;
            plmm_bulk_digest(&got, in, len);
            in[at] ^= 1;
            CHECK(!plmm_equal(&got, &before, sizeof got), "octet %zu", at);
        }
        plmm_bulk_digest(&got, in, 300000);
        vec v = vec_get("tests/vectors/kahe.vec", "bulk.300000");
        vec_check(&v, got.b, 32);
    }
    return plmm_test_end();
}
