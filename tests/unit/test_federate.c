/* nn: the algebra of what is summed. The aggregates that need every device's own product (FedEx,
 * FLoRA, FlexLoRA) are computed here in the clear as oracles. */
#include <math.h>

#include "plmm/alloc.h"
#include "plmm/federate.h"
#include "plmm/rng.h"
#include "test.h"

static const plmm_model_config cfg = {.dim = 12,
                                      .layers = 2,
                                      .heads = 3,
                                      .kv_heads = 1,
                                      .head_dim = 4,
                                      .hidden = 9,
                                      .vocab = 7,
                                      .context = 8,
                                      .rope_theta = 10000,
                                      .norm_eps = 1e-5f,
                                      .tied = true,
                                      .bos = -1,
                                      .eos = -1,
                                      .pad = -1};
static const plmm_lora_spec spec = {
    .targets = PLMM_LORA_Q | PLMM_LORA_K | PLMM_LORA_DOWN, .rank = 3, .alpha = 6};
enum { DEVICES = 5, DENSE = 12 * 12 };
static plmm_rng rng;

static plmm_adapter *make(void)
{
    plmm_adapter *a = NULL;
    plmm_error err;
    PLMM_ASSERT(plmm_adapter_new(&cfg, &spec, &a, &err) == PLMM_OK);
    plmm_adapter_init(a, 3);
    return a;
}

static plmm_adapter *copy(const plmm_adapter *a)
{
    plmm_adapter *c = NULL;
    plmm_error err;
    PLMM_ASSERT(plmm_adapter_clone(a, &c, &err) == PLMM_OK);
    return c;
}

static void disturb(plmm_adapter *a, plmm_factor f, double sd)
{
    size_t at = 0, n = 0;
    plmm_adapter_range(a, f, &at, &n);
    for (size_t i = at; i < at + n; i++) {
        plmm_adapter_params(a)[i] += (float)(sd * plmm_rng_normal(&rng));
    }
}

/* out[out][in] += k * B A of one matrix. */
static void add_product(double *dense, const plmm_adapter *x, const plmm_adapter *y, uint32_t l,
                        unsigned t, double k)
{
    size_t out = 0, in = 0, r = spec.rank;
    plmm_target_shape(&cfg, t, &out, &in);
    const float *b = plmm_adapter_weights(x) + plmm_adapter_offset(x, l, t, PLMM_FACTOR_B);
    const float *a = plmm_adapter_weights(y) + plmm_adapter_offset(y, l, t, PLMM_FACTOR_A);
    for (size_t i = 0; i < out; i++) {
        for (size_t j = 0; j < in; j++) {
            for (size_t q = 0; q < r; q++) {
                dense[i * in + j] += k * (double)b[i * r + q] * (double)a[q * in + j];
            }
        }
    }
}

static double distance(const double *x, const double *y)
{
    double s = 0;
    for (size_t i = 0; i < DENSE; i++) {
        s += (x[i] - y[i]) * (x[i] - y[i]);
    }
    return sqrt(s);
}

/* Trains (here: disturbs) copies of global, sums what travels with weights, applies the sum to
 * global. */
static void run_round(plmm_adapter *global, plmm_adapter **device, const double *weight,
                      plmm_factor f, double drift)
{
    size_t n = plmm_travel_count(global, f);
    double *sum = calloc(n, sizeof *sum), total = 0;
    float *delta = calloc(n, sizeof *delta);
    for (size_t i = 0; i < DEVICES; i++) {
        device[i] = copy(global);
        disturb(device[i], f, drift);
        plmm_travel_gather(device[i], global, f, delta);
        for (size_t j = 0; j < n; j++) {
            sum[j] += weight[i] * (double)delta[j];
        }
        total += weight[i];
    }
    plmm_server_opt o = plmm_server_opt_default();
    plmm_error err;
    CHECK(plmm_server_apply(&o, global, f, sum, total, &err) == PLMM_OK, "apply");
    free(sum);
    free(delta);
}

