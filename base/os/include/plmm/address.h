/* plmm/address.h -- which network addresses a node accepts. Pure, thread-safe. */
#ifndef PLMM_ADDRESS_H
#define PLMM_ADDRESS_H

#include "plmm/status.h"

enum { PLMM_ADDRESS_BYTES = 64 };

/* Takes tcp://HOST:PORT where HOST is 127.x.y.z, [::1] or localhost and PORT is 0..65535, and
 * writes it with localhost as 127.0.0.1 to out. Everything else is refused: frames are signed and
 * what is secret in them is sealed, but the channel itself is not encrypted yet, so it must not
 * leave the machine. doing is what the sentence begins with ("cannot listen on").
 * PLMM_ERR_CONFIG for what is no such URL, PLMM_ERR_UNSUPPORTED for another host. */
PLMM_NODISCARD plmm_status plmm_address_loopback(const char *url, const char *doing,
                                                 char out[PLMM_ADDRESS_BYTES], plmm_error *err);

#endif
