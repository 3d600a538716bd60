/* The tree; its leaves by the widest path there is, or by libsodium. */
#include "bulk_internal.h"
#include "keys_internal.h"
#include "plmm/bytes.h"
#include "simd_internal.h"

#include <sodium.h>
#include <string.h>

enum { AT_ONCE = 64 /* leaves between updates of the top: 2 KiB of digests */ };

/* How many leaves the path makes at once; 1 by libsodium. */
static size_t lanes_now(plmm__bulk_leaves *path)
{
    *path = NULL;
#if defined(__x86_64__)
    plmm__simd level = plmm__simd_now();
    *path = level == PLMM__SIMD_AVX512 ? plmm__bulk_avx512
            : level == PLMM__SIMD_AVX2 ? plmm__bulk_avx2
                                       : NULL;
    return level == PLMM__SIMD_AVX512 ? 8 : level == PLMM__SIMD_AVX2 ? 4 : 1;
#else
    return 1;
#endif
}

/* n whole leaves. */
static void leaves(uint8_t (*out)[32], const uint8_t *in, size_t n)
{
    plmm__bulk_leaves path;
    const size_t lanes = lanes_now(&path);
    uint8_t person[16], made[BULK_LANES_MAX][32];
    plmm__person(person, BULK_LEAF, BULK_LABEL);
    const uint64_t words[2] = {plmm_load_le64(person), plmm_load_le64(person + 8)};
    for (size_t i = 0; i < n;) {
        if (lanes == 1 || n - i == 1) {
            plmm__blake2b(out[i], 32, NULL, BULK_LEAF, BULK_LABEL, in + i * PLMM_BULK_LEAF,
                          PLMM_BULK_LEAF);
            i++;
            continue;
        }
        const size_t have = n - i < lanes ? n - i : lanes;
        const uint8_t *from[BULK_LANES_MAX];
        for (size_t l = 0; l < lanes; l++) { /* the last one again in lanes that are not needed */
            from[l] = in + (i + (l < have ? l : have - 1)) * PLMM_BULK_LEAF;
        }
        path(made, from, words);
        memcpy(out[i], made, have * 32);
        i += have;
    }
}

void plmm_bulk_digest(plmm_hash *out, const void *in, size_t len)
{
    const uint8_t *p = in;
    crypto_generichash_blake2b_state top;
    uint8_t person[16], head[8], made[AT_ONCE][32];
    plmm__person(person, BULK_TOP, BULK_LABEL);
    plmm_store_le64(head, (uint64_t)len);
    int rc = crypto_generichash_blake2b_init_salt_personal(&top, NULL, 0, 32, NULL, person);
    rc |= crypto_generichash_blake2b_update(&top, head, sizeof head);
    while (len > 0) {
        size_t n = len / PLMM_BULK_LEAF < AT_ONCE ? len / PLMM_BULK_LEAF : AT_ONCE;
        size_t took = n * PLMM_BULK_LEAF;
        leaves(made, p, n);
        if (n == 0) { /* what is left is less than one */
            plmm__blake2b(made[n++], 32, NULL, BULK_LEAF, BULK_LABEL, p, len);
            took = len;
        }
        rc |= crypto_generichash_blake2b_update(&top, made[0], n * 32);
        p += took;
        len -= took;
    }
    rc |= crypto_generichash_blake2b_final(&top, out->b, sizeof out->b);
    PLMM_ASSERT(rc == 0);
}