/* The mean of the devices' products: what FedEx, FLoRA and FlexLoRA (before truncation) compute. */
static void oracle(double *dense, plmm_adapter **device, const double *weight, uint32_t l,
                   unsigned t)
{
    double total = 0;
    for (size_t i = 0; i < DEVICES; i++) {
        total += weight[i];
    }
    for (size_t i = 0; i < DEVICES; i++) {
        add_product(dense, device[i], device[i], l, t, weight[i] / total);
    }
}

/* mean(B A) - mean(B) mean(A) = sum p (B_i - mean B)(A_i - mean A): the covariance, to rounding. */
static void add_covariance(double *dense, plmm_adapter **device, const plmm_adapter *mean,
                           const double *weight, uint32_t l, unsigned t)
{
    double total = 0;
    for (size_t i = 0; i < DEVICES; i++) {
        total += weight[i];
    }
    for (size_t i = 0; i < DEVICES; i++) {
        plmm_adapter *d = copy(device[i]);
        for (size_t j = 0; j < plmm_adapter_count(d); j++) {
            plmm_adapter_params(d)[j] -= plmm_adapter_weights(mean)[j];
        }
        add_product(dense, d, d, l, t, weight[i] / total);
        plmm_adapter_free(d);
    }
}

static void test_rounds(plmm_method m)
{
    static const double weight[DEVICES] = {1, 2, 3, 1, 5};
    plmm_adapter *global = make(), *device[DEVICES];
    plmm_error err;
    for (uint64_t round = 0; round < 6; round++) {
        plmm_factor f = plmm_method_factor(m, round);
        CHECK(plmm_method_prepare(m, round, global, &err) == PLMM_OK, "prepare");
        run_round(global, device, weight, f, 0.3);
        for (unsigned t = 0; t < PLMM_TARGETS; t++) {
            if ((spec.targets >> t & 1) == 0) {
                continue;
            }
            double want[DENSE] = {0}, got[DENSE] = {0}, zero[DENSE] = {0}, gap[DENSE] = {0};
            oracle(want, device, weight, 1, t);
            add_product(got, global, global, 1, t, 1);
            double norm = distance(want, zero), error = distance(want, got);
            add_covariance(gap, device, global, weight, 1, t);
            for (size_t i = 0; i < DENSE; i++) {
                gap[i] += got[i];
            }
            CHECK(distance(want, gap) < 1e-6 * norm, "round %d: the error is the covariance",
                  (int)round);
            if (m == PLMM_METHOD_NAIVE) {
                CHECK(error > 1e-3 * norm, "naive is off by %g of %g", error, norm);
            } else {
                CHECK(error < 1e-6 * norm, "method %d round %d is off by %g of %g", (int)m,
                      (int)round, error, norm);
            }
        }
        for (size_t i = 0; i < DEVICES; i++) {
            plmm_adapter_free(device[i]);
        }
    }
    plmm_adapter_free(global);
}

/* Largest deviation of the factor's Gram matrix from the identity over all modules. */
static double gram_error(const plmm_adapter *a, plmm_factor f)
{
    double worst = 0;
    size_t views = 0, half = 0, r = spec.rank;
    const plmm_view *v = plmm_adapter_views(a, &views);
    half = views / 2;
    for (size_t i = 0; i < half; i++) {
        const plmm_view *w = f == PLMM_FACTOR_A ? &v[i] : &v[half + i];
        const float *x = plmm_adapter_weights(a) + w->offset;
        size_t n = f == PLMM_FACTOR_A ? w->cols : w->rows;
        for (size_t p = 0; p < r; p++) {
            for (size_t q = 0; q < r; q++) {
                double s = p == q ? -1 : 0;
                for (size_t j = 0; j < n; j++) {
                    s += f == PLMM_FACTOR_A ? (double)x[p * n + j] * (double)x[q * n + j]
                                            : (double)x[j * r + p] * (double)x[j * r + q];
                }
                worst = fmax(worst, fabs(s));
            }
        }
    }
    return worst;
}

