/* Loading and printing for all verbs. */
#include "program.h"

#include <string.h>

#include "plmm/peft.h"

plmm_status dtype_of(const char *text, plmm_dtype *out, plmm_error *err)
{
    static const plmm_dtype all[] = {PLMM_F32, PLMM_F16, PLMM_BF16};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(plmm_dtype_name(all[i]), text) == 0) {
            *out = all[i];
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_CONFIG, "--dtype is \"%s\", expected f32, f16 or bf16", text);
}

static plmm_status load_adapters(plmm_cli_args *a, loaded *l, plmm_error *err)
{
    const char *dir;
    for (size_t i = 0; (dir = plmm_cli_item(a, "adapter", i)) != NULL; i++) {
        if (i == ADAPTERS_MAX) {
            return plmm_fail(err, PLMM_ERR_CONFIG, "more than %d adapters", (int)ADAPTERS_MAX);
        }
        PLMM_TRY(plmm_peft_load(dir, plmm_model_cfg(l->model), &l->adapters[i], err));
        l->stack.count = i + 1;
        l->rank += plmm_adapter_spec(l->adapters[i])->rank;
    }
    return PLMM_OK;
}

static plmm_status load_as(plmm_cli_args *a, plmm_base base, loaded *l, plmm_error *err)
{
    *l = (loaded){0};
    PLMM_TRY(plmm_checkpoint_load_frozen(a->operands[0], base, &l->model, &l->tokenizer, err));
    l->stack.adapters = (const plmm_adapter *const *)l->adapters;
    if (l->tokenizer != NULL) {
        const plmm_model_config *cfg = plmm_model_cfg(l->model);
        plmm_chat_init(&l->chat, l->tokenizer, cfg->bos, cfg->eos);
    }
    plmm_status rc = load_adapters(a, l, err);
    if (rc != PLMM_OK) {
        loaded_free(l);
    }
    return rc;
}

plmm_status use_template(plmm_cli_args *a, loaded *l, plmm_error *err)
{
    const char *name = plmm_cli_text(a, "template");
    return name != NULL ? plmm_chat_use(&l->chat, name, err) : PLMM_OK;
}

plmm_status load_model(plmm_cli_args *a, loaded *l, plmm_error *err)
{
    return load_as(a, PLMM_BASE_F32, l, err);
}

plmm_status load_all(plmm_cli_args *a, loaded *l, plmm_error *err)
{
    plmm_base base = PLMM_BASE_F32;
    PLMM_TRY(base_of(plmm_cli_text(a, "base"), &base, err));
    PLMM_TRY(load_as(a, base, l, err));
    if (l->tokenizer == NULL) {
        loaded_free(l);
        return plmm_fail(err, PLMM_ERR_NOTFOUND, "there is no tokenizer beside the model %s",
                         a->operands[0]);
    }
    return PLMM_OK;
}

void loaded_free(loaded *l)
{
    for (size_t i = 0; i < ADAPTERS_MAX; i++) {
        plmm_adapter_free(l->adapters[i]);
    }
    plmm_tokenizer_free(l->tokenizer);
    plmm_model_free(l->model);
    *l = (loaded){0};
}

plmm_status targets_of(const char *text, uint32_t *targets, plmm_error *err)
{
    if (strcmp(text, "all") == 0 || strcmp(text, "attention") == 0) {
        *targets = text[1] == 'l' ? PLMM_LORA_ALL : PLMM_LORA_ATTENTION;
        return PLMM_OK;
    }
    *targets = 0;
    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, ",");
        plmm_status rc = plmm_target_parse(p, n, targets, err);
        if (rc != PLMM_OK) {
            return plmm_fail_in(err, rc, "--targets takes all, attention or a list");
        }
        p += n;
        p += *p == ',';
    }
    return PLMM_OK;
}

plmm_status base_of(const char *text, plmm_base *base, plmm_error *err)
{
    static const char *const names[] = {"f32", "bf16", "int8", "int4"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *base = (plmm_base)i;
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_CONFIG, "--base is \"%.20s\", must be f32, bf16, int8 or int4",
                     text);
}
