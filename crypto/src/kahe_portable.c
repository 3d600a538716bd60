/* The path of any processor, and the reference: one block at a time in 64-bit words. A product by a
 * factor takes any 64-bit integer, so that sums are reduced at the end alone: with q < 2^50 a
 * transform of 2^12 points adds at most 2 q in each of its steps forth (27 q) and doubles in each
 * step back (2^12 q < 2^62). */
#include "kahe_internal.h"

#include <string.h>

static void quotients(uint64_t *out, const uint64_t *key, size_t n, const plmm__ring *r)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = plmm__factor_of(key[i], r).quotient;
    }
}

/* Natural order in, bit-reversed out (Longa and Naehrig, CANS 2016, algorithm 1). Inputs below 4 q,
 * outputs below 28 q. */
static void transform(uint64_t *x, size_t n, const plmm__ring *r)
{
    const uint64_t q2 = 2 * r->q;
    for (size_t m = 1, t = n / 2; m < n; m *= 2, t /= 2) {
        for (size_t i = 0; i < m; i++) {
            uint64_t *lo = x + 2 * i * t, *hi = lo + t;
            for (size_t j = 0; j < t; j++) {
                uint64_t u = lo[j], v = plmm__mul_lazy(hi[j], r->forth[m + i], r->q);
                lo[j] = u + v;
                hi[j] = u + q2 - v;
            }
        }
    }
}

/* The inverse but for the factor 1 / n; inputs below q, outputs below n q. */
static void transform_back(uint64_t *x, size_t n, const plmm__ring *r)
{
    uint64_t bound = r->q; /* of what is in x, doubling */
    for (size_t m = n / 2, t = 1; m >= 1; m /= 2, t *= 2, bound *= 2) {
        for (size_t i = 0; i < m; i++) {
            uint64_t *lo = x + 2 * i * t, *hi = lo + t;
            for (size_t j = 0; j < t; j++) {
                uint64_t u = lo[j], v = hi[j];
                lo[j] = u + v;
                hi[j] = plmm__mul_lazy(u + bound - v, r->back[m + i], r->q);
            }
        }
    }
}

/* Coordinate `at` of the group, 0 beyond the vector's end. */
static inline int64_t coordinate(const int32_t *x, size_t at, const plmm__group *g)
{
    return at < g->left ? x[at] : 0;
}

/* m + T e mod the prime, below 4 q, for coefficient i of block l. */
static uint64_t message(const int32_t *x, size_t i, size_t l, const plmm__group *g,
                        const plmm__ring *r)
{
    const size_t row = (size_t)g->info->n * g->blocks, at = i * g->blocks + l;
    int64_t e = (int64_t)plmm__ones(g->words[8 * i + l]) - 32;
    if (g->info->slots == 1) {
        return (uint64_t)(coordinate(x, at, g) + e * (INT64_C(1) << 32)) + r->q;
    }
    /* x_0 + 2^28 x_1, and x_2 + 2^28 e times 2^56: T is 2^84. Both made positive, and that undone. */
    int64_t low = coordinate(x, at, g) + coordinate(x, at + row, g) * (INT64_C(1) << 28);
    int64_t high = coordinate(x, at + 2 * row, g) + e * (INT64_C(1) << 28);
    uint64_t lift = r->q << 11; /* multiples of q above 2^60 */
    return plmm__less(plmm__mul_lazy((uint64_t)low + lift, r->one, r->q) +
                          plmm__mul_lazy((uint64_t)high + r->q, r->by_56, r->q),
                      2 * r->q);
}

static void pack(uint8_t *out, const uint64_t *x, size_t n)
{
    for (; n > 0; n -= KAHE_RESIDUES, x += KAHE_RESIDUES, out += KAHE_PACKED) {
        plmm_store_le64(out, x[0] | x[1] << 50);
        plmm_store_le64(out + 8, x[1] >> 14 | x[2] << 36);
        plmm_store_le64(out + 16, x[2] >> 28 | x[3] << 22);
        plmm_store_le64(out + 24, x[3] >> 42 | x[4] << 8 | x[5] << 58);
        plmm_store_le64(out + 32, x[5] >> 6 | x[6] << 44);
        plmm_store_le64(out + 40, x[6] >> 20 | x[7] << 30);
        plmm_store_le16(out + 48, (uint16_t)(x[7] >> 34));
    }
}

