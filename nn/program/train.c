/* plmm-model train: an adapter from dialogues, on one machine. */
#include "program.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/json.h"
#include "plmm/peft.h"
#include "plmm/progress.h"

typedef struct job {
    plmm_cli_args *a;
    loaded l;
    plmm_adapter *adapter; /* the one that is trained; the stack holds it last */
    dataset train, held;
    batcher batches;
    plmm_workspace *w;
    plmm_adamw *adamw;
    float *grads;
    uint64_t steps;
    double held_before, held_after, first_loss, last_loss;
} job;

/* --- the adapter --- */

static plmm_status make_adapter(job *j, plmm_error *err)
{
    plmm_lora_spec spec = {.rank = (uint32_t)plmm_cli_int(j->a, "rank"),
                           .alpha = (float)plmm_cli_real(j->a, "alpha"),
                           .dropout = (float)plmm_cli_real(j->a, "dropout")};
    const char *init = plmm_cli_text(j->a, "init");
    const plmm_model_config *cfg = plmm_model_cfg(j->l.model);
    PLMM_TRY(targets_of(plmm_cli_text(j->a, "targets"), &spec.targets, err));
    if (spec.alpha == 0) {
        spec.alpha = 2 * (float)spec.rank;
    }
    if (j->l.stack.count == ADAPTERS_MAX) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "at most %d adapters can lie below a new one",
                         (int)ADAPTERS_MAX - 1);
    }
    plmm_adapter **slot = &j->l.adapters[j->l.stack.count];
    if (init != NULL) {
        PLMM_TRY(plmm_peft_load(init, cfg, slot, err));
    } else {
        PLMM_TRY(plmm_adapter_new(cfg, &spec, slot, err));
        plmm_adapter_init(*slot, (uint64_t)plmm_cli_int(j->a, "seed"));
    }
    j->adapter = *slot;
    j->l.stack.count++;
    j->l.rank += plmm_adapter_spec(j->adapter)->rank;
    return PLMM_OK;
}

/* --- data and memory --- */

static plmm_status read_data(job *j, plmm_error *err)
{
    size_t context = plmm_model_cfg(j->l.model)->context;
    size_t wanted = (size_t)plmm_cli_int(j->a, "max-length");
    context = wanted > 0 && wanted < context ? wanted : context;
    for (size_t i = 1; i < j->a->n_operands; i++) {
        PLMM_TRY(
            dataset_read(&j->train, j->a->operands[i], &j->l.chat, context, LEARN_RESPONSES, err));
    }
    const char *held = plmm_cli_text(j->a, "held-out");
    if (held != NULL) {
        PLMM_TRY(dataset_read(&j->held, held, &j->l.chat, context, LEARN_RESPONSES, err));
    }
    PLMM_TRY(batcher_init(&j->batches, &j->train, (size_t)plmm_cli_int(j->a, "batch-tokens"),
                          (uint64_t)plmm_cli_int(j->a, "seed"), err));
    int64_t steps = plmm_cli_int(j->a, "steps");
    j->steps =
        steps > 0 ? (uint64_t)steps : batcher_steps(&j->batches, plmm_cli_real(j->a, "epochs"));
    return PLMM_OK;
}

static plmm_status prepare(job *j, plmm_error *err)
{
    size_t longest = dataset_longest(&j->train), held = dataset_longest(&j->held);
    longest = longest > held ? longest : held;
    bool mezo = plmm_cli_real(j->a, "mezo") > 0;
    size_t tokens = j->batches.tokens_max < 512 ? j->batches.tokens_max : 512;
    plmm_workspace_params p = {.tokens = (uint32_t)(tokens > longest ? tokens : longest),
                               .seq_max = (uint32_t)longest,
                               .rank = j->l.rank,
                               .use = mezo ? PLMM_USE_EVAL : PLMM_USE_LORA,
                               .recompute = plmm_cli_flag(j->a, "recompute")};
    plmm_adamw_params ap = plmm_adamw_params_default();
    ap.decay = (float)plmm_cli_real(j->a, "decay");
    size_t n = plmm_adapter_count(j->adapter);
    PLMM_TRY(plmm_workspace_new(plmm_model_cfg(j->l.model), &p, &j->w, err));
    if (mezo) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_adamw_new(n, &ap, &j->adamw, err));
    j->grads = plmm_alloc(n, sizeof *j->grads);
    return j->grads != NULL ? PLMM_OK
                            : plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %zu gradients", n);
}

/* --- training --- */

static plmm_status held_out_loss(job *j, double *loss, plmm_error *err)
{
    batcher b;
    plmm_loss_sum sum = {0};
    *loss = NAN;
    if (j->held.n == 0) {
        return PLMM_OK;
    }
    PLMM_TRY(batcher_init(&b, &j->held, j->batches.tokens_max, 0, err));
    plmm_status rc = PLMM_OK;
    for (size_t seen = 0; seen < j->held.n && rc == PLMM_OK;) {
        plmm_batch batch;
        batcher_next(&b, &batch);
        seen += batch.seqs;
        rc = plmm_loss(j->w, j->l.model, &j->l.stack, &batch, &sum, err);
    }
    batcher_free(&b);
    *loss = sum.count > 0 ? sum.nll / (double)sum.count : NAN;
    return rc;
}

