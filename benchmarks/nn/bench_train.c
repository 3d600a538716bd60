/* bench_train [SHAPE [SECONDS [BASE [recompute]]]] -- a LoRA step and (small models) a full step on one thread
 * (processor time), beside what the processor's fused multiply-adds reach between the steps, and what
 * a product of 512 x 288 by 288 x 768 reaches by OpenBLAS's sgemm and by ours. SHAPE: i, ii, iii, iv
 * or all; BASE: f32 (default), bf16, int8, int4, or all. One JSON line a result; "share" is the
 * median over the steps of a step's FLOP/s over the multiply-adds' around it. OPENBLAS_CORETYPE=
 * SkylakeX helps an OpenBLAS that does not know the processor. "announced_mib" is what
 * plmm_train_memory_of() says, "peak_mib" the most that was resident during the steps (Linux),
 * "start_mib" what was resident before anything was made.
 *
 * FLOP of a LoRA step (nothing recomputed is counted): per token 2 for each base weight forward and 2
 * backward (without the first layer's q, k, v backward), 6 for each adapter weight, attention
 * 3 * 2 * layers * seq * dim; of a full step 6 for each weight. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"
#include "plmm/model.h"
#include "plmm/train.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

extern char *openblas_get_corename(void);
extern void openblas_set_num_threads(int n);

typedef struct shape {
    const char *name;
    uint32_t dim, layers, heads, kv_heads, hidden, vocab, seq, batch;
} shape;

static const shape shapes[] = {{"260K", 64, 5, 8, 4, 172, 512, 128, 4},
                               {"i", 64, 4, 4, 4, 192, 512, 64, 4},
                               {"ii", 128, 6, 4, 4, 384, 1024, 128, 4},
                               {"iii", 288, 6, 6, 6, 768, 32000, 128, 4},
                               {"iv", 576, 30, 9, 3, 1536, 49152, 128, 1}};

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID,
                        &t); /* one thread: what neighbours take does not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double wall(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A line of /proc/self/status in MiB, 0 where there is none. */
static double resident_mib(const char *key)
{
    char line[200];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            kib = strtod(line + strlen(key), NULL);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return kib / 1024;
}

/* The peak counts from here on. */
static void reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f != NULL) {
        (void)fputs("5", f);
        (void)fclose(f);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, by_value);
    return x[n / 2];
}

/* GFLOP/s of fused multiply-adds that wait for nothing, about 0.2 ms of them. */
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static double fma_512(void)
{
    enum { CHAINS = 24, TURNS = 10000 };
    __m512 s[CHAINS], x = _mm512_set1_ps(0.5f);
#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; i++) {
        s[i] = _mm512_set1_ps((float)i);
    }
    double t = now();
    for (int k = 0; k < TURNS; k++) {
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS; i++) {
            s[i] = _mm512_fmadd_ps(s[i], x, x);
            __asm__ volatile("" : "+v"(s[i]));
        }
    }
    return 1e-9 * 32 * CHAINS * TURNS / (now() - t);
}

__attribute__((target("avx2,fma"))) static double fma_256(void)
{
    enum { CHAINS = 12, TURNS = 20000 };
    __m256 s[CHAINS], x = _mm256_set1_ps(0.5f);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) {
        s[i] = _mm256_set1_ps((float)i);
    }
    double t = now();
    for (int k = 0; k < TURNS; k++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) {
            s[i] = _mm256_fmadd_ps(s[i], x, x);
            __asm__ volatile("" : "+x"(s[i]));
        }
    }
    return 1e-9 * 16 * CHAINS * TURNS / (now() - t);
}

static double fma_rate(void)
{
    return __builtin_cpu_supports("avx512f") ? fma_512()
           : __builtin_cpu_supports("fma")   ? fma_256()
                                             : 0;
}
#else
static double fma_rate(void)
{
    return 0;
}
#endif

enum { M = 512, N = 768, K = 288 };

static void by_blas(const float *a, const float *b, float *c)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, M, N, K, 1, a, K, b, N, 0, c, N);
}

static void by_us(const float *a, const float *b, float *c)
{
    plmm__kernels_best()->gemm(M, N, K, a, K, 1, b, N, c, N, false);
}

/* GFLOP/s, the best of a number of runs. */
static double ceiling(void (*product)(const float *a, const float *b, float *c), int runs)
{
    float *a = calloc((size_t)M * K, 4), *b = calloc((size_t)K * N, 4),
          *c = calloc((size_t)M * N, 4);
    double best = 1e9;
    for (int i = 0; i < runs; i++) {
        double t = now();
        product(a, b, c);
        t = now() - t;
        best = t < best ? t : best;
    }
    free(a);
    free(b);
    free(c);
    return 2e-9 * M * N * K / best;
}

