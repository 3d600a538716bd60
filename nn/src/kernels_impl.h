/* kernels_impl.h -- the kernels of kernels.h in vector types of GCC and clang. Included by one file
 * a set of instructions, which defines KERNELS_TABLE, KERNELS_NAME and KERNELS_LANES (floats in a
 * register). These files alone are compiled with contraction of a * b + c to a fused
 * multiply-add. */
#include <math.h>
#include <string.h>

#include "kernels.h"

#if defined(__AVX512F__) || defined(__F16C__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Unaligned vectors that may alias floats. Elementwise code uses 16 lanes on every machine, which
 * the compiler cuts to the registers it has: the order of sums is then the same everywhere. */
typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t v16i __attribute__((vector_size(64), aligned(4), may_alias));
typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));

/* ---- matrix products ---- */

/* s += x * y, fused. In AVX-512 by hand: the compiler would copy registers in the innermost loop. */
#if defined(__AVX512F__)
#define MULADD(s, x, y) __asm__("vfmadd231ps %2, %1, %0" : "+v"(s) : "v"(x), "v"(y))
#else
#define MULADD(s, x, y) (s) += (x) * (y)
#endif

/* A tile of MR x NV registers of c stays in registers while k runs. */
#define TILE(NAME, VEC, MR, NV)                                                                    \
    static void NAME(size_t k, const float *restrict a, size_t a_row, size_t a_col,                \
                     const float *restrict b, size_t ldb, float *restrict c, size_t ldc, bool acc) \
    {                                                                                              \
        enum { W = sizeof(VEC) / sizeof(float) };                                                  \
        VEC s[MR][NV];                                                                             \
        UNROLL for (size_t i = 0; i < MR; i++)                                                     \
        {                                                                                          \
            UNROLL for (size_t j = 0; j < NV; j++)                                                 \
            {                                                                                      \
                s[i][j] = acc ? *(const VEC *)(c + i * ldc + j * W) : (VEC){0};                    \
            }                                                                                      \
        }                                                                                          \
        for (; k > 0; k--, a += a_col, b += ldb) {                                                 \
            VEC y[NV];                                                                             \
            UNROLL for (size_t j = 0; j < NV; j++)                                                 \
            {                                                                                      \
                y[j] = *(const VEC *)(b + j * W);                                                  \
            }                                                                                      \
            UNROLL for (size_t i = 0; i < MR; i++)                                                 \
            {                                                                                      \
                VEC x = a[i * a_row] - (VEC){0};                                                   \
                UNROLL for (size_t j = 0; j < NV; j++)                                             \
                {                                                                                  \
                    MULADD(s[i][j], x, y[j]);                                                      \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        UNROLL for (size_t i = 0; i < MR; i++)                                                     \
        {                                                                                          \
            UNROLL for (size_t j = 0; j < NV; j++)                                                 \
            {                                                                                      \
                *(VEC *)(c + i * ldc + j * W) = s[i][j];                                           \
            }                                                                                      \
        }                                                                                          \
    }

/* A strip of NV registers of columns: m rows by tiles of M1, M2 and 1 rows; two tiles of M2 at the
 * end rather than one of M1 and single rows. */
#define STRIP(NAME, VEC, NV, M1, M2)                                                               \
    TILE(NAME##_a, VEC, M1, NV)                                                                    \
    TILE(NAME##_b, VEC, M2, NV)                                                                    \
    TILE(NAME##_c, VEC, 1, NV)                                                                     \
    static void NAME(size_t m, size_t k, const float *a, size_t a_row, size_t a_col,               \
                     const float *b, size_t ldb, float *c, size_t ldc, bool acc)                   \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + (M1) <= m && m - i != 2 * (M2); i += (M1)) {                                    \
            NAME##_a(k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, acc);               \
        }                                                                                          \
        for (; i + (M2) <= m; i += (M2)) {                                                         \
            NAME##_b(k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, acc);               \
        }                                                                                          \
        for (; i < m; i++) {                                                                       \
            NAME##_c(k, a + i * a_row, a_row, a_col, b, ldb, c + i * ldc, ldc, acc);               \
        }                                                                                          \
    }

typedef void strip_fn(size_t m, size_t k, const float *a, size_t a_row, size_t a_col,
                      const float *b, size_t ldb, float *c, size_t ldc, bool acc);

#if KERNELS_LANES == 16 /* 32 registers of 16 */
STRIP(strip4, v16, 4, 6, 4)
STRIP(strip3, v16, 3, 8, 4)
STRIP(strip2, v16, 2, 8, 4)
STRIP(strip1, v16, 1, 8, 4)
STRIP(strip_half, v8, 1, 8, 4)
STRIP(strip_quarter, v4, 1, 8, 4)
#elif KERNELS_LANES == 8 /* 16 registers of 8 */
STRIP(strip2, v8, 2, 6, 4)
STRIP(strip1, v8, 1, 8, 4)
STRIP(strip_half, v4, 1, 8, 4)
#else                    /* 16 or 32 registers of 4 */
STRIP(strip2, v4, 2, 6, 4)
STRIP(strip1, v4, 1, 8, 4)
#endif

/* The last n < 4 columns, in a vector too, so that the compiler fuses alike. */
static void strip_rest(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_col,
                       const float *b, size_t ldb, float *c, size_t ldc, bool acc)
{
    for (size_t i = 0; i < m; i++) {
        v4 s = {0};
        for (size_t j = 0; acc && j < n; j++) {
            s[j] = c[i * ldc + j];
        }
        for (size_t p = 0; p < k; p++) {
            const float *x = b + p * ldb;
            v4 y = {x[0], n > 1 ? x[1] : 0.0f, n > 2 ? x[2] : 0.0f, 0.0f};
            s += a[i * a_row + p * a_col] * y;
        }
        for (size_t j = 0; j < n; j++) {
            c[i * ldc + j] = s[j];
        }
    }
}

/* Widest strip that fits into the r columns left; *width is what it covers. NULL: less than 4
 * columns. */
static strip_fn *choose_strip(size_t r, size_t *width)
{
    size_t v = r / KERNELS_LANES;
    *width = KERNELS_LANES;
#if KERNELS_LANES == 16
    if (v >= 4 && v != 5) {
        *width = 64;
        return strip4;
    }
    if (v >= 3) {
        *width = 48;
        return strip3;
    }
#endif
    if (v >= 2) {
        *width = 2 * KERNELS_LANES;
        return strip2;
    }
    if (v == 1) {
        return strip1;
    }
#if KERNELS_LANES == 16
    if (r >= 8) {
        *width = 8;
        return strip_half;
    }
    *width = 4;
    return r >= 4 ? strip_quarter : NULL;
#elif KERNELS_LANES == 8
    *width = 4;
    return r >= 4 ? strip_half : NULL;
#else
    return NULL;
#endif
}

/* Blocks of k and m so that a strip of b and a block of a stay in the nearest caches. */
enum { BLOCK_K = 384, BLOCK_M = 96 };

static void gemm_block(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_col,
                       const float *b, size_t ldb, float *c, size_t ldc, bool acc)
{
    for (size_t j = 0; j < n;) {
        size_t width = 0;
        strip_fn *strip = choose_strip(n - j, &width);
        if (strip == NULL) {
            strip_rest(m, n - j, k, a, a_row, a_col, b + j, ldb, c + j, ldc, acc);
            return;
        }
        strip(m, k, a, a_row, a_col, b + j, ldb, c + j, ldc, acc);
        j += width;
    }
}

static void gemm(size_t m, size_t n, size_t k, const float *a, size_t a_row, size_t a_col,
                 const float *b, size_t ldb, float *c, size_t ldc, bool accumulate)
{
    for (size_t i = 0; i < m; i += BLOCK_M) {
        size_t rows = m - i < BLOCK_M ? m - i : BLOCK_M;
        size_t p = 0;
        do {
            size_t depth = k - p < BLOCK_K ? k - p : BLOCK_K;
            gemm_block(rows, n, depth, a + i * a_row + p * a_col, a_row, a_col, b + p * ldb, ldb,
                       c + i * ldc, ldc, accumulate || p > 0);
            p += depth;
        } while (p < k);
    }
}

#if KERNELS_LANES == 16
/* A tile of 64 columns that also fetches 64 octets of each of k rows of `next`. */
#define PANEL_TILE(MR)                                                                             \
    static void panel_##MR(size_t k, const float *restrict a, size_t lda, const float *restrict b, \
                           size_t ldb, const float *next, float *restrict c, size_t ldc, bool acc) \
    {                                                                                              \
        v16 s[MR][4];                                                                              \
        UNROLL for (size_t i = 0; i < MR; i++)                                                     \
        {                                                                                          \
            UNROLL for (size_t j = 0; j < 4; j++)                                                  \
            {                                                                                      \
                s[i][j] = acc ? *(const v16 *)(c + i * ldc + j * 16) : (v16){0};                   \
            }                                                                                      \
        }                                                                                          \
        for (; k > 0; k--, a++, b += ldb, next += ldb) {                                           \
            v16 y[4];                                                                              \
            UNROLL for (size_t j = 0; j < 4; j++)                                                  \
            {                                                                                      \
                y[j] = *(const v16 *)(b + j * 16);                                                 \
            }                                                                                      \
            __builtin_prefetch(next, 0, 2);                                                        \
            UNROLL for (size_t i = 0; i < MR; i++)                                                 \
            {                                                                                      \
                v16 x = a[i * lda] - (v16){0};                                                     \
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
                *(v16 *)(c + i * ldc + j * 16) = s[i][j];                                          \
            }                                                                                      \
        }                                                                                          \
    }
PANEL_TILE(6)
PANEL_TILE(5)
PANEL_TILE(4)
PANEL_TILE(3)
PANEL_TILE(2)
PANEL_TILE(1)

static void gemm_panel(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                       size_t ldb, const float *next, float *c, size_t ldc, bool accumulate)
{
    typedef void tile_fn(size_t k, const float *a, size_t lda, const float *b, size_t ldb,
                         const float *next, float *c, size_t ldc, bool acc);
    static tile_fn *const tiles[] = {NULL, panel_1, panel_2, panel_3, panel_4, panel_5, panel_6};
    if (n != 64) {
        gemm_block(m, n, k, a, lda, 1, b, ldb, c, ldc, accumulate);
        return;
    }
    for (size_t i = 0, line = 0; i < m; line++) {
        size_t left = m - i, rows = left == 7 || left == 8 ? 4 : left < 6 ? left : 6;
        tiles[rows](k, a + i * lda, lda, b, ldb, next + line % 4 * 16, c + i * ldc, ldc,
                    accumulate);
        i += rows;
    }
}
#else
static void gemm_panel(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                       size_t ldb, const float *next, float *c, size_t ldc, bool accumulate)
{
    (void)next;
    gemm_block(m, n, k, a, lda, 1, b, ldb, c, ldc, accumulate);
}
#endif

/* ---- lanes ---- */

/* Lanes below w are all ones. */
INLINE v16i lanes_below(size_t w)
{
    const v16i index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (v16i)(index < (w < 16 ? (int32_t)w : 16));
}

/* The first w floats at p (at most 16), zeros behind them. */
INLINE v16 load(const float *p, size_t w)
{
    if (w >= 16) {
        return *(const v16 *)p;
    }
#if defined(__AVX512F__)
    return (v16)_mm512_maskz_loadu_ps((__mmask16)((1u << w) - 1), p);
#else
    v16 x = {0};
    memcpy(&x, p, w * sizeof *p);
    return x;
#endif
}

INLINE void store(float *p, v16 x, size_t w)
{
    if (w >= 16) {
        *(v16 *)p = x;
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << w) - 1), (__m512)x);
#else
    memcpy(p, &x, w * sizeof *p);
#endif
}

INLINE v16 splat(float x)
{
    return x - (v16){0};
}

INLINE v16 vmax(v16 a, v16 b)
{
#if defined(__AVX512F__)
    return (v16)_mm512_max_ps((__m512)a, (__m512)b);
#else
    v16i m = (v16i)(a > b);
    return (v16)(((v16i)a & m) | ((v16i)b & ~m));
#endif
}

INLINE v16 vmin(v16 a, v16 b)
{
#if defined(__AVX512F__)
    return (v16)_mm512_min_ps((__m512)a, (__m512)b);
#else
    v16i m = (v16i)(a < b);
    return (v16)(((v16i)a & m) | ((v16i)b & ~m));
#endif
}

/* Lanes of x from K on, in front. */
#define HALF8(x)                                                                                   \
    __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)
