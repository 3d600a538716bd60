/* Products of pairs of bfloat16, summed in f32. */
#include "half_impl.h"

/* Rows 2 i and 2 i + 1 become pairs: [k / 2][64][2]. */
static void prepare(uint16_t *panel, size_t k, float scale)
{
    (void)scale;
    for (size_t i = 0; i + 1 < k; i += 2, panel += 128) {
        uint16_t pairs[128];
        for (size_t j = 0; j < 64; j++) {
            pairs[2 * j] = panel[j];
            pairs[2 * j + 1] = panel[64 + j];
        }
        memcpy(panel, pairs, sizeof pairs);
    }
}

static void row(const uint16_t *panel, size_t r, float scale, float *out)
{
    (void)scale;
    for (size_t j = 0; j < 64; j++) {
        uint32_t bits = (uint32_t)panel[r / 2 * 128 + 2 * j + r % 2] << 16;
        memcpy(out + j, &bits, sizeof bits);
    }
}

static void pack(size_t m, size_t k, const float *a, size_t lda, uint32_t *packed, float *factors)
{
    for (size_t r = 0; r < m; r++, a += lda, packed += PLMM__HALF_STRIDE) {
        factors[r] = 1.0f;
        for (size_t i = 0; i < k; i += 16) {
            __mmask16 there = first(k - i);
            __m512 x = _mm512_maskz_loadu_ps(there, a + i);
            _mm256_storeu_si256((void *)(packed + i / 2), (__m256i)_mm512_cvtneps_pbh(x));
        }
    }
}

#define MULADD(s, x, y) __asm__("vdpbf16ps %2, %1, %0" : "+v"(s) : "v"(x), "v"(y))

#define TILE(MR)                                                                                   \
    static void tile_##MR(size_t n, size_t pairs, const uint32_t *a, const uint16_t *b,            \
                          const uint16_t *next, float *c, size_t ldc, bool accumulate)             \
    {                                                                                              \
        __m512 s[MR][4];                                                                           \
        UNROLL for (size_t i = 0; i < MR; i++)                                                     \
        {                                                                                          \
            UNROLL for (size_t j = 0; j < 4; j++)                                                  \
            {                                                                                      \
                s[i][j] = _mm512_setzero_ps();                                                     \
            }                                                                                      \
        }                                                                                          \
        for (; pairs > 0; pairs--, a++, b += 128, next += 128) {                                   \
            __m512 y[4];                                                                           \
            UNROLL for (size_t j = 0; j < 4; j++)                                                  \
            {                                                                                      \
                y[j] = _mm512_loadu_ps((const void *)(b + 32 * j));                                \
            }                                                                                      \
            __builtin_prefetch(next, 0, 2);                                                        \
            UNROLL for (size_t i = 0; i < MR; i++)                                                 \
            {                                                                                      \
                __m512 x = (__m512)_mm512_set1_epi32((int)a[i * PLMM__HALF_STRIDE]);               \
                UNROLL for (size_t j = 0; j < 4; j++)                                              \
                {                                                                                  \
                    MULADD(s[i][j], x, y[j]);                                                      \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        UNROLL for (size_t i = 0; i < MR; i++)                                                     \
        {                                                                                          \
            UNROLL for (size_t j = 0; j < 4; j++)                                                  \
            {                                                                                      \
                if (n > 16 * j) {                                                                  \
                    add_to(c + i * ldc + 16 * j, s[i][j], columns_from(n, 16 * j), accumulate);    \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
TILE(6)
TILE(4)
TILE(2)
TILE(1)

static void multiply(size_t m, size_t n, size_t k, const uint32_t *packed, const float *factors,
                     float scale, const uint16_t *panel, const uint16_t *next, float *c, size_t ldc,
                     bool accumulate)
{
    size_t pairs = (k + 1) / 2;
    (void)factors;
    (void)scale;
    for (size_t i = 0, line = 0; i < m; line++) {
        const uint32_t *a = packed + i * PLMM__HALF_STRIDE;
        const uint16_t *fetch = next + line % 4 * 32;
        size_t left = m - i, rows = 1;
        if (left >= 6 && left != 8) {
            rows = 6;
            tile_6(n, pairs, a, panel, fetch, c + i * ldc, ldc, accumulate);
        } else if (left >= 4) {
            rows = 4;
            tile_4(n, pairs, a, panel, fetch, c + i * ldc, ldc, accumulate);
        } else if (left >= 2) {
            rows = 2;
            tile_2(n, pairs, a, panel, fetch, c + i * ldc, ldc, accumulate);
        } else {
            tile_1(n, pairs, a, panel, fetch, c + i * ldc, ldc, accumulate);
        }
        i += rows;
    }
}

const plmm__half plmm__half_bf16 = {
    .name = "bf16", .prepare = prepare, .row = row, .pack = pack, .multiply = multiply};
