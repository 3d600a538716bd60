/* Does time depend on secrets? A statistical test, for the code that valgrind cannot run (AVX-512):
 * each operation is timed with one fixed secret and with fresh random ones, in random order, and
 * Welch's t compares the two (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", DATE
 * 2017), over all times and over those below several percentiles, as interruptions only ever add. |t|
 * stays below about 4.5 where nothing leaks and grows with the number of runs where something does; the
 * last line is a planted leak. One JSON object a line; no pass or fail.
 * Usage: bench_timing [runs of each] [a path, e.g. avx512]; ctest makes a tiny one. */
#include "aes_internal.h"
#include "kahe_internal.h"
#include "noise_internal.h"
#include "plmm/alloc.h"
#include "plmm/encode.h"
#include "plmm/rng.h"
#include "plmm/shamir.h"
#include "simd_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum { LANES = 1024, SHARES = 33, THRESHOLD = 22, BITS = 23, CROPS = 8, INPUT = 4 * LANES };

static uint64_t ticks(void)
{
#if defined(__x86_64__)
    unsigned core;
    return __rdtscp(&core);
#else
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
#endif
}

static void must(plmm_status rc)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_timing: %s\n", plmm_status_str(rc));
        exit(EXIT_FAILURE);
    }
}

/* What is worked on; `input` is the secret, fixed or random. */
static struct {
    _Alignas(64) uint8_t input[INPUT];
    _Alignas(64) uint32_t lanes[LANES];
    _Alignas(64) uint8_t packed[4 * LANES];
    plmm_share shares[SHARES];
    plmm_shamir_basis basis;
    plmm_mask mask;
    plmm_noise_table table;
    const plmm__noise_path *noise;
    uint64_t *key, *public;
    uint8_t *payload;
    void *scratch;
} w;

static const char *only; /* path, or NULL */

/* ---- the operations: prepare is not timed, run is ---- */

static void mask_prepare(void)
{
    memset(w.lanes, 0, sizeof w.lanes);
}

static void mask_run(void)
{
    const plmm_hash context = {{1}};
    must(plmm_mask_init(&w.mask, PLMM_STREAM_AES256CTR, w.input, &context, PLMM_MASK_ADD, NULL));
    plmm_mask_apply(w.lanes, LANES, 3, BITS, &w.mask, 1);
}

static void lanes_prepare(void)
{
    memcpy(w.lanes, w.input, sizeof w.lanes);
}

static void lanes_run(void)
{
    plmm_mask_apply(w.lanes, LANES, 3, BITS, &w.mask, 1);
}

static void pack_prepare(void)
{
    memcpy(w.lanes, w.input, sizeof w.lanes);
    for (size_t i = 0; i < LANES; i++) {
        w.lanes[i] &= UINT32_MAX >> (32 - BITS);
    }
}

static void pack_run(void)
{
    plmm_pack(w.packed, w.lanes, LANES, BITS);
}

static void unpack_run(void)
{
    must(plmm_unpack_add(w.lanes, LANES, BITS, w.input, plmm_packed_bytes(LANES, BITS), NULL));
}

static void split_run(void)
{
    const plmm_seed *seed = (const plmm_seed *)(const void *)(w.input + 32);
    must(plmm_shamir_split(w.shares, SHARES, THRESHOLD, NULL, w.input, seed, NULL));
}

static void combine_prepare(void)
{
    split_run();
}

static void combine_run(void)
{
    uint8_t secret[32];
    must(plmm_shamir_combine(secret, &w.basis, w.shares, NULL));
}

static void noise_run(void)
{
    const plmm_seed *seed = (const plmm_seed *)(const void *)w.input;
    plmm__noise_draw(w.noise, (int32_t *)w.lanes, LANES, &w.table, PLMM_STREAM_AES256CTR, seed, 1,
                     0);
}

