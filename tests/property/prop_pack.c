/* Packing at every width of lanes and of registers: bit by bit, back, added, and nothing touched
 * beside it. */
#include "pack_internal.h"
#include "plmm/encode.h"
#include "plmm/rng.h"
#include "simd_internal.h"
#include "test.h"

enum { N_MAX = 3000, GUARD = 64 };

static uint32_t x[N_MAX], acc[N_MAX], want[N_MAX], got[N_MAX + 1];
static uint8_t slow[4 * N_MAX], bytes[GUARD + 4 * N_MAX + GUARD];

static void bit_by_bit(uint8_t *out, size_t n, uint32_t bits)
{
    memset(out, 0, plmm_packed_bytes(n, bits));
    for (size_t at = 0; at < n * bits; at++) {
        out[at / 8] |= (uint8_t)((x[at / bits] >> at % bits & 1) << at % 8);
    }
}

static bool untouched(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0xa5) {
            return false;
        }
    }
    return true;
}

/* place: where in memory the octets begin, 0..63. */
static void prop_packing(plmm_rng *r, plmm__simd level, size_t n, uint32_t bits, size_t place)
{
    const char *name = plmm__simd_name(level);
    size_t len = plmm_packed_bytes(n, bits);
    uint8_t *b = bytes + place;
    for (size_t i = 0; i < n; i++) {
        x[i] = (uint32_t)plmm_rng_u64(r) & (UINT32_MAX >> (32 - bits));
        acc[i] = (uint32_t)plmm_rng_u64(r) & (UINT32_MAX >> (32 - bits));
    }
    bit_by_bit(slow, n, bits);
    memset(bytes, 0xa5, sizeof bytes);
    plmm_pack(b, x, n, bits);
    CHECK(memcmp(b, slow, len) == 0, "%s: n %zu bits %u", name, n, bits);
    CHECK(untouched(bytes, place) && untouched(b + len, GUARD), "%s: n %zu bits %u: beside", name,
          n, bits);
    memset(got, 0xa5, sizeof got);
    CHECK(plmm_unpack(got, n, bits, b, len, NULL) == PLMM_OK, "unpack");
    CHECK(memcmp(got, x, n * 4) == 0 && got[n] == 0xa5a5a5a5, "%s: n %zu bits %u: back", name, n,
          bits);
    memcpy(got, acc, n * 4);
    memcpy(want, acc, n * 4);
    plmm_ring_add(want, x, n, bits);
    CHECK(plmm_unpack_add(got, n, bits, b, len, NULL) == PLMM_OK, "unpack_add");
    CHECK(memcmp(got, want, n * 4) == 0 && got[n] == 0xa5a5a5a5, "%s: n %zu bits %u: add", name, n,
          bits);
}

#if defined(__x86_64__)
/* A lane that is too large, wherever it lies, is seen (plmm_pack asserts it). */
static void check_seen(plmm__simd level)
{
    const plmm__packer *p = level == PLMM__SIMD_AVX512 ? &plmm__packer_avx512 : &plmm__packer_avx2;
    memset(x, 0, sizeof x);
    for (uint32_t bits = 12; bits < 32; bits += 10) {
        for (size_t i = 0; i < 40; i++) {
            uint32_t any = 0;
            x[i] = UINT32_C(1) << bits;
            size_t done = p->pack(bytes, plmm_packed_bytes(200, bits), x, 200, bits, &any);
            CHECK(done >= 40 && any == x[i], "bits %u, lane %zu", bits, i);
            x[i] = 0;
        }
    }
}
#endif

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        printf("packing by %s\n", plmm__simd_name(level));
        plmm__simd_use(level);
#if defined(__x86_64__)
        if (level != PLMM__SIMD_PORTABLE) {
            check_seen(level);
        }
#endif
        for (uint32_t bits = PLMM_RING_BITS_MIN; bits <= PLMM_RING_BITS_MAX; bits++) {
            for (size_t n = 0; n < 100; n++) {
                prop_packing(&r, level, n, bits, 0);
            }
            for (int step = 0; step < 4; step++) {
                prop_packing(&r, level, (size_t)plmm_rng_below(&r, N_MAX + 1), bits,
                             (size_t)plmm_rng_below(&r, GUARD));
            }
        }
    }
    return plmm_test_end();
}
