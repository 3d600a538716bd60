/* nn: losses, optimisers, steps, and that results do not depend on how the work is arranged. */
#include <math.h>

#include "plmm/alloc.h"
#include "plmm/train.h"
#include "test.h"
#include "tiny_model.h"

static tiny_batch tb;

static double largest_gap(const float *x, const float *y, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    }
    return worst;
}

/* Groups of sequences, what the workspace did before, the thread: none of it changes a loss by a
 * bit; only the order of chunks is in the gradients. */
static void test_arrangements(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 1);
    plmm_adapter *a = tiny_adapter(&c, PLMM_LORA_ALL, 4, 1);
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, 1};
    size_t n = plmm_adapter_count(a);
    float *g1 = calloc(n, sizeof *g1), *g2 = calloc(n, sizeof *g2), *g3 = calloc(n, sizeof *g3);
    plmm_workspace *w1 = tiny_workspace(&c, 180, 36, PLMM_USE_LORA);
    plmm_workspace *w2 = tiny_workspace(&c, 40, 36, PLMM_USE_LORA);
    plmm_workspace *w3 = tiny_workspace(&c, 180, 60, PLMM_USE_LORA);
    plmm_loss_sum s1 = {0}, s2 = {0}, s3 = {0}, seqs[TINY_SEQS];
    plmm_error err;
    plmm_factor f = PLMM_FACTOR_AB;
    CHECK(plmm_grad_lora(w1, m, &stack, f, &tb.b, 1, 0, g1, &s1, &err) == PLMM_OK, "large");
    CHECK(plmm_grad_lora(w2, m, &stack, f, &tb.b, 1, 0, g2, &s2, &err) == PLMM_OK, "small");
    CHECK(plmm_score(w3, m, NULL, &tb.b, seqs, &err) == PLMM_OK, "something else");
    CHECK(plmm_grad_lora(w3, m, &stack, f, &tb.b, 1, 0, g3, &s3, &err) == PLMM_OK, "used");
    CHECK(s1.nll == s2.nll && s1.nll == s3.nll, "losses are equal to the bit");
    CHECK(memcmp(g1, g3, n * sizeof *g1) == 0, "gradients too, of equal chunks");
    CHECK(largest_gap(g1, g2, n) < 1e-4, "chunks: %g", largest_gap(g1, g2, n));
    plmm_loss_sum sum = {0};
    CHECK(plmm_score(w2, m, &stack, &tb.b, seqs, &err) == PLMM_OK, "score");
    for (size_t i = 0; i < TINY_SEQS; i++) {
        sum.nll += seqs[i].nll;
        sum.count += seqs[i].count;
        sum.hits += seqs[i].hits;
    }
    CHECK(sum.nll == s1.nll && sum.count == s1.count && sum.hits == s1.hits,
          "scores sum to the loss");
    CHECK(sum.count == plmm_batch_targets(&tb.b), "every target counted");
    plmm_workspace_free(w1);
    plmm_workspace_free(w2);
    plmm_workspace_free(w3);
    plmm_adapter_free(a);
    plmm_model_free(m);
    free(g1);
    free(g2);
    free(g3);
}

/* Shards: any number of threads gives the same bits; any number of shards the same sums to
 * rounding. */
