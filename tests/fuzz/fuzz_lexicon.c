/* Any bytes as a lexicon file and as the text that is scored with it: a sentence, or scores in range. */
#include "plmm/lexicon.h"
#include "plmm/status.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_lexicons *l = NULL;
    plmm_error err = {0};
    const char *text = (const char *)data;
    PLMM_ASSERT(plmm_lexicons_new(&l, &err) == PLMM_OK);
    PLMM_ASSERT(plmm_lexicons_add(l, "known", "pill 2\nnurse\n", 13, "known.txt", &err) == PLMM_OK);
    uint32_t before = plmm_lexicons_count(l);
    if (plmm_lexicons_add(l, "fuzz", text, size, "fuzz.txt", &err) != PLMM_OK) {
        PLMM_ASSERT(strlen(err.msg) > 0 && plmm_lexicons_count(l) == before);
    }
    plmm_lexicon_score s = plmm_lexicons_score(l, PLMM_LEXICON_REPEATS, text, size);
    PLMM_ASSERT(s.dominant >= PLMM_DOMAIN_NONE && s.dominant < (int32_t)plmm_lexicons_count(l));
    plmm_lexicons_free(l);
    return 0;
}
