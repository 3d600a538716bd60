/* watch.c -- looks over the shoulders of a few functions of crypto/: how long they took, and what
 * the devices encoded. The linker's --wrap sends every call of plmm_x here as __wrap_plmm_x. */
#include "bench.h"

#include "plmm/alloc.h"
#include "plmm/bulk.h"

#include <time.h>

static struct watch {
    double seconds[BENCH_CALLS];
    uint64_t calls[BENCH_CALLS];
    uint32_t *truth;
    size_t lanes;
    bool adding, pairing;
    double own_s;
    bench_pair *pairs;
    size_t n_pairs, cap_pairs;
} watch;

double bench_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void bench_watch_reset(size_t lanes)
{
    plmm_free(watch.truth);
    plmm_free(watch.pairs);
    watch = (struct watch){
        .pairing = watch.pairing, .lanes = lanes, .truth = plmm_alloc(lanes, sizeof *watch.truth)};
    PLMM_ASSERT(watch.truth != NULL);
}

void bench_watch_add(bool adding)
{
    watch.adding = adding;
}

const uint32_t *bench_watch_truth(void)
{
    return watch.truth;
}

double bench_watch_own(void)
{
    return watch.own_s;
}

void bench_watch_read(bench_result *r)
{
    for (int c = 0; c < BENCH_CALLS; c++) {
        r->calls_s[c] = watch.seconds[c];
        r->calls[c] = watch.calls[c];
    }
}

void bench_watch_free(void)
{
    plmm_free(watch.truth);
    plmm_free(watch.pairs);
    watch = (struct watch){0};
}

void bench_watch_pair(bool pairing)
{
    watch.pairing = pairing;
}

const bench_pair *bench_watch_pairs(size_t *n)
{
    *n = watch.n_pairs;
    return watch.pairs;
}

static void book(bench_call c, double since)
{
    watch.seconds[c] += bench_seconds() - since;
    watch.calls[c]++;
}

