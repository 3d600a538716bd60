/* plmm-model convert, export and merge: models and adapters from one form to another. */
#include "program.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plmm/gguf_save.h"
#include "plmm/json.h"
#include "plmm/score.h"

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

static plmm_status need_out(plmm_cli_args *a, const char **out, plmm_error *err)
{
    *out = plmm_cli_text(a, "out");
    if (*out == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "say with --out where the result goes");
    }
    if (strcmp(*out, a->operands[0]) == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "--out is the model itself");
    }
    return PLMM_OK;
}

/* --dtype, else that of the source; of a quantised source f32. */
static plmm_status type_of(plmm_cli_args *a, const plmm_checkpoint_info *source, plmm_dtype *out,
                           plmm_error *err)
{
    const char *text = plmm_cli_text(a, "dtype");
    *out = source->dtype != PLMM_DTYPE_OTHER ? source->dtype : PLMM_F32;
    return text != NULL ? dtype_of(text, out, err) : PLMM_OK;
}

static plmm_gguf_type gguf_of(plmm_dtype d)
{
    return d == PLMM_F32   ? PLMM_GGUF_TYPE_F32
           : d == PLMM_F16 ? PLMM_GGUF_TYPE_F16
                           : PLMM_GGUF_TYPE_BF16;
}

static plmm_status save(plmm_cli_args *a, const loaded *l, const char *out, plmm_dtype dtype,
                        plmm_error *err)
{
    if (ends_with(out, ".gguf")) {
        return plmm_gguf_save_model(out, l->model, gguf_of(dtype), err);
    }
    uint64_t shard = (uint64_t)plmm_cli_int(a, "shard-mb") * 1000000;
    return plmm_checkpoint_save_as(a->operands[0], out, l->model, dtype, l->tokenizer, shard, err);
}

static double megabytes(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

static void print_info(const char *what, const plmm_checkpoint_info *i)
{
    (void)printf("%-8s %s, %s, %" PRIu64 " parameters, %.2f MB of weights\n", what, i->format,
                 i->types, i->parameters, megabytes(i->bytes));
}

/* --- convert --- */

static plmm_status convert(plmm_cli_args *a, const loaded *l, plmm_error *err)
{
    plmm_checkpoint_info before, after;
    plmm_dtype dtype;
    const char *out;
    PLMM_TRY(need_out(a, &out, err));
    PLMM_TRY(plmm_checkpoint_describe(a->operands[0], &before, err));
    PLMM_TRY(type_of(a, &before, &dtype, err));
    PLMM_TRY(save(a, l, out, dtype, err));
    PLMM_TRY(plmm_checkpoint_describe(out, &after, err));
    print_info("read", &before);
    print_info("written", &after);
    return PLMM_OK;
}

plmm_status verb_convert(plmm_cli_args *a, plmm_error *err)
{
    loaded l = {0};
    PLMM_TRY(plmm_checkpoint_load(a->operands[0], &l.model, &l.tokenizer, err));
    plmm_status rc = convert(a, &l, err);
    loaded_free(&l);
    return rc;
}

/* --- export --- */

static plmm_status export_adapter(plmm_cli_args *a, const loaded *l, plmm_error *err)
{
    plmm_dtype dtype = PLMM_F32;
    const char *out, *text = plmm_cli_text(a, "dtype");
    PLMM_TRY(need_out(a, &out, err));
    if (text != NULL) {
        PLMM_TRY(dtype_of(text, &dtype, err));
    }
    if (l->stack.count != 1) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "export takes one --adapter, %zu were given",
                         l->stack.count);
    }
    PLMM_TRY(plmm_gguf_save_adapter(out, l->adapters[0], dtype, err));
    (void)printf("%zu parameters of rank %u written to %s\n", plmm_adapter_count(l->adapters[0]),
                 plmm_adapter_spec(l->adapters[0])->rank, out);
    return PLMM_OK;
}

plmm_status verb_export(plmm_cli_args *a, plmm_error *err)
{
    loaded l;
    PLMM_TRY(load_model(a, &l, err));
    plmm_status rc = export_adapter(a, &l, err);
    loaded_free(&l);
    return rc;
}

/* --- merge --- */