static plmm_model_config config_of(const shape *s)
{
    return (plmm_model_config){.dim = s->dim,
                               .layers = s->layers,
                               .heads = s->heads,
                               .kv_heads = s->kv_heads,
                               .head_dim = s->dim / s->heads,
                               .hidden = s->hidden,
                               .vocab = s->vocab,
                               .context = s->seq,
                               .rope_theta = 10000,
                               .norm_eps = 1e-5f,
                               .tied = true,
                               .bos = -1,
                               .eos = -1,
                               .pad = -1};
}

static double base_flop_per_token(const shape *s)
{
    double d = s->dim, kv = d / s->heads * s->kv_heads;
    return s->layers * (2 * d * d + 2 * d * kv + 3 * d * s->hidden) + (double)s->vocab * d;
}

static double attention_flop_per_token(const shape *s)
{
    return 3.0 * 2.0 * s->layers * s->seq * s->dim;
}

typedef struct bench {
    const shape *s;
    plmm_model *m;
    plmm_adapter *a;
    plmm_adamw *o;
    plmm_workspace *w;
    plmm_shards *shards;
    plmm_batch b;
    float *grads;
    plmm_train_memory memory; /* announced */
} bench;

static void fill_batch(bench *x)
{
    size_t n = (size_t)x->s->seq * x->s->batch;
    int32_t *tokens = calloc(n, sizeof *tokens), *targets = calloc(n, sizeof *targets);
    uint32_t *lens = calloc(x->s->batch, sizeof *lens), seed = 1;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((seed >> 8) % x->s->vocab);
        targets[i] = (int32_t)((seed >> 4) % x->s->vocab);
    }
    for (uint32_t i = 0; i < x->s->batch; i++) {
        lens[i] = x->s->seq;
    }
    x->b = (plmm_batch){
        .tokens = tokens, .targets = targets, .lens = lens, .count = n, .seqs = x->s->batch};
}

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "bench_train: %s\n", err->msg);
        exit(1);
    }
}

static bool recompute; /* an argument of the program */

static void set_up(bench *x, plmm_workspace_use use, uint32_t tokens, plmm_base base)
{
    plmm_model_config c = config_of(x->s);
    plmm_lora_spec spec = {.targets = PLMM_LORA_ATTENTION, .rank = 8, .alpha = 16};
    plmm_workspace_params p = {
        .tokens = tokens, .seq_max = x->s->seq, .rank = 8, .use = use, .recompute = recompute};
    plmm_adamw_params ap = plmm_adamw_params_default();
    plmm_error err;
    must(plmm_model_new(&c, &x->m, &err), &err);
    plmm_model_init_random(x->m, 1);
    must(plmm_model_freeze(x->m, base, &err), &err);
    must(plmm_adapter_new(&c, &spec, &x->a, &err), &err);
    plmm_adapter_init(x->a, 1);
    bool full = use == PLMM_USE_FULL;
    size_t n = full ? plmm_model_count(x->m) : plmm_adapter_count(x->a);
    must(plmm_adamw_new(n, &ap, &x->o, &err), &err);
    x->grads = calloc(n, sizeof *x->grads);
    x->memory = plmm_train_memory_of(&c, base, &spec, &p);
    if (full) {
        must(plmm_shards_new(&c, &p, 1, &x->shards, &err), &err);
    } else {
        must(plmm_workspace_new(&c, &p, &x->w, &err), &err);
    }
    fill_batch(x);
}

static void tear_down(bench *x)
{
    free((void *)(uintptr_t)x->b.tokens);
    free((void *)(uintptr_t)x->b.targets);
    free((void *)(uintptr_t)x->b.lens);
    free(x->grads);
    plmm_shards_free(x->shards);
    plmm_workspace_free(x->w);
    plmm_adamw_free(x->o);
    plmm_adapter_free(x->a);
    plmm_model_free(x->m);
}

static void step(bench *x)
{
    plmm_error err;
    plmm_step_params p = {.lr = 1e-3f, .clip = 1, .factors = PLMM_FACTOR_AB};
    if (x->shards != NULL) {
        must(plmm_step_full(x->shards, NULL, x->m, x->o, &x->b, &p, x->grads, NULL, &err), &err);
    } else {
        const plmm_adapter *one[1] = {x->a};
        plmm_stack stack = {one, 1};
        must(plmm_step_lora(x->w, x->m, &stack, x->a, x->o, &x->b, &p, x->grads, NULL, &err), &err);
    }
}

