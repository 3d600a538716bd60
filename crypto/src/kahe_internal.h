/* Inside of plmm/kahe.h and plmm/packed.h: the primes, their tables, and the paths. */
#ifndef PLMM_KAHE_INTERNAL_H
#define PLMM_KAHE_INTERNAL_H

#include "plmm/bytes.h"
#include "plmm/kahe.h"

enum {
    KAHE_N_MAX = 4096,
    KAHE_SLOT_SHIFT = 28,                /* P2 */
    KAHE_TERMS_MAX = 1024,               /* of a product: 2^10 2^52 2^52 fit 2 x 64 bits */
    KAHE_RESIDUES = 8,                   /* packed together: 50 octets */
    KAHE_PACKED = PLMM_KAHE_RESIDUE_BITS /* octets of 8 residues */
};
#define KAHE_PRIME_0 UINT64_C(1125899906826241)
#define KAHE_PRIME_1 UINT64_C(1125899906629633)
#define KAHE_LOW_50  ((UINT64_C(1) << 50) - 1)

/* A factor ready to multiply by, mod q, after Shoup: quotient = floor(2^64 factor / q). */
typedef struct plmm__factor {
    uint64_t w, quotient;
} plmm__factor;

/* Powers of psi for a transform of 4096 points; their first half serves 2048. Entry i is
 * psi^brv(i), its inverse in `back`. */
typedef struct plmm__ring {
    uint64_t q;
    uint64_t excess;               /* floor((2^50 - q) 2^78 / q): see plmm__factor_of */
    plmm__factor one;              /* reduces any integer to less than 2 q */
    plmm__factor by_28, by_56;     /* 2^28, 2^56 */
    plmm__factor by_size, by_half; /* 1 / 4096, 1 / 2048 */
    plmm__factor by_q0;            /* 1 / the first prime (mod the second) */
    plmm__factor forth[KAHE_N_MAX], back[KAHE_N_MAX];
    plmm__factor forth52[KAHE_N_MAX], back52[KAHE_N_MAX]; /* quotients of 2^52 */
} plmm__ring;

/* The rings of the two primes; made by whoever asks first. */
const plmm__ring *plmm__rings(void);

/* ---- arithmetic in 64 bits ---- */

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 plmm__u128;

static inline uint64_t plmm__mulhi(uint64_t a, uint64_t b)
{
    return (uint64_t)((plmm__u128)a * b >> 64);
}
#else
static inline uint64_t plmm__mulhi(uint64_t a, uint64_t b)
{
    uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    uint64_t mid = ah * bl + (al * bl >> 32), low = (uint32_t)mid + al * bh;
    return ah * bh + (mid >> 32) + (low >> 32);
}
#endif

/* x f mod q, below 2 q, for any x. */
static inline uint64_t plmm__mul_lazy(uint64_t x, plmm__factor f, uint64_t q)
{
    return x * f.w - plmm__mulhi(x, f.quotient) * q;
}

/* x - q if x >= q, for x below 2^63. */
static inline uint64_t plmm__less(uint64_t x, uint64_t q)
{
    uint64_t r = x - q;
    return r + (q & (0 - (r >> 63)));
}

static inline uint64_t plmm__mul_by(uint64_t x, plmm__factor f, uint64_t q)
{
    return plmm__less(plmm__mul_lazy(x, f, q), q);
}

/* The factor w < q without a division: with q = 2^50 - c, 2^64 w / q is 2^14 w + w (2^14 c / q), the
 * latter within 2 of the product with `excess`, and what is missing shows in the remainder. */
static inline plmm__factor plmm__factor_of(uint64_t w, const plmm__ring *r)
{
    plmm__factor f = {w, (w << 14) + plmm__mulhi(w, r->excess)};
    uint64_t rest = 0 - f.quotient * r->q; /* 2^64 w - quotient q, below 3 q */
    for (int i = 0; i < 2; i++) {
        uint64_t enough = 1 - ((rest - r->q) >> 63);
        f.quotient += enough;
        rest -= r->q & (0 - enough);
    }
    return f;
}

static inline plmm__factor plmm__factor52(plmm__factor f)
{
    return (plmm__factor){f.w, f.quotient >> 12};
}

