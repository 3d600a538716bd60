/* The world as files. */
#include "plmm/file.h"
#include "plmm/json.h"
#include "world_internal.h"

#include <stdio.h>
#include <string.h>

/* One file: written at once when it is closed, so that a directory never holds half of one. */
typedef struct out_file {
    const char *dir;
    plmm_file_writer file;
    plmm_json_writer json;
} out_file;

static plmm_status sink(void *ctx, const char *bytes, size_t len, plmm_error *err)
{
    out_file *o = ctx;
    return plmm_file_writer_write(&o->file, bytes, len, err);
}

static plmm_status begin(out_file *o, plmm_json_style style, const char *name, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(path, sizeof path, o->dir, name, err));
    PLMM_TRY(plmm_file_writer_open(&o->file, path, PLMM_MODE_PUBLIC, err));
    plmm_json_begin(&o->json, style, sink, o);
    return PLMM_OK;
}

static plmm_status commit(out_file *o, plmm_error *err)
{
    plmm_status rc = plmm_json_end(&o->json, err);
    if (rc != PLMM_OK) {
        plmm_file_writer_abort(&o->file);
        return rc;
    }
    return plmm_file_writer_commit(&o->file, err);
}

static void member(plmm_json_writer *j, const char *key, const char *text)
{
    plmm_json_put_key(j, key);
    plmm_json_put_text(j, text);
}

static void number(plmm_json_writer *j, const char *key, double v)
{
    plmm_json_put_key(j, key);
    plmm_json_put_real(j, v);
}

static void base_line(plmm_json_writer *j, const plmm_world_dialogue *d)
{
    plmm_json_open_object(j);
    if (d->prompt == NULL) {
        member(j, "text", d->response);
    } else {
        member(j, "prompt", d->prompt);
        member(j, "response", d->response);
    }
    plmm_json_close_object(j);
}

static plmm_status write_base_json(const plmm_world *w, out_file *o, plmm_error *err)
{
    PLMM_TRY(begin(o, PLMM_JSON_LINES, "base.jsonl", err));
    for (size_t i = 0; i < w->n_base; i++) {
        base_line(&o->json, &w->base[i]);
    }
    return commit(o, err);
}

/* A plain line: text, or prompt and response with a space between them. */
static plmm_status text_line(plmm_file_writer *f, const char *a, const char *b, plmm_error *err)
{
    if (a != NULL) {
        PLMM_TRY(plmm_file_writer_write(f, a, strlen(a), err));
        PLMM_TRY(plmm_file_writer_write(f, " ", 1, err));
    }
    PLMM_TRY(plmm_file_writer_write(f, b, strlen(b), err));
    return plmm_file_writer_write(f, "\n", 1, err);
}

static plmm_status write_lines(const plmm_world *w, out_file *o, const char *name,
                               const plmm_world_words *words, plmm_error *err)
{
    plmm_status rc = PLMM_OK;
    char path[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(path, sizeof path, o->dir, name, err));
    PLMM_TRY(plmm_file_writer_open(&o->file, path, PLMM_MODE_PUBLIC, err));
    size_t n = words != NULL ? words->count : w->n_base;
    for (size_t i = 0; i < n && rc == PLMM_OK; i++) {
        rc = words != NULL ? text_line(&o->file, NULL, words->words[i], err)
                           : text_line(&o->file, w->base[i].prompt, w->base[i].response, err);
    }
    if (rc != PLMM_OK) {
        plmm_file_writer_abort(&o->file);
        return rc;
    }
    return plmm_file_writer_commit(&o->file, err);
}

static plmm_status write_devices(const plmm_world *w, out_file *o, plmm_error *err)
{
    PLMM_TRY(begin(o, PLMM_JSON_LINES, "devices.jsonl", err));
    for (size_t i = 0; i < w->n_dialogues; i++) {
        const plmm_world_dialogue *d = &w->dialogues[i];
        plmm_json_open_object(&o->json);
        member(&o->json, "user", d->user);
        member(&o->json, "domain", d->domain);
        plmm_json_put_key(&o->json, "time");
        plmm_json_put_int(&o->json, d->time);
        member(&o->json, "kind", plmm_world_kind_name(d->kind));
        member(&o->json, "prompt", d->prompt);
        member(&o->json, "response", d->response);
        plmm_json_close_object(&o->json);
    }
    return commit(o, err);
}

