/* plmm-client init and enroll. */
#include "device.h"

#include "plmm/address.h"
#include "plmm/alloc.h"

#include <stdio.h>
#include <string.h>

/* Writes text as dir/name and frees it. */
static plmm_status write_text(const device *d, const char *name, plmm_text *text, plmm_status rc,
                              plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    rc = rc == PLMM_OK ? plmm_text_sink(text, "\n", 1, err) : rc;
    rc = rc == PLMM_OK ? device_path(d, name, path, err) : rc;
    rc = rc == PLMM_OK ? plmm_file_write(path, text->text, text->len, PLMM_MODE_PUBLIC, err) : rc;
    plmm_text_free(text);
    return rc;
}

static plmm_status write_public(const device *d, const plmm_sign_pk *pk, plmm_error *err)
{
    char hex[65];
    plmm_text text = {0};
    plmm_json_writer w;
    plmm_hex_write(hex, pk->b, sizeof pk->b);
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "plmm");
    plmm_json_put_text(&w, "device");
    plmm_json_put_key(&w, "key");
    plmm_json_put_text(&w, hex);
    plmm_json_close_object(&w);
    return write_text(d, "device.pub", &text, plmm_json_end(&w, err), err);
}

static plmm_status write_config(const device *d, plmm_error *err)
{
    plmm_text text = {0};
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_config_dump(&device_table, &d->config, &w);
    return write_text(d, "device.json", &text, plmm_json_end(&w, err), err);
}

/* device.json comes last: without it the directory is no state. */
static plmm_status make_parts(device *d, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_sign_pk pk;
    PLMM_TRY(device_path(d, "device.json", path, err));
    if (plmm_path_exists(path)) {
        return plmm_fail(err, PLMM_ERR_STATE, "%s is a device's state already", d->dir);
    }
    PLMM_TRY(device_model(d, err)); /* says now what is wrong with it, and not at the first round */
    PLMM_TRY(device_lexicons(d, err));
    PLMM_TRY(plmm_dir_make(d->dir, PLMM_MODE_DIR, err));
    PLMM_TRY(device_key_make(d, &pk, err));
    PLMM_TRY(write_public(d, &pk, err));
    PLMM_TRY(device_path(d, "device.db", path, err));
    PLMM_TRY(plmm_store_open(path, &d->store, err));
    return write_config(d, err);
}

plmm_status device_init(plmm_cli_args *a, plmm_error *err)
{
    device d = {.dir = a->operands[0]};
    const char *base = plmm_cli_text(a, "base");
    plmm_config_defaults(&device_table, &d.config);
    for (size_t i = 0; plmm_cli_item(a, "set", i) != NULL; i++) {
        PLMM_TRY(plmm_config_set(&device_table, plmm_cli_item(a, "set", i), &d.config, err));
    }
    if (plmm_cli_flag(a, "print-config")) {
        return plmm_config_print(&device_table, &d.config, plmm_cli_put, NULL, err);
    }
    if (d.dir == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "init needs STATE, the directory to make");
    }
    if (base == NULL || strlen(base) >= sizeof d.config.base) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         base == NULL ? "--base is needed" : "--base is too long");
    }
    (void)snprintf(d.config.base, sizeof d.config.base, "%s", base);
    PLMM_TRY(plmm_crypto_init(err));
    plmm_status rc = make_parts(&d, err);
    if (rc == PLMM_OK) {
        (void)printf("%s: a device\nnext: hand %s/device.pub to an expert's operator, then "
                     "plmm-client enroll %s BUNDLE\n",
                     d.dir, d.dir, d.dir);
    }
    device_close(&d);
    return rc;
}

/* ---- enroll ---- */

static plmm_status get_hex(const plmm_json *root, const char *path, const char *key, uint8_t *out,
                           size_t len, plmm_error *err)
{
    const char *text = NULL;
    PLMM_TRY(plmm_json_need_text(root, path, key, 2 * len, &text, err));
    return plmm_hex_read(out, len, text, key, err);
}

static plmm_status get_text(const plmm_json *root, const char *path, const char *key, char *out,
                            size_t cap, plmm_error *err)
{
    const char *text = NULL;
    PLMM_TRY(plmm_json_need_text(root, path, key, cap - 1, &text, err));
    (void)snprintf(out, cap, "%s", text);
    return PLMM_OK;
}

/* What the expert's adapters look like, pinned as settings: "expert.NAME.KEY". */
static plmm_status pin(const device *d, const char *expert, const char *key, const char *value,
                       plmm_error *err)
{
    char name[PLMM_STORE_NAME_MAX + 1];
    (void)snprintf(name, sizeof name, "expert.%s.%s", expert, key);
    return plmm_store_set(d->store, name, value, err);
}

