/* BLAKE2b with personalisation, shared inside crypto/. */
#ifndef PLMM_KEYS_INTERNAL_H
#define PLMM_KEYS_INTERNAL_H

#include "plmm/keys.h"

/* out = construction (8 characters) | label (asserted to be 8). */
void plmm__person(uint8_t out[16], const char *construction, const char *label);

/* out[0..out_len) = BLAKE2b(key (32 octets, or NULL for none), person, msg). out may be key. */
void plmm__blake2b(uint8_t *out, size_t out_len, const uint8_t *key, const char *construction,
                   const char *label, const void *msg, size_t len);

#endif
