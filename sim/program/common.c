#include "program.h"

#include <stdio.h>

plmm_status load_config(const plmm_cli_args *a, plmm_sim_config *c, plmm_error *err)
{
    const char *sets[PLMM_CLI_VALUES_MAX];
    size_t n = 0;
    while (n < PLMM_CLI_VALUES_MAX && plmm_cli_item(a, "set", n) != NULL) {
        sets[n] = plmm_cli_item(a, "set", n);
        n++;
    }
    return plmm_sim_config_load(c, a->n_operands > 0 ? a->operands[0] : NULL, sets, n, err);
}

static plmm_status to_stdout(void *ctx, const char *bytes, size_t len, plmm_error *err)
{
    (void)ctx;
    return fwrite(bytes, 1, len, stdout) == len
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_IO, "cannot write to standard output");
}

plmm_status print_config(const plmm_sim_config *c, plmm_error *err)
{
    return plmm_config_print(plmm_sim_config_table(), c, to_stdout, NULL, err);
}
