/* bulk_impl.h for AVX2: four leaves. */
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES       4
#define BULK_LEAVES plmm__bulk_avx2
typedef uint64_t V __attribute__((vector_size(32)));

static inline V rotate32(V x)
{
    return (V)_mm256_shuffle_epi32((__m256i)x, 0xb1);
}

static inline V rotate24(V x)
{
    const __m256i order = _mm256_setr_epi8(3, 4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10, 3,
                                           4, 5, 6, 7, 0, 1, 2, 11, 12, 13, 14, 15, 8, 9, 10);
    return (V)_mm256_shuffle_epi8((__m256i)x, order);
}

static inline V rotate16(V x)
{
    const __m256i order = _mm256_setr_epi8(2, 3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9, 2,
                                           3, 4, 5, 6, 7, 0, 1, 10, 11, 12, 13, 14, 15, 8, 9);
    return (V)_mm256_shuffle_epi8((__m256i)x, order);
}

static inline V rotate63(V x)
{
    return x >> 63 ^ (x + x);
}

static inline void load_block(V m[16], const uint8_t *const *in, size_t at)
{
    for (size_t w = 0; w < 16; w += 4) {
        __m256i r[4], p[4];
        for (size_t l = 0; l < 4; l++) {
            r[l] = _mm256_loadu_si256((const __m256i *)(const void *)(in[l] + at + 8 * w));
        }
        p[0] = _mm256_unpacklo_epi64(r[0], r[1]);
        p[1] = _mm256_unpackhi_epi64(r[0], r[1]);
        p[2] = _mm256_unpacklo_epi64(r[2], r[3]);
        p[3] = _mm256_unpackhi_epi64(r[2], r[3]);
        m[w] = (V)_mm256_permute2x128_si256(p[0], p[2], 0x20);
        m[w + 1] = (V)_mm256_permute2x128_si256(p[1], p[3], 0x20);
        m[w + 2] = (V)_mm256_permute2x128_si256(p[0], p[2], 0x31);
        m[w + 3] = (V)_mm256_permute2x128_si256(p[1], p[3], 0x31);
    }
}

#include "bulk_impl.h"
