/* Rounds: what the machines ask for is done here, in their order. */
#include "serve_internal.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/log.h"

#include <stdio.h>
#include <string.h>

/* ---- what the store keeps to rebuild a machine: the parameters as the invitation writes them, and
 * the times and sizes of the configuration behind them ---- */

enum {
    CONFIG_WORDS = 6,
    CONFIG_HEAD = 4 * CONFIG_WORDS + 8 + 32, /* the words, then the link */
    CONFIG_MAX = PLMM_BODY_MAX + CONFIG_HEAD
};

static void config_words(plmm_agg_config *c, uint32_t *w[CONFIG_WORDS])
{
    w[0] = &c->checkins_max;
    w[1] = &c->over_ppm;
    w[2] = &c->roster_min;
    w[3] = &c->gather_ms;
    w[4] = &c->phase_ms;
    w[5] = &c->train_ms;
}

static size_t config_encode(uint8_t out[CONFIG_MAX], plmm_agg_config *c)
{
    uint32_t *w[CONFIG_WORDS];
    config_words(c, w);
    for (size_t i = 0; i < CONFIG_WORDS; i++) {
        for (unsigned b = 0; b < 4; b++) {
            out[4 * i + b] = (uint8_t)(*w[i] >> (8 * b));
        }
    }
    for (unsigned b = 0; b < 8; b++) {
        out[4 * CONFIG_WORDS + b] = (uint8_t)(c->link.index >> (8 * b));
    }
    memcpy(out + 4 * CONFIG_WORDS + 8, c->link.value.b, sizeof c->link.value.b);
    return CONFIG_HEAD + plmm_params_encode(out + CONFIG_HEAD, &c->params);
}

/* *c holds key, registrar and expert already. */
static plmm_status config_decode(plmm_agg_config *c, uint64_t round, uint32_t attempt,
                                 const uint8_t *in, size_t len, plmm_error *err)
{
    uint32_t *w[CONFIG_WORDS];
    plmm_frame f = {.type = PLMM_MSG_INVITE, .round = round, .attempt = attempt};
    if (len < CONFIG_HEAD || len > CONFIG_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "the open round's parameters are damaged");
    }
    config_words(c, w);
    for (size_t i = 0; i < CONFIG_WORDS; i++) {
        *w[i] = 0;
        for (unsigned b = 0; b < 4; b++) {
            *w[i] |= (uint32_t)in[4 * i + b] << (8 * b);
        }
    }
    c->link.index = 0;
    for (unsigned b = 0; b < 8; b++) {
        c->link.index |= (uint64_t)in[4 * CONFIG_WORDS + b] << (8 * b);
    }
    memcpy(c->link.value.b, in + 4 * CONFIG_WORDS + 8, sizeof c->link.value.b);
    f.body_len = (uint32_t)(len - CONFIG_HEAD);
    memcpy(f.body, in + CONFIG_HEAD, f.body_len);
    memcpy(f.expert, c->params.expert, sizeof f.expert);
    if (plmm_params_decode(&c->params, &f, err) != PLMM_OK) {
        return plmm_fail_in(err, PLMM_ERR_FORMAT, "the open round's parameters are damaged");
    }
    memcpy(c->params.expert, f.expert, sizeof f.expert);
    c->params.round = round;
    c->params.attempt = attempt;
    return PLMM_OK;
}

/* ---- machines ---- */

static void forget_vectors(plmm__serve *s)
{
    plmm_free(s->sum);
    plmm_free(s->survivors);
    s->sum = NULL;
    s->survivors = NULL;
    s->lanes = 0;
    s->survivors_n = 0;
}

static void free_machine(plmm__machine *m)
{
    plmm_agg_round_free(m->m);
    plmm_free(m->resting);
    plmm_free(m->epoch);
    *m = (plmm__machine){0};
}

