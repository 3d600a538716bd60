/* Word lists by domain. One open-addressing table over all domains: a word of the text is hashed
 * once and all its entries lie on its probe path. */
#include "plmm/lexicon.h"

#include "plmm/alloc.h"

#include <math.h>
#include <string.h>

typedef struct entry {
    uint32_t hash;
    uint32_t at; /* of the word in the pool */
    uint8_t len, domain;
    float weight;
} entry;

struct plmm_lexicons {
    char name[PLMM_LEXICONS_MAX][PLMM_LEXICON_NAME_MAX + 1];
    uint32_t domains;
    entry *entry;
    uint32_t entries;
    char *pool;
    size_t pool_len;
    uint32_t *slot; /* index of an entry + 1, 0: empty */
    uint32_t slots; /* a power of two, at least twice the entries */
};

/* A word found in a text: lower-cased copy; len 0 if too long to be in any lexicon. */
typedef struct word {
    char s[PLMM_LEXICON_WORD_MAX];
    uint8_t len;
    uint32_t hash;
} word;

static size_t joiner(const char *s, size_t n, size_t i)
{
    return i < n && (s[i] == '-' || s[i] == '\'') ? 1 : 0;
}

/* Bytes of the word character at s[i], 0 if it is none. */
static size_t word_char(const char *s, size_t n, size_t i)
{
    unsigned char c = (unsigned char)s[i];
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
        return 1;
    }
    if (c < 0x80) {
        return 0;
    }
    bool punctuation = c == 0xe2 && i + 1 < n &&
                       ((unsigned char)s[i + 1] == 0x80 || (unsigned char)s[i + 1] == 0x81);
    return punctuation ? 0 : 1;
}

static void fold(word *w, const char *s, size_t len)
{
    w->hash = 2166136261u; /* FNV-1a */
    w->len = len <= sizeof w->s ? (uint8_t)len : 0;
    for (size_t i = 0; i < w->len; i++) {
        char c = s[i];
        c = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        w->s[i] = c;
        w->hash = (w->hash ^ (unsigned char)c) * 16777619u;
    }
}

/* The next word of s[*at..n): true if there is one; *at is then behind it. */
static bool next_word(const char *s, size_t n, size_t *at, word *w)
{
    size_t i = *at;
    while (i < n && word_char(s, n, i) == 0) {
        /* Of a punctuation character in three bytes, the last two must not pass for letters. */
        i += (unsigned char)s[i] == 0xe2 && n - i >= 3 ? 3 : 1;
    }
    size_t start = i;
    while (i < n && (word_char(s, n, i) != 0 ||
                     (joiner(s, n, i) != 0 && i + 1 < n && word_char(s, n, i + 1) != 0))) {
        i++;
    }
    *at = i;
    if (i == start) {
        return false;
    }
    fold(w, s + start, i - start);
    return true;
}

static bool same(const plmm_lexicons *l, const entry *e, const word *w)
{
    return e->hash == w->hash && e->len == w->len && memcmp(l->pool + e->at, w->s, w->len) == 0;
}

plmm_status plmm_lexicons_new(plmm_lexicons **out, plmm_error *err)
{
    plmm_lexicons *l = plmm_alloc(1, sizeof *l);
    if (l == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a set of lexicons: out of memory");
    }
    *out = l;
    return PLMM_OK;
}

static void drop_tables(plmm_lexicons *l)
{
    plmm_free(l->entry);
    plmm_free(l->pool);
    plmm_free(l->slot);
}

void plmm_lexicons_free(plmm_lexicons *l)
{
    if (l != NULL) {
        drop_tables(l);
        plmm_free(l);
    }
}

/* Room in a copy for `more` entries in `bytes` bytes of text. */
static plmm_status copy_with_room(const plmm_lexicons *l, plmm_lexicons *c, size_t more,
                                  size_t bytes, plmm_error *err)
{
    *c = *l;
    c->slots = 64;
    while (c->slots < 2 * ((size_t)l->entries + more)) {
        c->slots *= 2;
    }
    c->entry = plmm_alloc(l->entries + more, sizeof *c->entry);
    c->pool = plmm_alloc(l->pool_len + bytes, 1);
    c->slot = plmm_alloc(c->slots, sizeof *c->slot);
    if (c->entry == NULL || c->pool == NULL || c->slot == NULL) {
        drop_tables(c);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot add a lexicon: out of memory");
    }
    if (l->entries > 0) {
        memcpy(c->entry, l->entry, l->entries * sizeof *c->entry);
        memcpy(c->pool, l->pool, l->pool_len);
    }
    for (uint32_t i = 0; i < l->entries; i++) {
        uint32_t at = c->entry[i].hash & (c->slots - 1);
        while (c->slot[at] != 0) {
            at = (at + 1) & (c->slots - 1);
        }
        c->slot[at] = i + 1;
    }
    return PLMM_OK;
}

