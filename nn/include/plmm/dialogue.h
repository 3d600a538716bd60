/* plmm/dialogue.h -- what users have: pairs of a prompt and a response, from JSON lines or one JSON
 * array. Each object is one of
 *   {"prompt": .., "response": ..}
 *   {"instruction": .., "input": .., "output": ..}      prompt = instruction, a line break, input
 *   {"messages": [{"role": "user"|"assistant"|"system", "content": ..}, ...]}   a pair a turn
 *   {"dialogue": [[prompt, response], ...], "id": ..}   a pair a turn; the id is the user
 *   {"turns": [[speaker, text, ...], ...], "id": ..}    a pair for each change of speaker
 *   {"text": ..}                                        plain text: prompt "", response the text
 * with optional "user", "domain" (text) and "time" (integer); other keys are ignored.
 *
 * Files are mapped and read one object at a time: memory does not grow with the file.
 */
#ifndef PLMM_DIALOGUE_H
#define PLMM_DIALOGUE_H

#include <stddef.h>
#include <stdint.h>

#include "plmm/status.h"

enum {
    PLMM_DIALOGUE_TEXT_MAX = 1 << 20, /* bytes of one prompt or response */
    PLMM_DIALOGUE_LINE_MAX = 8 << 20, /* bytes of one object */
    PLMM_DIALOGUE_NAME_MAX = 128,     /* bytes of user and domain */
};

/* Never NULL once read; user and domain are "" when the file does not say. time: the file's, else
 * the running number of the pair, from 0. */
typedef struct plmm_dialogue {
    char *user, *domain, *prompt, *response;
    int64_t time;
} plmm_dialogue;

void plmm_dialogue_clear(plmm_dialogue *d); /* frees its texts, leaves {0} */

typedef struct plmm_dialogue_reader plmm_dialogue_reader;

/* PLMM_ERR_NOTFOUND, _IO, _NOMEM. */
plmm_status plmm_dialogue_open(const char *path, plmm_dialogue_reader **out,
                               plmm_error *err) PLMM_NODISCARD;
/* From memory (borrowed until close); name is for messages. */
plmm_status plmm_dialogue_parse(const char *text, size_t len, const char *name,
                                plmm_dialogue_reader **out, plmm_error *err) PLMM_NODISCARD;
void plmm_dialogue_close(plmm_dialogue_reader *r);

/* The next pair, borrowed until the next call; NULL at the end.
 * PLMM_ERR_FORMAT "file:line: what is wrong, what was expected"; the reader is then at its end. */
plmm_status plmm_dialogue_next(plmm_dialogue_reader *r, const plmm_dialogue **out,
                               plmm_error *err) PLMM_NODISCARD;

/* Fraction of the file read, 0..1. */
double plmm_dialogue_done(const plmm_dialogue_reader *r);

/* A whole file in memory: for what is small. At most max pairs (0: all). */
typedef struct plmm_dialogues {
    plmm_dialogue *v;
    size_t n;
} plmm_dialogues;
plmm_status plmm_dialogues_read(const char *path, size_t max, plmm_dialogues *out,
                                plmm_error *err) PLMM_NODISCARD;
void plmm_dialogues_free(plmm_dialogues *d); /* leaves {0} */

#endif
