#include "plmm/nearest.h"

#include <string.h>

enum { WORD_MAX = 63 };

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t word_len(const char *s)
{
    size_t n = 0;
    while (n < WORD_MAX && s[n] != '\0') {
        n++;
    }
    return n;
}

size_t plmm_edit_distance(const char *a, const char *b)
{
    size_t d[3][WORD_MAX + 1]; /* rows i-2, i-1 and i, taken modulo 3 */
    size_t na = word_len(a), nb = word_len(b);
    for (size_t j = 0; j <= nb; j++) {
        d[0][j] = j;
    }
    for (size_t i = 1; i <= na; i++) {
        size_t *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t change = up[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = min2(change, min2(up[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = min2(row[j], up2[j - 2] + 1);
            }
        }
    }
    return d[na % 3][nb];
}

const char *plmm_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        if (names[i] == NULL) {
            continue;
        }
        size_t longer = word_len(word) > word_len(names[i]) ? word_len(word) : word_len(names[i]);
        size_t distance = plmm_edit_distance(word, names[i]);
        if (distance <= longer / 2 && distance < best_distance) {
            best = names[i];
            best_distance = distance;
        }
    }
    return best;
}
