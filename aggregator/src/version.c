#include "plmm/version.h"

#include "plmm/alloc.h"
#include "plmm/identity.h"
#include "plmm/peft.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { POINTER_MAX = 32 };

static const char manifest_name[] = "manifest.pb";

/* ---- names ---- */

/* "v0001" -> 1; 0 if it is no name of a version. */
static uint64_t number_of(const char *name)
{
    uint64_t n = 0;
    size_t len = strlen(name);
    if (len < 5 || len > 7 || name[0] != 'v') {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return 0;
        }
        n = 10 * n + (uint64_t)(name[i] - '0');
    }
    return n;
}

plmm_status plmm_version_path(const plmm_versions *v, uint64_t version, char out[PLMM_PATH_MAX],
                              plmm_error *err)
{
    char name[32];
    if (version < 1 || version > PLMM_VERSIONS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "there is no version %" PRIu64 ": must be 1..%d",
                         version, PLMM_VERSIONS_MAX);
    }
    (void)snprintf(name, sizeof name, "v%04" PRIu64, version);
    return plmm_path_join(out, PLMM_PATH_MAX, v->root, name, err);
}

static plmm_status file_path(const plmm_versions *v, uint64_t version, const char *name,
                             char out[PLMM_PATH_MAX], plmm_error *err)
{
    char dir[PLMM_PATH_MAX];
    PLMM_TRY(plmm_version_path(v, version, dir, err));
    return plmm_path_join(out, PLMM_PATH_MAX, dir, name, err);
}

/* ---- opening ---- */

static plmm_status remove_half(void *ctx, const char *name, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    if (strncmp(name, ".new-", 5) != 0) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_path_join(path, sizeof path, ((const plmm_versions *)ctx)->root, name, err));
    return plmm_path_remove(path, err);
}

plmm_status plmm_versions_open(plmm_versions *v, const char *root, const char *expert,
                               plmm_error *err)
{
    plmm_versions fresh = {0};
    PLMM_TRY(plmm_expert_check(expert, err));
    PLMM_TRY(plmm_path_join(fresh.root, sizeof fresh.root, "", root, err));
    memcpy(fresh.expert, expert, strlen(expert) + 1);
    PLMM_TRY(plmm_dir_make(root, PLMM_MODE_DIR, err));
    PLMM_TRY(plmm_dir_list(root, remove_half, &fresh, err));
    *v = fresh;
    return PLMM_OK;
}

static plmm_status newer(void *ctx, const char *name, plmm_error *err)
{
    (void)err;
    uint64_t n = number_of(name), *newest = ctx;
    *newest = n > *newest ? n : *newest;
    return PLMM_OK;
}

plmm_status plmm_version_current(const plmm_versions *v, uint64_t *version, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *text = NULL;
    size_t len = 0;
    PLMM_TRY(plmm_path_join(path, sizeof path, v->root, "current", err));
    if (!plmm_path_exists(path)) {
        *version = 0;
        return PLMM_OK;
    }
    PLMM_TRY(plmm_file_read(path, POINTER_MAX, &text, &len, err));
    if (len > 0 && text[len - 1] == '\n') {
        text[len - 1] = '\0';
    }
    uint64_t n = number_of((const char *)text);
    plmm_free(text);
    if (n == 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "%s does not name a version: expected a line such as v0001", path);
    }
    *version = n;
    return PLMM_OK;
}

static plmm_status point(const plmm_versions *v, uint64_t version, plmm_error *err)
{
    char path[PLMM_PATH_MAX], line[32];
    PLMM_TRY(plmm_path_join(path, sizeof path, v->root, "current", err));
    int n = snprintf(line, sizeof line, "v%04" PRIu64 "\n", version);
    return plmm_file_write(path, line, (size_t)n, PLMM_MODE_PUBLIC, err);
}

plmm_status plmm_version_point(const plmm_versions *v, uint64_t version, plmm_error *err)
{
    plmm_manifest m;
    PLMM_TRY(plmm_version_manifest(v, version, &m, err));
    return point(v, version, err);
}

/* ---- reading ---- */

plmm_status plmm_version_manifest(const plmm_versions *v, uint64_t version, plmm_manifest *out,
                                  plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    uint8_t *bytes = NULL;
    size_t len = 0;
    plmm_manifest m;
    PLMM_TRY(file_path(v, version, manifest_name, path, err));
    PLMM_TRY(plmm_file_read(path, PLMM_MANIFEST_MAX, &bytes, &len, err));
    plmm_status rc = plmm_manifest_decode(&m, bytes, len, err);
    plmm_free(bytes);
    if (rc != PLMM_OK) {
        return plmm_fail_in(err, rc, "cannot read %s", path);
    }
    if (m.version != version || strcmp(m.expert, v->expert) != 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "%s is of version %" PRIu64 " of expert %s, expected version %" PRIu64
                         " of %s",
                         path, m.version, m.expert, version, v->expert);
    }
    *out = m;
    return PLMM_OK;
}

