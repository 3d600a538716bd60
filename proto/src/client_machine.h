/* client_machine.h -- the inside of plmm_client_round, shared by its three files:
 *   client_round.c  events in, actions out, timers, the journal
 *   client_steps.c  one function a message: checks first, then the change
 *   client_mask.c   the data plane */
#ifndef PLMM_PROTO_CLIENT_MACHINE_H
#define PLMM_PROTO_CLIENT_MACHINE_H

#include "oneshot.h"
#include "plmm/client_round.h"
#include "session.h"

typedef struct plmm_neighbour {
    uint32_t index; /* on the roster */
    plmm_channel_peer peer;
    bool opened;           /* its box was good: the two shares below are there */
    plmm_key mask;         /* SECRET: of the pair's mask */
    plmm_key channel;      /* SECRET: the pair's chain key of this round */
    plmm_share self, pair; /* SECRET: this device's shares of the neighbour's b and e */
} plmm_neighbour;

/* In a one-shot round. */
typedef struct plmm_oneshot {
    plmm_oneshot_tables *tables;
    plmm_seats seats;
    plmm_key own;  /* SECRET: of what this device seals for its own seat */
    uint32_t seat; /* own, or PLMM_NO_SEAT: then nothing of what follows is there */
    uint32_t n;
    size_t share_bytes, share_residues;
    uint8_t *shares;                      /* SECRET: n shares, of those that opened */
    uint64_t *sum;                        /* SECRET: of all that opened */
    uint8_t *delivered, *opened, *chosen; /* sets over n; one block, at delivered */
} plmm_oneshot;

/* What a step makes the machine do once its record is durable. */
typedef enum plmm_client_after {
    PLMM_AFTER_SEND,
    PLMM_AFTER_TRAIN,
    PLMM_AFTER_UPLOAD
} plmm_client_after;

enum { PLMM_RECORD_JOIN = 'J', PLMM_RECORD_UPLOAD = 'U', PLMM_RECORD_FRAME = 'P' };

struct plmm_client_round {
    plmm_client_config cfg;
    plmm_client_state state;
    bool replaying, waiting, acked;
    plmm_client_after after;
    uint64_t now_ms, heard_ms, sent_ms, seq;

    /* Secrets: wiped when the machine ends. */
    plmm_seed seed, self_mask, sharing, rounding, nonces;
    plmm_seed errors; /* of Ring-LWE: never shared, nor derived from what is */
    plmm_seed
        escrow; /* what the pair secrets are kept under, for the case that this device drops */
    plmm_channel_key channel; /* own, of this epoch */
    plmm_neighbour *near;     /* near_n: whose entries came with the roster, by increasing index */
    uint32_t near_n; /* session.k; one-shot: the committee, or for a member everyone, but itself */

    plmm_round_params params;
    plmm_hash params_hash;
    plmm_entry own;
    plmm_session session;
    plmm_link link;                /* last verified */
    uint8_t nonce[16];             /* of the check-in */
    uint32_t self;                 /* own index on the roster */
    plmm_oneshot *os;              /* one-shot rounds only */
    plmm_polynomials *polynomials; /* of its masks, or NULL */
    uint8_t *epoch;                /* what a later round of the epoch needs, once a roster came */
    size_t epoch_len;
    uint32_t weight;
    plmm_hash statement;                  /* from SURVIVORS on: what the MACs of R3 say */
    uint8_t *sharers, *going, *survivors; /* sets over the roster; one block, at sharers */
    bool have[PLMM_MSG_COUNT];            /* a frame of this type was accepted ... */
    plmm_hash seen[PLMM_MSG_COUNT];       /* ... with this signed digest */

    uint8_t *out; /* the last control frame; the bulk is put together behind PLMM_FRAME_SMALL */
    size_t out_len, out_cap;
    uint8_t upload[PLMM_FRAME_SMALL]; /* head of the masked vector's frame */
    size_t upload_len;
    uint8_t poll[PLMM_FRAME_SMALL];
    uint8_t record[33 + PLMM_FRAME_SMALL]; /* JOIN and UPLOAD */
    char text[sizeof((plmm_error *)0)->msg];
};

