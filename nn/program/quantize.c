/* plmm-model quantize: a model in fewer bits. */
#include "program.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plmm/file.h"
#include "plmm/gguf_save.h"

typedef struct job {
    plmm_cli_args *a;
    plmm_model *model, *small;
    plmm_tokenizer *tokenizer;
    plmm_chat chat;
    dataset held;
    plmm_gguf_type type;
    char file[PLMM_PATH_MAX]; /* DIR/model.gguf */
} job;

static plmm_status read_type(job *j, plmm_error *err)
{
    const char *text = plmm_cli_text(j->a, "type");
    j->type = strcmp(text, "q8_0") == 0 ? PLMM_GGUF_TYPE_Q8_0 : PLMM_GGUF_TYPE_Q4_0;
    if (j->type == PLMM_GGUF_TYPE_Q4_0 && strcmp(text, "q4_0") != 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "--type is \"%s\", must be q8_0 or q4_0", text);
    }
    return PLMM_OK;
}

static plmm_status read_held_out(job *j, plmm_error *err)
{
    const char *path = plmm_cli_text(j->a, "held-out");
    const plmm_model_config *c = plmm_model_cfg(j->model);
    if (path == NULL) {
        return PLMM_OK;
    }
    if (j->tokenizer == NULL) {
        return plmm_fail(err, PLMM_ERR_NOTFOUND,
                         "--held-out needs a tokenizer, there is none beside %s",
                         j->a->operands[0]);
    }
    plmm_chat_init(&j->chat, j->tokenizer, c->bos, c->eos);
    return dataset_read(&j->held, path, &j->chat, c->context, LEARN_RESPONSES, err);
}

/* The file and, beside it, what it needs of a source that is a directory. */
static plmm_status write_all(job *j, plmm_error *err)
{
    const char *dir = plmm_cli_text(j->a, "out");
    char config[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(j->file, sizeof j->file, dir, "model.gguf", err));
    PLMM_TRY(plmm_path_join(config, sizeof config, j->a->operands[0], "config.json", err));
    PLMM_TRY(plmm_dir_make(dir, 0755, err));
    PLMM_TRY(plmm_gguf_save_model(j->file, j->model, j->type, err));
    return plmm_path_exists(config) ? plmm_checkpoint_copy_companions(j->a->operands[0], dir, err)
                                    : PLMM_OK;
}

/* Reads the file again and keeps it as the bits it has, as a device would. */
static plmm_status read_again(job *j, plmm_error *err)
{
    PLMM_TRY(plmm_checkpoint_load(j->file, &j->small, NULL, err));
    return plmm_model_freeze(j->small,
                             j->type == PLMM_GGUF_TYPE_Q8_0 ? PLMM_BASE_INT8 : PLMM_BASE_INT4, err);
}

static void print_row(const char *what, const plmm_checkpoint_info *i, const model_measure *m)
{
    (void)printf("%-8s %s, %.2f MB of weights", what, i->types, (double)i->bytes / 1e6);
    if (!isnan(m->perplexity)) {
        (void)printf(", perplexity %.4f, %.0f tokens/s", m->perplexity, m->tokens_per_s);
    }
    (void)printf("\n");
}

static void put_row(plmm_json_writer *w, const char *key, const plmm_checkpoint_info *i,
                    const model_measure *m)
{
    plmm_json_put_key(w, key);
    plmm_json_open_object(w);
    plmm_json_put_key(w, "bytes");
    plmm_json_put_u64(w, i->bytes);
    plmm_json_put_key(w, "types");
    plmm_json_put_text(w, i->types);
    if (!isnan(m->perplexity)) {
        plmm_json_put_key(w, "perplexity");
        plmm_json_put_real(w, m->perplexity);
        plmm_json_put_key(w, "tokens_per_s");
        plmm_json_put_real(w, m->tokens_per_s);
    }
    plmm_json_close_object(w);
}

static plmm_status report(job *j, plmm_error *err)
{
    plmm_checkpoint_info before, after;
    model_measure m[2];
    PLMM_TRY(plmm_checkpoint_describe(j->a->operands[0], &before, err));
    PLMM_TRY(plmm_checkpoint_describe(j->file, &after, err));
    PLMM_TRY(measure_model(j->model, &j->held, &m[0], err));
    PLMM_TRY(measure_model(j->small, &j->held, &m[1], err));
    if (!plmm_cli_flag(j->a, "json")) {
        print_row("before", &before, &m[0]);
        print_row("after", &after, &m[1]);
        return PLMM_OK;
    }
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    put_row(&w, "before", &before, &m[0]);
    put_row(&w, "after", &after, &m[1]);
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

static plmm_status run(job *j, plmm_error *err)
{
    PLMM_TRY(read_type(j, err));
    PLMM_TRY(plmm_checkpoint_load(j->a->operands[0], &j->model, &j->tokenizer, err));
    PLMM_TRY(read_held_out(j, err));
    PLMM_TRY(write_all(j, err));
    PLMM_TRY(read_again(j, err));
    return report(j, err);
}

plmm_status verb_quantize(plmm_cli_args *a, plmm_error *err)
{
    job j = {.a = a};
    if (plmm_cli_text(a, "out") == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "say with --out DIR where the model goes");
    }
    plmm_status rc = run(&j, err);
    dataset_free(&j.held);
    plmm_model_free(j.small);
    plmm_model_free(j.model);
    plmm_tokenizer_free(j.tokenizer);
    return rc;
}
