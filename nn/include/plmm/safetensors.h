/* plmm/safetensors.h -- the file format of weights: a JSON header and raw little-endian tensors
 * (https://github.com/huggingface/safetensors, format section of its README).
 *
 * The reader maps files and trusts nothing: header length, every name, shape, type and offset are
 * checked against the file's size before a tensor can be asked for; gaps, overlaps and trailing
 * bytes are refused, as by the reference implementation. The header is walked where it lies: a file
 * costs under 16 MiB of memory besides its own bytes, whatever it says. A reader is immutable once open and may be
 * used by any number of threads. Files must not shrink while open.
 */
#ifndef PLMM_SAFETENSORS_H
#define PLMM_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "plmm/model.h"

enum {
    PLMM_ST_HEADER_MAX = 32 << 20, /* bytes of JSON */
    PLMM_ST_TENSORS_MAX = 1 << 16,
    PLMM_ST_DIMS_MAX = 8,
    PLMM_ST_NAME_MAX = 255,
    PLMM_ST_SHARDS_MAX = 1024,
};

typedef enum plmm_dtype {
    PLMM_F32,
    PLMM_F16,
    PLMM_BF16,
    PLMM_DTYPE_OTHER, /* known to the format, not readable as numbers here */
} plmm_dtype;

const char *plmm_dtype_name(plmm_dtype t); /* "f32", "f16", "bf16", "other" */

typedef struct plmm_st_tensor {
    const char *name; /* lives as long as the reader */
    plmm_dtype dtype;
    uint32_t dims;
    uint64_t shape[PLMM_ST_DIMS_MAX];
    uint64_t count; /* product of the shape; 1 for a scalar */
    const uint8_t *data;
    uint64_t bytes;
} plmm_st_tensor;

typedef struct plmm_safetensors plmm_safetensors;

/* Opens one file. PLMM_ERR_NOTFOUND, _IO, _FORMAT (a sentence that says what is wrong where),
 * _NOMEM. */
plmm_status plmm_safetensors_open(const char *path, plmm_safetensors **out,
                                  plmm_error *err) PLMM_NODISCARD;
/* A directory: model.safetensors, or the shards named by model.safetensors.index.json. */
plmm_status plmm_safetensors_open_dir(const char *dir, plmm_safetensors **out,
                                      plmm_error *err) PLMM_NODISCARD;
/* From memory, which is borrowed until close; name is for messages. */
plmm_status plmm_safetensors_parse(const uint8_t *bytes, size_t len, const char *name,
                                   plmm_safetensors **out, plmm_error *err) PLMM_NODISCARD;
void plmm_safetensors_close(plmm_safetensors *s);

/* All tensors, sorted by name. */
const plmm_st_tensor *plmm_safetensors_tensors(const plmm_safetensors *s, size_t *count);
const plmm_st_tensor *plmm_safetensors_find(const plmm_safetensors *s, const char *name);

/* The text of a key of `__metadata__` of the first file; false where there is none or it does not
 * fit into out[cap] with its NUL. */
bool plmm_safetensors_meta(const plmm_safetensors *s, const char *key, char *out, size_t cap);

/* Writes count float32 values to out (exactly: f16 and bf16 are subsets of float32).
 * PLMM_ERR_UNSUPPORTED for PLMM_DTYPE_OTHER. */
plmm_status plmm_safetensors_read(const plmm_st_tensor *t, float *out,
                                  plmm_error *err) PLMM_NODISCARD;

/* Can the view be read: is there a tensor of its name and shape, of a type that is read? */
plmm_status plmm_safetensors_check_view(const plmm_safetensors *s, const plmm_view *view,
                                        plmm_error *err) PLMM_NODISCARD;

/* The same, and the tensor must have the view's shape ([cols] will do for one row).
 * PLMM_ERR_FORMAT names the tensor, its shape and what was expected. */
plmm_status plmm_safetensors_read_view(const plmm_safetensors *s, const plmm_view *view,
                                       float *block, plmm_error *err) PLMM_NODISCARD;

/* Writes the views of block to a file, atomically, with metadata {"format": "pt"}; a view whose
 * rows is 1 becomes a vector [cols] if its name does not end in ".lora_A.weight" or
 * ".lora_B.weight". Rounds to nearest, ties to even. dtype: not PLMM_DTYPE_OTHER. PLMM_ERR_RANGE
 * when a finite value does not fit f16. */
plmm_status plmm_safetensors_write(const char *path, const plmm_view *views, size_t n,
                                   const float *block, plmm_dtype dtype,
                                   plmm_error *err) PLMM_NODISCARD;

/* The views as a directory's weights: model.safetensors, or where they have more than shard_bytes
 * (> 0), model-00001-of-00002.safetensors and so on with model.safetensors.index.json. A tensor is
 * never cut, so a shard may be larger. Each file is replaced atomically, the index last; what an
 * earlier model of the other form left in dir is removed. PLMM_ERR_RANGE for more than
 * PLMM_ST_SHARDS_MAX shards. */
#define PLMM_SHARD_BYTES UINT64_C(5000000000) /* as Transformers does */
plmm_status plmm_safetensors_write_dir(const char *dir, const plmm_view *views, size_t n,
                                       const float *block, plmm_dtype dtype, uint64_t shard_bytes,
                                       plmm_error *err) PLMM_NODISCARD;

/* Number of files that are open. */
size_t plmm_safetensors_files(const plmm_safetensors *s);

/* Conversions of single values. */
float plmm_f16_to_f32(uint16_t h);
uint16_t plmm_f32_to_f16(float f); /* nearest, ties to even; too large becomes infinity */
float plmm_bf16_to_f32(uint16_t h);
uint16_t plmm_f32_to_bf16(float f);

#endif
