/* Reader of dialogues: one JSON object at a time, each expanded into its pairs. */
#include "plmm/dialogue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/json.h"

typedef enum form { FORM_NONE, FORM_ONE, FORM_MESSAGES, FORM_DIALOGUE, FORM_TURNS } form;

struct plmm_dialogue_reader {
    plmm_map map;
    plmm_json_seq seq;
    char *name;
    char where[PLMM_PATH_MAX + 16]; /* name:line */
    plmm_json *object;              /* the one being read */
    form form;
    const plmm_json *turn; /* the next element of a list of turns */
    plmm_dialogue now;     /* what next() gave last; user and domain are kept over an object */
    plmm_text prompt, response;
    int64_t count;
    bool timed, ended;
};

void plmm_dialogue_clear(plmm_dialogue *d)
{
    plmm_free(d->user);
    plmm_free(d->domain);
    plmm_free(d->prompt);
    plmm_free(d->response);
    *d = (plmm_dialogue){0};
}

static plmm_status no_memory(plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_NOMEM, "cannot read dialogues: out of memory");
}

static plmm_status set_text(char **slot, const char *text, plmm_error *err)
{
    char *copy = plmm_strdup(text);
    if (copy == NULL) {
        return no_memory(err);
    }
    plmm_free(*slot);
    *slot = copy;
    return PLMM_OK;
}

/* --- opening --- */

static plmm_status new_reader(const char *name, plmm_dialogue_reader **out, plmm_error *err)
{
    plmm_dialogue_reader *r = plmm_alloc(1, sizeof *r);
    if (r == NULL) {
        return no_memory(err);
    }
    r->name = plmm_strdup(name);
    if (r->name == NULL) {
        plmm_free(r);
        return no_memory(err);
    }
    *out = r;
    return PLMM_OK;
}

static void begin(plmm_dialogue_reader *r, const char *text, size_t len)
{
    plmm_json_limits limits = {.bytes = PLMM_DIALOGUE_LINE_MAX,
                               .string_bytes = (size_t)2 * PLMM_DIALOGUE_TEXT_MAX,
                               .nodes = 1 << 18,
                               .depth = 16};
    plmm_json_seq_init(&r->seq, text, len, r->name, &limits);
}

plmm_status plmm_dialogue_open(const char *path, plmm_dialogue_reader **out, plmm_error *err)
{
    plmm_dialogue_reader *r;
    PLMM_TRY(new_reader(path, &r, err));
    plmm_status rc = plmm_file_map(path, &r->map, err);
    if (rc != PLMM_OK) {
        plmm_dialogue_close(r);
        return rc;
    }
    begin(r, r->map.data != NULL ? (const char *)r->map.data : "", r->map.len);
    *out = r;
    return PLMM_OK;
}

plmm_status plmm_dialogue_parse(const char *text, size_t len, const char *name,
                                plmm_dialogue_reader **out, plmm_error *err)
{
    plmm_dialogue_reader *r;
    PLMM_TRY(new_reader(name, &r, err));
    begin(r, text, len);
    *out = r;
    return PLMM_OK;
}

void plmm_dialogue_close(plmm_dialogue_reader *r)
{
    if (r == NULL) {
        return;
    }
    plmm_json_free(r->object);
    plmm_dialogue_clear(&r->now);
    plmm_text_free(&r->prompt);
    plmm_text_free(&r->response);
    plmm_file_unmap(&r->map);
    plmm_free(r->name);
    plmm_free(r);
}

double plmm_dialogue_done(const plmm_dialogue_reader *r)
{
    return r->seq.len == 0 ? 1 : (double)r->seq.at / (double)r->seq.len;
}

/* --- one object --- */

