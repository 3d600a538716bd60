/* plmm/store.h -- everything a device remembers, in one SQLite file (plmm/db.h): its selected
 * dialogues and why they were selected, the experts it follows, and the journal of the round it is
 * in.
 *
 * The identity key is not here: it is a file of its own, mode 0600.
 * Every function that changes something is one transaction: when it returns PLMM_OK the change is
 * on disk, when it fails, or when the process or the power goes in the middle of it, nothing has
 * changed. Errors are those of plmm/db.h. One thread at a time for a handle; other processes may
 * read meanwhile.
 */
#ifndef PLMM_STORE_H
#define PLMM_STORE_H

#include "plmm/buffer.h"
#include "plmm/enrol.h"

enum {
    PLMM_STORE_TEXT_MAX = 1 << 20,   /* octets of a prompt or a response */
    PLMM_STORE_NAME_MAX = 127,       /* octets of a setting's name, a user, an address, a folder */
    PLMM_STORE_VERDICTS_MAX = 10000, /* of the newest offers that are remembered */
    PLMM_STORE_ROUNDS_MAX = 1000,    /* of the newest rounds, for each expert */
    PLMM_STORE_RECORD_MAX = 1 << 26, /* octets of a journal record, or of an upload */
    PLMM_STORE_RECORDS_MAX = 100000  /* records of a round */
};

typedef struct plmm_store plmm_store;

/* Opens or makes the file; its directory must exist. */
PLMM_NODISCARD plmm_status plmm_store_open(const char *path, plmm_store **out, plmm_error *err);
void plmm_store_close(plmm_store *s); /* NULL is fine */

/* ---- settings: short texts by name ---- */

/* value NULL removes it. */
PLMM_NODISCARD plmm_status plmm_store_set(plmm_store *s, const char *name, const char *value,
                                          plmm_error *err);
/* *value is a copy (plmm_free), or NULL if there is none. */
PLMM_NODISCARD plmm_status plmm_store_get(plmm_store *s, const char *name, char **value,
                                          plmm_error *err);

/* ---- dialogues and the selection buffer ---- */

/* A dialogue set. Texts are borrowed on the way in, and on the way out until the callback
 * returns. */
typedef struct plmm_store_dialogue {
    uint64_t id;      /* given by the store, never used again */
    const char *user; /* "" if unknown */
    /* As the data says; "" if it does not. Not the dominant domain of the scores. */
    const char *domain;
    const char *prompt, *response;
    int64_t time; /* the data's */
} plmm_store_dialogue;

/* Offers a dialogue to the buffer and keeps what came of it: the text if it was selected, and the
 * verdict; the text of the set that it replaced is removed. d->id is ignored; *id (may be NULL) is
 * the new one. The text that is scored must be the one that was embedded: text[0..len). e may be
 * NULL as for plmm_buffer_offer. RANGE for a text beyond the limits. On failure the buffer in
 * memory may be ahead of the file: load it again. */
PLMM_NODISCARD plmm_status plmm_store_offer(plmm_store *s, plmm_buffer *b,
                                            const plmm_lexicons *lexicons,
                                            const plmm_store_dialogue *d, const char *text,
                                            size_t len, const plmm_embedding *e,
                                            plmm_verdict *verdict, uint64_t *id, plmm_error *err);

/* The buffer as it was, under these parameters. RANGE when they do not fit what is stored (fewer
 * bins than sets, another dim); a domain that has no lexicon any more counts as none. An empty
 * store gives an empty buffer. */
PLMM_NODISCARD plmm_status plmm_store_load_buffer(plmm_store *s, const plmm_buffer_params *p,
                                                  const plmm_lexicons *lexicons, plmm_buffer **out,
                                                  plmm_error *err);

