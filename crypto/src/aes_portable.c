/* AES without instructions for it, in constant time: bit-sliced, so that the S-box is a circuit and
 * nothing is looked up (Kaesper and Schwabe, CHES 2009; the layout is that of BearSSL's aes_ct64 by
 * Pornin; the circuit is Boyar's and Peralta's of 115 gates, SEC 2012).
 *
 * A word of 64 bits is one bit of each of the 16 octets of four blocks: 16 bits a row of the state,
 * in them four a column, in them one a block. ELEMENTS words beside each other make one vector. */
#include "aes_internal.h"

#include "plmm/bytes.h"
#include "plmm/keys.h"

#include <string.h>

enum { ELEMENTS = 4, PASS_BLOCKS = 4 * ELEMENTS, PASS_LANES = 4 * PASS_BLOCKS };
typedef uint64_t word __attribute__((vector_size(8 * ELEMENTS)));
_Static_assert(PLMM__AES_GROUP_BLOCKS % PASS_BLOCKS == 0, "a group is whole passes");

/* ---- the S-box ---- */

/* q[i] is bit i of every octet. */
static inline void substitute_all(word q[8])
{
    const word x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4], x4 = q[3], x5 = q[2], x6 = q[1],
               x7 = q[0];
    /* the linear layer above */
    const word y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, t0 = x1 ^ x2, y1 = t0 ^ x7,
               y4 = y1 ^ x3, y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8,
               t1 = x4 ^ y12, y15 = t1 ^ x5, y20 = t1 ^ x1, y6 = y15 ^ x7, y10 = y15 ^ t0,
               y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8, y16 = t0 ^ y11,
               y21 = y13 ^ y16, y18 = x0 ^ y16;
    /* the inversion */
    const word t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & x7) ^ t2, t7 = y13 & y16,
               t9 = (y5 & y1) ^ t7, t11 = (y2 & y7) ^ t7, t12 = y9 & y11, t14 = (y14 & y17) ^ t12,
               t16 = (y8 & y10) ^ t12, t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19,
               t23 = t9 ^ t14 ^ y21, t24 = t11 ^ t16 ^ y18, t25 = t21 ^ t22, t26 = t21 & t23,
               t27 = t24 ^ t26, t29 = (t25 & t27) ^ t22, t30 = t23 ^ t24, t31 = t22 ^ t26,
               t33 = (t31 & t30) ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33, t36 = t24 & t35,
               t37 = t36 ^ t34, t38 = t27 ^ t36, t40 = t25 ^ (t29 & t38), t41 = t40 ^ t37,
               t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37, t45 = t42 ^ t41;
    const word z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1,
               z5 = t29 & y7, z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12,
               z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13, z13 = t40 & y5, z14 = t29 & y2,
               z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;
    /* the linear layer below */
    const word t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12,
               t51 = z2 ^ z5, t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17,
               t56 = z12 ^ t48, t57 = t50 ^ t53, t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57,
               t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58, t64 = z4 ^ t59, t65 = t61 ^ t62,
               t66 = z1 ^ t63, t67 = t64 ^ t65, s3 = t53 ^ t66;
    q[7] = t59 ^ t63;
    q[1] = t56 ^ ~t62;
    q[0] = t48 ^ ~t60;
    q[4] = s3;
    q[3] = t51 ^ t66;
    q[2] = t47 ^ t65;
    q[6] = t64 ^ ~s3;
    q[5] = t55 ^ ~t67;
}

/* ---- to and from slices ---- */

/* Exchanges the bits of *a under low << s with those of *b under low. */
static inline void exchange(word *a, word *b, uint64_t low, int s)
{
    const word t = (*a >> s ^ *b) & low;
    *a ^= t << s;
    *b ^= t;
}

/* Transposes each 8 x 8 square of bits: octets of blocks to slices and back, its own inverse. */
static inline void transpose(word q[8])
{
    for (size_t i = 0; i < 8; i += 2) {
        exchange(&q[i], &q[i + 1], UINT64_C(0x5555555555555555), 1);
    }
    for (size_t i = 0; i < 8; i += i % 2 == 0 ? 1 : 3) {
        exchange(&q[i], &q[i + 2], UINT64_C(0x3333333333333333), 2);
    }
    for (size_t i = 0; i < 4; i++) {
        exchange(&q[i], &q[i + 4], UINT64_C(0x0f0f0f0f0f0f0f0f), 4);
    }
}

