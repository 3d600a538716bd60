/* aggregator/merge: what devices encode, summed mod 2^b, becomes the average of what they
 * trained. */
#include "plmm/merge.h"

#include "tiny.h"

#include <math.h>

enum { DEVICES = 7 };

static const plmm_encoding encoding = {
    .clip = 2, .quant_bits = 18, .weight_max = 50, .n_max = 16, .ring_bits = 23};

typedef struct cohort {
    size_t n; /* travelling coordinates */
    float *delta[DEVICES];
    uint32_t weight[DEVICES];
    uint32_t *sum; /* [n + 1] lanes mod 2^b */
    double *clear; /* [n] sum(w delta) */
    double total;
} cohort;

static cohort make(const plmm_adapter *a, plmm_method method, uint64_t round, uint64_t seed)
{
    cohort c = {.n = plmm_merge_lanes(a, method, round) - 1};
    plmm_rng r;
    plmm_error err = {0};
    plmm_rng_init(&r, seed, 1);
    uint32_t *lanes = plmm_alloc(c.n + 1, sizeof *lanes);
    c.sum = plmm_alloc(c.n + 1, sizeof *c.sum);
    c.clear = plmm_alloc(c.n, sizeof *c.clear);
    for (uint32_t d = 0; d < DEVICES; d++) {
        plmm_seed rounding = {{(uint8_t)seed, (uint8_t)d}};
        c.delta[d] = plmm_alloc(c.n, sizeof(float));
        c.weight[d] = 1 + (uint32_t)plmm_rng_below(&r, 50);
        for (size_t i = 0; i < c.n; i++) {
            c.delta[d][i] = 0.05f * (float)plmm_rng_normal(&r);
            c.clear[i] += (double)c.weight[d] * (double)c.delta[d][i];
        }
        c.total += c.weight[d];
        CHECK(plmm_encode(lanes, NULL, &encoding, c.delta[d], c.n, c.weight[d], &rounding, &err) ==
                  PLMM_OK,
              "%s", err.msg);
        for (size_t i = 0; i <= c.n; i++) {
            c.sum[i] = (c.sum[i] + lanes[i]) & ((1u << encoding.ring_bits) - 1);
        }
    }
    plmm_free(lanes);
    return c;
}

static void drop(cohort *c)
{
    for (uint32_t d = 0; d < DEVICES; d++) {
        plmm_free(c->delta[d]);
    }
    plmm_free(c->sum);
    plmm_free(c->clear);
}

/* s B A of a module, [out][in], in double. */
static void product(const plmm_adapter *a, uint32_t layer, unsigned target, double *w)
{
    size_t out = 0, in = 0;
    uint32_t rank = plmm_adapter_spec(a)->rank;
    plmm_target_shape(&tiny_cfg, target, &out, &in);
    const float *A = plmm_adapter_weights(a) + plmm_adapter_offset(a, layer, target, PLMM_FACTOR_A);
    const float *B = plmm_adapter_weights(a) + plmm_adapter_offset(a, layer, target, PLMM_FACTOR_B);
    for (size_t i = 0; i < out; i++) {
        for (size_t k = 0; k < in; k++) {
            double sum = 0;
            for (uint32_t j = 0; j < rank; j++) {
                sum += (double)B[i * rank + j] * (double)A[j * in + k];
            }
            w[i * in + k] = sum;
        }
    }
}

/* Largest difference between the new product and the mean of the devices' products. */
static double error_of(const plmm_adapter *old, const plmm_adapter *next, const cohort *c,
                       plmm_factor f, uint32_t layer, unsigned target)
{
    size_t out = 0, in = 0;
    double worst = 0;
    plmm_target_shape(&tiny_cfg, target, &out, &in);
    double *want = plmm_alloc(out * in, sizeof *want), *got = plmm_alloc(out * in, sizeof *got);
    for (uint32_t d = 0; d < DEVICES; d++) {
        plmm_adapter *own = NULL;
        plmm_error err;
        CHECK(plmm_adapter_clone(old, &own, &err) == PLMM_OK, "%s", err.msg);
        float *x = plmm_alloc(c->n, sizeof *x);
        plmm_travel_gather(old, NULL, f, x);
        for (size_t i = 0; i < c->n; i++) {
            x[i] += c->delta[d][i];
        }
        plmm_travel_scatter(own, f, x);
        product(own, layer, target, got);
        for (size_t i = 0; i < out * in; i++) {
            want[i] += c->weight[d] / c->total * got[i];
        }
        plmm_free(x);
        plmm_adapter_free(own);
    }
    product(next, layer, target, got);
    for (size_t i = 0; i < out * in; i++) {
        worst = fmax(worst, fabs(got[i] - want[i]));
    }
    plmm_free(want);
    plmm_free(got);
    return worst;
}

