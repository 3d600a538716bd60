/* The merge loop. A short word is an array of symbols with the rank of each neighbouring pair: take
 * the lowest, close the gap, look up the two new pairs. A long one is a doubly linked list with its
 * candidate pairs in a binary heap keyed by (rank, position), stale candidates dropped when they
 * surface: O(n log n) for n symbols. Both take the leftmost of equal ranks. */
#include "tokenizer_internal.h"
#include "unicode.h"

#include <string.h>

#include "plmm/alloc.h"

#define NONE UINT32_MAX
enum { SHORT_MAX = 40 }; /* symbols */

/* --- long words --- */

static bool before(const bpe_entry *a, const bpe_entry *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->pos < b->pos;
}

static void heap_push(bpe_scratch *s, bpe_entry e)
{
    size_t i = s->n_heap++;
    while (i > 0 && before(&e, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = e;
}

static bpe_entry heap_pop(bpe_scratch *s)
{
    bpe_entry top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0, n = s->n_heap;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) {
            break;
        }
        if (child + 1 < n && before(&s->heap[child + 1], &s->heap[child])) {
            child++;
        }
        if (!before(&s->heap[child], &last)) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* Offers the pair that begins at symbol pos. */
static void offer(const plmm_tokenizer *t, bpe_scratch *s, uint32_t pos)
{
    const bpe_symbol *a = &s->sym[pos];
    if (a->next == NONE) {
        return;
    }
    uint32_t m = tokenizer_find_merge(t, (uint32_t)a->id, (uint32_t)s->sym[a->next].id);
    if (m != NONE) {
        heap_push(s, (bpe_entry){tokenizer_rank(t, m), pos, t->pair_ids[m]});
    }
}

static void merge_long(const plmm_tokenizer *t, bpe_scratch *s)
{
    s->n_heap = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        offer(t, s, i);
    }
    while (s->n_heap > 0) {
        bpe_entry e = heap_pop(s);
        bpe_symbol *a = &s->sym[e.pos];
        if (a->id < 0 || a->next == NONE) {
            continue;
        }
        bpe_symbol *b = &s->sym[a->next];
        uint32_t m = tokenizer_find_merge(t, (uint32_t)a->id, (uint32_t)b->id);
        if (m == NONE || t->pair_ids[m] != e.id || tokenizer_rank(t, m) != e.rank) {
            continue; /* one of the two has been merged since */
        }
        a->id = (int32_t)e.id;
        a->next = b->next;
        b->id = -1;
        if (a->next != NONE) {
            s->sym[a->next].prev = e.pos;
        }
        offer(t, s, e.pos);
        if (a->prev != NONE) {
            offer(t, s, a->prev);
        }
    }
}

/* --- short words --- */

/* A symbol and its merge with the next one. */
typedef struct short_symbol {
    int32_t id;
    uint32_t rank, into; /* rank NONE: they do not merge */
} short_symbol;

static void look(const plmm_tokenizer *t, short_symbol *a)
{
    uint32_t m = tokenizer_find_merge(t, (uint32_t)a[0].id, (uint32_t)a[1].id);
    a->rank = m == NONE ? NONE : tokenizer_rank(t, m);
    a->into = m == NONE ? 0 : t->pair_ids[m];
}

/* Merges s->sym[0..n) and leaves what remains in its place. */
static void merge_short(const plmm_tokenizer *t, bpe_scratch *s)
{
    short_symbol a[SHORT_MAX];
    size_t n = s->n;
    for (size_t i = 0; i < n; i++) {
        a[i] = (short_symbol){s->sym[i].id, NONE, 0};
    }
    for (size_t i = 0; i + 1 < n; i++) {
        look(t, &a[i]);
    }
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = a[i].rank < a[best].rank ? i : best;
        }
        if (n < 2 || a[best].rank == NONE) {
            break;
        }
        a[best].id = (int32_t)a[best].into;
        a[best].rank = a[best + 1].rank; /* NONE if that was the last one */
        memmove(&a[best + 1], &a[best + 2], (n - best - 2) * sizeof *a);
        n--;
        if (best + 1 < n) {
            look(t, &a[best]);
        }
        if (best > 0) {
            look(t, &a[best - 1]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        s->sym[i].id = a[i].id;
        s->sym[i].next = i + 1 < n ? (uint32_t)i + 1 : NONE;
    }
}

/* --- memory --- */

/* Room for n symbols and every heap entry they can cause: n - 1 first, two for each merge. */
static plmm_status reserve(bpe_scratch *s, size_t n, plmm_error *err)
{
    if (n <= s->cap) {
        return PLMM_OK;
    }
    size_t cap = n < 64 ? 64 : n + n / 2;
    bpe_symbol *sym = plmm_alloc(cap, sizeof *sym);
    bpe_entry *heap = plmm_alloc(3 * cap, sizeof *heap);
    if (sym == NULL || heap == NULL) {
        plmm_free(sym);
        plmm_free(heap);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot encode a word of %zu bytes: out of memory",
                         n);
    }
    bpe_scratch_free(s);
    *s = (bpe_scratch){.sym = sym, .cap = cap, .heap = heap, .heap_cap = 3 * cap};
    return PLMM_OK;
}

