/* plmm-model prune: a model with fewer layers. */
#include "program.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/progress.h"

typedef struct job {
    plmm_cli_args *a;
    plmm_model *model, *pruned;
    plmm_tokenizer *tokenizer;
    plmm_chat chat;
    dataset data, held;
    uint32_t *kept, n; /* layers of the model that stay, increasing */
    plmm_dtype dtype;
} job;

/* The name of a layer's tensor after "model.layers.I.", and I; NULL for others. */
static const char *layer_part(const char *name, uint32_t *layer)
{
    static const char prefix[] = "model.layers.";
    char *end;
    if (strncmp(name, prefix, strlen(prefix)) != 0) {
        return NULL;
    }
    *layer = (uint32_t)strtoul(name + strlen(prefix), &end, 10);
    return end + 1;
}

static void copy_view(const plmm_model *from, const plmm_view *v, plmm_model *to, uint32_t layer,
                      const char *part)
{
    char name[sizeof v->name];
    (void)snprintf(name, sizeof name, "%s", v->name);
    if (part != NULL) {
        (void)snprintf(name, sizeof name, "model.layers.%u.%s", layer, part);
    }
    const plmm_view *at = plmm_model_find(to, name);
    PLMM_ASSERT(at != NULL && at->rows * at->cols == v->rows * v->cols);
    memcpy(plmm_model_params(to) + at->offset, plmm_model_weights(from) + v->offset,
           v->rows * v->cols * sizeof(float));
}

/* The model with only the layers kept[0..n). */
static plmm_status cut(const plmm_model *m, const uint32_t *kept, uint32_t n, plmm_model **out,
                       plmm_error *err)
{
    plmm_model_config cfg = *plmm_model_cfg(m);
    size_t views;
    const plmm_view *v = plmm_model_views(m, &views);
    cfg.layers = n;
    PLMM_TRY(plmm_model_new(&cfg, out, err));
    for (size_t i = 0; i < views; i++) {
        uint32_t layer = 0, place = 0;
        const char *part = layer_part(v[i].name, &layer);
        while (part != NULL && place < n && kept[place] != layer) {
            place++;
        }
        if (part == NULL || place < n) {
            copy_view(m, &v[i], *out, place, part);
        }
    }
    return plmm_model_seal(*out, err);
}

/* Evenly spread, the first and the last among them. */
static void spread(job *j, uint32_t depth)
{
    uint32_t layers = plmm_model_cfg(j->model)->layers;
    for (uint32_t i = 0; i < depth; i++) {
        j->kept[i] = depth == 1 ? 0 : i * (layers - 1) / (depth - 1);
    }
    j->n = depth;
}

static plmm_status loss_without(job *j, uint32_t place, double *loss, plmm_error *err)
{
    plmm_model *m = NULL;
    uint32_t out = j->kept[place], n = j->n - 1;
    memmove(j->kept + place, j->kept + place + 1, (n - place) * sizeof *j->kept);
    plmm_status rc = cut(j->model, j->kept, n, &m, err);
    if (rc == PLMM_OK) {
        rc = dataset_loss(&j->data, m, NULL, 0, loss, err);
    }
    memmove(j->kept + place + 1, j->kept + place, (n - place) * sizeof *j->kept);
    j->kept[place] = out;
    plmm_model_free(m);
    return rc;
}

/* Takes out, one after the other, the layer whose loss is the least missed. */
static plmm_status choose(job *j, uint32_t depth, plmm_error *err)
{
    plmm_progress bar;
    uint64_t tried = 0, all = 0;
    for (uint32_t n = j->n; n > depth; n--) {
        all += n;
    }
    plmm_progress_start(&bar, "prune", "layers tried", all);
    if (plmm_cli_flag(j->a, "quiet")) {
        plmm_progress_silence(&bar);
    }
    while (j->n > depth) {
        double least = INFINITY;
        uint32_t best = 0;
        for (uint32_t i = 0; i < j->n; i++) {
            double loss = NAN;
            PLMM_TRY(loss_without(j, i, &loss, err));
            best = loss < least ? i : best;
            least = loss < least ? loss : least;
            plmm_progress_update(&bar, ++tried, NULL);
        }
        j->n--;
        memmove(j->kept + best, j->kept + best + 1, (j->n - best) * sizeof *j->kept);
    }
    plmm_progress_end(&bar);
    return PLMM_OK;
}

