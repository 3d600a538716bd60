/* The path of AVX-512 with IFMA (52-bit multiply-add) and VBMI (byte permutations). A vector holds one
 * coefficient of eight blocks, so that a transform needs no permutation and its twiddles are the
 * same in all lanes. Three steps of a transform go over the group, which lies in the second cache,
 * at once; the others over an eighth of it at a time, in the first. A group of few blocks is encrypted
 * block by block instead, a vector being eight coefficients of one. */
#include "kahe_internal.h"
#include "transpose_avx512.h"

#include <immintrin.h>

typedef __m512i V;

/* Constants of a prime. */
typedef struct plmm__lanes {
    V q, q2, negative, low; /* q, 2 q, 2^52 - q, 2^52 - 1 */
} plmm__lanes;

static inline V all(uint64_t v)
{
    return _mm512_set1_epi64((long long)v);
}

static inline plmm__lanes lanes_of(uint64_t q)
{
    const uint64_t low = (UINT64_C(1) << 52) - 1;
    return (plmm__lanes){all(q), all(2 * q), all(low + 1 - q), all(low)};
}

/* x w mod q, below 2 q, for x < 2^52; s = floor(2^52 w / q). */
static inline V mul(V x, V w, V s, const plmm__lanes *k)
{
    V zero = _mm512_setzero_si512();
    V high = _mm512_madd52hi_epu64(zero, x, s);
    V low = _mm512_madd52lo_epu64(zero, x, w);
    return _mm512_and_si512(_mm512_madd52lo_epu64(low, high, k->negative), k->low);
}

static inline V mul_by(V x, plmm__factor f52, const plmm__lanes *k)
{
    return mul(x, all(f52.w), all(f52.quotient), k);
}

/* x - b if x >= b */
static inline V less(V x, V b)
{
    return _mm512_min_epu64(x, _mm512_sub_epi64(x, b));
}

/* ---- transforms (the same as in kahe_portable.c, with all values below 4 q = 2^52) ---- */

static inline void fly(V *u, V *v, plmm__factor f, const plmm__lanes *k)
{
    V a = less(*u, k->q2), b = mul_by(*v, f, k);
    *u = _mm512_add_epi64(a, b);
    *v = _mm512_add_epi64(a, _mm512_sub_epi64(k->q2, b));
}

/* Two steps: x[0..4) at the node of the tree of twiddles whose children are 2 node, 2 node + 1. */
static inline void four(V x[4], const plmm__factor *f, size_t node, const plmm__lanes *k)
{
    fly(&x[0], &x[2], f[node], k);
    fly(&x[1], &x[3], f[node], k);
    fly(&x[0], &x[1], f[2 * node], k);
    fly(&x[2], &x[3], f[2 * node + 1], k);
}

static inline void eight(V x[8], const plmm__factor *f, size_t node, const plmm__lanes *k)
{
    for (size_t i = 0; i < 4; i++) {
        fly(&x[i], &x[i + 4], f[node], k);
    }
    V lo[4] = {x[0], x[1], x[2], x[3]}, hi[4] = {x[4], x[5], x[6], x[7]};
    four(lo, f, 2 * node, k);
    four(hi, f, 2 * node + 1, k);
    for (size_t i = 0; i < 4; i++) {
        x[i] = lo[i];
        x[i + 4] = hi[i];
    }
}

/* Inputs below 2 q, outputs too. */
static inline void fly_back(V *u, V *v, plmm__factor f, const plmm__lanes *k)
{
    V a = _mm512_add_epi64(*u, *v);
    V b = _mm512_add_epi64(*u, _mm512_sub_epi64(k->q2, *v));
    *u = less(a, k->q2);
    *v = mul_by(b, f, k);
}

static inline void four_back(V x[4], const plmm__factor *f, size_t node, const plmm__lanes *k)
{
    fly_back(&x[0], &x[1], f[2 * node], k);
    fly_back(&x[2], &x[3], f[2 * node + 1], k);
    fly_back(&x[0], &x[2], f[node], k);
    fly_back(&x[1], &x[3], f[node], k);
}

