/* The device's state: selected dialogues, the buffer's bins, and why each offer went as it did. */
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- offering ---- */

static plmm_status check_texts(const plmm_store_dialogue *d, plmm_error *err)
{
    if (strlen(d->prompt) > PLMM_STORE_TEXT_MAX || strlen(d->response) > PLMM_STORE_TEXT_MAX ||
        strlen(d->user) > PLMM_STORE_NAME_MAX || strlen(d->domain) > PLMM_STORE_NAME_MAX) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "the dialogue cannot be kept: prompt and response may have %d octets, user "
            "and domain %d",
            PLMM_STORE_TEXT_MAX, PLMM_STORE_NAME_MAX);
    }
    return PLMM_OK;
}

static plmm_status save_state(plmm_store *s, const plmm_buffer *b, plmm_error *err)
{
    plmm_buffer_state state = plmm_buffer_state_get(b);
    uint8_t rng[32];
    for (size_t i = 0; i < 4; i++) {
        plmm_store_le64(rng + 8 * i, state.rng.s[i]);
    }
    return PLMM_DB_RUN(s->db, err, "INSERT OR REPLACE INTO buffer VALUES(1, ?1, ?2)",
                       plmm_arg_b(rng, sizeof rng), plmm_arg_u(state.arrivals));
}

static plmm_status save_bin(plmm_store *s, const plmm_buffer *b, uint32_t i,
                            const plmm_lexicons *lexicons, plmm_error *err)
{
    plmm_bin bin = plmm_buffer_get(b, i);
    uint32_t dim = plmm_buffer_cfg(b)->dim;
    return PLMM_DB_RUN(
        s->db, err, "INSERT OR REPLACE INTO bins VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        plmm_arg_u(i), plmm_arg_u(bin.id), plmm_arg_u(bin.arrival),
        bin.did_replace ? plmm_arg_u(bin.replaced) : plmm_arg_s(NULL),
        plmm_arg_s(plmm_lexicons_name(lexicons, bin.domain)), plmm_arg_d(bin.score[PLMM_EOE]),
        plmm_arg_d(bin.score[PLMM_DSS]), plmm_arg_d(bin.score[PLMM_IDD]),
        plmm_arg_b(bin.embedding, dim * sizeof *bin.embedding));
}

static plmm_status save_verdict(plmm_store *s, uint64_t id, const plmm_verdict *v,
                                const plmm_lexicons *lexicons, plmm_error *err)
{
    PLMM_TRY(PLMM_DB_RUN(
        s->db, err,
        "INSERT INTO verdicts VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,"
        " ?15, ?16, ?17, ?18, ?19, ?20)",
        plmm_arg_u(id), plmm_arg_u((uint64_t)v->kind), plmm_arg_u((uint64_t)v->rule),
        plmm_arg_u(v->metrics), plmm_arg_u(v->bin),
        plmm_arg_s(plmm_lexicons_name(lexicons, v->domain)), plmm_arg_d(v->score[0]),
        plmm_arg_d(v->score[1]), plmm_arg_d(v->score[2]), plmm_arg_u(v->peers), plmm_arg_u(v->bins),
        plmm_arg_u(v->higher[0]), plmm_arg_u(v->higher[1]), plmm_arg_u(v->higher[2]),
        plmm_arg_u(v->candidates), plmm_arg_u(v->replaced),
        plmm_arg_s(plmm_lexicons_name(lexicons, v->replaced_domain)),
        plmm_arg_d(v->replaced_score[0]), plmm_arg_d(v->replaced_score[1]),
        plmm_arg_d(v->replaced_score[2])));
    /* Of what is still buffered the verdict stays. */
    return PLMM_DB_RUN(s->db, err,
                       "DELETE FROM verdicts WHERE id <= ?1 AND id NOT IN (SELECT id FROM bins)",
                       plmm_arg_i((int64_t)id - PLMM_STORE_VERDICTS_MAX));
}

