/* plmm/sim_config.h -- the configuration of plmm-sim: one table of keys (plmm/config.h), which
 * `plmm-sim run CONFIG --print-config` prints with its help. Pure; thread-safe. */
#ifndef PLMM_SIM_CONFIG_H
#define PLMM_SIM_CONFIG_H

#include "plmm/config.h"
#include "plmm/faults.h"
#include "plmm/world.h"

enum { PLMM_SIM_SEEDS_MAX = 64, PLMM_SIM_FILES_MAX = 32, PLMM_SIM_EXPERTS_MAX = 16 };
enum { PLMM_SIM_GROUPS_MAX = 64 };
enum { PLMM_SIM_NAME = 64 };

typedef enum plmm_sim_source { PLMM_SIM_WORLD, PLMM_SIM_FILES } plmm_sim_source;

typedef struct plmm_sim_config {
    char name[PLMM_SIM_NAME];
    uint32_t seeds[PLMM_SIM_SEEDS_MAX], seeds_n;
    char model[PLMM_CONFIG_PATH];
    char experts[PLMM_SIM_EXPERTS_MAX][PLMM_SIM_NAME];
    uint32_t experts_n;
    uint32_t rounds;
    struct {
        uint32_t source; /* plmm_sim_source */
        char root[PLMM_CONFIG_PATH];
        char files[PLMM_SIM_FILES_MAX][PLMM_CONFIG_PATH];
        uint32_t files_n;
        char domains[PLMM_SIM_FILES_MAX][PLMM_SIM_NAME];
        uint32_t domains_n;
        uint32_t devices, per_device, least;
        double users_out, time_out;
        uint32_t questions;
    } data;
    uint32_t world_seed; /* 0: each run's own */
    plmm_world_params world;
    struct {
        uint32_t rule, bins, seq_max;
        double before; /* share of a device's stream that came before the first round */
        char lexicons[PLMM_CONFIG_PATH];
    } select;
    struct {
        char targets[7][16];
        uint32_t targets_n;
        uint32_t rank;
        double alpha, dropout;
    } lora;
    struct {
        char method[16];
        uint32_t optimiser, steps, batch_tokens, seq_max, examples_min;
        double learning_rate, floor, clip, decay;
        uint32_t warmup, schedule;
    } train;
    struct {
        uint32_t protocol, mask, stream; /* plmm_protocol, plmm_masking, plmm_stream, less 1 */
        uint32_t cohort, n_min, roster_min, groups, channels, epoch_rounds;
        double over, gamma, delta;
        uint32_t sigma, eta, trust, quant_bits, weight_max;
        double clip;
        uint32_t rotate, error_feedback;
        uint32_t gather_ms, phase_ms, train_ms, period_ms, resend_ms, silence_ms;
    } secagg;
    struct {
        uint32_t noise; /* plmm_noise_kind */
        uint32_t mode;  /* plmm_noise_mode, less 1 */
        double epsilon, delta;
        uint32_t adversary; /* plmm_adversary */
        double multiplier;
        uint32_t levels, tree;
        double overhead, device_epsilon, adaptive, adaptive_rate;
    } privacy;
    plmm_fault_params faults;
    struct {
        uint32_t every, batch_tokens;
    } score;
} plmm_sim_config;

/* The table, for printing and dumping. */
const plmm_config_table *plmm_sim_config_table(void);

void plmm_sim_config_default(plmm_sim_config *c);

/* What the table cannot see: bounds between keys. PLMM_ERR_CONFIG with a sentence. */
PLMM_NODISCARD plmm_status plmm_sim_config_check(const plmm_sim_config *c, plmm_error *err);

/* Reads the file (NULL: defaults alone), applies the assignments "key=value" and checks. */
PLMM_NODISCARD plmm_status plmm_sim_config_load(plmm_sim_config *c, const char *path,
                                                const char *const *sets, size_t n_sets,
                                                plmm_error *err);

#endif
