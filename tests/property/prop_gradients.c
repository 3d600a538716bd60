/* Every gradient of the base and of adapters, against central differences of a naive model in
 * double. */
#include "plmm/rng.h"
#include "ref_model.h"
#include "test.h"

/* Shapes that differ in what can go wrong: GQA, biases, tied heads, widths that fill no vector. */
static const plmm_model_config shapes[] = {
    {.dim = 8,
     .layers = 2,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 2,
     .hidden = 10,
     .vocab = 11,
     .context = 40,
     .rope_theta = 10000,
     .norm_eps = 1e-5f,
     .tied = true,
     .bos = -1,
     .eos = -1,
     .pad = -1},
    {.dim = 6,
     .layers = 2,
     .heads = 2,
     .kv_heads = 1,
     .head_dim = 4,
     .hidden = 5,
     .vocab = 9,
     .context = 40,
     .rope_theta = 500,
     .norm_eps = 1e-6f,
     .tied = false,
     .qkv_bias = true,
     .bos = -1,
     .eos = -1,
     .pad = -1},
    {.dim = 20,
     .layers = 1,
     .heads = 2,
     .kv_heads = 2,
     .head_dim = 10,
     .hidden = 24,
     .vocab = 70,
     .context = 40,
     .rope_theta = 10000,
     .norm_eps = 1e-5f,
     .tied = true,
     .qkv_bias = true,
     .bos = -1,
     .eos = -1,
     .pad = -1},
};

enum { TOKENS = 43 };
static int32_t tokens[TOKENS], targets[TOKENS];
static const uint32_t lens[] = {1, 5, 35, 2};

static plmm_batch make_batch(const plmm_model_config *c, plmm_rng *r)
{
    for (size_t i = 0; i < TOKENS; i++) {
        tokens[i] = (int32_t)plmm_rng_below(r, c->vocab);
        targets[i] = plmm_rng_below(r, 4) == 0 ? -1 : (int32_t)plmm_rng_below(r, c->vocab);
    }
    return (plmm_batch){
        .tokens = tokens, .targets = targets, .lens = lens, .count = TOKENS, .seqs = 4};
}

/* Weights large enough that every gradient matters. */
static void fill(float *x, size_t n, double sd, plmm_rng *r)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += (float)(sd * plmm_rng_normal(r));
    }
}

static plmm_model *make_model(const plmm_model_config *c, plmm_rng *r)
{
    plmm_model *m = NULL;
    plmm_error err;
    PLMM_ASSERT(plmm_model_new(c, &m, &err) == PLMM_OK);
    plmm_model_init_random(m, 1);
    fill(plmm_model_params(m), plmm_model_count(m), 0.3, r);
    PLMM_ASSERT(plmm_model_seal(m, &err) == PLMM_OK);
    return m;
}

/* Relative error of one tensor's gradient in the Euclidean norm; x points to its coordinates in
 * ref. All coordinates of a small tensor, about SAMPLE evenly spread ones of a larger one. */
enum { SAMPLE = 30 / PLMM_TEST_SLOW };
static double tensor_error(const ref_model *ref, const plmm_batch *b, double *x, const float *grad,
                           size_t n, double scale)
{
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i += 1 + n / SAMPLE) {
        double want = scale * ref_slope(ref, b, x + i), e = (double)grad[i] - want;
        diff += e * e;
        norm += want * want;
    }
    return sqrt(diff / (norm + 1e-12));
}

static void check_views(const ref_model *ref, const plmm_batch *b, double *x, const float *grad,
                        const plmm_view *v, size_t n, double scale, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        double e =
            tensor_error(ref, b, x + v[i].offset, grad + v[i].offset, v[i].rows * v[i].cols, scale);
        CHECK(e < 1e-4, "%s %s: relative error %g", what, v[i].name, e);
    }
}