void plmm__round_free(plmm__serve *s)
{
    for (uint32_t i = 0; i < PLMM__MACHINES; i++) {
        free_machine(&s->machines[i]);
    }
    forget_vectors(s);
}

/* With a tree: its seed, and who must not take part, in a new block. */
static plmm_status add_tree(plmm__serve *s, plmm_agg_config *config, uint64_t **resting,
                            plmm_error *err)
{
    const plmm_round_params *p = &config->params;
    if (p->noise_tree == 0 || s->c->hooks.tree == NULL) {
        return PLMM_OK;
    }
    PLMM_TRY(s->c->hooks.tree(s->c->hooks.ctx, p, &config->tree, err));
    PLMM_TRY(plmm_node_part_before(s->c->store, p->round, resting, &config->resting_n, err));
    config->resting = *resting;
    return PLMM_OK;
}

/* Makes the machine of *config the present one; the present one becomes the one before. config->epoch
 * is the machine's then, or freed. */
static plmm_status install_machine(plmm__serve *s, plmm_agg_config *config, plmm_error *err)
{
    uint64_t *resting = NULL;
    plmm_agg_round *m = NULL;
    size_t lanes = plmm_round_lanes(&config->params);
    uint32_t *sum = plmm_alloc(plmm_round_sum_bytes(&config->params), 1);
    uint64_t *survivors = plmm_alloc(config->params.cohort, sizeof *survivors);
    plmm_status rc =
        sum != NULL && survivors != NULL
            ? add_tree(s, config, &resting, err)
            : plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a sum of %zu lanes", lanes);
    rc = rc == PLMM_OK ? plmm_agg_round_new(&m, config, err) : rc;
    plmm_wipe(&config->tree, sizeof config->tree);
    uint8_t *epoch = (uint8_t *)(uintptr_t)config->epoch;
    if (rc != PLMM_OK) {
        plmm_free(epoch);
        config->epoch = NULL;
        plmm_free(resting);
        plmm_free(sum);
        plmm_free(survivors);
        return rc;
    }
    forget_vectors(s);
    s->sum = sum;
    s->survivors = survivors;
    s->lanes = lanes;
    s->cur ^= 1u;
    free_machine(&s->machines[s->cur]);
    s->machines[s->cur] =
        (plmm__machine){m, config->params.round, config->params.attempt, epoch, resting};
    for (size_t i = 0; i < s->peers.cap; i++) {
        s->peers.v[i].waiting[s->cur] = 0;
    }
    s->phase = PLMM_AGG_NEW;
    s->phase_since = plmm_clock_ms();
    memset(s->step_ms, 0, sizeof s->step_ms);
    s->seq = 0;
    return PLMM_OK;
}

/* The name of the next attempt: the same round again, unless it completed, its seal was asked for,
 * or it was tried often enough. The registrar seals no round up to its last. */
static plmm_status next_name(plmm__serve *s, plmm_round_params *p, plmm_error *err)
{
    uint64_t round;
    uint32_t attempt;
    bool sealed;
    plmm_manifest newest;
    PLMM_TRY(plmm_node_round_last(s->c->store, &round, &attempt, &sealed, err));
    PLMM_TRY(s->c->hooks.find(s->c->hooks.ctx, NULL, &newest, err));
    uint64_t spent = newest.round > s->registry.round ? newest.round : s->registry.round;
    if (round > spent && !sealed && attempt < PLMM_ATTEMPTS_MAX) {
        p->round = round;
        p->attempt = attempt + 1;
    } else {
        p->round = (round > spent ? round : spent) + 1;
        p->attempt = 1;
    }
    return PLMM_OK;
}