static inline void eight_back(V x[8], const plmm__factor *f, size_t node, const plmm__lanes *k)
{
    four_back(x, f, 2 * node, k);
    four_back(x + 4, f, 2 * node + 1, k);
    for (size_t i = 0; i < 4; i++) {
        fly_back(&x[i], &x[i + 4], f[node], k);
    }
}

/* Steps over x[0..len) below `node`, down to runs of four, which the caller ends. Returns how many
 * such runs' nodes follow node times it: len / 4. */
static void descend(V *x, size_t len, size_t node, const plmm__factor *f, const plmm__lanes *k)
{
    size_t count = 1;
    if (len == 512) { /* an odd number of steps */
        for (size_t j = 0; j < 64; j++) {
            V t[8];
            for (size_t i = 0; i < 8; i++) {
                t[i] = x[j + 64 * i];
            }
            eight(t, f, node, k);
            for (size_t i = 0; i < 8; i++) {
                x[j + 64 * i] = t[i];
            }
        }
        count = 8;
        len = 64;
    }
    for (; len > 4; len /= 4, count *= 4) {
        const size_t h = len / 4;
        for (size_t i = 0; i < count; i++) {
            V *p = x + i * len;
            for (size_t j = 0; j < h; j++) {
                V t[4] = {p[j], p[j + h], p[j + 2 * h], p[j + 3 * h]};
                four(t, f, node * count + i, k);
                p[j] = t[0];
                p[j + h] = t[1];
                p[j + 2 * h] = t[2];
                p[j + 3 * h] = t[3];
            }
        }
    }
}

static void ascend(V *x, size_t len, size_t node, const plmm__factor *f, const plmm__lanes *k)
{
    const size_t end = len == 512 ? 64 : len;
    size_t run = 16;
    for (; run <= end; run *= 4) {
        const size_t h = run / 4, count = len / run;
        for (size_t i = 0; i < count; i++) {
            V *p = x + i * run;
            for (size_t j = 0; j < h; j++) {
                V t[4] = {p[j], p[j + h], p[j + 2 * h], p[j + 3 * h]};
                four_back(t, f, node * count + i, k);
                p[j] = t[0];
                p[j + h] = t[1];
                p[j + 2 * h] = t[2];
                p[j + 3 * h] = t[3];
            }
        }
    }
    if (len == 512) {
        for (size_t j = 0; j < 64; j++) {
            V t[8];
            for (size_t i = 0; i < 8; i++) {
                t[i] = x[j + 64 * i];
            }
            eight_back(t, f, node, k);
            for (size_t i = 0; i < 8; i++) {
                x[j + 64 * i] = t[i];
            }
        }
    }
}

/* ---- packing: 8 residues of 50 bits in 50 octets ---- */

/* Lane i begins in octet 50 i / 8; neighbours meet in one octet, so even and odd lanes go apart. */
static const uint8_t octets_of_lanes[64] = {
    0,  1,  2,  3,  4,  5,  6,  7,  6,  7,  8,  9,  10, 11, 12, 13, 12, 13, 14, 15, 16, 17,
    18, 19, 18, 19, 20, 21, 22, 23, 24, 25, 25, 26, 27, 28, 29, 30, 31, 32, 31, 32, 33, 34,
    35, 36, 37, 38, 37, 38, 39, 40, 41, 42, 43, 44, 43, 44, 45, 46, 47, 48, 49, 50};
static const uint8_t even_octets[64] = {
    0, 1, 2, 3,  4,  5,  6,  0,  0,  0,  0, 0, 16, 17, 18, 19, 20, 21, 22, 0,  0,  0,
    0, 0, 0, 32, 33, 34, 35, 36, 37, 38, 0, 0, 0,  0,  0,  48, 49, 50, 51, 52, 53, 54,
    0, 0, 0, 0,  0,  0,  0,  0,  0,  0,  0, 0, 0,  0,  0,  0,  0,  0,  0,  0};
