/* nn: learning from a teacher: the gradient is that of the loss the header states, whatever the
 * shards; what does not fit is refused; a student comes to predict what its teacher predicts. */
#include <math.h>

#include "plmm/alloc.h"
#include "plmm/train.h"
#include "test.h"
#include "tiny_model.h"

static tiny_batch tb;

static void logits_of(const plmm_model *m, const int32_t *tokens, size_t n, float *out)
{
    plmm_workspace *w = tiny_workspace(plmm_model_cfg(m), 64, 36, PLMM_USE_EVAL);
    plmm_error err;
    PLMM_ASSERT(plmm_logits(w, m, NULL, tokens, n, out, &err) == PLMM_OK);
    plmm_workspace_free(w);
}

static void states_of(const plmm_model *m, const int32_t *tokens, size_t n, float *out)
{
    plmm_workspace *w = tiny_workspace(plmm_model_cfg(m), 64, 36, PLMM_USE_EVAL);
    plmm_error err;
    PLMM_ASSERT(plmm_hidden(w, m, NULL, tokens, n, PLMM_HIDDEN_NORMED, out, &err) == PLMM_OK);
    plmm_workspace_free(w);
}

static void log_softmax(double *out, const float *x, size_t n, double temperature)
{
    double top = (double)x[0], sum = 0;
    for (size_t i = 0; i < n; i++) {
        top = fmax(top, (double)x[i]);
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp(((double)x[i] - top) / temperature);
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = ((double)x[i] - top) / temperature - log(sum);
    }
}

/* The loss of train.h, from logits and states in double. */
static double objective(const plmm_model *student, const plmm_teaching *t)
{
    enum { VOCAB = 50, LONGEST = 36, WIDTH = 24 };
    static float zs[LONGEST * VOCAB], zt[LONGEST * VOCAB], hs[LONGEST * WIDTH], ht[LONGEST * WIDTH];
    double total = 0, ps[VOCAB], pt[VOCAB], one[VOCAB], T = (double)t->temperature;
    size_t at = 0;
    for (size_t s = 0; s < TINY_SEQS; at += tb.lens[s++]) {
        logits_of(student, tb.tokens + at, tb.lens[s], zs);
        logits_of(t->teacher, tb.tokens + at, tb.lens[s], zt);
        states_of(student, tb.tokens + at, tb.lens[s], hs);
        states_of(t->teacher, tb.tokens + at, tb.lens[s], ht);
        for (size_t i = 0; i < tb.lens[s]; i++) {
            if (tb.targets[at + i] < 0) {
                continue;
            }
            double kl = 0, far = 0;
            log_softmax(one, zs + i * VOCAB, VOCAB, 1);
            log_softmax(ps, zs + i * VOCAB, VOCAB, T);
            log_softmax(pt, zt + i * VOCAB, VOCAB, T);
            for (size_t v = 0; v < VOCAB; v++) {
                kl += exp(pt[v]) * (pt[v] - ps[v]);
            }
            for (size_t j = 0; j < WIDTH; j++) {
                double d = (double)ht[i * WIDTH + j] - (double)hs[i * WIDTH + j];
                far += d * d / WIDTH;
            }
            total += (1 - (double)t->weight) * -one[tb.targets[at + i]] +
                     (double)t->weight * T * T * kl + (double)t->hidden * far;
        }
    }
    return total;
}

static plmm_shards *shards_of(const plmm_model_config *c, size_t count)
{
    plmm_workspace_params p = {.tokens = 64, .seq_max = 36, .use = PLMM_USE_FULL};
    plmm_shards *s = NULL;
    plmm_error err;
    PLMM_ASSERT(plmm_shards_new(c, &p, count, &s, &err) == PLMM_OK);
    return s;
}

