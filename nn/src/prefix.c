/* The cache of a text's beginning, kept aside to be copied into a slot. */
#include "decode.h"

#include <string.h>

#include "plmm/alloc.h"

struct plmm_prefix {
    plmm_model_config cfg;
    const plmm_model *m;
    size_t n;
    float *keys;   /* [layer][kv_head][head_dim][n] */
    float *values; /* [layer][kv_head][n][head_dim] */
};

/* Copies n positions of every head between the cache of a slot and a prefix. */
static void copy(plmm_decoder *d, uint32_t slot, const plmm_prefix *p, bool put)
{
    const plmm_model_config *c = &p->cfg;
    size_t hd = c->head_dim, n = p->n;
    for (uint32_t l = 0; l < c->layers; l++) {
        for (uint32_t i = 0; i < c->kv_heads; i++) {
            size_t at = plmm__cache_at(d, slot, l, i), of = (l * c->kv_heads + i) * hd * n;
            for (size_t j = 0; j < hd; j++) {
                float *row = d->keys + at + j * d->ld, *kept = p->keys + of + j * n;
                memcpy(put ? row : kept, put ? kept : row, n * sizeof *row);
            }
            float *rows = d->values + at, *kept = p->values + of;
            memcpy(put ? rows : kept, put ? kept : rows, n * hd * sizeof *rows);
        }
    }
}

void plmm__prefix_put(plmm_decoder *d, uint32_t slot, const plmm_prefix *p)
{
    copy(d, slot, p, true);
}

plmm_status plmm__prefix_check(const plmm_prefix *p, const plmm_model *m, plmm_error *err)
{
    return p->m == m ? PLMM_OK
                     : plmm_fail(err, PLMM_ERR_CONFIG,
                                 "cannot generate: the prefix was made with another model");
}

size_t plmm_prefix_count(const plmm_prefix *p)
{
    return p->n;
}

void plmm_prefix_free(plmm_prefix *p)
{
    if (p != NULL) {
        plmm_free(p->keys);
        plmm_free(p->values);
        plmm_free(p);
    }
}

static plmm_prefix *new_prefix(const plmm_model *m, size_t n)
{
    plmm_prefix *p = plmm_alloc(1, sizeof *p);
    size_t floats = m->cfg.layers * plmm__kv_dim(&m->cfg) * n;
    if (p != NULL) {
        *p = (plmm_prefix){.cfg = m->cfg, .m = m, .n = n};
        p->keys = plmm_alloc(floats, sizeof *p->keys);
        p->values = plmm_alloc(floats, sizeof *p->values);
        if (p->keys == NULL || p->values == NULL) {
            plmm_prefix_free(p);
            return NULL;
        }
    }
    return p;
}

plmm_status plmm_prefix_new(plmm_decoder *d, const plmm_model *m, const plmm_stack *stack,
                            const int32_t *tokens, size_t n, plmm_prefix **out, plmm_error *err)
{
    plmm_query q = {.prompt = tokens, .n = n};
    plmm_sampling s = plmm_sampling_default();
    size_t wanted = 0;
    PLMM_TRY(plmm__decoder_begin(d, m, err));
    PLMM_TRY(plmm__query_check(d, m, &q, 0, err));
    PLMM_TRY(plmm__decoder_adapt(d, 0, stack, err));
    plmm_prefix *p = new_prefix(m, n);
    if (p == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep a prefix of %zu tokens", n);
    }
    d->slots[0] = (plmm__slot){.query = &q, .limit = s.max_new};
    while (d->slots[0].fed < n) {
        size_t rows = plmm__query_feed(d, 0, 0, d->rows_max, &wanted);
        plmm__decoder_pass(d, rows, 0, 0);
        wanted = 0;
    }
    d->slots[0].query = NULL;
    copy(d, 0, p, false);
    *out = p;
    return PLMM_OK;
}
