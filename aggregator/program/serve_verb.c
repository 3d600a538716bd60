/* plmm-aggregator serve. */
#include "node.h"

#include "plmm/alloc.h"
#include "plmm/log.h"
#include "plmm/merge.h"
#include "plmm/privacy.h"
#include "plmm/serve.h"

#include <math.h>
#include <signal.h>
#include <unistd.h>

typedef struct server {
    node n;
    plmm_sign_sk key; /* SECRET */
    plmm_model_config shape;
    plmm_adapter *form; /* has the names and shapes of every version */
    double next_clip;   /* that publish found, for published */
} server;

/* The methods count the rounds that completed, which the versions number: those of the protocol may
 * leave numbers out. */
static uint64_t method_round(const plmm_manifest *trained)
{
    return trained->version - 1;
}

static plmm_status find_version(void *ctx, const plmm_hash *hash, plmm_manifest *m, plmm_error *err)
{
    const server *s = ctx;
    uint64_t version = 0;
    if (hash != NULL) {
        PLMM_TRY(plmm_version_find(&s->n.versions, hash, &version, err));
    } else {
        PLMM_TRY(plmm_version_current(&s->n.versions, &version, err));
    }
    return plmm_version_manifest(&s->n.versions, version, m, err);
}

static plmm_status read_version(void *ctx, const plmm_manifest *m, uint32_t file, uint64_t offset,
                                uint8_t *out, size_t len, plmm_error *err)
{
    const server *s = ctx;
    return plmm_version_read(&s->n.versions, m, file, offset, out, len, err);
}

static plmm_status prepare(void *ctx, plmm_round_params *p, plmm_error *err)
{
    const server *s = ctx;
    plmm_manifest newest;
    plmm_method method = (plmm_method)s->n.config.method;
    PLMM_TRY(find_version(ctx, NULL, &newest, err));
    plmm_factor factor = plmm_method_factor(method, method_round(&newest));
    plmm_manifest_hash(&p->model, &newest);
    p->method = (uint32_t)method;
    p->factor = (uint32_t)factor;
    p->length = (uint32_t)plmm_travel_count(s->form, factor);
    PLMM_TRY(plmm_version_names(&p->names, s->form, factor, err));
    return node_privacy_prepare(&s->n, newest.version, p, err);
}

static plmm_status released(void *ctx, const plmm_round_params *p, plmm_error *err)
{
    const server *s = ctx;
    return node_privacy_released(&s->n, p, err);
}

static plmm_status tree(void *ctx, const plmm_round_params *p, plmm_seed *seed, plmm_error *err)
{
    const server *s = ctx;
    (void)p;
    return node_privacy_tree(&s->n, seed, err);
}

static plmm_status merge(const server *s, const plmm_round_params *p, const uint32_t *sum,
                         uint32_t n, const plmm_manifest *old, plmm_manifest *m, plmm_error *err)
{
    plmm_adapter *before = NULL, *next = NULL;
    plmm_merge_stats stats;
    plmm_encoding e = plmm_round_encoding(p);
    plmm_merge_params params = {.method = (plmm_method)p->method,
                                .server = plmm_server_opt_default(),
                                .round = method_round(old)};
    params.server.lr = (float)(s->n.config.server_rate * plmm_round_step_scale(p, n));
    PLMM_TRY(plmm_version_load(&s->n.versions, old->version, &s->shape, &before, err));
    plmm_status rc =
        plmm_merge(&params, &e, before, sum, plmm_round_lanes(p), n, &next, &stats, err);
    if (rc == PLMM_OK) {
        plmm_version_note note = {.base = s->n.base,
                                  .method = params.method,
                                  .factor = stats.next,
                                  .round = p->round,
                                  .survivors = n,
                                  .base_name = s->n.config.base};
        rc = plmm_version_publish(&s->n.versions, &note, next, &s->key, m, err);
        plmm_log(PLMM_LOG_INFO, "merge.done", "round=%llu devices=%u weight=%llu norm=%.6g",
                 (unsigned long long)p->round, n, (unsigned long long)stats.weight,
                 stats.mean_norm);
    }
    plmm_adapter_free(next);
    plmm_adapter_free(before);
    return rc;
}

