/* device.h -- a device's state directory, as the verbs of plmm-client share it:
 *
 *   device.json   configuration              device.db   SQLite: buffer, experts, journal
 *   device.key    its identity, 0600         experts/    NAME/vNNNN: installed versions
 *   device.pub    for enrolment              personal/   the adapter that never leaves
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "plmm/checkpoint.h"
#include "plmm/cli.h"
#include "plmm/config.h"
#include "plmm/expert.h"
#include "plmm/file.h"
#include "plmm/hex.h"
#include "plmm/peft.h"
#include "plmm/policy.h"
#include "plmm/store.h"
#include "plmm/trainer.h"

typedef struct device_config {
    char base[PLMM_CONFIG_PATH];
    uint32_t bins, rule;
    char lexicons[PLMM_CONFIG_PATH];
    uint32_t seq_max;
    uint32_t personal_rank;
    double personal_alpha;
    char personal_targets[PLMM_TARGETS][16];
    uint32_t personal_targets_n;
    uint32_t epochs, batch_tokens;
    double learning_rate;
    uint32_t n_min, sigma, eta, weight_max, steps_max;
    double gamma, survivors, clip_max;
    uint32_t noise, adversary;
    double epsilon, delta;
    uint32_t resend_ms, silence_ms, patience_ms, error_feedback;
    uint32_t max_new, top_k;
    double temperature, top_p;
} device_config;

extern const plmm_config_table device_table;

typedef struct device {
    const char *dir;
    device_config config;
    plmm_store *store;
    plmm_lexicons *lexicons; /* of device_lexicons */
    plmm_model *model;       /* of device_model */
    plmm_tokenizer *tokenizer;
    plmm_chat chat;
    plmm_hash base;
} device;

/* Opens an existing state; overrides from --set. PLMM_ERR_NOTFOUND naming `init`. */
PLMM_NODISCARD plmm_status device_open(device *d, const char *dir, const plmm_cli_args *a,
                                       plmm_error *err);
void device_close(device *d);

PLMM_NODISCARD plmm_status device_path(const device *d, const char *name, char out[PLMM_PATH_MAX],
                                       plmm_error *err);

/* Loads the base model and its tokenizer; the lexicons. */
PLMM_NODISCARD plmm_status device_model(device *d, plmm_error *err);
PLMM_NODISCARD plmm_status device_lexicons(device *d, plmm_error *err);

/* The buffer as stored; its draws come from the system when it is first used. */
PLMM_NODISCARD plmm_status device_buffer(device *d, plmm_buffer **b, plmm_error *err);

/* The identity; *sk is SECRET, wipe it. */
PLMM_NODISCARD plmm_status device_key_read(const device *d, plmm_sign_pk *pk, plmm_sign_sk *sk,
                                           plmm_error *err);
PLMM_NODISCARD plmm_status device_key_make(const device *d, plmm_sign_pk *pk, plmm_error *err);

/* The expert named, or the only one there is. PLMM_ERR_CONFIG, _NOTFOUND naming `enroll`. */
PLMM_NODISCARD plmm_status device_expert(const device *d, const char *name, plmm_store_expert *x,
                                         plmm_error *err);
PLMM_NODISCARD plmm_status device_expert_folder(const device *d, const plmm_store_expert *x,
                                                plmm_expert *folder, plmm_error *err);

/* The personal adapter, or NULL if there is none yet. */
PLMM_NODISCARD plmm_status device_personal(const device *d, plmm_adapter **out, plmm_error *err);

/* Selected dialogues as training examples: all of them (expert NULL: for the personal adapter, which
 * never leaves), or those that an expert may learn from: what says the expert's name as its domain;
 * what says none, if the lexicon of that name dominates it or there is no such lexicon. A dialogue
 * that says another domain, "personal" for one, never teaches the expert. PLMM_ERR_STATE if there
 * is none. */
PLMM_NODISCARD plmm_status device_examples(device *d, const char *expert, plmm_examples *x,
                                           plmm_error *err);

/* 64 bits from the system, for what only has to differ. */
PLMM_NODISCARD plmm_status device_draw(uint64_t *out, plmm_error *err);

plmm_status device_init(plmm_cli_args *a, plmm_error *err);
plmm_status device_enroll(plmm_cli_args *a, plmm_error *err);
plmm_status device_ingest(plmm_cli_args *a, plmm_error *err);
plmm_status device_show(plmm_cli_args *a, plmm_error *err);
plmm_status device_train(plmm_cli_args *a, plmm_error *err);
plmm_status device_join(plmm_cli_args *a, plmm_error *err);
plmm_status device_chat(plmm_cli_args *a, plmm_error *err);

#endif
