/* plmm/buffer.h -- the selection buffer: from a stream of dialogue sets, keep the few worth
 * learning from (Qin et al., On-Device LLM Personalization with Self-Supervised Data Selection and
 * Synthesis, arXiv 2311.12275), in B bins.
 *
 * Each set is scored once, from its text and the last hidden states of the model:
 *
 *   EOE  entropy of embedding      - sum_i p_i ln p_i / ln n       over the n tokens
 *   DSS  domain-specific score     (1/m) sum_i |T n l_i| / n       over m lexicons (lexicon.h)
 *   IDD  in-domain dissimilarity   (1/R) sum_j (1 - cos(E, E_j))   over the R buffered sets of the
 *                                                                  same dominant domain; 1 if R = 0
 *
 * where T is the text's words, l_i the i-th lexicon ("n" between them is the intersection), n in
 * DSS the number of words, and E the mean of the token states. Higher is better in all. A free bin
 * takes any set. A full buffer replaces a buffered set only if the new one is strictly higher in
 * all three; among several such sets the generator picks one. What the paper leaves open is a
 * parameter here, with our choice and its reason beside it.
 *
 * The text itself stays with the caller under an id; a bin holds id, domain, scores and E.
 * Everything is a function of the parameters, the seed and the sequence of offers: bins and
 * plmm_buffer_state saved to rows and put back go on as if nothing had happened. A buffer belongs
 * to one thread at a time.
 */
#ifndef PLMM_BUFFER_H
#define PLMM_BUFFER_H

#include "plmm/lexicon.h"
#include "plmm/rng.h"
#include "plmm/status.h"

enum { PLMM_BUFFER_BINS_MAX = 4096, PLMM_BUFFER_DIM_MAX = 16384, PLMM_BUFFER_TOKENS_MAX = 8192 };

/* Who decides. RANDOM and FIFO are the rivals of the paper; they look at no score. */
typedef enum plmm_select_rule {
    PLMM_SELECT_SCORES, /* the paper's rule over the scores named in `metrics` */
    PLMM_SELECT_RANDOM, /* reservoir (Vitter 1985): a uniform sample of all that was offered */
    PLMM_SELECT_FIFO    /* the oldest goes */
} plmm_select_rule;

/* The two readings of p(e_i), which no source defines. */
typedef enum plmm_eoe_reading {
    /* p_i = |e_i|^2 / sum_j |e_j|^2: the share of a token's embedding in the whole. The default: it
     * uses the embedding, as the name says, and varies continuously. It saturates near 1, which
     * does not matter to a rule that only compares. */
    PLMM_EOE_NORM,
    /* p = frequency of each distinct token. Exactly 1 for every text without a repeated token, so
     * that such sets can never be replaced under the strict rule, and short texts win: to be
     * ablated. */
    PLMM_EOE_TYPE
} plmm_eoe_reading;

typedef enum plmm_idd_mode {
    /* Compare with the IDD at admission: the paper's rule as it is read. The default. */
    PLMM_IDD_STORED,
    /* Compare with the IDD against what is buffered now, itself left out: sets that came first,
     * with IDD near 1, can then be replaced. O(R dim) a bin. */
    PLMM_IDD_LIVE
} plmm_idd_mode;

/* The scores by index, and bits for plmm_buffer_params.metrics. */
enum { PLMM_EOE, PLMM_DSS, PLMM_IDD, PLMM_SCORES };
enum { PLMM_METRIC_EOE = 1, PLMM_METRIC_DSS = 2, PLMM_METRIC_IDD = 4, PLMM_METRIC_ALL = 7 };

typedef struct plmm_buffer_params {
    uint32_t bins; /* 1..PLMM_BUFFER_BINS_MAX */
    uint32_t dim;  /* of an embedding, 1..PLMM_BUFFER_DIM_MAX */
    plmm_select_rule rule;
    uint32_t metrics; /* SCORES: which must all be higher; PLMM_METRIC_ALL is the paper */
    plmm_eoe_reading eoe;
    plmm_idd_mode idd;
    plmm_lexicon_count count;
    uint64_t seed; /* of ties and of RANDOM */
} plmm_buffer_params;

/* 128 bins (2816 KB of 22 KB bins, as in the paper), the paper's rule, the defaults named above. */
plmm_buffer_params plmm_buffer_params_default(uint32_t dim);

/* Last hidden states of one dialogue set. Borrowed. */
typedef struct plmm_embedding {
    const float *states;   /* [n][dim], finite */
    const int32_t *tokens; /* [n] */
    size_t n, dim;         /* n in 1..PLMM_BUFFER_TOKENS_MAX */
} plmm_embedding;

