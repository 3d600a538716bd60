/* plmm/node_store.h -- everything an aggregator remembers, in one SQLite file (plmm/db.h): who is
 * enrolled, the rounds, the journal and the masked vectors of the round that runs, the versions,
 * and what was done for whom. A registrar's file has the same form: of it, it uses settings,
 * devices, seals and the audit.
 *
 * Keys are files of their own, mode 0600. Every function that changes something is one transaction,
 * on disk when it returns PLMM_OK; plmm_node_begin and plmm_node_end make one of several calls.
 * Errors are those of plmm/db.h. One thread at a time for a handle; `status` may read meanwhile.
 */
#ifndef PLMM_NODE_STORE_H
#define PLMM_NODE_STORE_H

#include "plmm/agg_round.h"
#include "plmm/enrol.h"

enum {
    PLMM_NODE_AUDIT_MAX = 100000,   /* rows that are kept */
    PLMM_NODE_RECORD_MAX = 1 << 26, /* octets of a journal record */
    PLMM_NODE_TEXT_MAX = 400
};

typedef struct plmm_node_store plmm_node_store;

PLMM_NODISCARD plmm_status plmm_node_open(const char *path, plmm_node_store **out, plmm_error *err);
void plmm_node_close(plmm_node_store *s); /* NULL is fine */

