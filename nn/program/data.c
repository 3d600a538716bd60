/* Data sets of token ids. */
#include "program.h"

#include <math.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/dialogue.h"
#include "plmm/file.h"

void dataset_free(dataset *d)
{
    plmm_ids_free(&d->tokens);
    plmm_ids_free(&d->targets);
    plmm_free(d->begin);
    *d = (dataset){0};
}

plmm_status dataset_add(dataset *d, const plmm_ids *tokens, const plmm_ids *targets,
                        plmm_error *err)
{
    if (tokens->n == 0) {
        return PLMM_OK;
    }
    if (d->n + 1 >= d->cap) {
        size_t cap = d->cap == 0 ? 256 : 2 * d->cap;
        size_t *begin = cap < UINT32_MAX ? plmm_grow(d->begin, d->cap, cap, sizeof *begin) : NULL;
        if (begin == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %zu sequences", d->n);
        }
        d->begin = begin;
        d->cap = cap;
    }
    for (size_t i = 0; i < tokens->n; i++) {
        PLMM_TRY(plmm_ids_push(&d->tokens, tokens->v[i], err));
        PLMM_TRY(plmm_ids_push(&d->targets, targets->v[i], err));
    }
    d->begin[++d->n] = d->tokens.n;
    return PLMM_OK;
}

size_t dataset_longest(const dataset *d)
{
    size_t longest = 0;
    for (size_t i = 0; i < d->n; i++) {
        size_t n = d->begin[i + 1] - d->begin[i];
        longest = n > longest ? n : longest;
    }
    return longest;
}

plmm_status dataset_loss(const dataset *d, const plmm_model *m, const plmm_stack *stack,
                         uint32_t rank, double *loss, plmm_error *err)
{
    uint32_t longest = (uint32_t)dataset_longest(d);
    plmm_workspace_params p = {
        .tokens = longest, .seq_max = longest, .rank = rank, .use = PLMM_USE_EVAL};
    plmm_workspace *w;
    plmm_loss_sum sum = {0};
    plmm_status rc = PLMM_OK;
    *loss = NAN;
    if (d->n == 0) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_workspace_new(plmm_model_cfg(m), &p, &w, err));
    for (size_t i = 0; i < d->n && rc == PLMM_OK; i++) {
        uint32_t len = (uint32_t)(d->begin[i + 1] - d->begin[i]);
        plmm_batch b = {d->tokens.v + d->begin[i], d->targets.v + d->begin[i], &len, len, 1};
        rc = plmm_loss(w, m, stack, &b, &sum, err);
    }
    plmm_workspace_free(w);
    *loss = sum.count > 0 ? sum.nll / (double)sum.count : NAN;
    return rc;
}

/* --- reading --- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

static bool is_dialogues(const char *path)
{
    return ends_with(path, ".json") || ends_with(path, ".jsonl");
}

/* The parts of a plain text between empty lines. */
static plmm_status parts_of(const char *path, text_fn each, void *ctx, plmm_error *err)
{
    plmm_map map;
    PLMM_TRY(plmm_file_map(path, &map, err));
    plmm_status rc = PLMM_OK;
    const char *s = (const char *)map.data;
    size_t begin = 0;
    for (size_t i = 0; i < map.len && rc == PLMM_OK; i++) {
        bool last = i + 1 == map.len;
        if (!last && !(s[i] == '\n' && s[i + 1] == '\n')) {
            continue;
        }
        size_t end = last && s[i] != '\n' ? i + 1 : i;
        if (end > begin) {
            rc = each(ctx, s + begin, end - begin, err);
        }
        while (i + 1 < map.len && s[i + 1] == '\n') {
            i++;
        }
        begin = i + 1;
    }
    plmm_file_unmap(&map);
    return rc;
}

plmm_status texts_of(const char *path, text_fn each, void *ctx, plmm_error *err)
{
    if (!is_dialogues(path)) {
        return parts_of(path, each, ctx, err);
    }
    plmm_dialogue_reader *r;
    const plmm_dialogue *d = NULL;
    PLMM_TRY(plmm_dialogue_open(path, &r, err));
    plmm_status rc = plmm_dialogue_next(r, &d, err);
    while (rc == PLMM_OK && d != NULL) {
        rc = each(ctx, d->prompt, strlen(d->prompt), err);
        if (rc == PLMM_OK) {
            rc = each(ctx, d->response, strlen(d->response), err);
        }
        if (rc == PLMM_OK) {
            rc = plmm_dialogue_next(r, &d, err);
        }
    }
    plmm_dialogue_close(r);
    return rc;
}

typedef struct filler {
    dataset *d;
    const plmm_chat *chat;
    size_t context;
    learn_what what;
    plmm_sample sample;
    plmm_ids window, window_targets;
} filler;

