/* plmm/graph.h -- how many neighbours a device has, who they are, and how many must agree.
 *
 * SecAgg+ (Bell, Bonawitz, Gascon, Lepoint, Raykova, CCS 2020) masks along the edges of a random
 * k-regular graph and shares each secret t-of-k among the neighbours. k and t follow from the
 * number of devices and from what may go wrong; nobody types them in.
 *
 * Let n devices take part, A = max(1, ceil(gamma n)) of them corrupt (or as many as are among all
 * that could have been asked, if those are known), D = floor(delta n) drop out,
 * S = ceil((1 - delta) n) survive. k is the smallest even number for which, with sigma = 40 and
 * eta = 20 bits,
 *
 *   connected  the graph without the corrupt and dropped devices falls apart with probability at
 *              most 2^-(sigma+1): two runs of k/2 bad devices on the cycle, section 3 of the paper;
 *   private    t > t1, the smallest number that a device's corrupt neighbours exceed with
 *              probability at most 2^-(sigma+1) / n (hypergeometric tail);
 *   alive      t <= t2, the largest number such that fewer than t2 of a device's neighbours survive
 *              with probability at most 2^-eta / n.
 *
 * t = max(t1 + 1, 2) against an honest-but-curious aggregator. Against a semi-malicious one (honest
 * only while keys are distributed; then it may tell devices different stories) t1 becomes
 * ceil((t1 + k - 1.25) / 2): 2t - k exceeds the corrupt neighbours, so no two sets of t answer
 * without an honest device in both, and that one answers once.
 *
 * Same procedure and values as google-parfait/federated-compute graph_parameter_finder.cc, but for
 * A, which there is floor(gamma n) and here never rounds in the attacker's favour, and for the
 * complete graph, which here is the last choice.
 *
 * Pure; allocates nothing but where said; thread-safe.
 */
#ifndef PLMM_GRAPH_H
#define PLMM_GRAPH_H

#include "plmm/keys.h"

/* On the wire: never renumber. */
typedef enum plmm_trust {
    PLMM_TRUST_CURIOUS = 1,       /* honest but curious */
    PLMM_TRUST_SEMI_MALICIOUS = 2 /* lies after the keys are distributed; the default */
} plmm_trust;

typedef struct plmm_graph_params {
    uint32_t n;         /* devices on the roster */
    uint32_t gamma_ppm; /* corrupt devices, parts per million, 0..499999 */
    uint32_t delta_ppm; /* devices that drop out, parts per million, 0..999999 */
    uint32_t sigma;     /* bits of privacy, 1..80; 40 is usual */
    uint32_t eta;       /* bits of success, 1..60; 20 is usual */
    uint32_t trust;     /* plmm_trust */
    uint32_t corrupt;   /* A itself, if it is not of n: max(1, ceil(gamma E)) of the eligible; 0: as
                           above */
} plmm_graph_params;

typedef struct plmm_graph_degree {
    uint32_t k;       /* neighbours of each device, even (or n - 1) */
    uint32_t t;       /* of them that must answer */
    uint32_t corrupt; /* t1: neighbours of one device that may be corrupt */
} plmm_graph_degree;

/* The degree and threshold for *p. PLMM_ERR_RANGE if a field is out of the range above, or if
 * nothing protects: the sentence then names the nearest choice that does (more devices, or a
 * smaller delta, or a smaller gamma). *out is then untouched. At most some milliseconds for
 * n = 10,000. */
PLMM_NODISCARD plmm_status plmm_graph_degree_solve(plmm_graph_degree *out,
                                                   const plmm_graph_params *p, plmm_error *err);

/* Smallest n in from..to for which plmm_graph_degree_solve succeeds with the rest of *p, or 0. */
uint32_t plmm_graph_smallest(const plmm_graph_params *p, uint32_t from, uint32_t to);

/* The graph: devices stand on a cycle in an order drawn from seed, each is joined to the k/2 before
 * and the k/2 after it (a Harary graph over a random permutation). With k = n - 1 it is complete.
 * order[p] = device at place p, place[i] = where device i stands; arrays of n given by the caller.
 * Everyone who knows the seed gets the same. n >= 1. */
void plmm_graph_init(uint32_t *order, uint32_t *place, uint32_t n, const plmm_hash *seed);

/* out[0..k) = the neighbours of `device`, increasing. Being a neighbour is mutual; nobody is their
 * own; k < n, and k is even or n - 1 (asserted). */
void plmm_graph_neighbours(uint32_t *out, uint32_t device, const uint32_t *order,
                           const uint32_t *place, uint32_t n, uint32_t k);

/* ---- sets of devices or neighbours, as they travel: bit i of octet i / 8 is element i ---- */
static inline uint32_t plmm_set_bytes(uint32_t n)
{
    return (n + 7) / 8;
}

static inline bool plmm_set_has(const uint8_t *set, uint32_t i)
{
    return (set[i / 8] >> (i % 8) & 1) != 0;
}

static inline void plmm_set_put(uint8_t *set, uint32_t i)
{
    set[i / 8] = (uint8_t)(set[i / 8] | 1u << (i % 8));
}

/* Elements of a set over n; bits from n on are not counted. */
uint32_t plmm_set_count(const uint8_t *set, uint32_t n);

/* True if no bit from n on is set in the last octet: the only form in which a set may travel. */
bool plmm_set_canonical(const uint8_t *set, uint32_t n);

/* Place of x in the increasing array a[0..n), or n if it is not there. */
uint32_t plmm_find(const uint32_t *a, uint32_t n, uint32_t x);

#endif
