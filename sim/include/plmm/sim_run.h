/* plmm/sim_run.h -- a whole run: every seed of a configuration, from the base model to the
 * record. */
#ifndef PLMM_SIM_RUN_H
#define PLMM_SIM_RUN_H

#include "plmm/model.h"
#include "plmm/run_record.h"
#include "plmm/sim_config.h"
#include "plmm/tokenizer.h"

#include <signal.h>

typedef struct plmm_sim_options {
    uint32_t threads;                  /* 0: as many as processors; the result is the same */
    bool quiet;                        /* no progress lines */
    const volatile sig_atomic_t *stop; /* not NULL and not 0: end with PLMM_ERR_STATE */
    const char *save;                  /* directory for the trained experts (PEFT), or NULL */
    /* Tests of the checker: one bit of each sum is flipped before it is compared. */
    bool spoil_sums;
} plmm_sim_options;

/* Where the wall time went, for timing.json. Seconds. */
typedef struct plmm_sim_timing {
    uint32_t threads;
    double load, feed, train, mask, sum, score, rest, total;
    uint64_t trained_tokens, trainings, frames;
} plmm_sim_timing;

/* Runs all seeds with the base at cfg->model. The caller frees *run. */
PLMM_NODISCARD plmm_status plmm_sim_run(const plmm_sim_config *cfg, const plmm_sim_options *options,
                                        plmm_run **run, plmm_sim_timing *timing, plmm_error *err);

/* The same with a model in memory (sealed; both borrowed). */
PLMM_NODISCARD plmm_status plmm_sim_run_model(const plmm_sim_config *cfg,
                                              const plmm_sim_options *options, plmm_model *model,
                                              plmm_tokenizer *tokenizer, plmm_run **run,
                                              plmm_sim_timing *timing, plmm_error *err);

/* Writes rounds.csv, run.db, report.html and timing.json into dir, which is made if missing; each
 * file is there whole or not at all. */
PLMM_NODISCARD plmm_status plmm_sim_write(const plmm_run *run, const plmm_sim_timing *timing,
                                          const char *dir, plmm_error *err);

#endif
