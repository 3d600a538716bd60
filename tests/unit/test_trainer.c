/* client/trainer: it learns, gives the difference, changes nothing else, and depends on nothing but
 * its arguments. */
#include "plmm/trainer.h"

#include "tiny.h"

#include <math.h>
#include <pthread.h>

enum { EXAMPLES = 9 };

static const plmm_trainer_sizes sizes = {.tokens = 64, .seq_max = 24, .rank_below = 3};

/* Sequences whose next token follows from the present one. Lengths 6..14, the first three
 * unlearnt. */
typedef struct learnt {
    int32_t tokens[200], targets[200];
    size_t start[EXAMPLES];
    uint32_t len[EXAMPLES], loss[EXAMPLES];
    plmm_examples x;
} learnt;

static void make(learnt *l)
{
    memset(l, 0, sizeof *l);
    size_t at = 0;
    for (uint32_t i = 0; i < EXAMPLES; i++) {
        uint32_t n = 6 + i;
        l->start[i] = at;
        l->len[i] = n;
        int32_t token = (int32_t)(i * 7 % 40);
        for (uint32_t k = 0; k < n; k++, at++) {
            int32_t next = (token * 3 + 1) % 40;
            l->tokens[at] = token;
            l->targets[at] = k < 3 ? -1 : next;
            l->loss[i] += k >= 3;
            token = next;
        }
    }
    l->x = (plmm_examples){.tokens = l->tokens,
                           .targets = l->targets,
                           .count = at,
                           .start = l->start,
                           .len = l->len,
                           .loss = l->loss,
                           .n = EXAMPLES};
}

static plmm_trainer *trainer(void)
{
    plmm_trainer *t = NULL;
    plmm_error err = {0};
    CHECK(plmm_trainer_new(&tiny_cfg, &tiny_spec, &sizes, &t, &err) == PLMM_OK, "%s", err.msg);
    return t;
}

static plmm_trainer_params quick(plmm_factor f)
{
    plmm_trainer_params p = plmm_trainer_params_default();
    p.epochs = 4;
    p.batch_tokens = 40;
    p.lr = 0.02f;
    p.factors = f;
    p.measure = true;
    p.seed = 3;
    return p;
}

static void test_learns(const plmm_model *m)
{
    static const plmm_factor factors[] = {PLMM_FACTOR_B, PLMM_FACTOR_A, PLMM_FACTOR_AB};
    learnt l;
    plmm_error err = {0};
    make(&l);
    plmm_trainer *t = trainer();
    for (size_t i = 0; i < 2 * COUNT(factors); i++) {
        plmm_trainer_params p = quick(factors[i / 2]);
        p.opt = i % 2 == 0 ? PLMM_LOCAL_ADAMW : PLMM_LOCAL_SGD;
        p.lr = i % 2 == 0 ? p.lr : 0.3f;
        plmm_adapter *a = tiny_adapter(2, 0.1f), *b = NULL;
        CHECK(plmm_adapter_clone(a, &b, &err) == PLMM_OK, "%s", err.msg);
        size_t n = plmm_travel_count(a, p.factors), total = plmm_adapter_count(a);
        float *delta = plmm_alloc(n, sizeof *delta), *sent = plmm_alloc(n, sizeof *sent);
        plmm_trainer_stats s = {0};
        CHECK(plmm_trainer_run(t, m, a, NULL, &l.x, &p, delta, &s, &err) == PLMM_OK, "%s", err.msg);
        CHECK(s.loss_after < s.loss_before - 0.05, "case %zu: %g -> %g", i, s.loss_before,
              s.loss_after);
        CHECK(s.examples == EXAMPLES && s.tokens == 4 * l.x.count, "counts");
        CHECK(s.targets == 4 * (l.x.count - 3 * EXAMPLES), "targets %d", (int)s.targets);
        CHECK(s.steps >= 4 * 3 && s.steps <= 4 * EXAMPLES, "%u steps", s.steps);
        CHECK(memcmp(plmm_adapter_weights(a), plmm_adapter_weights(b), total * sizeof(float)) == 0,
              "the expert's adapter is not changed");
        plmm_travel_gather(plmm_trainer_adapter(t), a, p.factors, sent);
        CHECK(memcmp(sent, delta, n * sizeof *sent) == 0, "the delta is what was learnt");
        double norm = 0;
        for (size_t k = 0; k < n; k++) {
            norm += (double)delta[k] * (double)delta[k];
        }
        CHECK(norm > 0 && fabs(sqrt(norm) - s.delta_norm) < 1e-9, "norm %g", s.delta_norm);
        /* What does not travel is as it was. */
        size_t off = 0, count = 0;
        const float *got = plmm_adapter_weights(plmm_trainer_adapter(t));
        plmm_adapter_range(a, p.factors, &off, &count);
        for (size_t k = 0; k < total; k++) {
            CHECK((k >= off && k < off + count) || got[k] == plmm_adapter_weights(a)[k],
                  "float %zu of another factor changed", k);
        }
        plmm_free(delta);
        plmm_free(sent);
        plmm_adapter_free(a);
        plmm_adapter_free(b);
    }
    plmm_trainer_free(t);
}

