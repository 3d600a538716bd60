/* nn: frozen bases. A frozen model computes exactly what a model of f32 weights does that are what
 * its numbers of fewer bits stand for; how far it is from the model it was made of is stated. */
#include <math.h>

#include "half.h"
#include "kernels.h"
#include "plmm/alloc.h"
#include "plmm/generate.h"
#include "plmm/identity.h"
#include "plmm/safetensors.h"
#include "quant.h"
#include "test.h"
#include "tiny_model.h"

static const plmm_base bases[] = {PLMM_BASE_BF16, PLMM_BASE_INT8, PLMM_BASE_INT4};
static const char *const names[] = {"bf16", "int8", "4-bit"};
static tiny_batch tb;

/* ---- blocks ---- */

/* A block as ggml lays it out, written by hand. */
static void test_layout(void)
{
    uint8_t q8[PLMM__Q8_BYTES] = {0x00, 0x38}, q4[PLMM__Q4_BYTES] = {0x00, 0xc0}; /* 0.5, -2 */
    float x[32];
    q8[2] = 127;
    q8[3] = 0x80;
    q8[33] = 0xff;
    plmm__dequantize_row(PLMM__Q8_0, q8, 32, x);
    CHECK(x[0] == 63.5f && x[1] == -64.0f && x[2] == 0 && x[31] == -0.5f, "int8 block");
    q4[2] = 0x0f; /* x_0 = 15 - 8, x_16 = 0 - 8 */
    q4[17] = 0x98;
    plmm__dequantize_row(PLMM__Q4_0, q4, 32, x);
    CHECK(x[0] == -14.0f && x[16] == 16.0f && x[15] == 0 && x[31] == -2.0f && x[1] == 16.0f,
          "4-bit block");
    CHECK(plmm__quant_row_bytes(PLMM__Q8_0, 33) == 68 &&
              plmm__quant_row_bytes(PLMM__Q4_0, 32) == 18,
          "row octets");
}

/* Rounded to half a step (4-bit: a whole one at the far end, whose code 16 does not exist). */
static void test_rounding(plmm__quant kind, size_t n)
{
    double half = kind == PLMM__Q8_0 ? 0.57 : 0.51; /* the scale is rounded too, to 11 bits */
    plmm_rng r;
    float x[100] = {0}, y[100];
    uint8_t row[4 * PLMM__Q8_BYTES];
    plmm_rng_init(&r, n, kind);
    tiny_disturb(x, n, 1, &r);
    x[n - 1] = 0;
    plmm__quantize_row(kind, x, n, row);
    plmm__dequantize_row(kind, row, n, y);
    for (size_t b = 0; b < n; b += 32) {
        double top = 0, sign = 0;
        for (size_t i = b; i < n && i < b + 32; i++) {
            sign = fabs((double)x[i]) > top ? (double)x[i] : sign;
            top = fmax(top, fabs((double)x[i]));
        }
        double step = top / (kind == PLMM__Q8_0 ? 127 : 8) * 1.001;
        for (size_t i = b; i < n && i < b + 32; i++) {
            bool end =
                kind == PLMM__Q4_0 && (double)x[i] * sign < 0 && fabs((double)x[i]) > 7.4 / 8 * top;
            double gap = fabs((double)x[i] - (double)y[i]);
            CHECK(gap <= (end ? step : half * step), "%d, %zu: [%zu] %g became %g", (int)kind, n, i,
                  (double)x[i], (double)y[i]);
        }
    }
}

/* ---- models ---- */

