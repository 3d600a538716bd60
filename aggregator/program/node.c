#include "node.h"

#include "plmm/alloc.h"

#include <stdio.h>
#include <string.h>

static const char *const protocols[] = {"secagg", "oneshot", NULL};
static const char *const masks[] = {"auto", "ring", "kahe", "kahe-long", NULL};
static const char *const streams[] = {"auto", "chacha20", "aes256ctr", NULL};
static const char *const methods[] = {"naive", "ffa", "alternate", NULL};

static const char *const noises[] = {"none", "skellam", "gaussian", NULL};
static const char *const modes[] = {"distributed", "central", "local", NULL};
static const char *const adversaries[] = {"server", "models", NULL};

static const plmm_config_key keys[] = {
    PLMM_CONFIG_TEXT(node_config, expert, "expert", "", "name of the expert: a-z 0-9 . - _"),
    PLMM_CONFIG_TEXT(node_config, address, "address", "tcp://127.0.0.1:7878",
                     "where serve listens and devices dial; port 0 takes a free one"),
    PLMM_CONFIG_TEXT(node_config, registrar, "registrar", "",
                     "where the registrar answers; empty: as registrar.pub says"),
    PLMM_CONFIG_TEXT(node_config, base, "base", "",
                     "base model: a Hugging Face directory or a llama2.c file"),
    PLMM_CONFIG_ENUM(node_config, method, "method", "alternate", methods,
                     "how adapters are summed (plmm-model info --methods compares)"),
    PLMM_CONFIG_U32(node_config, rank, "adapter.rank", "8", 1, PLMM_RANK_MAX,
                    "rank of the adapter"),
    PLMM_CONFIG_REAL(node_config, alpha, "adapter.alpha", "16", 0.001, 100000,
                     "scale of the adapter is alpha / rank"),
    PLMM_CONFIG_TEXTS(node_config, targets, "adapter.targets",
                      "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
                      "matrices that are adapted"),
    PLMM_CONFIG_U32(node_config, cohort, "round.cohort", "20", 3, PLMM_DEVICES_MAX,
                    "most devices in a round"),
    PLMM_CONFIG_U32(node_config, n_min, "round.n_min", "10", 3, PLMM_DEVICES_MAX,
                    "fewest vectors that may be summed"),
    PLMM_CONFIG_U32(node_config, roster_min, "round.roster_min", "0", 0, PLMM_DEVICES_MAX,
                    "fewest devices to go on with after the first step; 0: three quarters of the "
                    "cohort, or more if fewer are not protected"),
    PLMM_CONFIG_U32(
        node_config, eligible, "round.eligible", "0", 0, 10000000,
        "at least so many of the enrolled devices may take part in a round, drawn by the "
        "registrar's chain; 0: as many as the cohort. More than the cohort lets a round "
        "find enough devices when many are away, and counts more of them as corrupt"),
    PLMM_CONFIG_U32(node_config, checkins_max, "round.checkins_max", "0", 0, PLMM_CHECKINS_MAX,
                    "gather so many devices before a cohort is drawn from them, or until gather_ms "
                    "are over; at least the cohort and what is invited beyond it"),
    PLMM_CONFIG_REAL(node_config, gamma, "round.gamma", "0.1", 0, 0.499999,
                     "share of devices that may be corrupt"),
    PLMM_CONFIG_REAL(node_config, delta, "round.delta", "0.2", 0, 0.999999,
                     "share of devices that may drop out"),
    PLMM_CONFIG_REAL(node_config, over, "round.over", "0", 0, 4,
                     "invite so much more than the cohort, as a share of it"),
    PLMM_CONFIG_U32(node_config, sigma, "round.sigma", "40", 1, 80, "bits of privacy"),
    PLMM_CONFIG_U32(node_config, eta, "round.eta", "20", 1, 60, "bits of success"),
    PLMM_CONFIG_ENUM(node_config, protocol, "round.protocol", "secagg", protocols,
                     "secagg: neighbours and four exchanges; oneshot: one message a device and a "
                     "committee, for cohorts of a thousand and more"),
    PLMM_CONFIG_ENUM(
        node_config, mask, "round.mask", "auto", masks,
        "what hides a vector: ring (streams over Z_2^b), kahe (Ring-LWE with added "
        "keys), kahe-long (the same for long vectors); auto: ring for secagg, kahe for "
        "oneshot"),
    PLMM_CONFIG_ENUM(node_config, stream, "round.stream", "auto", streams,
                     "what masks are made of; auto: AES-256-CTR where this processor has "
                     "instructions for it, else ChaCha20"),
    PLMM_CONFIG_U32(node_config, epoch_rounds, "round.epoch_rounds", "16", 1, PLMM_EPOCH_ROUNDS,
                    "oneshot: rounds that one sealed roster serves, as long as enough of its "
                    "devices come; who is not on it waits for the next seal; 1: each round is "
                    "sealed"),
    PLMM_CONFIG_U32(node_config, gather_ms, "round.gather_ms", "30000", 100, 86400000,
                    "how long to wait for devices, at most"),
    PLMM_CONFIG_U32(node_config, phase_ms, "round.phase_ms", "10000", 100, 3600000,
                    "how long each step of the protocol may take"),
    PLMM_CONFIG_U32(node_config, train_ms, "round.train_ms", "120000", 100, 86400000,
                    "how long training and upload may take"),
    PLMM_CONFIG_REAL(node_config, clip, "vector.clip", "1", 1e-6, 1e6,
                     "L2 bound of a device's update"),
    PLMM_CONFIG_U32(node_config, quant_bits, "vector.quant_bits", "16", PLMM_QUANT_BITS_MIN,
                    PLMM_QUANT_BITS_MAX, "bits of a coordinate of one device"),
    PLMM_CONFIG_U32(node_config, weight_max, "vector.weight_max", "64", 1, 65536,
                    "largest weight (number of examples) of a device"),
    PLMM_CONFIG_U32(node_config, rotate, "vector.rotate", "0", 0, 1,
                    "1: a random rotation spreads an update over its coordinates before rounding"),
    PLMM_CONFIG_ENUM(node_config, privacy.noise, "privacy.noise", "none", noises,
                     "integer noise that makes rounds differentially private; all devices then "
                     "weigh the same"),
    PLMM_CONFIG_ENUM(node_config, privacy.mode, "privacy.mode", "distributed", modes,
                     "who adds it: each device a share, the aggregator, or each device all of it"),
    PLMM_CONFIG_REAL(node_config, privacy.epsilon, "privacy.epsilon", "8", 0, 1e6,
                     "no round begins that would exceed it; 0: no bound"),
    PLMM_CONFIG_REAL(node_config, privacy.delta, "privacy.delta", "1e-6", 1e-15, 0.5,
                     "of every epsilon"),
    PLMM_CONFIG_ENUM(node_config, privacy.adversary, "privacy.adversary", "server", adversaries,
                     "against whom: who sees the cohort and the sums, or the versions only"),
    PLMM_CONFIG_U32(node_config, privacy.rounds, "privacy.rounds", "100", 1, 1000000,
                    "the noise is what makes so many rounds spend privacy.epsilon"),
    PLMM_CONFIG_REAL(node_config, privacy.multiplier, "privacy.multiplier", "0", 0, 1e6,
                     "instead: noise's deviation over the sensitivity; 0: by privacy.rounds"),
    PLMM_CONFIG_U32(node_config, privacy.levels, "privacy.levels", "16", 0, PLMM_NOISE_LEVELS_MAX,
                    "parts of a device's noise that are taken out again when few drop (Skellam, "
                    "distributed)"),
    PLMM_CONFIG_REAL(node_config, privacy.adaptive, "privacy.adaptive", "0", 0, 1,
                     "quantile of the updates' norms that the clip follows from round to round, by "
                     "a noised bit of each device; 0: it stays at vector.clip"),
    PLMM_CONFIG_REAL(node_config, privacy.adaptive_rate, "privacy.adaptive_rate", "0.2", 1e-6, 10,
                     "how fast it follows"),
    PLMM_CONFIG_U32(node_config, privacy.tree, "privacy.tree", "0", 0, PLMM_TREE_MAX,
                    "central mode: so many rounds share a tree of correlated noise (DP-FTRL), and "
                    "a device takes part in one of them; 0: each round has noise of its own"),
    PLMM_CONFIG_REAL(node_config, privacy.overhead, "privacy.overhead", "0.02", 1e-6, 10,
                     "what rounding may add to the sensitivity: chooses the quantiser's bits, at "
                     "most vector.quant_bits"),
    PLMM_CONFIG_U32(node_config, steps, "train.steps", "8", 1, 100000,
                    "optimiser steps of a device in a round"),
    PLMM_CONFIG_U32(node_config, batch_tokens, "train.batch_tokens", "512", 1, 1048576,
                    "tokens of one step"),
    PLMM_CONFIG_REAL(node_config, learning_rate, "train.learning_rate", "0.003", 1e-9, 10,
                     "of a device's optimiser"),
    PLMM_CONFIG_REAL(node_config, server_rate, "server.rate", "1", 0.0001, 100,
                     "step of the server along the mean update; 1 is the plain average"),
    PLMM_CONFIG_U32(node_config, slots, "serve.slots", "256", 8, 65536,
                    "requests open at a time: more than devices that wait at once"),
    PLMM_CONFIG_U32(node_config, hold_ms, "serve.hold_ms", "10000", 10, 600000,
                    "how long a device's request waits for news"),
    PLMM_CONFIG_U32(node_config, pause_ms, "serve.pause_ms", "1000", 0, 86400000, "between rounds"),
    PLMM_CONFIG_U32(node_config, linger_ms, "serve.linger_ms", "10000", 0, 3600000,
                    "after the last of --rounds: how long devices may fetch the version"),
};
const plmm_config_table node_table = {"configuration of an aggregator (node.json)", keys,
                                      sizeof keys / sizeof keys[0]};

