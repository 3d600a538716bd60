/* plmm/client_round.h -- the device's side of one round of secure aggregation, sans-IO.
 *
 * The machine reads no clock, socket, file or random source. The driver says what happened and when
 * (an event), and does what the machine asks for (actions). client/ drives it with nng and SQLite,
 * sim/ in virtual time, tests by tables, a fuzzer by bytes.
 *
 *        START            INVITE            ROSTER        INBOX           GO
 *   NEW ──────▶ CHECKED_IN ──────▶ ADVERTISED ──────▶ SHARED ─────▶ CONFIRMED ──▶ TRAINING
 *                                                                                    │ TRAINED
 *         RESULT           AGREED            SURVIVORS            MASKED             ▼
 *   DONE ◀────── REVEALED ◀────── AGREEING ◀────────── UPLOADED ◀─────── MASKING ◀───┘
 *
 *   From every state: ABORTED, on RESULT with a reason, a lie, the policy, silence or a local
 *   failure.
 *
 * What a device will not do, whatever it is told: give both shares of anybody (claim C1), answer
 * two survivor sets (C2), answer for fewer than n_min or for a set without itself (C3), mask two
 * vectors with one mask (C4), take part under weaker parameters than its policy's (C5) or twice in
 * one (round, attempt) (C6), believe keys, boxes or messages that their owner did not make (C7).
 * docs/protocol.md has the claims and the messages.
 *
 * ---- The driver's duties ----
 *  Events are PLMM_CLIENT_EV_*, actions PLMM_CLIENT_DO_*.
 *  1. Obey the actions of a step in their order. Borrowed pointers live until the next step.
 *  2. PERSIST: append the record to the round's journal, make it durable (the secrets of this round
 *     are in it: mode 0600), then step with PERSISTED and the same seq. PERSIST_UPLOAD: also store
 *     the vector that plmm_client_round_mask made, in the same transaction. What depends on it is
 *     only sent then. Until PERSISTED the machine takes no other event (PLMM_ERR_STATE).
 *  3. SEND: send the frame now, to the aggregator. SEND_UPLOAD: send head, then the stored vector;
 *     only those octets, ever. Losing a frame is harmless: the machine sends it again.
 *  4. TRAIN: run the local training by the parameters, then step with TRAINED (or FAILED).
 *     MASK: call plmm_client_round_mask with what came out (on any thread, but not while the
 *     machine is stepped), then step with MASKED.
 *  5. FINISH and ABORT end the machine: in one transaction note (round, attempt) as the last one if
 *     round is not 0, note the link, store the channels' table (which the step has changed), and
 *     delete journal and vector. Then free the machine. After FINISH fetch the
 *     version named there (plmm/manifest.h).
 *  6. LINK whenever the connection is new; TICK at plmm_client_round_deadline.
 *  7. After a crash: plmm_client_round_new with the same config, plmm_client_round_replay for each
 *     record in order, UPLOAD_LOST if the record of the upload is there but the vector is not, then
 *     RESUME. If the journal is empty, START a new one.
 *
 *  8. Privacy: with PERSIST_UPLOAD, in the same transaction, add plmm_round_cost of its params to
 *     the device's account, whatever becomes of the round: from then on it can be in a sum.
 *
 * A step that fails leaves the machine as it was. Statuses of a step:
 *   PLMM_OK          actions, perhaps none
 *   PLMM_ERR_STALE   late, duplicate or of another round: normal, ignore
 *   PLMM_ERR_WIRE, PLMM_ERR_AUTH, PLMM_ERR_PEER
 *                    the frame is not what the aggregator may send now: drop it and count it
 *                    (anybody may have injected it)
 *   PLMM_ERR_NOMEM, PLMM_ERR_STATE   local: the driver's
 * A frame that is the aggregator's and a lie (or against the policy) is no failure of
 * the step: the machine aborts, with the sentence in the action.
 */
#ifndef PLMM_CLIENT_ROUND_H
#define PLMM_CLIENT_ROUND_H

#include "plmm/channels.h"
#include "plmm/oneshot.h"
#include "plmm/policy.h"
#include "plmm/wire.h"

typedef struct plmm_client_round plmm_client_round;

