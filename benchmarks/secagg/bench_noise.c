/* What noise, rotation and encoding cost a device, and how many octets it sends. One JSON object a
 * line; times are CPU time of one thread, the best of several; peers run beside in the same
 * process. Usage: bench_noise [log2 of coordinates] [seconds a case]; ctest runs a tiny one. */
#include "noise_internal.h"
#include "plmm/alloc.h"
#include "plmm/encode.h"
#include "plmm/rng.h"
#include "rotate_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct bench {
    size_t n, beyond; /* coordinates; octets of a buffer larger than caches */
    double budget_s;
    int32_t *x, *y;
    float *delta, *spare;
    char *big[2];
    const plmm__noise_path *noise;
    const plmm__hadamard_path *hadamard;
    plmm_noise_table table;
    plmm_encoding encoding;
    plmm_xnoise layers;
    uint64_t units, index;
    uint32_t kind, stream;
} bench;

static const plmm_seed seed = {{1}};
static const plmm_hash rotation = {{2}};

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_noise: %s\n", err->msg);
        exit(EXIT_FAILURE);
    }
}

/* Best of as many runs as the budget has room for, two at least. */
static double best_of(bench *b, void (*run)(bench *b))
{
    double best = 1e9, end = seconds() + b->budget_s;
    for (int i = 0; i < 2 || seconds() < end; i++) {
        double t0 = seconds();
        run(b);
        double dt = seconds() - t0;
        best = dt < best ? dt : best;
    }
    return best;
}

/* ---- the cases ---- */

static void do_add(bench *b)
{
    plmm_ring_add((uint32_t *)b->x, (const uint32_t *)b->y, b->n, 32);
}

static void do_draw(bench *b)
{
    plmm__noise_draw(b->noise, b->x, b->n, &b->table, b->stream, &seed, b->index++, 0);
}

static void do_noise_add(bench *b)
{
    plmm_error err = {0};
    must(plmm_noise_add(b->x, b->n, b->kind, b->units, b->stream, &seed, &err), &err);
}

static void do_cks(bench *b)
{
    plmm_noise_cks(b->x, b->n / 64 + 1, b->units, &seed);
}

static void do_copy_beyond(bench *b)
{
    memcpy(b->big[1], b->big[0], b->beyond);
}

static void do_copy(bench *b)
{
    memcpy(b->spare, b->delta, b->n * sizeof b->delta[0]);
}

static void do_rotate(bench *b)
{
    plmm__rotate(b->hadamard, b->spare, b->n, &rotation);
}

static void do_unrotate(bench *b)
{
    plmm__unrotate(b->hadamard, b->spare, b->n, &rotation);
}

static void do_encode(bench *b)
{
    plmm_error err = {0};
    const plmm_xnoise *noise = b->encoding.noise != 0 ? &b->layers : NULL;
    must(plmm_encode_int(b->x, NULL, &b->encoding, b->delta, b->n, 1, noise, &seed, &err), &err);
}

/* ---- reports ---- */

static void report_draws(bench *b, double add)
{
    static const struct {
        uint32_t kind;
        uint64_t units;
    } rows[] = {{PLMM_NOISE_SKELLAM, 256},      {PLMM_NOISE_SKELLAM, 16384},
                {PLMM_NOISE_SKELLAM, 1617984},  {PLMM_NOISE_GAUSSIAN, 256},
                {PLMM_NOISE_GAUSSIAN, 1617984}, {PLMM_NOISE_SKELLAM, 16000000}};
    size_t paths, full = b->n;
    const plmm__noise_path *all = plmm__noise_paths(&paths);
    plmm_error err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        b->kind = rows[i].kind;
        b->units = rows[i].units;
        for (b->stream = 1; b->stream <= 2; b->stream++) {
            double t = best_of(b, do_noise_add);
            printf("{\"bench\":\"noise.add\",\"kind\":\"%s\",\"deviation\":%.4g,\"stream\":\"%s\","
                   "\"n\":%zu,\"ms\":%.3f,\"ns_each\":%.3f,\"times_add\":%.1f}\n",
                   plmm_noise_name(b->kind), sqrt((double)b->units / 16),
                   plmm_stream_name(b->stream), b->n, t * 1e3, t * 1e9 / (double)b->n, t / add);
        }
        if (b->units > PLMM_NOISE_TABLE_UNITS) {
            continue;
        }
        must(plmm_noise_table_init(&b->table, b->kind, b->units, &err), &err);
        for (size_t p = 0; p < paths; p++) {
            b->noise = &all[p];
            b->stream = PLMM_STREAM_AES256CTR;
            b->n = strcmp(all[p].name, "portable") == 0 ? full / 16 : full;
            double t = best_of(b, do_draw);
            printf("{\"bench\":\"noise.draw\",\"kind\":\"%s\",\"deviation\":%.4g,\"path\":\"%s\","
                   "\"stream\":\"aes-256-ctr\",\"n\":%zu,\"ns_each\":%.3f}\n",
                   plmm_noise_name(b->kind), sqrt((double)b->units / 16), all[p].name, b->n,
                   t * 1e9 / (double)b->n);
            b->n = full;
        }
        if (b->kind == PLMM_NOISE_GAUSSIAN) {
            double t = best_of(b, do_cks) / (double)(b->n / 64 + 1);
            printf("{\"bench\":\"noise.cks\",\"deviation\":%.4g,\"ns_each\":%.3f,"
                   "\"note\":\"Canonne Kamath Steinke, not constant time\"}\n",
                   sqrt((double)b->units / 16), t * 1e9);
        }
    }
}

