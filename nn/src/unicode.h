/* UTF-8, the character classes that pre-tokenizers ask for, and normal form C. Pure,
 * thread-safe. */
#ifndef PLMM_NN_UNICODE_H
#define PLMM_NN_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#include "plmm/status.h"

/* What utf8_decode gives for a byte that begins no well-formed sequence: UNICODE_BAD + the byte. */
enum { UNICODE_BAD = 0x200000 };

/* Decodes one code point of s[0..n), n > 0; *cp may be UNICODE_BAD + byte. Returns bytes taken (>=
 * 1). Overlong forms, surrogates and numbers above 0x10FFFF are not well formed. */
size_t utf8_decode(const char *s, size_t n, uint32_t *cp);

/* Writes cp (< 0x110000, or UNICODE_BAD + byte: that byte) to out; returns the number of bytes. */
size_t utf8_encode(uint32_t cp, char out[4]);

bool unicode_is_letter(uint32_t cp); /* \p{L} */
bool unicode_is_number(uint32_t cp); /* \p{N} */
bool unicode_is_space(uint32_t cp);  /* \s, White_Space */
bool unicode_is_word(uint32_t cp);   /* \w */

/* Normal form C of s[0..n) in a new block (plmm_free); when it is so already (by a quick check that
 * ASCII passes at once) *out is NULL and the caller goes on with s. */
plmm_status unicode_nfc(const char *s, size_t n, char **out, size_t *out_n,
                        plmm_error *err) PLMM_NODISCARD;

#endif