plmm_status plmm__round_begin(plmm__serve *s, plmm_error *err)
{
    plmm_agg_config config = s->c->round;
    plmm_agg_event ev = {.type = PLMM_AGG_EV_START, .now_ms = plmm_clock_ms()};
    uint8_t saved[CONFIG_MAX];
    s->begun_ms = plmm_clock_wall_ms();
    config.link = s->registry.link;
    config.known = s->known;
    config.shelf = s->shelf;
    uint32_t eligible = 0;
    plmm_status rc = plmm__registrar_rate(s, &config.params.rate, &eligible, err);
    rc = rc == PLMM_OK ? next_name(s, &config.params, err) : rc;
    rc = rc == PLMM_OK ? s->c->hooks.prepare(s->c->hooks.ctx, &config.params, err) : rc;
    rc = rc == PLMM_OK ? plmm_seed_system(&ev.seed, err) : rc;
    rc = rc == PLMM_OK ? plmm__epoch_begin(s, &config, err) : rc;
    rc = rc == PLMM_OK ? install_machine(s, &config, err) : rc;
    if (rc == PLMM_OK) {
        size_t len = config_encode(saved, &config);
        rc = plmm_node_round_begin(s->c->store, config.params.round, config.params.attempt, saved,
                                   len, s->begun_ms, err);
    }
    if (rc == PLMM_OK) {
        s->running = true;
        rc = plmm__round_step(s, s->cur, &ev, err);
        plmm_log(PLMM_LOG_INFO, "round.begin",
                 "round=%llu attempt=%u cohort=%u eligible=%u rate=%u lanes=%zu sealed=%d",
                 (unsigned long long)config.params.round, config.params.attempt,
                 config.params.cohort, eligible, config.params.rate, s->lanes,
                 config.epoch == NULL);
    }
    plmm_wipe(&config.key, sizeof config.key);
    plmm_wipe(&ev.seed, sizeof ev.seed);
    return rc;
}

/* ---- obeying ---- */

enum { BARRED_ROUNDS = 8 };

static void add_input(plmm__serve *s, const plmm_agg_action *a)
{
    plmm_error err = {0};
    plmm_status rc = plmm_agg_round_add(s->machines[s->cur].m, s->sum, a->bytes, a->len, &err);
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
    }
    s->input_device = a->device;
    s->input = a->bytes;
    s->input_len = a->len;
}

static void persist(plmm__serve *s, const plmm_agg_action *a)
{
    plmm_error err = {0};
    plmm_status rc = s->dirty ? PLMM_OK : plmm_node_begin(s->c->store, &err);
    if (rc == PLMM_OK) {
        s->dirty = true;
        rc = plmm_node_journal_append(s->c->store, a->seq, a->bytes, a->len, s->input_device,
                                      s->input, s->input_len, &err);
    }
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
    }
    s->seq = a->seq;
    s->input_device = 0;
    s->input = NULL;
    s->input_len = 0;
}

static void send(plmm__serve *s, uint32_t i, const plmm_agg_action *a)
{
    for (uint32_t j = 0; j < a->to_n; j++) {
        plmm__peer *p = NULL;
        plmm_error err = {0};
        plmm_status rc = plmm__peers_add(&s->peers, a->to[j], &p, &err);
        if (rc != PLMM_OK) {
            plmm__serve_fail(s, rc, &err);
            return;
        }
        p->waiting[i] |= UINT64_C(1) << a->msg;
    }
}

/* Writes how the present round ended; its journal and vectors go with it. */
static void end_round(plmm__serve *s, plmm_node_state state, plmm_abort reason, uint64_t version,
                      const char *text)
{
    plmm_agg_status st;
    plmm_error err = {0};
    plmm__machine *m = &s->machines[s->cur];
    plmm_agg_round_status(m->m, &st);
    plmm_node_round r = {.round = m->round,
                         .attempt = m->attempt,
                         .state = state,
                         .reason = (uint32_t)reason,
                         .roster = st.roster,
                         .survivors = s->survivors_n,
                         .liars = st.liars,
                         .version = version,
                         .begun_ms = s->begun_ms,
                         .ended_ms = plmm_clock_wall_ms(),
                         .bytes_up = s->bytes_up,
                         .bytes_down = s->bytes_down,
                         .sealed = st.spent};
    memcpy(r.step_ms, s->step_ms, sizeof r.step_ms);
    (void)snprintf(r.text, sizeof r.text, "%s", text);
    uint8_t *epoch = NULL;
    plmm_status rc = state != PLMM_NODE_PUBLISHED
                         ? PLMM_OK
                         : plmm__epoch_left(s, m->m, &epoch, &r.epoch_len, &err);
    r.epoch = epoch;
    rc = rc == PLMM_OK ? plmm_node_round_end(s->c->store, &r, &err) : rc;
    plmm_free(epoch);
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
    }
    s->running = false;
    s->bytes_up = s->bytes_down = 0; /* downloads of the version count for the round that follows */
}