plmm_status node_path(const char *dir, const char *name, char out[PLMM_PATH_MAX], plmm_error *err)
{
    return plmm_path_join(out, PLMM_PATH_MAX, dir, name, err);
}

plmm_status node_key_make(const char *path, plmm_sign_pk *pk, plmm_sign_sk *sk, plmm_error *err)
{
    plmm_seed seed;
    char text[66];
    if (plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_STATE, "%s is there already", path);
    }
    PLMM_TRY(plmm_seed_system(&seed, err));
    plmm_sign_keypair(pk, sk, &seed);
    plmm_hex_write(text, seed.b, sizeof seed.b);
    text[64] = '\n';
    plmm_status rc = plmm_file_write(path, text, 65, PLMM_MODE_SECRET, err);
    plmm_wipe(&seed, sizeof seed);
    plmm_wipe(text, sizeof text);
    return rc;
}

plmm_status node_key_read(const char *path, plmm_sign_pk *pk, plmm_sign_sk *sk, plmm_error *err)
{
    uint8_t *data = NULL;
    size_t len = 0;
    plmm_seed seed;
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

static plmm_status read_config(node *n, const plmm_cli_args *a, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *text = NULL;
    size_t len = 0;
    PLMM_TRY(node_path(n->dir, "node.json", path, err));
    if (!plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND,
                         "%s is no aggregator's state: it has no node.json; make one with "
                         "plmm-aggregator init",
                         n->dir);
    }
    PLMM_TRY(plmm_file_read(path, 1 << 20, &text, &len, err));
    plmm_config_defaults(&node_table, &n->config);
    plmm_status rc = plmm_config_parse(&node_table, (char *)text, len, path, &n->config, err);
    plmm_free(text);
    PLMM_TRY(rc);
    for (size_t i = 0; a != NULL && plmm_cli_item(a, "set", i) != NULL; i++) {
        PLMM_TRY(plmm_config_set(&node_table, plmm_cli_item(a, "set", i), &n->config, err));
    }
    return plmm_expert_check(n->config.expert, err);
}