static plmm_status write_questions(const plmm_world *w, size_t domain, out_file *o, plmm_error *err)
{
    char name[64];
    (void)snprintf(name, sizeof name, "holdout-%s.jsonl", plmm_world_domain(domain));
    PLMM_TRY(begin(o, PLMM_JSON_LINES, name, err));
    for (size_t i = w->first_question[domain]; i < w->first_question[domain + 1]; i++) {
        const plmm_world_question *q = &w->questions[i];
        plmm_json_open_object(&o->json);
        member(&o->json, "domain", q->domain);
        member(&o->json, "test", plmm_world_test_name(q->test));
        member(&o->json, "entity", q->entity);
        member(&o->json, "attribute", q->attribute);
        member(&o->json, "prompt", q->prompt);
        member(&o->json, "response", q->response);
        member(&o->json, "answer", q->answer);
        plmm_json_close_object(&o->json);
    }
    return commit(o, err);
}

static void put_mix(plmm_json_writer *j, const char *key, const double mix[PLMM_WORLD_DOMAINS])
{
    plmm_json_put_key(j, key);
    plmm_json_open_object(j);
    for (size_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        number(j, plmm_world_domain(d), mix[d]);
    }
    plmm_json_close_object(j);
}

static plmm_status write_personas(const plmm_world *w, out_file *o, plmm_error *err)
{
    PLMM_TRY(begin(o, PLMM_JSON_LINES, "personas.jsonl", err));
    plmm_json_writer *j = &o->json;
    for (size_t i = 0; i < w->n_devices; i++) {
        const plmm_world_device *d = &w->devices[i];
        plmm_json_open_object(j);
        member(j, "user", d->user);
        member(j, "style", d->style);
        put_mix(j, "mix", d->mix);
        put_mix(j, "later", d->later);
        plmm_json_put_key(j, "facts");
        plmm_json_open_array(j);
        for (size_t f = 0; f < d->n_facts; f++) {
            plmm_json_open_object(j);
            member(j, "attribute", d->facts[f].attribute);
            member(j, "value", d->facts[f].value);
            if (d->facts[f].changed != NULL) {
                member(j, "changed", d->facts[f].changed);
            }
            plmm_json_close_object(j);
        }
        plmm_json_close_array(j);
        plmm_json_close_object(j);
    }
    return commit(o, err);
}

static void put_domain(plmm_json_writer *j, const plmm_world *w, size_t domain)
{
    uint64_t asked[2] = {0, 0};
    uint64_t heard = 0;
    for (size_t i = w->first_question[domain]; i < w->first_question[domain + 1]; i++) {
        asked[w->questions[i].test]++;
    }
    for (size_t i = 0; i < w->n_dialogues; i++) {
        heard += strcmp(w->dialogues[i].domain, plmm_world_domain(domain)) == 0;
    }
    plmm_json_put_key(j, plmm_world_domain(domain));
    plmm_json_open_object(j);
    plmm_json_put_key(j, "dialogues");
    plmm_json_put_u64(j, heard);
    plmm_json_put_key(j, "template_questions");
    plmm_json_put_u64(j, asked[PLMM_WORLD_TEMPLATE]);
    plmm_json_put_key(j, "entity_questions");
    plmm_json_put_u64(j, asked[PLMM_WORLD_ENTITY]);
    number(j, "chance", w->chance);
    plmm_json_close_object(j);
}

static plmm_status write_summary(const plmm_world *w, out_file *o, plmm_error *err)
{
    PLMM_TRY(begin(o, PLMM_JSON_PRETTY, "world.json", err));
    plmm_json_writer *j = &o->json;
    plmm_json_open_object(j);
    plmm_json_put_key(j, "seed");
    plmm_json_put_u64(j, w->seed);
    plmm_json_put_key(j, "parameters");
    plmm_config_dump(&plmm_world_config_table, &w->params, j);
    plmm_json_put_key(j, "base_lines");
    plmm_json_put_u64(j, w->n_base);
    plmm_json_put_key(j, "devices");
    plmm_json_put_u64(j, w->n_devices);
    plmm_json_put_key(j, "dialogues");
    plmm_json_put_u64(j, w->n_dialogues);
    plmm_json_put_key(j, "domains");
    plmm_json_open_object(j);
    for (size_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        put_domain(j, w, d);
    }
    plmm_json_close_object(j);
    plmm_json_close_object(j);
    return commit(o, err);
}

plmm_status plmm_world_write(const plmm_world *w, const char *dir, plmm_error *err)
{
    PLMM_TRY(plmm_dir_make(dir, PLMM_MODE_DIR, err));
    out_file o = {.dir = dir};
    if (w->n_base > 0) {
        PLMM_TRY(write_base_json(w, &o, err));
        PLMM_TRY(write_lines(w, &o, "base.txt", NULL, err));
    }
    PLMM_TRY(write_devices(w, &o, err));
    for (size_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        char name[64];
        (void)snprintf(name, sizeof name, "lexicon-%s.txt", plmm_world_domain(d));
        PLMM_TRY(write_lines(w, &o, name, &w->lexicon[d], err));
        PLMM_TRY(write_questions(w, d, &o, err));
    }
    PLMM_TRY(write_personas(w, &o, err));
    return write_summary(w, &o, err);
}