static void put(plmm_lexicons *l, const word *w, float weight)
{
    uint32_t at = w->hash & (l->slots - 1);
    for (; l->slot[at] != 0; at = (at + 1) & (l->slots - 1)) {
        entry *e = &l->entry[l->slot[at] - 1];
        if (e->domain == l->domains && same(l, e, w)) {
            e->weight = weight;
            return;
        }
    }
    l->entry[l->entries] = (entry){.hash = w->hash,
                                   .at = (uint32_t)l->pool_len,
                                   .len = w->len,
                                   .domain = (uint8_t)l->domains,
                                   .weight = weight};
    memcpy(l->pool + l->pool_len, w->s, w->len);
    l->pool_len += w->len;
    l->slot[at] = ++l->entries;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* A decimal such as 2, 0.5 or .5, without sign, exponent or locale; -1 if s[0..n) is none. */
static double decimal(const char *s, size_t n)
{
    double v = 0, unit = 1;
    size_t digits = 0;
    bool point = false;
    for (size_t i = 0; i < n && i < 12; i++) {
        if (s[i] == '.' && !point) {
            point = true;
        } else if (s[i] >= '0' && s[i] <= '9') {
            unit = point ? unit / 10 : unit;
            v = point ? v + unit * (s[i] - '0') : 10 * v + (s[i] - '0');
            digits++;
        } else {
            return -1;
        }
    }
    return digits > 0 && n <= 12 ? v : -1;
}

/* One line without its comment: [white] word [white weight] [white]. */
static plmm_status add_line(plmm_lexicons *l, const char *s, size_t n, const char *source,
                            size_t line, plmm_error *err)
{
    while (n > 0 && blank(s[n - 1])) {
        n--;
    }
    size_t i = 0;
    while (i < n && blank(s[i])) {
        i++;
    }
    size_t start = i;
    while (i < n && !blank(s[i])) {
        i++;
    }
    if (i == start) {
        return PLMM_OK;
    }
    word w;
    size_t end = 0;
    bool whole = word_char(s, n, start) != 0 && next_word(s + start, i - start, &end, &w) &&
                 end == i - start;
    if (!whole || w.len == 0) {
        return plmm_fail(
            err, PLMM_ERR_CONFIG,
            "%s:%zu: '%.*s' is not a word: expected letters, digits and inner hyphens, "
            "at most %d bytes",
            source, line, (int)(i - start < 60 ? i - start : 60), s + start, PLMM_LEXICON_WORD_MAX);
    }
    while (i < n && blank(s[i])) {
        i++;
    }
    double weight = i < n ? decimal(s + i, n - i) : 1;
    if (!(weight > 0 && weight <= 100)) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "%s:%zu: '%.*s' is not a weight: after the word only a number above 0 and "
                         "at most 100 may follow",
                         source, line, (int)(n - i < 60 ? n - i : 60), s + i);
    }
    if (l->entries >= PLMM_LEXICON_WORDS_MAX) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "%s:%zu: the lexicons hold more than %d words",
                         source, line, PLMM_LEXICON_WORDS_MAX);
    }
    put(l, &w, (float)weight);
    return PLMM_OK;
}

static plmm_status add_lines(plmm_lexicons *l, const char *text, size_t len, const char *source,
                             plmm_error *err)
{
    size_t at = 0;
    for (size_t line = 1; at < len; line++) {
        const char *nl = memchr(text + at, '\n', len - at);
        size_t n = nl != NULL ? (size_t)(nl - text) - at : len - at;
        const char *hash = memchr(text + at, '#', n);
        size_t code = hash != NULL ? (size_t)(hash - text) - at : n;
        PLMM_TRY(add_line(l, text + at, code, source, line, err));
        at += n + 1;
    }
    return PLMM_OK;
}

