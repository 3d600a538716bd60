/* session.h -- what both round machines compute alike: roster entries, the session, and how boxes
 * and MACs are bound to it. Pure; allocates nothing but in
 * plmm_roster_unique. */
#ifndef PLMM_PROTO_SESSION_H
#define PLMM_PROTO_SESSION_H

#include "plmm/registrar.h"

/* One device of a roster: PLMM_ROSTER_ENTRY octets. */
typedef struct plmm_entry {
    plmm_certificate certificate;
    plmm_advert advert;
} plmm_entry;

void plmm_entry_encode(uint8_t out[PLMM_ROSTER_ENTRY], const plmm_entry *e);
void plmm_entry_decode(plmm_entry *e, const uint8_t in[PLMM_ROSTER_ENTRY]);

/* Signs / checks the R0 statement: parameters, device, keys, commitment, nonce. */
void plmm_entry_sign(plmm_entry *e, const plmm_hash *params, const plmm_sign_sk *sk);
PLMM_NODISCARD plmm_status plmm_entry_check(const plmm_entry *e, const plmm_hash *params,
                                            plmm_error *err);

/* Commitment to a secret of R0, of 256 random bits: to its label. */
#define PLMM_LABEL_SELF   "commit.1" /* the self-mask seed b */
#define PLMM_LABEL_ESCROW "commit.2" /* the escrow secret e */
void plmm_secret_commit(plmm_hash *out, const char *label, const uint8_t secret[32]);

/* Hash of the ids of a roster, 8 octets each. */
void plmm_roster_ids(plmm_hash *out, const uint8_t *ids, uint32_t n);

/* Hash of everything a seal says, but its signature. */
void plmm_round_seal_hash(plmm_hash *out, const plmm_round_seal *s, const char *expert);

typedef struct plmm_session {
    uint32_t n, k, t;
    plmm_hash id;
    plmm_hash beacon; /* seed of the graph */
} plmm_session;

/* From the seal, the parameters, and s->k, t. */
void plmm_session_make(plmm_session *s, const plmm_round_seal *seal, const plmm_round_params *p);

/* Key of the messages from one roster index to another, of the pair's channel key. */
void plmm_direction_key(plmm_key *out, const plmm_key *pair, const char *label,
                        const plmm_session *s, uint32_t from, uint32_t to);

/* What the pair's mask is made from: of its channel key, the same for both (Ma et al., "Flamingo",
 * IEEE S&P 2023, section 4.1), fresh by the session, which holds both nonces. */
void plmm_pair_secret(plmm_key *out, const plmm_key *pair, const plmm_session *s, uint32_t a,
                      uint32_t b);

/* What is said in R1 of a pair's secret, and does not tell it. */
enum { PLMM_PAIR_TAG = PLMM_ESCROW - 32 };
void plmm_pair_tag(uint8_t tag[PLMM_PAIR_TAG], const plmm_key *secret, const plmm_session *s);

/* Seals the secret of the pair (owner, other) under the owner's escrow secret, or opens it: one
 * pad for each session and pair. out may be in. */
void plmm_escrow_turn(uint8_t out[32], const uint8_t in[32], const uint8_t escrow[32],
                      const plmm_session *s, uint32_t owner, uint32_t other);

/* Associated data of a box. */
void plmm_box_binding(plmm_hash *out, const plmm_session *s, uint32_t from, uint32_t to);

/* What neighbours agree on, once for all of them: the session, who shared, who went on, whose vector
 * arrived; and the message of the MAC from one index to another. */
void plmm_agree_statement(plmm_hash *out, const plmm_session *s, const uint8_t *sharers,
                          const uint8_t *going, const uint8_t *survivors);
void plmm_agree_message(plmm_hash *out, const plmm_hash *statement, uint32_t from, uint32_t to);

/* What a pair's keys are for. */
#define PLMM_LABEL_CHANNEL "chan.v1." /* the pair's channel agreement */
#define PLMM_LABEL_PAIR    "pair.v2." /* the secret of the pair's mask */
#define PLMM_LABEL_BOX     "box.v1.."
#define PLMM_LABEL_AGREE   "agree.v1"

/* *unique = no public key stands on the roster twice, as whatever kind of key. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_roster_unique(const uint8_t *roster, uint32_t n, bool *unique,
                                              plmm_error *err);

/* Sign of the pair mask in the vector of index `own`: the smaller index adds. */
static inline plmm_mask_sign plmm_pair_sign(uint32_t own, uint32_t other)
{
    return own < other ? PLMM_MASK_ADD : PLMM_MASK_SUB;
}

#endif