typedef struct plmm_bin {
    uint64_t id;       /* the caller's name of the dialogue set */
    uint64_t arrival;  /* it was the arrival-th offer, from 1 */
    uint64_t replaced; /* id that it replaced, if did_replace */
    bool did_replace;
    int32_t domain;            /* index in the lexicons or PLMM_DOMAIN_NONE */
    double score[PLMM_SCORES]; /* at admission */
    const float *embedding;    /* [dim], length 1 (all 0 if the mean was 0); owned by the buffer */
} plmm_bin;

typedef enum plmm_verdict_kind {
    PLMM_VERDICT_STORED,   /* a bin was free */
    PLMM_VERDICT_REPLACED, /* another set went */
    PLMM_VERDICT_LET_GO    /* it was not kept */
} plmm_verdict_kind;

/* What became of an offer, and why. */
typedef struct plmm_verdict {
    plmm_verdict_kind kind;
    plmm_select_rule rule;
    uint32_t metrics;
    uint32_t bin; /* where it is; unless LET_GO */
    int32_t domain;
    double score[PLMM_SCORES];
    uint32_t peers; /* R: buffered sets of its domain when it came */
    /* Full buffer: */
    uint32_t bins;                /* sets that it was compared with */
    uint32_t higher[PLMM_SCORES]; /* of these, how many it exceeds in each score */
    uint32_t candidates;          /* and how many in all that count */
    uint64_t replaced; /* REPLACED: the id that went, its domain and scores as compared */
    int32_t replaced_domain;
    double replaced_score[PLMM_SCORES];
} plmm_verdict;

/* What must be saved beside the bins. */
typedef struct plmm_buffer_state {
    plmm_rng rng;
    uint64_t arrivals;
} plmm_buffer_state;

typedef struct plmm_buffer plmm_buffer;

/* Lexicons are borrowed and must outlive the buffer. RANGE for a parameter, NOMEM. One allocation
 * of about bins * (100 + 4 dim) bytes. */
PLMM_NODISCARD plmm_status plmm_buffer_new(const plmm_buffer_params *p,
                                           const plmm_lexicons *lexicons, plmm_buffer **out,
                                           plmm_error *err);
void plmm_buffer_free(plmm_buffer *b); /* NULL is fine */

/* Offers the set `id` with its text. e may be NULL under RANDOM and FIFO, which need none (scores
 * and embedding are then 0). RANGE for an empty or too long embedding, another dim, or a value that
 * is not finite; the buffer is then unchanged. Allocates nothing. */
PLMM_NODISCARD plmm_status plmm_buffer_offer(plmm_buffer *b, uint64_t id, const char *text,
                                             size_t len, const plmm_embedding *e,
                                             plmm_verdict *verdict, plmm_error *err);

/* Removes the set id (a user forgets it): the last bin moves into its place and the embedding is
 * overwritten. NOTFOUND. */
PLMM_NODISCARD plmm_status plmm_buffer_remove(plmm_buffer *b, uint64_t id, plmm_error *err);

uint32_t plmm_buffer_count(const plmm_buffer *b);
const plmm_buffer_params *plmm_buffer_cfg(const plmm_buffer *b);
/* Bin i < count; valid until the next offer, remove or put. */
plmm_bin plmm_buffer_get(const plmm_buffer *b, uint32_t i);
/* Index of the bin with this id, or UINT32_MAX. */
uint32_t plmm_buffer_find(const plmm_buffer *b, uint64_t id);

/* Restoring: append bins in the order of their index, then set the state. FULL, RANGE (an embedding
 * that is neither of length 1 nor 0, a score that is not finite, a domain that the lexicons lack,
 * an id that is already there). */
PLMM_NODISCARD plmm_status plmm_buffer_put(plmm_buffer *b, const plmm_bin *bin, plmm_error *err);
plmm_buffer_state plmm_buffer_state_get(const plmm_buffer *b);
void plmm_buffer_state_set(plmm_buffer *b, const plmm_buffer_state *s);

/* One sentence for humans about a verdict, cut to size: "replaced 17 (eoe 0.91 > 0.88, ...)" or
 * "let go: higher than 12 of 128 sets in eoe, ...". Returns buf. */
char *plmm_verdict_explain(const plmm_verdict *v, const plmm_lexicons *lexicons, char *buf,
                           size_t size);

/* The scores by themselves, for tests and ablations. Both lie in [0, 1]; 0 for n < 2 (ln n = 0). */
double plmm_eoe_norm(const plmm_embedding *e);
double plmm_eoe_type(const plmm_embedding *e);

#endif