/* a b mod q for b < q, any a. */
static inline uint64_t plmm__mul_mod(uint64_t a, uint64_t b, const plmm__ring *r)
{
    return plmm__mul_by(a, plmm__factor_of(b, r), r->q);
}

/* a^e mod q; e is public. */
uint64_t plmm__pow_mod(uint64_t a, uint64_t e, const plmm__ring *r);

/* Number of ones, without a table. */
static inline uint64_t plmm__ones(uint64_t v)
{
    v = v - (v >> 1 & UINT64_C(0x5555555555555555));
    v = (v & UINT64_C(0x3333333333333333)) + (v >> 2 & UINT64_C(0x3333333333333333));
    v = (v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return v * UINT64_C(0x0101010101010101) >> 56;
}

/* ---- one group of blocks ---- */

/* What a path needs to encrypt or decrypt group `group`. Rows are blocks * one residue. */
typedef struct plmm__group {
    const plmm_kahe_info *info;
    const plmm__ring *rings;
    uint32_t blocks;               /* R, 1..8 */
    size_t left;                   /* coordinates of the vector from this group's first on */
    const uint64_t *key;           /* N a prime */
    const uint64_t *key_quotients; /* of 2^52 (avx512ifma) or 2^64 (portable), likewise */
    const uint64_t *a;             /* 8 N a prime */
    uint64_t *words;               /* encrypt: 8 N words of noise; else 8 N of scratch */
    uint64_t *work;                /* 8 N a prime */
} plmm__group;

typedef struct plmm__kahe_path {
    const char *name;
    /* quotients[0..n) for key_quotients */
    void (*quotients)(uint64_t *out, const uint64_t *key, size_t n, const plmm__ring *r);
    /* The group's packed residues from x. */
    void (*encrypt)(uint8_t *out, const int32_t *x, const plmm__group *g);
    /* The group's coordinates from residues. */
    void (*decrypt)(uint8_t *out, const uint64_t *sum, const plmm__group *g);
    /* n is a multiple of 8 in these. */
    void (*pack)(uint8_t *out, const uint64_t *x, size_t n);
    /* Unpacks; false if one is not below q. */
    bool (*unpack)(uint64_t *out, const uint8_t *in, size_t n, uint64_t q);
    /* Leaves the low 50 bits of each; false if one is then not below q. */
    bool (*uniform)(uint64_t *words, size_t n, uint64_t q);
    /* x = x + y or x - y mod q; false if a y is not below q, x is then of no use. */
    bool (*combine)(uint64_t *x, const uint64_t *y, size_t n, uint64_t q, bool minus);
    /* out[i][z] = sum over j < terms of rows[i][j] values[j][z] mod q for z < columns, a multiple of
     * 8; all below q, terms at most KAHE_TERMS_MAX. */
    void (*product)(uint64_t *out, const uint64_t *rows, size_t n, const uint64_t *values,
                    size_t terms, size_t columns, const plmm__ring *r);
} plmm__kahe_path;

extern const plmm__kahe_path plmm__kahe_portable;
#if defined(__x86_64__)
extern const plmm__kahe_path plmm__kahe_avx512;
#endif

const plmm__kahe_path *plmm__kahe_best(void);
/* Forces a path, for tests; NULL gives the choice back. */
void plmm__kahe_use(const plmm__kahe_path *path);
/* Those this processor can run, the fastest first. */
const plmm__kahe_path *const *plmm__kahe_all(size_t *count);

/* words[0..n) = words first.. of a stream. */
void plmm__kahe_words(uint64_t *words, size_t n, uint64_t first, const plmm_mask *stream);

/* x[0..n) += or -= uniform residues: the low 50 bits of the words from `first` on that are below q
 * in them, in order. n <= KAHE_N_MAX. */
void plmm__kahe_uniform(uint64_t *x, size_t n, uint64_t q, const plmm_mask *stream, uint64_t first,
                        bool minus);

/* The stream of 32 secret octets in a context. */
void plmm__kahe_stream(plmm_mask *out, const uint8_t secret[32], const plmm_hash *context);

#endif
