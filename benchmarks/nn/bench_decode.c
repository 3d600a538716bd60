/* bench_decode [SHAPE [TOKENS]] -- generating greedily on one thread, with the base as f32, bf16,
 * int8 and 4-bit: the bound of one pass over the weights a token (they are only read, by the same
 * kind of loads), one text without adapters, a prompt; one text and 32 texts, each with a rank-8
 * adapter of its own on q, k, v, o; and the score of short answers. One JSON line a result. */
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
                               {"15M", 288, 6, 6, 6, 768, 32000},
                               {"110M", 768, 12, 12, 12, 2048, 32000},
                               {"smollm", 576, 30, 9, 3, 1536, 49152}};

enum { PROMPT = 32, LONG_PROMPT = 128, QUESTIONS = 256, ANSWER = 8, DEVICES = 32 };

static const char *base_name = "f32";

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
    (void)printf("{\"bench\":\"decode\",\"shape\":\"%s\",\"isa\":\"%s\",\"base\":\"%s\","
                 "\"mode\":\"%s\",\"%s\":%.0f}\n",
                 s->name, plmm_nn_isa(), base_name, mode, unit, count / seconds);
    (void)fflush(stdout);
}

static plmm_model *make_model(const shape *s, uint32_t context, plmm_base base)
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
    must(plmm_model_freeze(m, base, &err), &err);
    return m;
}

/* Reads as many octets as the matrices have, again and again. */
static void bench_bound(const shape *s, plmm_base base)
{
    static const double octets[] = {4, 2, 34.0 / 32, 18.0 / 32};
    double head = (double)s->dim / s->heads, q = head * s->heads, kv = head * s->kv_heads;
    double layer = s->dim * (2 * q + 2 * kv + 3.0 * s->hidden);
    size_t n = (size_t)((layer * s->layers + (double)s->vocab * s->dim) * octets[base]) / 64 * 64;
    typedef uint64_t wide __attribute__((vector_size(64)));
    wide *x = aligned_alloc(64, n), sum = {0};
    memset(x, 1, n);
    double best = 1e9;
    for (int run = 0; run < 7; run++) {
        double t = now();
        for (size_t i = 0; i < n / sizeof *x; i++) { /* as fast as one core gets it */
            __builtin_prefetch(x + i + 64);          /* beyond the end is only a hint */
            sum += x[i];
        }
        t = now() - t;
        best = t < best ? t : best;
    }
    volatile uint64_t keep = sum[0] + sum[7];
    (void)keep;
    report(s, "bound: one pass over the weights", 1, best, "tok_per_s");
    free(x);
}

typedef struct job {
    const shape *s;
    const plmm_model *m;
    plmm_adapter *a[DEVICES];
    const plmm_adapter *one[DEVICES][1];
    plmm_stack stacks[DEVICES];
    uint32_t tokens;
} job;

static double batch(const job *j, plmm_decoder *d, size_t count, uint32_t prompt_len,
                    uint32_t max_new, bool adapted)
{
    static int32_t prompt[LONG_PROMPT] = {1, 2, 3};
    plmm_query q[DEVICES] = {{0}};
    plmm_sampling g = plmm_sampling_default();
    plmm_error err;
    g.max_new = max_new;
    for (size_t i = 0; i < count; i++) {
        q[i] = (plmm_query){.prompt = prompt, .n = prompt_len};
        q[i].stack = adapted ? &j->stacks[i] : NULL;
    }
    double t = now();
    must(plmm_generate_batch(d, j->m, NULL, q, count, &g, &err), &err);
    return now() - t;
}

/* Time of the tokens alone: with and without them, the median of three. */
static double texts(const job *j, plmm_decoder *d, size_t count, bool adapted)
{
    double t[3];
    for (int i = 0; i < 3; i++) {
        t[i] = batch(j, d, count, PROMPT, j->tokens + 1, adapted) -
               batch(j, d, count, PROMPT, 1, adapted);
    }
    double low = t[0] < t[1] ? t[0] : t[1], high = t[0] < t[1] ? t[1] : t[0];
    return t[2] < low ? low : t[2] > high ? high : t[2];
}

