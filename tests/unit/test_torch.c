/* nn: logits, losses, every gradient and AdamW against PyTorch, Transformers and PEFT
 * (tests/vectors/gen/torch_nn.py); the files are read by our own loaders. */
#include <math.h>

#include "kernels.h"
#include "plmm/checkpoint.h"
#include "plmm/peft.h"
#include "plmm/safetensors.h"
#include "plmm/train.h"
#include "test.h"

enum { SEQS = 2, LEN = 12, TOKENS = SEQS * LEN, VOCAB = 40, DIM = 16, STEPS = 5 };

typedef struct fixture {
    plmm_model *m;
    plmm_adapter *a;
    plmm_safetensors *want;
    plmm_workspace *w;
    int32_t tokens[TOKENS], targets[TOKENS];
    uint32_t lens[SEQS];
    plmm_batch b;
    size_t n; /* targets */
} fixture;

static float *read_tensor(const fixture *f, const char *name, size_t count)
{
    const plmm_st_tensor *t = plmm_safetensors_find(f->want, name);
    float *x = calloc(count, sizeof *x);
    plmm_error err;
    if (t == NULL || t->count != count || plmm_safetensors_read(t, x, &err) != PLMM_OK) {
        (void)fprintf(stderr, "fixture lacks %s\n", name);
        exit(EXIT_FAILURE);
    }
    return x;
}

/* Relative error in the Euclidean norm. */
static void check_close(const fixture *f, const char *prefix, const char *name, const float *x,
                        size_t n, double tol)
{
    char full[160];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    float *y = read_tensor(f, full, n);
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        diff += d * d;
        norm += (double)y[i] * (double)y[i];
    }
    CHECK(sqrt(diff) <= tol * sqrt(norm), "%s: relative error %g", full, sqrt(diff / norm));
    free(y);
}

static void check_views(const fixture *f, const char *prefix, const plmm_view *v, size_t n,
                        const float *x, double tol)
{
    for (size_t i = 0; i < n; i++) {
        check_close(f, prefix, v[i].name, x + v[i].offset, v[i].rows * v[i].cols, tol);
    }
}

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "%s\n", err->msg);
        exit(EXIT_FAILURE);
    }
}

static void open_fixture(fixture *f, const char *name)
{
    char dir[200], path[256];
    plmm_error err;
    (void)snprintf(dir, sizeof dir, "tests/vectors/%s", name);
    must(plmm_checkpoint_load(dir, &f->m, NULL, &err), &err);
    (void)snprintf(path, sizeof path, "%s/adapter", dir);
    must(plmm_peft_load(path, plmm_model_cfg(f->m), &f->a, &err), &err);
    (void)snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    must(plmm_safetensors_open(path, &f->want, &err), &err);
    plmm_workspace_params p = {.tokens = 32, .seq_max = 16, .rank = 4, .use = PLMM_USE_FULL};
    must(plmm_workspace_new(plmm_model_cfg(f->m), &p, &f->w, &err), &err);
    float *tokens = read_tensor(f, "tokens", TOKENS), *targets = read_tensor(f, "targets", TOKENS);
    for (size_t i = 0; i < TOKENS; i++) {
        f->tokens[i] = (int32_t)tokens[i];
        f->targets[i] = (int32_t)targets[i];
    }
    free(tokens);
    free(targets);
    f->lens[0] = f->lens[1] = LEN;
    f->b = (plmm_batch){f->tokens, f->targets, f->lens, TOKENS, SEQS};
    f->n = plmm_batch_targets(&f->b);
}

static void close_fixture(fixture *f)
{
    plmm_workspace_free(f->w);
    plmm_safetensors_close(f->want);
    plmm_adapter_free(f->a);
    plmm_model_free(f->m);
}

