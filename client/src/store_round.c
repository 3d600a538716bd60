/* The device's state: the journal of the round it is in, and how rounds ended. */
#include "plmm/alloc.h"
#include "store_internal.h"

#include <inttypes.h>
#include <string.h>

static plmm_status append(plmm_store *s, const char *expert, uint64_t seq, const uint8_t *record,
                          size_t len, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(expert)};
    int64_t last = 0, count = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT max(seq) FROM journal WHERE expert = ?1", args, 1, 0, &last,
                         err));
    PLMM_TRY(plmm_db_int(s->db, "SELECT count(*) FROM journal WHERE expert = ?1", args, 1, 0,
                         &count, err));
    if (len > PLMM_STORE_RECORD_MAX || count >= PLMM_STORE_RECORDS_MAX || seq > INT64_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the journal of expert %s cannot take record %" PRIu64
                         " of %zu octets after "
                         "%" PRId64 " others",
                         expert, seq, len, count);
    }
    if (count > 0 && (int64_t)seq <= last) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "record %" PRIu64
                         " of the round with expert %s comes after record %" PRId64,
                         seq, expert, last);
    }
    return PLMM_DB_RUN(s->db, err, "INSERT INTO journal VALUES(?1, ?2, ?3)", plmm_arg_s(expert),
                       plmm_arg_u(seq), plmm_arg_b(record, len));
}

plmm_status plmm_store_round_append(plmm_store *s, const char *expert, uint64_t seq,
                                    const uint8_t *record, size_t len, plmm_error *err)
{
    PLMM_TRY(plmm_db_begin(s->db, err));
    return plmm_db_end(s->db, append(s, expert, seq, record, len, err), err);
}

static plmm_status upload(plmm_store *s, const char *expert, const uint8_t *vector, size_t len,
                          plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(expert)};
    int64_t there = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT count(*) FROM uploads WHERE expert = ?1", args, 1, 0,
                         &there, err));
    if (there != 0) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "the round with expert %s has a masked vector already: a second one would "
                         "give the difference away",
                         expert);
    }
    if (len < 1 || len > PLMM_STORE_RECORD_MAX + 4) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a masked vector of %zu octets cannot be kept", len);
    }
    return PLMM_DB_RUN(s->db, err, "INSERT INTO uploads VALUES(?1, ?2)", plmm_arg_s(expert),
                       plmm_arg_b(vector, len));
}

static plmm_status put_notes(plmm_store *s, const char *expert, const plmm_store_note *notes,
                             uint32_t n, plmm_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (notes[i].len > PLMM_STORE_RECORD_MAX) {
            return plmm_fail(err, PLMM_ERR_RANGE, "a note '%s' of %zu octets cannot be kept",
                             notes[i].name, notes[i].len);
        }
        PLMM_TRY(PLMM_DB_RUN(s->db, err, "INSERT OR REPLACE INTO notes VALUES(?1, ?2, ?3)",
                             plmm_arg_s(expert), plmm_arg_s(notes[i].name),
                             plmm_arg_b(notes[i].bytes, notes[i].len)));
    }
    return PLMM_OK;
}

plmm_status plmm_store_round_upload(plmm_store *s, const char *expert, uint64_t seq,
                                    const uint8_t *record, size_t len, const uint8_t *vector,
                                    size_t vector_len, const plmm_store_note *notes,
                                    uint32_t notes_n, plmm_error *err)
{
    PLMM_TRY(plmm_db_begin(s->db, err));
    plmm_status rc = append(s, expert, seq, record, len, err);
    rc = rc == PLMM_OK ? upload(s, expert, vector, vector_len, err) : rc;
    rc = rc == PLMM_OK ? put_notes(s, expert, notes, notes_n, err) : rc;
    return plmm_db_end(s->db, rc, err);
}

