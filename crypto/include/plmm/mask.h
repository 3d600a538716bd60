/* plmm/mask.h -- mask streams over Z_{2^b} and the ring they are added in.
 *
 * A vector over Z_{2^b}, PLMM_RING_BITS_MIN <= b <= PLMM_RING_BITS_MAX, is an array of uint32 lanes
 * each below 2^b. Lane i of a mask is the i-th little-endian 32-bit word of a stream cipher's
 * keystream, reduced mod 2^b: uniform, so the masked vector is a one-time pad as long as a (secret,
 * context) pair masks ONE vector. A second vector under the same pair gives the difference of the
 * two away.
 *
 * Which cipher is a parameter of the session that both ends must share; it is an argument of the
 * derivation too, so ends that disagree get unrelated masks instead of equal ones. Every build has
 * both; plmm_stream_best says which is the faster one here.
 *
 *   1 ChaCha20     RFC 8439 with nonce 0: block j (lanes 16 j .. 16 j + 15) is that of counter j
 *   2 AES-256-CTR  NIST SP 800-38A 6.5 with initial counter 0: block j (lanes 4 j .. 4 j + 3) is
 *                  AES-256 of the 128-bit big-endian integer j, that is, of 12 zero octets and j
 *                  as four octets, most significant first
 *
 * AES runs by what the processor has (VAES on 512 or 256 bits, AES-NI, ARMv8), or by bit-sliced C
 * without tables, chosen at run time: equal to the bit, and all of constant time.
 *
 * Nothing allocates; thread-safe on disjoint lanes: a vector may be cut into ranges and each given
 * to a thread with its offset, the result is the same to the bit. Time and addresses depend on
 * lengths, signs and b only, never on secrets or lanes. Sources: Bonawitz et al. CCS 2017 section 4
 * (masks that cancel), RFC 8439 (ChaCha20), FIPS 197 and NIST SP 800-38A (AES, counter mode).
 */
#ifndef PLMM_MASK_H
#define PLMM_MASK_H

#include "plmm/keys.h"

enum {
    PLMM_RING_BITS_MIN = 8,
    PLMM_RING_BITS_MAX = 32,
    /* AES has four lanes a block and ChaCha20 sixteen: the last 32 bits of the counter suffice. */
    PLMM_MASK_LANES_MAX_LOG2 = 34,
    PLMM_MASK_KEY_BYTES = 240 /* of AES-256's fifteen round keys */
};

/* Ids are on the wire: never renumber. 0 is no stream. */
typedef enum plmm_stream { PLMM_STREAM_CHACHA20 = 1, PLMM_STREAM_AES256CTR = 2 } plmm_stream;

typedef enum plmm_mask_sign { PLMM_MASK_ADD = 1, PLMM_MASK_SUB = 2 } plmm_mask_sign;

/* A mask ready for use. SECRET: wipe with plmm_wipe. Fields private to crypto/. */
typedef struct plmm_mask {
    _Alignas(16) uint8_t key[PLMM_MASK_KEY_BYTES]; /* ChaCha20: 32 octets; AES: FIPS 197's w[0..59],
                                                      which begins with the key */
    uint32_t stream;
    uint32_t sign;
} plmm_mask;

/* Name of a stream ("chacha20", "aes256ctr") for reports, or NULL if this build does not have it. */
const char *plmm_stream_name(uint32_t stream);

/* The stream that is the faster one on this processor: AES-256-CTR where it has instructions for
 * AES (three to seven times as fast as ChaCha20), else ChaCha20 (ten times as fast as AES
 * without them). What an aggregator announces unless it is told otherwise; a device can do both, and
 * offers both. */
plmm_stream plmm_stream_best(void);

/* How this processor computes a stream, for reports: "vaes512", "vaes256", "aesni", "armv8" or
 * "portable" for AES, "libsodium" for ChaCha20; NULL for a stream this build does not have. */
const char *plmm_stream_isa(uint32_t stream);

/* key = plmm_kdf(secret, "mask.key", stream as u32 LE | context). secret: a pairwise key or a
 * self-mask seed; context: the session (which covers round and attempt), so that one secret never
 * gives the same mask twice. sign: of two neighbours one adds and the other subtracts (by
 * convention the smaller index adds). PLMM_ERR_UNSUPPORTED for a stream this build does not
 * have. */
PLMM_NODISCARD plmm_status plmm_mask_init(plmm_mask *m, uint32_t stream, const uint8_t secret[32],
                                          const plmm_hash *context, plmm_mask_sign sign,
                                          plmm_error *err);

/* x[i] = x[i] +/- each mask's lane (offset + i), mod 2^bits, for i in 0..n-1 and all count masks,
 * in one pass over x. Lanes of x must be below 2^bits (a lane that is not is reduced). n, count may
 * be 0. bits and offset + n <= 2^PLMM_MASK_LANES_MAX_LOG2 are asserted: check parameters before. */
void plmm_mask_apply(uint32_t *x, size_t n, uint64_t offset, uint32_t bits, const plmm_mask *masks,
                     size_t count);

/* x[i] = the mask's lane (offset + i) itself, all 32 bits, whatever its sign: a seekable source of
 * uniform words for what else needs many (noise, keys). n may be 0; offset + n as above. */
void plmm_mask_fill(uint32_t *x, size_t n, uint64_t offset, const plmm_mask *mask);

/* The same as plmm_mask_apply by a portable, one-block-at-a-time implementation that uses nothing of libsodium but the
 * wipe: the reference for tests and other platforms. */
void plmm_mask_apply_ref(uint32_t *x, size_t n, uint64_t offset, uint32_t bits,
                         const plmm_mask *masks, size_t count);

/* acc[i] = acc[i] + x[i] mod 2^bits. acc and x are the same or do not overlap. */
void plmm_ring_add(uint32_t *acc, const uint32_t *x, size_t n, uint32_t bits);

#endif