static double flop_of(const bench *x, plmm_workspace_use use)
{
    const shape *s = x->s;
    double d = s->dim, kv = d / s->heads * s->kv_heads, attention = attention_flop_per_token(s);
    double per_token = use == PLMM_USE_FULL
                           ? 6 * base_flop_per_token(s) + attention
                           : 4 * base_flop_per_token(s) - 2 * (d * d + 2 * d * kv) +
                                 6 * s->layers * 8.0 * (4 * d + 2 * (d + kv)) + attention;
    return per_token * (double)x->b.count;
}

static const char *const base_names[] = {"f32", "bf16", "int8", "int4"};

static void measure(const shape *s, plmm_workspace_use use, uint32_t tokens, double seconds,
                    plmm_base base)
{
    enum { MAX = 4000 };
    static double times[MAX], walls[MAX], shares[MAX];
    int runs = seconds < 0.1 ? 1 : 30;
    bench x = {.s = s};
    double start = resident_mib("VmRSS:");
    set_up(&x, use, tokens, base);
    reset_peak();
    step(&x);
    size_t n = 0;
    double flop = flop_of(&x, use), rate = fma_rate(), top = rate;
    for (double t0 = now(); n < 3 || (n < MAX && now() - t0 < seconds); n++) {
        double t = now(), t1 = wall();
        step(&x);
        times[n] = now() - t;
        walls[n] = wall() - t1;
        double after = fma_rate();
        shares[n] = 1e-9 * flop / times[n] / ((rate + after) / 2);
        rate = after;
        top = rate > top ? rate : top;
    }
    double peak = resident_mib("VmHWM:"), t = median(times, n), share = median(shares, n);
    (void)printf(
        "{\"bench\":\"train\",\"mode\":\"%s\",\"shape\":\"%s\",\"base\":\"%s\",\"isa\":\"%s\","
        "\"recompute\":%s,\"chunk\":%u,\"steps\":%zu,\"ms\":%.3f,\"wall_ms\":%.3f,\"best_ms\":%.3f,"
        "\"tok_per_s\":%.0f,"
        "\"gflop_per_s\":%.1f,\"fma_gflop_per_s\":%.1f,\"share\":%.3f,\"workspace_mib\":%.1f,"
        "\"announced_mib\":%.1f,\"peak_mib\":%.1f,\"start_mib\":%.1f,"
        "\"sgemm_gflop_per_s\":%.1f,\"own_gemm_gflop_per_s\":%.1f,\"blas\":\"%s\"}\n",
        use == PLMM_USE_FULL ? "full" : "lora", s->name, base_names[base], plmm_nn_isa(),
        recompute ? "true" : "false", tokens, n, 1e3 * t, 1e3 * median(walls, n), 1e3 * times[0],
        (double)x.b.count / t, 1e-9 * flop / t, top, share, (double)x.memory.workspace / 1048576.0,
        (double)x.memory.total / 1048576.0, peak, start, ceiling(by_blas, runs),
        ceiling(by_us, runs), openblas_get_corename());
    (void)fflush(stdout);
    tear_down(&x);
}

static void measure_shape(const shape *s, double seconds, const char *base)
{
    for (unsigned i = 0; i < sizeof base_names / sizeof base_names[0]; i++) {
        if (strcmp(base, "all") == 0 || strcmp(base, base_names[i]) == 0) {
            measure(s, PLMM_USE_LORA, s->seq * s->batch, seconds, (plmm_base)i);
        }
    }
    if (strcmp(base, "f32") == 0 && s->batch > 1) {
        measure(s, PLMM_USE_LORA, s->seq, seconds, PLMM_BASE_F32);
    }
    if (strcmp(base, "f32") == 0 && s->vocab < 4096) {
        measure(s, PLMM_USE_FULL, s->seq, seconds, PLMM_BASE_F32);
    }
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "ii";
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 2.0;
    recompute = argc > 4 && strcmp(argv[4], "recompute") == 0;
    openblas_set_num_threads(1);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const shape *s = &shapes[i];
        if (strcmp(name, "all") == 0 || strcmp(name, s->name) == 0) {
            measure_shape(s, seconds, argc > 3 ? argv[3] : "f32");
        }
    }
    return 0;
}
