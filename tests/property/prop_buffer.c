/* client/buffer against a slow model of the paper's rule, and saved halfway: thousands of random
 * offers, all options. */
#include "plmm/alloc.h"
#include "plmm/buffer.h"
#include "test.h"

#include <math.h>

enum { DIM = 5, TOKENS = 12, OFFERS = 300, BINS = 9 };

typedef struct made {
    char text[200];
    int32_t tokens[TOKENS];
    float states[TOKENS * DIM];
    plmm_embedding e;
} made;

static void make(made *m, plmm_rng *r)
{
    static const char *const words[] = {"pain", "money", "oil", "hello", "you", "there"};
    size_t len = 0;
    for (uint64_t i = 0, n = 1 + plmm_rng_below(r, 12); i < n; i++) {
        len += (size_t)snprintf(m->text + len, sizeof m->text - len, "%s ",
                                words[plmm_rng_below(r, COUNT(words))]);
    }
    size_t n = 1 + (size_t)plmm_rng_below(r, TOKENS);
    for (size_t t = 0; t < n; t++) {
        m->tokens[t] = (int32_t)plmm_rng_below(r, 9);
        double size = exp(plmm_rng_normal(r));
        for (size_t k = 0; k < DIM; k++) {
            m->states[t * DIM + k] = (float)(size * plmm_rng_normal(r));
        }
    }
    m->e = (plmm_embedding){.states = m->states, .tokens = m->tokens, .n = n, .dim = DIM};
}

/* The formula as it stands, with the p_i written out. */
static double eoe_slow(const made *m, plmm_eoe_reading how)
{
    double p[TOKENS], sum = 0, h = 0;
    for (size_t t = 0; t < m->e.n; t++) {
        p[t] = 0;
        for (size_t k = 0; how == PLMM_EOE_NORM && k < DIM; k++) {
            p[t] += pow((double)m->states[t * DIM + k], 2);
        }
        for (size_t u = 0; how == PLMM_EOE_TYPE && u < m->e.n; u++) {
            p[t] += m->tokens[u] == m->tokens[t];
        }
        sum += how == PLMM_EOE_NORM ? p[t] : 0;
    }
    for (size_t t = 0; t < m->e.n; t++) {
        double share = how == PLMM_EOE_NORM ? p[t] / sum : p[t] / (double)m->e.n;
        /* Each of the p[t] equal tokens adds its part of the type's term. */
        h -= share * log(share) / (how == PLMM_EOE_NORM ? 1 : p[t]);
    }
    return m->e.n < 2 ? 0 : h / log((double)m->e.n);
}

static double idd_slow(const plmm_buffer *b, const float *e, int32_t domain, uint32_t skip)
{
    double sum = 0, r = 0;
    for (uint32_t i = 0; i < plmm_buffer_count(b); i++) {
        plmm_bin x = plmm_buffer_get(b, i);
        if (i == skip || x.domain != domain) {
            continue;
        }
        double dot = 0, ee = 0, xx = 0;
        for (size_t k = 0; k < DIM; k++) {
            dot += (double)e[k] * (double)x.embedding[k];
            ee += (double)e[k] * (double)e[k];
            xx += (double)x.embedding[k] * (double)x.embedding[k];
        }
        sum += 1 - dot / sqrt(ee * xx);
        r++;
    }
    return r > 0 ? sum / r : 1;
}

/* Of the bins before the offer, how many the offer may replace by the rule. */
static uint32_t candidates_slow(const plmm_buffer *b, const plmm_verdict *v)
{
    const plmm_buffer_params *p = plmm_buffer_cfg(b);
    uint32_t n = 0;
    for (uint32_t i = 0; i < plmm_buffer_count(b); i++) {
        plmm_bin x = plmm_buffer_get(b, i);
        double idd =
            p->idd == PLMM_IDD_LIVE ? idd_slow(b, x.embedding, x.domain, i) : x.score[PLMM_IDD];
        bool eoe = v->score[PLMM_EOE] > x.score[PLMM_EOE] || (p->metrics & PLMM_METRIC_EOE) == 0;
        bool dss = v->score[PLMM_DSS] > x.score[PLMM_DSS] || (p->metrics & PLMM_METRIC_DSS) == 0;
        bool far = v->score[PLMM_IDD] > idd || (p->metrics & PLMM_METRIC_IDD) == 0;
        n += eoe && dss && far;
    }
    return n;
}

/* A copy through rows, as a store would do it. */
static plmm_buffer *saved(const plmm_buffer *b, const plmm_lexicons *l)
{
    plmm_error err;
    plmm_buffer *c = NULL;
    CHECK(plmm_buffer_new(plmm_buffer_cfg(b), l, &c, &err) == PLMM_OK, "%s", err.msg);
    for (uint32_t i = 0; i < plmm_buffer_count(b); i++) {
        plmm_bin bin = plmm_buffer_get(b, i);
        CHECK(plmm_buffer_put(c, &bin, &err) == PLMM_OK, "%s", err.msg);
    }
    plmm_buffer_state s = plmm_buffer_state_get(b);
    plmm_buffer_state_set(c, &s);
    return c;
}

