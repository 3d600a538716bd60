#include "device.h"

#include "plmm/alloc.h"

#include <string.h>

static const char *const rules[] = {"scores", "random", "fifo", NULL};

static const char *const adversaries[] = {"server", "models", NULL};

static const plmm_config_key keys[] = {
    PLMM_CONFIG_TEXT(device_config, base, "base", "",
                     "base model: a Hugging Face directory or a llama2.c file"),
    PLMM_CONFIG_U32(device_config, bins, "buffer.bins", "128", 1, PLMM_BUFFER_BINS_MAX,
                    "dialogues that are kept"),
    PLMM_CONFIG_ENUM(device_config, rule, "buffer.rule", "scores", rules,
                     "who decides what is kept: the three scores, chance, or age"),
    PLMM_CONFIG_TEXT(device_config, lexicons, "buffer.lexicons", "",
                     "folder of word lists, one *.txt a domain"),
    PLMM_CONFIG_U32(device_config, seq_max, "buffer.seq_max", "256", 8, 8192,
                    "tokens of a dialogue that are read"),
    PLMM_CONFIG_U32(device_config, personal_rank, "personal.rank", "4", 1, PLMM_RANK_MAX,
                    "rank of the personal adapter"),
    PLMM_CONFIG_REAL(device_config, personal_alpha, "personal.alpha", "8", 0.001, 100000,
                     "its scale is alpha / rank"),
    PLMM_CONFIG_TEXTS(device_config, personal_targets, "personal.targets",
                      "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
                      "matrices that it adapts"),
    PLMM_CONFIG_U32(device_config, epochs, "train.epochs", "3", 1, 10000,
                    "passes of train over the buffer"),
    PLMM_CONFIG_U32(device_config, batch_tokens, "train.batch_tokens", "512", 1, 1048576,
                    "tokens of one step of train"),
    PLMM_CONFIG_REAL(device_config, learning_rate, "train.learning_rate", "0.001", 1e-9, 10,
                     "peak learning rate of train"),
    PLMM_CONFIG_U32(device_config, n_min, "policy.n_min", "10", 3, PLMM_DEVICES_MAX,
                    "refuse a round that may sum fewer devices"),
    PLMM_CONFIG_REAL(device_config, gamma, "policy.gamma", "0.1", 0, 0.499999,
                     "refuse a round that expects fewer corrupt devices, as a share"),
    PLMM_CONFIG_U32(device_config, sigma, "policy.sigma", "40", 1, 80,
                    "refuse fewer bits of privacy"),
    PLMM_CONFIG_U32(device_config, eta, "policy.eta", "20", 1, 60, "refuse fewer bits of success"),
    PLMM_CONFIG_REAL(device_config, survivors, "policy.survivors", "0.5", 0, 1,
                     "refuse a sum over a smaller share of the roster"),
    PLMM_CONFIG_U32(device_config, weight_max, "policy.weight_max", "65536", 1, 65536,
                    "refuse a larger weight for one device"),
    PLMM_CONFIG_REAL(device_config, clip_max, "policy.clip_max", "100", 1e-6, 1e6,
                     "refuse a looser bound on an update"),
    PLMM_CONFIG_U32(device_config, noise, "policy.noise", "0", 0, 1,
                    "1: refuse a round without differential privacy"),
    PLMM_CONFIG_REAL(device_config, epsilon, "policy.epsilon", "0", 0, 1e6,
                     "this device's own budget with an expert: refuse a round beyond it, "
                     "whatever the aggregator says; 0: no bound"),
    PLMM_CONFIG_REAL(device_config, delta, "policy.delta", "1e-6", 1e-15, 0.5, "of that epsilon"),
    PLMM_CONFIG_ENUM(device_config, adversary, "policy.adversary", "server", adversaries,
                     "against whom: the aggregator, or (trusting it) who sees its versions only"),
    PLMM_CONFIG_U32(device_config, steps_max, "policy.steps_max", "100000", 1, 1000000,
                    "refuse to train longer"),
    PLMM_CONFIG_U32(device_config, resend_ms, "join.resend_ms", "5000", 10, 3600000,
                    "send again what was not answered after so long"),
    PLMM_CONFIG_U32(device_config, silence_ms, "join.silence_ms", "300000", 20, 86400000,
                    "leave a round when nothing was heard for so long"),
    PLMM_CONFIG_U32(device_config, patience_ms, "join.patience_ms", "600000", 100, 86400000,
                    "end join when no round began for so long"),
    PLMM_CONFIG_U32(device_config, error_feedback, "join.error_feedback", "0", 0, 1,
                    "1: add what rounding took to the next update; not with method alternate"),
    PLMM_CONFIG_U32(device_config, max_new, "chat.max_new", "128", 1, 4096, "tokens of an answer"),
    PLMM_CONFIG_REAL(device_config, temperature, "chat.temperature", "0", 0, 10,
                     "0 always gives the most probable word"),
    PLMM_CONFIG_U32(device_config, top_k, "chat.top_k", "0", 0, 1000000,
                    "choose among so many words; 0: all"),
    PLMM_CONFIG_REAL(device_config, top_p, "chat.top_p", "1", 0.01, 1,
                     "choose among words of this much probability"),
};
const plmm_config_table device_table = {"configuration of a device (device.json)", keys,
                                        sizeof keys / sizeof keys[0]};

