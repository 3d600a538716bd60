#include "number_writer.h"

#include <math.h>
#include <string.h>

#include "plmm/bytes.h"

size_t plmm__number_bytes(plmm_dtype dtype)
{
    PLMM_ASSERT(dtype != PLMM_DTYPE_OTHER);
    return dtype == PLMM_F32 ? 4 : 2;
}

plmm_status plmm__numbers_flush(plmm__numbers *w, plmm_error *err)
{
    size_t n = w->used;
    w->used = 0;
    return plmm_file_writer_write(w->file, w->buf, n, err);
}

static plmm_status make_room(plmm__numbers *w, plmm_error *err)
{
    return w->used + 4 > sizeof w->buf ? plmm__numbers_flush(w, err) : PLMM_OK;
}

plmm_status plmm__numbers_put(plmm__numbers *w, const char *name, const float *x, size_t n,
                              plmm_error *err)
{
    size_t size = plmm__number_bytes(w->dtype);
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        PLMM_TRY(make_room(w, err));
        memcpy(&u, x + i, sizeof u);
        if (w->dtype == PLMM_F32) {
            plmm_store_le32(w->buf + w->used, u);
        } else if (w->dtype == PLMM_BF16) {
            plmm_store_le16(w->buf + w->used, plmm_f32_to_bf16(x[i]));
        } else {
            uint16_t h = plmm_f32_to_f16(x[i]);
            if ((h & 0x7FFFu) == 0x7C00u && isfinite(x[i])) {
                return plmm_fail(err, PLMM_ERR_RANGE,
                                 "%s holds %g, which is too large for f16: use bf16 or f32", name,
                                 (double)x[i]);
            }
            plmm_store_le16(w->buf + w->used, h);
        }
        w->used += size;
    }
    return PLMM_OK;
}

plmm_status plmm__numbers_pad(plmm__numbers *w, size_t n, plmm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        PLMM_TRY(make_room(w, err));
        w->buf[w->used++] = 0;
    }
    return PLMM_OK;
}
