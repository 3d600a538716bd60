/* plmm-model pretrain: a base model from text; distill: one that learns from another as well. */
#include "program.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/progress.h"
#include "plmm/score.h"

typedef struct job {
    plmm_cli_args *a;
    plmm_tokenizer *tokenizer;
    plmm_model *model, *teacher; /* teacher NULL: none */
    size_t first;                /* operand that is the first file of data */
    plmm_chat chat;
    dataset train, held;
    batcher batches;
    plmm_pool *pool;
    plmm_shards *shards;
    plmm_adamw *adamw;
    float *grads;
    plmm_dtype dtype;
    uint64_t steps;
    double first_loss, last_loss, best_held;
} job;

static plmm_status no_memory(plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_NOMEM, "cannot train: out of memory");
}

/* --- tokenizer --- */

static plmm_status feed(void *trainer, const char *text, size_t len, plmm_error *err)
{
    return plmm_tokenizer_trainer_feed(trainer, text, len, err);
}

static plmm_status train_tokenizer(job *j, plmm_error *err)
{
    plmm_tokenizer_params p = {.vocab = (uint32_t)plmm_cli_int(j->a, "vocab"),
                               .min_count = 2,
                               .specials = plmm_chat_specials,
                               .n_specials = PLMM_CHAT_SPECIALS};
    plmm_tokenizer_trainer *tr;
    PLMM_TRY(plmm_tokenizer_trainer_new(&p, &tr, err));
    plmm_status rc = PLMM_OK;
    for (size_t i = j->first; i < j->a->n_operands && rc == PLMM_OK; i++) {
        rc = texts_of(j->a->operands[i], feed, tr, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_tokenizer_trainer_finish(tr, &j->tokenizer, err);
    }
    plmm_tokenizer_trainer_free(tr);
    return rc;
}

/* --- model --- */

static plmm_status config_from_file(const char *path, plmm_model_config *cfg, plmm_error *err)
{
    uint8_t *bytes;
    size_t len;
    PLMM_TRY(plmm_file_read(path, 1 << 20, &bytes, &len, err));
    plmm_status rc = plmm_checkpoint_parse_config((const char *)bytes, len, path, cfg, err);
    plmm_free(bytes);
    return rc;
}

static uint32_t size_of(const job *j, const char *option)
{
    return (uint32_t)plmm_cli_int(j->a, option);
}

static plmm_status new_model(job *j, plmm_error *err)
{
    const char *file = plmm_cli_text(j->a, "config");
    plmm_model_config cfg = {.dim = size_of(j, "dim"),
                             .layers = size_of(j, "layers"),
                             .heads = size_of(j, "heads"),
                             .kv_heads = size_of(j, "kv-heads"),
                             .hidden = size_of(j, "hidden"),
                             .context = size_of(j, "context"),
                             .rope_theta = 10000,
                             .norm_eps = 1e-5f,
                             .tied = !plmm_cli_flag(j->a, "untied"),
                             .pad = -1};
    cfg.head_dim = cfg.dim / cfg.heads;
    if (cfg.context == 0) {
        cfg.context = plmm_model_cfg(j->teacher)->context;
    }
    if (file != NULL) {
        PLMM_TRY(config_from_file(file, &cfg, err));
    }
    cfg.vocab =
        j->teacher != NULL ? plmm_model_cfg(j->teacher)->vocab : plmm_tokenizer_vocab(j->tokenizer);
    cfg.bos = plmm_tokenizer_bos(j->tokenizer);
    cfg.eos = plmm_tokenizer_eos(j->tokenizer);
    PLMM_TRY(plmm_model_new(&cfg, &j->model, err));
    plmm_model_init_random(j->model, (uint64_t)plmm_cli_int(j->a, "seed"));
    return plmm_model_seal(j->model, err);
}

static plmm_status load(const char *path, plmm_model **m, plmm_tokenizer **t, plmm_error *err)
{
    PLMM_TRY(plmm_checkpoint_load(path, m, t, err));
    return t == NULL || *t != NULL
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_NOTFOUND, "there is no tokenizer beside %s", path);
}

static plmm_status prepare_model(job *j, plmm_error *err)
{
    const char *init = plmm_cli_text(j->a, "init");
    if (j->teacher != NULL) { /* its tokenizer is there: it is the student's, too */
        PLMM_TRY(init != NULL ? load(init, &j->model, NULL, err) : new_model(j, err));
    } else if (init != NULL) {
        PLMM_TRY(load(init, &j->model, &j->tokenizer, err));
    } else {
        const char *tok = plmm_cli_text(j->a, "tokenizer");
        PLMM_TRY(tok != NULL ? plmm_tokenizer_load(tok, &j->tokenizer, err)
                             : train_tokenizer(j, err));
        PLMM_TRY(new_model(j, err));
    }
    const plmm_model_config *cfg = plmm_model_cfg(j->model);
    plmm_chat_init(&j->chat, j->tokenizer, cfg->bos, cfg->eos);
    return PLMM_OK;
}

