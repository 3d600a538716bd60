/* Byte-pair encoding learnt from text (Sennrich, Haddow and Birch, 2016), on bytes: count the
 * different words, then merge the most frequent pair of neighbours again and again. Pair counts are
 * kept up to date; candidates wait in a heap and are corrected when they surface. The result is
 * written as a tokenizer.json and read back, so that there is one way to make a tokenizer. */
#include "tokenizer_internal.h"
#include "unicode.h"

#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"

enum {
    WORD_MAX = 1024,  /* longer words are cut for counting */
    LEARNT_MAX = 128, /* bytes of a learnt token */
    SPECIALS_MAX = 64,
    NO_NODE = -1,
};

typedef struct word {
    size_t off; /* of its bytes in blob, later of its symbols */
    uint32_t len;
    uint64_t count;
} word;

struct plmm_tokenizer_trainer {
    plmm_tokenizer_params p;
    word *words;
    size_t n_words, words_cap;
    char *blob;
    size_t blob_len, blob_cap;
    uint32_t *slots;
    size_t n_slots; /* a power of two */
};

/* --- counting words --- */

plmm_status plmm_tokenizer_trainer_new(const plmm_tokenizer_params *p, plmm_tokenizer_trainer **out,
                                       plmm_error *err)
{
    if (p->n_specials > SPECIALS_MAX || p->vocab < 256 + p->n_specials ||
        p->vocab > PLMM_TOKENIZER_VOCAB_MAX || p->min_count < 1) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot train a tokenizer of %u tokens with %zu special ones and pairs seen "
            "%u times: expected 256 bytes + the special ones (at most %d) .. %d tokens, "
            "and pairs seen at least once",
            p->vocab, p->n_specials, p->min_count, (int)SPECIALS_MAX,
            (int)PLMM_TOKENIZER_VOCAB_MAX);
    }
    plmm_tokenizer_trainer *tr = plmm_alloc(1, sizeof *tr);
    uint32_t *slots = plmm_alloc(1024, sizeof *slots);
    if (tr == NULL || slots == NULL) {
        plmm_free(tr);
        plmm_free(slots);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot train a tokenizer: out of memory");
    }
    tr->p = *p;
    tr->slots = slots;
    tr->n_slots = 1024;
    *out = tr;
    return PLMM_OK;
}

void plmm_tokenizer_trainer_free(plmm_tokenizer_trainer *tr)
{
    if (tr == NULL) {
        return;
    }
    plmm_free(tr->words);
    plmm_free(tr->blob);
    plmm_free(tr->slots);
    plmm_free(tr);
}

static size_t word_slot(const plmm_tokenizer_trainer *tr, const uint32_t *slots, size_t n_slots,
                        const char *s, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    }
    size_t i = (h ^ h >> 29) & (n_slots - 1);
    while (slots[i] != 0) {
        const word *w = &tr->words[slots[i] - 1];
        if (w->len == n && memcmp(tr->blob + w->off, s, n) == 0) {
            break;
        }
        i = (i + 1) & (n_slots - 1);
    }
    return i;
}

static bool widen_slots(plmm_tokenizer_trainer *tr)
{
    if (2 * (tr->n_words + 1) < tr->n_slots) {
        return true;
    }
    size_t n = 2 * tr->n_slots;
    uint32_t *slots = plmm_alloc(n, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < tr->n_words; i++) {
        const word *w = &tr->words[i];
        slots[word_slot(tr, slots, n, tr->blob + w->off, w->len)] = (uint32_t)i + 1;
    }
    plmm_free(tr->slots);
    tr->slots = slots;
    tr->n_slots = n;
    return true;
}

static bool widen_words(plmm_tokenizer_trainer *tr, size_t more)
{
    if (tr->n_words == tr->words_cap) {
        size_t cap = tr->words_cap == 0 ? 256 : 2 * tr->words_cap;
        word *w = cap < UINT32_MAX ? plmm_grow(tr->words, tr->words_cap, cap, sizeof *w) : NULL;
        if (w == NULL) {
            return false;
        }
        tr->words = w;
        tr->words_cap = cap;
    }
    if (tr->blob_len + more > tr->blob_cap) {
        size_t cap = 2 * (tr->blob_len + more) + 4096;
        char *b = plmm_grow(tr->blob, tr->blob_cap, cap, 1);
        if (b == NULL) {
            return false;
        }
        tr->blob = b;
        tr->blob_cap = cap;
    }
    return true;
}

