/* What every tokenizer that was accepted must bear: any text becomes ids below its size. */
#ifndef PLMM_FUZZ_TOKENIZER_USE_H
#define PLMM_FUZZ_TOKENIZER_USE_H

#include <string.h>

#include "plmm/alloc.h"
#include "plmm/tokenizer.h"

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

/* rc: what the reader said. Frees t. */
static int use_all(plmm_status rc, plmm_tokenizer *t, const plmm_error *err, const uint8_t *data,
                   size_t size)
{
    static const char fixed[] = "  The caf\xC3\xA9's 1234 e\xCC\x81 \xE2\x96\x81\xFF\n\n<|end|> x";
    if (rc != PLMM_OK) {
        PLMM_ASSERT(t == NULL && strlen(err->msg) > 0);
        return 0;
    }
    use(t, fixed, sizeof fixed - 1, 0);
    use(t, fixed, sizeof fixed - 1, PLMM_ENCODE_BOS | PLMM_ENCODE_EOS | PLMM_ENCODE_SPECIALS);
    use(t, (const char *)data, size < 400 ? size : 400, PLMM_ENCODE_SPECIALS);
    plmm_tokenizer_free(t);
    return 0;
}

#endif
