/* plmm/agg_round.h -- the aggregator's side of one round of secure aggregation, sans-IO.
 *
 * As plmm/client_round.h: events in, actions out; no clock, socket, file or random source.
 *
 *   NEW ─START─▶ GATHER ──▶ ADVERTISE ──▶ SEAL ─SEALED─▶ SHARE ──▶ CONFIRM ──▶ COLLECT ──┐
 *                check-ins   R0 keys       roster       R1 boxes   R1 acks    R2 vectors  │
 *                                                                                         ▼
 *                     DONE ◀─PUBLISHED── PUBLISH ◀─UNMASKED── UNMASK ◀── REVEAL ◀────── AGREE
 *                                                                       R4 shares      R3 MACs
 *
 * A phase ends when everyone it waits for has answered, or at its deadline with enough of them;
 * with too few the round is ABORTED with a reason that says how many of how many. Whoever misses a
 * phase is out of the round from there on, and no message of theirs can hold it up.
 *
 * Safety the tests check from the actions alone: all SURVIVORS frames of a round carry one set; no
 * input is added after the first of them; nothing of one device is asked for both shares.
 *
 * ---- The driver's duties ----
 *  Events are PLMM_AGG_EV_*, actions PLMM_AGG_DO_*.
 *  1. Obey the actions of a step in their order, also when the step returned PLMM_ERR_STALE (the
 *     answer to a repeated message is the repeated answer) or PLMM_ERR_PEER (a device's being out
 *     is a record, and may end a phase). Borrowed pointers live until the next step.
 *  2. PERSIST: append the record to the journal and make it durable, then step with PERSISTED and
 *     the same seq (a later one covers the earlier). Records may be grouped; sends wait for them.
 *     SEAL: send the request (a frame) to the registrar, again if it does not answer, then step
 *     with SEALED and the frame that came back: the same request always gets the same answer. A
 *     round for which a seal was asked (`spent` in the status) can have no other attempt: the next
 *     one is the next round.
 *  3. ADD_INPUT: plmm_agg_round_add the payload into the sum (plmm_round_sum_bytes octets,
 *     64-aligned, zero at the beginning), and store the payload under `device` in the same transaction as the PERSIST
 *     that follows it. In a replay the payload is NULL: take the stored one.
 *     DROP_INPUT (one-shot rounds, rare): plmm_agg_round_drop the stored payload of each device; also
 *     in a replay.
 *  4. SEND: for each to[0..to_n) send the frame that plmm_agg_round_render makes for msg and that
 *     device. Losing one is harmless.
 *  5. UNMASK: call plmm_agg_round_unmask with the sum (on any thread, but not while the machine is
 *     stepped), then step with UNMASKED and what it gave.
 *  6. FINISH: the sum is the survivors' exact sum: merge it and publish the new version, then step
 *     with PUBLISHED and the hash of its manifest. ABORT: forget the sum.
 *  7. Keep the machine until the next round begins, so that late devices get their result. Its
 *     journal and the stored vectors may go once the version is published (or the round aborted).
 *  8. After a crash: plmm_agg_round_new with the same config, a sum of zeros, then
 *     plmm_agg_round_replay for each record in order, obeying its actions (ADD_INPUT only), then
 *     RESUME. A round that was aborted gives its ABORT again; one that was published is DONE
 *     (plmm_agg_round_status) and gives no second FINISH.
 *
 * Statuses of a step:
 *   PLMM_OK          actions, perhaps none
 *   PLMM_ERR_STALE   late, duplicate, other round: normal; may carry a repeated answer
 *   PLMM_ERR_WIRE, PLMM_ERR_AUTH
 *                    not a frame, or not of whom it claims: close the connection
 *   PLMM_ERR_PEER    the device (the frame is authentic) violated the protocol: it is out of the
 *                    round if it is on the roster; close its connection
 *   PLMM_ERR_FULL, PLMM_ERR_NOMEM, PLMM_ERR_STATE   ours
 * A step that fails leaves the machine as it was, but for a PEER's being out.
 *
 * Memory: about 300 octets a check-in and 700 a device, (112 + 16 + 36) k n octets after the roster
 * was sealed, and one sum in the driver; vectors are added as they come.
 */
