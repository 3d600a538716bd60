/* A chat template: what chat.c and chat_template.c share. */
#ifndef PLMM_NN_CHAT_INTERNAL_H
#define PLMM_NN_CHAT_INTERNAL_H

#include "plmm/chat.h"

enum { PLMM_ROLES = 3 };

typedef struct plmm__chat_template {
    const char *name;
    const char *system;                                 /* said if the messages say none; or NULL */
    const char *open;                                   /* before everything */
    const char *before[PLMM_ROLES], *after[PLMM_ROLES]; /* NULL: it has no such role */
    const char *ask;                                    /* after which the answer begins */
    const char *stop; /* the token that ends it; NULL: end of text */
    bool strip;       /* white space around each text is taken off */
    bool fold;        /* the system's text goes into the first turn of the user */
    bool alternate;   /* user and assistant take turns */
} plmm__chat_template;

/* Chooses the template that the tokenizer's own tokens tell, if any. */
void plmm__chat_guess(plmm_chat *c);

/* plmm_chat_prompt by a template: a longer prompt loses its beginning. PLMM_ERR_RANGE if the frame
 * alone does not fit. */
plmm_status plmm__chat_prompt(const plmm_chat *c, const char *prompt, size_t max, plmm_ids *ids,
                              plmm_error *err) PLMM_NODISCARD;

/* Prompt and response up to the end token, at most max ids (0: no limit); *learn is where the
 * response begins. */
plmm_status plmm__chat_both(const plmm_chat *c, const char *prompt, const char *response,
                            size_t max, plmm_ids *ids, size_t *learn,
                            plmm_error *err) PLMM_NODISCARD;

#endif
