/* bench_decode [SHAPE [TOKENS]] -- greedy decoding with a rank-8 adapter on q, k, v, o on one
 * thread: one text, 32 texts at once, and the score of short answers. One JSON line a result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plmm/generate.h"
#include "plmm/train.h"

typedef struct shape {
    const char *name;
    uint32_t dim, layers, heads, kv_heads, hidden, vocab;
} shape;

static const shape shapes[] = {{"i", 64, 4, 4, 4, 192, 512},
                               {"ii", 128, 6, 4, 4, 384, 1024},
                               {"15M", 288, 6, 6, 6, 768, 32000}};

enum { PROMPT = 32, QUESTIONS = 256, ANSWER = 8 };

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID,
                        &t); /* one thread: what neighbours take does not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_decode: %s\n", err->msg);
        exit(1);
    }
}

static void report(const shape *s, const char *mode, double count, double seconds, const char *unit)
{
    (void)printf(
        "{\"bench\":\"decode\",\"shape\":\"%s\",\"isa\":\"%s\",\"mode\":\"%s\",\"%s\":%.0f}\n",
        s->name, plmm_nn_isa(), mode, unit, count / seconds);
    (void)fflush(stdout);
}

static plmm_model *make_model(const shape *s, uint32_t context)
{
    plmm_model_config c = {.dim = s->dim,
                           .layers = s->layers,
                           .heads = s->heads,
                           .kv_heads = s->kv_heads,
                           .head_dim = s->dim / s->heads,
                           .hidden = s->hidden,
                           .vocab = s->vocab,
                           .context = context,
                           .rope_theta = 10000,
                           .norm_eps = 1e-5f,
                           .tied = true,
                           .bos = -1,
                           .eos = -1,
                           .pad = -1};
    plmm_model *m = NULL;
    plmm_error err;
    must(plmm_model_new(&c, &m, &err), &err);
    plmm_model_init_random(m, 1);
    must(plmm_model_seal(m, &err), &err);
    return m;
}

static void bench_texts(const shape *s, const plmm_model *m, const plmm_stack *stack,
                        uint32_t slots, uint32_t tokens)
{
    plmm_decoder *d = NULL;
    plmm_error err;
    plmm_decoder_params p = {.slots = slots, .positions = PROMPT + tokens, .rank = 8};
    plmm_sampling g = plmm_sampling_default();
    int32_t prompt[PROMPT] = {1, 2, 3};
    plmm_query *q = calloc(slots, sizeof *q);
    int32_t *out = calloc((size_t)slots * tokens, sizeof *out);
    must(plmm_decoder_new(plmm_model_cfg(m), &p, &d, &err), &err);
    g.max_new = 1;
    for (uint32_t round = 0; round < 2; round++) { /* the prompts alone, then with the answers */
        for (uint32_t i = 0; i < slots; i++) {
            q[i] = (plmm_query){
                .prompt = prompt, .n = PROMPT, .out = out + (size_t)i * tokens, .cap = tokens};
        }
        double t = now();
        must(plmm_generate_batch(d, m, stack, q, slots, &g, &err), &err);
        t = now() - t;
        if (round == 0) {
            report(s, slots == 1 ? "prompt" : "prompts of 32", (double)slots * PROMPT, t,
                   "tok_per_s");
        } else {
            report(s, slots == 1 ? "text" : "32 texts", (double)slots * tokens, t, "tok_per_s");
        }
        g.max_new = tokens;
    }
    free(q);
    free(out);
    plmm_decoder_free(d);
}

static void bench_score(const shape *s, const plmm_model *m, const plmm_stack *stack, size_t count)
{
    enum { LEN = PROMPT + ANSWER, N = QUESTIONS * LEN };
    static int32_t tokens[N], targets[N];
    static uint32_t lens[QUESTIONS];
    static plmm_loss_sum sums[QUESTIONS];
    plmm_workspace_params p = {.tokens = 4 * LEN, .seq_max = LEN, .rank = 8, .use = PLMM_USE_EVAL};
    plmm_workspace *w = NULL;
    plmm_error err;
    for (size_t i = 0; i < N; i++) {
        tokens[i] = (int32_t)(i * 7 % s->vocab);
        targets[i] = i % LEN >= PROMPT ? tokens[i] : -1;
        lens[i / LEN] = LEN;
    }
    plmm_batch b = {tokens, targets, lens, count * LEN, count};
    must(plmm_workspace_new(plmm_model_cfg(m), &p, &w, &err), &err);
    double t = now();
    must(plmm_score(w, m, stack, &b, sums, &err), &err);
    report(s, "score of answers", (double)count, now() - t, "answers_per_s");
    plmm_workspace_free(w);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "ii";
    uint32_t tokens = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 128;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const shape *s = &shapes[i];
        if (strcmp(name, "all") == 0 || strcmp(name, s->name) == 0) {
            plmm_model *m = make_model(s, PROMPT + tokens + ANSWER);
            plmm_adapter *a = NULL;
            plmm_error err;
            plmm_lora_spec spec = {.targets = PLMM_LORA_ATTENTION, .rank = 8, .alpha = 16};
            must(plmm_adapter_new(plmm_model_cfg(m), &spec, &a, &err), &err);
            plmm_adapter_init(a, 1);
            const plmm_adapter *one[1] = {a};
            plmm_stack stack = {one, 1};
            bench_texts(s, m, &stack, 1, tokens);
            bench_texts(s, m, &stack, 32, tokens);
            bench_score(s, m, &stack, tokens < 16 ? 8 : QUESTIONS);
            plmm_adapter_free(a);
            plmm_model_free(m);
        }
    }
    return 0;
}
