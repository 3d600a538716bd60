/* aes_internal.h -- AES-256 in counter mode, added to lanes: one table of functions a set of
 * instructions, chosen at run time. Tests take each by itself. */
#ifndef PLMM_AES_INTERNAL_H
#define PLMM_AES_INTERNAL_H

#include "plmm/mask.h"

/* What every path works on at once: 32 blocks, which begin at a block divisible by 32, so that the
 * number of a block within them only sets bits of the counter that are 0. */
enum {
    PLMM__AES_GROUP_BLOCKS = 32,
    PLMM__AES_GROUP_LANES = 128,
    PLMM__AES_ROUNDS = 14,
    PLMM__AES_PATHS = 4 /* the most a processor can have */
};

typedef struct plmm__aes {
    const char *name;

    /* The fifteen round keys of FIPS 197, 5.2. */
    void (*expand)(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32]);

    /* x = (x +/- the keystream of each of count >= 1 masks, from `block` on) & low, for `groups`
     * times PLMM__AES_GROUP_LANES lanes. block is divisible by PLMM__AES_GROUP_BLOCKS; x need not
     * be aligned. */
    void (*apply)(uint32_t *x, size_t groups, uint32_t block, uint32_t low, const plmm_mask *masks,
                  size_t count);
} plmm__aes;

extern const plmm__aes plmm__aes_vaes512, plmm__aes_vaes256, plmm__aes_aesni, plmm__aes_armv8,
    plmm__aes_portable;

/* FIPS 197, 5.2, from substitute(word) = S-box of each of its four octets (little-endian words). */
void plmm__aes_schedule(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32],
                        uint32_t (*substitute)(uint32_t));

/* The same by AES-NI. */
void plmm__aes_expand_x86(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32]);

/* The first of plmm__aes_all, or the one a test has asked for. */
const plmm__aes *plmm__aes_best(void);

/* Those this processor can run, fastest first; the last is plmm__aes_portable. Returns how many. */
size_t plmm__aes_all(const plmm__aes *out[PLMM__AES_PATHS]);

/* For tests, before other threads: plmm__aes_best is k from now on; NULL ends it. */
void plmm__aes_use(const plmm__aes *k);

#endif
