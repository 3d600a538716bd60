/* Text from tokens as they come, whole characters at a time, up to a stop text. */
#include "plmm/stream.h"

#include <string.h>

#include "plmm/alloc.h"

struct plmm_stream {
    const plmm_tokenizer *tokenizer;
    char *stops[PLMM_STREAM_STOPS]; /* copies */
    size_t lens[PLMM_STREAM_STOPS], n_stops;
    plmm_text_fn *each;
    void *user;
    char held[PLMM_STREAM_STOP_MAX + PLMM_TOKENIZER_TOKEN_MAX + 8]; /* not passed on yet */
    size_t n_held;
    bool first, done, stopped;
};

void plmm_stream_free(plmm_stream *s)
{
    if (s != NULL) {
        for (size_t i = 0; i < s->n_stops; i++) {
            plmm_free(s->stops[i]);
        }
        plmm_free(s);
    }
}

static plmm_status copy_stops(plmm_stream *s, const char *const *stops, size_t n, plmm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        s->lens[i] = strlen(stops[i]);
        if (s->lens[i] < 1 || s->lens[i] > PLMM_STREAM_STOP_MAX) {
            return plmm_fail(err, PLMM_ERR_RANGE, "stop text %zu has %zu bytes, must be 1..%d", i,
                             s->lens[i], (int)PLMM_STREAM_STOP_MAX);
        }
        s->stops[i] = plmm_strdup(stops[i]);
        if (s->stops[i] == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "cannot keep a stop text: out of memory");
        }
        s->n_stops++;
    }
    return PLMM_OK;
}

plmm_status plmm_stream_new(const plmm_stream_params *p, plmm_stream **out, plmm_error *err)
{
    if (p->n_stops > PLMM_STREAM_STOPS) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%zu stop texts, at most %d", p->n_stops,
                         (int)PLMM_STREAM_STOPS);
    }
    plmm_stream *s = plmm_alloc(1, sizeof *s);
    if (s == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a stream of text: out of memory");
    }
    s->tokenizer = p->tokenizer;
    s->each = p->each;
    s->user = p->user;
    s->first = p->first;
    plmm_status rc = copy_stops(s, p->stops, p->n_stops, err);
    if (rc != PLMM_OK) {
        plmm_stream_free(s);
        return rc;
    }
    *out = s;
    return PLMM_OK;
}

/* Passes on the first n held bytes. */
static void pass(plmm_stream *s, size_t n)
{
    if (n > 0 && !s->done) {
        s->done = !s->each(s->user, s->held, n);
    }
    memmove(s->held, s->held + n, s->n_held - n);
    s->n_held -= n;
}

/* Where the first stop text begins in what is held; n_held if none does. */
static size_t find_stop(const plmm_stream *s)
{
    for (size_t at = 0; at < s->n_held; at++) {
        for (size_t i = 0; i < s->n_stops; i++) {
            if (s->lens[i] <= s->n_held - at &&
                memcmp(s->held + at, s->stops[i], s->lens[i]) == 0) {
                return at;
            }
        }
    }
    return s->n_held;
}

/* May the held bytes from `at` on be the beginning of a stop text? */
static bool may_stop(const plmm_stream *s, size_t at)
{
    size_t n = s->n_held - at;
    for (size_t i = 0; i < s->n_stops; i++) {
        if (s->lens[i] > n && memcmp(s->held + at, s->stops[i], n) == 0) {
            return true;
        }
    }
    return false;
}

/* Bytes at the end of what is held that begin a character which is not whole yet. */
static size_t cut_character(const char *s, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        if (c >= 0xC2 && c <= 0xF4) {
            size_t len = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
            return len > back ? back : 0;
        }
        if ((c & 0xC0u) != 0x80u) {
            return 0;
        }
    }
    return 0;
}

/* How many of the held bytes are certain. */
static size_t certain(const plmm_stream *s)
{
    size_t n = s->n_held - cut_character(s->held, s->n_held);
    for (size_t at = 0; at < n; at++) {
        if (may_stop(s, at)) {
            return at;
        }
    }
    return n;
}

bool plmm_stream_token(void *stream, int32_t token)
{
    plmm_stream *s = stream;
    char piece[PLMM_TOKENIZER_TOKEN_MAX + 1];
    if (s->done) {
        return false;
    }
    size_t n = plmm_tokenizer_piece(s->tokenizer, token, s->first, piece);
    s->first = false;
    PLMM_ASSERT(s->n_held + n <= sizeof s->held); /* what is uncertain is shorter than a stop */
    memcpy(s->held + s->n_held, piece, n);
    s->n_held += n;
    size_t stop = find_stop(s);
    if (stop < s->n_held) {
        pass(s, stop);
        s->n_held = 0;
        s->done = s->stopped = true;
        return false;
    }
    pass(s, certain(s));
    return !s->done;
}

void plmm_stream_end(plmm_stream *s)
{
    pass(s, s->n_held);
    s->done = true;
}

bool plmm_stream_stopped(const plmm_stream *s)
{
    return s->stopped;
}
