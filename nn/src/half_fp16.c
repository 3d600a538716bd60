/* Products in binary16. */
#include "half_impl.h"

enum { RUN = 160 }; /* terms summed in binary16 */

static __m512 widen(__m256i h)
{
    return _mm512_cvtph_ps(h);
}

static void prepare(uint16_t *panel, size_t k, float scale)
{
    for (size_t i = 0; i < k * 64; i += 16) {
        __m256i h = _mm256_loadu_si256((const void *)(panel + i));
        __m512 x = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
        h = _mm512_cvtps_ph(_mm512_mul_ps(x, _mm512_set1_ps(scale)), _MM_FROUND_TO_NEAREST_INT);
        _mm256_storeu_si256((void *)(panel + i), h);
    }
}

static void row(const uint16_t *panel, size_t r, float scale, float *out)
{
    for (size_t i = 0; i < 64; i += 16) {
        __m512 x = widen(_mm256_loadu_si256((const void *)(panel + r * 64 + i)));
        _mm512_storeu_ps(out + i, _mm512_mul_ps(x, _mm512_set1_ps(1.0f / scale)));
    }
}

/* The power of two that brings x[n] to at most 1: 1 for zeros. */
static float scale_of(const float *x, size_t n)
{
    __m512 top = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 there = first(n - i);
        top = _mm512_max_ps(top, _mm512_abs_ps(_mm512_maskz_loadu_ps(there, x + i)));
    }
    float most = _mm512_reduce_max_ps(top);
    uint32_t bits = 0;
    memcpy(&bits, &most, sizeof bits);
    uint32_t e = bits >> 23; /* most < 2^(e - 126) */
    if (e < 2 || e > 252) {
        return e < 2 ? 1.0f : 0x1p-126f;
    }
    bits = (253 - e) << 23;
    memcpy(&most, &bits, sizeof most);
    return most;
}

/* Each number twice in a word, so that a broadcast fills a register. */
static void pack(size_t m, size_t k, const float *a, size_t lda, uint32_t *packed, float *factors)
{
    for (size_t r = 0; r < m; r++, a += lda, packed += PLMM__HALF_STRIDE) {
        float s = scale_of(a, k);
        factors[r] = 1.0f / s;
        for (size_t i = 0; i < k; i += 16) {
            __mmask16 there = first(k - i);
            __m512 x = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, a + i), _mm512_set1_ps(s));
            __m512i h = _mm512_cvtepu16_epi32(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
            _mm512_storeu_si512(packed + i, _mm512_or_si512(h, _mm512_slli_epi32(h, 16)));
        }
    }
}

/* s += x * y, fused; by hand, as in kernels_impl.h. */
#define MULADD(s, x, y) __asm__("vfmadd231ph %2, %1, %0" : "+v"(s) : "v"(x), "v"(y))

INLINE void finish(float *c, __m512h s, __m512 factor, size_t n, bool accumulate)
{
    __m512i h = (__m512i)s;
    __m512 low = _mm512_mul_ps(widen(_mm512_castsi512_si256(h)), factor);
    __m512 high = _mm512_mul_ps(widen(_mm512_extracti64x4_epi64(h, 1)), factor);
    add_to(c, low, n, accumulate);
    if (n > 16) {
        add_to(c + 16, high, n - 16, accumulate);
    }
}

#define TILE(MR)                                                                                   \
    static void tile_##MR(size_t n, size_t k, const uint32_t *a, const float *factors,             \
                          float scale, const uint16_t *b, const uint16_t *next, float *c,          \
                          size_t ldc, bool accumulate)                                             \
    {                                                                                              \
        __m512h s[MR][2];                                                                          \
        UNROLL for (size_t i = 0; i < MR; i++)                                                     \
        {                                                                                          \
            s[i][0] = s[i][1] = (__m512h)_mm512_setzero_si512();                                   \
        }                                                                                          \
        for (; k > 0; k--, a++, b += 64, next += 64) {                                             \
            __m512h y0 = (__m512h)_mm512_loadu_si512((const void *)b);                             \
            __m512h y1 = (__m512h)_mm512_loadu_si512((const void *)(b + 32));                      \
            __builtin_prefetch(next, 0, 2);                                                        \
            UNROLL for (size_t i = 0; i < MR; i++)                                                 \
            {                                                                                      \
                __m512h x = (__m512h)_mm512_set1_epi32((int)a[i * PLMM__HALF_STRIDE]);             \
                MULADD(s[i][0], x, y0);                                                            \
                MULADD(s[i][1], x, y1);                                                            \
            }                                                                                      \
        }                                                                                          \
        UNROLL for (size_t i = 0; i < MR; i++)                                                     \
        {                                                                                          \
            __m512 factor = _mm512_set1_ps(factors[i] / scale);                                    \
            finish(c + i * ldc, s[i][0], factor, n, accumulate);                                   \
            if (n > 32) {                                                                          \
                finish(c + i * ldc + 32, s[i][1], factor, columns_from(n, 32), accumulate);        \
            }                                                                                      \
        }                                                                                          \
    }
TILE(12)
TILE(8)
TILE(4)
TILE(2)
TILE(1)

/* All rows by a run of terms. */
static void run(size_t m, size_t n, size_t k, const uint32_t *a, const float *factors, float scale,
                const uint16_t *b, const uint16_t *next, float *c, size_t ldc, bool accumulate)
{
    typedef void tile_fn(size_t n, size_t k, const uint32_t *a, const float *factors, float scale,
                         const uint16_t *b, const uint16_t *next, float *c, size_t ldc,
                         bool accumulate);
    for (size_t i = 0, line = 0; i < m; line++) {
        size_t left = m - i, rows = 1;
        tile_fn *tile = tile_1;
        if (left >= 12 && left != 16) {
            rows = 12;
            tile = tile_12;
        } else if (left >= 8) {
            rows = 8;
            tile = tile_8;
        } else if (left >= 4) {
            rows = 4;
            tile = tile_4;
        } else if (left >= 2) {
            rows = 2;
            tile = tile_2;
        }
        tile(n, k, a + i * PLMM__HALF_STRIDE, factors + i, scale, b, next + line % 2 * 32,
             c + i * ldc, ldc, accumulate);
        i += rows;
    }
}

static void multiply(size_t m, size_t n, size_t k, const uint32_t *packed, const float *factors,
                     float scale, const uint16_t *panel, const uint16_t *next, float *c, size_t ldc,
                     bool accumulate)
{
    for (size_t k0 = 0; k0 < k; k0 += RUN) {
        run(m, n, k - k0 < RUN ? k - k0 : RUN, packed + k0, factors, scale, panel + k0 * 64,
            next + k0 * 64, c, ldc, accumulate || k0 > 0);
    }
}

const plmm__half plmm__half_fp16 = {
    .name = "fp16", .prepare = prepare, .row = row, .pack = pack, .multiply = multiply};