/* A key, its mask, and a vector under it, all secret, and the errors' seed. */
static void kahe_run(void)
{
    const plmm_seed *seed = (const plmm_seed *)(const void *)w.input;
    const plmm_hash context = {{1}};
    plmm_kahe_noise noise;
    plmm_kahe_key_from_seed(w.key, PLMM_KAHE_P1, seed);
    plmm_kahe_key_mask(w.key, PLMM_KAHE_P1, w.input + 32, &context, PLMM_MASK_SUB);
    plmm_kahe_noise_init(&noise, seed + 2, &context);
    plmm_kahe_encrypt(w.payload, PLMM_KAHE_P1, (const int32_t *)w.lanes, LANES, w.key, &noise,
                      w.public, w.scratch);
}

/* The leak: as many steps as the secret has bits. */
static void planted_run(void)
{
    for (size_t i = 0; i < 16; i++) {
        if ((w.input[i] & 1) != 0) {
            *(volatile uint32_t *)&w.lanes[i] += 1;
        }
    }
}

static void nothing(void)
{
}

typedef struct timing_case {
    const char *name;
    void (*prepare)(void);
    void (*run)(void);
} timing_case;

/* ---- Welch's t ---- */

typedef struct moments {
    double n, mean, m2;
} moments;

static void add(moments *m, double x)
{
    double d = x - m->mean;
    m->n++;
    m->mean += d / m->n;
    m->m2 += d * (x - m->mean);
}

static double welch(const moments *a, const moments *b)
{
    double va = a->m2 / (a->n - 1) / a->n, vb = b->m2 / (b->n - 1) / b->n;
    return va + vb > 0 ? (a->mean - b->mean) / sqrt(va + vb) : 0;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The largest |t| over the crops, whose limits are percentiles of all times. */
static double largest_t(const uint64_t *time, const uint8_t *random, size_t runs, uint64_t *sorted)
{
    double worst = 0;
    memcpy(sorted, time, runs * sizeof *time);
    qsort(sorted, runs, sizeof *sorted, by_value);
    for (size_t c = 0; c < CROPS; c++) {
        moments m[2] = {{0}};
        size_t at = (size_t)((double)(runs - 1) * (1 - pow(0.5, (double)(CROPS - c))));
        uint64_t limit = c == 0 ? UINT64_MAX : sorted[at];
        for (size_t i = 0; i < runs; i++) {
            if (time[i] <= limit) {
                add(&m[random[i]], (double)time[i]);
            }
        }
        double t = m[0].n > 1 && m[1].n > 1 ? fabs(welch(&m[0], &m[1])) : 0;
        worst = t > worst ? t : worst;
    }
    return worst;
}

static uint64_t *times, *sorted_times;
static uint8_t *classes;

static void measure(const timing_case *c, const char *path, size_t runs, plmm_rng *r)
{
    static uint8_t fixed[INPUT], fresh[INPUT];
    if (only != NULL && strcmp(only, path) != 0) {
        return;
    }
    for (size_t i = 0; i < runs + runs / 10; i++) {
        for (size_t j = 0; j < INPUT; j += 8) {
            uint64_t v = plmm_rng_u64(r);
            memcpy(fresh + j, &v, 8);
        }
        size_t at = i < runs / 10 ? i : i - runs / 10; /* the first tenth warms up */
        classes[at] = (uint8_t)plmm_rng_below(r, 2);
        const uint8_t keep = (uint8_t)(0 - classes[at]);
        for (size_t j = 0; j < INPUT; j++) { /* the same work for both */
            w.input[j] = (uint8_t)((fresh[j] & keep) | (fixed[j] & ~keep));
        }
        c->prepare();
        uint64_t t0 = ticks();
        c->run();
        times[at] = ticks() - t0;
    }
    double t = largest_t(times, classes, runs, sorted_times);
    printf("{\"bench\":\"secagg.timing\",\"operation\":\"%s\",\"path\":\"%s\",\"runs\":%zu,"
           "\"median_ticks\":%" PRIu64 ",\"largest_t\":%.2f}\n",
           c->name, path, runs, sorted_times[runs / 2], t);
    (void)fflush(stdout);
}

static void measure_masks(size_t runs, plmm_rng *r)
{
    static const timing_case cases[] = {{"mask: secret", mask_prepare, mask_run},
                                        {"mask: lanes", lanes_prepare, lanes_run}};
    const plmm__aes *paths[PLMM__AES_PATHS];
    size_t n = plmm__aes_all(paths);
    for (size_t k = 0; k < n; k++) {
        plmm__aes_use(paths[k]);
        mask_run();
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            measure(&cases[i], paths[k]->name, runs, r);
        }
    }
    plmm__aes_use(NULL);
}

