#include "plmm/enrol.h"

#include <string.h>

static const char *const LABEL = "cert.v1.";

plmm_status plmm_expert_check(const char *name, plmm_error *err)
{
    size_t n = 0;
    for (; n <= PLMM_EXPERT_MAX && name[n] != '\0'; n++) {
        char c = name[n];
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!word && (n == 0 || (c != '.' && c != '-' && c != '_'))) {
            return plmm_fail(err, PLMM_ERR_RANGE,
                             "an expert's name must be of a-z 0-9 . - _ and start with a letter or "
                             "a digit; octet %zu is %u",
                             n, (unsigned)(unsigned char)c);
        }
    }
    if (n == 0 || n > PLMM_EXPERT_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "an expert's name must have 1..%d characters",
                         PLMM_EXPERT_MAX);
    }
    return PLMM_OK;
}

static void statement(plmm_hash *out, const char *expert, uint64_t device, const plmm_sign_pk *key)
{
    plmm_transcript t;
    plmm_transcript_init(&t, LABEL);
    plmm_transcript_str(&t, expert);
    plmm_transcript_u64(&t, device);
    plmm_transcript_bytes(&t, key->b, sizeof key->b);
    plmm_transcript_final(&t, out);
}

plmm_status plmm_certificate_issue(plmm_certificate *out, const plmm_sign_sk *registrar,
                                   const char *expert, uint64_t device, const plmm_sign_pk *key,
                                   plmm_error *err)
{
    PLMM_TRY(plmm_expert_check(expert, err));
    if (device == PLMM_AGGREGATOR_ID || device > INT64_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a device id must be 1..2^63-1");
    }
    plmm_hash h;
    statement(&h, expert, device, key);
    *out = (plmm_certificate){.device = device, .key = *key};
    plmm_sign(&out->signature, registrar, LABEL, h.b, sizeof h.b);
    return PLMM_OK;
}

plmm_status plmm_certificate_check(const plmm_certificate *c, const plmm_sign_pk *registrar,
                                   const char *expert, plmm_error *err)
{
    plmm_hash h;
    if (c->device == PLMM_AGGREGATOR_ID || c->device > INT64_MAX) {
        return plmm_fail(err, PLMM_ERR_AUTH, "device id %llu is impossible",
                         (unsigned long long)c->device);
    }
    statement(&h, expert, c->device, &c->key);
    if (plmm_verify(&c->signature, registrar, LABEL, h.b, sizeof h.b, NULL) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "device %llu is not enrolled: its certificate is not by the registrar of "
                         "expert %s; enroll it",
                         (unsigned long long)c->device, expert);
    }
    return PLMM_OK;
}
