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

/* --- GPT-2's printable bytes --- */

static bool is_printable(unsigned b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

uint32_t byte_to_char(unsigned char b)
{
    if (is_printable(b)) {
        return b;
    }
    /* 0..32, 127..160 and 173 follow one another from U+0100. */
    return 0x100u + (b <= 0x20 ? b : b <= 0xA0 ? b - 0x7Fu + 33u : 67u);
}

int char_to_byte(uint32_t cp)
{
    if (cp < 0x100) {
        return is_printable(cp) ? (int)cp : -1;
    }
    uint32_t i = cp - 0x100u;
    return i <= 32 ? (int)i : i <= 66 ? (int)(i - 33 + 0x7F) : i == 67 ? 0xAD : -1;
}

/* --- tables --- */

static uint32_t table_mask(size_t n)
{
    size_t size = 16;
    while (size < 2 * n) {
        size *= 2;
    }
    return (uint32_t)(size - 1);
}

plmm_tokenizer *tokenizer_alloc(bpe_style style, uint32_t n, size_t n_merges)
{
    plmm_tokenizer *t = plmm_alloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->style = style;
    t->n_tokens = n;
    t->slots_mask = table_mask(n);
    t->merges_mask = table_mask(n_merges);
    t->tokens = plmm_alloc(n, sizeof *t->tokens);
    t->slots = plmm_alloc((size_t)t->slots_mask + 1, sizeof *t->slots);
    t->merges = plmm_alloc((size_t)t->merges_mask + 1, sizeof *t->merges);
    if (t->tokens == NULL || t->slots == NULL || t->merges == NULL) {
        plmm_tokenizer_free(t);
        return NULL;
    }
    for (size_t i = 0; i <= t->merges_mask; i++) {
        t->merges[i].pair = MERGE_FREE;
    }
    for (size_t i = 0; i < 256; i++) {
        t->byte_id[i] = t->added_first[0][i] = t->added_first[1][i] = -1;
    }
    t->unk = t->bos = t->eos = t->prefix_bos = t->suffix_eos = -1;
    return t;
}

void plmm_tokenizer_free(plmm_tokenizer *t)
{
    if (t == NULL) {
        return;
    }
    plmm_free(t->tokens);
    plmm_free(t->slots);
    plmm_free(t->merges);
    plmm_free(t->blob);
    plmm_free(t->added);
    plmm_free(t->source);
    plmm_free(t);
}

plmm_status tokenizer_keep_source(plmm_tokenizer *t, const char *bytes, size_t len,
                                  const char *name, plmm_error *err)
{
    char *copy = plmm_alloc(len + 1, 1);
    if (copy == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep %zu bytes of a tokenizer", len);
    }
    memcpy(copy, bytes, len);
    plmm_free(t->source);
    t->source = copy;
    t->source_len = len;
    t->source_name = name;
    return PLMM_OK;
}

uint32_t tokenizer_store(plmm_tokenizer *t, const char *bytes, size_t len)
{
    if (t->blob == NULL || t->blob_len + len > t->blob_cap) {
        size_t cap = 2 * (t->blob_len + len) + 4096;
        char *p = cap < UINT32_MAX ? plmm_grow(t->blob, t->blob_cap, cap, 1) : NULL;
        if (p == NULL) {
            return UINT32_MAX;
        }
        t->blob = p;
        t->blob_cap = cap;
    }
    uint32_t at = (uint32_t)t->blob_len;
    if (len > 0) {
        memcpy(t->blob + at, bytes, len);
    }
    t->blob_len += len;
    return at;
}

static uint32_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a, then mixed */
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    }
    return (uint32_t)(h ^ h >> 32);
}

/* The slot where a content is or would be. */
static uint32_t find_slot(const plmm_tokenizer *t, const char *content, size_t len)
{
    uint32_t i = hash_bytes(content, len) & t->slots_mask;
    for (; t->slots[i] != 0; i = (i + 1) & t->slots_mask) {
        const token *k = &t->tokens[t->slots[i] - 1];
        if (k->content_len == len && memcmp(t->blob + k->content, content, len) == 0) {
            break;
        }
    }
    return i;
}

int32_t tokenizer_lookup(const plmm_tokenizer *t, const char *content, size_t len)
{
    return (int32_t)t->slots[find_slot(t, content, len)] - 1;
}

/* A byte-level content as the bytes it stands for; false if it is not made of printable bytes. */
static bool raw_bytes(const char *s, size_t n, char *out, size_t *out_n)
{
    *out_n = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += utf8_decode(s + i, n - i, &cp);
        int b = char_to_byte(cp);
        if (b < 0) {
            return false;
        }
        out[(*out_n)++] = (char)(unsigned char)b;
    }
    return true;
}