static const uint8_t odd_octets[64] = {
    0,  0,  0,  0,  0,  0,  8, 9, 10, 11, 12, 13, 14, 0,  0,  0,  0, 0, 24, 25, 26, 27,
    28, 29, 30, 0,  0,  0,  0, 0, 0,  40, 41, 42, 43, 44, 45, 46, 0, 0, 0,  0,  0,  56,
    57, 58, 59, 60, 61, 62, 0, 0, 0,  0,  0,  0,  0,  0,  0,  0,  0, 0, 0,  0};
#define EVEN UINT64_C(0xfe0fe07f07f)
#define ODD  UINT64_C(0x3f83f81fc1fc0)

static inline V shifts(void)
{
    return _mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6);
}

/* In the first 50 octets. */
static inline V packed_octets(V x)
{
    V y = _mm512_sllv_epi64(x, shifts());
    V e = _mm512_maskz_permutexvar_epi8(EVEN, _mm512_loadu_si512(even_octets), y);
    V o = _mm512_maskz_permutexvar_epi8(ODD, _mm512_loadu_si512(odd_octets), y);
    return _mm512_or_si512(e, o);
}

static void pack(uint8_t *out, const uint64_t *x, size_t n)
{
    for (; n > 0; n -= 8, x += 8, out += KAHE_PACKED) {
        _mm512_mask_storeu_epi8(out, EVEN | ODD, packed_octets(_mm512_loadu_si512(x)));
    }
}

static bool unpack(uint64_t *out, const uint8_t *in, size_t n, uint64_t q)
{
    const V order = _mm512_loadu_si512(octets_of_lanes), low = all(KAHE_LOW_50);
    __mmask8 over = 0;
    for (; n > 0; n -= 8, out += 8, in += KAHE_PACKED) {
        V b = _mm512_maskz_loadu_epi8(EVEN | ODD, in);
        V x = _mm512_srlv_epi64(_mm512_permutexvar_epi8(order, b), shifts());
        x = _mm512_and_si512(x, low);
        over |= _mm512_cmpge_epu64_mask(x, all(q));
        _mm512_storeu_si512(out, x);
    }
    return over == 0;
}

static bool uniform(uint64_t *words, size_t n, uint64_t q)
{
    __mmask8 over = 0;
    for (size_t i = 0; i < n; i += 8) {
        V x = _mm512_and_si512(_mm512_loadu_si512(words + i), all(KAHE_LOW_50));
        over |= _mm512_cmpge_epu64_mask(x, all(q));
        _mm512_storeu_si512(words + i, x);
    }
    return over == 0;
}

static bool combine(uint64_t *x, const uint64_t *y, size_t n, uint64_t q, bool minus)
{
    __mmask8 over = 0;
    for (size_t i = 0; i < n; i += 8) {
        V a = _mm512_loadu_si512(x + i), b = _mm512_loadu_si512(y + i);
        over |= _mm512_cmpge_epu64_mask(b, all(q));
        b = minus ? _mm512_sub_epi64(all(q), b) : b;
        _mm512_storeu_si512(x + i, less(_mm512_add_epi64(a, b), all(q)));
    }
    return over == 0;
}

static void quotients(uint64_t *out, const uint64_t *key, size_t n, const plmm__ring *r)
{
    const plmm__lanes k = lanes_of(r->q);
    const V excess = all(r->excess >> 24), zero = _mm512_setzero_si512(); /* 2^54 (2^50 - q) / q */
    for (size_t i = 0; i < n; i += 8) {
        V w = _mm512_loadu_si512(key + i);
        V s = _mm512_add_epi64(_mm512_slli_epi64(w, 2), _mm512_madd52hi_epu64(zero, w, excess));
        V rest = _mm512_and_si512(_mm512_madd52lo_epu64(zero, s, k.negative), k.low);
        for (int go = 0; go < 2; go++) {
            __mmask8 enough = _mm512_cmpge_epu64_mask(rest, k.q);
            s = _mm512_mask_add_epi64(s, enough, s, all(1));
            rest = _mm512_mask_sub_epi64(rest, enough, rest, k.q);
        }
        _mm512_storeu_si512(out + i, s);
    }
}

/* ---- a group ---- */

/* The lanes of a row that are blocks, and of those the ones within the vector. */
static inline __mmask8 row_mask(const plmm__group *g)
{
    return (__mmask8)((1u << g->blocks) - 1);
}