/* The wrapped must keep the types of what they wrap. */
#define SAME(f)                                                                                    \
    _Static_assert(__builtin_types_compatible_p(__typeof__(f), __typeof__(__real_##f)), #f)

void __real_plmm_sign(plmm_signature *out, const plmm_sign_sk *sk, const char *label,
                      const void *msg, size_t len);
void __wrap_plmm_sign(plmm_signature *out, const plmm_sign_sk *sk, const char *label,
                      const void *msg, size_t len);
SAME(plmm_sign);

void __wrap_plmm_sign(plmm_signature *out, const plmm_sign_sk *sk, const char *label,
                      const void *msg, size_t len)
{
    double t0 = bench_seconds();
    __real_plmm_sign(out, sk, label, msg, len);
    book(BENCH_SIGN, t0);
}

plmm_status __real_plmm_verify(const plmm_signature *sig, const plmm_sign_pk *pk, const char *label,
                               const void *msg, size_t len, plmm_error *err);
plmm_status __wrap_plmm_verify(const plmm_signature *sig, const plmm_sign_pk *pk, const char *label,
                               const void *msg, size_t len, plmm_error *err);
SAME(plmm_verify);

plmm_status __wrap_plmm_verify(const plmm_signature *sig, const plmm_sign_pk *pk, const char *label,
                               const void *msg, size_t len, plmm_error *err)
{
    double t0 = bench_seconds();
    plmm_status rc = __real_plmm_verify(sig, pk, label, msg, len, err);
    book(BENCH_VERIFY, t0);
    return rc;
}

plmm_status __real_plmm_dh_agree(plmm_key *out, const plmm_dh_sk *sk, const plmm_dh_pk *own,
                                 const plmm_dh_pk *peer, const char *label, plmm_error *err);
plmm_status __wrap_plmm_dh_agree(plmm_key *out, const plmm_dh_sk *sk, const plmm_dh_pk *own,
                                 const plmm_dh_pk *peer, const char *label, plmm_error *err);
SAME(plmm_dh_agree);

plmm_status __wrap_plmm_dh_agree(plmm_key *out, const plmm_dh_sk *sk, const plmm_dh_pk *own,
                                 const plmm_dh_pk *peer, const char *label, plmm_error *err)
{
    double t0 = bench_seconds();
    plmm_status rc = __real_plmm_dh_agree(out, sk, own, peer, label, err);
    book(BENCH_AGREEMENT, t0);
    return rc;
}

plmm_status __real_plmm_identity_agree(plmm_key *out, const plmm_sign_sk *own,
                                       const plmm_sign_pk *peer, const char *label,
                                       const void *info, size_t info_len, plmm_error *err);
plmm_status __wrap_plmm_identity_agree(plmm_key *out, const plmm_sign_sk *own,
                                       const plmm_sign_pk *peer, const char *label,
                                       const void *info, size_t info_len, plmm_error *err);
SAME(plmm_identity_agree);

plmm_status __wrap_plmm_identity_agree(plmm_key *out, const plmm_sign_sk *own,
                                       const plmm_sign_pk *peer, const char *label,
                                       const void *info, size_t info_len, plmm_error *err)
{
    double t0 = bench_seconds();
    plmm_status rc = __real_plmm_identity_agree(out, own, peer, label, info, info_len, err);
    book(BENCH_AGREEMENT, t0);
    return rc;
}

plmm_status __real_plmm_encode_int(int32_t *x, double *norm, const plmm_encoding *e,
                                   const float *delta, size_t d, uint32_t weight,
                                   const plmm_xnoise *noise, const plmm_seed *seed,
                                   plmm_error *err);
plmm_status __wrap_plmm_encode_int(int32_t *x, double *norm, const plmm_encoding *e,
                                   const float *delta, size_t d, uint32_t weight,
                                   const plmm_xnoise *noise, const plmm_seed *seed,
                                   plmm_error *err);
SAME(plmm_encode_int);

plmm_status __wrap_plmm_encode_int(int32_t *x, double *norm, const plmm_encoding *e,
                                   const float *delta, size_t d, uint32_t weight,
                                   const plmm_xnoise *noise, const plmm_seed *seed, plmm_error *err)
{
    double t0 = bench_seconds();
    plmm_status rc = __real_plmm_encode_int(x, norm, e, delta, d, weight, noise, seed, err);
    book(BENCH_ENCODE, t0);
    t0 = bench_seconds();
    for (size_t i = 0; watch.adding && i < watch.lanes; i++) {
        watch.truth[i] += (uint32_t)x[i];
    }
    watch.own_s += bench_seconds() - t0;
    return rc;
}

plmm_status __real_plmm_channels_key(const plmm_channels *c, plmm_key *out, bool *hit,
                                     const plmm_channel_key *own, const plmm_channel_peer *peer,
                                     uint64_t round, plmm_error *err);
plmm_status __wrap_plmm_channels_key(const plmm_channels *c, plmm_key *out, bool *hit,
                                     const plmm_channel_key *own, const plmm_channel_peer *peer,
                                     uint64_t round, plmm_error *err);
SAME(plmm_channels_key);

plmm_status __wrap_plmm_channels_key(const plmm_channels *c, plmm_key *out, bool *hit,
                                     const plmm_channel_key *own, const plmm_channel_peer *peer,
                                     uint64_t round, plmm_error *err)
{
    if (watch.pairing) {
        if (watch.n_pairs == watch.cap_pairs) {
            size_t cap = 2 * watch.cap_pairs + 1024;
            watch.pairs = plmm_grow(watch.pairs, watch.cap_pairs, cap, sizeof *watch.pairs);
            PLMM_ASSERT(watch.pairs != NULL);
            watch.cap_pairs = cap;
        }
        watch.pairs[watch.n_pairs++] = (bench_pair){c, *peer};
    }
    return __real_plmm_channels_key(c, out, hit, own, peer, round, err);
}

void __real_plmm_bulk_digest(plmm_hash *out, const void *in, size_t len);
void __wrap_plmm_bulk_digest(plmm_hash *out, const void *in, size_t len);
SAME(plmm_bulk_digest);

void __wrap_plmm_bulk_digest(plmm_hash *out, const void *in, size_t len)
{
    double t0 = bench_seconds();
    __real_plmm_bulk_digest(out, in, len);
    book(BENCH_HASH, t0);
}
