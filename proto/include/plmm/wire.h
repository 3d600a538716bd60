/* plmm/wire.h -- frames: the only form in which anything travels. Pure; allocates nothing;
 * thread-safe.
 *
 *   frame = "PLM1" | u32 LE length of the envelope | u32 LE length of the bulk | envelope | bulk
 *
 * The envelope is the protobuf message Envelope of schema/plmm.proto. Vectors and tables travel raw
 * in the bulk, whose length and digest (plmm/bulk.h) the envelope carries; the layout of each type's bulk is
 * in the schema. What says whose it is covers the whole envelope but itself, and by the digest the bulk:
 *   - between a device and its aggregator a tag of PLMM_TAG_BYTES octets, the MAC of the direction under the
 *     key that the two share (plmm_frame_key). It convinces those two and nobody else;
 *   - of SEAL_REQUEST and SEAL, between aggregator and registrar, an Ed25519 signature.
 * The type alone tells which (plmm_message_signed); the other form does not decode.
 *
 * Encoding is canonical: decoding accepts exactly the octets that encoding makes, so one message
 * has one form. All lengths are checked against plmm/limits.h before anything is looked at.
 */
#ifndef PLMM_WIRE_H
#define PLMM_WIRE_H

#include "plmm/round.h"

/* Never renumber. */
typedef enum plmm_message {
    PLMM_MSG_CHECKIN = 1,       /* device: I am here, certified, and could take part */
    PLMM_MSG_INVITE = 2,        /* aggregator: parameters of the round */
    PLMM_MSG_ADVERT = 3,        /* R0 device: fresh keys, signed */
    PLMM_MSG_ROSTER = 4,        /*    aggregator: everyone's; graph and session follow */
    PLMM_MSG_SHARES = 5,        /* R1 device: a sealed pair of shares for each neighbour */
    PLMM_MSG_INBOX = 6,         /*    aggregator: what the neighbours sealed for you */
    PLMM_MSG_CONFIRM = 7,       /*    device: which of them do not open */
    PLMM_MSG_GO = 8,            /*    aggregator: who shared; train */
    PLMM_MSG_MASKED = 9,        /* R2 device: the masked vector */
    PLMM_MSG_RECEIVED = 10,     /*    aggregator: it is stored */
    PLMM_MSG_SURVIVORS = 11,    /* R3 aggregator: whose vectors arrived */
    PLMM_MSG_AGREE = 12,        /*    device: a MAC over that for each surviving neighbour */
    PLMM_MSG_AGREED = 13,       /*    aggregator: the neighbours' MACs */
    PLMM_MSG_REVEAL = 14,       /* R4 device: shares */
    PLMM_MSG_RESULT = 15,       /* aggregator: the round is over; new version, or why not */
    PLMM_MSG_POLL = 16,         /* device: nothing to say; tell me the last thing again */
    PLMM_MSG_GET_MANIFEST = 17, /* device: manifest of a version, or of the newest */
    PLMM_MSG_MANIFEST = 18,     /* aggregator */
    PLMM_MSG_GET_CHUNK = 19,    /* device: a part of a file of a version */
    PLMM_MSG_CHUNK = 20,        /* aggregator */
    PLMM_MSG_SEAL_REQUEST = 21, /* aggregator to registrar: parameters and the roster's entries */
    PLMM_MSG_SEAL = 22,         /* registrar to aggregator: the seal, or why not */
    /* one-shot rounds */
    PLMM_MSG_CONTRIB = 32,  /* device: nonce, a box for each member, the ciphertext */
    PLMM_MSG_DELIVER = 33,  /* aggregator: the boxes for one member */
    PLMM_MSG_COMPLAIN = 34, /* member: whose boxes do not open */
    PLMM_MSG_CHOSEN = 35,   /* aggregator: the survivors, the same for all members */
    PLMM_MSG_VOTE = 36,     /* member: a MAC over them for each member */
    PLMM_MSG_VOTES = 37,    /* aggregator: the other members' MACs */
    PLMM_MSG_SUM = 38,      /* member: the sum of the survivors' shares, or nothing */
    PLMM_MSG_COUNT
} plmm_message;

/* Is there a message of this type? */
bool plmm_message_known(uint32_t type);

/* Is it signed, and not MACed? */
bool plmm_message_signed(uint32_t type);