static void test_shards(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 2);
    plmm_workspace_params p = {.tokens = 64, .seq_max = 36, .use = PLMM_USE_FULL};
    size_t n = plmm_model_count(m);
    float *whole = calloc(n, sizeof *whole), *first = calloc(n, sizeof *first);
    plmm_workspace *w = tiny_workspace(&c, 64, 36, PLMM_USE_FULL);
    plmm_loss_sum s0 = {0}, s1 = {0};
    plmm_error err;
    CHECK(plmm_grad_full(w, m, &tb.b, 1, whole, &s0, &err) == PLMM_OK, "whole");
    plmm_shards *s = NULL;
    PLMM_ASSERT(plmm_shards_new(&c, &p, 4, &s, &err) == PLMM_OK);
    CHECK(plmm_shards_grad(s, NULL, m, &tb.b, 1, first, &s1, &err) == PLMM_OK, "shards");
    CHECK(largest_gap(whole, first, n) < 1e-4, "sum: %g", largest_gap(whole, first, n));
    for (uint32_t threads = 1; threads <= 3; threads++) {
        plmm_pool *pool = NULL;
        PLMM_ASSERT(plmm_pool_new(threads, &pool, &err) == PLMM_OK);
        float *again = calloc(n, sizeof *again);
        plmm_loss_sum s2 = {0}, s3 = {0};
        CHECK(plmm_shards_grad(s, pool, m, &tb.b, 1, again, &s2, &err) == PLMM_OK, "pool");
        CHECK(memcmp(first, again, n * sizeof *first) == 0 && s1.nll == s2.nll, "%u threads",
              threads);
        CHECK(plmm_shards_loss(s, pool, m, &tb.b, &s3, &err) == PLMM_OK && s3.nll == s1.nll,
              "loss");
        free(again);
        plmm_pool_free(pool);
    }
    tb.lens[0]++;
    CHECK(plmm_shards_grad(s, NULL, m, &tb.b, 1, first, &s1, &err) == PLMM_ERR_RANGE,
          "bad lengths");
    tb.lens[0]--;
    plmm_shards_free(s);
    plmm_workspace_free(w);
    plmm_model_free(m);
    free(whole);
    free(first);
}

static double loss_of(const plmm_model *m, const plmm_stack *stack)
{
    plmm_workspace *w = tiny_workspace(plmm_model_cfg(m), 64, 36, PLMM_USE_EVAL);
    plmm_loss_sum s = {0};
    plmm_error err;
    PLMM_ASSERT(plmm_loss(w, m, stack, &tb.b, &s, &err) == PLMM_OK);
    plmm_workspace_free(w);
    return s.nll;
}

/* A stack computes what its merged weights compute; zero B computes the base. */
static void test_merging(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 3);
    plmm_adapter *a = tiny_adapter(&c, PLMM_LORA_ALL, 3, 1);
    plmm_adapter *b = tiny_adapter(&c, PLMM_LORA_V | PLMM_LORA_UP, 5, 2);
    const plmm_adapter *two[] = {a, b}, *one[] = {b};
    plmm_stack stack = {two, 2}, single = {one, 1};
    plmm_error err;
    double base = loss_of(m, NULL), stacked = loss_of(m, &stack);
    CHECK(fabs(base - stacked) > 1, "the stack does something");
    CHECK(plmm_adapter_merge(a, m, &err) == PLMM_OK && plmm_model_seal(m, &err) == PLMM_OK,
          "merge");
    CHECK(fabs(loss_of(m, &single) - stacked) < 1e-5 * stacked, "one merged");
    CHECK(plmm_adapter_merge(b, m, &err) == PLMM_OK && plmm_model_seal(m, &err) == PLMM_OK,
          "merge");
    CHECK(fabs(loss_of(m, NULL) - stacked) < 1e-5 * stacked, "both merged");
    plmm_adapter_init(b, 1);
    CHECK(loss_of(m, &single) == loss_of(m, NULL), "zero B is the base to the bit");
    plmm_adapter_free(a);
    plmm_adapter_free(b);
    plmm_model_free(m);
}

