/* plmm-model eval: perplexity, exact match and ROUGE-1 on dialogues. */
#include "program.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/dialogue.h"
#include "plmm/generate.h"
#include "plmm/json.h"
#include "plmm/progress.h"
#include "plmm/score.h"

enum { GROUPS_MAX = 64, SLOTS = 32, CHUNK = 128 };

/* Sums over the dialogues of one domain. */
typedef struct group {
    char name[PLMM_DIALOGUE_NAME_MAX + 1];
    uint64_t n, forced; /* dialogues; of these, all tokens the most probable */
    plmm_loss_sum loss;
    double exact, precision, recall, f;
} group;

typedef struct job {
    plmm_cli_args *a;
    loaded l;
    plmm_dialogues all;
    plmm_workspace *w;
    plmm_decoder *d;
    plmm_sampling sampling;
    uint32_t length, max_new; /* of a sample; of an answer */
    group total, groups[GROUPS_MAX];
    size_t n_groups;
    bool generate;
    uint64_t shown, show;
} job;

static group *group_of(job *j, const char *domain)
{
    for (size_t i = 0; i < j->n_groups; i++) {
        if (strcmp(j->groups[i].name, domain) == 0) {
            return &j->groups[i];
        }
    }
    if (j->n_groups == GROUPS_MAX) {
        return NULL; /* counted in the total only */
    }
    group *g = &j->groups[j->n_groups++];
    (void)snprintf(g->name, sizeof g->name, "%s", domain);
    return g;
}

/* --- likelihood --- */

static void add_loss(group *g, const plmm_loss_sum *s)
{
    if (g != NULL) {
        g->n++;
        g->forced += s->hits == s->count;
        g->loss.nll += s->nll;
        g->loss.count += s->count;
        g->loss.hits += s->hits;
    }
}

static plmm_status score_one(job *j, const plmm_dialogue *d, plmm_sample *s, plmm_error *err)
{
    plmm_loss_sum sum = {0};
    PLMM_TRY(plmm_chat_sample(&j->l.chat, d->prompt, d->response, j->length, s, err));
    if (s->ids.n == 0) {
        return PLMM_OK;
    }
    uint32_t len = (uint32_t)s->ids.n;
    plmm_batch b = {s->ids.v, s->targets.v, &len, s->ids.n, 1};
    PLMM_TRY(plmm_score(j->w, j->l.model, &j->l.stack, &b, &sum, err));
    add_loss(&j->total, &sum);
    add_loss(group_of(j, d->domain), &sum);
    return PLMM_OK;
}

static plmm_status score_all(job *j, plmm_error *err)
{
    plmm_sample s = {{0}, {0}};
    plmm_progress bar;
    plmm_status rc = PLMM_OK;
    plmm_progress_start(&bar, "score", "dialogues", j->all.n);
    if (plmm_cli_flag(j->a, "quiet")) {
        plmm_progress_silence(&bar);
    }
    for (size_t i = 0; i < j->all.n && rc == PLMM_OK; i++) {
        rc = score_one(j, &j->all.v[i], &s, err);
        plmm_progress_update(&bar, i + 1, NULL);
    }
    plmm_progress_end(&bar);
    plmm_sample_free(&s);
    return rc;
}

/* --- answers --- */

static void add_answer(group *g, const plmm_rouge *r, bool exact)
{
    if (g != NULL) {
        g->exact += exact;
        g->precision += r->precision;
        g->recall += r->recall;
        g->f += r->f;
    }
}

/* The text of an answer; without an end token it ends at the first line break. */
static plmm_status text_of(const job *j, const plmm_query *q, char **text, plmm_error *err)
{
    size_t len;
    PLMM_TRY(plmm_tokenizer_decode(j->l.tokenizer, q->out, q->made, PLMM_DECODE_SKIP_SPECIALS, text,
                                   &len, err));
    char *eol = j->l.chat.tokens ? NULL : strchr(*text, '\n');
    if (eol != NULL) {
        *eol = '\0';
    }
    return PLMM_OK;
}

