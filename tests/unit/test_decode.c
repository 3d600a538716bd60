/* nn: decoding with a cache says what the whole forward pass says. */
#include <math.h>

#include "kernels.h"
#include "plmm/alloc.h"
#include "plmm/generate.h"
#include "plmm/train.h"
#include "test.h"
#include "tiny_model.h"

enum { NEW = 24, POSITIONS = 96, QUERIES = 7 };

static size_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    return best;
}

/* Greedy text by running everything again for each token. */
static void slow_greedy(plmm_workspace *w, const plmm_model *m, const plmm_stack *stack,
                        const int32_t *prompt, size_t n, int32_t *out)
{
    size_t vocab = plmm_model_cfg(m)->vocab;
    float *z = calloc(POSITIONS * vocab, sizeof *z);
    int32_t text[POSITIONS];
    plmm_error err;
    memcpy(text, prompt, n * sizeof *text);
    for (size_t i = 0; i < NEW; i++) {
        PLMM_ASSERT(plmm_logits(w, m, stack, text, n + i, z, &err) == PLMM_OK);
        text[n + i] = out[i] = (int32_t)argmax(z + (n + i - 1) * vocab, vocab);
    }
    free(z);
}

typedef struct text {
    int32_t ids[POSITIONS];
    size_t n, stop_after;
} text;

static bool collect(void *user, int32_t token)
{
    text *t = user;
    t->ids[t->n++] = token;
    return t->n != t->stop_after;
}

static plmm_decoder *make_decoder(const plmm_model_config *c, uint32_t slots)
{
    plmm_decoder *d = NULL;
    plmm_error err;
    plmm_decoder_params p = {.slots = slots, .positions = POSITIONS, .rank = 8};
    PLMM_ASSERT(plmm_decoder_new(c, &p, &d, &err) == PLMM_OK);
    return d;
}

static const size_t prompt_lens[QUERIES] = {1, 5, 17, 66, 2, 70, 30};
static int32_t prompts[QUERIES][POSITIONS];

/* One text and a batch of them, with and without adapters, against the slow way. */
static void test_greedy(bool bias, bool adapted)
{
    plmm_model_config c = tiny_config();
    c.qkv_bias = bias;
    c.tied = !bias;
    plmm_model *m = tiny_model(&c, 11);
    plmm_adapter *a = tiny_adapter(&c, PLMM_LORA_ALL, 3, 1);
    plmm_adapter *b = tiny_adapter(&c, PLMM_LORA_K | PLMM_LORA_O, 5, 2);
    const plmm_adapter *two[] = {a, b};
    plmm_stack stack = {two, adapted ? 2 : 0};
    plmm_workspace *w = tiny_workspace(&c, POSITIONS, POSITIONS, PLMM_USE_EVAL);
    plmm_sampling s = plmm_sampling_default();
    s.max_new = NEW;
    static int32_t want[QUERIES][NEW], got[QUERIES][NEW];
    plmm_error err;
    plmm_decoder *one = make_decoder(&c, 1);
    for (size_t i = 0; i < QUERIES; i++) {
        text t = {.n = 0};
        size_t made = 0;
        slow_greedy(w, m, &stack, prompts[i], prompt_lens[i], want[i]);
        CHECK(plmm_generate(one, m, &stack, prompts[i], prompt_lens[i], &s, collect, &t, &made,
                            &err) == PLMM_OK,
              "generate");
        CHECK(made == NEW && t.n == NEW, "%zu tokens", made);
        CHECK(memcmp(t.ids, want[i], sizeof want[i]) == 0, "text %zu differs", i);
    }
    plmm_decoder_free(one);
    for (uint32_t slots = 1; slots <= 9; slots += 4) {
        plmm_decoder *d = make_decoder(&c, slots);
        plmm_query q[QUERIES];
        memset(got, 0, sizeof got);
        for (size_t i = 0; i < QUERIES; i++) {
            q[i] =
                (plmm_query){.prompt = prompts[i], .n = prompt_lens[i], .out = got[i], .cap = NEW};
        }
        CHECK(plmm_generate_batch(d, m, &stack, q, QUERIES, &s, &err) == PLMM_OK, "batch");
        CHECK(memcmp(got, want, sizeof want) == 0, "%u slots", slots);
        plmm_decoder_free(d);
    }
    plmm_workspace_free(w);
    plmm_adapter_free(a);
    plmm_adapter_free(b);
    plmm_model_free(m);
}

