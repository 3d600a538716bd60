/* What crypto/ costs on this machine. One JSON object a line, each beside a ceiling or a peer
 * measured in the same run; no pass or fail. Usage: bench_crypto [lanes] [seconds a case]; ctest
 * runs a tiny one. */
#include "plmm/alloc.h"
#include "plmm/encode.h"
#include "plmm/seal.h"
#include "plmm/shamir.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MASKS = 8, REPS_MAX = 200, SHARES = 101, THRESHOLD = 67, BITS = 24 };

/* Everything the cases work on; sizes from the command line. */
typedef struct bench {
    size_t n;
    double budget_s;
    uint32_t *x, *y;
    float *delta;
    uint8_t *bytes;
    plmm_mask masks[MASKS];
    plmm_encoding encoding;
    plmm_seed seed;
    plmm_share shares[SHARES];
    uint32_t points[SHARES];
    plmm_shamir_basis basis;
    uint8_t secret[32];
    plmm_dh_sk dh_sk;
    plmm_dh_pk dh_pk, dh_peer;
    plmm_sign_sk sign_sk;
    plmm_sign_pk sign_pk;
    plmm_signature signature;
    plmm_key key;
} bench;

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void must(plmm_status rc)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_crypto: %s\n", plmm_status_str(rc));
        exit(EXIT_FAILURE);
    }
}

/* ---- the cases ---- */

static void do_memcpy(bench *b)
{
    memcpy(b->y, b->x, b->n * 4);
}

static void do_ring_add(bench *b)
{
    plmm_ring_add(b->y, b->x, b->n, BITS);
}

static void do_keystream(bench *b)
{
    static const uint8_t nonce[12];
    (void)crypto_stream_chacha20_ietf(b->bytes, 4 * b->n, nonce, b->key.b);
}

static void do_mask(bench *b)
{
    plmm_mask_apply(b->x, b->n, 0, BITS, b->masks, 1);
}

static void do_masks(bench *b)
{
    plmm_mask_apply(b->x, b->n, 0, BITS, b->masks, MASKS);
}

static void do_mask_ref(bench *b)
{
    plmm_mask_apply_ref(b->x, b->n, 0, BITS, b->masks, 1);
}

static void do_encode(bench *b)
{
    must(plmm_encode(b->x, NULL, &b->encoding, b->delta, b->n - 1, 3, &b->seed, NULL));
}

static void do_norm(bench *b)
{
    double norm;
    must(plmm_vector_norm(&norm, b->delta, b->n - 1, NULL));
}

static void do_pack(bench *b)
{
    plmm_pack(b->bytes, b->x, b->n, BITS);
}

static void do_unpack_add(bench *b)
{
    size_t len = plmm_packed_bytes(b->n, BITS);
    must(plmm_unpack_add(b->y, b->n, BITS, b->bytes, len, NULL));
}

static void do_split(bench *b)
{
    must(plmm_shamir_split(b->shares, SHARES, THRESHOLD, b->points, b->secret, &b->seed, NULL));
}

static void do_basis_t(bench *b)
{
    must(plmm_shamir_basis_init(&b->basis, b->points, THRESHOLD, THRESHOLD, NULL));
}

static void do_combine_t(bench *b)
{
    must(plmm_shamir_combine(b->secret, &b->basis, b->shares, NULL));
}

static void do_basis_all(bench *b)
{
    must(plmm_shamir_basis_init(&b->basis, b->points, SHARES, THRESHOLD, NULL));
}

static void do_scalarmult(bench *b)
{
    uint8_t q[32];
    (void)!crypto_scalarmult(q, b->dh_sk.b, b->dh_peer.b);
}

static void do_agree(bench *b)
{
    must(plmm_dh_agree(&b->key, &b->dh_sk, &b->dh_pk, &b->dh_peer, "bench.dh", NULL));
}

static void do_sign(bench *b)
{
    plmm_sign(&b->signature, &b->sign_sk, "bench.sg", b->secret, 32);
}

static void do_verify(bench *b)
{
    must(plmm_verify(&b->signature, &b->sign_pk, "bench.sg", b->secret, 32, NULL));
}

static void do_seal(bench *b)
{
    uint8_t box[128 + PLMM_SEAL_OVERHEAD], msg[128] = {0};
    plmm_nonce nonce;
    plmm_nonce_counter(&nonce, 1);
    plmm_seal(box, msg, sizeof msg, b->secret, 32, &nonce, &b->key);
}

static void do_mac(bench *b)
{
    plmm_tag tag;
    plmm_mac(&tag, &b->key, "bench.mc", b->secret, 32);
}

typedef struct bench_case {
    const char *name;
    void (*run)(bench *b);
    const char *peer;  /* an earlier case to print beside, or NULL */
    uint32_t per_lane; /* lanes touched = n * per_lane; 0: the cost is of one operation */
} bench_case;