/* A text member that may be a whole number too (ids); "" when absent. */
static plmm_status read_name(plmm_dialogue_reader *r, const char *key, const char *other,
                             char **slot, plmm_error *err)
{
    const plmm_json *v = plmm_json_get(r->object, key);
    if (v == NULL && other != NULL) {
        v = plmm_json_get(r->object, key = other);
    }
    char number[32] = "";
    const char *text = plmm_json_text(v);
    if (v != NULL && plmm_json_type_of(v) == PLMM_JSON_NUMBER) {
        (void)snprintf(number, sizeof number, "%.0f", plmm_json_number(v));
    } else if (v != NULL && plmm_json_type_of(v) != PLMM_JSON_NULL && text == NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s: %s is neither text nor a number", r->where,
                         key);
    }
    text = text != NULL ? text : number;
    if (strlen(text) > PLMM_DIALOGUE_NAME_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%s: %s has %zu bytes, at most %d", r->where, key,
                         strlen(text), (int)PLMM_DIALOGUE_NAME_MAX);
    }
    return set_text(slot, text, err);
}

/* Adds text to one side of the pair, after a line break if something is there. */
static plmm_status put(plmm_dialogue_reader *r, plmm_text *side, const char *text, plmm_error *err)
{
    size_t len = strlen(text);
    if (side->len + len + 1 > PLMM_DIALOGUE_TEXT_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%s: a text has more than %d bytes", r->where,
                         (int)PLMM_DIALOGUE_TEXT_MAX);
    }
    if (side->len > 0 && len > 0) {
        PLMM_TRY(plmm_text_sink(side, "\n", 1, err));
    }
    return plmm_text_sink(side, text, len, err);
}

static plmm_status put_member(plmm_dialogue_reader *r, plmm_text *side, const char *key,
                              bool needed, plmm_error *err)
{
    const plmm_json *v = plmm_json_get(r->object, key);
    if (!needed && (v == NULL || plmm_json_type_of(v) == PLMM_JSON_NULL)) {
        return PLMM_OK;
    }
    const char *text = plmm_json_text(v);
    if (text == NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s: %s is %s, expected text", r->where, key,
                         v == NULL ? "missing" : "no text");
    }
    return put(r, side, text, err);
}

static bool has(const plmm_dialogue_reader *r, const char *key)
{
    return plmm_json_get(r->object, key) != NULL;
}

static plmm_status find_form(plmm_dialogue_reader *r, plmm_error *err)
{
    static const struct {
        const char *key;
        form form;
    } lists[] = {{"messages", FORM_MESSAGES}, {"dialogue", FORM_DIALOGUE}, {"turns", FORM_TURNS}};
    if (has(r, "prompt") || has(r, "instruction") || has(r, "text")) {
        r->form = FORM_ONE;
        return PLMM_OK;
    }
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        const plmm_json *list = plmm_json_get(r->object, lists[i].key);
        if (list == NULL) {
            continue;
        }
        if (plmm_json_type_of(list) != PLMM_JSON_ARRAY) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "%s: %s is no list", r->where, lists[i].key);
        }
        r->form = lists[i].form;
        r->turn = plmm_json_first(list);
        return PLMM_OK;
    }
    const plmm_json *first = plmm_json_first(r->object);
    return plmm_fail(err, PLMM_ERR_FORMAT,
                     "%s: no dialogue: expected prompt and response, instruction and output, "
                     "messages, dialogue, turns or text; the first key is \"%.40s\"",
                     r->where, first != NULL ? plmm_json_key(first) : "");
}

static plmm_status read_object(plmm_dialogue_reader *r, plmm_error *err)
{
    (void)snprintf(r->where, sizeof r->where, "%s:%u", r->name, r->seq.line);
    if (plmm_json_type_of(r->object) != PLMM_JSON_OBJECT) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "%s: expected an object like {\"prompt\": .., "
                         "\"response\": ..}",
                         r->where);
    }
    PLMM_TRY(find_form(r, err));
    /* "id" names the user only where one object is one person's conversation. */
    bool conversation = r->form == FORM_DIALOGUE || r->form == FORM_TURNS;
    PLMM_TRY(read_name(r, "user", conversation ? "id" : NULL, &r->now.user, err));
    PLMM_TRY(read_name(r, "domain", NULL, &r->now.domain, err));
    const plmm_json *time = plmm_json_get(r->object, "time");
    r->timed = time != NULL && plmm_json_type_of(time) == PLMM_JSON_NUMBER;
    if (r->timed) {
        PLMM_TRY(plmm_json_need_int(r->object, r->where, "time", -(INT64_C(1) << 53),
                                    INT64_C(1) << 53, &r->now.time, err));
    }
    return PLMM_OK;
}

