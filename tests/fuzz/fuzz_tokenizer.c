/* Any bytes as tokenizer.json: refused, or it encodes any text into ids below its size; a
 * byte-level one that knows every byte gives the text back. */
#include "plmm/alloc.h"
#include "plmm/tokenizer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const plmm_tokenizer *t, const char *text, size_t n, unsigned flags)
{
    plmm_ids ids = {0};
    plmm_error err;
    char *back, piece[PLMM_TOKENIZER_TOKEN_MAX + 1];
    size_t len;
    PLMM_ASSERT(plmm_tokenizer_encode(t, text, n, flags, &ids, &err) == PLMM_OK);
    for (size_t i = 0; i < ids.n; i++) {
        PLMM_ASSERT(ids.v[i] >= 0 && (uint32_t)ids.v[i] < plmm_tokenizer_vocab(t));
        PLMM_ASSERT(plmm_tokenizer_piece(t, ids.v[i], i == 0, piece) <= PLMM_TOKENIZER_TOKEN_MAX);
    }
    PLMM_ASSERT(plmm_tokenizer_decode(t, ids.v, ids.n, 0, &back, &len, &err) == PLMM_OK);
    plmm_free(back);
    plmm_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char fixed[] = "  The caf\xC3\xA9's 1234 e\xCC\x81 \xE2\x96\x81\xFF\n\n<|end|> x";
    plmm_tokenizer *t = NULL;
    plmm_error err;
    if (plmm_tokenizer_parse_json((const char *)data, size, "fuzz", &t, &err) != PLMM_OK) {
        PLMM_ASSERT(t == NULL && strlen(err.msg) > 0);
        return 0;
    }
    use(t, fixed, sizeof fixed - 1, 0);
    use(t, fixed, sizeof fixed - 1, PLMM_ENCODE_BOS | PLMM_ENCODE_EOS | PLMM_ENCODE_SPECIALS);
    use(t, (const char *)data, size < 400 ? size : 400, PLMM_ENCODE_SPECIALS);
    plmm_tokenizer_free(t);
    return 0;
}
