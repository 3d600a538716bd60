/* The loops of the rotation over vectors of VL floats; the including file defines VL (4, 8 or 16),
 * PATH and NAME. Three levels a pass: eight rows are held in registers. */
#include "rotate_internal.h"

#include <string.h>

typedef float vec __attribute__((vector_size(4 * VL)));
typedef uint32_t bits __attribute__((vector_size(4 * VL)));

static inline vec load(const plmm__float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(plmm__float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

/* Butterflies at distance h within a vector: lane i becomes its sum with lane i ^ h, negated itself
 * where i has the bit h. -a + b = b - a to the bit. */
#if VL == 16
#define SWAP(v, h)                                                                                 \
    __builtin_shufflevector(v, v, 0 ^ (h), 1 ^ (h), 2 ^ (h), 3 ^ (h), 4 ^ (h), 5 ^ (h), 6 ^ (h),   \
                            7 ^ (h), 8 ^ (h), 9 ^ (h), 10 ^ (h), 11 ^ (h), 12 ^ (h), 13 ^ (h),     \
                            14 ^ (h), 15 ^ (h))
#define SIGNS(h)                                                                                   \
    ((bits){S(0, h), S(1, h), S(2, h), S(3, h), S(4, h), S(5, h), S(6, h), S(7, h), S(8, h),       \
            S(9, h), S(10, h), S(11, h), S(12, h), S(13, h), S(14, h), S(15, h)})
#elif VL == 8
#define SWAP(v, h)                                                                                 \
    __builtin_shufflevector(v, v, 0 ^ (h), 1 ^ (h), 2 ^ (h), 3 ^ (h), 4 ^ (h), 5 ^ (h), 6 ^ (h),   \
                            7 ^ (h))
#define SIGNS(h) ((bits){S(0, h), S(1, h), S(2, h), S(3, h), S(4, h), S(5, h), S(6, h), S(7, h)})
#else
#define SWAP(v, h) __builtin_shufflevector(v, v, 0 ^ (h), 1 ^ (h), 2 ^ (h), 3 ^ (h))
#define SIGNS(h)   ((bits){S(0, h), S(1, h), S(2, h), S(3, h)})
#endif
#define S(i, h)      (((i) & (h)) != 0 ? 0x80000000u : 0u)
#define WITHIN(v, h) ((vec)((bits)(v) ^ SIGNS(h)) + SWAP(v, h))

static inline vec within(vec v)
{
    v = WITHIN(v, 1);
    v = WITHIN(v, 2);
#if VL >= 8
    v = WITHIN(v, 4);
#endif
#if VL >= 16
    v = WITHIN(v, 8);
#endif
    return v;
}

/* Levels of distance 1, 2, 4, 8 between named vectors: named, so that they stay in registers. */
#define BF(a, b)                                                                                   \
    do {                                                                                           \
        vec t_ = (a);                                                                              \
        (a) = t_ + (b);                                                                            \
        (b) = t_ - (b);                                                                            \
    } while (0)
#define LEVELS2(a, b) BF(a, b)
#define LEVELS4(a, b, c, d)                                                                        \
    LEVELS2(a, b);                                                                                 \
    LEVELS2(c, d);                                                                                 \
    BF(a, c);                                                                                      \
    BF(b, d)
#define LEVELS8(a, b, c, d, e, f, g, h)                                                            \
    LEVELS4(a, b, c, d);                                                                           \
    LEVELS4(e, f, g, h);                                                                           \
    BF(a, e);                                                                                      \
    BF(b, f);                                                                                      \
    BF(c, g);                                                                                      \
    BF(d, h)

/* Two, four, eight and sixteen rows: the levels of distance step .. rows step / 2; step is a
 * multiple of VL. */
static void pass2(plmm__float *x, size_t step)
{
    for (size_t j = 0; j < step; j += VL, x += VL) {
        vec a = load(x), b = load(x + step);
        LEVELS2(a, b);
        store(x, a);
        store(x + step, b);
    }
}

static void pass4(plmm__float *x, size_t step)
{
    for (size_t j = 0; j < step; j += VL, x += VL) {
        vec a = load(x), b = load(x + step), c = load(x + 2 * step), d = load(x + 3 * step);
        LEVELS4(a, b, c, d);
        store(x, a);
        store(x + step, b);
        store(x + 2 * step, c);
        store(x + 3 * step, d);
    }
}

static void pass8(plmm__float *x, size_t step)
{
    for (size_t i = 0; i < step; i += VL, x += VL) {
        plmm__float *y = x + 4 * step;
        vec a = load(x), b = load(x + step), c = load(x + 2 * step), d = load(x + 3 * step);
        vec e = load(y), f = load(y + step), g = load(y + 2 * step), h = load(y + 3 * step);
        LEVELS8(a, b, c, d, e, f, g, h);
        store(x, a);
        store(x + step, b);
        store(x + 2 * step, c);
        store(x + 3 * step, d);
        store(y, e);
        store(y + step, f);
        store(y + 2 * step, g);
        store(y + 3 * step, h);
    }
}

static void pass_by(plmm__float *x, size_t step, unsigned levels)
{
    switch (levels) {
    case 1:
        pass2(x, step);
        break;
    case 2:
        pass4(x, step);
        break;
    default:
        pass8(x, step);
        break;
    }
}

/* The first levels of 8 VL floats: those within vectors, and three between them. */
static inline void first_levels(plmm__float *x)
{
    vec a = within(load(x)), b = within(load(x + VL)), c = within(load(x + 2 * VL)),
        d = within(load(x + 3 * VL)), e = within(load(x + 4 * VL)), f = within(load(x + 5 * VL)),
        g = within(load(x + 6 * VL)), h = within(load(x + 7 * VL));
    LEVELS8(a, b, c, d, e, f, g, h);
    store(x, a);
    store(x + VL, b);
    store(x + 2 * VL, c);
    store(x + 3 * VL, d);
    store(x + 4 * VL, e);
    store(x + 5 * VL, f);
    store(x + 6 * VL, g);
    store(x + 7 * VL, h);
}

enum { FIRST_LOG2 = VL == 16 ? 7 : VL == 8 ? 6 : 5 };

static void block(plmm__float *x, unsigned p)
{
    if (p < FIRST_LOG2) {
        for (size_t h = 1; h < (size_t)1 << p; h *= 2) {
            for (size_t i = 0; i < (size_t)1 << p; i += i % (2 * h) == h - 1 ? h + 1 : 1) {
                float a = x[i], b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
        }
        return;
    }
    for (size_t i = 0; i < (size_t)1 << p; i += (size_t)1 << FIRST_LOG2) {
        first_levels(x + i);
    }
    for (unsigned q = FIRST_LOG2; q < p;) {
        unsigned levels = p - q < 3 ? p - q : 3;
        for (size_t i = 0; i < (size_t)1 << p; i += (size_t)1 << (q + levels)) {
            pass_by(x + i, (size_t)1 << q, levels);
        }
        q += levels;
    }
}

static void sign(plmm__float *x, size_t n, const uint32_t *words, float scale)
{
    bits lane;
    for (uint32_t i = 0; i < VL; i++) {
        lane[i] = i;
    }
    for (size_t i = 0; i < n; i += VL) {
        bits minus = ((bits){0} + (words[i / 32] >> i % 32)) >> lane << 31;
        store(x + i, (vec)((bits)(load(x + i) * scale) ^ minus));
    }
}

const plmm__hadamard_path PATH = {NAME, block, pass_by, sign};
