/* The chat templates of the families, by name: what stands before and after the text of each role.
 * Stretches of text between special tokens are encoded in one go, as Transformers encodes what a
 * template renders; special tokens come from the template alone, never from a text. */
#include "chat_internal.h"

#include <string.h>

#include "plmm/alloc.h"
#include "tokenizer_internal.h"
#include "unicode.h"

/* In frames: \1 NAME \2 is a special token, \3 begin and \4 end of text. */
#define HEAD(role) "\1<|start_header_id|>\2" role "\1<|end_header_id|>\2\n\n"
#define IM(role)   "\1<|im_start|>\2" role "\n"
#define IM_END     "\1<|im_end|>\2\n"
#define CHATML(title, text)                                                                        \
    {                                                                                              \
        .name = title, .system = text, .open = "",                                                 \
        .before = {IM("system"), IM("user"), IM("assistant")}, .after = {IM_END, IM_END, IM_END},  \
        .ask = IM("assistant"), .stop = "<|im_end|>"                                               \
    }

static const plmm__chat_template templates[] = {
    {.name = "llama2",
     .open = "",
     .before = {NULL, "\3[INST] ", " "},
     .after = {NULL, " [/INST]", " \4"},
     .ask = "",
     .strip = true,
     .fold = true,
     .alternate = true},
    {.name = "llama3",
     .open = "\3",
     .before = {HEAD("system"), HEAD("user"), HEAD("assistant")},
     .after = {"\1<|eot_id|>\2", "\1<|eot_id|>\2", "\1<|eot_id|>\2"},
     .ask = HEAD("assistant"),
     .stop = "<|eot_id|>",
     .strip = true},
    CHATML("chatml", NULL),
    CHATML("smollm2", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
    CHATML("qwen2", "You are a helpful assistant."),
    CHATML("qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    {.name = "zephyr",
     .open = "",
     .before = {"<|system|>\n", "<|user|>\n", "<|assistant|>\n"},
     .after = {"\4\n", "\4\n", "\4\n"},
     .ask = "<|assistant|>\n"},
    {.name = "mistral",
     .open = "\3",
     .before = {NULL, "[INST] ", ""},
     .after = {NULL, " [/INST]", "\4"},
     .ask = "",
     .alternate = true},
};
enum { TEMPLATES = sizeof templates / sizeof templates[0] };

const char *plmm_chat_template(size_t i)
{
    return i < TEMPLATES ? templates[i].name : NULL;
}

/* --- choosing --- */

/* The special token at *frame, after its \1; moves behind its \2. -1: not in the vocabulary. */
static int32_t take_special(const plmm_tokenizer *t, const char **frame, char name[64])
{
    size_t n = strcspn(*frame, "\2");
    PLMM_ASSERT(n < 64);
    memcpy(name, *frame, n);
    name[n] = '\0';
    *frame += n + 1;
    return plmm_tokenizer_find(t, name);
}

static plmm_status check_frame(const plmm_chat *c, const char *frame, const char *title,
                               plmm_error *err)
{
    char name[64];
    while (frame != NULL && *frame != '\0') {
        char mark = *frame++;
        if (mark == '\1' && take_special(c->tokenizer, &frame, name) < 0) {
            return plmm_fail(err, PLMM_ERR_CONFIG,
                             "chat template %s needs the token %s, which the tokenizer lacks",
                             title, name);
        }
        if (mark == '\4' && c->eos < 0) {
            return plmm_fail(err, PLMM_ERR_CONFIG,
                             "chat template %s needs an end-of-text token, which the model lacks",
                             title);
        }
    }
    return PLMM_OK;
}

static plmm_status use(plmm_chat *c, const plmm__chat_template *f, plmm_error *err)
{
    for (size_t role = 0; role < PLMM_ROLES; role++) {
        PLMM_TRY(check_frame(c, f->before[role], f->name, err));
        PLMM_TRY(check_frame(c, f->after[role], f->name, err));
    }
    c->form = f;
    c->tokens = true;
    c->end = c->stop = f->stop != NULL ? plmm_tokenizer_find(c->tokenizer, f->stop) : c->eos;
    return PLMM_OK;
}

plmm_status plmm_chat_use(plmm_chat *c, const char *name, plmm_error *err)
{
    for (size_t i = 0; i < TEMPLATES; i++) {
        if (strcmp(templates[i].name, name) == 0) {
            return use(c, &templates[i], err);
        }
    }
    return plmm_fail(err, PLMM_ERR_CONFIG,
                     "there is no chat template \"%.40s\": llama2, llama3, chatml, smollm2, qwen2, "
                     "qwen2.5, zephyr and mistral are built in",
                     name);
}

void plmm__chat_guess(plmm_chat *c)
{
    const plmm_tokenizer *t = c->tokenizer;
    plmm_error err;
    if (plmm_tokenizer_find(t, "<|start_header_id|>") >= 0) {
        (void)(plmm_chat_use(c, "llama3", &err) == PLMM_OK);
    } else if (plmm_tokenizer_find(t, "<|im_start|>") >= 0) {
        (void)(plmm_chat_use(c, "chatml", &err) == PLMM_OK);
    }
}

/* --- rendering --- */

typedef struct renderer {
    const plmm_chat *c;
    plmm_ids *ids;
    plmm_text text; /* of the stretch that has not been encoded yet */
    bool inner;     /* it does not open the whole */
} renderer;

static plmm_status flush(renderer *r, plmm_error *err)
{
    size_t n = r->text.len;
    r->text.len = 0;
    if (n > 0) {
        PLMM_TRY(plmm_tokenizer_encode(r->c->tokenizer, r->text.text, n,
                                       r->inner ? PLMM_ENCODE_INNER : 0, r->ids, err));
    }
    return PLMM_OK;
}

static plmm_status put_id(renderer *r, int32_t id, plmm_error *err)
{
    PLMM_TRY(flush(r, err));
    r->inner = true;
    return id < 0 ? PLMM_OK : plmm_ids_push(r->ids, id, err);
}

static plmm_status put_frame(renderer *r, const char *frame, plmm_error *err)
{
    char name[64];
    while (*frame != '\0') {
        size_t n = strcspn(frame, "\1\3\4");
        PLMM_TRY(plmm_text_sink(&r->text, frame, n, err));
        frame += n;
        char mark = *frame;
        if (mark != '\0') {
            frame++;
            int32_t id = mark == '\1'   ? take_special(r->c->tokenizer, &frame, name)
                         : mark == '\3' ? r->c->bos
                                        : r->c->eos;
            PLMM_TRY(put_id(r, id, err));
        }
    }
    return PLMM_OK;
}

/* White space as Python's str.strip knows it. */
static bool is_strippable(uint32_t cp)
{
    return unicode_is_space(cp) || (cp >= 0x1C && cp <= 0x1F);
}

static void strip(const char **s, size_t *n)
{
    uint32_t cp;
    while (*n > 0) {
        size_t len = utf8_decode(*s, *n, &cp);
        if (!is_strippable(cp)) {
            break;
        }
        *s += len;
        *n -= len;
    }
    while (*n > 0) {
        size_t at = *n - 1;
        while (at > 0 && *n - at < 4 && ((unsigned char)(*s)[at] & 0xC0u) == 0x80u) {
            at--;
        }
        (void)utf8_decode(*s + at, *n - at, &cp);
        if (!is_strippable(cp)) {
            break;
        }
        *n = at;
    }
}

static plmm_status put_content(renderer *r, const char *s, size_t n, plmm_error *err)
{
    if (r->c->form->strip) {
        strip(&s, &n);
    }
    return plmm_text_sink(&r->text, s, n, err);
}

static plmm_status put_message(renderer *r, plmm_chat_role role, const char *s, size_t n,
                               plmm_error *err)
{
    const plmm__chat_template *f = r->c->form;
    if (f->before[role] == NULL) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "chat template %s has no system text", f->name);
    }
    PLMM_TRY(put_frame(r, f->before[role], err));
    PLMM_TRY(put_content(r, s, n, err));
    return put_frame(r, f->after[role], err);
}