/* m's weights as the base rounds them: vectors stay, matrices row by row. */
static void round_weights(plmm_model *m, plmm_base base)
{
    size_t n = 0;
    const plmm_view *v = plmm_model_views(m, &n);
    uint8_t row[PLMM__Q8_BYTES * 64];
    for (size_t i = 0; i < n; i++) {
        float *x = plmm_model_params(m) + v[i].offset;
        for (size_t r = 0; v[i].rows > 1 && r < v[i].rows; r++, x += v[i].cols) {
            if (base == PLMM_BASE_BF16) {
                for (size_t k = 0; k < v[i].cols; k++) {
                    x[k] = plmm_bf16_to_f32(plmm_f32_to_bf16(x[k]));
                }
                continue;
            }
            plmm__quant kind = base == PLMM_BASE_INT8 ? PLMM__Q8_0 : PLMM__Q4_0;
            plmm__quantize_row(kind, x, v[i].cols, row);
            plmm__dequantize_row(kind, row, v[i].cols, x);
        }
    }
}

typedef struct result {
    plmm_loss_sum sum;
    float *grads;
    size_t n;
} result;

static result compute(const plmm_model *m)
{
    const plmm_model_config *c = plmm_model_cfg(m);
    plmm_adapter *a = tiny_adapter(c, PLMM_LORA_ALL, 4, 1);
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, 1};
    plmm_workspace *w = tiny_workspace(c, 180, 36, PLMM_USE_LORA);
    plmm_error err;
    result r = {.n = plmm_adapter_count(a)};
    r.grads = calloc(r.n, sizeof *r.grads);
    CHECK(plmm_grad_lora(w, m, &stack, PLMM_FACTOR_AB, &tb.b, 1, 0, r.grads, &r.sum, &err) ==
              PLMM_OK,
          "gradients: %s", err.msg);
    plmm_workspace_free(w);
    plmm_adapter_free(a);
    return r;
}

static double relative_gap(const float *x, const float *y, size_t n)
{
    double gap = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        gap += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        norm += (double)y[i] * (double)y[i];
    }
    return sqrt(gap / norm);
}

static plmm_model *make(const plmm_model_config *c)
{
    plmm_model *m = tiny_model(c, 11);
    PLMM_ASSERT(plmm_model_seal(m, NULL) == PLMM_OK);
    return m;
}

static void test_base(const plmm_model_config *c, size_t i)
{
    /* of random weights of sd 0.15, whose gradients are the more sensitive the wider */
    static const double loss_gap[] = {0.004, 0.005, 0.08}, grad_gap[] = {0.03, 0.08, 1.0};
    plmm_model *m = make(c), *rounded = make(c), *frozen = make(c);
    round_weights(rounded, bases[i]);
    CHECK(plmm_model_seal(rounded, NULL) == PLMM_OK, "seal");
    CHECK(plmm_model_freeze(frozen, bases[i], NULL) == PLMM_OK, "freeze");
    CHECK(plmm_model_base(frozen) == bases[i] && plmm_model_params(frozen) == NULL &&
              plmm_model_sealed(frozen) && plmm_model_seal(frozen, NULL) == PLMM_OK,
          "frozen");
    result r0 = compute(m), r1 = compute(rounded), r2 = compute(frozen);
    CHECK(r1.sum.nll == r2.sum.nll && memcmp(r1.grads, r2.grads, r1.n * sizeof *r1.grads) == 0,
          "%s, %s: frozen is rounded to the bit: %g and %g", plmm_nn_isa(), names[i], r1.sum.nll,
          r2.sum.nll);
    double loss = fabs(r2.sum.nll / r0.sum.nll - 1), grad = relative_gap(r2.grads, r0.grads, r0.n);
    CHECK(loss < loss_gap[i] && loss > 0, "%s: loss off by %g", names[i], loss);
    CHECK(grad < grad_gap[i] && grad > 0, "%s: gradient off by %g", names[i], grad);
    free(r0.grads);
    free(r1.grads);
    free(r2.grads);
    plmm_model_free(m);
    plmm_model_free(rounded);
    plmm_model_free(frozen);
}

