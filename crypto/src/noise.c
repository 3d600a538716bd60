/* Choice of a path, draws of any length, sums of draws, and what they cost. The format of a table
 * is in noise_internal.h. */
#include "noise_internal.h"
#include "plmm/mask.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#define HAVE_X86 1
#else
#define HAVE_X86 0
#endif

const char *plmm_noise_name(uint32_t kind)
{
    static const char *const names[] = {"none", "skellam", "gaussian"};
    return kind < sizeof names / sizeof names[0] ? names[kind] : NULL;
}

/* ---- portable: every column is read for a tile of draws, and kept where it is theirs ---- */

/* w & (index == c ? all ones : 0) is what stays of column c. */
static void scan_columns(uint32_t found[3][NOISE_BLOCK], const uint32_t index[NOISE_BLOCK],
                         const plmm_noise_table *t)
{
    memset(found, 0, 3 * NOISE_BLOCK * sizeof found[0][0]);
    for (size_t c = 0; c < (size_t)1 << t->log2; c++) {
        const uint32_t w0 = plmm__noise_word(t, 0, c), w1 = plmm__noise_word(t, 1, c),
                       w2 = plmm__noise_word(t, 2, c), self = (uint32_t)c;
        for (size_t i = 0; i < NOISE_BLOCK; i++) {
            /* 0 - (a is zero), a below 2^31, without a comparison that could become a branch */
            uint32_t mask = (uint32_t)0 - (((index[i] ^ self) - 1) >> 31);
            found[0][i] |= w0 & mask;
            found[1][i] |= w1 & mask;
            found[2][i] |= w2 & mask;
        }
    }
}

/* -1 if the number of three limbs x is below t, else 0: the borrow of x - t. */
static int32_t below(const uint32_t x[3], const uint32_t t[3])
{
    int32_t borrow = (int32_t)(x[2] - t[2]) >> 31;
    borrow = (int32_t)(x[1] - t[1] + (uint32_t)borrow) >> 31;
    return (int32_t)(x[0] - t[0] + (uint32_t)borrow) >> 31;
}

void plmm__noise_portable(int32_t *x, size_t blocks, const plmm_noise_table *t,
                          const uint32_t *words, int32_t flip)
{
    const uint32_t m = t->log2, low = (UINT32_C(1) << m) - 1;
    uint32_t index[NOISE_BLOCK], found[3][NOISE_BLOCK];
    for (size_t b = 0; b < blocks; b++, x += NOISE_BLOCK, words += NOISE_BLOCK_WORDS) {
        for (size_t i = 0; i < NOISE_BLOCK; i++) {
            index[i] = words[48 * (i / NOISE_LANES) + i % NOISE_LANES] & low;
        }
        scan_columns(found, index, t);
        for (size_t i = 0; i < NOISE_BLOCK; i++) {
            const uint32_t *w = words + 48 * (i / NOISE_LANES) + i % NOISE_LANES;
            const uint32_t draw[3] = {(w[0] & 0x7fffffff) >> m, w[16] & 0x7fffffff,
                                      w[32] & 0x7fffffff};
            const uint32_t bound[3] = {found[0][i] >> m, found[1][i], found[2][i]};
            uint32_t alias = found[0][i] & low;
            uint32_t k = alias ^ ((alias ^ index[i]) & (uint32_t)below(draw, bound));
            uint32_t sign = (uint32_t)((int32_t)w[0] >> 31) ^ (uint32_t)flip;
            x[i] = (int32_t)((uint32_t)x[i] + ((k ^ sign) - sign));
        }
    }
    plmm_wipe(index, sizeof index);
    plmm_wipe(found, sizeof found);
}

/* ---- dispatch ---- */

const plmm__noise_path *plmm__noise_paths(size_t *count)
{
#if HAVE_X86
    static const plmm__noise_path all[] = {{"avx512", plmm__noise_avx512},
                                           {"avx2", plmm__noise_avx2},
                                           {"portable", plmm__noise_portable}};
    const bool avx2 = __builtin_cpu_supports("avx2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi");
    size_t skip = avx512 ? 0 : avx2 ? 1 : 2;
#else
    static const plmm__noise_path all[] = {{"portable", plmm__noise_portable}};
    size_t skip = 0;
#endif
    *count = sizeof all / sizeof all[0] - skip;
    return all + skip;
}

/* ---- draws ---- */

enum { TILE_BLOCKS = 16, TILE = TILE_BLOCKS * NOISE_BLOCK };

void plmm__noise_draw(const plmm__noise_path *path, int32_t *x, size_t n, const plmm_noise_table *t,
                      uint32_t stream, const plmm_seed *seed, uint64_t index, int32_t flip)
{
    static const plmm_hash context = {{0}}; /* the derivation's label and index say what it is */
    _Alignas(64) uint32_t words[TILE_BLOCKS * NOISE_BLOCK_WORDS];
    _Alignas(64) int32_t last[NOISE_BLOCK] = {0};
    plmm_seed own;
    plmm_mask m;
    PLMM_ASSERT(n <= (size_t)1 << 28);
    plmm_seed_derive(&own, seed, "noise.v1", index);
    plmm_status rc = plmm_mask_init(&m, stream, own.b, &context, PLMM_MASK_ADD, NULL);
    PLMM_ASSERT(rc == PLMM_OK);
    for (size_t at = 0; at < n; at += TILE) {
        size_t here = n - at < TILE ? n - at : TILE, blocks = here / NOISE_BLOCK;
        size_t rest = here % NOISE_BLOCK, want = blocks + (rest > 0 ? 1 : 0);
        plmm_mask_fill(words, want * NOISE_BLOCK_WORDS, at * 3, &m);
        path->draw(x + at, blocks, t, words, flip);
        if (rest > 0) {
            path->draw(last, 1, t, words + blocks * NOISE_BLOCK_WORDS, flip);
            for (size_t i = 0; i < rest; i++) {
                int32_t *to = x + at + blocks * NOISE_BLOCK + i;
                *to = (int32_t)((uint32_t)*to + (uint32_t)last[i]);
            }
        }
    }
    plmm_wipe(words, sizeof words);
    plmm_wipe(last, sizeof last);
    plmm_wipe(&own, sizeof own);
    plmm_wipe(&m, sizeof m);
}