/* hidden states times the head are the logits; logits give the loss. */
static void test_outputs(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 4);
    plmm_workspace *w = tiny_workspace(&c, 64, 36, PLMM_USE_EVAL);
    enum { N = 36 };
    float *h = calloc(N * 24, sizeof *h), *z = calloc(N * 50, sizeof *z);
    const int32_t *text = tb.tokens + TINY_TOKENS - N, *targets = tb.targets + TINY_TOKENS - N;
    uint32_t len = N;
    plmm_batch b = {text, targets, &len, N, 1};
    plmm_error err;
    plmm_loss_sum s = {0};
    CHECK(plmm_hidden(w, m, NULL, text, N, PLMM_HIDDEN_NORMED, h, &err) == PLMM_OK, "hidden");
    CHECK(plmm_logits(w, m, NULL, text, N, z, &err) == PLMM_OK, "logits");
    CHECK(plmm_loss(w, m, NULL, &b, &s, &err) == PLMM_OK, "loss");
    const float *head =
        plmm_model_weights(m) + plmm_model_find(m, "model.embed_tokens.weight")->offset;
    double nll = 0;
    for (size_t t = 0; t < N; t++) {
        double sum = 0;
        for (size_t v = 0; v < 50; v++) {
            double dot = 0;
            for (size_t j = 0; j < 24; j++) {
                dot += (double)h[t * 24 + j] * (double)head[v * 24 + j];
            }
            CHECK(fabs(dot - (double)z[t * 50 + v]) < 1e-4, "logit %zu of %zu", v, t);
            sum += exp((double)z[t * 50 + v]);
        }
        nll += targets[t] < 0 ? 0 : log(sum) - (double)z[t * 50 + (size_t)targets[t]];
    }
    CHECK(fabs(nll - s.nll) < 1e-4, "loss %g, from logits %g", s.nll, nll);
    free(h);
    free(z);
    plmm_workspace_free(w);
    plmm_model_free(m);
}

/* Dropout: seeds name masks; the mean gradient over masks is near the gradient without. */
static void test_dropout(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 5);
    plmm_lora_spec spec = {.targets = PLMM_LORA_ALL, .rank = 4, .alpha = 4, .dropout = 0.25f};
    plmm_adapter *a = NULL, *frozen = tiny_adapter(&c, PLMM_LORA_Q | PLMM_LORA_DOWN, 2, 9);
    plmm_error err;
    PLMM_ASSERT(plmm_adapter_new(&c, &spec, &a, &err) == PLMM_OK);
    plmm_adapter_init(a, 1);
    const plmm_adapter *two[] = {frozen, a};
    plmm_stack stack = {two, 2};
    size_t n = plmm_adapter_count(a);
    float *g1 = calloc(n, sizeof *g1), *g2 = calloc(n, sizeof *g2), *g3 = calloc(n, sizeof *g3);
    plmm_workspace *w = tiny_workspace(&c, 180, 36, PLMM_USE_LORA);
    plmm_workspace *small = tiny_workspace(&c, 36, 36, PLMM_USE_LORA);
    plmm_loss_sum s1 = {0}, s2 = {0}, s3 = {0};
    plmm_factor f = PLMM_FACTOR_AB;
    CHECK(plmm_grad_lora(w, m, &stack, f, &tb.b, 1, 7, g1, &s1, &err) == PLMM_OK, "mask 7");
    CHECK(plmm_grad_lora(small, m, &stack, f, &tb.b, 1, 7, g2, &s2, &err) == PLMM_OK, "again");
    CHECK(plmm_grad_lora(w, m, &stack, f, &tb.b, 1, 8, g3, &s3, &err) == PLMM_OK, "mask 8");
    CHECK(largest_gap(g1, g2, n) < 1e-4, "masks do not depend on chunks");
    CHECK(largest_gap(g1, g3, n) > 1e-2, "seeds differ");
    /* With B = 0, dB is linear in the mask: its mean over masks is dB without dropout. */
    memset(g1, 0, n * sizeof *g1);
    enum { MASKS = 100 };
    for (uint64_t i = 0; i < MASKS; i++) {
        CHECK(plmm_grad_lora(w, m, &stack, f, &tb.b, 1.0f / MASKS, i, g1, &s1, &err) == PLMM_OK,
              "mask");
    }
    plmm_adapter *plain = tiny_adapter(&c, PLMM_LORA_ALL, 4, 1);
    plmm_adapter_init(plain, 1);
    two[1] = plain;
    memset(g2, 0, n * sizeof *g2);
    CHECK(plmm_grad_lora(w, m, &stack, f, &tb.b, 1, 0, g2, &s2, &err) == PLMM_OK, "no mask");
    double norm = 0, gap = 0;
    for (size_t i = 0; i < n; i++) {
        norm += (double)g2[i] * (double)g2[i];
        gap += ((double)g1[i] - (double)g2[i]) * ((double)g1[i] - (double)g2[i]);
    }
    CHECK(sqrt(gap / norm) < 0.2, "mean over masks is off by %g", sqrt(gap / norm));
    plmm_workspace_free(w);
    plmm_workspace_free(small);
    plmm_adapter_free(a);
    plmm_adapter_free(plain);
    plmm_adapter_free(frozen);
    plmm_model_free(m);
    free(g1);
    free(g2);
    free(g3);
}

