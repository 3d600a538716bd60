#include "plmm/buffer.h"

#include "plmm/alloc.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct plmm_buffer {
    plmm_buffer_params p;
    const plmm_lexicons *lexicons;
    plmm_rng rng;
    uint64_t arrivals;
    uint32_t count;
    plmm_bin *bin; /* [bins]; embedding points into e */
    float *e;      /* [bins + 1][dim]; the last row is the offer's */
    double *sum;   /* [dim] of the mean */
};

plmm_buffer_params plmm_buffer_params_default(uint32_t dim)
{
    return (plmm_buffer_params){.bins = 128,
                                .dim = dim,
                                .rule = PLMM_SELECT_SCORES,
                                .metrics = PLMM_METRIC_ALL,
                                .eoe = PLMM_EOE_NORM,
                                .idd = PLMM_IDD_STORED,
                                .count = PLMM_LEXICON_DISTINCT,
                                .seed = 0};
}

plmm_status plmm_buffer_new(const plmm_buffer_params *p, const plmm_lexicons *lexicons,
                            plmm_buffer **out, plmm_error *err)
{
    if (p->bins < 1 || p->bins > PLMM_BUFFER_BINS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "the buffer's bins are %u, must be 1..%d", p->bins,
                         PLMM_BUFFER_BINS_MAX);
    }
    if (p->dim < 1 || p->dim > PLMM_BUFFER_DIM_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "the embedding's dim is %u, must be 1..%d", p->dim,
                         PLMM_BUFFER_DIM_MAX);
    }
    if (p->rule == PLMM_SELECT_SCORES && (p->metrics < 1 || p->metrics > PLMM_METRIC_ALL)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the buffer's metrics are %u, must name 1 to 3 of EOE 1, DSS 2, IDD 4",
                         p->metrics);
    }
    plmm_buffer *b = plmm_alloc(1, sizeof *b);
    plmm_bin *bin = plmm_alloc(p->bins, sizeof *bin);
    float *e = plmm_alloc(((size_t)p->bins + 1) * p->dim, sizeof *e);
    double *sum = plmm_alloc(p->dim, sizeof *sum);
    if (b == NULL || bin == NULL || e == NULL || sum == NULL) {
        plmm_free(b);
        plmm_free(bin);
        plmm_free(e);
        plmm_free(sum);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a buffer of %u bins: out of memory",
                         p->bins);
    }
    *b = (plmm_buffer){.p = *p, .lexicons = lexicons, .bin = bin, .e = e, .sum = sum};
    plmm_rng_init(&b->rng, p->seed, 0x6275666665720000u); /* the stream "buffer" */
    *out = b;
    return PLMM_OK;
}

void plmm_buffer_free(plmm_buffer *b)
{
    if (b != NULL) {
        plmm_free(b->bin);
        plmm_free(b->e);
        plmm_free(b->sum);
        plmm_free(b);
    }
}

/* - sum_i p_i ln p_i / ln n with p_i = w_i / sum w, which is ln(sum) - (sum w ln w) / sum. */
static double entropy(double sum, double sum_wlogw, size_t n)
{
    if (n < 2 || !(sum > 0)) {
        return 0;
    }
    double h = (log(sum) - sum_wlogw / sum) / log((double)n);
    return h < 0 ? 0 : h > 1 ? 1 : h;
}

double plmm_eoe_norm(const plmm_embedding *e)
{
    double sum = 0, wlogw = 0;
    for (size_t t = 0; t < e->n; t++) {
        double w = 0;
        for (size_t k = 0; k < e->dim; k++) {
            double x = (double)e->states[t * e->dim + k];
            w += x * x;
        }
        sum += w;
        wlogw += w > 0 ? w * log(w) : 0;
    }
    return entropy(sum, wlogw, e->n);
}

double plmm_eoe_type(const plmm_embedding *e)
{
    double wlogw = 0;
    for (size_t t = 0; t < e->n; t++) {
        size_t same = 0;
        bool first = true;
        for (size_t u = 0; u < e->n; u++) {
            bool equal = e->tokens[u] == e->tokens[t];
            same += equal;
            first = first && !(equal && u < t);
        }
        wlogw += first ? (double)same * log((double)same) : 0;
    }
    return entropy((double)e->n, wlogw, e->n);
}