/* Name of a type ("masked") for logs and tests; "unknown" outside the list. */
const char *plmm_message_str(uint32_t type);

#define PLMM_BROADCAST UINT64_MAX /* receiver of what is the same for all, but for the tag */

/* One decoded frame. Pointers borrow from the buffer that was decoded. */
typedef struct plmm_frame {
    uint32_t type;
    char expert[PLMM_EXPERT_MAX + 1];
    uint64_t round;
    uint32_t attempt;
    bool has_session;
    plmm_hash session; /* valid if has_session: from R1 on */
    uint64_t sender;   /* device id, or PLMM_AGGREGATOR_ID */
    uint64_t receiver; /* device id, PLMM_AGGREGATOR_ID or PLMM_BROADCAST */
    uint32_t body_len;
    uint8_t body[PLMM_BODY_MAX];
    uint32_t bulk_len;
    plmm_hash bulk_hash;      /* zero if there is no bulk */
    const uint8_t *bulk;      /* bulk_len octets, NULL if there are none */
    plmm_signature signature; /* of SEAL_REQUEST and SEAL */
    plmm_tag tag;             /* of all others */
    plmm_hash signed_hash;    /* what signature or tag is over */
} plmm_frame;

/* The way a frame goes. A tag for one way is none for the other, so no frame can be sent back to its
 * maker. */
typedef enum plmm_way { PLMM_TO_AGGREGATOR, PLMM_TO_DEVICE } plmm_way;

/* The key of the frames between a device and the aggregator of an expert, the same for both:
 * plmm_identity_agree of their identities over the expert's name. It never changes; keep it, as it costs
 * two X25519. SECRET. Errors as plmm_identity_agree. */
PLMM_NODISCARD plmm_status plmm_frame_key(plmm_key *out, const plmm_sign_sk *own,
                                          const plmm_sign_pk *peer, const char *expert,
                                          plmm_error *err);

/* Octets of the frame that starts at in[0..PLMM_FRAME_PREFIX): for drivers that read from a stream.
 * PLMM_ERR_WIRE if that is no beginning of a frame or a length is beyond its bound. */
PLMM_NODISCARD plmm_status plmm_frame_size(size_t *size, const uint8_t *in, plmm_error *err);

/* Decodes exactly len octets of foreign bytes. The bulk's digest is checked, signature or tag is not.
 * PLMM_ERR_WIRE, naming what is wrong, for anything that plmm_frame_encode would not have made;
 * *f is then unspecified. */
PLMM_NODISCARD plmm_status plmm_frame_decode(plmm_frame *f, const uint8_t *in, size_t len,
                                             plmm_error *err);

/* The same without looking at the bulk, which may be absent or cut: for routing. Nothing in *f is
 * known to be true; f->bulk is NULL. */
PLMM_NODISCARD plmm_status plmm_frame_peek(plmm_frame *f, const uint8_t *in, size_t len,
                                           plmm_error *err);

/* PLMM_ERR_AUTH, naming the type and the sender, if the frame's tag is not that of key and way, or its
 * type is one that is signed. Constant-time comparison. */
PLMM_NODISCARD plmm_status plmm_frame_authentic(const plmm_frame *f, const plmm_key *key,
                                                plmm_way way, plmm_error *err);

/* The same for SEAL_REQUEST and SEAL: PLMM_ERR_AUTH if key did not sign the frame, or its type is one
 * that is not signed. */
PLMM_NODISCARD plmm_status plmm_frame_verify(const plmm_frame *f, const plmm_sign_pk *key,
                                             plmm_error *err);

/* Writes prefix and envelope with its tag to out[0..*len), PLMM_FRAME_SMALL octets at most; the bulk
 * follows it on the wire. Uses type .. bulk_len and bulk_hash of *f; the caller has set the
 * digest (plmm_bulk_hash). Every field must be within its bound, and the type not one that is signed:
 * asserted. */
void plmm_frame_head(uint8_t out[PLMM_FRAME_SMALL], size_t *len, const plmm_frame *f,
                     const plmm_key *key, plmm_way way);

/* The same for SEAL_REQUEST and SEAL, signed by sk. */
void plmm_frame_sign(uint8_t out[PLMM_FRAME_SMALL], size_t *len, const plmm_frame *f,
                     const plmm_sign_sk *sk);

/* For what is the same for many but for its tag: plmm_frame_begin writes all of the head but the tag,
 * *len octets of it, and what the tag is over to *digest; plmm_frame_finish appends the tag for one
 * of them to a copy of it. */
