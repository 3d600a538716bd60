/* degree.h -- the solver without the sentence, for a device that judges what it is told. */
#ifndef PLMM_PROTO_DEGREE_H
#define PLMM_PROTO_DEGREE_H

#include "plmm/graph.h"

/* True and *out set if something protects *p; never searches for what else might. */
bool plmm_degree_find(plmm_graph_degree *out, const plmm_graph_params *p);

#endif
