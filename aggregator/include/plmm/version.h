/* plmm/version.h -- the versions of an expert on the aggregator's disk.
 *
 *   ROOT/v0001/adapter_config.json  adapter_model.safetensors  manifest.pb     (a PEFT directory)
 *   ROOT/v0002/...
 *   ROOT/current                    "v0002"
 *
 * manifest.pb names every other file with size and BLAKE2b-256 and is signed (plmm/manifest.h). A
 * version appears at once: it is written to a hidden directory, flushed, renamed, and only then
 * pointed to; a crash leaves the old one. Published versions are never changed.
 * Functions may be called from any thread, publishing from one at a time.
 */
#ifndef PLMM_VERSION_H
#define PLMM_VERSION_H

#include "plmm/federate.h"
#include "plmm/file.h"
#include "plmm/manifest.h"

enum { PLMM_VERSIONS_MAX = 999999 };

typedef struct plmm_versions {
    char root[PLMM_PATH_MAX]; /* private */
    char expert[PLMM_EXPERT_MAX + 1];
} plmm_versions;

/* Opens (and makes) the folder; removes what a crash left half-written. RANGE, IO. */
PLMM_NODISCARD plmm_status plmm_versions_open(plmm_versions *v, const char *root,
                                              const char *expert, plmm_error *err);

/* What a new version is, beside its adapter. */
typedef struct plmm_version_note {
    plmm_hash base;        /* plmm_version_base() of the base model */
    plmm_method method;    /* of the experiment, and */
    plmm_factor factor;    /* what the next round trains: plmm_method_factor(method, round) */
    uint64_t round;        /* that made it, 0 for the first version */
    uint32_t survivors;    /* devices in that round's sum */
    const char *base_name; /* for adapter_config.json, may be NULL */
} plmm_version_note;

/* Publishes the adapter as the next version and points to it. The parent is the version pointed to
 * before. Publishing a round that the current version already came from gives that version: a
 * restarted aggregator may finish a round twice. *out (may be NULL) is the signed manifest. RANGE,
 * IO, NOMEM; nothing has changed on failure. */
PLMM_NODISCARD plmm_status plmm_version_publish(const plmm_versions *v,
                                                const plmm_version_note *note,
                                                const plmm_adapter *a, const plmm_sign_sk *key,
                                                plmm_manifest *out, plmm_error *err);

/* The version pointed to, 0 if there is none. FORMAT when the pointer is damaged. */
PLMM_NODISCARD plmm_status plmm_version_current(const plmm_versions *v, uint64_t *version,
                                                plmm_error *err);

/* Points to another published version (a rollback). NOTFOUND. */
PLMM_NODISCARD plmm_status plmm_version_point(const plmm_versions *v, uint64_t version,
                                              plmm_error *err);

/* Its folder: "ROOT/v0001". */
PLMM_NODISCARD plmm_status plmm_version_path(const plmm_versions *v, uint64_t version,
                                             char out[PLMM_PATH_MAX], plmm_error *err);

/* Reads the manifest; checks that it is this expert's and this version's. NOTFOUND, WIRE,
 * FORMAT. */
PLMM_NODISCARD plmm_status plmm_version_manifest(const plmm_versions *v, uint64_t version,
                                                 plmm_manifest *out, plmm_error *err);

/* Checks the signature and, file by file, size and digest: FORMAT names the first that differs.
 * *out (may be NULL) gets the manifest. */
PLMM_NODISCARD plmm_status plmm_version_verify(const plmm_versions *v, uint64_t version,
                                               const plmm_anchor *anchor, plmm_manifest *out,
                                               plmm_error *err);

/* Verifies the files against the manifest and loads the adapter. */
PLMM_NODISCARD plmm_status plmm_version_load(const plmm_versions *v, uint64_t version,
                                             const plmm_model_config *cfg, plmm_adapter **out,
                                             plmm_error *err);

/* The version whose manifest has this hash, from the newest down. NOTFOUND. */
PLMM_NODISCARD plmm_status plmm_version_find(const plmm_versions *v, const plmm_hash *hash,
                                             uint64_t *version, plmm_error *err);

/* data[0..len) = octets of a file of the manifest from offset on. RANGE beyond its end. */
PLMM_NODISCARD plmm_status plmm_version_read(const plmm_versions *v, const plmm_manifest *m,
                                             uint32_t file, uint64_t offset, uint8_t *data,
                                             size_t len, plmm_error *err);

/* Identity of a base model: plain BLAKE2b-256 of plmm_model_feed(). */
void plmm_version_base(plmm_hash *out, const plmm_model *m);

/* Identity of the travelling coordinates: plain BLAKE2b-256 of plmm_travel_describe(). NOMEM. */
PLMM_NODISCARD plmm_status plmm_version_names(plmm_hash *out, const plmm_adapter *a, plmm_factor f,
                                              plmm_error *err);

#endif
