/* The device's state: schema, settings, experts. */
#include "plmm/store.h"

#include "plmm/alloc.h"
#include "store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Unsigned 64-bit numbers stand in INTEGER columns by their bits. Only ever append steps. */
static const char *const steps[] = {
    "CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    /* AUTOINCREMENT: an id is never used again, so that a verdict never means another text. */
    "CREATE TABLE dialogues(id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL,"
    "  domain TEXT NOT NULL, prompt TEXT NOT NULL, response TEXT NOT NULL,"
    "  time INTEGER NOT NULL) STRICT;"
    "CREATE TABLE bins(bin INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE REFERENCES dialogues,"
    "  arrival INTEGER NOT NULL, replaced INTEGER, domain TEXT NOT NULL, eoe REAL NOT NULL,"
    "  dss REAL NOT NULL, idd REAL NOT NULL, embedding BLOB NOT NULL) STRICT;"
    "CREATE TABLE buffer(one INTEGER PRIMARY KEY CHECK(one = 1), rng BLOB NOT NULL,"
    "  arrivals INTEGER NOT NULL) STRICT;"
    "CREATE TABLE verdicts(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, rule INTEGER NOT NULL,"
    "  metrics INTEGER NOT NULL, bin INTEGER NOT NULL, domain TEXT NOT NULL, eoe REAL NOT NULL,"
    "  dss REAL NOT NULL, idd REAL NOT NULL, peers INTEGER NOT NULL, bins INTEGER NOT NULL,"
    "  higher_eoe INTEGER NOT NULL, higher_dss INTEGER NOT NULL, higher_idd INTEGER NOT NULL,"
    "  candidates INTEGER NOT NULL, replaced INTEGER NOT NULL, replaced_domain TEXT NOT NULL,"
    "  replaced_eoe REAL NOT NULL, replaced_dss REAL NOT NULL,"
    "  replaced_idd REAL NOT NULL) STRICT;"
    "CREATE TABLE experts(name TEXT PRIMARY KEY, aggregator BLOB NOT NULL, registrar BLOB NOT NULL,"
    "  device INTEGER NOT NULL, key BLOB NOT NULL, signature BLOB NOT NULL, address TEXT NOT NULL,"
    "  version INTEGER NOT NULL, manifest BLOB NOT NULL, last_round INTEGER NOT NULL,"
    "  last_attempt INTEGER NOT NULL, bytes_up INTEGER NOT NULL,"
    "  bytes_down INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE journal(expert TEXT NOT NULL REFERENCES experts, seq INTEGER NOT NULL,"
    "  record BLOB NOT NULL, PRIMARY KEY(expert, seq)) STRICT;"
    "CREATE TABLE uploads(expert TEXT PRIMARY KEY REFERENCES experts, vector BLOB NOT NULL) STRICT;"
    "CREATE TABLE rounds(n INTEGER PRIMARY KEY AUTOINCREMENT, expert TEXT NOT NULL REFERENCES "
    "  experts, round INTEGER NOT NULL, attempt INTEGER NOT NULL, reason INTEGER NOT NULL,"
    "  survivors INTEGER NOT NULL, time INTEGER NOT NULL, text TEXT NOT NULL) STRICT;"
    "CREATE INDEX rounds_of ON rounds(expert, n);",
    /* An expert that was followed before it had a chain has to be enrolled with anew: no round with
     * it would be believed. Notes are what a round needs of the ones before, by name. */
    "ALTER TABLE experts ADD COLUMN link_index INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE experts ADD COLUMN link BLOB NOT NULL DEFAULT x'';"
    "UPDATE experts SET link = zeroblob(32);"
    "CREATE TABLE notes(expert TEXT NOT NULL REFERENCES experts, name TEXT NOT NULL,"
    "  value BLOB NOT NULL, PRIMARY KEY(expert, name)) STRICT, WITHOUT ROWID;",
};
static const plmm_db_schema schema = {.name = "device state",
                                      .application = 0x706c6d44, /* "plmD" */
                                      .step = steps,
                                      .steps = sizeof steps / sizeof steps[0]};