plmm_status device_path(const device *d, const char *name, char out[PLMM_PATH_MAX], plmm_error *err)
{
    return plmm_path_join(out, PLMM_PATH_MAX, d->dir, name, err);
}

plmm_status device_draw(uint64_t *out, plmm_error *err)
{
    plmm_seed seed;
    PLMM_TRY(plmm_seed_system(&seed, err));
    memcpy(out, seed.b, sizeof *out);
    plmm_wipe(&seed, sizeof seed);
    return PLMM_OK;
}

plmm_status device_key_make(const device *d, plmm_sign_pk *pk, plmm_error *err)
{
    char path[PLMM_PATH_MAX], text[66];
    plmm_seed seed;
    plmm_sign_sk sk;
    PLMM_TRY(device_path(d, "device.key", path, err));
    if (plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_STATE, "%s is there already", path);
    }
    PLMM_TRY(plmm_seed_system(&seed, err));
    plmm_sign_keypair(pk, &sk, &seed);
    plmm_hex_write(text, seed.b, sizeof seed.b);
    text[64] = '\n';
    plmm_status rc = plmm_file_write(path, text, 65, PLMM_MODE_SECRET, err);
    plmm_wipe(&seed, sizeof seed);
    plmm_wipe(&sk, sizeof sk);
    plmm_wipe(text, sizeof text);
    return rc;
}

plmm_status device_key_read(const device *d, plmm_sign_pk *pk, plmm_sign_sk *sk, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *data = NULL;
    size_t len = 0;
    plmm_seed seed;
    PLMM_TRY(device_path(d, "device.key", path, err));
    PLMM_TRY(plmm_file_check_secret(path, err));
    PLMM_TRY(plmm_file_read(path, 256, &data, &len, err));
    data[strcspn((char *)data, "\r\n")] = '\0';
    plmm_status rc = plmm_hex_read(seed.b, sizeof seed.b, (char *)data, path, err);
    if (rc == PLMM_OK) {
        plmm_sign_keypair(pk, sk, &seed);
    }
    plmm_wipe(data, len);
    plmm_free(data);
    plmm_wipe(&seed, sizeof seed);
    return rc;
}

static plmm_status read_config(device *d, const plmm_cli_args *a, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *text = NULL;
    size_t len = 0;
    PLMM_TRY(device_path(d, "device.json", path, err));
    if (!plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND,
                         "%s is no device's state: it has no device.json; make one with "
                         "plmm-client init",
                         d->dir);
    }
    PLMM_TRY(plmm_file_read(path, 1 << 20, &text, &len, err));
    plmm_config_defaults(&device_table, &d->config);
    plmm_status rc = plmm_config_parse(&device_table, (char *)text, len, path, &d->config, err);
    plmm_free(text);
    for (size_t i = 0; rc == PLMM_OK && plmm_cli_item(a, "set", i) != NULL; i++) {
        rc = plmm_config_set(&device_table, plmm_cli_item(a, "set", i), &d->config, err);
    }
    return rc;
}

plmm_status device_open(device *d, const char *dir, const plmm_cli_args *a, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    *d = (device){.dir = dir};
    PLMM_TRY(plmm_crypto_init(err));
    PLMM_TRY(read_config(d, a, err));
    PLMM_TRY(device_path(d, "device.db", path, err));
    return plmm_store_open(path, &d->store, err);
}

void device_close(device *d)
{
    plmm_tokenizer_free(d->tokenizer);
    plmm_model_free(d->model);
    plmm_lexicons_free(d->lexicons);
    plmm_store_close(d->store);
    *d = (device){.dir = d->dir};
}

plmm_status device_model(device *d, plmm_error *err)
{
    PLMM_TRY(plmm_checkpoint_load(d->config.base, &d->model, &d->tokenizer, err));
    if (d->tokenizer == NULL) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND, "%s has no tokenizer beside it", d->config.base);
    }
    const plmm_model_config *cfg = plmm_model_cfg(d->model);
    plmm_chat_init(&d->chat, d->tokenizer, cfg->bos, cfg->eos);
    plmm_expert_base(&d->base, d->model);
    return PLMM_OK;
}

