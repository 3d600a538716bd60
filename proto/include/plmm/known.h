/* plmm/known.h -- the devices that an aggregator has met: of each its certificate, found good, and the key
 * of the frames between the two, so that both are computed once and not in every round. For drivers, which
 * keep one for the life of the process and lend it to the machines of all rounds (plmm_agg_config).
 *
 * A table of what follows from keys and certificates alone: to lose it costs time, nothing else. It does
 * not know who was revoked; who may speak is asked of the registrar's list before it, every time. One thread
 * at a time.
 */
#ifndef PLMM_KNOWN_H
#define PLMM_KNOWN_H

#include "plmm/wire.h"

typedef struct plmm_known plmm_known;

/* An empty table of the aggregator `own` of an expert with this registrar; it copies own and wipes it
 * with itself. It grows to `most` devices (1..2^24, about 300 octets each); to meet one more empties it.
 * PLMM_ERR_RANGE for a bad name or number, PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_known_new(plmm_known **k, const plmm_sign_sk *own,
                                          const plmm_sign_pk *registrar, const char *expert,
                                          uint32_t most, plmm_error *err);
void plmm_known_free(plmm_known *k); /* wipes; NULL is fine */

/* Was the table made for these? */
bool plmm_known_of(const plmm_known *k, const plmm_sign_sk *own, const plmm_sign_pk *registrar,
                   const char *expert);

/* *frames = key of the frames with the device of *c. Only if the certificate is, to the octet, the one
 * that the device was met with last, is it taken for good: any other is checked, and takes its place. No memory to
 * remember it is no failure. PLMM_ERR_AUTH if the registrar did not sign it, PLMM_ERR_PEER if its
 * key is none to agree with; the table and *frames are then unchanged. */
PLMM_NODISCARD plmm_status plmm_known_meet(plmm_known *k, plmm_key *frames,
                                           const plmm_certificate *c, plmm_error *err);

#endif
