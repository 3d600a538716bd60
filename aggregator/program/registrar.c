/* plmm-aggregator registrar: certifies devices and seals rosters, on a key of its own. */
#include "node.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/log.h"
#include "plmm/registry.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct registrar_settings {
    char address[64];
    uint32_t links, eligible;
} registrar_settings;

static const plmm_config_key keys[] = {
    PLMM_CONFIG_TEXT(registrar_settings, address, "address", "tcp://127.0.0.1:7879",
                     "where serve listens and the aggregator asks"),
    PLMM_CONFIG_U32(registrar_settings, links, "links", "65536", 16, PLMM_CHAIN_MAX,
                    "links of the hash chain: so many rounds can be sealed; fixed by init"),
    PLMM_CONFIG_U32(registrar_settings, eligible, "eligible", "1000", 0, 10000000,
                    "a round that not everyone may join needs so many devices that may: the fewer, "
                    "the better an aggregator can choose when its own are among them"),
};
static const plmm_config_table table = {"configuration of a registrar (registrar.json)", keys,
                                        sizeof keys / sizeof keys[0]};

typedef struct office {
    const char *dir;
    registrar_settings settings;
    plmm_node_store *store;
    plmm_registrar_config config; /* SECRET */
    plmm_sign_pk key;
    plmm_registrar *r;
} office;

static void close_office(office *o)
{
    plmm_registrar_free(o->r);
    plmm_node_close(o->store);
    plmm_wipe(&o->config, sizeof o->config);
    o->r = NULL;
    o->store = NULL;
}

/* ---- keys ---- */

/* The seed of the chain, as key files are. */
static plmm_status read_chain(const office *o, plmm_seed *seed, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_sign_pk pk;
    plmm_sign_sk sk;
    PLMM_TRY(node_path(o->dir, "chain.key", path, err));
    PLMM_TRY(node_key_read(path, &pk, &sk, err));
    memcpy(seed->b, sk.b, sizeof seed->b); /* an Ed25519 key begins with its seed */
    plmm_wipe(&sk, sizeof sk);
    return PLMM_OK;
}

static plmm_status read_keys(office *o, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_sign_pk pinned;
    PLMM_TRY(node_path(o->dir, "registrar.key", path, err));
    PLMM_TRY(node_key_read(path, &o->key, &o->config.key, err));
    PLMM_TRY(node_get_hex(o->store, o->dir, "registrar", pinned.b, sizeof pinned.b, err));
    if (!plmm_equal(&pinned, &o->key, sizeof pinned)) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "%s is not the key that this registrar was begun with", path);
    }
    return read_chain(o, &o->config.chain, err);
}

/* ---- opening ---- */

static plmm_status read_settings(office *o, const plmm_cli_args *a, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *text = NULL;
    size_t len = 0;
    PLMM_TRY(node_path(o->dir, "registrar.json", path, err));
    if (!plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND,
                         "%s is no registrar's state: it has no registrar.json; make one with "
                         "plmm-aggregator registrar init",
                         o->dir);
    }
    PLMM_TRY(plmm_file_read(path, 1 << 20, &text, &len, err));
    plmm_config_defaults(&table, &o->settings);
    plmm_status rc = plmm_config_parse(&table, (char *)text, len, path, &o->settings, err);
    plmm_free(text);
    PLMM_TRY(rc);
    uint32_t links = o->settings.links;
    for (size_t i = 0; plmm_cli_item(a, "set", i) != NULL; i++) {
        PLMM_TRY(plmm_config_set(&table, plmm_cli_item(a, "set", i), &o->settings, err));
    }
    if (links != o->settings.links) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "links is fixed by init: this chain has %u", links);
    }
    return PLMM_OK;
}

static plmm_status open_parts(office *o, const plmm_cli_args *a, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    char *expert = NULL;
    PLMM_TRY(read_settings(o, a, err));
    PLMM_TRY(node_path(o->dir, "registrar.db", path, err));
    PLMM_TRY(plmm_node_open(path, &o->store, err));
    PLMM_TRY(plmm_node_get(o->store, "expert", &expert, err));
    (void)snprintf(o->config.expert, sizeof o->config.expert, "%s", expert != NULL ? expert : "");
    plmm_free(expert);
    PLMM_TRY(plmm_expert_check(o->config.expert, err));
    PLMM_TRY(node_get_hex(o->store, o->dir, "aggregator", o->config.aggregator.b,
                          sizeof o->config.aggregator.b, err));
    o->config.chain_length = o->settings.links;
    o->config.eligible_min = o->settings.eligible;
    return read_keys(o, err);
}

