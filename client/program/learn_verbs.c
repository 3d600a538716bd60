/* plmm-client train, join and chat. */
#include "device.h"

#include "plmm/alloc.h"
#include "plmm/feedback.h"
#include "plmm/generate.h"
#include "plmm/join.h"
#include "plmm/peft.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- train: the personal adapter ---- */

static plmm_status personal_spec(const device_config *c, plmm_lora_spec *spec, plmm_error *err)
{
    *spec = (plmm_lora_spec){.rank = c->personal_rank, .alpha = (float)c->personal_alpha};
    for (uint32_t i = 0; i < c->personal_targets_n; i++) {
        const char *name = c->personal_targets[i];
        plmm_status rc = plmm_target_parse(name, strlen(name), &spec->targets, err);
        if (rc != PLMM_OK) {
            return plmm_fail_in(err, rc, "personal.targets");
        }
    }
    return PLMM_OK;
}

/* The personal adapter of the device, or a new one that changes nothing. */
static plmm_status personal_or_new(const device *d, plmm_adapter **out, plmm_error *err)
{
    plmm_lora_spec spec;
    uint64_t start;
    PLMM_TRY(device_personal(d, out, err));
    if (*out != NULL) {
        return PLMM_OK;
    }
    PLMM_TRY(personal_spec(&d->config, &spec, err));
    PLMM_TRY(device_draw(&start, err));
    PLMM_TRY(plmm_adapter_new(plmm_model_cfg(d->model), &spec, out, err));
    plmm_adapter_init_kaiming(*out, start);
    return PLMM_OK;
}

/* The installed version of the expert, or NULL if the device follows none or has none. */
static plmm_status installed_expert(const device *d, const char *name, plmm_adapter **out,
                                    plmm_error *err)
{
    plmm_store_expert x;
    plmm_expert folder;
    plmm_manifest m;
    *out = NULL;
    plmm_status rc = device_expert(d, name, &x, err);
    if (rc == PLMM_ERR_NOTFOUND && name == NULL) {
        return PLMM_OK;
    }
    PLMM_TRY(rc);
    if (x.version == 0) {
        return PLMM_OK;
    }
    PLMM_TRY(device_expert_folder(d, &x, &folder, err));
    return plmm_expert_load(&folder, x.version, d->model, &d->base, out, &m, err);
}

/* Replaces the directory `personal` by one with this adapter. */
static plmm_status save_personal(const device *d, const plmm_adapter *a, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    PLMM_TRY(device_path(d, "personal", path, err));
    return plmm_peft_save(path, a, PLMM_F32, d->config.base, err);
}

typedef struct session {
    device *d;
    const char *name; /* of the expert, in a round */
    plmm_adapter *expert, *personal;
    plmm_examples examples;
    plmm_trainer *trainer;
} session;

static void session_free(session *s)
{
    plmm_trainer_free(s->trainer);
    plmm_examples_free(&s->examples);
    plmm_adapter_free(s->expert);
    plmm_adapter_free(s->personal);
}

static uint32_t rank_of(const plmm_adapter *a)
{
    return a != NULL ? plmm_adapter_spec(a)->rank : 0;
}

static plmm_status make_trainer(session *s, const plmm_adapter *on, const plmm_adapter *below,
                                uint32_t batch_tokens, plmm_error *err)
{
    uint32_t seq = s->d->config.seq_max;
    plmm_trainer_sizes sizes = {.tokens = batch_tokens < seq ? seq : batch_tokens,
                                .seq_max = seq,
                                .rank_below = rank_of(below)};
    sizes.tokens = sizes.tokens > 512 && seq <= 512 ? 512 : sizes.tokens;
    return plmm_trainer_new(plmm_model_cfg(s->d->model), plmm_adapter_spec(on), &sizes, &s->trainer,
                            err);
}

