/* Lexicons from a folder. Apart from lexicon.c, which touches no file. */
#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/lexicon.h"

#include <string.h>

enum { LEXICON_BYTES_MAX = 1 << 20 };

typedef struct loading {
    plmm_lexicons *lexicons;
    const char *dir;
    uint32_t found;
} loading;

static plmm_status load_one(void *ctx, const char *name, plmm_error *err)
{
    loading *l = ctx;
    size_t n = strlen(name);
    if (n < 5 || strcmp(name + n - 4, ".txt") != 0) {
        return PLMM_OK;
    }
    char path[PLMM_PATH_MAX], domain[256];
    if (n - 4 >= sizeof domain) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "the lexicon's name '%.60s...' is too long", name);
    }
    memcpy(domain, name, n - 4);
    domain[n - 4] = '\0';
    PLMM_TRY(plmm_path_join(path, sizeof path, l->dir, name, err));
    uint8_t *text = NULL;
    size_t len = 0;
    PLMM_TRY(plmm_file_read(path, LEXICON_BYTES_MAX, &text, &len, err));
    plmm_status rc = plmm_lexicons_add(l->lexicons, domain, (const char *)text, len, path, err);
    plmm_free(text);
    l->found++;
    return rc;
}

plmm_status plmm_lexicons_load(plmm_lexicons *l, const char *dir, plmm_error *err)
{
    loading ctx = {.lexicons = l, .dir = dir};
    PLMM_TRY(plmm_dir_list(dir, load_one, &ctx, err));
    return ctx.found > 0 ? PLMM_OK
                         : plmm_fail(err, PLMM_ERR_NOTFOUND,
                                     "no lexicon in %s: expected files such as medicine.txt", dir);
}
