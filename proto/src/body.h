/* body.h -- bodies that only manifest.c needs. */
#ifndef PLMM_PROTO_BODY_H
#define PLMM_PROTO_BODY_H

#include "plmm/wire.h"

uint32_t plmm_manifest_request_encode(uint8_t out[PLMM_BODY_MAX], const plmm_hash *want);
PLMM_NODISCARD plmm_status plmm_manifest_request_decode(plmm_hash *want, const plmm_frame *f,
                                                        plmm_error *err);

#endif
