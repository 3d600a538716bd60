/* plmm/committee.h -- how many devices open a one-shot sum, and how many of them must be there.
 *
 * In a one-shot round (docs/protocol.md, "One-shot") each device packs its short key into shares
 * for the m members of a committee drawn from the roster. With A devices of n corrupt and
 * S = ceil((1 - delta) n) surviving, m is the smallest even number (or n) for which, with sigma =
 * 40 and eta = 20 bits,
 *
 *   corrupt  more than c members are corrupt with probability at most 2^-sigma;
 *   alive    fewer than `alive` members survive with probability at most 2^-eta;
 *   opens    alive >= need = rho + c + spare: a packed sharing of rho secrets a polynomial, c
 *            points of which say nothing, is a polynomial of degree below rho + c; `spare` more
 *            points show whether all lie on one;
 *   agrees   alive >= quorum = floor((m + c) / 2) + 1 (1 against an aggregator that is only
 *            curious): two quorums share more than c members, so an honest one, and that one
 *            speaks for one set of survivors.
 *
 * Both tails are hypergeometric and exact. Packed sharing is a ramp: c points tell nothing, rho + c
 * tell all, between them something leaks; this is why the set of survivors is agreed on before any
 * point is given. Sources: Franklin and Yung, STOC 1992 (packed sharing); the shape of the
 * protocol: Karthikeyan and Polychroniadou (OPA), Li et al. (LERNA), Bell-Clark et al. (Willow).
 *
 * Pure; allocates nothing; thread-safe.
 */
#ifndef PLMM_COMMITTEE_H
#define PLMM_COMMITTEE_H

#include "plmm/graph.h"

enum {
    PLMM_COMMITTEE_MAX = 256, /* members */
    PLMM_COMMITTEE_RHO = 16,  /* secrets a polynomial */
    PLMM_COMMITTEE_SPARE = 2  /* points beyond those that reconstruct, in a round */
};

typedef struct plmm_committee {
    uint32_t m;      /* members */
    uint32_t c;      /* of them corrupt, at most: points that say nothing */
    uint32_t need;   /* points that give the key, checked: rho + c + spare */
    uint32_t quorum; /* members that must name the same survivors before one opens a box */
    uint32_t alive;  /* members that survive, at least */
} plmm_committee;

/* The committee for p (n devices on the roster; see plmm/graph.h for its fields and their ranges),
 * rho secrets a polynomial and spare points. PLMM_ERR_RANGE if a field is out of range, or if no
 * committee up to PLMM_COMMITTEE_MAX protects: the sentence then names the nearest choice that does
 * (more devices, a smaller delta, a smaller gamma). *out is then untouched. */
PLMM_NODISCARD plmm_status plmm_committee_solve(plmm_committee *out, const plmm_graph_params *p,
                                                uint32_t rho, uint32_t spare, plmm_error *err);

/* out[0..m) = the members' places on the roster of n, in the order of the draw: the first m of a
 * permutation drawn from seed, H(the registrar's link | roster root). order is room for 2 n numbers.
 * Everyone who knows the seed gets the same. m <= n (asserted). */
void plmm_committee_draw(uint32_t *out, uint32_t m, uint32_t n, const plmm_hash *seed,
                         uint32_t *order);

#endif
