/* The aggregator's state: schema, settings, devices, versions, audit. */
#include "node_store_internal.h"

#include "plmm/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Unsigned 64-bit numbers stand in INTEGER columns by their bits. Only ever append steps. */
static const char *const steps[] = {
    "CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE ids(one INTEGER PRIMARY KEY CHECK(one = 1), next INTEGER NOT NULL) STRICT;"
    "INSERT INTO ids VALUES(1, 1);"
    "CREATE TABLE devices(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
    "  signature BLOB NOT NULL, label TEXT NOT NULL, time INTEGER NOT NULL,"
    "  revoked INTEGER NOT NULL) STRICT;"
    "CREATE TABLE rounds(round INTEGER NOT NULL, attempt INTEGER NOT NULL,"
    "  state INTEGER NOT NULL, reason INTEGER NOT NULL, roster INTEGER NOT NULL,"
    "  survivors INTEGER NOT NULL, liars INTEGER NOT NULL, version INTEGER NOT NULL,"
    "  begun INTEGER NOT NULL, ended INTEGER NOT NULL, bytes_up INTEGER NOT NULL,"
    "  bytes_down INTEGER NOT NULL, steps BLOB NOT NULL, text TEXT NOT NULL,"
    "  params BLOB NOT NULL, PRIMARY KEY(round, attempt)) STRICT, WITHOUT ROWID;"
    "CREATE UNIQUE INDEX one_runs ON rounds(state) WHERE state = 0;"
    "CREATE TABLE journal(seq INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;"
    "CREATE TABLE payloads(device INTEGER PRIMARY KEY, vector BLOB NOT NULL) STRICT;"
    "CREATE TABLE versions(version INTEGER PRIMARY KEY, round INTEGER NOT NULL,"
    "  manifest BLOB NOT NULL, survivors INTEGER NOT NULL, time INTEGER NOT NULL,"
    "  bytes INTEGER NOT NULL) STRICT;"
    "CREATE TABLE audit(n INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL,"
    "  event TEXT NOT NULL, device INTEGER NOT NULL, text TEXT NOT NULL) STRICT;",
    /* What ran before there was a registrar cannot go on. A device's serial is that of its last change: what follows a serial is news. */
    "ALTER TABLE devices ADD COLUMN serial INTEGER NOT NULL DEFAULT 0;"
    "UPDATE devices SET serial = id;"
    "CREATE TABLE serials(one INTEGER PRIMARY KEY CHECK(one = 1), last INTEGER NOT NULL) STRICT;"
    "INSERT INTO serials SELECT 1, coalesce(max(id), 0) FROM devices;"
    "CREATE INDEX devices_by_serial ON devices(serial);"
    "CREATE TABLE seals(n INTEGER PRIMARY KEY, round INTEGER NOT NULL, record BLOB NOT NULL UNIQUE,"
    "  time INTEGER NOT NULL) STRICT;"
    "DELETE FROM rounds; DELETE FROM journal; DELETE FROM payloads;"
    "ALTER TABLE rounds ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;",
    "CREATE TABLE barred(device INTEGER PRIMARY KEY, until INTEGER NOT NULL) STRICT;",
    "CREATE TABLE part(device INTEGER PRIMARY KEY, round INTEGER NOT NULL) STRICT;",
    "CREATE TABLE epoch(one INTEGER PRIMARY KEY CHECK(one = 1), epoch BLOB NOT NULL) STRICT;",
};
static const plmm_db_schema schema = {.name = "aggregator state",
                                      .application = 0x706c6d41, /* "plmA" */
                                      .step = steps,
                                      .steps = sizeof steps / sizeof steps[0]};

plmm_status plmm_node_open(const char *path, plmm_node_store **out, plmm_error *err)
{
    plmm_node_store *s = plmm_alloc(1, sizeof *s);
    if (s == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot open %s: out of memory", path);
    }
    plmm_status rc = plmm_db_open(path, &schema, &s->db, err);
    if (rc != PLMM_OK) {
        plmm_free(s);
        return rc;
    }
    *out = s;
    return PLMM_OK;
}

void plmm_node_close(plmm_node_store *s)
{
    if (s != NULL) {
        plmm_db_close(s->db);
        plmm_free(s);
    }
}