static plmm_status count_word(void *ctx, const char *s, size_t n, plmm_error *err)
{
    plmm_tokenizer_trainer *tr = ctx;
    for (size_t len; n > 0; s += len, n -= len) {
        len = n < WORD_MAX ? n : WORD_MAX;
        size_t i = word_slot(tr, tr->slots, tr->n_slots, s, len);
        if (tr->slots[i] != 0) {
            tr->words[tr->slots[i] - 1].count++;
            continue;
        }
        if (!widen_words(tr, len) || !widen_slots(tr)) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot count %zu different words", tr->n_words);
        }
        i = word_slot(tr, tr->slots, tr->n_slots, s, len);
        memcpy(tr->blob + tr->blob_len, s, len);
        tr->words[tr->n_words++] = (word){tr->blob_len, (uint32_t)len, 1};
        tr->blob_len += len;
        tr->slots[i] = (uint32_t)tr->n_words;
    }
    return PLMM_OK;
}

plmm_status plmm_tokenizer_trainer_feed(plmm_tokenizer_trainer *tr, const char *text, size_t len,
                                        plmm_error *err)
{
    static const split_kind split = SPLIT_GPT2;
    return split_words(&split, 1, text, len, count_word, tr, err);
}

/* --- learning merges --- */

typedef struct pair_info {
    uint64_t key; /* MERGE_FREE: an empty slot */
    uint64_t count;
    int64_t head;  /* list of words that have held the pair */
    uint32_t turn; /* the merge that queued it last */
    bool merged;   /* is in the list of merges */
} pair_info;

typedef struct node {
    uint32_t word;
    int64_t next;
} node;

typedef struct candidate {
    uint64_t count, key;
} candidate;

typedef struct piece {
    uint8_t len;
    char s[LEARNT_MAX];
} piece;

typedef struct learner {
    const plmm_tokenizer_trainer *tr;
    uint32_t *sym;  /* symbols of all words, at word.off */
    uint32_t *lens; /* of each word, now */
    pair_info *pairs;
    size_t n_pairs, n_slots;
    node *nodes;
    size_t n_nodes, nodes_cap;
    candidate *heap;
    size_t n_heap, heap_cap;
    piece *pieces; /* tokens that are no specials, by id - n_specials */
    uint32_t n_pieces;
    uint64_t *merges; /* pairs in order */
    size_t n_merges, merges_cap;
    uint32_t turn;
} learner;

static uint64_t pair_key(uint32_t a, uint32_t b)
{
    return (uint64_t)a << 32 | b;
}

static size_t pair_slot(const pair_info *pairs, size_t n, uint64_t key)
{
    size_t i = (size_t)((key * 0x9E3779B97F4A7C15u) >> 20) & (n - 1);
    while (pairs[i].key != MERGE_FREE && pairs[i].key != key) {
        i = (i + 1) & (n - 1);
    }
    return i;
}

static bool widen_pairs(learner *l)
{
    if (2 * (l->n_pairs + 1) < l->n_slots) {
        return true;
    }
    size_t n = l->n_slots == 0 ? 4096 : 2 * l->n_slots;
    pair_info *pairs = plmm_alloc(n, sizeof *pairs);
    if (pairs == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        pairs[i].key = MERGE_FREE;
    }
    for (size_t i = 0; i < l->n_slots; i++) {
        if (l->pairs[i].key != MERGE_FREE) {
            pairs[pair_slot(pairs, n, l->pairs[i].key)] = l->pairs[i];
        }
    }
    plmm_free(l->pairs);
    l->pairs = pairs;
    l->n_slots = n;
    return true;
}

/* The entry of a pair, made if missing; NULL: out of memory. */
static pair_info *pair_of(learner *l, uint64_t key)
{
    if (!widen_pairs(l)) {
        return NULL;
    }
    pair_info *p = &l->pairs[pair_slot(l->pairs, l->n_slots, key)];
    if (p->key == MERGE_FREE) {
        *p = (pair_info){.key = key, .head = NO_NODE};
        l->n_pairs++;
    }
    return p;
}