static plmm_status judge(job *j, const plmm_dialogue *d, const plmm_query *q, plmm_error *err)
{
    char *text;
    plmm_rouge r;
    PLMM_TRY(text_of(j, q, &text, err));
    plmm_status rc = plmm_rouge1(d->response, text, &r, err);
    if (rc == PLMM_OK) {
        bool exact = plmm_exact_match(d->response, text);
        add_answer(&j->total, &r, exact);
        add_answer(group_of(j, d->domain), &r, exact);
        if (j->shown < j->show) {
            j->shown++;
            (void)fprintf(stderr, "? %s\n= %s\n> %s\n\n", d->prompt, d->response, text);
        }
    }
    plmm_free(text);
    return rc;
}

/* Dialogues [from, from + n) by one call of the batched decoder. */
static plmm_status answer_chunk(job *j, size_t from, size_t n, plmm_error *err)
{
    plmm_ids prompts[CHUNK] = {{0}};
    plmm_query q[CHUNK];
    int32_t *out = plmm_alloc(n * j->max_new, sizeof *out);
    plmm_status rc = out != NULL ? PLMM_OK : plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold answers");
    for (size_t i = 0; i < n && rc == PLMM_OK; i++) {
        rc = plmm_chat_prompt(&j->l.chat, j->all.v[from + i].prompt, j->length, &prompts[i], err);
        q[i] = (plmm_query){.prompt = prompts[i].v,
                            .n = prompts[i].n,
                            .out = out + i * j->max_new,
                            .cap = j->max_new};
    }
    if (rc == PLMM_OK) {
        rc = plmm_generate_batch(j->d, j->l.model, &j->l.stack, q, n, &j->sampling, err);
    }
    for (size_t i = 0; i < n && rc == PLMM_OK; i++) {
        rc = judge(j, &j->all.v[from + i], &q[i], err);
    }
    for (size_t i = 0; i < n; i++) {
        plmm_ids_free(&prompts[i]);
    }
    plmm_free(out);
    return rc;
}

static plmm_status answer_all(job *j, plmm_error *err)
{
    plmm_progress bar;
    plmm_status rc = PLMM_OK;
    plmm_progress_start(&bar, "answer", "dialogues", j->all.n);
    if (plmm_cli_flag(j->a, "quiet")) {
        plmm_progress_silence(&bar);
    }
    for (size_t i = 0; i < j->all.n && rc == PLMM_OK; i += CHUNK) {
        size_t n = j->all.n - i < CHUNK ? j->all.n - i : CHUNK;
        rc = answer_chunk(j, i, n, err);
        plmm_progress_update(&bar, i + n, NULL);
    }
    plmm_progress_end(&bar);
    return rc;
}

/* --- report --- */

static void put_real(plmm_json_writer *w, const char *key, double v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_real(w, v);
}

static void put_group(plmm_json_writer *w, const group *g, bool generated)
{
    double n = g->n > 0 ? (double)g->n : 1, tokens = (double)g->loss.count;
    plmm_json_open_object(w);
    plmm_json_put_key(w, "dialogues");
    plmm_json_put_u64(w, g->n);
    plmm_json_put_key(w, "tokens");
    plmm_json_put_u64(w, g->loss.count);
    put_real(w, "loss", g->loss.nll / tokens);
    put_real(w, "perplexity", plmm_perplexity(g->loss.nll, g->loss.count));
    put_real(w, "token_accuracy", (double)g->loss.hits / tokens);
    put_real(w, "forced_match", (double)g->forced / n);
    if (generated) {
        put_real(w, "exact_match", g->exact / n);
        put_real(w, "rouge1_precision", g->precision / n);
        put_real(w, "rouge1_recall", g->recall / n);
        put_real(w, "rouge1_f", g->f / n);
    }
    plmm_json_close_object(w);
}

