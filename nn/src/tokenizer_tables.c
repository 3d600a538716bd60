/* The tables of a tokenizer: tokens by content, pairs by their merge, words that are a token. */
#include "tokenizer_internal.h"
#include "unicode.h"

#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"

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

/* Slots for n entries, at most three of four taken. */
static size_t slots_for(size_t n)
{
    size_t size = 16;
    while (size - size / 4 <= n) {
        size *= 2;
    }
    return size;
}

static plmm_status too_large(plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                     "this vocabulary's tables would take more than %d MiB", TABLES_MAX >> 20);
}

/* Takes n * size bytes out of the room. */
static bool charge(plmm_tokenizer *t, size_t n, size_t size)
{
    if (n > t->room / size) {
        return false;
    }
    t->room -= n * size;
    return true;
}

plmm_status tokenizer_reserve_merges(plmm_tokenizer *t, size_t n, plmm_error *err)
{
    size_t slots = n < TABLES_MAX ? slots_for(n) : SIZE_MAX / 2;
    if (!charge(t, slots, sizeof *t->pairs + sizeof *t->pair_ids)) {
        return too_large(err);
    }
    t->pairs = plmm_alloc(slots, sizeof *t->pairs);
    t->pair_ids = plmm_alloc(slots, sizeof *t->pair_ids);
    if (t->pairs == NULL || t->pair_ids == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %zu merges: out of memory", n);
    }
    t->pairs_mask = (uint32_t)(slots - 1);
    memset(t->pairs, 0xFF, slots * sizeof *t->pairs); /* MERGE_FREE */
    return PLMM_OK;
}

static plmm_status fill_new(plmm_tokenizer *t, const table_sizes *z, plmm_error *err)
{
    size_t slots = slots_for(z->ids);
    if (!charge(t, z->ids, sizeof *t->tokens) || !charge(t, slots, 2 * sizeof *t->slots) ||
        !charge(t, z->blob, 1) || !charge(t, z->added, sizeof *t->added) ||
        !charge(t, z->scratch, 1)) {
        return too_large(err);
    }
    t->slots_mask = (uint32_t)(slots - 1);
    t->blob_cap = z->blob;
    t->tokens = plmm_alloc(z->ids, sizeof *t->tokens);
    t->slots = plmm_alloc(slots, sizeof *t->slots);
    t->words = plmm_alloc(slots, sizeof *t->words);
    t->blob = plmm_alloc(z->blob, 1);
    t->added = plmm_alloc(z->added, sizeof *t->added);
    if (t->tokens == NULL || t->slots == NULL || t->words == NULL || t->blob == NULL ||
        t->added == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %u tokens: out of memory", z->ids);
    }
    return z->merges > 0 ? tokenizer_reserve_merges(t, z->merges, err) : PLMM_OK;
}

plmm_status tokenizer_new(bpe_style style, const table_sizes *z, plmm_tokenizer **out,
                          plmm_error *err)
{
    plmm_tokenizer *t = plmm_alloc(1, sizeof *t);
    if (t == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %u tokens: out of memory", z->ids);
    }
    t->style = style;
    t->n_tokens = z->ids;
    t->room = TABLES_MAX;
    for (size_t i = 0; i < 256; i++) {
        t->byte_id[i] = t->added_first[0][i] = t->added_first[1][i] = -1;
    }
    t->unk = t->bos = t->eos = t->prefix_bos = t->suffix_eos = -1;
    plmm_status rc = fill_new(t, z, err);
    if (rc != PLMM_OK) {
        plmm_tokenizer_free(t);
        return rc;
    }
    *out = t;
    return PLMM_OK;
}

void plmm_tokenizer_free(plmm_tokenizer *t)
{
    if (t == NULL) {
        return;
    }
    plmm_free(t->tokens);
    plmm_free(t->slots);
    plmm_free(t->words);
    plmm_free(t->pairs);
    plmm_free(t->pair_ids);
    plmm_free(t->blob);
    plmm_free(t->added);
    plmm_free(t->source);
    plmm_free(t);
}

void tokenizer_take_source(plmm_tokenizer *t, char *bytes, size_t len, const char *name)
{
    plmm_free(t->source);
    t->source = bytes;
    t->source_len = len;
    t->source_name = name;
}

plmm_status tokenizer_keep_source(plmm_tokenizer *t, const char *bytes, size_t len,
                                  const char *name, plmm_error *err)
{
    char *copy = plmm_alloc(len + 1, 1);
    if (copy == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep %zu bytes of a tokenizer", len);
    }
    memcpy(copy, bytes, len);
    tokenizer_take_source(t, copy, len, name);
    return PLMM_OK;
}