/* What one step works on. */
typedef struct plmm_client_step {
    const plmm_client_event *event;
    plmm_frame frame; /* EV_FRAME: decoded, the aggregator's, of this round */
    plmm_client_actions *out;
    plmm_error *err;
} plmm_client_step;

/* One handler a message. PLMM_OK also when the machine left the round because of it. */
plmm_status plmm_client_on_invite(plmm_client_round *m, plmm_client_step *s);
plmm_status plmm_client_on_roster(plmm_client_round *m, plmm_client_step *s);
plmm_status plmm_client_on_inbox(plmm_client_round *m, plmm_client_step *s);
plmm_status plmm_client_on_go(plmm_client_round *m, plmm_client_step *s);
plmm_status plmm_client_on_survivors(plmm_client_round *m, plmm_client_step *s);
plmm_status plmm_client_on_agreed(plmm_client_round *m, plmm_client_step *s);

/* Common endings of a handler. */
void plmm_client_accept(plmm_client_round *m, plmm_client_step *s, plmm_client_state next,
                        plmm_client_after after);
plmm_status plmm_client_leave(plmm_client_round *m, plmm_client_actions *out, plmm_abort reason,
                              const plmm_hash *model, const char *fmt, ...) PLMM_PRINTF(5, 6);
plmm_client_action *plmm_client_emit(plmm_client_actions *out, plmm_client_action_type type);

/* The outgoing frame of `type` whose body is in *f and whose bulk lies at m->out +
 * PLMM_FRAME_SMALL. */
void plmm_client_compose(plmm_client_round *m, plmm_frame *f, size_t bulk_len);
uint8_t *plmm_client_bulk(plmm_client_round *m);
void plmm_client_frame_init(const plmm_client_round *m, plmm_frame *f, plmm_message type);

plmm_status plmm_oneshot_on_deliver(plmm_client_round *m, plmm_client_step *s);
plmm_status plmm_oneshot_on_chosen(plmm_client_round *m, plmm_client_step *s);
plmm_status plmm_oneshot_on_votes(plmm_client_round *m, plmm_client_step *s);
void plmm_oneshot_wipe(plmm_oneshot *o);
void plmm_oneshot_free(plmm_oneshot *o); /* NULL is fine */

/* A secret of this round for one use, from the machine's seed. */
void plmm_oneshot_secret(const plmm_client_round *m, const char *label, plmm_seed *out);
plmm_status plmm_oneshot_mask(const plmm_client_round *m, uint8_t *payload, plmm_hash *digest,
                              uint32_t *lanes, const float *delta, size_t length, plmm_error *err);

/* The committee for a sealed roster, judged, and what the aggregator *told of it (NULL: nothing, the
 * epoch began before): *o is new. Statuses of plmm_policy_judge_degree, and PLMM_ERR_NOMEM. */
plmm_status plmm_oneshot_new(plmm_oneshot **o, const plmm_client_round *m,
                             const plmm_round_seal *seal, const plmm_roster_head *told,
                             plmm_refusal *refusal, plmm_error *err);
/* Draws the seats and makes room for what a member needs, if this device is one; near_n of them. */
plmm_status plmm_oneshot_sit(plmm_oneshot *o, const plmm_session *s, uint32_t self,
                             uint32_t *near_n, plmm_error *err);
/* at[0..near_n) = whose entries come with the roster. */
void plmm_oneshot_near(const plmm_oneshot *o, uint32_t *at, uint32_t self);
/* Epochs: oneshot_epoch.c. */
void plmm_client_epoch_note(plmm_client_round *m, const plmm_round_seal *seal);
bool plmm_client_epoch_goes_on(const plmm_client_round *m, const plmm_round_params *p,
                               plmm_round_seal *seal);
plmm_status plmm_client_epoch_resume(plmm_client_round *m, plmm_client_step *s,
                                     const plmm_round_seal *seal);
/* The chain key with a device whose entry came with the roster, or this device's own. */
const plmm_key *plmm_oneshot_channel(const plmm_client_round *m, uint32_t index);
/* Octets of the largest bulk that this device sends but its contribution. */
size_t plmm_oneshot_room(const plmm_oneshot *o, uint32_t n);

#endif