static float *row(const plmm_buffer *b, uint32_t i)
{
    return b->e + (size_t)i * b->p.dim;
}

/* The mean of the token states at length 1 into the offer's row. */
static void set_mean(plmm_buffer *b, const plmm_embedding *e)
{
    float *out = row(b, b->p.bins);
    double norm = 0;
    memset(b->sum, 0, b->p.dim * sizeof *b->sum);
    for (size_t t = 0; t < e->n; t++) {
        for (size_t k = 0; k < e->dim; k++) {
            b->sum[k] += (double)e->states[t * e->dim + k];
        }
    }
    for (size_t k = 0; k < e->dim; k++) {
        norm += b->sum[k] * b->sum[k];
    }
    double scale = norm > 0 ? 1 / sqrt(norm) : 0;
    for (size_t k = 0; k < e->dim; k++) {
        out[k] = (float)(scale * b->sum[k]);
    }
}

static double cosine(const float *x, const float *y, size_t n)
{
    double dot = 0;
    for (size_t k = 0; k < n; k++) {
        dot += (double)x[k] * (double)y[k];
    }
    return dot;
}

/* IDD of row `of` in `domain` against the bins, leaving bin `skip` out; *peers is R. */
static double dissimilarity(const plmm_buffer *b, uint32_t of, int32_t domain, uint32_t skip,
                            uint32_t *peers)
{
    double sum = 0;
    uint32_t r = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        if (i != skip && b->bin[i].domain == domain) {
            sum += 1 - cosine(row(b, of), row(b, i), b->p.dim);
            r++;
        }
    }
    *peers = r;
    return r > 0 ? sum / r : 1;
}

static plmm_status check_embedding(const plmm_buffer *b, const plmm_embedding *e, plmm_error *err)
{
    if (e == NULL) {
        return b->p.rule != PLMM_SELECT_SCORES
                   ? PLMM_OK
                   : plmm_fail(err, PLMM_ERR_RANGE,
                               "cannot score a dialogue set without embedding");
    }
    if (e->dim != b->p.dim || e->n < 1 || e->n > PLMM_BUFFER_TOKENS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the embedding is %zu tokens of dim %zu, must be 1..%d of dim %u", e->n,
                         e->dim, PLMM_BUFFER_TOKENS_MAX, b->p.dim);
    }
    for (size_t i = 0; i < e->n * e->dim; i++) {
        if (!isfinite(e->states[i])) {
            return plmm_fail(
                err, PLMM_ERR_RANGE,
                "the embedding of token %zu is not finite: the model is damaged or its "
                "training diverged",
                i / e->dim);
        }
    }
    return PLMM_OK;
}

static void score(plmm_buffer *b, const char *text, size_t len, const plmm_embedding *e,
                  plmm_verdict *v)
{
    plmm_lexicon_score s = plmm_lexicons_score(b->lexicons, b->p.count, text, len);
    v->domain = s.dominant;
    v->score[PLMM_DSS] = s.dss;
    if (e == NULL) {
        memset(row(b, b->p.bins), 0, b->p.dim * sizeof *b->e);
        return;
    }
    set_mean(b, e);
    v->score[PLMM_EOE] = b->p.eoe == PLMM_EOE_NORM ? plmm_eoe_norm(e) : plmm_eoe_type(e);
    v->score[PLMM_IDD] = dissimilarity(b, b->p.bins, s.dominant, UINT32_MAX, &v->peers);
}

/* The scores of bin i to compare with. */
static void rival_scores(const plmm_buffer *b, uint32_t i, double out[PLMM_SCORES])
{
    uint32_t peers;
    memcpy(out, b->bin[i].score, sizeof b->bin[i].score);
    if (b->p.idd == PLMM_IDD_LIVE) {
        out[PLMM_IDD] = dissimilarity(b, i, b->bin[i].domain, i, &peers);
    }
}

/* The bin to replace by the paper's rule, UINT32_MAX if none. One pass; the k-th candidate takes
 * the place of the one picked so far with probability 1/k, so that each is equally likely. */
