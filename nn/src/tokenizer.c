/* The tables of a tokenizer and what reads them: look-up, encoding, decoding. */
#include "tokenizer_internal.h"
#include "unicode.h"

#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/file.h"

/* --- ids --- */

plmm_status plmm_ids_push(plmm_ids *ids, int32_t id, plmm_error *err)
{
    if (ids->n == ids->cap) {
        size_t cap = ids->cap == 0 ? 64 : 2 * ids->cap;
        int32_t *v = plmm_grow(ids->v, ids->cap, cap, sizeof *v);
        if (v == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %zu token ids: out of memory", cap);
        }
        ids->v = v;
        ids->cap = cap;
    }
    ids->v[ids->n++] = id;
    return PLMM_OK;
}

void plmm_ids_free(plmm_ids *ids)
{
    plmm_free(ids->v);
    *ids = (plmm_ids){0};
}

/* --- queries --- */

uint32_t plmm_tokenizer_vocab(const plmm_tokenizer *t)
{
    return t->n_tokens;
}

int32_t plmm_tokenizer_find(const plmm_tokenizer *t, const char *content)
{
    return tokenizer_lookup(t, content, strlen(content));
}

int32_t plmm_tokenizer_bos(const plmm_tokenizer *t)
{
    return t->bos;
}

int32_t plmm_tokenizer_eos(const plmm_tokenizer *t)
{
    return t->eos;
}

const char *plmm_tokenizer_source(const plmm_tokenizer *t, size_t *len, const char **name)
{
    *len = t->source_len;
    *name = t->source_name;
    return t->source;
}

/* --- normalising --- */

static plmm_status replace_all(const normal_step *step, const char *s, size_t n, plmm_text *out,
                               plmm_error *err)
{
    size_t from_len = strlen(step->from), to_len = strlen(step->to), kept = 0;
    for (size_t i = 0; i + from_len <= n;) {
        if (memcmp(s + i, step->from, from_len) != 0) {
            i++;
            continue;
        }
        PLMM_TRY(plmm_text_sink(out, s + kept, i - kept, err));
        PLMM_TRY(plmm_text_sink(out, step->to, to_len, err));
        i += from_len;
        kept = i;
    }
    return plmm_text_sink(out, s + kept, n - kept, err);
}

static plmm_status normal_one(const normal_step *step, const char *s, size_t n, plmm_text *out,
                              plmm_error *err)
{
    out->len = 0;
    switch (step->kind) {
    case NORMAL_PREPEND:
        if (n > 0) {
            PLMM_TRY(plmm_text_sink(out, step->to, strlen(step->to), err));
        }
        return plmm_text_sink(out, s, n, err);
    case NORMAL_REPLACE:
        return replace_all(step, s, n, out, err);
    case NORMAL_NFC: {
        char *nfc;
        size_t nfc_n;
        PLMM_TRY(unicode_nfc(s, n, &nfc, &nfc_n, err));
        plmm_status rc = plmm_text_sink(out, nfc != NULL ? nfc : s, nfc_n, err);
        plmm_free(nfc);
        return rc;
    }
    }
    return PLMM_OK;
}

plmm_status tokenizer_normalize(const plmm_tokenizer *t, const char *s, size_t n, plmm_text *out,
                                plmm_error *err)
{
    out->len = 0;
    if (t->n_normal == 0) {
        return plmm_text_sink(out, s, n, err);
    }
    plmm_text other = {0};
    plmm_status rc = PLMM_OK;
    for (size_t i = 0; i < t->n_normal && rc == PLMM_OK; i++) {
        if (i > 0) {
            plmm_text swap = *out;
            *out = other;
            other = swap;
        }
        const char *from = i == 0 ? s : other.text;
        rc = normal_one(&t->normal[i], from, i == 0 ? n : other.len, out, err);
    }
    plmm_text_free(&other);
    return rc;
}

/* --- encoding --- */

