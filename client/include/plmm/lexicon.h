/* plmm/lexicon.h -- word lists by domain, and how much of a text lies in each (the DSS of
 * arXiv 2311.12275 and its dominant domain).
 *
 * A lexicon is text: one word a line, then optionally white space and a weight; '#' starts a
 * comment; empty lines are skipped. A word is letters, digits and inner hyphens or apostrophes;
 * ASCII letters are compared without case, other UTF-8 characters as they are, except that general
 * punctuation (U+2000 to U+207F: curly quotes, dashes) separates words. There is no stemming:
 * plurals are listed.
 *
 * A set of lexicons is built by one thread and then only read, by any number of threads.
 */
#ifndef PLMM_LEXICON_H
#define PLMM_LEXICON_H

#include "plmm/status.h"

enum {
    PLMM_LEXICONS_MAX = 16,           /* domains in a set */
    PLMM_LEXICON_NAME_MAX = 31,       /* bytes of a domain's name */
    PLMM_LEXICON_WORD_MAX = 47,       /* bytes of a word; longer words of a text never match */
    PLMM_LEXICON_WORDS_MAX = 1 << 16, /* entries in a set, all domains together */
    PLMM_DOMAIN_NONE = -1             /* no word of the text is in any lexicon */
};

typedef struct plmm_lexicons plmm_lexicons;

/* How |T n l_i| counts a word of the text that occurs more than once: the paper leaves it open. */
typedef enum plmm_lexicon_count {
    PLMM_LEXICON_DISTINCT, /* once: the intersection of sets, as the formula is written (default) */
    PLMM_LEXICON_REPEATS   /* each time */
} plmm_lexicon_count;

typedef struct plmm_lexicon_score {
    uint32_t words;                   /* n: words of the text */
    double weight[PLMM_LEXICONS_MAX]; /* |T n l_i| with weights, by domain */
    double dss;                       /* (1/m) sum_i weight[i] / n, 0 for a text without words */
    int32_t dominant;                 /* argmax of weight, the first among equals, or DOMAIN_NONE */
} plmm_lexicon_score;

/* An empty set. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_lexicons_new(plmm_lexicons **out, plmm_error *err);
void plmm_lexicons_free(plmm_lexicons *l); /* NULL is fine */

/* Adds the domain name with the words of text[0..len). A word listed twice in one domain keeps its
 * last weight. CONFIG with source:line for a bad line (a weight outside (0, 100], two words, a word
 * too long), a name already there, a name too long, no word at all, or a limit exceeded; NOMEM. On
 * failure the set is unchanged. source is what messages call the text. */
PLMM_NODISCARD plmm_status plmm_lexicons_add(plmm_lexicons *l, const char *name, const char *text,
                                             size_t len, const char *source, plmm_error *err);

/* Adds each *.txt of a folder, in the order of their names; the domain is the file's name without
 * .txt. NOTFOUND if there is none; IO; and what plmm_lexicons_add returns. On failure l may hold
 * some. */
PLMM_NODISCARD plmm_status plmm_lexicons_load(plmm_lexicons *l, const char *dir, plmm_error *err);

uint32_t plmm_lexicons_count(const plmm_lexicons *l);
/* Name of domain i, "none" for PLMM_DOMAIN_NONE. */
const char *plmm_lexicons_name(const plmm_lexicons *l, int32_t i);
/* Index of a name, PLMM_DOMAIN_NONE if there is none. */
int32_t plmm_lexicons_find(const plmm_lexicons *l, const char *name);

/* Scores text[0..len). Cannot fail and allocates nothing; m = 0 lexicons give 0 and DOMAIN_NONE. */
plmm_lexicon_score plmm_lexicons_score(const plmm_lexicons *l, plmm_lexicon_count how,
                                       const char *text, size_t len);

#endif
