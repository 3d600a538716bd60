/* tests/support/aes_emulated.h -- the template of the AES paths over a processor written in C, for a
 * machine that lacks the real one. Included once a kind of processor, with TAG (a suffix of names),
 * WIDTH (blocks a register) and perhaps KEY_FIRST defined. */
#include "aes_internal.h"
#include "mask_internal.h"

#include <string.h>

#ifndef PLMM_AES_EMULATED_H
#define PLMM_AES_EMULATED_H

/* What the instruction does, octet by octet, independent of the reference's cipher. */
static uint8_t emu_times(uint8_t a, uint8_t b)
{
    unsigned p = 0;
    for (int i = 0; i < 8; i++) {
        p ^= (b >> i & 1) != 0 ? (unsigned)a << i : 0;
    }
    for (int i = 14; i >= 8; i--) {
        p ^= (p >> i & 1) != 0 ? 0x11bu << (i - 8) : 0;
    }
    return (uint8_t)p;
}

static uint8_t emu_sbox(uint8_t a)
{
    static uint8_t table[256];
    static bool made;
    for (unsigned x = 0; !made && x < 256; x++) {
        unsigned inverse = 0;
        while (x != 0 && emu_times((uint8_t)x, (uint8_t)inverse) != 1) {
            inverse++;
        }
        unsigned y = inverse << 8 | inverse;
        table[x] = (uint8_t)(y ^ y >> 4 ^ y >> 5 ^ y >> 6 ^ y >> 7 ^ 0x63);
    }
    made = true;
    return table[a];
}

/* Rows shifted and octets substituted, in each block of 16 octets; then perhaps columns mixed. */
static void emu_round(uint8_t *b, size_t len, bool columns)
{
    for (; len > 0; len -= 16, b += 16) {
        uint8_t s[16];
        for (size_t i = 0; i < 16; i++) {
            s[i] = emu_sbox(b[5 * i % 16]);
        }
        for (size_t i = 0; i < 16; i++) {
            size_t c = i / 4 * 4;
            b[i] = !columns ? s[i]
                            : (uint8_t)(emu_times(s[i], 2) ^ emu_times(s[c + (i + 1) % 4], 3) ^
                                        s[c + (i + 2) % 4] ^ s[c + (i + 3) % 4]);
        }
    }
}

#define EMU_JOIN(a, b) a##b
#define EMU_NAME(a, b) EMU_JOIN(a, b)
#define vec            EMU_NAME(vec, TAG)
#define v_load(p)      EMU_NAME(v_load, TAG)(p)
#define v_store(p, x)  EMU_NAME(v_store, TAG)(p, x)
#define v_each         EMU_NAME(v_each, TAG)
#define v_add(a, b)    v_each('+', a, b)
#define v_sub(a, b)    v_each('-', a, b)
#define v_and(a, b)    v_each('&', a, b)
#define v_xor(a, b)    v_each('^', a, b)
#define v_all          EMU_NAME(v_all, TAG)
#define v_round_key    EMU_NAME(v_round_key, TAG)
#define v_counter      EMU_NAME(v_counter, TAG)
#define v_enc          EMU_NAME(v_enc, TAG)
#define v_enc_last     EMU_NAME(v_enc_last, TAG)
#define number         EMU_NAME(number, TAG)
#define key_of         EMU_NAME(key_of, TAG)
#define start          EMU_NAME(start, TAG)
#define cipher         EMU_NAME(cipher, TAG)
#define step           EMU_NAME(step, TAG)
#define apply          EMU_NAME(apply, TAG)
#define FLIGHT         EMU_NAME(FLIGHT, TAG)
#define STEP_BLOCKS    EMU_NAME(STEP_BLOCKS, TAG)
#endif

typedef struct vec {
    uint32_t lane[4 * WIDTH];
} vec;

static vec v_load(const void *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void v_store(void *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

static vec v_each(int op, vec a, vec b)
{
    for (size_t i = 0; i < 4 * WIDTH; i++) {
        uint32_t x = a.lane[i], y = b.lane[i];
        a.lane[i] = op == '+' ? x + y : op == '-' ? x - y : op == '&' ? (x & y) : x ^ y;
    }
    return a;
}

static vec v_all(uint32_t u)
{
    vec v;
    for (size_t i = 0; i < 4 * WIDTH; i++) {
        v.lane[i] = u;
    }
    return v;
}

static vec v_round_key(const uint8_t *p)
{
    vec v;
    for (size_t i = 0; i < WIDTH; i++) {
        memcpy(v.lane + 4 * i, p, 16);
    }
    return v;
}

static vec v_counter(uint32_t u)
{
    vec v = {{0}};
    for (size_t i = 0; i < WIDTH; i++) {
        v.lane[4 * i + 3] = u;
    }
    return v;
}

#if defined(KEY_FIRST)
static vec v_enc(vec b, vec k)
{
    b = v_xor(b, k);
    emu_round((uint8_t *)b.lane, sizeof b, true);
    return b;
}

static vec v_enc_last(vec b, vec k, vec l)
{
    b = v_xor(b, k);
    emu_round((uint8_t *)b.lane, sizeof b, false);
    return v_xor(b, l);
}
#else
static vec v_enc(vec b, vec k)
{
    emu_round((uint8_t *)b.lane, sizeof b, true);
    return v_xor(b, k);
}

static vec v_enc_last(vec b, vec k)
{
    emu_round((uint8_t *)b.lane, sizeof b, false);
    return v_xor(b, k);
}
#endif

#include "aes_impl.h"

#undef TAG
#undef WIDTH
#undef KEY_FIRST