/* The machine names whose secret could not be put together: with it the next round would fail too. */
static void bar(plmm__serve *s, uint64_t device)
{
    plmm_error err = {0};
    uint64_t until = s->machines[s->cur].round + BARRED_ROUNDS;
    plmm_log(PLMM_LOG_WARN, "device.barred", "device=%llu until=%llu", (unsigned long long)device,
             (unsigned long long)until);
    plmm_status rc = plmm_node_device_bar(s->c->store, device, until, &err);
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
    }
}

static void aborted(plmm__serve *s, const plmm_agg_action *a)
{
    if (a->device != 0) {
        bar(s, a->device);
    }
    plmm_log(PLMM_LOG_WARN, "round.abort", "round=%llu attempt=%u why=\"%s\"",
             (unsigned long long)s->machines[s->cur].round, s->machines[s->cur].attempt, a->text);
    s->wanted = PLMM__JOB_NONE;
    s->frozen = false;
    s->result->aborted++;
    s->failures++;
    s->next_round_ms = plmm_clock_ms() + s->c->pause_ms;
    (void)snprintf(s->abort_text, sizeof s->abort_text, "%s", a->text);
    s->ending = true;
    s->ending_reason = a->reason;
}

static plmm_status drop_inputs(plmm__serve *s, const plmm_agg_action *a, plmm_error *err)
{
    for (uint32_t d = 0; d < a->to_n; d++) {
        uint8_t *payload = NULL;
        size_t len = 0;
        PLMM_TRY(plmm_node_payload(s->c->store, a->to[d], &payload, &len, err));
        plmm_status rc = plmm_agg_round_drop(s->machines[s->cur].m, s->sum, payload, len, err);
        plmm_free(payload);
        PLMM_TRY(rc);
    }
    return PLMM_OK;
}

static void obey(plmm__serve *s, uint32_t i, const plmm_agg_actions *acts)
{
    for (uint32_t j = 0; j < acts->n && s->fatal == PLMM_OK; j++) {
        const plmm_agg_action *a = &acts->v[j];
        plmm_error err = {0};
        plmm_status rc;
        switch (a->type) {
        case PLMM_AGG_DO_SEND:
            send(s, i, a);
            break;
        case PLMM_AGG_DO_PERSIST:
            if (i == s->cur && s->running) { /* a round that is over has no journal */
                persist(s, a);
            }
            break;
        case PLMM_AGG_DO_SEAL:
            plmm__registrar_seal(s, a);
            break;
        case PLMM_AGG_DO_ADD_INPUT:
            add_input(s, a);
            break;
        case PLMM_AGG_DO_DROP_INPUT:
            rc = drop_inputs(s, a, &err);
            if (rc != PLMM_OK) {
                plmm__serve_fail(s, rc, &err);
            }
            break;
        case PLMM_AGG_DO_UNMASK:
            plmm_agg_round_survivors(s->machines[i].m, s->survivors, &s->survivors_n);
            s->wanted = PLMM__JOB_UNMASK;
            s->frozen = true;
            break;
        case PLMM_AGG_DO_FINISH:
            plmm_agg_round_survivors(s->machines[i].m, s->survivors, &s->survivors_n);
            s->wanted = PLMM__JOB_PUBLISH;
            break;
        case PLMM_AGG_DO_ABORT:
            aborted(s, a);
            break;
        }
    }
}