plmm_status plmm_node_begin(plmm_node_store *s, plmm_error *err)
{
    PLMM_ASSERT(!s->open);
    PLMM_TRY(plmm_db_begin(s->db, err));
    s->open = true;
    return PLMM_OK;
}

plmm_status plmm_node_end(plmm_node_store *s, plmm_status rc, plmm_error *err)
{
    PLMM_ASSERT(s->open);
    s->open = false;
    return plmm_db_end(s->db, rc, err);
}

plmm_status plmm__node_enter(plmm_node_store *s, plmm_error *err)
{
    return s->open ? PLMM_OK : plmm_db_begin(s->db, err);
}

plmm_status plmm__node_leave(plmm_node_store *s, plmm_status rc, plmm_error *err)
{
    return s->open ? rc : plmm_db_end(s->db, rc, err);
}

/* ---- settings ---- */

plmm_status plmm_node_set(plmm_node_store *s, const char *name, const char *value, plmm_error *err)
{
    return PLMM_DB_RUN(s->db, err, "INSERT OR REPLACE INTO settings VALUES(?1, ?2)",
                       plmm_arg_s(name), plmm_arg_s(value));
}

plmm_status plmm_node_get(plmm_node_store *s, const char *name, char **value, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(name)};
    plmm_rows *r = NULL;
    bool more = false;
    char *copy = NULL;
    PLMM_TRY(plmm_db_query(s->db, "SELECT value FROM settings WHERE name = ?1", args, 1, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && more && (copy = plmm_strdup(plmm_rows_s(r, 0))) == NULL) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM, "cannot read the setting %.60s: out of memory", name);
    }
    plmm_rows_close(r);
    if (rc == PLMM_OK) {
        *value = copy;
    }
    return rc;
}

/* ---- devices ---- */

static plmm_status take_id(plmm_node_store *s, uint64_t *id, plmm_error *err)
{
    int64_t next = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT next FROM ids", NULL, 0, 1, &next, err));
    PLMM_TRY(plmm_db_run(s->db, "UPDATE ids SET next = next + 1", NULL, 0, err));
    *id = (uint64_t)next;
    return PLMM_OK;
}

plmm_status plmm_node_device_next(plmm_node_store *s, uint64_t *id, plmm_error *err)
{
    uint64_t got = 0;
    PLMM_TRY(plmm__node_enter(s, err));
    PLMM_TRY(plmm__node_leave(s, take_id(s, &got, err), err));
    *id = got;
    return PLMM_OK;
}

static plmm_status next_serial(plmm_node_store *s, plmm_error *err)
{
    return plmm_db_run(s->db, "UPDATE serials SET last = last + 1", NULL, 0, err);
}

static plmm_status add_device(plmm_node_store *s, const plmm_certificate *c, const char *label,
                              int64_t time_ms, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(c->device), plmm_arg_b(c->key.b, sizeof c->key.b)};
    int64_t there = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT id FROM devices WHERE id = ?1 OR key = ?2", args, 2, 0,
                         &there, err));
    if (there != 0) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "device %" PRIu64 " cannot be enrolled: %s is enrolled already as device "
                         "%" PRId64,
                         c->device, (uint64_t)there == c->device ? "it" : "its key", there);
    }
    PLMM_TRY(next_serial(s, err));
    PLMM_TRY(PLMM_DB_RUN(s->db, err,
                         "INSERT INTO devices VALUES(?1, ?2, ?3, ?4, ?5, 0, (SELECT last FROM "
                         "serials))",
                         plmm_arg_u(c->device), plmm_arg_b(c->key.b, sizeof c->key.b),
                         plmm_arg_b(c->signature.b, sizeof c->signature.b), plmm_arg_s(label),
                         plmm_arg_i(time_ms)));
    return PLMM_DB_RUN(s->db, err, "UPDATE ids SET next = max(next, ?1 + 1)",
                       plmm_arg_u(c->device));
}

plmm_status plmm_node_device_add(plmm_node_store *s, const plmm_certificate *c, const char *label,
                                 int64_t time_ms, plmm_error *err)
{
    PLMM_TRY(plmm__node_enter(s, err));
    return plmm__node_leave(s, add_device(s, c, label, time_ms, err), err);
}

static plmm_status read_device(const plmm_rows *r, uint64_t id, plmm_certificate *out,
                               plmm_error *err)
{
    if (plmm_rows_i(r, 2) != 0) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND, "device %" PRIu64 " was revoked", id);
    }
    out->device = id;
    PLMM_TRY(plmm_rows_copy(r, 0, &out->key, sizeof out->key, err));
    return plmm_rows_copy(r, 1, &out->signature, sizeof out->signature, err);
}