/* --- pairs --- */

static plmm_status read_one(plmm_dialogue_reader *r, plmm_error *err)
{
    r->form = FORM_NONE;
    if (has(r, "prompt")) {
        PLMM_TRY(put_member(r, &r->prompt, "prompt", true, err));
        return put_member(r, &r->response, "response", true, err);
    }
    if (has(r, "instruction")) {
        PLMM_TRY(put_member(r, &r->prompt, "instruction", true, err));
        PLMM_TRY(put_member(r, &r->prompt, "input", false, err));
        return put_member(r, &r->response, "output", true, err);
    }
    return put_member(r, &r->response, "text", true, err);
}

/* Who speaks an element of a list of turns, and what. */
typedef enum speaker { SPEAKER_USER, SPEAKER_ASSISTANT, SPEAKER_OTHER } speaker;

static plmm_status read_message(const plmm_dialogue_reader *r, const plmm_json *m, speaker *who,
                                const char **text, plmm_error *err)
{
    const char *role = plmm_json_text(plmm_json_get(m, "role"));
    *text = plmm_json_text(plmm_json_get(m, "content"));
    if (role == NULL || *text == NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "%s: a message is not {\"role\": text, \"content\": text}", r->where);
    }
    *who = strcmp(role, "user") == 0        ? SPEAKER_USER
           : strcmp(role, "assistant") == 0 ? SPEAKER_ASSISTANT
                                            : SPEAKER_OTHER;
    return PLMM_OK;
}

/* The one who begins is the user. */
static plmm_status read_turn(const plmm_dialogue_reader *r, const plmm_json *m, speaker *who,
                             const char **text, plmm_error *err)
{
    const plmm_json *name = plmm_json_first(m);
    const plmm_json *opener = plmm_json_first(plmm_json_first(plmm_json_get(r->object, "turns")));
    *text = plmm_json_text(name != NULL ? plmm_json_next(name) : NULL);
    if (plmm_json_text(name) == NULL || *text == NULL || plmm_json_text(opener) == NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s: a turn is not [speaker, text]", r->where);
    }
    *who = strcmp(plmm_json_text(name), plmm_json_text(opener)) == 0 ? SPEAKER_USER
                                                                     : SPEAKER_ASSISTANT;
    return PLMM_OK;
}

/* The user's turns up to the assistant's, and these up to the user's next. *complete: a pair. */
static plmm_status read_spoken(plmm_dialogue_reader *r, bool *complete, plmm_error *err)
{
    *complete = false;
    for (; r->turn != NULL; r->turn = plmm_json_next(r->turn)) {
        speaker who = SPEAKER_OTHER;
        const char *text = NULL;
        PLMM_TRY(r->form == FORM_MESSAGES ? read_message(r, r->turn, &who, &text, err)
                                          : read_turn(r, r->turn, &who, &text, err));
        if (who == SPEAKER_USER && *complete) {
            return PLMM_OK;
        }
        if (who == SPEAKER_USER) {
            PLMM_TRY(put(r, &r->prompt, text, err));
        } else if (who == SPEAKER_ASSISTANT) {
            PLMM_TRY(put(r, &r->response, text, err));
            *complete = true;
        }
    }
    r->form = FORM_NONE;
    return PLMM_OK;
}

static plmm_status read_exchange(plmm_dialogue_reader *r, plmm_error *err)
{
    const plmm_json *first = plmm_json_first(r->turn);
    const plmm_json *second = first != NULL ? plmm_json_next(first) : NULL;
    if (plmm_json_text(first) == NULL || plmm_json_text(second) == NULL) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "%s: an element of dialogue is not [prompt, response]", r->where);
    }
    PLMM_TRY(put(r, &r->prompt, plmm_json_text(first), err));
    PLMM_TRY(put(r, &r->response, plmm_json_text(second), err));
    r->turn = plmm_json_next(r->turn);
    return PLMM_OK;
}

