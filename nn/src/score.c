#include "plmm/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plmm/alloc.h"

typedef struct span {
    const char *s;
    size_t n;
} span;

typedef struct words {
    char *text; /* lower case, words separated by NUL */
    span *v;
    size_t n;
} words;

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (char)(c + 32);
    }
    return c;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Lower case of the character at s, of which n bytes remain, as far as words can see it: 0 for what
 * is no part of a word. Two characters outside ASCII have a lower case inside: the Kelvin sign and
 * the dotted capital I. */
static char lower_at(const char *s, size_t n, size_t *taken)
{
    *taken = 1;
    if (n >= 3 && memcmp(s, "\xE2\x84\xAA", 3) == 0) {
        *taken = 3;
        return 'k';
    }
    if (n >= 2 && memcmp(s, "\xC4\xB0", 2) == 0) {
        return 'i'; /* the second byte then is the mark after it, no part of a word */
    }
    char c = lower(s[0]);
    if (!is_word(c)) {
        return '\0';
    }
    return c;
}

static int compare(const void *a, const void *b)
{
    const span *x = a, *y = b;
    int order = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

static plmm_status split(const char *s, words *w, plmm_error *err)
{
    size_t len = strlen(s), taken;
    w->text = plmm_alloc(len + 1, 1);
    w->v = plmm_alloc(len / 2 + 1, sizeof *w->v);
    if (w->text == NULL || w->v == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot count the words of %zu bytes", len);
    }
    size_t out = 0, begin = 0;
    for (size_t i = 0; i <= len; i += taken) {
        taken = 1;
        char c = '\0';
        if (i < len) {
            c = lower_at(s + i, len - i, &taken);
        }
        if (c != '\0') {
            w->text[out++] = c;
        } else if (out > begin) {
            w->v[w->n++] = (span){w->text + begin, out - begin};
            begin = out;
        }
    }
    if (w->n > 0) {
        qsort(w->v, w->n, sizeof *w->v, compare);
    }
    return PLMM_OK;
}

plmm_status plmm_rouge1(const char *reference, const char *candidate, plmm_rouge *out,
                        plmm_error *err)
{
    words r = {0}, c = {0};
    size_t hits = 0;
    plmm_status rc = split(reference, &r, err);
    if (rc == PLMM_OK) {
        rc = split(candidate, &c, err);
    }
    if (rc == PLMM_OK) {
        /* Both are sorted: walking them side by side counts each word min(times, times) times. */
        for (size_t i = 0, k = 0; i < r.n && k < c.n;) {
            int order = compare(&r.v[i], &c.v[k]);
            hits += order == 0;
            i += order <= 0;
            k += order >= 0;
        }
        plmm_rouge g = {0};
        g.precision = c.n > 0 ? (double)hits / (double)c.n : 0;
        g.recall = r.n > 0 ? (double)hits / (double)r.n : 0;
        g.f = hits > 0 ? 2 * g.precision * g.recall / (g.precision + g.recall) : 0;
        *out = g;
    }
    plmm_free(r.text);
    plmm_free(r.v);
    plmm_free(c.text);
    plmm_free(c.v);
    return rc;
}

static bool is_gap(char c)
{
    unsigned char u = (unsigned char)c;
    return u < 0x80 && !is_word(c) && !(u >= 'A' && u <= 'Z');
}

/* The next character of the normal form: '\0' at the end, ' ' between words. */
static char next_normal(const char **s, bool *begun)
{
    bool gap = false;
    while (**s != '\0' && is_gap(**s)) {
        gap = true;
        ++*s;
    }
    if (**s == '\0') {
        return '\0';
    }
    if (gap && *begun) {
        *begun = false; /* the space is given once; the word goes on without a gap */
        return ' ';
    }
    *begun = true;
    return lower(*(*s)++);
}

bool plmm_exact_match(const char *reference, const char *candidate)
{
    bool a_begun = false, b_begun = false;
    for (;;) {
        char a = next_normal(&reference, &a_begun), b = next_normal(&candidate, &b_begun);
        if (a != b) {
            return false;
        }
        if (a == '\0') {
            return true;
        }
    }
}

double plmm_perplexity(double nll_sum, uint64_t tokens)
{
    return tokens == 0 ? NAN : exp(nll_sum / (double)tokens);
}
