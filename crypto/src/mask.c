/* The fast path: libsodium's ChaCha20 written into a tile that stays in the first-level cache,
 * added at once to a tile of the vector. The tile order is outer, the masks inner, so a vector that
 * does not fit a cache is read and written once for all masks of a party. */
#include "plmm/mask.h"

#include "mask_internal.h"
#include "plmm/bytes.h"

#include <sodium.h>
#include <string.h>

const char *plmm_stream_name(uint32_t stream)
{
    return stream == PLMM_STREAM_CHACHA20 ? "chacha20" : NULL;
}

plmm_status plmm_mask_init(plmm_mask *m, uint32_t stream, const uint8_t secret[32],
                           const plmm_hash *context, plmm_mask_sign sign, plmm_error *err)
{
    PLMM_ASSERT(sign == PLMM_MASK_ADD || sign == PLMM_MASK_SUB);
    if (plmm_stream_name(stream) == NULL) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "cannot make masks with stream %u: this build has 1 (chacha20)", stream);
    }
    uint8_t info[4 + sizeof context->b];
    plmm_store_le32(info, stream);
    memcpy(info + 4, context->b, sizeof context->b);
    plmm_kdf(m->key, secret, "mask.key", info, sizeof info);
    m->stream = stream;
    m->sign = (uint32_t)sign;
    return PLMM_OK;
}

void plmm__mask_check(size_t n, uint64_t offset, uint32_t bits, const plmm_mask *masks,
                      size_t count)
{
    const uint64_t most = UINT64_C(1) << PLMM_MASK_LANES_MAX_LOG2;
    PLMM_ASSERT(bits >= PLMM_RING_BITS_MIN && bits <= PLMM_RING_BITS_MAX);
    PLMM_ASSERT(offset <= most && n <= most - offset);
    for (size_t j = 0; j < count; j++) {
        PLMM_ASSERT(masks[j].stream == PLMM_STREAM_CHACHA20);
        PLMM_ASSERT(masks[j].sign == PLMM_MASK_ADD || masks[j].sign == PLMM_MASK_SUB);
    }
}

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

static void add_lanes(uint32_t *x, const uint8_t *k, size_t n, uint32_t low)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (x[i] + plmm_load_le32(k + 4 * i)) & low;
    }
}

static void sub_lanes(uint32_t *x, const uint8_t *k, size_t n, uint32_t low)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (x[i] - plmm_load_le32(k + 4 * i)) & low;
    }
}

static void reduce_lanes(uint32_t *x, size_t n, uint32_t low)
{
    for (size_t i = 0; i < n; i++) {
        x[i] &= low;
    }
}

void plmm_mask_apply(uint32_t *x, size_t n, uint64_t offset, uint32_t bits, const plmm_mask *masks,
                     size_t count)
{
    _Alignas(64) uint8_t tile[4 * TILE_LANES];
    plmm__mask_check(n, offset, bits, masks, count);
    const uint32_t low = plmm__low_bits(bits);
    if (count == 0) {
        reduce_lanes(x, n, low);
    }
    while (n > 0 && count > 0) {
        /* A range may begin inside a block: the lanes before it are made and not used. */
        size_t skip = (size_t)(offset % BLOCK_LANES);
        size_t m = n < TILE_LANES - skip ? n : TILE_LANES - skip;
        for (size_t j = 0; j < count; j++) {
            keystream(tile, skip + m, offset / BLOCK_LANES, &masks[j]);
            if (masks[j].sign == PLMM_MASK_ADD) {
                add_lanes(x, tile + 4 * skip, m, low);
            } else {
                sub_lanes(x, tile + 4 * skip, m, low);
            }
        }
        x += m;
        n -= m;
        offset += m;
    }
    plmm_wipe(tile, sizeof tile);
}

void plmm_ring_add(uint32_t *acc, const uint32_t *x, size_t n, uint32_t bits)
{
    const uint32_t low = plmm__low_bits(bits);
    for (size_t i = 0; i < n; i++) {
        acc[i] = (acc[i] + x[i]) & low;
    }
}
