/* plmm-model generate: a model's continuation of a text, or its answer to a question. */
#include "program.h"

#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/generate.h"
#include "plmm/json.h"
#include "plmm/stream.h"

typedef struct printer {
    plmm_stream *stream;
    plmm_ids made;
    bool silent;
    uint64_t first_us; /* when the first token came */
    plmm_status status;
    plmm_error *err;
} printer;

static bool print_text(void *user, const char *text, size_t n)
{
    const printer *p = user;
    if (!p->silent) {
        (void)fwrite(text, 1, n, stdout);
        (void)fflush(stdout);
    }
    return true;
}

/* Keeps each token whose text does not end the whole. */
static bool take_token(void *user, int32_t id)
{
    printer *p = user;
    p->first_us = p->first_us != 0 ? p->first_us : plmm_clock_us();
    if (!plmm_stream_token(p->stream, id)) {
        return false;
    }
    p->status = plmm_ids_push(&p->made, id, p->err);
    return p->status == PLMM_OK;
}

/* The stop text that was asked for, and a line break where that ends an answer. */
static plmm_status open_stream(plmm_cli_args *a, const loaded *l, bool chat, printer *p,
                               plmm_error *err)
{
    const char *stops[2], *asked = plmm_cli_text(a, "stop");
    plmm_stream_params sp = {
        .tokenizer = l->tokenizer, .stops = stops, .first = chat, .each = print_text, .user = p};
    if (asked != NULL) {
        stops[sp.n_stops++] = asked;
    }
    if (chat && !l->chat.tokens) {
        stops[sp.n_stops++] = "\n";
    }
    return plmm_stream_new(&sp, &p->stream, err);
}

static plmm_status sampling_of(plmm_cli_args *a, const loaded *l, bool chat, plmm_sampling *s)
{
    *s = plmm_sampling_default();
    s->temperature = (float)plmm_cli_real(a, "temperature");
    s->top_k = (uint32_t)plmm_cli_int(a, "top-k");
    s->top_p = (float)plmm_cli_real(a, "top-p");
    s->seed = (uint64_t)plmm_cli_int(a, "seed");
    s->max_new = (uint32_t)plmm_cli_int(a, "max-new");
    int32_t stop = chat ? l->chat.stop : plmm_model_cfg(l->model)->eos;
    if (stop >= 0) {
        s->stop[s->stops++] = stop;
    }
    return PLMM_OK;
}

static plmm_status prompt_of(plmm_cli_args *a, const loaded *l, bool chat, uint32_t max_new,
                             plmm_ids *ids, plmm_error *err)
{
    const char *text = plmm_cli_text(a, "prompt");
    uint32_t context = plmm_model_cfg(l->model)->context;
    size_t room = max_new + 8 < context ? context - max_new : 8;
    if (chat) {
        return plmm_chat_prompt(&l->chat, text, room, ids, err);
    }
    int32_t bos = plmm_model_cfg(l->model)->bos;
    if (bos >= 0) {
        PLMM_TRY(plmm_ids_push(ids, bos, err));
    }
    PLMM_TRY(plmm_tokenizer_encode(l->tokenizer, text, strlen(text), 0, ids, err));
    if (ids->n == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "--prompt is empty and the model has no begin token");
    }
    if (ids->n > room) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "--prompt has %zu tokens, only %zu fit before %u new ones", ids->n, room,
                         max_new);
    }
    return PLMM_OK;
}

static plmm_status print_json(const loaded *l, const plmm_ids *prompt, const plmm_ids *made,
                              plmm_error *err)
{
    plmm_json_writer w;
    char *text;
    size_t len;
    PLMM_TRY(plmm_tokenizer_decode(l->tokenizer, made->v, made->n, PLMM_DECODE_SKIP_SPECIALS, &text,
                                   &len, err));
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "text");
    plmm_json_put_bytes(&w, text, len);
    plmm_free(text);
    plmm_json_put_key(&w, "prompt_tokens");
    plmm_json_put_u64(&w, prompt->n);
    plmm_json_put_key(&w, "tokens");
    plmm_json_open_array(&w);
    for (size_t i = 0; i < made->n; i++) {
        plmm_json_put_int(&w, made->v[i]);
    }
    plmm_json_close_array(&w);
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

