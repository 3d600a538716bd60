/* Exactness on real files: PLMM_DATA names a folder with goldens/, stories260K/, tokenizers/,
 * tinystories656K_hf/ and rouge_ref/. Without it nothing is checked. */
#include "plmm/alloc.h"
#include "plmm/checkpoint.h"
#include "plmm/dialogue.h"
#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/score.h"
#include "plmm/tokenizer.h"
#include "plmm/train.h"
#include "test.h"

#include <math.h>

static const char *folder;

static const char *at(const char *rest)
{
    static char path[PLMM_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", folder, rest);
    return path;
}

static char *text_of(const char *rest, size_t *len)
{
    uint8_t *bytes = NULL;
    plmm_error err = {0};
    CHECK(plmm_file_read(at(rest), 64 << 20, &bytes, len, &err) == PLMM_OK, "%s", err.msg);
    return (char *)bytes;
}

static bool same_ids(const plmm_ids *ids, const plmm_json *list)
{
    size_t i = 0;
    for (const plmm_json *v = plmm_json_first(list); v != NULL; v = plmm_json_next(v), i++) {
        if (i >= ids->n || ids->v[i] != (int32_t)plmm_json_number(v)) {
            return false;
        }
    }
    return i == ids->n;
}

/* {"text", "ids"} lines. */
static void check_encodings(const char *lines, const char *tokenizer, unsigned flags,
                            bool round_trip)
{
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    plmm_json_seq seq;
    plmm_json *v = NULL;
    size_t len = 0, n = 0, good = 0, back = 0;
    char *text = text_of(lines, &len);
    CHECK(plmm_tokenizer_load(at(tokenizer), &t, &err) == PLMM_OK, "%s", err.msg);
    if (t == NULL || text == NULL) {
        return;
    }
    plmm_json_seq_init(&seq, text, len, lines, NULL);
    while (plmm_json_seq_next(&seq, &v, &err) == PLMM_OK && v != NULL) {
        plmm_ids ids = {0};
        const char *s = plmm_json_text(plmm_json_get(v, "text"));
        char *out = NULL;
        CHECK(plmm_tokenizer_encode(t, s, strlen(s), flags, &ids, &err) == PLMM_OK, "%s", err.msg);
        bool same = same_ids(&ids, plmm_json_get(v, "ids"));
        CHECK(same, "%s: %s", lines, s);
        CHECK(plmm_tokenizer_decode(t, ids.v, ids.n, PLMM_DECODE_SKIP_SPECIALS, &out, &len, &err) ==
                  PLMM_OK,
              "%s", err.msg);
        bool equal = strcmp(out, s) == 0;
        CHECK(equal || !round_trip, "%s: \"%s\" became \"%s\"", lines, s, out);
        n++;
        good += same;
        back += equal;
        plmm_free(out);
        plmm_ids_free(&ids);
        plmm_json_free(v);
    }
    (void)printf("%s: %zu of %zu equal, %zu decode to the text\n", lines, good, n, back);
    CHECK(n > 0, "%s", lines);
    plmm_tokenizer_free(t);
    plmm_free(text);
}

/* llama.cpp's files: texts separated by a mark, a line of ids for each. */
static void check_llama_cpp(const char *inp, const char *out, const plmm_tokenizer *t)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    size_t len, n = 0, good = 0;
    char *texts = text_of(inp, &len), *lines = text_of(out, &len);
    char *s = texts, *line = lines;
    while (s != NULL && line != NULL && *line != '\0') {
        char *end = strstr(s, mark), *eol = strchr(line, '\n');
        size_t n_text = end != NULL ? (size_t)(end - s) : strlen(s);
        plmm_ids ids = {0};
        plmm_error err;
        CHECK(plmm_tokenizer_encode(t, s, n_text, 0, &ids, &err) == PLMM_OK, "%s", err.msg);
        bool same = true;
        size_t i = 0;
        for (char *p = line, *q; p < eol; p = q, i++) {
            long id = strtol(p, &q, 10);
            if (q == p) {
                break;
            }
            same = same && i < ids.n && ids.v[i] == id;
        }
        same = same && i == ids.n;
        CHECK(same, "%s: text %zu: \"%.*s\"", inp, n, (int)n_text, s);
        n++;
        good += same;
        plmm_ids_free(&ids);
        s = end != NULL ? end + sizeof mark - 1 : NULL;
        line = eol != NULL ? eol + 1 : NULL;
    }
    (void)printf("%s: %zu of %zu equal\n", inp, good, n);
    plmm_free(texts);
    plmm_free(lines);
}

