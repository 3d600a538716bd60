/* plmm-model tokenize: text to ids, and back. */
#include "program.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/json.h"

/* --- what is tokenized --- */

/* --text, or the file of --file, or standard input. */
static plmm_status read_text(plmm_cli_args *a, char **text, size_t *len, plmm_error *err)
{
    const char *given = plmm_cli_text(a, "text"), *file = plmm_cli_text(a, "file");
    if (given != NULL) {
        *text = plmm_strdup(given);
        *len = strlen(given);
        return *text != NULL ? PLMM_OK : plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold the text");
    }
    if (file != NULL) {
        return plmm_file_read(file, PLMM_TOKENIZER_TEXT_MAX, (uint8_t **)text, len, err);
    }
    plmm_text all = {0};
    char buf[4096];
    size_t n;
    while ((n = fread(buf, 1, sizeof buf, stdin)) > 0 && all.len < PLMM_TOKENIZER_TEXT_MAX) {
        plmm_status rc = plmm_text_sink(&all, buf, n, err);
        if (rc != PLMM_OK) {
            plmm_text_free(&all);
            return rc;
        }
    }
    *text = all.text;
    *len = all.len;
    return PLMM_OK;
}

/* --- printing --- */

static plmm_status print_json(const plmm_tokenizer *t, const plmm_ids *ids, plmm_error *err)
{
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    plmm_json_put_key(&w, "ids");
    plmm_json_open_array(&w);
    for (size_t i = 0; i < ids->n; i++) {
        plmm_json_put_int(&w, ids->v[i]);
    }
    plmm_json_close_array(&w);
    plmm_json_put_key(&w, "pieces");
    plmm_json_open_array(&w);
    for (size_t i = 0; i < ids->n; i++) {
        char *piece;
        size_t len;
        PLMM_TRY(plmm_tokenizer_decode(t, ids->v + i, 1, 0, &piece, &len, err));
        plmm_json_put_bytes(&w, piece, len);
        plmm_free(piece);
    }
    plmm_json_close_array(&w);
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

static plmm_status print_ids(const plmm_tokenizer *t, const plmm_ids *ids, size_t bytes,
                             plmm_error *err)
{
    for (size_t i = 0; i < ids->n; i++) {
        (void)printf("%s%" PRId32, i == 0 ? "" : " ", ids->v[i]);
    }
    (void)printf("\n%zu tokens for %zu bytes\n", ids->n, bytes);
    char *text;
    size_t len;
    PLMM_TRY(plmm_tokenizer_decode(t, ids->v, ids->n, 0, &text, &len, err));
    (void)printf("decoded: %s\n", text);
    plmm_free(text);
    return PLMM_OK;
}

/* --- the other way --- */

static plmm_status decode_list(const plmm_tokenizer *t, const char *list, plmm_error *err)
{
    plmm_ids ids = {0};
    plmm_status rc = PLMM_OK;
    for (const char *p = list; *p != '\0' && rc == PLMM_OK;) {
        char *end;
        long id = strtol(p, &end, 10);
        if (end == p || id < 0 || id > INT32_MAX) {
            rc = plmm_fail(err, PLMM_ERR_CONFIG, "--decode: \"%.20s\" is no token id", p);
            break;
        }
        rc = plmm_ids_push(&ids, (int32_t)id, err);
        p = end + strspn(end, ", ");
    }
    char *text;
    size_t len;
    if (rc == PLMM_OK) {
        rc = plmm_tokenizer_decode(t, ids.v, ids.n, 0, &text, &len, err);
    }
    if (rc == PLMM_OK) {
        (void)fwrite(text, 1, len, stdout);
        (void)putchar('\n');
        plmm_free(text);
    }
    plmm_ids_free(&ids);
    return rc;
}

static plmm_status encode(plmm_cli_args *a, const plmm_tokenizer *t, plmm_error *err)
{
    char *text = NULL;
    size_t len = 0;
    plmm_ids ids = {0};
    unsigned flags = (plmm_cli_flag(a, "bos") ? PLMM_ENCODE_BOS : 0u) |
                     (plmm_cli_flag(a, "eos") ? PLMM_ENCODE_EOS : 0u) |
                     (plmm_cli_flag(a, "specials") ? PLMM_ENCODE_SPECIALS : 0u);
    PLMM_TRY(read_text(a, &text, &len, err));
    plmm_status rc = plmm_tokenizer_encode(t, text != NULL ? text : "", len, flags, &ids, err);
    if (rc == PLMM_OK) {
        rc = plmm_cli_flag(a, "json") ? print_json(t, &ids, err) : print_ids(t, &ids, len, err);
    }
    plmm_ids_free(&ids);
    plmm_free(text);
    return rc;
}

/* Each line a JSON object with a text; each answer a line with its ids. */
static plmm_status encode_lines(plmm_cli_args *a, const plmm_tokenizer *t, plmm_error *err)
{
    char *text = NULL;
    size_t len = 0;
    plmm_json_seq seq;
    plmm_json *v = NULL;
    plmm_ids ids = {0};
    unsigned flags = (plmm_cli_flag(a, "bos") ? PLMM_ENCODE_BOS : 0u) |
                     (plmm_cli_flag(a, "specials") ? PLMM_ENCODE_SPECIALS : 0u);
    PLMM_TRY(read_text(a, &text, &len, err));
    plmm_json_seq_init(&seq, text != NULL ? text : "", len, "input", NULL);
    plmm_status rc = plmm_json_seq_next(&seq, &v, err);
    while (rc == PLMM_OK && v != NULL) {
        const char *s;
        ids.n = 0;
        rc = plmm_json_need_text(v, "input", "text", PLMM_TOKENIZER_TEXT_MAX, &s, err);
        if (rc == PLMM_OK) {
            rc = plmm_tokenizer_encode(t, s, strlen(s), flags, &ids, err);
        }
        if (rc == PLMM_OK) {
            rc = print_json(t, &ids, err);
        }
        plmm_json_free(v);
        v = NULL;
        if (rc == PLMM_OK) {
            rc = plmm_json_seq_next(&seq, &v, err);
        }
    }
    plmm_ids_free(&ids);
    plmm_free(text);
    return rc;
}

plmm_status verb_tokenize(plmm_cli_args *a, plmm_error *err)
{
    plmm_tokenizer *t;
    PLMM_TRY(plmm_tokenizer_load(a->operands[0], &t, err));
    const char *list = plmm_cli_text(a, "decode");
    plmm_status rc = list != NULL                ? decode_list(t, list, err)
                     : plmm_cli_flag(a, "lines") ? encode_lines(a, t, err)
                                                 : encode(a, t, err);
    plmm_tokenizer_free(t);
    return rc;
}
