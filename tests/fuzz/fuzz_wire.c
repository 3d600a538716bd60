/* Bytes as a frame, as every body, as a manifest, and as a journal record: nothing but a status may
 * come of them; what decodes has one form. */
#include "plmm/manifest.h"
#include "plmm/status.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void bodies(const plmm_frame *f)
{
    plmm_checkin c;
    plmm_round_params p;
    plmm_advert a;
    plmm_roster_head h;
    plmm_seal_answer s;
    plmm_result r;
    plmm_chunk_request q;
    uint8_t out[PLMM_BODY_MAX];
    if (plmm_checkin_decode(&c, f, NULL) == PLMM_OK) {
        PLMM_ASSERT(plmm_checkin_encode(out, &c) == f->body_len &&
                    memcmp(out, f->body, f->body_len) == 0);
    }
    if (plmm_params_decode(&p, f, NULL) == PLMM_OK) {
        PLMM_ASSERT(plmm_params_encode(out, &p) == f->body_len &&
                    memcmp(out, f->body, f->body_len) == 0);
        (void)plmm_round_params_check(&p, NULL);
    }
    if (plmm_advert_decode(&a, f, NULL) == PLMM_OK) {
        PLMM_ASSERT(plmm_advert_encode(out, &a) == f->body_len);
    }
    if (plmm_roster_head_decode(&h, f, NULL) == PLMM_OK) {
        PLMM_ASSERT(plmm_roster_head_encode(out, &h) == f->body_len);
    }
    if (plmm_seal_answer_decode(&s, f, NULL) == PLMM_OK) {
        PLMM_ASSERT(plmm_seal_answer_encode(out, &s) == f->body_len);
    }
    if (plmm_result_decode(&r, f, NULL) == PLMM_OK) {
        PLMM_ASSERT(plmm_result_encode(out, &r) == f->body_len);
    }
    if (plmm_chunk_request_decode(&q, f, NULL) == PLMM_OK) {
        PLMM_ASSERT(plmm_chunk_request_encode(out, &q) == f->body_len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static plmm_frame f;
    plmm_manifest m;
    if (plmm_frame_decode(&f, data, size, NULL) == PLMM_OK) {
        bodies(&f);
    }
    if (size <= PLMM_BODY_MAX) { /* the same as a body, without an envelope that must be right */
        memset(&f, 0, sizeof f);
        f.type = 1;
        f.body_len = (uint32_t)size;
        memcpy(f.body, data, size);
        memcpy(f.expert, "it", 3);
        bodies(&f);
    }
    if (plmm_manifest_decode(&m, data, size, NULL) == PLMM_OK) {
        uint8_t out[PLMM_MANIFEST_MAX];
        size_t len;
        PLMM_ASSERT(plmm_manifest_encode(out, &len, &m, NULL) == PLMM_OK && len == size &&
                    memcmp(out, data, size) == 0);
    }
    return 0;
}