static void test_sampling(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 12);
    plmm_decoder *d = make_decoder(&c, 3);
    plmm_sampling s = plmm_sampling_default();
    plmm_error err;
    text greedy = {.n = 0}, narrow = {.n = 0}, nucleus = {.n = 0}, x = {.n = 0}, y = {.n = 0};
    s.max_new = NEW;
    CHECK(plmm_generate(d, m, NULL, prompts[1], 5, &s, collect, &greedy, NULL, &err) == PLMM_OK,
          "generate");
    s.temperature = 1;
    s.top_k = 1;
    CHECK(plmm_generate(d, m, NULL, prompts[1], 5, &s, collect, &narrow, NULL, &err) == PLMM_OK,
          "generate");
    CHECK(memcmp(greedy.ids, narrow.ids, sizeof greedy.ids) == 0, "top_k 1 is greedy");
    s.top_k = 0;
    s.top_p = 1e-6f;
    CHECK(plmm_generate(d, m, NULL, prompts[1], 5, &s, collect, &nucleus, NULL, &err) == PLMM_OK,
          "generate");
    CHECK(memcmp(greedy.ids, nucleus.ids, sizeof greedy.ids) == 0, "a tiny nucleus is greedy");
    s.top_p = 1;
    s.seed = 5;
    CHECK(plmm_generate(d, m, NULL, prompts[1], 5, &s, collect, &x, NULL, &err) == PLMM_OK,
          "generate");
    CHECK(plmm_generate(d, m, NULL, prompts[1], 5, &s, collect, &y, NULL, &err) == PLMM_OK,
          "generate");
    CHECK(memcmp(x.ids, y.ids, sizeof x.ids) == 0, "same seed, same text");
    CHECK(memcmp(x.ids, greedy.ids, sizeof x.ids) != 0, "not greedy");
    plmm_decoder_free(d);
    plmm_model_free(m);
}

/* Frequencies of the first token follow softmax, cut by top_k. */
static void test_distribution(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 13);
    plmm_workspace *w = tiny_workspace(&c, 64, 36, PLMM_USE_EVAL);
    plmm_decoder *d = make_decoder(&c, 1024);
    enum { N = 4000 };
    static plmm_query q[N];
    static int32_t out[N];
    double p[50], sum = 0, gap = 0;
    float z[50];
    plmm_error err;
    CHECK(plmm_logits(w, m, NULL, prompts[0], 1, z, &err) == PLMM_OK, "logits");
    for (size_t i = 0; i < 50; i++) {
        p[i] = exp((double)z[i] / 0.7);
        sum += p[i];
    }
    for (size_t i = 0; i < N; i++) {
        q[i] = (plmm_query){.prompt = prompts[0], .n = 1, .out = &out[i], .cap = 1};
    }
    plmm_sampling s = plmm_sampling_default();
    s.temperature = 0.7f;
    CHECK(plmm_generate_batch(d, m, NULL, q, N, &s, &err) == PLMM_OK, "batch");
    for (size_t i = 0; i < 50; i++) {
        double seen = 0;
        for (size_t j = 0; j < N; j++) {
            seen += out[j] == (int32_t)i;
        }
        gap += fabs(seen / N - p[i] / sum);
    }
    CHECK(gap < 0.1, "total variation %g", gap / 2);
    plmm_decoder_free(d);
    plmm_workspace_free(w);
    plmm_model_free(m);
}