static void test_full(const plmm_model_config *c, uint64_t seed)
{
    plmm_rng r;
    plmm_rng_init(&r, seed, 1);
    plmm_batch b = make_batch(c, &r);
    plmm_model *m = make_model(c, &r);
    plmm_workspace *w = NULL;
    plmm_workspace_params p = {.tokens = 40, .seq_max = 35, .use = PLMM_USE_FULL};
    plmm_error err;
    PLMM_ASSERT(plmm_workspace_new(c, &p, &w, &err) == PLMM_OK);
    float *grad = calloc(plmm_model_count(m), sizeof *grad);
    plmm_loss_sum sum = {0};
    CHECK(plmm_grad_full(w, m, &b, 0.5f, grad, &sum, &err) == PLMM_OK, "%s", err.msg);
    ref_model ref;
    ref_make(&ref, m, NULL);
    double want = ref_loss(&ref, &b);
    CHECK(fabs(sum.nll - want) < 1e-5 * want, "loss %.9g, not %.9g", sum.nll, want);
    CHECK(sum.count == plmm_batch_targets(&b), "targets counted");
    size_t n = 0;
    const plmm_view *v = plmm_model_views(m, &n);
    check_views(&ref, &b, ref.w, grad, v, n, 0.5, "base");
    ref_free(&ref);
    free(grad);
    plmm_workspace_free(w);
    plmm_model_free(m);
}

static plmm_adapter *make_adapter(const plmm_model_config *c, uint32_t set, uint32_t rank,
                                  plmm_rng *r)
{
    plmm_adapter *a = NULL;
    plmm_error err;
    plmm_lora_spec spec = {.targets = set, .rank = rank, .alpha = 3};
    PLMM_ASSERT(plmm_adapter_new(c, &spec, &a, &err) == PLMM_OK);
    fill(plmm_adapter_params(a), plmm_adapter_count(a), 0.4, r);
    return a;
}

/* The last adapter's gradients, with frozen ones of other targets and ranks below it; the factor
 * that is not trained must stay untouched. */
static void test_lora(const plmm_model_config *c, uint32_t set, plmm_factor f, uint64_t seed)
{
    plmm_rng r;
    plmm_rng_init(&r, seed, set);
    plmm_batch b = make_batch(c, &r);
    plmm_model *m = make_model(c, &r);
    plmm_adapter *a[3] = {make_adapter(c, PLMM_LORA_ALL, 1, &r),
                          make_adapter(c, PLMM_LORA_K | PLMM_LORA_O | PLMM_LORA_UP, 2, &r),
                          make_adapter(c, set, 3, &r)};
    const plmm_adapter *view[3] = {a[0], a[1], a[2]};
    plmm_stack stack = {.adapters = view, .count = 3};
    plmm_workspace *w = NULL;
    plmm_workspace_params p = {.tokens = 41, .seq_max = 35, .rank = 6, .use = PLMM_USE_LORA};
    plmm_error err;
    PLMM_ASSERT(plmm_workspace_new(c, &p, &w, &err) == PLMM_OK);
    float *grad = calloc(plmm_adapter_count(a[2]), sizeof *grad);
    plmm_loss_sum sum = {0};
    CHECK(plmm_grad_lora(w, m, &stack, f, &b, 0.25f, 0, grad, &sum, &err) == PLMM_OK, "%s",
          err.msg);
    ref_model ref;
    ref_make(&ref, m, &stack);
    double want = ref_loss(&ref, &b);
    CHECK(fabs(sum.nll - want) < 1e-5 * want, "loss %.9g, not %.9g", sum.nll, want);
    size_t n = 0;
    const plmm_view *v = plmm_adapter_views(a[2], &n);
    for (size_t i = 0; i < n; i++) {
        bool is_a = i < n / 2, trained = (f & (is_a ? PLMM_FACTOR_A : PLMM_FACTOR_B)) != 0;
        check_views(&ref, &b, ref.a[2], grad, v + i, 1, trained ? 0.25 : 0.0, "adapter");
    }
    ref_free(&ref);
    free(grad);
    plmm_workspace_free(w);
    for (size_t i = 0; i < 3; i++) {
        plmm_adapter_free(a[i]);
    }
    plmm_model_free(m);
}

int main(void)
{
    uint64_t seed = plmm_test_seed(1);
    for (size_t i = 0; i < COUNT(shapes); i++) {
        test_full(&shapes[i], seed);
    }
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        test_lora(&shapes[0], 1u << t, PLMM_FACTOR_AB, seed);
    }
    test_lora(&shapes[1], PLMM_LORA_ALL, PLMM_FACTOR_AB, seed);
    test_lora(&shapes[1], PLMM_LORA_ATTENTION, PLMM_FACTOR_A, seed);
    test_lora(&shapes[1], PLMM_LORA_V | PLMM_LORA_DOWN, PLMM_FACTOR_B, seed);
    return plmm_test_end();
}
