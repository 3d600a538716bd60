#include "plmm/expert.h"

#include "plmm/alloc.h"
#include "plmm/identity.h"
#include "plmm/peft.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char manifest_name[] = "manifest.pb";
static const char part_name[] = ".part";

static plmm_status join(const plmm_expert *x, const char *dir, const char *name,
                        char out[PLMM_PATH_MAX], plmm_error *err)
{
    char folder[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(folder, sizeof folder, x->root, dir, err));
    if (name == NULL) {
        memcpy(out, folder, sizeof folder);
        return PLMM_OK;
    }
    return plmm_path_join(out, PLMM_PATH_MAX, folder, name, err);
}

static void version_name(char out[32], uint64_t version)
{
    (void)snprintf(out, 32, "v%04" PRIu64, version);
}

plmm_status plmm_expert_open(plmm_expert *x, const char *root, const plmm_anchor *anchor,
                             plmm_error *err)
{
    plmm_expert fresh = {.anchor = *anchor};
    PLMM_TRY(plmm_path_join(fresh.root, sizeof fresh.root, "", root, err));
    PLMM_TRY(plmm_dir_make(root, PLMM_MODE_DIR, err));
    *x = fresh;
    return PLMM_OK;
}

/* ---- receiving ---- */

plmm_status plmm_expert_begin(const plmm_expert *x, plmm_error *err)
{
    char dir[PLMM_PATH_MAX];
    PLMM_TRY(join(x, part_name, NULL, dir, err));
    PLMM_TRY(plmm_path_remove(dir, err));
    return plmm_dir_make(dir, PLMM_MODE_DIR, err);
}

static plmm_status write_all(int fd, const plmm_fetch_part *part, const char *path, plmm_error *err)
{
    size_t done = 0;
    while (done < part->len) {
        ssize_t n =
            pwrite(fd, part->data + done, part->len - done, (off_t)(part->offset + (uint64_t)done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return plmm_fail(err, PLMM_ERR_IO, "cannot write %s: %s", path, strerror(errno));
        }
        done += (size_t)n;
    }
    return PLMM_OK;
}

plmm_status plmm_expert_write(const plmm_expert *x, const plmm_manifest *m,
                              const plmm_fetch_part *part, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    PLMM_ASSERT(part->file < m->files_n);
    const plmm_manifest_file *f = &m->files[part->file];
    if (part->offset > f->size || part->len > f->size - part->offset) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "a part of %s ends at octet %" PRIu64 ", the file has %" PRIu64, f->name,
                         part->offset + part->len, f->size);
    }
    PLMM_TRY(join(x, part_name, f->name, path, err));
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return plmm_fail(err, PLMM_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    plmm_status rc = write_all(fd, part, path, err);
    if (rc == PLMM_OK && part->offset + part->len == f->size && fsync(fd) != 0) {
        rc = plmm_fail(err, PLMM_ERR_IO, "cannot flush %s: %s", path, strerror(errno));
    }
    (void)close(fd);
    return rc;
}

static plmm_status verify_file(const char *path, const plmm_manifest_file *f, plmm_error *err)
{
    plmm_map map;
    plmm_digest d;
    plmm_hash got;
    PLMM_TRY(plmm_file_map(path, &map, err));
    plmm_digest_init(&d);
    plmm_digest_update(&d, map.data, map.len);
    plmm_digest_final(&d, &got);
    uint64_t size = map.len;
    plmm_file_unmap(&map);
    if (size != f->size || memcmp(got.b, f->digest.b, sizeof got.b) != 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "%s is not the file that its manifest names: fetch the version again",
                         path);
    }
    return PLMM_OK;
}

static plmm_status verify_dir(const plmm_expert *x, const char *dir, const plmm_manifest *m,
                              plmm_error *err)
{
    PLMM_TRY(plmm_manifest_check(m, err));
    PLMM_TRY(plmm_manifest_verify(m, &x->anchor, err));
    for (uint32_t i = 0; i < m->files_n; i++) {
        char path[PLMM_PATH_MAX];
        PLMM_TRY(join(x, dir, m->files[i].name, path, err));
        PLMM_TRY(verify_file(path, &m->files[i], err));
    }
    return PLMM_OK;
}

/* One number, one version: two signed manifests under it are a lie. */
static plmm_status check_same(const plmm_expert *x, const plmm_manifest *m, plmm_error *err)
{
    plmm_manifest old;
    plmm_hash a, b;
    plmm_error ignored;
    if (plmm_expert_verify(x, m->version, &old, &ignored) != PLMM_OK) {
        return PLMM_OK; /* not there, or damaged: to be replaced */
    }
    plmm_manifest_hash(&a, &old);
    plmm_manifest_hash(&b, m);
    return plmm_equal(&a, &b, sizeof a)
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_PEER,
                           "the aggregator of expert %s signed two different versions %" PRIu64,
                           x->anchor.expert, m->version);
}

