/* agg_machine.h -- the inside of plmm_agg_round, shared by its files:
 *   agg_round.c   events in, actions out, timers, the journal
 *   agg_phases.c  how each phase ends: all control flow of a round
 *   agg_steps.c   one function a message: checks first, then the change
 *   agg_seal.c    the roster, its seal, the session
 *   agg_frames.c  the frames the aggregator sends
 *   agg_unmask.c  the data plane */
#ifndef PLMM_PROTO_AGG_MACHINE_H
#define PLMM_PROTO_AGG_MACHINE_H

#include "merkle.h"
#include "oneshot.h"
#include "plmm/agg_round.h"
#include "plmm/bytes.h"
#include "plmm/privacy.h"
#include "session.h"

#define PLMM_NONE UINT32_MAX

/* A device that checked in. */
typedef struct plmm_slot {
    plmm_entry entry;  /* the certificate; the advert once it is there */
    uint8_t nonce[16]; /* of its last check-in */
    uint32_t index;    /* on the roster, or PLMM_NONE */
    bool invited, advertised;
    bool known;      /* its certificate is good, and there is */
    plmm_key frames; /* SECRET: of the frames with it */
} plmm_slot;

/* A check-in that was turned away, for the result that answers it. */
enum { PLMM_AWAY = 256 };
typedef struct plmm_away {
    uint64_t device;
    uint8_t nonce[16];
    plmm_key frames; /* SECRET */
} plmm_away;

/* What was asked last of all alike: its frame but for the tag. */
typedef struct plmm_common {
    plmm_message msg; /* 0: nothing */
    uint8_t *bytes;   /* head and bulk: one block, the bulk at PLMM_FRAME_SMALL */
    size_t head, bulk;
    plmm_hash digest;
} plmm_common;

/* What a device on the roster has done. */
enum {
    PLMM_DID_SHARE = 1,
    PLMM_DID_CONFIRM = 2,
    PLMM_DID_MASK = 4,
    PLMM_DID_AGREE = 8,
    PLMM_DID_REVEAL = 16,
    PLMM_IS_OUT = 32,
    PLMM_LEFT_OUT = 64 /* one-shot: contributed boxes that do not open; not in the sum */
};

enum {
    PLMM_RECORD_START = 'S',
    PLMM_RECORD_FRAME = 'P', /* a frame begins so by itself */
    PLMM_RECORD_MASKED = 'M',
    PLMM_RECORD_EXPEL = 'X',
    PLMM_RECORD_CLOSE = 'C',
    PLMM_RECORD_CANCEL = 'Q',
    PLMM_RECORD_PUBLISHED = 'V'
};

/* In a one-shot round. A seat is a place on the committee; its point is the seat + 1. */
typedef struct plmm_agg_oneshot {
    plmm_oneshot_tables *tables;
    plmm_seats seats;
    size_t share_bytes;
    uint8_t **boxes;      /* n: nonce and boxes of a device's contribution, or NULL */
    uint8_t *bad;         /* m sets over n: of whom a seat complained */
    uint8_t *tags;        /* m x m: votes, from seat to seat */
    uint8_t *sums;        /* m shares */
    uint8_t *contributed; /* set over n */
    uint64_t *dropped;    /* n: ids of a DROP_INPUT */
    bool summed[PLMM_COMMITTEE_MAX];
} plmm_agg_oneshot;

struct plmm_agg_round {
    plmm_agg_config cfg;
    plmm_hash params_hash;
    plmm_lottery lottery;
    plmm_known *known, *own_known; /* own_known or NULL: known is the driver's */
    plmm_agg_phase phase;
    bool replaying;
    uint64_t now_ms, deadline_ms;
    uint64_t seq, persisted; /* records made; of them durable */
    plmm_seed seed;

    /* The waiting room: slots and a hash table from id to slot + 1. */
    plmm_slot *slots;
    uint32_t *table;
    uint32_t slots_n, table_mask, invited_n, adverts_n;
    plmm_away away[PLMM_AWAY]; /* by id mod PLMM_AWAY: the last one */
    uint32_t *keys;            /* hash table of public keys: kinds * slot + kind + 1 */
    uint32_t keys_mask;

