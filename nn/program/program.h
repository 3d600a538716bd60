/* What the verbs of plmm-model share: data sets of token ids, and printing. */
#ifndef PLMM_NN_PROGRAM_H
#define PLMM_NN_PROGRAM_H

#include "plmm/chat.h"
#include "plmm/checkpoint.h"
#include "plmm/cli.h"
#include "plmm/json.h"
#include "plmm/lora.h"
#include "plmm/pool.h"
#include "plmm/rng.h"
#include "plmm/train.h"

/* --- verbs --- */

plmm_status verb_info(plmm_cli_args *a, plmm_error *err);
plmm_status verb_pretrain(plmm_cli_args *a, plmm_error *err);
plmm_status verb_distill(plmm_cli_args *a, plmm_error *err);
plmm_status verb_prune(plmm_cli_args *a, plmm_error *err);
plmm_status verb_quantize(plmm_cli_args *a, plmm_error *err);
plmm_status verb_train(plmm_cli_args *a, plmm_error *err);
plmm_status verb_generate(plmm_cli_args *a, plmm_error *err);
plmm_status verb_eval(plmm_cli_args *a, plmm_error *err);
plmm_status verb_convert(plmm_cli_args *a, plmm_error *err);
plmm_status verb_export(plmm_cli_args *a, plmm_error *err);
plmm_status verb_merge(plmm_cli_args *a, plmm_error *err);
plmm_status verb_tokenize(plmm_cli_args *a, plmm_error *err);

/* --- sequences of one data set --- */

/* Sequence i is tokens[begin[i] .. begin[i + 1]) with its targets. */
typedef struct dataset {
    plmm_ids tokens, targets;
    size_t *begin;
    size_t n, cap;
} dataset;

void dataset_free(dataset *d);

/* Adds one sequence; an empty one is left out. */
plmm_status dataset_add(dataset *d, const plmm_ids *tokens, const plmm_ids *targets,
                        plmm_error *err) PLMM_NODISCARD;

typedef enum learn_what { LEARN_RESPONSES, LEARN_ALL } learn_what;

/* Reads a file: .json and .jsonl hold dialogues, anything else is plain text, whose parts are
 * separated by empty lines. Sequences are at most `context` long; longer plain text is cut in
 * windows. */
plmm_status dataset_read(dataset *d, const char *path, const plmm_chat *chat, size_t context,
                         learn_what what, plmm_error *err) PLMM_NODISCARD;

/* Every text of a file in turn, for training a tokenizer. */
typedef plmm_status (*text_fn)(void *ctx, const char *text, size_t len, plmm_error *err);
plmm_status texts_of(const char *path, text_fn each, void *ctx, plmm_error *err) PLMM_NODISCARD;

/* Draws batches without end: each epoch in a new order. */
typedef struct batcher {
    const dataset *d;
    size_t tokens_max; /* of a batch; a longer sequence is a batch of its own */
    uint32_t *order;
    size_t at;
    uint64_t epoch;
    plmm_rng rng;
    int32_t *tokens, *targets;
    uint32_t *lens;
} batcher;

plmm_status batcher_init(batcher *b, const dataset *d, size_t tokens_max, uint64_t seed,
                         plmm_error *err) PLMM_NODISCARD;
void batcher_free(batcher *b);
void batcher_next(batcher *b, plmm_batch *out);

/* The steps that `epochs` passes over the data take, about. */
uint64_t batcher_steps(const batcher *b, double epochs);

size_t dataset_longest(const dataset *d);

/* Mean loss (nats) of the data's targets under the model with the stack (may be NULL), whose ranks
 * sum to at most `rank`; NAN without targets. */
plmm_status dataset_loss(const dataset *d, const plmm_model *m, const plmm_stack *stack,
                         uint32_t rank, double *loss, plmm_error *err) PLMM_NODISCARD;

/* --- before and after --- */

typedef struct model_measure {
    uint32_t layers;
    uint64_t parameters;
    double perplexity;   /* of the data's targets; NAN without any */
    double tokens_per_s; /* scored */
} model_measure;

plmm_status measure_model(const plmm_model *m, const dataset *d, model_measure *out,
                          plmm_error *err) PLMM_NODISCARD;
/* One line, or a member `key`; sizes are those of a file whose weights are of dtype. */
void measure_print(const char *what, const model_measure *m, plmm_dtype dtype);
void measure_put(plmm_json_writer *w, const char *key, const model_measure *m, plmm_dtype dtype);

/* --- models and adapters --- */

/* "q,k,v", "all" or "attention". */
plmm_status targets_of(const char *text, uint32_t *targets, plmm_error *err) PLMM_NODISCARD;

/* "f32", "bf16", "int8" or "int4". */
plmm_status base_of(const char *text, plmm_base *base, plmm_error *err) PLMM_NODISCARD;

enum { ADAPTERS_MAX = PLMM_STACK_MAX };

/* A model, its tokenizer and the adapters named by --adapter. */
typedef struct loaded {
    plmm_model *model;
    plmm_tokenizer *tokenizer;
    plmm_chat chat;
    plmm_adapter *adapters[ADAPTERS_MAX];
    plmm_stack stack;
    uint32_t rank; /* of all adapters together */
} loaded;

/* The operand 0 of the verb. load_model leaves the tokenizer NULL (and chat zero) where there is
 * none; load_all then fails with PLMM_ERR_NOTFOUND, and keeps the matrices as --base says. */
plmm_status load_model(plmm_cli_args *a, loaded *l, plmm_error *err) PLMM_NODISCARD;
plmm_status load_all(plmm_cli_args *a, loaded *l, plmm_error *err) PLMM_NODISCARD;

/* --template: the family whose chats the model was trained on, if it is given. */
plmm_status use_template(plmm_cli_args *a, loaded *l, plmm_error *err) PLMM_NODISCARD;
void loaded_free(loaded *l);

/* "f32", "f16" or "bf16". */
plmm_status dtype_of(const char *text, plmm_dtype *out, plmm_error *err) PLMM_NODISCARD;

#endif
