/* plmm/mask.h -- mask streams over Z_{2^b} and the ring they are added in.
 *
 * A vector over Z_{2^b}, PLMM_RING_BITS_MIN <= b <= PLMM_RING_BITS_MAX, is an array of uint32 lanes
 * each below 2^b. Lane i of a mask is the i-th little-endian 32-bit word of a stream cipher's
 * keystream, reduced mod 2^b: uniform, so the masked vector is a one-time pad as long as a (secret,
 * context) pair masks ONE vector. A second vector under the same pair gives the difference of the
 * two away.
 *
 * Which cipher is a parameter of the session that both ends must share; it is an argument of the
 * derivation too, so ends that disagree get unrelated masks instead of equal ones.
 *
 * Nothing allocates; thread-safe on disjoint lanes: a vector may be cut into ranges and each given
 * to a thread with its offset, the result is the same to the bit. Time and addresses depend on
 * lengths, signs and b only, never on secrets or lanes. Sources: Bonawitz et al. CCS 2017 section 4
 * (masks that cancel), RFC 8439 (ChaCha20).
 */
#ifndef PLMM_MASK_H
#define PLMM_MASK_H

#include "plmm/keys.h"

enum {
    PLMM_RING_BITS_MIN = 8,
    PLMM_RING_BITS_MAX = 32,
    /* ChaCha20's 32-bit block counter gives 2^32 blocks of 16 lanes; stay well inside. */
    PLMM_MASK_LANES_MAX_LOG2 = 34
};

/* Ids are on the wire: never renumber. 0 is no stream. 2 is kept for AES-256-CTR. */
typedef enum plmm_stream { PLMM_STREAM_CHACHA20 = 1 } plmm_stream;

typedef enum plmm_mask_sign { PLMM_MASK_ADD = 1, PLMM_MASK_SUB = 2 } plmm_mask_sign;

/* A mask ready for use. SECRET: wipe with plmm_wipe. Fields private to crypto/. */
typedef struct plmm_mask {
    uint8_t key[32];
    uint32_t stream;
    uint32_t sign;
} plmm_mask;

/* Name of a stream ("chacha20") for reports, or NULL if this build does not have it. */
const char *plmm_stream_name(uint32_t stream);

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

/* The same by a portable, one-block-at-a-time implementation that uses nothing of libsodium but the
 * wipe: the reference for tests and other platforms. */
void plmm_mask_apply_ref(uint32_t *x, size_t n, uint64_t offset, uint32_t bits,
                         const plmm_mask *masks, size_t count);

/* acc[i] = acc[i] + x[i] mod 2^bits. acc and x are the same or do not overlap. */
void plmm_ring_add(uint32_t *acc, const uint32_t *x, size_t n, uint32_t bits);

#endif
