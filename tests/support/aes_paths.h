/* tests/support/aes_paths.h -- an AES path held against the reference: round keys, and lanes of
 * random length, place, sign and width. */
#ifndef PLMM_AES_PATHS_H
#define PLMM_AES_PATHS_H

#include "aes_internal.h"
#include "mask_internal.h"
#include "plmm/bytes.h"
#include "plmm/rng.h"
#include "test.h"

enum { AES_GROUPS = 3, AES_MASKS = 5 };

/* x +/- the keystream of one mask, from the reference's blocks. */
static void aes_reference(uint32_t *x, size_t groups, uint32_t block, const plmm_mask *m)
{
    for (size_t i = 0; i < groups * PLMM__AES_GROUP_BLOCKS; i++) {
        uint8_t counter[16] = {0}, out[16];
        plmm_store_be32(counter + 12, block + (uint32_t)i);
        plmm__aes_block(out, counter, m->key);
        for (size_t j = 0; j < 4; j++) {
            uint32_t lane = plmm_load_le32(out + 4 * j);
            x[4 * i + j] += m->sign == PLMM_MASK_ADD ? lane : 0 - lane;
        }
    }
}

static void aes_path_step(const plmm__aes *path, plmm_rng *r)
{
    /* one lane more, so that the vector is not aligned */
    static uint32_t got[AES_GROUPS * PLMM__AES_GROUP_LANES + 1], want[COUNT(got)];
    static plmm_mask m[AES_MASKS];
    size_t groups = (size_t)plmm_rng_below(r, AES_GROUPS + 1);
    size_t count = 1 + (size_t)plmm_rng_below(r, AES_MASKS), n = groups * PLMM__AES_GROUP_LANES;
    uint32_t block = (uint32_t)plmm_rng_u64(r) & ~(uint32_t)(PLMM__AES_GROUP_BLOCKS - 1);
    uint32_t low = UINT32_MAX >> plmm_rng_below(r, 25);
    for (size_t i = 0; i < COUNT(got); i++) {
        got[i] = want[i] = (uint32_t)plmm_rng_u64(r) & low;
    }
    for (size_t k = 0; k < count; k++) {
        uint8_t key[32], w[PLMM_MASK_KEY_BYTES];
        for (size_t i = 0; i < sizeof key; i++) {
            key[i] = (uint8_t)plmm_rng_u64(r);
        }
        path->expand(m[k].key, key);
        plmm__aes_round_keys(w, key);
        CHECK(memcmp(m[k].key, w, sizeof w) == 0, "%s: round keys", path->name);
        m[k].stream = PLMM_STREAM_AES256CTR;
        m[k].sign = plmm_rng_below(r, 2) == 0 ? PLMM_MASK_ADD : PLMM_MASK_SUB;
        aes_reference(want + 1, groups, block, &m[k]);
    }
    for (size_t i = 1; i <= n; i++) {
        want[i] &= low;
    }
    path->apply(got + 1, groups, block, low, m, count);
    CHECK(memcmp(got, want, sizeof got) == 0, "%s: %zu groups from block %u, low %x", path->name,
          groups, block, low);
}

static void aes_path_check(const plmm__aes *path, uint64_t seed, int steps)
{
    plmm_rng r;
    plmm_rng_init(&r, seed, 0);
    for (int i = 0; i < steps; i++) {
        aes_path_step(path, &r);
    }
    printf("AES by %s: %d runs beside the reference\n", path->name, steps);
}

#endif