static size_t lines_of(const char *text, size_t len)
{
    size_t n = 1;
    for (size_t i = 0; i < len; i++) {
        n += text[i] == '\n';
    }
    return n;
}

plmm_status plmm_lexicons_add(plmm_lexicons *l, const char *name, const char *text, size_t len,
                              const char *source, plmm_error *err)
{
    size_t name_len = strlen(name);
    if (name_len == 0 || name_len > PLMM_LEXICON_NAME_MAX) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "%s: the domain's name '%.60s' must have 1 to %d bytes", source, name,
                         PLMM_LEXICON_NAME_MAX);
    }
    if (plmm_lexicons_find(l, name) != PLMM_DOMAIN_NONE) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "%s: the domain '%s' has a lexicon already", source,
                         name);
    }
    if (l->domains == PLMM_LEXICONS_MAX) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "%s: more than %d lexicons", source,
                         PLMM_LEXICONS_MAX);
    }
    size_t lines = lines_of(text, len);
    if (len > 16u << 20) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "%s: %zu bytes are too long for a lexicon (16 MiB)",
                         source, len);
    }
    size_t room = lines < PLMM_LEXICON_WORDS_MAX ? lines : PLMM_LEXICON_WORDS_MAX;
    plmm_lexicons c;
    PLMM_TRY(copy_with_room(l, &c, room, len, err));
    plmm_status rc = add_lines(&c, text, len, source, err);
    if (rc == PLMM_OK && c.entries == l->entries) {
        rc = plmm_fail(err, PLMM_ERR_CONFIG, "%s: no word in the lexicon", source);
    }
    if (rc != PLMM_OK) {
        drop_tables(&c);
        return rc;
    }
    memcpy(c.name[c.domains++], name, name_len + 1);
    drop_tables(l);
    *l = c;
    return PLMM_OK;
}

uint32_t plmm_lexicons_count(const plmm_lexicons *l)
{
    return l->domains;
}

const char *plmm_lexicons_name(const plmm_lexicons *l, int32_t i)
{
    PLMM_ASSERT(i >= PLMM_DOMAIN_NONE && i < (int32_t)l->domains);
    return i == PLMM_DOMAIN_NONE ? "none" : l->name[i];
}

int32_t plmm_lexicons_find(const plmm_lexicons *l, const char *name)
{
    for (uint32_t i = 0; i < l->domains; i++) {
        if (strcmp(l->name[i], name) == 0) {
            return (int32_t)i;
        }
    }
    return PLMM_DOMAIN_NONE;
}

/* Adds the weights of a word's entries; `seen` has a bit an entry. */
static void count_word(const plmm_lexicons *l, const word *w, plmm_lexicon_count how, uint8_t *seen,
                       plmm_lexicon_score *out)
{
    for (uint32_t at = w->hash & (l->slots - 1); l->slot[at] != 0; at = (at + 1) & (l->slots - 1)) {
        uint32_t i = l->slot[at] - 1;
        const entry *e = &l->entry[i];
        uint8_t bit = (uint8_t)(1u << (i % 8));
        if (same(l, e, w) && (how == PLMM_LEXICON_REPEATS || (seen[i / 8] & bit) == 0)) {
            seen[i / 8] |= bit;
            out->weight[e->domain] += (double)e->weight;
        }
    }
}

plmm_lexicon_score plmm_lexicons_score(const plmm_lexicons *l, plmm_lexicon_count how,
                                       const char *text, size_t len)
{
    plmm_lexicon_score out = {.dominant = PLMM_DOMAIN_NONE};
    uint8_t seen[PLMM_LEXICON_WORDS_MAX / 8];
    memset(seen, 0, (l->entries + 7) / 8);
    word w;
    for (size_t at = 0; next_word(text, len, &at, &w);) {
        out.words++;
        if (l->slots > 0 && w.len > 0) {
            count_word(l, &w, how, seen, &out);
        }
    }
    double sum = 0, best = 0;
    for (uint32_t i = 0; i < l->domains; i++) {
        sum += out.weight[i];
        if (out.weight[i] > best) {
            best = out.weight[i];
            out.dominant = (int32_t)i;
        }
    }
    if (out.words > 0 && l->domains > 0) {
        out.dss = sum / (double)l->domains / (double)out.words;
    }
    return out;
}
