/* data.h -- what a fleet lives on: devices with their dialogues in the order of time, and held-out
 * questions; from a generated world or from files of dialogues. Read-only once made. */
#ifndef PLMM_SIM_DATA_H
#define PLMM_SIM_DATA_H

#include "plmm/dialogue.h"
#include "plmm/lexicon.h"
#include "plmm/sim_config.h"

enum { SIM_KINDS = 2, SIM_BY_LEXICON = -2, SIM_NO_EXPERT = -1 };

typedef struct sim_dialogue {
    const char *prompt, *response; /* borrowed from the world or the files */
    int32_t expert;                /* index, or SIM_BY_LEXICON: its dominant domain decides */
} sim_dialogue;

typedef struct sim_device {
    size_t first, count; /* of its dialogues */
} sim_device;

typedef struct sim_question {
    const char *prompt, *response;
    uint32_t expert, kind;
} sim_question;

typedef struct sim_data {
    char experts[PLMM_SIM_EXPERTS_MAX][PLMM_SIM_NAME];
    uint32_t n_experts;
    const char *kinds[SIM_KINDS]; /* static */
    sim_dialogue *dialogues;
    sim_device *devices;
    sim_question *questions; /* by expert, then kind */
    size_t n_dialogues, n_devices, n_questions;
    double chance; /* NAN where there is no such thing */
    bool exact;    /* answers are short enough to be right or wrong */
    plmm_lexicons *lexicons;
    int32_t expert_of[PLMM_LEXICONS_MAX]; /* lexicon -> expert or SIM_NO_EXPERT */
    plmm_world world;                     /* owners of the texts */
    plmm_dialogues *files;
    size_t n_files;
} sim_data;

/* seed: of the world, and of who is held out. The texts of files are read each time. */
PLMM_NODISCARD plmm_status sim_data_load(sim_data *d, const plmm_sim_config *c, uint64_t seed,
                                         plmm_error *err);
void sim_data_free(sim_data *d); /* of a zeroed one: nothing */

/* The domains a configuration leads to, without their data: names for the record of the run. */
PLMM_NODISCARD plmm_status sim_data_names(sim_data *d, const plmm_sim_config *c, plmm_error *err);

#endif
