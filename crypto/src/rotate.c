/* Signs, scale, and which coordinates are transformed. */
#include "rotate_internal.h"

#include "plmm/mask.h"
#include "simd_internal.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#define HAVE_X86 1
#else
#define HAVE_X86 0
#endif

const plmm__hadamard_path *const *plmm__hadamard_paths(size_t *count)
{
#if HAVE_X86
    static const plmm__hadamard_path *const all[] = {&plmm__hadamard_avx512, &plmm__hadamard_avx2,
                                                     &plmm__hadamard_portable};
    size_t skip = plmm__simd_widest() == PLMM__SIMD_AVX512 ? 0
                  : plmm__simd_widest() == PLMM__SIMD_AVX2 ? 1
                                                           : 2;
#else
    static const plmm__hadamard_path *const all[] = {&plmm__hadamard_portable};
    size_t skip = 0;
#endif
    *count = sizeof all / sizeof all[0] - skip;
    return all + skip;
}

/* Largest p with 2^p <= d. */
static unsigned log2_floor(size_t d)
{
    unsigned p = 0;
    PLMM_ASSERT(d <= (size_t)1 << PLMM_ROTATE_MAX_LOG2);
    while (d >> p > 1) {
        p++;
    }
    return p;
}

/* The signs of step 0 or 1: bit i % 32 of word i / 32 of ChaCha20, set for minus. */
static plmm_mask signs_of(const plmm_hash *seed, uint64_t step)
{
    static const plmm_hash context = {{0}};
    plmm_seed from, own;
    plmm_mask m;
    memcpy(from.b, seed->b, sizeof from.b);
    plmm_seed_derive(&own, &from, "rotate.1", step);
    plmm_status rc = plmm_mask_init(&m, PLMM_STREAM_CHACHA20, own.b, &context, PLMM_MASK_ADD, NULL);
    PLMM_ASSERT(rc == PLMM_OK);
    return m;
}

enum { BLOCK = 1 << PLMM__BLOCK_LOG2 };

typedef struct rotation {
    const plmm__hadamard_path *path;
    plmm_mask signs;
    float scale; /* 2^(-p/2), rounded where p is odd */
} rotation;

/* x[i] = +-x[i] scale for a block that begins at coordinate `at`. */
static void sign_block(const rotation *r, plmm__float *x, size_t n, size_t at)
{
    uint32_t words[BLOCK / 32];
    plmm_mask_fill(words, (n + 31) / 32, at / 32, &r->signs);
    if (n % 32 == 0) {
        r->path->sign(x, n, words, r->scale);
        return;
    }
    float few[32] = {0}; /* 2^p of them, p < 5 */
    memcpy(few, x, n * sizeof few[0]);
    r->path->sign(few, 32, words, r->scale);
    memcpy(x, few, n * sizeof few[0]);
}

/* Blocks nest: what is below a pass is done before it, while it is in a cache. */
static void transform(const rotation *r, plmm__float *x, unsigned p, size_t at, bool sign)
{
    if (p <= PLMM__BLOCK_LOG2) {
        if (sign) {
            sign_block(r, x, (size_t)1 << p, at);
        }
        r->path->block(x, p);
        return;
    }
    unsigned levels = (p - PLMM__BLOCK_LOG2 - 1) % 3 + 1;
    size_t step = (size_t)1 << (p - levels);
    for (size_t row = 0; row < (size_t)1 << levels; row++) {
        transform(r, x + row * step, p - levels, at + row * step, sign);
    }
    r->path->pass(x, step, levels);
}

static rotation rotation_of(const plmm__hadamard_path *path, const plmm_hash *seed, size_t step,
                            unsigned p)
{
    return (rotation){path, signs_of(seed, step), (float)sqrt(ldexp(1.0, -(int)p))};
}

void plmm__rotate(const plmm__hadamard_path *path, plmm__float *x, size_t d, const plmm_hash *seed)
{
    const unsigned p = d > 0 ? log2_floor(d) : 0;
    const size_t n = (size_t)1 << p, steps = d == 0 ? 0 : d == n ? 1 : 2;
    for (size_t step = 0; step < steps; step++) {
        rotation r = rotation_of(path, seed, step, p);
        transform(&r, step == 0 ? x : x + d - n, p, 0, true);
    }
}

void plmm__unrotate(const plmm__hadamard_path *path, plmm__float *x, size_t d,
                    const plmm_hash *seed)
{
    const unsigned p = d > 0 ? log2_floor(d) : 0;
    const size_t n = (size_t)1 << p, steps = d == 0 ? 0 : d == n ? 1 : 2;
    for (size_t step = steps; step-- > 0;) {
        plmm__float *from = step == 0 ? x : x + d - n;
        rotation r = rotation_of(path, seed, step, p);
        transform(&r, from, p, 0, false);
        for (size_t at = 0; at < n; at += BLOCK) {
            sign_block(&r, from + at, n - at < BLOCK ? n - at : BLOCK, at);
        }
    }
}

void plmm_rotate(float *x, size_t d, const plmm_hash *seed)
{
    size_t count;
    plmm__rotate(plmm__hadamard_paths(&count)[0], x, d, seed);
}

void plmm_unrotate(float *x, size_t d, const plmm_hash *seed)
{
    size_t count;
    plmm__unrotate(plmm__hadamard_paths(&count)[0], x, d, seed);
}

/* ---- reference ---- */

static void hadamard_ref(float *x, size_t n)
{
    for (size_t h = 1; h < n; h *= 2) {
        for (size_t i = 0; i < n; i++) {
            if ((i & h) == 0) {
                float a = x[i], b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
        }
    }
}

static void sign_ref(float *x, size_t n, const plmm_hash *seed, size_t step)
{
    const float scale = (float)sqrt(1.0 / (double)n);
    plmm_mask signs = signs_of(seed, step);
    uint32_t word = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % 32 == 0) {
            word = 0;
            plmm_mask_apply_ref(&word, 1, i / 32, 32, &signs, 1);
        }
        x[i] *= (word >> i % 32 & 1) != 0 ? -scale : scale;
    }
}

void plmm_rotate_ref(float *x, size_t d, const plmm_hash *seed)
{
    const size_t n = d > 0 ? (size_t)1 << log2_floor(d) : 0;
    sign_ref(x, n, seed, 0);
    hadamard_ref(x, n);
    if (n < d) {
        sign_ref(x + d - n, n, seed, 1);
        hadamard_ref(x + d - n, n);
    }
}

void plmm_unrotate_ref(float *x, size_t d, const plmm_hash *seed)
{
    const size_t n = d > 0 ? (size_t)1 << log2_floor(d) : 0;
    if (n < d) {
        hadamard_ref(x + d - n, n);
        sign_ref(x + d - n, n, seed, 1);
    }
    hadamard_ref(x, n);
    sign_ref(x, n, seed, 0);
}
