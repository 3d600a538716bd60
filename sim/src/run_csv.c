/* run_csv.c -- rounds.csv and the table on the terminal. */
#include "text.h"

#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/run_record.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The shortest decimal that reads back; nothing for NAN. */
static void put_real(text *t, double v)
{
    char buf[PLMM_REAL_CHARS];
    if (!isnan(v)) {
        plmm_real_print(buf, v);
        text_add(t, buf);
    }
}

static void put_header(text *t, const plmm_run *run)
{
    text_add(t, "seed,expert,slot,round,attempt,group,groups,outcome,invited,cohort,survivors,"
                "neighbours,threshold,"
                "bits,length,epoch");
    for (unsigned s = 0; s < PLMM_STEPS; s++) {
        text_fmt(t, ",dropped_%s", plmm_step_name(s));
    }
    text_add(t, ",late,restarts,duplicates,lost,frames,bytes_up,bytes_down,bytes_version,fetches,"
                "start_ms,end_ms");
    for (unsigned p = 0; p < PLMM_PHASES; p++) {
        text_fmt(t, ",%s_ms", p == PLMM_PHASE_CHECKIN ? "checkin" : plmm_phase_name((plmm_phase)p));
    }
    text_add(t, ",train_loss,update_norm,clipped,clip,epsilon,epsilon_models,cosine,loss_alone,"
                "lying,bit_exact");
    for (size_t k = 0; k < run->n_kinds; k++) {
        char name[128];
        (void)snprintf(name, sizeof name, "loss: %s", run->kinds[k]);
        text_add(t, ",");
        text_csv(t, name);
        (void)snprintf(name, sizeof name, "right: %s", run->kinds[k]);
        text_add(t, ",");
        text_csv(t, name);
    }
    text_add(t, "\n");
}

static void put_scores(text *t, const plmm_run *run, const plmm_round_record *r)
{
    for (size_t k = 0; k < run->n_kinds; k++) {
        double nll = (double)NAN;
        double exact = (double)NAN;
        for (size_t i = 0; i < run->n_scores; i++) {
            const plmm_score_record *s = &run->scores[i];
            if (s->seed_index == r->seed_index && s->expert == r->expert && s->kind == k &&
                s->slot == r->slot) {
                nll = s->nll;
                exact = s->exact;
            }
        }
        text_add(t, ",");
        put_real(t, nll);
        text_add(t, ",");
        put_real(t, exact);
    }
}

static void put_round(text *t, const plmm_run *run, const plmm_round_record *r)
{
    text_fmt(t, "%" PRIu64 ",", run->seeds[r->seed_index]);
    text_csv(t, run->experts[r->expert]);
    text_fmt(t, ",%u,%u,%u,%u,%u,", r->slot, r->round, r->attempt, r->group, r->groups);
    text_csv(t, r->completed ? "completed" : r->reason);
    text_fmt(t, ",%u,%u,%u,%u,%u,%u,%u,%u", r->invited, r->cohort, r->survivors, r->neighbours,
             r->threshold, r->bits, r->length, r->epoch);
    for (unsigned s = 0; s < PLMM_STEPS; s++) {
        text_fmt(t, ",%u", r->dropped[s]);
    }
    text_fmt(t, ",%u,%u,%u,%u,%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%u,%" PRIu64 ",%" PRIu64,
             r->late, r->restarts, r->duplicates, r->lost, r->frames, r->bytes_up, r->bytes_down,
             r->bytes_version, r->fetches, r->start_ms, r->end_ms);
    for (unsigned p = 0; p < PLMM_PHASES; p++) {
        text_fmt(t, ",%" PRIu64, r->phase_ms[p]);
    }
    const double reals[] = {r->train_loss, r->update_norm,    r->clipped, r->clip,
                            r->epsilon,    r->epsilon_models, r->cosine,  r->nll_alone};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        text_add(t, ",");
        put_real(t, reals[i]);
    }
    text_fmt(t, ",%u", r->lying);
    text_add(t, !r->sum_checked ? "," : r->sum_exact ? ",yes" : ",no");
    put_scores(t, run, r);
    text_add(t, "\n");
}

plmm_status plmm_run_write_csv(const plmm_run *run, const char *path, plmm_error *err)
{
    text t = {0};
    put_header(&t, run);
    for (size_t i = 0; i < run->n_rounds; i++) {
        put_round(&t, run, &run->rounds[i]);
    }
    plmm_status rc = t.failed
                         ? plmm_fail(err, PLMM_ERR_NOMEM, "cannot write %s: out of memory", path)
                         : plmm_file_write(path, t.p, t.len, PLMM_MODE_PUBLIC, err);
    text_free(&t);
    return rc;
}

/* Bytes that do not begin a character: what to add to a field's width for UTF-8. */
static int extra(const char *s)
{
    int n = 0;
    for (; *s != '\0'; s++) {
        n += ((unsigned char)*s & 0xC0) == 0x80;
    }
    return n;
}

static void put_share(text *t, double v)
{
    if (isnan(v)) {
        text_add(t, "       -");
    } else {
        text_fmt(t, " %5.1f %%", 100 * v);
    }
}

/* " ± 0.012", or as many blanks where one seed gives no spread. */
static void put_spread(text *t, int digits, double sd, size_t n)
{
    if (n > 1) {
        text_fmt(t, " \xc2\xb1 %*.*f", digits == 1 ? 4 : digits + 2, digits, sd);
    } else {
        text_fmt(t, "%*s", 3 + (digits == 1 ? 4 : digits + 2), "");
    }
}

static void table_row(text *t, const plmm_run *run, uint32_t e, uint32_t k, int kind_width,
                      const plmm_summary *m)
{
    text_fmt(t, "%-12.12s %-*s", k == 0 ? run->experts[e] : "", kind_width + extra(run->kinds[k]),
             run->kinds[k]);
    if (m->exact.n > 0) {
        put_share(t, m->base_exact.mean);
        put_share(t, m->exact.mean);
        text_fmt(t, "  %+6.1f", 100 * m->exact_gain.mean);
        put_spread(t, 1, 100 * m->exact_gain.sd, m->exact_gain.n);
        put_share(t, m->chance.mean);
    }
    text_fmt(t, "  %7.3f %7.3f  %+6.3f", m->base_nll.mean, m->nll.mean, -m->nll_gain.mean);
    put_spread(t, 3, m->nll_gain.sd, m->nll_gain.n);
    text_fmt(t, " (%+.1f %%)\n", -100 * m->nll_gain.mean / m->base_nll.mean);
}

char *plmm_run_table(const plmm_run *run)
{
    text t = {0};
    int width = 8;
    bool exact = false;
    for (size_t k = 0; k < run->n_kinds; k++) {
        int n = (int)strlen(run->kinds[k]) - extra(run->kinds[k]);
        width = n > width ? n : width;
    }
    for (size_t i = 0; i < run->n_scores; i++) {
        exact = exact || !isnan(run->scores[i].exact);
    }
    text_fmt(&t, "%-12s %-*s", "domain", width, "held-out");
    text_add(&t, exact ? "    base  expert   margin (points)  chance" : "");
    text_add(&t, "  loss, base  expert  change\n");
    for (uint32_t e = 0; e < run->n_experts; e++) {
        for (uint32_t k = 0; k < run->n_kinds; k++) {
            plmm_summary m = plmm_run_summary(run, e, k);
            if (m.nll.n > 0) {
                table_row(&t, run, e, k, width, &m);
            }
        }
    }
    if (t.failed) {
        text_free(&t);
        return NULL;
    }
    return t.p;
}