static void one(const plmm_buffer_params *p, const plmm_lexicons *l, uint64_t seed)
{
    plmm_rng r;
    plmm_error err;
    plmm_buffer *b = NULL, *c = NULL;
    plmm_rng_init(&r, seed, 1);
    CHECK(plmm_buffer_new(p, l, &b, &err) == PLMM_OK, "%s", err.msg);
    for (uint64_t id = 0; id < OFFERS; id++) {
        made m;
        plmm_verdict v, w;
        make(&m, &r);
        plmm_buffer *before = saved(b, l);
        plmm_status rc = plmm_buffer_offer(b, id, m.text, strlen(m.text), &m.e, &v, &err);
        CHECK(rc == PLMM_OK, "seed %" PRIu64 " id %" PRIu64 ": %s", seed, id, err.msg);
        CHECK(fabs(v.score[PLMM_EOE] - eoe_slow(&m, p->eoe)) < 1e-9,
              "seed %" PRIu64 " id %" PRIu64 ": eoe %.12g, want %.12g", seed, id, v.score[PLMM_EOE],
              eoe_slow(&m, p->eoe));
        float mean[DIM] = {0};
        for (size_t t = 0; t < m.e.n; t++) {
            for (size_t k = 0; k < DIM; k++) {
                mean[k] += m.states[t * DIM + k];
            }
        }
        double idd = idd_slow(before, mean, v.domain, UINT32_MAX);
        CHECK(fabs(v.score[PLMM_IDD] - idd) < 1e-5, "seed %" PRIu64 " id %" PRIu64 ": idd %g, %g",
              seed, id, v.score[PLMM_IDD], idd);
        if (plmm_buffer_count(before) == BINS && p->rule == PLMM_SELECT_SCORES) {
            CHECK(p->idd == PLMM_IDD_LIVE || v.candidates == candidates_slow(before, &v),
                  "seed %" PRIu64 " id %" PRIu64 ": %u candidates", seed, id, v.candidates);
            CHECK((v.kind == PLMM_VERDICT_REPLACED) == (v.candidates > 0), "kind");
        }
        CHECK(plmm_buffer_offer(before, id, m.text, strlen(m.text), &m.e, &w, &err) == PLMM_OK &&
                  w.kind == v.kind && w.bin == v.bin && w.replaced == v.replaced,
              "seed %" PRIu64 " id %" PRIu64 ": a restored buffer decides otherwise", seed, id);
        plmm_buffer_free(before);
    }
    plmm_buffer_free(b);
    plmm_buffer_free(c);
}

/* Among several candidates each is as likely. */
static void ties(const plmm_lexicons *l)
{
    uint32_t hit[4] = {0};
    plmm_buffer_params p = plmm_buffer_params_default(DIM);
    p.bins = COUNT(hit);
    p.metrics = PLMM_METRIC_DSS;
    static const float s[DIM] = {1};
    static const int32_t t[] = {1};
    plmm_embedding e = {.states = s, .tokens = t, .n = 1, .dim = DIM};
    for (p.seed = 0; p.seed < 4000; p.seed++) {
        plmm_buffer *b = NULL;
        plmm_verdict v = {0};
        plmm_error err;
        CHECK(plmm_buffer_new(&p, l, &b, &err) == PLMM_OK, "%s", err.msg);
        for (uint64_t id = 0; id <= COUNT(hit); id++) {
            const char *text = id < COUNT(hit) ? "hello" : "pain!";
            CHECK(plmm_buffer_offer(b, id, text, 5, &e, &v, &err) == PLMM_OK, "%s", err.msg);
        }
        CHECK(v.candidates == COUNT(hit), "%u", v.candidates);
        hit[v.bin]++;
        plmm_buffer_free(b);
    }
    for (size_t i = 0; i < COUNT(hit); i++) { /* 1000 expected, sd 27.4 */
        CHECK(hit[i] > 836 && hit[i] < 1164, "bin %zu: %u", i, hit[i]);
    }
}

int main(void)
{
    uint64_t seed = plmm_test_seed(1);
    plmm_lexicons *l = NULL;
    plmm_error err;
    CHECK(plmm_lexicons_new(&l, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_add(l, "m", "pain", 4, "m", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_add(l, "f", "money", 5, "f", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_add(l, "a", "oil 2", 5, "a", &err) == PLMM_OK, "%s", err.msg);
    for (uint64_t i = 0; i < 48; i++) {
        plmm_buffer_params p = plmm_buffer_params_default(DIM);
        p.bins = BINS;
        p.eoe = i % 2 == 0 ? PLMM_EOE_NORM : PLMM_EOE_TYPE;
        p.idd = i / 2 % 2 == 0 ? PLMM_IDD_STORED : PLMM_IDD_LIVE;
        p.metrics = 1 + (uint32_t)(i % 7);
        p.rule = i % 12 == 11   ? PLMM_SELECT_FIFO
                 : i % 12 == 10 ? PLMM_SELECT_RANDOM
                                : PLMM_SELECT_SCORES;
        p.seed = seed + i;
        one(&p, l, seed + i);
    }
    ties(l);
    plmm_lexicons_free(l);
    CHECK(plmm_alloc_live() == 0, "leak");
    return plmm_test_end();
}