plmm_status plmm_node_device_get(plmm_node_store *s, uint64_t id, plmm_certificate *out,
                                 plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(id)};
    plmm_rows *r = NULL;
    bool more = false;
    plmm_certificate got = {0};
    PLMM_TRY(plmm_db_query(s->db, "SELECT key, signature, revoked FROM devices WHERE id = ?1", args,
                           1, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK) {
        rc = more ? read_device(r, id, &got, err)
                  : plmm_fail(err, PLMM_ERR_NOTFOUND, "device %" PRIu64 " is not enrolled", id);
    }
    plmm_rows_close(r);
    if (rc == PLMM_OK) {
        *out = got;
    }
    return rc;
}

static plmm_status revoke(plmm_node_store *s, uint64_t id, plmm_error *err)
{
    PLMM_TRY(next_serial(s, err));
    PLMM_TRY(PLMM_DB_RUN(s->db, err,
                         "UPDATE devices SET revoked = 1, serial = (SELECT last FROM serials) "
                         "WHERE id = ?1",
                         plmm_arg_u(id)));
    return plmm_db_changes(s->db) == 1
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_NOTFOUND, "device %" PRIu64 " is not enrolled", id);
}

plmm_status plmm_node_device_revoke(plmm_node_store *s, uint64_t id, plmm_error *err)
{
    PLMM_TRY(plmm__node_enter(s, err));
    return plmm__node_leave(s, revoke(s, id, err), err);
}

plmm_status plmm_node_device_serial(plmm_node_store *s, uint64_t *serial, plmm_error *err)
{
    int64_t last = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT last FROM serials", NULL, 0, 0, &last, err));
    *serial = (uint64_t)last;
    return PLMM_OK;
}

static plmm_status take_device(plmm_node_store *s, const plmm_node_device *d, int64_t time_ms,
                               plmm_error *err)
{
    PLMM_TRY(PLMM_DB_RUN(
        s->db, err,
        "INSERT INTO devices VALUES(?1, ?2, ?3, '', ?4, ?5, ?6) ON CONFLICT(id) DO UPDATE SET "
        "key = excluded.key, signature = excluded.signature, revoked = excluded.revoked, "
        "serial = excluded.serial",
        plmm_arg_u(d->certificate.device),
        plmm_arg_b(d->certificate.key.b, sizeof d->certificate.key.b),
        plmm_arg_b(d->certificate.signature.b, sizeof d->certificate.signature.b),
        plmm_arg_i(time_ms), plmm_arg_i(d->revoked), plmm_arg_u(d->serial)));
    return PLMM_DB_RUN(s->db, err, "UPDATE serials SET last = max(last, ?1)",
                       plmm_arg_u(d->serial));
}

plmm_status plmm_node_device_take(plmm_node_store *s, const plmm_node_device *d, int64_t time_ms,
                                  plmm_error *err)
{
    PLMM_TRY(plmm__node_enter(s, err));
    return plmm__node_leave(s, take_device(s, d, time_ms, err), err);
}

plmm_status plmm_node_devices_after(plmm_node_store *s, uint64_t serial, uint32_t max,
                                    plmm_node_visit_device visit, void *ctx, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(serial), plmm_arg_u(max)};
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc = plmm_db_query(s->db,
                                   "SELECT id, key, signature, revoked, serial FROM devices WHERE "
                                   "serial > ?1 ORDER BY serial LIMIT ?2",
                                   args, 2, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        plmm_node_device d = {.certificate.device = (uint64_t)plmm_rows_i(r, 0),
                              .revoked = plmm_rows_i(r, 3) != 0,
                              .serial = (uint64_t)plmm_rows_i(r, 4)};
        rc = plmm_rows_copy(r, 1, &d.certificate.key, sizeof d.certificate.key, err);
        rc = rc == PLMM_OK ? plmm_rows_copy(r, 2, &d.certificate.signature,
                                            sizeof d.certificate.signature, err)
                           : rc;
        rc = rc == PLMM_OK ? visit(ctx, &d, err) : rc;
    }
    plmm_rows_close(r);
    return rc;
}