static uint32_t pick_by_scores(plmm_buffer *b, plmm_verdict *v)
{
    uint32_t picked = UINT32_MAX;
    v->bins = b->count;
    for (uint32_t i = 0; i < b->count; i++) {
        double rival[PLMM_SCORES];
        rival_scores(b, i, rival);
        bool all = true;
        for (uint32_t m = 0; m < PLMM_SCORES; m++) {
            bool higher = v->score[m] > rival[m];
            v->higher[m] += higher;
            all = all && (higher || (b->p.metrics & (1u << m)) == 0);
        }
        if (all && plmm_rng_below(&b->rng, ++v->candidates) == 0) {
            picked = i;
            memcpy(v->replaced_score, rival, sizeof rival);
        }
    }
    return picked;
}

static uint32_t pick_oldest(const plmm_buffer *b)
{
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < b->count; i++) {
        oldest = b->bin[i].arrival < b->bin[oldest].arrival ? i : oldest;
    }
    return oldest;
}

/* The bin whose set goes for the offer in v, UINT32_MAX if the offer is let go. */
static uint32_t pick(plmm_buffer *b, plmm_verdict *v)
{
    uint32_t i = UINT32_MAX;
    switch (b->p.rule) {
    case PLMM_SELECT_SCORES:
        return pick_by_scores(b, v);
    case PLMM_SELECT_FIFO:
        i = pick_oldest(b);
        break;
    case PLMM_SELECT_RANDOM: {
        uint64_t at = plmm_rng_below(&b->rng, b->arrivals);
        i = at < b->count ? (uint32_t)at : UINT32_MAX;
        break;
    }
    }
    if (i != UINT32_MAX) {
        memcpy(v->replaced_score, b->bin[i].score, sizeof v->replaced_score);
    }
    return i;
}

static void fill(plmm_buffer *b, uint32_t i, uint64_t id, const plmm_verdict *v)
{
    memcpy(row(b, i), row(b, b->p.bins), b->p.dim * sizeof *b->e);
    b->bin[i] = (plmm_bin){.id = id,
                           .arrival = b->arrivals,
                           .replaced = v->replaced,
                           .did_replace = v->kind == PLMM_VERDICT_REPLACED,
                           .domain = v->domain,
                           .score = {v->score[0], v->score[1], v->score[2]},
                           .embedding = row(b, i)};
}

plmm_status plmm_buffer_offer(plmm_buffer *b, uint64_t id, const char *text, size_t len,
                              const plmm_embedding *e, plmm_verdict *verdict, plmm_error *err)
{
    PLMM_TRY(check_embedding(b, e, err));
    if (plmm_buffer_find(b, id) != UINT32_MAX) {
        return plmm_fail(err, PLMM_ERR_STATE, "the dialogue set %llu is in the buffer already",
                         (unsigned long long)id);
    }
    plmm_verdict v = {.rule = b->p.rule,
                      .metrics = b->p.metrics,
                      .kind = PLMM_VERDICT_LET_GO,
                      .replaced_domain = PLMM_DOMAIN_NONE};
    b->arrivals++;
    score(b, text, len, e, &v);
    if (b->count < b->p.bins) {
        v.kind = PLMM_VERDICT_STORED;
        v.bin = b->count;
        fill(b, b->count++, id, &v);
    } else {
        uint32_t i = pick(b, &v);
        if (i != UINT32_MAX) {
            v.kind = PLMM_VERDICT_REPLACED;
            v.bin = i;
            v.replaced = b->bin[i].id;
            v.replaced_domain = b->bin[i].domain;
            fill(b, i, id, &v);
        }
    }
    *verdict = v;
    return PLMM_OK;
}

plmm_status plmm_buffer_remove(plmm_buffer *b, uint64_t id, plmm_error *err)
{
    uint32_t i = plmm_buffer_find(b, id);
    if (i == UINT32_MAX) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND, "the dialogue set %llu is not in the buffer",
                         (unsigned long long)id);
    }
    uint32_t last = --b->count;
    if (i != last) {
        b->bin[i] = b->bin[last];
        b->bin[i].embedding = row(b, i);
        memcpy(row(b, i), row(b, last), b->p.dim * sizeof *b->e);
    }
    memset(&b->bin[last], 0, sizeof b->bin[last]);
    memset(row(b, last), 0, b->p.dim * sizeof *b->e);
    return PLMM_OK;
}

uint32_t plmm_buffer_count(const plmm_buffer *b)
{
    return b->count;
}

const plmm_buffer_params *plmm_buffer_cfg(const plmm_buffer *b)
{
    return &b->p;
}

