/* plmm/round.h -- what the parties of a round agree on, and what both machines share.
 *
 * A round is named by (expert, round, attempt). Its parameters are chosen by the aggregator, judged by every
 * device's own policy (plmm/policy.h), signed by the aggregator in its request for a seal, and bound into the
 * session:
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
#include "plmm/kahe.h"

/* How a sum is made. On the wire: never renumber. */
typedef enum plmm_protocol {
    PLMM_PROTOCOL_SECAGG = 1, /* SecAgg+: neighbours, four exchanges */
    PLMM_PROTOCOL_ONESHOT = 2 /* one message a device, a committee opens the sum */
} plmm_protocol;

/* What hides a vector. On the wire: never renumber. */
typedef enum plmm_masking {
    PLMM_MASK_RING = 1,     /* streams over Z_{2^b}, plmm/mask.h */
    PLMM_MASK_KAHE = 2,     /* Ring-LWE with added keys, plmm/kahe.h: its short parameters */
    PLMM_MASK_KAHE_LONG = 3 /* ... and its long ones */
} plmm_masking;

/* The fields of a sum without noise are those of plmm_round_params_init. */
typedef struct plmm_round_params {
    char expert[PLMM_EXPERT_MAX + 1];
    uint64_t round;   /* 1.. */
    uint32_t attempt; /* 1.. */
    uint32_t cohort;  /* most devices on the roster, 3..PLMM_DEVICES_MAX; n of the no-wrap bound */
    uint32_t n_min;   /* fewest vectors that may be summed, 3..cohort */
    uint32_t gamma_ppm, delta_ppm, sigma, eta, trust; /* see plmm/graph.h */
    uint32_t protocol;                                /* plmm_protocol */
    uint32_t mask;                                    /* plmm_masking */
    uint32_t stream;                                  /* plmm_stream of the masks */
    /* Who may take part: devices whose keyed hash of the registrar's previous link, its upper 32
     * bits, is below rate; UINT32_MAX: everyone. */
    uint32_t rate;
    uint32_t group, groups; /* sub-cohort 0..groups-1 of the round; 1: the round is not split */
    uint32_t ring_bits;     /* b: vectors are over Z_{2^b} */
    uint32_t quant_bits;
    uint32_t weight_max;
    double clip;
    uint32_t rotate;   /* 1: a randomised Hadamard rotation before rounding */
    uint32_t clip_bit; /* 1: one more lane, "my norm is below the clip" */
    /* Differential privacy. With noise every device weighs 1 and no weight travels. */
    uint32_t noise;        /* 0 none, 1 Skellam, 2 discrete Gaussian */
    uint32_t noise_mode;   /* 1 distributed, 2 central, 3 local; 0 without noise */
    uint64_t noise_units;  /* variance of the sum's noise by honest survivors, in 1/16 lattice
                              units squared; 0 without noise */
    uint32_t noise_levels; /* noise components that can be taken out of the sum again */
    /* Central noise of a tree (plmm/privacy.h): leaves of it, 0: each sum has noise of its own; and
     * which of them, 0..noise_tree-1, this round's sum is. */
    uint32_t noise_tree, noise_leaf;
    uint32_t length;              /* coordinates of the travelling vector, without the weight */
    uint32_t method, factor;      /* what travels: numbers of the nn room, opaque here */
    plmm_hash names;              /* of the names and shapes of the travelling tensors */
    plmm_hash model;              /* of the manifest of the version that is trained */
    plmm_hash beacon;             /* the aggregator's contribution to the session */
    uint32_t steps, batch_tokens; /* local training */
    double learning_rate;
} plmm_round_params;

/* Zeroes *p but for what is not zero without noise or split: SecAgg+ over Z_{2^b} with ChaCha20,
 * everyone eligible, one group. */
void plmm_round_params_init(plmm_round_params *p);

/* PLMM_ERR_RANGE, naming the field, if one is out of its range or the sum could wrap;
 * PLMM_ERR_UNSUPPORTED if this build does not have the choice. */
PLMM_NODISCARD plmm_status plmm_round_params_check(const plmm_round_params *p, plmm_error *err);

/* Digest of all fields in their order. */
void plmm_round_params_hash(plmm_hash *out, const plmm_round_params *p);

/* The parts of *p that other rooms take: the encoding (n_max = cohort) and the graph for n devices
 * out of `eligible` that could have been asked, a part gamma of whom is corrupt. */
plmm_encoding plmm_round_encoding(const plmm_round_params *p);
plmm_graph_params plmm_round_graph(const plmm_round_params *p, uint32_t n, uint32_t eligible);

/* Lanes of a vector: the coordinates, then the weight (without noise only), then the clip's bit (if
 * there is one). */
uint32_t plmm_round_lanes(const plmm_round_params *p);

/* plmm_kahe_set of a masking, 0 for PLMM_MASK_RING. */
uint32_t plmm_round_kahe(const plmm_round_params *p);

