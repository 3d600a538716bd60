/* plmm/join.h -- the device's driver: plmm_client_round and plmm_fetch over nng and the store. No
 * protocol decision is made here.
 *
 * One thread does everything. Training blocks it: whatever the aggregator says meanwhile it says
 * again. A broken connection is made again for as long as patience lasts; a process that was killed
 * goes on where the journal in the store ends. Between rounds it looks for a newer version.
 */
#ifndef PLMM_JOIN_H
#define PLMM_JOIN_H

#include "plmm/client_round.h"
#include "plmm/expert.h"
#include "plmm/store.h"

typedef struct plmm_join_hooks {
    void *ctx;

    /* Trains by the parameters, on the version that is installed: delta[0..p->length), and *weight
     * = number of examples, at least 1. A failure makes the device sit the round out. */
    plmm_status (*train)(void *ctx, const plmm_round_params *p, float *delta, uint32_t *weight,
                         plmm_error *err);

    /* A version was installed and is in use from now on; also called once at the beginning if there
     * is one. The policy's vectors may be set now. */
    plmm_status (*installed)(void *ctx, const plmm_manifest *m, plmm_policy *policy,
                             plmm_error *err);
} plmm_join_hooks;

typedef struct plmm_join_config {
    const char *expert;  /* one that the store knows, enrolled */
    plmm_policy policy;  /* the anchor is the store's */
    plmm_sign_sk key;    /* SECRET: the device's identity */
    plmm_store *store;   /* borrowed */
    plmm_expert *folder; /* of the expert's versions; borrowed */
    plmm_join_hooks hooks;
    uint32_t rounds;    /* completed rounds to take part in; 0: until plmm_join_stop */
    uint32_t resend_ms; /* see plmm_client_config */
    uint32_t silence_ms;
    bool error_feedback;  /* see plmm/feedback.h; the caller has checked the method */
    uint32_t patience_ms; /* give up when no round was joined for so long */
} plmm_join_config;

typedef struct plmm_join_result {
    uint32_t rounds;  /* completed */
    uint32_t aborted; /* rounds that this device joined and that did not complete for it */
    uint64_t version; /* in use now */
    uint64_t bytes_up, bytes_down;
    char last[256]; /* sentence about the last round that did not complete, "" if none */
} plmm_join_result;

/* Takes part in rounds until there are enough, patience is over (PLMM_ERR_TIMEOUT), the aggregator
 * was caught in a lie or asks for what the policy forbids (PLMM_ERR_POLICY, PLMM_ERR_PEER), or the
 * store or training fails. *result is filled in every case. */
PLMM_NODISCARD plmm_status plmm_join_run(const plmm_join_config *c, plmm_join_result *result,
                                         plmm_error *err);

/* Fetches, verifies and installs the newest version if it is newer than the one in use; joins no
 * round. PLMM_ERR_TIMEOUT when the aggregator answers none of a few tries; else as plmm_join_run. */
PLMM_NODISCARD plmm_status plmm_join_update(const plmm_join_config *c, plmm_join_result *result,
                                            plmm_error *err);

/* Makes the plmm_join_run of this process end soon; async-signal-safe. */
void plmm_join_stop(void);

#endif