typedef struct encoder {
    const plmm_tokenizer *t;
    unsigned flags;
    bool at_start; /* nothing of the text has been passed yet */
    plmm_ids *ids;
    bpe_scratch scratch;
    plmm_text normal, prefixed;
} encoder;

static plmm_status encode_word(void *ctx, const char *s, size_t n, plmm_error *err)
{
    encoder *e = ctx;
    int32_t id = tokenizer_word(e->t, s, n);
    return id >= 0 ? plmm_ids_push(e->ids, id, err)
                   : bpe_encode(e->t, s, n, &e->scratch, e->ids, err);
}

static bool starts_with(const char *s, size_t n, const char *with)
{
    size_t len = strlen(with);
    return n >= len && memcmp(s, with, len) == 0;
}

/* What the pre-tokenizer puts before a stretch of text, "" for nothing. */
static const char *prefix_of(const encoder *e, const char *s, size_t n)
{
    static const char meta[] = "\xE2\x96\x81";
    switch (e->t->prefix) {
    case PREFIX_NONE:
        return "";
    case PREFIX_DUMMY:
        return !e->at_start ? "" : e->t->meta_replace ? meta : " ";
    case PREFIX_SPACE:
        return s[0] == ' ' ? "" : " ";
    case PREFIX_METASPACE:
        return starts_with(s, n, meta) || s[0] == ' ' ? "" : meta;
    case PREFIX_META_FIRST:
        return !e->at_start || starts_with(s, n, meta) || s[0] == ' ' ? "" : meta;
    }
    return "";
}

/* Words by the separator: each begins with a run of them. */
static plmm_status encode_words(encoder *e, const char *s, size_t n, plmm_error *err)
{
    const char *sep = e->t->separator;
    size_t len = strlen(sep), begin = 0;
    for (size_t at = 1; at < n; at++) {
        const char *next = memchr(s + at, sep[0], n - at);
        at = next != NULL ? (size_t)(next - s) : n;
        if (at < n && tokenizer_separates(s, n, at, sep, len)) {
            PLMM_TRY(encode_word(e, s + begin, at - begin, err));
            begin = at;
        }
    }
    return encode_word(e, s + begin, n - begin, err);
}

/* A stretch without added tokens, already normalised. */
static plmm_status encode_plain(encoder *e, const char *s, size_t n, plmm_error *err)
{
    const plmm_tokenizer *t = e->t;
    if (n == 0) {
        return PLMM_OK;
    }
    if (t->prefix != PREFIX_NONE || t->meta_replace) {
        static const normal_step spaces = {NORMAL_REPLACE, " ", "\xE2\x96\x81"};
        const char *prefix = prefix_of(e, s, n);
        e->prefixed.len = 0;
        PLMM_TRY(plmm_text_sink(&e->prefixed, prefix, strlen(prefix), err));
        PLMM_TRY(t->meta_replace ? replace_all(&spaces, s, n, &e->prefixed, err)
                                 : plmm_text_sink(&e->prefixed, s, n, err));
        s = e->prefixed.text;
        n = e->prefixed.len;
    }
    e->at_start = false;
    if (t->separator != NULL) {
        return encode_words(e, s, n, err);
    }
    return split_words(t->split, t->n_split, s, n, encode_word, e, err);
}

/* Start of the last code point before s[at]. */
static size_t step_back(const char *s, size_t at)
{
    size_t i = at - 1;
    while (i > 0 && at - i < 4 && ((unsigned char)s[i] & 0xC0u) == 0x80u) {
        i--;
    }
    return i;
}

static bool stands_alone(const char *s, size_t n, size_t begin, size_t end)
{
    uint32_t cp;
    if (begin > 0) {
        size_t i = step_back(s, begin);
        (void)utf8_decode(s + i, begin - i, &cp);
        if (unicode_is_word(cp)) {
            return false;
        }
    }
    if (end < n) {
        (void)utf8_decode(s + end, n - end, &cp);
        return !unicode_is_word(cp);
    }
    return true;
}

