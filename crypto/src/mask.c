/* Masks: which stream, and its keystream added to a vector tile by tile. The tile order is outer,
 * the masks inner, so a vector that does not fit a cache is read and written once for all masks of a
 * party. ChaCha20 is libsodium's, written into a tile that stays in the first-level cache; AES adds
 * from registers (aes_internal.h). */
#include "plmm/mask.h"

#include "aes_internal.h"
#include "mask_internal.h"
#include "plmm/bytes.h"

#include <sodium.h>
#include <string.h>

const char *plmm_stream_name(uint32_t stream)
{
    return stream == PLMM_STREAM_CHACHA20    ? "chacha20"
           : stream == PLMM_STREAM_AES256CTR ? "aes256ctr"
                                             : NULL;
}

const char *plmm_stream_isa(uint32_t stream)
{
    return stream == PLMM_STREAM_CHACHA20    ? "libsodium"
           : stream == PLMM_STREAM_AES256CTR ? plmm__aes_best()->name
                                             : NULL;
}

plmm_stream plmm_stream_best(void)
{
    return plmm__aes_best() != &plmm__aes_portable ? PLMM_STREAM_AES256CTR : PLMM_STREAM_CHACHA20;
}

void plmm__mask_key(plmm_mask *m, uint32_t stream, const uint8_t key[32])
{
    memset(m, 0, sizeof *m);
    if (stream == PLMM_STREAM_AES256CTR) {
        plmm__aes_best()->expand(m->key, key);
    } else {
        memcpy(m->key, key, 32);
    }
    m->stream = stream;
    m->sign = PLMM_MASK_ADD;
}

plmm_status plmm_mask_init(plmm_mask *m, uint32_t stream, const uint8_t secret[32],
                           const plmm_hash *context, plmm_mask_sign sign, plmm_error *err)
{
    PLMM_ASSERT(sign == PLMM_MASK_ADD || sign == PLMM_MASK_SUB);
    if (plmm_stream_name(stream) == NULL) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "cannot make masks with stream %u: this build has 1 (chacha20) and 2 "
                         "(aes256ctr)",
                         stream);
    }
    uint8_t info[4 + sizeof context->b], key[32];
    plmm_store_le32(info, stream);
    memcpy(info + 4, context->b, sizeof context->b);
    plmm_kdf(key, secret, "mask.key", info, sizeof info);
    plmm__mask_key(m, stream, key);
    plmm_wipe(key, sizeof key);
    m->sign = (uint32_t)sign;
    return PLMM_OK;
}

static void reduce_lanes(uint32_t *x, size_t n, uint32_t low)
{
    for (size_t i = 0; i < n; i++) {
        x[i] &= low;
    }
}

/* ---- ChaCha20 ---- */

enum { BLOCK_LANES = 16, TILE_LANES = 2048 }; /* 8 KiB of keystream beside 8 KiB of vector */
_Static_assert(TILE_LANES % BLOCK_LANES == 0, "tiles begin at a block");

/* Whole blocks of keystream from `block` on, enough for n lanes. */
static void keystream(uint8_t *tile, size_t n, uint64_t block, const plmm_mask *m)
{
    static const uint8_t nonce[crypto_stream_chacha20_ietf_NONCEBYTES], zeros[4 * TILE_LANES];
    size_t len = (n + BLOCK_LANES - 1) / BLOCK_LANES * 64;
    int rc = crypto_stream_chacha20_ietf_xor_ic(tile, zeros, len, nonce, (uint32_t)block, m->key);
    PLMM_ASSERT(rc == 0);
}

static void add_lanes(uint32_t *x, const uint8_t *k, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += plmm_load_le32(k + 4 * i);
    }
}

static void sub_lanes(uint32_t *x, const uint8_t *k, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] -= plmm_load_le32(k + 4 * i);
    }
}

