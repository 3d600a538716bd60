/* Bodies of the messages: our structs to and from the nanopb ones, canonical both ways. */
#include "body.h"
#include "plmm.pb.h"
#include "plmm/manifest.h"
#include "plmm/registrar.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

_Static_assert(plmm_v1_Manifest_size <= PLMM_BODY_MAX, "the largest body fits");
_Static_assert(plmm_v1_Params_size <= PLMM_BODY_MAX && plmm_v1_Advert_size <= PLMM_BODY_MAX &&
                   plmm_v1_Checkin_size <= PLMM_BODY_MAX,
               "every body fits");
_Static_assert(plmm_v1_Seal_size <= PLMM_SEAL_MAX, "a seal fits");
_Static_assert(sizeof(((plmm_v1_SealAnswer *)0)->text) == PLMM_SEAL_TEXT_MAX + 1, "as in wire.h");
_Static_assert(sizeof(((plmm_v1_Manifest *)0)->files) / sizeof(plmm_v1_ManifestFile) ==
                   PLMM_FILES_MAX,
               "as in limits.h");
_Static_assert(sizeof(((plmm_v1_ManifestFile *)0)->name) == PLMM_FILE_NAME_MAX + 1,
               "as in limits.h");

static plmm_status decode(const pb_msgdesc_t *fields, void *msg, const uint8_t *in, size_t len,
                          const char *what, plmm_error *err)
{
    if (len > PLMM_BODY_MAX) {
        return plmm_fail(err, PLMM_ERR_WIRE, "%s has %zu octets, at most %d", what, len,
                         PLMM_BODY_MAX);
    }
    pb_istream_t is = pb_istream_from_buffer(in, len);
    if (!pb_decode(&is, fields, msg)) {
        return plmm_fail(err, PLMM_ERR_WIRE, "%s cannot be decoded: %s", what, PB_GET_ERROR(&is));
    }
    uint8_t again[PLMM_BODY_MAX];
    pb_ostream_t os = pb_ostream_from_buffer(again, sizeof again);
    if (!pb_encode(&os, fields, msg) || os.bytes_written != len || memcmp(again, in, len) != 0) {
        return plmm_fail(err, PLMM_ERR_WIRE, "%s is not in its one canonical form", what);
    }
    return PLMM_OK;
}

static plmm_status decode_body(const pb_msgdesc_t *fields, void *msg, const plmm_frame *f,
                               plmm_error *err)
{
    return decode(fields, msg, f->body, f->body_len, plmm_message_str(f->type), err);
}

static uint32_t encode(uint8_t out[PLMM_BODY_MAX], const pb_msgdesc_t *fields, const void *msg)
{
    pb_ostream_t os = pb_ostream_from_buffer(out, PLMM_BODY_MAX);
    PLMM_ASSERT(pb_encode(&os, fields, msg));
    return (uint32_t)os.bytes_written;
}

/* Octet strings of a fixed size: anything shorter is malformed. */
#define PUT(field, from)                                                                           \
    do {                                                                                           \
        _Static_assert(sizeof(field).bytes == sizeof(from), "sizes agree");                        \
        (field).size = (pb_size_t)sizeof(from);                                                    \
        memcpy((field).bytes, (from), sizeof(from));                                               \
    } while (0)
#define TAKE(to, field, ok)                                                                        \
    do {                                                                                           \
        _Static_assert(sizeof(field).bytes == sizeof(to), "sizes agree");                          \
        (ok) = (ok) && (field).size == sizeof(to);                                                 \
        memcpy((to), (field).bytes, sizeof(to));                                                   \
    } while (0)

static plmm_status sized(bool ok, const plmm_frame *f, plmm_error *err)
{
    return ok ? PLMM_OK
              : plmm_fail(err, PLMM_ERR_WIRE, "%s has a key, hash or signature of a wrong length",
                          plmm_message_str(f->type));
}

uint32_t plmm_checkin_encode(uint8_t out[PLMM_BODY_MAX], const plmm_checkin *m)
{
    plmm_v1_Checkin b = plmm_v1_Checkin_init_zero;
    PUT(b.key, m->certificate.key.b);
    PUT(b.certificate, m->certificate.signature.b);
    PUT(b.model, m->model.b);
    b.streams = m->streams;
    PUT(b.nonce, m->nonce);
    return encode(out, plmm_v1_Checkin_fields, &b);
}

plmm_status plmm_checkin_decode(plmm_checkin *m, const plmm_frame *f, plmm_error *err)
{
    plmm_v1_Checkin b = plmm_v1_Checkin_init_zero;
    PLMM_TRY(decode_body(plmm_v1_Checkin_fields, &b, f, err));
    plmm_checkin c = {.certificate.device = f->sender, .streams = b.streams};
    bool ok = true;
    TAKE(c.certificate.key.b, b.key, ok);
    TAKE(c.certificate.signature.b, b.certificate, ok);
    TAKE(c.model.b, b.model, ok);
    TAKE(c.nonce, b.nonce, ok);
    PLMM_TRY(sized(ok, f, err));
    *m = c;
    return PLMM_OK;
}