static inline uint64_t residue_at(const uint8_t *in, size_t i)
{
    /* The last of eight would be read beyond its end: two octets earlier, and shifted more. */
    return i == 7 ? plmm_load_le64(in + 42) >> 14
                  : plmm_load_le64(in + i * 50 / 8) >> (i * 50 % 8) & KAHE_LOW_50;
}

static bool unpack(uint64_t *out, const uint8_t *in, size_t n, uint64_t q)
{
    uint64_t over = 0;
    for (; n > 0; n -= KAHE_RESIDUES, out += KAHE_RESIDUES, in += KAHE_PACKED) {
        for (size_t i = 0; i < KAHE_RESIDUES; i++) {
            out[i] = residue_at(in, i);
            over |= q - 1 - out[i];
        }
    }
    return over >> 63 == 0;
}

static bool uniform(uint64_t *words, size_t n, uint64_t q)
{
    uint64_t over = 0;
    for (size_t i = 0; i < n; i++) {
        words[i] &= KAHE_LOW_50;
        over |= q - 1 - words[i];
    }
    return over >> 63 == 0;
}

static bool combine(uint64_t *x, const uint64_t *y, size_t n, uint64_t q, bool minus)
{
    uint64_t over = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = y[i];
        over |= q - 1 - v;
        x[i] = plmm__less(x[i] + (minus ? q - v : v), q);
    }
    return over >> 63 == 0;
}

static void encrypt(uint8_t *out, const int32_t *x, const plmm__group *g)
{
    const size_t n = g->info->n, blocks = g->blocks;
    uint64_t poly[KAHE_N_MAX];
    for (size_t p = 0; p < g->info->primes; p++) {
        const plmm__ring *r = &g->rings[p];
        const uint64_t *a = g->a + p * n * 8, *key = g->key + p * n;
        const uint64_t *quotient = g->key_quotients + p * n;
        for (size_t l = 0; l < blocks; l++) {
            for (size_t i = 0; i < n; i++) {
                poly[i] = message(x, i, l, g, r);
            }
            transform(poly, n, r);
            for (size_t i = 0; i < n; i++) {
                plmm__factor k = {key[i], quotient[i]};
                uint64_t c = poly[i] + plmm__mul_lazy(a[8 * i + l], k, r->q);
                g->work[i * blocks + l] = plmm__mul_by(c, r->one, r->q);
            }
        }
        pack(out, g->work, n * blocks);
        out += n * blocks / KAHE_RESIDUES * KAHE_PACKED;
    }
    plmm_wipe(poly, n * sizeof poly[0]);
}

/* The signed integer below 2^27 in magnitude that ends in these 28 bits. */
static inline int32_t slot(uint64_t v)
{
    const int64_t half = INT64_C(1) << (KAHE_SLOT_SHIFT - 1);
    return (int32_t)((int64_t)((v + (uint64_t)half) & ((UINT64_C(1) << KAHE_SLOT_SHIFT) - 1)) -
                     half);
}

/* Slots of v_0 + q_0 h, h = (v_1 - v_0) / q_0 mod q_1: the integer with these residues, nearest to 0
 * (unless it is within q_0 of half of q_0 q_1, which plmm_kahe_check keeps sums from). */