/* Loss under a mask, with the adapter moved by h along dir. */
static double moved_loss(plmm_workspace *w, const plmm_model *m, plmm_adapter *a,
                         const plmm_stack *stack, const float *at, const float *dir, double h,
                         float *scratch)
{
    plmm_loss_sum s = {0};
    plmm_error err;
    for (size_t i = 0; i < plmm_adapter_count(a); i++) {
        plmm_adapter_params(a)[i] = (float)((double)at[i] + h * (double)dir[i]);
    }
    PLMM_ASSERT(plmm_grad_lora(w, m, stack, PLMM_FACTOR_AB, &tb.b, 1, 3, scratch, &s, &err) ==
                PLMM_OK);
    return s.nll;
}

/* Under one mask the gradient is the slope of the loss, also through a frozen adapter below. */
static void test_dropout_slope(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 16);
    plmm_lora_spec spec = {.targets = PLMM_LORA_ALL, .rank = 4, .alpha = 4, .dropout = 0.25f};
    plmm_adapter *a = NULL, *frozen = tiny_adapter(&c, PLMM_LORA_ALL, 2, 9);
    plmm_error err;
    plmm_rng r;
    plmm_rng_init(&r, 1, 1);
    PLMM_ASSERT(plmm_adapter_new(&c, &spec, &a, &err) == PLMM_OK);
    size_t n = plmm_adapter_count(a);
    float *at = calloc(n, sizeof *at), *dir = calloc(n, sizeof *dir), *g = calloc(n, sizeof *g);
    float *scratch = calloc(n, sizeof *scratch);
    const plmm_adapter *two[] = {frozen, a};
    plmm_stack stack = {two, 2};
    plmm_workspace *w = tiny_workspace(&c, 64, 36, PLMM_USE_LORA);
    tiny_disturb(at, n, 0.2, &r);
    (void)moved_loss(w, m, a, &stack, at, dir, 0, g);
    const plmm_view *views = plmm_adapter_views(a, &(size_t){0});
    for (size_t v = 0; v < 28; v += 3) { /* along one tensor at a time, its own gradient */
        double slope = 0, h = 1e-3, norm = 0;
        memset(dir, 0, n * sizeof *dir);
        for (size_t i = 0; i < views[v].rows * views[v].cols; i++) {
            size_t k = views[v].offset + i;
            dir[k] = g[k];
            norm += (double)g[k] * (double)g[k];
        }
        h /= sqrt(norm);
        slope = (moved_loss(w, m, a, &stack, at, dir, h, scratch) -
                 moved_loss(w, m, a, &stack, at, dir, -h, scratch)) /
                (2 * h);
        CHECK(fabs(slope / norm - 1) < 0.02, "%s: slope %g, gradient %g", views[v].name, slope,
              norm);
    }
    free(at);
    free(dir);
    free(g);
    free(scratch);
    plmm_workspace_free(w);
    plmm_adapter_free(a);
    plmm_adapter_free(frozen);
    plmm_model_free(m);
}

