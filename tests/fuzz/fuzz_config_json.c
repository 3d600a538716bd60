/* Any bytes as config.json and as adapter_config.json: refused, or in range. */
#include "plmm/checkpoint.h"
#include "plmm/peft.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_model_config cfg;
    plmm_lora_spec spec;
    plmm_error err;
    const char *text = (const char *)data;
    if (plmm_checkpoint_parse_config(text, size, "fuzz", &cfg, &err) == PLMM_OK) {
        PLMM_ASSERT(plmm_model_config_check(&cfg, &err) == PLMM_OK);
    } else {
        PLMM_ASSERT(strlen(err.msg) > 0);
    }
    if (plmm_peft_parse_config(text, size, "fuzz", &spec, &err) == PLMM_OK) {
        PLMM_ASSERT(spec.rank >= 1 && spec.rank <= PLMM_RANK_MAX && spec.targets != 0);
        PLMM_ASSERT(spec.alpha > 0 && spec.dropout >= 0 && spec.dropout < 1);
    } else {
        PLMM_ASSERT(strlen(err.msg) > 0);
    }
    return 0;
}