/* Largest deviation from orthonormality of the factor that the next round leaves alone. */
static double skew(const plmm_adapter *a, plmm_factor trained)
{
    double worst = 0;
    uint32_t rank = plmm_adapter_spec(a)->rank;
    for (unsigned target = 0; target < PLMM_TARGETS; target++) {
        size_t out = 0, in = 0;
        plmm_factor f = trained == PLMM_FACTOR_B ? PLMM_FACTOR_A : PLMM_FACTOR_B;
        if ((tiny_spec.targets & (1u << target)) == 0) {
            continue;
        }
        plmm_target_shape(&tiny_cfg, target, &out, &in);
        const float *x = plmm_adapter_weights(a) + plmm_adapter_offset(a, 0, target, f);
        for (uint32_t i = 0; i < rank * rank; i++) {
            double dot = 0;
            for (size_t k = 0; k < (f == PLMM_FACTOR_A ? in : out); k++) {
                dot += f == PLMM_FACTOR_A
                           ? (double)x[i / rank * in + k] * (double)x[i % rank * in + k]
                           : (double)x[k * rank + i / rank] * (double)x[k * rank + i % rank];
            }
            worst = fmax(worst, fabs(dot - (i / rank == i % rank ? 1 : 0)));
        }
    }
    return worst;
}

