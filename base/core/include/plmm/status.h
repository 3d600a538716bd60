/* plmm/status.h -- the one error vocabulary of the project, and the assertions.
 *
 * Every function that can fail returns plmm_status and writes results through out-pointers, which
 * are unchanged on failure. 0 is success; codes are grouped by WHO must act, because that is what
 * callers branch on:
 *   1..19   us      out of resources or a local fault: retry, shed load, or stop
 *   20..39  peer    the bytes or the behaviour of the other side: drop the message, maybe the peer
 *   40..59  caller  a file, an argument or a configuration that a human can fix
 * Programmer errors are none of these: they are PLMM_ASSERT()ed.
 *
 * Everything here is thread-safe; a plmm_error belongs to one thread at a time.
 */
#ifndef PLMM_STATUS_H
#define PLMM_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLMM_STATUS_MAP(X)                                                                         \
    X(NOMEM, 1, "out of memory")                                                                   \
    X(IO, 2, "input/output error")                                                                 \
    X(FULL, 3, "fixed capacity exhausted")                                                         \
    X(TIMEOUT, 4, "timed out")                                                                     \
    X(STALE, 20, "late or duplicate message")                                                      \
    X(WIRE, 21, "malformed message")                                                               \
    X(PEER, 22, "peer violated the protocol")                                                      \
    X(AUTH, 23, "authentication failed")                                                           \
    X(POLICY, 24, "refused by this party's own policy")                                            \
    X(RANGE, 40, "value out of range")                                                             \
    X(CONFIG, 41, "bad configuration")                                                             \
    X(FORMAT, 42, "malformed file")                                                                \
    X(NOTFOUND, 43, "not found")                                                                   \
    X(UNSUPPORTED, 44, "not supported")                                                            \
    X(STATE, 45, "not possible in the present state")

typedef enum plmm_status {
    PLMM_OK = 0,
#define PLMM_X(name, num, text) PLMM_ERR_##name = (num),
    PLMM_STATUS_MAP(PLMM_X)
#undef PLMM_X
} plmm_status;

#define PLMM_NODISCARD         __attribute__((warn_unused_result))
#define PLMM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Detail for humans; the code is for programs. msg is one sentence that names the thing, its value,
 * what was expected and where possible the fix; it starts with what could not be done, and never
 * contains key material, an update or a user's text. NUL-terminated, lower case, no full stop. */
typedef struct plmm_error {
    plmm_status code;
    char msg[400];
} plmm_error;

/* Static text for a code; "unknown status" for a number outside the map. Never NULL. */
const char *plmm_status_str(plmm_status s);

/* Fills *err (which may be NULL) and returns code, so call sites read `return plmm_fail(...)`.
 * Too long a message is cut at the end. */
plmm_status plmm_fail(plmm_error *err, plmm_status code, const char *fmt, ...) PLMM_PRINTF(3, 4);

/* Puts "context: " before the message of a failed *err (may be NULL) and returns its code, so that
 * an outer function can add what it was doing: `return plmm_fail_in(err, rc, "cannot open %s",
 * p)`. */
plmm_status plmm_fail_in(plmm_error *err, plmm_status code, const char *fmt, ...) PLMM_PRINTF(3, 4);

/* Exit status of a program for a failure: 2 for a caller's code (usage, file, configuration), 1
 * otherwise; 0 for PLMM_OK. */
int plmm_status_exit(plmm_status s);

/* Propagate a failure. Only for functions that own nothing; others use `goto out`. */
#define PLMM_TRY(expr)                                                                             \
    do {                                                                                           \
        plmm_status plmm_try_status_ = (expr);                                                     \
        if (plmm_try_status_ != PLMM_OK) {                                                         \
            return plmm_try_status_;                                                               \
        }                                                                                          \
    } while (0)

/* Stays on in release builds: a wrong sum is worse than a dead process. */
_Noreturn void plmm_assert_fail(const char *expr, const char *file, int line);
#define PLMM_ASSERT(cond) ((cond) ? (void)0 : plmm_assert_fail(#cond, __FILE__, __LINE__))

#endif
