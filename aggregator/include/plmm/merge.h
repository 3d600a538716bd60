/* plmm/merge.h -- from the unmasked sum of a round to the next version of the expert's adapter.
 *
 *   sum mod 2^b ──decode──▶ sum(w delta), sum(w) ──bound──▶ ──server optimiser──▶ adapter ──▶ next
 *
 * The mean of updates that were clipped to C has a norm of at most C: one that is longer has a liar
 * in it, and is shortened to C. So whoever lies, and however, moves the mean within that ball only.
 *
 * plmm-sim and plmm-aggregator share this file. Deterministic: equal inputs give equal floats on
 * one instruction set.
 */
#ifndef PLMM_MERGE_H
#define PLMM_MERGE_H

#include "plmm/encode.h"
#include "plmm/federate.h"

typedef struct plmm_merge_params {
    plmm_method method;
    plmm_server_opt server;
    /* How many rounds were merged before: the version that was trained, minus 1. Not the protocol's
     * number, which also counts rounds that were aborted. */
    uint64_t round;
} plmm_merge_params;

typedef struct plmm_merge_stats {
    uint32_t devices;
    uint64_t weight;    /* sum of the devices' weights */
    double mean_norm;   /* Euclidean norm of sum(w delta) / sum(w), as it came */
    bool shortened;     /* it was longer than honest devices can make it */
    plmm_factor factor; /* that travelled */
    plmm_factor next;   /* that the next round trains */
} plmm_merge_stats;

/* Lanes of a device's vector for this adapter and round without noise: what travels and the weight.
 * plmm_encoding_lanes has those of any encoding. */
size_t plmm_merge_lanes(const plmm_adapter *a, plmm_method method, uint64_t round);

/* *next = a new adapter (free with plmm_adapter_free) from `old` and the sum x[0..lanes) over
 * `devices` devices. stats may be NULL. RANGE when lanes is not what *e has for it, and what
 * plmm_encoding_check, plmm_decode_sum (PEER for a lane out of bounds), plmm_server_apply and
 * plmm_method_prepare return; NOMEM. Nothing is changed on failure. */
PLMM_NODISCARD plmm_status plmm_merge(const plmm_merge_params *p, const plmm_encoding *e,
                                      const plmm_adapter *old, const uint32_t *x, size_t lanes,
                                      uint32_t devices, plmm_adapter **next,
                                      plmm_merge_stats *stats, plmm_error *err);

/* Longest mean that `devices` honest devices can make: the clip, their rounding, and with their
 * noise a norm that it exceeds with probability below 2^-20. Infinite where the aggregator adds the
 * noise: bound the sum before. */
double plmm_merge_norm_max(const plmm_encoding *e, size_t d, uint32_t devices);

/* Shortens sum[0..d) so that sum / weight is no longer than that; weight > 0. False if it was not
 * longer. *norm (may be NULL) is what it was. */
bool plmm_merge_bound(double *sum, double *norm, size_t d, uint64_t weight, const plmm_encoding *e,
                      uint32_t devices);

/* The same from sums in the clear: the reference in tests, and simulations without masks.
 * sum[plmm_travel_count()], weight > 0. */
PLMM_NODISCARD plmm_status plmm_merge_clear(const plmm_merge_params *p, const plmm_adapter *old,
                                            const double *sum, double weight, plmm_adapter **next,
                                            plmm_merge_stats *stats, plmm_error *err);

#endif