/* Steps on one batch learn it by heart; the frozen factor and the base do not move. */
static void test_steps(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 6);
    plmm_adapter *a = tiny_adapter(&c, PLMM_LORA_ALL, 4, 1);
    plmm_adapter_init(a, 1);
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, 1};
    plmm_adamw_params ap = plmm_adamw_params_default();
    plmm_adamw *o = NULL;
    plmm_error err;
    size_t n = plmm_adapter_count(a), at = 0, rest = 0;
    PLMM_ASSERT(plmm_adamw_new(n, &ap, &o, &err) == PLMM_OK);
    float *g = calloc(n, sizeof *g), *before = calloc(n, sizeof *before);
    memcpy(before, plmm_adapter_weights(a), n * sizeof *before);
    plmm_workspace *w = tiny_workspace(&c, 180, 36, PLMM_USE_LORA);
    plmm_step_params p = {.lr = 0.02f, .clip = 1, .factors = PLMM_FACTOR_B};
    double first = 0, last = 0;
    long live = plmm_alloc_live();
    plmm_alloc_fail_at(0); /* a step allocates nothing */
    for (int i = 0; i < 120; i++) {
        CHECK(plmm_step_lora(w, m, &stack, a, o, &tb.b, &p, g, i == 0 ? &first : &last, &err) ==
                  PLMM_OK,
              "step %d: %s", i, err.msg);
    }
    plmm_alloc_fail_at(-1);
    CHECK(plmm_alloc_live() == live, "no block more");
    CHECK(last < 0.5 * first, "loss falls from %g to %g", first, last);
    plmm_adapter_range(a, PLMM_FACTOR_A, &at, &rest);
    CHECK(memcmp(before + at, plmm_adapter_weights(a) + at, rest * sizeof *before) == 0,
          "A is frozen");
    plmm_adamw_free(o);
    plmm_workspace_free(w);
    plmm_adapter_free(a);
    plmm_model_free(m);
    free(g);
    free(before);
}

static plmm_workspace *train_workspace(const plmm_model_config *c, bool recompute)
{
    plmm_workspace *w = NULL;
    plmm_workspace_params p = {
        .tokens = 64, .seq_max = 36, .rank = 12, .use = PLMM_USE_FULL, .recompute = recompute};
    PLMM_ASSERT(plmm_workspace_new(c, &p, &w, NULL) == PLMM_OK);
    return w;
}

/* Computing activations again changes no bit, with dropout, any targets, and for the base. */
static void test_recompute(uint32_t targets)
{
    plmm_model_config c = tiny_config();
    c.layers = 4;
    plmm_model *m = tiny_model(&c, 8);
    plmm_lora_spec spec = {.targets = targets, .rank = 4, .alpha = 4, .dropout = 0.25f};
    plmm_adapter *a = NULL;
    plmm_error err;
    plmm_rng r;
    plmm_rng_init(&r, 1, 1);
    PLMM_ASSERT(plmm_adapter_new(&c, &spec, &a, &err) == PLMM_OK);
    tiny_disturb(plmm_adapter_params(a), plmm_adapter_count(a), 0.2, &r);
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, 1};
    size_t n = plmm_model_count(m);
    float *g[4];
    for (int i = 0; i < 4; i++) {
        plmm_workspace *w = train_workspace(&c, i % 2 == 1);
        plmm_loss_sum s = {0};
        g[i] = calloc(n, sizeof **g);
        plmm_status rc =
            i < 2 ? plmm_grad_lora(w, m, &stack, PLMM_FACTOR_AB, &tb.b, 1, 5, g[i], &s, &err)
                  : plmm_grad_full(w, m, &tb.b, 1, g[i], &s, &err);
        CHECK(rc == PLMM_OK, "gradients: %s", err.msg);
        plmm_workspace_free(w);
    }
    CHECK(memcmp(g[0], g[1], n * sizeof **g) == 0, "targets %u: adapters", targets);
    CHECK(memcmp(g[2], g[3], n * sizeof **g) == 0, "the base");
    plmm_workspace_params p = {.tokens = 64, .seq_max = 36, .rank = 4, .use = PLMM_USE_LORA}, q = p;
    q.recompute = true;
    CHECK(plmm_workspace_bytes(&c, &q) < plmm_workspace_bytes(&c, &p) * 3 / 4, "it takes less");
    for (int i = 0; i < 4; i++) {
        free(g[i]);
    }
    plmm_adapter_free(a);
    plmm_model_free(m);
}

/* Forward passes alone learn the batch, repeatably and from an evaluation workspace; what is not
 * trained does not move. */