/* Several calls as one transaction; end commits if rc is PLMM_OK and rolls back otherwise. */
PLMM_NODISCARD plmm_status plmm_node_begin(plmm_node_store *s, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_end(plmm_node_store *s, plmm_status rc, plmm_error *err);

/* ---- settings ---- */

PLMM_NODISCARD plmm_status plmm_node_set(plmm_node_store *s, const char *name, const char *value,
                                         plmm_error *err);
/* *value is a copy (plmm_free), or NULL if there is none. */
PLMM_NODISCARD plmm_status plmm_node_get(plmm_node_store *s, const char *name, char **value,
                                         plmm_error *err);

/* ---- devices ---- */

/* The next free device id, from 1: it is given to nobody else, also if the enrolment fails. */
PLMM_NODISCARD plmm_status plmm_node_device_next(plmm_node_store *s, uint64_t *id, plmm_error *err);
/* Enrols. STATE when the id or the key is there already. */
PLMM_NODISCARD plmm_status plmm_node_device_add(plmm_node_store *s, const plmm_certificate *c,
                                                const char *label, int64_t time_ms,
                                                plmm_error *err);
/* A device's certificate; NOTFOUND if it is not enrolled or was revoked. */
PLMM_NODISCARD plmm_status plmm_node_device_get(plmm_node_store *s, uint64_t id,
                                                plmm_certificate *out, plmm_error *err);
/* Bars a device for ever. NOTFOUND. */
PLMM_NODISCARD plmm_status plmm_node_device_revoke(plmm_node_store *s, uint64_t id,
                                                   plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_device_count(plmm_node_store *s, uint64_t *enrolled,
                                                  uint64_t *revoked, plmm_error *err);

/* A device as a registrar tells it to its aggregator. */
typedef struct plmm_node_device {
    plmm_certificate certificate;
    bool revoked;
    uint64_t serial; /* of its last change; each change of any device has the next one */
} plmm_node_device;

/* Serial of the last change; 0: none yet. */
PLMM_NODISCARD plmm_status plmm_node_device_serial(plmm_node_store *s, uint64_t *serial,
                                                   plmm_error *err);
/* The changes after a serial, in their order, at most max. */
typedef plmm_status (*plmm_node_visit_device)(void *ctx, const plmm_node_device *d,
                                              plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_devices_after(plmm_node_store *s, uint64_t serial,
                                                   uint32_t max, plmm_node_visit_device visit,
                                                   void *ctx, plmm_error *err);
/* Writes a change that the registrar made. */
PLMM_NODISCARD plmm_status plmm_node_device_take(plmm_node_store *s, const plmm_node_device *d,
                                                 int64_t time_ms, plmm_error *err);
/* *ids (plmm_free) = the devices that are not revoked, increasing. */
PLMM_NODISCARD plmm_status plmm_node_enrolled(plmm_node_store *s, uint64_t **ids, uint32_t *n,
                                              plmm_error *err);

/* A device that made a round fail sits out up to round `until`; barred is STATE, with the sentence,
 * if it still does in `round`. */
PLMM_NODISCARD plmm_status plmm_node_device_bar(plmm_node_store *s, uint64_t id, uint64_t until,
                                                plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_device_barred(plmm_node_store *s, uint64_t id, uint64_t round,
                                                   plmm_error *err);

/* ---- seals: of a registrar ---- */

/* Writes down a record of plmm/registrar.h, after n others. STATE if there are more or fewer: two
 * processes must never seal on one state. */
PLMM_NODISCARD plmm_status plmm_node_seal_add(plmm_node_store *s, uint64_t n, uint64_t round,
                                              const uint8_t *record, size_t len, int64_t time_ms,
                                              plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_seal_count(plmm_node_store *s, uint64_t *n, plmm_error *err);
/* The records of the last sealed round, in their order. */
typedef plmm_status (*plmm_node_visit_seal)(void *ctx, uint64_t round, const uint8_t *record,
                                            size_t len, int64_t time_ms, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_seals_last(plmm_node_store *s, plmm_node_visit_seal visit,
                                                void *ctx, plmm_error *err);

/* ---- rounds ---- */

typedef enum plmm_node_state {
    PLMM_NODE_RUNNING = 0,
    PLMM_NODE_PUBLISHED = 1,
    PLMM_NODE_ABORTED = 2
} plmm_node_state;

typedef struct plmm_node_round {
    uint64_t round;
    uint32_t attempt;
    plmm_node_state state;
    uint32_t reason; /* plmm_abort */
    uint32_t roster, survivors, liars;
    uint64_t version; /* that it made, 0: none */
    bool sealed;      /* a seal was asked for: it must not begin again under its number */
    int64_t begun_ms, ended_ms;
    uint64_t bytes_up, bytes_down;
    uint32_t step_ms[PLMM_AGG_PHASES]; /* time in each phase */
    char text[PLMM_NODE_TEXT_MAX];
    const uint8_t *epoch; /* of plmm_node_round_end: what later rounds may go on with; else NULL */
    size_t epoch_len;
} plmm_node_round;

/* Begins (round, attempt), with an empty journal. params are the octets that the driver rebuilds
 * the machine's configuration from after a crash (plmm_params_encode). STATE if a round is running
 * or this one is not above the last. */
PLMM_NODISCARD plmm_status plmm_node_round_begin(plmm_node_store *s, uint64_t round,
                                                 uint32_t attempt, const uint8_t *params,
                                                 size_t len, int64_t time_ms, plmm_error *err);
/* The running round and its params (plmm_free); NOTFOUND when none runs. */
PLMM_NODISCARD plmm_status plmm_node_round_running(plmm_node_store *s, uint64_t *round,
                                                   uint32_t *attempt, uint8_t **params, size_t *len,
                                                   plmm_error *err);
/* Ends the running round as r says (r->round and r->attempt name it): deletes its journal and
 * vectors in the same transaction, which also keeps r->epoch, or drops the one that was kept if the
 * round was aborted. STATE if it does not run. */
PLMM_NODISCARD plmm_status plmm_node_round_end(plmm_node_store *s, const plmm_node_round *r,
                                               plmm_error *err);
/* The last (round, attempt) that was begun, and its `sealed`; 0, 0 if none. */
PLMM_NODISCARD plmm_status plmm_node_round_last(plmm_node_store *s, uint64_t *round,
                                                uint32_t *attempt, bool *sealed, plmm_error *err);
/* Newest first, at most max. */
typedef plmm_status (*plmm_node_visit_round)(void *ctx, const plmm_node_round *r, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_rounds(plmm_node_store *s, uint32_t max,
                                            plmm_node_visit_round visit, void *ctx,
                                            plmm_error *err);

/* ---- the running round's journal: duties 2, 3 and 8 of plmm/agg_round.h ---- */

/* Appends a record, and with it the payload of the ADD_INPUT before it (NULL: none). STATE unless
 * seq is above the last one's, or if the device has a payload already. */
PLMM_NODISCARD plmm_status plmm_node_journal_append(plmm_node_store *s, uint64_t seq,
                                                    const uint8_t *record, size_t len,
                                                    uint64_t device, const uint8_t *payload,
                                                    size_t payload_len, plmm_error *err);
typedef plmm_status (*plmm_node_visit_record)(void *ctx, uint64_t seq, const uint8_t *record,
                                              size_t len, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_journal_each(plmm_node_store *s, plmm_node_visit_record visit,
                                                  void *ctx, plmm_error *err);
/* The stored payload of a device in a new block (plmm_free). NOTFOUND. May be called from a
 * visit. */
PLMM_NODISCARD plmm_status plmm_node_payload(plmm_node_store *s, uint64_t device, uint8_t **payload,
                                             size_t *len, plmm_error *err);

/* ---- who took part: with a tree of noise, a device is in one round of it at most ---- */

/* Every device whose vector is in the running round's journal took part in `round`. */
PLMM_NODISCARD plmm_status plmm_node_part_note(plmm_node_store *s, uint64_t round, plmm_error *err);
/* *ids (plmm_free) = who took part in a round before this one, increasing. */
PLMM_NODISCARD plmm_status plmm_node_part_before(plmm_node_store *s, uint64_t round, uint64_t **ids,
                                                 uint32_t *n, plmm_error *err);
/* Forgets them all: a new tree begins. */
PLMM_NODISCARD plmm_status plmm_node_part_clear(plmm_node_store *s, plmm_error *err);

/* ---- a one-shot epoch (plmm_agg_round_epoch): while a round runs there is one if and only if the
 * round goes on with it ---- */

/* The octets in a new block (plmm_free). NOTFOUND. */
PLMM_NODISCARD plmm_status plmm_node_epoch(plmm_node_store *s, uint8_t **epoch, size_t *len,
                                           plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_epoch_drop(plmm_node_store *s, plmm_error *err);

/* ---- versions: an index of what plmm/version.h holds ---- */

typedef struct plmm_node_version {
    uint64_t version, round;
    plmm_hash manifest;
    uint32_t survivors;
    int64_t time_ms;
    uint64_t bytes; /* of its files */
} plmm_node_version;

/* Adds or replaces. */
PLMM_NODISCARD plmm_status plmm_node_version_put(plmm_node_store *s, const plmm_node_version *v,
                                                 plmm_error *err);
/* Newest first, at most max. */
typedef plmm_status (*plmm_node_visit_version)(void *ctx, const plmm_node_version *v,
                                               plmm_error *err);
PLMM_NODISCARD plmm_status plmm_node_versions(plmm_node_store *s, uint32_t max,
                                              plmm_node_visit_version visit, void *ctx,
                                              plmm_error *err);

/* ---- audit: what was done, when, for which device; never an update or a key ---- */

/* event: a short name such as "enrol" or "peer". Keeps the newest PLMM_NODE_AUDIT_MAX rows. */
PLMM_NODISCARD plmm_status plmm_node_audit(plmm_node_store *s, int64_t time_ms, const char *event,
                                           uint64_t device, const char *text, plmm_error *err);
typedef plmm_status (*plmm_node_visit_audit)(void *ctx, int64_t time_ms, const char *event,
                                             uint64_t device, const char *text, plmm_error *err);
/* Newest first, at most max. */
PLMM_NODISCARD plmm_status plmm_node_audits(plmm_node_store *s, uint32_t max,
                                            plmm_node_visit_audit visit, void *ctx,
                                            plmm_error *err);

#endif
