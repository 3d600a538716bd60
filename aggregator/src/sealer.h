/* sealer.h -- the aggregator's side of plmm/registry.h: a thread that asks the registrar one thing
 * at a time, again when there is no answer, until there is one or the time is over. The loop gives
 * jobs and takes results; plmm_hub_post tells it that there is one. */
#ifndef SEALER_H
#define SEALER_H

#include "plmm/hub.h"
#include "plmm/registry.h"

typedef struct plmm__sealer plmm__sealer;

typedef enum plmm__asked { PLMM__ASKED_NOTHING, PLMM__ASKED_DEVICES, PLMM__ASKED_SEAL } plmm__asked;

typedef struct plmm__sealer_config {
    const char *url; /* checked loopback address */
    const char *expert;
    const plmm_sign_sk *key; /* SECRET: the aggregator's; copied */
    plmm_sign_pk registrar;
    plmm_hub *hub; /* posted to */
} plmm__sealer_config;

/* What came of a job. */
typedef struct plmm__sealer_result {
    plmm__asked what;
    plmm_status rc; /* PLMM_ERR_TIMEOUT, naming the registrar, if it did not answer */
    plmm_error err;
    const plmm_registry_answer *devices; /* of DEVICES */
    const uint8_t *bytes;                /* of SEAL: the registrar's frame, not looked at */
    size_t len;
} plmm__sealer_result;

/* PLMM_ERR_NOMEM, PLMM_ERR_IO. */
PLMM_NODISCARD plmm_status plmm__sealer_start(plmm__sealer **out, const plmm__sealer_config *c,
                                              plmm_error *err);
void plmm__sealer_stop(plmm__sealer *s); /* gives up what is under way; NULL is fine */

/* A job is under way, or its result not taken yet. */
bool plmm__sealer_busy(plmm__sealer *s);

/* Begin a job, to be done within wait_ms; not while one is under way (asserted). after: serial of
 * the last change that is known. bytes (of plmm_alloc) become the sealer's. */
void plmm__sealer_devices(plmm__sealer *s, uint64_t after, uint32_t wait_ms);
void plmm__sealer_seal(plmm__sealer *s, uint8_t *bytes, size_t len, uint32_t wait_ms);

/* The job under way ends soon, as if its time were over. */
void plmm__sealer_cancel(plmm__sealer *s);

/* The result of a job that has ended, to be given back by plmm__sealer_done. False if there is
 * none. */
bool plmm__sealer_take(plmm__sealer *s, plmm__sealer_result *r);
void plmm__sealer_done(plmm__sealer *s);

#endif