static void test_mezo(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 9);
    plmm_workspace *w = tiny_workspace(&c, 64, 36, PLMM_USE_EVAL);
    plmm_adapter *a[2];
    plmm_error err;
    double first = 0, last = 0;
    for (int k = 0; k < 2; k++) {
        a[k] = tiny_adapter(&c, PLMM_LORA_ALL, 4, 1);
        plmm_adapter_init(a[k], 1);
        const plmm_adapter *one[] = {a[k]};
        plmm_stack stack = {one, 1};
        plmm_alloc_fail_at(0); /* a step allocates nothing */
        for (uint64_t i = 0; i < 300; i++) {
            plmm_mezo_params p = {
                .lr = 2e-3f, .eps = 1e-3f, .factors = PLMM_FACTOR_B, .seed = i + 1};
            CHECK(plmm_step_mezo(w, m, &stack, a[k], &tb.b, &p, i == 0 ? &first : &last, &err) ==
                      PLMM_OK,
                  "step: %s", err.msg);
        }
        plmm_alloc_fail_at(-1);
    }
    size_t n = plmm_adapter_count(a[0]), at = 0, rest = 0;
    CHECK(memcmp(plmm_adapter_weights(a[0]), plmm_adapter_weights(a[1]), n * sizeof(float)) == 0,
          "repeats");
    CHECK(last < 0.97 * first, "loss falls from %g to %g", first, last);
    plmm_adapter_init(a[1], 1);
    plmm_adapter_range(a[0], PLMM_FACTOR_A, &at, &rest);
    CHECK(memcmp(plmm_adapter_weights(a[0]) + at, plmm_adapter_weights(a[1]) + at,
                 rest * sizeof(float)) == 0,
          "A is frozen");
    plmm_workspace_free(w);
    plmm_adapter_free(a[0]);
    plmm_adapter_free(a[1]);
    plmm_model_free(m);
}

/* The slope that MeZO moves along is the gradient's. */
static void test_mezo_slope(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 10);
    plmm_workspace *w = tiny_workspace(&c, 64, 36, PLMM_USE_LORA);
    plmm_adapter *a = tiny_adapter(&c, PLMM_LORA_ALL, 2, 1), *b = NULL;
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, 1};
    plmm_error err;
    size_t n = plmm_adapter_count(a);
    float *g = calloc(n, sizeof *g);
    plmm_loss_sum s = {0};
    plmm_mezo_params p = {.lr = 1, .eps = 1e-3f, .factors = PLMM_FACTOR_AB, .seed = 3};
    PLMM_ASSERT(plmm_adapter_clone(a, &b, &err) == PLMM_OK);
    float scale = 1.0f / (float)plmm_batch_targets(&tb.b);
    CHECK(plmm_grad_lora(w, m, &stack, PLMM_FACTOR_AB, &tb.b, scale, 0, g, &s, &err) == PLMM_OK,
          "gradient");
    CHECK(plmm_step_mezo(w, m, &stack, a, &tb.b, &p, NULL, &err) == PLMM_OK, "step");
    plmm_rng r;
    plmm_rng_init(&r, 3, 0);
    double slope = 0, moved = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double z = plmm_rng_normal(&r);
        slope += z * (double)g[i];
        moved += z * ((double)plmm_adapter_weights(b)[i] - (double)plmm_adapter_weights(a)[i]);
        norm += z * z;
    }
    CHECK(fabs(moved / norm / slope - 1) < 0.03, "moved %g, slope %g", moved / norm, slope);
    free(g);
    plmm_workspace_free(w);
    plmm_adapter_free(a);
    plmm_adapter_free(b);
    plmm_model_free(m);
}

static void test_full_steps(void)
{
    plmm_model_config c = tiny_config();
    c.tied = false;
    c.qkv_bias = true;
    plmm_model *m = tiny_model(&c, 7);
    plmm_adamw_params ap = plmm_adamw_params_default();
    plmm_workspace_params wp = {.tokens = 64, .seq_max = 36, .use = PLMM_USE_FULL};
    plmm_adamw *o = NULL;
    plmm_shards *s = NULL;
    plmm_error err;
    PLMM_ASSERT(plmm_adamw_new(plmm_model_count(m), &ap, &o, &err) == PLMM_OK);
    PLMM_ASSERT(plmm_shards_new(&c, &wp, 2, &s, &err) == PLMM_OK);
    float *g = calloc(plmm_model_count(m), sizeof *g);
    plmm_step_params p = {.lr = 0.01f, .clip = 1};
    double first = 0, last = 0;
    for (int i = 0; i < 60; i++) {
        CHECK(plmm_step_full(s, NULL, m, o, &tb.b, &p, g, i == 0 ? &first : &last, &err) == PLMM_OK,
              "step %d: %s", i, err.msg);
    }
    CHECK(last < 0.2 * first && plmm_model_sealed(m), "loss falls from %g to %g", first, last);
    plmm_adamw_free(o);
    plmm_shards_free(s);
    plmm_model_free(m);
    free(g);
}

