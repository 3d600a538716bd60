/* The regular expressions of the common pre-tokenizers, by hand: each function gives the length of
 * the first match, and the matches cover every text. */
#include "tokenizer_internal.h"
#include "unicode.h"

#include <string.h>

typedef enum class { CLASS_END, CLASS_LETTER, CLASS_NUMBER, CLASS_SPACE, CLASS_OTHER } class;

static class class_at(const char *s, size_t n, uint32_t *cp, size_t *len)
{
    if (n == 0) {
        *len = 0;
        *cp = 0;
        return CLASS_END;
    }
    *len = utf8_decode(s, n, cp);
    return unicode_is_letter(*cp)   ? CLASS_LETTER
           : unicode_is_number(*cp) ? CLASS_NUMBER
           : unicode_is_space(*cp)  ? CLASS_SPACE
                                    : CLASS_OTHER;
}

/* Length of the run of one class at s, of at most `most` code points. */
static size_t run_of(class c, const char *s, size_t n, size_t most)
{
    size_t at = 0, len;
    uint32_t cp;
    while (most-- > 0 && class_at(s + at, n - at, &cp, &len) == c) {
        at += len;
    }
    return at;
}

/* 's 't 're 've 'm 'll 'd; U+017F is an s when case does not matter. */
static size_t contraction(const char *s, size_t n, bool fold)
{
    static const char *const tails[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (n < 2 || s[0] != '\'') {
        return 0;
    }
    if (fold && n >= 3 && memcmp(s + 1, "\xC5\xBF", 2) == 0) {
        return 3;
    }
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        size_t len = strlen(tails[i]), k = 0;
        while (k < len && 1 + k < n) {
            char c = s[1 + k];
            if (fold && c >= 'A' && c <= 'Z') {
                c = (char)(c + 32);
            }
            if (c != tails[i][k]) {
                break;
            }
            k++;
        }
        if (k == len) {
            return 1 + len;
        }
    }
    return 0;
}

/* \s+(?!\S)|\s+ : the whole run at the end of the text, else all but its last character, which
 * belongs to what follows; a single one stands alone. */
static size_t white_space(const char *s, size_t n)
{
    size_t at = 0, last = 0, len;
    uint32_t cp;
    while (class_at(s + at, n - at, &cp, &len) == CLASS_SPACE) {
        last = at;
        at += len;
    }
    return at == n || last == 0 ? at : last;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t next_gpt2(const char *s, size_t n)
{
    size_t len = contraction(s, n, false);
    if (len > 0) {
        return len;
    }
    size_t lead = s[0] == ' ' ? 1 : 0;
    uint32_t cp;
    class c = class_at(s + lead, n - lead, &cp, &len);
    if (c == CLASS_LETTER || c == CLASS_NUMBER || c == CLASS_OTHER) {
        return lead + run_of(c, s + lead, n - lead, SIZE_MAX);
    }
    return white_space(s, n);
}

static bool is_newline(char c)
{
    return c == '\r' || c == '\n';
}

/* \s*[\r\n]+ : up to and with the last line break of the run of white space; 0 if it has none. */
static size_t line_breaks(const char *s, size_t n)
{
    size_t run = run_of(CLASS_SPACE, s, n, SIZE_MAX);
    while (run > 0 && !is_newline(s[run - 1])) {
        run--;
    }
    return run;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,k}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t next_llama3(const char *s, size_t n, size_t digits)
{
    size_t len = contraction(s, n, true), len2;
    if (len > 0) {
        return len;
    }
    uint32_t cp, cp2;
    class c = class_at(s, n, &cp, &len);
    if (c == CLASS_LETTER) {
        return run_of(CLASS_LETTER, s, n, SIZE_MAX);
    }
    if (c != CLASS_NUMBER && !is_newline(s[0]) &&
        class_at(s + len, n - len, &cp2, &len2) == CLASS_LETTER) {
        return len + run_of(CLASS_LETTER, s + len, n - len, SIZE_MAX);
    }
    if (c == CLASS_NUMBER) {
        return run_of(CLASS_NUMBER, s, n, digits);
    }
    size_t lead = s[0] == ' ' ? 1 : 0;
    size_t other = run_of(CLASS_OTHER, s + lead, n - lead, SIZE_MAX);
    if (other > 0) {
        size_t at = lead + other;
        while (at < n && is_newline(s[at])) {
            at++;
        }
        return at;
    }
    len = line_breaks(s, n);
    return len > 0 ? len : white_space(s, n);
}

static size_t next_digits(const char *s, size_t n, size_t most)
{
    size_t run = run_of(CLASS_NUMBER, s, n, most), len;
    uint32_t cp;
    if (run > 0) {
        return run;
    }
    while (run < n && class_at(s + run, n - run, &cp, &len) != CLASS_NUMBER) {
        run += len;
    }
    return run;
}

/* Up to the next U+2581 that is not the first character. */
static size_t next_metaspace(const char *s, size_t n)
{
    for (size_t i = 1; i + 3 <= n; i++) {
        if (memcmp(s + i, "\xE2\x96\x81", 3) == 0) {
            return i;
        }
    }
    return n;
}

size_t split_next(split_kind kind, const char *s, size_t n)
{
    switch (kind) {
    case SPLIT_GPT2:
        return next_gpt2(s, n);
    case SPLIT_LLAMA3:
        return next_llama3(s, n, 3);
    case SPLIT_QWEN2:
        return next_llama3(s, n, 1);
    case SPLIT_DIGITS:
        return next_digits(s, n, 1);
    case SPLIT_DIGIT_RUNS:
        return next_digits(s, n, SIZE_MAX);
    case SPLIT_METASPACE:
        return next_metaspace(s, n);
    }
    return n;
}

plmm_status split_words(const split_kind *kinds, size_t n_kinds, const char *s, size_t n,
                        word_fn word, void *ctx, plmm_error *err)
{
    if (n_kinds == 0) {
        return word(ctx, s, n, err);
    }
    for (size_t at = 0; at < n;) {
        size_t len = split_next(kinds[0], s + at, n - at);
        PLMM_TRY(split_words(kinds + 1, n_kinds - 1, s + at, len, word, ctx, err));
        at += len;
    }
    return PLMM_OK;
}