/* Octets of the aggregator's accumulator, a multiple of 64: zeroed and 64-aligned (plmm_alloc) at
 * the beginning of a round. */
size_t plmm_round_sum_bytes(const plmm_round_params *p);

/* Octets of a masked vector: plmm_round_lanes lanes of ring_bits, packed, or a ciphertext of
 * plmm/kahe.h. */
size_t plmm_round_payload_bytes(const plmm_round_params *p);

/* PLMM_ERR_WIRE if these foreign octets are no masked vector: wrong length, padding that is not
 * zero, a residue that is none. Every other string of octets is one. */
PLMM_NODISCARD plmm_status plmm_round_payload_check(const plmm_round_params *p,
                                                    const uint8_t *payload, size_t len,
                                                    plmm_error *err);

/* What the registrar signs of a roster; see plmm/registrar.h. */
typedef struct plmm_round_seal {
    uint64_t round;
    uint32_t group;
    plmm_hash params;    /* plmm_round_params_hash */
    plmm_hash root;      /* of the roster's Merkle tree */
    plmm_hash ids;       /* of the list of its ids */
    uint32_t n;          /* devices on it */
    uint32_t eligible;   /* E: enrolled devices that the lottery admits, n or more */
    uint32_t population; /* enrolled devices */
    plmm_link link;      /* opened now */
    plmm_signature signature;
} plmm_round_seal;

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
    PLMM_ABORT_SILENCE = 14,         /* the aggregator said nothing for too long */
    PLMM_ABORT_NO_SEAL = 15          /* the registrar did not seal the roster */
} plmm_abort;

/* Sentence for a reason; "unknown reason" outside the list. Never NULL. */
const char *plmm_abort_str(uint32_t reason);

/* What a party caught another at: one number for each lie. Beside the sentence in actions and
 * answers, so that a program can tell them apart. On the wire (seal message): never renumber. */
typedef enum plmm_refusal {
    PLMM_REFUSAL_NONE = 0,
    /* of parameters */
    PLMM_REFUSAL_WEAK = 1,  /* parameters that protect less than the policy wants */
    PLMM_REFUSAL_MODEL = 2, /* another version of the expert */
    PLMM_REFUSAL_ROUND = 3, /* a round, attempt or epoch that was before: replayed */
    /* of cohorts */
    PLMM_REFUSAL_SEAL = 4,        /* the registrar did not sign this seal */
    PLMM_REFUSAL_ROSTER = 5,      /* the seal is of another round, roster or parameters */
    PLMM_REFUSAL_LINK = 6,        /* a link that is not of the registrar's chain */
    PLMM_REFUSAL_ELIGIBLE = 7,    /* a device that may not take part in this round */
    PLMM_REFUSAL_COHORT = 8,      /* too few devices on the roster, or more than are eligible */
    PLMM_REFUSAL_DEGREE = 9,      /* other neighbours or threshold than computed */
    PLMM_REFUSAL_NOT_LISTED = 10, /* the roster does not have this device as it advertised */
    PLMM_REFUSAL_ENTRY = 11, /* an entry that is not of the sealed roster, or not its owner's */
    PLMM_REFUSAL_KEY = 12,   /* a key of low order, or one that is there twice */
    PLMM_REFUSAL_CERTIFICATE = 13, /* a device the registrar did not certify, or revoked */
    PLMM_REFUSAL_SECOND_SEAL = 14, /* another roster for a round that is sealed */
    PLMM_REFUSAL_EXHAUSTED = 15,   /* no link is left in the chain */
    /* of sets and shares */
    PLMM_REFUSAL_SIGNATURE = 16,      /* a frame that is not its sender's: signature or tag */
    PLMM_REFUSAL_SESSION = 17,        /* of another session */
    PLMM_REFUSAL_FORM = 18,           /* wrong length, order or padding */
    PLMM_REFUSAL_TURN = 19,           /* a message out of turn */
    PLMM_REFUSAL_TWO_STORIES = 20,    /* two different messages, or survivor sets, in one round */
    PLMM_REFUSAL_NOT_IN_SET = 21,     /* a set without this device */
    PLMM_REFUSAL_ALIVE_AND_DEAD = 22, /* a set with a device that was out before */
    PLMM_REFUSAL_TOO_FEW = 23,        /* a set of too few devices, or of too few neighbours */
    PLMM_REFUSAL_DISAGREE = 24,       /* too few neighbours saw the same survivors */
    PLMM_REFUSAL_VECTOR = 25,         /* a vector that is none of the session */
    PLMM_REFUSAL_SHARE = 26,          /* a share out of the field, unasked or wrong */
    PLMM_REFUSALS
} plmm_refusal;

/* Name of a refusal ("two stories") for logs and tests; "unknown" outside the list. Never NULL. */
const char *plmm_refusal_str(uint32_t refusal);

#endif