/* The first added token in s[from..n), the longest at its place; begin and end include the white
 * space that it takes with it. NULL: none. */
static const added_token *find_added(const encoder *e, int normalized, const char *s, size_t n,
                                     size_t from, size_t *begin, size_t *end)
{
    const plmm_tokenizer *t = e->t;
    for (size_t i = from; i < n; i++) {
        const added_token *a = NULL;
        for (int32_t k = t->added_first[normalized][(unsigned char)s[i]]; k >= 0;
             k = t->added[k].next) {
            a = &t->added[k];
            if (a->len <= n - i && memcmp(t->blob + a->pattern, s + i, a->len) == 0 &&
                (!a->special || (e->flags & PLMM_ENCODE_SPECIALS) != 0)) {
                break;
            }
            a = NULL;
        }
        if (a == NULL) {
            continue;
        }
        *begin = i;
        *end = i + a->len;
        if (a->single_word && !stands_alone(s, n, *begin, *end)) {
            i = *end - 1;
            continue;
        }
        uint32_t cp;
        while (a->lstrip && *begin > from) {
            size_t back = step_back(s, *begin);
            (void)utf8_decode(s + back, *begin - back, &cp);
            if (back < from || !unicode_is_space(cp)) {
                break;
            }
            *begin = back;
        }
        while (a->rstrip && *end < n) {
            size_t len = utf8_decode(s + *end, n - *end, &cp);
            if (!unicode_is_space(cp)) {
                break;
            }
            *end += len;
        }
        return a;
    }
    return NULL;
}

static plmm_status encode_normalized(encoder *e, const char *s, size_t n, plmm_error *err)
{
    PLMM_TRY(tokenizer_normalize(e->t, s, n, &e->normal, err));
    s = e->normal.text;
    n = e->normal.len;
    for (size_t at = 0, begin, end; at < n; at = end) {
        const added_token *a = find_added(e, 1, s, n, at, &begin, &end);
        if (a == NULL) {
            return encode_plain(e, s + at, n - at, err);
        }
        PLMM_TRY(encode_plain(e, s + at, begin - at, err));
        PLMM_TRY(plmm_ids_push(e->ids, (int32_t)a->id, err));
        e->at_start = false;
    }
    return PLMM_OK;
}

static plmm_status encode_text(encoder *e, const char *s, size_t n, plmm_error *err)
{
    for (size_t at = 0, begin, end; at < n; at = end) {
        const added_token *a = find_added(e, 0, s, n, at, &begin, &end);
        if (a == NULL) {
            return encode_normalized(e, s + at, n - at, err);
        }
        if (begin > at) {
            PLMM_TRY(encode_normalized(e, s + at, begin - at, err));
        }
        PLMM_TRY(plmm_ids_push(e->ids, (int32_t)a->id, err));
        e->at_start = false;
    }
    return PLMM_OK;
}

plmm_status plmm_tokenizer_encode(const plmm_tokenizer *t, const char *text, size_t len,
                                  unsigned flags, plmm_ids *ids, plmm_error *err)
{
    if (len > PLMM_TOKENIZER_TEXT_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot encode a text of %zu bytes, at most %d", len,
                         (int)PLMM_TOKENIZER_TEXT_MAX);
    }
    size_t before = ids->n;
    encoder e = {.t = t, .flags = flags, .at_start = (flags & PLMM_ENCODE_INNER) == 0, .ids = ids};
    plmm_status rc = PLMM_OK;
    if ((flags & PLMM_ENCODE_BOS) != 0 && t->bos >= 0) {
        rc = plmm_ids_push(ids, t->bos, err);
    }
    if (rc == PLMM_OK) {
        rc = encode_text(&e, text, len, err);
    }
    if (rc == PLMM_OK && (flags & PLMM_ENCODE_EOS) != 0 && t->eos >= 0) {
        rc = plmm_ids_push(ids, t->eos, err);
    }
    bpe_scratch_free(&e.scratch);
    plmm_text_free(&e.normal);
    plmm_text_free(&e.prefixed);
    if (rc != PLMM_OK) {
        ids->n = before;
    }
    return rc;
}