/* Notes how long the phase took that has just ended. */
static void note_phase(plmm__serve *s)
{
    plmm_agg_status st;
    if (plmm_agg_round_phase(s->machines[s->cur].m) == s->phase) {
        return;
    }
    plmm_agg_round_status(s->machines[s->cur].m, &st);
    uint64_t now = plmm_clock_ms(), took = now - s->phase_since;
    if (s->phase < PLMM_AGG_PHASES) {
        s->step_ms[s->phase] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    }
    plmm_log(PLMM_LOG_INFO, "round.phase",
             "round=%llu phase=%s checked_in=%u roster=%u k=%u t=%u shared=%u trained=%u "
             "agreed=%u revealed=%u",
             (unsigned long long)st.round, plmm_agg_phase_str(st.phase), st.checked_in, st.roster,
             st.k, st.t, st.shared, st.trained, st.agreed, st.revealed);
    s->phase = st.phase;
    s->phase_since = now;
    plmm_error err = {0};
    bool open = st.phase >= PLMM_AGG_AGREE && st.phase <= PLMM_AGG_PUBLISH;
    if (open && s->c->hooks.released != NULL) {
        plmm_status rc = s->c->hooks.released(s->c->hooks.ctx,
                                              plmm_agg_round_params(s->machines[s->cur].m), &err);
        if (rc != PLMM_OK) {
            plmm__serve_fail(s, rc, &err);
        }
    }
}

plmm_status plmm__round_step(plmm__serve *s, uint32_t i, const plmm_agg_event *ev, plmm_error *err)
{
    plmm_agg_actions acts;
    plmm_status rc = plmm_agg_round_step(s->machines[i].m, ev, &acts, err);
    if (rc == PLMM_OK || rc == PLMM_ERR_STALE || rc == PLMM_ERR_PEER) {
        obey(s, i, &acts);
        if (i == s->cur) {
            note_phase(s);
        }
    }
    return rc;
}

/* Commits, and tells the machine of whom the last record is. */
static void commit(plmm__serve *s)
{
    plmm_error err = {0};
    plmm_status rc = plmm_node_end(s->c->store, PLMM_OK, &err);
    s->dirty = false;
    if (rc == PLMM_OK) {
        plmm_agg_event ev = {
            .type = PLMM_AGG_EV_PERSISTED, .now_ms = plmm_clock_ms(), .seq = s->seq};
        rc = plmm__round_step(s, s->cur, &ev, &err);
    }
    if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
        plmm__serve_fail(s, rc, &err);
    }
}

void plmm__round_flush(plmm__serve *s)
{
    while (s->dirty && s->fatal == PLMM_OK) {
        commit(s);
    }
    if (s->ending && s->fatal == PLMM_OK) {
        s->ending = false;
        end_round(s, PLMM_NODE_ABORTED, s->ending_reason, 0, s->abort_text);
    }
    if (s->wanted != PLMM__JOB_NONE && s->fatal == PLMM_OK) {
        plmm__worker_give(s, s->wanted);
        s->wanted = PLMM__JOB_NONE;
    }
}

void plmm__round_tick(plmm__serve *s)
{
    plmm_error err = {0};
    plmm_agg_event ev = {.type = PLMM_AGG_EV_TICK, .now_ms = plmm_clock_ms()};
    const plmm_agg_round *m = s->machines[s->cur].m;
    if (m == NULL || s->frozen || plmm_agg_round_deadline(m) > ev.now_ms) {
        return;
    }
    plmm_status rc = plmm__round_step(s, s->cur, &ev, &err);
    if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
        plmm__serve_fail(s, rc, &err);
    }
}

/* ---- after the worker ---- */

