/* plmm/packed.h -- packed (ramp) secret sharing of Ring-LWE keys among a committee.
 *
 * A key of plmm/kahe.h is cut into B = N / 16 columns of rho = 16 residues, for each prime of its
 * set. A column is shared by one polynomial of degree below rho + c over Z_q, random but for its
 * values at -1 .. -rho, which are the residues; member i (1..m) gets the value at i. So a member's
 * share is B residues a prime, a sixteenth of a key, and
 *   any c shares are independent of the key: uniform, whatever it is;
 *   any rho + c shares give it;
 *   in between, they tell something about it (it is a ramp): who adds shares must agree on whose
 *   before anybody reveals a sum (docs/protocol.md, "One-shot");
 *   the sum of shares is the share of the sum.
 * Surplus shares are used: all that are given must lie on one polynomial, and up to
 * (given - rho - c) / 2 false ones are found (Reed-Solomon decoding). Sources: Shamir 1979; Franklin
 * and Yung, STOC 1992 (packing); Blakley and Meadows, CRYPTO 1984 (ramps).
 *
 * Which residues are in column z: z, z + B, ..., z + 15 B of a prime's part of the key. The
 * polynomial is drawn by giving the members 1..c uniform values, which is the same distribution as
 * any other way of drawing it.
 *
 * Nothing allocates. Thread-safe on disjoint outputs. Time and addresses depend on the set, counts
 * and points, never on keys or shares, up to the verdict of plmm_packed_combine (whose shares are
 * sums, and known to who calls it).
 */
#ifndef PLMM_PACKED_H
#define PLMM_PACKED_H

#include "plmm/kahe.h"

enum {
    PLMM_PACKED_RHO = 16,
    PLMM_PACKED_MEMBERS_MAX = 512,
    PLMM_PACKED_SHARE_MAX = 512 /* residues of the longest share */
};

/* A committee's matrix: what its shares are of the values that determine a column. Made once, used
 * for every key that is shared with that committee. Public. */
typedef struct plmm_packed {
    uint32_t set, members, privacy; /* m, c */
    uint64_t *matrix;               /* the caller's memory */
} plmm_packed;

/* Octets of memory (aligned to 64) for plmm_packed_init, and of scratch for plmm_packed_split. 0 if
 * the numbers make no sense. */
size_t plmm_packed_matrix_bytes(uint32_t set, uint32_t members, uint32_t privacy);
size_t plmm_packed_scratch_bytes(uint32_t set, uint32_t privacy);

/* Residues of a share, B times primes, and its octets on the wire (50 bits each). */
size_t plmm_packed_share_residues(uint32_t set);
size_t plmm_packed_share_bytes(uint32_t set);

/* *p for m members of whom any c together learn nothing; memory is borrowed for as long as *p is
 * used. PLMM_ERR_RANGE if not 1 <= c, c + rho <= m <= PLMM_PACKED_MEMBERS_MAX;
 * PLMM_ERR_UNSUPPORTED for another set. */
PLMM_NODISCARD plmm_status plmm_packed_init(plmm_packed *p, uint32_t set, uint32_t members,
                                            uint32_t privacy, void *memory, plmm_error *err);

/* shares[i * plmm_packed_share_bytes(set) ..) = the packed share of member i + 1, for all members:
 * SECRET, each for its member alone. seed: fresh, private, for one key; the value of member i + 1,
 * i < c, for prime p are the residues (as keys are drawn) from word 2^24 p + 2^14 i on of the stream
 * of plmm_kdf(seed, "kahe.shr") in the context of the set (its first octet). scratch: as sized
 * above, aligned to 64, wiped. */
void plmm_packed_split(uint8_t *shares, const plmm_packed *p, const uint64_t *key,
                       const plmm_seed *seed, void *scratch);

/* sum[0..plmm_packed_share_residues(set)) = sum + a share. Foreign octets: PLMM_ERR_WIRE if len is
 * not plmm_packed_share_bytes(set) or a residue is not below its prime; sum is then untouched. */
PLMM_NODISCARD plmm_status plmm_packed_add(uint64_t *sum, uint32_t set, const uint8_t *share,
                                           size_t len, plmm_error *err);

/* A member's sum as octets, for the wire, and back (errors as plmm_packed_add). */
void plmm_packed_pack(uint8_t *out, uint32_t set, const uint64_t *sum);
PLMM_NODISCARD plmm_status plmm_packed_unpack(uint64_t *sum, uint32_t set, const uint8_t *in,
                                              size_t len, plmm_error *err);

/* key = what the shares (or sums of shares) of the members points[0..count) determine.
 *   points  1..members, each once
 *   shares  count rows of plmm_packed_share_residues(set) residues below their primes (asserted:
 *           plmm_packed_unpack sees to it), in the order of points
 *   liars   out, may be NULL: which rows were false (count flags)
 * All rows must lie on one polynomial a column; if not, up to (count - rho - c) / 2 false ones are
 * found and left out. With count = rho + c nothing can be seen. scratch:
 * plmm_packed_combine_bytes(set, count) octets, aligned to 64, wiped.
 * PLMM_ERR_RANGE if count is below rho + c ("have .. of .. shares") or above members, or a point is
 * 0, above members or there twice; PLMM_ERR_PEER if the rows are inconsistent beyond correction. key
 * and liars are then untouched. Time depends on which rows are false. */
PLMM_NODISCARD plmm_status plmm_packed_combine(uint64_t *key, bool *liars, const plmm_packed *p,
                                               const uint32_t *points, const uint64_t *shares,
                                               size_t count, void *scratch, plmm_error *err);
size_t plmm_packed_combine_bytes(uint32_t set, size_t count);

#endif