static plmm_status publish(void *ctx, const plmm_round_params *p, const uint32_t *sum,
                           const uint64_t *devices, uint32_t n, plmm_manifest *m, plmm_error *err)
{
    server *s = ctx;
    plmm_manifest newest;
    (void)devices;
    s->next_clip = node_privacy_next_clip(&s->n, p, sum, n);
    PLMM_TRY(find_version(ctx, NULL, &newest, err));
    if (newest.round == p->round) { /* published before a crash */
        *m = newest;
        return PLMM_OK;
    }
    return merge(s, p, sum, n, &newest, m, err);
}

static plmm_status published(void *ctx, const plmm_round_params *p, plmm_error *err)
{
    const server *s = ctx;
    return p->clip_bit != 0 ? node_privacy_keep_clip(&s->n, s->next_clip, err) : PLMM_OK;
}

static uint32_t ppm(double share)
{
    return (uint32_t)(share * 1e6 + 0.5);
}

static uint32_t eligible(const node_config *c)
{
    return c->eligible > c->cohort ? c->eligible : c->cohort;
}

static uint32_t masking(const node_config *c)
{
    bool oneshot = c->protocol + 1 == PLMM_PROTOCOL_ONESHOT;
    return c->mask != 0 ? c->mask : (uint32_t)(oneshot ? PLMM_MASK_KAHE : PLMM_MASK_RING);
}

/* Does the protocol protect a roster of n? */
static plmm_status protects(const plmm_round_params *p, uint32_t n, uint32_t out_of,
                            plmm_error *err)
{
    plmm_graph_params g = plmm_round_graph(p, n, out_of);
    plmm_graph_degree d;
    plmm_committee k;
    return p->protocol == PLMM_PROTOCOL_ONESHOT
               ? plmm_committee_solve(&k, &g, PLMM_COMMITTEE_RHO, PLMM_COMMITTEE_SPARE, err)
               : plmm_graph_degree_solve(&d, &g, err);
}

/* The fewest devices to go on with: at least three quarters of the cohort, and protected. */
static plmm_status roster_min(const node_config *c, const plmm_round_params *p, uint32_t *min,
                              plmm_error *err)
{
    uint32_t least = c->cohort - c->cohort / 4;
    least = least < c->n_min ? c->n_min : least;
    if (c->roster_min != 0) {
        *min = c->roster_min;
        return PLMM_OK;
    }
    while (least < c->cohort && protects(p, least, eligible(c), NULL) != PLMM_OK) {
        least++;
    }
    *min = least;
    return protects(p, least, eligible(c), err); /* says what would protect */
}

/* Rounds of a method that alternates ask for either factor. */
static uint32_t vector_max(const server *s)
{
    size_t max = 0;
    for (uint64_t round = 0; round < 2; round++) {
        size_t n =
            plmm_travel_count(s->form, plmm_method_factor((plmm_method)s->n.config.method, round));
        max = n > max ? n : max;
    }
    return (uint32_t)max;
}

static plmm_status round_config(const server *s, plmm_agg_config *out, plmm_error *err)
{
    const node_config *c = &s->n.config;
    *out = (plmm_agg_config){.params = {.cohort = c->cohort,
                                        .n_min = c->n_min,
                                        .gamma_ppm = ppm(c->gamma),
                                        .delta_ppm = ppm(c->delta),
                                        .sigma = c->sigma,
                                        .eta = c->eta,
                                        .trust = PLMM_TRUST_SEMI_MALICIOUS,
                                        .protocol = c->protocol + 1,
                                        .mask = masking(c),
                                        .stream = plmm_stream_best(),
                                        .rate = UINT32_MAX,
                                        .groups = 1,
                                        .quant_bits = c->quant_bits,
                                        .weight_max = c->weight_max,
                                        .clip = c->clip,
                                        .rotate = c->rotate,
                                        .steps = c->steps,
                                        .batch_tokens = c->batch_tokens,
                                        .learning_rate = c->learning_rate},
                             .key = s->key,
                             .registrar = s->n.registrar,
                             .over_ppm = ppm(c->over),
                             .gather_ms = c->gather_ms,
                             .phase_ms = c->phase_ms,
                             .train_ms = c->train_ms};
    for (size_t i = 0; i < sizeof out->params.expert && c->expert[i] != '\0'; i++) {
        out->params.expert[i] = c->expert[i];
    }
    plmm_encoding e = plmm_round_encoding(&out->params);
    e.length = vector_max(s); /* each round sets its own */
    out->params.ring_bits = plmm_encoding_ring_bits(&e);
    if (out->params.ring_bits == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "a sum of %u devices at vector.quant_bits %u does not fit 32 bits; lower "
                         "vector.quant_bits",
                         c->cohort, c->quant_bits);
    }
    double waiting = ceil(c->cohort * (1 + c->over));
    waiting = c->checkins_max > waiting ? c->checkins_max : waiting;
    out->checkins_max = waiting < PLMM_CHECKINS_MAX ? (uint32_t)waiting : PLMM_CHECKINS_MAX;
    return roster_min(c, &out->params, &out->roster_min, err);
}

