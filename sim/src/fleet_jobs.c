/* fleet_jobs.c -- what takes real time on a device: training and masking. Training is put off until
 * the first result is asked for, and then done for all that wait, side by side on the pool: which
 * thread trains whom, and when, leaves no trace in the results. */
#include "fleet.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"

#include <string.h>

uint64_t job_training_ms(const fleet *f, const client *c, const plmm_round_params *p)
{
    double tokens = (double)p->steps * p->batch_tokens;
    return 1 + (uint64_t)(1000.0 * tokens / f->holders[c->device].traits.tokens_per_s);
}

plmm_status job_train(fleet *f, client *c, plmm_error *err)
{
    if (c->job == JOB_WAITING) {
        return PLMM_OK; /* it crashed and asks again: the same training */
    }
    size_t n = c->params.length;
    if (c->delta_len != n) {
        float *delta = plmm_alloc(n, sizeof *delta);
        uint32_t *plain = plmm_alloc(n + 1, sizeof *plain);
        if (delta == NULL || plain == NULL) {
            plmm_free(delta);
            plmm_free(plain);
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold an update of %zu: out of memory", n);
        }
        plmm_free(c->delta);
        plmm_free(c->plain);
        c->delta = delta;
        c->plain = plain;
        c->delta_len = n;
    }
    c->job = JOB_WAITING;
    f->waiting[f->n_waiting++] = c;
    return PLMM_OK;
}

void job_forget(fleet *f, client *c)
{
    for (size_t i = 0; i < f->n_waiting; i++) {
        if (f->waiting[i] == c) {
            memmove(&f->waiting[i], &f->waiting[i + 1],
                    (f->n_waiting - i - 1) * sizeof *f->waiting);
            f->n_waiting--;
            break;
        }
    }
    c->job = JOB_NONE;
}

static plmm_trainer_params trainer_params(const fleet *f, const client *c)
{
    const plmm_sim_config *cfg = f->cfg;
    const plmm_round_params *p = &c->params;
    plmm_trainer_params t = plmm_trainer_params_default();
    t.opt = (plmm_local_opt)cfg->train.optimiser;
    t.steps = p->steps;
    t.batch_tokens = p->batch_tokens;
    t.lr = (float)p->learning_rate;
    t.lr_floor = (float)cfg->train.floor;
    t.warmup = cfg->train.warmup;
    t.schedule = (plmm_schedule)cfg->train.schedule;
    t.clip = (float)cfg->train.clip;
    t.decay = (float)cfg->train.decay;
    t.factors = (plmm_factor)p->factor;
    plmm_seed seed;
    fleet_seed(f, &seed, "training", (uint64_t)c->expert << 32 | c->device,
               p->round << 16 | p->attempt);
    memcpy(&t.seed, seed.b, sizeof t.seed);
    return t;
}

/* Turns a device's update round and makes it as long and as heavy as the round allows. */
static void lie(client *c)
{
    double scale = c->stats.delta_norm > 0 ? -c->params.clip / c->stats.delta_norm : 0;
    for (size_t i = 0; i < c->delta_len; i++) {
        c->delta[i] = (float)(scale * c->delta[i]);
    }
    c->stats.examples = c->params.weight_max;
}

static plmm_status train_one(void *ctx, size_t index, uint32_t thread, plmm_error *err)
{
    fleet *f = ctx;
    client *c = f->waiting[index];
    plmm_trainer_params p = trainer_params(f, c);
    plmm_status rc =
        plmm_trainer_run(f->workers[thread].trainer, f->model, f->experts[c->expert].adapter, NULL,
                         &f->holders[c->device].examples[c->expert], &p, c->delta, &c->stats, err);
    if (rc == PLMM_OK && f->cfg->secagg.error_feedback != 0) {
        plmm_feedback_add(&c->feedback, &c->params, c->delta);
    }
    if (rc == PLMM_OK && f->holders[c->device].traits.lies) {
        lie(c);
    }
    c->job = rc == PLMM_OK ? JOB_DONE : JOB_FAILED;
    return rc == PLMM_ERR_STATE ? PLMM_OK
                                : rc; /* it diverged: this device leaves, the run goes on */
}

plmm_status job_need(fleet *f, client *c, plmm_error *err)
{
    if (c->job == JOB_WAITING) {
        uint64_t start = plmm_clock_us();
        PLMM_TRY(plmm_pool_run(f->pool, f->n_waiting, train_one, f, err));
        for (size_t i = 0; i < f->n_waiting; i++) {
            f->watch.tokens += f->waiting[i]->stats.tokens;
        }
        f->watch.trainings += f->n_waiting;
        f->watch.train_us += plmm_clock_us() - start;
        f->n_waiting = 0;
    }
    PLMM_ASSERT(c->job == JOB_DONE || c->job == JOB_FAILED);
    return PLMM_OK;
}

/* What the machine is about to mask, computed beside it: the same encoding of the same update with
 * the same rounding (docs/protocol.md, section on a device's secrets). It stays in the
 * simulator. */
static plmm_status plain_lanes(client *c, const plmm_round_params *p, plmm_error *err)
{
    plmm_hash params;
    plmm_seed root;
    plmm_seed rounding;
    plmm_round_params_hash(&params, p);
    plmm_kdf(root.b, c->seed.b, "round.rt", params.b, sizeof params.b);
    plmm_seed_derive(&rounding, &root, "rounding", 0);
    plmm_encoding e = plmm_round_encoding(p);
    uint32_t weight = c->stats.examples < p->weight_max ? c->stats.examples : p->weight_max;
    plmm_xnoise noise = plmm_round_xnoise(p);
    PLMM_TRY(plmm_encode_int((int32_t *)c->plain, NULL, &e, c->delta, c->delta_len, weight,
                             noise.kind != PLMM_NOISE_NONE ? &noise : NULL, &rounding, err));
    plmm_lanes_reduce((int32_t *)c->plain, plmm_round_lanes(p), p->ring_bits);
    return PLMM_OK;
}

plmm_status job_mask(fleet *f, client *c, plmm_hash *digest, plmm_error *err)
{
    uint64_t start = plmm_clock_us();
    size_t len = plmm_client_round_payload(c->m);
    uint8_t *payload = plmm_alloc(len, 1);
    uint32_t *lanes = plmm_alloc(plmm_round_lanes(&c->params), sizeof *lanes);
    plmm_status rc = PLMM_OK;
    if (payload == NULL || lanes == NULL) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM, "cannot mask an update: out of memory");
    }
    rc = rc != PLMM_OK ? rc : plain_lanes(c, &c->params, err);
    rc = rc != PLMM_OK
             ? rc
             : plmm_client_round_mask(c->m, payload, digest, lanes, c->delta, c->delta_len, err);
    if (rc == PLMM_OK && f->cfg->secagg.error_feedback != 0) {
        rc = plmm_feedback_take(&c->feedback, c->m, &c->params, lanes, c->delta, err);
    }
    plmm_free(lanes);
    if (rc != PLMM_OK) {
        plmm_free(payload);
        return rc;
    }
    bytes_free(&c->upload);
    c->upload = (bytes){payload, len};
    f->watch.mask_us += plmm_clock_us() - start;
    return PLMM_OK;
}
