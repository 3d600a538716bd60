/* node.h -- an aggregator's state directory, as the verbs of plmm-aggregator share it:
 *
 *   node.json       configuration            node.db      SQLite: devices, rounds, journal
 *   node.key        its identity, 0600       versions/    the expert's versions
 *   registrar.key   certifies devices, 0600; opened by `enroll` alone
 */
#ifndef NODE_H
#define NODE_H

#include "plmm/checkpoint.h"
#include "plmm/cli.h"
#include "plmm/config.h"
#include "plmm/file.h"
#include "plmm/hex.h"
#include "plmm/node_store.h"
#include "plmm/version.h"

typedef struct node_config {
    char expert[PLMM_EXPERT_MAX + 1];
    char address[64];
    char base[PLMM_CONFIG_PATH];
    uint32_t method;
    uint32_t rank;
    double alpha;
    char targets[PLMM_TARGETS][16];
    uint32_t targets_n;
    uint32_t cohort, n_min, roster_min, checkins_max;
    double gamma, delta, over;
    uint32_t sigma, eta;
    uint32_t gather_ms, phase_ms, train_ms;
    double clip;
    uint32_t quant_bits, weight_max;
    uint32_t steps, batch_tokens;
    double learning_rate;
    double server_rate;
    uint32_t slots, hold_ms, pause_ms, linger_ms;
} node_config;

extern const plmm_config_table node_table;

typedef struct node {
    const char *dir;
    node_config config;
    plmm_node_store *store;
    plmm_versions versions;
    plmm_hash base; /* identity of the base model */
    plmm_sign_pk key, registrar;
    plmm_hash link; /* first of the registrar's chain */
} node;

/* dir/name in out. */
PLMM_NODISCARD plmm_status node_path(const char *dir, const char *name, char out[PLMM_PATH_MAX],
                                     plmm_error *err);

/* A secret seed as a file of 64 hexadecimal digits, mode 0600. */
PLMM_NODISCARD plmm_status node_key_make(const char *path, plmm_sign_pk *pk, plmm_sign_sk *sk,
                                         plmm_error *err);
PLMM_NODISCARD plmm_status node_key_read(const char *path, plmm_sign_pk *pk, plmm_sign_sk *sk,
                                         plmm_error *err);

/* Opens an existing state directory; overrides from --set. PLMM_ERR_NOTFOUND naming `init`. */
PLMM_NODISCARD plmm_status node_open(node *n, const char *dir, const plmm_cli_args *a,
                                     plmm_error *err);
void node_close(node *n);

/* The adapter's shape by the configuration. PLMM_ERR_CONFIG for an unknown target. */
PLMM_NODISCARD plmm_status node_spec(const node_config *c, plmm_lora_spec *spec, plmm_error *err);

/* The base model's shape; checks that it is the model that `init` saw. */
PLMM_NODISCARD plmm_status node_base(const node *n, plmm_model_config *cfg, plmm_error *err);

/* n->link = the first of the chain of this registrar. */
PLMM_NODISCARD plmm_status node_chain_begin(node *n, const plmm_sign_sk *registrar,
                                            plmm_error *err);

/* The registrar's answer to a request: see plmm/registrar.h. */
PLMM_NODISCARD plmm_status node_seal(const node *n, const uint8_t *request, size_t request_len,
                                     uint8_t frame[PLMM_FRAME_SMALL], size_t *len, plmm_error *err);

plmm_status node_init(plmm_cli_args *a, plmm_error *err);
plmm_status node_enroll(plmm_cli_args *a, plmm_error *err);
plmm_status node_serve(plmm_cli_args *a, plmm_error *err);
plmm_status node_status(plmm_cli_args *a, plmm_error *err);
plmm_status node_export(plmm_cli_args *a, plmm_error *err);

#endif