void bpe_scratch_free(bpe_scratch *s)
{
    plmm_free(s->sym);
    plmm_free(s->heap);
    *s = (bpe_scratch){0};
}

/* --- the first symbols --- */

static void put_symbol(bpe_scratch *s, int32_t id)
{
    uint32_t i = (uint32_t)s->n++;
    s->sym[i] = (bpe_symbol){.id = id, .prev = i == 0 ? NONE : i - 1, .next = NONE};
    if (i > 0) {
        s->sym[i - 1].next = i;
    }
}

/* The bytes of one unknown code point as byte tokens: all of them or none. */
static bool put_bytes(const plmm_tokenizer *t, bpe_scratch *s, const char *c, size_t n)
{
    if (!t->byte_fallback) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (t->byte_id[(unsigned char)c[i]] < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        put_symbol(s, t->byte_id[(unsigned char)c[i]]);
    }
    return true;
}

static void first_symbols(const plmm_tokenizer *t, const char *word, size_t n, bpe_scratch *s)
{
    bool unknown = false; /* the symbol before is the unknown token */
    s->n = 0;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = t->style == STYLE_BYTES ? 1 : utf8_decode(word + i, n - i, &cp);
        int32_t id = t->style == STYLE_BYTES ? t->byte_id[(unsigned char)word[i]]
                                             : tokenizer_lookup(t, word + i, len);
        bool known = id >= 0;
        if (known) {
            put_symbol(s, id);
        } else if (t->style == STYLE_SENTENCE && put_bytes(t, s, word + i, len)) {
            known = true;
        } else if (t->unk >= 0 && !(unknown && t->fuse_unk)) {
            put_symbol(s, t->unk);
        }
        unknown = !known;
    }
}

plmm_status bpe_encode(const plmm_tokenizer *t, const char *word, size_t n, bpe_scratch *s,
                       plmm_ids *out, plmm_error *err)
{
    if (n > PLMM_TOKENIZER_TEXT_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot encode a word of %zu bytes, at most %d", n,
                         (int)PLMM_TOKENIZER_TEXT_MAX);
    }
    PLMM_TRY(reserve(s, n, err));
    first_symbols(t, word, n, s);
    if (s->n <= SHORT_MAX) {
        merge_short(t, s);
    } else {
        merge_long(t, s);
    }
    for (uint32_t i = s->n > 0 ? 0 : NONE; i != NONE; i = s->sym[i].next) {
        PLMM_TRY(plmm_ids_push(out, s->sym[i].id, err));
    }
    return PLMM_OK;
}
