/* plmm/limits.h -- every bound of the protocol, in one place and tied together. What exceeds a
 * bound is refused before anything is allocated for it. */
#ifndef PLMM_LIMITS_H
#define PLMM_LIMITS_H

#include "plmm/mask.h"
#include "plmm/seal.h"
#include "plmm/shamir.h"

enum {
    PLMM_PROTOCOL_VERSION = 1,

    /* One round. */
    PLMM_DEVICES_MAX = 10000,     /* devices in one cohort */
    PLMM_CHECKINS_MAX = 40000,    /* devices waiting to be chosen for one */
    PLMM_NEIGHBOURS_MAX = 1024,   /* k */
    PLMM_VECTOR_MAX = 1 << 24,    /* coordinates, the weight not counted */
    PLMM_PERIOD_MS_MAX = 1 << 30, /* a deadline is at most 12 days away */
    PLMM_ATTEMPTS_MAX = 16,       /* attempts at one round */
    PLMM_GROUPS_MAX = 64,         /* groups of one round */
    PLMM_EPOCH_ROUNDS = 256,      /* a channel key is used for at most so many rounds */
    PLMM_CHANNELS_MAX = 1 << 16,  /* pairs a device remembers */

    /* Names. */
    PLMM_EXPERT_MAX = 47,    /* octets of an expert's name: a-z 0-9 . - _ */
    PLMM_FILE_NAME_MAX = 95, /* octets of a file's name in a manifest: A-Z a-z 0-9 . - _ */

    /* Wire, octets. */
    PLMM_TREE_MAX = 1 << 20,                 /* leaves of a tree of central noise */
    PLMM_BODY_MAX = 3072,                    /* the message inside the envelope */
    PLMM_ENVELOPE_MAX = PLMM_BODY_MAX + 384, /* the envelope, encoded */
    PLMM_FRAME_PREFIX = 12,                  /* magic, length of the envelope, length of the bulk */
    PLMM_FRAME_SMALL = PLMM_FRAME_PREFIX + PLMM_ENVELOPE_MAX, /* a frame without bulk */
    PLMM_CHUNK_MAX = 1 << 18,                                 /* of a file of an expert's version */

    /* Records of bulk, octets. */
    PLMM_SHARE_PAIR = 2 * PLMM_SHARE_BYTES,                       /* of b_u and of e_u */
    PLMM_BOX = 24 + PLMM_SHARE_PAIR + PLMM_SEAL_OVERHEAD,         /* nonce, sealed pair */
    PLMM_ROSTER_ENTRY = 8 + 32 + 64 + 32 + 32 + 8 + 32 + 16 + 64, /* see schema/plmm.proto */
    PLMM_ESCROW = 32 + 8,                                         /* pair secret, sealed; its tag */
    PLMM_REVEAL_SHARE = PLMM_SHARE_BYTES,

    /* An expert's version. */
    PLMM_FILES_MAX = 16,

    PLMM_ROSTER_MAX = PLMM_DEVICES_MAX * PLMM_ROSTER_ENTRY,
    PLMM_BULK_MAX = 4 * (PLMM_VECTOR_MAX + 1) /* the largest masked vector */
};

_Static_assert(PLMM_ROSTER_MAX <= PLMM_BULK_MAX, "a roster fits a frame");
_Static_assert(PLMM_NEIGHBOURS_MAX *(PLMM_BOX + PLMM_ESCROW) <= PLMM_BULK_MAX, "boxes fit a frame");
_Static_assert(PLMM_NEIGHBOURS_MAX <= (int)PLMM_SHAMIR_SHARES_MAX, "a share for each neighbour");
_Static_assert(PLMM_CHUNK_MAX <= PLMM_BULK_MAX, "a chunk fits a frame");
_Static_assert(PLMM_VECTOR_MAX < (INT64_C(1) << PLMM_MASK_LANES_MAX_LOG2), "a mask is long enough");
_Static_assert(PLMM_ROSTER_ENTRY == 288, "as the schema says");

#endif
