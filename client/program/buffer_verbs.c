/* plmm-client ingest and buffer. */
#include "device.h"

#include "plmm/dialogue.h"
#include "plmm/embed.h"
#include "plmm/progress.h"

#include <stdio.h>
#include <string.h>

typedef struct intake {
    device *d;
    plmm_buffer *buffer;
    plmm_embedder embedder;
    plmm_workspace *workspace;
    plmm_trainer *trainer;
    plmm_text text;
    uint64_t read, stored, replaced, skipped;
} intake;

static plmm_status offer(intake *in, const plmm_dialogue *s, plmm_error *err)
{
    plmm_verdict verdict;
    plmm_embedding e;
    plmm_store_dialogue d = {.user = s->user,
                             .domain = s->domain,
                             .prompt = s->prompt,
                             .response = s->response,
                             .time = s->time};
    in->text.len = 0;
    PLMM_TRY(plmm_text_sink(&in->text, s->prompt, strlen(s->prompt), err));
    PLMM_TRY(plmm_text_sink(&in->text, "\n", 1, err));
    PLMM_TRY(plmm_text_sink(&in->text, s->response, strlen(s->response), err));
    PLMM_TRY(plmm_embed(&in->embedder, in->d->model, NULL, in->d->tokenizer, in->workspace,
                        in->d->config.seq_max, in->text.text, in->text.len, &e, err));
    PLMM_TRY(plmm_store_offer(in->d->store, in->buffer, in->d->lexicons, &d, in->text.text,
                              in->text.len, &e, &verdict, NULL, err));
    in->stored += verdict.kind == PLMM_VERDICT_STORED;
    in->replaced += verdict.kind == PLMM_VERDICT_REPLACED;
    return PLMM_OK;
}

static plmm_status read_all(intake *in, plmm_dialogue_reader *r, const plmm_cli_args *a,
                            plmm_error *err)
{
    const plmm_dialogue *s = NULL;
    const char *user = plmm_cli_text(a, "user");
    uint64_t max = (uint64_t)plmm_cli_int(a, "max");
    plmm_progress p;
    plmm_progress_start(&p, "ingest", "dialogues", max);
    plmm_status rc = PLMM_OK;
    while (rc == PLMM_OK && (max == 0 || in->read < max)) {
        rc = plmm_dialogue_next(r, &s, err);
        if (rc != PLMM_OK || s == NULL) {
            break;
        }
        if (user != NULL && strcmp(user, s->user) != 0) {
            in->skipped++;
            continue;
        }
        in->read++;
        rc = offer(in, s, err);
        plmm_progress_update(&p, in->read, NULL);
    }
    plmm_progress_end(&p);
    return rc;
}

static plmm_status ingest(intake *in, const plmm_cli_args *a, plmm_error *err)
{
    device *d = in->d;
    plmm_dialogue_reader *r = NULL;
    plmm_lora_spec spec = {.targets = PLMM_LORA_Q, .rank = 1, .alpha = 1};
    plmm_trainer_sizes sizes = {.tokens = d->config.seq_max, .seq_max = d->config.seq_max};
    PLMM_TRY(plmm_dialogue_open(a->operands[1], &r, err));
    plmm_status rc = device_model(d, err);
    rc = rc == PLMM_OK ? device_lexicons(d, err) : rc;
    rc = rc == PLMM_OK ? device_buffer(d, &in->buffer, err) : rc;
    rc = rc == PLMM_OK
             ? plmm_trainer_new(plmm_model_cfg(d->model), &spec, &sizes, &in->trainer, err)
             : rc;
    if (rc == PLMM_OK) {
        in->workspace = plmm_trainer_workspace(in->trainer);
        rc = read_all(in, r, a, err);
    }
    plmm_dialogue_close(r);
    return rc;
}