static void on_signal(int number)
{
    (void)number;
    plmm_serve_stop();
}

static plmm_status run(server *s, plmm_cli_args *a, plmm_error *err)
{
    plmm_serve_config c = {
        .url = s->n.config.address,
        .vector_max = vector_max(s),
        .registrar = s->n.config.registrar[0] != '\0' ? s->n.config.registrar : s->n.registrar_at,
        .eligible = eligible(&s->n.config),
        .epoch_rounds = s->n.config.epoch_rounds,
        .store = s->n.store,
        .hooks = {s, prepare, publish, find_version, read_version, released, tree, published},
        .rounds = (uint32_t)plmm_cli_int(a, "rounds"),
        .failures = (uint32_t)plmm_cli_int(a, "failures"),
        .slots = s->n.config.slots,
        .hold_ms = s->n.config.hold_ms,
        .pause_ms = s->n.config.pause_ms,
        .linger_ms = s->n.config.linger_ms,
        .port_file = plmm_cli_text(a, "port-file")};
    plmm_serve_result result = {0};
    struct sigaction act = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
    plmm_status rc = node_privacy_check(&s->n.config, err);
    rc = rc == PLMM_OK ? round_config(s, &c.round, err) : rc;
    rc = rc == PLMM_OK ? plmm_serve_run(&c, &result, err) : rc;
    plmm_wipe(&c.round.key, sizeof c.round.key);
    plmm_log(PLMM_LOG_INFO, "serve.end",
             "rounds=%llu aborted=%llu refused=%llu bytes_up=%llu bytes_down=%llu",
             (unsigned long long)result.rounds, (unsigned long long)result.aborted,
             (unsigned long long)result.refused, (unsigned long long)result.bytes_up,
             (unsigned long long)result.bytes_down);
    if (rc == PLMM_ERR_STATE && c.failures > 0 && result.aborted >= c.failures) {
        plmm_log(PLMM_LOG_ERROR, "serve.failures", "why=\"%s\"", err->msg);
        a->exit_code = 3;
        rc = PLMM_OK;
    }
    return rc;
}

static plmm_status open_server(server *s, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_sign_pk pk;
    plmm_lora_spec spec;
    PLMM_TRY(node_path(s->n.dir, "node.key", path, err));
    PLMM_TRY(node_key_read(path, &pk, &s->key, err));
    if (!plmm_equal(&pk, &s->n.key, sizeof pk)) {
        return plmm_fail(err, PLMM_ERR_STATE, "%s is not the key that this expert was begun with",
                         path);
    }
    if (s->n.registrar_at[0] == '\0') {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "%s has no registrar: plmm-aggregator registrar init REG --expert "
                         "%s/expert.pub makes one; copy its registrar.pub to %s",
                         s->n.dir, s->n.dir, s->n.dir);
    }
    PLMM_TRY(node_base(&s->n, &s->shape, err));
    PLMM_TRY(node_spec(&s->n.config, &spec, err));
    return plmm_adapter_new(&s->shape, &spec, &s->form, err);
}

plmm_status node_serve(plmm_cli_args *a, plmm_error *err)
{
    server *s = plmm_alloc(1, sizeof *s);
    if (s == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory");
    }
    if (plmm_cli_flag(a, "debug")) {
        plmm_log_to(STDERR_FILENO, PLMM_LOG_DEBUG);
    }
    plmm_status rc = plmm_crypto_init(err);
    if (rc == PLMM_OK && (rc = node_open(&s->n, a->operands[0], a, err)) == PLMM_OK) {
        rc = open_server(s, err);
        rc = rc == PLMM_OK ? run(s, a, err) : rc;
        node_close(&s->n);
    }
    plmm_adapter_free(s->form);
    plmm_wipe(&s->key, sizeof s->key);
    plmm_free(s);
    return rc;
}