/* A SentencePiece content as it stands in text: U+2581 is a space. */
static void raw_sentence(const char *s, size_t n, char *out, size_t *out_n)
{
    *out_n = 0;
    for (size_t i = 0; i < n;) {
        if (n - i >= 3 && memcmp(s + i, "\xE2\x96\x81", 3) == 0) {
            out[(*out_n)++] = ' ';
            i += 3;
        } else {
            out[(*out_n)++] = s[i++];
        }
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of "<0x0A>", or -1. */
static int byte_token(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>') {
        return -1;
    }
    int hi = hex_digit(s[3]), lo = hex_digit(s[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

static void derive_raw(const plmm_tokenizer *t, const char *content, size_t len, token *k,
                       char raw[PLMM_TOKENIZER_TOKEN_MAX], size_t *raw_len)
{
    memcpy(raw, content, len);
    *raw_len = len;
    if (k->kind == TOKEN_SPECIAL) {
        return;
    }
    if (t->style == STYLE_BYTES) {
        if (!raw_bytes(content, len, raw, raw_len)) {
            memcpy(raw, content, len);
            *raw_len = len;
        }
        return;
    }
    int b = byte_token(content, len);
    if (b >= 0) {
        k->kind = TOKEN_BYTE;
        raw[0] = (char)(unsigned char)b;
        *raw_len = 1;
    } else {
        raw_sentence(content, len, raw, raw_len);
    }
}

plmm_status tokenizer_set(plmm_tokenizer *t, uint32_t id, const char *content, size_t len,
                          enum token_kind kind, bool unique, plmm_error *err)
{
    if (id >= t->n_tokens || t->tokens[id].kind != TOKEN_HOLE) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "token id %u is %s", id,
                         id >= t->n_tokens ? "out of range" : "given to two tokens");
    }
    if (len > PLMM_TOKENIZER_TOKEN_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "token %u has %zu bytes, at most %d", id, len,
                         (int)PLMM_TOKENIZER_TOKEN_MAX);
    }
    uint32_t slot = find_slot(t, content, len);
    if (unique && t->slots[slot] != 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "tokens %u and %u have the same content",
                         t->slots[slot] - 1, id);
    }
    char raw[PLMM_TOKENIZER_TOKEN_MAX];
    size_t raw_len;
    token k = {.kind = (uint8_t)kind, .content_len = (uint16_t)len};
    derive_raw(t, content, len, &k, raw, &raw_len);
    k.raw_len = (uint16_t)raw_len;
    k.content = tokenizer_store(t, content, len);
    k.raw = k.content;
    if (raw_len != len || memcmp(raw, content, len) != 0) {
        k.raw = tokenizer_store(t, raw, raw_len);
    }
    if (k.content == UINT32_MAX || k.raw == UINT32_MAX) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold the tokens: out of memory");
    }
    t->tokens[id] = k;
    if (t->slots[slot] == 0) {
        t->slots[slot] = id + 1;
    }
    return PLMM_OK;
}

static uint32_t hash_pair(uint64_t pair)
{
    pair *= 0x9E3779B97F4A7C15u;
    return (uint32_t)(pair >> 32 ^ pair);
}

static merge *merge_slot(const plmm_tokenizer *t, uint64_t pair)
{
    uint32_t i = hash_pair(pair) & t->merges_mask;
    while (t->merges[i].pair != MERGE_FREE && t->merges[i].pair != pair) {
        i = (i + 1) & t->merges_mask;
    }
    return &t->merges[i];
}

void tokenizer_add_merge(plmm_tokenizer *t, uint32_t left, uint32_t right, uint32_t rank,
                         uint32_t id)
{
    uint64_t pair = (uint64_t)left << 32 | right;
    merge *m = merge_slot(t, pair);
    if (m->pair == MERGE_FREE) {
        *m = (merge){pair, rank, id};
    }
}

const merge *tokenizer_find_merge(const plmm_tokenizer *t, uint32_t left, uint32_t right)
{
    const merge *m = merge_slot(t, (uint64_t)left << 32 | right);
    return m->pair == MERGE_FREE ? NULL : m;
}

/* Puts added token i into its list, the longest first. */
static void link_added(plmm_tokenizer *t, size_t i)
{
    added_token *a = &t->added[i];
    int32_t *link = &t->added_first[a->normalized][(unsigned char)t->blob[a->pattern]];
    while (*link >= 0 && t->added[*link].len >= a->len) {
        link = &t->added[*link].next;
    }
    a->next = *link;
    *link = (int32_t)i;
}

static int32_t usual_name(const plmm_tokenizer *t, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = tokenizer_lookup(t, names[i], strlen(names[i]));
        if (id >= 0) {
            return id;
        }
    }
    return -1;
}

/* Is there a separator at s[at] that follows something else? */
static bool separates(const char *s, size_t n, size_t at, const char *sep, size_t len)
{
    return n - at >= len && memcmp(s + at, sep, len) == 0 &&
           (at < len || memcmp(s + at - len, sep, len) != 0);
}

