/* Any bytes as llama2.c's model and as its tokenizer. */
#include "plmm/alloc.h"
#include "plmm/checkpoint.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_model *m = NULL;
    plmm_tokenizer *t = NULL;
    plmm_error err;
    if (plmm_checkpoint_parse_llama2c(data, size, "fuzz", &m, &err) == PLMM_OK) {
        PLMM_ASSERT(plmm_model_count(m) <= size); /* never more than the file can hold */
        plmm_model_free(m);
    } else {
        PLMM_ASSERT(m == NULL && strlen(err.msg) > 0);
    }
    if (plmm_tokenizer_parse_llama2c(data, size, "fuzz", &t, &err) == PLMM_OK) {
        plmm_ids ids = {0};
        char *back;
        size_t len;
        PLMM_ASSERT(plmm_tokenizer_encode(t, (const char *)data, size < 200 ? size : 200,
                                          PLMM_ENCODE_BOS, &ids, &err) == PLMM_OK);
        PLMM_ASSERT(plmm_tokenizer_decode(t, ids.v, ids.n, 0, &back, &len, &err) == PLMM_OK);
        plmm_free(back);
        plmm_ids_free(&ids);
        plmm_tokenizer_free(t);
    }
    return 0;
}