plmm_status plmm_store_note_get(plmm_store *s, const char *expert, const char *name,
                                uint8_t **bytes, size_t *len, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(expert), plmm_arg_s(name)};
    plmm_rows *r = NULL;
    bool more = false;
    uint8_t *copy = NULL;
    size_t n = 0;
    PLMM_TRY(plmm_db_query(s->db, "SELECT value FROM notes WHERE expert = ?1 AND name = ?2", args,
                           2, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && more) {
        const void *p = plmm_rows_b(r, 0, &n);
        copy = plmm_alloc(n > 0 ? n : 1, 1);
        rc = copy != NULL ? PLMM_OK
                          : plmm_fail(err, PLMM_ERR_NOMEM,
                                      "cannot read a note of %zu octets: out of memory", n);
        if (copy != NULL && p != NULL) {
            memcpy(copy, p, n);
        }
    }
    plmm_rows_close(r);
    if (rc == PLMM_OK) {
        *bytes = copy;
        *len = n;
    }
    return rc;
}

plmm_status plmm_store_round_each(plmm_store *s, const char *expert, plmm_store_record visit,
                                  void *ctx, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(expert)};
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc = plmm_db_query(
        s->db, "SELECT seq, record FROM journal WHERE expert = ?1 ORDER BY seq", args, 1, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        size_t len = 0;
        const uint8_t *record = plmm_rows_b(r, 1, &len);
        rc = visit(ctx, (uint64_t)plmm_rows_i(r, 0), record, len, err);
    }
    plmm_rows_close(r);
    return rc;
}

plmm_status plmm_store_round_vector(plmm_store *s, const char *expert, uint8_t **vector,
                                    size_t *len, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(expert)};
    plmm_rows *r = NULL;
    bool more = false;
    uint8_t *copy = NULL;
    size_t n = 0;
    PLMM_TRY(
        plmm_db_query(s->db, "SELECT vector FROM uploads WHERE expert = ?1", args, 1, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && !more) {
        rc = plmm_fail(err, PLMM_ERR_NOTFOUND, "the round with expert %s has no masked vector yet",
                       expert);
    } else if (rc == PLMM_OK) {
        const void *p = plmm_rows_b(r, 0, &n);
        copy = plmm_alloc(n, 1);
        if (copy != NULL && p != NULL) {
            memcpy(copy, p, n);
        }
        rc = copy != NULL
                 ? PLMM_OK
                 : plmm_fail(err, PLMM_ERR_NOMEM,
                             "cannot read a masked vector of %zu octets: out of memory", n);
    }
    plmm_rows_close(r);
    if (rc == PLMM_OK) {
        *vector = copy;
        *len = n;
    }
    return rc;
}

static plmm_status note(plmm_store *s, const char *expert, const plmm_store_outcome *o,
                        plmm_error *err)
{
    plmm_store_expert x;
    PLMM_TRY(plmm_store_expert_get(s, expert, &x, err));
    if (o->round < x.last_round || (o->round == x.last_round && o->attempt <= x.last_attempt)) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "round %" PRIu64 " attempt %u of expert %s ended already: the last was "
                         "round %" PRIu64 " attempt %u",
                         o->round, o->attempt, expert, x.last_round, x.last_attempt);
    }
    PLMM_TRY(PLMM_DB_RUN(s->db, err,
                         "UPDATE experts SET last_round = ?2, last_attempt = ?3 WHERE name = ?1",
                         plmm_arg_s(expert), plmm_arg_u(o->round), plmm_arg_u(o->attempt)));
    PLMM_TRY(PLMM_DB_RUN(s->db, err,
                         "INSERT INTO rounds(expert, round, attempt, reason, survivors, time, text)"
                         " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                         plmm_arg_s(expert), plmm_arg_u(o->round), plmm_arg_u(o->attempt),
                         plmm_arg_u(o->reason), plmm_arg_u(o->survivors), plmm_arg_i(o->time),
                         plmm_arg_s(o->text != NULL ? o->text : "")));
    return PLMM_DB_RUN(s->db, err,
                       "DELETE FROM rounds WHERE expert = ?1 AND n <= (SELECT n FROM rounds WHERE"
                       " expert = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2)",
                       plmm_arg_s(expert), plmm_arg_i(PLMM_STORE_ROUNDS_MAX));
}

static plmm_status drop_note(plmm_store *s, const char *expert, const char *name, plmm_error *err)
{
    return PLMM_DB_RUN(s->db, err, "DELETE FROM notes WHERE expert = ?1 AND name = ?2",
                       plmm_arg_s(expert), plmm_arg_s(name));
}