static plmm_decoder *decoder(const job *j, uint32_t slots, bool own)
{
    plmm_decoder *d = NULL;
    plmm_error err;
    plmm_decoder_params p = {
        .slots = slots, .positions = LONG_PROMPT + j->tokens + 1, .rank = 8, .own_adapters = own};
    must(plmm_decoder_new(plmm_model_cfg(j->m), &p, &d, &err), &err);
    return d;
}

static void bench_texts(const job *j)
{
    plmm_decoder *one = decoder(j, 1, true), *many = decoder(j, DEVICES, true);
    (void)batch(j, one, 1, LONG_PROMPT, 1, false);
    report(j->s, "prompt of 128", LONG_PROMPT, batch(j, one, 1, LONG_PROMPT, 1, false),
           "tok_per_s");
    report(j->s, "text", j->tokens, texts(j, one, 1, false), "tok_per_s");
    double alone = texts(j, one, 1, true), together = texts(j, many, DEVICES, true);
    report(j->s, "text, adapter", j->tokens, alone, "tok_per_s");
    report(j->s, "32 texts, adapters of their own", (double)j->tokens * DEVICES, together,
           "tok_per_s");
    (void)printf("{\"bench\":\"decode\",\"shape\":\"%s\",\"base\":\"%s\",\"mode\":\"32 texts over "
                 "one by one\",\"ratio\":%.2f}\n",
                 j->s->name, base_name, alone * DEVICES / together);
    plmm_decoder_free(one);
    plmm_decoder_free(many);
}

static void bench_score(const job *j, size_t count)
{
    enum { LEN = PROMPT + ANSWER, N = QUESTIONS * LEN };
    static int32_t tokens[N], targets[N];
    static uint32_t lens[QUESTIONS];
    static plmm_loss_sum sums[QUESTIONS];
    plmm_workspace_params p = {.tokens = 4 * LEN, .seq_max = LEN, .rank = 8, .use = PLMM_USE_EVAL};
    plmm_workspace *w = NULL;
    plmm_error err;
    for (size_t i = 0; i < N; i++) {
        tokens[i] = (int32_t)(i * 7 % j->s->vocab);
        targets[i] = i % LEN >= PROMPT ? tokens[i] : -1;
        lens[i / LEN] = LEN;
    }
    plmm_batch b = {tokens, targets, lens, count * LEN, count};
    must(plmm_workspace_new(plmm_model_cfg(j->m), &p, &w, &err), &err);
    double t = now();
    must(plmm_score(w, j->m, &j->stacks[0], &b, sums, &err), &err);
    report(j->s, "score of answers", (double)count, now() - t, "answers_per_s");
    plmm_workspace_free(w);
}

static void bench_base(const shape *s, plmm_base base, uint32_t tokens)
{
    static const char *const names[] = {"f32", "bf16", "int8", "int4"};
    job j = {.s = s, .tokens = tokens};
    plmm_lora_spec spec = {.targets = PLMM_LORA_ATTENTION, .rank = 8, .alpha = 16};
    plmm_model *m = make_model(s, LONG_PROMPT + tokens + ANSWER, base);
    plmm_error err;
    base_name = names[base];
    j.m = m;
    for (size_t i = 0; i < DEVICES; i++) {
        must(plmm_adapter_new(plmm_model_cfg(m), &spec, &j.a[i], &err), &err);
        plmm_adapter_init(j.a[i], i);
        j.one[i][0] = j.a[i];
        j.stacks[i] = (plmm_stack){j.one[i], 1};
    }
    bench_bound(s, base);
    bench_texts(&j);
    if (base == PLMM_BASE_F32) {
        bench_score(&j, tokens < 16 ? 8 : QUESTIONS);
    }
    for (size_t i = 0; i < DEVICES; i++) {
        plmm_adapter_free(j.a[i]);
    }
    plmm_model_free(m);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "ii";
    uint32_t tokens = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(name, "all") == 0 || strcmp(name, shapes[i].name) == 0) {
            for (int base = PLMM_BASE_F32; base <= PLMM_BASE_INT4; base++) {
                bench_base(&shapes[i], (plmm_base)base, tokens);
            }
        }
    }
    return 0;
}
