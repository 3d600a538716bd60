/* The verbs of plmm-sim. */
#ifndef PLMM_SIM_PROGRAM_H
#define PLMM_SIM_PROGRAM_H

#include "plmm/cli.h"
#include "plmm/sim_config.h"

/* Operand CONFIG (none: defaults) and the values of --set, read and checked. */
plmm_status load_config(const plmm_cli_args *a, plmm_sim_config *c, plmm_error *err) PLMM_NODISCARD;

/* --print-config: every key with its value and help, to standard output. */
plmm_status print_config(const plmm_sim_config *c, plmm_error *err) PLMM_NODISCARD;

plmm_status verb_report(plmm_cli_args *a, plmm_error *err);
plmm_status verb_run(plmm_cli_args *a, plmm_error *err);
plmm_status verb_world(plmm_cli_args *a, plmm_error *err);

#endif