/* Products of half width: near those of f32 with the same weights, and each sequence by itself. */
static void test_half(const plmm_model_config *c, const plmm__half *h)
{
    plmm_model *rounded = make(c), *frozen = make(c);
    plmm_loss_sum seqs[TINY_SEQS] = {0}, one[TINY_SEQS] = {0};
    plmm_error err;
    round_weights(rounded, PLMM_BASE_BF16);
    plmm__half_use(true, h);
    CHECK(plmm_model_seal(rounded, NULL) == PLMM_OK, "seal");
    CHECK(plmm_model_freeze(frozen, PLMM_BASE_BF16, NULL) == PLMM_OK, "freeze");
    result r1 = compute(rounded), r2 = compute(frozen);
    double loss = fabs(r2.sum.nll / r1.sum.nll - 1), grad = relative_gap(r2.grads, r1.grads, r1.n);
    CHECK(loss < 1e-3 && loss > 0, "%s: loss off by %g", h->name, loss);
    CHECK(grad < 2e-2 && grad > 0, "%s: gradient off by %g", h->name, grad);
    plmm_workspace *large = tiny_workspace(c, 180, 36, PLMM_USE_EVAL);
    plmm_workspace *small = tiny_workspace(c, 36, 36, PLMM_USE_EVAL);
    CHECK(plmm_score(large, frozen, NULL, &tb.b, seqs, &err) == PLMM_OK &&
              plmm_score(small, frozen, NULL, &tb.b, one, &err) == PLMM_OK,
          "scores");
    CHECK(memcmp(seqs, one, sizeof one) == 0, "%s: chunks change nothing", h->name);
    plmm__half_use(false, NULL);
    plmm_workspace_free(large);
    plmm_workspace_free(small);
    free(r1.grads);
    free(r2.grads);
    plmm_model_free(rounded);
    plmm_model_free(frozen);
}

static plmm_status give(void *ctx, const plmm_view *v, size_t i, float *out, plmm_error *err)
{
    const plmm_model *m = ctx;
    size_t n;
    const plmm_view *views = plmm_model_views(m, &n);
    (void)err;
    CHECK(i < n && strcmp(views[i].name, v->name) == 0, "view %zu is %s", i, v->name);
    memcpy(out, plmm_model_weights(m) + views[i].offset, v->rows * v->cols * sizeof *out);
    return PLMM_OK;
}

static plmm_status give_infinity(void *ctx, const plmm_view *v, size_t i, float *out,
                                 plmm_error *err)
{
    PLMM_TRY(give(ctx, v, i, out, err));
    out[v->rows * v->cols - 1] = i == 7 ? INFINITY : 0;
    return PLMM_OK;
}

static plmm_status give_up(void *ctx, const plmm_view *v, size_t i, float *out, plmm_error *err)
{
    return i == 9 ? plmm_fail(err, PLMM_ERR_IO, "no more") : give(ctx, v, i, out, err);
}

/* Frozen view by view: to the bit what freezing a whole model gives. */
static void test_streamed(const plmm_model_config *c)
{
    static const plmm_base all[] = {PLMM_BASE_F32, PLMM_BASE_BF16, PLMM_BASE_INT8, PLMM_BASE_INT4};
    for (size_t i = 0; i < COUNT(all); i++) {
        plmm_model *m = make(c), *whole = make(c), *streamed = NULL;
        plmm_error err = {0};
        CHECK(plmm_model_freeze(whole, all[i], &err) == PLMM_OK, "%s", err.msg);
        CHECK(plmm_model_new_frozen(c, all[i], give, m, &streamed, &err) == PLMM_OK, "%s", err.msg);
        CHECK(plmm_model_base(streamed) == all[i] && plmm_model_sealed(streamed), "frozen");
        result r0 = compute(whole), r1 = compute(streamed);
        CHECK(r0.sum.nll == r1.sum.nll && memcmp(r0.grads, r1.grads, r0.n * sizeof *r0.grads) == 0,
              "base %zu: %g and %g", i, r0.sum.nll, r1.sum.nll);
        free(r0.grads);
        free(r1.grads);
        plmm_model_free(whole);
        plmm_model_free(streamed);
        streamed = NULL;
        CHECK(plmm_model_new_frozen(c, all[i], give_up, m, &streamed, &err) == PLMM_ERR_IO &&
                  streamed == NULL,
              "%s", err.msg);
        CHECK(plmm_model_new_frozen(c, all[i], give_infinity, m, &streamed, &err) ==
                      PLMM_ERR_RANGE &&
                  streamed == NULL && strstr(err.msg, "not finite") != NULL,
              "%s", err.msg);
        plmm_model_free(m);
    }
}