/* Where no pre-tokenizer cuts words, the vocabulary may: if no token has a space after anything but
 * spaces, no merge can cross the beginning of a word, and short words merge much faster than one
 * text. */
static void find_separator(plmm_tokenizer *t)
{
    const char *sep = t->n_normal > 0 || t->meta_replace ? "\xE2\x96\x81" : " ";
    size_t len = strlen(sep);
    if (t->style != STYLE_SENTENCE || t->n_split > 0 || tokenizer_lookup(t, sep, len) < 0) {
        return;
    }
    for (uint32_t id = 0; id < t->n_tokens; id++) {
        const token *k = &t->tokens[id];
        for (size_t at = 1; at < k->content_len; at++) {
            if (separates(t->blob + k->content, k->content_len, at, sep, len)) {
                return;
            }
        }
    }
    t->separator = sep;
}

plmm_status tokenizer_finish(plmm_tokenizer *t, plmm_error *err)
{
    static const char *const begins[] = {"<|begin|>", "<s>", "<|begin_of_text|>", "<|startoftext|>",
                                         "<|start_story|>"};
    static const char *const ends[] = {"<|end|>",       "</s>",       "<|end_of_text|>",
                                       "<|endoftext|>", "<|im_end|>", "<|end_story|>"};
    for (unsigned b = 0; b < 256; b++) {
        char content[8];
        size_t n = 6;
        if (t->style == STYLE_BYTES) {
            n = utf8_encode(byte_to_char((unsigned char)b), content);
        } else {
            (void)snprintf(content, sizeof content, "<0x%02X>", b);
        }
        t->byte_id[b] = tokenizer_lookup(t, content, n);
    }
    for (size_t i = 0; i < t->n_added; i++) {
        if (t->added[i].len == 0) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "added token %u is empty", t->added[i].id);
        }
        link_added(t, i);
    }
    find_separator(t);
    if (t->bos < 0) {
        t->bos = t->prefix_bos >= 0 ? t->prefix_bos
                                    : usual_name(t, begins, sizeof begins / sizeof *begins);
    }
    if (t->eos < 0) {
        t->eos =
            t->suffix_eos >= 0 ? t->suffix_eos : usual_name(t, ends, sizeof ends / sizeof *ends);
    }
    return PLMM_OK;
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
    if (e->t->ignore_merges && n <= PLMM_TOKENIZER_TOKEN_MAX) {
        char content[2 * PLMM_TOKENIZER_TOKEN_MAX];
        size_t len = 0;
        for (size_t i = 0; i < n; i++) {
            char c[4];
            size_t k = utf8_encode(byte_to_char((unsigned char)s[i]), c);
            memcpy(content + len, c, k);
            len += k;
        }
        int32_t id = tokenizer_lookup(e->t, content, len);
        if (id >= 0) {
            return plmm_ids_push(e->ids, id, err);
        }
    }
    return bpe_encode(e->t, s, n, &e->scratch, e->ids, err);
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
        return " ";
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
        if (at < n && separates(s, n, at, sep, len)) {
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
    encoder e = {.t = t, .flags = flags, .at_start = true, .ids = ids};
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

static plmm_status parse_any(const char *bytes, size_t len, const char *name, plmm_tokenizer **out,
                             plmm_error *err)
{
    size_t i = 0;
    while (i < len && i < 64 && strchr(" \t\r\n", bytes[i]) != NULL && bytes[i] != '\0') {
        i++;
    }
    return i < len && bytes[i] == '{'
               ? plmm_tokenizer_parse_json(bytes, len, name, out, err)
               : plmm_tokenizer_parse_llama2c((const uint8_t *)bytes, len, name, out, err);
}

static plmm_status load_file(const char *path, plmm_tokenizer **out, plmm_error *err)
{
    uint8_t *bytes;
    size_t len;
    PLMM_TRY(plmm_file_read(path, PLMM_TOKENIZER_FILE_MAX, &bytes, &len, err));
    plmm_status rc = parse_any((const char *)bytes, len, path, out, err);
    plmm_free(bytes);
    return rc;
}

plmm_status plmm_tokenizer_load(const char *path, plmm_tokenizer **out, plmm_error *err)
{
    static const char *const whole[] = {"tokenizer.json", "tokenizer.bin"};
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
    return plmm_fail(err, PLMM_ERR_NOTFOUND,
                     "%s has no tokenizer.json, no tokenizer.bin and no vocab.json with merges.txt",
                     path);
}

plmm_status plmm_tokenizer_save(const plmm_tokenizer *t, const char *dir, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, t->source_name, err));
    return plmm_file_write(path, t->source, t->source_len, PLMM_MODE_PUBLIC, err);
}