/* --- decoding --- */

/* Bytes of a token in text, without the space that opens a SentencePiece text. */
static const char *text_of(const plmm_tokenizer *t, int32_t id, bool first, size_t *n)
{
    *n = 0;
    if (id < 0 || (uint32_t)id >= t->n_tokens || t->tokens[id].kind == TOKEN_HOLE) {
        return "";
    }
    const token *k = &t->tokens[id];
    const char *s = t->blob + k->raw;
    *n = k->raw_len;
    if (first && t->strip_first && *n > 0 && s[0] == ' ') {
        s++;
        --*n;
    }
    return s;
}

static bool is_special(const plmm_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n_tokens && t->tokens[id].kind == TOKEN_SPECIAL;
}

plmm_status plmm_tokenizer_decode(const plmm_tokenizer *t, const int32_t *ids, size_t n,
                                  unsigned flags, char **text, size_t *len, plmm_error *err)
{
    size_t total = 1, at = 0, k;
    for (size_t i = 0; i < n; i++) {
        (void)text_of(t, ids[i], false, &k);
        total += k;
    }
    char *out = plmm_alloc(total, 1);
    if (out == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold a text of %zu bytes", total);
    }
    bool first = true;
    for (size_t i = 0; i < n; i++) {
        bool special = is_special(t, ids[i]);
        if (special && (flags & PLMM_DECODE_SKIP_SPECIALS) != 0) {
            continue;
        }
        const char *s = text_of(t, ids[i], first, &k);
        memcpy(out + at, s, k);
        at += k;
        first = false;
    }
    *text = out;
    *len = at;
    return PLMM_OK;
}

size_t plmm_tokenizer_piece(const plmm_tokenizer *t, int32_t id, bool first,
                            char buf[PLMM_TOKENIZER_TOKEN_MAX + 1])
{
    size_t n = 0;
    if (!is_special(t, id)) {
        const char *s = text_of(t, id, first, &n);
        memcpy(buf, s, n);
    }
    buf[n] = '\0';
    return n;
}

/* --- files --- */

typedef plmm_status (*reader)(const char *bytes, size_t len, const char *name, plmm_tokenizer **out,
                              plmm_error *err);

static plmm_status read_llama2c(const char *bytes, size_t len, const char *name,
                                plmm_tokenizer **out, plmm_error *err)
{
    return tokenizer_read_llama2c((const uint8_t *)bytes, len, name, out, err);
}

static plmm_status read_sentence(const char *bytes, size_t len, const char *name,
                                 plmm_tokenizer **out, plmm_error *err)
{
    return tokenizer_read_sentence((const uint8_t *)bytes, len, name, out, err);
}

typedef struct format {
    reader read;
    const char *file; /* the name that its kind of file usually has */
} format;
static const format json_format = {tokenizer_read_json, "tokenizer.json"};
static const format sentence_format = {read_sentence, "tokenizer.model"};
static const format llama2c_format = {read_llama2c, "tokenizer.bin"};

/* A SentencePiece model begins with a piece, itself beginning with its text: 0A n 0A m. A
 * tokenizer.bin has the length of its longest token there, which fills no second byte. */
static const format *format_of(const char *bytes, size_t len)
{
    size_t i = 0;
    while (i < len && i < 64 && strchr(" \t\r\n", bytes[i]) != NULL && bytes[i] != '\0') {
        i++;
    }
    bool piece = len >= 4 && bytes[0] == '\n' && bytes[2] == '\n' && bytes[3] < bytes[1];
    return piece ? &sentence_format : i < len && bytes[i] == '{' ? &json_format : &llama2c_format;
}