void plmm_noise_draw(int32_t *x, size_t n, const plmm_noise_table *t, uint32_t stream,
                     const plmm_seed *seed, uint64_t index)
{
    size_t count;
    plmm__noise_draw(plmm__noise_paths(&count), x, n, t, stream, seed, index, 0);
}

void plmm_noise_draw_ref(int32_t *x, size_t n, const plmm_noise_table *t, uint32_t stream,
                         const plmm_seed *seed, uint64_t index)
{
    static const plmm__noise_path portable = {"portable", plmm__noise_portable};
    plmm__noise_draw(&portable, x, n, t, stream, seed, index, 0);
}

/* ---- any variance ---- */

plmm_status plmm_noise_check(uint32_t kind, uint64_t units, plmm_error *err)
{
    if (kind == PLMM_NOISE_NONE || plmm_noise_name(kind) == NULL) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot draw noise of kind %u: kinds are 1 (skellam) and 2 (gaussian)",
                         kind);
    }
    uint64_t most =
        (uint64_t)PLMM_NOISE_TABLE_UNITS * (kind == PLMM_NOISE_SKELLAM ? PLMM_NOISE_DRAWS_MAX : 1);
    if (units > most) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot draw %s noise of variance %llu/16: at most %llu/16; use a coarser "
                         "lattice (fewer quantiser bits)",
                         plmm_noise_name(kind), (unsigned long long)units,
                         (unsigned long long)most);
    }
    return PLMM_OK;
}

static uint64_t draws_of(uint64_t units)
{
    return (units + PLMM_NOISE_TABLE_UNITS - 1) / PLMM_NOISE_TABLE_UNITS;
}

static plmm_status add(int32_t *x, size_t n, uint32_t kind, uint64_t units, uint32_t stream,
                       const plmm_seed *seed, int32_t flip, plmm_error *err)
{
    if (kind == PLMM_NOISE_NONE || units == 0) {
        return PLMM_OK;
    }
    PLMM_TRY(plmm_noise_check(kind, units, err));
    size_t count;
    const plmm__noise_path *path = plmm__noise_paths(&count);
    const uint64_t draws = draws_of(units), each = units / draws, more = units % draws;
    plmm_noise_table t;
    for (uint64_t i = 0; i < draws; i++) {
        if (i == 0 || i == more) { /* the first `more` draws have one unit more */
            PLMM_TRY(plmm_noise_table_init(&t, kind, each + (i < more ? 1 : 0), err));
        }
        plmm__noise_draw(path, x, n, &t, stream, seed, i, flip);
    }
    return PLMM_OK;
}

plmm_status plmm_noise_add(int32_t *x, size_t n, uint32_t kind, uint64_t units, uint32_t stream,
                           const plmm_seed *seed, plmm_error *err)
{
    return add(x, n, kind, units, stream, seed, 0, err);
}

plmm_status plmm_noise_sub(int32_t *x, size_t n, uint32_t kind, uint64_t units, uint32_t stream,
                           const plmm_seed *seed, plmm_error *err)
{
    return add(x, n, kind, units, stream, seed, -1, err);
}

double plmm_noise_tv(uint32_t kind, uint64_t units)
{
    return kind == PLMM_NOISE_NONE ? 0 : (double)draws_of(units) * 0x1p-80;
}

/* log P(X >= t), Chernoff, for a sum of variance v. The discrete Gaussian is sub-Gaussian (Canonne
 * et al. 2020, corollary 17); Skellam's cumulant function is v (cosh l - 1). */
static double log_tail(uint32_t kind, double v, double t)
{
    if (kind == PLMM_NOISE_GAUSSIAN) {
        return -t * t / (2 * v);
    }
    double z = t / v, more = z * z / (1 + sqrt(1 + z * z)); /* cosh l - 1, without cancellation */
    return v * more - t * log1p(z + more);
}

double plmm_noise_tail_probability(uint32_t kind, double units, double t)
{
    if (kind == PLMM_NOISE_NONE || units <= 0) {
        return 0;
    }
    return t <= 0 ? 1 : 2 * exp(log_tail(kind, units / PLMM_NOISE_UNITS, t));
}

double plmm_noise_tail(uint32_t kind, double units, double p)
{
    if (kind == PLMM_NOISE_NONE || units <= 0) {
        return 0;
    }
    const double v = units / PLMM_NOISE_UNITS, want = log(p / 2);
    double low = 0, high = 1;
    while (log_tail(kind, v, high) > want) {
        high *= 2;
    }
    for (int i = 0; i < 60 && high - low > 0.5; i++) {
        double mid = (low + high) / 2;
        *(log_tail(kind, v, mid) > want ? &low : &high) = mid;
    }
    return ceil(high);
}