static plmm_status one_step(job *j, uint64_t i, double *loss, plmm_error *err)
{
    plmm_batch batch;
    uint64_t warmup = (uint64_t)plmm_cli_int(j->a, "warmup");
    plmm_step_params p = {
        .lr = plmm_schedule_lr(PLMM_SCHEDULE_COSINE, (float)plmm_cli_real(j->a, "lr"), 0.1f, i,
                               warmup < j->steps / 2 ? warmup : j->steps / 2, j->steps),
        .clip = (float)plmm_cli_real(j->a, "clip"),
        .factors = PLMM_FACTOR_AB,
        .dropout_seed = i + 1};
    batcher_next(&j->batches, &batch);
    if (j->adamw == NULL) {
        plmm_mezo_params mezo = {.lr = p.lr,
                                 .eps = (float)plmm_cli_real(j->a, "mezo"),
                                 .factors = p.factors,
                                 .seed = (uint64_t)plmm_cli_int(j->a, "seed") << 32 ^ i};
        return plmm_step_mezo(j->w, j->l.model, &j->l.stack, j->adapter, &batch, &mezo, loss, err);
    }
    return plmm_step_lora(j->w, j->l.model, &j->l.stack, j->adapter, j->adamw, &batch, &p, j->grads,
                          loss, err);
}

static plmm_status train(job *j, plmm_error *err)
{
    plmm_progress bar;
    double loss;
    plmm_progress_start(&bar, "train", "steps", j->steps);
    if (plmm_cli_flag(j->a, "quiet")) {
        plmm_progress_silence(&bar);
    }
    for (uint64_t i = 0; i < j->steps; i++) {
        char note[64];
        PLMM_TRY(one_step(j, i, &loss, err));
        if (!isfinite(loss)) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "the loss of step %" PRIu64 " is no number: lower --lr", i);
        }
        j->last_loss = i == 0 ? loss : 0.95 * j->last_loss + 0.05 * loss;
        j->first_loss = i == 0 ? loss : j->first_loss;
        (void)snprintf(note, sizeof note, "loss %.3f", j->last_loss);
        plmm_progress_update(&bar, i + 1, note);
    }
    plmm_progress_end(&bar);
    return PLMM_OK;
}

/* --- report --- */

static void put_real(plmm_json_writer *w, const char *key, double v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_real(w, v);
}

static plmm_status report(const job *j, plmm_error *err)
{
    if (plmm_cli_flag(j->a, "json")) {
        plmm_json_writer w;
        plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
        plmm_json_open_object(&w);
        plmm_json_put_key(&w, "parameters");
        plmm_json_put_u64(&w, plmm_adapter_count(j->adapter));
        plmm_json_put_key(&w, "sequences");
        plmm_json_put_u64(&w, j->train.n);
        plmm_json_put_key(&w, "steps");
        plmm_json_put_u64(&w, j->steps);
        put_real(&w, "first_loss", j->first_loss);
        put_real(&w, "last_loss", j->last_loss);
        put_real(&w, "held_out_before", j->held_before);
        put_real(&w, "held_out_after", j->held_after);
        plmm_json_close_object(&w);
        return plmm_json_end(&w, err);
    }
    (void)printf("%zu parameters trained on %zu dialogues in %" PRIu64 " steps\n",
                 plmm_adapter_count(j->adapter), j->train.n, j->steps);
    (void)printf("loss %.4f at first, %.4f at last\n", j->first_loss, j->last_loss);
    if (j->held.n > 0) {
        (void)printf("held-out loss %.4f before, %.4f after\n", j->held_before, j->held_after);
    }
    (void)printf("written to %s\n", plmm_cli_text(j->a, "out"));
    return PLMM_OK;
}

static plmm_status run(job *j, plmm_error *err)
{
    plmm_dtype dtype;
    const char *out = plmm_cli_text(j->a, "out");
    PLMM_TRY(dtype_of(plmm_cli_text(j->a, "dtype"), &dtype, err));
    PLMM_TRY(load_all(j->a, &j->l, err));
    PLMM_TRY(use_template(j->a, &j->l, err));
    PLMM_TRY(make_adapter(j, err));
    PLMM_TRY(read_data(j, err));
    PLMM_TRY(prepare(j, err));
    PLMM_TRY(held_out_loss(j, &j->held_before, err));
    PLMM_TRY(train(j, err));
    PLMM_TRY(held_out_loss(j, &j->held_after, err));
    PLMM_TRY(plmm_peft_save(out, j->adapter, dtype, j->a->operands[0], err));
    return report(j, err);
}

plmm_status verb_train(plmm_cli_args *a, plmm_error *err)
{
    job j = {.a = a};
    if (plmm_cli_text(a, "out") == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "say with --out DIR where the adapter goes");
    }
    plmm_status rc = run(&j, err);
    plmm_free(j.grads);
    plmm_adamw_free(j.adamw);
    plmm_workspace_free(j.w);
    batcher_free(&j.batches);
    dataset_free(&j.train);
    dataset_free(&j.held);
    loaded_free(&j.l);
    return rc;
}
