/* Frames: prefix, envelope (nanopb), bulk. Foreign bytes enter the protocol here and in body.c. */
#include "plmm/wire.h"

#include "plmm.pb.h"
#include "plmm/bulk.h"
#include "plmm/bytes.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

_Static_assert(plmm_v1_Envelope_size <= PLMM_ENVELOPE_MAX, "an envelope fits its bound");
_Static_assert(sizeof(((plmm_v1_Envelope *)0)->body.bytes) == PLMM_BODY_MAX, "as in limits.h");
_Static_assert(sizeof(((plmm_v1_Envelope *)0)->expert) == PLMM_EXPERT_MAX + 1, "as in limits.h");

static const char *const LABEL = "frame.v1";
static const char *const LABEL_KEY = "frame.ky";
static const char *const LABEL_TAG[] = {
    [PLMM_TO_AGGREGATOR] = "frame.up", [PLMM_TO_DEVICE] = "frame.dn"};
static const uint8_t MAGIC[4] = {'P', 'L', 'M', '1'};

/* The last field of an envelope: number and kind, length, octets. */
enum { FIELD = 2, SIGNATURE = 64, FIELD_NAME = plmm_v1_Envelope_authenticator_tag << 3 | 2 };
_Static_assert(FIELD_NAME < 128 && SIGNATURE < 128, "one octet each");

bool plmm_message_known(uint32_t type)
{
    return (type > 0 && type <= PLMM_MSG_SEAL) ||
           (type >= PLMM_MSG_CONTRIB && type < PLMM_MSG_COUNT);
}

bool plmm_message_signed(uint32_t type)
{
    return type == PLMM_MSG_SEAL_REQUEST || type == PLMM_MSG_SEAL;
}

static uint32_t authenticator_octets(uint32_t type)
{
    return plmm_message_signed(type) ? SIGNATURE : PLMM_TAG_BYTES;
}

const char *plmm_message_str(uint32_t type)
{
    static const char *const names[PLMM_MSG_COUNT] = {
        "unknown", "checkin",      "invite",   "advert",
        "roster",  "shares",       "inbox",    "confirm",
        "go",      "masked",       "received", "survivors",
        "agree",   "agreed",       "reveal",   "result",
        "poll",    "get_manifest", "manifest", "get_chunk",
        "chunk",   "seal_request", "seal",     [PLMM_MSG_CONTRIB] = "contrib",
        "deliver", "complain",     "chosen",   "vote",
        "votes",   "sum"};
    return type < PLMM_MSG_COUNT && names[type] != NULL ? names[type] : names[0];
}

plmm_status plmm_frame_size(size_t *size, const uint8_t *in, plmm_error *err)
{
    if (memcmp(in, MAGIC, sizeof MAGIC) != 0) {
        return plmm_fail(err, PLMM_ERR_WIRE, "not a frame: it does not start with PLM1");
    }
    uint32_t envelope = plmm_load_le32(in + 4), bulk = plmm_load_le32(in + 8);
    if (envelope > PLMM_ENVELOPE_MAX || bulk > PLMM_BULK_MAX) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "frame announces an envelope of %u octets, at most %d, and a bulk of %u, "
                         "at most %d",
                         envelope, PLMM_ENVELOPE_MAX, bulk, PLMM_BULK_MAX);
    }
    *size = (size_t)PLMM_FRAME_PREFIX + envelope + bulk;
    return PLMM_OK;
}

void plmm_bulk_hash(plmm_hash *out, const uint8_t *bulk, size_t len)
{
    if (len > 0) {
        plmm_bulk_digest(out, bulk, len);
    } else {
        memset(out, 0, sizeof *out);
    }
}

/* What signature or tag is over: the digest of the envelope without it. */
static void signed_digest(plmm_hash *out, const uint8_t *envelope, size_t len)
{
    plmm_hash_bytes(out, LABEL, envelope, len);
}

/* Which messages have a bulk: the schema's list. Those that have none fit PLMM_FRAME_SMALL. */
static bool takes_bulk(uint32_t type)
{
    return type == PLMM_MSG_ROSTER || (type >= PLMM_MSG_SHARES && type <= PLMM_MSG_MASKED) ||
           (type >= PLMM_MSG_SURVIVORS && type <= PLMM_MSG_REVEAL) || type == PLMM_MSG_CHUNK ||
           type == PLMM_MSG_SEAL_REQUEST || type >= PLMM_MSG_CONTRIB;
}