    /* From the roster on; index i is the place on the roster. */
    uint32_t roster_n;
    uint8_t *request; /* frame to the registrar: its bulk is the roster */
    size_t request_len;
    uint8_t *roster;  /* roster_n entries, in the request */
    uint8_t *ids;     /* roster_n ids */
    plmm_hash *nodes; /* Merkle tree over the entries */
    plmm_round_seal seal;

    /* From the seal on. */
    plmm_session session;
    uint32_t corrupt;     /* a device's corrupt neighbours, at most: complaints beyond it count */
    uint32_t *slot_of;    /* n: slot of index */
    uint32_t *near;       /* n x k neighbours */
    uint8_t *did;         /* n */
    uint32_t *complaints; /* n */
    uint8_t *boxes;       /* n x k: from i to its s-th neighbour */
    uint8_t *escrows;     /* n x k: i's secret with its s-th neighbour, under i's escrow secret */
    uint8_t *tags;        /* n x k likewise */
    uint8_t *reveals;     /* n x k: what i revealed of its s-th neighbour */
    uint8_t *reveal_has;  /* n sets over k */
    plmm_seed *surplus;   /* n: of the noise that i's vector can do without */
    uint8_t *sharers, *going, *survivors, *agreed; /* sets over n; one block, at sharers */
    uint32_t *proving;                             /* 3 n: scratch of a roster's proof */
    uint32_t awaited;                              /* answers this phase still waits for */
    uint32_t expelled;
    plmm_agg_oneshot *os;          /* one-shot rounds only */
    plmm_polynomials *polynomials; /* of its masks, or NULL */
    bool resumed;                  /* ... of an epoch that began before */

    /* What is said when its record is durable. */
    bool pending;
    plmm_message pending_msg;
    uint64_t pending_seq;
    uint32_t *ack_index; /* ring of receipts owed, in the order of their records */
    uint64_t *ack_seq;
    uint32_t ack_head, ack_tail;
    uint64_t *to, *to_too; /* receivers of the SENDs of a step */
    plmm_common common;

    plmm_abort reason;
    plmm_hash model; /* published */
    uint32_t liars;
    uint8_t record[40];
    char text[sizeof((plmm_error *)0)->msg];
};

typedef struct plmm_agg_step {
    const plmm_agg_event *event;
    plmm_frame frame;
    plmm_slot *slot; /* of the sender, if it checked in */
    plmm_agg_actions *out;
    plmm_error *err;
} plmm_agg_step;

plmm_agg_action *plmm_agg_emit(plmm_agg_actions *out, plmm_agg_action_type type);
/* Next record: bytes live until the next step. Call it before the change it stands for. */
void plmm_agg_journal(plmm_agg_round *m, plmm_agg_actions *out, const uint8_t *bytes, size_t len);
/* Says msg to all it concerns, as soon as what led to it is durable. */
void plmm_agg_announce(plmm_agg_round *m, plmm_agg_actions *out, plmm_message msg);
void plmm_agg_flush(plmm_agg_round *m, plmm_agg_actions *out);

/* It is drawn for this round, and does not rest. */
bool plmm_agg_admits(const plmm_agg_round *m, uint64_t device);
plmm_slot *plmm_agg_find(const plmm_agg_round *m, uint64_t device);
plmm_slot *plmm_agg_seat(plmm_agg_round *m, uint64_t device); /* a new slot; there is room */

/* Public keys of all kinds, of all slots: the registrar refuses a roster that has one twice. */
enum { PLMM_KEY_IDENTITY, PLMM_KEY_CHANNEL, PLMM_KEY_KINDS };
bool plmm_agg_key_known(const plmm_agg_round *m, const uint8_t key[32]);
void plmm_agg_key_note(plmm_agg_round *m, const plmm_slot *slot, uint32_t kind);

/* Ends the phase, with whoever is there. */
void plmm_agg_close(plmm_agg_round *m, plmm_agg_actions *out);
void plmm_agg_abort(plmm_agg_round *m, plmm_agg_actions *out, plmm_abort reason, const char *fmt,
                    ...) PLMM_PRINTF(4, 5);
/* One answer less is awaited; closes the phase with the last. */
void plmm_agg_answered(plmm_agg_round *m, plmm_agg_actions *out);
void plmm_agg_expel(plmm_agg_round *m, plmm_agg_actions *out, uint32_t index);
bool plmm_agg_awaits(const plmm_agg_round *m, uint32_t index);