plmm_status node_get_hex(plmm_node_store *s, const char *dir, const char *name, uint8_t *out,
                         size_t len, plmm_error *err)
{
    char *text = NULL;
    PLMM_TRY(plmm_node_get(s, name, &text, err));
    plmm_status rc = text != NULL ? plmm_hex_read(out, len, text, name, err)
                                  : plmm_fail(err, PLMM_ERR_FORMAT,
                                              "the database in %s has no %s; was init "
                                              "interrupted? remove the directory and begin again",
                                              dir, name);
    plmm_free(text);
    return rc;
}

plmm_status node_set_hex(plmm_node_store *s, const char *name, const uint8_t *bytes, size_t len,
                         plmm_error *err)
{
    char text[129];
    PLMM_ASSERT(2 * len < sizeof text);
    plmm_hex_write(text, bytes, len);
    return plmm_node_set(s, name, text, err);
}

void node_put_hex(plmm_json_writer *w, const char *key, const uint8_t *bytes, size_t len)
{
    char text[257];
    PLMM_ASSERT(2 * len < sizeof text);
    plmm_hex_write(text, bytes, len);
    node_put_text(w, key, text);
}

void node_put_text(plmm_json_writer *w, const char *key, const char *text)
{
    plmm_json_put_key(w, key);
    plmm_json_put_text(w, text);
}

plmm_status node_write_json(const char *path, plmm_text *text, plmm_status rc, plmm_error *err)
{
    rc = rc == PLMM_OK ? plmm_text_sink(text, "\n", 1, err) : rc;
    rc = rc == PLMM_OK ? plmm_file_write(path, text->text, text->len, PLMM_MODE_PUBLIC, err) : rc;
    plmm_text_free(text);
    return rc;
}

plmm_status node_read_json(const char *path, const char *kind, plmm_json **root, plmm_error *err)
{
    uint8_t *text = NULL;
    size_t len = 0;
    plmm_json *got = NULL;
    const char *found = NULL;
    PLMM_TRY(plmm_file_read(path, 1 << 16, &text, &len, err));
    plmm_status rc = plmm_json_parse((char *)text, len, path, NULL, &got, err);
    plmm_free(text);
    PLMM_TRY(rc);
    rc = plmm_json_need_text(got, path, "plmm", 32, &found, err);
    if (rc == PLMM_OK && strcmp(found, kind) != 0) {
        rc = plmm_fail(err, PLMM_ERR_FORMAT, "%s is about \"%s\", not \"%s\"", path, found, kind);
    }
    if (rc != PLMM_OK) {
        plmm_json_free(got);
        return rc;
    }
    *root = got;
    return PLMM_OK;
}

