/* Reading and printing a configuration, for all verbs. */
#include "program.h"

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

plmm_status print_config(const plmm_sim_config *c, plmm_error *err)
{
    return plmm_config_print(plmm_sim_config_table(), c, plmm_cli_put, NULL, err);
}