static bool ahead(const candidate *a, const candidate *b)
{
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static bool push_candidate(learner *l, candidate c)
{
    if (l->n_heap == l->heap_cap) {
        size_t cap = l->heap_cap == 0 ? 1024 : 2 * l->heap_cap;
        candidate *h = plmm_grow(l->heap, l->heap_cap, cap, sizeof *h);
        if (h == NULL) {
            return false;
        }
        l->heap = h;
        l->heap_cap = cap;
    }
    size_t i = l->n_heap++;
    while (i > 0 && ahead(&c, &l->heap[(i - 1) / 2])) {
        l->heap[i] = l->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    l->heap[i] = c;
    return true;
}

static candidate pop_candidate(learner *l)
{
    candidate top = l->heap[0], last = l->heap[--l->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= l->n_heap) {
            break;
        }
        if (child + 1 < l->n_heap && ahead(&l->heap[child + 1], &l->heap[child])) {
            child++;
        }
        if (!ahead(&l->heap[child], &last)) {
            break;
        }
        l->heap[i] = l->heap[child];
        i = child;
    }
    l->heap[i] = last;
    return top;
}

/* Counts the pairs of word w in; remembers the word for those that hold `fresh` (all if
 * UINT32_MAX). */
static bool add_pairs(learner *l, uint32_t w, uint32_t fresh)
{
    const uint32_t *s = l->sym + l->tr->words[w].off;
    for (uint32_t i = 0; i + 1 < l->lens[w]; i++) {
        pair_info *p = pair_of(l, pair_key(s[i], s[i + 1]));
        if (p == NULL) {
            return false;
        }
        p->count += l->tr->words[w].count;
        if (fresh != UINT32_MAX && s[i] != fresh && s[i + 1] != fresh) {
            continue;
        }
        if (p->head != NO_NODE && l->nodes[p->head].word == w) {
            continue;
        }
        if (l->n_nodes == l->nodes_cap) {
            size_t cap = l->nodes_cap == 0 ? 4096 : 2 * l->nodes_cap;
            node *n = plmm_grow(l->nodes, l->nodes_cap, cap, sizeof *n);
            if (n == NULL) {
                return false;
            }
            l->nodes = n;
            l->nodes_cap = cap;
        }
        l->nodes[l->n_nodes] = (node){w, p->head};
        p->head = (int64_t)l->n_nodes++;
    }
    return true;
}

static void drop_pairs(learner *l, uint32_t w)
{
    const uint32_t *s = l->sym + l->tr->words[w].off;
    for (uint32_t i = 0; i + 1 < l->lens[w]; i++) {
        pair_info *p = &l->pairs[pair_slot(l->pairs, l->n_slots, pair_key(s[i], s[i + 1]))];
        p->count -= l->tr->words[w].count;
    }
}

static void merge_in_word(learner *l, uint32_t w, uint32_t a, uint32_t b, uint32_t whole)
{
    uint32_t *s = l->sym + l->tr->words[w].off;
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->lens[w]; i++) {
        if (i + 1 < l->lens[w] && s[i] == a && s[i + 1] == b) {
            s[n++] = whole;
            i++;
        } else {
            s[n++] = s[i];
        }
    }
    l->lens[w] = n;
}

/* Queues the pairs of word w that hold the new token, once a merge, with their counts of then. */
static bool queue_fresh(learner *l, uint32_t w, uint32_t whole)
{
    const uint32_t *s = l->sym + l->tr->words[w].off;
    for (uint32_t i = 0; i + 1 < l->lens[w]; i++) {
        if (s[i] != whole && s[i + 1] != whole) {
            continue;
        }
        uint64_t key = pair_key(s[i], s[i + 1]);
        pair_info *p = &l->pairs[pair_slot(l->pairs, l->n_slots, key)];
        if (p->turn != l->turn) {
            p->turn = l->turn;
            if (!push_candidate(l, (candidate){p->count, key})) {
                return false;
            }
        }
    }
    return true;
}

/* The id of the token that a pair makes: a known one of the same bytes, or a new one. UINT32_MAX
 * when it must not be made: too long, or it would spell a special token. */
