/* plmm/noise.h -- integer noise for differential privacy: exact tables, constant time, and the
 * layers that keep its variance exact when devices drop out.
 *
 * Variances are integers, in units of 1 / PLMM_NOISE_UNITS of a lattice step squared. Two kinds:
 *   Skellam            difference of two Poisson variables of half the variance each:
 *                      P(k) = exp(-v) I_|k|(v). Closed under sums. The default.
 *   discrete Gaussian  P(k) proportional to exp(-k^2 / (2 v)). A sum of several is not quite one:
 *                      the accountant pays for it (Kairouz et al. 2021).
 *
 * A SAMPLER is an alias table over |k|: N = 2^m columns of equal probability, each with a threshold
 * and another value. It is made from a pmf computed in integer arithmetic of 320 bits (Miller's
 * backward recurrence for Skellam, powers of exp(-1/2v) for the Gaussian), rounded to multiples of
 * 2^-93 that add to exactly 1. What is sampled is thus that rounded pmf, exactly; its total
 * variation distance from the true one, plmm_noise_tv, is below 2^-80 and belongs into delta, once
 * a draw. A variance beyond one table's is a sum of equal draws (Skellam only).
 *
 * A draw takes three words of a stream cipher: a sign, a column, a threshold of 93 - m bits. The
 * table is searched by scanning (in-register permutations where the processor has them), so time
 * and addresses depend on n, kind and variance only. Every path gives the same numbers to the bit.
 * No floating point touches a draw.
 *
 * Nothing allocates; thread-safe on disjoint vectors. Sources: Agarwal et al. 2021 (Skellam),
 * Canonne, Kamath, Steinke 2020 (discrete Gaussian), Walker 1977 (alias), Jiang et al. 2024 XNoise.
 */
#ifndef PLMM_NOISE_H
#define PLMM_NOISE_H

#include "plmm/keys.h"

enum {
    PLMM_NOISE_UNITS = 16,            /* variance = units / 16 */
    PLMM_NOISE_TABLE_LOG2_MAX = 12,   /* columns of a table */
    PLMM_NOISE_TABLE_UNITS = 1800000, /* largest variance of one draw: a deviation of 335 */
    PLMM_NOISE_DRAWS_MAX = 4096,      /* most draws a coordinate */
    PLMM_NOISE_LEVELS_MAX = 64        /* most surplus components of plmm_xnoise */
};

/* Ids are on the wire: never renumber. */
typedef enum plmm_noise_kind {
    PLMM_NOISE_NONE = 0,
    PLMM_NOISE_SKELLAM = 1,
    PLMM_NOISE_GAUSSIAN = 2
} plmm_noise_kind;

/* "none", "skellam", "gaussian", or NULL for another number. */
const char *plmm_noise_name(uint32_t kind);

/* A table for one draw; about 48 KiB, public, fields private to crypto/. */
typedef struct plmm_noise_table {
    /* Octets 4 j .. 4 j + 3 of word j of every column: 0 is threshold's top | alias, see noise.c */
    _Alignas(64) uint8_t plane[12][1 << PLMM_NOISE_TABLE_LOG2_MAX];
    uint32_t log2; /* m, 6..12 */
    uint32_t kind;
    uint64_t units;
    double tv; /* an upper bound */
} plmm_noise_table;

/* PLMM_ERR_RANGE if kind is neither Skellam nor Gaussian or units not in
 * 1..PLMM_NOISE_TABLE_UNITS. Takes 0.1 to 5 ms. */
PLMM_NODISCARD plmm_status plmm_noise_table_init(plmm_noise_table *t, uint32_t kind, uint64_t units,
                                                 plmm_error *err);

/* Exact probability, as a multiple of 2^-93, that a draw is +k or -k (both, for k > 0): out[0] +
 * 2^31 out[1] + 2^62 out[2]. For tests: sums over all k < 2^t->log2 are 2^93. */
void plmm_noise_table_mass(uint32_t out[3], const plmm_noise_table *t, uint32_t k);

/* x[i] += one draw of t (wrapping in 32 bits), i in 0..n-1, from words of `stream` under seed.
 * Draw i uses words 48 (i / 16) + 16 j + i % 16, j = 0, 1, 2, of the stream. `index` tells several
 * draws from one seed apart. n <= 2^28 and a stream of this build are asserted. */
void plmm_noise_draw(int32_t *x, size_t n, const plmm_noise_table *t, uint32_t stream,
                     const plmm_seed *seed, uint64_t index);

/* The same a coordinate at a time in plain C: the reference for tests. */
void plmm_noise_draw_ref(int32_t *x, size_t n, const plmm_noise_table *t, uint32_t stream,
                         const plmm_seed *seed, uint64_t index);

/* PLMM_ERR_RANGE, in words, unless noise of this kind and variance can be drawn: a kind of this
 * build; Gaussian up to PLMM_NOISE_TABLE_UNITS, Skellam up to PLMM_NOISE_DRAWS_MAX times that. */
PLMM_NODISCARD plmm_status plmm_noise_check(uint32_t kind, uint64_t units, plmm_error *err);