/* Llama 2 writes the system's text into the first turn of the user. */
static plmm_status put_folded(renderer *r, const plmm_chat_message *m, plmm_error *err)
{
    plmm_text both = {0};
    const char *const parts[] = {"<<SYS>>\n", m[0].text, "\n<</SYS>>\n\n", m[1].text};
    plmm_status rc = PLMM_OK;
    for (size_t i = 0; i < 4 && rc == PLMM_OK; i++) {
        rc = plmm_text_sink(&both, parts[i], strlen(parts[i]), err);
    }
    if (rc == PLMM_OK) {
        rc = put_message(r, PLMM_ROLE_USER, both.text, both.len, err);
    }
    plmm_text_free(&both);
    return rc;
}

static plmm_status check_turns(const plmm__chat_template *f, const plmm_chat_message *m, size_t n,
                               plmm_error *err)
{
    size_t first = n > 0 && m[0].role == PLMM_ROLE_SYSTEM;
    for (size_t i = first; f->alternate && i < n; i++) {
        if (m[i].role != ((i - first) % 2 == 0 ? PLMM_ROLE_USER : PLMM_ROLE_ASSISTANT)) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "chat template %s takes turns: message %zu is out of turn", f->name,
                             i);
        }
    }
    if (f->fold && first && n == 1) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "chat template %s needs a user's turn after the system's text", f->name);
    }
    return PLMM_OK;
}