static void report_rotation(bench *b)
{
    size_t paths;
    const plmm__hadamard_path *const *all = plmm__hadamard_paths(&paths);
    double far = best_of(b, do_copy_beyond) * 4 * (double)b->n / (double)b->beyond;
    double near = best_of(b, do_copy);
    for (size_t p = 0; p < paths; p++) {
        b->hadamard = all[p];
        do_copy(b);
        double there = best_of(b, do_rotate);
        do_copy(b);
        double back = best_of(b, do_unrotate);
        printf("{\"bench\":\"rotate\",\"path\":\"%s\",\"n\":%zu,\"ms\":%.3f,\"inverse_ms\":%.3f,"
               "\"copy_beyond_caches_ms\":%.3f,\"copy_ms\":%.3f,\"copies_beyond_caches\":%.2f}\n",
               all[p]->name, b->n, there * 1e3, back * 1e3, far * 1e3, near * 1e3, there / far);
    }
}

/* Largest coordinate over the deviation of an evenly spread vector, of a spike and of a vector with
 * heavy tails: 4 is what a Gaussian vector of this length has. */
static double flatness(bench *b, size_t d, bool spike, size_t padded)
{
    plmm_rng r;
    double worst = 0;
    for (uint32_t k = 0; k < 10; k++) {
        double most = 0, norm = 0;
        plmm_rng_init(&r, k, 0);
        memset(b->spare, 0, padded * sizeof b->spare[0]);
        for (size_t i = 0; i < d; i++) {
            double g = plmm_rng_normal(&r);
            b->spare[i] = spike ? (i == k * (d - 1) / 9 ? 1 : 0) : (float)(g * g * g * g * g);
            norm += (double)b->spare[i] * (double)b->spare[i];
        }
        plmm_rotate(b->spare, padded, &(plmm_hash){{(uint8_t)k}});
        for (size_t i = 0; i < padded; i++) {
            most = fabs((double)b->spare[i]) > most ? fabs((double)b->spare[i]) : most;
        }
        most *= sqrt((double)d / norm);
        worst = most > worst ? most : worst;
    }
    return worst;
}

static void report_flatness(bench *b)
{
    for (size_t quarter = 0; quarter < 4; quarter++) {
        size_t d = b->n / 8 * (4 + quarter) + (quarter > 0 ? 3 : 0);
        size_t padded = quarter == 0 ? d : b->n;
        printf("{\"bench\":\"rotate.flatness\",\"n\":%zu,\"spike\":%.2f,\"heavy_tails\":%.2f,"
               "\"padded_to\":%zu,\"padded_spike\":%.2f,\"padded_heavy_tails\":%.2f}\n",
               d, flatness(b, d, true, d), flatness(b, d, false, d), padded,
               flatness(b, d, true, padded), flatness(b, d, false, padded));
    }
}

/* Bits of a coordinate for n devices and what they cost, without noise and with. bits 0: as few as
 * cost 1 % of sensitivity. */
