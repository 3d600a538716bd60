/* Versions of an expert: manifests and fetching. */
#include "plmm/manifest.h"

#include "body.h"

#include <string.h>

static const char *const LABEL = "manif.v1";

static plmm_status file_check(const plmm_manifest *m, uint32_t i, plmm_error *err)
{
    const char *name = m->files[i].name;
    size_t n = 0;
    bool ok = name[0] != '.' && name[0] != '\0';
    for (; ok && n <= PLMM_FILE_NAME_MAX && name[n] != '\0'; n++) {
        char c = name[n];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '.' || c == '-' || c == '_';
    }
    if (!ok || n > PLMM_FILE_NAME_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the name of file %u must be 1..%d characters of A-Z a-z 0-9 . - _ and "
                         "not begin with a dot",
                         i, PLMM_FILE_NAME_MAX);
    }
    if (i > 0 && strcmp(m->files[i - 1].name, name) >= 0) {
        return plmm_fail(err, PLMM_ERR_RANGE, "file %u, %s, is not after the file before it", i,
                         name);
    }
    if (m->files[i].size > INT64_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "the size of file %s is impossible", name);
    }
    return PLMM_OK;
}

plmm_status plmm_manifest_check(const plmm_manifest *m, plmm_error *err)
{
    PLMM_TRY(plmm_expert_check(m->expert, err));
    if (m->version < 1 || m->version > INT64_MAX || m->round > INT64_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a version counts from 1");
    }
    if (m->files_n < 1 || m->files_n > PLMM_FILES_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a version has %u files, must be 1..%d", m->files_n,
                         PLMM_FILES_MAX);
    }
    for (uint32_t i = 0; i < m->files_n; i++) {
        PLMM_TRY(file_check(m, i, err));
    }
    return PLMM_OK;
}

void plmm_manifest_hash(plmm_hash *out, const plmm_manifest *m)
{
    plmm_transcript t;
    plmm_transcript_init(&t, LABEL);
    plmm_transcript_str(&t, m->expert);
    plmm_transcript_u64(&t, m->version);
    plmm_transcript_bytes(&t, m->base.b, sizeof m->base.b);
    plmm_transcript_bytes(&t, m->parent.b, sizeof m->parent.b);
    plmm_transcript_u64(&t, m->method);
    plmm_transcript_u64(&t, m->factor);
    plmm_transcript_u64(&t, m->round);
    plmm_transcript_u64(&t, m->survivors);
    plmm_transcript_u64(&t, m->files_n);
    for (uint32_t i = 0; i < m->files_n; i++) {
        plmm_transcript_str(&t, m->files[i].name);
        plmm_transcript_u64(&t, m->files[i].size);
        plmm_transcript_bytes(&t, m->files[i].digest.b, sizeof m->files[i].digest.b);
    }
    plmm_transcript_final(&t, out);
}

plmm_status plmm_manifest_sign(plmm_manifest *m, const plmm_sign_sk *aggregator, plmm_error *err)
{
    PLMM_TRY(plmm_manifest_check(m, err));
    plmm_hash h;
    plmm_manifest_hash(&h, m);
    plmm_sign(&m->signature, aggregator, LABEL, h.b, sizeof h.b);
    return PLMM_OK;
}

plmm_status plmm_manifest_verify(const plmm_manifest *m, const plmm_anchor *anchor, plmm_error *err)
{
    plmm_hash h;
    if (strcmp(m->expert, anchor->expert) != 0) {
        return plmm_fail(err, PLMM_ERR_AUTH, "the manifest is of expert %s, expected %s", m->expert,
                         anchor->expert);
    }
    plmm_manifest_hash(&h, m);
    if (plmm_verify(&m->signature, &anchor->aggregator, LABEL, h.b, sizeof h.b, NULL) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "the manifest of version %llu is not signed by the aggregator of %s",
                         (unsigned long long)m->version, anchor->expert);
    }
    return PLMM_OK;
}

/* ---- the device's side ---- */

void plmm_fetch_init(plmm_fetch *f, const plmm_anchor *anchor, uint64_t device,
                     const plmm_hash *want, uint64_t minimum)
{
    memset(f, 0, sizeof *f);
    f->anchor = *anchor;
    f->device = device;
    f->minimum = minimum;
    if (want != NULL) {
        f->want = *want;
    }
}