uint32_t plmm_params_encode(uint8_t out[PLMM_BODY_MAX], const plmm_round_params *m)
{
    plmm_v1_Params b = plmm_v1_Params_init_zero;
    b.cohort = m->cohort;
    b.n_min = m->n_min;
    b.gamma_ppm = m->gamma_ppm;
    b.delta_ppm = m->delta_ppm;
    b.sigma = m->sigma;
    b.eta = m->eta;
    b.trust = m->trust;
    b.protocol = m->protocol;
    b.mask = m->mask;
    b.stream = m->stream;
    b.rate = m->rate;
    b.group = m->group;
    b.groups = m->groups;
    b.ring_bits = m->ring_bits;
    b.quant_bits = m->quant_bits;
    b.weight_max = m->weight_max;
    b.clip = m->clip;
    b.rotate = m->rotate;
    b.clip_bit = m->clip_bit;
    b.noise = m->noise;
    b.noise_mode = m->noise_mode;
    b.noise_units = m->noise_units;
    b.noise_levels = m->noise_levels;
    b.noise_tree = m->noise_tree;
    b.noise_leaf = m->noise_leaf;
    b.length = m->length;
    b.method = m->method;
    b.factor = m->factor;
    PUT(b.names, m->names.b);
    PUT(b.model, m->model.b);
    PUT(b.beacon, m->beacon.b);
    b.steps = m->steps;
    b.batch_tokens = m->batch_tokens;
    b.learning_rate = m->learning_rate;
    return encode(out, plmm_v1_Params_fields, &b);
}

plmm_status plmm_params_decode(plmm_round_params *m, const plmm_frame *f, plmm_error *err)
{
    plmm_v1_Params b = plmm_v1_Params_init_zero;
    PLMM_TRY(decode_body(plmm_v1_Params_fields, &b, f, err));
    plmm_round_params p = {.round = f->round,
                           .attempt = f->attempt,
                           .cohort = b.cohort,
                           .n_min = b.n_min,
                           .gamma_ppm = b.gamma_ppm,
                           .delta_ppm = b.delta_ppm,
                           .sigma = b.sigma,
                           .eta = b.eta,
                           .trust = b.trust,
                           .protocol = b.protocol,
                           .mask = b.mask,
                           .stream = b.stream,
                           .rate = b.rate,
                           .group = b.group,
                           .groups = b.groups,
                           .ring_bits = b.ring_bits,
                           .quant_bits = b.quant_bits,
                           .weight_max = b.weight_max,
                           .clip = b.clip,
                           .rotate = b.rotate,
                           .clip_bit = b.clip_bit,
                           .noise = b.noise,
                           .noise_mode = b.noise_mode,
                           .noise_units = b.noise_units,
                           .noise_levels = b.noise_levels,
                           .noise_tree = b.noise_tree,
                           .noise_leaf = b.noise_leaf,
                           .length = b.length,
                           .method = b.method,
                           .factor = b.factor,
                           .steps = b.steps,
                           .batch_tokens = b.batch_tokens,
                           .learning_rate = b.learning_rate};
    memcpy(p.expert, f->expert, sizeof p.expert);
    bool ok = true;
    TAKE(p.names.b, b.names, ok);
    TAKE(p.model.b, b.model, ok);
    TAKE(p.beacon.b, b.beacon, ok);
    PLMM_TRY(sized(ok, f, err));
    *m = p;
    return PLMM_OK;
}

uint32_t plmm_advert_encode(uint8_t out[PLMM_BODY_MAX], const plmm_advert *m)
{
    plmm_v1_Advert b = plmm_v1_Advert_init_zero;
    PUT(b.escrow, m->escrow.b);
    PUT(b.channel_key, m->channel_key.b);
    PUT(b.commit, m->commit.b);
    PUT(b.nonce, m->nonce);
    PUT(b.signature, m->signature.b);
    b.since = m->since;
    return encode(out, plmm_v1_Advert_fields, &b);
}

plmm_status plmm_advert_decode(plmm_advert *m, const plmm_frame *f, plmm_error *err)
{
    plmm_v1_Advert b = plmm_v1_Advert_init_zero;
    PLMM_TRY(decode_body(plmm_v1_Advert_fields, &b, f, err));
    plmm_advert a = {.since = b.since};
    bool ok = true;
    TAKE(a.escrow.b, b.escrow, ok);
    TAKE(a.channel_key.b, b.channel_key, ok);
    TAKE(a.commit.b, b.commit, ok);
    TAKE(a.nonce, b.nonce, ok);
    TAKE(a.signature.b, b.signature, ok);
    PLMM_TRY(sized(ok, f, err));
    *m = a;
    return PLMM_OK;
}

