/* Inside of plmm/seal.h: sixteen boxes at once. */
#ifndef PLMM_SEAL_INTERNAL_H
#define PLMM_SEAL_INTERNAL_H

#include "plmm/seal.h"

enum { SEAL_LANES = 16 };

/* v[0..SEAL_LANES), of which only the first `have` are written: all boxes of messages of len octets
 * with ad_len octets of associated data. */
void plmm__seal_avx512(const plmm_sealing *v, size_t have, size_t len, size_t ad_len);
void plmm__open_avx512(plmm_sealing *v, size_t have, size_t len, size_t ad_len);

/* The tags of texts of whole blocks of 16 octets under keys of Poly1305, for its published vectors. */
void plmm__poly1305_avx512(uint8_t tag[SEAL_LANES][16], const uint8_t key[SEAL_LANES][32],
                           const uint8_t *const text[SEAL_LANES], size_t len);

#endif
