/* plmm/bulk.h -- digest of a long string of octets by a tree of BLAKE2b-256, so that a processor can
 * work on several parts of it at once: masked vectors have megabytes, and every one is hashed by who
 * signs it and by who takes it.
 *
 *   leaf i = BLAKE2b-256(person "plmm.lea" "bulk.v1.", octets 8192 i .. 8192 i + 8191), the last of
 *            what is left
 *   digest = BLAKE2b-256(person "plmm.top" "bulk.v1.", length as 64-bit little-endian | leaves)
 *
 * Collisions of it are collisions of BLAKE2b-256: the length says how many leaves there are and of
 * how many octets, and leaves and top are personalised apart (Merkle, CRYPTO 1987; the BLAKE2 paper,
 * section 2.10, has the general form). Leaves are computed eight or four at a time with AVX-512 or
 * AVX2 and by libsodium elsewhere, to the same bits. Allocates nothing; thread-safe; time depends on
 * the length only. */
#ifndef PLMM_BULK_H
#define PLMM_BULK_H

#include "plmm/keys.h"

enum { PLMM_BULK_LEAF = 8192 /* octets */ };

/* in may be NULL if len is 0. */
void plmm_bulk_digest(plmm_hash *out, const void *in, size_t len);

#endif
