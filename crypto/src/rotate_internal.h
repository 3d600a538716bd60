/* The loops of the rotation, once a set of instructions. */
#ifndef PLMM_ROTATE_INTERNAL_H
#define PLMM_ROTATE_INTERNAL_H

#include "plmm/rotate.h"

/* Floats that may lie where lanes lay, or will: encode.c rotates inside the array of lanes. */
typedef float __attribute__((may_alias)) plmm__float;

/* A Hadamard transform is levels of butterflies (a + b, a - b) at distances 1, 2, 4, ... 2^(p-1),
 * unscaled. Equal to the bit whatever the blocking, as every sum has the same two operands. */
typedef struct plmm__hadamard_path {
    const char *name;
    /* x[0..2^p) = H x, p <= PLMM__BLOCK_LOG2. */
    void (*block)(plmm__float *x, unsigned p);
    /* Levels of distance step .. step 2^(levels-1), of 2^levels rows of step floats, levels 1..3;
     * step is a power of two from 2^PLMM__BLOCK_LOG2 on. */
    void (*pass)(plmm__float *x, size_t step, unsigned levels);
    /* x[i] = scale x[i], negated where bit i % 32 of word i / 32 is set. n is a multiple of 32. */
    void (*sign)(plmm__float *x, size_t n, const uint32_t *words, float scale);
} plmm__hadamard_path;

enum { PLMM__BLOCK_LOG2 = 12 }; /* 16 KiB stay in the first-level cache */

extern const plmm__hadamard_path plmm__hadamard_avx512, plmm__hadamard_avx2,
    plmm__hadamard_portable;

/* All paths that this processor can run, the best first, the portable last. */
const plmm__hadamard_path *const *plmm__hadamard_paths(size_t *count);

/* The rotation and its inverse by a path. */
void plmm__rotate(const plmm__hadamard_path *path, plmm__float *x, size_t d, const plmm_hash *seed);
void plmm__unrotate(const plmm__hadamard_path *path, plmm__float *x, size_t d,
                    const plmm_hash *seed);

#endif