static plmm_status train_personal(session *s, const char *expert, plmm_error *err)
{
    device *d = s->d;
    plmm_trainer_params p = plmm_trainer_params_default();
    plmm_trainer_stats stats;
    PLMM_TRY(device_model(d, err));
    PLMM_TRY(device_examples(d, NULL, &s->examples, err));
    PLMM_TRY(installed_expert(d, expert, &s->expert, err));
    PLMM_TRY(personal_or_new(d, &s->personal, err));
    PLMM_TRY(make_trainer(s, s->personal, s->expert, d->config.batch_tokens, err));
    p.epochs = d->config.epochs;
    p.batch_tokens = d->config.batch_tokens;
    p.lr = (float)d->config.learning_rate;
    p.factors = PLMM_FACTOR_AB;
    p.measure = true;
    PLMM_TRY(device_draw(&p.seed, err));
    float *delta = plmm_alloc(plmm_travel_count(s->personal, p.factors), sizeof *delta);
    if (delta == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for an update");
    }
    const plmm_adapter *const below[] = {s->expert};
    plmm_stack stack = {below, s->expert != NULL ? 1 : 0};
    plmm_status rc = plmm_trainer_run(s->trainer, d->model, s->personal, &stack, &s->examples, &p,
                                      delta, &stats, err);
    plmm_free(delta);
    rc = rc == PLMM_OK ? save_personal(d, plmm_trainer_adapter(s->trainer), err) : rc;
    if (rc == PLMM_OK) {
        (void)printf("%u dialogues, %u steps: loss on them %.4f before, %.4f after\n",
                     stats.examples, stats.steps, stats.loss_before, stats.loss_after);
    }
    return rc;
}

plmm_status device_train(plmm_cli_args *a, plmm_error *err)
{
    device d;
    session s = {.d = &d};
    plmm_status rc = device_open(&d, a->operands[0], a, err);
    rc = rc == PLMM_OK ? train_personal(&s, plmm_cli_text(a, "expert"), err) : rc;
    session_free(&s);
    device_close(&d);
    return rc;
}

/* ---- join ---- */

static plmm_status round_train(void *ctx, const plmm_round_params *p, float *delta,
                               uint32_t *weight, plmm_error *err)
{
    session *s = ctx;
    plmm_trainer_params t = plmm_trainer_params_default();
    plmm_trainer_stats stats;
    PLMM_TRY(device_examples(s->d, s->name, &s->examples, err));
    plmm_trainer_free(s->trainer);
    s->trainer = NULL;
    PLMM_TRY(make_trainer(s, s->expert, s->personal, p->batch_tokens, err));
    t.steps = p->steps;
    t.batch_tokens = p->batch_tokens;
    t.lr = (float)p->learning_rate;
    t.factors = (plmm_factor)p->factor;
    PLMM_TRY(device_draw(&t.seed, err));
    const plmm_adapter *const below[] = {s->personal};
    plmm_stack stack = {below, s->personal != NULL ? 1 : 0};
    PLMM_TRY(plmm_trainer_run(s->trainer, s->d->model, s->expert, &stack, &s->examples, &t, delta,
                              &stats, err));
    *weight = stats.examples;
    return PLMM_OK;
}

/* What this device is willing to send to the expert: the factors of its method, in its shape. */
static plmm_status policy_vectors(const session *s, const plmm_manifest *m, plmm_policy *policy,
                                  plmm_error *err)
{
    policy->vectors_n = 0;
    for (uint64_t round = 0; round < 2; round++) {
        plmm_factor f = plmm_method_factor((plmm_method)m->method, round);
        if (round == 1 && policy->vectors[0].factor == (uint32_t)f) {
            break;
        }
        plmm_policy_vector *v = &policy->vectors[policy->vectors_n++];
        *v = (plmm_policy_vector){.method = m->method,
                                  .factor = (uint32_t)f,
                                  .length = (uint32_t)plmm_travel_count(s->expert, f)};
        PLMM_TRY(plmm_expert_names(&v->names, s->expert, f, err));
    }
    return PLMM_OK;
}

static plmm_status pinned(const device *d, const char *expert, const char *key, char **value,
                          plmm_error *err)
{
    char name[PLMM_STORE_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "expert.%s.%s", expert, key);
    PLMM_TRY(plmm_store_get(d->store, name, value, err));
    return *value != NULL ? PLMM_OK
                          : plmm_fail(err, PLMM_ERR_STATE, "%s is not pinned; enroll again", name);
}

/* Is the number pinned under key the one found? */
static plmm_status check_pin(const device *d, const char *expert, const char *key, double found,
                             plmm_error *err)
{
    char *text = NULL;
    double want = 0;
    PLMM_TRY(pinned(d, expert, key, &text, err));
    plmm_status rc = plmm_real_parse(text, &want, err);
    plmm_free(text);
    if (rc == PLMM_OK && (float)want != (float)found) {
        rc = plmm_fail(err, PLMM_ERR_POLICY,
                       "the version of %s has adapter %s %g, enrolled was %g: refused", expert, key,
                       found, want);
    }
    return rc;
}

