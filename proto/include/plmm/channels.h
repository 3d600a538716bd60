/* plmm/channels.h -- a device's channels with other devices, cached and ratcheted.
 *
 * A device has one X25519 CHANNEL KEY for an epoch; its public half, and the round since when it is
 * in use, stand in its entry of every roster. The chain key of a pair at round r is
 *
 *   C_b     = KDF(X25519(own, peer) | b)   b = the later of the two rounds since when
 *   C_{r+1} = KDF(C_r)
 *
 * so both sides compute it for any round from the two entries alone, and X25519 is needed once an
 * epoch: afterwards the table has (peer, its key) -> (r, C_r). A key is in use for at most
 * PLMM_EPOCH_ROUNDS rounds, which bounds the skip. Boxes and MACs of a round are under keys derived
 * from C_r and the session, with random 192-bit nonces: a table that was restored from a backup
 * only steps forward, and never uses a (key, nonce) twice.
 *
 * While an epoch lasts, who takes a device's channel key can compute all of its chains: forward
 * secrecy is by epochs, within one only for who has no more than the table's chain keys.
 *
 * The machine of a round (plmm/client_round.h) borrows a table, only reads it during the round, and
 * changes it in the step that ends the round: the driver stores it in that transaction, so that a
 * round replayed from its journal computes the same octets.
 *
 * Fixed size, one allocation; when it is full, the pair that was used longest ago goes. Not
 * thread-safe.
 */
#ifndef PLMM_CHANNELS_H
#define PLMM_CHANNELS_H

#include "plmm/limits.h"

typedef struct plmm_channels plmm_channels; /* SECRET */

/* An empty table without a key for at most peers_max pairs (96 octets each); PLMM_ERR_RANGE if that
 * is 0 or above PLMM_CHANNELS_MAX, PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_channels_new(plmm_channels **c, uint32_t peers_max,
                                             plmm_error *err);
void plmm_channels_free(plmm_channels *c); /* wipes; NULL is fine */

/* Forgets the key and all pairs: the next round begins a new epoch. */
void plmm_channels_clear(plmm_channels *c);

/* A channel key of a device. */
typedef struct plmm_channel_key {
    plmm_dh_pk pk;
    plmm_dh_sk sk;  /* SECRET */
    uint64_t since; /* round */
} plmm_channel_key;

/* The own key; NULL if there is none that may be used in this round. */
const plmm_channel_key *plmm_channels_own(const plmm_channels *c, uint64_t round);

/* A new epoch: the own key is *key, all pairs are forgotten. */
void plmm_channels_begin(plmm_channels *c, const plmm_channel_key *key);

/* True if a key of `since` may be used in a round. */
bool plmm_channel_current(uint64_t since, uint64_t round);

/* The peer's side of a channel, from its entry of the roster. */
typedef struct plmm_channel_peer {
    uint64_t device;
    plmm_dh_pk pk;
    uint64_t since;
} plmm_channel_peer;

/* *out = C_round with the peer, from the table or, if the pair is not in it, by X25519. c may be
 * NULL: no table. *hit (may be NULL) says which. PLMM_ERR_PEER if the peer's key is of low order or
 * equals own, PLMM_ERR_STATE if the table is past this round (its chain keys are gone), or a key is
 * not current; asserted for *own. Does not change the table. */
PLMM_NODISCARD plmm_status plmm_channels_key(const plmm_channels *c, plmm_key *out, bool *hit,
                                             const plmm_channel_key *own,
                                             const plmm_channel_peer *peer, uint64_t round,
                                             plmm_error *err);

/* Notes that *chain was C_round with the peer: afterwards the table has C_{round + 1}, and nothing
 * older of this pair. */
void plmm_channels_put(plmm_channels *c, const plmm_channel_peer *peer, uint64_t round,
                       const plmm_key *chain);

uint32_t plmm_channels_count(const plmm_channels *c); /* pairs in the table */

/* The table as octets, to be stored: SECRET. Decoding takes what encoding made, into a table of at
 * least that many places (PLMM_ERR_RANGE); anything else is PLMM_ERR_FORMAT and leaves it empty. */
size_t plmm_channels_bytes(const plmm_channels *c);
void plmm_channels_encode(const plmm_channels *c, uint8_t *out);
PLMM_NODISCARD plmm_status plmm_channels_decode(plmm_channels *c, const uint8_t *in, size_t len,
                                                plmm_error *err);

#endif