/* Against central differences at some weights of every tensor. */
static void test_gradient(float weight, float temperature, float hidden)
{
    plmm_model_config c = tiny_config(), d = c;
    d.layers = 3;
    plmm_model *student = tiny_model(&c, 4), *teacher = tiny_model(&d, 5);
    plmm_teaching t = {teacher, weight, temperature, hidden};
    plmm_shards *s = shards_of(&c, 3);
    size_t n = plmm_model_count(student), views;
    const plmm_view *v = plmm_model_views(student, &views);
    float *grads = calloc(n, sizeof *grads), *p = plmm_model_params(student);
    plmm_loss_sum sum = {0};
    plmm_error err = {0};
    CHECK(plmm_shards_teach(s, &t, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_shards_grad(s, NULL, student, &tb.b, 1, grads, &sum, &err) == PLMM_OK, "%s",
          err.msg);
    double worst = 0, size = 0;
    for (size_t i = 0; i < views; i++) {
        for (size_t k = 0; k < 2; k++) {
            const float h = 4e-3f;
            size_t at = v[i].offset + (k * 2654435761u + i * 97) % (v[i].rows * v[i].cols);
            float was = p[at], up = was + h, down = was - h;
            p[at] = up;
            PLMM_ASSERT(plmm_model_seal(student, &err) == PLMM_OK);
            double hi = objective(student, &t);
            p[at] = down;
            PLMM_ASSERT(plmm_model_seal(student, &err) == PLMM_OK);
            double lo = objective(student, &t);
            p[at] = was;
            worst = fmax(worst, fabs((hi - lo) / ((double)up - (double)down) - (double)grads[at]));
            size = fmax(size, fabs((double)grads[at]));
        }
    }
    CHECK(worst < 2e-3 * size && size > 1, "weight %g, T %g, hidden %g: off by %g of %g",
          (double)weight, (double)temperature, (double)hidden, worst, size);
    plmm_shards_free(s);
    plmm_model_free(student);
    plmm_model_free(teacher);
    free(grads);
}

/* The sums are the student's own; NULL takes the teacher away. */
static void test_untaught(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *student = tiny_model(&c, 4), *teacher = tiny_model(&c, 5);
    plmm_teaching t = {teacher, 1, 2, 0};
    plmm_shards *s = shards_of(&c, 2);
    size_t n = plmm_model_count(student);
    float *g[3];
    plmm_loss_sum sum[3] = {{0}};
    plmm_error err = {0};
    for (size_t i = 0; i < 3; i++) {
        g[i] = calloc(n, sizeof *g[i]);
        CHECK(plmm_shards_teach(s, i == 1 ? &t : NULL, &err) == PLMM_OK &&
                  plmm_shards_grad(s, NULL, student, &tb.b, 1, g[i], &sum[i], &err) == PLMM_OK,
              "%s", err.msg);
    }
    CHECK(sum[0].nll == sum[1].nll && sum[0].hits == sum[1].hits, "sums are the student's");
    CHECK(memcmp(g[0], g[2], n * sizeof *g[0]) == 0 && memcmp(g[0], g[1], n * sizeof *g[0]) != 0,
          "gradients are the teacher's while there is one");
    for (size_t i = 0; i < 3; i++) {
        free(g[i]);
    }
    plmm_shards_free(s);
    plmm_model_free(student);
    plmm_model_free(teacher);
}

static void test_refusals(void)
{
    plmm_model_config c = tiny_config(), words = c, shorter = c, wide = c;
    words.vocab = 51;
    shorter.context = 48;
    wide.dim = 32;
    wide.head_dim = 8;
    plmm_model *m[] = {tiny_model(&c, 1), tiny_model(&words, 1), tiny_model(&shorter, 1),
                       tiny_model(&wide, 1)};
    plmm_shards *s = shards_of(&c, 1);
    plmm_error err;
    const struct {
        plmm_teaching t;
        plmm_status rc;
    } rows[] = {
        {{m[1], 0.5f, 2, 0}, PLMM_ERR_CONFIG},    {{m[2], 0.5f, 2, 0}, PLMM_ERR_CONFIG},
        {{m[3], 0.5f, 2, 0.1f}, PLMM_ERR_CONFIG}, {{m[3], 0.5f, 2, 0}, PLMM_OK},
        {{m[0], 1.5f, 2, 0}, PLMM_ERR_RANGE},     {{m[0], NAN, 2, 0}, PLMM_ERR_RANGE},
        {{m[0], 0.5f, 0, 0}, PLMM_ERR_RANGE},     {{m[0], 0.5f, 2, -1}, PLMM_ERR_RANGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK(plmm_shards_teach(s, &rows[i].t, &err) == rows[i].rc, "row %zu", i);
    }
    plmm_shards_free(s);
    for (size_t i = 0; i < 4; i++) {
        plmm_model_free(m[i]);
    }
}

/* With the teacher's distributions alone (no label counts), a student learns its teacher. */
static void test_learns(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *student = tiny_model(&c, 8), *teacher = tiny_model(&c, 9);
    plmm_teaching t = {teacher, 1, 1, 0}, nothing = {teacher, 1, 1, 0};
    plmm_shards *s = shards_of(&c, 2);
    plmm_adamw_params ap = plmm_adamw_params_default();
    plmm_adamw *o = NULL;
    float *grads = calloc(plmm_model_count(student), sizeof *grads);
    plmm_error err = {0};
    double before = objective(student, &nothing);
    PLMM_ASSERT(plmm_adamw_new(plmm_model_count(student), &ap, &o, &err) == PLMM_OK);
    CHECK(plmm_shards_teach(s, &t, &err) == PLMM_OK, "%s", err.msg);
    for (uint32_t i = 0; i < 150; i++) {
        plmm_step_params p = {.lr = 5e-3f};
        CHECK(plmm_step_full(s, NULL, student, o, &tb.b, &p, grads, NULL, &err) == PLMM_OK, "%s",
              err.msg);
    }
    double after = objective(student, &nothing);
    CHECK(after < 0.2 * before, "from %g to %g", before, after);
    plmm_adamw_free(o);
    plmm_shards_free(s);
    plmm_model_free(student);
    plmm_model_free(teacher);
    free(grads);
}

int main(void)
{
    tiny_fill_batch(&tb, 50, 3);
    test_gradient(0, 2, 0);
    test_gradient(1, 1, 0);
    test_gradient(0.5f, 2, 0);
    test_gradient(0.7f, 3, 5);
    test_untaught();
    test_refusals();
    test_learns();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
