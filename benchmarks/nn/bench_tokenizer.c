/* bench_tokenizer TOKENIZER TEXT [SECONDS] -- how long a tokenizer takes to open and to encode a
 * file, line by line and as one text, on one thread: the median over runs that take SECONDS (1)
 * together. `sum` is a check of the ids that benchmarks/peers/hf_tokenizer.py prints, too. One
 * JSON line a result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/tokenizer.h"

enum { RUNS_MAX = 1000 };

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* what neighbours take does not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_tokenizer: %s\n", err->msg);
        exit(1);
    }
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

/* Encodes the text, each line without its line break by itself, or the whole. */
static void encode(const plmm_tokenizer *t, const char *text, size_t len, bool lines, plmm_ids *ids)
{
    plmm_error err;
    ids->n = 0;
    for (size_t at = 0; at < len;) {
        const char *end = lines ? memchr(text + at, '\n', len - at) : NULL;
        size_t n = end != NULL ? (size_t)(end - text) - at : len - at;
        must(plmm_tokenizer_encode(t, text + at, n, 0, ids, &err), &err);
        at += n + 1;
    }
}

static void bench_encode(const plmm_tokenizer *t, const char *path, const char *text, size_t len,
                         bool lines, double seconds)
{
    static double took[RUNS_MAX];
    plmm_ids ids = {0};
    size_t runs = 0;
    uint64_t sum = 0;
    encode(t, text, len, lines, &ids);
    for (size_t i = 0; i < ids.n; i++) {
        sum = sum * 31 + (uint64_t)ids.v[i];
    }
    for (double spent = 0; runs < RUNS_MAX && (runs < 3 || spent < seconds); runs++) {
        double start = now();
        encode(t, text, len, lines, &ids);
        took[runs] = now() - start;
        spent += took[runs];
    }
    (void)printf("{\"bench\":\"tokenizer\",\"of\":\"plmm\",\"file\":\"%s\",\"mode\":\"%s\","
                 "\"bytes\":%zu,\"tokens\":%zu,\"sum\":%u,\"mb_per_s\":%.2f}\n",
                 path, lines ? "lines" : "whole", len, ids.n, (unsigned)(sum & 0xFFFFFFFFu),
                 1e-6 * (double)len / median(took, runs));
    plmm_ids_free(&ids);
}

int main(int argc, char **argv)
{
    plmm_tokenizer *t = NULL;
    plmm_error err;
    uint8_t *text;
    size_t len;
    if (argc < 3) {
        (void)fprintf(stderr, "usage: bench_tokenizer TOKENIZER TEXT [SECONDS]\n");
        return 2;
    }
    double seconds = argc > 3 ? strtod(argv[3], NULL) : 1, start = now();
    must(plmm_tokenizer_load(argv[1], &t, &err), &err);
    (void)printf("{\"bench\":\"tokenizer\",\"of\":\"plmm\",\"file\":\"%s\",\"mode\":\"open\","
                 "\"vocab\":%u,\"ms\":%.1f}\n",
                 argv[1], plmm_tokenizer_vocab(t), 1e3 * (now() - start));
    must(plmm_file_read(argv[2], PLMM_TOKENIZER_TEXT_MAX, &text, &len, &err), &err);
    bench_encode(t, argv[2], (char *)text, len, true, seconds);
    bench_encode(t, argv[2], (char *)text, len, false, seconds);
    plmm_free(text);
    plmm_tokenizer_free(t);
    return 0;
}
