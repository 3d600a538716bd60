/* The strict scanner: decides what is JSON before a tree is built, so that the tree builder meets
 * only texts of known depth, size and encoding. */
#include "json_internal.h"

#include <math.h>
#include <string.h>

enum { DEPTH_CEILING = 256 };

plmm_json_limits plmm__json_limits(const plmm_json_limits *limits)
{
    plmm_json_limits l = {0};
    if (limits != NULL) {
        l = *limits;
    }
    l.bytes = l.bytes != 0 ? l.bytes : (size_t)64 << 20;
    l.string_bytes = l.string_bytes != 0 ? l.string_bytes : (size_t)16 << 20;
    l.nodes = l.nodes != 0 ? l.nodes : 4000000;
    l.depth = l.depth != 0 ? l.depth : 64;
    PLMM_ASSERT(l.depth <= DEPTH_CEILING);
    return l;
}

size_t plmm__utf8(const char *p, const char *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t c = (uint8_t)*p;
    if (c < 0x80) {
        return 1;
    }
    size_t n = c >= 0xf8 ? 0 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 0;
    if (n == 0 || (size_t)(end - p) < n) {
        return 0;
    }
    uint32_t code = c & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (((uint8_t)p[i] & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | ((uint8_t)p[i] & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < least[n] || code > 0x10ffff || surrogate ? 0 : n;
}

plmm_status plmm__scan_fail(const plmm__scan *s, plmm_error *err, const char *what)
{
    size_t line = 1, column = 1;
    for (const char *p = s->begin; p < s->p; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if (((uint8_t)*p & 0xc0) != 0x80) {
            column++;
        }
    }
    return plmm_fail(err, PLMM_ERR_FORMAT, "%s:%zu:%zu: %s", s->source, line, column, what);
}

void plmm__scan_space(plmm__scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r')) {
        s->p++;
    }
}

/* Four hexadecimal digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    if (end - p < 4) {
        return -1;
    }
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) {
            return -1;
        }
        v = v * 16 + d;
    }
    return v;
}

/* The escape at s->p, which is a backslash. */
static plmm_status scan_escape(plmm__scan *s, plmm_error *err)
{
    if (s->end - s->p < 2) {
        return plmm__scan_fail(s, err, "the text ends inside a string");
    }
    if (s->p[1] != 'u') {
        if (strchr("\"\\/bfnrt", s->p[1]) == NULL || s->p[1] == '\0') {
            return plmm__scan_fail(s, err,
                                   "no such escape; allowed are \\\" \\\\ \\/ \\b \\f \\n "
                                   "\\r \\t \\uXXXX");
        }
        s->p += 2;
        return PLMM_OK;
    }
    int32_t code = hex4(s->p + 2, s->end);
    if (code < 0) {
        return plmm__scan_fail(s, err, "\\u needs four hexadecimal digits");
    }
    if (code == 0) {
        return plmm__scan_fail(s, err, "\\u0000 in a string is not supported");
    }
    if (code >= 0xd800 && code <= 0xdfff) {
        int32_t low = -1;
        if (s->end - s->p >= 12 && s->p[6] == '\\' && s->p[7] == 'u') {
            low = hex4(s->p + 8, s->end);
        }
        if (code >= 0xdc00 || low < 0xdc00 || low > 0xdfff) {
            return plmm__scan_fail(s, err, "half of a surrogate pair");
        }
        s->p += 6;
    }
    s->p += 6;
    return PLMM_OK;
}

static plmm_status scan_string(plmm__scan *s, plmm_error *err)
{
    const char *start = s->p++;
    while (s->p < s->end && *s->p != '"') {
        if ((size_t)(s->p - start) > s->limits.string_bytes) {
            return plmm__scan_fail(s, err, "this string is longer than the limit");
        }
        if (*s->p == '\\') {
            PLMM_TRY(scan_escape(s, err));
            continue;
        }
        size_t n = plmm__utf8(s->p, s->end);
        if (n == 0) {
            return plmm__scan_fail(s, err, "this is not UTF-8");
        }
        if ((uint8_t)*s->p < 0x20) {
            return plmm__scan_fail(s, err, "a control character in a string must be escaped");
        }
        s->p += n;
    }
    if (s->p == s->end) {
        return plmm__scan_fail(s, err, "the text ends inside a string");
    }
    s->p++;
    return PLMM_OK;
}

static const char *digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return p;
}

/* End of the number at p, or NULL. */
static const char *number_end(const char *p, const char *end)
{
    p += p < end && *p == '-';
    const char *whole = p;
    p = digits(p, end);
    if (p == whole || (*whole == '0' && p - whole > 1)) {
        return NULL;
    }
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        p = digits(p, end);
        if (p == fraction) {
            return NULL;
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        const char *exponent = p;
        p = digits(p, end);
        if (p == exponent) {
            return NULL;
        }
    }
    return p;
}

bool plmm__is_number(const char *text, size_t len)
{
    return len <= PLMM_JSON_NUMBER_BYTES && number_end(text, text + len) == text + len;
}

static plmm_status scan_number(plmm__scan *s, plmm_error *err)
{
    const char *stop = number_end(s->p, s->end);
    if (stop == NULL) {
        return plmm__scan_fail(s, err, "this is not a number as JSON writes it");
    }
    size_t len = (size_t)(stop - s->p);
    if (len > PLMM_JSON_NUMBER_BYTES) {
        return plmm__scan_fail(s, err, "this number has more than 60 characters");
    }
    char copy[PLMM_JSON_NUMBER_BYTES + 1];
    memcpy(copy, s->p, len);
    copy[len] = '\0';
    double v = 0;
    if (strpbrk(copy, "eE") != NULL && plmm_real_parse(copy, &v, err) != PLMM_OK) {
        return plmm__scan_fail(s, err, "this number is too large");
    }
    s->p = stop;
    return PLMM_OK;
}

static plmm_status scan_word(plmm__scan *s, const char *word, plmm_error *err)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) {
        return plmm__scan_fail(s, err, "expected a value");
    }
    s->p += n;
    return PLMM_OK;
}