/* Norms of the free factor's components fall: rank prefixes hold the largest part. */
static void check_order(const plmm_adapter *a, unsigned t, plmm_factor frozen)
{
    size_t out = 0, in = 0, r = spec.rank;
    plmm_target_shape(&cfg, t, &out, &in);
    const float *pa = plmm_adapter_weights(a) + plmm_adapter_offset(a, 0, t, PLMM_FACTOR_A);
    const float *pb = plmm_adapter_weights(a) + plmm_adapter_offset(a, 0, t, PLMM_FACTOR_B);
    double before = INFINITY;
    for (size_t q = 0; q < r; q++) {
        double s = 0;
        for (size_t i = 0; frozen == PLMM_FACTOR_A && i < out; i++) {
            s += (double)pb[i * r + q] * (double)pb[i * r + q];
        }
        for (size_t j = 0; frozen == PLMM_FACTOR_B && j < in; j++) {
            s += (double)pa[q * in + j] * (double)pa[q * in + j];
        }
        CHECK(s <= before * (1 + 1e-6), "component %zu is larger than the one before it", q);
        before = s;
    }
}

static void check_product_kept(const plmm_adapter *a, const plmm_adapter *b)
{
    for (uint32_t l = 0; l < cfg.layers; l++) {
        for (unsigned t = 0; t < PLMM_TARGETS; t++) {
            if ((spec.targets >> t & 1) != 0) {
                double x[DENSE] = {0}, y[DENSE] = {0}, zero[DENSE] = {0};
                add_product(x, a, a, l, t, 1);
                add_product(y, b, b, l, t, 1);
                CHECK(distance(x, y) <= 1e-6 * distance(x, zero),
                      "product of target %u moved by %g", t, distance(x, y));
            }
        }
    }
}

static void test_refactor(void)
{
    plmm_error err;
    for (int round = 0; round < 4; round++) {
        plmm_adapter *a = make();
        disturb(a, PLMM_FACTOR_AB, 0.5);
        if (round >= 2) { /* rank-deficient: the last component repeats the first one */
            float *b = plmm_adapter_params(a) + plmm_adapter_offset(a, 0, 0, PLMM_FACTOR_B);
            for (size_t i = 0; i < 12; i++) {
                b[i * 3 + 2] = 2 * b[i * 3];
            }
        }
        plmm_factor f = round % 2 == 0 ? PLMM_FACTOR_B : PLMM_FACTOR_A;
        plmm_factor frozen = PLMM_FACTOR_AB & (plmm_factor)~f;
        plmm_adapter *b = copy(a);
        CHECK(plmm_refactor(b, f, &err) == PLMM_OK, "refactor");
        check_product_kept(a, b);
        CHECK(gram_error(b, frozen) < 1e-6, "the frozen factor is orthonormal: %g",
              gram_error(b, frozen));
        check_order(b, 0, frozen);
        check_order(b, 6, frozen);
        plmm_adapter_free(a);
        plmm_adapter_free(b);
    }
}

/* A fresh adapter keeps its basis whatever comes next, and B stays zero. */
static void test_refactor_at_zero(void)
{
    plmm_error err;
    for (int f = PLMM_FACTOR_A; f <= PLMM_FACTOR_B; f++) {
        plmm_adapter *a = make(), *b = copy(a);
        CHECK(plmm_refactor(b, (plmm_factor)f, &err) == PLMM_OK, "refactor");
        double worst = 0;
        for (size_t i = 0; i < plmm_adapter_count(a); i++) {
            double e = (double)plmm_adapter_weights(a)[i] - (double)plmm_adapter_weights(b)[i];
            worst = fmax(worst, fabs(e));
        }
        CHECK(worst < 1e-6, "moved by %g", worst);
        plmm_adapter_free(a);
        plmm_adapter_free(b);
    }
}

