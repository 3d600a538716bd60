#include "plmm/file.h"

#include "plmm/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static plmm_status fail_errno(plmm_error *err, const char *doing, const char *path)
{
    int e = errno;
    plmm_status code = e == ENOENT || e == ENOTDIR ? PLMM_ERR_NOTFOUND : PLMM_ERR_IO;
    return plmm_fail(err, code, "cannot %s %s: %s", doing, path, strerror(e));
}

/* Opens a regular file for reading and says its size. */
static plmm_status open_regular(const char *path, int *fd, size_t *len, plmm_error *err)
{
    int f = open(path, O_RDONLY | O_CLOEXEC);
    if (f < 0) {
        return fail_errno(err, "open", path);
    }
    struct stat st;
    plmm_status rc = PLMM_OK;
    if (fstat(f, &st) != 0) {
        rc = fail_errno(err, "read", path);
    } else if (!S_ISREG(st.st_mode)) {
        rc = plmm_fail(err, PLMM_ERR_FORMAT, "cannot read %s: %s", path,
                       S_ISDIR(st.st_mode) ? "it is a directory, a file is needed"
                                           : "it is not a regular file");
    }
    if (rc != PLMM_OK) {
        (void)close(f);
        return rc;
    }
    *fd = f;
    *len = (size_t)st.st_size;
    return PLMM_OK;
}

static plmm_status read_all(int fd, const char *path, uint8_t *data, size_t len, plmm_error *err)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = read(fd, data + at, len - at);
        if (n < 0 && errno != EINTR) {
            return fail_errno(err, "read", path);
        }
        if (n == 0) {
            return plmm_fail(err, PLMM_ERR_IO, "cannot read %s: it became shorter meanwhile", path);
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return PLMM_OK;
}

plmm_status plmm_file_read(const char *path, size_t max_bytes, uint8_t **data, size_t *len,
                           plmm_error *err)
{
    int fd;
    size_t size;
    PLMM_TRY(open_regular(path, &fd, &size, err));
    plmm_status rc = PLMM_OK;
    uint8_t *bytes = NULL;
    if (size > max_bytes) {
        rc =
            plmm_fail(err, PLMM_ERR_RANGE, "cannot read %s: it has %zu bytes, at most %zu are read",
                      path, size, max_bytes);
    } else if ((bytes = plmm_alloc(size + 1, 1)) == NULL) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM, "cannot read %s: out of memory for %zu bytes", path,
                       size);
    } else {
        rc = read_all(fd, path, bytes, size, err);
    }
    (void)close(fd);
    if (rc != PLMM_OK) {
        plmm_free(bytes);
        return rc;
    }
    *data = bytes;
    *len = size;
    return PLMM_OK;
}

plmm_status plmm_file_map(const char *path, plmm_map *m, plmm_error *err)
{
    int fd;
    size_t size;
    PLMM_TRY(open_regular(path, &fd, &size, err));
    void *p = NULL;
    plmm_status rc = PLMM_OK;
    if (size > 0) {
        p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            rc = fail_errno(err, "map", path);
        }
    }
    (void)close(fd);
    if (rc == PLMM_OK) {
        *m = (plmm_map){p, size};
    }
    return rc;
}

void plmm_file_unmap(plmm_map *m)
{
    if (m->data != NULL) {
        (void)munmap((void *)(uintptr_t)m->data, m->len);
    }
    *m = (plmm_map){0};
}

/* ---- writing ---- */

/* Flushes the directory that holds path, so that a rename in it survives a power cut. */
static plmm_status sync_parent(const char *path, plmm_error *err)
{
    char dir[PLMM_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        (void)snprintf(dir, sizeof dir, ".");
    } else {
        (void)snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(err, "open", dir);
    }
    plmm_status rc = fsync(fd) != 0 ? fail_errno(err, "flush", dir) : PLMM_OK;
    (void)close(fd);
    return rc;
}

plmm_status plmm_file_writer_open(plmm_file_writer *w, const char *path, unsigned mode,
                                  plmm_error *err)
{
    *w = (plmm_file_writer){.fd = -1, .mode = mode};
    int n = snprintf(w->temp, sizeof w->temp, "%s.tmp-XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof w->temp) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot write %.60s...: the path is too long", path);
    }
    (void)snprintf(w->path, sizeof w->path, "%s", path);
    w->fd = mkstemp(w->temp); /* mode 0600 until commit */
    if (w->fd < 0) {
        return fail_errno(err, "write", path);
    }
    (void)fcntl(w->fd, F_SETFD, FD_CLOEXEC);
    return PLMM_OK;
}

