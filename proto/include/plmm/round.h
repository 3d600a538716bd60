/* plmm/round.h -- what the parties of a round agree on, and what both machines share.
 *
 * A round is named by (expert, round, attempt). Its parameters are chosen by the aggregator, signed
 * by it, judged by every device's own policy (plmm/policy.h) and bound into the session:
 *   roster root = H(roster entries)
 *   session     = H(roster root | n, k, t | parameters | model | beacon)
 * Every key, box, MAC and signature from R1 on is derived from or bound to the session, so devices
 * that were told different things share nothing. Numbers are integers or exactly sent doubles.
 */
#ifndef PLMM_ROUND_H
#define PLMM_ROUND_H

#include "plmm/encode.h"
#include "plmm/enrol.h"
#include "plmm/graph.h"

typedef struct plmm_round_params {
    char expert[PLMM_EXPERT_MAX + 1];
    uint64_t round;   /* 1.. */
    uint32_t attempt; /* 1.. */
    uint32_t cohort;  /* most devices on the roster, 3..PLMM_DEVICES_MAX; n of the no-wrap bound */
    uint32_t n_min;   /* fewest vectors that may be summed, 3..cohort */
    uint32_t gamma_ppm, delta_ppm, sigma, eta, trust; /* see plmm/graph.h */
    uint32_t stream;                                  /* plmm_stream of the masks */
    uint32_t ring_bits;                               /* b: vectors are over Z_{2^b} */
    uint32_t quant_bits;
    uint32_t weight_max;
    double clip;
    uint32_t length;              /* coordinates of the travelling vector, without the weight */
    uint32_t method, factor;      /* what travels: numbers of the nn room, opaque here */
    plmm_hash names;              /* of the names and shapes of the travelling tensors */
    plmm_hash model;              /* of the manifest of the version that is trained */
    plmm_hash beacon;             /* the aggregator's contribution to the session */
    uint32_t steps, batch_tokens; /* local training */
    double learning_rate;
} plmm_round_params;

/* PLMM_ERR_RANGE, naming the field, if one is out of its range or the sum could wrap. */
PLMM_NODISCARD plmm_status plmm_round_params_check(const plmm_round_params *p, plmm_error *err);

/* Digest of all fields in their order. */
void plmm_round_params_hash(plmm_hash *out, const plmm_round_params *p);

/* The parts of *p that other rooms take: the encoding (n_max = cohort) and the graph for n
 * devices. */
plmm_encoding plmm_round_encoding(const plmm_round_params *p);
plmm_graph_params plmm_round_graph(const plmm_round_params *p, uint32_t n);

/* Octets of a masked vector: length + 1 lanes of ring_bits, packed. */
size_t plmm_round_payload_bytes(const plmm_round_params *p);

/* Why a party ended a round early. On the wire (result message): never renumber. */
typedef enum plmm_abort {
    PLMM_ABORT_NONE = 0,
    PLMM_ABORT_TOO_FEW_CHECKINS = 1, /* not enough devices came by the deadline */
    PLMM_ABORT_TOO_FEW_KEYS = 2,     /* R0 */
    PLMM_ABORT_TOO_FEW_SHARES = 3,   /* R1 */
    PLMM_ABORT_TOO_FEW_VECTORS = 4,  /* R2: fewer than n_min, or a device without t neighbours */
    PLMM_ABORT_TOO_FEW_AGREE = 5,    /* R3 */
    PLMM_ABORT_TOO_FEW_REVEALS = 6,  /* R4: fewer than t good shares of some secret */
    PLMM_ABORT_NOT_SELECTED = 7,     /* this device was not chosen: come back for the next round */
    PLMM_ABORT_DROPPED = 8,          /* this device was too late for a step */
    PLMM_ABORT_POLICY = 9,           /* this device's policy forbids the round */
    PLMM_ABORT_LIE = 10,             /* this device caught the aggregator in a lie */
    PLMM_ABORT_MODEL = 11,           /* this device has another version: fetch it, check in again */
    PLMM_ABORT_LOST = 12,            /* this device's own data is gone: it sits the round out */
    PLMM_ABORT_LOCAL = 13,           /* a local failure, such as training */
    PLMM_ABORT_SILENCE = 14          /* the aggregator said nothing for too long */
} plmm_abort;

/* Sentence for a reason; "unknown reason" outside the list. Never NULL. */
const char *plmm_abort_str(uint32_t reason);

#endif
