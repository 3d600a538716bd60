/* plmm/gguf.h -- the files of llama.cpp: typed keys and tensors, plain or in quantised blocks
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
 *
 *   "GGUF" | u32 version (2 or 3) | u64 tensors | u64 keys | keys | tensors' headers | data
 *
 * A key is a text, a type and a value; texts and arrays begin with their u64 length. A tensor's
 * header is its name, its dimensions (the fastest first, so a matrix [out][in] says in, out), its
 * type and its offset in the data, which is aligned to general.alignment (32 if not said).
 *
 * The reader borrows the bytes and trusts nothing: every length is checked against what is left
 * before anything is done with it, tensors must follow one another as llama.cpp writes them, without
 * gaps or overlaps, and values stay where they are. Memory for a file is bounded by the numbers
 * below, whatever its header says (under 12 MiB). Immutable once open: any number of threads.
 */
#ifndef PLMM_GGUF_H
#define PLMM_GGUF_H

#include "plmm/status.h"

enum {
    PLMM_GGUF_KEYS_MAX = 1 << 16,
    PLMM_GGUF_TENSORS_MAX = 1 << 16,
    PLMM_GGUF_DIMS_MAX = 4,
    PLMM_GGUF_NAME_MAX = 63, /* bytes of a tensor's name, as in llama.cpp */
};

/* Types of values, with the numbers of the format. */
typedef enum plmm_gguf_kind {
    PLMM_GGUF_U8,
    PLMM_GGUF_I8,
    PLMM_GGUF_U16,
    PLMM_GGUF_I16,
    PLMM_GGUF_U32,
    PLMM_GGUF_I32,
    PLMM_GGUF_F32,
    PLMM_GGUF_BOOL,
    PLMM_GGUF_TEXT,
    PLMM_GGUF_ARRAY,
    PLMM_GGUF_U64,
    PLMM_GGUF_I64,
    PLMM_GGUF_F64,
} plmm_gguf_kind;

/* Types of tensors that are read, with the numbers of ggml. */
typedef enum plmm_gguf_type {
    PLMM_GGUF_TYPE_F32 = 0,
    PLMM_GGUF_TYPE_F16 = 1,
    PLMM_GGUF_TYPE_Q4_0 = 2,  /* 32 weights: f16 scale, 4 bits each */
    PLMM_GGUF_TYPE_Q8_0 = 8,  /* 32 weights: f16 scale, int8 each */
    PLMM_GGUF_TYPE_Q4_K = 12, /* 256 weights: 8 groups with 6-bit scales and minima, 4 bits each */
    PLMM_GGUF_TYPE_Q6_K = 14, /* 256 weights: 16 groups with int8 scales, 6 bits each */
    PLMM_GGUF_TYPE_BF16 = 30,
} plmm_gguf_type;

/* "q4_K" and so on; "type N" is not among them: NULL for a type that is not read. */
const char *plmm_gguf_type_name(plmm_gguf_type t);

/* One key. Texts are not NUL-terminated; all pointers are into the file. */
typedef struct plmm_gguf_value {
    const char *key;
    size_t key_len;
    plmm_gguf_kind kind, item; /* item: of an array's elements; neither TEXT nor scalar has one */
    uint64_t count;            /* elements of an array, bytes of a text, else 1 */
    const uint8_t *data;       /* the first element or byte */
} plmm_gguf_value;

typedef struct plmm_gguf_tensor {
    char name[PLMM_GGUF_NAME_MAX + 1];
    plmm_gguf_type type;
    uint32_t dims;
    uint64_t shape[PLMM_GGUF_DIMS_MAX]; /* fastest first; 1 beyond dims */
    uint64_t count;                     /* weights */
    const uint8_t *data;
    uint64_t bytes;
} plmm_gguf_tensor;

typedef struct plmm_gguf plmm_gguf;

/* Opens bytes[0..len), borrowed until close; name is for messages. PLMM_ERR_FORMAT says what is
 * wrong; PLMM_ERR_UNSUPPORTED for another version or a tensor of a type that is not read;
 * PLMM_ERR_NOMEM. */
plmm_status plmm_gguf_parse(const uint8_t *bytes, size_t len, const char *name, plmm_gguf **out,
                            plmm_error *err) PLMM_NODISCARD;
void plmm_gguf_close(plmm_gguf *g); /* NULL is fine */

/* Do the bytes begin like such a file? */
bool plmm_gguf_is(const uint8_t *bytes, size_t len);

/* All keys and all tensors in the file's order; keys are distinct, and so are tensors' names. */
const plmm_gguf_value *plmm_gguf_values(const plmm_gguf *g, size_t *count);
const plmm_gguf_tensor *plmm_gguf_tensors(const plmm_gguf *g, size_t *count);
const plmm_gguf_value *plmm_gguf_find(const plmm_gguf *g, const char *key);        /* or NULL */
const plmm_gguf_tensor *plmm_gguf_tensor_of(const plmm_gguf *g, const char *name); /* or NULL */

/* ---- typed values ----
 * need_: the key must be there. may_: when it is absent, PLMM_OK and *out is unchanged. Any integer
 * type will do for an integer. PLMM_ERR_FORMAT for a missing key or another type, PLMM_ERR_RANGE
 * outside min..max; both name the key. */
plmm_status plmm_gguf_need_u32(const plmm_gguf *g, const char *key, uint32_t min, uint32_t max,
                               uint32_t *out, plmm_error *err) PLMM_NODISCARD;
plmm_status plmm_gguf_may_u32(const plmm_gguf *g, const char *key, uint32_t min, uint32_t max,
                              uint32_t *out, plmm_error *err) PLMM_NODISCARD;
plmm_status plmm_gguf_need_real(const plmm_gguf *g, const char *key, double min, double max,
                                double *out, plmm_error *err) PLMM_NODISCARD;
plmm_status plmm_gguf_may_real(const plmm_gguf *g, const char *key, double min, double max,
                               double *out, plmm_error *err) PLMM_NODISCARD;
plmm_status plmm_gguf_may_bool(const plmm_gguf *g, const char *key, bool *out,
                               plmm_error *err) PLMM_NODISCARD;

/* Is v (may be NULL) a text of exactly these characters? */
bool plmm_gguf_text_is(const plmm_gguf_value *v, const char *text);

/* Element i of an array of integers, of reals or booleans as numbers, or the scalar itself with
 * i 0; i < count is asserted. 0 for texts. */
double plmm_gguf_number(const plmm_gguf_value *v, uint64_t i);

/* A walk over an array of texts (over anything else: nothing):
 *
 *     for (plmm_gguf_texts t = plmm_gguf_texts_of(v); plmm_gguf_texts_next(&t);) ... t.text, t.len
 */
typedef struct plmm_gguf_texts {
    const char *text;
    size_t len;
    const uint8_t *at; /* private */
    uint64_t left;     /* elements after this one */
} plmm_gguf_texts;

plmm_gguf_texts plmm_gguf_texts_of(const plmm_gguf_value *v);
bool plmm_gguf_texts_next(plmm_gguf_texts *t);

/* ---- weights ---- */

/* Weights and bytes of a block of the type; a row is a whole number of blocks. */
size_t plmm_gguf_block(plmm_gguf_type t, size_t *bytes);

/* Row `row` of the tensor, shape[0] weights, as float32, by the formulas of ggml's reference
 * (ggml-quants.c), without rounding other than float32's own. */
void plmm_gguf_read_row(const plmm_gguf_tensor *t, uint64_t row, float *out);

#endif