static plmm_status envelope_check(const plmm_v1_Envelope *e, uint32_t bulk, plmm_error *err)
{
    if (e->version != PLMM_PROTOCOL_VERSION) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame is of protocol version %u, expected %d",
                         e->version, PLMM_PROTOCOL_VERSION);
    }
    if (!plmm_message_known(e->type)) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame has type %u, must be 1..%d", e->type,
                         PLMM_MSG_COUNT - 1);
    }
    if (bulk > 0 && !takes_bulk(e->type)) {
        return plmm_fail(err, PLMM_ERR_WIRE, "a %s message has a bulk of %u octets, must have none",
                         plmm_message_str(e->type), bulk);
    }
    if (plmm_expert_check(e->expert, NULL) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame names no possible expert");
    }
    if ((e->session.size != 0 && e->session.size != 32) ||
        e->authenticator.size != authenticator_octets(e->type)) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "frame has a session of %u octets, must be 0 or 32, and an authenticator "
                         "of %u, must be %u",
                         e->session.size, e->authenticator.size, authenticator_octets(e->type));
    }
    if (e->bulk_length != bulk || e->bulk_digest.size != (bulk > 0 ? 32 : 0)) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "frame has a bulk of %u octets, its envelope says %u with a digest of %u",
                         bulk, e->bulk_length, e->bulk_digest.size);
    }
    return PLMM_OK;
}

static void frame_fill(plmm_frame *f, const plmm_v1_Envelope *e)
{
    memset(f, 0, sizeof *f);
    f->type = e->type;
    memcpy(f->expert, e->expert, sizeof f->expert);
    f->round = e->round;
    f->attempt = e->attempt;
    f->has_session = e->session.size != 0;
    memcpy(f->session.b, e->session.bytes, e->session.size);
    f->sender = e->sender;
    f->receiver = e->receiver;
    f->body_len = e->body.size;
    memcpy(f->body, e->body.bytes, e->body.size);
    f->bulk_len = e->bulk_length;
    memcpy(f->bulk_hash.b, e->bulk_digest.bytes, e->bulk_digest.size);
    if (plmm_message_signed(e->type)) {
        memcpy(f->signature.b, e->authenticator.bytes, sizeof f->signature.b);
    } else {
        memcpy(f->tag.b, e->authenticator.bytes, sizeof f->tag.b);
    }
}

plmm_status plmm_frame_peek(plmm_frame *f, const uint8_t *in, size_t len, plmm_error *err)
{
    size_t size;
    if (len < PLMM_FRAME_PREFIX) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame has %zu octets, at least %d", len,
                         PLMM_FRAME_PREFIX);
    }
    PLMM_TRY(plmm_frame_size(&size, in, err));
    uint32_t n = plmm_load_le32(in + 4), bulk = plmm_load_le32(in + 8);
    if (len < (size_t)PLMM_FRAME_PREFIX + n) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame is cut within its envelope");
    }
    const uint8_t *envelope = in + PLMM_FRAME_PREFIX;
    plmm_v1_Envelope e = plmm_v1_Envelope_init_zero;
    pb_istream_t is = pb_istream_from_buffer(envelope, n);
    if (!pb_decode(&is, plmm_v1_Envelope_fields, &e)) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame has a bad envelope: %s", PB_GET_ERROR(&is));
    }
    uint8_t again[PLMM_ENVELOPE_MAX];
    pb_ostream_t os = pb_ostream_from_buffer(again, sizeof again);
    if (!pb_encode(&os, plmm_v1_Envelope_fields, &e) || os.bytes_written != n ||
        memcmp(again, envelope, n) != 0) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame's envelope is not in its one canonical form");
    }
    PLMM_TRY(envelope_check(&e, bulk, err));
    frame_fill(f, &e);
    signed_digest(&f->signed_hash, envelope, n - FIELD - e.authenticator.size);
    return PLMM_OK;
}

plmm_status plmm_frame_decode(plmm_frame *f, const uint8_t *in, size_t len, plmm_error *err)
{
    PLMM_TRY(plmm_frame_peek(f, in, len, err));
    size_t head = (size_t)PLMM_FRAME_PREFIX + plmm_load_le32(in + 4);
    if (len != head + f->bulk_len) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame has %zu octets, its lengths say %zu", len,
                         head + f->bulk_len);
    }
    plmm_hash h;
    plmm_bulk_hash(&h, in + head, f->bulk_len);
    if (!plmm_equal(&h, &f->bulk_hash, sizeof h)) {
        return plmm_fail(err, PLMM_ERR_WIRE, "frame's bulk does not have the digest it announces");
    }
    f->bulk = f->bulk_len > 0 ? in + head : NULL;
    return PLMM_OK;
}

/* ---- whose it is ---- */

plmm_status plmm_frame_key(plmm_key *out, const plmm_sign_sk *own, const plmm_sign_pk *peer,
                           const char *expert, plmm_error *err)
{
    _Static_assert(PLMM_EXPERT_MAX <= (int)PLMM_AGREE_INFO_MAX, "a name fits");
    PLMM_TRY(plmm_expert_check(expert, err));
    return plmm_identity_agree(out, own, peer, LABEL_KEY, expert, strlen(expert), err);
}

