/* plmm/expert.h -- the device's copy of an expert's versions: received in parts, verified,
 * installed at once, loaded.
 *
 *   ROOT/v0007/adapter_config.json  adapter_model.safetensors  manifest.pb
 *
 * A version is written to ROOT/.part and renamed when every file has its size and digest and the
 * manifest its signature: a download that fails or lies leaves what was there. Which version is in
 * use is the store's to remember (plmm/store.h). One thread at a time for each root.
 */
#ifndef PLMM_EXPERT_H
#define PLMM_EXPERT_H

#include "plmm/federate.h"
#include "plmm/file.h"
#include "plmm/manifest.h"

typedef struct plmm_expert {
    char root[PLMM_PATH_MAX]; /* private */
    plmm_anchor anchor;
} plmm_expert;

/* Opens (and makes) the folder. */
PLMM_NODISCARD plmm_status plmm_expert_open(plmm_expert *x, const char *root,
                                            const plmm_anchor *anchor, plmm_error *err);

/* ---- receiving, beside plmm_fetch ---- */

/* Forgets what a former download left and makes room for a new one. */
PLMM_NODISCARD plmm_status plmm_expert_begin(const plmm_expert *x, plmm_error *err);

/* Writes a part that plmm_fetch_receive gave; parts of one file come in order. */
PLMM_NODISCARD plmm_status plmm_expert_write(const plmm_expert *x, const plmm_manifest *m,
                                             const plmm_fetch_part *part, plmm_error *err);

/* Verifies everything that was written and installs it. RANGE when the method or factor is none
 * that we know; AUTH, FORMAT; PEER when another version is installed under this number; IO. On
 * failure the versions are as before. A damaged copy of the version is replaced. */
PLMM_NODISCARD plmm_status plmm_expert_install(const plmm_expert *x, const plmm_manifest *m,
                                               plmm_error *err);

/* Removes installed versions but keep_a and keep_b (0: none). */
PLMM_NODISCARD plmm_status plmm_expert_prune(const plmm_expert *x, uint64_t keep_a, uint64_t keep_b,
                                             plmm_error *err);

/* ---- using ---- */

/* Verifies signature and files of an installed version. NOTFOUND, AUTH, FORMAT naming the file. */
PLMM_NODISCARD plmm_status plmm_expert_verify(const plmm_expert *x, uint64_t version,
                                              plmm_manifest *out, plmm_error *err);

/* plmm_expert_verify, that it fits this base model (STATE if it is of another), and its adapter. */
PLMM_NODISCARD plmm_status plmm_expert_load(const plmm_expert *x, uint64_t version,
                                            const plmm_model *model, const plmm_hash *base,
                                            plmm_adapter **out, plmm_manifest *m, plmm_error *err);

/* Identity of a base model: plain BLAKE2b-256 of plmm_model_feed(). Reads every weight: compute
 * once. */
void plmm_expert_base(plmm_hash *out, const plmm_model *model);

/* Identity of the travelling coordinates, pinned by the policy: plain BLAKE2b-256 of
 * plmm_travel_describe(). NOMEM. */
PLMM_NODISCARD plmm_status plmm_expert_names(plmm_hash *out, const plmm_adapter *a, plmm_factor f,
                                             plmm_error *err);

#endif