static void test_refusals(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 1);
    plmm_adapter *a = tiny_adapter(&c, PLMM_LORA_Q, 2, 1);
    plmm_workspace *w = tiny_workspace(&c, 64, 36, PLMM_USE_FULL);
    plmm_loss_sum sum = {0};
    plmm_error err;
    float g = 0;
    CHECK(plmm_model_freeze(m, PLMM_BASE_F32, &err) == PLMM_OK && plmm_model_params(m) != NULL,
          "f32 seals");
    CHECK(plmm_model_freeze(m, PLMM_BASE_INT8, &err) == PLMM_OK, "once");
    CHECK(plmm_model_freeze(m, PLMM_BASE_INT8, &err) == PLMM_ERR_STATE, "twice");
    CHECK(plmm_adapter_merge(a, m, &err) == PLMM_ERR_STATE, "merge");
    CHECK(plmm_grad_full(w, m, &tb.b, 1, &g, &sum, &err) == PLMM_ERR_STATE, "full gradients");
    plmm_workspace_free(w);
    plmm_adapter_free(a);
    plmm_model_free(m);
}

/* Every allocation of freezing fails once: the model is as it was. */
static void test_out_of_memory(void)
{
    plmm_model_config c = tiny_config();
    for (long k = 0;; k++) {
        plmm_model *m = NULL;
        PLMM_ASSERT(plmm_model_new(&c, &m, NULL) == PLMM_OK);
        plmm_model_init_random(m, 1);
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_model_freeze(m, PLMM_BASE_INT4, NULL);
        plmm_alloc_fail_at(-1);
        CHECK(rc == PLMM_OK || (rc == PLMM_ERR_NOMEM && plmm_model_params(m) != NULL &&
                                plmm_model_base(m) == PLMM_BASE_F32),
              "call %ld gave %d", k, rc);
        plmm_model_free(m);
        if (rc == PLMM_OK) {
            break;
        }
    }
}

int main(void)
{
    size_t tables = 0;
    const plmm__kernels *const *all = plmm__kernels_all(&tables);
    plmm_model_config c = tiny_config(), wide = tiny_config();
    wide.dim = 96; /* more than a panel, more than a block */
    wide.hidden = 300;
    wide.vocab = 131;
    wide.tied = false;
    wide.qkv_bias = true;
    tiny_fill_batch(&tb, c.vocab, 1);
    test_layout();
    for (size_t n = 1; n <= 100; n++) {
        test_rounding(PLMM__Q8_0, n);
        test_rounding(PLMM__Q4_0, n);
    }
    plmm__half_use(true, NULL); /* f32 products, which are exact in the weights */
    for (size_t k = 0; k < tables; k++) {
        plmm__kernels_use(all[k]);
        for (size_t i = 0; i < COUNT(bases); i++) {
            test_base(&c, i);
            test_base(&wide, i);
        }
    }
    plmm__kernels_use(NULL);
    plmm__half_use(false, NULL);
    size_t halves = 0;
    const plmm__half *const *kinds = plmm__half_all(&halves);
    wide.dim = 192; /* from where on they are used */
    wide.hidden = 500;
    wide.vocab = 300;
    for (size_t k = 0; k < halves; k++) {
        test_half(&wide, kinds[k]);
    }
    test_streamed(&c);
    test_streamed(&wide);
    test_refusals();
    test_out_of_memory();
    return plmm_test_end();
}
