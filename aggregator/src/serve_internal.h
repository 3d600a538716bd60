/* serve_internal.h -- what the files of the driver share: serve.c (the loop), serve_round.c
 * (machines and journal), serve_registrar.c (what the registrar is asked), serve_request.c (requests
 * and replies), serve_worker.c. All but the worker's own function run in the loop's thread. */
#ifndef SERVE_INTERNAL_H
#define SERVE_INTERNAL_H

#include "peers.h"
#include "plmm/hub.h"
#include "plmm/serve.h"
#include "sealer.h"

#include <pthread.h>

_Static_assert(PLMM_MSG_COUNT <= 64, "a bit for each message that may wait for a device");

typedef enum plmm__job { PLMM__JOB_NONE, PLMM__JOB_UNMASK, PLMM__JOB_PUBLISH } plmm__job;

typedef struct plmm__serve plmm__serve;

/* One piece of vector-sized work at a time, on a thread of its own. */
typedef struct plmm__worker {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t news;
    plmm__job job;   /* to do or under way; NONE when idle */
    bool done, stop; /* done: its result waits for the loop */
    plmm_status rc;
    plmm_error err;
    plmm_agg_unmasked unmasked;
    plmm_manifest manifest;
} plmm__worker;

typedef struct plmm__machine {
    plmm_agg_round *m;
    uint64_t round;
    uint32_t attempt;
    uint8_t *epoch;    /* that it goes on with, or NULL */
    uint64_t *resting; /* who must not take part in it, or NULL */
} plmm__machine;

/* A request that is answered as soon as what it led to is durable. */
typedef struct plmm__due {
    uint32_t slot;
    uint64_t device; /* whose messages go with the answer; 0: nobody's */
} plmm__due;

/* A request that has to wait for the worker. */
typedef struct plmm__later {
    plmm_hub_request *v; /* ring of as many as there are slots */
    uint32_t at, n;
} plmm__later;

/* What the registrar said last. */
typedef struct plmm__registry {
    uint64_t round; /* last sealed */
    plmm_link link; /* last opened */
    uint32_t population;
    bool begin;        /* the next round begins when it has been asked */
    uint64_t asked_ms; /* when the devices were last asked for */
    /* The request for a seal that waits for the sealer, and of which round and attempt it is. */
    uint8_t *request;
    size_t request_len;
    uint64_t request_round;
    uint32_t request_attempt;
} plmm__registry;

struct plmm__serve {
    const plmm_serve_config *c;
    plmm_serve_result *result;
    plmm_hub *hub;
    plmm__peers peers;
    plmm_known *known; /* whom this process met; who may speak is the store's to say */
    plmm__machine machines[PLMM__MACHINES]; /* the present round's, and the one before */
    uint32_t cur;
    bool running; /* the present round is begun and not ended in the store */

    uint32_t *sum; /* of the present round */
    size_t lanes;
    uint64_t *survivors;
    uint32_t survivors_n;
    uint64_t bytes_up, bytes_down; /* of the present round */
    int64_t begun_ms;
    plmm_agg_phase phase;
    uint64_t phase_since;
    uint32_t step_ms[PLMM_AGG_PHASES];

    plmm_shelf *shelf;
    plmm__sealer *sealer;
    plmm__registry registry;

    plmm__worker worker;
    plmm__job wanted; /* begins once the journal is durable */
    bool frozen;      /* from UNMASK to its end: the machine must not be stepped */

    bool dirty; /* a transaction is open */
    uint64_t seq;
    uint64_t input_device; /* of an ADD_INPUT whose PERSIST comes next; 0: none */
    const uint8_t *input;
    size_t input_len;

    plmm__due *due; /* as many as there are slots */
    uint32_t due_n, held;
    plmm__later later;
    uint64_t next_release; /* when the first held request must be answered */

    uint64_t next_round_ms; /* when to begin a round; UINT64_MAX: not now */
    uint64_t end_ms;        /* when to stop; UINT64_MAX: not known */
    uint32_t failures;      /* attempts in a row */
    bool ending;            /* the present round was aborted; the store does not know yet */
    plmm_abort ending_reason;
    char abort_text[PLMM_NODE_TEXT_MAX];

    plmm_status fatal; /* sticks; fatal_err says why */
    plmm_error fatal_err;
};

/* Remembers the first failure that ends the run. */
void plmm__serve_fail(plmm__serve *s, plmm_status rc, const plmm_error *err);

/* ---- serve_round.c ---- */
plmm_status plmm__round_begin(plmm__serve *s, plmm_error *err);
/* Goes on with the round that was open when the last run ended; plans the next one if none was. */
plmm_status plmm__round_resume(plmm__serve *s, plmm_error *err);
void plmm__round_free(plmm__serve *s);
/* Steps machine i and obeys. Failures of the store or of memory go to plmm__serve_fail. */
plmm_status plmm__round_step(plmm__serve *s, uint32_t i, const plmm_agg_event *ev, plmm_error *err);
/* Commits what is open and tells the machine, until nothing is left to commit. */
void plmm__round_flush(plmm__serve *s);
void plmm__round_tick(plmm__serve *s);
void plmm__round_job_done(plmm__serve *s);

/* ---- serve_epoch.c ---- */

/* Lets the round of *config, whose parameters are made, go on with the epoch that is kept, or drops
 * that if it cannot. Gives config->epoch, a new block, and roster_min; NULL: the round is sealed. */
plmm_status plmm__epoch_begin(plmm__serve *s, plmm_agg_config *config, plmm_error *err);
/* After a restart: the epoch that the running round of *config goes on with, if any. */
plmm_status plmm__epoch_again(plmm__serve *s, plmm_agg_config *config, plmm_error *err);
/* What machine m leaves for later rounds, a new block; NULL: nothing. */
plmm_status plmm__epoch_left(plmm__serve *s, const plmm_agg_round *m, uint8_t **epoch, size_t *len,
                             plmm_error *err);

/* ---- serve_registrar.c ---- */
plmm_status plmm__registrar_start(plmm__serve *s, plmm_error *err);
/* Asks for the devices that changed, and begins a round then if `begin`. False if the sealer has
 * something else to do. */
bool plmm__registrar_sync(plmm__serve *s, bool begin);
void plmm__registrar_stop(plmm__serve *s);
/* The rate of the next round, and how many devices it admits: at least as many as are wanted, or
 * all. */
plmm_status plmm__registrar_rate(plmm__serve *s, uint32_t *rate, uint32_t *eligible,
                                 plmm_error *err);
void plmm__registrar_seal(plmm__serve *s, const plmm_agg_action *a);
void plmm__registrar_done(plmm__serve *s);

/* ---- serve_worker.c ---- */
plmm_status plmm__worker_start(plmm__serve *s, plmm_error *err);
void plmm__worker_stop(plmm__serve *s);
void plmm__worker_give(plmm__serve *s, plmm__job job);
bool plmm__worker_busy(plmm__serve *s);
/* Takes a finished job's kind, or NONE. */
plmm__job plmm__worker_take(plmm__serve *s);

/* ---- serve_request.c ---- */
void plmm__request_take(plmm__serve *s, const plmm_hub_request *r);
/* Takes up the requests that waited for the worker. */
void plmm__request_retry(plmm__serve *s);
/* Answers what is due and whoever has news waiting. */
void plmm__request_answer(plmm__serve *s);
/* Answers requests that were held long enough. */
void plmm__request_release(plmm__serve *s, uint64_t now);

#endif
