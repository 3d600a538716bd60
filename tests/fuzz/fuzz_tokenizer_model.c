/* Any bytes as SentencePiece's tokenizer.model: refused, or it encodes any text. */
#include "fuzz_tokenizer_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_tokenizer *t = NULL;
    plmm_error err;
    plmm_status rc = plmm_tokenizer_parse_sentence(data, size, "fuzz", &t, &err);
    return use_all(rc, t, &err, data, size);
}