/* One step of SGD on everything is minus lr times the clipped mean gradient. */
static void test_one_step(const plmm_model *m)
{
    learnt l;
    plmm_error err = {0};
    make(&l);
    plmm_trainer *t = trainer();
    plmm_adapter *a = tiny_adapter(4, 0.2f);
    plmm_trainer_params p = quick(PLMM_FACTOR_B);
    p.opt = PLMM_LOCAL_SGD, p.steps = 1, p.batch_tokens = 1000, p.lr = 0.5f, p.clip = 0.01f;
    size_t n = plmm_travel_count(a, p.factors), off = 0, count = 0;
    float *delta = plmm_alloc(n, sizeof *delta);
    float *g = plmm_alloc(plmm_adapter_count(a), sizeof *g);
    plmm_trainer_stats s;
    for (int twice = 0; twice < 2; twice++) { /* nothing of the first run is left in the second */
        p.steps = twice == 0 ? 5 : 1, p.batch_tokens = twice == 0 ? 9 : 1000;
        CHECK(plmm_trainer_run(t, m, a, NULL, &l.x, &p, delta, &s, &err) == PLMM_OK, "%s", err.msg);
    }
    CHECK(s.steps == 1 && s.tokens == l.x.count, "one batch");
    plmm_batch b = {.tokens = l.tokens,
                    .targets = l.targets,
                    .lens = l.len,
                    .count = l.x.count,
                    .seqs = EXAMPLES};
    plmm_stack stack = {.adapters = (const plmm_adapter *const[]){a}, .count = 1};
    plmm_loss_sum sum = {0};
    CHECK(plmm_grad_lora(plmm_trainer_workspace(t), m, &stack, PLMM_FACTOR_B, &b,
                         1 / (float)plmm_batch_targets(&b), 0, g, &sum, &err) == PLMM_OK,
          "%s", err.msg);
    plmm_adapter_range(a, PLMM_FACTOR_B, &off, &count);
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        norm += (double)g[off + i] * (double)g[off + i];
    }
    CHECK(sqrt(norm) > 0.01, "the clip is felt: %g", sqrt(norm));
    for (size_t i = 0; i < n; i++) {
        double want = -0.5 * 0.01 / sqrt(norm) * (double)g[off + i];
        CHECK(fabs((double)delta[i] - want) < 1e-6, "%zu: %g, want %g", i, (double)delta[i], want);
    }
    CHECK(fabs(s.loss_mean - sum.nll / (double)sum.count) < 1e-6, "loss %g", s.loss_mean);
    plmm_free(delta);
    plmm_free(g);
    plmm_adapter_free(a);
    plmm_trainer_free(t);
}

typedef struct job {
    const plmm_model *m;
    const plmm_adapter *a, *below;
    plmm_trainer_params p;
    float *delta;
    plmm_trainer_stats s;
    bool warm; /* train something else first */
} job;

static void *run_job(void *arg)
{
    job *j = arg;
    learnt l;
    plmm_error err = {0};
    make(&l);
    plmm_trainer *t = trainer();
    plmm_stack below = {.adapters = &j->below, .count = j->below != NULL ? 1 : 0};
    if (j->warm) {
        plmm_trainer_params p = quick(PLMM_FACTOR_A);
        p.seed = 99, p.decay = 0.1f;
        float *d = plmm_alloc(plmm_travel_count(j->a, p.factors), sizeof *d);
        CHECK(plmm_trainer_run(t, j->m, j->a, NULL, &l.x, &p, d, &j->s, &err) == PLMM_OK, "%s",
              err.msg);
        p.factors = PLMM_FACTOR_B, p.decay = 0;
        CHECK(plmm_trainer_run(t, j->m, j->a, NULL, &l.x, &p, j->delta, &j->s, &err) == PLMM_OK,
              "%s", err.msg);
        plmm_free(d);
    }
    CHECK(plmm_trainer_run(t, j->m, j->a, &below, &l.x, &j->p, j->delta, &j->s, &err) == PLMM_OK,
          "%s", err.msg);
    plmm_trainer_free(t);
    return NULL;
}

