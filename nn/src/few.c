#include "few.h"

#include <math.h>
#include <string.h>

#include "plmm/safetensors.h"

/* ---- plain kernels ---- */

static float half_at(const uint8_t *p)
{
    return plmm_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static int32_t dot_q8(const uint8_t *block, const int8_t *q)
{
    int32_t dot = 0;
    for (size_t i = 0; i < 32; i++) {
        dot += (int8_t)block[2 + i] * q[i];
    }
    return dot;
}

static int32_t dot_q4(const uint8_t *block, const int8_t *q)
{
    int32_t dot = 0;
    for (size_t i = 0; i < 16; i++) {
        dot += ((block[2 + i] & 15) - 8) * q[i] + ((block[2 + i] >> 4) - 8) * q[16 + i];
    }
    return dot;
}

typedef int32_t block_dot(const uint8_t *block, const int8_t *q);

static void plain(block_dot *dot, size_t bytes, const uint8_t *row, const plmm__few_x *x, float *y,
                  size_t ldy, bool accumulate)
{
    for (size_t r = 0; r < x->rows; r++) {
        const int8_t *q = x->q + r * x->blocks * 32;
        const float *scale = x->scale + r * x->blocks;
        float sum = 0;
        for (size_t b = 0; b < x->blocks; b++) {
            const uint8_t *block = row + b * bytes;
            sum += (float)dot(block, q + 32 * b) * (half_at(block) * scale[b]);
        }
        y[r * ldy] = accumulate ? y[r * ldy] + sum : sum;
    }
}

static void rows_q8(const uint8_t *w, size_t row_bytes, size_t out, const plmm__few_x *x, float *y,
                    size_t ldy, bool accumulate)
{
    for (size_t n = 0; n < out; n++) {
        plain(dot_q8, PLMM__Q8_BYTES, w + n * row_bytes, x, y + n, ldy, accumulate);
    }
}

static void rows_q4(const uint8_t *w, size_t row_bytes, size_t out, const plmm__few_x *x, float *y,
                    size_t ldy, bool accumulate)
{
    for (size_t n = 0; n < out; n++) {
        plain(dot_q4, PLMM__Q4_BYTES, w + n * row_bytes, x, y + n, ldy, accumulate);
    }
}

const plmm__few_kernels plmm__few_portable = {rows_q8, rows_q4};

const plmm__few_kernels *plmm__few_best(void)
{
#if defined(__x86_64__)
    if (plmm__kernels_best() == &plmm__kernels_avx512 && __builtin_cpu_supports("avx512vnni")) {
        return &plmm__few_avx512;
    }
#endif
    return &plmm__few_portable;
}

/* ---- rows as int8 ---- */

/* A block of up to 32 numbers, filled up with zeros. */
static float round_block(const float *x, size_t n, int8_t q[32])
{
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    float scale = most / 127, by = scale > 0 ? 1 / scale : 0;
    memset(q, 0, 32);
    for (size_t i = 0; i < n; i++) {
        float v = x[i] * by;
        q[i] = (int8_t)(int)(v + (v < 0 ? -0.5f : 0.5f));
    }
    return scale;
}

/* zero: the number that the kernel takes as the weight 0. */
static void round_row(const float *x, size_t n, int32_t zero, int8_t *q, int32_t *less,
                      float *scale)
{
    for (size_t k = 0; k < n; k += 32, q += 32, less += 8) {
        *scale++ = round_block(x + k, n - k < 32 ? n - k : 32, q);
        for (size_t g = 0; g < 8; g++) {
            less[g] = -zero * (q[4 * g] + q[4 * g + 1] + q[4 * g + 2] + q[4 * g + 3]);
        }
    }
}

/* ---- products ---- */

static void by_integers(const plmm__matrix *w, size_t rows, const float *x, float *y, size_t ldy,
                        bool accumulate, float *scratch)
{
    const plmm__few_kernels *k = plmm__few_best();
    bool q8 = w->quant == PLMM__Q8_0;
    size_t blocks = (w->in + 31) / 32;
    int32_t *less = (int32_t *)scratch;
    int8_t *q = (int8_t *)(less + rows * blocks * 8);
    float *scale = (float *)(q + rows * blocks * 32);
    for (size_t r = 0; r < rows; r++) {
        round_row(x + r * w->in, w->in, q8 ? 128 : 8, q + r * blocks * 32, less + r * blocks * 8,
                  scale + r * blocks);
    }
    plmm__few_x few = {rows, blocks, q, less, scale};
    (q8 ? k->q8 : k->q4)(w->blocks, w->row_bytes, w->out, &few, y, ldy, accumulate);
}

void plmm__linear_few(const plmm__matrix *w, size_t rows, const float *x, float *y, size_t ldy,
                      bool accumulate, float *scratch)
{
    size_t blocks = (w->in + 31) / 32; /* 68 bytes of scratch each */
    size_t most = PLMM__SCRATCH / 17 / blocks;
    most = most < PLMM__FEW ? most : PLMM__FEW;
    if (!plmm__few_integers(w) || most == 0) {
        plmm__linear(w, rows, x, y, ldy, accumulate, scratch);
        return;
    }
    for (size_t i = 0, n; i < rows; i += n) {
        n = rows - i < most ? rows - i : most;
        by_integers(w, n, x + i * w->in, y + i * ldy, ldy, accumulate, scratch);
    }
}