static plmm_status not_authentic(const plmm_frame *f, const char *how, plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_AUTH, "the %s message of %s %llu is not %s by its key",
                     plmm_message_str(f->type),
                     f->sender == PLMM_AGGREGATOR_ID  ? "aggregator"
                     : f->sender == PLMM_REGISTRAR_ID ? "registrar"
                                                      : "device",
                     (unsigned long long)f->sender, how);
}

plmm_status plmm_frame_authentic(const plmm_frame *f, const plmm_key *key, plmm_way way,
                                 plmm_error *err)
{
    bool good = !plmm_message_signed(f->type) &&
                plmm_mac_verify(&f->tag, key, LABEL_TAG[way], f->signed_hash.b,
                                sizeof f->signed_hash.b, NULL) == PLMM_OK;
    return good ? PLMM_OK : not_authentic(f, "authenticated", err);
}

plmm_status plmm_frame_verify(const plmm_frame *f, const plmm_sign_pk *key, plmm_error *err)
{
    bool good =
        plmm_message_signed(f->type) && plmm_verify(&f->signature, key, LABEL, f->signed_hash.b,
                                                    sizeof f->signed_hash.b, NULL) == PLMM_OK;
    return good ? PLMM_OK : not_authentic(f, "signed", err);
}

/* ---- writing ---- */

/* All of a frame's head but the authenticator. */
static size_t head_put(uint8_t *out, plmm_hash *digest, const plmm_frame *f)
{
    PLMM_ASSERT(plmm_message_known(f->type) && f->body_len <= PLMM_BODY_MAX);
    PLMM_ASSERT(f->bulk_len <= PLMM_BULK_MAX && plmm_expert_check(f->expert, NULL) == PLMM_OK);
    plmm_v1_Envelope e = plmm_v1_Envelope_init_zero;
    e.version = PLMM_PROTOCOL_VERSION;
    e.type = f->type;
    memcpy(e.expert, f->expert, sizeof e.expert);
    e.round = f->round;
    e.attempt = f->attempt;
    e.session.size = f->has_session ? 32 : 0;
    memcpy(e.session.bytes, f->session.b, sizeof f->session.b);
    e.sender = f->sender;
    e.receiver = f->receiver;
    e.body.size = (pb_size_t)f->body_len;
    memcpy(e.body.bytes, f->body, f->body_len);
    e.bulk_length = f->bulk_len;
    e.bulk_digest.size = f->bulk_len > 0 ? 32 : 0;
    memcpy(e.bulk_digest.bytes, f->bulk_hash.b, sizeof f->bulk_hash.b);

    uint8_t *envelope = out + PLMM_FRAME_PREFIX;
    pb_ostream_t os = pb_ostream_from_buffer(envelope, PLMM_ENVELOPE_MAX);
    PLMM_ASSERT(pb_encode(&os, plmm_v1_Envelope_fields, &e));
    size_t n = os.bytes_written;
    signed_digest(digest, envelope, n);
    memcpy(out, MAGIC, sizeof MAGIC);
    plmm_store_le32(out + 4, (uint32_t)(n + FIELD + authenticator_octets(f->type)));
    plmm_store_le32(out + 8, f->bulk_len);
    return PLMM_FRAME_PREFIX + n;
}

static void authenticator_put(uint8_t *out, size_t *len, const void *octets, size_t n)
{
    out[*len] = FIELD_NAME;
    out[*len + 1] = (uint8_t)n;
    memcpy(out + *len + FIELD, octets, n);
    *len += FIELD + n;
}

void plmm_frame_begin(uint8_t out[PLMM_FRAME_SMALL], size_t *len, plmm_hash *digest,
                      const plmm_frame *f)
{
    PLMM_ASSERT(!plmm_message_signed(f->type));
    *len = head_put(out, digest, f);
}

void plmm_frame_finish(uint8_t out[PLMM_FRAME_SMALL], size_t *len, const plmm_hash *digest,
                       const plmm_key *key, plmm_way way)
{
    plmm_tag tag;
    plmm_mac(&tag, key, LABEL_TAG[way], digest->b, sizeof digest->b);
    authenticator_put(out, len, tag.b, sizeof tag.b);
}

void plmm_frame_head(uint8_t out[PLMM_FRAME_SMALL], size_t *len, const plmm_frame *f,
                     const plmm_key *key, plmm_way way)
{
    plmm_hash digest;
    plmm_frame_begin(out, len, &digest, f);
    plmm_frame_finish(out, len, &digest, key, way);
}

void plmm_frame_sign(uint8_t out[PLMM_FRAME_SMALL], size_t *len, const plmm_frame *f,
                     const plmm_sign_sk *sk)
{
    plmm_hash digest;
    plmm_signature sig;
    PLMM_ASSERT(plmm_message_signed(f->type));
    *len = head_put(out, &digest, f);
    plmm_sign(&sig, sk, LABEL, digest.b, sizeof digest.b);
    authenticator_put(out, len, sig.b, sizeof sig.b);
}