plmm_status device_lexicons(device *d, plmm_error *err)
{
    PLMM_TRY(plmm_lexicons_new(&d->lexicons, err));
    if (d->config.lexicons[0] == '\0') {
        return PLMM_OK;
    }
    return plmm_lexicons_load(d->lexicons, d->config.lexicons, err);
}

plmm_status device_buffer(device *d, plmm_buffer **b, plmm_error *err)
{
    plmm_buffer_params p = plmm_buffer_params_default(plmm_model_cfg(d->model)->dim);
    p.bins = d->config.bins;
    p.rule = (plmm_select_rule)d->config.rule;
    PLMM_TRY(device_draw(&p.seed, err));
    return plmm_store_load_buffer(d->store, &p, d->lexicons, b, err);
}

plmm_status device_expert(const device *d, const char *name, plmm_store_expert *x, plmm_error *err)
{
    char names[16][PLMM_EXPERT_MAX + 1];
    size_t n = 0;
    if (name != NULL) {
        return plmm_store_expert_get(d->store, name, x, err);
    }
    PLMM_TRY(plmm_store_experts(d->store, names, 16, &n, err));
    if (n == 0) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND,
                         "%s follows no expert; plmm-client enroll %s BUNDLE adds one", d->dir,
                         d->dir);
    }
    if (n > 1) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "%s follows %zu experts; say which with --expert",
                         d->dir, n);
    }
    return plmm_store_expert_get(d->store, names[0], x, err);
}

plmm_status device_expert_folder(const device *d, const plmm_store_expert *x, plmm_expert *folder,
                                 plmm_error *err)
{
    char experts[PLMM_PATH_MAX], root[PLMM_PATH_MAX];
    PLMM_TRY(device_path(d, "experts", experts, err));
    PLMM_TRY(plmm_path_join(root, sizeof root, experts, x->anchor.expert, err));
    PLMM_TRY(plmm_dir_make(experts, PLMM_MODE_DIR, err));
    return plmm_expert_open(folder, root, &x->anchor, err);
}

plmm_status device_personal(const device *d, plmm_adapter **out, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    *out = NULL;
    PLMM_TRY(device_path(d, "personal", path, err));
    return plmm_path_is_dir(path) ? plmm_peft_load(path, plmm_model_cfg(d->model), out, err)
                                  : PLMM_OK;
}

typedef struct collector {
    device *d;
    const char *expert; /* NULL: for the personal adapter */
    plmm_examples *x;
    plmm_sample sample;
} collector;

/* Is the dialogue of the expert's domain? By what it says of itself, else by the lexicon that
 * dominates it; without a lexicon of the expert's name there is nothing to tell it by. */
static plmm_status of_domain(const device *d, const char *expert, const plmm_store_dialogue *s,
                             bool *yes, plmm_error *err)
{
    if (s->domain[0] != '\0') {
        *yes = strcmp(s->domain, expert) == 0;
        return PLMM_OK;
    }
    int32_t own = plmm_lexicons_find(d->lexicons, expert);
    plmm_verdict v;
    bool still;
    PLMM_TRY(plmm_store_verdict(d->store, d->lexicons, s->id, &v, &still, err));
    *yes = own == PLMM_DOMAIN_NONE || v.domain == own;
    return PLMM_OK;
}

static plmm_status collect(void *ctx, const plmm_store_dialogue *s, plmm_error *err)
{
    collector *c = ctx;
    bool yes = true;
    if (c->expert != NULL) {
        PLMM_TRY(of_domain(c->d, c->expert, s, &yes, err));
    }
    return yes ? plmm_examples_add(c->x, &c->d->chat, s->prompt, s->response, c->d->config.seq_max,
                                   &c->sample, err)
               : PLMM_OK;
}

plmm_status device_examples(device *d, const char *expert, plmm_examples *x, plmm_error *err)
{
    collector c = {.d = d, .expert = expert, .x = x};
    plmm_examples_clear(x);
    if (d->lexicons == NULL) {
        PLMM_TRY(device_lexicons(d, err));
    }
    plmm_status rc = plmm_store_each(d->store, collect, &c, err);
    plmm_sample_free(&c.sample);
    if (rc == PLMM_OK && x->n == 0) {
        rc = plmm_fail(
            err, PLMM_ERR_STATE,
            "the buffer of %s holds no dialogue%s%s; plmm-client ingest %s FILE fills it", d->dir,
            expert != NULL ? " of the domain " : "", expert != NULL ? expert : "", d->dir);
    }
    return rc;
}
