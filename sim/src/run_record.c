#include "plmm/run_record.h"

#include "plmm/alloc.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *plmm_phase_name(plmm_phase p)
{
    static const char *const names[PLMM_PHASES] = {"check-in", "advertise", "share",  "train",
                                                   "upload",   "agree",     "reveal", "publish"};
    return names[p];
}

const char *plmm_step_name(unsigned step)
{
    static const char *const names[PLMM_STEPS] = {"advertise", "share", "masked", "agree",
                                                  "reveal"};
    PLMM_ASSERT(step < PLMM_STEPS);
    return names[step];
}

static void free_names(char **names, size_t n)
{
    for (size_t i = 0; names != NULL && i < n; i++) {
        plmm_free(names[i]);
    }
    plmm_free(names);
}

static char **copy_names(const char *const *names, size_t n)
{
    char **out = plmm_alloc(n, sizeof *out);
    for (size_t i = 0; out != NULL && i < n; i++) {
        out[i] = plmm_strdup(names[i]);
        if (out[i] == NULL) {
            free_names(out, i);
            return NULL;
        }
    }
    return out;
}

plmm_status plmm_run_new(plmm_run **out, const char *name, const uint64_t *seeds, size_t n_seeds,
                         const char *const *experts, size_t n_experts, const char *const *kinds,
                         size_t n_kinds, plmm_error *err)
{
    plmm_run *run = plmm_alloc(1, sizeof *run);
    if (run == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot start the record of a run: out of memory");
    }
    run->name = plmm_strdup(name);
    run->seeds = plmm_alloc(n_seeds, sizeof *run->seeds);
    run->experts = copy_names(experts, n_experts);
    run->kinds = copy_names(kinds, n_kinds);
    run->n_seeds = n_seeds;
    run->n_experts = n_experts;
    run->n_kinds = n_kinds;
    if (run->name == NULL || run->seeds == NULL || run->experts == NULL || run->kinds == NULL) {
        plmm_run_free(run);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot start the record of a run: out of memory");
    }
    memcpy(run->seeds, seeds, n_seeds * sizeof *seeds);
    *out = run;
    return PLMM_OK;
}

void plmm_run_free(plmm_run *run)
{
    if (run == NULL) {
        return;
    }
    for (size_t i = 0; i < run->n_facts; i++) {
        plmm_free(run->facts[i].section);
        plmm_free(run->facts[i].key);
        plmm_free(run->facts[i].value);
        plmm_free(run->facts[i].help);
    }
    plmm_free(run->facts);
    plmm_free(run->rounds);
    plmm_free(run->scores);
    free_names(run->experts, run->n_experts);
    free_names(run->kinds, run->n_kinds);
    plmm_free(run->seeds);
    plmm_free(run->name);
    plmm_free(run->config);
    plmm_free(run);
}

/* Makes room for one more element of an array; *p, *cap change together. */
static plmm_status more(void **p, size_t n, size_t *cap, size_t size, plmm_error *err)
{
    if (n < *cap) {
        return PLMM_OK;
    }
    size_t next = *cap == 0 ? 64 : 2 * *cap;
    void *q = plmm_grow(*p, *cap, next, size);
    if (q == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot record more than %zu entries: out of memory",
                         n);
    }
    *p = q;
    *cap = next;
    return PLMM_OK;
}

plmm_status plmm_run_add_round(plmm_run *run, const plmm_round_record *r, plmm_error *err)
{
    PLMM_ASSERT(r->seed_index < run->n_seeds && r->expert < run->n_experts);
    void *p = run->rounds;
    PLMM_TRY(more(&p, run->n_rounds, &run->cap_rounds, sizeof *r, err));
    run->rounds = p;
    run->rounds[run->n_rounds++] = *r;
    return PLMM_OK;
}

plmm_status plmm_run_add_score(plmm_run *run, const plmm_score_record *s, plmm_error *err)
{
    PLMM_ASSERT(s->seed_index < run->n_seeds && s->expert < run->n_experts &&
                s->kind < run->n_kinds);
    void *p = run->scores;
    PLMM_TRY(more(&p, run->n_scores, &run->cap_scores, sizeof *s, err));
    run->scores = p;
    run->scores[run->n_scores++] = *s;
    return PLMM_OK;
}