/* Size and digest of a file as they are now. */
static plmm_status digest_file(const char *path, uint64_t *size, plmm_hash *out, plmm_error *err)
{
    plmm_map map;
    plmm_digest d;
    PLMM_TRY(plmm_file_map(path, &map, err));
    plmm_digest_init(&d);
    plmm_digest_update(&d, map.data, map.len);
    plmm_digest_final(&d, out);
    *size = map.len;
    plmm_file_unmap(&map);
    return PLMM_OK;
}

static plmm_status verify_files(const plmm_versions *v, const plmm_manifest *m, plmm_error *err)
{
    for (uint32_t i = 0; i < m->files_n; i++) {
        const plmm_manifest_file *f = &m->files[i];
        char path[PLMM_PATH_MAX];
        uint64_t size = 0;
        plmm_hash digest;
        PLMM_TRY(file_path(v, m->version, f->name, path, err));
        PLMM_TRY(digest_file(path, &size, &digest, err));
        if (size != f->size || memcmp(digest.b, f->digest.b, sizeof digest.b) != 0) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "%s is not the file that its manifest names: %" PRIu64
                             " octets, expected %" PRIu64 " with another digest",
                             path, size, f->size);
        }
    }
    return PLMM_OK;
}

plmm_status plmm_version_verify(const plmm_versions *v, uint64_t version, const plmm_anchor *anchor,
                                plmm_manifest *out, plmm_error *err)
{
    plmm_manifest m;
    PLMM_TRY(plmm_version_manifest(v, version, &m, err));
    PLMM_TRY(plmm_manifest_verify(&m, anchor, err));
    PLMM_TRY(verify_files(v, &m, err));
    if (out != NULL) {
        *out = m;
    }
    return PLMM_OK;
}

plmm_status plmm_version_load(const plmm_versions *v, uint64_t version,
                              const plmm_model_config *cfg, plmm_adapter **out, plmm_error *err)
{
    plmm_manifest m;
    char dir[PLMM_PATH_MAX];
    PLMM_TRY(plmm_version_manifest(v, version, &m, err));
    PLMM_TRY(verify_files(v, &m, err));
    PLMM_TRY(plmm_version_path(v, version, dir, err));
    return plmm_peft_load(dir, cfg, out, err);
}

plmm_status plmm_version_find(const plmm_versions *v, const plmm_hash *hash, uint64_t *version,
                              plmm_error *err)
{
    uint64_t newest = 0;
    PLMM_TRY(plmm_dir_list(v->root, newer, &newest, err));
    for (uint64_t n = newest; n > 0; n--) {
        plmm_manifest m;
        plmm_hash h;
        plmm_error ignored;
        if (plmm_version_manifest(v, n, &m, &ignored) == PLMM_OK) {
            plmm_manifest_hash(&h, &m);
            if (memcmp(h.b, hash->b, sizeof h.b) == 0) {
                *version = n;
                return PLMM_OK;
            }
        }
    }
    return plmm_fail(err, PLMM_ERR_NOTFOUND, "expert %s has no version with that hash", v->expert);
}

plmm_status plmm_version_read(const plmm_versions *v, const plmm_manifest *m, uint32_t file,
                              uint64_t offset, uint8_t *data, size_t len, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_map map;
    if (file >= m->files_n || offset > m->files[file].size || len > m->files[file].size - offset) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "version %" PRIu64 " of %s has no octets %" PRIu64 " to %" PRIu64
                         " of file %u",
                         m->version, v->expert, offset, offset + len, file);
    }
    PLMM_TRY(file_path(v, m->version, m->files[file].name, path, err));
    PLMM_TRY(plmm_file_map(path, &map, err));
    bool there = map.len == m->files[file].size;
    if (there && len > 0) {
        memcpy(data, map.data + offset, len);
    }
    plmm_file_unmap(&map);
    return there
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_FORMAT,
                           "%s has another size than its manifest says: restore the version", path);
}

/* ---- publishing ---- */

typedef struct listing {
    const char *dir;
    plmm_manifest *m;
} listing;

static plmm_status list_file(void *ctx, const char *name, plmm_error *err)
{
    listing *l = ctx;
    char path[PLMM_PATH_MAX];
    if (l->m->files_n == PLMM_FILES_MAX || strlen(name) > PLMM_FILE_NAME_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "%s holds too many files or too long a name for a version (%d files)",
                         l->dir, PLMM_FILES_MAX);
    }
    plmm_manifest_file *f = &l->m->files[l->m->files_n++];
    (void)snprintf(f->name, sizeof f->name, "%s", name);
    PLMM_TRY(plmm_path_join(path, sizeof path, l->dir, name, err));
    return digest_file(path, &f->size, &f->digest, err);
}

