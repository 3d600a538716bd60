/* plmm/registrar.h -- the registrar of an expert: who is enrolled, who may take part in a round,
 * and that the roster of a round is one roster.
 *
 * The registrar is a process and a key of its own, pinned by devices at enrolment. It certifies
 * devices (plmm/enrol.h) and, once for each (expert, round, group), SEALS the roster of a round: it
 * checks every entry, signs the root of the roster, and opens the next link of a hash chain whose
 * beginning every device has had since its enrolment:
 *
 *   link_{i-1} = H(link_i);   link_0 in the anchor;   the i-th sealed round opens link_i
 *   eligible   = SipHash-2-4 of the device's id under H(link_{i-1}), below the round's rate
 *   beacon     = H(link_i | root | the seal's signature): seeds the neighbour graph, or a committee
 *
 * The aggregator learns link_i only with the seal, when the roster is fixed, so it can try neither
 * graphs nor cohorts; and whom a round may ask was decided by the link before, not by it. A
 * registrar that colludes with the aggregator is outside the model.
 *
 * Corrupt devices are a part gamma of the ELIGIBLE (E of the seal), all of whom may be on the
 * roster: leaving honest ones out does not help.
 *
 * Everything here is pure: no clock, file or socket; thread-safe on separate objects. Allocates in
 * plmm_chain_new and plmm_registrar_new, and in plmm_registrar_seal while it runs.
 */
#ifndef PLMM_REGISTRAR_H
#define PLMM_REGISTRAR_H

#include "plmm/wire.h"

enum { PLMM_CHAIN_MAX = 1 << 20 }; /* links of one chain: rounds of one expert */

/* ---- the chain ---- */

/* A registrar's chain: the seed of its last link, and enough links in between that opening one
 * costs at most 2 sqrt(length) hashes. SECRET until opened. */
typedef struct plmm_chain plmm_chain;

/* Makes links 0..length from the seed: length hashes (0.4 s for 2^20). PLMM_ERR_RANGE unless
 * 1 <= length <= PLMM_CHAIN_MAX; PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_chain_new(plmm_chain **c, const plmm_seed *seed, uint32_t length,
                                          plmm_error *err);
void plmm_chain_free(plmm_chain *c); /* wipes; NULL is fine */
uint32_t plmm_chain_length(const plmm_chain *c);

/* *out = link `index`, at most the length (asserted). */
void plmm_chain_open(const plmm_chain *c, plmm_link *out, uint32_t index);

/* The link before: H(l). l->index > 0 (asserted). out may be l. */
void plmm_link_before(plmm_link *out, const plmm_link *l);

/* PLMM_ERR_AUTH if `to` is not a later link of the chain that `from` is of: its index must be above
 * from's and at most PLMM_CHAIN_MAX, and hashing it back must give from. */
PLMM_NODISCARD plmm_status plmm_link_follow(const plmm_link *from, const plmm_link *to,
                                            plmm_error *err);

/* ---- eligibility ---- */

typedef struct plmm_lottery {
    uint8_t key[16];
    uint32_t rate, group, groups;
} plmm_lottery;

/* Who may be in group `group` of `groups` of the round whose seal opens the link after `link`. */
void plmm_lottery_init(plmm_lottery *l, const plmm_link *link, uint32_t rate, uint32_t group,
                       uint32_t groups);
bool plmm_lottery_has(const plmm_lottery *l, uint64_t device);

/* Rate at which about `want` of `population` devices are eligible; UINT32_MAX if want is not less
 * than the population. The number varies by about sqrt(want). */
uint32_t plmm_lottery_rate(uint32_t population, uint32_t want);

/* ---- the seal ---- */

/* Signs / checks. PLMM_ERR_AUTH if the registrar of `expert` did not sign exactly this. */
void plmm_round_seal_sign(plmm_round_seal *s, const char *expert, const plmm_sign_sk *registrar);
PLMM_NODISCARD plmm_status plmm_round_seal_check(const plmm_round_seal *s, const char *expert,
                                                 const plmm_sign_pk *registrar, plmm_error *err);

/* What nobody could know before the roster was sealed: the seed of the graph or the committee. */
void plmm_round_seal_beacon(plmm_hash *out, const plmm_round_seal *s);

