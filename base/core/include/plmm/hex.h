/* plmm/hex.h -- octets as lower-case hexadecimal digits, the form of keys and hashes in files.
 * Pure, thread-safe. Time and addresses depend on the octets: not for secrets that others may time.
 */
#ifndef PLMM_HEX_H
#define PLMM_HEX_H

#include "plmm/status.h"

/* out[0..2 len] = two digits an octet, and NUL. */
void plmm_hex_write(char *out, const uint8_t *bytes, size_t len);

/* out[0..len) = the octets that text writes. PLMM_ERR_FORMAT, naming what, unless text is exactly
 * 2 len of the digits 0-9 a-f; out is then unspecified. */
PLMM_NODISCARD plmm_status plmm_hex_read(uint8_t *out, size_t len, const char *text,
                                         const char *what, plmm_error *err);

#endif
