/* plmm/stream.h -- the text of tokens as a model makes them: whole characters, as soon as they are
 * certain, up to a stop text. One thread at a time. */
#ifndef PLMM_STREAM_H
#define PLMM_STREAM_H

#include "plmm/tokenizer.h"

enum { PLMM_STREAM_STOPS = 8, PLMM_STREAM_STOP_MAX = 256 /* bytes of a stop text */ };

/* Called with the next n > 0 bytes of text (no NUL after them); returning false ends it. Bytes of
 * the model that are no UTF-8 are passed on as they are. */
typedef bool plmm_text_fn(void *user, const char *text, size_t n);

typedef struct plmm_stream_params {
    const plmm_tokenizer *tokenizer; /* borrowed until free */
    const char *const *stops;        /* texts that end the whole and are not passed on; copied */
    size_t n_stops;                  /* 0..PLMM_STREAM_STOPS */
    bool first;                      /* the first token opens a text: see plmm_tokenizer_piece */
    plmm_text_fn *each;
    void *user;
} plmm_stream_params;

typedef struct plmm_stream plmm_stream;

/* PLMM_ERR_RANGE for too many stop texts, an empty or too long one; PLMM_ERR_NOMEM. */
plmm_status plmm_stream_new(const plmm_stream_params *p, plmm_stream **out,
                            plmm_error *err) PLMM_NODISCARD;
void plmm_stream_free(plmm_stream *s); /* NULL is fine */

/* Takes the next token: a plmm_token_fn (generate.h) for the stream as its user. False once a stop
 * text was met, in whatever tokens it came, or the callback returned false. What may be the
 * beginning of a stop text, or of a character, is held back until it is certain. */
bool plmm_stream_token(void *stream, int32_t token);

/* Passes on what is held back: there are no more tokens. */
void plmm_stream_end(plmm_stream *s);

/* Was a stop text met? */
bool plmm_stream_stopped(const plmm_stream *s);

#endif
