/* Any bytes as safetensors: refused, or every tensor can be read. */
#include "plmm/alloc.h"
#include "plmm/safetensors.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_safetensors *s = NULL;
    plmm_error err;
    if (plmm_safetensors_parse(data, size, "fuzz", &s, &err) != PLMM_OK) {
        PLMM_ASSERT(s == NULL && strlen(err.msg) > 0);
        return 0;
    }
    size_t n, bytes = 0;
    const plmm_st_tensor *t = plmm_safetensors_tensors(s, &n);
    for (size_t i = 0; i < n; i++) {
        PLMM_ASSERT(plmm_safetensors_find(s, t[i].name) == &t[i]);
        bytes += (size_t)t[i].bytes;
        float *out = plmm_alloc((size_t)t[i].count, sizeof *out);
        plmm_status rc = plmm_safetensors_read(&t[i], out, &err);
        PLMM_ASSERT((rc == PLMM_OK) == (t[i].dtype != PLMM_DTYPE_OTHER));
        plmm_free(out);
        plmm_view v = {.rows = 1, .cols = (size_t)t[i].count};
        memcpy(v.name, t[i].name, strlen(t[i].name) < 100 ? strlen(t[i].name) : 100);
        out = plmm_alloc((size_t)t[i].count, sizeof *out);
        (void)!plmm_safetensors_read_view(s, &v, out, &err);
        plmm_free(out);
    }
    PLMM_ASSERT(bytes <= size);
    char meta[16];
    (void)plmm_safetensors_meta(s, "format", meta, sizeof meta);
    plmm_safetensors_close(s);
    return 0;
}
