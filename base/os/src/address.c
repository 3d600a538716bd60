#include "plmm/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One to `most` decimal digits at *p, at most max; moves *p over them. */
static bool number(const char **p, size_t most, uint32_t max, uint32_t *out)
{
    uint32_t v = 0;
    size_t n = 0;
    for (; n < most && (*p)[n] >= '0' && (*p)[n] <= '9'; n++) {
        v = v * 10 + (uint32_t)((*p)[n] - '0');
    }
    *p += n;
    *out = v;
    return n > 0 && v <= max;
}

/* 127.x.y.z with decimal octets, all of [s, end)? */
static bool is_127(const char *s, const char *end)
{
    for (int i = 0; i < 4; i++) {
        uint32_t octet;
        if (!number(&s, 3, 255, &octet) || (i == 0 && octet != 127)) {
            return false;
        }
        if (i < 3 && *s++ != '.') {
            return false;
        }
    }
    return s == end;
}

static bool is_word(const char *s, const char *end, const char *word)
{
    return (size_t)(end - s) == strlen(word) && memcmp(s, word, strlen(word)) == 0;
}

plmm_status plmm_address_loopback(const char *url, const char *doing, char out[PLMM_ADDRESS_BYTES],
                                  plmm_error *err)
{
    static const char scheme[] = "tcp://";
    const char *host = url + (sizeof scheme - 1);
    const char *colon = strncmp(url, scheme, sizeof scheme - 1) == 0 ? strrchr(host, ':') : NULL;
    uint32_t port = 0;
    const char *p = colon != NULL ? colon + 1 : "";
    if (colon == NULL || !number(&p, 5, 65535, &port) || *p != '\0') {
        return plmm_fail(
            err, PLMM_ERR_CONFIG,
            "%s %.80s: an address is tcp://HOST:PORT, for example tcp://127.0.0.1:7878", doing,
            url);
    }
    bool named = is_word(host, colon, "localhost");
    bool six = is_word(host, colon, "[::1]");
    if (!named && !six && !is_127(host, colon)) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "%s %.80s: only loopback addresses (127.0.0.1, [::1], localhost) are "
                         "allowed, since the channel is not encrypted yet",
                         doing, url);
    }
    (void)snprintf(out, PLMM_ADDRESS_BYTES, "tcp://%.*s:%u", named ? 9 : (int)(colon - host),
                   named ? "127.0.0.1" : host, port);
    return PLMM_OK;
}
