/* What a mask costs beside adding a vector that is already there: each way of computing the stream
 * that this processor has, in turn with a plain addition of the same length, at lengths that fit each
 * level of cache and one that fits none. One JSON object a line; no pass or fail.
 * Usage: bench_mask [most lanes] [seconds a case]; ctest runs a tiny one. */
#include "aes_internal.h"
#include "plmm/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPS_MAX = 400, MASKS = 8, BITS = 24 };

/* Of this process alone: what else runs does not count. */
static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(plmm_status rc)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_mask: %s\n", plmm_status_str(rc));
        exit(EXIT_FAILURE);
    }
}

/* ---- the peer: a vector added, by the widest registers there are ---- */

#if defined(__x86_64__)
#if defined(__clang__)
#define WIDEST "avx512f"
#else
#define WIDEST "avx512f,prefer-vector-width=512"
#endif
__attribute__((target(WIDEST))) static void add_512(uint32_t *x, const uint32_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

__attribute__((target("avx2"))) static void add_256(uint32_t *x, const uint32_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}
#endif

static void add(uint32_t *x, const uint32_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

static void plain_add(uint32_t *x, const uint32_t *y, size_t n)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        add_512(x, y, n);
        return;
    }
    if (__builtin_cpu_supports("avx2")) {
        add_256(x, y, n);
        return;
    }
#endif
    add(x, y, n);
}

/* ---- the cases ---- */

typedef struct bench {
    uint32_t *x, *y;
    size_t n;
    plmm_mask masks[MASKS];
    size_t count;
    double budget_s;
} bench;

/* Seconds of `batch` runs of the masks (or of the plain addition). */
static double timed(bench *b, size_t batch, bool masks)
{
    double t0 = seconds();
    for (size_t i = 0; i < batch; i++) {
        if (masks) {
            plmm_mask_apply(b->x, b->n, 0, BITS, b->masks, b->count);
        } else {
            plain_add(b->x, b->y, b->n);
        }
        __asm__ volatile("" ::"r"(b->x) : "memory");
    }
    return seconds() - t0;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Both in turn, so that what else the machine does meets both; the ratio is that of the fastest. */
static void line(bench *b, const char *stream, const char *path)
{
    static double mask[REPS_MAX], plain[REPS_MAX];
    size_t batch = 1, reps = 0;
    while (timed(b, batch, false) < b->budget_s / 200) {
        batch *= 2;
    }
    (void)timed(b, 1, true);
    for (double end = seconds() + b->budget_s; reps < REPS_MAX && (reps < 3 || seconds() < end);
         reps++) {
        plain[reps] = timed(b, batch, false) / (double)batch;
        mask[reps] = timed(b, batch, true) / (double)batch;
    }
    qsort(mask, reps, sizeof mask[0], by_value);
    qsort(plain, reps, sizeof plain[0], by_value);
    printf(
        "{\"bench\":\"secagg.mask\",\"stream\":\"%s\",\"path\":\"%s\",\"lanes\":%zu,"
        "\"masks\":%zu,\"best_us\":%.3f,\"median_us\":%.3f,\"plain_add_best_us\":%.3f,"
        "\"plain_add_median_us\":%.3f,\"times_plain_add\":%.3f,\"times_plain_add_a_mask\":%.3f}\n",
        stream, path, b->n, b->count, mask[0] * 1e6, mask[reps / 2] * 1e6, plain[0] * 1e6,
        plain[reps / 2] * 1e6, mask[0] / plain[0], mask[0] / plain[0] / (double)b->count);
    (void)fflush(stdout);
}

static void masks_of(bench *b, uint32_t stream)
{
    for (uint32_t i = 0; i < MASKS; i++) {
        const uint8_t secret[32] = {(uint8_t)i, 7};
        must(plmm_mask_init(&b->masks[i], stream, secret, &(plmm_hash){{1}},
                            i % 2 == 0 ? PLMM_MASK_ADD : PLMM_MASK_SUB, NULL));
    }
}

static void report(bench *b)
{
    const plmm__aes *paths[PLMM__AES_PATHS];
    size_t all = plmm__aes_all(paths);
    masks_of(b, PLMM_STREAM_AES256CTR);
    for (size_t k = 0; k < all; k++) {
        plmm__aes_use(paths[k]);
        for (b->count = 1; b->count <= MASKS; b->count += MASKS - 1) {
            line(b, plmm_stream_name(PLMM_STREAM_AES256CTR), paths[k]->name);
        }
    }
    plmm__aes_use(NULL);
    masks_of(b, PLMM_STREAM_CHACHA20);
    b->count = 1;
    line(b, plmm_stream_name(PLMM_STREAM_CHACHA20), plmm_stream_isa(PLMM_STREAM_CHACHA20));
}

int main(int argc, char **argv)
{
    static const size_t lengths[] = {4096, 50000, 1u << 18, 1u << 20, 1u << 24};
    static bench b;
    size_t most = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 1u << 20;
    b.budget_s = argc > 2 ? strtod(argv[2], NULL) : 0.2;
    if (most < 4096 || most > 1u << 28 || !(b.budget_s > 0)) {
        (void)fprintf(stderr, "usage: bench_mask [most lanes, 4096..2^28] [seconds a case]\n");
        return 2;
    }
    must(plmm_crypto_init(NULL));
    b.x = plmm_alloc(most, 4);
    b.y = plmm_alloc(most, 4);
    must(b.x != NULL && b.y != NULL ? PLMM_OK : PLMM_ERR_NOMEM);
    for (size_t i = 0; i < most; i++) {
        b.y[i] = (uint32_t)(i * 2654435761u);
    }
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0] && lengths[i] <= most; i++) {
        b.n = lengths[i];
        report(&b);
    }
    plmm_free(b.x);
    plmm_free(b.y);
    return EXIT_SUCCESS;
}