/* --- data --- */

static plmm_status read_data(job *j, plmm_error *err)
{
    size_t context = plmm_model_cfg(j->model)->context;
    learn_what what = plmm_cli_flag(j->a, "responses-only") ? LEARN_RESPONSES : LEARN_ALL;
    for (size_t i = j->first; i < j->a->n_operands; i++) {
        PLMM_TRY(dataset_read(&j->train, j->a->operands[i], &j->chat, context, what, err));
    }
    const char *held = plmm_cli_text(j->a, "held-out");
    if (held != NULL) {
        PLMM_TRY(dataset_read(&j->held, held, &j->chat, context, LEARN_RESPONSES, err));
    }
    uint64_t seed = (uint64_t)plmm_cli_int(j->a, "seed");
    PLMM_TRY(batcher_init(&j->batches, &j->train, size_of(j, "batch-tokens"), seed, err));
    int64_t steps = plmm_cli_int(j->a, "steps");
    j->steps =
        steps > 0 ? (uint64_t)steps : batcher_steps(&j->batches, plmm_cli_real(j->a, "epochs"));
    return PLMM_OK;
}

static plmm_status prepare_training(job *j, plmm_error *err)
{
    const plmm_model_config *cfg = plmm_model_cfg(j->model);
    size_t longest = dataset_longest(&j->train), held = dataset_longest(&j->held);
    longest = longest > held ? longest : held;
    uint32_t shards = size_of(j, "shards");
    size_t share = j->batches.tokens_max / shards;
    share = share > 512 ? 512 : share;
    plmm_workspace_params wp = {.tokens = (uint32_t)(share > longest ? share : longest),
                                .seq_max = (uint32_t)longest,
                                .use = PLMM_USE_FULL};
    plmm_adamw_params ap = plmm_adamw_params_default();
    ap.beta2 = 0.99f;
    ap.decay = (float)plmm_cli_real(j->a, "decay");
    PLMM_TRY(plmm_pool_new(size_of(j, "threads"), &j->pool, err));
    PLMM_TRY(plmm_shards_new(cfg, &wp, shards, &j->shards, err));
    if (j->teacher != NULL) {
        plmm_teaching t = {.teacher = j->teacher,
                           .weight = (float)plmm_cli_real(j->a, "teacher-weight"),
                           .temperature = (float)plmm_cli_real(j->a, "temperature"),
                           .hidden = (float)plmm_cli_real(j->a, "hidden-weight")};
        PLMM_TRY(plmm_shards_teach(j->shards, &t, err));
    }
    PLMM_TRY(plmm_adamw_new(plmm_model_count(j->model), &ap, &j->adamw, err));
    j->grads = plmm_alloc(plmm_model_count(j->model), sizeof *j->grads);
    return j->grads == NULL ? no_memory(err) : PLMM_OK;
}

/* --- training --- */

static plmm_status held_out_loss(job *j, double *loss, plmm_error *err)
{
    batcher b;
    plmm_loss_sum sum = {0};
    PLMM_TRY(batcher_init(&b, &j->held, j->batches.tokens_max, 0, err));
    plmm_status rc = PLMM_OK;
    for (size_t seen = 0; seen < j->held.n && rc == PLMM_OK;) {
        plmm_batch batch;
        batcher_next(&b, &batch);
        seen += batch.seqs;
        rc = plmm_shards_loss(j->shards, j->pool, j->model, &batch, &sum, err);
    }
    batcher_free(&b);
    *loss = sum.count > 0 ? sum.nll / (double)sum.count : NAN;
    return rc;
}

static plmm_status save(job *j, plmm_error *err)
{
    return plmm_checkpoint_save(plmm_cli_text(j->a, "out"), j->model, j->dtype, j->tokenizer, err);
}

static plmm_status one_step(job *j, uint64_t i, double *loss, plmm_error *err)
{
    plmm_batch batch;
    uint64_t warmup = (uint64_t)plmm_cli_int(j->a, "warmup");
    plmm_step_params p = {
        .lr = plmm_schedule_lr(PLMM_SCHEDULE_COSINE, (float)plmm_cli_real(j->a, "lr"), 0.1f, i,
                               warmup < j->steps / 2 ? warmup : j->steps / 2, j->steps),
        .clip = (float)plmm_cli_real(j->a, "clip")};
    batcher_next(&j->batches, &batch);
    return plmm_step_full(j->shards, j->pool, j->model, j->adamw, &batch, &p, j->grads, loss, err);
}

