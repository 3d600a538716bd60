/* Any bytes as dialogues: pairs of texts, then the end or one error; then scores of them. */
#include "plmm/dialogue.h"
#include "plmm/score.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_dialogue_reader *r;
    const plmm_dialogue *d = NULL;
    plmm_error err;
    PLMM_ASSERT(plmm_dialogue_parse((const char *)data, size, "fuzz", &r, &err) == PLMM_OK);
    plmm_status rc = plmm_dialogue_next(r, &d, &err);
    while (rc == PLMM_OK && d != NULL) {
        plmm_rouge g;
        PLMM_ASSERT(strlen(d->prompt) <= PLMM_DIALOGUE_TEXT_MAX);
        PLMM_ASSERT(strlen(d->response) <= PLMM_DIALOGUE_TEXT_MAX);
        PLMM_ASSERT(strlen(d->user) <= PLMM_DIALOGUE_NAME_MAX);
        PLMM_ASSERT(plmm_rouge1(d->prompt, d->response, &g, &err) == PLMM_OK);
        PLMM_ASSERT(g.f >= 0 && g.f <= 1 + 1e-12);
        PLMM_ASSERT(plmm_exact_match(d->prompt, d->prompt));
        PLMM_ASSERT(!plmm_exact_match(d->prompt, d->response) || g.f >= g.precision - 1e-12);
        rc = plmm_dialogue_next(r, &d, &err);
    }
    PLMM_ASSERT(plmm_dialogue_next(r, &d, &err) == PLMM_OK && d == NULL);
    plmm_dialogue_close(r);
    return 0;
}