static inline __mmask8 left_mask(const plmm__group *g, size_t at)
{
    size_t left = g->left > at ? g->left - at : 0;
    return (__mmask8)(row_mask(g) & (left >= 8 ? 0xff : (1u << left) - 1));
}

/* The errors of words. */
static inline V errors_of(V words)
{
    return _mm512_sub_epi64(_mm512_popcnt_epi64(words), all(32));
}

/* x_0 + T e, below 4 q, in P1. */
static inline V message1(V e, V x0, const plmm__lanes *k)
{
    return _mm512_add_epi64(_mm512_add_epi64(x0, _mm512_slli_epi64(e, 32)), k->q);
}

/* In P2. With c = 2^50 - q, 2^50 is c and 2^56 is 64 c mod q: x_0 + 2^28 x_1 + 64 c (x_2 + 2^28 e) is
 * below 2^60 in magnitude, and so is what remains when the part above 2^50 is brought down once more. */
static inline V message3(V e, V x0, V x1, V x2, const plmm__lanes *k)
{
    const V c = _mm512_sub_epi64(all(KAHE_LOW_50 + 1), k->q);
    e = _mm512_slli_epi64(_mm512_mul_epi32(e, c), KAHE_SLOT_SHIFT + 6);
    x1 = _mm512_slli_epi64(x1, KAHE_SLOT_SHIFT);
    x2 = _mm512_mul_epi32(x2, _mm512_slli_epi64(c, 6));
    V v = _mm512_add_epi64(_mm512_add_epi64(x0, x1), _mm512_add_epi64(x2, e));
    V top = _mm512_mul_epi32(_mm512_srai_epi64(v, 50), c);
    V low = _mm512_and_si512(v, all(KAHE_LOW_50));
    return _mm512_add_epi64(_mm512_add_epi64(low, top), k->q);
}

/* Coordinates of coefficient i, of slot s. */
static inline V across(const int32_t *x, size_t s, size_t i, const plmm__group *g)
{
    const size_t at = (s * g->info->n + i) * g->blocks;
    return _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(left_mask(g, at), x + at));
}

/* The first three steps over the group, from coordinates, for all primes. */
static void enter(const int32_t *x, const plmm__group *g)
{
    const size_t n = g->info->n, h = n / 8;
    V *work = (V *)(void *)g->work;
    for (size_t j = 0; j < h; j++) {
        V e[8];
        for (size_t i = 0; i < 8; i++) {
            e[i] = errors_of(_mm512_load_si512(g->words + 8 * (j + h * i)));
        }
        for (size_t p = 0; p < g->info->primes; p++) {
            const plmm__lanes k = lanes_of(g->rings[p].q);
            V t[8];
            for (size_t i = 0; i < 8; i++) {
                const size_t c = j + h * i;
                t[i] = g->info->slots == 1 ? message1(e[i], across(x, 0, c, g), &k)
                                           : message3(e[i], across(x, 0, c, g), across(x, 1, c, g),
                                                      across(x, 2, c, g), &k);
            }
            eight(t, g->rings[p].forth52, 1, &k);
            for (size_t i = 0; i < 8; i++) {
                work[p * n + j + h * i] = t[i];
            }
        }
    }
}

/* c + a key, a residue, for c below 4 q. The product is added as it is made. */
static inline V plus_product(V c, V a, V key, V quotient, const plmm__lanes *k)
{
    V high = _mm512_madd52hi_epu64(_mm512_setzero_si512(), a, quotient);
    V sum = _mm512_madd52lo_epu64(less(c, k->q2), a, key);
    sum = _mm512_and_si512(_mm512_madd52lo_epu64(sum, high, k->negative), k->low);
    return less(less(sum, k->q2), k->q);
}

