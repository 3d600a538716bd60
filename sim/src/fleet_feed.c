/* fleet_feed.c -- streams: what a device hears arrives in the order of time, is offered to its
 * buffer, and what the buffer keeps is what it trains on. */
#include "fleet.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"

#include <stdio.h>
#include <string.h>

plmm_status feed_open(fleet *f, plmm_error *err)
{
    const plmm_sim_config *c = f->cfg;
    plmm_buffer_params p = plmm_buffer_params_default(plmm_model_cfg(f->model)->dim);
    p.bins = c->select.bins;
    p.rule = (plmm_select_rule)c->select.rule;
    if (plmm_lexicons_count(f->data.lexicons) == 0) {
        p.metrics = PLMM_METRIC_EOE | PLMM_METRIC_IDD; /* no word lists: no domain score */
    }
    for (size_t d = 0; d < f->data.n_devices; d++) {
        holder *h = &f->holders[d];
        h->traits = plmm_device_draw(&c->faults, f->seed, (uint32_t)d);
        p.seed = f->seed * 1000003 + d;
        PLMM_TRY(plmm_buffer_new(&p, f->data.lexicons, &h->buffer, err));
        h->examples = plmm_alloc(f->data.n_experts, sizeof *h->examples);
        if (h->examples == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot open device %zu: out of memory", d);
        }
    }
    return PLMM_OK;
}

/* Dialogues of a stream of n that arrived before the round of this slot. */
static size_t arrived(const plmm_sim_config *c, size_t n, uint32_t slot)
{
    double share = 1;
    if (c->rounds > 1) {
        share = c->select.before + (1 - c->select.before) * (slot - 1) / (c->rounds - 1);
    }
    size_t k = (size_t)(share * (double)n + 0.5);
    return k < n ? k : n;
}

static plmm_status offer(fleet *f, holder *h, worker *w, size_t id, plmm_error *err)
{
    const sim_dialogue *d = &f->data.dialogues[id];
    size_t np = strlen(d->prompt);
    size_t nr = strlen(d->response);
    char *text = plmm_alloc(np + nr + 2, 1);
    if (text == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot read a dialogue: out of memory");
    }
    memcpy(text, d->prompt, np);
    text[np] = '\n';
    memcpy(text + np + 1, d->response, nr);
    size_t len = np + 1 + nr;
    plmm_embedding e;
    plmm_verdict verdict;
    bool scores = f->cfg->select.rule == PLMM_SELECT_SCORES;
    plmm_status rc = PLMM_OK;
    if (scores) {
        uint32_t context = plmm_model_cfg(f->model)->context;
        uint32_t most = f->cfg->select.seq_max < context ? f->cfg->select.seq_max : context;
        rc = plmm_embed(&w->embedder, f->model, NULL, f->tokenizer,
                        plmm_trainer_workspace(w->trainer), most, text, len, &e, err);
    }
    rc = rc != PLMM_OK
             ? rc
             : plmm_buffer_offer(h->buffer, id, text, len, scores ? &e : NULL, &verdict, err);
    plmm_free(text);
    return rc;
}

/* The expert that a kept dialogue teaches: known from its file, or by its dominant domain. */
static int32_t expert_of(const fleet *f, const plmm_bin *bin)
{
    int32_t known = f->data.dialogues[bin->id].expert;
    if (known != SIM_BY_LEXICON) {
        return known;
    }
    return bin->domain == PLMM_DOMAIN_NONE ? SIM_NO_EXPERT : f->data.expert_of[bin->domain];
}

static plmm_status make_examples(fleet *f, holder *h, worker *w, plmm_error *err)
{
    uint32_t context = plmm_model_cfg(f->model)->context;
    uint32_t most = f->cfg->train.seq_max < context ? f->cfg->train.seq_max : context;
    for (uint32_t e = 0; e < f->data.n_experts; e++) {
        plmm_examples_clear(&h->examples[e]);
    }
    for (uint32_t i = 0; i < plmm_buffer_count(h->buffer); i++) {
        plmm_bin bin = plmm_buffer_get(h->buffer, i);
        int32_t e = expert_of(f, &bin);
        const sim_dialogue *d = &f->data.dialogues[bin.id];
        if (e != SIM_NO_EXPERT) {
            PLMM_TRY(plmm_examples_add(&h->examples[e], &f->chat, d->prompt, d->response, most,
                                       &w->sample, err));
        }
    }
    return PLMM_OK;
}

typedef struct feeding {
    fleet *f;
    uint32_t slot;
} feeding;

static plmm_status feed_one(void *ctx, size_t index, uint32_t thread, plmm_error *err)
{
    feeding *x = ctx;
    fleet *f = x->f;
    holder *h = &f->holders[index];
    worker *w = &f->workers[thread];
    size_t until = arrived(f->cfg, f->data.devices[index].count, x->slot);
    if (h->fed == until && x->slot > 1) {
        return PLMM_OK;
    }
    for (; h->fed < until; h->fed++) {
        PLMM_TRY(offer(f, h, w, f->data.devices[index].first + h->fed, err));
    }
    return make_examples(f, h, w, err);
}

plmm_status feed_until(fleet *f, uint32_t slot, plmm_error *err)
{
    uint64_t start = plmm_clock_us();
    feeding x = {f, slot};
    plmm_status rc = plmm_pool_run(f->pool, f->data.n_devices, feed_one, &x, err);
    f->watch.feed_us += plmm_clock_us() - start;
    return rc;
}
