/* Logits of real checkpoints: stories260K against run.c (goldens/), tinystories656K_hf against
 * Transformers (tests/vectors/gen/tinystories.py). PLMM_DATA names the folder that holds them;
 * without it nothing is checked. */
#include <math.h>

#include "plmm/alloc.h"
#include "plmm/checkpoint.h"
#include "plmm/file.h"
#include "plmm/generate.h"
#include "plmm/json.h"
#include "plmm/safetensors.h"
#include "plmm/train.h"
#include "test.h"

static const char *folder;

static const char *at(const char *rest)
{
    static char path[PLMM_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", folder, rest);
    return path;
}

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "%s\n", err->msg);
        exit(EXIT_FAILURE);
    }
}

/* Largest deviation relative to the largest logit of the row. */
static double row_error(const float *x, const float *y, size_t n)
{
    double diff = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        diff = fmax(diff, fabs((double)x[i] - (double)y[i]));
        size = fmax(size, fabs((double)y[i]));
    }
    return diff / size;
}

static plmm_workspace *workspace(const plmm_model *m)
{
    plmm_workspace *w = NULL;
    plmm_error err;
    uint32_t n = plmm_model_cfg(m)->context;
    plmm_workspace_params p = {.tokens = n, .seq_max = n, .use = PLMM_USE_EVAL};
    must(plmm_workspace_new(plmm_model_cfg(m), &p, &w, &err), &err);
    return w;
}

/* One line of stories260K.jsonl: ids and where its rows of logits are. */
static void check_text(plmm_workspace *w, const plmm_model *m, const plmm_json *line,
                       const float *logits, size_t rows)
{
    int32_t ids[512];
    size_t n = 0, row0 = (size_t)plmm_json_number(plmm_json_get(line, "row0"));
    const plmm_json *list = plmm_json_get(line, "ids");
    for (const plmm_json *v = plmm_json_first(list); v != NULL && n < 512; v = plmm_json_next(v)) {
        ids[n++] = (int32_t)plmm_json_number(v);
    }
    PLMM_ASSERT(n > 0 && row0 + n <= rows);
    float *z = calloc(n * 512, sizeof *z);
    plmm_error err;
    must(plmm_logits(w, m, NULL, ids, n, z, &err), &err);
    for (size_t i = 0; i < n; i++) {
        double e = row_error(z + i * 512, logits + (row0 + i) * 512, 512);
        CHECK(e < 1e-4, "row %zu: relative error %g", row0 + i, e);
    }
    free(z);
}

static void test_stories260k(void)
{
    plmm_model *m = NULL;
    plmm_error err;
    uint8_t *raw = NULL, *text = NULL;
    size_t bytes = 0, len = 0, lines = 0;
    must(plmm_checkpoint_load(at("stories260K/stories260K.bin"), &m, NULL, &err), &err);
    must(plmm_file_read(at("goldens/stories260K_logits.f32"), 64 << 20, &raw, &bytes, &err), &err);
    must(plmm_file_read(at("goldens/stories260K.jsonl"), 64 << 20, &text, &len, &err), &err);
    float *logits = malloc(bytes);
    memcpy(logits, raw, bytes);
    plmm_workspace *w = workspace(m);
    plmm_json_seq seq;
    plmm_json *v = NULL;
    plmm_json_seq_init(&seq, (const char *)text, len, "stories260K.jsonl", NULL);
    while (plmm_json_seq_next(&seq, &v, &err) == PLMM_OK && v != NULL) {
        check_text(w, m, v, logits, bytes / 4 / 512);
        plmm_json_free(v);
        lines++;
    }
    CHECK(lines > 3, "%zu texts", lines);
    free(logits);
    plmm_workspace_free(w);
    plmm_model_free(m);
}

static float *tensor(const plmm_safetensors *s, const char *name, size_t *count)
{
    const plmm_st_tensor *t = plmm_safetensors_find(s, name);
    plmm_error err;
    PLMM_ASSERT(t != NULL);
    *count = (size_t)t->count;
    float *x = calloc(*count, sizeof *x);
    must(plmm_safetensors_read(t, x, &err), &err);
    return x;
}