/* The last two steps of rows i..i + 3, plus a k: residues. */
static inline void finish(V c[4], size_t i, const plmm__group *g, size_t p, const plmm__lanes *k)
{
    const size_t n = g->info->n;
    const V *work = (const V *)(const void *)g->work + p * n + i;
    const V *a = (const V *)(const void *)g->a + p * n + i;
    const uint64_t *key = g->key + p * n + i, *quotient = g->key_quotients + p * n + i;
    for (size_t j = 0; j < 4; j++) {
        c[j] = work[j];
    }
    four(c, g->rings[p].forth52, (n + i) / 4, k);
    for (size_t j = 0; j < 4; j++) {
        V x = _mm512_loadu_si512(a + j);
        c[j] = plus_product(c[j], x, all(key[j]), all(quotient[j]), k);
    }
}

/* An eighth of a whole group, from row `first` on. Each row's octets are written with 14 more, which
 * the next overwrites; the last row's not, as they may not be ours. */
static void finish_packed(uint8_t *out, size_t first, const plmm__group *g, size_t p,
                          const plmm__lanes *k)
{
    const size_t h = g->info->n / 8;
    for (size_t i = 0; i < h; i += 4, out += 4 * KAHE_PACKED) {
        V c[4];
        finish(c, first + i, g, p, k);
        for (size_t j = 0; j < 3; j++) {
            _mm512_storeu_si512(out + KAHE_PACKED * j, packed_octets(c[j]));
        }
        _mm512_mask_storeu_epi8(out + KAHE_PACKED * 3, EVEN | ODD, packed_octets(c[3]));
    }
}

/* Residues of a whole group, or of one of fewer blocks. */
static void encrypt_across(uint8_t *out, const int32_t *x, const plmm__group *g)
{
    const size_t n = g->info->n, h = n / 8, blocks = g->blocks;
    enter(x, g);
    for (size_t p = 0; p < g->info->primes; p++) {
        const plmm__ring *r = &g->rings[p];
        const plmm__lanes k = lanes_of(r->q);
        V *work = (V *)(void *)g->work + p * n;
        for (size_t s = 0; s < 8; s++, out += h * blocks / KAHE_RESIDUES * KAHE_PACKED) {
            descend(work + s * h, h, 8 + s, r->forth52, &k);
            if (blocks == PLMM_KAHE_GROUP) {
                finish_packed(out, s * h, g, p, &k);
                continue;
            }
            uint64_t *rows = g->work + 8 * p * n;
            for (size_t i = s * h; i < (s + 1) * h; i += 4) {
                V c[4];
                finish(c, i, g, p, &k);
                for (size_t j = 0; j < 4; j++) {
                    /* Rows move together, behind what is still to be read. */
                    _mm512_mask_storeu_epi64(rows + (i + j) * blocks, row_mask(g), c[j]);
                }
            }
            pack(out, rows + s * h * blocks, h * blocks);
        }
    }
}

/* ---- block by block: lanes are coefficients ---- */

enum { FEW = 3 }; /* blocks, above which a group as a whole is faster */

/* Coordinates of coefficients 8 v.. of block l, of slot s. */
static inline V along(const int32_t *x, size_t s, size_t v, size_t l, const plmm__group *g)
{
    const size_t step = g->blocks, at = (s * g->info->n + 8 * v) * step + l;
    const size_t left = g->left > at ? (g->left - at + step - 1) / step : 0;
    const __mmask8 there = (__mmask8)(left >= 8 ? 0xff : (1u << left) - 1);
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), zero = _mm256_setzero_si256();
    const __m256i places = _mm256_mullo_epi32(lanes, _mm256_set1_epi32((int)step));
    const int32_t *from = x + (left > 0 ? at : 0);
    return _mm512_cvtepi32_epi64(_mm256_mmask_i32gather_epi32(zero, there, places, from, 4));
}

/* Block l, coordinates and errors: polynomial p blocks + l of work for prime p. */
static void enter_along(const int32_t *x, size_t l, const plmm__group *g)
{
    const size_t n = g->info->n;
    const V by_8 = _mm512_setr_epi64(0, 8, 16, 24, 32, 40, 48, 56);
    V *work = (V *)(void *)g->work;
    for (size_t v = 0; v < n / 8; v++) {
        V e = errors_of(_mm512_i64gather_epi64(by_8, (const void *)(g->words + 64 * v + l), 8));
        for (size_t p = 0; p < g->info->primes; p++) {
            const plmm__lanes k = lanes_of(g->rings[p].q);
            work[(p * g->blocks + l) * n / 8 + v] =
                g->info->slots == 1 ? message1(e, along(x, 0, v, l, g), &k)
                                    : message3(e, along(x, 0, v, l, g), along(x, 1, v, l, g),
                                               along(x, 2, v, l, g), &k);
        }
    }
}