static plmm_status pin_shape(const device *d, const plmm_json *root, const char *path,
                             const char *expert, plmm_error *err)
{
    const char *method = NULL;
    const plmm_json *targets = NULL;
    plmm_method parsed;
    uint32_t rank = 0, bits = 0;
    double alpha = 0;
    char text[PLMM_REAL_CHARS];
    PLMM_TRY(plmm_json_need_text(root, path, "method", 31, &method, err));
    PLMM_TRY(plmm_method_parse(method, &parsed, err));
    PLMM_TRY(plmm_json_need_u32(root, path, "rank", 1, PLMM_RANK_MAX, &rank, err));
    PLMM_TRY(plmm_json_need_real(root, path, "alpha", 1e-3, 1e5, &alpha, err));
    PLMM_TRY(plmm_json_need_node(root, path, "targets", PLMM_JSON_ARRAY, &targets, err));
    for (const plmm_json *t = plmm_json_first(targets); t != NULL; t = plmm_json_next(t)) {
        const char *name = plmm_json_text(t) != NULL ? plmm_json_text(t) : "?";
        PLMM_TRY(plmm_target_parse(name, strlen(name), &bits, err));
    }
    PLMM_TRY(pin(d, expert, "method", method, err));
    (void)snprintf(text, sizeof text, "%u", rank);
    PLMM_TRY(pin(d, expert, "rank", text, err));
    plmm_real_print(text, alpha);
    PLMM_TRY(pin(d, expert, "alpha", text, err));
    (void)snprintf(text, sizeof text, "%u", bits);
    return pin(d, expert, "targets", text, err);
}

static plmm_status read_bundle(const device *d, const plmm_json *root, const char *path,
                               plmm_store_expert *x, plmm_error *err)
{
    char kind[32];
    int64_t id = 0, link = 0;
    plmm_hash base;
    char address[PLMM_ADDRESS_BYTES];
    *x = (plmm_store_expert){0};
    PLMM_TRY(get_text(root, path, "plmm", kind, sizeof kind, err));
    if (strcmp(kind, "enrolment") != 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is no enrolment bundle but \"%s\"", path, kind);
    }
    PLMM_TRY(get_text(root, path, "expert", x->anchor.expert, sizeof x->anchor.expert, err));
    PLMM_TRY(get_text(root, path, "address", x->address, sizeof x->address, err));
    PLMM_TRY(plmm_json_need_int(root, path, "device", 1, INT64_C(9007199254740992), &id, err));
    x->certificate.device = (uint64_t)id;
    PLMM_TRY(get_hex(root, path, "key", x->certificate.key.b, 32, err));
    PLMM_TRY(get_hex(root, path, "certificate", x->certificate.signature.b, 64, err));
    PLMM_TRY(get_hex(root, path, "aggregator", x->anchor.aggregator.b, 32, err));
    PLMM_TRY(get_hex(root, path, "registrar", x->anchor.registrar.b, 32, err));
    PLMM_TRY(plmm_json_need_int(root, path, "link", 0, INT64_C(1) << 32, &link, err));
    x->anchor.link.index = (uint64_t)link;
    PLMM_TRY(get_hex(root, path, "link_value", x->anchor.link.value.b, 32, err));
    PLMM_TRY(get_hex(root, path, "base", base.b, sizeof base.b, err));
    PLMM_TRY(plmm_expert_check(x->anchor.expert, err));
    PLMM_TRY(plmm_address_loopback(x->address, "cannot follow an expert at", address, err));
    if (!plmm_equal(&base, &d->base, sizeof base)) {
        return plmm_fail(err, PLMM_ERR_STATE, "%s was begun on another base model than %s",
                         x->anchor.expert, d->config.base);
    }
    return plmm_certificate_check(&x->certificate, &x->anchor.registrar, x->anchor.expert, err);
}

static plmm_status check_own(const device *d, const char *path, const plmm_store_expert *x,
                             plmm_error *err)
{
    plmm_sign_pk pk;
    plmm_sign_sk sk;
    PLMM_TRY(device_key_read(d, &pk, &sk, err));
    plmm_wipe(&sk, sizeof sk);
    if (!plmm_equal(&pk, &x->certificate.key, sizeof pk)) {
        return plmm_fail(err, PLMM_ERR_STATE, "%s is for another device than %s", path, d->dir);
    }
    return PLMM_OK;
}

static plmm_status enroll(device *d, const char *path, plmm_store_expert *x, plmm_error *err)
{
    uint8_t *text = NULL;
    size_t len = 0;
    plmm_json *root = NULL;
    PLMM_TRY(device_model(d, err));
    PLMM_TRY(plmm_file_read(path, 1 << 16, &text, &len, err));
    plmm_status rc = plmm_json_parse((char *)text, len, path, NULL, &root, err);
    plmm_free(text);
    PLMM_TRY(rc);
    rc = read_bundle(d, root, path, x, err);
    rc = rc == PLMM_OK ? check_own(d, path, x, err) : rc;
    rc = rc == PLMM_OK ? pin_shape(d, root, path, x->anchor.expert, err) : rc;
    rc = rc == PLMM_OK ? plmm_store_expert_add(d->store, x, err) : rc;
    plmm_json_free(root);
    return rc;
}

plmm_status device_enroll(plmm_cli_args *a, plmm_error *err)
{
    device d;
    plmm_store_expert x;
    plmm_status rc = device_open(&d, a->operands[0], a, err);
    rc = rc == PLMM_OK ? enroll(&d, a->operands[1], &x, err) : rc;
    if (rc == PLMM_OK) {
        (void)printf("%s follows %s at %s as device %llu\n", d.dir, x.anchor.expert, x.address,
                     (unsigned long long)x.certificate.device);
    }
    device_close(&d);
    return rc;
}
