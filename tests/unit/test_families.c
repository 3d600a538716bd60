/* nn: every family of models that is read, against Transformers and PEFT: logits, losses and every
 * gradient of an adapter (tests/vectors/gen/families.py). */
#include <math.h>
#include <unistd.h>

#include "plmm/alloc.h"
#include "plmm/checkpoint.h"
#include "plmm/file.h"
#include "plmm/peft.h"
#include "plmm/safetensors.h"
#include "plmm/train.h"
#include "test.h"

enum { LEN = 24, VOCAB = 48 };

typedef struct fixture {
    plmm_model *m;
    plmm_adapter *a;
    plmm_safetensors *want;
    plmm_workspace *w;
    int32_t tokens[LEN], targets[LEN];
} fixture;

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "%s\n", err->msg);
        exit(EXIT_FAILURE);
    }
}

static void read_tensor(const plmm_safetensors *s, const char *name, float *out, size_t count)
{
    const plmm_st_tensor *t = plmm_safetensors_find(s, name);
    plmm_error err = {.msg = "the fixture lacks a tensor"};
    must(t != NULL && t->count == count ? plmm_safetensors_read(t, out, &err) : PLMM_ERR_FORMAT,
         &err);
}

static double worst; /* relative error of the family */

/* Relative error in the Euclidean norm. */
static double distance(const float *x, const float *y, size_t n)
{
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        diff += d * d;
        norm += (double)y[i] * (double)y[i];
    }
    return sqrt(diff / norm);
}

static void check_close(const fixture *f, const char *prefix, const char *name, const float *x,
                        size_t n)
{
    char full[160];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    float *y = calloc(n, sizeof *y);
    read_tensor(f->want, full, y, n);
    double e = distance(x, y, n);
    worst = e > worst ? e : worst;
    CHECK(e < 2e-5, "%s: relative error %g", full, e);
    free(y);
}

static void open_fixture(fixture *f, const char *name)
{
    char dir[200], path[256];
    float ids[LEN];
    plmm_error err;
    (void)snprintf(dir, sizeof dir, "tests/vectors/families/%s", name);
    must(plmm_checkpoint_load(dir, &f->m, NULL, &err), &err);
    (void)snprintf(path, sizeof path, "%s/adapter", dir);
    must(plmm_peft_load(path, plmm_model_cfg(f->m), &f->a, &err), &err);
    (void)snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    must(plmm_safetensors_open(path, &f->want, &err), &err);
    plmm_workspace_params p = {.tokens = LEN, .seq_max = LEN, .rank = 2, .use = PLMM_USE_LORA};
    plmm_model_config other = *plmm_model_cfg(f->m); /* of one shape, with other angles */
    other.rope_theta = 7;
    other.rope_scaling = (plmm_rope_scaling){0};
    must(plmm_workspace_new(&other, &p, &f->w, &err), &err);
    read_tensor(f->want, "tokens", ids, LEN);
    for (size_t i = 0; i < LEN; i++) {
        f->tokens[i] = (int32_t)ids[i];
    }
    read_tensor(f->want, "targets", ids, LEN);
    for (size_t i = 0; i < LEN; i++) {
        f->targets[i] = (int32_t)ids[i];
    }
}

static void close_fixture(fixture *f)
{
    plmm_workspace_free(f->w);
    plmm_safetensors_close(f->want);
    plmm_adapter_free(f->a);
    plmm_model_free(f->m);
}

static plmm_batch batch_of(const fixture *f, const uint32_t *len)
{
    return (plmm_batch){f->tokens, f->targets, len, LEN, 1};
}

static void test_logits(const fixture *f)
{
    float z[LEN * VOCAB];
    plmm_error err;
    const plmm_adapter *one[] = {f->a};
    plmm_stack stack = {one, 1};
    must(plmm_logits(f->w, f->m, NULL, f->tokens, LEN, z, &err), &err);
    check_close(f, "", "logits", z, LEN * VOCAB);
    must(plmm_logits(f->w, f->m, &stack, f->tokens, LEN, z, &err), &err);
    check_close(f, "lora.", "logits", z, LEN * VOCAB);
}

static void test_gradients(const fixture *f)
{
    static const uint32_t len = LEN;
    const plmm_adapter *one[] = {f->a};
    plmm_stack stack = {one, 1};
    plmm_batch b = batch_of(f, &len);
    size_t n = plmm_adapter_count(f->a), views = 0, targets = plmm_batch_targets(&b);
    const plmm_view *v = plmm_adapter_views(f->a, &views);
    float *g = calloc(n, sizeof *g);
    plmm_loss_sum sum = {0};
    plmm_error err;
    must(plmm_loss(f->w, f->m, NULL, &b, &sum, &err), &err);
    float loss = (float)(sum.nll / (double)targets);
    check_close(f, "", "loss", &loss, 1);
    sum = (plmm_loss_sum){0};
    must(plmm_grad_lora(f->w, f->m, &stack, PLMM_FACTOR_AB, &b, 1.0f / (float)targets, 0, g, &sum,
                        &err),
         &err);
    loss = (float)(sum.nll / (double)targets);
    check_close(f, "lora.", "loss", &loss, 1);
    for (size_t i = 0; i < views; i++) {
        check_close(f, "lora.grad.", v[i].name, g + v[i].offset, v[i].rows * v[i].cols);
    }
    free(g);
}

/* What was read is written and read again: the same model to the bit. */
static void test_copy(const fixture *f)
{
    char dir[] = "/tmp/plmm-test-families-XXXXXX";
    plmm_model *again = NULL;
    plmm_error err;
    CHECK(mkdtemp(dir) != NULL, "%s", dir);
    must(plmm_checkpoint_save(dir, f->m, PLMM_F32, NULL, &err), &err);
    must(plmm_checkpoint_load(dir, &again, NULL, &err), &err);
    const plmm_model_config *c = plmm_model_cfg(f->m), *d = plmm_model_cfg(again);
    CHECK(memcmp(&c->rope_scaling, &d->rope_scaling, sizeof c->rope_scaling) == 0 &&
              c->rope_theta == d->rope_theta && c->norm_eps == d->norm_eps && c->tied == d->tied,
          "the copy has another shape");
    CHECK(memcmp(plmm_model_weights(f->m), plmm_model_weights(again),
                 plmm_model_count(f->m) * sizeof(float)) == 0,
          "the copy has other weights");
    plmm_model_free(again);
    must(plmm_path_remove(dir, &err), &err);
}

int main(void)
{
    static const char *const names[] = {"llama2",    "llama3", "smollm2",
                                        "tinyllama", "qwen2",  "mistral"};
    for (size_t i = 0; i < COUNT(names); i++) {
        fixture f = {0};
        worst = 0;
        open_fixture(&f, names[i]);
        test_logits(&f);
        test_gradients(&f);
        test_copy(&f);
        close_fixture(&f);
        (void)fprintf(stderr, "%s: largest relative error %.2g\n", names[i], worst);
    }
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
