/* plmm/file.h -- files and directories: bounded reads, maps, and writes that are all there or not
 * at all, also after a power cut. Thread-safe; errors are PLMM_ERR_NOTFOUND (no such file),
 * PLMM_ERR_IO (with the system's reason), PLMM_ERR_RANGE (too large), and name the path. */
#ifndef PLMM_FILE_H
#define PLMM_FILE_H

#include "plmm/status.h"

enum { PLMM_PATH_MAX = 4096 };

/* Modes for what is written: secrets are read by their owner alone. */
enum { PLMM_MODE_SECRET = 0600, PLMM_MODE_PUBLIC = 0644, PLMM_MODE_DIR = 0700 };

/* The whole file in *data (free with plmm_free), a NUL byte after its *len bytes. A file longer
 * than max_bytes is refused before anything is allocated. */
PLMM_NODISCARD plmm_status plmm_file_read(const char *path, size_t max_bytes, uint8_t **data,
                                          size_t *len, plmm_error *err);

/* A read-only view of a file. data is NULL when the file is empty. The file must not shrink
 * meanwhile. */
typedef struct plmm_map {
    const uint8_t *data;
    size_t len;
} plmm_map;

PLMM_NODISCARD plmm_status plmm_file_map(const char *path, plmm_map *m, plmm_error *err);
void plmm_file_unmap(plmm_map *m); /* of a zeroed one: does nothing */

/* Replaces path by data[0..len): written to a temporary file in the same directory, flushed,
 * renamed over path, directory flushed. Afterwards path has either its old or its new contents.
 * mode: above, exactly (the umask does not matter). */
PLMM_NODISCARD plmm_status plmm_file_write(const char *path, const void *data, size_t len,
                                           unsigned mode, plmm_error *err);

/* The same in pieces. After open either commit or abort, which close it; a failed write leaves only
 * abort (commit then aborts by itself and fails). */
typedef struct plmm_file_writer {
    int fd; /* private */
    unsigned mode;
    bool failed;
    char path[PLMM_PATH_MAX];
    char temp[PLMM_PATH_MAX];
} plmm_file_writer;

PLMM_NODISCARD plmm_status plmm_file_writer_open(plmm_file_writer *w, const char *path,
                                                 unsigned mode, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_file_writer_write(plmm_file_writer *w, const void *data, size_t len,
                                                  plmm_error *err);
PLMM_NODISCARD plmm_status plmm_file_writer_commit(plmm_file_writer *w, plmm_error *err);
void plmm_file_writer_abort(plmm_file_writer *w);

/* Is there anything, a directory, at path? */
bool plmm_path_exists(const char *path);
bool plmm_path_is_dir(const char *path);

/* PLMM_ERR_STATE with a sentence if others than the owner may read or write path: for key files. */
PLMM_NODISCARD plmm_status plmm_file_check_secret(const char *path, plmm_error *err);

/* out = a/b, or b when b is absolute or a is empty. PLMM_ERR_RANGE if it does not fit. out may not
 * overlap a or b. */
PLMM_NODISCARD plmm_status plmm_path_join(char *out, size_t cap, const char *a, const char *b,
                                          plmm_error *err);

/* Makes path and the missing ones above it with mode; fine if it is there. */
PLMM_NODISCARD plmm_status plmm_dir_make(const char *path, unsigned mode, plmm_error *err);

/* Calls visit for each name but . and .. in bytewise order; stops at its first failure. */
typedef plmm_status (*plmm_dir_visit)(void *ctx, const char *name, plmm_error *err);
PLMM_NODISCARD plmm_status plmm_dir_list(const char *path, plmm_dir_visit visit, void *ctx,
                                         plmm_error *err);

/* Renames from to to (same file system; a directory to must be absent or empty) and flushes the
 * directory: how a finished directory is installed at once. */
PLMM_NODISCARD plmm_status plmm_path_rename(const char *from, const char *to, plmm_error *err);

/* Removes a file, or a directory with all it holds (links are not followed). Fine if absent. */
PLMM_NODISCARD plmm_status plmm_path_remove(const char *path, plmm_error *err);

#endif