static plmm_status scan_scalar(plmm__scan *s, plmm_error *err)
{
    switch (*s->p) {
    case '"':
        return scan_string(s, err);
    case 't':
        return scan_word(s, "true", err);
    case 'f':
        return scan_word(s, "false", err);
    case 'n':
        return scan_word(s, "null", err);
    default:
        if (*s->p == '-' || (*s->p >= '0' && *s->p <= '9')) {
            return scan_number(s, err);
        }
        return plmm__scan_fail(s, err, "expected a value");
    }
}

static plmm_status scan_key(plmm__scan *s, plmm_error *err)
{
    plmm__scan_space(s);
    if (s->p == s->end || *s->p != '"') {
        return plmm__scan_fail(s, err, "expected a member's name in double quotes");
    }
    PLMM_TRY(scan_string(s, err));
    plmm__scan_space(s);
    if (s->p == s->end || *s->p != ':') {
        return plmm__scan_fail(s, err, "expected ':' after the member's name");
    }
    s->p++;
    return PLMM_OK;
}

/* After a value: closes what ends here. *more: another value follows. */
static plmm_status scan_after(plmm__scan *s, const char *stack, uint32_t *depth, bool *more,
                              plmm_error *err)
{
    *more = false;
    while (*depth > 0) {
        plmm__scan_space(s);
        char top = stack[*depth - 1];
        if (s->p == s->end) {
            return plmm__scan_fail(s, err, "the text ends before its last bracket is closed");
        }
        if (*s->p == ',') {
            s->p++;
            *more = true;
            return top == '{' ? scan_key(s, err) : PLMM_OK;
        }
        if (*s->p != (top == '{' ? '}' : ']')) {
            return plmm__scan_fail(s, err,
                                   top == '{' ? "expected ',' or '}'" : "expected ',' or ']'");
        }
        s->p++;
        (*depth)--;
    }
    return PLMM_OK;
}

plmm_status plmm__scan_value(plmm__scan *s, plmm_error *err)
{
    char stack[DEPTH_CEILING];
    uint32_t depth = 0;
    bool more = true;
    for (size_t nodes = 1; more; nodes++) {
        plmm__scan_space(s);
        if (s->p == s->end) {
            return plmm__scan_fail(s, err, "the text ends where a value should be");
        }
        if (nodes > s->limits.nodes) {
            return plmm__scan_fail(s, err, "too many values");
        }
        if (*s->p != '{' && *s->p != '[') {
            PLMM_TRY(scan_scalar(s, err));
            PLMM_TRY(scan_after(s, stack, &depth, &more, err));
            continue;
        }
        if (depth == s->limits.depth) {
            return plmm__scan_fail(s, err, "nested too deeply");
        }
        char opened = *s->p++;
        stack[depth++] = opened;
        plmm__scan_space(s);
        if (s->p < s->end && *s->p == (opened == '{' ? '}' : ']')) {
            PLMM_TRY(scan_after(s, stack, &depth, &more, err));
        } else if (opened == '{') {
            PLMM_TRY(scan_key(s, err));
        }
    }
    return PLMM_OK;
}
