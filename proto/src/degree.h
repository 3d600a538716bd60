/* degree.h -- the solver without the sentence, for a device that judges what it is told, and the
 * tails that the committee's solver needs too. */
#ifndef PLMM_PROTO_DEGREE_H
#define PLMM_PROTO_DEGREE_H

#include "plmm/graph.h"

/* True and *out set if something protects *p; never searches for what else might. */
bool plmm_degree_find(plmm_graph_degree *out, const plmm_graph_params *p);

/* Of n devices: how many may be corrupt, may drop out, survive. */
typedef struct plmm_counts {
    uint32_t corrupt, dropped, surviving;
} plmm_counts;

plmm_counts plmm_counts_of(const plmm_graph_params *p);
bool plmm_graph_in_range(const plmm_graph_params *p);

/* k draws from n of which `marked` are marked: p[x] = Pr[x marked], x = 0..k. */
void plmm_hypergeometric(double *p, uint32_t n, uint32_t marked, uint32_t k);
/* Smallest t with Pr[X > t] <= bound. */
uint32_t plmm_upper_quantile(const double *p, uint32_t k, double bound);
/* Smallest t with Pr[X <= t] >= bound: fewer than t happens with probability below bound. */
uint32_t plmm_lower_quantile(const double *p, uint32_t k, double bound);

/* True if k and t hold and the next smaller degree does not: what plmm_degree_find gives, without
 * its search. (Were there a smaller degree below a gap, k would still protect.) */
bool plmm_degree_holds(const plmm_graph_params *p, uint32_t k, uint32_t t);

#endif