plmm_status plmm_expert_install(const plmm_expert *x, const plmm_manifest *m, plmm_error *err)
{
    char part[PLMM_PATH_MAX], path[PLMM_PATH_MAX], name[32];
    uint8_t bytes[PLMM_MANIFEST_MAX];
    size_t len = 0;
    if (m->method >= PLMM_METHODS || m->factor < PLMM_FACTOR_A || m->factor > PLMM_FACTOR_AB) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "version %" PRIu64 " is for method %u and factor %u, which this program "
                         "does not know",
                         m->version, m->method, m->factor);
    }
    PLMM_TRY(verify_dir(x, part_name, m, err));
    PLMM_TRY(check_same(x, m, err));
    PLMM_TRY(plmm_manifest_encode(bytes, &len, m, err));
    PLMM_TRY(join(x, part_name, manifest_name, path, err));
    PLMM_TRY(plmm_file_write(path, bytes, len, PLMM_MODE_PUBLIC, err));
    version_name(name, m->version);
    PLMM_TRY(join(x, part_name, NULL, part, err));
    PLMM_TRY(join(x, name, NULL, path, err));
    PLMM_TRY(plmm_path_remove(path, err));
    return plmm_path_rename(part, path, err);
}

typedef struct pruning {
    const plmm_expert *x;
    char keep[2][32];
} pruning;

static plmm_status prune_one(void *ctx, const char *name, plmm_error *err)
{
    const pruning *p = ctx;
    char path[PLMM_PATH_MAX];
    if (name[0] != 'v' || strcmp(name, p->keep[0]) == 0 || strcmp(name, p->keep[1]) == 0) {
        return PLMM_OK;
    }
    PLMM_TRY(join(p->x, name, NULL, path, err));
    return plmm_path_remove(path, err);
}

plmm_status plmm_expert_prune(const plmm_expert *x, uint64_t keep_a, uint64_t keep_b,
                              plmm_error *err)
{
    pruning p = {.x = x};
    version_name(p.keep[0], keep_a);
    version_name(p.keep[1], keep_b);
    return plmm_dir_list(x->root, prune_one, &p, err);
}

/* ---- using ---- */

plmm_status plmm_expert_verify(const plmm_expert *x, uint64_t version, plmm_manifest *out,
                               plmm_error *err)
{
    char name[32], path[PLMM_PATH_MAX];
    uint8_t *bytes = NULL;
    size_t len = 0;
    plmm_manifest m;
    version_name(name, version);
    PLMM_TRY(join(x, name, manifest_name, path, err));
    PLMM_TRY(plmm_file_read(path, PLMM_MANIFEST_MAX, &bytes, &len, err));
    plmm_status rc = plmm_manifest_decode(&m, bytes, len, err);
    plmm_free(bytes);
    if (rc != PLMM_OK) {
        return plmm_fail_in(err, rc, "cannot read %s", path);
    }
    if (m.version != version) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "%s is of version %" PRIu64, path, m.version);
    }
    PLMM_TRY(verify_dir(x, name, &m, err));
    if (out != NULL) {
        *out = m;
    }
    return PLMM_OK;
}

plmm_status plmm_expert_load(const plmm_expert *x, uint64_t version, const plmm_model *model,
                             const plmm_hash *base, plmm_adapter **out, plmm_manifest *m,
                             plmm_error *err)
{
    char name[32], dir[PLMM_PATH_MAX];
    plmm_manifest got;
    PLMM_TRY(plmm_expert_verify(x, version, &got, err));
    if (memcmp(got.base.b, base->b, sizeof got.base.b) != 0) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "version %" PRIu64 " of expert %s is for another base model than this "
                         "device has",
                         version, x->anchor.expert);
    }
    version_name(name, version);
    PLMM_TRY(join(x, name, NULL, dir, err));
    PLMM_TRY(plmm_peft_load(dir, plmm_model_cfg(model), out, err));
    if (m != NULL) {
        *m = got;
    }
    return PLMM_OK;
}

static void update(void *ctx, const void *bytes, size_t len)
{
    plmm_digest_update(ctx, bytes, len);
}

void plmm_expert_base(plmm_hash *out, const plmm_model *model)
{
    plmm_digest d;
    plmm_digest_init(&d);
    plmm_model_feed(model, update, &d);
    plmm_digest_final(&d, out);
}

plmm_status plmm_expert_names(plmm_hash *out, const plmm_adapter *a, plmm_factor f, plmm_error *err)
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