static const bench_case cases[] = {
    {"memcpy", do_memcpy, NULL, 1},
    {"ring_add", do_ring_add, "memcpy", 1},
    {"sodium_chacha20", do_keystream, "memcpy", 1},
    {"mask_apply_1", do_mask, "sodium_chacha20", 1},
    {"mask_apply_8", do_masks, "sodium_chacha20", MASKS},
    {"mask_apply_ref", do_mask_ref, "sodium_chacha20", 1},
    {"vector_norm", do_norm, "memcpy", 1},
    {"encode", do_encode, "sodium_chacha20", 1},
    {"pack_24", do_pack, "memcpy", 1},
    {"unpack_add_24", do_unpack_add, "memcpy", 1},
    {"shamir_split_67_of_101", do_split, NULL, 0},
    {"shamir_basis_67", do_basis_t, NULL, 0},
    {"shamir_combine_67", do_combine_t, NULL, 0},
    {"shamir_basis_67_of_101", do_basis_all, NULL, 0},
    {"shamir_combine_67_of_101_checked", do_combine_t, "shamir_combine_67", 0},
    {"sodium_x25519", do_scalarmult, NULL, 0},
    {"dh_agree", do_agree, "sodium_x25519", 0},
    {"sign", do_sign, NULL, 0},
    {"verify", do_verify, NULL, 0},
    {"seal_128", do_seal, NULL, 0},
    {"mac_32", do_mac, NULL, 0},
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* Seconds of one run: the batch is doubled until it takes a hundredth of the budget. */
static void measure(bench *b, const bench_case *c, double *best, double *median)
{
    double t[REPS_MAX], end = seconds() + b->budget_s;
    size_t batch = 1, reps = 0;
    for (double dt = 0; dt < b->budget_s / 100; batch *= dt < b->budget_s / 100 ? 2 : 1) {
        double t0 = seconds();
        for (size_t i = 0; i < batch; i++) {
            c->run(b);
        }
        dt = seconds() - t0;
    }
    do {
        double t0 = seconds();
        for (size_t i = 0; i < batch; i++) {
            c->run(b);
        }
        t[reps++] = (seconds() - t0) / (double)batch;
    } while (reps < REPS_MAX && seconds() < end);
    qsort(t, reps, sizeof t[0], by_value);
    *best = t[0];
    *median = t[reps / 2];
}

static void report(bench *b)
{
    double best[CASES], median[CASES];
    for (size_t i = 0; i < CASES; i++) {
        const bench_case *c = &cases[i];
        measure(b, c, &best[i], &median[i]);
        printf("{\"bench\":\"crypto.%s\",\"lanes\":%zu,\"best_us\":%.3f,\"median_us\":%.3f",
               c->name, c->per_lane == 0 ? (size_t)0 : b->n, best[i] * 1e6, median[i] * 1e6);
        if (c->per_lane != 0) {
            printf(",\"gb_per_s\":%.3f", 4e-9 * (double)b->n * c->per_lane / best[i]);
        }
        for (size_t j = 0; j < i && c->peer != NULL; j++) {
            if (strcmp(cases[j].name, c->peer) == 0) {
                double lanes = c->per_lane == 0 ? 1 : c->per_lane;
                printf(",\"peer\":\"%s\",\"times_peer\":%.3f", c->peer, best[i] / lanes / best[j]);
            }
        }
        printf("}\n");
        (void)fflush(stdout);
    }
}

static void prepare(bench *b)
{
    must(plmm_seed_system(&b->seed, NULL));
    plmm_dh_keypair(&b->dh_peer, &b->dh_sk, &b->seed);
    plmm_seed_derive(&b->seed, &b->seed, "bench.sd", 1);
    plmm_dh_keypair(&b->dh_pk, &b->dh_sk, &b->seed);
    plmm_sign_keypair(&b->sign_pk, &b->sign_sk, &b->seed);
    for (uint32_t i = 0; i < MASKS; i++) {
        const plmm_hash context = {{(uint8_t)i}};
        must(plmm_mask_init(&b->masks[i], PLMM_STREAM_CHACHA20, b->seed.b, &context,
                            i % 2 == 0 ? PLMM_MASK_ADD : PLMM_MASK_SUB, NULL));
    }
    for (uint32_t i = 0; i < SHARES; i++) {
        b->points[i] = i + 1;
    }
    b->encoding = (plmm_encoding){
        .clip = 1, .quant_bits = 16, .weight_max = 8, .n_max = 100, .ring_bits = BITS};
    for (size_t i = 0; i < b->n; i++) {
        b->delta[i] = (float)(i % 1000) * 1e-5f;
    }
}

int main(int argc, char **argv)
{
    static bench b;
    b.n = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 1u << 20;
    b.budget_s = argc > 2 ? strtod(argv[2], NULL) : 0.5;
    if (b.n < 1 || b.n > 1u << 28 || !(b.budget_s > 0)) {
        (void)fprintf(stderr, "usage: bench_crypto [lanes, 1..2^28] [seconds a case]\n");
        return 2;
    }
    must(plmm_crypto_init(NULL));
    b.x = plmm_alloc(b.n, 4);
    b.y = plmm_alloc(b.n, 4);
    b.delta = plmm_alloc(b.n, sizeof *b.delta);
    b.bytes = plmm_alloc(b.n, 4);
    must(b.x != NULL && b.y != NULL && b.delta != NULL && b.bytes != NULL ? PLMM_OK
                                                                          : PLMM_ERR_NOMEM);
    prepare(&b);
    report(&b);
    plmm_free(b.x);
    plmm_free(b.y);
    plmm_free(b.delta);
    plmm_free(b.bytes);
    return EXIT_SUCCESS;
}
