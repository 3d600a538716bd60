/* Lanes of b bits in a little-endian string of bits. Eight lanes are b octets, so groups of eight
 * begin at an octet and the rest is one short group. Vector code takes the groups that fill its
 * registers (pack_internal.h), the portable code here those that are left, or all. */
#include "plmm/bytes.h"
#include "plmm/encode.h"

#include "mask_internal.h"
#include "pack_internal.h"
#include "simd_internal.h"

#include <string.h>

enum { GROUP = 8 };

size_t plmm_packed_bytes(size_t n, uint32_t bits)
{
    PLMM_ASSERT((uint64_t)n <= UINT64_C(1) << PLMM_MASK_LANES_MAX_LOG2);
    PLMM_ASSERT(bits >= PLMM_RING_BITS_MIN && bits <= PLMM_RING_BITS_MAX);
    return (n * bits + 7) / 8;
}

static size_t no_pack(uint8_t *out, size_t len, const uint32_t *x, size_t n, uint32_t bits,
                      uint32_t *any)
{
    (void)out, (void)len, (void)x, (void)n, (void)bits, (void)any;
    return 0;
}

static size_t no_unpack(uint32_t *x, size_t n, uint32_t bits, const uint8_t *in, size_t len)
{
    (void)x, (void)n, (void)bits, (void)in, (void)len;
    return 0;
}

static const plmm__packer *packer(void)
{
    static const plmm__packer none = {no_pack, no_unpack, no_unpack};
#if defined(__x86_64__)
    static const plmm__packer *const of[] = {&none, &plmm__packer_avx2, &plmm__packer_avx512};
    return of[plmm__simd_now()];
#else
    return &none;
#endif
}

/* m <= GROUP lanes into ceil(m * bits / 8) octets. */
static void pack_group(uint8_t *out, const uint32_t *x, size_t m, uint32_t bits)
{
    uint64_t acc = 0;
    uint32_t held = 0; /* bits in acc, < 32 between lanes */
    for (size_t i = 0; i < m; i++) {
        acc |= (uint64_t)x[i] << held;
        held += bits;
        if (held >= 32) {
            plmm_store_le32(out, (uint32_t)acc);
            out += 4;
            acc >>= 32;
            held -= 32;
        }
    }
    for (; held > 0; held = held > 8 ? held - 8 : 0) {
        *out++ = (uint8_t)acc;
        acc >>= 8;
    }
}

void plmm_pack(uint8_t *out, const uint32_t *x, size_t n, uint32_t bits)
{
    const uint32_t low = plmm__low_bits(bits);
    uint32_t any = 0;
    size_t done = packer()->pack(out, plmm_packed_bytes(n, bits), x, n, bits, &any);
    PLMM_ASSERT(done <= n && done % GROUP == 0);
    for (size_t i = done; i < n; i++) {
        any |= x[i];
    }
    PLMM_ASSERT((any & ~low) == 0);
    out += done / GROUP * bits;
    x += done;
    n -= done;
    for (; n >= GROUP; n -= GROUP, x += GROUP, out += bits) {
        pack_group(out, x, GROUP, bits);
    }
    pack_group(out, x, n, bits);
}

/* Lane i of a string with at least 8 octets from the lane's first on: 32 + 7 bits are enough. */
static inline uint32_t lane_at(const uint8_t *in, size_t i, uint32_t bits, uint32_t low)
{
    size_t bit = i * bits;
    return (uint32_t)(plmm_load_le64(in + bit / 8) >> (bit % 8)) & low;
}

static plmm_status check_packed(size_t n, uint32_t bits, const uint8_t *in, size_t len,
                                plmm_error *err)
{
    size_t want = plmm_packed_bytes(n, bits);
    if (len != want) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "cannot unpack a vector of %zu octets: %zu coordinates of %u bits are %zu",
                         len, n, bits, want);
    }
    unsigned used = (unsigned)(n * bits % 8);
    if (used != 0 && in[len - 1] >> used != 0) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "cannot unpack a vector of %zu octets: its padding is not zero", len);
    }
    return PLMM_OK;
}

/* How many leading lanes can be read by 8-octet loads: those whose group lies 8 octets or more
 * before the end. The others are read from a padded copy. */
static size_t direct_lanes(size_t n, uint32_t bits, size_t len)
{
    size_t groups = len >= bits + 8 ? (len - 8) / bits : 0;
    return groups * GROUP < n ? groups * GROUP : n;
}

typedef void (*take_fn)(uint32_t *x, uint32_t lane, uint32_t low);

static inline void take_set(uint32_t *x, uint32_t lane, uint32_t low)
{
    (void)low;
    *x = lane;
}

static inline void take_add(uint32_t *x, uint32_t lane, uint32_t low)
{
    *x = (*x + lane) & low;
}

static inline void unpack_with(uint32_t *x, size_t n, uint32_t bits, const uint8_t *in, size_t len,
                               take_fn take)
{
    const uint32_t low = plmm__low_bits(bits);
    size_t direct = direct_lanes(n, bits, len);
    for (size_t i = 0; i < direct; i += GROUP, in += bits) {
        for (size_t j = 0; j < GROUP; j++) {
            take(&x[i + j], lane_at(in, j, bits, low), low);
        }
    }
    /* At most 8 + 2 * 32 octets are left; begin at an octet, as direct is a multiple of GROUP. */
    uint8_t tail[8 + 3 * PLMM_RING_BITS_MAX] = {0};
    size_t rest = len - direct / GROUP * bits;
    PLMM_ASSERT(rest + 8 <= sizeof tail);
    if (rest > 0) {
        memcpy(tail, in, rest);
    }
    for (size_t i = direct; i < n; i++) {
        take(&x[i], lane_at(tail, i - direct, bits, low), low);
    }
    plmm_wipe(tail, sizeof tail);
}

plmm_status plmm_unpack(uint32_t *x, size_t n, uint32_t bits, const uint8_t *in, size_t len,
                        plmm_error *err)
{
    PLMM_TRY(check_packed(n, bits, in, len, err));
    if (n == 0) {
        return PLMM_OK; /* in may be NULL, which nothing may be added to */
    }
    size_t done = packer()->unpack(x, n, bits, in, len), octets = done / GROUP * bits;
    unpack_with(x + done, n - done, bits, in + octets, len - octets, take_set);
    return PLMM_OK;
}

plmm_status plmm_unpack_add(uint32_t *acc, size_t n, uint32_t bits, const uint8_t *in, size_t len,
                            plmm_error *err)
{
    PLMM_TRY(check_packed(n, bits, in, len, err));
    if (n == 0) {
        return PLMM_OK;
    }
    size_t done = packer()->unpack_add(acc, n, bits, in, len), octets = done / GROUP * bits;
    unpack_with(acc + done, n - done, bits, in + octets, len - octets, take_add);
    return PLMM_OK;
}
