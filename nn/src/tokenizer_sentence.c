/* Reader of SentencePiece's tokenizer.model: a protobuf message ModelProto (sentencepiece_model
 * .proto) of which a few fields matter. Only model type BPE without a character map; what else a
 * file asks for is refused by its name. */
#include "tokenizer_internal.h"

#include <math.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/bytes.h"

/* One field of a message: a number, or bytes. */
typedef struct field {
    uint32_t number, wire; /* wire: 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;        /* of a varint; the bits of the fixed ones */
    const uint8_t *bytes;
    size_t len;
} field;

/* A message, or what is left of it. */
typedef struct message {
    const uint8_t *at, *end;
} message;

static bool take_varint(message *m, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        uint8_t b = *m->at++;
        *out |= (uint64_t)(b & 0x7Fu) << shift;
        if (b < 0x80) {
            return true;
        }
    }
    return false;
}

/* The next field; false when what is left is no field. Not to be called at the end. */
static bool take_field(message *m, field *f)
{
    uint64_t tag;
    if (!take_varint(m, &tag) || tag >> 3 == 0 || tag >> 3 > (1 << 29)) {
        return false;
    }
    *f = (field){.number = (uint32_t)(tag >> 3), .wire = (uint32_t)tag & 7};
    size_t left = (size_t)(m->end - m->at);
    if (f->wire == 0) {
        return take_varint(m, &f->value);
    }
    if (f->wire == 2) {
        uint64_t n;
        if (!take_varint(m, &n) || n > (uint64_t)(m->end - m->at)) {
            return false;
        }
        f->bytes = m->at;
        f->len = (size_t)n;
        m->at += n;
        return true;
    }
    size_t n = f->wire == 1 ? 8 : f->wire == 5 ? 4 : SIZE_MAX;
    if (n > left) {
        return false;
    }
    f->value = n == 8 ? plmm_load_le64(m->at) : plmm_load_le32(m->at);
    m->at += n;
    return true;
}

static plmm_status next_field(message *m, const char *where, field *f, plmm_error *err)
{
    return take_field(m, f)
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_FORMAT, "%s is cut short or no message", where);
}

/* ---- a piece: 1 text, 2 score, 3 type ---- */

static bool read_piece(const uint8_t *bytes, size_t len, scored_piece *p)
{
    message m = {bytes, bytes + len};
    *p = (scored_piece){.s = "", .kind = PIECE_NORMAL};
    while (m.at < m.end) {
        field f;
        if (!take_field(&m, &f)) {
            return false;
        }
        if (f.number == 1 && f.wire == 2) {
            p->s = (const char *)f.bytes;
            p->n = f.len;
        } else if (f.number == 2 && f.wire == 5) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&p->score, &bits, sizeof bits);
        } else if (f.number == 3 && f.wire == 0) {
            if (f.value < PIECE_NORMAL || f.value > PIECE_BYTE) {
                return false;
            }
            p->kind = (enum piece_kind)f.value;
        }
    }
    return isfinite(p->score) && p->n <= PLMM_TOKENIZER_TOKEN_MAX;
}

/* Positions are fields of the whole message, which the survey has accepted. */
static scored_piece next_piece(const void *ctx, size_t *position)
{
    const message *whole = ctx;
    message m = {whole->at + *position, whole->end};
    scored_piece p = {.s = "", .kind = PIECE_NORMAL};
    field f = {0};
    while (f.number != 1 && take_field(&m, &f)) {
    }
    (void)read_piece(f.bytes, f.len, &p);
    *position = (size_t)(m.at - whole->at);
    return p;
}

/* ---- the rest ---- */

typedef struct spec {
    int64_t unk, bos, eos;
    bool dummy_prefix;
} spec;

static plmm_status not_supported(const char *what, plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "%s is not supported", what);
}