static plmm_status open_office(office *o, const plmm_cli_args *a, plmm_error *err)
{
    *o = (office){.dir = a->operands[0]};
    PLMM_TRY(plmm_crypto_init(err));
    plmm_status rc = open_parts(o, a, err);
    if (rc != PLMM_OK) {
        close_office(o);
    }
    return rc;
}

/* ---- init ---- */

/* Takes over what devices are to be told of the expert, from the file that the aggregator's init
 * wrote; after init only for the same expert, aggregator and base. */
static plmm_status take_card(office *o, const char *path, plmm_error *err)
{
    plmm_json *root = NULL;
    uint8_t *text = NULL;
    size_t len = 0;
    const char *expert = NULL;
    plmm_sign_pk aggregator = {{0}};
    PLMM_TRY(node_read_json(path, "expert", &root, err));
    plmm_status rc = plmm_json_need_text(root, path, "expert", PLMM_EXPERT_MAX, &expert, err);
    rc = rc == PLMM_OK ? plmm_expert_check(expert, err) : rc;
    rc = rc == PLMM_OK
             ? node_json_hex(root, path, "aggregator", aggregator.b, sizeof aggregator.b, err)
             : rc;
    if (rc == PLMM_OK && o->config.expert[0] != '\0' &&
        (strcmp(expert, o->config.expert) != 0 ||
         !plmm_equal(&aggregator, &o->config.aggregator, sizeof aggregator))) {
        rc = plmm_fail(err, PLMM_ERR_STATE, "%s is of another expert or aggregator than %s is for",
                       path, o->dir);
    }
    if (rc == PLMM_OK) {
        (void)snprintf(o->config.expert, sizeof o->config.expert, "%s", expert);
        o->config.aggregator = aggregator;
        rc = plmm_file_read(path, 1 << 16, &text, &len, err);
    }
    plmm_json_free(root);
    rc = rc == PLMM_OK ? plmm_node_set(o->store, "card", (char *)text, err) : rc;
    plmm_free(text);
    return rc;
}

static void put_link(plmm_json_writer *w, const plmm_link *link)
{
    plmm_json_put_key(w, "link");
    plmm_json_put_u64(w, link->index);
    node_put_hex(w, "link_value", link->value.b, sizeof link->value.b);
}

static plmm_status write_public(const office *o, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_text text = {0};
    plmm_json_writer w;
    PLMM_TRY(node_path(o->dir, "registrar.pub", path, err));
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_json_open_object(&w);
    node_put_text(&w, "plmm", "registrar");
    node_put_text(&w, "expert", o->config.expert);
    node_put_text(&w, "address", o->settings.address);
    node_put_hex(&w, "key", o->key.b, sizeof o->key.b);
    plmm_json_close_object(&w);
    return node_write_json(path, &text, plmm_json_end(&w, err), err);
}

static plmm_status write_settings(const office *o, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_text text = {0};
    plmm_json_writer w;
    PLMM_TRY(node_path(o->dir, "registrar.json", path, err));
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_config_dump(&table, &o->settings, &w);
    return node_write_json(path, &text, plmm_json_end(&w, err), err);
}

/* Everything but registrar.json, which is written last: without it the directory is no state. */
static plmm_status make_parts(office *o, const char *card, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_sign_sk sk;
    plmm_sign_pk unused;
    PLMM_TRY(plmm_dir_make(o->dir, PLMM_MODE_DIR, err));
    PLMM_TRY(node_path(o->dir, "registrar.db", path, err));
    PLMM_TRY(plmm_node_open(path, &o->store, err));
    PLMM_TRY(take_card(o, card, err));
    PLMM_TRY(node_path(o->dir, "registrar.key", path, err));
    PLMM_TRY(node_key_make(path, &o->key, &sk, err));
    PLMM_TRY(node_path(o->dir, "chain.key", path, err));
    PLMM_TRY(node_key_make(path, &unused, &sk, err));
    plmm_wipe(&sk, sizeof sk);
    PLMM_TRY(plmm_node_set(o->store, "expert", o->config.expert, err));
    PLMM_TRY(node_set_hex(o->store, "registrar", o->key.b, sizeof o->key.b, err));
    PLMM_TRY(node_set_hex(o->store, "aggregator", o->config.aggregator.b,
                          sizeof o->config.aggregator.b, err));
    PLMM_TRY(write_public(o, err));
    return write_settings(o, err);
}

