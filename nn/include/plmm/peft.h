/* plmm/peft.h -- LoRA adapters as Hugging Face PEFT directories: adapter_config.json and
 * adapter_model.safetensors, readable by PeftModel.from_pretrained and the other way round.
 *
 * Read: peft_type LORA, one rank and alpha for all modules, target_modules of q_proj, k_proj,
 * v_proj, o_proj, gate_proj, up_proj, down_proj in all layers (or "all-linear"), bias "none".
 * Anything that would change the result (DoRA, rsLoRA, rank_pattern, alpha_pattern,
 * modules_to_save, layers_to_transform, fan_in_fan_out, a trained bias, ...) is refused by its
 * name.
 */
#ifndef PLMM_PEFT_H
#define PLMM_PEFT_H

#include "plmm/lora.h"
#include "plmm/safetensors.h"

/* Reads the directory into a new adapter for models of this shape.
 * PLMM_ERR_NOTFOUND, _FORMAT (also a tensor of another shape: an adapter of another model),
 * _UNSUPPORTED, _CONFIG, _IO, _NOMEM. */
plmm_status plmm_peft_load(const char *dir, const plmm_model_config *cfg, plmm_adapter **out,
                           plmm_error *err) PLMM_NODISCARD;

/* Writes the directory (made if needed), each file atomically, the weights last. base is written as
 * base_model_name_or_path (may be NULL). dtype: PLMM_F32 unless size matters. */
plmm_status plmm_peft_save(const char *dir, const plmm_adapter *a, plmm_dtype dtype,
                           const char *base, plmm_error *err) PLMM_NODISCARD;

/* adapter_config.json alone. */
plmm_status plmm_peft_parse_config(const char *json, size_t len, const char *name,
                                   plmm_lora_spec *spec, plmm_error *err) PLMM_NODISCARD;

#endif
