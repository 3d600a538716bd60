/* pack_internal.h -- packing by vectors: as many leading lanes as whole registers hold; the caller
 * does the rest. */
#ifndef PLMM_PACK_INTERNAL_H
#define PLMM_PACK_INTERNAL_H

#include "plmm/encode.h"

typedef struct plmm__packer {
    /* Each returns how many lanes it has done, a multiple of 8 and at most n. The octets of in and
     * out are the len = plmm_packed_bytes(n, bits) of all n lanes; those of out behind the lanes
     * done may have been written to. pack adds (by or) the lanes it reads to *any. */
    size_t (*pack)(uint8_t *out, size_t len, const uint32_t *x, size_t n, uint32_t bits,
                   uint32_t *any);
    size_t (*unpack)(uint32_t *x, size_t n, uint32_t bits, const uint8_t *in, size_t len);
    size_t (*unpack_add)(uint32_t *acc, size_t n, uint32_t bits, const uint8_t *in, size_t len);
} plmm__packer;

extern const plmm__packer plmm__packer_avx2, plmm__packer_avx512;

#endif
