/* plmm-model generate: a model's continuation of a text, or its answer to a question. */
#include "program.h"

#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/generate.h"
#include "plmm/json.h"

typedef struct printer {
    const plmm_tokenizer *t;
    plmm_ids made;
    bool silent, first, line; /* line: stop at a line break */
    plmm_status status;
    plmm_error *err;
} printer;

static bool print_token(void *user, int32_t id)
{
    printer *p = user;
    char piece[PLMM_TOKENIZER_TOKEN_MAX + 1];
    size_t n = plmm_tokenizer_piece(p->t, id, p->first, piece);
    p->first = false;
    if (p->line && memchr(piece, '\n', n) != NULL) {
        return false;
    }
    if (!p->silent) {
        (void)fwrite(piece, 1, n, stdout);
        (void)fflush(stdout);
    }
    p->status = plmm_ids_push(&p->made, id, p->err);
    return p->status == PLMM_OK;
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

/* --template: the family whose chats the model was trained on. */
static plmm_status choose_template(plmm_cli_args *a, loaded *l, plmm_error *err)
{
    const char *name = plmm_cli_text(a, "template");
    return name != NULL ? plmm_chat_use(&l->chat, name, err) : PLMM_OK;
}

static plmm_status run(plmm_cli_args *a, const loaded *l, plmm_ids *prompt, printer *p,
                       plmm_error *err)
{
    plmm_sampling s;
    plmm_decoder *d;
    bool chat = plmm_cli_flag(a, "chat");
    PLMM_TRY(sampling_of(a, l, chat, &s));
    PLMM_TRY(prompt_of(a, l, chat, s.max_new, prompt, err));
    plmm_decoder_params dp = {.slots = 1, .rank = l->rank};
    uint64_t positions = (uint64_t)prompt->n + s.max_new;
    uint32_t context = plmm_model_cfg(l->model)->context;
    dp.positions = positions < context ? (uint32_t)positions : context;
    p->line = chat && !l->chat.tokens;
    if (!chat && !p->silent) {
        (void)printf("%s", plmm_cli_text(a, "prompt"));
    }
    PLMM_TRY(plmm_decoder_new(plmm_model_cfg(l->model), &dp, &d, err));
    plmm_status rc =
        plmm_generate(d, l->model, &l->stack, prompt->v, prompt->n, &s, print_token, p, NULL, err);
    plmm_decoder_free(d);
    rc = rc == PLMM_OK ? p->status : rc;
    if (rc == PLMM_OK && p->silent) {
        rc = print_json(l, prompt, &p->made, err);
    } else if (rc == PLMM_OK) {
        (void)putchar('\n');
    }
    return rc;
}

plmm_status verb_generate(plmm_cli_args *a, plmm_error *err)
{
    loaded l;
    plmm_ids prompt = {0};
    PLMM_TRY(load_all(a, &l, err));
    printer p = {.t = l.tokenizer,
                 .silent = plmm_cli_flag(a, "json"),
                 .first = plmm_cli_flag(a, "chat"),
                 .err = err};
    plmm_status rc = choose_template(a, &l, err);
    rc = rc == PLMM_OK ? run(a, &l, &prompt, &p, err) : rc;
    plmm_ids_free(&prompt);
    plmm_ids_free(&p.made);
    loaded_free(&l);
    return rc;
}
