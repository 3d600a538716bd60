#include "plmm/identity.h"

#include "plmm/bytes.h"

#include <string.h>

static size_t put(uint8_t *out, size_t at, uint32_t v)
{
    plmm_store_le32(out + at, v);
    return at + 4;
}

static uint32_t bits(float x)
{
    uint32_t v;
    memcpy(&v, &x, sizeof v);
    return v;
}

static void feed_floats(const float *x, size_t n, plmm_feed_fn *feed, void *ctx)
{
    uint8_t block[4096];
    for (size_t i = 0; i < n;) {
        size_t at = 0;
        for (; i < n && at < sizeof block; i++) {
            at = put(block, at, bits(x[i]));
        }
        feed(ctx, block, at);
    }
}

void plmm_model_feed(const plmm_model *m, plmm_feed_fn *feed, void *ctx)
{
    static const char name[] = "plmm.model.v1";
    const plmm_model_config *c = plmm_model_cfg(m);
    uint8_t shape[64];
    size_t at = 0;
    at = put(shape, at, c->dim);
    at = put(shape, at, c->layers);
    at = put(shape, at, c->heads);
    at = put(shape, at, c->kv_heads);
    at = put(shape, at, c->head_dim);
    at = put(shape, at, c->hidden);
    at = put(shape, at, c->vocab);
    at = put(shape, at, bits(c->rope_theta));
    at = put(shape, at, bits(c->norm_eps));
    at = put(shape, at, c->tied ? 1 : 0);
    at = put(shape, at, c->qkv_bias ? 1 : 0);
    feed(ctx, name, sizeof name - 1);
    feed(ctx, shape, at);
    feed_floats(plmm_model_weights(m), plmm_model_count(m), feed, ctx);
}