uint32_t tokenizer_store(plmm_tokenizer *t, const char *bytes, size_t len)
{
    if (t->blob_len + len > t->blob_cap) {
        size_t cap = t->blob_len + len + t->blob_len / 4 + 256, old = t->blob_cap;
        char *p = charge(t, cap, 1) ? plmm_grow(t->blob, old, cap, 1) : NULL;
        if (p == NULL) {
            return UINT32_MAX;
        }
        t->blob = p;
        t->blob_cap = cap;
        t->room += old; /* both were there for a moment */
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
    uint64_t h = n * 0x9E3779B97F4A7C15u, w = 0;
    for (; n >= 8; n -= 8, s += 8) {
        memcpy(&w, s, 8);
        h = (h ^ w) * 0xFF51AFD7ED558CCDu;
        h ^= h >> 32;
    }
    w = 0;
    for (size_t i = 0; i < n; i++) {
        w = w << 8 | (unsigned char)s[i];
    }
    h = (h ^ w) * 0xC4CEB9FE1A85EC53u;
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
        return plmm_fail(err, PLMM_ERR_NOMEM,
                         "cannot hold the tokens: out of memory, or of the tables' room");
    }
    t->tokens[id] = k;
    if (t->slots[slot] == 0) {
        t->slots[slot] = id + 1;
    }
    return PLMM_OK;
}

void tokenizer_add_merge(plmm_tokenizer *t, uint32_t left, uint32_t right, uint32_t rank,
                         uint32_t id)
{
    uint64_t pair = (uint64_t)left << 20 | right;
    uint32_t i = (uint32_t)(pair * 0x9E3779B97F4A7C15u >> 32) & t->pairs_mask;
    while (t->pairs[i] != MERGE_FREE && t->pairs[i] >> 24 != pair) {
        i = (i + 1) & t->pairs_mask;
    }
    if (t->pairs[i] == MERGE_FREE) {
        t->pairs[i] = pair << 24 | rank;
        t->pair_ids[i] = id;
    }
}

/* --- words --- */

/* A token's text as words have it: bytes, or as in the file. */
static const char *word_of(const plmm_tokenizer *t, const token *k, size_t *n)
{
    *n = t->style == STYLE_BYTES ? k->raw_len : k->content_len;
    return t->blob + (t->style == STYLE_BYTES ? k->raw : k->content);
}

static uint32_t word_slot(const plmm_tokenizer *t, const char *word, size_t n)
{
    uint32_t i = hash_bytes(word, n) & t->slots_mask;
    for (; t->words[i] != 0; i = (i + 1) & t->slots_mask) {
        size_t len;
        const char *s = word_of(t, &t->tokens[t->words[i] - 1], &len);
        if (len == n && memcmp(s, word, n) == 0) {
            break;
        }
    }
    return i;
}

int32_t tokenizer_word(const plmm_tokenizer *t, const char *word, size_t n)
{
    return n <= PLMM_TOKENIZER_TOKEN_MAX ? (int32_t)t->words[word_slot(t, word, n)] - 1 : -1;
}

static void set_byte_ids(plmm_tokenizer *t)
{
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
}

/* A byte-level content that stands for no bytes: no text is ever it. */
static bool is_unreachable(const plmm_tokenizer *t, const token *k)
{
    bool plain = true;
    for (size_t i = 0; i < k->content_len; i++) {
        unsigned char c = (unsigned char)t->blob[k->content + i];
        plain = plain && c >= 0x21 && c <= 0x7E;
    }
    return t->style == STYLE_BYTES && k->raw == k->content && !plain;
}

plmm_status tokenizer_add_words(plmm_tokenizer *t, plmm_error *err)
{
    enum { WORD_MAX = 64 }; /* bytes; longer words are merged each time */
    bpe_scratch scratch = {0};
    plmm_ids ids = {0};
    plmm_status rc = PLMM_OK;
    set_byte_ids(t);
    for (uint32_t id = 0; id < t->n_tokens && rc == PLMM_OK; id++) {
        size_t n;
        const char *s = word_of(t, &t->tokens[id], &n);
        if (t->tokens[id].kind != TOKEN_TEXT || n == 0 || (n > WORD_MAX && !t->ignore_merges) ||
            is_unreachable(t, &t->tokens[id])) {
            continue;
        }
        ids.n = 0;
        rc = t->ignore_merges ? plmm_ids_push(&ids, (int32_t)id, err)
                              : bpe_encode(t, s, n, &scratch, &ids, err);
        uint32_t slot = word_slot(t, s, n);
        if (rc == PLMM_OK && ids.n == 1 && ids.v[0] == (int32_t)id && t->words[slot] == 0) {
            t->words[slot] = id + 1;
        }
    }
    bpe_scratch_free(&scratch);
    plmm_ids_free(&ids);
    return rc;
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

bool tokenizer_separates(const char *s, size_t n, size_t at, const char *sep, size_t len)
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
            if (tokenizer_separates(t->blob + k->content, k->content_len, at, sep, len)) {
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