static plmm_status print_json(const job *j, plmm_error *err)
{
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "all");
    put_group(&w, &j->total, j->generate);
    plmm_json_put_key(&w, "domains");
    plmm_json_open_object(&w);
    for (size_t i = 0; i < j->n_groups; i++) {
        plmm_json_put_key(&w, j->groups[i].name);
        put_group(&w, &j->groups[i], j->generate);
    }
    plmm_json_close_object(&w);
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

static void print_row(const group *g, const char *name, bool generated)
{
    double n = g->n > 0 ? (double)g->n : 1;
    (void)printf("%-16s %9" PRIu64 " %9.4f %11.3f", name, g->n, g->loss.nll / (double)g->loss.count,
                 plmm_perplexity(g->loss.nll, g->loss.count));
    if (generated) {
        (void)printf(" %7.3f %7.3f %7.3f %7.3f", g->exact / n, g->precision / n, g->recall / n,
                     g->f / n);
    }
    (void)printf("\n");
}

static void print_table(const job *j)
{
    (void)printf("%-16s %9s %9s %11s%s\n", "domain", "dialogues", "loss", "perplexity",
                 j->generate ? "   exact  rouge1:p       r       f" : "");
    for (size_t i = 0; i < j->n_groups && j->n_groups > 1; i++) {
        const char *name = j->groups[i].name;
        print_row(&j->groups[i], name[0] != '\0' ? name : "(none)", j->generate);
    }
    print_row(&j->total, "all", j->generate);
}

/* --- the whole --- */

static plmm_status prepare(job *j, plmm_error *err)
{
    const plmm_model_config *cfg = plmm_model_cfg(j->l.model);
    j->generate = !plmm_cli_flag(j->a, "no-generate");
    j->max_new = (uint32_t)plmm_cli_int(j->a, "max-new");
    j->show = (uint64_t)plmm_cli_int(j->a, "show");
    j->length = cfg->context;
    if (cfg->context < 16 || j->max_new + 8 > cfg->context) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "--max-new is %u, the context of %u holds at most %u", j->max_new,
                         cfg->context, cfg->context < 16 ? 0 : cfg->context - 8);
    }
    plmm_workspace_params p = {
        .tokens = cfg->context, .seq_max = cfg->context, .rank = j->l.rank, .use = PLMM_USE_EVAL};
    PLMM_TRY(plmm_workspace_new(cfg, &p, &j->w, err));
    if (!j->generate) {
        return PLMM_OK;
    }
    j->sampling = plmm_sampling_default();
    j->sampling.max_new = j->max_new;
    if (j->l.chat.stop >= 0) {
        j->sampling.stop[j->sampling.stops++] = j->l.chat.stop;
    }
    plmm_decoder_params dp = {.slots = SLOTS, .positions = cfg->context, .rank = j->l.rank};
    return plmm_decoder_new(cfg, &dp, &j->d, err);
}

static plmm_status run(job *j, plmm_error *err)
{
    size_t max = (size_t)plmm_cli_int(j->a, "max");
    PLMM_TRY(load_all(j->a, &j->l, err));
    PLMM_TRY(use_template(j->a, &j->l, err));
    PLMM_TRY(plmm_dialogues_read(j->a->operands[1], max, &j->all, err));
    if (j->all.n == 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s holds no dialogue", j->a->operands[1]);
    }
    PLMM_TRY(prepare(j, err));
    PLMM_TRY(score_all(j, err));
    if (j->generate) {
        j->length = plmm_model_cfg(j->l.model)->context - j->max_new;
        PLMM_TRY(answer_all(j, err));
    }
    if (plmm_cli_flag(j->a, "json")) {
        return print_json(j, err);
    }
    print_table(j);
    return PLMM_OK;
}

plmm_status verb_eval(plmm_cli_args *a, plmm_error *err)
{
    job *j = plmm_alloc(1, sizeof *j);
    if (j == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot evaluate: out of memory");
    }
    j->a = a;
    plmm_status rc = run(j, err);
    plmm_decoder_free(j->d);
    plmm_workspace_free(j->w);
    plmm_dialogues_free(&j->all);
    loaded_free(&j->l);
    plmm_free(j);
    return rc;
}