static void report_encoding(bench *b, uint32_t n, uint32_t bits, bool rotate, double multiplier)
{
    plmm_error err = {0};
    plmm_encoding *e = &b->encoding;
    *e = (plmm_encoding){.clip = 1,
                         .quant_bits = bits > 0 ? bits : 2,
                         .weight_max = 1,
                         .n_max = n,
                         .rotate = rotate ? 1 : 0,
                         .length = (uint32_t)b->n,
                         .rotation = rotation};
    if (multiplier > 0) {
        e->noise = PLMM_NOISE_SKELLAM;
        e->quant_bits = bits > 0 ? bits : plmm_encoding_quant_bits(e, 0.01);
        uint32_t corrupt = n / 10, least = n - n / 10;
        b->layers =
            (plmm_xnoise){PLMM_NOISE_SKELLAM, PLMM_STREAM_AES256CTR, 0, n, least, corrupt, 4};
        b->layers.units = plmm_encoding_noise_units(e, multiplier);
        must(plmm_xnoise_check(&b->layers, &err), &err);
        e->noise_sum = n * plmm_xnoise_kept(&b->layers, b->layers.levels);
    }
    e->ring_bits = plmm_encoding_ring_bits(e);
    must(plmm_encoding_check(e, &err), &err);
    size_t up = plmm_packed_bytes(plmm_encoding_lanes(e, b->n), e->ring_bits);
    double deviation = multiplier > 0 ? sqrt((double)plmm_xnoise_kept(&b->layers, 4) / 16) : 0;
    double t = best_of(b, do_encode), c = plmm_encoding_scale(e);
    printf("{\"bench\":\"encode\",\"n\":%zu,\"devices\":%u,\"quant_bits\":%u,\"rotate\":%u,"
           "\"noise_multiplier\":%.3g,\"device_deviation\":%.4g,\"ring_bits\":%u,\"wrap\":%.2e,"
           "\"rounding_error_of_clip\":%.2e,\"ms\":%.3f,\"bytes_up\":%zu,\"of_float32\":%.3f,"
           "\"of_flower_int64\":%.3f}\n",
           b->n, n, e->quant_bits, e->rotate, multiplier, deviation, e->ring_bits,
           plmm_encoding_wrap(e), sqrt((double)b->n / 6) / c, t * 1e3, up,
           (double)up / (4 * (double)b->n), (double)up / (8 * (double)b->n));
}

static void report_encodings(bench *b)
{
    static const uint32_t devices[] = {100, 1000, 10000};
    for (size_t i = 0; i < 3; i++) {
        report_encoding(b, devices[i], 16, false, 0);
        report_encoding(b, devices[i], 16, true, 0);
        report_encoding(b, devices[i], 8, true, 0);
        report_encoding(b, devices[i], 4, true, 0);
        report_encoding(b, devices[i], 0, true, 1);
    }
}

int main(int argc, char **argv)
{
    static bench b;
    unsigned log2 = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 20;
    b.budget_s = argc > 2 ? strtod(argv[2], NULL) : 0.2;
    if (log2 < 6 || log2 > 24 || !(b.budget_s > 0)) {
        (void)fprintf(stderr, "usage: bench_noise [log2 of coordinates, 6..24] [seconds a case]\n");
        return 2;
    }
    plmm_error err = {0};
    must(plmm_crypto_init(&err), &err);
    b.n = (size_t)1 << log2;
    b.beyond = log2 >= 20 ? (size_t)1 << 29 : (size_t)1 << 20;
    b.x = plmm_alloc(b.n + 2, 4);
    b.y = plmm_alloc(b.n, 4);
    b.delta = plmm_alloc(b.n, 4);
    b.spare = plmm_alloc(b.n, 4);
    b.big[0] = plmm_alloc(b.beyond, 1);
    b.big[1] = plmm_alloc(b.beyond, 1);
    PLMM_ASSERT(b.x && b.y && b.delta && b.spare && b.big[0] && b.big[1]);
    memset(b.big[0], 1, b.beyond);
    for (size_t i = 0; i < b.n; i++) {
        b.delta[i] = (float)sin((double)(i * i % 1009)) / (float)sqrt((double)b.n / 2);
    }
    double add = best_of(&b, do_add);
    printf("{\"bench\":\"noise.plain_add\",\"n\":%zu,\"ms\":%.3f,\"note\":\"x += y, a pass over "
           "memory\"}\n",
           b.n, add * 1e3);
    report_draws(&b, add);
    report_rotation(&b);
    report_flatness(&b);
    report_encodings(&b);
    void *all[] = {b.x, b.y, b.delta, b.spare, b.big[0], b.big[1]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        plmm_free(all[i]);
    }
    return EXIT_SUCCESS;
}
