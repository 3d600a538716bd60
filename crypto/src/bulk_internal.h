/* Inside of plmm/bulk.h. */
#ifndef PLMM_BULK_INTERNAL_H
#define PLMM_BULK_INTERNAL_H

#include "plmm/bulk.h"

enum { BULK_LANES_MAX = 8, BULK_BLOCK = 128, BULK_LABEL_WORDS = 2 };
#define BULK_LABEL "bulk.v1."
#define BULK_LEAF  "plmm.lea"
#define BULK_TOP   "plmm.top"

/* out[l] = leaf of the PLMM_BULK_LEAF octets at in[l], for all lanes of the path. */
typedef void (*plmm__bulk_leaves)(uint8_t (*out)[32], const uint8_t *const *in,
                                  const uint64_t person[2]);

void plmm__bulk_avx512(uint8_t (*out)[32], const uint8_t *const *in, const uint64_t person[2]);
void plmm__bulk_avx2(uint8_t (*out)[32], const uint8_t *const *in, const uint64_t person[2]);

#endif