/* A round that took nothing leaves what is kept. */
static plmm_status settle(plmm_store *s, const char *expert, bool completed, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(expert), plmm_arg_s(PLMM_STORE_RESIDUAL_NOW)};
    int64_t taken = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT count(*) FROM notes WHERE expert = ?1 AND name = ?2", args,
                         2, 0, &taken, err));
    if (taken == 0) {
        return PLMM_OK;
    }
    if (!completed) {
        return drop_note(s, expert, PLMM_STORE_RESIDUAL_NOW, err);
    }
    PLMM_TRY(drop_note(s, expert, PLMM_STORE_RESIDUAL, err));
    return PLMM_DB_RUN(s->db, err, "UPDATE notes SET name = ?3 WHERE expert = ?1 AND name = ?2",
                       plmm_arg_s(expert), plmm_arg_s(PLMM_STORE_RESIDUAL_NOW),
                       plmm_arg_s(PLMM_STORE_RESIDUAL));
}

plmm_status plmm_store_residual_forget(plmm_store *s, const char *expert, plmm_error *err)
{
    PLMM_TRY(plmm_db_begin(s->db, err));
    plmm_status rc = drop_note(s, expert, PLMM_STORE_RESIDUAL, err);
    rc = rc == PLMM_OK ? drop_note(s, expert, PLMM_STORE_RESIDUAL_NOW, err) : rc;
    return plmm_db_end(s->db, rc, err);
}

static plmm_status end(plmm_store *s, const char *expert, const plmm_store_outcome *o,
                       plmm_error *err)
{
    PLMM_TRY(settle(s, expert, o->reason == 0 && o->round != 0, err));
    if (o->round != 0) {
        PLMM_TRY(note(s, expert, o, err));
    }
    PLMM_TRY(PLMM_DB_RUN(s->db, err,
                         "UPDATE experts SET link_index = ?2, link = ?3 WHERE name = ?1 AND "
                         "link_index < ?2",
                         plmm_arg_s(expert), plmm_arg_u(o->link.index),
                         plmm_arg_b(o->link.value.b, sizeof o->link.value.b)));
    PLMM_TRY(put_notes(s, expert, o->notes, o->notes_n, err));
    PLMM_TRY(PLMM_DB_RUN(s->db, err, "DELETE FROM journal WHERE expert = ?1", plmm_arg_s(expert)));
    return PLMM_DB_RUN(s->db, err, "DELETE FROM uploads WHERE expert = ?1", plmm_arg_s(expert));
}

plmm_status plmm_store_round_end(plmm_store *s, const char *expert,
                                 const plmm_store_outcome *outcome, plmm_error *err)
{
    PLMM_TRY(plmm_db_begin(s->db, err));
    PLMM_TRY(plmm_db_end(s->db, end(s, expert, outcome, err), err));
    /* Another reader may hold the log open: the round has ended all the same, and what was deleted
     * is overwritten when the next round ends. */
    plmm_status rc = plmm_db_scrub(s->db, err);
    return rc == PLMM_ERR_STATE ? PLMM_OK : rc;
}

plmm_status plmm_store_rounds(plmm_store *s, const char *expert, uint32_t max,
                              plmm_store_history visit, void *ctx, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(expert), plmm_arg_u(max)};
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc =
        plmm_db_query(s->db,
                      "SELECT round, attempt, reason, survivors, time, text FROM rounds"
                      " WHERE expert = ?1 ORDER BY n DESC LIMIT ?2",
                      args, 2, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        plmm_store_outcome o = {.round = (uint64_t)plmm_rows_i(r, 0),
                                .attempt = (uint32_t)plmm_rows_i(r, 1),
                                .reason = (uint32_t)plmm_rows_i(r, 2),
                                .survivors = (uint32_t)plmm_rows_i(r, 3),
                                .time = plmm_rows_i(r, 4),
                                .text = plmm_rows_s(r, 5)};
        rc = visit(ctx, &o, err);
    }
    plmm_rows_close(r);
    return rc;
}