static plmm_status render(renderer *r, const plmm_chat_message *m, size_t n, bool ask,
                          plmm_error *err)
{
    const plmm__chat_template *f = r->c->form;
    bool system = n > 0 && m[0].role == PLMM_ROLE_SYSTEM;
    size_t i = 0;
    PLMM_TRY(check_turns(f, m, n, err));
    PLMM_TRY(put_frame(r, f->open, err));
    if (f->system != NULL && !system) {
        PLMM_TRY(put_message(r, PLMM_ROLE_SYSTEM, f->system, strlen(f->system), err));
    }
    if (f->fold && system) {
        PLMM_TRY(put_folded(r, m, err));
        i = 2;
    }
    for (; i < n; i++) {
        PLMM_TRY(put_message(r, m[i].role, m[i].text, strlen(m[i].text), err));
    }
    if (ask) {
        PLMM_TRY(put_frame(r, f->ask, err));
    }
    return flush(r, err);
}

plmm_status plmm_chat_encode(const plmm_chat *c, const plmm_chat_message *m, size_t n, bool ask,
                             plmm_ids *ids, plmm_error *err)
{
    renderer r = {.c = c, .ids = ids};
    if (c->form == NULL) {
        return plmm_fail(err, PLMM_ERR_STATE, "this chat has no template of messages");
    }
    ids->n = 0;
    plmm_status rc = render(&r, m, n, ask, err);
    plmm_text_free(&r.text);
    return rc;
}

/* --- a prompt, and a prompt with its response --- */

/* Where the text goes on after its first n bytes, between code points. */
static const char *skip(const char *s, size_t n)
{
    size_t len = strlen(s);
    s += n < len ? n : len;
    while (((unsigned char)*s & 0xC0u) == 0x80u) {
        s++;
    }
    return s;
}

plmm_status plmm__chat_prompt(const plmm_chat *c, const char *prompt, size_t max, plmm_ids *ids,
                              plmm_error *err)
{
    for (;;) {
        plmm_chat_message m = {PLMM_ROLE_USER, prompt};
        PLMM_TRY(plmm_chat_encode(c, &m, 1, true, ids, err));
        if (max == 0 || ids->n <= max) {
            return PLMM_OK;
        }
        if (*prompt == '\0') {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "the frame of chat template %s alone has %zu tokens, only %zu fit",
                             c->form->name, ids->n, max);
        }
        prompt = skip(prompt, ids->n - max); /* a token has at least one byte */
    }
}

static bool begins_with(const plmm_ids *whole, const plmm_ids *part)
{
    return whole->n >= part->n && memcmp(whole->v, part->v, part->n * sizeof *part->v) == 0;
}

/* The response by itself, after the ids of what was asked. */
static plmm_status put_response(const plmm_chat *c, const char *response, plmm_ids *ids,
                                plmm_error *err)
{
    const plmm__chat_template *f = c->form;
    const char *before = f->before[PLMM_ROLE_ASSISTANT];
    size_t asked = strlen(f->ask);
    renderer r = {.c = c, .ids = ids, .inner = true};
    plmm_status rc = put_frame(&r, before + (strncmp(before, f->ask, asked) == 0 ? asked : 0), err);
    rc = rc == PLMM_OK ? put_content(&r, response, strlen(response), err) : rc;
    rc = rc == PLMM_OK ? put_frame(&r, f->after[PLMM_ROLE_ASSISTANT], err) : rc;
    rc = rc == PLMM_OK ? flush(&r, err) : rc;
    plmm_text_free(&r.text);
    return rc;
}

/* Both turns in one go; where a token would reach over the beginning of the response, what a model
 * is asked comes first and the response by itself, as it will be when it answers. */
static plmm_status put_both(const plmm_chat *c, const plmm_chat_message m[2], plmm_ids *asked,
                            plmm_ids *ids, plmm_error *err)
{
    PLMM_TRY(plmm_chat_encode(c, m, 1, true, asked, err));
    PLMM_TRY(plmm_chat_encode(c, m, 2, false, ids, err));
    if (begins_with(ids, asked)) {
        return PLMM_OK;
    }
    ids->n = 0;
    for (size_t i = 0; i < asked->n; i++) {
        PLMM_TRY(plmm_ids_push(ids, asked->v[i], err));
    }
    return put_response(c, m[1].text, ids, err);
}

plmm_status plmm__chat_both(const plmm_chat *c, const char *prompt, const char *response,
                            size_t max, plmm_ids *ids, size_t *learn, plmm_error *err)
{
    for (;;) {
        plmm_chat_message m[] = {{PLMM_ROLE_USER, prompt}, {PLMM_ROLE_ASSISTANT, response}};
        plmm_ids asked = {0};
        plmm_status rc = put_both(c, m, &asked, ids, err);
        *learn = asked.n;
        plmm_ids_free(&asked);
        PLMM_TRY(rc);
        while (ids->n > *learn && ids->v[ids->n - 1] != c->stop) {
            ids->n--; /* the line break after the end is nobody's to learn */
        }
        if (max == 0 || ids->n <= max) {
            return PLMM_OK;
        }
        if (*learn <= max / 4 || *prompt == '\0') {
            ids->n = max;
            *learn = *learn < max ? *learn : max;
            return PLMM_OK;
        }
        size_t over = ids->n - max, spare = *learn - max / 4;
        prompt = skip(prompt, over < spare ? over : spare);
    }
}