/* fly with twiddles of each lane's own: of the nodes `node` + `step` times the lane. */
static inline void fly_lanes(V *u, V *v, const plmm__factor *f, size_t node, size_t step,
                             const plmm__lanes *k)
{
    const V lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const V at = _mm512_mullo_epi64(lanes, all(2 * step)); /* public */
    V w = _mm512_i64gather_epi64(at, (const void *)&f[node].w, 8);
    V s = _mm512_i64gather_epi64(at, (const void *)&f[node].quotient, 8);
    V a = less(*u, k->q2), b = mul(*v, w, s, k);
    *u = _mm512_add_epi64(a, b);
    *v = _mm512_add_epi64(a, _mm512_sub_epi64(k->q2, b));
}

/* The last five steps of vectors v..v + 7 of a polynomial of `count` vectors: two over vectors, three
 * within them. */
static inline void finish_along(V x[8], size_t v, size_t count, const plmm__factor *f,
                                const plmm__lanes *k)
{
    V t[8];
    four(x, f, (count + v) / 4, k);
    four(x + 4, f, (count + v) / 4 + 1, k);
    plmm__transpose8(t, x);
    for (size_t half = 4, step = 1; half > 0; half /= 2, step *= 2) {
        for (size_t i = 0; i < 8; i++) {
            if ((i & half) == 0) {
                fly_lanes(&t[i], &t[i + half], f, step * (count + v) + i / (2 * half), step, k);
            }
        }
    }
    plmm__transpose8(x, t);
}

/* One block: residues to rows[i * g->blocks]. */
static void encrypt_block(uint64_t *rows, V *poly, size_t l, const plmm__group *g, size_t p)
{
    const size_t n = g->info->n, count = n / 8;
    const plmm__lanes k = lanes_of(g->rings[p].q);
    const uint64_t *a = g->a + 8 * p * n + l, *key = g->key + p * n;
    const uint64_t *quotients = g->key_quotients + p * n;
    const V lanes = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), by_8 = _mm512_slli_epi64(lanes, 3);
    const V places = _mm512_mullo_epi64(lanes, all(g->blocks));
    descend(poly, count, 1, g->rings[p].forth52, &k);
    for (size_t v = 0; v < count; v += 8) {
        V c[8];
        for (size_t i = 0; i < 8; i++) {
            c[i] = poly[v + i];
        }
        finish_along(c, v, count, g->rings[p].forth52, &k);
        for (size_t i = 0; i < 8; i++) {
            const size_t at = 8 * (v + i);
            V x = _mm512_i64gather_epi64(by_8, (const void *)(a + 8 * at), 8);
            x = plus_product(c[i], x, _mm512_loadu_si512(key + at),
                             _mm512_loadu_si512(quotients + at), &k);
            _mm512_i64scatter_epi64(rows + at * g->blocks, places, x, 8);
        }
    }
}

static void encrypt(uint8_t *out, const int32_t *x, const plmm__group *g)
{
    const size_t n = g->info->n, blocks = g->blocks;
    if (blocks > FEW) {
        encrypt_across(out, x, g);
        return;
    }
    for (size_t l = 0; l < blocks; l++) {
        enter_along(x, l, g);
    }
    V *poly = (V *)(void *)g->work;
    uint64_t *rows = g->work + g->info->primes * blocks * n; /* there is room for eight blocks */
    for (size_t p = 0; p < g->info->primes; p++) {
        for (size_t l = 0; l < blocks; l++, poly += n / 8) {
            encrypt_block(rows + l, poly, l, g, p);
        }
        pack(out, rows, n * blocks);
        out += n * blocks / KAHE_RESIDUES * KAHE_PACKED;
    }
}