static plmm_status check_method(const device *d, const char *expert, uint32_t method,
                                plmm_error *err)
{
    char *text = NULL;
    plmm_method want;
    PLMM_TRY(pinned(d, expert, "method", &text, err));
    plmm_status rc = plmm_method_parse(text, &want, err);
    plmm_free(text);
    if (rc == PLMM_OK && (uint32_t)want != method) {
        rc = plmm_fail(err, PLMM_ERR_POLICY, "the version of %s has another method than enrolled",
                       expert);
    }
    return rc;
}

static plmm_status round_installed(void *ctx, const plmm_manifest *m, plmm_policy *policy,
                                   plmm_error *err)
{
    session *s = ctx;
    plmm_store_expert x;
    plmm_expert folder;
    plmm_manifest same;
    plmm_adapter *fresh = NULL;
    PLMM_TRY(plmm_store_expert_get(s->d->store, m->expert, &x, err));
    PLMM_TRY(device_expert_folder(s->d, &x, &folder, err));
    PLMM_TRY(plmm_expert_load(&folder, m->version, s->d->model, &s->d->base, &fresh, &same, err));
    const plmm_lora_spec *spec = plmm_adapter_spec(fresh);
    plmm_status rc = check_method(s->d, m->expert, m->method, err);
    rc = rc == PLMM_OK ? check_pin(s->d, m->expert, "rank", spec->rank, err) : rc;
    rc = rc == PLMM_OK ? check_pin(s->d, m->expert, "alpha", (double)spec->alpha, err) : rc;
    rc = rc == PLMM_OK ? check_pin(s->d, m->expert, "targets", spec->targets, err) : rc;
    if (rc == PLMM_OK && s->d->config.error_feedback != 0) {
        rc = plmm_feedback_check(m->method, PLMM_NOISE_NONE, err);
    }
    if (rc != PLMM_OK) {
        plmm_adapter_free(fresh);
        return rc;
    }
    plmm_adapter_free(s->expert);
    s->expert = fresh;
    return policy_vectors(s, m, policy, err);
}

static void on_signal(int number)
{
    (void)number;
    plmm_join_stop();
}

static void fill_policy(plmm_policy *p, const device_config *c, const plmm_anchor *anchor)
{
    plmm_policy_default(p, anchor);
    p->n_min = c->n_min;
    p->gamma_ppm = (uint32_t)(c->gamma * 1e6 + 0.5);
    p->sigma = c->sigma;
    p->eta = c->eta;
    p->survivors_ppm = (uint32_t)(c->survivors * 1e6 + 0.5);
    p->weight_max = c->weight_max;
    p->clip_max = c->clip_max;
    p->steps_max = c->steps_max;
    p->noise = c->noise;
    p->budget = (plmm_budget){.epsilon = c->epsilon > 0 ? c->epsilon : (double)INFINITY,
                              .delta = c->delta,
                              .adversary = c->adversary};
}

static plmm_status set_address(const device *d, plmm_store_expert *x, const char *address,
                               plmm_error *err)
{
    if (address == NULL) {
        return PLMM_OK;
    }
    (void)snprintf(x->address, sizeof x->address, "%s", address);
    return plmm_store_expert_add(d->store, x, err);
}

static plmm_status join(session *s, const plmm_cli_args *a, plmm_join_result *result,
                        plmm_error *err)
{
    device *d = s->d;
    plmm_store_expert x;
    plmm_expert folder;
    plmm_sign_pk pk;
    plmm_join_config c = {.store = d->store,
                          .folder = &folder,
                          .hooks = {s, round_train, round_installed},
                          .rounds = (uint32_t)plmm_cli_int(a, "rounds"),
                          .resend_ms = d->config.resend_ms,
                          .silence_ms = d->config.silence_ms,
                          .error_feedback = d->config.error_feedback != 0,
                          .patience_ms = d->config.patience_ms};
    PLMM_TRY(device_model(d, err));
    PLMM_TRY(device_personal(d, &s->personal, err));
    PLMM_TRY(device_expert(d, plmm_cli_text(a, "expert"), &x, err));
    PLMM_TRY(set_address(d, &x, plmm_cli_text(a, "address"), err));
    PLMM_TRY(device_expert_folder(d, &x, &folder, err));
    fill_policy(&c.policy, &d->config, &x.anchor);
    c.expert = s->name = x.anchor.expert;
    if (!plmm_cli_flag(a, "update")) { /* rather now than in the middle of a round */
        PLMM_TRY(device_examples(d, s->name, &s->examples, err));
    }
    PLMM_TRY(device_key_read(d, &pk, &c.key, err));
    plmm_status rc = plmm_cli_flag(a, "update") ? plmm_join_update(&c, result, err)
                                                : plmm_join_run(&c, result, err);
    plmm_wipe(&c.key, sizeof c.key);
    return rc;
}