static void chacha20_apply(uint32_t *x, size_t n, uint64_t offset, uint32_t low,
                           const plmm_mask *masks, size_t count)
{
    _Alignas(64) uint8_t tile[4 * TILE_LANES];
    while (n > 0) {
        /* A range may begin inside a block: the lanes before it are made and not used. */
        size_t skip = (size_t)(offset % BLOCK_LANES);
        size_t m = n < TILE_LANES - skip ? n : TILE_LANES - skip;
        for (size_t j = 0; j < count; j++) {
            keystream(tile, skip + m, offset / BLOCK_LANES, &masks[j]);
            if (masks[j].sign == PLMM_MASK_ADD) {
                add_lanes(x, tile + 4 * skip, m);
            } else {
                sub_lanes(x, tile + 4 * skip, m);
            }
        }
        reduce_lanes(x, m, low);
        x += m;
        n -= m;
        offset += m;
    }
    plmm_wipe(tile, sizeof tile);
}

/* ---- AES-256-CTR: whole groups where they lie, what is cut off in a copy ---- */

static void aes_part(uint32_t *x, size_t n, uint64_t offset, uint32_t low, const plmm_mask *masks,
                     size_t count)
{
    _Alignas(64) uint32_t group[PLMM__AES_GROUP_LANES] = {0};
    size_t skip = (size_t)(offset % PLMM__AES_GROUP_LANES);
    memcpy(group + skip, x, 4 * n);
    plmm__aes_best()->apply(group, 1, (uint32_t)((offset - skip) / 4), low, masks, count);
    memcpy(x, group + skip, 4 * n);
    plmm_wipe(group, sizeof group);
}

static void aes_apply(uint32_t *x, size_t n, uint64_t offset, uint32_t low, const plmm_mask *masks,
                      size_t count)
{
    const size_t lanes = PLMM__AES_GROUP_LANES;
    size_t skip = (size_t)(offset % lanes);
    if (skip != 0) {
        size_t m = n < lanes - skip ? n : lanes - skip;
        aes_part(x, m, offset, low, masks, count);
        x += m;
        n -= m;
        offset += m;
    }
    size_t groups = n / lanes;
    plmm__aes_best()->apply(x, groups, (uint32_t)(offset / 4), low, masks, count);
    if (n % lanes != 0) {
        aes_part(x + groups * lanes, n % lanes, offset + groups * lanes, low, masks, count);
    }
}

/* ---- both ---- */

/* Masks of one stream, which is all there are in a session, go over the vector together. */
void plmm_mask_apply(uint32_t *x, size_t n, uint64_t offset, uint32_t bits, const plmm_mask *masks,
                     size_t count)
{
    plmm__mask_check(n, offset, bits, masks, count);
    const uint32_t low = plmm__low_bits(bits);
    if (count == 0) {
        reduce_lanes(x, n, low);
    }
    for (size_t i = 0, run; n > 0 && i < count; i += run) {
        for (run = 1; i + run < count && masks[i + run].stream == masks[i].stream; run++) {
        }
        (masks[i].stream == PLMM_STREAM_AES256CTR ? aes_apply : chacha20_apply)(x, n, offset, low,
                                                                                masks + i, run);
    }
}

void plmm_mask_fill(uint32_t *x, size_t n, uint64_t offset, const plmm_mask *mask)
{
    plmm_mask add = *mask;
    add.sign = PLMM_MASK_ADD;
    for (size_t m; n > 0; x += m, offset += m, n -= m) {
        m = n < TILE_LANES ? n : TILE_LANES;
        memset(x, 0, 4 * m);
        plmm_mask_apply(x, m, offset, PLMM_RING_BITS_MAX, &add, 1);
    }
    plmm_wipe(&add, sizeof add);
}

void plmm_ring_add(uint32_t *acc, const uint32_t *x, size_t n, uint32_t bits)
{
    const uint32_t low = plmm__low_bits(bits);
    for (size_t i = 0; i < n; i++) {
        acc[i] = (acc[i] + x[i]) & low;
    }
}