static uint32_t token_for(learner *l, uint32_t a, uint32_t b)
{
    const plmm_tokenizer_params *p = &l->tr->p;
    const piece *x = &l->pieces[a], *y = &l->pieces[b];
    if (x->len + y->len > LEARNT_MAX) {
        return UINT32_MAX;
    }
    piece z = {.len = (uint8_t)(x->len + y->len)};
    memcpy(z.s, x->s, x->len);
    memcpy(z.s + x->len, y->s, y->len);
    for (size_t i = 0; i < p->n_specials; i++) {
        if (strlen(p->specials[i]) == z.len && memcmp(p->specials[i], z.s, z.len) == 0) {
            return UINT32_MAX;
        }
    }
    for (uint32_t i = 256; i < l->n_pieces; i++) {
        if (l->pieces[i].len == z.len && memcmp(l->pieces[i].s, z.s, z.len) == 0) {
            return i;
        }
    }
    l->pieces[l->n_pieces] = z;
    return l->n_pieces++;
}

/* Notes a merge. A pair can come up again, when one of its tokens is spelt in a second way: merging
 * it at once is what the encoder does with its old rank. */
static bool note_merge(learner *l, uint64_t key)
{
    pair_info *p = &l->pairs[pair_slot(l->pairs, l->n_slots, key)];
    if (p->merged) {
        return true;
    }
    if (l->n_merges == l->merges_cap) {
        size_t cap = l->merges_cap == 0 ? 1024 : 2 * l->merges_cap;
        uint64_t *m = plmm_grow(l->merges, l->merges_cap, cap, sizeof *m);
        if (m == NULL) {
            return false;
        }
        l->merges = m;
        l->merges_cap = cap;
    }
    p->merged = true;
    l->merges[l->n_merges++] = key;
    return true;
}

static bool apply_merge(learner *l, uint64_t key, uint32_t whole)
{
    uint32_t a = (uint32_t)(key >> 32), b = (uint32_t)key;
    int64_t head = l->pairs[pair_slot(l->pairs, l->n_slots, key)].head;
    l->turn++;
    for (int64_t i = head; i != NO_NODE; i = l->nodes[i].next) {
        uint32_t w = l->nodes[i].word;
        drop_pairs(l, w);
        merge_in_word(l, w, a, b, whole);
        if (!add_pairs(l, w, whole)) {
            return false;
        }
    }
    for (int64_t i = head; i != NO_NODE; i = l->nodes[i].next) {
        if (!queue_fresh(l, l->nodes[i].word, whole)) {
            return false;
        }
    }
    return true;
}

static bool learn(learner *l)
{
    const plmm_tokenizer_trainer *tr = l->tr;
    uint32_t target = tr->p.vocab - (uint32_t)tr->p.n_specials;
    for (size_t i = 0; i < l->n_slots; i++) {
        if (l->pairs[i].key != MERGE_FREE &&
            !push_candidate(l, (candidate){l->pairs[i].count, l->pairs[i].key})) {
            return false;
        }
    }
    while (l->n_pieces < target && l->n_heap > 0) {
        candidate c = pop_candidate(l);
        uint64_t now = l->pairs[pair_slot(l->pairs, l->n_slots, c.key)].count;
        if (now < tr->p.min_count) {
            continue;
        }
        if (now != c.count) {
            if (!push_candidate(l, (candidate){now, c.key})) {
                return false;
            }
            continue;
        }
        uint32_t whole = token_for(l, (uint32_t)(c.key >> 32), (uint32_t)c.key);
        if (whole == UINT32_MAX) {
            continue;
        }
        if (!note_merge(l, c.key) || !apply_merge(l, c.key, whole)) {
            return false;
        }
    }
    return true;
}