static void test_tinystories(void)
{
    plmm_model *m = NULL;
    plmm_safetensors *s = NULL;
    plmm_error err;
    size_t n = 0, count = 0, rows = 0;
    must(plmm_checkpoint_load(at("tinystories656K_hf"), &m, NULL, &err), &err);
    must(plmm_safetensors_open("tests/vectors/tinystories656K.safetensors", &s, &err), &err);
    float *tokens = tensor(s, "tokens", &n), *row = tensor(s, "rows", &rows);
    float *want = tensor(s, "logits", &count), *nll = tensor(s, "nll", &count);
    int32_t *ids = calloc(n, sizeof *ids), *targets = calloc(n, sizeof *targets);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)tokens[i];
        targets[i] = i + 1 < n ? (int32_t)tokens[i + 1] : -1;
    }
    float *z = calloc(n * 2048, sizeof *z);
    plmm_workspace *w = workspace(m);
    must(plmm_logits(w, m, NULL, ids, n, z, &err), &err);
    for (size_t i = 0; i < rows; i++) {
        double e = row_error(z + (size_t)row[i] * 2048, want + i * 2048, 2048);
        CHECK(e < 1e-4, "row %zu: relative error %g", (size_t)row[i], e);
    }
    uint32_t len = (uint32_t)n;
    plmm_batch b = {ids, targets, &len, n, 1};
    plmm_loss_sum sum = {0};
    must(plmm_loss(w, m, NULL, &b, &sum, &err), &err);
    double mean = sum.nll / (double)(n - 1);
    CHECK(fabs(mean - (double)nll[0]) < 1e-4, "mean nll %g, not %g", mean, (double)nll[0]);
    free(tokens);
    free(row);
    free(want);
    free(nll);
    free(ids);
    free(targets);
    free(z);
    plmm_workspace_free(w);
    plmm_safetensors_close(s);
    plmm_model_free(m);
}

/* Mean loss of the texts of stories260K.jsonl. */
static double mean_loss(const plmm_model *m)
{
    uint8_t *text = NULL;
    size_t len = 0;
    plmm_error err;
    plmm_workspace *w = workspace(m);
    plmm_json_seq seq;
    plmm_json *v = NULL;
    plmm_loss_sum sum = {0};
    must(plmm_file_read(at("goldens/stories260K.jsonl"), 64 << 20, &text, &len, &err), &err);
    plmm_json_seq_init(&seq, (const char *)text, len, "stories260K.jsonl", NULL);
    while (plmm_json_seq_next(&seq, &v, &err) == PLMM_OK && v != NULL) {
        int32_t ids[512], targets[512];
        uint32_t n = 0;
        const plmm_json *list = plmm_json_get(v, "ids");
        for (const plmm_json *i = plmm_json_first(list);
             i != NULL && n < plmm_model_cfg(m)->context; i = plmm_json_next(i)) {
            ids[n++] = (int32_t)plmm_json_number(i);
        }
        for (uint32_t i = 0; i < n; i++) {
            targets[i] = i + 1 < n ? ids[i + 1] : -1;
        }
        plmm_batch b = {ids, targets, &n, n, 1};
        must(plmm_loss(w, m, NULL, &b, &sum, &err), &err);
        plmm_json_free(v);
    }
    plmm_free(text);
    plmm_workspace_free(w);
    return sum.nll / (double)sum.count;
}

/* The same model as llama.cpp's file: f32 to the bit, q8_0 nearly. */
static void test_gguf(void)
{
    static const char *const files[] = {
        "stories260K/stories260K.bin", "gguf_stories260K/stories260K-f32.gguf",
        "gguf_stories260K/stories260K-q8_0.gguf", "stories260K/stories260K-q8.bin"};
    double loss[4] = {0};
    plmm_error err;
    plmm_model *m[4] = {NULL};
    for (size_t i = 0; i < COUNT(files); i++) {
        must(plmm_checkpoint_load(at(files[i]), &m[i], NULL, &err), &err);
        loss[i] = mean_loss(m[i]);
        (void)fprintf(stderr, "%s: mean loss %.6f\n", files[i], loss[i]);
    }
    size_t n = 0;
    const plmm_view *v = plmm_model_views(m[0], &n);
    for (size_t i = 0; i < n; i++) {
        const plmm_view *u = plmm_model_find(m[1], v[i].name);
        CHECK(u != NULL && memcmp(plmm_model_weights(m[0]) + v[i].offset,
                                  plmm_model_weights(m[1]) + u->offset,
                                  v[i].rows * v[i].cols * sizeof(float)) == 0,
              "%s", v[i].name);
    }
    CHECK(fabs(loss[1] - loss[0]) < 1e-6, "f32");
    CHECK(fabs(loss[2] - loss[0]) < 0.005 && loss[2] != loss[0], "q8_0");
    CHECK(fabs(loss[3] - loss[0]) < 0.005 && loss[3] != loss[0], "int8 groups");
    for (size_t i = 0; i < COUNT(files); i++) {
        plmm_model_free(m[i]);
    }
}

int main(void)
{
    folder = getenv("PLMM_DATA");
    if (folder == NULL) {
        (void)puts("skipped: PLMM_DATA does not name a data folder");
        return EXIT_SUCCESS;
    }
    test_stories260k();
    test_tinystories();
    test_gguf();
    return plmm_test_end();
}