static plmm_status train(job *j, plmm_error *err)
{
    plmm_progress bar;
    uint64_t every = (uint64_t)plmm_cli_int(j->a, "save-every");
    double smooth = 0, loss = 0;
    plmm_progress_start(&bar, j->teacher != NULL ? "distill" : "pretrain", "steps", j->steps);
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
        smooth = i == 0 ? loss : 0.95 * smooth + 0.05 * loss;
        j->first_loss = i == 0 ? loss : j->first_loss;
        (void)snprintf(note, sizeof note, "loss %.3f", smooth);
        plmm_progress_update(&bar, i + 1, note);
        if (every > 0 && (i + 1) % every == 0 && i + 1 < j->steps) {
            PLMM_TRY(save(j, err));
        }
    }
    plmm_progress_end(&bar);
    j->last_loss = smooth;
    return PLMM_OK;
}

/* --- report --- */

static void put_real(plmm_json_writer *w, const char *key, double v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_real(w, v);
}

static void put_u64(plmm_json_writer *w, const char *key, uint64_t v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_u64(w, v);
}

static plmm_status report_json(const job *j, double held, const model_measure *m, plmm_error *err)
{
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    put_u64(&w, "parameters", plmm_model_count(j->model));
    put_u64(&w, "vocab", plmm_tokenizer_vocab(j->tokenizer));
    put_u64(&w, "sequences", j->train.n);
    put_u64(&w, "tokens", j->train.tokens.n);
    put_u64(&w, "steps", j->steps);
    put_real(&w, "first_loss", j->first_loss);
    put_real(&w, "last_loss", j->last_loss);
    if (j->held.n > 0) {
        put_real(&w, "held_out_loss", held);
        put_real(&w, "held_out_perplexity", exp(held));
    }
    if (j->teacher != NULL) {
        measure_put(&w, "teacher", &m[0], j->dtype);
        measure_put(&w, "student", &m[1], j->dtype);
    }
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

static plmm_status report(job *j, plmm_error *err)
{
    double held = NAN;
    if (j->held.n > 0) {
        PLMM_TRY(held_out_loss(j, &held, err));
    }
    model_measure m[2];
    if (j->teacher != NULL) {
        PLMM_TRY(measure_model(j->teacher, &j->held, &m[0], err));
        PLMM_TRY(measure_model(j->model, &j->held, &m[1], err));
    }
    if (plmm_cli_flag(j->a, "json")) {
        return report_json(j, held, m, err);
    }
    (void)printf("%zu parameters, %u tokens in the vocabulary\n", plmm_model_count(j->model),
                 plmm_tokenizer_vocab(j->tokenizer));
    (void)printf("%zu sequences of %zu tokens in all, %" PRIu64 " steps\n", j->train.n,
                 j->train.tokens.n, j->steps);
    (void)printf("loss %.4f at first, %.4f at last\n", j->first_loss, j->last_loss);
    if (j->held.n > 0) {
        (void)printf("held-out loss %.4f, perplexity %.3f\n", held, exp(held));
    }
    if (j->teacher != NULL) {
        measure_print("teacher", &m[0], j->dtype);
        measure_print("student", &m[1], j->dtype);
    }
    (void)printf("written to %s\n", plmm_cli_text(j->a, "out"));
    return PLMM_OK;
}

static plmm_status run(job *j, plmm_error *err)
{
    PLMM_TRY(dtype_of(plmm_cli_text(j->a, "dtype"), &j->dtype, err));
    PLMM_TRY(prepare_model(j, err));
    PLMM_TRY(read_data(j, err));
    PLMM_TRY(prepare_training(j, err));
    PLMM_TRY(train(j, err));
    PLMM_TRY(save(j, err));
    return report(j, err);
}

static plmm_status whole(job *j, plmm_error *err)
{
    if (plmm_cli_text(j->a, "out") == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "say with --out DIR where the model goes");
    }
    plmm_status rc =
        j->first == 0 ? PLMM_OK : load(j->a->operands[0], &j->teacher, &j->tokenizer, err);
    rc = rc == PLMM_OK ? run(j, err) : rc;
    plmm_free(j->grads);
    plmm_adamw_free(j->adamw);
    plmm_shards_free(j->shards);
    plmm_pool_free(j->pool);
    batcher_free(&j->batches);
    dataset_free(&j->train);
    dataset_free(&j->held);
    plmm_model_free(j->teacher);
    plmm_model_free(j->model);
    plmm_tokenizer_free(j->tokenizer);
    return rc;
}

plmm_status verb_pretrain(plmm_cli_args *a, plmm_error *err)
{
    job j = {.a = a};
    return whole(&j, err);
}

plmm_status verb_distill(plmm_cli_args *a, plmm_error *err)
{
    job j = {.a = a, .first = 1};
    return whole(&j, err);
}