typedef struct plmm_client_config {
    plmm_policy policy;
    plmm_certificate certificate; /* this device's */
    plmm_sign_sk key;             /* SECRET: its identity */
    plmm_key frames;              /* SECRET: plmm_frame_key with the aggregator; zero: made anew */
    plmm_hash model;              /* of the manifest of the version it has */
    uint64_t last_round;          /* (round, attempt) it took part in last; 0, 0 if none */
    uint32_t last_attempt;
    plmm_link link;          /* last verified link of the registrar's chain; zero: the anchor's */
    plmm_channels *channels; /* borrowed until the machine is freed; NULL: fresh keys each round */
    plmm_account spent;      /* privacy: its own account of this expert, see duty 8 */
    uint32_t resend_ms;      /* send again what was not answered: 5,000 is reasonable; > 0 */
    uint32_t silence_ms;     /* give up when nothing was heard for so long; > resend_ms */
    plmm_shelf *shelf; /* of public numbers, or NULL: makes its own; borrowed, see plmm/oneshot.h */
    /* What plmm_client_round_epoch gave when the epoch began, or NULL; borrowed. */
    const uint8_t *epoch;
    size_t epoch_len;
} plmm_client_config;

typedef enum plmm_client_state {
    PLMM_CLIENT_NEW,
    PLMM_CLIENT_CHECKED_IN,
    PLMM_CLIENT_ADVERTISED,
    PLMM_CLIENT_SHARED,
    PLMM_CLIENT_CONFIRMED,
    PLMM_CLIENT_TRAINING,
    PLMM_CLIENT_MASKING,
    PLMM_CLIENT_UPLOADED,
    PLMM_CLIENT_OPENED, /* one-shot: a member has opened its boxes */
    PLMM_CLIENT_AGREEING,
    PLMM_CLIENT_REVEALED,
    PLMM_CLIENT_DONE,
    PLMM_CLIENT_ABORTED
} plmm_client_state;

typedef enum plmm_client_event_type {
    PLMM_CLIENT_EV_START,       /* seed, now_ms */
    PLMM_CLIENT_EV_FRAME,       /* bytes, len, now_ms */
    PLMM_CLIENT_EV_TICK,        /* now_ms */
    PLMM_CLIENT_EV_PERSISTED,   /* seq, now_ms */
    PLMM_CLIENT_EV_TRAINED,     /* weight, now_ms */
    PLMM_CLIENT_EV_MASKED,      /* digest, now_ms: plmm_client_round_mask succeeded */
    PLMM_CLIENT_EV_FAILED,      /* now_ms: training or masking failed: leave the round */
    PLMM_CLIENT_EV_LINK,        /* now_ms: the connection is new */
    PLMM_CLIENT_EV_UPLOAD_LOST, /* between replay and RESUME: the stored vector is not there */
    PLMM_CLIENT_EV_RESUME       /* now_ms: all records were replayed */
} plmm_client_event_type;

typedef struct plmm_client_event {
    plmm_client_event_type type;
    uint64_t now_ms; /* never decreases between RESUMEs */
    plmm_seed seed;  /* START: fresh from plmm_seed_system; the root of all this round's secrets */
    const uint8_t *bytes;
    size_t len;
    uint64_t seq;
    uint32_t weight;  /* TRAINED: number of examples, 1..weight_max (larger is cut to it) */
    plmm_hash digest; /* MASKED: of the payload */
} plmm_client_event;

typedef enum plmm_client_action_type {
    PLMM_CLIENT_DO_SEND,           /* bytes, len */
    PLMM_CLIENT_DO_SEND_UPLOAD,    /* bytes, len: the head; then the stored vector: payload_len */
    PLMM_CLIENT_DO_PERSIST,        /* seq, bytes, len: the record */
    PLMM_CLIENT_DO_PERSIST_UPLOAD, /* params, seq, bytes, len: the record; the vector: payload_len */
    PLMM_CLIENT_DO_TRAIN,          /* params */
    PLMM_CLIENT_DO_MASK,           /* params, weight, payload_len */
    PLMM_CLIENT_DO_FINISH, /* round, attempt, link, model (the version to fetch), survivors */
    PLMM_CLIENT_DO_ABORT /* round (0: never joined), attempt, link, reason, refusal, text, model */
} plmm_client_action_type;

