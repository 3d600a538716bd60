#include "unicode.h"

#include <string.h>

#include "plmm/alloc.h"
#include "unicode_tables.inc"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool is_tail(unsigned char c)
{
    return (c & 0xC0u) == 0x80u;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *cp)
{
    const unsigned char *p = (const unsigned char *)s;
    uint32_t c = p[0];
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    size_t len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    *cp = UNICODE_BAD + c;
    if (c < 0xC2 || c > 0xF4 || n < len) {
        return 1;
    }
    uint32_t v = c & (0xFFu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (!is_tail(p[i])) {
            return 1;
        }
        v = v << 6 | (p[i] & 0x3Fu);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (v < least[len] || v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF)) {
        return 1;
    }
    *cp = v;
    return len;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp >= UNICODE_BAD) {
        out[0] = (char)(unsigned char)(cp - UNICODE_BAD);
        return 1;
    }
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (char)(unsigned char)(0x80u | (cp & 0x3Fu));
        cp >>= 6;
    }
    out[0] = (char)(unsigned char)(cp | (0xF00u >> len & 0xFFu));
    return len;
}

/* The row of a sorted table of {first, last, ...} that holds cp, or NULL. */
static const uint32_t *find_range(const uint32_t *rows, size_t n, size_t width, uint32_t cp)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > rows[mid * width + 1]) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < n && rows[lo * width] <= cp ? rows + lo * width : NULL;
}

bool unicode_is_letter(uint32_t cp)
{
    if (cp < 0x80) {
        return (cp | 0x20u) >= 'a' && (cp | 0x20u) <= 'z';
    }
    return find_range(&letters[0][0], COUNT(letters), 2, cp) != NULL;
}

bool unicode_is_number(uint32_t cp)
{
    if (cp < 0x80) {
        return cp >= '0' && cp <= '9';
    }
    return find_range(&numbers[0][0], COUNT(numbers), 2, cp) != NULL;
}

bool unicode_is_space(uint32_t cp)
{
    if (cp < 0x80) {
        return cp == ' ' || (cp >= '\t' && cp <= '\r');
    }
    return find_range(&spaces[0][0], COUNT(spaces), 2, cp) != NULL;
}

bool unicode_is_word(uint32_t cp)
{
    return find_range(&word_chars[0][0], COUNT(word_chars), 2, cp) != NULL;
}

/* --- normal form C (Unicode Standard Annex 15) --- */

enum { HANGUL_S = 0xAC00, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11A7 };
enum { HANGUL_LN = 19, HANGUL_VN = 21, HANGUL_TN = 28, HANGUL_SN = 19 * 21 * 28 };
enum { DECOMPOSED_MAX = 4 }; /* code points one code point can become, canonically */

static uint32_t combining_class(uint32_t cp)
{
    const uint32_t *row = cp < 0x300 ? NULL : find_range(&combining[0][0], COUNT(combining), 3, cp);
    return row != NULL ? row[2] : 0;
}

static const uint32_t *find_decomposition(uint32_t cp)
{
    size_t lo = 0, hi = COUNT(decompositions);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (decompositions[mid][0] < cp) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < COUNT(decompositions) && decompositions[lo][0] == cp ? decompositions[lo] : NULL;
}

static size_t decompose(uint32_t cp, uint32_t out[DECOMPOSED_MAX])
{
    if (cp >= HANGUL_S && cp < HANGUL_S + HANGUL_SN) {
        uint32_t i = cp - HANGUL_S;
        out[0] = HANGUL_L + i / (HANGUL_VN * HANGUL_TN);
        out[1] = HANGUL_V + i % (HANGUL_VN * HANGUL_TN) / HANGUL_TN;
        out[2] = HANGUL_T + i % HANGUL_TN;
        return i % HANGUL_TN != 0 ? 3 : 2;
    }
    uint32_t tail[DECOMPOSED_MAX];
    size_t n = 0;
    const uint32_t *row;
    /* Only the first half decomposes further; the second halves pile up. */
    while ((row = find_decomposition(cp)) != NULL && n < DECOMPOSED_MAX - 1) {
        if (row[2] != 0) {
            tail[n++] = row[2];
        }
        cp = row[1];
    }
    out[0] = cp;
    for (size_t i = 0; i < n; i++) {
        out[1 + i] = tail[n - 1 - i];
    }
    return n + 1;
}

