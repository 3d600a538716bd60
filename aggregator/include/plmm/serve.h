/* plmm/serve.h -- the aggregator's driver: plmm_agg_round over nng and SQLite. No protocol decision
 * is made here; what the machine asks for is done, in its order, and what happened is told to it.
 *
 * One thread runs the loop and steps the machines; a worker thread takes the masks out of the sum
 * and calls publish, so that devices are answered meanwhile. Journal, inputs and bookkeeping are in
 * the node's store: records of one burst of requests are made durable together, before anything
 * that depends on them is sent. After a crash the open round goes on where its journal ends. What
 * a one-shot round leaves for later ones is kept in the transaction that ends it.
 *
 * A third thread asks the registrar (plmm/registry.h): before a round, who was enrolled or revoked
 * and which link was opened last; and for the seal of its roster. While the registrar is away no
 * round begins, and one that waits for its seal is aborted in the end; devices are answered
 * meanwhile.
 *
 * Transport: a request is any number of frames, one after the other, and so is its reply. A request
 * with frames is answered at once; an empty one, on a connection over which its device has
 * authenticated itself, is held until there is news or hold_ms are over. */
#ifndef PLMM_SERVE_H
#define PLMM_SERVE_H

#include "plmm/agg_round.h"
#include "plmm/manifest.h"
#include "plmm/node_store.h"

/* What the driver is told by its owner. prepare, find and read are called by the thread of
 * plmm_serve_run, publish by the worker; never two at once for the same round. */
typedef struct plmm_serve_hooks {
    void *ctx;

    /* Fills model, length, names, method, factor and the training fields of the next round's
     * parameters (round is set). */
    plmm_status (*prepare)(void *ctx, plmm_round_params *p, plmm_error *err);

    /* Makes and publishes the version that follows from the sum of `devices` vectors: plmm_round_lanes
     * lanes mod 2^ring_bits. If the version of this round was published before a crash, finds it
     * instead. *m is its manifest. */
    plmm_status (*publish)(void *ctx, const plmm_round_params *p, const uint32_t *sum,
                           const uint64_t *devices, uint32_t n, plmm_manifest *m, plmm_error *err);

    /* The manifest with this hash, or of the newest version if it is NULL. PLMM_ERR_NOTFOUND. */
    plmm_status (*find)(void *ctx, const plmm_hash *hash, plmm_manifest *m, plmm_error *err);

    /* out[0..len) = octets of a file of that version from offset on, all within it. */
    plmm_status (*read)(void *ctx, const plmm_manifest *m, uint32_t file, uint64_t offset,
                        uint8_t *out, size_t len, plmm_error *err);

    /* From now on the sum of this attempt can be opened: it counts for the privacy budget, whatever
     * becomes of it. Called before what makes it so is sent, in the transaction that makes that
     * durable; again after a crash. NULL: nothing. */
    plmm_status (*released)(void *ctx, const plmm_round_params *p, plmm_error *err);

    /* SECRET: the seed of the tree that p->noise_leaf is of (plmm/privacy.h), the same for all its
     * rounds and after a crash; who took part in it before is in the store (plmm_node_part_before).
     * Called for a round with p->noise_tree > 0; NULL: there are none. */
    plmm_status (*tree)(void *ctx, const plmm_round_params *p, plmm_seed *seed, plmm_error *err);

    /* publish made the version of this round, and the store does not know yet: whatever the next
     * round needs to know of this one's sum is to be durable when it returns. Called by the thread
     * of plmm_serve_run; again, after publish, if there was a crash before the round's end. NULL:
     * nothing. */
    plmm_status (*published)(void *ctx, const plmm_round_params *p, plmm_error *err);
} plmm_serve_hooks;

typedef struct plmm_serve_config {
    const char *url;       /* loopback only, see plmm/address.h */
    plmm_agg_config round; /* SECRET: holds the key. round, attempt, rate and link are set by the
                               driver */
    uint32_t vector_max;   /* coordinates of the longest vector that hooks.prepare asks for */
    const char *registrar; /* its address, loopback only; its key is round.registrar */
    uint32_t eligible;     /* at least so many devices may take part in a round; 0: all */
    /* One-shot: rounds that a sealed roster serves, at most PLMM_EPOCH_ROUNDS; 0 and 1: each is sealed.
     * It ends before with a round that gives no sum, and as soon as the registrar says that a device on
     * it was revoked. */
    uint32_t epoch_rounds;
    plmm_node_store *store; /* borrowed */
    plmm_serve_hooks hooks;
    uint32_t rounds;       /* stop after so many completed rounds; 0: never */
    uint32_t failures;     /* stop after so many aborted attempts in a row; 0: never */
    uint32_t slots;        /* requests open at a time: more than devices that wait at once */
    uint32_t hold_ms;      /* how long an empty request waits for news */
    uint32_t pause_ms;     /* between rounds */
    uint32_t linger_ms;    /* after the last round: how long devices may still fetch */
    const char *port_file; /* the port is written there once it listens; NULL: nowhere */
} plmm_serve_config;

typedef struct plmm_serve_result {
    uint64_t rounds;               /* completed by this run */
    uint64_t aborted;              /* attempts */
    uint64_t bytes_up, bytes_down; /* of devices, transport's own not counted */
    uint64_t refused;              /* frames that were refused */
} plmm_serve_result;

/* Runs until the rounds are done, too many attempts failed (PLMM_ERR_STATE), plmm_serve_stop was
 * called, or the store or a hook fails for good. *result is filled in every case. */
PLMM_NODISCARD plmm_status plmm_serve_run(const plmm_serve_config *c, plmm_serve_result *result,
                                          plmm_error *err);

/* Makes the plmm_serve_run of this process end at the next step; async-signal-safe. A round that is
 * under way can be resumed by the next run. */
void plmm_serve_stop(void);

#endif