static void measure_shares(size_t runs, plmm_rng *r)
{
    static const timing_case cases[] = {{"pack: lanes", pack_prepare, pack_run},
                                        {"unpack and add: lanes", nothing, unpack_run},
                                        {"split: secret and seed", nothing, split_run},
                                        {"combine: shares", combine_prepare, combine_run}};
    uint32_t xs[SHARES];
    for (uint32_t i = 0; i < SHARES; i++) {
        xs[i] = i + 1;
    }
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        plmm__simd_use(level);
        must(plmm_shamir_basis_init(&w.basis, xs, SHARES, THRESHOLD, NULL));
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            measure(&cases[i], plmm__simd_name(level), runs, r);
        }
    }
}

static void measure_noise(size_t runs, plmm_rng *r)
{
    static const timing_case draw = {"noise: seed and lanes", lanes_prepare, noise_run};
    size_t n;
    const plmm__noise_path *paths = plmm__noise_paths(&n);
    must(plmm_noise_table_init(&w.table, PLMM_NOISE_SKELLAM, 16 * PLMM_NOISE_UNITS, NULL));
    for (size_t k = 0; k < n; k++) {
        w.noise = &paths[k];
        measure(&draw, paths[k].name, runs, r);
    }
}

static void measure_kahe(size_t runs, plmm_rng *r)
{
    static const timing_case encrypt = {"Ring-LWE: key, errors and vector", lanes_prepare,
                                        kahe_run};
    size_t n;
    const plmm__kahe_path *const *paths = plmm__kahe_all(&n);
    w.key = plmm_alloc(plmm_kahe_key_residues(PLMM_KAHE_P1), 8);
    w.public = plmm_alloc(plmm_kahe_public_residues(PLMM_KAHE_P1, LANES), 8);
    w.payload = plmm_alloc(plmm_kahe_bytes(PLMM_KAHE_P1, LANES), 1);
    w.scratch = plmm_alloc(plmm_kahe_scratch_bytes(PLMM_KAHE_P1), 1);
    must(w.key != NULL && w.public != NULL && w.payload != NULL && w.scratch != NULL
             ? PLMM_OK
             : PLMM_ERR_NOMEM);
    plmm_kahe_public(w.public, PLMM_KAHE_P1, LANES);
    for (size_t k = 0; k < n; k++) {
        plmm__kahe_use(paths[k]);
        measure(&encrypt, paths[k]->name, runs, r);
    }
    plmm__kahe_use(NULL);
    plmm_free(w.key);
    plmm_free(w.public);
    plmm_free(w.payload);
    plmm_free(w.scratch);
}

int main(int argc, char **argv)
{
    static const timing_case planted = {"planted leak", nothing, planted_run};
    size_t runs = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 200000;
    plmm_rng r;
    only = argc > 2 ? argv[2] : NULL;
    if (runs < 20 || runs > 100000000) {
        (void)fprintf(stderr, "usage: bench_timing [runs of each, 20..10^8] [path]\n");
        return 2;
    }
    must(plmm_crypto_init(NULL));
    plmm_rng_init(&r, 1, 0);
    times = plmm_alloc(runs, sizeof *times);
    sorted_times = plmm_alloc(runs, sizeof *sorted_times);
    classes = plmm_alloc(runs, 1);
    must(times != NULL && sorted_times != NULL && classes != NULL ? PLMM_OK : PLMM_ERR_NOMEM);
    measure_masks(runs, &r);
    measure_shares(runs, &r);
    measure_noise(runs, &r);
    measure_kahe(runs, &r);
    measure(&planted, only != NULL ? only : "portable", runs, &r);
    plmm_free(times);
    plmm_free(sorted_times);
    plmm_free(classes);
    return EXIT_SUCCESS;
}