/* The octets of a little-endian word to the even octets of 64 bits, and back. */
static inline word spread(word x)
{
    x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
    return (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
}

static inline word gather(word x)
{
    x &= UINT64_C(0x00ff00ff00ff00ff);
    x = (x | x >> 8) & UINT64_C(0x0000ffff0000ffff);
    return (x | x >> 16) & UINT64_C(0xffffffff);
}

/* ---- the rounds ---- */

typedef struct schedule {
    word k[PLMM__AES_ROUNDS + 1][8];
} schedule;

static void slice_keys(schedule *s, const uint8_t w[PLMM_MASK_KEY_BYTES])
{
    for (size_t r = 0; r <= PLMM__AES_ROUNDS; r++, w += 16) {
        word v[4];
        for (size_t i = 0; i < 4; i++) {
            v[i] = spread((word){0} + (uint64_t)plmm_load_le32(w + 4 * i));
        }
        for (size_t i = 0; i < 4; i++) { /* four blocks that are all the key */
            s->k[r][i] = v[0] | v[2] << 8;
            s->k[r][i + 4] = v[1] | v[3] << 8;
        }
        transpose(s->k[r]);
    }
}

static inline void add_key(word q[8], const word k[8])
{
    for (size_t i = 0; i < 8; i++) {
        q[i] ^= k[i];
    }
}

static inline void shift_rows(word q[8])
{
    for (size_t i = 0; i < 8; i++) {
        const word x = q[i];
        q[i] = (x & UINT64_C(0x000000000000ffff)) | (x & UINT64_C(0x00000000fff00000)) >> 4 |
               (x & UINT64_C(0x00000000000f0000)) << 12 | (x & UINT64_C(0x0000ff0000000000)) >> 8 |
               (x & UINT64_C(0x000000ff00000000)) << 8 | (x & UINT64_C(0xf000000000000000)) >> 12 |
               (x & UINT64_C(0x0fff000000000000)) << 4;
    }
}

/* Each octet a of a column with b below it: 2 (a + b) + b + the two octets below that. */
static inline void mix_columns(word q[8])
{
    word a[8], b[8];
    for (size_t i = 0; i < 8; i++) {
        a[i] = q[i];
        b[i] = a[i] >> 16 | a[i] << 48;
    }
    const word top = a[7] ^ b[7];
    for (size_t i = 0; i < 8; i++) {
        const word ab = a[i] ^ b[i];
        q[i] = b[i] ^ (ab >> 32 | ab << 32) ^ (i == 0 ? top : a[i - 1] ^ b[i - 1]);
    }
    q[1] ^= top; /* x^8 = x^4 + x^3 + x + 1 */
    q[3] ^= top;
    q[4] ^= top;
}

static inline void cipher(word q[8], const schedule *s)
{
    add_key(q, s->k[0]);
    for (size_t r = 1; r < PLMM__AES_ROUNDS; r++) {
        substitute_all(q);
        shift_rows(q);
        mix_columns(q);
        add_key(q, s->k[r]);
    }
    substitute_all(q);
    shift_rows(q);
    add_key(q, s->k[PLMM__AES_ROUNDS]);
}

/* ---- counter mode ---- */

/* Blocks block .. block + PASS_BLOCKS - 1 of the keystream: word i of block 4 e + j is element e of
 * out[j][i]. */
static inline void keystream(word out[4][4], uint32_t block, const schedule *s)
{
    word q[8] = {{0}};
    for (size_t j = 0; j < 4; j++) {
        for (size_t e = 0; e < ELEMENTS; e++) {
            q[j + 4][e] = __builtin_bswap32(block + (uint32_t)(4 * e + j));
        }
        q[j + 4] = spread(q[j + 4]) << 8;
    }
    transpose(q);
    cipher(q, s);
    transpose(q);
    for (size_t j = 0; j < 4; j++) {
        out[j][0] = gather(q[j]);
        out[j][1] = gather(q[j + 4]);
        out[j][2] = gather(q[j] >> 8);
        out[j][3] = gather(q[j + 4] >> 8);
    }
}

static void add_pass(uint32_t *x, word k[4][4], bool add)
{
    for (size_t j = 0; j < 4; j++) {
        for (size_t i = 0; i < 4; i++) {
            for (size_t e = 0; e < ELEMENTS; e++) {
                uint32_t lane = (uint32_t)k[j][i][e];
                x[16 * e + 4 * j + i] += add ? lane : 0 - lane;
            }
        }
    }
}

/* Tiles of TILE groups, so that the slices of a key serve many blocks and the lanes stay near. */
enum { TILE = 32 };

static void apply(uint32_t *x, size_t groups, uint32_t block, uint32_t low, const plmm_mask *masks,
                  size_t count)
{
    schedule s;
    word k[4][4];
    while (groups > 0) {
        size_t g = groups < TILE ? groups : TILE, n = g * PLMM__AES_GROUP_LANES;
        for (size_t i = 0; i < count; i++) {
            slice_keys(&s, masks[i].key);
            for (size_t at = 0; at < n; at += PASS_LANES) {
                keystream(k, block + (uint32_t)(at / 4), &s);
                add_pass(x + at, k, masks[i].sign == PLMM_MASK_ADD);
            }
        }
        for (size_t i = 0; i < n; i++) {
            x[i] &= low;
        }
        x += n;
        block += (uint32_t)g * PLMM__AES_GROUP_BLOCKS;
        groups -= g;
    }
    plmm_wipe(&s, sizeof s);
    plmm_wipe(k, sizeof k);
}

/* ---- the key schedule ---- */

static uint32_t substitute(uint32_t w)
{
    word q[8] = {{w}};
    transpose(q);
    substitute_all(q);
    transpose(q);
    return (uint32_t)q[0][0];
}

static uint32_t word_at(const uint8_t *w, size_t i)
{
    return plmm_load_le32(w + 4 * i);
}

void plmm__aes_schedule(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32],
                        uint32_t (*sub)(uint32_t))
{
    uint32_t rcon = 1;
    memmove(w, key, 32);
    for (size_t i = 8; i < PLMM_MASK_KEY_BYTES / 4; i++) {
        uint32_t t = word_at(w, i - 1);
        if (i % 8 == 0) {
            t = sub(t >> 8 | t << 24) ^ rcon; /* RotWord of a little-endian word */
            rcon <<= 1;
        } else if (i % 8 == 4) {
            t = sub(t);
        }
        plmm_store_le32(w + 4 * i, word_at(w, i - 8) ^ t);
    }
}

static void expand(uint8_t w[PLMM_MASK_KEY_BYTES], const uint8_t key[32])
{
    plmm__aes_schedule(w, key, substitute);
}

const plmm__aes plmm__aes_portable = {"portable", expand, apply};
