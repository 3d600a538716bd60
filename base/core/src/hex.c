#include "plmm/hex.h"

#include <string.h>

void plmm_hex_write(char *out, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

plmm_status plmm_hex_read(uint8_t *out, size_t len, const char *text, const char *what,
                          plmm_error *err)
{
    bool good = strlen(text) == 2 * len;
    for (size_t i = 0; i < len && good; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        good = high >= 0 && low >= 0;
        out[i] = (uint8_t)(good ? high * 16 + low : 0);
    }
    return good ? PLMM_OK
                : plmm_fail(err, PLMM_ERR_FORMAT, "%s is not %zu lower-case hexadecimal digits",
                            what, 2 * len);
}