static plmm_chunk_request next_chunk(const plmm_fetch *f)
{
    uint64_t left = f->manifest.files[f->file].size - f->offset;
    return (plmm_chunk_request){.manifest = f->hash,
                                .file = f->file,
                                .offset = f->offset,
                                .length = left < PLMM_CHUNK_MAX ? (uint32_t)left : PLMM_CHUNK_MAX};
}

plmm_status plmm_fetch_request(const plmm_fetch *f, const plmm_key *frames,
                               uint8_t out[PLMM_FRAME_SMALL], size_t *len, plmm_error *err)
{
    if (f->complete) {
        return plmm_fail(err, PLMM_ERR_STATE, "the version is complete, nothing is left to fetch");
    }
    plmm_frame q = {.sender = f->device, .receiver = PLMM_AGGREGATOR_ID};
    memcpy(q.expert, f->anchor.expert, sizeof q.expert);
    if (!f->have_manifest) {
        q.type = PLMM_MSG_GET_MANIFEST;
        q.body_len = plmm_manifest_request_encode(q.body, &f->want);
    } else {
        plmm_chunk_request c = next_chunk(f);
        q.type = PLMM_MSG_GET_CHUNK;
        q.body_len = plmm_chunk_request_encode(q.body, &c);
    }
    plmm_frame_head(out, len, &q, frames, PLMM_TO_AGGREGATOR);
    return PLMM_OK;
}

/* Past files of no octets, whose digest is known without fetching; then on, or complete. */
static plmm_status advance(plmm_fetch *f, plmm_error *err)
{
    while (f->file < f->manifest.files_n && f->offset == f->manifest.files[f->file].size) {
        plmm_hash h;
        plmm_digest_final(&f->digest, &h);
        if (!plmm_equal(&h, &f->manifest.files[f->file].digest, sizeof h)) {
            return plmm_fail(err, PLMM_ERR_AUTH,
                             "file %s does not have the digest of the manifest; fetch it again",
                             f->manifest.files[f->file].name);
        }
        plmm_digest_init(&f->digest);
        f->file++;
        f->offset = 0;
    }
    f->complete = f->file == f->manifest.files_n;
    return PLMM_OK;
}

static plmm_status take_manifest(plmm_fetch *f, const plmm_frame *a, plmm_error *err)
{
    plmm_manifest m;
    plmm_hash h;
    PLMM_TRY(plmm_manifest_decode(&m, a->body, a->body_len, err));
    PLMM_TRY(plmm_manifest_verify(&m, &f->anchor, err));
    plmm_manifest_hash(&h, &m);
    if (!plmm_is_zero(&f->want, sizeof f->want) && !plmm_equal(&h, &f->want, sizeof h)) {
        return plmm_fail(err, PLMM_ERR_PEER, "version %llu was sent, but another one was asked for",
                         (unsigned long long)m.version);
    }
    if (m.version < f->minimum) {
        return plmm_fail(err, PLMM_ERR_PEER, "version %llu was sent, this device has %llu already",
                         (unsigned long long)m.version, (unsigned long long)f->minimum);
    }
    f->manifest = m;
    f->hash = h;
    f->have_manifest = true;
    plmm_digest_init(&f->digest);
    return advance(f, err);
}

static plmm_status take_chunk(plmm_fetch *f, const plmm_frame *a, plmm_fetch_part *part,
                              plmm_error *err)
{
    plmm_chunk_request got, want = next_chunk(f);
    PLMM_TRY(plmm_chunk_request_decode(&got, a, err));
    if (got.file != want.file || got.offset != want.offset ||
        !plmm_equal(&got.manifest, &want.manifest, sizeof got.manifest)) {
        return plmm_fail(err, PLMM_ERR_STALE, "a chunk that was not asked for");
    }
    if (got.length != want.length || a->bulk_len != want.length) {
        return plmm_fail(err, PLMM_ERR_PEER, "a chunk of %u octets came, %u were asked for",
                         a->bulk_len, want.length);
    }
    *part = (plmm_fetch_part){
        .file = got.file, .offset = got.offset, .data = a->bulk, .len = a->bulk_len};
    plmm_digest_update(&f->digest, a->bulk, a->bulk_len);
    f->offset += a->bulk_len;
    return advance(f, err);
}