static plmm_status read_set(job *j, const char *option, dataset *d, plmm_error *err)
{
    const char *path = plmm_cli_text(j->a, option);
    if (path == NULL) {
        return PLMM_OK;
    }
    if (j->tokenizer == NULL) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND, "--%s needs a tokenizer, there is none beside %s",
                         option, j->a->operands[0]);
    }
    return dataset_read(d, path, &j->chat, plmm_model_cfg(j->model)->context, LEARN_ALL, err);
}

static plmm_status prepare(job *j, uint32_t *depth, plmm_error *err)
{
    PLMM_TRY(dtype_of(plmm_cli_text(j->a, "dtype"), &j->dtype, err));
    PLMM_TRY(plmm_checkpoint_load(j->a->operands[0], &j->model, &j->tokenizer, err));
    const plmm_model_config *c = plmm_model_cfg(j->model);
    *depth = (uint32_t)plmm_cli_int(j->a, "depth");
    if (*depth < 1 || *depth >= c->layers) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "--depth is %u, must be 1..%u: the model has %u layers", *depth,
                         c->layers - 1, c->layers);
    }
    if (j->tokenizer != NULL) {
        plmm_chat_init(&j->chat, j->tokenizer, c->bos, c->eos);
    }
    PLMM_TRY(read_set(j, "data", &j->data, err));
    PLMM_TRY(read_set(j, "held-out", &j->held, err));
    j->kept = plmm_alloc(c->layers, sizeof *j->kept);
    if (j->kept == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot prune: out of memory");
    }
    for (j->n = 0; j->n < c->layers; j->n++) {
        j->kept[j->n] = j->n;
    }
    return PLMM_OK;
}

static plmm_status report(job *j, plmm_error *err)
{
    model_measure before, after;
    const dataset *d = j->held.n > 0 ? &j->held : &j->data;
    PLMM_TRY(measure_model(j->model, d, &before, err));
    PLMM_TRY(measure_model(j->pruned, d, &after, err));
    if (plmm_cli_flag(j->a, "json")) {
        plmm_json_writer w;
        plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
        plmm_json_open_object(&w);
        plmm_json_put_key(&w, "kept");
        plmm_json_open_array(&w);
        for (uint32_t i = 0; i < j->n; i++) {
            plmm_json_put_u64(&w, j->kept[i]);
        }
        plmm_json_close_array(&w);
        measure_put(&w, "before", &before, j->dtype);
        measure_put(&w, "after", &after, j->dtype);
        plmm_json_close_object(&w);
        return plmm_json_end(&w, err);
    }
    measure_print("before", &before, j->dtype);
    measure_print("after", &after, j->dtype);
    (void)printf("layers kept:");
    for (uint32_t i = 0; i < j->n; i++) {
        (void)printf(" %u", j->kept[i]);
    }
    (void)printf("\n");
    return PLMM_OK;
}

static plmm_status run(job *j, plmm_error *err)
{
    uint32_t depth;
    PLMM_TRY(prepare(j, &depth, err));
    if (j->data.n > 0) {
        PLMM_TRY(choose(j, depth, err));
    } else {
        spread(j, depth);
    }
    PLMM_TRY(cut(j->model, j->kept, j->n, &j->pruned, err));
    PLMM_TRY(
        plmm_checkpoint_save(plmm_cli_text(j->a, "out"), j->pruned, j->dtype, j->tokenizer, err));
    return report(j, err);
}

plmm_status verb_prune(plmm_cli_args *a, plmm_error *err)
{
    job j = {.a = a};
    if (plmm_cli_text(a, "out") == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "say with --out DIR where the model goes");
    }
    plmm_status rc = run(&j, err);
    plmm_free(j.kept);
    dataset_free(&j.data);
    dataset_free(&j.held);
    plmm_model_free(j.pruned);
    plmm_model_free(j.model);
    plmm_tokenizer_free(j.tokenizer);
    return rc;
}