#ifndef PLMM_AGG_ROUND_H
#define PLMM_AGG_ROUND_H

#include "plmm/known.h"
#include "plmm/oneshot.h"

typedef struct plmm_agg_round plmm_agg_round;

typedef enum plmm_agg_phase {
    PLMM_AGG_NEW,
    PLMM_AGG_GATHER,
    PLMM_AGG_ADVERTISE,
    PLMM_AGG_SEAL,
    PLMM_AGG_SHARE,
    PLMM_AGG_CONFIRM,
    PLMM_AGG_COLLECT,
    PLMM_AGG_DELIVER, /* one-shot: the committee opens its boxes */
    PLMM_AGG_AGREE,
    PLMM_AGG_REVEAL,
    PLMM_AGG_UNMASK,
    PLMM_AGG_PUBLISH,
    PLMM_AGG_DONE,
    PLMM_AGG_ABORTED,
    PLMM_AGG_PHASES
} plmm_agg_phase;

const char *plmm_agg_phase_str(plmm_agg_phase p);

typedef struct plmm_agg_config {
    plmm_round_params params; /* beacon is drawn from the seed of START: leave it zero */
    plmm_sign_sk key;         /* SECRET: the aggregator's identity */
    plmm_sign_pk registrar;
    plmm_link link; /* last opened link of the registrar: who is eligible now; needed if params.rate
                       is not UINT32_MAX or there are groups */
    plmm_seed tree; /* SECRET: of the tree that params.noise_leaf is of, if there is one */
    /* Devices that may not take part in this round, increasing: those that are in the tree already.
     * Borrowed until the machine is freed; the same again when its journal is replayed. */
    const uint64_t *resting;
    uint32_t resting_n;
    uint32_t checkins_max; /* places in the waiting room, cohort..PLMM_CHECKINS_MAX */
    uint32_t over_ppm;     /* over-provisioning: cohort * (1 + over) devices are invited */
    uint32_t roster_min;   /* fewest devices to go on with after R0, n_min..cohort */
    uint32_t gather_ms;    /* how long to wait for check-ins, at most */
    uint32_t phase_ms;     /* for R0, the seal, R1, R3, R4 */
    uint32_t train_ms;     /* for R2: training, masking and upload */
    /* Of this key, registrar and expert: whom the driver met in other rounds. Or NULL: it makes one, and
     * checks every certificate itself. Borrowed, and changed, by its steps. */
    plmm_known *known;
    plmm_shelf *shelf; /* of public numbers, or NULL: makes its own; borrowed, see plmm/oneshot.h */
    /* What plmm_agg_round_epoch gave in the round that began the epoch: its roster, committee and
     * channels are used again. Or NULL: a roster is made and sealed. Borrowed. */
    const uint8_t *epoch;
    size_t epoch_len;
} plmm_agg_config;

typedef enum plmm_agg_event_type {
    PLMM_AGG_EV_START,     /* seed, now_ms */
    PLMM_AGG_EV_FRAME,     /* bytes, len, now_ms */
    PLMM_AGG_EV_SEALED,    /* bytes, len, now_ms: the registrar's answer */
    PLMM_AGG_EV_TICK,      /* now_ms */
    PLMM_AGG_EV_PERSISTED, /* seq, now_ms */
    PLMM_AGG_EV_LINK,      /* device, now_ms: connected again: it gets the last message again */
    PLMM_AGG_EV_UNMASKED,  /* unmasked, now_ms */
    PLMM_AGG_EV_PUBLISHED, /* model, now_ms */
    PLMM_AGG_EV_CANCEL,    /* now_ms: end the round (a local failure) */
    PLMM_AGG_EV_RESUME     /* now_ms: all records were replayed */
} plmm_agg_event_type;

/* What plmm_agg_round_unmask found. */
typedef struct plmm_agg_unmasked {
    bool ok;         /* the sum is exact */
    uint64_t device; /* else: whose secret could not be put together */
    uint32_t liars;  /* devices that revealed a share that is not on the polynomial */
    char text[160];  /* sentence, if not ok */
} plmm_agg_unmasked;

