/* plmm/oneshot.h -- what the parties of a one-shot round compute alike, and may share.
 *
 * In a round with protocol PLMM_PROTOCOL_ONESHOT (docs/protocol.md, "One-shot") a device sends its
 * vector once, encrypted under a short key, with shares of the key sealed to the m members of a
 * committee. The machines are those of plmm/client_round.h and plmm/agg_round.h; this is the part
 * that depends on public numbers alone and costs more than a device's own work, so that the devices
 * of one thread in a simulation, and the rounds of one device, make it once.
 */
#ifndef PLMM_ONESHOT_H
#define PLMM_ONESHOT_H

#include "plmm/committee.h"
#include "plmm/packed.h"
#include "plmm/round.h"

/* Octets before the ciphertext in a contribution: see the schema. */
enum { PLMM_ONESHOT_NONCE = 24 };

typedef struct plmm_oneshot_tables plmm_oneshot_tables;

/* Committee, sharing matrix and public polynomials for the parameters and a roster of n devices, of
 * `eligible` that might have been on it (n: all of them).
 * polynomials: keep those of the whole vector (8 octets a coordinate), else they are made again
 * with each vector. PLMM_ERR_RANGE with the solver's sentence if no committee protects n devices;
 * PLMM_ERR_NOMEM. Immutable: threads may share it. */
PLMM_NODISCARD plmm_status plmm_oneshot_tables_new(plmm_oneshot_tables **t,
                                                   const plmm_round_params *p, uint32_t n,
                                                   uint32_t eligible, bool polynomials,
                                                   plmm_error *err);
void plmm_oneshot_tables_free(plmm_oneshot_tables *t); /* NULL is fine */

/* Are these tables for them? Another round of the same shape has the same. */
bool plmm_oneshot_tables_fit(const plmm_oneshot_tables *t, const plmm_round_params *p, uint32_t n,
                             uint32_t eligible);

/* The committee of the tables. */
const plmm_committee *plmm_oneshot_committee(const plmm_oneshot_tables *t);

/* Octets of a contribution's bulk with m members, and where its ciphertext begins. */
size_t plmm_oneshot_bytes(const plmm_round_params *p, uint32_t m);
size_t plmm_oneshot_boxes(const plmm_round_params *p, uint32_t m);

#endif