#define HALF4(x) __builtin_shufflevector(x, x, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7)
#define HALF2(x) __builtin_shufflevector(x, x, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3)
#define HALF1(x) __builtin_shufflevector(x, x, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)

/* Sum in a fixed tree. */
INLINE float vsum(v16 x)
{
    x += HALF8(x);
    x += HALF4(x);
    x += HALF2(x);
    x += HALF1(x);
    return x[0];
}

INLINE float vmax_of(v16 x)
{
    x = vmax(x, HALF8(x));
    x = vmax(x, HALF4(x));
    x = vmax(x, HALF2(x));
    x = vmax(x, HALF1(x));
    return x[0];
}

/* e^x to 2 ulp for x in [-87, 88] (clamped): x = n log 2 + r with log 2 in two pieces, Cephes'
 * polynomial of degree 7 on r, and n added to the exponent. */
INLINE v16 vexp(v16 x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    x = vmin(vmax(x, splat(-87.0f)), splat(88.0f));
    v16 n = (x * 1.44269504f + magic) - magic;
    v16 r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    v16 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + (r + 1.0f);
    v16i e = __builtin_convertvector(n, v16i);
    return (v16)((v16i)p + (e << 23));
}

/* Lanes from w on become x. */
INLINE v16 fill_from(v16 v, size_t w, float x)
{
    v16i m = lanes_below(w);
    return (v16)(((v16i)v & m) | ((v16i)splat(x) & ~m));
}

