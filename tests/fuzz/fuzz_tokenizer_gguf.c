/* Any bytes as a GGUF file's vocabulary: refused, or it encodes any text. */
#include "fuzz_tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_gguf *g = NULL;
    plmm_tokenizer *t = NULL;
    plmm_error err;
    if (plmm_gguf_parse(data, size, "fuzz", &g, &err) != PLMM_OK) {
        return 0; /* fuzz_gguf's */
    }
    plmm_status rc = plmm_tokenizer_from_gguf(g, "fuzz", &t, &err);
    plmm_gguf_close(g);
    return use_all(rc, t, &err, data, size);
}