static void unmasked(plmm__serve *s, plmm_error *err)
{
    plmm_agg_event ev = {
        .type = PLMM_AGG_EV_UNMASKED, .now_ms = plmm_clock_ms(), .unmasked = s->worker.unmasked};
    s->frozen = false;
    plmm_status rc = plmm__round_step(s, s->cur, &ev, err);
    if (rc != PLMM_OK && rc != PLMM_ERR_STALE) {
        plmm__serve_fail(s, rc, err);
    }
    plmm__request_retry(s);
}

/* Puts a version into the store's index. */
static plmm_status note_version(plmm__serve *s, const plmm_manifest *m, plmm_error *err)
{
    plmm_node_version v = {.version = m->version,
                           .round = m->round,
                           .survivors = m->survivors,
                           .time_ms = plmm_clock_wall_ms()};
    for (uint32_t i = 0; i < m->files_n; i++) {
        v.bytes += m->files[i].size;
    }
    plmm_manifest_hash(&v.manifest, m);
    return plmm_node_version_put(s->c->store, &v, err);
}

static void published(plmm__serve *s, plmm_error *err)
{
    const plmm_manifest *m = &s->worker.manifest;
    plmm_agg_event ev = {.type = PLMM_AGG_EV_PUBLISHED, .now_ms = plmm_clock_ms()};
    plmm_manifest_hash(&ev.model, m);
    plmm_status rc = PLMM_OK;
    if (s->c->hooks.published != NULL) {
        rc = s->c->hooks.published(s->c->hooks.ctx, plmm_agg_round_params(s->machines[s->cur].m),
                                   err);
    }
    rc = rc == PLMM_OK ? plmm__round_step(s, s->cur, &ev, err) : rc;
    while (s->dirty && s->fatal == PLMM_OK) {
        commit(s);
    }
    rc = rc == PLMM_OK ? note_version(s, m, err) : rc;
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, err);
        return;
    }
    plmm_log(PLMM_LOG_INFO, "round.done",
             "round=%llu version=%llu survivors=%u bytes_up=%llu bytes_down=%llu",
             (unsigned long long)m->round, (unsigned long long)m->version, m->survivors,
             (unsigned long long)s->bytes_up, (unsigned long long)s->bytes_down);
    end_round(s, PLMM_NODE_PUBLISHED, PLMM_ABORT_NONE, m->version, "");
    s->failures = 0;
    s->result->rounds++;
    s->next_round_ms = plmm_clock_ms() + s->c->pause_ms;
}

/* The version could not be made: the round ends without one. */
static void not_published(plmm__serve *s)
{
    plmm_error err = {0};
    plmm_agg_event ev = {.type = PLMM_AGG_EV_CANCEL, .now_ms = plmm_clock_ms()};
    plmm_log(PLMM_LOG_ERROR, "round.publish", "why=\"%s\"", s->worker.err.msg);
    plmm_status rc = plmm__round_step(s, s->cur, &ev, &err);
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
    }
}

void plmm__round_job_done(plmm__serve *s)
{
    plmm_error err = {0};
    plmm__job job = plmm__worker_take(s);
    if (job == PLMM__JOB_NONE) {
        return;
    }
    if (job == PLMM__JOB_UNMASK && s->worker.rc == PLMM_OK) {
        unmasked(s, &err);
    } else if (job == PLMM__JOB_UNMASK) {
        plmm__serve_fail(s, s->worker.rc, &s->worker.err);
    } else if (s->worker.rc == PLMM_OK) {
        published(s, &err);
    } else {
        not_published(s);
    }
}

/* ---- after a crash ---- */

static plmm_status replay_input(plmm__serve *s, const plmm_agg_action *a, plmm_error *err)
{
    uint8_t *payload = NULL;
    size_t len = 0;
    PLMM_TRY(plmm_node_payload(s->c->store, a->device, &payload, &len, err));
    plmm_status rc = plmm_agg_round_add(s->machines[s->cur].m, s->sum, payload, len, err);
    plmm_free(payload);
    return rc;
}