/* After the offer: what the file must hold now. The text of the new set is there already. */
static plmm_status save_offer(plmm_store *s, const plmm_buffer *b, const plmm_lexicons *lexicons,
                              uint64_t id, const plmm_verdict *v, plmm_error *err)
{
    if (v->kind == PLMM_VERDICT_LET_GO) {
        PLMM_TRY(PLMM_DB_RUN(s->db, err, "DELETE FROM dialogues WHERE id = ?1", plmm_arg_u(id)));
    } else {
        PLMM_TRY(save_bin(s, b, v->bin, lexicons, err));
    }
    if (v->kind == PLMM_VERDICT_REPLACED) {
        PLMM_TRY(PLMM_DB_RUN(s->db, err, "DELETE FROM dialogues WHERE id = ?1",
                             plmm_arg_u(v->replaced)));
    }
    PLMM_TRY(save_verdict(s, id, v, lexicons, err));
    return save_state(s, b, err);
}

plmm_status plmm_store_offer(plmm_store *s, plmm_buffer *b, const plmm_lexicons *lexicons,
                             const plmm_store_dialogue *d, const char *text, size_t len,
                             const plmm_embedding *e, plmm_verdict *verdict, uint64_t *id,
                             plmm_error *err)
{
    PLMM_TRY(check_texts(d, err));
    PLMM_TRY(plmm_db_begin(s->db, err));
    plmm_verdict v;
    uint64_t fresh = 0;
    plmm_status rc = PLMM_DB_RUN(
        s->db, err,
        "INSERT INTO dialogues(user, domain, prompt, response, time) VALUES(?1, ?2, ?3, ?4, ?5)",
        plmm_arg_s(d->user), plmm_arg_s(d->domain), plmm_arg_s(d->prompt), plmm_arg_s(d->response),
        plmm_arg_i(d->time));
    if (rc == PLMM_OK) {
        fresh = (uint64_t)plmm_db_last_id(s->db);
        rc = plmm_buffer_offer(b, fresh, text, len, e, &v, err);
    }
    if (rc == PLMM_OK) {
        rc = save_offer(s, b, lexicons, fresh, &v, err);
    }
    PLMM_TRY(plmm_db_end(s->db, rc, err));
    *verdict = v;
    if (id != NULL) {
        *id = fresh;
    }
    return PLMM_OK;
}

/* ---- loading ---- */

static plmm_status load_bin(plmm_store *s, const plmm_rows *r, const plmm_lexicons *lexicons,
                            plmm_buffer *b, plmm_error *err)
{
    (void)s;
    size_t len = 0;
    const void *e = plmm_rows_b(r, 7, &len);
    uint32_t dim = plmm_buffer_cfg(b)->dim;
    if (len != dim * sizeof(float)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the buffered embeddings have %zu numbers, this model's have %u: keep the "
                         "model that made them, or begin with a fresh buffer",
                         len / sizeof(float), dim);
    }
    plmm_bin bin = {.id = (uint64_t)plmm_rows_i(r, 0),
                    .arrival = (uint64_t)plmm_rows_i(r, 1),
                    .replaced = (uint64_t)plmm_rows_i(r, 2),
                    .did_replace = !plmm_rows_null(r, 2),
                    .domain = plmm_lexicons_find(lexicons, plmm_rows_s(r, 3)),
                    .score = {plmm_rows_d(r, 4), plmm_rows_d(r, 5), plmm_rows_d(r, 6)}};
    float *copy = plmm_alloc(dim, sizeof *copy); /* a blob is not aligned */
    if (copy == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot load the buffer: out of memory");
    }
    memcpy(copy, e, len);
    bin.embedding = copy;
    plmm_status rc = plmm_buffer_put(b, &bin, err);
    plmm_free(copy);
    return rc;
}

static plmm_status load_bins(plmm_store *s, const plmm_lexicons *lexicons, plmm_buffer *b,
                             plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc = plmm_db_query(
        s->db,
        "SELECT id, arrival, replaced, domain, eoe, dss, idd, embedding FROM bins ORDER BY bin",
        NULL, 0, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        rc = load_bin(s, r, lexicons, b, err);
    }
    plmm_rows_close(r);
    return rc;
}