static void test_repeatable(const plmm_model *m)
{
    plmm_adapter *a = tiny_adapter(2, 0.1f), *below = tiny_adapter(8, 0.3f), *kept = NULL;
    plmm_error err;
    size_t n = plmm_travel_count(a, PLMM_FACTOR_B);
    CHECK(plmm_adapter_clone(below, &kept, &err) == PLMM_OK, "%s", err.msg);
    job j[5];
    for (size_t i = 0; i < COUNT(j); i++) {
        j[i] = (job){.m = m, .a = a, .below = below, .p = quick(PLMM_FACTOR_B), .warm = i % 2 == 1};
        j[i].p.seed = i == 3 ? 4 : 3;
        j[i].below = i == 4 ? NULL : below;
        j[i].delta = plmm_alloc(n, sizeof(float));
    }
    pthread_t thread[COUNT(j)];
    for (size_t i = 1; i < COUNT(j); i++) {
        CHECK(pthread_create(&thread[i], NULL, run_job, &j[i]) == 0, "thread");
    }
    (void)run_job(&j[0]);
    for (size_t i = 1; i < COUNT(j); i++) {
        CHECK(pthread_join(thread[i], NULL) == 0, "join");
    }
    for (size_t i = 1; i < COUNT(j); i++) {
        bool same = memcmp(j[0].delta, j[i].delta, n * sizeof(float)) == 0;
        CHECK(same == (i < 3),
              "job %zu: another thread or workspace must not matter, another seed or "
              "personal adapter must",
              i);
    }
    CHECK(memcmp(&j[0].s, &j[1].s, sizeof j[0].s) == 0, "statistics repeat as well");
    CHECK(memcmp(plmm_adapter_weights(below), plmm_adapter_weights(kept),
                 plmm_adapter_count(below) * sizeof(float)) == 0,
          "the personal adapter is not changed");
    for (size_t i = 0; i < COUNT(j); i++) {
        plmm_free(j[i].delta);
    }
    plmm_adapter_free(a);
    plmm_adapter_free(below);
    plmm_adapter_free(kept);
}

static void test_refusals(const plmm_model *m)
{
    learnt l;
    make(&l);
    plmm_trainer *t = trainer();
    plmm_adapter *a = tiny_adapter(2, 0.1f);
    float *delta = plmm_alloc(plmm_adapter_count(a), sizeof *delta);
    delta[0] = 42;
    for (int row = 0; row < 9; row++) {
        plmm_trainer_params p = quick(PLMM_FACTOR_B);
        plmm_trainer_stats s = {.steps = 7};
        plmm_error err = {0};
        plmm_status want = PLMM_ERR_RANGE;
        plmm_examples x = l.x;
        p.measure = false;
        switch (row) {
        case 0:
            p.lr = 0;
            break;
        case 1:
            p.epochs = 0;
            break;
        case 2:
            p.batch_tokens = 0;
            break;
        case 3:
            p.factors = PLMM_FACTOR_NONE;
            break;
        case 4:
            p.clip = -1;
            break;
        case 5:
            x.n = 0;
            break;
        case 6:
            l.len[0] = 25;
            break;
        case 7:
            l.len[0] = 6, p.lr = 3e38f, want = PLMM_ERR_STATE;
            p.opt = PLMM_LOCAL_SGD, p.clip = 0;
            break;
        default:
            l.tokens[2] = 40; /* not in the vocabulary */
            break;
        }
        plmm_status rc = plmm_trainer_run(t, m, a, NULL, &x, &p, delta, &s, &err);
        CHECK(rc == want && err.msg[0] != '\0', "row %d: %d %s", row, rc, err.msg);
        CHECK(delta[0] == 42 && s.steps == 7, "row %d: outputs are untouched", row);
    }
    plmm_lora_spec other = tiny_spec;
    plmm_adapter *o = NULL;
    plmm_error err = {0};
    plmm_trainer_params p = quick(PLMM_FACTOR_B);
    plmm_trainer_stats s;
    other.rank = 2;
    CHECK(plmm_adapter_new(&tiny_cfg, &other, &o, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_trainer_run(t, m, o, NULL, &l.x, &p, delta, &s, &err) == PLMM_ERR_CONFIG, "%s",
          err.msg);
    plmm_free(delta);
    plmm_adapter_free(o);
    plmm_adapter_free(a);
    plmm_trainer_free(t);
}

static void test_oom(const plmm_model *m)
{
    learnt l;
    make(&l);
    plmm_adapter *a = tiny_adapter(2, 0.1f);
    float *delta = plmm_alloc(plmm_adapter_count(a), sizeof *delta);
    plmm_trainer_params p = quick(PLMM_FACTOR_B);
    p.steps = 1, p.decay = 0.1f, p.measure = false;
    long before = plmm_alloc_live();
    for (long k = 0;; k++) {
        plmm_trainer *t = NULL;
        plmm_trainer_stats s;
        plmm_error err = {0};
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_trainer_new(&tiny_cfg, &tiny_spec, &sizes, &t, &err);
        rc = rc == PLMM_OK ? plmm_trainer_run(t, m, a, NULL, &l.x, &p, delta, &s, &err) : rc;
        plmm_alloc_fail_at(-1);
        plmm_trainer_free(t);
        CHECK(plmm_alloc_live() == before, "k=%ld leaks", k);
        if (rc == PLMM_OK) {
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && err.msg[0] != '\0', "k=%ld: %d %s", k, rc, err.msg);
    }
    plmm_free(delta);
    plmm_adapter_free(a);
}

int main(void)
{
    plmm_model *m = tiny_model(1);
    test_learns(m);
    test_one_step(m);
    test_repeatable(m);
    test_refusals(m);
    test_oom(m);
    plmm_model_free(m);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