plmm_status registrar_init(plmm_cli_args *a, plmm_error *err)
{
    office o = {.dir = a->operands[0]};
    char path[PLMM_PATH_MAX];
    plmm_config_defaults(&table, &o.settings);
    for (size_t i = 0; plmm_cli_item(a, "set", i) != NULL; i++) {
        PLMM_TRY(plmm_config_set(&table, plmm_cli_item(a, "set", i), &o.settings, err));
    }
    if (plmm_cli_flag(a, "print-config")) {
        return plmm_config_print(&table, &o.settings, plmm_cli_put, NULL, err);
    }
    if (o.dir == NULL || plmm_cli_text(a, "expert") == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         o.dir == NULL ? "registrar init needs REG, the directory to make"
                                       : "--expert is needed: the expert.pub of an aggregator");
    }
    PLMM_TRY(plmm_crypto_init(err));
    PLMM_TRY(node_path(o.dir, "registrar.json", path, err));
    if (plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_STATE, "%s is a registrar's state already", o.dir);
    }
    plmm_status rc = make_parts(&o, plmm_cli_text(a, "expert"), err);
    if (rc == PLMM_OK) {
        (void)printf("%s: registrar of %s\nnext: copy %s/registrar.pub to the aggregator's "
                     "directory, then plmm-aggregator registrar enroll %s DEVICE.pub\n",
                     o.dir, o.config.expert, o.dir, o.dir);
    }
    close_office(&o);
    return rc;
}

/* ---- enroll and revoke ---- */

static plmm_status read_device(const char *path, plmm_sign_pk *key, plmm_error *err)
{
    plmm_json *root = NULL;
    PLMM_TRY(node_read_json(path, "device", &root, err));
    plmm_status rc = node_json_hex(root, path, "key", key->b, sizeof key->b, err);
    plmm_json_free(root);
    return rc;
}

/* The card's members behind the device's own. */
static plmm_status put_card(plmm_json_writer *w, const plmm_json *card, plmm_error *err)
{
    static const char *const texts[] = {"expert", "address", "aggregator", "base", "method"};
    const plmm_json *targets = NULL;
    uint32_t rank = 0;
    double alpha = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = NULL;
        PLMM_TRY(plmm_json_need_text(card, "expert.pub", texts[i], 64, &text, err));
        node_put_text(w, texts[i], text);
    }
    PLMM_TRY(plmm_json_need_u32(card, "expert.pub", "rank", 1, UINT32_MAX, &rank, err));
    plmm_json_put_key(w, "rank");
    plmm_json_put_u64(w, rank);
    PLMM_TRY(plmm_json_need_real(card, "expert.pub", "alpha", 0, 1e6, &alpha, err));
    plmm_json_put_key(w, "alpha");
    plmm_json_put_real(w, alpha);
    PLMM_TRY(plmm_json_need_node(card, "expert.pub", "targets", PLMM_JSON_ARRAY, &targets, err));
    plmm_json_put_key(w, "targets");
    plmm_json_open_array(w);
    for (const plmm_json *t = plmm_json_first(targets); t != NULL; t = plmm_json_next(t)) {
        plmm_json_put_text(w, plmm_json_text(t) != NULL ? plmm_json_text(t) : "");
    }
    plmm_json_close_array(w);
    return PLMM_OK;
}

/* What the device is to pin: keys, certificate, link, and what the expert's adapters look like. */
static plmm_status write_bundle(office *o, const plmm_certificate *c, const char *path,
                                plmm_error *err)
{
    char *text = NULL;
    plmm_json *card = NULL;
    plmm_text out = {0};
    plmm_json_writer w;
    plmm_link first, last;
    PLMM_TRY(plmm_node_get(o->store, "card", &text, err));
    plmm_status rc = plmm_json_parse(text != NULL ? text : "", text != NULL ? strlen(text) : 0,
                                     "expert.pub", NULL, &card, err);
    plmm_free(text);
    PLMM_TRY(rc);
    plmm_registrar_link(o->r, &first, &last);
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &out);
    plmm_json_open_object(&w);
    node_put_text(&w, "plmm", "enrolment");
    plmm_json_put_key(&w, "device");
    plmm_json_put_u64(&w, c->device);
    node_put_hex(&w, "key", c->key.b, sizeof c->key.b);
    node_put_hex(&w, "certificate", c->signature.b, sizeof c->signature.b);
    node_put_hex(&w, "registrar", o->key.b, sizeof o->key.b);
    put_link(&w, &last);
    rc = put_card(&w, card, err);
    plmm_json_close_object(&w);
    plmm_json_free(card);
    plmm_status ended = plmm_json_end(&w, err);
    return node_write_json(path, &out, rc == PLMM_OK ? ended : rc, err);
}

