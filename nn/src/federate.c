#include "plmm/federate.h"

#include <math.h>
#include <string.h>

#include "plmm/bytes.h"

static const plmm_method_info table[] = {
    {"naive", "average A and B", "no: off by the covariance of the factors", "yes",
     "poor: noise enters the product twice", "by padding", "r (d + k)", NULL},
    {"ffa", "FFA-LoRA: A frozen for ever", "yes", "yes", "yes", "yes: a prefix of components",
     "r d", NULL},
    {"alternate", "RoLoRA with an orthonormal frozen factor", "yes, in every round", "yes",
     "yes: clipping a factor clips the change of the weights", "yes: a prefix of components",
     "r d or r k", NULL},
    {"fedex", "FedEx-LoRA: residual of the products", "yes", "no", "only with a trusted server",
     "no", "r (d + k)",
     "the server needs each device's own B_i A_i, and secure aggregation shows it only the sum"},
    {"flora", "FLoRA: stacked factors", "yes", "no", "only with a trusted server", "yes",
     "r (d + k)",
     "stacking lays every device's own factors side by side, and secure aggregation shows only the "
     "sum"},
    {"flexlora", "FlexLoRA: decomposed mean product", "before truncation", "no",
     "only with a trusted server", "yes", "r (d + k)",
     "the mean of products needs each device's own B_i A_i, and secure aggregation shows only the "
     "sum of what is sent"},
};

const plmm_method_info *plmm_method_table(size_t *count)
{
    *count = sizeof table / sizeof table[0];
    return table;
}

plmm_status plmm_method_parse(const char *name, plmm_method *out, plmm_error *err)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(name, table[i].name) == 0 && table[i].refusal == NULL) {
            *out = (plmm_method)i;
            return PLMM_OK;
        }
        if (strcmp(name, table[i].name) == 0) {
            return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                             "cannot aggregate by %s: %s; use alternate, ffa or naive", name,
                             table[i].refusal);
        }
    }
    return plmm_fail(err, PLMM_ERR_CONFIG,
                     "cannot aggregate by '%s': there are alternate (default), ffa and naive",
                     name);
}

plmm_factor plmm_method_factor(plmm_method m, uint64_t round)
{
    if (m == PLMM_METHOD_NAIVE) {
        return PLMM_FACTOR_AB;
    }
    return m == PLMM_METHOD_ALTERNATE && round % 2 == 1 ? PLMM_FACTOR_A : PLMM_FACTOR_B;
}

/* ---- the travelling vector ---- */

size_t plmm_travel_count(const plmm_adapter *a, plmm_factor f)
{
    size_t at = 0, n = 0;
    plmm_adapter_range(a, f, &at, &n);
    return n;
}

void plmm_travel_gather(const plmm_adapter *a, const plmm_adapter *base, plmm_factor f, float *out)
{
    size_t at = 0, n = 0;
    plmm_adapter_range(a, f, &at, &n);
    const float *x = plmm_adapter_weights(a) + at;
    if (base == NULL) {
        memcpy(out, x, n * sizeof *out);
        return;
    }
    PLMM_ASSERT(plmm_adapter_count(base) == plmm_adapter_count(a));
    const float *y = plmm_adapter_weights(base) + at;
    for (size_t i = 0; i < n; i++) {
        out[i] = x[i] - y[i];
    }
}

void plmm_travel_scatter(plmm_adapter *a, plmm_factor f, const float *in)
{
    size_t at = 0, n = 0;
    plmm_adapter_range(a, f, &at, &n);
    memcpy(plmm_adapter_params(a) + at, in, n * sizeof *in);
}

/* Writes what fits, counts all. */
static void put(uint8_t *out, size_t cap, size_t *len, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++, (*len)++) {
        if (*len < cap) {
            out[*len] = ((const uint8_t *)bytes)[i];
        }
    }
}

size_t plmm_travel_describe(const plmm_adapter *a, plmm_factor f, uint8_t *out, size_t cap)
{
    size_t n = 0, len = 0, at = 0, count = 0;
    const plmm_view *v = plmm_adapter_views(a, &n);
    plmm_adapter_range(a, f, &at, &count);
    for (size_t i = 0; i < n; i++) {
        if (v[i].offset >= at && v[i].offset < at + count) {
            uint8_t shape[8];
            plmm_store_le32(shape, (uint32_t)v[i].rows);
            plmm_store_le32(shape + 4, (uint32_t)v[i].cols);
            put(out, cap, &len, v[i].name, strlen(v[i].name) + 1);
            put(out, cap, &len, shape, sizeof shape);
        }
    }
    return len;
}

/* ---- the aggregator's side ---- */

plmm_server_opt plmm_server_opt_default(void)
{
    return (plmm_server_opt){.kind = PLMM_SERVER_FEDAVG, .lr = 1.0f};
}

plmm_status plmm_server_apply(const plmm_server_opt *o, plmm_adapter *a, plmm_factor f,
                              const double *sum, double weight, plmm_error *err)
{
    size_t at = 0, n = 0;
    plmm_adapter_range(a, f, &at, &n);
    float *x = plmm_adapter_params(a) + at;
    if (!(weight > 0 && isfinite(weight))) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot merge: the devices' weights sum to %g, must be positive", weight);
    }
    double step = (double)o->lr / weight;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite((float)((double)x[i] + step * sum[i]))) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "cannot merge: coordinate %zu of %zu becomes infinite", i, n);
        }
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)((double)x[i] + step * sum[i]);
    }
    return PLMM_OK;
}

plmm_status plmm_method_prepare(plmm_method m, uint64_t next_round, plmm_adapter *a,
                                plmm_error *err)
{
    if (m != PLMM_METHOD_ALTERNATE) {
        return PLMM_OK;
    }
    return plmm_refactor(a, plmm_method_factor(m, next_round), err);
}