/* The ids that a query gives, which are at most `in`, in a new block. */
static plmm_status read_ids(plmm_node_store *s, const char *sql, const plmm_arg *args,
                            size_t args_n, uint64_t in, uint64_t **ids, uint32_t *n,
                            plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    uint32_t got = 0;
    uint64_t *v = plmm_alloc(in > 0 ? (size_t)in : 1, sizeof *v);
    if (v == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %" PRIu64 " devices", in);
    }
    plmm_status rc = plmm_db_query(s->db, sql, args, args_n, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more && got < in) {
        v[got++] = (uint64_t)plmm_rows_i(r, 0);
    }
    plmm_rows_close(r);
    if (rc != PLMM_OK) {
        plmm_free(v);
        return rc;
    }
    *ids = v;
    *n = got;
    return PLMM_OK;
}

plmm_status plmm_node_enrolled(plmm_node_store *s, uint64_t **ids, uint32_t *n, plmm_error *err)
{
    uint64_t in = 0, out = 0;
    PLMM_TRY(plmm_node_device_count(s, &in, &out, err));
    return read_ids(s, "SELECT id FROM devices WHERE revoked = 0 ORDER BY id", NULL, 0, in, ids, n,
                    err);
}

plmm_status plmm_node_part_note(plmm_node_store *s, uint64_t round, plmm_error *err)
{
    return PLMM_DB_RUN(s->db, err, "INSERT OR IGNORE INTO part SELECT device, ?1 FROM payloads",
                       plmm_arg_u(round));
}

plmm_status plmm_node_part_before(plmm_node_store *s, uint64_t round, uint64_t **ids, uint32_t *n,
                                  plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(round)};
    int64_t in = 0;
    PLMM_TRY(
        plmm_db_int(s->db, "SELECT count(*) FROM part WHERE round < ?1", args, 1, 0, &in, err));
    return read_ids(s, "SELECT device FROM part WHERE round < ?1 ORDER BY device", args, 1,
                    (uint64_t)in, ids, n, err);
}

plmm_status plmm_node_part_clear(plmm_node_store *s, plmm_error *err)
{
    return plmm_db_run(s->db, "DELETE FROM part", NULL, 0, err);
}

plmm_status plmm_node_device_count(plmm_node_store *s, uint64_t *enrolled, uint64_t *revoked,
                                   plmm_error *err)
{
    int64_t in = 0, out = 0;
    PLMM_TRY(
        plmm_db_int(s->db, "SELECT count(*) FROM devices WHERE revoked = 0", NULL, 0, 0, &in, err));
    PLMM_TRY(plmm_db_int(s->db, "SELECT count(*) FROM devices WHERE revoked <> 0", NULL, 0, 0, &out,
                         err));
    *enrolled = (uint64_t)in;
    *revoked = (uint64_t)out;
    return PLMM_OK;
}

plmm_status plmm_node_device_bar(plmm_node_store *s, uint64_t id, uint64_t until, plmm_error *err)
{
    return PLMM_DB_RUN(s->db, err, "INSERT OR REPLACE INTO barred VALUES(?1, ?2)", plmm_arg_u(id),
                       plmm_arg_u(until));
}

plmm_status plmm_node_device_barred(plmm_node_store *s, uint64_t id, uint64_t round,
                                    plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(id)};
    int64_t until = 0;
    PLMM_TRY(
        plmm_db_int(s->db, "SELECT until FROM barred WHERE device = ?1", args, 1, 0, &until, err));
    return (uint64_t)until < round
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_STATE,
                           "device %" PRIu64 " made a round fail and is left out up to round "
                           "%" PRId64,
                           id, until);
}

/* ---- seals ---- */

static plmm_status add_seal(plmm_node_store *s, uint64_t n, uint64_t round, const uint8_t *record,
                            size_t len, int64_t time_ms, plmm_error *err)
{
    uint64_t there = 0;
    PLMM_TRY(plmm_node_seal_count(s, &there, err));
    if (there != n) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "%" PRIu64 " seals are written down where %" PRIu64
                         " were expected: another registrar runs on this state",
                         there, n);
    }
    return PLMM_DB_RUN(s->db, err, "INSERT INTO seals VALUES(?1, ?2, ?3, ?4)", plmm_arg_u(n + 1),
                       plmm_arg_u(round), plmm_arg_b(record, len), plmm_arg_i(time_ms));
}