static void seal_put(plmm_v1_Seal *b, const plmm_round_seal *s)
{
    b->group = s->group;
    PUT(b->params, s->params.b);
    PUT(b->root, s->root.b);
    PUT(b->ids, s->ids.b);
    b->n = s->n;
    b->eligible = s->eligible;
    b->population = s->population;
    b->index = s->link.index;
    PUT(b->link, s->link.value.b);
    PUT(b->signature, s->signature.b);
}

static bool seal_take(plmm_round_seal *s, const plmm_v1_Seal *b, uint64_t round)
{
    bool ok = true;
    *s = (plmm_round_seal){.round = round,
                           .group = b->group,
                           .n = b->n,
                           .eligible = b->eligible,
                           .population = b->population,
                           .link.index = b->index};
    TAKE(s->params.b, b->params, ok);
    TAKE(s->root.b, b->root, ok);
    TAKE(s->ids.b, b->ids, ok);
    TAKE(s->link.value.b, b->link, ok);
    TAKE(s->signature.b, b->signature, ok);
    return ok;
}

uint32_t plmm_round_seal_encode(uint8_t out[PLMM_SEAL_MAX], const plmm_round_seal *s)
{
    plmm_v1_Seal b = plmm_v1_Seal_init_zero;
    seal_put(&b, s);
    pb_ostream_t os = pb_ostream_from_buffer(out, PLMM_SEAL_MAX);
    PLMM_ASSERT(pb_encode(&os, plmm_v1_Seal_fields, &b));
    return (uint32_t)os.bytes_written;
}

plmm_status plmm_round_seal_decode(plmm_round_seal *s, uint64_t round, const uint8_t *in,
                                   size_t len, plmm_error *err)
{
    plmm_v1_Seal b = plmm_v1_Seal_init_zero;
    plmm_round_seal r;
    PLMM_TRY(decode(plmm_v1_Seal_fields, &b, in, len, "seal", err));
    if (!seal_take(&r, &b, round)) {
        return plmm_fail(err, PLMM_ERR_WIRE, "seal has a hash or signature of a wrong length");
    }
    *s = r;
    return PLMM_OK;
}

uint32_t plmm_roster_head_encode(uint8_t out[PLMM_BODY_MAX], const plmm_roster_head *m)
{
    plmm_v1_Roster b = {.k = m->k, .t = m->t, .has_seal = true};
    seal_put(&b.seal, &m->seal);
    return encode(out, plmm_v1_Roster_fields, &b);
}

plmm_status plmm_roster_head_decode(plmm_roster_head *m, const plmm_frame *f, plmm_error *err)
{
    plmm_v1_Roster b = plmm_v1_Roster_init_zero;
    PLMM_TRY(decode_body(plmm_v1_Roster_fields, &b, f, err));
    plmm_roster_head h = {.k = b.k, .t = b.t};
    PLMM_TRY(sized(seal_take(&h.seal, &b.seal, f->round) && b.has_seal, f, err));
    *m = h;
    return PLMM_OK;
}

uint32_t plmm_seal_answer_encode(uint8_t out[PLMM_BODY_MAX], const plmm_seal_answer *m)
{
    plmm_v1_SealAnswer b = plmm_v1_SealAnswer_init_zero;
    b.refusal = m->refusal;
    memcpy(b.text, m->text, sizeof b.text);
    b.has_seal = m->refusal == 0;
    if (b.has_seal) {
        seal_put(&b.seal, &m->seal);
    }
    return encode(out, plmm_v1_SealAnswer_fields, &b);
}

plmm_status plmm_seal_answer_decode(plmm_seal_answer *m, const plmm_frame *f, plmm_error *err)
{
    plmm_v1_SealAnswer b = plmm_v1_SealAnswer_init_zero;
    PLMM_TRY(decode_body(plmm_v1_SealAnswer_fields, &b, f, err));
    plmm_seal_answer a = {.refusal = b.refusal};
    memcpy(a.text, b.text, sizeof a.text);
    bool ok = b.has_seal == (b.refusal == 0);
    if (ok && b.has_seal) {
        ok = seal_take(&a.seal, &b.seal, f->round);
    }
    PLMM_TRY(sized(ok, f, err));
    *m = a;
    return PLMM_OK;
}

uint32_t plmm_result_encode(uint8_t out[PLMM_BODY_MAX], const plmm_result *m)
{
    plmm_v1_Result b = {.reason = m->reason, .survivors = m->survivors};
    PUT(b.model, m->model.b);
    PUT(b.nonce, m->nonce);
    return encode(out, plmm_v1_Result_fields, &b);
}