/* Writes the text, with a draft's help if there is one. */
static plmm_status make_text(plmm_cli_args *a, const loaded *l, const plmm_ids *prompt,
                             const plmm_sampling *s, printer *p, plmm_error *err)
{
    const char *path = plmm_cli_text(a, "draft");
    uint32_t context = plmm_model_cfg(l->model)->context;
    uint64_t positions = (uint64_t)prompt->n + s->max_new;
    plmm_decoder_params dp = {.slots = 1,
                              .positions = positions < context ? (uint32_t)positions : context,
                              .rank = l->rank,
                              .lookahead = path != NULL ? PLMM_LOOKAHEAD_MAX : 0};
    plmm_model *draft = NULL;
    plmm_decoder *d = NULL, *f = NULL;
    plmm_draft_count count = {0};
    plmm_status rc = plmm_decoder_new(plmm_model_cfg(l->model), &dp, &d, err);
    if (rc == PLMM_OK && path == NULL) {
        rc = plmm_generate(d, l->model, &l->stack, prompt->v, prompt->n, s, take_token, p, NULL,
                           err);
    } else if (rc == PLMM_OK && (rc = plmm_checkpoint_load(path, &draft, NULL, err)) == PLMM_OK) {
        uint32_t most = plmm_model_cfg(draft)->context;
        dp.positions = dp.positions < most ? dp.positions : most;
        rc = plmm_decoder_new(plmm_model_cfg(draft), &dp, &f, err);
        plmm_draft by = {f, draft, NULL, (uint32_t)plmm_cli_int(a, "ahead")};
        rc = rc == PLMM_OK ? plmm_generate_drafted(d, l->model, &l->stack, &by, prompt->v,
                                                   prompt->n, s, take_token, p, &count, err)
                           : rc;
        (void)fprintf(stderr, "draft: %zu of %zu proposals accepted, %zu passes\n", count.accepted,
                      count.proposed, count.passes);
    }
    plmm_decoder_free(f);
    plmm_decoder_free(d);
    plmm_model_free(draft);
    return rc == PLMM_OK ? p->status : rc;
}

/* To the terminal, beside the text. The first token comes with the prompt. */
static void print_speed(const printer *p, size_t prompt, uint64_t start, uint64_t end)
{
    if (p->first_us == 0) {
        return;
    }
    double read = 1e-6 * (double)(p->first_us - start), made = 1e-6 * (double)(end - p->first_us);
    (void)fprintf(stderr, "prompt: %zu tokens, %.1f tokens/s\n", prompt, (double)prompt / read);
    if (p->made.n > 1 && made > 0) {
        (void)fprintf(stderr, "answer: %zu tokens, %.1f tokens/s\n", p->made.n,
                      (double)(p->made.n - 1) / made);
    }
}

static plmm_status run(plmm_cli_args *a, const loaded *l, plmm_ids *prompt, printer *p,
                       plmm_error *err)
{
    plmm_sampling s;
    bool chat = plmm_cli_flag(a, "chat");
    PLMM_TRY(sampling_of(a, l, chat, &s));
    PLMM_TRY(prompt_of(a, l, chat, s.max_new, prompt, err));
    PLMM_TRY(open_stream(a, l, chat, p, err));
    if (!chat && !p->silent) {
        (void)printf("%s", plmm_cli_text(a, "prompt"));
    }
    uint64_t start = plmm_clock_us();
    PLMM_TRY(make_text(a, l, prompt, &s, p, err));
    uint64_t end = plmm_clock_us();
    plmm_stream_end(p->stream);
    if (p->silent) {
        return print_json(l, prompt, &p->made, err);
    }
    (void)putchar('\n');
    (void)fflush(stdout);
    print_speed(p, prompt->n, start, end);
    return PLMM_OK;
}

plmm_status verb_generate(plmm_cli_args *a, plmm_error *err)
{
    loaded l;
    plmm_ids prompt = {0};
    PLMM_TRY(load_all(a, &l, err));
    printer p = {.silent = plmm_cli_flag(a, "json"), .err = err};
    plmm_status rc = use_template(a, &l, err);
    rc = rc == PLMM_OK ? run(a, &l, &prompt, &p, err) : rc;
    plmm_stream_free(p.stream);
    plmm_ids_free(&prompt);
    plmm_ids_free(&p.made);
    loaded_free(&l);
    return rc;
}