plmm_status node_json_hex(const plmm_json *root, const char *path, const char *key, uint8_t *out,
                          size_t len, plmm_error *err)
{
    const char *text = NULL;
    PLMM_TRY(plmm_json_need_text(root, path, key, 2 * len, &text, err));
    return plmm_hex_read(out, len, text, key, err);
}

/* The registrar that this expert trusts: pinned when registrar.pub is first seen. */
static plmm_status read_registrar(node *n, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    char *pinned = NULL;
    plmm_json *root = NULL;
    const char *expert = NULL, *address = NULL;
    plmm_sign_pk key;
    PLMM_TRY(node_path(n->dir, "registrar.pub", path, err));
    if (!plmm_path_exists(path)) {
        return PLMM_OK;
    }
    PLMM_TRY(node_read_json(path, "registrar", &root, err));
    plmm_status rc = node_json_hex(root, path, "key", key.b, sizeof key.b, err);
    rc = rc == PLMM_OK ? plmm_json_need_text(root, path, "expert", PLMM_EXPERT_MAX, &expert, err)
                       : rc;
    rc = rc == PLMM_OK
             ? plmm_json_need_text(root, path, "address", sizeof n->registrar_at - 1, &address, err)
             : rc;
    if (rc == PLMM_OK && strcmp(expert, n->config.expert) != 0) {
        rc = plmm_fail(err, PLMM_ERR_STATE, "%s is of the registrar of %s", path, expert);
    }
    if (rc == PLMM_OK) {
        (void)snprintf(n->registrar_at, sizeof n->registrar_at, "%s", address);
        rc = plmm_node_get(n->store, "registrar", &pinned, err);
    }
    plmm_json_free(root);
    if (rc == PLMM_OK && pinned == NULL) {
        rc = node_set_hex(n->store, "registrar", key.b, sizeof key.b, err);
    }
    plmm_free(pinned);
    PLMM_TRY(rc);
    PLMM_TRY(
        node_get_hex(n->store, n->dir, "registrar", n->registrar.b, sizeof n->registrar.b, err));
    if (!plmm_equal(&n->registrar, &key, sizeof key)) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "%s has another key than the registrar that certified this expert's "
                         "devices",
                         path);
    }
    return PLMM_OK;
}

static plmm_status open_parts(node *n, const plmm_cli_args *a, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    PLMM_TRY(read_config(n, a, err));
    PLMM_TRY(node_path(n->dir, "node.db", path, err));
    PLMM_TRY(plmm_node_open(path, &n->store, err));
    PLMM_TRY(node_get_hex(n->store, n->dir, "aggregator", n->key.b, sizeof n->key.b, err));
    PLMM_TRY(node_get_hex(n->store, n->dir, "base", n->base.b, sizeof n->base.b, err));
    PLMM_TRY(read_registrar(n, err));
    PLMM_TRY(node_path(n->dir, "versions", path, err));
    return plmm_versions_open(&n->versions, path, n->config.expert, err);
}

plmm_status node_open(node *n, const char *dir, const plmm_cli_args *a, plmm_error *err)
{
    *n = (node){.dir = dir};
    plmm_status rc = open_parts(n, a, err);
    if (rc != PLMM_OK) {
        node_close(n);
    }
    return rc;
}

void node_close(node *n)
{
    plmm_node_close(n->store);
    n->store = NULL;
}

plmm_status node_spec(const node_config *c, plmm_lora_spec *spec, plmm_error *err)
{
    *spec = (plmm_lora_spec){.rank = c->rank, .alpha = (float)c->alpha};
    for (uint32_t i = 0; i < c->targets_n; i++) {
        const char *name = c->targets[i];
        plmm_status rc = plmm_target_parse(name, strlen(name), &spec->targets, err);
        if (rc != PLMM_OK) {
            return plmm_fail_in(err, rc, "adapter.targets");
        }
    }
    return PLMM_OK;
}

plmm_status node_base(const node *n, plmm_model_config *cfg, plmm_error *err)
{
    plmm_model *model = NULL;
    plmm_hash found;
    PLMM_TRY(plmm_checkpoint_load(n->config.base, &model, NULL, err));
    *cfg = *plmm_model_cfg(model);
    plmm_version_base(&found, model);
    plmm_model_free(model);
    if (!plmm_equal(&found, &n->base, sizeof found)) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "%s is not the base model that this expert was begun with; its versions "
                         "would mean nothing on it",
                         n->config.base);
    }
    return PLMM_OK;
}
