/* plmm/oneshot.h -- what the parties of a one-shot round compute alike, and may share.
 *
 * In a round with protocol PLMM_PROTOCOL_ONESHOT (docs/protocol.md, "One-shot") a device sends its
 * vector once, encrypted under a short key, with shares of the key sealed to the m members of a
 * committee. The machines are those of plmm/client_round.h and plmm/agg_round.h; this is the part
 * that depends on public numbers alone and costs more than a device's own work, so that the devices
 * of a simulation, and the rounds of one device, make it once.
 */
#ifndef PLMM_ONESHOT_H
#define PLMM_ONESHOT_H

#include "plmm/committee.h"
#include "plmm/packed.h"
#include "plmm/round.h"

/* Octets before the ciphertext in a contribution: see the schema. */
enum { PLMM_ONESHOT_NONCE = 24 };

/* Committee and sharing matrix for the parameters and a roster of n devices, of `eligible` that
 * might have been on it (n: all of them). Immutable. */
typedef struct plmm_oneshot_tables plmm_oneshot_tables;

/* What machines made of public numbers alone, kept for the next one that needs the same: tables of
 * one-shot rounds; and, for every round under Ring-LWE masks, the public polynomials (8 octets a
 * coordinate of the longest vector, 12 with the long masks), which are made again for each vector
 * without a shelf. A machine that was given it in its configuration looks there first and puts there
 * what it had to make. Nothing in it comes from a peer.
 *
 * What a machine took stays until the machine is freed, whatever becomes of the shelf. One thread:
 * that which steps the machines; their data planes may run in others. */
typedef struct plmm_shelf plmm_shelf;

/* An empty shelf with places (1 or more) for tables, of some 30 KiB each (twice that with the long
 * masks); the oldest go first. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_shelf_new(plmm_shelf **s, uint32_t places, plmm_error *err);
void plmm_shelf_free(plmm_shelf *s); /* NULL is fine */

/* *t = the tables, borrowed until as many others were made as there are places.
 * PLMM_ERR_RANGE with the solver's sentence if no committee protects n devices; PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_shelf_tables(plmm_shelf *s, const plmm_oneshot_tables **t,
                                             const plmm_round_params *p, uint32_t n,
                                             uint32_t eligible, plmm_error *err);

/* Puts the polynomials there that a round with these parameters needs, if any. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_shelf_polynomials(plmm_shelf *s, const plmm_round_params *p,
                                                  plmm_error *err);

/* How many tables and polynomials machines had to make because they were not there. */
uint32_t plmm_shelf_made(const plmm_shelf *s);

/* The committee of the tables. */
const plmm_committee *plmm_oneshot_committee(const plmm_oneshot_tables *t);

/* Octets of a contribution's bulk with m members, and where its ciphertext begins. */
size_t plmm_oneshot_bytes(const plmm_round_params *p, uint32_t m);
size_t plmm_oneshot_boxes(const plmm_round_params *p, uint32_t m);

#endif