/* 3 model type, 24 spaces after words, 40 to 42 ids. */
static plmm_status read_trainer(field whole, spec *s, plmm_error *err)
{
    message m = {whole.bytes, whole.bytes + whole.len};
    uint64_t type = 1;
    while (m.at < m.end) {
        field f;
        PLMM_TRY(next_field(&m, "trainer_spec", &f, err));
        int64_t id = (int32_t)(uint32_t)f.value;
        if (f.wire != 0) {
            continue;
        }
        type = f.number == 3 ? f.value : type;
        s->unk = f.number == 40 ? id : s->unk;
        s->bos = f.number == 41 ? id : s->bos;
        s->eos = f.number == 42 ? id : s->eos;
        if (f.number == 24 && f.value != 0) {
            return not_supported("trainer_spec.treat_whitespace_as_suffix", err);
        }
    }
    if (type != 2) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "trainer_spec.model_type is %s: only BPE is supported",
                         type == 1   ? "unigram"
                         : type == 3 ? "word"
                         : type == 4 ? "char"
                                     : "unknown");
    }
    return PLMM_OK;
}

/* 2 character map, 3 dummy prefix, 4 remove extra spaces, 5 spaces as U+2581; all true if absent. */
static plmm_status read_normalizer(field whole, spec *s, plmm_error *err)
{
    message m = {whole.bytes, whole.bytes + whole.len};
    bool remove = true, escape = true;
    while (m.at < m.end) {
        field f;
        PLMM_TRY(next_field(&m, "normalizer_spec", &f, err));
        if (f.number == 2 && f.wire == 2 && f.len > 0) {
            return not_supported("normalizer_spec.precompiled_charsmap", err);
        }
        s->dummy_prefix = f.number == 3 && f.wire == 0 ? f.value != 0 : s->dummy_prefix;
        remove = f.number == 4 && f.wire == 0 ? f.value != 0 : remove;
        escape = f.number == 5 && f.wire == 0 ? f.value != 0 : escape;
    }
    return remove    ? not_supported("normalizer_spec.remove_extra_whitespaces", err)
           : !escape ? not_supported("normalizer_spec.escape_whitespaces = false", err)
                     : PLMM_OK;
}

/* 1 pieces, 2 trainer, 3 normalizer. */
static plmm_status survey(const message *whole, scored_vocab *v, spec *s, plmm_error *err)
{
    message m = *whole;
    field trainer = {.bytes = m.at}, normalizer = trainer; /* empty, if they are not there */
    while (m.at < m.end) {
        field f;
        scored_piece p;
        PLMM_TRY(next_field(&m, "the file", &f, err));
        trainer = f.number == 2 && f.wire == 2 ? f : trainer;
        normalizer = f.number == 3 && f.wire == 2 ? f : normalizer;
        if (f.number != 1) {
            continue;
        }
        if (f.wire != 2 || !read_piece(f.bytes, f.len, &p)) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "piece %u is cut short, too long or has no finite score", v->n);
        }
        v->content += p.n;
        v->cut += p.kind == PIECE_USER || p.kind == PIECE_CONTROL || p.kind == PIECE_UNKNOWN;
        if (++v->n > PLMM_TOKENIZER_VOCAB_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "more than %d pieces",
                             (int)PLMM_TOKENIZER_VOCAB_MAX);
        }
    }
    if (v->n == 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "there are no pieces");
    }
    PLMM_TRY(read_trainer(trainer, s, err));
    return read_normalizer(normalizer, s, err);
}

/* An id of the trainer, if it is one. */
static int32_t id_or_none(int64_t id, uint32_t n)
{
    return id >= 0 && id < (int64_t)n ? (int32_t)id : -1;
}

plmm_status tokenizer_read_sentence(const uint8_t *bytes, size_t len, const char *name,
                                    plmm_tokenizer **out, plmm_error *err)
{
    message whole = {bytes, bytes + len};
    scored_vocab v = {.at = next_piece, .ctx = &whole};
    spec s = {.unk = 0, .bos = 1, .eos = 2, .dummy_prefix = true};
    plmm_status rc = survey(&whole, &v, &s, err);
    if (rc == PLMM_OK) {
        rc = tokenizer_from_scores(&v, out, err);
    }
    if (rc != PLMM_OK) {
        return plmm_fail_in(err, rc, "cannot use tokenizer %s", name);
    }
    plmm_tokenizer *t = *out;
    t->unk = id_or_none(s.unk, v.n);
    t->bos = id_or_none(s.bos, v.n);
    t->eos = id_or_none(s.eos, v.n);
    if (!s.dummy_prefix) {
        t->prefix = PREFIX_NONE;
        t->strip_first = false;
    }
    return PLMM_OK;
}
