/* bench.h -- what the parts of bench_round share: what is run, what it cost, and who was run
 * beside. All times are CPU seconds of one thread. */
#ifndef PLMM_BENCH_SECAGG_H
#define PLMM_BENCH_SECAGG_H

#include "plmm/channels.h"
#include "plmm/round.h"

/* What CPU time went to. A party's time is booked under the step of the protocol it was in. */
typedef enum bench_phase {
    BENCH_KEYS,   /* check-in, invitation, keys of the round */
    BENCH_SHARE,  /* roster, secret shares, their delivery */
    BENCH_MASK,   /* encoding, masks, upload; the server: adding vectors */
    BENCH_AGREE,  /* who survived */
    BENCH_UNMASK, /* revealing; the server: opening the sum */
    BENCH_PHASES
} bench_phase;

/* Calls that are timed wherever they are made (the linker's --wrap): the parts of the work that the
 * prototypes do not do, and key agreement. */
typedef enum bench_call {
    BENCH_SIGN,
    BENCH_VERIFY,
    BENCH_AGREEMENT, /* X25519 */
    BENCH_ENCODE,
    BENCH_HASH, /* of vectors, for their signatures */
    BENCH_CALLS
} bench_call;

/* What to run. */
typedef struct bench_case {
    uint32_t n, length;
    uint32_t protocol, mask, stream; /* of plmm_round_params */
    double drop;                     /* share of devices whose vector never comes */
} bench_case;

/* What it cost. */
typedef struct bench_result {
    /* Neighbours and threshold; one-shot: the committee's members, points needed, corrupt ones. */
    uint32_t k, t, corrupt;
    uint32_t dropped, survivors;
    double device_s[BENCH_PHASES], server_s[BENCH_PHASES]; /* of all devices; of the server */
    double registrar_s;                                    /* sealing the roster */
    double tables_s; /* one-shot: public polynomials and matrices, made once a run */
    double calls_s[BENCH_CALLS];
    uint64_t calls[BENCH_CALLS];
    uint64_t up, down; /* octets of all devices */
    bool exact;        /* the sum is the survivors' to the bit */
    uint32_t lanes, ring_bits;
    size_t payload; /* octets of one masked vector */
} bench_result;

/* ---- watch.c ---- */

double bench_seconds(void); /* CPU time of this process so far */

/* Calls counted since the last reset; and the sum of the vectors encoded while adding was on: the
 * truth that a round's sum is held against. */
void bench_watch_reset(size_t lanes);
void bench_watch_add(bool adding);
const uint32_t *bench_watch_truth(void);
double bench_watch_own(void); /* seconds that adding the truth took: of nobody's round */
void bench_watch_read(bench_result *r);
void bench_watch_free(void);

/* The pairs of devices whose channel was needed since the last reset, while pairing was on: what a
 * warm cache holds when the same round is run again. */
typedef struct bench_pair {
    const plmm_channels *of;
    plmm_channel_peer peer;
} bench_pair;
void bench_watch_pair(bool pairing);
const bench_pair *bench_watch_pairs(size_t *n);

/* ---- round_secagg.c ---- */

/* One whole round in this thread with cold channels, and, if warm is not NULL, another with all
 * channels cached: the same round again, or the next one of a one-shot epoch. What goes wrong ends the program with a sentence. */
void bench_rounds(const bench_case *c, bench_result *cold, bench_result *warm);

/* An update that all parts agree on: delta[0..length) of device i. */
void bench_delta(float *delta, uint32_t length, uint32_t i);

/* ---- peers.c ---- */

/* A run of the prototype (simcpu.c, compiled). */
typedef struct bench_prototype {
    double clients_s, server_s, setup_s; /* CPU seconds; set-up apart only where it is amortised */
    bool exact;
} bench_prototype;

/* Runs program with args (NULL-terminated, without its name) on `threads` OpenMP threads. */
PLMM_NODISCARD plmm_status bench_prototype_run(bench_prototype *out, const char *program,
                                               const char *const *args, uint32_t threads,
                                               plmm_error *err);

/* Flower's seconds for a device, and at the server for a survivor and a dropped device. */
typedef struct bench_flower {
    uint32_t k, d;
    double device_s, survivor_s, dropped_s;
    uint64_t up;
} bench_flower;

/* The lines of benchmarks/peers/flower_secagg.py in a file: the ones whose d is nearest. */
PLMM_NODISCARD plmm_status bench_flower_read(bench_flower *out, const char *path, uint32_t d,
                                             plmm_error *err);

#endif
