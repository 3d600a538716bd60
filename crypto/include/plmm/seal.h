/* plmm/seal.h -- authenticated boxes (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha, as in libsodium)
 * and pairwise MACs (keyed BLAKE2b). Pure, allocate nothing, thread-safe; time depends on lengths
 * only.
 *
 * THE NONCE RULE: never two different messages under one (key, nonce). Two ways to be sure:
 *   1. plmm_nonce_counter under a key derived for one direction of one session, counting from 0 and
 *      never back: what protocol parties do, since it can be replayed from a journal;
 *   2. plmm_nonce_seed from a fresh seed of the system: what is right under a long-lived key.
 * Sealing the SAME message and associated data again under the same nonce gives the same box and
 * reveals nothing, so a party that is restarted from its journal may do it.
 */
#ifndef PLMM_SEAL_H
#define PLMM_SEAL_H

#include "plmm/keys.h"

enum { PLMM_SEAL_OVERHEAD = 16, PLMM_TAG_BYTES = 16 };

typedef struct plmm_nonce {
    uint8_t b[24];
} plmm_nonce; /* public */

/* b[0..8) = counter little-endian, the rest zero. Injective. */
void plmm_nonce_counter(plmm_nonce *out, uint64_t counter);

/* First 24 octets of the seed's derivation under "nonce.r1"; use a seed once. */
void plmm_nonce_seed(plmm_nonce *out, const plmm_seed *seed);

/* box[0..len + PLMM_SEAL_OVERHEAD) = ciphertext of msg, then the tag. ad is authenticated, not
 * sent: both sides must build the same octets (put version, session, round, sender, receiver and
 * message type into a transcript and pass its hash). box may start where msg starts, and must not
 * overlap it otherwise. msg and ad may be NULL when their length is 0. */
void plmm_seal(uint8_t *box, const uint8_t *msg, size_t len, const void *ad, size_t ad_len,
               const plmm_nonce *nonce, const plmm_key *key);

/* Opens a box of box_len octets into msg (box_len - PLMM_SEAL_OVERHEAD; may start where box
 * starts). PLMM_ERR_WIRE if box_len is less than the overhead, PLMM_ERR_AUTH if key, nonce, ad or
 * any bit of the box is not the sealed one: msg is then untouched. */
PLMM_NODISCARD plmm_status plmm_open(uint8_t *msg, const uint8_t *box, size_t box_len,
                                     const void *ad, size_t ad_len, const plmm_nonce *nonce,
                                     const plmm_key *key, plmm_error *err);

/* Authentication of a public message between two who share a key. */
typedef struct plmm_tag {
    uint8_t b[PLMM_TAG_BYTES];
} plmm_tag; /* public */

/* BLAKE2b-128(key = key, person = "plmm.mac" | label, message). The label or the message must name
 * the direction, or a tag can be sent back to its maker. */
void plmm_mac(plmm_tag *out, const plmm_key *key, const char *label, const void *msg, size_t len);

/* PLMM_ERR_AUTH if tag is not plmm_mac's; constant-time comparison. */
PLMM_NODISCARD plmm_status plmm_mac_verify(const plmm_tag *tag, const plmm_key *key,
                                           const char *label, const void *msg, size_t len,
                                           plmm_error *err);

#endif
