/* plmm/checkpoint.h -- a model with its tokenizer, from and to disk.
 *
 * Reads
 *   a Hugging Face directory  config.json, model.safetensors or its shards, and a tokenizer, of
 *                             LlamaForCausalLM, MistralForCausalLM or Qwen2ForCausalLM
 *   a .gguf file of llama.cpp architecture llama or qwen2, of f32, f16, bf16, q8_0, q4_0, q4_K and
 *                             q6_K tensors, which become float32
 *   a .bin file of llama2.c   the legacy one, version 1, and the quantised version 2, with a
 *                             tokenizer.bin beside it
 * and writes Hugging Face directories. What a config.json asks for and this program does not
 * compute (rope_scaling other than Llama 3's, sliding windows, other activations) is refused by its
 * name instead of giving other numbers.
 *
 * llama2.c, and llama.cpp for llama, turn neighbouring pairs of q and k, Hugging Face turns the two
 * halves: rows are permuted on reading, so that all models in memory follow Hugging Face.
 *
 * Files are mapped, and judged (every name, shape and type) before memory is taken for weights.
 */
#ifndef PLMM_CHECKPOINT_H
#define PLMM_CHECKPOINT_H

#include <stdint.h>

#include "plmm/gguf.h"
#include "plmm/model.h"
#include "plmm/safetensors.h"
#include "plmm/tokenizer.h"

/* Reads and seals the model at path: a directory, a GGUF or a llama2.c file. tokenizer may be NULL;
 * otherwise it gets the GGUF's own tokenizer or that of the directory (of a file: of the directory
 * it lies in): `tokenizer.json`, else `tokenizer.model`, else `tokenizer.bin`, else `vocab.json` with `merges.txt`, else a single
 * `tok*.bin`; or NULL if there is none. The ids bos, eos of the config are taken from config.json,
 * else from the tokenizer. PLMM_ERR_NOTFOUND, _FORMAT, _UNSUPPORTED (named field), _CONFIG, _IO,
 * _NOMEM; PLMM_ERR_FORMAT also when the tokenizer has more tokens than the model has rows. */
plmm_status plmm_checkpoint_load(const char *path, plmm_model **model, plmm_tokenizer **tokenizer,
                                 plmm_error *err) PLMM_NODISCARD;

/* The same with a base that is frozen while it is read: of a directory or a GGUF file no more than
 * the largest matrix is ever there in float32 (see plmm_model_new_frozen). Blocks of q8_0 keep their
 * numbers as PLMM_BASE_INT8, blocks of q4_0 as PLMM_BASE_INT4, if their largest number uses all of
 * the type's range, as those of llama.cpp do. */
plmm_status plmm_checkpoint_load_frozen(const char *path, plmm_base base, plmm_model **model,
                                        plmm_tokenizer **tokenizer, plmm_error *err) PLMM_NODISCARD;

/* Writes a Hugging Face directory: config.json, model.safetensors (shards and their index above
 * PLMM_SHARD_BYTES), and with a tokenizer (may be NULL) its file and tokenizer_config.json. dir is
 * made if it does not exist; each file is replaced atomically, the weights last. */
plmm_status plmm_checkpoint_save(const char *dir, const plmm_model *model, plmm_dtype dtype,
                                 const plmm_tokenizer *tokenizer, plmm_error *err) PLMM_NODISCARD;

/* The same for a model that was read from source (and changed, say by a merged adapter), in shards
 * of at most shard_bytes. If source is a Hugging Face directory, its config.json (but for the type of
 * the weights) and its tokenizer's files are copied as they are; otherwise both are made from the
 * model and the tokenizer. */
plmm_status plmm_checkpoint_save_as(const char *source, const char *dir, const plmm_model *model,
                                    plmm_dtype dtype, const plmm_tokenizer *tokenizer,
                                    uint64_t shard_bytes, plmm_error *err) PLMM_NODISCARD;

/* Copies what else a directory may hold that belongs to its model: the tokenizer's files, chat
 * templates, the licence. What is not there is left out. PLMM_ERR_IO, PLMM_ERR_NOMEM. */
plmm_status plmm_checkpoint_copy_companions(const char *source, const char *dir,
                                            plmm_error *err) PLMM_NODISCARD;

/* What lies at a path, without its weights. */
typedef struct plmm_checkpoint_info {
    char format[64];     /* "safetensors, 4 files", "llama2.c version 2" */
    char family[64];     /* "LlamaForCausalLM", "qwen2" (of a GGUF file), "llama2.c" */
    char types[128];     /* of the weights, the most frequent first: "q4_K 71 %, q6_K 29 %" */
    plmm_dtype dtype;    /* the most frequent one; PLMM_DTYPE_OTHER if quantised */
    uint64_t parameters; /* in the files */
    uint64_t bytes;      /* of weights in the files */
} plmm_checkpoint_info;

/* Describes the model at path, as plmm_checkpoint_load would find it: reads headers only (of llama2.c's
 * files, all). */
plmm_status plmm_checkpoint_describe(const char *path, plmm_checkpoint_info *out,
                                     plmm_error *err) PLMM_NODISCARD;

/* config.json alone: the model's shape. name is for messages. */
plmm_status plmm_checkpoint_parse_config(const char *json, size_t len, const char *name,
                                         plmm_model_config *cfg, plmm_error *err) PLMM_NODISCARD;

/* An open GGUF file -> the shape of its model, and the sealed or frozen model; name is for
 * messages. PLMM_ERR_UNSUPPORTED names the key or the tensor that is not supported. */
plmm_status plmm_checkpoint_gguf_config(const plmm_gguf *g, plmm_model_config *cfg,
                                        plmm_error *err) PLMM_NODISCARD;
plmm_status plmm_checkpoint_from_gguf(const plmm_gguf *g, const char *name, plmm_base base,
                                      plmm_model **model, plmm_error *err) PLMM_NODISCARD;

/* A llama2.c file in memory -> an unsealed model. */
plmm_status plmm_checkpoint_parse_llama2c(const uint8_t *bytes, size_t len, const char *name,
                                          plmm_model **model, plmm_error *err) PLMM_NODISCARD;

#endif
