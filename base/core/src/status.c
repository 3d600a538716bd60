#include "plmm/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *plmm_status_str(plmm_status s)
{
    switch (s) {
    case PLMM_OK:
        return "ok";
#define PLMM_X(name, num, text)                                                                    \
    case PLMM_ERR_##name:                                                                          \
        return text;
        PLMM_STATUS_MAP(PLMM_X)
#undef PLMM_X
    }
    return "unknown status";
}

plmm_status plmm_fail(plmm_error *err, plmm_status code, const char *fmt, ...)
{
    PLMM_ASSERT(code != PLMM_OK);
    if (err != NULL) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        err->code = code;
    }
    return code;
}

plmm_status plmm_fail_in(plmm_error *err, plmm_status code, const char *fmt, ...)
{
    PLMM_ASSERT(code != PLMM_OK);
    if (err != NULL) {
        char inner[sizeof err->msg];
        memcpy(inner, err->msg, sizeof inner);
        inner[sizeof inner - 1] = '\0';
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
        size_t used = n < 0 ? 0 : (size_t)n;
        if (used < sizeof err->msg) {
            (void)snprintf(err->msg + used, sizeof err->msg - used, ": %s", inner);
        }
        err->code = code;
    }
    return code;
}

int plmm_status_exit(plmm_status s)
{
    return s == PLMM_OK ? 0 : (int)s >= 40 ? 2 : 1;
}

_Noreturn void plmm_assert_fail(const char *expr, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expr);
    abort();
}
