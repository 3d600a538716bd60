/* client/buffer: scores by hand, the rule row by row, rivals, restoring, refusals. */
#include "plmm/alloc.h"
#include "plmm/buffer.h"
#include "test.h"

#include <math.h>

enum { DIM = 2 };

static plmm_lexicons *lexicons(void)
{
    plmm_lexicons *l = NULL;
    plmm_error err;
    CHECK(plmm_lexicons_new(&l, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_add(l, "m", "pain\nfever", 10, "m", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_add(l, "f", "money\nbank", 10, "f", &err) == PLMM_OK, "%s", err.msg);
    return l;
}

static plmm_buffer *buffer(plmm_buffer_params p, const plmm_lexicons *l)
{
    plmm_buffer *b = NULL;
    plmm_error err = {0};
    CHECK(plmm_buffer_new(&p, l, &b, &err) == PLMM_OK, "%s", err.msg);
    return b;
}

static void test_entropy(void)
{
    static const float equal[] = {1, 0, 0, 1, -1, 0, 0.6f, 0.8f};
    static const float uneven[] = {2, 0, 0, 1, 1, 0}; /* shares 4/6, 1/6, 1/6 */
    static const float zero[4] = {0};
    static const int32_t same[] = {7, 7, 7, 7}, mixed[] = {7, 8, 7, 9};
    plmm_embedding e = {.states = equal, .tokens = mixed, .n = 4, .dim = DIM};
    CHECK(fabs(plmm_eoe_norm(&e) - 1) < 1e-6, "%g", plmm_eoe_norm(&e));
    double want = -(0.5 * log(0.5) + 2 * 0.25 * log(0.25)) / log(4);
    CHECK(fabs(plmm_eoe_type(&e) - want) < 1e-12, "%g", plmm_eoe_type(&e));
    e.tokens = same;
    CHECK(plmm_eoe_type(&e) == 0, "%g", plmm_eoe_type(&e));
    e.n = 1;
    CHECK(plmm_eoe_norm(&e) == 0 && plmm_eoe_type(&e) == 0, "one token has no entropy");
    e = (plmm_embedding){.states = uneven, .tokens = mixed, .n = 3, .dim = DIM};
    want = -(4. / 6 * log(4. / 6) + 2. / 6 * log(1. / 6)) / log(3);
    CHECK(fabs(plmm_eoe_norm(&e) - want) < 1e-12, "%g, want %g", plmm_eoe_norm(&e), want);
    e = (plmm_embedding){.states = zero, .tokens = mixed, .n = 2, .dim = DIM};
    CHECK(plmm_eoe_norm(&e) == 0, "no length at all");
}

/* A set of two tokens at lengths 1 and `second`, both in direction `angle`: EOE grows with
 * second. */
static plmm_status offer(plmm_buffer *b, uint64_t id, const char *text, double angle, double second,
                         plmm_verdict *v)
{
    static const int32_t tokens[] = {1, 2};
    float s[4] = {(float)cos(angle), (float)sin(angle), (float)(second * cos(angle)),
                  (float)(second * sin(angle))};
    plmm_embedding e = {.states = s, .tokens = tokens, .n = 2, .dim = DIM};
    plmm_error err = {0};
    plmm_status rc = plmm_buffer_offer(b, id, text, strlen(text), &e, v, &err);
    CHECK(rc == PLMM_OK || err.msg[0] != '\0', "a failure has its sentence");
    return rc;
}

static void test_rule(void)
{
    const double pi = 3.14159265358979;
    plmm_lexicons *l = lexicons();
    plmm_buffer_params p = plmm_buffer_params_default(DIM);
    p.bins = 2;
    plmm_buffer *b = buffer(p, l);
    plmm_verdict v;
    char line[256];
    /* dss 1/2 * 1/4 each; idd 1 (first of m), then 1 - cos(90 deg) = 1 of one peer. */
    CHECK(offer(b, 10, "pain a b c", 0, 0.5, &v) == PLMM_OK, "offer");
    CHECK(v.kind == PLMM_VERDICT_STORED && v.bin == 0 && v.peers == 0 && v.score[PLMM_IDD] == 1,
          "idd %g", v.score[PLMM_IDD]);
    CHECK(v.score[PLMM_DSS] == 0.125 && v.domain == 0, "dss %g", v.score[PLMM_DSS]);
    CHECK(strstr(plmm_verdict_explain(&v, l, line, sizeof line), "bin 0 was free") != NULL, "%s",
          line);
    CHECK(offer(b, 11, "fever a b c", pi / 3, 0.5, &v) == PLMM_OK, "offer");
    CHECK(v.bin == 1 && v.peers == 1 && fabs(v.score[PLMM_IDD] - 0.5) < 1e-6, "idd %g",
          v.score[PLMM_IDD]);
    /* Higher in eoe and dss than both, but idd: mean of 1 - cos over both peers. */
    CHECK(offer(b, 12, "pain fever", pi / 3, 1, &v) == PLMM_OK, "offer");
    CHECK(v.kind == PLMM_VERDICT_LET_GO && fabs(v.score[PLMM_IDD] - 0.25) < 1e-6, "idd %g",
          v.score[PLMM_IDD]);
    CHECK(v.higher[0] == 2 && v.higher[1] == 2 && v.higher[2] == 0 && v.candidates == 0, "counts");
    CHECK(strstr(plmm_verdict_explain(&v, l, line, sizeof line), "let go") != NULL, "%s", line);
    /* Far from both: idd > 0.5 but equal to neither's 1 ... */
    CHECK(offer(b, 13, "pain fever", -2 * pi / 3, 1, &v) == PLMM_OK, "offer");
    CHECK(v.kind == PLMM_VERDICT_REPLACED && v.candidates == 2, "%d %u", v.kind, v.candidates);
    CHECK(strstr(plmm_verdict_explain(&v, l, line, sizeof line), "replaced set 1") != NULL, "%s",
          line);
    CHECK(plmm_buffer_find(b, v.replaced) == UINT32_MAX && plmm_buffer_find(b, 13) == v.bin,
          "bins");
    plmm_bin bin = plmm_buffer_get(b, v.bin);
    CHECK(bin.id == 13 && bin.did_replace && bin.replaced == v.replaced && bin.arrival == 4, "bin");
    /* Equal in one score is not higher. */
    CHECK(offer(b, 14, "pain fever", -2 * pi / 3 + 0.1, 1, &v) == PLMM_OK, "offer");
    CHECK(v.kind == PLMM_VERDICT_LET_GO, "a set equal in dss must not replace");
    plmm_buffer_free(b);
    plmm_lexicons_free(l);
}

static void test_metrics_and_live(void)
{
    plmm_lexicons *l = lexicons();
    plmm_buffer_params p = plmm_buffer_params_default(DIM);
    plmm_verdict v;
    p.bins = 1;
    p.metrics = PLMM_METRIC_DSS;
    plmm_buffer *b = buffer(p, l);
    CHECK(offer(b, 1, "pain a b c", 0, 1, &v) == PLMM_OK, "offer");
    CHECK(offer(b, 2, "money bank", 0, 0.1, &v) == PLMM_OK && v.kind == PLMM_VERDICT_REPLACED,
          "dss alone decides, across domains");
    CHECK(v.replaced_domain == 0 && v.domain == 1, "domains");
    plmm_buffer_free(b);
    /* Two equal sets of one domain: stored IDDs are 1 and 0, live both 0, so that an IDD of 0.5
     * beats either one live but only the second one stored. */
    for (int live = 0; live < 2; live++) {
        p = plmm_buffer_params_default(DIM);
        p.bins = 2;
        p.metrics = PLMM_METRIC_IDD;
        p.idd = live != 0 ? PLMM_IDD_LIVE : PLMM_IDD_STORED;
        b = buffer(p, l);
        CHECK(offer(b, 1, "pain", 0, 1, &v) == PLMM_OK && offer(b, 2, "fever", 0, 1, &v) == PLMM_OK,
              "offers");
        CHECK(offer(b, 3, "pain", 1.0472, 1, &v) == PLMM_OK, "offer");
        CHECK(v.candidates == (live != 0 ? 2u : 1u) && fabs(v.score[PLMM_IDD] - 0.5) < 1e-4,
              "live %d: %u candidates", live, v.candidates);
        plmm_buffer_free(b);
    }
    plmm_lexicons_free(l);
}

static void test_rivals(void)
{
    plmm_lexicons *l = lexicons();
    plmm_buffer_params p = plmm_buffer_params_default(DIM);
    plmm_verdict v;
    plmm_error err;
    char line[200];
    p.bins = 3;
    p.rule = PLMM_SELECT_FIFO;
    plmm_buffer *b = buffer(p, l);
    for (uint64_t id = 1; id <= 8; id++) {
        CHECK(plmm_buffer_offer(b, id, "pain", 4, NULL, &v, &err) == PLMM_OK, "%s", err.msg);
        CHECK(id <= 3 ? v.kind == PLMM_VERDICT_STORED
                      : v.kind == PLMM_VERDICT_REPLACED && v.replaced == id - 3,
              "id %d: replaced %d", (int)id, (int)v.replaced);
    }
    CHECK(strstr(plmm_verdict_explain(&v, l, line, sizeof line), "first in") != NULL, "%s", line);
    plmm_buffer_free(b);
    p.rule = PLMM_SELECT_RANDOM;
    uint32_t kept[20] = {0};
    for (uint64_t seed = 0; seed < 3000; seed++) {
        p.seed = seed;
        b = buffer(p, l);
        for (uint64_t id = 0; id < COUNT(kept); id++) {
            CHECK(plmm_buffer_offer(b, id, "x", 1, NULL, &v, &err) == PLMM_OK, "%s", err.msg);
        }
        for (uint32_t i = 0; i < 3; i++) {
            kept[plmm_buffer_get(b, i).id]++;
        }
        plmm_buffer_free(b);
    }
    for (size_t i = 0; i < COUNT(kept); i++) { /* 450 expected, sd 19.6: six of them */
        CHECK(kept[i] > 332 && kept[i] < 568, "set %zu kept %u times", i, kept[i]);
    }
    plmm_lexicons_free(l);
}

static void test_refusals(void)
{
    plmm_lexicons *l = lexicons();
    plmm_buffer *b = NULL;
    plmm_verdict v;
    plmm_error err;
    plmm_buffer_params p = plmm_buffer_params_default(DIM);
    p.bins = 0;
    CHECK(plmm_buffer_new(&p, l, &b, &err) == PLMM_ERR_RANGE && b == NULL, "bins");
    p.bins = 2, p.dim = 0;
    CHECK(plmm_buffer_new(&p, l, &b, &err) == PLMM_ERR_RANGE && b == NULL, "dim");
    p.dim = DIM, p.metrics = 8;
    CHECK(plmm_buffer_new(&p, l, &b, &err) == PLMM_ERR_RANGE && b == NULL, "metrics");
    p.metrics = PLMM_METRIC_ALL;
    b = buffer(p, l);
    float bad[] = {1, NAN};
    static const int32_t token[] = {1};
    plmm_embedding e = {.states = bad, .tokens = token, .n = 1, .dim = DIM};
    CHECK(plmm_buffer_offer(b, 1, "x", 1, &e, &v, &err) == PLMM_ERR_RANGE, "NaN");
    CHECK(plmm_buffer_offer(b, 1, "x", 1, NULL, &v, &err) == PLMM_ERR_RANGE, "no embedding");
    bad[1] = 0, e.n = 0;
    CHECK(plmm_buffer_offer(b, 1, "x", 1, &e, &v, &err) == PLMM_ERR_RANGE, "no token");
    e.n = 1, e.dim = 1;
    CHECK(plmm_buffer_offer(b, 1, "x", 1, &e, &v, &err) == PLMM_ERR_RANGE, "dim");
    CHECK(plmm_buffer_count(b) == 0 && plmm_buffer_state_get(b).arrivals == 0, "unchanged");
    CHECK(offer(b, 1, "x", 0, 1, &v) == PLMM_OK && offer(b, 1, "x", 0, 1, &v) == PLMM_ERR_STATE,
          "an id twice");
    plmm_bin bin = plmm_buffer_get(b, 0);
    CHECK(plmm_buffer_put(b, &bin, &err) == PLMM_ERR_RANGE, "twice");
    bin.id = 2, bin.domain = 9;
    CHECK(plmm_buffer_put(b, &bin, &err) == PLMM_ERR_RANGE, "domain");
    static const float longer[] = {1, 1};
    bin.domain = 0, bin.embedding = longer;
    CHECK(plmm_buffer_put(b, &bin, &err) == PLMM_ERR_RANGE, "length");
    bin.embedding = plmm_buffer_get(b, 0).embedding, bin.score[1] = INFINITY;
    CHECK(plmm_buffer_put(b, &bin, &err) == PLMM_ERR_RANGE, "score");
    bin.score[1] = 0;
    CHECK(plmm_buffer_put(b, &bin, &err) == PLMM_OK, "%s", err.msg);
    bin.id = 3;
    CHECK(plmm_buffer_put(b, &bin, &err) == PLMM_ERR_FULL, "full");
    CHECK(plmm_buffer_remove(b, 7, &err) == PLMM_ERR_NOTFOUND, "not there");
    CHECK(plmm_buffer_remove(b, 1, &err) == PLMM_OK && plmm_buffer_count(b) == 1, "removed");
    CHECK(plmm_buffer_get(b, 0).id == 2 && plmm_buffer_get(b, 0).embedding[0] == 1, "moved");
    plmm_buffer_free(b);
    plmm_lexicons_free(l);
}

static void test_oom(void)
{
    plmm_lexicons *l = lexicons();
    long before = plmm_alloc_live();
    plmm_buffer_params p = plmm_buffer_params_default(DIM);
    for (long k = 0;; k++) {
        plmm_buffer *b = NULL;
        plmm_error err = {0};
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_buffer_new(&p, l, &b, &err);
        plmm_alloc_fail_at(-1);
        if (rc == PLMM_OK) {
            plmm_buffer_free(b);
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && b == NULL && err.msg[0] != '\0', "k=%ld", k);
        CHECK(plmm_alloc_live() == before, "k=%ld leaks", k);
    }
    plmm_lexicons_free(l);
    CHECK(plmm_alloc_live() == 0, "leak");
}

int main(void)
{
    test_entropy();
    test_rule();
    test_metrics_and_live();
    test_rivals();
    test_refusals();
    test_oom();
    return plmm_test_end();
}
