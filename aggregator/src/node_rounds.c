/* The aggregator's state: rounds, and the journal of the one that runs. */
#include "node_store_internal.h"

#include "plmm/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- rounds ---- */

plmm_status plmm_node_round_last(plmm_node_store *s, uint64_t *round, uint32_t *attempt,
                                 bool *sealed, plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    uint64_t last = 0;
    uint32_t at = 0;
    bool asked = false;
    PLMM_TRY(
        plmm_db_query(s->db,
                      "SELECT round, attempt, sealed FROM rounds ORDER BY round DESC, attempt DESC "
                      "LIMIT 1",
                      NULL, 0, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && more) {
        last = (uint64_t)plmm_rows_i(r, 0);
        at = (uint32_t)plmm_rows_i(r, 1);
        asked = plmm_rows_i(r, 2) != 0;
    }
    plmm_rows_close(r);
    if (rc == PLMM_OK) {
        *round = last;
        *attempt = at;
        *sealed = asked;
    }
    return rc;
}

static plmm_status begin(plmm_node_store *s, uint64_t round, uint32_t attempt,
                         const uint8_t *params, size_t len, int64_t time_ms, plmm_error *err)
{
    static const uint32_t no_steps[PLMM_AGG_PHASES];
    uint64_t last;
    uint32_t last_attempt;
    bool sealed;
    int64_t running = 0;
    PLMM_TRY(plmm_node_round_last(s, &last, &last_attempt, &sealed, err));
    PLMM_TRY(plmm_db_int(s->db, "SELECT count(*) FROM rounds WHERE state = 0", NULL, 0, 0, &running,
                         err));
    if (running != 0 || round < last || (round == last && attempt <= last_attempt)) {
        return plmm_fail(
            err, PLMM_ERR_STATE,
            "round %" PRIu64 " attempt %u cannot begin: round %" PRIu64 " attempt %u %s", round,
            attempt, last, last_attempt, running != 0 ? "is still running" : "was the last");
    }
    PLMM_TRY(plmm_db_run(s->db, "DELETE FROM journal", NULL, 0, err));
    PLMM_TRY(plmm_db_run(s->db, "DELETE FROM payloads", NULL, 0, err));
    return PLMM_DB_RUN(
        s->db, err,
        "INSERT INTO rounds VALUES(?1, ?2, 0, 0, 0, 0, 0, 0, ?3, 0, 0, 0, ?4, '', ?5, 0)",
        plmm_arg_u(round), plmm_arg_u(attempt), plmm_arg_i(time_ms),
        plmm_arg_b(no_steps, sizeof no_steps), plmm_arg_b(params, len));
}

plmm_status plmm_node_round_begin(plmm_node_store *s, uint64_t round, uint32_t attempt,
                                  const uint8_t *params, size_t len, int64_t time_ms,
                                  plmm_error *err)
{
    PLMM_TRY(plmm__node_enter(s, err));
    return plmm__node_leave(s, begin(s, round, attempt, params, len, time_ms, err), err);
}

/* A copy of column c in a new block. */
static plmm_status copy_blob(const plmm_rows *r, int c, uint8_t **out, size_t *len, plmm_error *err)
{
    size_t n = 0;
    const void *p = plmm_rows_b(r, c, &n);
    uint8_t *copy = plmm_alloc(n, 1);
    if (copy == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %zu octets of the node's state",
                         n);
    }
    if (p != NULL) {
        memcpy(copy, p, n);
    }
    *out = copy;
    *len = n;
    return PLMM_OK;
}