static void slots_of(int32_t out[3], uint64_t v0, uint64_t v1, const plmm__ring *rings)
{
    const uint64_t q0 = rings[0].q, q1 = rings[1].q;
    uint64_t h = plmm__mul_by(v1 + 2 * q1 - v0, rings[1].by_q0, q1);
    uint64_t big = ((q1 - 1) / 2 - h) >> 63;
    uint64_t f = h - (q1 & (0 - big)); /* signed */
    uint64_t low = q0 * f + v0;
    uint64_t high = plmm__mulhi(q0, f) - (q0 & (0 - big)) + (low < v0 ? 1 : 0);
    uint64_t up = low >> KAHE_SLOT_SHIFT | high << (64 - KAHE_SLOT_SHIFT);
    out[0] = slot(low);
    up += (uint32_t)out[0] >> 31;
    out[1] = slot(up);
    out[2] = slot((up >> KAHE_SLOT_SHIFT) + ((uint32_t)out[1] >> 31));
}

static void store(uint8_t *out, size_t at, int32_t v, const plmm__group *g)
{
    if (at < g->left) {
        memcpy(out + 4 * at, &v, sizeof v);
    }
}

static void lift(uint8_t *out, size_t l, const uint64_t *poly0, const uint64_t *poly1,
                 const plmm__group *g)
{
    const size_t n = g->info->n, row = n * g->blocks;
    for (size_t i = 0; i < n; i++) {
        size_t at = i * g->blocks + l;
        if (g->info->slots == 1) {
            uint64_t big = ((g->rings[0].q - 1) / 2 - poly0[i]) >> 63;
            store(out, at, (int32_t)(uint32_t)(poly0[i] - (g->rings[0].q & (0 - big))), g);
            continue;
        }
        int32_t s[3];
        slots_of(s, poly0[i], poly1[i], g->rings);
        for (size_t k = 0; k < 3; k++) {
            store(out, at + k * row, s[k], g);
        }
    }
}

static void decrypt(uint8_t *out, const uint64_t *sum, const plmm__group *g)
{
    const size_t n = g->info->n, blocks = g->blocks;
    uint64_t poly[PLMM_KAHE_PRIMES_MAX][KAHE_N_MAX];
    /* out may be where sum is */
    memcpy(g->work, sum, g->info->primes * n * blocks * sizeof *sum);
    for (size_t l = 0; l < blocks; l++) {
        for (size_t p = 0; p < g->info->primes; p++) {
            const plmm__ring *r = &g->rings[p];
            const plmm__factor size = n == KAHE_N_MAX ? r->by_size : r->by_half;
            for (size_t i = 0; i < n; i++) {
                plmm__factor k = {g->key[p * n + i], g->key_quotients[p * n + i]};
                uint64_t z = plmm__mul_by(g->a[8 * (p * n + i) + l], k, r->q);
                poly[p][i] = plmm__less(g->work[(p * n + i) * blocks + l] + r->q - z, r->q);
            }
            transform_back(poly[p], n, r);
            for (size_t i = 0; i < n; i++) {
                poly[p][i] = plmm__mul_by(poly[p][i], size, r->q);
            }
        }
        lift(out, l, poly[0], poly[1], g);
    }
    plmm_wipe(poly, sizeof poly);
}

static void product(uint64_t *out, const uint64_t *rows, size_t n, const uint64_t *values,
                    size_t terms, size_t columns, const plmm__ring *r)
{
    const plmm__factor wrap = plmm__factor_of((UINT64_C(1) << 50) - r->q, r); /* 2^50 mod q */
    for (size_t i = 0; i < n; i++, out += columns, rows += terms) {
        for (size_t z = 0; z < columns; z++) {
            uint64_t low = 0, high = 0; /* below 2^110 */
            for (size_t j = 0; j < terms; j++) {
                uint64_t v = values[j * columns + z], l = rows[j] * v;
                low += l;
                high += plmm__mulhi(rows[j], v) + (low < l ? 1 : 0);
            }
            uint64_t top = plmm__mul_lazy(high << 14 | low >> 50, wrap, r->q);
            out[z] = plmm__mul_by(top + (low & KAHE_LOW_50), r->one, r->q);
        }
    }
}

const plmm__kahe_path plmm__kahe_portable = {
    .name = "portable",
    .quotients = quotients,
    .encrypt = encrypt,
    .decrypt = decrypt,
    .pack = pack,
    .unpack = unpack,
    .uniform = uniform,
    .combine = combine,
    .product = product,
};
