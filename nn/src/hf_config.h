/* config.json of Hugging Face models. */
#ifndef PLMM_NN_HF_CONFIG_H
#define PLMM_NN_HF_CONFIG_H

#include "plmm/json.h"
#include "plmm/model.h"
#include "plmm/safetensors.h"

/* A tree of what is read at most takes a few MiB. */
static const plmm_json_limits hf_config_limits = {.bytes = 1 << 20, .nodes = 1 << 15};

/* name is put before messages. *out is unchanged on failure. */
plmm_status hf_config_read(const plmm_json *config, const char *name, plmm_model_config *out,
                           plmm_error *err) PLMM_NODISCARD;

/* "float32", "float16", "bfloat16". */
const char *hf_dtype(plmm_dtype dtype);

void hf_config_write(plmm_json_writer *w, const plmm_model_config *m, plmm_dtype dtype);

#endif