static plmm_status load_state(plmm_store *s, plmm_buffer *b, plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    uint8_t rng[32];
    PLMM_TRY(plmm_db_query(s->db, "SELECT rng, arrivals FROM buffer", NULL, 0, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && more) {
        plmm_buffer_state state = {.arrivals = (uint64_t)plmm_rows_i(r, 1)};
        rc = plmm_rows_copy(r, 0, rng, sizeof rng, err);
        for (size_t i = 0; rc == PLMM_OK && i < 4; i++) {
            state.rng.s[i] = plmm_load_le64(rng + 8 * i);
        }
        if (rc == PLMM_OK) {
            plmm_buffer_state_set(b, &state);
        }
    }
    plmm_rows_close(r);
    return rc;
}

plmm_status plmm_store_load_buffer(plmm_store *s, const plmm_buffer_params *p,
                                   const plmm_lexicons *lexicons, plmm_buffer **out,
                                   plmm_error *err)
{
    int64_t count = 0;
    plmm_buffer *b = NULL;
    PLMM_TRY(plmm_db_int(s->db, "SELECT count(*) FROM bins", NULL, 0, 0, &count, err));
    if (count > (int64_t)p->bins) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the buffer holds %" PRId64 " dialogue sets, %u bins are too few: forget "
                         "some or allow more bins",
                         count, p->bins);
    }
    PLMM_TRY(plmm_buffer_new(p, lexicons, &b, err));
    plmm_status rc = load_bins(s, lexicons, b, err);
    rc = rc == PLMM_OK ? load_state(s, b, err) : rc;
    if (rc != PLMM_OK) {
        plmm_buffer_free(b);
        return rc;
    }
    *out = b;
    return PLMM_OK;
}

/* ---- reading and changing texts ---- */

static plmm_status visit_row(const plmm_rows *r, plmm_store_visit visit, void *ctx, plmm_error *err)
{
    plmm_store_dialogue d = {.id = (uint64_t)plmm_rows_i(r, 0),
                             .user = plmm_rows_s(r, 1),
                             .domain = plmm_rows_s(r, 2),
                             .prompt = plmm_rows_s(r, 3),
                             .response = plmm_rows_s(r, 4),
                             .time = plmm_rows_i(r, 5)};
    return visit(ctx, &d, err);
}

plmm_status plmm_store_each(plmm_store *s, plmm_store_visit visit, void *ctx, plmm_error *err)
{
    plmm_rows *r = NULL;
    bool more = false;
    plmm_status rc = plmm_db_query(
        s->db, "SELECT id, user, domain, prompt, response, time FROM dialogues ORDER BY id", NULL,
        0, &r, err);
    while (rc == PLMM_OK && (rc = plmm_rows_next(r, &more, err)) == PLMM_OK && more) {
        rc = visit_row(r, visit, ctx, err);
    }
    plmm_rows_close(r);
    return rc;
}

static plmm_status not_kept(uint64_t id, plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_NOTFOUND, "dialogue set %" PRIu64 " is not kept on this device",
                     id);
}

plmm_status plmm_store_dialogue_get(plmm_store *s, uint64_t id, plmm_store_visit visit, void *ctx,
                                    plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(id)};
    plmm_rows *r = NULL;
    bool more = false;
    PLMM_TRY(plmm_db_query(
        s->db, "SELECT id, user, domain, prompt, response, time FROM dialogues WHERE id = ?1", args,
        1, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK) {
        rc = more ? visit_row(r, visit, ctx, err) : not_kept(id, err);
    }
    plmm_rows_close(r);
    return rc;
}

plmm_status plmm_store_annotate(plmm_store *s, uint64_t id, const char *response, plmm_error *err)
{
    if (strlen(response) > PLMM_STORE_TEXT_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "the response has %zu octets, at most %d may be kept",
                         strlen(response), PLMM_STORE_TEXT_MAX);
    }
    PLMM_TRY(PLMM_DB_RUN(s->db, err, "UPDATE dialogues SET response = ?2 WHERE id = ?1",
                         plmm_arg_u(id), plmm_arg_s(response)));
    return plmm_db_changes(s->db) == 1 ? PLMM_OK : not_kept(id, err);
}

