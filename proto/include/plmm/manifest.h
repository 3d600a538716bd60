/* plmm/manifest.h -- a version of an expert: its signed manifest, and fetching it in chunks. Pure;
 * allocates nothing; thread-safe on separate objects.
 *
 * The hash of a version is the hash of its manifest, which names every file with size and digest:
 * who knows the hash can take the files from anybody. "Model hash" anywhere in the protocol is this
 * one.
 */
#ifndef PLMM_MANIFEST_H
#define PLMM_MANIFEST_H

#include "plmm/wire.h"

typedef struct plmm_manifest_file {
    char name[PLMM_FILE_NAME_MAX + 1]; /* no directories: A-Z a-z 0-9 . - _, not beginning with . */
    uint64_t size;
    plmm_hash digest; /* plain BLAKE2b-256 (b2sum -l 256) */
} plmm_manifest_file;

typedef struct plmm_manifest {
    char expert[PLMM_EXPERT_MAX + 1];
    uint64_t version;   /* 1.. */
    plmm_hash base;     /* of the base model: its identity, never fetched here */
    plmm_hash parent;   /* of the manifest this version came from; zero for the first */
    uint32_t method;    /* of the nn room, opaque here */
    uint32_t factor;    /* that travels in the next round */
    uint64_t round;     /* that made this version; 0 for the first */
    uint32_t survivors; /* devices in that round's sum */
    uint32_t files_n;   /* 1..PLMM_FILES_MAX */
    plmm_manifest_file files[PLMM_FILES_MAX]; /* names strictly increasing */
    plmm_signature signature;                 /* of the aggregator over the hash */
} plmm_manifest;

enum { PLMM_MANIFEST_MAX = PLMM_BODY_MAX };

/* PLMM_ERR_RANGE, naming the field, if one is out of its bound. */
PLMM_NODISCARD plmm_status plmm_manifest_check(const plmm_manifest *m, plmm_error *err);

/* Hash of all fields but the signature: the identity of the version. */
void plmm_manifest_hash(plmm_hash *out, const plmm_manifest *m);

/* Signs *m. It must pass plmm_manifest_check. */
PLMM_NODISCARD plmm_status plmm_manifest_sign(plmm_manifest *m, const plmm_sign_sk *aggregator,
                                              plmm_error *err);

/* PLMM_ERR_AUTH if the anchor's aggregator did not sign it or it is another expert's. */
PLMM_NODISCARD plmm_status plmm_manifest_verify(const plmm_manifest *m, const plmm_anchor *anchor,
                                                plmm_error *err);

/* The protobuf form, canonical: also what stands in the file manifest.pb of a version's
 * directory. */
PLMM_NODISCARD plmm_status plmm_manifest_encode(uint8_t out[PLMM_MANIFEST_MAX], size_t *len,
                                                const plmm_manifest *m, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_manifest_decode(plmm_manifest *m, const uint8_t *in, size_t len,
                                                plmm_error *err);

/* ---- fetching: the device's side. WANT_MANIFEST ─▶ WANT_CHUNK ... ─▶ COMPLETE ----
 *
 * A plain struct. Loop: plmm_fetch_request gives the frame to send; plmm_fetch_receive takes the
 * answer and says which octets to write where; until `complete`. Everything is checked against the
 * manifest: at the end of each file its digest. Nothing is installed by this code: the driver
 * writes to a temporary directory and renames it when complete, so that a failure keeps the old
 * version. */
typedef struct plmm_fetch {
    plmm_anchor anchor;
    uint64_t device;
    uint64_t minimum; /* refuse a version below this one */
    plmm_hash want;   /* hash of the manifest, or zero for the newest */
    bool have_manifest, complete;
    plmm_manifest manifest;
    plmm_hash hash; /* of the manifest, once there */
    uint32_t file;
    uint64_t offset;
    plmm_digest digest;
    uint64_t bytes_down; /* octets of all frames received */
} plmm_fetch;

/* want may be NULL: the newest that is at least `minimum`. */
void plmm_fetch_init(plmm_fetch *f, const plmm_anchor *anchor, uint64_t device,
                     const plmm_hash *want, uint64_t minimum);

/* The next request. frames: plmm_frame_key of the device with the anchor's aggregator. PLMM_ERR_STATE if
 * complete. */
PLMM_NODISCARD plmm_status plmm_fetch_request(const plmm_fetch *f, const plmm_key *frames,
                                              uint8_t out[PLMM_FRAME_SMALL], size_t *len,
                                              plmm_error *err);

/* What to write: data[0..len) at offset of file f->manifest.files[file]; len may be 0. */
typedef struct plmm_fetch_part {
    uint32_t file;
    uint64_t offset;
    const uint8_t *data;
    size_t len;
} plmm_fetch_part;

/* Takes an answer; part->len is 0 if there is nothing to write. PLMM_ERR_STALE for an answer to
 * another request; PLMM_ERR_AUTH, PLMM_ERR_PEER or PLMM_ERR_WIRE with a sentence if it is not the
 * signed version that was asked for; *f is then unchanged, but after a wrong digest the fetch must
 * be begun again. */
PLMM_NODISCARD plmm_status plmm_fetch_receive(plmm_fetch *f, const plmm_key *frames,
                                              const uint8_t *bytes, size_t len,
                                              plmm_fetch_part *part, plmm_error *err);

/* ---- fetching: the aggregator's side, stateless ---- */

typedef struct plmm_fetch_query {
    uint64_t device;    /* who asks; certified is the driver's question, answered by its table */
    bool is_manifest;   /* else a chunk */
    plmm_hash manifest; /* zero: the newest */
    uint32_t file;
    uint64_t offset;
    uint32_t length;
} plmm_fetch_query;

/* Decodes a GET_MANIFEST or GET_CHUNK for `expert`. frames: the key of the frames with the device that
 * the frame names (plmm_frame_peek, plmm_known_meet); PLMM_ERR_AUTH if it is not of that device. */
PLMM_NODISCARD plmm_status plmm_fetch_query_decode(plmm_fetch_query *q, const uint8_t *bytes,
                                                   size_t len, const char *expert,
                                                   const plmm_key *frames, plmm_error *err);

/* The answers, under the same key. A chunk's data (at most PLMM_CHUNK_MAX octets) follows the head on the wire. */
PLMM_NODISCARD plmm_status plmm_fetch_answer_manifest(uint8_t out[PLMM_FRAME_SMALL], size_t *len,
                                                      const plmm_manifest *m, uint64_t device,
                                                      const plmm_key *frames, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_fetch_answer_chunk(uint8_t out[PLMM_FRAME_SMALL], size_t *len,
                                                   const plmm_fetch_query *q, const char *expert,
                                                   const uint8_t *data, size_t data_len,
                                                   const plmm_key *frames, plmm_error *err);

#endif