static void test_schedule_and_clip(void)
{
    CHECK(plmm_schedule_lr(PLMM_SCHEDULE_COSINE, 2, 0.1f, 0, 10, 110) == 0.2f, "warm-up begins");
    CHECK(plmm_schedule_lr(PLMM_SCHEDULE_COSINE, 2, 0.1f, 9, 10, 110) == 2.0f, "and ends");
    CHECK(plmm_schedule_lr(PLMM_SCHEDULE_COSINE, 2, 0.1f, 10, 10, 110) == 2.0f, "peak");
    CHECK(fabsf(plmm_schedule_lr(PLMM_SCHEDULE_COSINE, 2, 0.1f, 109, 10, 110) - 0.2f) < 1e-6f,
          "floor");
    CHECK(fabsf(plmm_schedule_lr(PLMM_SCHEDULE_LINEAR, 1, 0, 50, 0, 101) - 0.5f) < 1e-6f,
          "half way");
    CHECK(plmm_schedule_lr(PLMM_SCHEDULE_LINEAR, 1, 0, 1000, 0, 101) == 0, "after the end");
    CHECK(plmm_schedule_lr(PLMM_SCHEDULE_CONSTANT, 1, 0, 100, 0, 101) == 1, "constant");
    CHECK(plmm_schedule_lr(PLMM_SCHEDULE_COSINE, 1, 0, 0, 0, 1) == 1, "a single step");
    float g[4] = {3, 0, 4, 0};
    CHECK(plmm_clip_norm(g, 4, 10) == 5 && g[0] == 3, "below the limit");
    CHECK(plmm_clip_norm(g, 4, 0) == 5 && g[0] == 3, "no limit");
    CHECK(plmm_clip_norm(g, 4, 2.5) == 5 && g[0] == 1.5f && g[2] == 2, "halved");
}

static plmm_status try_loss(plmm_workspace *w, const plmm_model *m, const plmm_stack *s,
                            const plmm_batch *b, plmm_error *err)
{
    plmm_loss_sum sum = {.nll = 5};
    plmm_status rc = plmm_loss(w, m, s, b, &sum, err);
    CHECK(rc == PLMM_OK || sum.nll == 5, "output is unchanged on failure");
    return rc;
}