static inline void store(uint8_t *out, V v, size_t at, const plmm__group *g)
{
    _mm256_mask_storeu_epi32(out + 4 * at, left_mask(g, at), _mm512_cvtepi64_epi32(v));
}

static inline V slot(V v)
{
    return _mm512_srai_epi64(_mm512_slli_epi64(v, 64 - KAHE_SLOT_SHIFT), 64 - KAHE_SLOT_SHIFT);
}

/* As slots_of in kahe_portable.c. */
static inline void store3(uint8_t *out, V v0, V v1, size_t i, const plmm__group *g,
                          const plmm__lanes *k)
{
    const size_t row = (size_t)g->info->n * g->blocks, at = i * g->blocks;
    const plmm__ring *r = &g->rings[1];
    const V zero = _mm512_setzero_si512(), q0 = all(g->rings[0].q);
    V h = mul_by(_mm512_add_epi64(v1, _mm512_sub_epi64(k->q2, v0)), plmm__factor52(r->by_q0), k);
    h = less(h, k->q);
    __mmask8 big = _mm512_cmpgt_epu64_mask(h, all((r->q - 1) / 2));
    /* h - q_1 is negative: its product is that of its low 52 bits less 2^52 q_0. */
    h = _mm512_mask_sub_epi64(h, big, h, k->q);
    V low = _mm512_madd52lo_epu64(v0, q0, h);
    V high = _mm512_madd52hi_epu64(zero, q0, h);
    high = _mm512_mask_sub_epi64(high, big, high, q0);
    V up = _mm512_add_epi64(_mm512_srli_epi64(low, KAHE_SLOT_SHIFT),
                            _mm512_slli_epi64(high, 52 - KAHE_SLOT_SHIFT));
    V s0 = slot(low);
    up = _mm512_add_epi64(up, _mm512_srli_epi64(s0, 63));
    V s1 = slot(up);
    up = _mm512_add_epi64(_mm512_srli_epi64(up, KAHE_SLOT_SHIFT), _mm512_srli_epi64(s1, 63));
    store(out, s0, at, g);
    store(out, s1, at + row, g);
    store(out, slot(up), at + 2 * row, g);
}

/* The last three steps over the group, to coordinates (or, for the first of two primes, residues). */
static void leave(uint8_t *out, V *work, const plmm__group *g, size_t p, const plmm__lanes *k)
{
    const size_t n = g->info->n, h = n / 8;
    const plmm__ring *r = &g->rings[p];
    const plmm__factor size = plmm__factor52(n == KAHE_N_MAX ? r->by_size : r->by_half);
    for (size_t j = 0; j < h; j++) {
        V t[8];
        for (size_t i = 0; i < 8; i++) {
            t[i] = work[j + h * i];
        }
        eight_back(t, r->back52, 1, k);
        for (size_t i = 0; i < 8; i++) {
            V v = less(mul_by(t[i], size, k), k->q);
            if (g->info->slots == 1) {
                __mmask8 big = _mm512_cmpgt_epu64_mask(v, all((r->q - 1) / 2));
                store(out, _mm512_mask_sub_epi64(v, big, v, k->q), (j + h * i) * g->blocks, g);
            } else if (p == 0) {
                work[j + h * i] = v;
            } else {
                store3(out, (work - n)[j + h * i], v, j + h * i, g, k);
            }
        }
    }
}

