/* client_machine.h -- the inside of plmm_client_round, shared by its three files:
 *   client_round.c  events in, actions out, timers, the journal
 *   client_steps.c  one function a message: checks first, then the change
 *   client_mask.c   the data plane */
#ifndef PLMM_PROTO_CLIENT_MACHINE_H
#define PLMM_PROTO_CLIENT_MACHINE_H

#include "plmm/client_round.h"
#include "session.h"

typedef struct plmm_neighbour {
    uint32_t index; /* on the roster */
    plmm_channel_peer peer;
    bool opened;           /* its box was good: the two shares below are there */
    plmm_key mask;         /* SECRET: of the pair's mask */
    plmm_key channel;      /* SECRET: the pair's chain key of this round */
    plmm_share self, pair; /* SECRET: this device's shares of the neighbour's b and s */
} plmm_neighbour;

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
    plmm_dh_sk mask_sk;
    plmm_channel_key channel; /* own, of this epoch */
    plmm_neighbour *near;     /* session.k */

    plmm_round_params params;
    plmm_hash params_hash;
    plmm_entry own;
    plmm_session session;
    plmm_link link; /* last verified */
    uint32_t self;  /* own index on the roster */
    uint32_t weight;
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
    plmm_frame frame; /* EV_FRAME: decoded, signed by the aggregator, of this round */
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

#endif