/* The selected dialogues in order of their ids; stops at the first failure of visit. */
typedef plmm_status (*plmm_store_visit)(void *ctx, const plmm_store_dialogue *d, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_store_each(plmm_store *s, plmm_store_visit visit, void *ctx,
                                           plmm_error *err);
/* One of them. NOTFOUND. */
PLMM_NODISCARD plmm_status plmm_store_dialogue_get(plmm_store *s, uint64_t id,
                                                   plmm_store_visit visit, void *ctx,
                                                   plmm_error *err);

/* The user's preferred response takes the place of the model's. NOTFOUND. */
PLMM_NODISCARD plmm_status plmm_store_annotate(plmm_store *s, uint64_t id, const char *response,
                                               plmm_error *err);

/* Removes a dialogue from file, log and buffer, with its verdict. NOTFOUND. STATE when another
 * process is reading: it is forgotten, and overwritten the next time. */
PLMM_NODISCARD plmm_status plmm_store_forget(plmm_store *s, plmm_buffer *b, uint64_t id,
                                             plmm_error *err);

/* What became of the offer `id`, also of one that was let go; *still tells whether it is buffered.
 * NOTFOUND when it is too long ago or never was. */
PLMM_NODISCARD plmm_status plmm_store_verdict(plmm_store *s, const plmm_lexicons *lexicons,
                                              uint64_t id, plmm_verdict *v, bool *still,
                                              plmm_error *err);

/* ---- the experts this device follows ---- */

typedef struct plmm_store_expert {
    plmm_anchor anchor;           /* name and keys, pinned; the last link that was verified */
    plmm_certificate certificate; /* this device's with the expert */
    char address[PLMM_STORE_NAME_MAX + 1];
    uint64_t version;    /* installed and in use; 0: none yet */
    plmm_hash manifest;  /* of that version */
    uint64_t last_round; /* that it took part in, and its attempt; 0, 0: none */
    uint32_t last_attempt;
    uint64_t bytes_up, bytes_down; /* of all rounds and fetches */
} plmm_store_expert;

/* Adds an expert after enrolment. STATE if it is there with other keys. */
PLMM_NODISCARD plmm_status plmm_store_expert_add(plmm_store *s, const plmm_store_expert *x,
                                                 plmm_error *err);
/* NOTFOUND. */
PLMM_NODISCARD plmm_status plmm_store_expert_get(plmm_store *s, const char *name,
                                                 plmm_store_expert *x, plmm_error *err);
/* names[0..*n) in order, at most cap. */
PLMM_NODISCARD plmm_status plmm_store_experts(plmm_store *s, char (*names)[PLMM_EXPERT_MAX + 1],
                                              size_t cap, size_t *n, plmm_error *err);
/* The version to use from now on. Call when it is installed. NOTFOUND; STATE when it is older than
 * the one in use (a rollback by the network is refused), or another under the same number. */
PLMM_NODISCARD plmm_status plmm_store_expert_use(plmm_store *s, const char *name, uint64_t version,
                                                 const plmm_hash *manifest, plmm_error *err);
/* Adds to the counts of octets. */
PLMM_NODISCARD plmm_status plmm_store_expert_traffic(plmm_store *s, const char *name, uint64_t up,
                                                     uint64_t down, plmm_error *err);

/* ---- the round's journal: duties 2, 5 and 7 of plmm/client_round.h ---- */

/* Appends a record. STATE unless seq is above the last one's. */
PLMM_NODISCARD plmm_status plmm_store_round_append(plmm_store *s, const char *expert, uint64_t seq,
                                                   const uint8_t *record, size_t len,
                                                   plmm_error *err);
/* What a round leaves for the ones after it, by name: "channels" (plmm/channels.h, SECRET). Written
 * only with what it belongs to. */
typedef struct plmm_store_note {
    const char *name;
    const uint8_t *bytes;
    size_t len;
} plmm_store_note;
/* *bytes = a copy (plmm_free), or NULL if there is none. */
PLMM_NODISCARD plmm_status plmm_store_note_get(plmm_store *s, const char *expert, const char *name,
                                               uint8_t **bytes, size_t *len, plmm_error *err);

/* Notes of plmm/feedback.h, SECRET: what rounding took in rounds that completed, and in the one under
 * way, which is written with its upload. plmm_store_forget wipes both of every expert. */
#define PLMM_STORE_RESIDUAL     "residual"
#define PLMM_STORE_RESIDUAL_NOW "residual.now"
/* Wipes both of this expert. */
PLMM_NODISCARD plmm_status plmm_store_residual_forget(plmm_store *s, const char *expert,
                                                      plmm_error *err);

/* Appends the record of the upload together with the masked vector: the only octets that may ever
 * be sent for this round; and these notes. STATE if there is a vector already. */
PLMM_NODISCARD plmm_status plmm_store_round_upload(plmm_store *s, const char *expert, uint64_t seq,
                                                   const uint8_t *record, size_t len,
                                                   const uint8_t *vector, size_t vector_len,
                                                   const plmm_store_note *notes, uint32_t notes_n,
                                                   plmm_error *err);

/* The records in order. */
typedef plmm_status (*plmm_store_record)(void *ctx, uint64_t seq, const uint8_t *record, size_t len,
                                         plmm_error *err);
PLMM_NODISCARD plmm_status plmm_store_round_each(plmm_store *s, const char *expert,
                                                 plmm_store_record visit, void *ctx,
                                                 plmm_error *err);
/* The stored vector in a new block (plmm_free); NOTFOUND when there is none. */
PLMM_NODISCARD plmm_status plmm_store_round_vector(plmm_store *s, const char *expert,
                                                   uint8_t **vector, size_t *len, plmm_error *err);

/* How a round ended, for the user. */
typedef struct plmm_store_outcome {
    uint64_t round; /* 0: it was never joined, and is not noted */
    uint32_t attempt;
    uint32_t reason; /* plmm_abort; 0: it completed */
    uint32_t survivors;
    int64_t time;     /* milliseconds since 1970 */
    const char *text; /* one sentence, or NULL */
    /* The rest on the way in only. */
    plmm_link link; /* last verified; an index that is not above the one that is known: no change */
    const plmm_store_note *notes;
    uint32_t notes_n;
} plmm_store_outcome;

/* In one transaction: notes (round, attempt) as the last and how it ended, the link and the notes,
 * deletes journal and vector; the residual of this round takes the place of the one before if it
 * completed, else it is deleted; then overwrites them in the log. STATE if the round is not above the last one. */
PLMM_NODISCARD plmm_status plmm_store_round_end(plmm_store *s, const char *expert,
                                                const plmm_store_outcome *outcome, plmm_error *err);

/* The newest outcomes first, at most `max`; text is borrowed until visit returns. */
typedef plmm_status (*plmm_store_history)(void *ctx, const plmm_store_outcome *o, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_store_rounds(plmm_store *s, const char *expert, uint32_t max,
                                             plmm_store_history visit, void *ctx, plmm_error *err);

#endif
