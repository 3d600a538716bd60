/* plmm-aggregator init. */
#include "node.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"

#include <stdio.h>
#include <string.h>

static plmm_status need(const plmm_cli_args *a, const char *name, char *out, size_t cap,
                        plmm_error *err)
{
    const char *text = plmm_cli_text(a, name);
    if (text == NULL || strlen(text) >= cap) {
        return plmm_fail(err, PLMM_ERR_CONFIG, text == NULL ? "--%s is needed" : "--%s is too long",
                         name);
    }
    (void)snprintf(out, cap, "%s", text);
    return PLMM_OK;
}

/* The first version: an adapter whose product is zero. */
static plmm_status first_version(node *n, const plmm_sign_sk *key, plmm_error *err)
{
    plmm_model *model = NULL;
    plmm_adapter *adapter = NULL;
    plmm_lora_spec spec;
    plmm_seed seed;
    plmm_manifest m;
    plmm_method method = (plmm_method)n->config.method;
    PLMM_TRY(node_spec(&n->config, &spec, err));
    PLMM_TRY(plmm_checkpoint_load(n->config.base, &model, NULL, err));
    plmm_version_base(&n->base, model);
    plmm_status rc = plmm_adapter_new(plmm_model_cfg(model), &spec, &adapter, err);
    rc = rc == PLMM_OK ? plmm_seed_system(&seed, err) : rc;
    if (rc == PLMM_OK) {
        uint64_t start;
        memcpy(&start, seed.b, sizeof start);
        plmm_adapter_init(adapter, start);
        rc = plmm_method_prepare(method, 0, adapter, err);
    }
    if (rc == PLMM_OK) {
        plmm_version_note note = {.base = n->base,
                                  .method = method,
                                  .factor = plmm_method_factor(method, 0),
                                  .base_name = n->config.base};
        rc = plmm_version_publish(&n->versions, &note, adapter, key, &m, err);
    }
    if (rc == PLMM_OK) {
        plmm_node_version v = {.version = m.version, .time_ms = plmm_clock_wall_ms()};
        plmm_manifest_hash(&v.manifest, &m);
        for (uint32_t i = 0; i < m.files_n; i++) {
            v.bytes += m.files[i].size;
        }
        rc = plmm_node_version_put(n->store, &v, err);
    }
    plmm_adapter_free(adapter);
    plmm_model_free(model);
    return rc;
}

/* What the registrar tells devices of this expert, and whom it seals for. */
static plmm_status write_card(const node *n, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_text text = {0};
    plmm_json_writer w;
    PLMM_TRY(node_path(n->dir, "expert.pub", path, err));
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_json_open_object(&w);
    node_put_text(&w, "plmm", "expert");
    node_put_text(&w, "expert", n->config.expert);
    node_put_text(&w, "address", n->config.address);
    node_put_hex(&w, "aggregator", n->key.b, sizeof n->key.b);
    node_put_hex(&w, "base", n->base.b, sizeof n->base.b);
    node_put_text(&w, "method", plmm_method_table(&(size_t){0})[n->config.method].name);
    plmm_json_put_key(&w, "rank");
    plmm_json_put_u64(&w, n->config.rank);
    plmm_json_put_key(&w, "alpha");
    plmm_json_put_real(&w, n->config.alpha);
    plmm_json_put_key(&w, "targets");
    plmm_json_open_array(&w);
    for (uint32_t i = 0; i < n->config.targets_n; i++) {
        plmm_json_put_text(&w, n->config.targets[i]);
    }
    plmm_json_close_array(&w);
    plmm_json_close_object(&w);
    return node_write_json(path, &text, plmm_json_end(&w, err), err);
}

static plmm_status write_config(const node *n, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_text text = {0};
    plmm_json_writer w;
    PLMM_TRY(node_path(n->dir, "node.json", path, err));
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_config_dump(&node_table, &n->config, &w);
    return node_write_json(path, &text, plmm_json_end(&w, err), err);
}

/* Everything but node.json, which is written last: without it the directory is no state. */
static plmm_status make_parts(node *n, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_sign_sk key;
    PLMM_TRY(plmm_dir_make(n->dir, PLMM_MODE_DIR, err));
    PLMM_TRY(node_path(n->dir, "node.key", path, err));
    PLMM_TRY(node_key_make(path, &n->key, &key, err));
    PLMM_TRY(node_path(n->dir, "node.db", path, err));
    PLMM_TRY(plmm_node_open(path, &n->store, err));
    PLMM_TRY(node_path(n->dir, "versions", path, err));
    PLMM_TRY(plmm_versions_open(&n->versions, path, n->config.expert, err));
    plmm_status rc = first_version(n, &key, err);
    plmm_wipe(&key, sizeof key);
    PLMM_TRY(rc);
    PLMM_TRY(node_set_hex(n->store, "aggregator", n->key.b, sizeof n->key.b, err));
    PLMM_TRY(node_set_hex(n->store, "base", n->base.b, sizeof n->base.b, err));
    PLMM_TRY(write_card(n, err));
    return write_config(n, err);
}

plmm_status node_init(plmm_cli_args *a, plmm_error *err)
{
    node n = {.dir = a->operands[0]};
    char path[PLMM_PATH_MAX];
    plmm_config_defaults(&node_table, &n.config);
    for (size_t i = 0; plmm_cli_item(a, "set", i) != NULL; i++) {
        PLMM_TRY(plmm_config_set(&node_table, plmm_cli_item(a, "set", i), &n.config, err));
    }
    if (plmm_cli_flag(a, "print-config")) {
        return plmm_config_print(&node_table, &n.config, plmm_cli_put, NULL, err);
    }
    if (n.dir == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "init needs STATE, the directory to make");
    }
    PLMM_TRY(need(a, "expert", n.config.expert, sizeof n.config.expert, err));
    PLMM_TRY(need(a, "base", n.config.base, sizeof n.config.base, err));
    PLMM_TRY(plmm_expert_check(n.config.expert, err));
    PLMM_TRY(plmm_crypto_init(err));
    PLMM_TRY(node_path(n.dir, "node.json", path, err));
    if (plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_STATE, "%s is an aggregator's state already", n.dir);
    }
    plmm_status rc = make_parts(&n, err);
    node_close(&n);
    if (rc == PLMM_OK) {
        (void)printf("%s: expert %s, version 1\nnext: plmm-aggregator registrar init REG --expert "
                     "%s/expert.pub, and copy REG/registrar.pub to %s\n",
                     n.dir, n.config.expert, n.dir, n.dir);
    }
    return rc;
}