static void fill(plmm_manifest *m, const plmm_versions *v, const plmm_version_note *note,
                 const plmm_manifest *parent, uint64_t version)
{
    *m = (plmm_manifest){.version = version,
                         .base = note->base,
                         .method = (uint32_t)note->method,
                         .factor = (uint32_t)note->factor,
                         .round = note->round,
                         .survivors = note->survivors};
    memcpy(m->expert, v->expert, sizeof m->expert);
    if (parent != NULL) {
        plmm_manifest_hash(&m->parent, parent);
    }
}

/* Writes a complete version into dir. */
static plmm_status write_version(const char *dir, const plmm_version_note *note,
                                 const plmm_adapter *a, const plmm_sign_sk *key, plmm_manifest *m,
                                 plmm_error *err)
{
    uint8_t bytes[PLMM_MANIFEST_MAX];
    size_t len = 0;
    char path[PLMM_PATH_MAX];
    listing l = {.dir = dir, .m = m};
    PLMM_TRY(plmm_dir_make(dir, PLMM_MODE_DIR, err));
    PLMM_TRY(plmm_peft_save(dir, a, PLMM_F32, note->base_name, err));
    PLMM_TRY(plmm_dir_list(dir, list_file, &l, err));
    PLMM_TRY(plmm_manifest_sign(m, key, err));
    PLMM_TRY(plmm_manifest_encode(bytes, &len, m, err));
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, manifest_name, err));
    return plmm_file_write(path, bytes, len, PLMM_MODE_PUBLIC, err);
}

/* The round was published before the crash: *m is that version, and it is pointed to. */
static plmm_status find_published(const plmm_versions *v, uint64_t newest, uint64_t round,
                                  plmm_manifest *m, bool *found, plmm_error *err)
{
    *found = false;
    if (newest == 0 || round == 0) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_version_manifest(v, newest, m, err));
    if (m->round == round) {
        *found = true;
        return point(v, newest, err);
    }
    return PLMM_OK;
}

static plmm_status publish_new(const plmm_versions *v, const plmm_version_note *note,
                               const plmm_adapter *a, const plmm_sign_sk *key, uint64_t version,
                               plmm_manifest *m, plmm_error *err)
{
    char temp[PLMM_PATH_MAX], dir[PLMM_PATH_MAX], name[32];
    uint64_t current = 0;
    plmm_manifest parent;
    PLMM_TRY(plmm_version_current(v, &current, err));
    if (current > 0) {
        PLMM_TRY(plmm_version_manifest(v, current, &parent, err));
    }
    fill(m, v, note, current > 0 ? &parent : NULL, version);
    (void)snprintf(name, sizeof name, ".new-%" PRIu64, version);
    PLMM_TRY(plmm_version_path(v, version, dir, err));
    PLMM_TRY(plmm_path_join(temp, sizeof temp, v->root, name, err));
    PLMM_TRY(plmm_path_remove(temp, err));
    plmm_status rc = write_version(temp, note, a, key, m, err);
    if (rc == PLMM_OK) {
        rc = plmm_path_rename(temp, dir, err);
    }
    if (rc != PLMM_OK) {
        plmm_error ignored;
        plmm_status removed = plmm_path_remove(temp, &ignored);
        (void)removed; /* else the next publication or opening removes it */
        return rc;
    }
    return point(v, version, err);
}

plmm_status plmm_version_publish(const plmm_versions *v, const plmm_version_note *note,
                                 const plmm_adapter *a, const plmm_sign_sk *key, plmm_manifest *out,
                                 plmm_error *err)
{
    uint64_t newest = 0;
    plmm_manifest m;
    bool found = false;
    PLMM_TRY(plmm_dir_list(v->root, newer, &newest, err));
    PLMM_TRY(find_published(v, newest, note->round, &m, &found, err));
    if (!found) {
        PLMM_TRY(publish_new(v, note, a, key, newest + 1, &m, err));
    }
    if (out != NULL) {
        *out = m;
    }
    return PLMM_OK;
}

/* ---- identities ---- */

static void update(void *ctx, const void *bytes, size_t len)
{
    plmm_digest_update(ctx, bytes, len);
}

void plmm_version_base(plmm_hash *out, const plmm_model *m)
{
    plmm_digest d;
    plmm_digest_init(&d);
    plmm_model_feed(m, update, &d);
    plmm_digest_final(&d, out);
}

plmm_status plmm_version_names(plmm_hash *out, const plmm_adapter *a, plmm_factor f,
                               plmm_error *err)
{
    size_t len = plmm_travel_describe(a, f, NULL, 0);
    uint8_t *bytes = plmm_alloc(len, 1);
    if (bytes == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot name %zu octets of tensors: out of memory",
                         len);
    }
    (void)plmm_travel_describe(a, f, bytes, len);
    plmm_digest d;
    plmm_digest_init(&d);
    plmm_digest_update(&d, bytes, len);
    plmm_digest_final(&d, out);
    plmm_free(bytes);
    return PLMM_OK;
}