plmm_status plmm_file_writer_write(plmm_file_writer *w, const void *data, size_t len,
                                   plmm_error *err)
{
    const uint8_t *p = data;
    for (size_t at = 0; at < len;) {
        ssize_t n = write(w->fd, p + at, len - at);
        if (n < 0 && errno != EINTR) {
            w->failed = true;
            return fail_errno(err, "write", w->path);
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return PLMM_OK;
}

plmm_status plmm_file_writer_commit(plmm_file_writer *w, plmm_error *err)
{
    plmm_status rc = PLMM_OK;
    if (w->failed) {
        rc = plmm_fail(err, PLMM_ERR_IO, "cannot write %s: a part could not be written", w->path);
    } else if (fchmod(w->fd, (mode_t)w->mode) != 0 || fsync(w->fd) != 0 ||
               rename(w->temp, w->path) != 0) {
        rc = fail_errno(err, "write", w->path);
    }
    if (rc != PLMM_OK) {
        plmm_file_writer_abort(w);
        return rc;
    }
    (void)close(w->fd);
    w->fd = -1;
    return sync_parent(w->path, err);
}

void plmm_file_writer_abort(plmm_file_writer *w)
{
    if (w->fd >= 0) {
        (void)close(w->fd);
        (void)unlink(w->temp);
        w->fd = -1;
    }
}

plmm_status plmm_file_write(const char *path, const void *data, size_t len, unsigned mode,
                            plmm_error *err)
{
    plmm_file_writer w;
    PLMM_TRY(plmm_file_writer_open(&w, path, mode, err));
    plmm_status rc = plmm_file_writer_write(&w, data, len, err);
    if (rc != PLMM_OK) {
        plmm_file_writer_abort(&w);
        return rc;
    }
    return plmm_file_writer_commit(&w, err);
}

/* ---- paths ---- */

bool plmm_path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

bool plmm_path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

plmm_status plmm_file_check_secret(const char *path, plmm_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        return fail_errno(err, "open", path);
    }
    if ((st.st_mode & 077) != 0) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "refusing to use %s: its mode is %04o, others can reach it; run chmod 600",
                         path, (unsigned)(st.st_mode & 07777));
    }
    return PLMM_OK;
}

plmm_status plmm_path_join(char *out, size_t cap, const char *a, const char *b, plmm_error *err)
{
    size_t n = strlen(a);
    bool plain = n == 0 || *b == '/';
    const char *slash = plain || a[n - 1] == '/' ? "" : "/";
    int len = snprintf(out, cap, "%s%s%s", plain ? "" : a, slash, b);
    if (len < 0 || (size_t)len >= cap) {
        return plmm_fail(err, PLMM_ERR_RANGE, "the path %.60s.../%.60s is too long", a, b);
    }
    return PLMM_OK;
}

plmm_status plmm_dir_make(const char *path, unsigned mode, plmm_error *err)
{
    char part[PLMM_PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof part) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot make the directory \"%.60s\": %s", path,
                         len == 0 ? "the name is empty" : "the path is too long");
    }
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, (mode_t)mode) == 0) {
            PLMM_TRY(sync_parent(part, err));
        } else if (errno != EEXIST || !plmm_path_is_dir(part)) {
            return fail_errno(err, "make the directory", part);
        }
    }
    return PLMM_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

typedef struct names {
    char **v;
    size_t n, cap;
} names;

static plmm_status add_name(names *l, const char *name)
{
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 32 : 2 * l->cap;
        char **v = plmm_grow(l->v, l->cap, cap, sizeof *v);
        if (v == NULL) {
            return PLMM_ERR_NOMEM;
        }
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n] = plmm_strdup(name);
    return l->v[l->n++] != NULL ? PLMM_OK : PLMM_ERR_NOMEM;
}

static plmm_status read_names(const char *path, names *l, plmm_error *err)
{
    DIR *d = opendir(path);
    if (d == NULL) {
        return fail_errno(err, "list", path);
    }
    plmm_status rc = PLMM_OK;
    for (struct dirent *e = readdir(d); e != NULL && rc == PLMM_OK; e = readdir(d)) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            rc = add_name(l, e->d_name);
        }
    }
    (void)closedir(d);
    return rc == PLMM_OK ? rc : plmm_fail(err, rc, "cannot list %s: out of memory", path);
}

plmm_status plmm_dir_list(const char *path, plmm_dir_visit visit, void *ctx, plmm_error *err)
{
    names l = {0};
    plmm_status rc = read_names(path, &l, err);
    if (rc == PLMM_OK && l.n > 1) {
        qsort(l.v, l.n, sizeof *l.v, by_name);
    }
    for (size_t i = 0; i < l.n && rc == PLMM_OK; i++) {
        rc = visit(ctx, l.v[i], err);
    }
    for (size_t i = 0; i < l.n; i++) {
        plmm_free(l.v[i]);
    }
    plmm_free(l.v);
    return rc;
}

plmm_status plmm_path_rename(const char *from, const char *to, plmm_error *err)
{
    if (rename(from, to) != 0) {
        int e = errno;
        return plmm_fail(err, e == ENOENT ? PLMM_ERR_NOTFOUND : PLMM_ERR_IO,
                         "cannot rename %s to %s: %s", from, to, strerror(e));
    }
    return sync_parent(to, err);
}

static plmm_status remove_child(void *dir, const char *name, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, name, err));
    return plmm_path_remove(path, err);
}

plmm_status plmm_path_remove(const char *path, plmm_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? PLMM_OK : fail_errno(err, "remove", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        return unlink(path) != 0 ? fail_errno(err, "remove", path) : PLMM_OK;
    }
    PLMM_TRY(plmm_dir_list(path, remove_child, (void *)(uintptr_t)path, err));
    return rmdir(path) != 0 ? fail_errno(err, "remove", path) : PLMM_OK;
}
