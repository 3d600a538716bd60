/* plmm/enrol.h -- who a device is: an Ed25519 key of its own, certified once by the expert's
 * registrar. Pure; allocates nothing; thread-safe.
 *
 * The registrar's key is separate from the aggregator's: a certificate says "this key belongs to
 * device `id` of this expert", and whoever checks a roster counts certified devices only. Device
 * ids are given at enrolment, 1..2^63-1; 0 is the aggregator.
 */
#ifndef PLMM_ENROL_H
#define PLMM_ENROL_H

#include "plmm/limits.h"

#define PLMM_AGGREGATOR_ID UINT64_C(0)
#define PLMM_REGISTRAR_ID  (UINT64_MAX - 1)

/* A link of the registrar's hash chain (plmm/registrar.h). */
typedef struct plmm_link {
    uint64_t index;
    plmm_hash value;
} plmm_link;

typedef struct plmm_certificate {
    uint64_t device;
    plmm_sign_pk key;         /* of the device */
    plmm_signature signature; /* of the registrar over (expert, device, key) */
} plmm_certificate;

/* What a device knows about an expert since its enrolment; pinned, never learnt from the
 * network. */
typedef struct plmm_anchor {
    char expert[PLMM_EXPERT_MAX + 1];
    plmm_sign_pk aggregator; /* signs what the aggregator sends, and manifests */
    plmm_sign_pk registrar;  /* signs certificates and seals */
    plmm_link link;          /* of the registrar's chain: its first, or the last at enrolment */
} plmm_anchor;

/* PLMM_ERR_RANGE unless name is 1..PLMM_EXPERT_MAX octets of a-z 0-9 . - _ and starts with a letter
 * or a digit. */
PLMM_NODISCARD plmm_status plmm_expert_check(const char *name, plmm_error *err);

/* Signs a certificate. PLMM_ERR_RANGE for a bad name or id. */
PLMM_NODISCARD plmm_status plmm_certificate_issue(plmm_certificate *out,
                                                  const plmm_sign_sk *registrar, const char *expert,
                                                  uint64_t device, const plmm_sign_pk *key,
                                                  plmm_error *err);

/* PLMM_ERR_AUTH, naming the device, if the registrar did not sign it. */
PLMM_NODISCARD plmm_status plmm_certificate_check(const plmm_certificate *c,
                                                  const plmm_sign_pk *registrar, const char *expert,
                                                  plmm_error *err);

#endif