static void test_forward(const fixture *f, const plmm_stack *stack, const char *logits_name)
{
    float z[TOKENS * VOCAB], h[TOKENS * DIM];
    plmm_error err;
    for (size_t s = 0; s < SEQS; s++) {
        const int32_t *text = f->tokens + s * LEN;
        must(plmm_logits(f->w, f->m, stack, text, LEN, z + s * LEN * VOCAB, &err), &err);
        must(plmm_hidden(f->w, f->m, stack, text, LEN, PLMM_HIDDEN_NORMED, h + s * LEN * DIM, &err),
             &err);
    }
    check_close(f, "", logits_name, z, TOKENS * VOCAB, 1e-5);
    if (stack == NULL) {
        check_close(f, "", "hidden", h, TOKENS * DIM, 1e-5);
    }
}

static void test_base(fixture *f)
{
    size_t n = plmm_model_count(f->m), views = 0;
    const plmm_view *v = plmm_model_views(f->m, &views);
    float *g = calloc(n, sizeof *g), loss = 0;
    plmm_loss_sum sum = {0};
    plmm_error err;
    test_forward(f, NULL, "logits");
    must(plmm_grad_full(f->w, f->m, &f->b, 1.0f / (float)f->n, g, &sum, &err), &err);
    loss = (float)(sum.nll / (double)f->n);
    check_close(f, "", "loss", &loss, 1, 1e-6);
    check_views(f, "grad.", v, views, g, 1e-5);

    plmm_adamw *o = NULL;
    plmm_shards *s = NULL;
    plmm_adamw_params ap = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decay = 0.1f};
    plmm_workspace_params p = {.tokens = 16, .seq_max = 16, .use = PLMM_USE_FULL};
    plmm_step_params sp = {.lr = 1e-2f, .clip = 0.5f};
    must(plmm_adamw_new(n, &ap, &o, &err), &err);
    must(plmm_shards_new(plmm_model_cfg(f->m), &p, 2, &s, &err), &err);
    for (int i = 0; i < STEPS; i++) {
        must(plmm_step_full(s, NULL, f->m, o, &f->b, &sp, g, NULL, &err), &err);
    }
    check_views(f, "step.", v, views, plmm_model_weights(f->m), 2e-5);
    plmm_shards_free(s);
    plmm_adamw_free(o);
    free(g);
}

static void test_adapter(fixture *f)
{
    size_t n = plmm_adapter_count(f->a), views = 0;
    const plmm_view *v = plmm_adapter_views(f->a, &views);
    const plmm_adapter *one[] = {f->a};
    plmm_stack stack = {one, 1};
    float *g = calloc(n, sizeof *g), loss = 0;
    plmm_loss_sum sum = {0};
    plmm_error err;
    test_forward(f, &stack, "lora.logits");
    must(plmm_grad_lora(f->w, f->m, &stack, PLMM_FACTOR_AB, &f->b, 1.0f / (float)f->n, 0, g, &sum,
                        &err),
         &err);
    loss = (float)(sum.nll / (double)f->n);
    check_close(f, "", "lora.loss", &loss, 1, 1e-6);
    check_views(f, "lora.grad.", v, views, g, 1e-5);

    plmm_adamw *o = NULL;
    plmm_adamw_params ap = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decay = 0.1f};
    plmm_step_params sp = {.lr = 1e-2f, .clip = 0.5f, .factors = PLMM_FACTOR_AB};
    must(plmm_adamw_new(n, &ap, &o, &err), &err);
    for (int i = 0; i < STEPS; i++) {
        must(plmm_step_lora(f->w, f->m, &stack, f->a, o, &f->b, &sp, g, NULL, &err), &err);
    }
    check_views(f, "lora.step.", v, views, plmm_adapter_weights(f->a), 2e-5);
    plmm_adamw_free(o);
    free(g);
}

/* With every set of instructions that this processor has, and with the plain reference. */
int main(void)
{
    static const char *const names[] = {"llama_gqa", "qwen2_tied"};
    size_t tables = 0;
    const plmm__kernels *const *all = plmm__kernels_all(&tables);
    for (size_t k = 0; k < tables; k++) {
        plmm__kernels_use(all[k]);
        (void)fprintf(stderr, "%s\n", plmm_nn_isa());
        for (size_t i = 0; i < COUNT(names); i++) {
            fixture f = {0};
            open_fixture(&f, names[i]);
            test_adapter(&f);
            test_base(&f);
            close_fixture(&f);
        }
    }
    return plmm_test_end();
}