static plmm_status parse_copy(const format *f, const char *bytes, size_t len, const char *name,
                              plmm_tokenizer **out, plmm_error *err)
{
    plmm_tokenizer *t;
    PLMM_TRY(f->read(bytes, len, name, &t, err));
    plmm_status rc = tokenizer_keep_source(t, bytes, len, f->file, err);
    if (rc != PLMM_OK) {
        plmm_tokenizer_free(t);
        return rc;
    }
    *out = t;
    return PLMM_OK;
}

plmm_status plmm_tokenizer_parse_json(const char *json, size_t len, const char *name,
                                      plmm_tokenizer **out, plmm_error *err)
{
    return parse_copy(&json_format, json, len, name, out, err);
}

plmm_status plmm_tokenizer_parse_llama2c(const uint8_t *bytes, size_t len, const char *name,
                                         plmm_tokenizer **out, plmm_error *err)
{
    return parse_copy(&llama2c_format, (const char *)bytes, len, name, out, err);
}

plmm_status plmm_tokenizer_parse_sentence(const uint8_t *bytes, size_t len, const char *name,
                                          plmm_tokenizer **out, plmm_error *err)
{
    return parse_copy(&sentence_format, (const char *)bytes, len, name, out, err);
}

static plmm_status load_gguf(const plmm_map *map, const char *path, plmm_tokenizer **out,
                             plmm_error *err)
{
    plmm_gguf *g;
    PLMM_TRY(plmm_gguf_parse(map->data, map->len, path, &g, err));
    plmm_status rc = plmm_tokenizer_from_gguf(g, path, out, err);
    plmm_gguf_close(g);
    return rc;
}

static plmm_status load_file(const char *path, plmm_tokenizer **out, plmm_error *err)
{
    plmm_map map;
    PLMM_TRY(plmm_file_map(path, &map, err));
    bool gguf = plmm_gguf_is(map.data, map.len);
    plmm_status done = gguf ? load_gguf(&map, path, out, err) : PLMM_OK;
    plmm_file_unmap(&map);
    if (gguf) {
        return done;
    }
    uint8_t *bytes;
    size_t len;
    PLMM_TRY(plmm_file_read(path, PLMM_TOKENIZER_FILE_MAX, &bytes, &len, err));
    const format *f = format_of((const char *)bytes, len);
    plmm_status rc = f->read((const char *)bytes, len, path, out, err);
    if (rc != PLMM_OK) {
        plmm_free(bytes);
        return rc;
    }
    tokenizer_take_source(*out, (char *)bytes, len, f->file);
    return PLMM_OK;
}

plmm_status plmm_tokenizer_load(const char *path, plmm_tokenizer **out, plmm_error *err)
{
    static const char *const whole[] = {"tokenizer.json", "tokenizer.model", "tokenizer.bin"};
    char file[PLMM_PATH_MAX], merges[PLMM_PATH_MAX];
    if (!plmm_path_is_dir(path)) {
        return load_file(path, out, err);
    }
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        PLMM_TRY(plmm_path_join(file, sizeof file, path, whole[i], err));
        if (plmm_path_exists(file)) {
            return load_file(file, out, err);
        }
    }
    PLMM_TRY(plmm_path_join(file, sizeof file, path, "vocab.json", err));
    PLMM_TRY(plmm_path_join(merges, sizeof merges, path, "merges.txt", err));
    if (plmm_path_exists(file) && plmm_path_exists(merges)) {
        return tokenizer_load_merges(file, merges, out, err);
    }
    return plmm_fail(
        err, PLMM_ERR_NOTFOUND,
        "%s has no tokenizer.json, tokenizer.model or tokenizer.bin, and no vocab.json "
        "with merges.txt",
        path);
}

plmm_status plmm_tokenizer_save(const plmm_tokenizer *t, const char *dir, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, t->source_name, err));
    return plmm_file_write(path, t->source, t->source_len, PLMM_MODE_PUBLIC, err);
}