/* One text of any length as windows of at most context positions. */
static plmm_status add_windows(filler *f, plmm_error *err)
{
    const plmm_sample *s = &f->sample;
    for (size_t at = 0; at < s->ids.n; at += f->context) {
        size_t n = s->ids.n - at < f->context ? s->ids.n - at : f->context;
        plmm_ids ids = {.v = s->ids.v + at, .n = n}, targets = {.v = s->targets.v + at, .n = n};
        PLMM_TRY(dataset_add(f->d, &ids, &targets, err));
    }
    return PLMM_OK;
}

static plmm_status add_pair(filler *f, const char *prompt, const char *response, plmm_error *err)
{
    if (prompt[0] == '\0') {
        PLMM_TRY(plmm_chat_sample(f->chat, "", response, 0, &f->sample, err));
        return add_windows(f, err);
    }
    PLMM_TRY(plmm_chat_sample(f->chat, prompt, response, f->context, &f->sample, err));
    plmm_sample *s = &f->sample;
    for (size_t i = 0; f->what == LEARN_ALL && i + 1 < s->ids.n; i++) {
        s->targets.v[i] = s->ids.v[i + 1];
    }
    return dataset_add(f->d, &s->ids, &s->targets, err);
}

static plmm_status add_text(void *ctx, const char *text, size_t len, plmm_error *err)
{
    char *copy = plmm_alloc(len + 1, 1);
    if (copy == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold a text of %zu bytes", len);
    }
    memcpy(copy, text, len);
    plmm_status rc = add_pair(ctx, "", copy, err);
    plmm_free(copy);
    return rc;
}

static plmm_status add_dialogues(filler *f, const char *path, plmm_error *err)
{
    plmm_dialogue_reader *r;
    const plmm_dialogue *d = NULL;
    PLMM_TRY(plmm_dialogue_open(path, &r, err));
    plmm_status rc = plmm_dialogue_next(r, &d, err);
    while (rc == PLMM_OK && d != NULL) {
        rc = add_pair(f, d->prompt, d->response, err);
        if (rc == PLMM_OK) {
            rc = plmm_dialogue_next(r, &d, err);
        }
    }
    plmm_dialogue_close(r);
    return rc;
}

plmm_status dataset_read(dataset *d, const char *path, const plmm_chat *chat, size_t context,
                         learn_what what, plmm_error *err)
{
    filler f = {.d = d, .chat = chat, .context = context, .what = what};
    size_t before = d->n;
    plmm_status rc =
        is_dialogues(path) ? add_dialogues(&f, path, err) : parts_of(path, add_text, &f, err);
    plmm_sample_free(&f.sample);
    if (rc == PLMM_OK && d->n == before) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s holds no text", path);
    }
    return rc;
}

/* --- batches --- */

plmm_status batcher_init(batcher *b, const dataset *d, size_t tokens_max, uint64_t seed,
                         plmm_error *err)
{
    size_t longest = dataset_longest(d);
    *b = (batcher){.d = d, .tokens_max = tokens_max > longest ? tokens_max : longest};
    plmm_rng_init(&b->rng, seed, 1);
    b->order = plmm_alloc(d->n, sizeof *b->order);
    b->tokens = plmm_alloc(b->tokens_max, sizeof *b->tokens);
    b->targets = plmm_alloc(b->tokens_max, sizeof *b->targets);
    b->lens = plmm_alloc(b->tokens_max, sizeof *b->lens);
    if (b->order == NULL || b->tokens == NULL || b->targets == NULL || b->lens == NULL) {
        batcher_free(b);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold batches of %zu tokens", tokens_max);
    }
    for (size_t i = 0; i < d->n; i++) {
        b->order[i] = (uint32_t)i;
    }
    plmm_rng_shuffle(&b->rng, b->order, d->n);
    return PLMM_OK;
}

void batcher_free(batcher *b)
{
    plmm_free(b->order);
    plmm_free(b->tokens);
    plmm_free(b->targets);
    plmm_free(b->lens);
    *b = (batcher){0};
}

void batcher_next(batcher *b, plmm_batch *out)
{
    const dataset *d = b->d;
    size_t n = 0, seqs = 0;
    for (;;) {
        if (b->at == d->n) {
            if (seqs > 0) {
                break; /* an epoch ends with a batch */
            }
            b->at = 0;
            b->epoch++;
            plmm_rng_shuffle(&b->rng, b->order, d->n);
        }
        size_t i = b->order[b->at], len = d->begin[i + 1] - d->begin[i];
        if (n + len > b->tokens_max) {
            break;
        }
        memcpy(b->tokens + n, d->tokens.v + d->begin[i], len * sizeof *b->tokens);
        memcpy(b->targets + n, d->targets.v + d->begin[i], len * sizeof *b->targets);
        b->lens[seqs++] = (uint32_t)len;
        n += len;
        b->at++;
    }
    *out = (plmm_batch){b->tokens, b->targets, b->lens, n, seqs};
}

uint64_t batcher_steps(const batcher *b, double epochs)
{
    double per_epoch = (double)b->d->tokens.n / (double)b->tokens_max;
    double steps = epochs * (per_epoch < 1 ? 1 : per_epoch);
    return steps < 1 ? 1 : (uint64_t)(steps + 0.5);
}