plmm_status plmm_node_round_running(plmm_node_store *s, uint64_t *round, uint32_t *attempt,
                                    uint8_t **params, size_t *len, plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    PLMM_TRY(plmm_db_query(s->db, "SELECT round, attempt, params FROM rounds WHERE state = 0", NULL,
                           0, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && !more) {
        rc = plmm_fail(err, PLMM_ERR_NOTFOUND, "no round is running");
    }
    rc = rc == PLMM_OK ? copy_blob(r, 2, params, len, err) : rc;
    if (rc == PLMM_OK) {
        *round = (uint64_t)plmm_rows_i(r, 0);
        *attempt = (uint32_t)plmm_rows_i(r, 1);
    }
    plmm_rows_close(r);
    return rc;
}

plmm_status plmm_node_epoch(plmm_node_store *s, uint8_t **epoch, size_t *len, plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    PLMM_TRY(plmm_db_query(s->db, "SELECT epoch FROM epoch", NULL, 0, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && !more) {
        rc = plmm_fail(err, PLMM_ERR_NOTFOUND, "no epoch is kept");
    }
    rc = rc == PLMM_OK ? copy_blob(r, 0, epoch, len, err) : rc;
    plmm_rows_close(r);
    return rc;
}

plmm_status plmm_node_epoch_drop(plmm_node_store *s, plmm_error *err)
{
    return plmm_db_run(s->db, "DELETE FROM epoch", NULL, 0, err);
}

static plmm_status end(plmm_node_store *s, const plmm_node_round *r, plmm_error *err)
{
    PLMM_TRY(PLMM_DB_RUN(
        s->db, err,
        "UPDATE rounds SET state = ?3, reason = ?4, roster = ?5, survivors = ?6, liars = ?7,"
        " version = ?8, ended = ?9, bytes_up = ?10, bytes_down = ?11, steps = ?12, text = ?13,"
        " sealed = ?14"
        " WHERE round = ?1 AND attempt = ?2 AND state = 0",
        plmm_arg_u(r->round), plmm_arg_u(r->attempt), plmm_arg_i((int64_t)r->state),
        plmm_arg_u(r->reason), plmm_arg_u(r->roster), plmm_arg_u(r->survivors),
        plmm_arg_u(r->liars), plmm_arg_u(r->version), plmm_arg_i(r->ended_ms),
        plmm_arg_u(r->bytes_up), plmm_arg_u(r->bytes_down),
        plmm_arg_b(r->step_ms, sizeof r->step_ms), plmm_arg_s(r->text), plmm_arg_i(r->sealed)));
    if (plmm_db_changes(s->db) != 1) {
        return plmm_fail(err, PLMM_ERR_STATE, "round %" PRIu64 " attempt %u does not run", r->round,
                         r->attempt);
    }
    PLMM_TRY(plmm_db_run(s->db, "DELETE FROM journal", NULL, 0, err));
    PLMM_TRY(plmm_db_run(s->db, "DELETE FROM payloads", NULL, 0, err));
    if (r->state == PLMM_NODE_ABORTED) {
        return plmm_node_epoch_drop(s, err);
    }
    return r->epoch == NULL ? PLMM_OK
                            : PLMM_DB_RUN(s->db, err, "INSERT OR REPLACE INTO epoch VALUES(1, ?1)",
                                          plmm_arg_b(r->epoch, r->epoch_len));
}

plmm_status plmm_node_round_end(plmm_node_store *s, const plmm_node_round *r, plmm_error *err)
{
    PLMM_ASSERT(r->state != PLMM_NODE_RUNNING);
    PLMM_TRY(plmm__node_enter(s, err));
    return plmm__node_leave(s, end(s, r, err), err);
}

static plmm_status read_round(const plmm_rows *r, plmm_node_round *out, plmm_error *err)
{
    *out = (plmm_node_round){.round = (uint64_t)plmm_rows_i(r, 0),
                             .attempt = (uint32_t)plmm_rows_i(r, 1),
                             .state = (plmm_node_state)plmm_rows_i(r, 2),
                             .reason = (uint32_t)plmm_rows_i(r, 3),
                             .roster = (uint32_t)plmm_rows_i(r, 4),
                             .survivors = (uint32_t)plmm_rows_i(r, 5),
                             .liars = (uint32_t)plmm_rows_i(r, 6),
                             .version = (uint64_t)plmm_rows_i(r, 7),
                             .begun_ms = plmm_rows_i(r, 8),
                             .ended_ms = plmm_rows_i(r, 9),
                             .bytes_up = (uint64_t)plmm_rows_i(r, 10),
                             .bytes_down = (uint64_t)plmm_rows_i(r, 11),
                             .sealed = plmm_rows_i(r, 14) != 0};
    (void)snprintf(out->text, sizeof out->text, "%s", plmm_rows_s(r, 13));
    return plmm_rows_copy(r, 12, out->step_ms, sizeof out->step_ms, err);
}

plmm_status plmm_node_rounds(plmm_node_store *s, uint32_t max, plmm_node_visit_round visit,
                             void *ctx, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(max)};
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc = plmm_db_query(
        s->db,
        "SELECT round, attempt, state, reason, roster, survivors, liars, version, begun, ended,"
        " bytes_up, bytes_down, steps, text, sealed FROM rounds ORDER BY round DESC, attempt DESC "
        "LIMIT ?1",
        args, 1, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        plmm_node_round round;
        rc = read_round(r, &round, err);
        rc = rc == PLMM_OK ? visit(ctx, &round, err) : rc;
    }
    plmm_rows_close(r);
    return rc;
}

/* ---- journal ---- */

static plmm_status put_payload(plmm_node_store *s, uint64_t device, const uint8_t *payload,
                               size_t len, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(device)};
    int64_t there = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT count(*) FROM payloads WHERE device = ?1", args, 1, 0,
                         &there, err));
    if (there != 0) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "device %" PRIu64 " has a vector in this round already", device);
    }
    return PLMM_DB_RUN(s->db, err, "INSERT INTO payloads VALUES(?1, ?2)", plmm_arg_u(device),
                       plmm_arg_b(payload, len));
}

