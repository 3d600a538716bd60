/* dump_logits MODEL ADAPTER|- ID...: writes the float32 logits of every position to standard
 * output. For the scripts that compare with PyTorch; not installed. */
#include "plmm/alloc.h"
#include "plmm/checkpoint.h"
#include "plmm/peft.h"
#include "plmm/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static plmm_status dump(int argc, char **argv, plmm_error *err)
{
    plmm_model *m;
    plmm_adapter *a = NULL;
    plmm_workspace *w;
    int32_t ids[512];
    size_t n = (size_t)argc - 3;
    PLMM_TRY(plmm_checkpoint_load(argv[1], &m, NULL, err));
    const plmm_model_config *cfg = plmm_model_cfg(m);
    if (strcmp(argv[2], "-") != 0) {
        PLMM_TRY(plmm_peft_load(argv[2], cfg, &a, err));
    }
    for (size_t i = 0; i < n && i < 512; i++) {
        ids[i] = (int32_t)strtol(argv[3 + i], NULL, 10);
    }
    plmm_workspace_params p = {.tokens = (uint32_t)n,
                               .seq_max = (uint32_t)n,
                               .rank = a != NULL ? plmm_adapter_spec(a)->rank : 0,
                               .use = PLMM_USE_EVAL};
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, a != NULL};
    float *out = plmm_alloc(n * cfg->vocab, sizeof *out);
    PLMM_TRY(plmm_workspace_new(cfg, &p, &w, err));
    PLMM_TRY(plmm_logits(w, m, &stack, ids, n, out, err));
    (void)fwrite(out, sizeof *out, n * cfg->vocab, stdout);
    plmm_free(out);
    plmm_workspace_free(w);
    plmm_adapter_free(a);
    plmm_model_free(m);
    return PLMM_OK;
}

int main(int argc, char **argv)
{
    plmm_error err;
    if (argc < 4 || argc > 515) {
        (void)fprintf(stderr, "usage: dump_logits MODEL ADAPTER|- ID... (at most 512)\n");
        return 2;
    }
    plmm_status rc = dump(argc, argv, &err);
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "dump_logits: %s\n", err.msg);
    }
    return plmm_status_exit(rc);
}