plmm_status plmm_run_add_fact(plmm_run *run, const char *section, const char *key, const char *help,
                              plmm_error *err, const char *fmt, ...)
{
    void *p = run->facts;
    PLMM_TRY(more(&p, run->n_facts, &run->cap_facts, sizeof *run->facts, err));
    run->facts = p;
    char value[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    plmm_run_fact f = {plmm_strdup(section), plmm_strdup(key), plmm_strdup(value),
                       plmm_strdup(help == NULL ? "" : help)};
    run->facts[run->n_facts++] = f; /* freed with the run even when a part of it is missing */
    if (f.section == NULL || f.key == NULL || f.value == NULL || f.help == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot record %s: out of memory", key);
    }
    return PLMM_OK;
}

plmm_status plmm_run_set_config(plmm_run *run, const char *json, plmm_error *err)
{
    char *copy = plmm_strdup(json);
    if (copy == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot record the configuration: out of memory");
    }
    plmm_free(run->config);
    run->config = copy;
    return PLMM_OK;
}

static int order(uint32_t a, uint32_t b)
{
    return a < b ? -1 : a > b;
}

static int by_round(const void *x, const void *y)
{
    const plmm_round_record *a = x;
    const plmm_round_record *b = y;
    int c = order(a->seed_index, b->seed_index);
    c = c != 0 ? c : order(a->expert, b->expert);
    c = c != 0 ? c : order(a->slot, b->slot);
    return c != 0 ? c : order(a->group, b->group);
}

static int by_score(const void *x, const void *y)
{
    const plmm_score_record *a = x;
    const plmm_score_record *b = y;
    int c = order(a->seed_index, b->seed_index);
    c = c != 0 ? c : order(a->expert, b->expert);
    c = c != 0 ? c : order(a->slot, b->slot);
    return c != 0 ? c : order(a->kind, b->kind);
}

void plmm_run_sort(plmm_run *run)
{
    if (run->n_rounds > 0) {
        qsort(run->rounds, run->n_rounds, sizeof *run->rounds, by_round);
    }
    if (run->n_scores > 0) {
        qsort(run->scores, run->n_scores, sizeof *run->scores, by_score);
    }
}

static const plmm_score_record *score_of(const plmm_run *run, size_t seed, uint32_t expert,
                                         uint32_t kind, uint32_t slot)
{
    for (size_t i = 0; i < run->n_scores; i++) {
        const plmm_score_record *s = &run->scores[i];
        if (s->seed_index == seed && s->expert == expert && s->kind == kind && s->slot == slot) {
            return s;
        }
    }
    return NULL;
}

static const plmm_score_record *last_score(const plmm_run *run, size_t seed, uint32_t expert,
                                           uint32_t kind)
{
    const plmm_score_record *last = NULL;
    for (size_t i = 0; i < run->n_scores; i++) {
        const plmm_score_record *s = &run->scores[i];
        if (s->seed_index == seed && s->expert == expert && s->kind == kind &&
            (last == NULL || s->slot > last->slot)) {
            last = s;
        }
    }
    return last;
}

/* Welford's update; sd holds the sum of squares until spread_end. */
static void spread_add(plmm_spread *s, double x)
{
    if (isnan(x)) {
        return;
    }
    s->lo = s->n == 0 || x < s->lo ? x : s->lo;
    s->hi = s->n == 0 || x > s->hi ? x : s->hi;
    s->n++;
    double d = x - s->mean;
    s->mean += d / (double)s->n;
    s->sd += d * (x - s->mean);
}

static void spread_end(plmm_spread *s)
{
    s->sd = s->n < 2 ? 0 : sqrt(s->sd / (double)(s->n - 1));
    if (s->n == 0) {
        s->mean = s->sd = s->lo = s->hi = (double)NAN;
    }
}

plmm_summary plmm_run_summary(const plmm_run *run, uint32_t expert, uint32_t kind)
{
    plmm_summary m = {0};
    for (size_t seed = 0; seed < run->n_seeds; seed++) {
        const plmm_score_record *base = score_of(run, seed, expert, kind, 0);
        const plmm_score_record *last = last_score(run, seed, expert, kind);
        if (base == NULL || last == base) {
            continue;
        }
        m.items = m.items == 0 ? base->items : m.items;
        m.version = last->version > m.version ? last->version : m.version;
        spread_add(&m.base_nll, base->nll);
        spread_add(&m.nll, last->nll);
        spread_add(&m.nll_gain, base->nll - last->nll);
        spread_add(&m.base_exact, base->exact);
        spread_add(&m.exact, last->exact);
        spread_add(&m.exact_gain, last->exact - base->exact);
        spread_add(&m.chance, base->chance);
    }
    plmm_spread *all[] = {&m.base_nll, &m.nll,        &m.nll_gain, &m.base_exact,
                          &m.exact,    &m.exact_gain, &m.chance};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        spread_end(all[i]);
    }
    return m;
}

plmm_spread plmm_run_nll_at(const plmm_run *run, uint32_t expert, uint32_t kind, uint32_t slot)
{
    plmm_spread s = {0};
    for (size_t seed = 0; seed < run->n_seeds; seed++) {
        const plmm_score_record *r = score_of(run, seed, expert, kind, slot);
        spread_add(&s, r == NULL ? (double)NAN : r->nll);
    }
    spread_end(&s);
    return s;
}

plmm_spread plmm_run_exact_at(const plmm_run *run, uint32_t expert, uint32_t kind, uint32_t slot)
{
    plmm_spread s = {0};
    for (size_t seed = 0; seed < run->n_seeds; seed++) {
        const plmm_score_record *r = score_of(run, seed, expert, kind, slot);
        spread_add(&s, r == NULL ? (double)NAN : r->exact);
    }
    spread_end(&s);
    return s;
}

void plmm_run_checked(const plmm_run *run, size_t *checked, size_t *exact)
{
    *checked = 0;
    *exact = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        *checked += run->rounds[i].sum_checked;
        *exact += run->rounds[i].sum_checked && run->rounds[i].sum_exact;
    }
}