static plmm_status append(plmm_node_store *s, uint64_t seq, const uint8_t *record, size_t len,
                          plmm_error *err)
{
    int64_t last = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT max(seq) FROM journal", NULL, 0, 0, &last, err));
    if (len > PLMM_NODE_RECORD_MAX || seq > INT64_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "record %" PRIu64 " of %zu octets cannot be kept",
                         seq, len);
    }
    if ((int64_t)seq <= last) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "record %" PRIu64 " of the round comes after record %" PRId64, seq, last);
    }
    return PLMM_DB_RUN(s->db, err, "INSERT INTO journal VALUES(?1, ?2)", plmm_arg_u(seq),
                       plmm_arg_b(record, len));
}

plmm_status plmm_node_journal_append(plmm_node_store *s, uint64_t seq, const uint8_t *record,
                                     size_t len, uint64_t device, const uint8_t *payload,
                                     size_t payload_len, plmm_error *err)
{
    PLMM_TRY(plmm__node_enter(s, err));
    plmm_status rc = append(s, seq, record, len, err);
    if (rc == PLMM_OK && payload != NULL) {
        rc = put_payload(s, device, payload, payload_len, err);
    }
    return plmm__node_leave(s, rc, err);
}

plmm_status plmm_node_journal_each(plmm_node_store *s, plmm_node_visit_record visit, void *ctx,
                                   plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc =
        plmm_db_query(s->db, "SELECT seq, record FROM journal ORDER BY seq", NULL, 0, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        size_t len = 0;
        const uint8_t *record = plmm_rows_b(r, 1, &len);
        rc = visit(ctx, (uint64_t)plmm_rows_i(r, 0), record, len, err);
    }
    plmm_rows_close(r);
    return rc;
}

plmm_status plmm_node_payload(plmm_node_store *s, uint64_t device, uint8_t **payload, size_t *len,
                              plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(device)};
    plmm_rows *r = NULL;
    bool more = false;
    PLMM_TRY(
        plmm_db_query(s->db, "SELECT vector FROM payloads WHERE device = ?1", args, 1, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && !more) {
        rc = plmm_fail(err, PLMM_ERR_NOTFOUND, "device %" PRIu64 " has no vector in this round",
                       device);
    }
    rc = rc == PLMM_OK ? copy_blob(r, 0, payload, len, err) : rc;
    plmm_rows_close(r);
    return rc;
}