static void test_refusals(void)
{
    plmm_model_config c = tiny_config(), other = c;
    other.hidden = 41;
    plmm_model *m = tiny_model(&c, 8), *wrong = tiny_model(&other, 8);
    plmm_adapter *a = tiny_adapter(&c, 1, 8, 1), *alien = tiny_adapter(&other, 1, 8, 1);
    const plmm_adapter *two[] = {a, a}, *foreign[] = {alien};
    plmm_stack deep = {two, 2}, strange = {foreign, 1};
    plmm_workspace *w = tiny_workspace(&c, 64, 36, PLMM_USE_EVAL);
    int32_t tokens[3] = {1, 2, 3}, targets[3] = {2, 3, -1};
    uint32_t len = 3;
    plmm_batch b = {tokens, targets, &len, 3, 1};
    plmm_error err;
    float z[4];
    plmm_loss_sum sum = {0};
    CHECK(try_loss(w, m, NULL, &b, &err) == PLMM_OK, "fine");
    CHECK(try_loss(w, wrong, NULL, &b, &err) == PLMM_ERR_CONFIG, "another shape");
    CHECK(try_loss(w, m, &strange, &b, &err) == PLMM_ERR_CONFIG, "another adapter");
    CHECK(try_loss(w, m, &deep, &b, &err) == PLMM_ERR_RANGE, "too many ranks: %s", err.msg);
    tokens[1] = 50;
    CHECK(try_loss(w, m, NULL, &b, &err) == PLMM_ERR_RANGE && strstr(err.msg, "50") != NULL,
          "token");
    tokens[1] = 2;
    targets[2] = -2;
    CHECK(try_loss(w, m, NULL, &b, &err) == PLMM_ERR_RANGE, "target");
    targets[2] = -1;
    len = 37;
    CHECK(try_loss(w, m, NULL, &b, &err) == PLMM_ERR_RANGE, "too long");
    len = 2;
    CHECK(try_loss(w, m, NULL, &b, &err) == PLMM_ERR_RANGE, "lengths do not sum");
    len = 3;
    CHECK(plmm_grad_lora(w, m, &deep, PLMM_FACTOR_B, &b, 1, 0, z, &sum, &err) == PLMM_ERR_STATE,
          "made for evaluation");
    CHECK(plmm_grad_full(w, m, &b, 1, z, &sum, &err) == PLMM_ERR_STATE, "made for evaluation");
    CHECK(plmm_hidden(w, m, NULL, tokens, 0, PLMM_HIDDEN_RAW, z, &err) == PLMM_ERR_RANGE,
          "no text");
    plmm_model_init_random(m, 1);
    CHECK(try_loss(w, m, NULL, &b, &err) == PLMM_ERR_STATE, "not sealed");
    plmm_workspace_params bad = {.tokens = 10, .seq_max = 11, .use = PLMM_USE_EVAL};
    plmm_workspace *none = NULL;
    CHECK(plmm_workspace_new(&c, &bad, &none, &err) == PLMM_ERR_RANGE, "tokens < seq_max");
    bad = (plmm_workspace_params){.tokens = 200, .seq_max = 97};
    CHECK(plmm_workspace_new(&c, &bad, &none, &err) == PLMM_ERR_RANGE, "seq_max > context");
    plmm_workspace_free(w);
    plmm_adapter_free(a);
    plmm_adapter_free(alien);
    plmm_model_free(m);
    plmm_model_free(wrong);
}

static void test_out_of_memory(void)
{
    plmm_model_config c = tiny_config();
    plmm_workspace_params p = {.tokens = 64, .seq_max = 36, .rank = 4, .use = PLMM_USE_LORA};
    plmm_adamw_params ap = plmm_adamw_params_default();
    long live = plmm_alloc_live();
    for (long k = 0;; k++) {
        plmm_workspace *w = NULL;
        plmm_shards *s = NULL;
        plmm_adamw *o = NULL;
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_workspace_new(&c, &p, &w, NULL);
        rc = rc != PLMM_OK ? rc : plmm_shards_new(&c, &p, 3, &s, NULL);
        rc = rc != PLMM_OK ? rc : plmm_adamw_new(100, &ap, &o, NULL);
        plmm_alloc_fail_at(-1);
        CHECK(rc == PLMM_OK || rc == PLMM_ERR_NOMEM, "call %ld gave %d", k, rc);
        plmm_workspace_free(w);
        plmm_shards_free(s);
        plmm_adamw_free(o);
        CHECK(plmm_alloc_live() == live, "call %ld leaks", k);
        if (rc == PLMM_OK) {
            break;
        }
    }
    size_t eval = 0, lora = plmm_workspace_bytes(&c, &p);
    p.use = PLMM_USE_EVAL;
    eval = plmm_workspace_bytes(&c, &p);
    CHECK(eval > 0 && eval < lora && lora < 10u << 20, "%zu and %zu bytes", eval, lora);
}

int main(void)
{
    tiny_fill_batch(&tb, 50, plmm_test_seed(1));
    test_arrangements();
    test_shards();
    test_merging();
    test_outputs();
    test_dropout();
    test_dropout_slope();
    test_steps();
    test_recompute(PLMM_LORA_ALL);
    test_recompute(PLMM_LORA_Q | PLMM_LORA_V);
    test_mezo();
    test_mezo_slope();
    test_full_steps();
    test_schedule_and_clip();
    test_refusals();
    test_out_of_memory();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