plmm_status device_ingest(plmm_cli_args *a, plmm_error *err)
{
    device d;
    intake in = {.d = &d};
    plmm_status rc = device_open(&d, a->operands[0], a, err);
    rc = rc == PLMM_OK ? ingest(&in, a, err) : rc;
    if (rc == PLMM_OK) {
        (void)printf("%llu dialogues read: %llu kept in a free place, %llu took the place of "
                     "another, %llu let go; the buffer holds %u of %u\n",
                     (unsigned long long)in.read, (unsigned long long)in.stored,
                     (unsigned long long)in.replaced,
                     (unsigned long long)(in.read - in.stored - in.replaced),
                     plmm_buffer_count(in.buffer), d.config.bins);
    }
    plmm_trainer_free(in.trainer);
    plmm_embedder_free(&in.embedder);
    plmm_buffer_free(in.buffer);
    plmm_text_free(&in.text);
    device_close(&d);
    return rc;
}

/* ---- buffer ---- */

typedef struct listing {
    device *d;
    plmm_json_writer *w; /* NULL: for people */
} listing;

/* First line of a text, at most n characters of UTF-8. */
static int head(const char *text, int n)
{
    int i = 0;
    while (text[i] != '\0' && text[i] != '\n' && i < n) {
        i++;
    }
    while (i > 0 && ((unsigned char)text[i] & 0xc0) == 0x80) {
        i--;
    }
    return i;
}

static void put(plmm_json_writer *w, const char *key, const char *text)
{
    plmm_json_put_key(w, key);
    plmm_json_put_text(w, text);
}

static plmm_status show_one(void *ctx, const plmm_store_dialogue *s, plmm_error *err)
{
    listing *l = ctx;
    plmm_verdict v;
    bool still = false;
    PLMM_TRY(plmm_store_verdict(l->d->store, l->d->lexicons, s->id, &v, &still, err));
    if (l->w == NULL) {
        (void)printf("%6llu  %-10s %.3f %.4f %.3f  %.*s\n", (unsigned long long)s->id,
                     plmm_lexicons_name(l->d->lexicons, v.domain), v.score[PLMM_EOE],
                     v.score[PLMM_DSS], v.score[PLMM_IDD], head(s->prompt, 60), s->prompt);
        return PLMM_OK;
    }
    plmm_json_open_object(l->w);
    plmm_json_put_key(l->w, "id");
    plmm_json_put_u64(l->w, s->id);
    put(l->w, "domain", plmm_lexicons_name(l->d->lexicons, v.domain));
    static const char *const names[PLMM_SCORES] = {"eoe", "dss", "idd"};
    for (int i = 0; i < PLMM_SCORES; i++) {
        plmm_json_put_key(l->w, names[i]);
        plmm_json_put_real(l->w, v.score[i]);
    }
    put(l->w, "prompt", s->prompt);
    put(l->w, "response", s->response);
    plmm_json_close_object(l->w);
    return PLMM_OK;
}

static plmm_status explain(device *d, uint64_t id, plmm_error *err)
{
    plmm_verdict v;
    bool still = false;
    char text[400];
    PLMM_TRY(plmm_store_verdict(d->store, d->lexicons, id, &v, &still, err));
    (void)printf("%llu: %s; it is %s\n", (unsigned long long)id,
                 plmm_verdict_explain(&v, d->lexicons, text, sizeof text),
                 still ? "in the buffer" : "not in the buffer");
    return PLMM_OK;
}

static plmm_status show_all(device *d, bool json, plmm_error *err)
{
    plmm_json_writer w;
    listing l = {.d = d, .w = json ? &w : NULL};
    if (!json) {
        (void)printf("    id  domain       eoe    dss   idd  prompt\n");
        return plmm_store_each(d->store, show_one, &l, err);
    }
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_status rc = plmm_store_each(d->store, show_one, &l, err);
    plmm_status written = plmm_json_end(&w, err);
    return rc == PLMM_OK ? written : rc;
}

plmm_status device_show(plmm_cli_args *a, plmm_error *err)
{
    device d;
    plmm_status rc = device_open(&d, a->operands[0], a, err);
    rc = rc == PLMM_OK ? device_lexicons(&d, err) : rc;
    if (rc == PLMM_OK && plmm_cli_flag(a, "explain")) {
        rc = explain(&d, (uint64_t)plmm_cli_int(a, "explain"), err);
    } else if (rc == PLMM_OK) {
        rc = show_all(&d, plmm_cli_flag(a, "json"), err);
    }
    device_close(&d);
    return rc;
}