plmm_status plmm_result_decode(plmm_result *m, const plmm_frame *f, plmm_error *err)
{
    plmm_v1_Result b = plmm_v1_Result_init_zero;
    PLMM_TRY(decode_body(plmm_v1_Result_fields, &b, f, err));
    plmm_result r = {.reason = b.reason, .survivors = b.survivors};
    bool ok = true;
    TAKE(r.model.b, b.model, ok);
    TAKE(r.nonce, b.nonce, ok);
    PLMM_TRY(sized(ok, f, err));
    *m = r;
    return PLMM_OK;
}

uint32_t plmm_chunk_request_encode(uint8_t out[PLMM_BODY_MAX], const plmm_chunk_request *m)
{
    plmm_v1_ChunkRequest b = {.file = m->file, .offset = m->offset, .length = m->length};
    PUT(b.manifest, m->manifest.b);
    return encode(out, plmm_v1_ChunkRequest_fields, &b);
}

plmm_status plmm_chunk_request_decode(plmm_chunk_request *m, const plmm_frame *f, plmm_error *err)
{
    plmm_v1_ChunkRequest b = plmm_v1_ChunkRequest_init_zero;
    PLMM_TRY(decode_body(plmm_v1_ChunkRequest_fields, &b, f, err));
    plmm_chunk_request r = {.file = b.file, .offset = b.offset, .length = b.length};
    bool ok = b.length >= 1 && b.length <= PLMM_CHUNK_MAX;
    TAKE(r.manifest.b, b.manifest, ok);
    PLMM_TRY(sized(ok, f, err));
    *m = r;
    return PLMM_OK;
}

uint32_t plmm_manifest_request_encode(uint8_t out[PLMM_BODY_MAX], const plmm_hash *want)
{
    plmm_v1_ManifestRequest b = plmm_v1_ManifestRequest_init_zero;
    PUT(b.manifest, want->b);
    return encode(out, plmm_v1_ManifestRequest_fields, &b);
}

plmm_status plmm_manifest_request_decode(plmm_hash *want, const plmm_frame *f, plmm_error *err)
{
    plmm_v1_ManifestRequest b = plmm_v1_ManifestRequest_init_zero;
    PLMM_TRY(decode_body(plmm_v1_ManifestRequest_fields, &b, f, err));
    plmm_hash h;
    bool ok = true;
    TAKE(h.b, b.manifest, ok);
    PLMM_TRY(sized(ok, f, err));
    *want = h;
    return PLMM_OK;
}

plmm_status plmm_manifest_encode(uint8_t out[PLMM_MANIFEST_MAX], size_t *len,
                                 const plmm_manifest *m, plmm_error *err)
{
    PLMM_TRY(plmm_manifest_check(m, err));
    plmm_v1_Manifest b = plmm_v1_Manifest_init_zero;
    memcpy(b.expert, m->expert, sizeof b.expert);
    b.version = m->version;
    PUT(b.base, m->base.b);
    PUT(b.parent, m->parent.b);
    b.method = m->method;
    b.factor = m->factor;
    b.round = m->round;
    b.survivors = m->survivors;
    b.files_count = (pb_size_t)m->files_n;
    for (uint32_t i = 0; i < m->files_n; i++) {
        memcpy(b.files[i].name, m->files[i].name, sizeof b.files[i].name);
        b.files[i].size = m->files[i].size;
        PUT(b.files[i].digest, m->files[i].digest.b);
    }
    PUT(b.signature, m->signature.b);
    *len = encode(out, plmm_v1_Manifest_fields, &b);
    return PLMM_OK;
}

plmm_status plmm_manifest_decode(plmm_manifest *m, const uint8_t *in, size_t len, plmm_error *err)
{
    plmm_v1_Manifest b = plmm_v1_Manifest_init_zero;
    PLMM_TRY(decode(plmm_v1_Manifest_fields, &b, in, len, "manifest", err));
    plmm_manifest r = {.version = b.version,
                       .method = b.method,
                       .factor = b.factor,
                       .round = b.round,
                       .survivors = b.survivors,
                       .files_n = b.files_count};
    bool ok = true;
    memcpy(r.expert, b.expert, sizeof r.expert);
    TAKE(r.base.b, b.base, ok);
    TAKE(r.parent.b, b.parent, ok);
    TAKE(r.signature.b, b.signature, ok);
    for (uint32_t i = 0; i < r.files_n; i++) {
        memcpy(r.files[i].name, b.files[i].name, sizeof r.files[i].name);
        r.files[i].size = b.files[i].size;
        TAKE(r.files[i].digest.b, b.files[i].digest, ok);
    }
    plmm_error why = {0};
    if (!ok || plmm_manifest_check(&r, &why) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_WIRE, "manifest is malformed: %s",
                         ok ? why.msg : "a hash or signature of a wrong length");
    }
    *m = r;
    return PLMM_OK;
}