/* The bins after one was removed: the last has moved into its place. */
static plmm_status save_removal(plmm_store *s, const plmm_buffer *b, uint32_t place, uint64_t id,
                                plmm_error *err)
{
    PLMM_TRY(PLMM_DB_RUN(s->db, err, "DELETE FROM bins WHERE id = ?1", plmm_arg_u(id)));
    PLMM_TRY(PLMM_DB_RUN(s->db, err, "UPDATE bins SET bin = ?2 WHERE bin = ?1",
                         plmm_arg_u(plmm_buffer_count(b) - 1), plmm_arg_u(place)));
    PLMM_TRY(PLMM_DB_RUN(s->db, err, "DELETE FROM verdicts WHERE id = ?1", plmm_arg_u(id)));
    PLMM_TRY(PLMM_DB_RUN(s->db, err, "DELETE FROM notes WHERE name IN (?1, ?2)",
                         plmm_arg_s(PLMM_STORE_RESIDUAL), plmm_arg_s(PLMM_STORE_RESIDUAL_NOW)));
    return PLMM_DB_RUN(s->db, err, "DELETE FROM dialogues WHERE id = ?1", plmm_arg_u(id));
}

plmm_status plmm_store_forget(plmm_store *s, plmm_buffer *b, uint64_t id, plmm_error *err)
{
    uint32_t place = plmm_buffer_find(b, id);
    if (place == UINT32_MAX) {
        return not_kept(id, err);
    }
    PLMM_TRY(plmm_db_begin(s->db, err));
    PLMM_TRY(plmm_db_end(s->db, save_removal(s, b, place, id, err), err));
    PLMM_TRY(plmm_buffer_remove(b, id, err));
    return plmm_db_scrub(s->db, err);
}

static void read_verdict(const plmm_rows *r, const plmm_lexicons *lexicons, plmm_verdict *v)
{
    *v = (plmm_verdict){.kind = (plmm_verdict_kind)plmm_rows_i(r, 0),
                        .rule = (plmm_select_rule)plmm_rows_i(r, 1),
                        .metrics = (uint32_t)plmm_rows_i(r, 2),
                        .bin = (uint32_t)plmm_rows_i(r, 3),
                        .domain = plmm_lexicons_find(lexicons, plmm_rows_s(r, 4)),
                        .peers = (uint32_t)plmm_rows_i(r, 8),
                        .bins = (uint32_t)plmm_rows_i(r, 9),
                        .candidates = (uint32_t)plmm_rows_i(r, 13),
                        .replaced = (uint64_t)plmm_rows_i(r, 14),
                        .replaced_domain = plmm_lexicons_find(lexicons, plmm_rows_s(r, 15))};
    for (int i = 0; i < PLMM_SCORES; i++) {
        v->score[i] = plmm_rows_d(r, 5 + i);
        v->higher[i] = (uint32_t)plmm_rows_i(r, 10 + i);
        v->replaced_score[i] = plmm_rows_d(r, 16 + i);
    }
}

plmm_status plmm_store_verdict(plmm_store *s, const plmm_lexicons *lexicons, uint64_t id,
                               plmm_verdict *v, bool *still, plmm_error *err)
{
    const plmm_arg args[] = {plmm_arg_u(id)};
    plmm_rows *r = NULL;
    bool more = false;
    PLMM_TRY(plmm_db_query(
        s->db,
        "SELECT kind, rule, metrics, bin, domain, eoe, dss, idd, peers, bins, higher_eoe,"
        " higher_dss, higher_idd, candidates, replaced, replaced_domain, replaced_eoe,"
        " replaced_dss, replaced_idd, EXISTS(SELECT 1 FROM bins WHERE bins.id = verdicts.id)"
        " FROM verdicts WHERE id = ?1",
        args, 1, &r, err));
    plmm_status rc = plmm_rows_next(r, &more, err);
    if (rc == PLMM_OK && !more) {
        rc = plmm_fail(err, PLMM_ERR_NOTFOUND,
                       "nothing is known of dialogue set %" PRIu64 ": it was never offered, is "
                       "forgotten, or was let go more than %d sets ago",
                       id, PLMM_STORE_VERDICTS_MAX);
    } else if (rc == PLMM_OK) {
        read_verdict(r, lexicons, v);
        *still = plmm_rows_i(r, 19) != 0;
    }
    plmm_rows_close(r);
    return rc;
}
