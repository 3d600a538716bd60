/* What a selection costs: offers a second to a full buffer, by rule, bins and width of the
 * embedding, and beside it the scores alone. One JSON object a line; no pass or fail.
 * Usage: bench_buffer [seconds a case]; ctest runs a tiny one. */
#include "plmm/alloc.h"
#include "plmm/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOKENS = 48, SETS = 64, BLOCK = 32 };

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_buffer: %s\n", err->msg);
        exit(EXIT_FAILURE);
    }
}

/* SETS random dialogue sets of TOKENS tokens. */
static float *make_states(uint32_t dim)
{
    plmm_rng r;
    size_t n = (size_t)SETS * TOKENS * dim;
    float *s = plmm_alloc(n, sizeof *s);
    if (s == NULL) {
        exit(EXIT_FAILURE);
    }
    plmm_rng_init(&r, 1, dim);
    for (size_t i = 0; i < n; i++) {
        s[i] = (float)plmm_rng_normal(&r);
    }
    return s;
}

static void run(const plmm_buffer_params *p, const plmm_lexicons *l, const char *name,
                double budget)
{
    static const char *const texts[] = {
        "My fever is high and my head hurts since the day before yesterday, what can I take?",
        "Would the bank lend me money for a house, and at which rate of interest?",
        "It rained all day and we stayed at home with the children and the dog."};
    int32_t tokens[TOKENS];
    plmm_buffer *b = NULL;
    plmm_error err = {0};
    plmm_verdict v;
    uint64_t id = 0, kept = 0;
    for (int32_t i = 0; i < TOKENS; i++) {
        tokens[i] = i % 31;
    }
    float *states = make_states(p->dim);
    must(plmm_buffer_new(p, l, &b, &err), &err);
    double begin = 0, now = 0;
    uint64_t offers = 0;
    while (begin == 0 || now - begin < budget) {
        if (begin == 0 && plmm_buffer_count(b) == p->bins) {
            begin = seconds();
        }
        for (int i = 0; i < BLOCK; i++, id++) {
            plmm_embedding e = {.states = states + id % SETS * TOKENS * p->dim,
                                .tokens = tokens,
                                .n = TOKENS,
                                .dim = p->dim};
            const char *text = texts[id % 3];
            must(plmm_buffer_offer(b, id, text, strlen(text), &e, &v, &err), &err);
            offers += begin != 0;
            kept += begin != 0 && v.kind != PLMM_VERDICT_LET_GO;
        }
        now = seconds();
    }
    (void)printf(
        "{\"bench\": \"buffer\", \"rule\": \"%s\", \"bins\": %u, \"dim\": %u, \"tokens\": %d, "
        "\"offers\": %llu, \"kept\": %llu, \"us_per_offer\": %.3f}\n",
        name, p->bins, p->dim, TOKENS, (unsigned long long)offers, (unsigned long long)kept,
        1e6 * (now - begin) / (double)offers);
    plmm_buffer_free(b);
    plmm_free(states);
}

int main(int argc, char **argv)
{
    double budget = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    plmm_lexicons *l = NULL;
    plmm_error err = {0};
    must(plmm_lexicons_new(&l, &err), &err);
    must(plmm_lexicons_load(l, "client/lexicons", &err), &err);
    static const struct {
        uint32_t bins, dim;
    } sizes[] = {{8, 64}, {128, 64}, {512, 64}, {128, 576}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        plmm_buffer_params p = plmm_buffer_params_default(sizes[i].dim);
        p.bins = sizes[i].bins;
        run(&p, l, "scores", budget);
        p.idd = PLMM_IDD_LIVE;
        run(&p, l, "scores, live idd", budget);
        p.rule = PLMM_SELECT_FIFO;
        run(&p, l, "fifo", budget);
    }
    plmm_lexicons_free(l);
    return EXIT_SUCCESS;
}
