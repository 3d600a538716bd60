/* XChaCha20-Poly1305 of sixteen boxes at once, a box a lane: words of 32 bits of ChaCha20, limbs of 44
 * bits of Poly1305 in two groups of eight (IFMA). Sources: RFC 8439, draft-irtf-cfrg-xchacha-03; the
 * limbs are those of Andrew Moon's poly1305-donna. */
#include "plmm/bytes.h"
#include "seal_internal.h"
#include "transpose_avx512.h"

#include <immintrin.h>
#include <string.h>

typedef __m512i V;

enum { BLOCK = 64, GROUP = 8, GROUPS = SEAL_LANES / GROUP };

static inline V all(uint64_t v)
{
    return _mm512_set1_epi64((long long)v);
}

static inline __mmask64 first_octets(size_t n)
{
    return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

/* ---- ChaCha20 ---- */

#define QUARTERS(a, b, c, d, r)                                                                    \
    do {                                                                                           \
        for (int i = 0; i < 4; i++) {                                                              \
            x[a(i)] = _mm512_add_epi32(x[a(i)], x[b(i)]);                                          \
            x[d(i)] = _mm512_rol_epi32(_mm512_xor_si512(x[d(i)], x[a(i)]), r);                     \
        }                                                                                          \
    } while (0)
#define A(i)      (i)
#define B(i)      (4 + (i))
#define C(i)      (8 + (i))
#define D(i)      (12 + (i))
#define DIAG_B(i) (4 + ((i) + 1) % 4)
#define DIAG_C(i) (8 + ((i) + 2) % 4)
#define DIAG_D(i) (12 + ((i) + 3) % 4)

/* Twenty rounds. */
static inline void rounds(V x[16])
{
    for (int round = 0; round < 10; round++) {
        QUARTERS(A, B, C, D, 16);
        QUARTERS(C, D, A, B, 12);
        QUARTERS(A, B, C, D, 8);
        QUARTERS(C, D, A, B, 7);
        QUARTERS(A, DIAG_B, DIAG_C, DIAG_D, 16);
        QUARTERS(DIAG_C, DIAG_D, A, DIAG_B, 12);
        QUARTERS(A, DIAG_B, DIAG_C, DIAG_D, 8);
        QUARTERS(DIAG_C, DIAG_D, A, DIAG_B, 7);
    }
}

static inline void constants(V x[16])
{
    static const uint32_t c[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    for (int i = 0; i < 4; i++) {
        x[i] = _mm512_set1_epi32((int)c[i]);
    }
}

/* The state of block 0 of each box: HChaCha20's key, counter 0, the nonce's end. */
static void begin(V state[16], const plmm_sealing *v)
{
    V in[16], x[16];
    for (size_t l = 0; l < SEAL_LANES; l++) {
        __m256i key = _mm256_loadu_si256((const __m256i *)(const void *)v[l].key->b);
        __m256i nonce = _mm256_maskz_loadu_epi8(0xffffff, v[l].nonce->b);
        in[l] = _mm512_inserti64x4(_mm512_castsi256_si512(key), nonce, 1);
    }
    plmm__transpose16(in); /* eight words of the key, six of the nonce */
    constants(x);
    for (int i = 0; i < 8; i++) {
        x[4 + i] = in[i];
    }
    for (int i = 0; i < 4; i++) {
        x[12 + i] = in[8 + i];
    }
    rounds(x);
    constants(state);
    for (int i = 0; i < 4; i++) {
        state[4 + i] = x[i];
        state[8 + i] = x[12 + i];
    }
    state[12] = state[13] = _mm512_setzero_si512();
    state[14] = in[12];
    state[15] = in[13];
    plmm_wipe(in, sizeof in);
    plmm_wipe(x, sizeof x);
}

static inline void block(V x[16], const V state[16], uint32_t counter)
{
    for (int i = 0; i < 16; i++) {
        x[i] = state[i];
    }
    const V at = _mm512_set1_epi32((int)counter);
    x[12] = at;
    rounds(x);
    for (int i = 0; i < 16; i++) {
        x[i] = _mm512_add_epi32(x[i], i == 12 ? at : state[i]);
    }
}

/* out = in xor the keystream of blocks 1.., in the lanes of `which`. */
static void stream(const plmm_sealing *v, uint32_t which, size_t len, const V state[16])
{
    V x[16];
    uint32_t counter = 1;
    for (size_t at = 0; at < len; at += BLOCK) {
        const __mmask64 there = first_octets(len - at);
        block(x, state, counter++);
        plmm__transpose16(x);
        for (size_t l = 0; l < SEAL_LANES; l++) {
            if ((which >> l & 1) != 0) {
                V text = _mm512_maskz_loadu_epi8(there, v[l].in + at);
                _mm512_mask_storeu_epi8(v[l].out + at, there, _mm512_xor_si512(text, x[l]));
            }
        }
    }
    plmm_wipe(x, sizeof x);
}

/* ---- Poly1305 ---- */

#define LOW_44 ((UINT64_C(1) << 44) - 1)
#define LOW_42 ((UINT64_C(1) << 42) - 1)

typedef struct poly {
    V h[3], r[3], s[3]; /* s = 20 r */
    V pad[2];           /* words of 64 bits */
} poly;

/* Words `at` and `at + 1` of lanes 8 g .. 8 g + 7. */
static inline V pair_of(const V x[8], int at, size_t g)
{
    __m256i lo = g == 0 ? _mm512_castsi512_si256(x[at]) : _mm512_extracti64x4_epi64(x[at], 1);
    __m256i hi =
        g == 0 ? _mm512_castsi512_si256(x[at + 1]) : _mm512_extracti64x4_epi64(x[at + 1], 1);
    return _mm512_or_si512(_mm512_cvtepu32_epi64(lo),
                           _mm512_slli_epi64(_mm512_cvtepu32_epi64(hi), 32));
}

/* From the first eight words of each lane: the factor, clamped, and the pad. */
static void poly_begin(poly p[GROUPS], const V x[8])
{
    for (size_t g = 0; g < GROUPS; g++) {
        V t0 = pair_of(x, 0, g), t1 = pair_of(x, 2, g);
        V mid = _mm512_or_si512(_mm512_srli_epi64(t0, 44), _mm512_slli_epi64(t1, 20));
        p[g].r[0] = _mm512_and_si512(t0, all(UINT64_C(0xffc0fffffff)));
        p[g].r[1] = _mm512_and_si512(mid, all(UINT64_C(0xfffffc0ffff)));
        p[g].r[2] = _mm512_and_si512(_mm512_srli_epi64(t1, 24), all(UINT64_C(0x00ffffffc0f)));
        for (int i = 0; i < 3; i++) {
            V four = _mm512_slli_epi64(p[g].r[i], 2);
            p[g].s[i] = _mm512_add_epi64(_mm512_slli_epi64(four, 2), four);
            p[g].h[i] = _mm512_setzero_si512();
        }
        p[g].pad[0] = pair_of(x, 4, g);
        p[g].pad[1] = pair_of(x, 6, g);
    }
}

/* a0 b0 + a1 b1 + a2 b2, low and high part at 2^52; b < 2^49. */
static inline void sum3(V *low, V *high, const V a[3], V b0, V b1, V b2)
{
    const V zero = _mm512_setzero_si512();
    *low = _mm512_madd52lo_epu64(
        _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(zero, a[0], b0), a[1], b1), a[2], b2);
    *high = _mm512_madd52hi_epu64(
        _mm512_madd52hi_epu64(_mm512_madd52hi_epu64(zero, a[0], b0), a[1], b1), a[2], b2);
}

/* h = (h + lo + 2^64 hi + 2^128) r. Limbs come in below 2^45 and go out below 2^44 + 2^9. */
static inline void absorb(poly *p, V lo, V hi)
{
    V a[3], low[3], high[3];
    const V mid = _mm512_or_si512(_mm512_srli_epi64(lo, 44), _mm512_slli_epi64(hi, 20));
    const V top = _mm512_or_si512(_mm512_srli_epi64(hi, 24), all(UINT64_C(1) << 40));
    a[0] = _mm512_add_epi64(p->h[0], _mm512_and_si512(lo, all(LOW_44)));
    a[1] = _mm512_add_epi64(p->h[1], _mm512_and_si512(mid, all(LOW_44)));
    a[2] = _mm512_add_epi64(p->h[2], top);
    sum3(&low[0], &high[0], a, p->r[0], p->s[2], p->s[1]);
    sum3(&low[1], &high[1], a, p->r[1], p->r[0], p->s[2]);
    sum3(&low[2], &high[2], a, p->r[2], p->r[1], p->r[0]);
    V c = _mm512_add_epi64(_mm512_srli_epi64(low[0], 44), _mm512_slli_epi64(high[0], 8));
    low[1] = _mm512_add_epi64(low[1], c);
    c = _mm512_add_epi64(_mm512_srli_epi64(low[1], 44), _mm512_slli_epi64(high[1], 8));
    low[2] = _mm512_add_epi64(low[2], c);
    c = _mm512_add_epi64(_mm512_srli_epi64(low[2], 42), _mm512_slli_epi64(high[2], 10));
    V h0 = _mm512_add_epi64(_mm512_and_si512(low[0], all(LOW_44)),
                            _mm512_add_epi64(c, _mm512_slli_epi64(c, 2)));
    p->h[0] = _mm512_and_si512(h0, all(LOW_44));
    p->h[1] = _mm512_add_epi64(_mm512_and_si512(low[1], all(LOW_44)), _mm512_srli_epi64(h0, 44));
    p->h[2] = _mm512_and_si512(low[2], all(LOW_42));
}

/* Up to 64 octets of each lane from `at` on, filled up with zeros to whole blocks of 16. */
static inline void absorb_octets(poly p[GROUPS], const uint8_t *const in[SEAL_LANES], size_t at,
                                 size_t n)
{
    const __mmask64 there = first_octets(n);
    for (size_t g = 0; g < GROUPS; g++) {
        V r[8], m[8];
        for (size_t l = 0; l < 8; l++) {
            r[l] = _mm512_maskz_loadu_epi8(there, in[g * GROUP + l] + at);
        }
        plmm__transpose8(m, r);
        for (size_t b = 0; b < 4 && 16 * b < n; b++) {
            absorb(&p[g], m[2 * b], m[2 * b + 1]);
        }
    }
}

static inline void carry(V h[3])
{
    V c = _mm512_srli_epi64(h[0], 44);
    h[0] = _mm512_and_si512(h[0], all(LOW_44));
    h[1] = _mm512_add_epi64(h[1], c);
    c = _mm512_srli_epi64(h[1], 44);
    h[1] = _mm512_and_si512(h[1], all(LOW_44));
    h[2] = _mm512_add_epi64(h[2], c);
    c = _mm512_srli_epi64(h[2], 42);
    h[2] = _mm512_and_si512(h[2], all(LOW_42));
    h[0] = _mm512_add_epi64(h[0], _mm512_add_epi64(c, _mm512_slli_epi64(c, 2)));
}

/* The tags of a group: h mod 2^130 - 5, plus the pad mod 2^128. */
static void poly_end(uint8_t tag[GROUP][16], poly *p)
{
    V *h = p->h, g[3], words[2];
    carry(h);
    carry(h);
    carry(h);
    g[0] = _mm512_add_epi64(h[0], all(5));
    g[1] = _mm512_add_epi64(h[1], _mm512_srli_epi64(g[0], 44));
    g[2] = _mm512_add_epi64(h[2], _mm512_srli_epi64(g[1], 44));
    const __mmask8 over = _mm512_cmpge_epu64_mask(g[2], all(UINT64_C(1) << 42));
    for (int i = 0; i < 3; i++) {
        g[i] = _mm512_and_si512(g[i], all(i == 2 ? LOW_42 : LOW_44));
        h[i] = _mm512_mask_blend_epi64(over, h[i], g[i]);
    }
    words[0] = _mm512_or_si512(h[0], _mm512_slli_epi64(h[1], 44));
    words[1] = _mm512_or_si512(_mm512_srli_epi64(h[1], 20), _mm512_slli_epi64(h[2], 24));
    words[0] = _mm512_add_epi64(words[0], p->pad[0]);
    const __mmask8 wrapped = _mm512_cmplt_epu64_mask(words[0], p->pad[0]);
    words[1] = _mm512_add_epi64(words[1], p->pad[1]);
    words[1] = _mm512_mask_add_epi64(words[1], wrapped, words[1], all(1));
    uint64_t lo[GROUP], hi[GROUP];
    _mm512_storeu_si512(lo, words[0]);
    _mm512_storeu_si512(hi, words[1]);
    for (size_t l = 0; l < GROUP; l++) {
        plmm_store_le64(tag[l], lo[l]);
        plmm_store_le64(tag[l] + 8, hi[l]);
    }
}

static void poly_ends(uint8_t tag[SEAL_LANES][16], poly p[GROUPS])
{
    for (size_t g = 0; g < GROUPS; g++) {
        poly_end(tag + g * GROUP, &p[g]);
    }
    plmm_wipe(p, GROUPS * sizeof *p);
}

void plmm__poly1305_avx512(uint8_t tag[SEAL_LANES][16], const uint8_t key[SEAL_LANES][32],
                           const uint8_t *const text[SEAL_LANES], size_t len)
{
    V x[16];
    poly p[GROUPS];
    for (size_t l = 0; l < SEAL_LANES; l++) {
        x[l] = _mm512_maskz_loadu_epi8(first_octets(32), key[l]);
    }
    plmm__transpose16(x);
    poly_begin(p, x);
    for (size_t at = 0; at < len; at += BLOCK) {
        absorb_octets(p, text, at, len - at);
    }
    poly_ends(tag, p);
}

/* The tags over text[l][0..len). */
static void authenticate(uint8_t tag[SEAL_LANES][16], const plmm_sealing *v,
                         const uint8_t *const text[SEAL_LANES], size_t len, size_t ad_len,
                         const V state[16])
{
    V x[16];
    poly p[GROUPS];
    const uint8_t *ad[SEAL_LANES];
    block(x, state, 0);
    poly_begin(p, x);
    plmm_wipe(x, sizeof x);
    for (size_t l = 0; l < SEAL_LANES; l++) {
        ad[l] = v[l].ad;
    }
    for (size_t at = 0; at < ad_len; at += BLOCK) {
        absorb_octets(p, ad, at, ad_len - at);
    }
    for (size_t at = 0; at < len; at += BLOCK) {
        absorb_octets(p, text, at, len - at);
    }
    for (size_t g = 0; g < GROUPS; g++) {
        absorb(&p[g], all(ad_len), all(len));
    }
    poly_ends(tag, p);
}

/* ---- boxes ---- */

void plmm__seal_avx512(const plmm_sealing *v, size_t have, size_t len, size_t ad_len)
{
    V state[16];
    uint8_t tag[SEAL_LANES][16];
    const uint8_t *text[SEAL_LANES];
    begin(state, v);
    stream(v, (UINT32_C(1) << have) - 1, len, state);
    for (size_t l = 0; l < SEAL_LANES; l++) {
        text[l] = v[l].out;
    }
    authenticate(tag, v, text, len, ad_len, state);
    for (size_t l = 0; l < have; l++) {
        memcpy(v[l].out + len, tag[l], 16);
    }
    plmm_wipe(state, sizeof state);
}

void plmm__open_avx512(plmm_sealing *v, size_t have, size_t len, size_t ad_len)
{
    V state[16];
    uint8_t tag[SEAL_LANES][16];
    const uint8_t *text[SEAL_LANES];
    uint32_t good = 0;
    begin(state, v);
    for (size_t l = 0; l < SEAL_LANES; l++) {
        text[l] = v[l].in;
    }
    authenticate(tag, v, text, len, ad_len, state);
    for (size_t l = 0; l < have; l++) {
        v[l].ok = plmm_equal(tag[l], v[l].in + len, 16);
        good |= (uint32_t)v[l].ok << l;
    }
    stream(v, good, len, state);
    plmm_wipe(state, sizeof state);
    plmm_wipe(tag, sizeof tag);
}