/* The canonical protobuf form, as it travels; at most PLMM_SEAL_MAX octets. round is not in it: the
 * caller knows the round. PLMM_ERR_WIRE if it is not the one form. */
enum { PLMM_SEAL_MAX = 256 };
uint32_t plmm_round_seal_encode(uint8_t out[PLMM_SEAL_MAX], const plmm_round_seal *s);
PLMM_NODISCARD plmm_status plmm_round_seal_decode(plmm_round_seal *s, uint64_t round,
                                                  const uint8_t *in, size_t len, plmm_error *err);

/* ---- the registrar ---- */

typedef struct plmm_registrar_config {
    char expert[PLMM_EXPERT_MAX + 1];
    plmm_sign_sk key;        /* SECRET: the registrar's */
    plmm_sign_pk aggregator; /* who may ask for seals */
    plmm_seed chain;         /* SECRET: of the chain */
    uint32_t chain_length;   /* 1..PLMM_CHAIN_MAX */
    /* A round of part of the devices (a rate, or groups) needs so many eligible ones; 0: any number.
     * The aggregator sets rate and groups when it knows whom they would let in: the fewer may be
     * eligible, the better it can choose. */
    uint32_t eligible_min;
} plmm_registrar_config;

/* Every device that is certified and not revoked: ids strictly increasing. Borrowed for the call. */
typedef struct plmm_enrolled {
    const uint64_t *ids;
    uint32_t n;
} plmm_enrolled;

typedef struct plmm_registrar plmm_registrar;

/* Copies *config. PLMM_ERR_RANGE for a bad name or length, PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_registrar_new(plmm_registrar **r,
                                              const plmm_registrar_config *config, plmm_error *err);
void plmm_registrar_free(plmm_registrar *r); /* wipes; NULL is fine */

/* link_0, for the anchors that are given out at enrolment. Anchors given out later may have the
 * last opened link instead. */
void plmm_registrar_link(const plmm_registrar *r, plmm_link *first, plmm_link *last);

/* Last sealed round (0: none) and links that were not opened yet. */
void plmm_registrar_status(const plmm_registrar *r, uint64_t *round, uint32_t *links_left);

enum { PLMM_REGISTRAR_RECORD = 512 };

typedef struct plmm_registrar_answer {
    /* To be written down, durably, before the frame is given out; record_len is 0 if there is
     * nothing new (a refusal, or the same request again). */
    uint8_t record[PLMM_REGISTRAR_RECORD];
    uint32_t record_len;
    uint8_t frame[PLMM_FRAME_SMALL]; /* to the aggregator */
    size_t frame_len;
    bool sealed;      /* else the frame is a refusal */
    uint32_t refusal; /* plmm_refusal, if not sealed */
    char text[160];   /* ... and its sentence */
} plmm_registrar_answer;

/* Takes a request (a frame of type SEAL_REQUEST, made by the aggregator's machine). PLMM_OK: *out
 * is the answer. PLMM_ERR_WIRE, PLMM_ERR_AUTH: not a request of the aggregator: no answer, close
 * the connection. PLMM_ERR_NOMEM. If the record cannot be made durable, free the registrar and make
 * it again from the records that are.
 *
 * Seals if: the parameters are possible and of this expert; the round is above the last sealed one,
 * or is it and the group was not sealed; every entry has a certificate of this registrar for a
 * device that is enrolled, is signed for these parameters, and is admitted by the lottery; everyone
 * is eligible, or eligible_min devices; ids increase; no key is there twice; at least n_min entries and at most cohort; a link is left. The
 * same request again gets the same seal; another one for a sealed (round, group) is refused.
 *
 * Time: two signatures an entry, one short hash an enrolled device. */
PLMM_NODISCARD plmm_status plmm_registrar_seal(plmm_registrar *r, const uint8_t *bytes, size_t len,
                                               const plmm_enrolled *enrolled,
                                               plmm_registrar_answer *out, plmm_error *err);

/* Takes one record of before, in their order; older ones than the last round's may be missing.
 * PLMM_ERR_FORMAT if this registrar could not have written it here. */
PLMM_NODISCARD plmm_status plmm_registrar_restore(plmm_registrar *r, const uint8_t *record,
                                                  size_t len, plmm_error *err);

#endif