static void test_travel(void)
{
    static const plmm_factor factors[] = {PLMM_FACTOR_A, PLMM_FACTOR_B, PLMM_FACTOR_AB};
    plmm_adapter *a = make();
    disturb(a, PLMM_FACTOR_AB, 1);
    size_t sum = 0, described = 0;
    for (size_t i = 0; i < COUNT(factors); i++) {
        size_t n = plmm_travel_count(a, factors[i]);
        float *x = calloc(n, sizeof *x), *y = calloc(n, sizeof *y);
        plmm_adapter *b = make();
        plmm_travel_gather(a, NULL, factors[i], x);
        plmm_travel_scatter(b, factors[i], x);
        plmm_travel_gather(b, NULL, factors[i], y);
        CHECK(memcmp(x, y, n * sizeof *x) == 0, "scatter undoes gather");
        plmm_travel_gather(a, b, factors[i], y);
        for (size_t j = 0; j < n; j++) {
            CHECK(y[j] == 0, "no difference");
        }
        uint8_t small[10], *all = calloc(10000, 1);
        size_t len = plmm_travel_describe(a, factors[i], all, 10000);
        CHECK(plmm_travel_describe(a, factors[i], small, sizeof small) == len,
              "counts what it cuts");
        CHECK(memcmp(small, all, sizeof small) == 0 && len < 10000, "writes what fits");
        sum += i < 2 ? n : 0;
        described += i < 2 ? len : 0;
        CHECK(i < 2 || (n == sum && len == described), "both are the sum of one and the other");
        free(x);
        free(y);
        free(all);
        plmm_adapter_free(b);
    }
    plmm_adapter_free(a);
}

static void test_methods(void)
{
    plmm_method m = PLMM_METHODS;
    plmm_error err;
    size_t n = 0;
    const plmm_method_info *t = plmm_method_table(&n);
    for (size_t i = 0; i < n; i++) {
        plmm_status rc = plmm_method_parse(t[i].name, &m, &err);
        if (t[i].refusal == NULL) {
            CHECK(rc == PLMM_OK && (size_t)m == i, "%s", t[i].name);
        } else {
            CHECK(rc == PLMM_ERR_UNSUPPORTED, "%s is refused", t[i].name);
            CHECK(strstr(err.msg, t[i].refusal) != NULL, "with its reason: %s", err.msg);
        }
    }
    CHECK(n == 6 && plmm_method_parse("best", &m, &err) == PLMM_ERR_CONFIG, "unknown");
    CHECK(plmm_method_factor(PLMM_METHOD_ALTERNATE, 0) == PLMM_FACTOR_B, "starts with B");
    CHECK(plmm_method_factor(PLMM_METHOD_ALTERNATE, 7) == PLMM_FACTOR_A, "then A");
    CHECK(plmm_method_factor(PLMM_METHOD_FFA, 7) == PLMM_FACTOR_B, "always B");
    CHECK(plmm_method_factor(PLMM_METHOD_NAIVE, 7) == PLMM_FACTOR_AB, "always both");
}

static void test_apply_refusals(void)
{
    plmm_adapter *a = make(), *b = copy(a);
    size_t n = plmm_travel_count(a, PLMM_FACTOR_B);
    double *sum = calloc(n, sizeof *sum);
    plmm_server_opt o = plmm_server_opt_default();
    plmm_error err;
    CHECK(plmm_server_apply(&o, a, PLMM_FACTOR_B, sum, 0, &err) == PLMM_ERR_RANGE, "no weight");
    CHECK(plmm_server_apply(&o, a, PLMM_FACTOR_B, sum, NAN, &err) == PLMM_ERR_RANGE, "no number");
    sum[0] = 1;
    sum[n - 1] = 1e300;
    CHECK(plmm_server_apply(&o, a, PLMM_FACTOR_B, sum, 1, &err) == PLMM_ERR_RANGE, "overflow");
    CHECK(memcmp(plmm_adapter_weights(a), plmm_adapter_weights(b),
                 plmm_adapter_count(a) * sizeof(float)) == 0,
          "unchanged on failure");
    plmm_alloc_fail_at(0);
    CHECK(plmm_refactor(a, PLMM_FACTOR_B, &err) == PLMM_ERR_NOMEM, "no memory");
    plmm_alloc_fail_at(-1);
    free(sum);
    plmm_adapter_free(a);
    plmm_adapter_free(b);
}

int main(void)
{
    plmm_rng_init(&rng, plmm_test_seed(1), 0);
    for (int m = 0; m < PLMM_METHODS; m++) {
        test_rounds((plmm_method)m);
    }
    test_refactor();
    test_refactor_at_zero();
    test_travel();
    test_methods();
    test_apply_refusals();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
