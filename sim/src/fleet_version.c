/* fleet_version.c -- versions of an expert: signed manifests, and devices that fetch them through
 * the real messages. The file of a version is kept in memory: a fleet publishes thousands of
 * them. */
#include "fleet.h"

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/peft.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The adapter's block as it lies in memory, little-endian floats. */
static const char file_name[] = "adapter.f32";

plmm_status version_publish(fleet *f, expert *e, const plmm_adapter *adapter, uint32_t survivors,
                            plmm_error *err)
{
    const float *w = plmm_adapter_weights(adapter);
    size_t len = plmm_adapter_count(adapter) * sizeof *w;
    PLMM_TRY(bytes_copy(&e->file, (const uint8_t *)w, len, err));
    plmm_manifest m = {.version = e->version + 1,
                       .base = f->model_hash,
                       .parent = e->hash,
                       .method = (uint32_t)f->method,
                       .factor = (uint32_t)plmm_method_factor(f->method, e->version),
                       .round = e->version,
                       .survivors = survivors,
                       .files_n = 1};
    memcpy(m.expert, e->name, strlen(e->name) + 1);
    memcpy(m.files[0].name, file_name, sizeof file_name);
    m.files[0].size = len;
    plmm_digest d;
    plmm_digest_init(&d);
    plmm_digest_update(&d, e->file.p, len);
    plmm_digest_final(&d, &m.files[0].digest);
    PLMM_TRY(plmm_manifest_sign(&m, &e->key, err));
    e->manifest = m;
    plmm_manifest_hash(&e->hash, &m);
    return PLMM_OK;
}

/* The aggregator's answer to one request: head, and for a chunk the octets behind it. */
static plmm_status answer(expert *e, const client *c, const uint8_t *request, size_t len,
                          bytes *out, plmm_error *err)
{
    plmm_key frames;
    plmm_fetch_query q;
    uint8_t head[PLMM_FRAME_SMALL];
    size_t head_len = 0;
    const uint8_t *tail = NULL;
    size_t tail_len = 0;
    PLMM_TRY(plmm_known_meet(e->known, &frames, &c->certificate, err));
    PLMM_TRY(plmm_fetch_query_decode(&q, request, len, e->name, &frames, err));
    if (q.is_manifest) {
        PLMM_TRY(plmm_fetch_answer_manifest(head, &head_len, &e->manifest, q.device, &frames, err));
    } else {
        tail = e->file.p + q.offset;
        tail_len = q.length;
        PLMM_TRY(
            plmm_fetch_answer_chunk(head, &head_len, &q, e->name, tail, tail_len, &frames, err));
    }
    PLMM_TRY(bytes_copy(out, head, head_len, err));
    uint8_t *p = plmm_grow(out->p, out->len, head_len + tail_len, 1);
    if (p == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot answer a device: out of memory");
    }
    out->p = p;
    if (tail_len > 0) {
        memcpy(p + head_len, tail, tail_len);
    }
    out->len = head_len + tail_len;
    return PLMM_OK;
}

/* One request and its answer over the links of c; adds bytes and time. */
static plmm_status exchange(fleet *f, client *c, plmm_fetch *fetch, uint64_t *ms, plmm_error *err)
{
    expert *e = &f->experts[c->expert];
    const plmm_device_traits *t = &f->holders[c->device].traits;
    uint8_t request[PLMM_FRAME_SMALL];
    size_t len = 0;
    bytes reply = {0};
    plmm_fetch_part part;
    PLMM_TRY(plmm_fetch_request(fetch, &c->frames, request, &len, err));
    plmm_delivery up = plmm_delivery_draw(&f->cfg->faults, f->seed, f->frames++, len, t->up_kbps);
    plmm_status rc = answer(e, c, request, len, &reply, err);
    if (rc == PLMM_OK) {
        plmm_delivery down =
            plmm_delivery_draw(&f->cfg->faults, f->seed, f->frames++, reply.len, t->down_kbps);
        *ms += up.after_ms[0] + down.after_ms[0];
        fleet_group_of(f, c)->record.bytes_version +=
            len * (1 + up.lost) + reply.len * (1 + down.lost);
        rc = plmm_fetch_receive(fetch, &c->frames, reply.p, reply.len, &part, err);
    }
    bytes_free(&reply);
    return rc;
}

plmm_status version_fetch(fleet *f, client *c, uint64_t *ms, plmm_error *err)
{
    expert *e = &f->experts[c->expert];
    plmm_fetch fetch;
    plmm_fetch_init(&fetch, &e->policy.anchor, c->id, &e->hash, c->version_no);
    *ms = 0;
    PLMM_TRY(client_frames(f, c, err));
    while (!fetch.complete) {
        PLMM_TRY(exchange(f, c, &fetch, ms, err));
    }
    group *g = fleet_group_of(f, c);
    g->record.fetches++;
    c->version = fetch.hash;
    c->version_no = fetch.manifest.version;
    uint64_t done = f->queue.now_ms + *ms;
    if (!g->running && done > g->record.end_ms) { /* the round's last act: everybody has it */
        g->record.phase_ms[PLMM_PHASE_PUBLISH] += done - g->record.end_ms;
        g->record.end_ms = done;
    }
    return PLMM_OK;
}

plmm_status version_save(fleet *f, expert *e, const char *dir, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/%" PRIu64 "/%s", dir, f->seed, e->name) >=
        sizeof path) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot save %s: the path is too long", e->name);
    }
    PLMM_TRY(plmm_dir_make(path, 0755, err));
    return plmm_peft_save(path, e->next != NULL ? e->next : e->adapter, PLMM_F32, f->cfg->model,
                          err);
}