plmm_status plmm_store_open(const char *path, plmm_store **out, plmm_error *err)
{
    plmm_store *s = plmm_alloc(1, sizeof *s);
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

void plmm_store_close(plmm_store *s)
{
    if (s != NULL) {
        plmm_db_close(s->db);
        plmm_free(s);
    }
}

/* ---- settings ---- */

plmm_status plmm_store_set(plmm_store *s, const char *name, const char *value, plmm_error *err)
{
    if (name[0] == '\0' || strlen(name) > PLMM_STORE_NAME_MAX ||
        (value != NULL && strlen(value) > PLMM_STORE_TEXT_MAX)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the setting '%.60s' cannot be kept: its name may have 1 to %d octets and "
                         "its value %d",
                         name, PLMM_STORE_NAME_MAX, PLMM_STORE_TEXT_MAX);
    }
    if (value == NULL) {
        return PLMM_DB_RUN(s->db, err, "DELETE FROM settings WHERE name = ?1", plmm_arg_s(name));
    }
    return PLMM_DB_RUN(s->db, err, "INSERT OR REPLACE INTO settings VALUES(?1, ?2)",
                       plmm_arg_s(name), plmm_arg_s(value));
}

plmm_status plmm_store_get(plmm_store *s, const char *name, char **value, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(name)};
    plmm_rows *r = NULL;
    bool more = false;
    char *copy = NULL;
    PLMM_TRY(plmm_db_query(s->db, "SELECT value FROM settings WHERE name = ?1", args, 1, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && more) {
        copy = plmm_strdup(plmm_rows_s(r, 0));
        rc = copy != NULL ? PLMM_OK
                          : plmm_fail(err, PLMM_ERR_NOMEM,
                                      "cannot read the setting '%.60s': out of "
                                      "memory",
                                      name);
    }
    plmm_rows_close(r);
    if (rc == PLMM_OK) {
        *value = copy;
    }
    return rc;
}

/* ---- experts ---- */

static plmm_status no_expert(const char *name, plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_NOTFOUND,
                     "this device is not enrolled with an expert '%.60s': enroll it first", name);
}

static plmm_status read_expert(const plmm_rows *r, const char *name, plmm_store_expert *x,
                               plmm_error *err)
{
    memset(x, 0, sizeof *x);
    (void)snprintf(x->anchor.expert, sizeof x->anchor.expert, "%s", name);
    (void)snprintf(x->address, sizeof x->address, "%s", plmm_rows_s(r, 5));
    x->certificate.device = (uint64_t)plmm_rows_i(r, 2);
    x->version = (uint64_t)plmm_rows_i(r, 6);
    x->last_round = (uint64_t)plmm_rows_i(r, 8);
    x->last_attempt = (uint32_t)plmm_rows_i(r, 9);
    x->bytes_up = (uint64_t)plmm_rows_i(r, 10);
    x->bytes_down = (uint64_t)plmm_rows_i(r, 11);
    x->anchor.link.index = (uint64_t)plmm_rows_i(r, 12);
    PLMM_TRY(plmm_rows_copy(r, 13, &x->anchor.link.value, sizeof x->anchor.link.value, err));
    PLMM_TRY(plmm_rows_copy(r, 0, &x->anchor.aggregator, sizeof x->anchor.aggregator, err));
    PLMM_TRY(plmm_rows_copy(r, 1, &x->anchor.registrar, sizeof x->anchor.registrar, err));
    PLMM_TRY(plmm_rows_copy(r, 3, &x->certificate.key, sizeof x->certificate.key, err));
    PLMM_TRY(plmm_rows_copy(r, 4, &x->certificate.signature, sizeof x->certificate.signature, err));
    return plmm_rows_copy(r, 7, &x->manifest, sizeof x->manifest, err);
}

plmm_status plmm_store_expert_get(plmm_store *s, const char *name, plmm_store_expert *x,
                                  plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_s(name)};
    plmm_rows *r = NULL;
    bool more = false;
    plmm_store_expert got;
    PLMM_TRY(plmm_db_query(s->db,
                           "SELECT aggregator, registrar, device, key, signature, address, version,"
                           " manifest, last_round, last_attempt, bytes_up, bytes_down,"
                           " link_index, link FROM experts WHERE name = ?1",
                           args, 1, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK) {
        rc = more ? read_expert(r, name, &got, err) : no_expert(name, err);
    }
    plmm_rows_close(r);
    if (rc == PLMM_OK) {
        *x = got;
    }
    return rc;
}

