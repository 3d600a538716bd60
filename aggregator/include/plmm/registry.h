/* plmm/registry.h -- the registrar's process: plmm/registrar.h over nng and SQLite, and what its
 * aggregator asks it.
 *
 * One thread, one request after the other. There are two requests, both signed by the aggregator's
 * key and answered with the registrar's signature; whatever else comes is answered with nothing and
 * its connection is closed, and more than a few such in a second are not looked at.
 *
 *   SEAL_REQUEST   a frame, see plmm/registrar.h. What the registrar decides is in its database
 *                  before it is answered, so that it says the same after a crash, and two processes
 *                  on one database cannot both seal.
 *   devices        who was enrolled or revoked since, below
 *
 * The aggregator learns nothing here that it does not see in rounds: keys, certificates, and links
 * that were opened.
 */
#ifndef PLMM_REGISTRY_H
#define PLMM_REGISTRY_H

#include "plmm/node_store.h"
#include "plmm/registrar.h"

/* ---- the devices: asked by the aggregator, from the last change it knows on ---- */

enum {
    PLMM_REGISTRY_PAGE = 1000, /* changes in one answer */
    PLMM_REGISTRY_ASK = 4 + PLMM_EXPERT_MAX + 1 + 8 + 16 + 64,
    PLMM_REGISTRY_HEAD = 4 + PLMM_EXPERT_MAX + 1 + 16 + 3 * 8 + 32 + 4 + 4,
    PLMM_REGISTRY_ENTRY = 8 + 32 + 64 + 1 + 8,
    PLMM_REGISTRY_ANSWER = PLMM_REGISTRY_HEAD + PLMM_REGISTRY_PAGE * PLMM_REGISTRY_ENTRY + 64
};

typedef struct plmm_registry_ask {
    char expert[PLMM_EXPERT_MAX + 1];
    uint64_t after;    /* serial of the last change that is known */
    uint8_t nonce[16]; /* comes back in the answer: an old answer is not taken for a new one */
} plmm_registry_ask;

typedef struct plmm_registry_answer {
    uint64_t serial;     /* of the last change that there is */
    uint64_t round;      /* the last that was sealed, 0: none */
    plmm_link link;      /* the last that was opened */
    uint32_t population; /* devices that are not revoked */
    uint32_t n;          /* changes in this answer, in their order */
    plmm_node_device v[PLMM_REGISTRY_PAGE];
} plmm_registry_answer;

/* Signed. */
void plmm_registry_ask_encode(uint8_t out[PLMM_REGISTRY_ASK], const plmm_registry_ask *q,
                              const plmm_sign_sk *aggregator);
/* PLMM_ERR_WIRE, PLMM_ERR_AUTH. */
PLMM_NODISCARD plmm_status plmm_registry_ask_decode(plmm_registry_ask *q, const uint8_t *in,
                                                    size_t len, const char *expert,
                                                    const plmm_sign_pk *aggregator,
                                                    plmm_error *err);

/* Signed; returns the length. */
size_t plmm_registry_answer_encode(uint8_t out[PLMM_REGISTRY_ANSWER], const plmm_registry_answer *a,
                                   const plmm_registry_ask *q, const plmm_sign_sk *registrar);
/* The answer to q. PLMM_ERR_WIRE, PLMM_ERR_AUTH. */
PLMM_NODISCARD plmm_status plmm_registry_answer_decode(plmm_registry_answer *a, const uint8_t *in,
                                                       size_t len, const plmm_registry_ask *q,
                                                       const plmm_sign_pk *registrar,
                                                       plmm_error *err);

/* ---- the process ---- */

typedef struct plmm_registry_config {
    const char *url;                 /* loopback only, see plmm/address.h */
    plmm_registrar_config registrar; /* SECRET */
    plmm_node_store *store;          /* borrowed */
    const char *port_file;           /* the port is written there once it listens; NULL: nowhere */
} plmm_registry_config;

/* A registrar as its database left it; plmm_registrar_free. */
PLMM_NODISCARD plmm_status plmm_registry_restore(plmm_registrar **r,
                                                 const plmm_registrar_config *config,
                                                 plmm_node_store *store, plmm_error *err);

/* Answers until plmm_registry_stop, or until the database fails for good. */
PLMM_NODISCARD plmm_status plmm_registry_run(const plmm_registry_config *c, plmm_error *err);

/* Makes the plmm_registry_run of this process end soon; async-signal-safe. */
void plmm_registry_stop(void);

#endif
