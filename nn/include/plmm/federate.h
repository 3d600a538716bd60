/* plmm/federate.h -- which part of an adapter is summed over devices, and what the sum becomes.
 *
 * Secure aggregation reveals only sums, so a method must be linear in what a device sends.
 * Averaging both factors ("naive") is linear but not exact:
 *
 *   mean(B_i A_i) - mean(B_i) mean(A_i) = the devices' covariance of the factors
 *
 * With one factor frozen and common to all, the average of the other one gives exactly the average
 * of the products. Algebra: Sun et al. 2024 (FFA-LoRA), Chen et al. 2025 (RoLoRA).
 */
#ifndef PLMM_FEDERATE_H
#define PLMM_FEDERATE_H

#include "plmm/lora.h"

typedef enum plmm_method {
    PLMM_METHOD_NAIVE, /* A and B are averaged */
    PLMM_METHOD_FFA,   /* A is frozen for ever, B is averaged */
    /* B in even rounds, A in odd ones; the frozen factor is orthonormal. The default. */
    PLMM_METHOD_ALTERNATE,
    PLMM_METHODS
} plmm_method;

/* A row of the comparison that `plmm-model info --methods` prints. */
typedef struct plmm_method_info {
    const char *name, *title;
    const char *exact;       /* does the aggregate equal the average of the products? */
    const char *secagg;      /* is it linear in what devices send? */
    const char *dp;          /* does clipping and noise suit it? */
    const char *mixed_ranks; /* may devices have different ranks? */
    const char *bytes_up;    /* numbers a matrix [d][k] sends, in terms of r, d, k */
    const char *refusal;     /* NULL: implemented; otherwise why it is refused */
} plmm_method_info;

/* All rows: the PLMM_METHODS implemented ones first (index = plmm_method), then those that are
 * refused. */
const plmm_method_info *plmm_method_table(size_t *count);

/* Finds an implemented method by name. PLMM_ERR_UNSUPPORTED with the reason for fedex, flora and
 * flexlora; PLMM_ERR_CONFIG listing the names for any other. */
plmm_status plmm_method_parse(const char *name, plmm_method *out, plmm_error *err) PLMM_NODISCARD;

/* The factor (or both) that is trained and travels in a round. Round numbers start at 0, with B:
 * while B is zero, A has no gradient. */
plmm_factor plmm_method_factor(plmm_method m, uint64_t round);

/* ---- the travelling vector: the factor's range of the block, in the order of the views ---- */

size_t plmm_travel_count(const plmm_adapter *a, plmm_factor f);

/* out[plmm_travel_count] = what travels of `a`; with base not NULL, of a - base (same spec). */
void plmm_travel_gather(const plmm_adapter *a, const plmm_adapter *base, plmm_factor f, float *out);

/* Writes the vector into a. */
void plmm_travel_scatter(plmm_adapter *a, plmm_factor f, const float *in);

/* Canonical bytes of what the coordinates mean, to be hashed: for each travelling view in order its
 * name, a zero byte, rows and cols as 32-bit little-endian. Returns the length; writes at most cap
 * of it to out. */
size_t plmm_travel_describe(const plmm_adapter *a, plmm_factor f, uint8_t *out, size_t cap);

/* ---- the aggregator's side ---- */

typedef enum plmm_server_kind { PLMM_SERVER_FEDAVG } plmm_server_kind;

/* The server's optimiser on the summed delta. */
typedef struct plmm_server_opt {
    plmm_server_kind kind;
    float lr; /* 1: the plain average */
} plmm_server_opt;
plmm_server_opt plmm_server_opt_default(void);

/* a's factor += lr * sum[i] / weight, where sum is the sum over devices of w_i * delta_i and weight
 * the sum of w_i. PLMM_ERR_RANGE when weight is not positive and finite or a coordinate of the
 * result is not finite; a is then unchanged. */
plmm_status plmm_server_apply(const plmm_server_opt *o, plmm_adapter *a, plmm_factor f,
                              const double *sum, double weight, plmm_error *err) PLMM_NODISCARD;

/* Rewrites every B A as an equal product for a round that trains f. B round: A gets orthonormal
 * rows, B takes the rest; A round: B gets orthonormal columns. Components are ordered by singular
 * value. A module whose B is all zero keeps its A (orthonormalised) and its zero B. f == AB leaves
 * all as is. Deterministic; the product changes by rounding only. PLMM_ERR_NOMEM. */
plmm_status plmm_refactor(plmm_adapter *a, plmm_factor f, plmm_error *err) PLMM_NODISCARD;

/* What an aggregator does between rounds: for `alternate`, plmm_refactor() towards the next round's
 * factor; nothing for the other methods. */
plmm_status plmm_method_prepare(plmm_method m, uint64_t next_round, plmm_adapter *a,
                                plmm_error *err) PLMM_NODISCARD;

#endif