static plmm_status replay_record(void *ctx, uint64_t seq, const uint8_t *record, size_t len,
                                 plmm_error *err)
{
    plmm__serve *s = ctx;
    plmm_agg_actions acts;
    s->seq = seq;
    PLMM_TRY(plmm_agg_round_replay(s->machines[s->cur].m, record, len, &acts, err));
    for (uint32_t j = 0; j < acts.n; j++) {
        if (acts.v[j].type == PLMM_AGG_DO_ADD_INPUT) {
            PLMM_TRY(replay_input(s, &acts.v[j], err));
        } else {
            PLMM_TRY(drop_inputs(s, &acts.v[j], err));
        }
    }
    return PLMM_OK;
}

/* The journal may hold the round's end already, and the store not know it. */
static plmm_status end_if_over(plmm__serve *s, plmm_error *err)
{
    plmm_agg_status st;
    plmm_manifest newest;
    plmm_agg_round_status(s->machines[s->cur].m, &st);
    if (!s->running || s->ending) {
        return PLMM_OK;
    }
    if (st.phase == PLMM_AGG_DONE) {
        PLMM_TRY(s->c->hooks.find(s->c->hooks.ctx, NULL, &newest, err));
        PLMM_TRY(note_version(s, &newest, err));
        plmm_agg_round_survivors(s->machines[s->cur].m, s->survivors, &s->survivors_n);
        end_round(s, PLMM_NODE_PUBLISHED, PLMM_ABORT_NONE, newest.version, "");
        s->result->rounds++;
        s->next_round_ms = plmm_clock_ms();
    } else if (st.phase == PLMM_AGG_ABORTED) {
        end_round(s, PLMM_NODE_ABORTED, PLMM_ABORT_LOCAL, 0, "it was aborted before a restart");
        s->next_round_ms = plmm_clock_ms();
    }
    return PLMM_OK;
}

static plmm_status rebuild(plmm__serve *s, uint64_t round, uint32_t attempt, const uint8_t *saved,
                           size_t len, plmm_error *err)
{
    plmm_agg_config config = s->c->round;
    config.known = s->known;
    config.shelf = s->shelf;
    plmm_status rc = config_decode(&config, round, attempt, saved, len, err);
    rc = rc == PLMM_OK ? plmm__epoch_again(s, &config, err) : rc;
    rc = rc == PLMM_OK ? install_machine(s, &config, err) : rc;
    plmm_wipe(&config.key, sizeof config.key);
    return rc;
}

plmm_status plmm__round_resume(plmm__serve *s, plmm_error *err)
{
    uint64_t round = 0;
    uint32_t attempt = 0;
    uint8_t *saved = NULL;
    size_t len = 0;
    plmm_status rc = plmm_node_round_running(s->c->store, &round, &attempt, &saved, &len, err);
    if (rc != PLMM_OK) {
        s->next_round_ms = plmm_clock_ms();
        return rc == PLMM_ERR_NOTFOUND ? PLMM_OK : rc;
    }
    rc = rebuild(s, round, attempt, saved, len, err);
    plmm_free(saved);
    PLMM_TRY(rc);
    s->running = true;
    s->begun_ms = plmm_clock_wall_ms();
    PLMM_TRY(plmm_node_journal_each(s->c->store, replay_record, s, err));
    plmm_log(PLMM_LOG_INFO, "round.resume", "round=%llu attempt=%u seq=%llu",
             (unsigned long long)round, attempt, (unsigned long long)s->seq);
    plmm_agg_event ev = {.type = s->seq == 0 ? PLMM_AGG_EV_START : PLMM_AGG_EV_RESUME,
                         .now_ms = plmm_clock_ms()};
    if (s->seq == 0) {
        PLMM_TRY(plmm_seed_system(&ev.seed, err)); /* it crashed before its first record */
    }
    PLMM_TRY(plmm__round_step(s, s->cur, &ev, err));
    return end_if_over(s, err);
}
