/* Any bytes as GGUF: refused, or every key and tensor can be read; and as a model. */
#include "plmm/alloc.h"
#include "plmm/checkpoint.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_keys(const plmm_gguf *g)
{
    size_t n, bytes = 0;
    const plmm_gguf_value *v = plmm_gguf_values(g, &n);
    for (size_t i = 0; i < n; i++) {
        plmm_gguf_texts t = plmm_gguf_texts_of(&v[i]);
        while (plmm_gguf_texts_next(&t)) {
            for (size_t k = 0; k < t.len; k++) {
                bytes += t.text[k] != 0;
            }
        }
        if (v[i].count > 0) {
            (void)plmm_gguf_number(&v[i], v[i].count - 1);
        }
        (void)plmm_gguf_text_is(&v[i], "llama");
        bytes += v[i].key_len;
    }
    PLMM_ASSERT(bytes < SIZE_MAX);
}

static void look_at_tensors(const plmm_gguf *g, size_t size)
{
    size_t n, bytes = 0;
    const plmm_gguf_tensor *t = plmm_gguf_tensors(g, &n);
    for (size_t i = 0; i < n; i++) {
        PLMM_ASSERT(plmm_gguf_tensor_of(g, t[i].name) == &t[i]);
        bytes += (size_t)t[i].bytes;
        float *row = plmm_alloc((size_t)t[i].shape[0], sizeof *row);
        plmm_gguf_read_row(&t[i], 0, row);
        plmm_gguf_read_row(&t[i], t[i].count / t[i].shape[0] - 1, row);
        plmm_free(row);
    }
    PLMM_ASSERT(bytes <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_gguf *g = NULL;
    plmm_model *m = NULL;
    plmm_error err;
    if (plmm_gguf_parse(data, size, "fuzz", &g, &err) != PLMM_OK) {
        PLMM_ASSERT(g == NULL && strlen(err.msg) > 0);
        return 0;
    }
    look_at_keys(g);
    look_at_tensors(g, size);
    if (plmm_checkpoint_from_gguf(g, "fuzz", PLMM_BASE_F32, &m, &err) == PLMM_OK) {
        PLMM_ASSERT(plmm_model_count(m) <= 2 * size); /* 4.5 bits a weight at least */
        plmm_model_free(m);
    } else {
        PLMM_ASSERT(m == NULL && strlen(err.msg) > 0);
    }
    plmm_gguf_close(g);
    return 0;
}