static void test_ends(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 14);
    plmm_decoder *d = make_decoder(&c, 2);
    plmm_sampling s = plmm_sampling_default();
    plmm_error err;
    text all = {.n = 0}, cut = {.stop_after = 4}, stopped = {.n = 0};
    size_t made = 0;
    s.max_new = NEW;
    CHECK(plmm_generate(d, m, NULL, prompts[2], 17, &s, collect, &all, &made, &err) == PLMM_OK,
          "generate");
    CHECK(plmm_generate(d, m, NULL, prompts[2], 17, &s, collect, &cut, &made, &err) == PLMM_OK,
          "generate");
    CHECK(made == 4 && memcmp(all.ids, cut.ids, 4 * sizeof(int32_t)) == 0, "the callback ends it");
    s.stop[0] = all.ids[6];
    s.stops = 1;
    size_t first = 0;
    while (all.ids[first] != all.ids[6]) {
        first++;
    }
    CHECK(plmm_generate(d, m, NULL, prompts[2], 17, &s, collect, &stopped, &made, &err) == PLMM_OK,
          "generate");
    CHECK(made == first, "the stop token ends it after %zu, at %zu", made, first);
    s.stops = 0;
    s.max_new = 1000;
    text full = {.n = 0};
    CHECK(plmm_generate(d, m, NULL, prompts[3], 66, &s, collect, &full, &made, &err) == PLMM_OK,
          "generate");
    CHECK(made == POSITIONS - 66, "the positions end it: %zu", made);
    s.max_new = 0;
    CHECK(plmm_generate(d, m, NULL, prompts[3], 66, &s, collect, &full, &made, &err) == PLMM_OK,
          "generate");
    CHECK(made == 0, "nothing asked, nothing made");
    plmm_decoder_free(d);
    plmm_model_free(m);
}

static void test_refusals(void)
{
    plmm_model_config c = tiny_config(), other = c;
    other.vocab = 51;
    plmm_model *m = tiny_model(&c, 15), *wrong = tiny_model(&other, 15);
    plmm_decoder *d = make_decoder(&c, 2), *none = NULL;
    plmm_sampling s = plmm_sampling_default();
    plmm_error err;
    int32_t bad[2] = {3, 50};
    CHECK(plmm_generate(d, m, NULL, bad, 0, &s, NULL, NULL, NULL, &err) == PLMM_ERR_RANGE, "empty");
    CHECK(plmm_generate(d, m, NULL, bad, 2, &s, NULL, NULL, NULL, &err) == PLMM_ERR_RANGE, "token");
    CHECK(plmm_generate(d, m, NULL, bad, POSITIONS + 1, &s, NULL, NULL, NULL, &err) ==
              PLMM_ERR_RANGE,
          "too long");
    CHECK(plmm_generate(d, wrong, NULL, bad, 1, &s, NULL, NULL, NULL, &err) == PLMM_ERR_CONFIG,
          "shape");
    s.temperature = -1;
    CHECK(plmm_generate(d, m, NULL, bad, 1, &s, NULL, NULL, NULL, &err) == PLMM_ERR_RANGE, "cold");
    s = plmm_sampling_default();
    s.top_p = 0;
    CHECK(plmm_generate(d, m, NULL, bad, 1, &s, NULL, NULL, NULL, &err) == PLMM_ERR_RANGE, "top_p");
    plmm_decoder_params p = {.slots = 0, .positions = 5};
    CHECK(plmm_decoder_new(&c, &p, &none, &err) == PLMM_ERR_RANGE, "no slot");
    p = (plmm_decoder_params){.slots = 1, .positions = 97};
    CHECK(plmm_decoder_new(&c, &p, &none, &err) == PLMM_ERR_RANGE, "beyond the context");
    p.positions = 8;
    for (long k = 0; k < 2; k++) {
        plmm_alloc_fail_at(k);
        CHECK(plmm_decoder_new(&c, &p, &none, &err) == PLMM_ERR_NOMEM, "no memory");
        plmm_alloc_fail_at(-1);
    }
    plmm_decoder_free(d);
    plmm_model_free(m);
    plmm_model_free(wrong);
}

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    for (size_t i = 0; i < QUERIES; i++) {
        for (size_t j = 0; j < POSITIONS; j++) {
            prompts[i][j] = (int32_t)plmm_rng_below(&r, 50);
        }
    }
    size_t tables = 0;
    const plmm__kernels *const *all = plmm__kernels_all(&tables);
    for (size_t k = 0; k < tables; k++) {
        plmm__kernels_use(all[k]);
        (void)fprintf(stderr, "%s\n", plmm_nn_isa());
        test_greedy(false, false);
        test_greedy(true, true);
    }
    plmm__kernels_use(NULL);
    test_sampling();
    test_distribution();
    test_ends();
    test_refusals();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