void plmm_frame_begin(uint8_t out[PLMM_FRAME_SMALL], size_t *len, plmm_hash *digest,
                      const plmm_frame *f);
void plmm_frame_finish(uint8_t out[PLMM_FRAME_SMALL], size_t *len, const plmm_hash *digest,
                       const plmm_key *key, plmm_way way);

/* Digest of a bulk as the envelope carries it: plmm_bulk_digest, zero for an empty one. */
void plmm_bulk_hash(plmm_hash *out, const uint8_t *bulk, size_t len);

/* ---- bodies: protobuf messages of the schema, canonical and bounded likewise ---- */

typedef struct plmm_checkin {
    plmm_certificate certificate;
    plmm_hash model;   /* the version this device has */
    uint32_t streams;  /* bit s: it has mask stream s */
    uint8_t nonce[16]; /* fresh: a result for this check-in echoes it */
} plmm_checkin;

typedef struct plmm_advert {
    plmm_hash escrow; /* commitment to the secret under which the pair secrets are kept */
    plmm_dh_pk channel_key;
    uint64_t since;   /* round since when the channel key is in use */
    plmm_hash commit; /* to the self-mask seed */
    uint8_t nonce[16];
    plmm_signature signature;
} plmm_advert;

typedef struct plmm_roster_head {
    uint32_t k, t;
    plmm_round_seal seal;
} plmm_roster_head;

enum { PLMM_SEAL_TEXT_MAX = 159 };

typedef struct plmm_seal_answer {
    uint32_t refusal; /* plmm_refusal; 0: sealed */
    char text[PLMM_SEAL_TEXT_MAX + 1];
    plmm_round_seal seal; /* if sealed */
} plmm_seal_answer;

typedef struct plmm_result {
    uint32_t reason;    /* plmm_abort; 0: the round completed */
    uint32_t survivors; /* vectors in the sum */
    plmm_hash model;    /* of the version to fetch now */
    uint8_t nonce[16];  /* of the check-in it answers; who is in the round goes by its name */
} plmm_result;

typedef struct plmm_chunk_request {
    plmm_hash manifest;
    uint32_t file;   /* index in the manifest */
    uint64_t offset; /* of the file */
    uint32_t length; /* 1..PLMM_CHUNK_MAX */
} plmm_chunk_request;

/* Encoders write at most PLMM_BODY_MAX octets to out and return the length; fields out of bound are
 * asserted. Decoders read exactly len octets; PLMM_ERR_WIRE as above. */
uint32_t plmm_checkin_encode(uint8_t out[PLMM_BODY_MAX], const plmm_checkin *m);
uint32_t plmm_params_encode(uint8_t out[PLMM_BODY_MAX], const plmm_round_params *m);
uint32_t plmm_advert_encode(uint8_t out[PLMM_BODY_MAX], const plmm_advert *m);
uint32_t plmm_roster_head_encode(uint8_t out[PLMM_BODY_MAX], const plmm_roster_head *m);
uint32_t plmm_seal_answer_encode(uint8_t out[PLMM_BODY_MAX], const plmm_seal_answer *m);
uint32_t plmm_result_encode(uint8_t out[PLMM_BODY_MAX], const plmm_result *m);
uint32_t plmm_chunk_request_encode(uint8_t out[PLMM_BODY_MAX], const plmm_chunk_request *m);
PLMM_NODISCARD plmm_status plmm_checkin_decode(plmm_checkin *m, const plmm_frame *f,
                                               plmm_error *err);
PLMM_NODISCARD plmm_status plmm_params_decode(plmm_round_params *m, const plmm_frame *f,
                                              plmm_error *err);
PLMM_NODISCARD plmm_status plmm_advert_decode(plmm_advert *m, const plmm_frame *f, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_roster_head_decode(plmm_roster_head *m, const plmm_frame *f,
                                                   plmm_error *err);
PLMM_NODISCARD plmm_status plmm_seal_answer_decode(plmm_seal_answer *m, const plmm_frame *f,
                                                   plmm_error *err);
PLMM_NODISCARD plmm_status plmm_result_decode(plmm_result *m, const plmm_frame *f, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_chunk_request_decode(plmm_chunk_request *m, const plmm_frame *f,
                                                     plmm_error *err);

#endif