/* The next pair of the present object into prompt and response, if it has one. */
static plmm_status read_pair(plmm_dialogue_reader *r, bool *complete, plmm_error *err)
{
    r->prompt.len = r->response.len = 0;
    *complete = true;
    switch (r->form) {
    case FORM_ONE:
        return read_one(r, err);
    case FORM_MESSAGES:
    case FORM_TURNS:
        return read_spoken(r, complete, err);
    case FORM_DIALOGUE:
        if (r->turn != NULL) {
            return read_exchange(r, err);
        }
        r->form = FORM_NONE;
        break;
    case FORM_NONE:
        break;
    }
    *complete = false;
    return PLMM_OK;
}

static plmm_status give(plmm_dialogue_reader *r, const plmm_dialogue **out, plmm_error *err)
{
    PLMM_TRY(set_text(&r->now.prompt, r->prompt.len > 0 ? r->prompt.text : "", err));
    PLMM_TRY(set_text(&r->now.response, r->response.len > 0 ? r->response.text : "", err));
    if (!r->timed) {
        r->now.time = r->count;
    }
    r->count++;
    *out = &r->now;
    return PLMM_OK;
}

static plmm_status advance(plmm_dialogue_reader *r, const plmm_dialogue **out, plmm_error *err)
{
    for (;;) {
        bool complete;
        PLMM_TRY(read_pair(r, &complete, err));
        if (complete) {
            return give(r, out, err);
        }
        plmm_json_free(r->object);
        r->object = NULL;
        PLMM_TRY(plmm_json_seq_next(&r->seq, &r->object, err));
        if (r->object == NULL) {
            *out = NULL;
            return PLMM_OK;
        }
        PLMM_TRY(read_object(r, err));
    }
}

plmm_status plmm_dialogue_next(plmm_dialogue_reader *r, const plmm_dialogue **out, plmm_error *err)
{
    const plmm_dialogue *d = NULL;
    plmm_status rc = r->ended ? PLMM_OK : advance(r, &d, err);
    r->ended = rc != PLMM_OK || d == NULL;
    if (rc == PLMM_OK) {
        *out = d;
    }
    return rc;
}

/* --- a whole file --- */

void plmm_dialogues_free(plmm_dialogues *d)
{
    for (size_t i = 0; i < d->n; i++) {
        plmm_dialogue_clear(&d->v[i]);
    }
    plmm_free(d->v);
    *d = (plmm_dialogues){0};
}

static plmm_status copy_to(plmm_dialogue *to, const plmm_dialogue *from, plmm_error *err)
{
    PLMM_TRY(set_text(&to->user, from->user, err));
    PLMM_TRY(set_text(&to->domain, from->domain, err));
    PLMM_TRY(set_text(&to->prompt, from->prompt, err));
    to->time = from->time;
    return set_text(&to->response, from->response, err);
}

static plmm_status read_all(plmm_dialogue_reader *r, size_t max, plmm_dialogues *out,
                            plmm_error *err)
{
    size_t cap = 0;
    while (max == 0 || out->n < max) {
        const plmm_dialogue *d;
        PLMM_TRY(plmm_dialogue_next(r, &d, err));
        if (d == NULL) {
            break;
        }
        if (out->n == cap) {
            size_t wider = cap == 0 ? 64 : 2 * cap;
            plmm_dialogue *v = plmm_grow(out->v, cap, wider, sizeof *v);
            if (v == NULL) {
                return no_memory(err);
            }
            out->v = v;
            cap = wider;
        }
        out->n++; /* counted first: what a failing copy leaves is freed with the rest */
        PLMM_TRY(copy_to(&out->v[out->n - 1], d, err));
    }
    return PLMM_OK;
}

plmm_status plmm_dialogues_read(const char *path, size_t max, plmm_dialogues *out, plmm_error *err)
{
    plmm_dialogue_reader *r;
    plmm_dialogues all = {0};
    PLMM_TRY(plmm_dialogue_open(path, &r, err));
    plmm_status rc = read_all(r, max, &all, err);
    plmm_dialogue_close(r);
    if (rc != PLMM_OK) {
        plmm_dialogues_free(&all);
        return rc;
    }
    *out = all;
    return PLMM_OK;
}
