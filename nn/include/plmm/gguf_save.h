/* plmm/gguf_save.h -- adapters and models written for llama.cpp.
 *
 * Rows of q and k of architecture llama go from halves to llama.cpp's neighbouring pairs. Files are
 * of version 3, little-endian, aligned to 32, and replaced atomically.
 */
#ifndef PLMM_GGUF_SAVE_H
#define PLMM_GGUF_SAVE_H

#include "plmm/gguf.h"
#include "plmm/lora.h"
#include "plmm/safetensors.h"

/* The adapter as llama.cpp's --lora takes it: general.type "adapter", adapter.type "lora",
 * adapter.lora.alpha, and for each adapted matrix NAME the tensors NAME.lora_a [rank][in] and
 * NAME.lora_b [out][rank]; llama.cpp multiplies by alpha / rank as we do. dtype: PLMM_F32 or
 * PLMM_F16. PLMM_ERR_CONFIG for another type, PLMM_ERR_RANGE where a weight does not fit f16,
 * PLMM_ERR_NOMEM, PLMM_ERR_IO. */
plmm_status plmm_gguf_save_adapter(const char *path, const plmm_adapter *a, plmm_dtype dtype,
                                   plmm_error *err) PLMM_NODISCARD;

/* The model without its vocabulary (tokenizer.ggml.model "no_vocab"): llama.cpp computes with it,
 * on token ids. Matrices are of type (F32, F16, BF16, Q8_0 or Q4_0; those whose rows are no whole
 * number of blocks of 32 stay F16), vectors F32. Errors as above. */
plmm_status plmm_gguf_save_model(const char *path, const plmm_model *m, plmm_gguf_type type,
                                 plmm_error *err) PLMM_NODISCARD;

#endif
