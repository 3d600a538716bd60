/* tests/support/test.h -- the whole test framework. One process per test file, exit 0 = pass. */
#ifndef PLMM_TEST_H
#define PLMM_TEST_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int plmm_test_failures;

/* CHECK(cond, "format", ...): counts and prints a failure, with what replays it, and goes on. */
#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            plmm_test_failures++;                                                                  \
            (void)fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond);                       \
            (void)fprintf(stderr, __VA_ARGS__);                                                    \
            (void)fputc('\n', stderr);                                                             \
        }                                                                                          \
    } while (0)

/* Sanitized builds are ten and more times slower: counts of random cases are divided by this there,
 * never below one. The release build runs them all. */
#ifdef PLMM_SANITIZED
enum { PLMM_TEST_SLOW = 10 };
#else
enum { PLMM_TEST_SLOW = 1 };
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Seed of a property test: PLMM_TEST_SEED, or a fixed default so that a run can be repeated. */
static inline uint64_t plmm_test_seed(uint64_t fallback)
{
    const char *s = getenv("PLMM_TEST_SEED");
    uint64_t seed = s != NULL ? strtoull(s, NULL, 10) : fallback;
    (void)fprintf(stderr, "PLMM_TEST_SEED=%" PRIu64 "\n", seed);
    return seed;
}

static inline int plmm_test_end(void)
{
    return plmm_test_failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
