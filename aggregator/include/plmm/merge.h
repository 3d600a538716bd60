/* plmm/merge.h -- from the unmasked sum of a round to the next version of the expert's adapter.
 *
 *   sum mod 2^b ──decode──▶ sum(w delta), sum(w) ──server optimiser──▶ adapter ──prepare──▶ next
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
    double mean_norm;   /* Euclidean norm of sum(w delta) / sum(w) */
    plmm_factor factor; /* that travelled */
    plmm_factor next;   /* that the next round trains */
} plmm_merge_stats;

/* Lanes of a device's vector for this adapter and round: what travels and the weight. */
size_t plmm_merge_lanes(const plmm_adapter *a, plmm_method method, uint64_t round);

/* *next = a new adapter (free with plmm_adapter_free) from `old` and the sum x[0..lanes) over
 * `devices` devices. stats may be NULL. RANGE when lanes is not plmm_merge_lanes(), and what
 * plmm_encoding_check, plmm_decode_sum (PEER for a lane out of bounds), plmm_server_apply and
 * plmm_method_prepare return; NOMEM. Nothing is changed on failure. */
PLMM_NODISCARD plmm_status plmm_merge(const plmm_merge_params *p, const plmm_encoding *e,
                                      const plmm_adapter *old, const uint32_t *x, size_t lanes,
                                      uint32_t devices, plmm_adapter **next,
                                      plmm_merge_stats *stats, plmm_error *err);

/* The same from sums in the clear: the reference in tests, and simulations without masks.
 * sum[plmm_travel_count()], weight > 0. */
PLMM_NODISCARD plmm_status plmm_merge_clear(const plmm_merge_params *p, const plmm_adapter *old,
                                            const double *sum, double weight, plmm_adapter **next,
                                            plmm_merge_stats *stats, plmm_error *err);

#endif