/* Perplexity of held-out text; NAN without any. */
static plmm_status measure(plmm_cli_args *a, const loaded *l, const plmm_stack *stack, double *out,
                           plmm_error *err)
{
    const char *path = plmm_cli_text(a, "held-out");
    dataset d = {.n = 0};
    double loss = NAN;
    *out = NAN;
    if (path == NULL) {
        return PLMM_OK;
    }
    if (l->tokenizer == NULL) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND,
                         "--held-out needs a tokenizer, there is none beside %s", a->operands[0]);
    }
    plmm_status rc =
        dataset_read(&d, path, &l->chat, plmm_model_cfg(l->model)->context, LEARN_RESPONSES, err);
    if (rc == PLMM_OK) {
        rc = dataset_loss(&d, l->model, stack, l->rank, &loss, err);
    }
    dataset_free(&d);
    *out = exp(loss);
    return rc;
}

/* The model becomes what it was with its adapters on top. */
static plmm_status merge_all(loaded *l, plmm_error *err)
{
    for (size_t i = 0; i < l->stack.count; i++) {
        PLMM_TRY(plmm_adapter_merge(l->adapters[i], l->model, err));
    }
    return plmm_model_seal(l->model, err);
}

typedef struct merged {
    plmm_checkpoint_info before, after;
    double base, adapted, merged; /* perplexities */
} merged;

static plmm_status report(plmm_cli_args *a, const merged *r, plmm_error *err)
{
    const struct {
        const char *key;
        double value;
    } rows[] = {{"perplexity_base", r->base},
                {"perplexity_with_adapters", r->adapted},
                {"perplexity_merged", r->merged}};
    if (!plmm_cli_flag(a, "json")) {
        print_info("base", &r->before);
        print_info("merged", &r->after);
        if (!isnan(r->base)) {
            (void)printf("perplexity %.4f of the base, %.4f with adapters on top, %.4f merged\n",
                         r->base, r->adapted, r->merged);
        }
        return PLMM_OK;
    }
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "bytes_before");
    plmm_json_put_u64(&w, r->before.bytes);
    plmm_json_put_key(&w, "bytes_after");
    plmm_json_put_u64(&w, r->after.bytes);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        plmm_json_put_key(&w, rows[i].key);
        plmm_json_put_real(&w, rows[i].value);
    }
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

/* What was written, read again: with the rounding of its type. */
static plmm_status measure_written(plmm_cli_args *a, const loaded *l, const char *out, double *ppl,
                                   plmm_error *err)
{
    loaded again = *l; /* its tokenizer and chat */
    static const plmm_stack none = {NULL, 0};
    *ppl = NAN;
    if (plmm_cli_text(a, "held-out") == NULL || ends_with(out, ".gguf")) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_checkpoint_load(out, &again.model, NULL, err));
    plmm_status rc = measure(a, &again, &none, ppl, err);
    plmm_model_free(again.model);
    return rc;
}

static plmm_status merge(plmm_cli_args *a, loaded *l, plmm_error *err)
{
    merged r = {.base = NAN};
    plmm_dtype dtype;
    const char *out;
    static const plmm_stack none = {NULL, 0};
    PLMM_TRY(need_out(a, &out, err));
    if (l->stack.count == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "say with --adapter what to merge");
    }
    PLMM_TRY(plmm_checkpoint_describe(a->operands[0], &r.before, err));
    PLMM_TRY(type_of(a, &r.before, &dtype, err));
    PLMM_TRY(measure(a, l, &none, &r.base, err));
    PLMM_TRY(measure(a, l, &l->stack, &r.adapted, err));
    PLMM_TRY(merge_all(l, err));
    PLMM_TRY(save(a, l, out, dtype, err));
    PLMM_TRY(plmm_checkpoint_describe(out, &r.after, err));
    PLMM_TRY(measure_written(a, l, out, &r.merged, err));
    return report(a, &r, err);
}

plmm_status verb_merge(plmm_cli_args *a, plmm_error *err)
{
    loaded l;
    PLMM_TRY(load_model(a, &l, err));
    plmm_status rc = merge(a, &l, err);
    loaded_free(&l);
    return rc;
}