static void check_tokenizers(void)
{
    static const char *const llama2[] = {"tokenizers/llama2-32k/tokenizer.bin",
                                         "tokenizers/llama2-32k/tokenizer.model",
                                         "tokenizers/llama.cpp-vocab/ggml-vocab-llama-spm.gguf"};
    static const char *const gpt2[] = {"tokenizers/gpt2",
                                       "tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf"};
    plmm_error err = {0};
    plmm_tokenizer *t = NULL;
    for (size_t i = 0; i < COUNT(gpt2); i++) {
        CHECK(plmm_tokenizer_load(at(gpt2[i]), &t, &err) == PLMM_OK, "%s", err.msg);
        if (t != NULL) {
            CHECK(plmm_tokenizer_eos(t) == 50256, "%d", plmm_tokenizer_eos(t));
            check_llama_cpp("tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf.inp",
                            "tokenizers/llama.cpp-vocab/ggml-vocab-gpt-2.gguf.out", t);
        }
        plmm_tokenizer_free(t);
        t = NULL;
    }
    for (size_t i = 0; i < COUNT(llama2); i++) {
        CHECK(plmm_tokenizer_load(at(llama2[i]), &t, &err) == PLMM_OK, "%s", err.msg);
        if (t != NULL) {
            CHECK(plmm_tokenizer_bos(t) == 1 && plmm_tokenizer_eos(t) == 2, "%s", llama2[i]);
            check_llama_cpp("tokenizers/llama.cpp-vocab/ggml-vocab-llama-spm.gguf.inp",
                            "tokenizers/llama.cpp-vocab/ggml-vocab-llama-spm.gguf.out", t);
        }
        plmm_tokenizer_free(t);
        t = NULL;
    }
}

/* The three versions of one llama2.c model hold the same weights. */
static void check_llama2c(void)
{
    static const char *const files[] = {"stories260K/stories260K.bin",
                                        "stories260K/stories260K_v1.bin",
                                        "stories260K/stories260K-q8.bin"};
    plmm_model *m[3] = {0};
    plmm_error err = {0};
    for (size_t i = 0; i < 3; i++) {
        CHECK(plmm_checkpoint_load(at(files[i]), &m[i], NULL, &err) == PLMM_OK, "%s", err.msg);
    }
    if (m[0] != NULL && m[1] != NULL && m[2] != NULL) {
        size_t n = plmm_model_count(m[0]);
        double worst[2] = {0};
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < 2; k++) {
                double d = fabs((double)plmm_model_weights(m[0])[i] -
                                (double)plmm_model_weights(m[k + 1])[i]);
                worst[k] = d > worst[k] ? d : worst[k];
            }
        }
        (void)printf("stories260K: largest difference of weights v1 %g, q8 %g\n", worst[0],
                     worst[1]);
        CHECK(worst[0] == 0, "%g", worst[0]);
        CHECK(worst[1] < 0.05, "%g", worst[1]);
    }
    for (size_t i = 0; i < 3; i++) {
        plmm_model_free(m[i]);
    }
}

/* run.c's logits of every position of the golden texts, and the mean loss of a story. */
static void check_stories(void)
{
    plmm_model *m = NULL;
    plmm_workspace *w = NULL;
    plmm_error err = {0};
    plmm_json_seq seq;
    plmm_json *v = NULL;
    size_t len = 0, logits_len = 0, row = 0;
    double worst = 0, largest = 0;
    char *lines = text_of("goldens/stories260K.jsonl", &len);
    char *logits = text_of("goldens/stories260K_logits.f32", &logits_len);
    CHECK(plmm_checkpoint_load(at("stories260K/stories260K.bin"), &m, NULL, &err) == PLMM_OK, "%s",
          err.msg);
    plmm_workspace_params p = {.tokens = 512, .seq_max = 512, .use = PLMM_USE_EVAL};
    CHECK(plmm_workspace_new(plmm_model_cfg(m), &p, &w, &err) == PLMM_OK, "%s", err.msg);
    plmm_json_seq_init(&seq, lines, len, "stories260K.jsonl", NULL);
    while (plmm_json_seq_next(&seq, &v, &err) == PLMM_OK && v != NULL) {
        int32_t ids[512];
        size_t n = 0;
        for (const plmm_json *x = plmm_json_first(plmm_json_get(v, "ids")); x != NULL;
             x = plmm_json_next(x)) {
            ids[n++] = (int32_t)plmm_json_number(x);
        }
        float *out = plmm_alloc(n * 512, sizeof *out);
        CHECK(plmm_logits(w, m, NULL, ids, n, out, &err) == PLMM_OK, "%s", err.msg);
        for (size_t i = 0; i < n * 512; i++, row++) {
            float want;
            memcpy(&want, logits + 4 * row, sizeof want);
            worst = fmax(worst, fabs((double)out[i] - (double)want));
            largest = fmax(largest, fabs((double)want));
        }
        plmm_free(out);
        plmm_json_free(v);
    }
    (void)printf("stories260K: %zu logits, largest difference %.2g of %.3g: %.2g relative\n", row,
                 worst, largest, worst / largest);
    CHECK(row * 4 == logits_len && worst / largest < 1e-4, "%g", worst);
    plmm_workspace_free(w);
    plmm_model_free(m);
    plmm_free(lines);
    plmm_free(logits);
}