static void one(plmm_method method, uint64_t round)
{
    plmm_adapter *old = tiny_adapter(3, round == 0 ? 0 : 0.3f), *kept = NULL;
    plmm_adapter *next = NULL, *again = NULL, *clear = NULL;
    plmm_error err = {0};
    plmm_merge_params p = {.method = method, .server = plmm_server_opt_default(), .round = round};
    plmm_merge_stats s = {0}, t = {0};
    plmm_factor f = plmm_method_factor(method, round);
    CHECK(plmm_adapter_clone(old, &kept, &err) == PLMM_OK, "%s", err.msg);
    cohort c = make(old, method, round, round + 10);
    CHECK(plmm_merge(&p, &encoding, old, c.sum, c.n + 1, DEVICES, &next, &s, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(plmm_merge(&p, &encoding, old, c.sum, c.n + 1, DEVICES, &again, NULL, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_merge_clear(&p, old, c.clear, c.total, &clear, &t, &err) == PLMM_OK, "%s", err.msg);
    size_t bytes = plmm_adapter_count(old) * sizeof(float);
    CHECK(memcmp(plmm_adapter_weights(next), plmm_adapter_weights(again), bytes) == 0, "repeats");
    CHECK(memcmp(plmm_adapter_weights(old), plmm_adapter_weights(kept), bytes) == 0, "old is kept");
    CHECK(s.devices == DEVICES && (double)s.weight == c.total && s.factor == f &&
              s.next == plmm_method_factor(method, round + 1),
          "statistics");
    CHECK(s.mean_norm > 0 && fabs(s.mean_norm - t.mean_norm) < 1e-4, "norm %g, in the clear %g",
          s.mean_norm, t.mean_norm);
    for (uint32_t layer = 0; layer < tiny_cfg.layers; layer++) {
        for (unsigned target = 0; target < PLMM_TARGETS; target++) {
            if ((tiny_spec.targets & (1u << target)) == 0) {
                continue;
            }
            double e = error_of(old, next, &c, f, layer, target);
            double exact = error_of(old, clear, &c, f, layer, target);
            CHECK(method == PLMM_METHOD_NAIVE ? exact > 1e-4 : exact < 1e-6,
                  "%d round %d: the clear merge is off by %g", method, (int)round, exact);
            CHECK(method == PLMM_METHOD_NAIVE || e < 2e-3,
                  "%d round %d: the quantised merge is off by %g", method, (int)round, e);
        }
    }
    CHECK(method != PLMM_METHOD_ALTERNATE || skew(next, s.next) < 1e-5,
          "round %d: the factor that stays is off by %g", (int)round, skew(next, s.next));
    drop(&c);
    plmm_adapter_free(old);
    plmm_adapter_free(kept);
    plmm_adapter_free(next);
    plmm_adapter_free(again);
    plmm_adapter_free(clear);
}

/* However far a liar moves the sum, the mean stays within the clip; what honest devices send is left
 * alone to the bit, at the very clip too. */
static void test_bound(void)
{
    plmm_adapter *old = tiny_adapter(3, 0.2f), *next = NULL;
    plmm_error err = {0};
    plmm_merge_params p = {
        .method = PLMM_METHOD_ALTERNATE, .server = plmm_server_opt_default(), .round = 1};
    plmm_merge_stats s;
    cohort c = make(old, p.method, p.round, 1);
    CHECK(plmm_merge(&p, &encoding, old, c.sum, c.n + 1, DEVICES, &next, &s, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(!s.shortened, "honest devices of norm %g", s.mean_norm);
    plmm_adapter_free(next);
    double most = plmm_merge_norm_max(&encoding, c.n, DEVICES);
    CHECK(most > encoding.clip && most < 1.1 * encoding.clip, "bound %g", most);
    c.sum[0] = (uint32_t)(DEVICES * 131071); /* as far as a lane goes */
    CHECK(plmm_merge(&p, &encoding, old, c.sum, c.n + 1, DEVICES, &next, &s, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(s.shortened && s.mean_norm > 1.2 * encoding.clip, "a liar of norm %g", s.mean_norm);
    for (size_t i = 0; i < c.n; i++) {
        c.clear[i] = i == 0 ? most * c.total : 0;
    }
    double norm;
    CHECK(!plmm_merge_bound(c.clear, &norm, c.n, (uint64_t)c.total, &encoding, DEVICES) &&
              fabs(norm - most) < 1e-9,
          "at the bound: %g", norm);
    c.clear[0] *= 1.5;
    CHECK(plmm_merge_bound(c.clear, &norm, c.n, (uint64_t)c.total, &encoding, DEVICES) &&
              fabs(c.clear[0] / c.total - most) < 1e-9,
          "beyond: %g", c.clear[0] / c.total);
    plmm_encoding noisy = encoding;
    noisy.noise = PLMM_NOISE_SKELLAM;
    noisy.weight_max = 1;
    noisy.length = (uint32_t)c.n;
    noisy.ring_bits = plmm_encoding_ring_bits(&noisy);
    CHECK(isinf(plmm_merge_norm_max(&noisy, c.n, DEVICES)), "the aggregator's noise");
    noisy.noise_sum = 16 * 1000000;
    noisy.ring_bits = plmm_encoding_ring_bits(&noisy);
    double wider = plmm_merge_norm_max(&noisy, c.n, DEVICES);
    CHECK(wider > noisy.clip + 1000 * sqrt((double)c.n) / plmm_encoding_scale(&noisy) / DEVICES,
          "noise of deviation 1000: %g", wider);
    drop(&c);
    plmm_adapter_free(next);
    plmm_adapter_free(old);
}

static void test_refusals(void)
{
    plmm_adapter *old = tiny_adapter(3, 0.2f), *next = NULL;
    plmm_error err = {0};
    plmm_merge_params p = {
        .method = PLMM_METHOD_ALTERNATE, .server = plmm_server_opt_default(), .round = 1};
    cohort c = make(old, p.method, p.round, 1);
    CHECK(plmm_merge(&p, &encoding, old, c.sum, c.n, DEVICES, &next, NULL, &err) == PLMM_ERR_RANGE,
          "%s", err.msg);
    CHECK(plmm_merge(&p, &encoding, old, c.sum, c.n + 1, 17, &next, NULL, &err) == PLMM_ERR_RANGE,
          "%s", err.msg);
    plmm_encoding e = encoding;
    e.ring_bits = 21;
    CHECK(plmm_merge(&p, &e, old, c.sum, c.n + 1, DEVICES, &next, NULL, &err) == PLMM_ERR_RANGE,
          "%s", err.msg);
    c.sum[4] ^= 1u << 22;
    CHECK(plmm_merge(&p, &encoding, old, c.sum, c.n + 1, DEVICES, &next, NULL, &err) ==
              PLMM_ERR_PEER,
          "%s", err.msg);
    c.sum[4] ^= 1u << 22;
    c.clear[0] = INFINITY;
    CHECK(plmm_merge_clear(&p, old, c.clear, c.total, &next, NULL, &err) == PLMM_ERR_RANGE, "%s",
          err.msg);
    c.clear[0] = 0;
    CHECK(plmm_merge_clear(&p, old, c.clear, 0, &next, NULL, &err) == PLMM_ERR_RANGE, "%s",
          err.msg);
    CHECK(next == NULL, "nothing is made");
    long before = plmm_alloc_live();
    for (long k = 0;; k++) {
        err = (plmm_error){0};
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_merge(&p, &encoding, old, c.sum, c.n + 1, DEVICES, &next, NULL, &err);
        plmm_alloc_fail_at(-1);
        if (rc == PLMM_OK) {
            plmm_adapter_free(next);
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && next == NULL && err.msg[0] != '\0', "k=%ld", k);
        CHECK(plmm_alloc_live() == before, "k=%ld leaks", k);
    }
    drop(&c);
    plmm_adapter_free(old);
}

int main(void)
{
    for (uint64_t round = 0; round < 4; round++) {
        one(PLMM_METHOD_ALTERNATE, round);
        one(PLMM_METHOD_FFA, round);
        one(PLMM_METHOD_NAIVE, round);
    }
    test_bound();
    test_refusals();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
