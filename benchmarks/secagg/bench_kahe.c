/* What Ring-LWE costs on each path that this processor has: encrypting, adding and decrypting a
 * vector, a mask of a key, sharing a key among a committee and putting a sum of keys together. One
 * JSON object a line; no pass or fail. With the compiled prototype (rlwe.c) as a third argument, it
 * is run before and after, and the ratio of the best times is printed too.
 * Usage: bench_kahe [lanes] [seconds a case] [prototype]; ctest runs a tiny one. */
#include "kahe_internal.h"
#include "plmm/alloc.h"
#include "plmm/packed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPS_MAX = 400, MEMBERS = 70, PRIVACY = 28 };

typedef struct bench {
    uint32_t set;
    size_t n;
    double budget_s;
    int32_t *x;
    uint8_t *payload, *shares;
    uint64_t *a, *sum, *key, *rows;
    void *scratch, *matrix;
    plmm_kahe_noise noise;
    plmm_packed committee;
    uint32_t points[MEMBERS];
} bench;

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(plmm_status rc)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_kahe: %s\n", plmm_status_str(rc));
        exit(EXIT_FAILURE);
    }
}

static void *need(size_t octets)
{
    void *p = plmm_alloc(octets, 1);
    must(p == NULL ? PLMM_ERR_NOMEM : PLMM_OK);
    return p;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* ---- the cases ---- */

static void encrypt(bench *b)
{
    plmm_kahe_encrypt(b->payload, b->set, b->x, b->n, b->key, &b->noise, b->a, b->scratch);
}

static void encrypt_made(bench *b)
{
    plmm_kahe_encrypt(b->payload, b->set, b->x, b->n, b->key, &b->noise, NULL, b->scratch);
}

static void add(bench *b)
{
    must(plmm_kahe_add(b->sum, b->set, b->n, b->payload, plmm_kahe_bytes(b->set, b->n), NULL));
}

static void decrypt(bench *b)
{
    plmm_kahe_decrypt(b->x, b->set, b->sum, b->n, b->key, b->a, b->scratch);
}

static void key_mask(bench *b)
{
    static const uint8_t secret[32] = {5};
    static const plmm_hash context = {{6}};
    plmm_kahe_key_mask(b->key, b->set, secret, &context, PLMM_MASK_ADD);
}

static void split(bench *b)
{
    static const plmm_seed seed = {{7}};
    plmm_packed_split(b->shares, &b->committee, b->key, &seed, b->scratch);
}

static void combine(bench *b)
{
    must(plmm_packed_combine(b->key, NULL, &b->committee, b->points, b->rows, MEMBERS, b->scratch,
                             NULL));
}

static const struct {
    const char *name;
    void (*run)(bench *b);
    bool vector; /* its time grows with the vector */
} cases[] = {{"encrypt", encrypt, true},
             {"encrypt_making_a", encrypt_made, true},
             {"add", add, true},
             {"decrypt", decrypt, true},
             {"key_mask", key_mask, false},
             {"split_70", split, false},
             {"combine_70", combine, false}};

static double best_encrypt[PLMM_KAHE_P2 + 1];

static void line(bench *b, size_t which, const char *path)
{
    static double took[REPS_MAX];
    size_t reps = 0, batch = 1;
    cases[which].run(b);
    for (double t0 = seconds(); seconds() - t0 < b->budget_s / 100; batch++) {
        cases[which].run(b);
    }
    for (double end = seconds() + b->budget_s; reps < REPS_MAX && (reps < 3 || seconds() < end);
         reps++) {
        double t0 = seconds();
        for (size_t i = 0; i < batch; i++) {
            cases[which].run(b);
        }
        took[reps] = (seconds() - t0) / (double)batch;
    }
    qsort(took, reps, sizeof took[0], by_value);
    if (which == 0 && (best_encrypt[b->set] <= 0 || took[0] < best_encrypt[b->set])) {
        best_encrypt[b->set] = took[0];
    }
    printf(
        "{\"bench\":\"secagg.kahe\",\"what\":\"%s\",\"set\":\"P%u\",\"path\":\"%s\",\"lanes\":%zu,"
        "\"best_us\":%.3f,\"median_us\":%.3f,\"octets\":%zu}\n",
        cases[which].name, b->set, path, cases[which].vector ? b->n : 0, took[0] * 1e6,
        took[reps / 2] * 1e6,
        cases[which].vector ? plmm_kahe_bytes(b->set, b->n) : plmm_packed_share_bytes(b->set));
    (void)fflush(stdout);
}

static void prepare(bench *b, uint32_t set, size_t n)
{
    const plmm_seed seed = {{1}};
    const plmm_hash context = {{2}};
    size_t scratch = plmm_kahe_scratch_bytes(set), more = plmm_packed_combine_bytes(set, MEMBERS);
    b->set = set;
    b->n = n;
    b->x = need(4 * n);
    for (size_t i = 0; i < n; i++) {
        b->x[i] = (int32_t)(i * 2654435761u) >> 14;
    }
    b->payload = need(plmm_kahe_bytes(set, n));
    b->sum = need(8 * plmm_kahe_residues(set, n));
    b->a = need(8 * plmm_kahe_public_residues(set, n));
    b->key = need(8 * plmm_kahe_key_residues(set));
    b->scratch = need(scratch > more ? scratch : more);
    b->shares = need(MEMBERS * plmm_packed_share_bytes(set));
    b->rows = need(8 * MEMBERS * plmm_packed_share_residues(set));
    b->matrix = need(plmm_packed_matrix_bytes(set, MEMBERS, PRIVACY));
    plmm_kahe_public(b->a, set, n);
    plmm_kahe_key_from_seed(b->key, set, &seed);
    plmm_kahe_noise_init(&b->noise, &seed, &context);
    must(plmm_packed_init(&b->committee, set, MEMBERS, PRIVACY, b->matrix, NULL));
    split(b);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        b->points[i] = i + 1;
        must(plmm_packed_unpack(b->rows + i * plmm_packed_share_residues(set), set,
                                b->shares + i * plmm_packed_share_bytes(set),
                                plmm_packed_share_bytes(set), NULL));
    }
}