static plmm_status certify(office *o, const plmm_cli_args *a, plmm_certificate *c, plmm_error *err)
{
    plmm_sign_pk device;
    uint64_t id;
    const char *card = plmm_cli_text(a, "expert"), *label = plmm_cli_text(a, "label");
    if (card != NULL) {
        PLMM_TRY(take_card(o, card, err));
    }
    PLMM_TRY(read_device(a->operands[1], &device, err));
    PLMM_TRY(plmm_registry_restore(&o->r, &o->config, o->store, err));
    PLMM_TRY(plmm_node_device_next(o->store, &id, err));
    PLMM_TRY(plmm_certificate_issue(c, &o->config.key, o->config.expert, id, &device, err));
    PLMM_TRY(plmm_node_device_add(o->store, c, label, plmm_clock_wall_ms(), err));
    PLMM_TRY(plmm_node_audit(o->store, plmm_clock_wall_ms(), "enrol", c->device, label, err));
    return write_bundle(o, c, plmm_cli_text(a, "out"), err);
}

plmm_status registrar_enroll(plmm_cli_args *a, plmm_error *err)
{
    office o;
    plmm_certificate c;
    PLMM_TRY(open_office(&o, a, err));
    plmm_status rc = certify(&o, a, &c, err);
    if (rc == PLMM_OK) {
        (void)printf("device %llu of %s: %s\n", (unsigned long long)c.device, o.config.expert,
                     plmm_cli_text(a, "out"));
    }
    close_office(&o);
    return rc;
}

static plmm_status parse_id(const char *text, uint64_t *id, plmm_error *err)
{
    char *end = NULL;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '1' || text[0] > '9' || *end != '\0' || v > INT64_MAX) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "\"%.40s\" is no device's number", text);
    }
    *id = v;
    return PLMM_OK;
}

plmm_status registrar_revoke(plmm_cli_args *a, plmm_error *err)
{
    office o;
    uint64_t id = 0;
    PLMM_TRY(parse_id(a->operands[1], &id, err));
    PLMM_TRY(open_office(&o, a, err));
    plmm_status rc = plmm_node_device_revoke(o.store, id, err);
    rc = rc == PLMM_OK ? plmm_node_audit(o.store, plmm_clock_wall_ms(), "revoke", id, "", err) : rc;
    if (rc == PLMM_OK) {
        (void)printf("device %llu of %s is revoked: no roster with it will be sealed\n",
                     (unsigned long long)id, o.config.expert);
    }
    close_office(&o);
    return rc;
}

/* ---- serve ---- */

static void on_signal(int number)
{
    (void)number;
    plmm_registry_stop();
}

plmm_status registrar_serve(plmm_cli_args *a, plmm_error *err)
{
    office o;
    struct sigaction act = {.sa_handler = on_signal};
    PLMM_TRY(open_office(&o, a, err));
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
    plmm_registry_config c = {.url = o.settings.address,
                              .registrar = o.config,
                              .store = o.store,
                              .port_file = plmm_cli_text(a, "port-file")};
    plmm_status rc = plmm_registry_run(&c, err);
    plmm_wipe(&c.registrar, sizeof c.registrar);
    close_office(&o);
    return rc;
}

/* ---- status ---- */

typedef struct numbers {
    uint64_t enrolled, revoked, seals, round;
    uint32_t left;
} numbers;

static plmm_status count(office *o, numbers *n, plmm_error *err)
{
    PLMM_TRY(plmm_registry_restore(&o->r, &o->config, o->store, err));
    PLMM_TRY(plmm_node_device_count(o->store, &n->enrolled, &n->revoked, err));
    PLMM_TRY(plmm_node_seal_count(o->store, &n->seals, err));
    plmm_registrar_status(o->r, &n->round, &n->left);
    return PLMM_OK;
}

static plmm_status print_json(const office *o, const numbers *n, plmm_error *err)
{
    plmm_json_writer w;
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {{"devices", n->enrolled},
                {"revoked", n->revoked},
                {"seals", n->seals},
                {"last_round", n->round},
                {"links_left", n->left}};
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    node_put_text(&w, "expert", o->config.expert);
    node_put_text(&w, "address", o->settings.address);
    node_put_hex(&w, "key", o->key.b, sizeof o->key.b);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        plmm_json_put_key(&w, rows[i].key);
        plmm_json_put_u64(&w, rows[i].value);
    }
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