plmm_status plmm_fetch_receive(plmm_fetch *f, const plmm_key *frames, const uint8_t *bytes,
                               size_t len, plmm_fetch_part *part, plmm_error *err)
{
    plmm_frame a;
    plmm_fetch next = *f;
    plmm_fetch_part got = {0};
    PLMM_TRY(plmm_frame_decode(&a, bytes, len, err));
    if (strcmp(a.expert, f->anchor.expert) != 0 || a.sender != PLMM_AGGREGATOR_ID ||
        a.receiver != f->device) {
        return plmm_fail(err, PLMM_ERR_PEER, "an answer for somebody else");
    }
    PLMM_TRY(plmm_frame_authentic(&a, frames, PLMM_TO_DEVICE, err));
    next.bytes_down += len;
    if (a.type == PLMM_MSG_MANIFEST && !f->have_manifest) {
        PLMM_TRY(take_manifest(&next, &a, err));
    } else if (a.type == PLMM_MSG_CHUNK && f->have_manifest && !f->complete) {
        PLMM_TRY(take_chunk(&next, &a, &got, err));
    } else {
        return plmm_fail(err, PLMM_ERR_STALE, "a %s message that was not asked for",
                         plmm_message_str(a.type));
    }
    *f = next;
    *part = got;
    return PLMM_OK;
}

/* ---- the aggregator's side ---- */

plmm_status plmm_fetch_query_decode(plmm_fetch_query *q, const uint8_t *bytes, size_t len,
                                    const char *expert, const plmm_key *frames, plmm_error *err)
{
    plmm_frame f;
    plmm_fetch_query r = {0};
    PLMM_TRY(plmm_frame_decode(&f, bytes, len, err));
    if (strcmp(f.expert, expert) != 0 || f.receiver != PLMM_AGGREGATOR_ID || f.bulk_len != 0) {
        return plmm_fail(err, PLMM_ERR_PEER, "a request for somebody else");
    }
    PLMM_TRY(plmm_frame_authentic(&f, frames, PLMM_TO_AGGREGATOR, err));
    r.device = f.sender;
    if (f.type == PLMM_MSG_GET_MANIFEST) {
        r.is_manifest = true;
        PLMM_TRY(plmm_manifest_request_decode(&r.manifest, &f, err));
    } else if (f.type == PLMM_MSG_GET_CHUNK) {
        plmm_chunk_request c;
        PLMM_TRY(plmm_chunk_request_decode(&c, &f, err));
        r.manifest = c.manifest;
        r.file = c.file;
        r.offset = c.offset;
        r.length = c.length;
    } else {
        return plmm_fail(err, PLMM_ERR_PEER, "a %s message is no request",
                         plmm_message_str(f.type));
    }
    *q = r;
    return PLMM_OK;
}

plmm_status plmm_fetch_answer_manifest(uint8_t out[PLMM_FRAME_SMALL], size_t *len,
                                       const plmm_manifest *m, uint64_t device,
                                       const plmm_key *frames, plmm_error *err)
{
    plmm_frame a = {.type = PLMM_MSG_MANIFEST, .sender = PLMM_AGGREGATOR_ID, .receiver = device};
    size_t n;
    PLMM_TRY(plmm_manifest_encode(a.body, &n, m, err));
    a.body_len = (uint32_t)n;
    memcpy(a.expert, m->expert, sizeof a.expert);
    plmm_frame_head(out, len, &a, frames, PLMM_TO_DEVICE);
    return PLMM_OK;
}

plmm_status plmm_fetch_answer_chunk(uint8_t out[PLMM_FRAME_SMALL], size_t *len,
                                    const plmm_fetch_query *q, const char *expert,
                                    const uint8_t *data, size_t data_len, const plmm_key *frames,
                                    plmm_error *err)
{
    PLMM_TRY(plmm_expert_check(expert, err));
    if (q->is_manifest || data_len < 1 || data_len > PLMM_CHUNK_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a chunk of %zu octets is impossible, must be 1..%d",
                         data_len, PLMM_CHUNK_MAX);
    }
    plmm_frame a = {.type = PLMM_MSG_CHUNK,
                    .sender = PLMM_AGGREGATOR_ID,
                    .receiver = q->device,
                    .bulk_len = (uint32_t)data_len};
    plmm_chunk_request c = {.manifest = q->manifest,
                            .file = q->file,
                            .offset = q->offset,
                            .length = (uint32_t)data_len};
    a.body_len = plmm_chunk_request_encode(a.body, &c);
    memcpy(a.expert, expert, strlen(expert));
    plmm_bulk_hash(&a.bulk_hash, data, data_len);
    plmm_frame_head(out, len, &a, frames, PLMM_TO_DEVICE);
    return PLMM_OK;
}
