/* The registrar in the aggregator's own process: it opens registrar.key for each roster. */
#include "node.h"

#include "plmm/alloc.h"
#include "plmm/hex.h"
#include "plmm/registrar.h"

#include <string.h>

enum { CHAIN = 1 << 16 }; /* rounds of an expert */

static plmm_status registrar_new(const node *n, const plmm_sign_sk *key, plmm_registrar **r,
                                 plmm_error *err)
{
    plmm_registrar_config c = {.key = *key, .aggregator = n->key, .chain_length = CHAIN};
    plmm_seed root;
    memcpy(c.expert, n->config.expert, strnlen(n->config.expert, sizeof c.expert - 1));
    memcpy(root.b, key->b, sizeof root.b);
    plmm_seed_derive(&c.chain, &root, "chain.sd", 0);
    plmm_status rc = plmm_registrar_new(r, &c, err);
    plmm_wipe(&root, sizeof root);
    plmm_wipe(&c, sizeof c);
    return rc;
}

plmm_status node_chain_begin(node *n, const plmm_sign_sk *registrar, plmm_error *err)
{
    plmm_registrar *r = NULL;
    plmm_link first, last;
    PLMM_TRY(registrar_new(n, registrar, &r, err));
    plmm_registrar_link(r, &first, &last);
    n->link = first.value;
    plmm_registrar_free(r);
    return PLMM_OK;
}

static plmm_status restore(const node *n, plmm_registrar *r, plmm_error *err)
{
    char *text = NULL;
    uint8_t record[PLMM_REGISTRAR_RECORD];
    PLMM_TRY(plmm_node_get(n->store, "seal", &text, err));
    plmm_status rc = PLMM_OK;
    if (text != NULL) {
        size_t len = strlen(text) / 2;
        rc = len <= sizeof record
                 ? plmm_hex_read(record, len, text, "the last seal", err)
                 : plmm_fail(err, PLMM_ERR_FORMAT, "the last seal has %zu octets", len);
        rc = rc == PLMM_OK ? plmm_registrar_restore(r, record, len, err) : rc;
    }
    plmm_free(text);
    return rc;
}

/* ids[0..*n) = all enrolled devices. */
static plmm_status enrolled(const node *n, uint64_t **ids, uint32_t *count, plmm_error *err)
{
    uint64_t all, revoked;
    PLMM_TRY(plmm_node_device_count(n->store, &all, &revoked, err));
    uint64_t *v = plmm_alloc((size_t)all, sizeof *v);
    if (v == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for %llu devices",
                         (unsigned long long)all);
    }
    *count = 0;
    plmm_status rc = PLMM_OK;
    for (uint64_t id = 1; rc == PLMM_OK && *count < all && id <= 2 * (all + revoked) + 1000; id++) {
        plmm_certificate c;
        rc = plmm_node_device_get(n->store, id, &c, err);
        if (rc == PLMM_OK) {
            v[(*count)++] = id;
        }
        rc = rc == PLMM_ERR_NOTFOUND ? PLMM_OK : rc;
    }
    if (rc != PLMM_OK) {
        plmm_free(v);
        return rc;
    }
    *ids = v;
    return PLMM_OK;
}

static plmm_status answer(const node *n, plmm_registrar *r, const uint8_t *request, size_t len,
                          plmm_registrar_answer *out, plmm_error *err)
{
    plmm_enrolled all = {0};
    uint64_t *ids = NULL;
    char text[2 * PLMM_REGISTRAR_RECORD + 1];
    PLMM_TRY(restore(n, r, err));
    PLMM_TRY(enrolled(n, &ids, &all.n, err));
    all.ids = ids;
    plmm_status rc = plmm_registrar_seal(r, request, len, &all, out, err);
    plmm_free(ids);
    PLMM_TRY(rc);
    if (out->record_len > 0) { /* durable before it is given out */
        plmm_hex_write(text, out->record, out->record_len);
        PLMM_TRY(plmm_node_set(n->store, "seal", text, err));
    }
    return PLMM_OK;
}

plmm_status node_seal(const node *n, const uint8_t *request, size_t request_len,
                      uint8_t frame[PLMM_FRAME_SMALL], size_t *len, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_sign_pk pk;
    plmm_sign_sk key;
    plmm_registrar *r = NULL;
    plmm_registrar_answer *out = plmm_alloc(1, sizeof *out);
    plmm_status rc = node_path(n->dir, "registrar.key", path, err);
    rc = rc == PLMM_OK ? node_key_read(path, &pk, &key, err) : rc;
    if (rc == PLMM_OK) {
        rc = registrar_new(n, &key, &r, err);
        plmm_wipe(&key, sizeof key);
    }
    if (rc == PLMM_OK && out == NULL) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a seal");
    }
    rc = rc == PLMM_OK ? answer(n, r, request, request_len, out, err) : rc;
    if (rc == PLMM_OK) {
        memcpy(frame, out->frame, out->frame_len);
        *len = out->frame_len;
    }
    plmm_registrar_free(r);
    plmm_free(out);
    return rc;
}