typedef struct plmm_agg_event {
    plmm_agg_event_type type;
    uint64_t now_ms; /* never decreases between RESUMEs */
    /* START: fresh from plmm_seed_system; chooses the cohort and makes the beacon. SECRET. */
    plmm_seed seed;
    const uint8_t *bytes;
    size_t len;
    uint64_t seq;
    uint64_t device;
    plmm_hash model;
    plmm_agg_unmasked unmasked;
} plmm_agg_event;

typedef enum plmm_agg_action_type {
    PLMM_AGG_DO_SEND,       /* msg, to, to_n */
    PLMM_AGG_DO_PERSIST,    /* seq, bytes, len: the record */
    PLMM_AGG_DO_SEAL,       /* bytes, len: the request to the registrar */
    PLMM_AGG_DO_ADD_INPUT,  /* device, bytes, len: the payload (NULL in a replay) */
    PLMM_AGG_DO_DROP_INPUT, /* to, to_n: devices whose inputs are to be taken out again */
    PLMM_AGG_DO_UNMASK,
    PLMM_AGG_DO_FINISH, /* n devices in the sum */
    /* reason, text; device: the one whose shares do not give the secret that it committed to, or 0.
     * It dealt shares of something else, or too many of its neighbours lied: leave it out of the
     * rounds that follow. */
    PLMM_AGG_DO_ABORT
} plmm_agg_action_type;

typedef struct plmm_agg_action {
    plmm_agg_action_type type;
    plmm_message msg;
    const uint64_t *to;
    uint32_t to_n;
    uint64_t seq;
    uint64_t device;
    const uint8_t *bytes;
    size_t len;
    uint32_t n;
    plmm_abort reason;
    const char *text;
} plmm_agg_action;

enum { PLMM_AGG_ACTIONS_MAX = 6 };

typedef struct plmm_agg_actions {
    /* Device whose tag on the frame was good, else 0: answers for it may go where the frame came
     * from. */
    uint64_t from;
    plmm_refusal refusal; /* what the sender was caught at, or why its frame was refused */
    uint32_t n;
    plmm_agg_action v[PLMM_AGG_ACTIONS_MAX];
} plmm_agg_actions;

/* Numbers for a status page; see plmm_agg_round_status. */
typedef struct plmm_agg_status {
    plmm_agg_phase phase;
    uint64_t round;
    uint32_t attempt;
    uint32_t checked_in, invited, roster, k, t;
    uint32_t shared, trained; /* went on to training; vectors received */
    uint32_t agreed, revealed, liars;
    uint32_t expelled; /* devices that violated the protocol */
    bool spent;        /* a seal was asked for: no other attempt at this round */
    uint64_t deadline_ms;
} plmm_agg_status;

/* A new machine; copies *config. PLMM_ERR_RANGE, naming the field, if the parameters are impossible
 * no graph protects a roster of `cohort` devices, or known is another aggregator's; PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_agg_round_new(plmm_agg_round **m, const plmm_agg_config *config,
                                              plmm_error *err);
void plmm_agg_round_free(plmm_agg_round *m); /* wipes; NULL is fine */

/* Advances by one event; overwrites *out. O(1) but where a phase ends: O(n k). */
PLMM_NODISCARD plmm_status plmm_agg_round_step(plmm_agg_round *m, const plmm_agg_event *event,
                                               plmm_agg_actions *out, plmm_error *err);

/* Replays one journal record; *out has at most an ADD_INPUT with bytes NULL, or
 * a DROP_INPUT. PLMM_ERR_FORMAT if
 * this machine could not have written it here. */
PLMM_NODISCARD plmm_status plmm_agg_round_replay(plmm_agg_round *m, const uint8_t *record,
                                                 size_t len, plmm_agg_actions *out,
                                                 plmm_error *err);

uint64_t plmm_agg_round_deadline(const plmm_agg_round *m); /* when to TICK; UINT64_MAX if never */
plmm_agg_phase plmm_agg_round_phase(const plmm_agg_round *m);
void plmm_agg_round_status(const plmm_agg_round *m, plmm_agg_status *out); /* O(n) */
const plmm_round_params *plmm_agg_round_params(const plmm_agg_round *m);