plmm_bin plmm_buffer_get(const plmm_buffer *b, uint32_t i)
{
    PLMM_ASSERT(i < b->count);
    return b->bin[i];
}

uint32_t plmm_buffer_find(const plmm_buffer *b, uint64_t id)
{
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->bin[i].id == id) {
            return i;
        }
    }
    return UINT32_MAX;
}

plmm_status plmm_buffer_put(plmm_buffer *b, const plmm_bin *bin, plmm_error *err)
{
    unsigned long long id = bin->id;
    if (b->count == b->p.bins) {
        return plmm_fail(err, PLMM_ERR_FULL,
                         "cannot restore dialogue set %llu: all %u bins are full", id, b->p.bins);
    }
    if (plmm_buffer_find(b, bin->id) != UINT32_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot restore dialogue set %llu twice", id);
    }
    if (bin->domain < PLMM_DOMAIN_NONE ||
        bin->domain >= (int32_t)plmm_lexicons_count(b->lexicons)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot restore dialogue set %llu: its domain %d has no lexicon", id,
                         bin->domain);
    }
    double norm = cosine(bin->embedding, bin->embedding, b->p.dim);
    bool finite = isfinite(bin->score[0]) && isfinite(bin->score[1]) && isfinite(bin->score[2]);
    if (!finite || !(norm == 0 || fabs(norm - 1) < 1e-3)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot restore dialogue set %llu: its scores or embedding are damaged",
                         id);
    }
    uint32_t i = b->count++;
    memcpy(row(b, i), bin->embedding, b->p.dim * sizeof *b->e);
    b->bin[i] = *bin;
    b->bin[i].embedding = row(b, i);
    return PLMM_OK;
}

plmm_buffer_state plmm_buffer_state_get(const plmm_buffer *b)
{
    return (plmm_buffer_state){.rng = b->rng, .arrivals = b->arrivals};
}

void plmm_buffer_state_set(plmm_buffer *b, const plmm_buffer_state *s)
{
    b->rng = s->rng;
    b->arrivals = s->arrivals;
}

static char *explain_scores(const plmm_verdict *v, const plmm_lexicons *lexicons, char *buf,
                            size_t size)
{
    const double *s = v->score, *o = v->replaced_score;
    const char *domain = plmm_lexicons_name(lexicons, v->domain);
    if (v->kind == PLMM_VERDICT_REPLACED) {
        (void)snprintf(buf, size,
                       "replaced set %llu: eoe %.4f against %.4f, dss %.4f against %.4f, idd %.4f "
                       "against %.4f; domain %s, one of %u sets it could replace",
                       (unsigned long long)v->replaced, s[0], o[0], s[1], o[1], s[2], o[2], domain,
                       v->candidates);
        return buf;
    }
    (void)snprintf(buf, size,
                   "let go: eoe %.4f is higher than %u of %u sets, dss %.4f than %u, idd %.4f than "
                   "%u, and none is lower in each of%s%s%s; domain %s",
                   s[0], v->higher[0], v->bins, s[1], v->higher[1], s[2], v->higher[2],
                   (v->metrics & PLMM_METRIC_EOE) != 0 ? " eoe" : "",
                   (v->metrics & PLMM_METRIC_DSS) != 0 ? " dss" : "",
                   (v->metrics & PLMM_METRIC_IDD) != 0 ? " idd" : "", domain);
    return buf;
}

char *plmm_verdict_explain(const plmm_verdict *v, const plmm_lexicons *lexicons, char *buf,
                           size_t size)
{
    const char *rule = v->rule == PLMM_SELECT_FIFO ? "first in, first out" : "random";
    if (v->kind == PLMM_VERDICT_STORED) {
        (void)snprintf(
            buf, size, "stored: bin %u was free; eoe %.4f, dss %.4f, idd %.4f, domain %s", v->bin,
            v->score[0], v->score[1], v->score[2], plmm_lexicons_name(lexicons, v->domain));
    } else if (v->rule == PLMM_SELECT_SCORES) {
        return explain_scores(v, lexicons, buf, size);
    } else if (v->kind == PLMM_VERDICT_REPLACED) {
        (void)snprintf(buf, size, "replaced set %llu: %s, no score is looked at",
                       (unsigned long long)v->replaced, rule);
    } else {
        (void)snprintf(buf, size, "let go: %s, no score is looked at", rule);
    }
    return buf;
}