plmm_status plmm_agg_on_frame(plmm_agg_round *m, plmm_agg_step *s);
plmm_status plmm_agg_on_sealed(plmm_agg_round *m, plmm_agg_step *s);
/* The roster of those who advertised, and the request to seal it; false: no memory. */
bool plmm_agg_roster_make(plmm_agg_round *m);
/* The sealed roster becomes the session, and R1 begins. */
void plmm_agg_begin(plmm_agg_round *m, plmm_agg_actions *out);
/* Makes ready what is the same for all who are asked msg, if it is; no memory is no failure. */
void plmm_agg_common_make(plmm_agg_round *m, plmm_message msg);
/* The message that a device should have had last. */
plmm_message plmm_agg_latest(const plmm_agg_round *m, uint64_t device);
plmm_message plmm_agg_question(const plmm_agg_round *m);

/* Out of the round, with the sentence: for what the sender said. */
plmm_status plmm_agg_refuse(plmm_agg_round *m, plmm_agg_step *s, const char *what);
void plmm_agg_enter(plmm_agg_round *m, plmm_agg_actions *out, plmm_agg_phase phase);

/* One-shot rounds: oneshot_agg.c and oneshot_unmask.c. */
plmm_status plmm_agg_oneshot_new(plmm_agg_round *m, uint32_t n, uint32_t eligible, plmm_error *err);
/* at[0..) = whose entries a device needs, by increasing index; returns how many, below n. */
uint32_t plmm_agg_oneshot_near(const plmm_agg_round *m, uint32_t *at, uint32_t index);
void plmm_agg_oneshot_free(plmm_agg_oneshot *o, uint32_t n); /* NULL is fine */
plmm_status plmm_agg_oneshot_seats(plmm_agg_round *m, plmm_error *err);
plmm_status plmm_agg_on_contrib(plmm_agg_round *m, plmm_agg_step *s);
plmm_status plmm_agg_on_complain(plmm_agg_round *m, plmm_agg_step *s);
plmm_status plmm_agg_on_vote(plmm_agg_round *m, plmm_agg_step *s);
plmm_status plmm_agg_on_sum(plmm_agg_round *m, plmm_agg_step *s);
void plmm_agg_contrib_close(plmm_agg_round *m, plmm_agg_actions *out);
void plmm_agg_deliver_close(plmm_agg_round *m, plmm_agg_actions *out);
void plmm_agg_vote_close(plmm_agg_round *m, plmm_agg_actions *out);
void plmm_agg_sum_close(plmm_agg_round *m, plmm_agg_actions *out);
/* Epochs: oneshot_epoch.c. The seal of cfg.epoch, checked; who is on its roster; slots for all of
 * them; session and phase from the seal. */
plmm_status plmm_agg_epoch_check(const plmm_agg_config *c, plmm_round_seal *seal, plmm_error *err);
bool plmm_agg_epoch_has(const plmm_agg_round *m, const plmm_certificate *c);
bool plmm_agg_epoch_seat(plmm_agg_round *m);
void plmm_agg_epoch_begin(plmm_agg_round *m, plmm_agg_actions *out);
size_t plmm_agg_put_deliver(const plmm_agg_round *m, uint8_t *out, uint32_t seat);
size_t plmm_agg_put_votes(const plmm_agg_round *m, uint8_t *out, uint32_t seat);
size_t plmm_agg_oneshot_frame_max(const plmm_agg_round *m);
plmm_status plmm_oneshot_unmask(const plmm_agg_round *m, void *sum, plmm_agg_unmasked *out,
                                plmm_error *err);

plmm_status plmm_oneshot_drop(const plmm_agg_round *m, void *sum, const uint8_t *payload,
                              size_t len, plmm_error *err);

/* Octets of a frame before its bulk. */
static inline size_t plmm_agg_head(const plmm_agg_step *s)
{
    return (size_t)PLMM_FRAME_PREFIX + plmm_load_le32(s->event->bytes + 4);
}

static inline const uint32_t *plmm_agg_near(const plmm_agg_round *m, uint32_t i)
{
    return m->near + (size_t)i * m->session.k;
}

#endif