static void check_story_loss(void)
{
    plmm_model *m = NULL;
    plmm_workspace *w = NULL;
    plmm_error err = {0};
    plmm_json *v = NULL;
    size_t len = 0;
    char *text = text_of("goldens/stories260K_story_nll.json", &len);
    CHECK(plmm_json_parse(text, len, "nll", NULL, &v, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_checkpoint_load(at("stories260K/stories260K.bin"), &m, NULL, &err) == PLMM_OK, "%s",
          err.msg);
    int32_t ids[512], targets[512];
    uint32_t n = 0;
    for (const plmm_json *x = plmm_json_first(plmm_json_get(v, "ids")); x != NULL;
         x = plmm_json_next(x)) {
        ids[n++] = (int32_t)plmm_json_number(x);
    }
    for (uint32_t i = 0; i < n; i++) {
        targets[i] = i + 1 < n ? ids[i + 1] : -1;
    }
    plmm_workspace_params p = {.tokens = 512, .seq_max = 512, .use = PLMM_USE_EVAL};
    plmm_batch b = {ids, targets, &n, n, 1};
    plmm_loss_sum sum = {0};
    CHECK(plmm_workspace_new(plmm_model_cfg(m), &p, &w, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_loss(w, m, NULL, &b, &sum, &err) == PLMM_OK, "%s", err.msg);
    double want = plmm_json_number(plmm_json_get(v, "mean_nll"));
    double got = sum.nll / (double)sum.count;
    (void)printf("story of %u tokens: mean loss %.7f, expected %.7f\n", n, got, want);
    CHECK(want > 0 && fabs(got - want) < 1e-4 * want, "%g", got);
    plmm_workspace_free(w);
    plmm_model_free(m);
    plmm_json_free(v);
    plmm_free(text);
}

static void check_rouge(void)
{
    plmm_json_seq seq;
    plmm_json *v = NULL;
    plmm_error err = {0};
    size_t len = 0, n = 0, good = 0;
    char *lines = text_of("rouge_ref/rouge1_cases.jsonl", &len);
    plmm_json_seq_init(&seq, lines, len, "rouge1_cases.jsonl", NULL);
    while (plmm_json_seq_next(&seq, &v, &err) == PLMM_OK && v != NULL) {
        const plmm_json *want = plmm_json_get(v, "rouge1");
        plmm_rouge g = {0};
        CHECK(plmm_rouge1(plmm_json_text(plmm_json_get(v, "reference")),
                          plmm_json_text(plmm_json_get(v, "hypothesis")), &g, &err) == PLMM_OK,
              "%s", err.msg);
        bool same = fabs(g.precision - plmm_json_number(plmm_json_get(want, "p"))) < 5.1e-6 &&
                    fabs(g.recall - plmm_json_number(plmm_json_get(want, "r"))) < 5.1e-6 &&
                    fabs(g.f - plmm_json_number(plmm_json_get(want, "f"))) < 5.1e-6;
        CHECK(same, "case %zu: %g %g %g", n, g.precision, g.recall, g.f);
        n++;
        good += same;
        plmm_json_free(v);
    }
    (void)printf("rouge1: %zu of %zu equal\n", good, n);
    plmm_free(lines);
}

/* Every collection that the reader understands, to its end. */
static void check_dialogues(void)
{
    static const char *const files[] = {"msc/session-2-valid.json",
                                        "msc/session-5-valid.json",
                                        "chatdoctor/chatdoctor5k.json",
                                        "tldr/tldr_en.jsonl",
                                        "personachat/valid.json",
                                        "dailydialog/valid.json",
                                        "sgd/sgd_train.jsonl",
                                        "esconv/esconv_dev.jsonl",
                                        "codealpaca/code_alpaca_2k.json",
                                        "empathetic_dialogues/valid.json"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        plmm_dialogue_reader *r = NULL;
        const plmm_dialogue *d = NULL;
        plmm_error err = {0};
        size_t n = 0;
        plmm_status rc = plmm_dialogue_open(at(files[i]), &r, &err);
        while (rc == PLMM_OK && (rc = plmm_dialogue_next(r, &d, &err)) == PLMM_OK && d != NULL) {
            n++;
        }
        (void)printf("%s: %zu pairs\n", files[i], n);
        CHECK(rc == PLMM_OK && n > 0, "%s", err.msg);
        plmm_dialogue_close(r);
    }
}

int main(int argc, char **argv)
{
    folder = argc > 1 ? argv[1] : getenv("PLMM_DATA");
    if (folder == NULL) {
        (void)printf("PLMM_DATA is not set: nothing checked\n");
        return EXIT_SUCCESS;
    }
    check_encodings("goldens/enc_tok512_runc.jsonl", "stories260K/tok512.bin", 0, true);
    check_encodings("goldens/stories260K.jsonl", "stories260K/tok512.bin", PLMM_ENCODE_BOS, true);
    check_tokenizers();
    check_llama2c();
    check_stories();
    check_story_loss();
    check_rouge();
    check_dialogues();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