/* ---- transposes ---- */

#if defined(__AVX512F__)
/* Exchanges lanes d apart between rows d apart: log2(16) rounds turn a block of 16 x 16. */
#define SWAP(d, LO, HI)                                                                            \
    for (size_t i = 0; i < 16; i++) {                                                              \
        if ((i & (d)) == 0) {                                                                      \
            v16 lo = r[i], hi = r[i + (d)];                                                        \
            r[i] = LO(lo, hi);                                                                     \
            r[i + (d)] = HI(lo, hi);                                                               \
        }                                                                                          \
    }
#define LO8(x, y)                                                                                  \
    __builtin_shufflevector(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define HI8(x, y)                                                                                  \
    __builtin_shufflevector(x, y, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define LO4(x, y)                                                                                  \
    __builtin_shufflevector(x, y, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27)
#define HI4(x, y)                                                                                  \
    __builtin_shufflevector(x, y, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31)
#define LO2(x, y)                                                                                  \
    __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HI2(x, y)                                                                                  \
    __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#define LO1(x, y)                                                                                  \
    __builtin_shufflevector(x, y, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)
#define HI1(x, y)                                                                                  \
    __builtin_shufflevector(x, y, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31)

static void turn_block(const float *x, size_t ldx, float *out, size_t ldo)
{
    v16 r[16];
    UNROLL for (size_t i = 0; i < 16; i++)
    {
        r[i] = *(const v16 *)(x + i * ldx);
    }
    UNROLL SWAP(8, LO8, HI8) UNROLL SWAP(4, LO4, HI4) UNROLL SWAP(2, LO2, HI2)
        UNROLL SWAP(1, LO1, HI1) UNROLL for (size_t i = 0; i < 16; i++)
    {
        *(v16 *)(out + i * ldo) = r[i];
    }
}
#else
static void turn_block(const float *x, size_t ldx, float *out, size_t ldo)
{
    for (size_t c = 0; c < 16; c++) {
        for (size_t i = 0; i < 16; i++) {
            out[c * ldo + i] = x[i * ldx + c];
        }
    }
}
#endif

static void transpose(size_t rows, size_t cols, const float *x, size_t ldx, float *out, size_t ldo)
{
    for (size_t r = 0; r < rows; r += 16) {
        for (size_t c = 0; c < cols; c += 16) {
            if (r + 16 <= rows && c + 16 <= cols) {
                turn_block(x + r * ldx + c, ldx, out + c * ldo + r, ldo);
                continue;
            }
            for (size_t j = c; j < cols && j < c + 16; j++) {
                for (size_t i = r; i < rows && i < r + 16; i++) {
                    out[j * ldo + i] = x[i * ldx + j];
                }
            }
        }
    }
}

/* ---- numbers of fewer bits ---- */

static void from_bf16(const uint16_t *restrict x, float *restrict out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(out + i, &bits, sizeof bits);
    }
}

/* The scale of a block: binary16 of any kind but NaN, whose payload is not kept. */
INLINE float scale_of(const uint8_t *p)
{
    uint32_t h = (uint32_t)p[0] | (uint32_t)p[1] << 8;
#if defined(__F16C__)
    return _cvtsh_ss((unsigned short)h);
#else
    uint32_t sign = (h & 0x8000u) << 16, e = h >> 10 & 31u, bits = sign | (h & 0x7fffu) << 13;
    bits += e == 31 ? 224u << 23 : e == 0 ? 0 : 112u << 23;
    float f = 0;
    memcpy(&f, &bits, sizeof f);
    /* a subnormal: its bits as a float's fraction, times the ratio of the two smallest exponents */
    return e == 0 ? (sign != 0 ? -1.0f : 1.0f) * (float)(h & 0x3ffu) * 0x1p-24f : f;
#endif
}

/* The 32 numbers of a block. */
INLINE void block_q8(const uint8_t *p, float *restrict out)
{
    float d = scale_of(p);
    for (size_t i = 0; i < 32; i++) {
        out[i] = d * (float)(int8_t)p[2 + i];
    }
}

INLINE void block_q4(const uint8_t *p, float *restrict out)
{
    float d = scale_of(p);
    for (size_t i = 0; i < 16; i++) {
        out[i] = d * (float)((int32_t)(p[2 + i] & 15) - 8);
        out[16 + i] = d * (float)((int32_t)(p[2 + i] >> 4) - 8);
    }
}

static void from_q8(const uint8_t *x, float *out, size_t n)
{
    for (; n >= 32; n -= 32, x += 34, out += 32) {
        block_q8(x, out);
    }
    if (n > 0) {
        float last[32];
        block_q8(x, last);
        memcpy(out, last, n * sizeof *out);
    }
}

static void from_q4(const uint8_t *x, float *out, size_t n)
{
    for (; n >= 32; n -= 32, x += 18, out += 32) {
        block_q4(x, out);
    }
    if (n > 0) {
        float last[32];
        block_q4(x, last);
        memcpy(out, last, n * sizeof *out);
    }
}

/* ---- normalisation ---- */

static void rmsnorm(size_t rows, size_t d, const float *x, const float *gain, float eps, float *out,
                    float *rstd)
{
    for (size_t t = 0; t < rows; t++, x += d, out += d) {
        v16 s = {0};
        for (size_t j = 0; j < d; j += 16) {
            v16 v = load(x + j, d - j);
            s += v * v;
        }
        float r = 1.0f / sqrtf(vsum(s) / (float)d + eps);
        rstd[t] = r;
        for (size_t j = 0; j < d; j += 16) {
            store(out + j, load(x + j, d - j) * r * load(gain + j, d - j), d - j);
        }
    }
}

static void rmsnorm_back(size_t rows, size_t d, const float *x, const float *gain,
                         const float *rstd, const float *dout, float *dx, float *dgain)
{
    for (size_t t = 0; t < rows; t++, x += d, dout += d, dx += d) {
        v16 s = {0};
        for (size_t j = 0; j < d; j += 16) {
            s += load(dout + j, d - j) * load(gain + j, d - j) * load(x + j, d - j);
        }
        float r = rstd[t], k = vsum(s) * r * r * r / (float)d;
        for (size_t j = 0; j < d; j += 16) {
            v16 y = load(dout + j, d - j), v = load(x + j, d - j);
            v16 g = y * load(gain + j, d - j) * r - v * k;
            store(dx + j, load(dx + j, d - j) + g, d - j);
            if (dgain != NULL) {
                store(dgain + j, load(dgain + j, d - j) + y * v * r, d - j);
            }
        }
    }
}

/* ---- feed-forward ---- */

static void silu_mul(size_t rows, size_t h, const float *gu, float *out)
{
    for (size_t t = 0; t < rows; t++, gu += 2 * h, out += h) {
        for (size_t j = 0; j < h; j += 16) {
            v16 g = load(gu + j, h - j), u = load(gu + h + j, h - j);
            store(out + j, g / (1.0f + vexp(-g)) * u, h - j);
        }
    }
}

static void silu_mul_back(size_t rows, size_t h, float *gu, const float *dact, float *act)
{
    for (size_t t = 0; t < rows; t++, gu += 2 * h) {
        for (size_t j = 0; j < h; j += 16) {
            size_t w = h - j;
            v16 g = load(gu + j, w), u = load(gu + h + j, w), dy = load(dact + t * h + j, w);
            v16 sig = 1.0f / (1.0f + vexp(-g)), silu = g * sig;
            store(gu + h + j, dy * silu, w);
            store(gu + j, dy * u * (silu * (1.0f - sig) + sig), w);
            if (act != NULL) {
                store(act + t * h + j, silu * u, w);
            }
        }
    }
}

/* ---- attention ---- */

INLINE void rotate(float *restrict x, float *restrict y, const float *restrict c,
                   const float *restrict s, size_t half, float sign)
{
    for (size_t j = 0; j < half; j++) {
        float a = x[j], b = y[j], n = sign * s[j];
        x[j] = a * c[j] - b * n;
        y[j] = a * n + b * c[j];
    }
}

static void rope(size_t rows, float *x, size_t ldx, size_t heads, size_t hd, const float *cosines,
                 const float *sines, float sign)
{
    size_t half = hd / 2;
    for (size_t t = 0; t < rows; t++) {
        for (size_t h = 0; h < heads; h++) {
            float *p = x + t * ldx + h * hd;
            rotate(p, p + half, cosines + t * half, sines + t * half, half, sign);
        }
    }
}

/* Maximum of x[0..n), n > 0. */
INLINE float max_of(const float *x, size_t n)
{
    v16 m = splat(x[0]);
    for (size_t j = 0; j < n; j += 16) {
        m = vmax(m, fill_from(load(x + j, n - j), n - j, x[0]));
    }
    return vmax_of(m);
}

/* x = e^(x - m); returns the sum. */
INLINE float exp_sum(float *x, size_t n, float m)
{
    v16 s = {0};
    for (size_t j = 0; j < n; j += 16) {
        v16 e = fill_from(vexp(load(x + j, n - j) - m), n - j, 0.0f);
        store(x + j, e, n - j);
        s += e;
    }
    return vsum(s);
}

static void scale(float *x, size_t n, float s)
{
    for (size_t j = 0; j < n; j++) {
        x[j] *= s;
    }
}

/* Rows of attention are padded to 16, so that whole vectors can be read and written. */
static void softmax(float *x, size_t n, size_t width)
{
    v16 m = splat(x[0]), s = {0};
    for (size_t j = 0; j < n; j += 16) {
        m = vmax(m, fill_from(*(const v16 *)(x + j), n - j, x[0]));
    }
    float top = vmax_of(m);
    for (size_t j = 0; j < n; j += 16) {
        v16 e = fill_from(vexp(*(const v16 *)(x + j) - top), n - j, 0.0f);
        *(v16 *)(x + j) = e;
        s += e;
    }
    float k = 1.0f / vsum(s);
    for (size_t j = 0; j < n; j += 16) {
        *(v16 *)(x + j) *= k;
    }
    for (size_t j = (n + 15) / 16 * 16; j < width; j += 16) {
        *(v16 *)(x + j) = (v16){0};
    }
}

static void softmax_back(const float *p, float *d, size_t n, size_t width, float factor)
{
    v16 s = {0};
    for (size_t j = 0; j < n; j += 16) { /* p is 0 behind n, but d may hold anything there */
        s += fill_from(*(const v16 *)(p + j) * *(const v16 *)(d + j), n - j, 0.0f);
    }
    float z = vsum(s);
    for (size_t j = 0; j < n; j += 16) {
        v16 g = *(const v16 *)(p + j) * (*(const v16 *)(d + j) - z) * factor;
        *(v16 *)(d + j) = fill_from(g, n - j, 0.0f);
    }
    for (size_t j = (n + 15) / 16 * 16; j < width; j += 16) {
        *(v16 *)(d + j) = (v16){0};
    }
}

/* Is x[target] the maximum m, and the first one? */
static bool first_maximum(const float *x, size_t target, float m)
{
    bool hit = x[target] >= m;
    for (size_t j = 0; hit && j < target; j++) {
        hit = x[j] < m;
    }
    return hit;
}

static double cross_entropy(float *x, size_t n, size_t target, float factor, bool *hit)
{
    float m = max_of(x, n), at = x[target];
    *hit = first_maximum(x, target, m);
    float sum = exp_sum(x, n, m);
    if (factor != 0.0f) {
        scale(x, n, factor / sum);
        x[target] -= factor;
    }
    return (double)m - (double)at + log((double)sum);
}

/* ---- vectors ---- */

static bool finite(const float *x, size_t n)
{
    uint32_t bad = 0;
    for (size_t j = 0; j < n; j++) {
        uint32_t bits = 0;
        memcpy(&bits, x + j, sizeof bits);
        bad |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    return bad == 0;
}

static void add(float *restrict x, const float *restrict y, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        x[j] += y[j];
    }
}

static void add_rows(float *x, size_t ldx, const float *y, size_t rows, size_t n)
{
    for (size_t t = 0; t < rows; t++) {
        add(x + t * ldx, y, n);
    }
}

static void sum_rows(float *y, const float *x, size_t ldx, size_t rows, size_t n)
{
    for (size_t t = 0; t < rows; t++) {
        add(y, x + t * ldx, n);
    }
}

static double sum_squares(const float *x, size_t n)
{
    double s[8] = {0};
    for (size_t j = 0; j + 8 <= n; j += 8) {
        for (size_t i = 0; i < 8; i++) {
            s[i] += (double)x[j + i] * (double)x[j + i];
        }
    }
    for (size_t j = n / 8 * 8; j < n; j++) {
        s[j % 8] += (double)x[j] * (double)x[j];
    }
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* lowbias32 (Ellis, "Hash function prospector", 2018). */
INLINE uint32_t mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x7feb352du;
    h = (h ^ h >> 15) * 0x846ca68bu;
    return h ^ h >> 16;
}

static void dropout(const float *restrict x, float *restrict out, size_t n, uint64_t seed,
                    uint64_t first, float p)
{
    uint32_t lo = (uint32_t)seed, hi = (uint32_t)(seed >> 32), from = (uint32_t)first;
    uint32_t limit = (uint32_t)((double)p * 4294967296.0);
    float kept = 1.0f / (1.0f - p);
    for (size_t j = 0; j < n; j++) {
        uint32_t h = mix(mix((from + (uint32_t)j) ^ lo) ^ hi);
        out[j] = h >= limit ? x[j] * kept : 0.0f;
    }
}

static void adamw(float *restrict w, const float *restrict g, float *restrict m, float *restrict v,
                  size_t n, const plmm__adamw_args *args)
{
    const plmm__adamw_args k = *args;
    float shrink = 1.0f - k.lr * k.decay, rate = k.lr / k.correct1;
    for (size_t j = 0; j < n; j++) {
        float mj = k.beta1 * m[j] + (1.0f - k.beta1) * g[j];
        float vj = k.beta2 * v[j] + (1.0f - k.beta2) * g[j] * g[j];
        m[j] = mj;
        v[j] = vj;
        w[j] = w[j] * shrink - rate * (mj / (sqrtf(vj) / k.correct2 + k.eps));
    }
}

const plmm__kernels KERNELS_TABLE = {
    .name = KERNELS_NAME,
    .gemm = gemm,
    .gemm_panel = gemm_panel,
    .from_bf16 = from_bf16,
    .from_q8 = from_q8,
    .from_q4 = from_q4,
    .transpose = transpose,
    .finite = finite,
    .rmsnorm = rmsnorm,
    .rmsnorm_back = rmsnorm_back,
    .silu_mul = silu_mul,
    .silu_mul_back = silu_mul_back,
    .rope = rope,
    .softmax = softmax,
    .softmax_back = softmax_back,
    .cross_entropy = cross_entropy,
    .add = add,
    .add_rows = add_rows,
    .sum_rows = sum_rows,
    .scale = scale,
    .sum_squares = sum_squares,
    .dropout = dropout,
    .adamw = adamw,
};