plmm_status plmm_node_seal_add(plmm_node_store *s, uint64_t n, uint64_t round,
                               const uint8_t *record, size_t len, int64_t time_ms, plmm_error *err)
{
    PLMM_TRY(plmm__node_enter(s, err));
    return plmm__node_leave(s, add_seal(s, n, round, record, len, time_ms, err), err);
}

plmm_status plmm_node_seal_count(plmm_node_store *s, uint64_t *n, plmm_error *err)
{
    int64_t count = 0;
    PLMM_TRY(plmm_db_int(s->db, "SELECT count(*) FROM seals", NULL, 0, 0, &count, err));
    *n = (uint64_t)count;
    return PLMM_OK;
}

plmm_status plmm_node_seals_last(plmm_node_store *s, plmm_node_visit_seal visit, void *ctx,
                                 plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc = plmm_db_query(s->db,
                                   "SELECT round, record, time FROM seals WHERE round = (SELECT "
                                   "max(round) FROM seals) ORDER BY n",
                                   NULL, 0, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        size_t len = 0;
        const uint8_t *record = plmm_rows_b(r, 1, &len);
        rc = visit(ctx, (uint64_t)plmm_rows_i(r, 0), record, len, plmm_rows_i(r, 2), err);
    }
    plmm_rows_close(r);
    return rc;
}

/* ---- versions ---- */

plmm_status plmm_node_version_put(plmm_node_store *s, const plmm_node_version *v, plmm_error *err)
{
    return PLMM_DB_RUN(s->db, err, "INSERT OR REPLACE INTO versions VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                       plmm_arg_u(v->version), plmm_arg_u(v->round),
                       plmm_arg_b(v->manifest.b, sizeof v->manifest.b), plmm_arg_u(v->survivors),
                       plmm_arg_i(v->time_ms), plmm_arg_u(v->bytes));
}

plmm_status plmm_node_versions(plmm_node_store *s, uint32_t max, plmm_node_visit_version visit,
                               void *ctx, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(max)};
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc = plmm_db_query(s->db,
                                   "SELECT version, round, manifest, survivors, time, bytes FROM "
                                   "versions ORDER BY version DESC LIMIT ?1",
                                   args, 1, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        plmm_node_version v = {.version = (uint64_t)plmm_rows_i(r, 0),
                               .round = (uint64_t)plmm_rows_i(r, 1),
                               .survivors = (uint32_t)plmm_rows_i(r, 3),
                               .time_ms = plmm_rows_i(r, 4),
                               .bytes = (uint64_t)plmm_rows_i(r, 5)};
        rc = plmm_rows_copy(r, 2, &v.manifest, sizeof v.manifest, err);
        rc = rc == PLMM_OK ? visit(ctx, &v, err) : rc;
    }
    plmm_rows_close(r);
    return rc;
}

/* ---- audit ---- */

static plmm_status add_audit(plmm_node_store *s, int64_t time_ms, const char *event,
                             uint64_t device, const char *text, plmm_error *err)
{
    PLMM_TRY(PLMM_DB_RUN(
        s->db, err, "INSERT INTO audit(time, event, device, text) VALUES(?1, ?2, ?3, ?4)",
        plmm_arg_i(time_ms), plmm_arg_s(event), plmm_arg_u(device), plmm_arg_s(text)));
    return PLMM_DB_RUN(s->db, err, "DELETE FROM audit WHERE n <= ?1",
                       plmm_arg_i(plmm_db_last_id(s->db) - PLMM_NODE_AUDIT_MAX));
}

plmm_status plmm_node_audit(plmm_node_store *s, int64_t time_ms, const char *event, uint64_t device,
                            const char *text, plmm_error *err)
{
    PLMM_TRY(plmm__node_enter(s, err));
    return plmm__node_leave(s, add_audit(s, time_ms, event, device, text, err), err);
}

plmm_status plmm_node_audits(plmm_node_store *s, uint32_t max, plmm_node_visit_audit visit,
                             void *ctx, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(max)};
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc =
        plmm_db_query(s->db, "SELECT time, event, device, text FROM audit ORDER BY n DESC LIMIT ?1",
                      args, 1, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        rc = visit(ctx, plmm_rows_i(r, 0), plmm_rows_s(r, 1), (uint64_t)plmm_rows_i(r, 2),
                   plmm_rows_s(r, 3), err);
    }
    plmm_rows_close(r);
    return rc;
}