static void decrypt(uint8_t *out, const uint64_t *sum, const plmm__group *g)
{
    const size_t n = g->info->n, h = n / 8;
    for (size_t p = 0; p < g->info->primes; p++) {
        const plmm__ring *r = &g->rings[p];
        const plmm__lanes k = lanes_of(r->q);
        const V *a = (const V *)(const void *)g->a + p * n;
        const uint64_t *key = g->key + p * n, *quotient = g->key_quotients + p * n;
        V *work = (V *)(void *)g->work + p * n;
        for (size_t s = 0; s < 8; s++) {
            for (size_t i = s * h; i < (s + 1) * h; i += 4) {
                V t[4];
                for (size_t j = 0; j < 4; j++) {
                    V z = mul(_mm512_loadu_si512(a + i + j), all(key[i + j]), all(quotient[i + j]),
                              &k);
                    V c = _mm512_maskz_loadu_epi64(row_mask(g), sum + (p * n + i + j) * g->blocks);
                    t[j] = less(_mm512_add_epi64(c, _mm512_sub_epi64(k.q2, z)), k.q2);
                }
                four_back(t, r->back52, (n + i) / 4, &k);
                for (size_t j = 0; j < 4; j++) {
                    work[i + j] = t[j];
                }
            }
            ascend(work + s * h, h, 8 + s, r->back52, &k);
        }
    }
    for (size_t p = 0; p < g->info->primes; p++) {
        const plmm__lanes k = lanes_of(g->rings[p].q);
        leave(out, (V *)(void *)g->work + p * n, g, p, &k);
    }
}

/* ---- products of matrices ---- */

/* low + 2^52 high mod q, both below 2^62. */
static inline V fold(V low, V high, plmm__factor by_52, plmm__factor by_104, const plmm__lanes *k)
{
    high = _mm512_add_epi64(high, _mm512_srli_epi64(low, 52));
    V top = mul_by(_mm512_srli_epi64(high, 52), by_104, k);
    V mid = mul_by(_mm512_and_si512(high, k->low), by_52, k);
    V sum = _mm512_add_epi64(less(_mm512_and_si512(low, k->low), k->q2), mid);
    sum = less(_mm512_add_epi64(less(sum, k->q2), top), k->q2);
    return less(sum, k->q);
}

enum { ROWS = 2, COLUMNS = 4 }; /* at once: 16 sums in registers */

static void product(uint64_t *out, const uint64_t *rows, size_t n, const uint64_t *values,
                    size_t terms, size_t columns, const plmm__ring *r)
{
    const plmm__lanes k = lanes_of(r->q);
    const uint64_t two52 = plmm__mul_mod(1 << 26, 1 << 26, r);
    const plmm__factor by_52 = plmm__factor52(plmm__factor_of(two52, r));
    const plmm__factor by_104 = plmm__factor52(plmm__factor_of(plmm__mul_mod(two52, two52, r), r));
    for (size_t i = 0; i < n; i += ROWS) {
        const uint64_t *row0 = rows + i * terms, *row1 = i + 1 < n ? row0 + terms : row0;
        for (size_t z = 0; z < columns; z += 8 * COLUMNS) {
            const size_t have = (columns - z) / 8 < COLUMNS ? (columns - z) / 8 : COLUMNS;
            V low[ROWS][COLUMNS], high[ROWS][COLUMNS];
            for (size_t c = 0; c < COLUMNS; c++) {
                low[0][c] = low[1][c] = high[0][c] = high[1][c] = _mm512_setzero_si512();
            }
            for (size_t j = 0; j < terms; j++) {
                const uint64_t *v = values + j * columns + z;
                V f0 = all(row0[j]), f1 = all(row1[j]);
                for (size_t c = 0; c < COLUMNS; c++) {
                    V x = _mm512_loadu_si512(v + 8 * (c < have ? c : 0));
                    low[0][c] = _mm512_madd52lo_epu64(low[0][c], x, f0);
                    high[0][c] = _mm512_madd52hi_epu64(high[0][c], x, f0);
                    low[1][c] = _mm512_madd52lo_epu64(low[1][c], x, f1);
                    high[1][c] = _mm512_madd52hi_epu64(high[1][c], x, f1);
                }
            }
            for (size_t e = 0; e < ROWS && i + e < n; e++) {
                for (size_t c = 0; c < have; c++) {
                    _mm512_storeu_si512(out + (i + e) * columns + z + 8 * c,
                                        fold(low[e][c], high[e][c], by_52, by_104, &k));
                }
            }
        }
    }
}

const plmm__kahe_path plmm__kahe_avx512 = {
    .name = "avx512ifma",
    .quotients = quotients,
    .encrypt = encrypt,
    .decrypt = decrypt,
    .pack = pack,
    .unpack = unpack,
    .uniform = uniform,
    .combine = combine,
    .product = product,
};