static bool learner_init(learner *l, const plmm_tokenizer_trainer *tr)
{
    uint32_t byte_piece[256];
    *l = (learner){.tr = tr};
    l->sym = plmm_alloc(tr->blob_len + 1, sizeof *l->sym);
    l->lens = plmm_alloc(tr->n_words + 1, sizeof *l->lens);
    l->pieces = plmm_alloc(tr->p.vocab, sizeof *l->pieces);
    if (l->sym == NULL || l->lens == NULL || l->pieces == NULL || !widen_pairs(l)) {
        return false;
    }
    for (uint32_t cp = 0; cp < 0x200; cp++) {
        int b = char_to_byte(cp);
        if (b >= 0) {
            byte_piece[b] = l->n_pieces;
            l->pieces[l->n_pieces++] = (piece){1, {(char)(unsigned char)b}};
        }
    }
    for (uint32_t w = 0; w < tr->n_words; w++) {
        const word *x = &tr->words[w];
        l->lens[w] = x->len;
        for (uint32_t i = 0; i < x->len; i++) {
            l->sym[x->off + i] = byte_piece[(unsigned char)tr->blob[x->off + i]];
        }
        if (!add_pairs(l, w, UINT32_MAX)) {
            return false;
        }
    }
    return true;
}

static void learner_free(learner *l)
{
    plmm_free(l->sym);
    plmm_free(l->lens);
    plmm_free(l->pairs);
    plmm_free(l->nodes);
    plmm_free(l->heap);
    plmm_free(l->pieces);
    plmm_free(l->merges);
}

/* --- writing --- */

/* The printable form of a piece; returns its length, NUL-terminated. */
static size_t print_piece(const piece *p, char out[2 * LEARNT_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < p->len; i++) {
        char c[4];
        size_t k = utf8_encode(byte_to_char((unsigned char)p->s[i]), c);
        memcpy(out + n, c, k);
        n += k;
    }
    out[n] = '\0';
    return n;
}

static void put_byte_level(plmm_json_writer *w, const char *key)
{
    plmm_json_put_key(w, key);
    plmm_json_open_object(w);
    plmm_json_put_key(w, "type");
    plmm_json_put_text(w, "ByteLevel");
    plmm_json_put_key(w, "add_prefix_space");
    plmm_json_put_bool(w, false);
    plmm_json_put_key(w, "trim_offsets");
    plmm_json_put_bool(w, true);
    plmm_json_put_key(w, "use_regex");
    plmm_json_put_bool(w, true);
    plmm_json_close_object(w);
}

static void put_null(plmm_json_writer *w, const char *key)
{
    plmm_json_put_key(w, key);
    plmm_json_put_null(w);
}

static void put_added(plmm_json_writer *w, const plmm_tokenizer_params *p)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized"};
    plmm_json_put_key(w, "added_tokens");
    plmm_json_open_array(w);
    for (size_t i = 0; i < p->n_specials; i++) {
        plmm_json_open_object(w);
        plmm_json_put_key(w, "id");
        plmm_json_put_u64(w, i);
        plmm_json_put_key(w, "content");
        plmm_json_put_text(w, p->specials[i]);
        for (size_t k = 0; k < sizeof flags / sizeof flags[0]; k++) {
            plmm_json_put_key(w, flags[k]);
            plmm_json_put_bool(w, false);
        }
        plmm_json_put_key(w, "special");
        plmm_json_put_bool(w, true);
        plmm_json_close_object(w);
    }
    plmm_json_close_array(w);
}

static void put_part(plmm_json_writer *w, const char *kind, const char *id, int type_id)
{
    plmm_json_open_object(w);
    plmm_json_put_key(w, kind);
    plmm_json_open_object(w);
    plmm_json_put_key(w, "id");
    plmm_json_put_text(w, id);
    plmm_json_put_key(w, "type_id");
    plmm_json_put_int(w, type_id);
    plmm_json_close_object(w);
    plmm_json_close_object(w);
}