plmm_status registrar_status(plmm_cli_args *a, plmm_error *err)
{
    office o;
    numbers n = {0};
    PLMM_TRY(open_office(&o, a, err));
    plmm_status rc = count(&o, &n, err);
    if (rc == PLMM_OK && plmm_cli_flag(a, "json")) {
        rc = print_json(&o, &n, err);
    } else if (rc == PLMM_OK) {
        (void)printf(
            "registrar of %s at %s: %llu devices enrolled (%llu revoked), %llu seals, last "
            "round %llu, %u links left\n",
            o.config.expert, o.settings.address, (unsigned long long)n.enrolled,
            (unsigned long long)n.revoked, (unsigned long long)n.seals, (unsigned long long)n.round,
            n.left);
    }
    close_office(&o);
    return rc;
}

/* ---- the verbs ---- */

#define OPTIONS(o) o, sizeof o / sizeof o[0]
#define SET                                                                                        \
    {                                                                                              \
        "set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"       \
    }

static const plmm_cli_option init_options[] = {
    {"expert", PLMM_CLI_TEXT, "FILE", NULL, 0, 0,
     "expert.pub of the aggregator that it seals for (needed)"},
    SET,
    {"print-config", PLMM_CLI_FLAG, NULL, NULL, 0, 0,
     "print every key with its help and make nothing"},
};

static const plmm_cli_option enroll_options[] = {
    {"out", PLMM_CLI_TEXT, "FILE", "enrolment.json", 0, 0, "where the bundle is written"},
    {"label", PLMM_CLI_TEXT, "TEXT", "", 0, 0, "a name for the device in the audit"},
    {"expert", PLMM_CLI_TEXT, "FILE", NULL, 0, 0,
     "a newer expert.pub of the same aggregator (another address)"},
    SET,
};

static const plmm_cli_option revoke_options[] = {SET};

static const plmm_cli_option serve_options[] = {
    {"port-file", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "write the port there once it listens"},
    SET,
};

static const plmm_cli_option status_options[] = {
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print one JSON object"},
    SET,
};

static const plmm_cli_verb verbs[] = {
    {"init", "REG", 0, 1, "begin a registrar: key, hash chain, database",
     "Makes the directory REG with the registrar's key and the seed of its chain (both mode 0600; "
     "back\n"
     "them up), the configuration registrar.json, the database registrar.db and registrar.pub, "
     "which\n"
     "belongs into the aggregator's directory.\n\n"
     "  plmm-aggregator registrar init reg --expert art/expert.pub && cp reg/registrar.pub art/",
     OPTIONS(init_options), registrar_init},
    {"enroll", "REG DEVICE.pub", 2, 2, "certify a device's key, write its bundle",
     "DEVICE.pub is what plmm-client init wrote. The bundle tells the device its certificate, the "
     "keys\n"
     "and the link of the chain that it is to trust, and where to dial; it holds no secret, but "
     "must reach\n"
     "the device unchanged. Works while serve runs.",
     OPTIONS(enroll_options), registrar_enroll},
    {"revoke", "REG DEVICE", 2, 2, "bar a device for ever",
     "DEVICE is the number that enroll printed. No roster with it is sealed from now on; works "
     "while serve\n"
     "runs.",
     OPTIONS(revoke_options), registrar_revoke},
    {"serve", "REG", 1, 1, "seal the rosters of the aggregator's rounds",
     "Listens on the address of the configuration (loopback addresses only: the channel is not "
     "encrypted\n"
     "yet) and seals one roster for each round, for the aggregator that it was begun for. What it "
     "decides is\n"
     "on disk before it is said; it may be killed at any time.",
     OPTIONS(serve_options), registrar_serve},
    {"status", "REG", 1, 1, "show devices, seals and links", NULL, OPTIONS(status_options),
     registrar_status},
};

int registrar_main(int argc, char **argv)
{
    static const plmm_cli_program program = {
        "plmm-aggregator registrar", "certifies devices and seals rosters, on a key of its own",
        "A registrar keeps the aggregator from making up cohorts: run it where the aggregator's "
        "operator\n"
        "cannot reach. Configuration: REG/registrar.json; init --print-config explains the keys.",
        verbs, sizeof verbs / sizeof verbs[0]};
    return plmm_cli_main(&program, argc, argv);
}