/* x[i] += noise of exactly `units`, for i in 0..n-1: 0 units (or kind NONE) adds nothing; larger
 * Skellam variances are sums of as few draws as do, of equal variance but for one unit. Uses 48 KiB
 * of stack. seed is private, and used for nothing else. Errors as plmm_noise_check; x is then
 * untouched. */
PLMM_NODISCARD plmm_status plmm_noise_add(int32_t *x, size_t n, uint32_t kind, uint64_t units,
                                          uint32_t stream, const plmm_seed *seed, plmm_error *err);
/* The same with -=: takes noise out again that was added from a seed since revealed. */
PLMM_NODISCARD plmm_status plmm_noise_sub(int32_t *x, size_t n, uint32_t kind, uint64_t units,
                                          uint32_t stream, const plmm_seed *seed, plmm_error *err);

/* An upper bound of the total variation distance between one coordinate of plmm_noise_add and the
 * true distribution: all draws of a coordinate. n devices and d coordinates cost at most n d times
 * this in delta. A bound that needs no table: 2^-80 a draw. */
double plmm_noise_tv(uint32_t kind, uint64_t units);

/* Smallest t with P(|noise| > t) <= p for noise of this kind and variance, or a sum of independent
 * noises whose variances add to it (both kinds are bounded by their Chernoff bound). 0 for none. */
double plmm_noise_tail(uint32_t kind, double units, double p);

/* The bound itself: of P(|noise| >= t), t > 0; 0 without noise. */
double plmm_noise_tail_probability(uint32_t kind, double units, double t);

/* ---- noise that stays exact under dropouts ----
 *
 * The sum shall have variance `units` from its honest survivors alone. With n devices, A of them
 * corrupt and D dropped, each survivor must keep v(D) = ceil(units / (n - D - A)). As D is not
 * known when a device adds its noise, it adds components 0..levels of variance
 *   c_0 = v(drops(0)),   c_l = v(drops(l)) - v(drops(l - 1)),   drops(l) = l (n - least) / levels
 * (rounded down; without levels: drops(0) = n - least), and once the survivors are agreed on, those
 * above level(D), the smallest l with drops(l) >= D, are taken out again: what stays is exactly
 * v(drops(level(D))) >= v(D) a survivor.
 *
 * Component l is drawn from a seed derived from g_l, with g_{l+1} = H(g_l): the one value
 * g_{level+1} gives all components to be removed and nothing of those that stay. A survivor that
 * does not answer leaves its surplus in: more noise, never less. */
typedef struct plmm_xnoise {
    uint32_t kind;   /* plmm_noise_kind */
    uint32_t stream; /* plmm_stream of its words */
    uint64_t units;  /* of the sum, from honest survivors */
    uint32_t n;      /* devices that may be in the sum */
    uint32_t least;  /* fewest survivors it is exact for, corrupt < least <= n */
    uint32_t corrupt;
    uint32_t levels; /* 0: calibrated for n - least dropouts, nothing is removed */
} plmm_xnoise;

/* PLMM_ERR_RANGE, naming the field, if one is out of its range or noise of v(n - least) cannot be
 * drawn. kind NONE is fine, whatever the rest. The others assert it. */
PLMM_NODISCARD plmm_status plmm_xnoise_check(const plmm_xnoise *p, plmm_error *err);

/* Variance of component l of one device, l in 0..levels. */
uint64_t plmm_xnoise_units(const plmm_xnoise *p, uint32_t l);

/* Level for D dropouts; levels if D > n - least (then the target is not met: check before). */
uint32_t plmm_xnoise_level(const plmm_xnoise *p, uint32_t dropped);

/* What a survivor keeps at a level: the sum of components 0..level. At `levels`: all it adds. */
uint64_t plmm_xnoise_kept(const plmm_xnoise *p, uint32_t level);

/* g_0 of a device from its private seed of the round, and g_l from it. */
void plmm_xnoise_root(plmm_seed *g0, const plmm_seed *round_seed);
void plmm_xnoise_chain(plmm_seed *gl, const plmm_seed *g0, uint32_t l);

/* Device: x += all components. */
PLMM_NODISCARD plmm_status plmm_xnoise_add(int32_t *x, size_t n, const plmm_xnoise *p,
                                           const plmm_seed *g0, plmm_error *err);

/* Aggregator: sum -= the components above `level` of one survivor, from its g_{level+1}. `sum` are
 * lanes mod 2^32 (or two's complement of the exact sum); reduce mod 2^b afterwards. Nothing if
 * level is levels. */
PLMM_NODISCARD plmm_status plmm_xnoise_remove(int32_t *sum, size_t n, const plmm_xnoise *p,
                                              uint32_t level, const plmm_seed *revealed,
                                              plmm_error *err);

/* ---- reference: Canonne, Kamath, Steinke 2020, algorithm 3 ----
 * Discrete Gaussian by rejection, exact, in rational arithmetic. NOT constant time: an oracle for
 * tests and a peer for benchmarks, never for a device. x[i] = a draw of variance units / 16. */
void plmm_noise_cks(int32_t *x, size_t n, uint64_t units, const plmm_seed *seed);

#endif