plmm_status device_join(plmm_cli_args *a, plmm_error *err)
{
    device d;
    session s = {.d = &d};
    plmm_join_result r = {0};
    struct sigaction act = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
    plmm_status rc = device_open(&d, a->operands[0], a, err);
    rc = rc == PLMM_OK ? join(&s, a, &r, err) : rc;
    if (rc == PLMM_OK || r.bytes_up > 0) {
        (void)printf("%u rounds completed, %u left early; version %llu; %llu bytes up, %llu down\n",
                     r.rounds, r.aborted, (unsigned long long)r.version,
                     (unsigned long long)r.bytes_up, (unsigned long long)r.bytes_down);
    }
    session_free(&s);
    device_close(&d);
    return rc;
}

/* ---- chat ---- */

typedef struct answer {
    int32_t *ids;
    size_t n, cap;
} answer;

static bool keep_token(void *user, int32_t token)
{
    answer *a = user;
    if (a->n < a->cap) {
        a->ids[a->n++] = token;
    }
    return a->n < a->cap;
}

static plmm_status generate(session *s, const plmm_ids *prompt, answer *out, plmm_error *err)
{
    const device *d = s->d;
    const plmm_model_config *cfg = plmm_model_cfg(d->model);
    const plmm_adapter *adapters[2];
    plmm_stack stack = {adapters, 0};
    plmm_decoder *decoder = NULL;
    plmm_decoder_params dp = {
        .slots = 1, .positions = cfg->context, .rank = rank_of(s->expert) + rank_of(s->personal)};
    plmm_sampling p = plmm_sampling_default();
    if (s->expert != NULL) {
        adapters[stack.count++] = s->expert;
    }
    if (s->personal != NULL) {
        adapters[stack.count++] = s->personal;
    }
    p.temperature = (float)d->config.temperature;
    p.top_k = d->config.top_k;
    p.top_p = (float)d->config.top_p;
    p.max_new = d->config.max_new;
    if (d->chat.stop >= 0) {
        p.stop[p.stops++] = d->chat.stop;
    }
    PLMM_TRY(device_draw(&p.seed, err));
    PLMM_TRY(plmm_decoder_new(cfg, &dp, &decoder, err));
    plmm_status rc = plmm_generate(decoder, d->model, &stack, prompt->v, prompt->n, &p, keep_token,
                                   out, NULL, err);
    plmm_decoder_free(decoder);
    return rc;
}

static plmm_status print_answer(const device *d, const answer *a, plmm_error *err)
{
    char *text = NULL;
    size_t len = 0;
    PLMM_TRY(plmm_tokenizer_decode(d->tokenizer, a->ids, a->n, PLMM_DECODE_SKIP_SPECIALS, &text,
                                   &len, err));
    size_t from = text[0] == ' ' ? 1 : 0;
    if (!d->chat.tokens) { /* a plain-text answer is one line */
        len = from + strcspn(text + from, "\n");
    }
    (void)printf("%.*s\n", (int)(len - from), text + from);
    plmm_free(text);
    return PLMM_OK;
}

static plmm_status chat(session *s, const char *question, const char *expert, plmm_error *err)
{
    device *d = s->d;
    plmm_ids prompt = {0};
    PLMM_TRY(device_model(d, err));
    PLMM_TRY(installed_expert(d, expert, &s->expert, err));
    PLMM_TRY(device_personal(d, &s->personal, err));
    uint32_t context = plmm_model_cfg(d->model)->context;
    uint32_t room = d->config.max_new < context / 2 ? d->config.max_new : context / 2;
    answer a = {.cap = room};
    a.ids = plmm_alloc(room, sizeof *a.ids);
    plmm_status rc = a.ids != NULL
                         ? plmm_chat_prompt(&d->chat, question, context - room, &prompt, err)
                         : plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for an answer");
    rc = rc == PLMM_OK ? generate(s, &prompt, &a, err) : rc;
    rc = rc == PLMM_OK ? print_answer(d, &a, err) : rc;
    plmm_free(a.ids);
    plmm_ids_free(&prompt);
    return rc;
}

plmm_status device_chat(plmm_cli_args *a, plmm_error *err)
{
    device d;
    session s = {.d = &d};
    plmm_status rc = device_open(&d, a->operands[0], a, err);
    rc = rc == PLMM_OK ? chat(&s, a->operands[1], plmm_cli_text(a, "expert"), err) : rc;
    session_free(&s);
    device_close(&d);
    return rc;
}