static bool same_keys(const plmm_store_expert *a, const plmm_store_expert *b)
{
    return memcmp(&a->anchor.aggregator, &b->anchor.aggregator, sizeof a->anchor.aggregator) == 0 &&
           memcmp(&a->anchor.registrar, &b->anchor.registrar, sizeof a->anchor.registrar) == 0 &&
           memcmp(&a->certificate.key, &b->certificate.key, sizeof a->certificate.key) == 0 &&
           a->certificate.device == b->certificate.device;
}

plmm_status plmm_store_expert_add(plmm_store *s, const plmm_store_expert *x, plmm_error *err)
{
    plmm_store_expert old;
    const char *name = x->anchor.expert;
    PLMM_TRY(plmm_expert_check(name, err));
    plmm_status rc = plmm_store_expert_get(s, name, &old, err);
    if (rc == PLMM_OK) {
        return same_keys(&old, x)
                   ? PLMM_DB_RUN(s->db, err, "UPDATE experts SET address = ?2 WHERE name = ?1",
                                 plmm_arg_s(name), plmm_arg_s(x->address))
                   : plmm_fail(
                         err, PLMM_ERR_STATE,
                         "this device is enrolled with expert %s under other keys: remove its "
                         "state to enroll anew",
                         name);
    }
    if (rc != PLMM_ERR_NOTFOUND) {
        return rc;
    }
    return PLMM_DB_RUN(
        s->db, err,
        "INSERT INTO experts VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
        "?14, ?15)",
        plmm_arg_s(name), plmm_arg_b(x->anchor.aggregator.b, sizeof x->anchor.aggregator.b),
        plmm_arg_b(x->anchor.registrar.b, sizeof x->anchor.registrar.b),
        plmm_arg_u(x->certificate.device),
        plmm_arg_b(x->certificate.key.b, sizeof x->certificate.key.b),
        plmm_arg_b(x->certificate.signature.b, sizeof x->certificate.signature.b),
        plmm_arg_s(x->address), plmm_arg_u(x->version),
        plmm_arg_b(x->manifest.b, sizeof x->manifest.b), plmm_arg_u(x->last_round),
        plmm_arg_u(x->last_attempt), plmm_arg_u(x->bytes_up), plmm_arg_u(x->bytes_down),
        plmm_arg_u(x->anchor.link.index),
        plmm_arg_b(x->anchor.link.value.b, sizeof x->anchor.link.value.b));
}

plmm_status plmm_store_experts(plmm_store *s, char (*names)[PLMM_EXPERT_MAX + 1], size_t cap,
                               size_t *n, plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    size_t got = 0;
    plmm_status rc =
        plmm_db_query(s->db, "SELECT name FROM experts ORDER BY name", NULL, 0, &r, err);
    while (rc == PLMM_OK && got < cap && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        (void)snprintf(names[got], PLMM_EXPERT_MAX + 1, "%s", plmm_rows_s(r, 0));
        got++;
    }
    plmm_rows_close(r);
    if (rc == PLMM_OK) {
        *n = got;
    }
    return rc;
}

plmm_status plmm_store_expert_use(plmm_store *s, const char *name, uint64_t version,
                                  const plmm_hash *manifest, plmm_error *err)
{
    plmm_store_expert x;
    PLMM_TRY(plmm_store_expert_get(s, name, &x, err));
    if (version < x.version) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "version %" PRIu64 " of expert %s is older than version %" PRIu64
                         ", which is in use",
                         version, name, x.version);
    }
    if (version == x.version && memcmp(&x.manifest, manifest, sizeof x.manifest) != 0) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "version %" PRIu64 " of expert %s is in use with another manifest",
                         version, name);
    }
    return PLMM_DB_RUN(s->db, err, "UPDATE experts SET version = ?2, manifest = ?3 WHERE name = ?1",
                       plmm_arg_s(name), plmm_arg_u(version),
                       plmm_arg_b(manifest->b, sizeof manifest->b));
}

plmm_status plmm_store_expert_traffic(plmm_store *s, const char *name, uint64_t up, uint64_t down,
                                      plmm_error *err)
{
    PLMM_TRY(PLMM_DB_RUN(s->db, err,
                         "UPDATE experts SET bytes_up = bytes_up + ?2, bytes_down = bytes_down + ?3"
                         " WHERE name = ?1",
                         plmm_arg_s(name), plmm_arg_u(up), plmm_arg_u(down)));
    return plmm_db_changes(s->db) == 1 ? PLMM_OK : no_expert(name, err);
}