/* The seal of the roster; NULL before it is there. Its link decides who is eligible next. */
const plmm_round_seal *plmm_agg_round_seal(const plmm_agg_round *m);

/* ids[0..*n) = the devices whose vectors are in the sum, increasing: of UNMASK and later. The
 * caller gives room for params->cohort. */
void plmm_agg_round_survivors(const plmm_agg_round *m, uint64_t *ids, uint32_t *n);

/* Whether this device's REVEAL counted: noise that its vector can do without is then out. */
bool plmm_agg_round_revealed(const plmm_agg_round *m, uint64_t device);

/* Largest frame that plmm_agg_round_render can make now. */
size_t plmm_agg_round_frame_max(const plmm_agg_round *m);

/* The frame for one receiver of a SEND of the last step, to out[0..*len). Pure: the same octets
 * each time. PLMM_ERR_RANGE if cap is less than it needs, PLMM_ERR_STATE if there is no such
 * message now, or the machine does not know the device (any more). */
PLMM_NODISCARD plmm_status plmm_agg_round_render(const plmm_agg_round *m, plmm_message msg,
                                                 uint64_t to, uint8_t *out, size_t cap, size_t *len,
                                                 plmm_error *err);

/* The answer to a device that still speaks of a round whose machine is gone (plmm_frame_peek tells
 * which; whether it completed is in the driver's table): without it the device waits until it gives
 * up. frames: the key of the frames with it (plmm_known_meet). */
void plmm_agg_result_frame(uint8_t out[PLMM_FRAME_SMALL], size_t *len, const char *expert,
                           uint64_t round, uint32_t attempt, uint64_t device,
                           const plmm_result *result, const plmm_key *frames);

/* The data plane of ADD_INPUT: sum += payload; sum has plmm_round_sum_bytes octets, opaque until it
 * is unmasked.
 * PLMM_ERR_WIRE if the payload is not a vector of the session (the machine has checked it: only a
 * damaged store). */
PLMM_NODISCARD plmm_status plmm_agg_round_add(const plmm_agg_round *m, void *sum,
                                              const uint8_t *payload, size_t len, plmm_error *err);

/* One-shot rounds: octets that later rounds of the epoch need, from COLLECT on; to out, unless it is
 * NULL. 0: nothing to keep (or the round goes on with an epoch itself). A later round whose devices
 * do not come back ends with too few check-ins: begin a new epoch then, and after PLMM_EPOCH_ROUNDS
 * rounds at the latest. */
size_t plmm_agg_round_epoch(const plmm_agg_round *m, uint8_t *out);

/* What stands at the head of those octets, which are the driver's own: round, group and n of the
 * seal. PLMM_ERR_FORMAT if they are not an epoch's. */
typedef struct plmm_agg_epoch {
    uint64_t round; /* that its roster was sealed in */
    uint32_t group;
    uint32_t n;
} plmm_agg_epoch;
PLMM_NODISCARD plmm_status plmm_agg_epoch_read(plmm_agg_epoch *out, const uint8_t *epoch,
                                               size_t len, plmm_error *err);

/* The i-th device of its roster, i below n; increasing. */
uint64_t plmm_agg_epoch_device(const uint8_t *epoch, uint32_t i);

/* The data plane of DROP_INPUT: sum -= payload, which was added before. Errors as above. */
PLMM_NODISCARD plmm_status plmm_agg_round_drop(const plmm_agg_round *m, void *sum,
                                               const uint8_t *payload, size_t len, plmm_error *err);

/* The data plane of UNMASK: puts the secrets together from the revealed shares, checks each against
 * its commitment or public key and the spare shares against the polynomial, and takes the masks out
 * of the sum. *out says how it went; sum is unspecified if not ok, else its first plmm_round_lanes
 * uint32 are the survivors' sum mod 2^ring_bits, however it was masked. Each secret is wiped after
 * its use. PLMM_ERR_NOMEM. Does not change the machine; not while it is stepped. */
PLMM_NODISCARD plmm_status plmm_agg_round_unmask(const plmm_agg_round *m, void *sum,
                                                 plmm_agg_unmasked *out, plmm_error *err);

#endif