static uint32_t compose(uint32_t a, uint32_t b)
{
    if (a >= HANGUL_L && a < HANGUL_L + HANGUL_LN && b >= HANGUL_V && b < HANGUL_V + HANGUL_VN) {
        return HANGUL_S + ((a - HANGUL_L) * HANGUL_VN + (b - HANGUL_V)) * HANGUL_TN;
    }
    if (a >= HANGUL_S && a < HANGUL_S + HANGUL_SN && (a - HANGUL_S) % HANGUL_TN == 0 &&
        b > HANGUL_T && b < HANGUL_T + HANGUL_TN) {
        return a + (b - HANGUL_T);
    }
    size_t lo = 0, hi = COUNT(compositions);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const uint32_t *row = compositions[mid];
        if (row[0] < a || (row[0] == a && row[1] < b)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    const uint32_t *row = lo < COUNT(compositions) ? compositions[lo] : NULL;
    return row != NULL && row[0] == a && row[1] == b ? row[2] : 0;
}

/* Stable sort by class of each run of combining marks: merge-free insertion is quadratic in the
 * length of a run, so runs are cut at 256 marks (Unicode's stream-safe limit is 30). */
static void reorder(uint32_t *cp, size_t n)
{
    enum { RUN_MAX = 256 };
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = combining_class(cp[i]);
        if (c == 0 || i - begin >= RUN_MAX) {
            begin = c == 0 ? i + 1 : i;
            continue;
        }
        uint32_t v = cp[i];
        size_t j = i;
        while (j > begin && combining_class(cp[j - 1]) > c) {
            cp[j] = cp[j - 1];
            j--;
        }
        cp[j] = v;
    }
}

static size_t recompose(uint32_t *cp, size_t n)
{
    size_t out = 0, starter = SIZE_MAX;
    uint32_t last = 0; /* class of the mark before, while a starter is open */
    for (size_t i = 0; i < n; i++) {
        uint32_t c = combining_class(cp[i]);
        bool adjacent = starter != SIZE_MAX && out == starter + 1;
        uint32_t both = 0;
        if (starter != SIZE_MAX && (adjacent || last < c)) {
            both = compose(cp[starter], cp[i]);
        }
        if (both != 0) {
            cp[starter] = both;
            continue;
        }
        if (c == 0) {
            starter = out;
        }
        last = c;
        cp[out++] = cp[i];
    }
    return out;
}

static bool is_suspect(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += utf8_decode(s + i, n - i, &cp);
        if (cp >= 0x300 && cp < UNICODE_BAD &&
            find_range(&nfc_suspects[0][0], COUNT(nfc_suspects), 2, cp) != NULL) {
            return true;
        }
    }
    return false;
}

plmm_status unicode_nfc(const char *s, size_t n, char **out, size_t *out_n, plmm_error *err)
{
    *out = NULL;
    *out_n = n;
    if (!is_suspect(s, n)) {
        return PLMM_OK;
    }
    /* A code point of k bytes becomes at most DECOMPOSED_MAX of at most 4 bytes. */
    uint32_t *cp = plmm_alloc(n * DECOMPOSED_MAX, sizeof *cp);
    char *text = plmm_alloc(n * DECOMPOSED_MAX * 4 + 1, 1);
    if (cp == NULL || text == NULL) {
        plmm_free(cp);
        plmm_free(text);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot normalise a text of %zu bytes", n);
    }
    size_t m = 0, k = 0;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        i += utf8_decode(s + i, n - i, &c);
        if (c < 0xC0 || c >= UNICODE_BAD) {
            cp[m++] = c;
        } else {
            m += decompose(c, cp + m);
        }
    }
    reorder(cp, m);
    m = recompose(cp, m);
    for (size_t i = 0; i < m; i++) {
        k += utf8_encode(cp[i], text + k);
    }
    plmm_free(cp);
    *out = text;
    *out_n = k;
    return PLMM_OK;
}
