/* The inner loop of the noise sampler, once a set of instructions.
 *
 * Column c of a table of N = 2^m columns holds three words of 31 bits:
 *   word 0: bits 0..m-1 the alias, bits m..30 bits 62.. of the threshold
 *   word 1: bits 31..61 of the threshold      word 2: bits 0..30 of the threshold
 * A draw has three words w of the stream: bits 0..m-1 of w0 are the column, bit 31 the sign; bits
 * m..30 of w0, 31 bits of w1, 31 bits of w2 are a number below 2^(93-m). It is c if that number is
 * below the threshold, else the alias. */
#ifndef PLMM_NOISE_INTERNAL_H
#define PLMM_NOISE_INTERNAL_H

#include "plmm/noise.h"

enum { NOISE_LANES = 16, NOISE_BLOCK = 64, NOISE_BLOCK_WORDS = 3 * NOISE_BLOCK };

/* x[0..64 blocks) += draws, or -= if flip is -1 (else 0), from words[0..192 blocks). */
typedef void plmm__noise_fn(int32_t *x, size_t blocks, const plmm_noise_table *t,
                            const uint32_t *words, int32_t flip);

typedef struct plmm__noise_path {
    const char *name;
    plmm__noise_fn *draw;
} plmm__noise_path;

plmm__noise_fn plmm__noise_avx512, plmm__noise_avx2, plmm__noise_portable;

/* All paths that this processor can run, the best first, the portable last. */
const plmm__noise_path *plmm__noise_paths(size_t *count);

/* x += or -= draws of t by the given path. */
void plmm__noise_draw(const plmm__noise_path *path, int32_t *x, size_t n, const plmm_noise_table *t,
                      uint32_t stream, const plmm_seed *seed, uint64_t index, int32_t flip);

/* Word j of column c. */
static inline uint32_t plmm__noise_word(const plmm_noise_table *t, unsigned j, size_t c)
{
    return (uint32_t)t->plane[4 * j][c] | (uint32_t)t->plane[4 * j + 1][c] << 8 |
           (uint32_t)t->plane[4 * j + 2][c] << 16 | (uint32_t)t->plane[4 * j + 3][c] << 24;
}

/* Tests: like plmm_noise_table_init, with the recurrence started `extra` places further out. */
plmm_status plmm__noise_table_build(plmm_noise_table *t, uint32_t kind, uint64_t units,
                                    uint32_t extra, plmm_error *err);

#endif