static void done(bench *b)
{
    void *all[] = {b->x,       b->payload, b->sum,  b->a,     b->key,
                   b->scratch, b->shares,  b->rows, b->matrix};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        plmm_free(all[i]);
    }
}

/* ---- the peer ---- */

/* Best of the prototype's "encrypt d=2^20" in milliseconds; NaN if it did not say. */
static double prototype(const char *program)
{
    char command[512], text[512];
    double best = (double)NAN;
    (void)snprintf(command, sizeof command, "'%s' 32 4", program);
    FILE *f = popen(command, "r");
    while (f != NULL && fgets(text, sizeof text, f) != NULL) {
        const char *at = strstr(text, "(min ");
        if (strncmp(text, "encrypt d=2^20", 14) == 0 && at != NULL) {
            best = strtod(at + 5, NULL);
        }
    }
    if (f != NULL) {
        (void)pclose(f);
    }
    return best;
}

int main(int argc, char **argv)
{
    static bench b;
    size_t most = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 1u << 20, paths;
    const char *peer = argc > 3 ? argv[3] : NULL;
    b.budget_s = argc > 2 ? strtod(argv[2], NULL) : 0.2;
    if (most < 1 || most > PLMM_KAHE_LENGTH_MAX || !(b.budget_s > 0)) {
        (void)fprintf(stderr, "usage: bench_kahe [lanes] [seconds a case] [prototype]\n");
        return 2;
    }
    must(plmm_crypto_init(NULL));
    const plmm__kahe_path *const *all = plmm__kahe_all(&paths);
    double before = peer != NULL ? prototype(peer) : 0;
    const size_t lengths[] = {most, 50000};
    for (size_t i = 0; i < (most > 50000 ? 2 : 1); i++) {
        for (uint32_t set = PLMM_KAHE_P1; set <= PLMM_KAHE_P2; set++) {
            prepare(&b, set, lengths[i]);
            for (size_t k = 0; k < paths; k++) {
                plmm__kahe_use(all[k]);
                for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
                    if (i == 0 || cases[c].vector) {
                        line(&b, c, all[k]->name);
                    }
                }
            }
            plmm__kahe_use(NULL);
            done(&b);
        }
        if (i == 0 && peer != NULL && most == 1u << 20) {
            double after = prototype(peer), theirs = fmin(before, after) * 1e-3;
            printf(
                "{\"bench\":\"secagg.kahe\",\"what\":\"encrypt beside the prototype\","
                "\"lanes\":%zu,\"prototype_best_us\":%.1f,\"p1_ratio\":%.3f,\"p2_ratio\":%.3f}\n",
                most, theirs * 1e6, best_encrypt[1] / theirs, best_encrypt[2] / theirs);
        }
    }
    return EXIT_SUCCESS;
}