/* Begin of text before every text, if there is such a special. */
static void put_template(plmm_json_writer *w, const plmm_tokenizer_params *p)
{
    size_t bos = 0;
    while (bos < p->n_specials && strcmp(p->specials[bos], "<|begin|>") != 0 &&
           strcmp(p->specials[bos], "<s>") != 0) {
        bos++;
    }
    if (bos == p->n_specials) {
        put_byte_level(w, "post_processor");
        return;
    }
    const char *name = p->specials[bos];
    plmm_json_put_key(w, "post_processor");
    plmm_json_open_object(w);
    plmm_json_put_key(w, "type");
    plmm_json_put_text(w, "TemplateProcessing");
    plmm_json_put_key(w, "single");
    plmm_json_open_array(w);
    put_part(w, "SpecialToken", name, 0);
    put_part(w, "Sequence", "A", 0);
    plmm_json_close_array(w);
    plmm_json_put_key(w, "pair");
    plmm_json_open_array(w);
    put_part(w, "SpecialToken", name, 0);
    put_part(w, "Sequence", "A", 0);
    put_part(w, "SpecialToken", name, 1);
    put_part(w, "Sequence", "B", 1);
    plmm_json_close_array(w);
    plmm_json_put_key(w, "special_tokens");
    plmm_json_open_object(w);
    plmm_json_put_key(w, name);
    plmm_json_open_object(w);
    plmm_json_put_key(w, "id");
    plmm_json_put_text(w, name);
    plmm_json_put_key(w, "ids");
    plmm_json_open_array(w);
    plmm_json_put_u64(w, bos);
    plmm_json_close_array(w);
    plmm_json_put_key(w, "tokens");
    plmm_json_open_array(w);
    plmm_json_put_text(w, name);
    plmm_json_close_array(w);
    plmm_json_close_object(w);
    plmm_json_close_object(w);
    plmm_json_close_object(w);
}

static void put_model(plmm_json_writer *w, const learner *l)
{
    static const char *const off[] = {"fuse_unk", "byte_fallback", "ignore_merges"};
    const plmm_tokenizer_params *p = &l->tr->p;
    char a[2 * LEARNT_MAX + 1], both[4 * LEARNT_MAX + 3];
    plmm_json_put_key(w, "model");
    plmm_json_open_object(w);
    plmm_json_put_key(w, "type");
    plmm_json_put_text(w, "BPE");
    put_null(w, "dropout");
    put_null(w, "unk_token");
    put_null(w, "continuing_subword_prefix");
    put_null(w, "end_of_word_suffix");
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        plmm_json_put_key(w, off[i]);
        plmm_json_put_bool(w, false);
    }
    plmm_json_put_key(w, "vocab");
    plmm_json_open_object(w);
    for (size_t i = 0; i < p->n_specials; i++) {
        plmm_json_put_key(w, p->specials[i]);
        plmm_json_put_u64(w, i);
    }
    for (uint32_t i = 0; i < l->n_pieces; i++) {
        (void)print_piece(&l->pieces[i], a);
        plmm_json_put_key(w, a);
        plmm_json_put_u64(w, p->n_specials + i);
    }
    plmm_json_close_object(w);
    plmm_json_put_key(w, "merges");
    plmm_json_open_array(w);
    for (size_t i = 0; i < l->n_merges; i++) {
        size_t n = print_piece(&l->pieces[l->merges[i] >> 32], both);
        both[n++] = ' ';
        (void)print_piece(&l->pieces[(uint32_t)l->merges[i]], a);
        (void)snprintf(both + n, sizeof both - n, "%s", a);
        plmm_json_put_text(w, both);
    }
    plmm_json_close_array(w);
    plmm_json_close_object(w);
}

static plmm_status write_json(const learner *l, plmm_text *out, plmm_error *err)
{
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, out);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "version");
    plmm_json_put_text(&w, "1.0");
    put_null(&w, "truncation");
    put_null(&w, "padding");
    put_added(&w, &l->tr->p);
    put_null(&w, "normalizer");
    put_byte_level(&w, "pre_tokenizer");
    put_template(&w, &l->tr->p);
    put_byte_level(&w, "decoder");
    put_model(&w, l);
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

plmm_status plmm_tokenizer_trainer_finish(plmm_tokenizer_trainer *tr, plmm_tokenizer **out,
                                          plmm_error *err)
{
    learner l;
    plmm_text json = {0};
    plmm_status rc = PLMM_OK;
    if (!learner_init(&l, tr) || !learn(&l)) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM,
                       "cannot train a tokenizer on %zu different words: out "
                       "of memory",
                       tr->n_words);
    }
    if (rc == PLMM_OK) {
        rc = write_json(&l, &json, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_tokenizer_parse_json(json.text, json.len, "just trained", out, err);
    }
    learner_free(&l);
    plmm_text_free(&json);
    return rc;
}