typedef struct plmm_client_action {
    plmm_client_action_type type;
    const uint8_t *bytes;
    size_t len;
    uint64_t seq;
    const plmm_round_params *params;
    size_t payload_len;
    uint32_t weight;
    uint64_t round;
    uint32_t attempt;
    uint32_t survivors;
    plmm_hash model;
    plmm_link link; /* FINISH, ABORT: last verified link */
    plmm_abort reason;
    plmm_refusal refusal; /* ABORT: what the aggregator was caught at; NONE if at nothing */
    const char *text;     /* one sentence; of the machine */
} plmm_client_action;

enum { PLMM_CLIENT_ACTIONS_MAX = 4 };

typedef struct plmm_client_actions {
    plmm_refusal refusal; /* why a frame was refused, also of a step that failed */
    uint32_t n;
    plmm_client_action v[PLMM_CLIENT_ACTIONS_MAX];
} plmm_client_actions;

/* A new machine; copies *config. PLMM_ERR_RANGE if the policy, a time or the aggregator's key makes no
 * sense, PLMM_ERR_NOMEM. About 20 KiB, and some 300 octets a neighbour after the roster came. */
PLMM_NODISCARD plmm_status plmm_client_round_new(plmm_client_round **m,
                                                 const plmm_client_config *config, plmm_error *err);

/* Wipes and frees; NULL is fine. */
void plmm_client_round_free(plmm_client_round *m);

/* Advances by one event; overwrites *out. Statuses as above, with a sentence in *err. */
PLMM_NODISCARD plmm_status plmm_client_round_step(plmm_client_round *m,
                                                  const plmm_client_event *event,
                                                  plmm_client_actions *out, plmm_error *err);

/* Replays one journal record into a machine that was not started. No actions. PLMM_ERR_FORMAT if it
 * is not a record that this machine could have written here: the journal is damaged, the round is
 * lost; step no further and free the machine. */
PLMM_NODISCARD plmm_status plmm_client_round_replay(plmm_client_round *m, const uint8_t *record,
                                                    size_t len, plmm_error *err);

/* When to TICK next; UINT64_MAX if never. */
uint64_t plmm_client_round_deadline(const plmm_client_round *m);

plmm_client_state plmm_client_round_state(const plmm_client_round *m);
const char *plmm_client_state_str(plmm_client_state s);

/* (round, attempt) of the invitation that was accepted; 0, 0 before. */
void plmm_client_round_name(const plmm_client_round *m, uint64_t *round, uint32_t *attempt);

/* One-shot rounds: what later rounds of the same epoch need, to be kept (in the transaction of the
 * end) and given to their machines with the same plmm_channels. NULL: nothing new to keep. Of the
 * machine. */
const uint8_t *plmm_client_round_epoch(const plmm_client_round *m, size_t *len);

/* Octets of what MASK makes; 0 before the round's roster came. */
size_t plmm_client_round_payload(const plmm_client_round *m);

/* The data plane of MASK: encodes delta[0..length) with its weight, adds the masks, packs.
 *   payload  out, payload_len octets, to be stored by PERSIST_UPLOAD and sent by SEND_UPLOAD
 *   digest   out, for the event MASKED
 *   lanes    plmm_round_lanes lanes of scratch; wiped
 *   delta    the local update, SECRET; not kept
 * PLMM_ERR_STATE if the machine is not in MASKING, PLMM_ERR_RANGE if length is not the session's or
 * a coordinate is not finite. Does not change the machine; not while it is stepped. */
PLMM_NODISCARD plmm_status plmm_client_round_mask(const plmm_client_round *m, uint8_t *payload,
                                                  plmm_hash *digest, uint32_t *lanes,
                                                  const float *delta, size_t length,
                                                  plmm_error *err);

/* What rounding takes from delta in this round (plmm_encode_residual): between
 * plmm_client_round_mask and MASKED, for a device that adds it to its next update. residual and
 * delta do not overlap; lanes as above. PLMM_ERR_STATE if the machine is not in MASKING or the
 * round has noise; else as plmm_client_round_mask. Does not change the machine. */
PLMM_NODISCARD plmm_status plmm_client_round_residual(const plmm_client_round *m, float *residual,
                                                      uint32_t *lanes, const float *delta,
                                                      size_t length, plmm_error *err);

#endif
