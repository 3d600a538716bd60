/* node.h -- an aggregator's state directory, as the verbs of plmm-aggregator share it:
 *
 *   node.json       configuration            node.db      SQLite: devices, rounds, journal
 *   node.key        its identity, 0600       versions/    the expert's versions
 *   expert.pub      for the registrar        registrar.pub  the registrar that it trusts
 *
 * and a registrar's, which is another machine's if it can be:
 *
 *   registrar.json  configuration            registrar.db   SQLite: devices, what was sealed
 *   registrar.key   certifies and seals      chain.key      of the hash chain; both 0600
 *   registrar.pub   for the aggregator
 */
#ifndef NODE_H
#define NODE_H

#include "plmm/account.h"
#include "plmm/checkpoint.h"
#include "plmm/cli.h"
#include "plmm/config.h"
#include "plmm/file.h"
#include "plmm/hex.h"
#include "plmm/node_store.h"
#include "plmm/version.h"

typedef struct node_config {
    char expert[PLMM_EXPERT_MAX + 1];
    char address[64], registrar[64];
    char base[PLMM_CONFIG_PATH];
    uint32_t method;
    uint32_t rank;
    double alpha;
    char targets[PLMM_TARGETS][16];
    uint32_t targets_n;
    uint32_t cohort, n_min, roster_min, eligible, checkins_max, epoch_rounds;
    double gamma, delta, over;
    uint32_t sigma, eta;
    uint32_t stream;         /* 0: the best here; else plmm_stream */
    uint32_t protocol, mask; /* plmm_protocol - 1; 0: by the protocol, else plmm_masking */
    uint32_t gather_ms, phase_ms, train_ms;
    double clip;
    uint32_t quant_bits, weight_max;
    uint32_t steps, batch_tokens;
    double learning_rate;
    double server_rate;
    uint32_t rotate;
    struct {
        uint32_t noise; /* plmm_noise_kind */
        uint32_t mode;  /* plmm_noise_mode, less 1 */
        double epsilon, delta;
        uint32_t adversary; /* plmm_adversary */
        double multiplier;
        uint32_t rounds, levels, tree;
        double overhead, adaptive, adaptive_rate;
    } privacy;
    uint32_t slots, hold_ms, pause_ms, linger_ms;
} node_config;

extern const plmm_config_table node_table;

typedef struct node {
    const char *dir;
    node_config config;
    plmm_node_store *store;
    plmm_versions versions;
    plmm_hash base; /* identity of the base model */
    plmm_sign_pk key;
    plmm_sign_pk registrar; /* zero while there is no registrar.pub */
    char registrar_at[64];  /* its address, "" then */
} node;

/* ---- node_privacy.c ---- */

/* What the table cannot see. PLMM_ERR_CONFIG with a sentence. */
PLMM_NODISCARD plmm_status node_privacy_check(const node_config *c, plmm_error *err);
/* Sets the noise of the next round, which trains this version; all else is set. A tree that is
 * complete, or not of these parameters, is followed by a new one. PLMM_ERR_POLICY, with the
 * sentence, if it would exceed the budget: then no round begins. */
PLMM_NODISCARD plmm_status node_privacy_prepare(const node *n, uint64_t version,
                                                plmm_round_params *p, plmm_error *err);
/* SECRET: the seed of the present tree. */
PLMM_NODISCARD plmm_status node_privacy_tree(const node *n, plmm_seed *seed, plmm_error *err);
/* From now on the sum of this attempt can be opened: counts it, once. */
PLMM_NODISCARD plmm_status node_privacy_released(const node *n, const plmm_round_params *p,
                                                 plmm_error *err);
/* Adaptive clipping: the clip that follows from the round's sum of `devices` vectors (any thread);
 * the round's own if it does not adapt. */
double node_privacy_next_clip(const node *n, const plmm_round_params *p, const uint32_t *sum,
                              uint32_t devices);
/* Writes it down: it is the next round's, also in a new process. */
PLMM_NODISCARD plmm_status node_privacy_keep_clip(const node *n, double clip, plmm_error *err);
/* What all rounds so far cost. */
PLMM_NODISCARD plmm_status node_account(const node *n, plmm_account *a, plmm_error *err);

/* dir/name in out. */
PLMM_NODISCARD plmm_status node_path(const char *dir, const char *name, char out[PLMM_PATH_MAX],
                                     plmm_error *err);

/* A secret seed as a file of 64 hexadecimal digits, mode 0600. */
PLMM_NODISCARD plmm_status node_key_make(const char *path, plmm_sign_pk *pk, plmm_sign_sk *sk,
                                         plmm_error *err);
PLMM_NODISCARD plmm_status node_key_read(const char *path, plmm_sign_pk *pk, plmm_sign_sk *sk,
                                         plmm_error *err);

/* Settings of a database in hexadecimal; reading one that is not there is PLMM_ERR_FORMAT, naming
 * dir. */
PLMM_NODISCARD plmm_status node_set_hex(plmm_node_store *s, const char *name, const uint8_t *bytes,
                                        size_t len, plmm_error *err);
PLMM_NODISCARD plmm_status node_get_hex(plmm_node_store *s, const char *dir, const char *name,
                                        uint8_t *out, size_t len, plmm_error *err);

/* Public files: JSON objects whose "plmm" says of what kind they are. node_write_json ends, writes
 * and frees the text of a writer that ended with rc. */
void node_put_hex(plmm_json_writer *w, const char *key, const uint8_t *bytes, size_t len);
void node_put_text(plmm_json_writer *w, const char *key, const char *text);
PLMM_NODISCARD plmm_status node_write_json(const char *path, plmm_text *text, plmm_status rc,
                                           plmm_error *err);
PLMM_NODISCARD plmm_status node_read_json(const char *path, const char *kind, plmm_json **root,
                                          plmm_error *err);
PLMM_NODISCARD plmm_status node_json_hex(const plmm_json *root, const char *path, const char *key,
                                         uint8_t *out, size_t len, plmm_error *err);

/* Opens an existing state directory; overrides from --set. PLMM_ERR_NOTFOUND naming `init`. */
PLMM_NODISCARD plmm_status node_open(node *n, const char *dir, const plmm_cli_args *a,
                                     plmm_error *err);
void node_close(node *n);

/* The adapter's shape by the configuration. PLMM_ERR_CONFIG for an unknown target. */
PLMM_NODISCARD plmm_status node_spec(const node_config *c, plmm_lora_spec *spec, plmm_error *err);

/* The base model's shape; checks that it is the model that `init` saw. */
PLMM_NODISCARD plmm_status node_base(const node *n, plmm_model_config *cfg, plmm_error *err);

plmm_status node_init(plmm_cli_args *a, plmm_error *err);
plmm_status node_serve(plmm_cli_args *a, plmm_error *err);
plmm_status node_status(plmm_cli_args *a, plmm_error *err);
plmm_status node_export(plmm_cli_args *a, plmm_error *err);

plmm_status registrar_init(plmm_cli_args *a, plmm_error *err);
plmm_status registrar_enroll(plmm_cli_args *a, plmm_error *err);
plmm_status registrar_revoke(plmm_cli_args *a, plmm_error *err);
plmm_status registrar_serve(plmm_cli_args *a, plmm_error *err);
plmm_status registrar_status(plmm_cli_args *a, plmm_error *err);

/* What plmm-aggregator registrar does. */
int registrar_main(int argc, char **argv);

#endif
