/* crypto/kahe: every path against the definitions in kahe.h, evaluated naively; sums at their
 * bounds; refusals; vectors of a second implementation. */
#include "kahe_internal.h"
#include "test.h"
#include "vec.h"

static const uint32_t both_sets[] = {PLMM_KAHE_P1, PLMM_KAHE_P2};

/* The scratch of either set, and memory for a few groups. */
enum { GROUPS = 3 };
static _Alignas(64) uint8_t scratch[1 << 21];
static _Alignas(64) uint64_t public_a[GROUPS * 8 * 8192];
static _Alignas(64) uint64_t sum[GROUPS * 8 * 8192];
static uint8_t payload[GROUPS * 8 * 8192 / 8 * 50], other[sizeof payload];
static int32_t x[GROUPS * 8 * 4096 * 3], y[GROUPS * 8 * 4096 * 3];
static uint64_t key[PLMM_KAHE_KEY_MAX], key2[PLMM_KAHE_KEY_MAX];

static plmm_seed seed_of(uint8_t first)
{
    return (plmm_seed){{first, 7}};
}

static plmm_kahe_noise noise_of(uint8_t first)
{
    const plmm_hash context = {{99}};
    plmm_seed s = seed_of(first);
    plmm_kahe_noise n;
    plmm_kahe_noise_init(&n, &s, &context);
    return n;
}

/* A small generator for inputs. */
static uint64_t state = 1;
static uint64_t draw(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return state >> 24;
}

/* ---- arithmetic by definition, with 128 bits and division ---- */

static uint64_t mul(uint64_t a, uint64_t b, uint64_t q)
{
    return (uint64_t)((plmm__u128)a * b % q);
}

static uint64_t power(uint64_t a, uint64_t e, uint64_t q)
{
    uint64_t r = 1;
    for (; e > 0; e /= 2, a = mul(a, a, q)) {
        r = e % 2 == 1 ? mul(r, a, q) : r;
    }
    return r;
}

static uint64_t psi_of(const plmm_kahe_info *f, size_t p)
{
    uint64_t psi = p == 0 ? UINT64_C(1094367314627419) : UINT64_C(967006076000656);
    return f->n == 2048 ? mul(psi, psi, f->prime[p]) : psi;
}

static size_t reversed(size_t i, size_t n)
{
    size_t out = 0;
    for (size_t bit = 1; bit < n; bit *= 2) {
        out = out * 2 + (i & bit ? 1 : 0);
    }
    return out;
}

static uint64_t residue(const uint8_t *in, size_t at)
{
    uint64_t v = 0;
    for (size_t b = 0; b < 50; b++) {
        size_t bit = at * 50 + b;
        v |= (uint64_t)(in[bit / 8] >> (bit % 8) & 1) << b;
    }
    return v;
}

static void test_pinned(void)
{
    const plmm_kahe_info *p1 = plmm_kahe_info_of(1), *p2 = plmm_kahe_info_of(2);
    CHECK(p1->n == 2048 && p1->primes == 1 && p1->plain_bits == 32 && p1->slots == 1, "P1");
    CHECK(p1->prime[0] == UINT64_C(1125899906826241), "q of P1");
    CHECK(p2->n == 4096 && p2->primes == 2 && p2->plain_bits == 84 && p2->slots == 3, "P2");
    CHECK(p2->prime[0] == UINT64_C(1125899906826241) && p2->prime[1] == UINT64_C(1125899906629633),
          "q of P2");
    for (uint32_t set = 0; set < 100; set++) {
        bool is = set == 1 || set == 2;
        plmm_error err = {0};
        CHECK((plmm_kahe_info_of(set) != NULL) == is, "set %u", set);
        CHECK((plmm_kahe_check(set, 3, 100, 100, 40, &err) == PLMM_OK) == is, "set %u", set);
        CHECK(is || err.code == PLMM_ERR_UNSUPPORTED, "set %u: %s", set, err.msg);
    }
    for (size_t s = 0; s < 2; s++) {
        const plmm_kahe_info *f = plmm_kahe_info_of(both_sets[s]);
        for (size_t p = 0; p < f->primes; p++) {
            uint64_t q = f->prime[p];
            CHECK(power(psi_of(f, p), f->n, q) == q - 1, "psi^N is -1");
            CHECK(power(3, q - 1, q) == 1 && q % 8192 == 1 && q >> 49 == 1, "a prime of 50 bits");
        }
        CHECK(plmm_kahe_scratch_bytes(both_sets[s]) <= sizeof scratch, "this test's memory");
    }
    CHECK(plmm_kahe_bytes(1, 1) == 12800 && plmm_kahe_bytes(1, 2048) == 12800 &&
              plmm_kahe_bytes(1, 2049) == 25600 && plmm_kahe_bytes(1, 1 << 20) == 6553600,
          "6.25 octets a coordinate");
    CHECK(plmm_kahe_bytes(2, 1) == 51200 && plmm_kahe_bytes(2, 12288) == 51200 &&
              plmm_kahe_bytes(2, 12289) == 102400,
          "4.17 octets a coordinate");
}

static void test_check(void)
{
    static const struct {
        uint32_t set;
        uint64_t devices, max_abs;
        size_t length;
        uint32_t tail;
        bool ok;
    } rows[] = {
        {1, 1, INT32_MAX, 1, 40, true},
        {1, 2, INT32_MAX, 1, 40, false},
        {1, 1, (uint64_t)INT32_MAX + 1, 1, 40, false},
        {1, 0, 1, 1, 40, false},
        {1, 3, 0, 1, 40, true},
        {1, 10000, 214748, 1 << 24, 40, true},
        {1, 10000, 214749, 1 << 24, 40, false},
        {1, 10000000, 214, 1 << 20, 40, true}, /* ten million devices */
        {1, 10000000, 215, 1 << 20, 40, false},
        {1, 20000000, 100, 1 << 20, 40, false}, /* errors */
        {1, 10000000, 100, 1 << 20, 128, false},
        {1, 4095, 1, PLMM_KAHE_LENGTH_MAX, 256, true}, /* no tail at all */
        {1, 3, 1, 0, 40, false},
        {1, 3, 1, (size_t)PLMM_KAHE_LENGTH_MAX + 1, 40, false},
        {1, 3, 1, 1, 0, false},
        {1, 3, 1, 1, 257, false},
        {2, 1000, 134217, 1 << 20, 40, true}, /* 18 bits */
        {2, 1000, 134218, 1 << 20, 40, false},
        {2, 10000, 13421, 1 << 20, 40, true},
        {2, 10000, 13422, 1 << 20, 40, false},
        {2, 700000, 191, 1 << 20, 40, true},
        {2, 1000000, 134, 1 << 20, 40, false}, /* errors */
        {2, 1, 134217727, 1, 40, true},
        {2, 1, 134217728, 1, 40, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_error err = {0};
        plmm_status rc = plmm_kahe_check(rows[i].set, rows[i].devices, rows[i].max_abs,
                                         rows[i].length, rows[i].tail, &err);
        CHECK((rc == PLMM_OK) == rows[i].ok, "row %zu: %s", i, err.msg);
        CHECK(rows[i].ok || (rc == PLMM_ERR_RANGE && strlen(err.msg) > 30), "row %zu", i);
    }
}

static void fill(uint32_t set, size_t length, int64_t most)
{
    (void)set;
    for (size_t i = 0; i < length; i++) {
        x[i] = (int32_t)((int64_t)(draw() % (uint64_t)(2 * most + 1)) - most);
    }
}

/* Residue i of block l of a group is (m + T e)(psi^(2 brv(i) + 1)) + a k, for a few of them. */
static void test_definition(uint32_t set, size_t length)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    const size_t n = f->n, block = n * f->slots, blocks = (length + block - 1) / block;
    plmm_seed s = seed_of(3);
    plmm_kahe_noise noise = noise_of(4);
    static uint64_t words[8 * 4096];
    fill(set, length, (1 << 27) - 1);
    plmm_kahe_key_from_seed(key, set, &s);
    plmm_kahe_public(public_a, set, length);
    plmm_kahe_encrypt(payload, set, x, length, key, &noise, public_a, scratch);
    for (int go = 0; go < 24; go++) {
        size_t at = draw() % blocks, g = at / 8, l = at % 8, i = draw() % n, p = draw() % f->primes;
        size_t r = blocks - 8 * g < 8 ? blocks - 8 * g : 8;
        uint64_t q = f->prime[p], point = power(psi_of(f, p), 2 * reversed(i, n) + 1, q), value = 0;
        plmm__kahe_words(words, 8 * n, 8 * n * g, &noise.stream);
        for (size_t j = n; j-- > 0;) { /* Horner */
            uint64_t c =
                mul((uint64_t)(__builtin_popcountll(words[8 * j + l]) + (int64_t)q - 32) % q,
                    power(2, f->plain_bits, q), q);
            for (size_t k = 0; k < f->slots; k++) {
                size_t in = 8 * block * g + (k * n + j) * r + l;
                int64_t v = in < length ? x[in] : 0;
                c += mul((uint64_t)(v + (int64_t)q) % q, power(2, f->slot_bits * k, q), q);
            }
            value = (mul(value, point, q) + c) % q;
        }
        size_t place = (p * n + i) * 8 + l + 8 * n * f->primes * g;
        value = (value + mul(public_a[place], key[p * n + i], q)) % q;
        uint64_t got = residue(payload, 8 * n * f->primes * g + (p * n + i) * r + l);
        CHECK(got == value, "P%u length %zu: residue %zu of block %zu, prime %zu", set, length, i,
              at, p);
    }
}

/* With no key and no errors a ciphertext is the transform, and decryption its inverse. */
static void test_convolution(const plmm__kahe_path *path, uint32_t set)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    const size_t n = f->n;
    static uint64_t zero[2 * 4096], words[8 * 4096], work[8 * 8192], u[8192], v[8192];
    static _Alignas(64) uint64_t a[8 * 8192], aligned_words[8 * 4096], aligned_work[8 * 8192];
    static int32_t f1[3 * 4096], f2[3 * 4096], got[3 * 4096];
    (void)words;
    (void)work;
    for (size_t i = 0; i < 8 * n; i++) {
        aligned_words[i] = 0xffffffff; /* 32 ones: e = 0 */
    }
    memset(f1, 0, sizeof f1);
    memset(f2, 0, sizeof f2);
    for (size_t i = 0; i < n; i++) {
        f1[i] = (int32_t)(draw() % 257) - 128;
        f2[i] = (int32_t)(draw() % 257) - 128;
    }
    plmm__group g = {f, plmm__rings(), 1, n * f->slots, zero, zero, a, aligned_words, aligned_work};
    path->encrypt(payload, f1, &g);
    path->encrypt(other, f2, &g);
    for (size_t p = 0; p < f->primes; p++) {
        for (size_t i = p * n; i < (p + 1) * n; i++) {
            u[i] = residue(payload, i);
            v[i] = mul(u[i], residue(other, i), f->prime[p]);
        }
    }
    path->decrypt((uint8_t *)got, u, &g);
    CHECK(memcmp(got, f1, n * f->slots * 4) == 0, "%s P%u: the transform is undone", path->name,
          set);
    path->decrypt((uint8_t *)got, v, &g);
    for (size_t i = 0; i < n; i++) {
        int64_t want = 0;
        for (size_t j = 0; j < n; j++) {
            want += j <= i ? (int64_t)f1[j] * f2[i - j] : -(int64_t)f1[j] * f2[n + i - j];
        }
        CHECK(got[i] == want, "%s P%u: coefficient %zu", path->name, set, i);
    }
}

/* n ciphertexts with the largest errors of one sign are still exact; one and a half times as many
 * are not. */
static void test_errors(const plmm__kahe_path *path, uint32_t set, uint64_t n, int32_t sign)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    static _Alignas(64) uint64_t a[8 * 8192], words[8 * 4096], work[8 * 8192];
    static uint64_t zero[8192], c[8192];
    static int32_t one[3 * 4096], got[3 * 4096];
    const int64_t most = ((INT64_C(1) << (f->slot_bits - 1)) - 1) / (int64_t)n;
    for (size_t i = 0; i < (size_t)8 * f->n; i++) {
        words[i] = sign > 0 ? UINT64_MAX : 0;
    }
    for (size_t i = 0; i < (size_t)f->n * f->slots; i++) {
        one[i] = (int32_t)(i % 3 == 0 ? most : i % 3 == 1 ? -most : sign);
    }
    plmm__group g = {f, plmm__rings(), 1, (size_t)f->n * f->slots, zero, zero, a, words, work};
    for (int over = 0; over < 2; over++) {
        uint64_t times = over == 0 ? n : n + n / 2;
        path->encrypt(payload, one, &g);
        for (size_t i = 0; i < (size_t)f->n * f->primes; i++) {
            c[i] = mul(residue(payload, i), times, f->prime[i / f->n]);
        }
        path->decrypt((uint8_t *)got, c, &g);
        size_t bad = 0;
        for (size_t i = 0; i < (size_t)f->n * f->slots; i++) {
            bad += got[i] != one[i] * (int64_t)times ? 1 : 0;
        }
        CHECK((bad > 0) == (over == 1), "%s P%u, %llu times %d: %zu wrong", path->name, set,
              (unsigned long long)times, sign, bad);
    }
}

static const size_t lengths[][2] = {{1, 1},         {2047, 12287},   {2048, 12288},  {2049, 12289},
                                    {5000, 30000},  {8000, 49000},   {10000, 60000}, {16384, 98304},
                                    {16385, 98305}, {22000, 130000}, {40000, 240000}};

/* What lies behind a group's public polynomials: noise, keys, and what is not yet encrypted. */
static void check_wiped(uint32_t set)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    const size_t public = (size_t)8 * f->n * f->primes, all = plmm_kahe_scratch_bytes(set) / 8;
    const uint64_t *at = (const uint64_t *)(const void *)scratch;
    uint64_t left = 0;
    CHECK(all == public + (size_t)f->n * (8 + 9 * f->primes), "P%u: %zu words", set, all);
    for (size_t i = public; i < all; i++) {
        left |= at[i];
    }
    CHECK(left == 0, "P%u: something is left", set);
}

/* All paths make the same octets; sums come out at their bounds, and in place. */
static void test_sums(uint32_t set, size_t length)
{
    enum { N = 5 };
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    const int32_t most = (int32_t)(((INT64_C(1) << (f->slot_bits - 1)) - 1) / N);
    size_t paths, octets = plmm_kahe_bytes(set, length);
    const plmm__kahe_path *const *all = plmm__kahe_all(&paths);
    plmm_error err = {0};
    plmm_kahe_public(public_a, set, length);
    memset(key2, 0, sizeof key2);
    memset(sum, 0, sizeof sum);
    memset(y, 0, length * sizeof y[0]);
    for (uint8_t u = 0; u < N; u++) {
        plmm_seed s = seed_of(u);
        plmm_kahe_noise noise = noise_of(u);
        fill(set, length, most);
        for (size_t i = 0; i < length; i++) {
            x[i] = i % 5 == 0   ? most
                   : i % 5 == 1 ? -most
                   : i % 5 == 2 ? (int32_t)(u % 3) - 1
                                : x[i];
            y[i] += x[i];
        }
        plmm_kahe_key_from_seed(key, set, &s);
        plmm_kahe_key_add(key2, key, set);
        for (size_t k = 0; k < paths; k++) {
            plmm__kahe_use(all[k]);
            plmm_kahe_encrypt(k == 0 ? payload : other, set, x, length, key, &noise,
                              u == 1 ? NULL : public_a, scratch);
            CHECK(k == 0 || memcmp(payload, other, octets) == 0, "P%u length %zu: %s", set, length,
                  all[k]->name);
            check_wiped(set);
        }
        plmm__kahe_use(all[u % paths]);
        CHECK(plmm_kahe_add(sum, set, length, payload, octets, &err) == PLMM_OK, "%s", err.msg);
    }
    for (size_t k = 0; k < paths; k++) {
        plmm__kahe_use(all[k]);
        memset(x, 0x55, length * sizeof x[0]);
        plmm_kahe_decrypt(x, set, sum, length, key2, k == 0 ? NULL : public_a, scratch);
        CHECK(memcmp(x, y, length * sizeof x[0]) == 0, "P%u length %zu: %s", set, length,
              all[k]->name);
    }
    /* under one of the keys alone nothing comes out */
    size_t same = 0;
    plmm_kahe_decrypt(x, set, sum, length, key, public_a, scratch);
    for (size_t i = 0; i < length; i++) {
        same += x[i] == y[i] ? 1 : 0;
    }
    CHECK(same <= 2, "P%u length %zu: %zu coordinates under a wrong key", set, length, same);
    for (size_t k = paths; k-- > 0;) { /* in place, by every path */
        memcpy(public_a, sum, plmm_kahe_residues(set, length) * 8);
        plmm__kahe_use(all[k]);
        plmm_kahe_decrypt(public_a, set, public_a, length, key2, NULL, scratch);
        CHECK(memcmp(public_a, y, length * sizeof y[0]) == 0, "P%u length %zu in place: %s", set,
              length, all[k]->name);
    }
    plmm__kahe_use(NULL);
}

/* Octets that are no ciphertext change nothing; those at the edge are one. */
static void test_foreign(uint32_t set)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    const size_t length = (size_t)f->n * f->slots * 9, n = plmm_kahe_residues(set, length);
    const size_t octets = plmm_kahe_bytes(set, length), key_n = plmm_kahe_key_residues(set);
    const size_t places[] = {0, 1, n / 2, n - 9, n - 1};
    static uint64_t before[GROUPS * 8 * 8192];
    plmm_error err = {0};
    size_t paths;
    const plmm__kahe_path *const *all = plmm__kahe_all(&paths);
    for (size_t i = 0; i < n; i++) {
        before[i] = i % 7 == 0 ? KAHE_PRIME_1 - 1 : i;
    }
    for (size_t k = 0; k < 5 * paths; k++) {
        size_t at = places[k % 5];
        plmm__kahe_use(all[k / 5]);
        size_t group = at / (8 * f->n * f->primes), in = at % (8 * f->n * f->primes);
        uint64_t q = f->prime[in / (f->n * (group == 0 ? 8 : 1))];
        memset(sum, 0, sizeof sum);
        for (size_t i = 0; i < n; i++) {
            sum[i] = i == at ? q : i % 3 == 0 ? KAHE_PRIME_1 - 1 : i;
        }
        plmm__kahe_best()->pack(payload, sum, n);
        memcpy(sum, before, sizeof before);
        CHECK(plmm_kahe_add(sum, set, length, payload, octets, &err) == PLMM_ERR_WIRE, "q itself");
        CHECK(memcmp(sum, before, n * 8) == 0, "P%u, %zu: as before", set, at);
        CHECK(plmm_kahe_add(sum, set, length, payload, octets - 1, &err) == PLMM_ERR_WIRE, "short");
        CHECK(plmm_kahe_add(sum, set, length, payload, octets + 1, &err) == PLMM_ERR_WIRE, "long");
        for (size_t b = 0; b < 50; b++) { /* q - 1 instead */
            size_t bit = at * 50 + b;
            payload[bit / 8] = (uint8_t)((payload[bit / 8] & ~(1u << (bit % 8))) |
                                         (unsigned)((q - 1) >> b & 1) << (bit % 8));
        }
        CHECK(plmm_kahe_add(sum, set, length, payload, octets, &err) == PLMM_OK, "%s", err.msg);
        CHECK(sum[at] == (before[at] + q - 1) % q, "P%u, %zu: added", set, at);
        plmm_kahe_merge(sum, before, set, length);
        CHECK(sum[at] == (2 * before[at] + q - 1) % q, "P%u, %zu: merged", set, at);
    }
    plmm__kahe_use(NULL);
    plmm_seed s = seed_of(9);
    plmm_kahe_key_from_seed(key, set, &s);
    plmm_kahe_key_pack(payload, key, set);
    CHECK(plmm_kahe_key_unpack(key2, set, payload, plmm_kahe_key_bytes(set), &err) == PLMM_OK,
          "key");
    CHECK(memcmp(key, key2, key_n * 8) == 0, "a key comes back");
    key[key_n - 1] = f->prime[f->primes - 1];
    plmm_kahe_key_pack(payload, key, set);
    CHECK(plmm_kahe_key_unpack(key, set, payload, plmm_kahe_key_bytes(set), &err) ==
                  PLMM_ERR_WIRE &&
              plmm_kahe_key_unpack(key, set, payload, 5, &err) == PLMM_ERR_WIRE,
          "no key");
    CHECK(key[key_n - 1] == f->prime[f->primes - 1] && key[0] == key2[0], "untouched");
}

/* Masks of keys cancel in pairs, and are what the rule of rejection says. */
static void test_keys(uint32_t set)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    const size_t n = plmm_kahe_key_residues(set);
    const plmm_hash context = {{5}}, elsewhere = {{6}};
    uint8_t secret[32] = {1, 2};
    static uint64_t a[PLMM_KAHE_KEY_MAX], b[PLMM_KAHE_KEY_MAX], words[8192], slow[4096];
    plmm_seed s = seed_of(1);
    plmm_kahe_key_from_seed(a, set, &s);
    memcpy(b, a, sizeof a);
    plmm_kahe_key_mask(b, set, secret, &context, PLMM_MASK_ADD);
    size_t same = 0, over = 0;
    for (size_t i = 0; i < n; i++) {
        same += a[i] == b[i] ? 1 : 0;
        over += b[i] >= f->prime[i / f->n] ? 1 : 0;
    }
    CHECK(same == 0 && over == 0, "P%u: %zu equal, %zu over", set, same, over);
    memcpy(key, b, sizeof b);
    plmm_kahe_key_mask(b, set, secret, &context, PLMM_MASK_SUB);
    CHECK(memcmp(a, b, n * 8) == 0, "P%u: a mask cancels", set);
    plmm_kahe_key_mask(b, set, secret, &elsewhere, PLMM_MASK_ADD);
    plmm_kahe_key_sub(b, key, set);
    for (size_t i = 0, zeros = 0; i < n; i++) {
        zeros += b[i] == 0 ? 1 : 0;
        CHECK(zeros == 0, "P%u: another context, another mask", set);
    }
    /* A prime of which half of all words are no residue: the rule, word by word. */
    plmm_mask stream;
    const uint64_t half = (UINT64_C(1) << 49) + 1;
    plmm__kahe_stream(&stream, secret, &context);
    plmm__kahe_words(words, 8192, 3, &stream);
    size_t taken = 0;
    for (size_t i = 0; i < 8192 && taken < 1000; i++) {
        if ((words[i] & KAHE_LOW_50) < half) {
            slow[taken++] = words[i] & KAHE_LOW_50;
        }
    }
    memset(a, 0, sizeof a);
    plmm__kahe_uniform(a, 1000, half, &stream, 3, false);
    CHECK(memcmp(a, slow, 1000 * 8) == 0, "rejection");
}

/* Errors: chi-square against the binomial, and unrelated to what the same octets give elsewhere. */
static void test_noise(void)
{
    enum { WORDS = 1 << 16, LOW = 24, CELLS = 17 };
    static uint64_t words[WORDS], masks[WORDS];
    const plmm_hash context = {{99}}, elsewhere = {{98}};
    plmm_kahe_noise noise = noise_of(1), next;
    plmm_seed s = seed_of(1);
    plmm_mask shared;
    double pmf[65], count[CELLS] = {0}, expect[CELLS] = {0}, mean = 0, square = 0, lag = 0, chi = 0;
    plmm__kahe_words(words, WORDS, 0, &noise.stream);
    for (int i = 0; i <= 64; i++) {
        pmf[i] = i == 0 ? 1.0 / 18446744073709551616.0 : pmf[i - 1] * (65 - i) / i;
        int cell = i < LOW ? 0 : i >= LOW + CELLS ? CELLS - 1 : i - LOW;
        expect[cell] += pmf[i] * WORDS;
    }
    for (size_t i = 0; i < WORDS; i++) {
        int ones = (int)plmm__ones(words[i]), before = i == 0 ? 32 : (int)plmm__ones(words[i - 1]);
        CHECK(ones == __builtin_popcountll(words[i]), "ones of %llx", (unsigned long long)words[i]);
        count[ones < LOW ? 0 : ones >= LOW + CELLS ? CELLS - 1 : ones - LOW]++;
        mean += ones - 32;
        square += (ones - 32) * (ones - 32);
        lag += (ones - 32) * (before - 32);
    }
    for (int i = 0; i < CELLS; i++) {
        chi += (count[i] - expect[i]) * (count[i] - expect[i]) / expect[i];
    }
    CHECK(chi < 45.0, "chi-square %g of 16 degrees of freedom", chi); /* 1e-4 */
    CHECK(mean / WORDS < 0.0625 && mean / WORDS > -0.0625, "mean %g", mean / WORDS);
    CHECK(square / WORDS > 15.6 && square / WORDS < 16.4, "variance %g", square / WORDS);
    CHECK(lag / WORDS < 0.25 && lag / WORDS > -0.25, "lag %g", lag / WORDS);
    /* The same 32 octets as a shared secret, a key's seed, or in another round. */
    plmm_kahe_noise_init(&next, &s, &elsewhere);
    plmm__kahe_stream(&shared, s.b, &context);
    for (int other_use = 0; other_use < 2; other_use++) {
        size_t equal = 0;
        plmm__kahe_words(masks, 1024, 0, other_use == 0 ? &shared : &next.stream);
        for (size_t i = 0; i < 1024; i++) {
            for (size_t j = 0; j < 1024; j++) {
                equal += words[i] == masks[j] ? 1 : 0;
            }
        }
        CHECK(equal == 0, "%zu words of the noise can be had otherwise", equal);
    }
}

static void store_words(uint8_t *out, const uint64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        plmm_store_le64(out + 8 * i, v[i]);
    }
}

/* tests/vectors/gen/kahe.py has computed the same. */
static void test_vectors(uint32_t set)
{
    static const char *const file = "tests/vectors/kahe.vec";
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    const size_t last = plmm_kahe_key_residues(set) - 8;
    char name[40];
    uint8_t octets[128];
    plmm_seed s, private_seed;
    plmm_hash context, digest;
    for (size_t i = 0; i < 32; i++) {
        s.b[i] = (uint8_t)i;
        private_seed.b[i] = (uint8_t)(100 + i);
        context.b[i] = (uint8_t)(200 + i);
    }
    plmm_kahe_key_from_seed(key, set, &s);
    store_words(octets, key, 8);
    store_words(octets + 64, key + last, 8);
    (void)snprintf(name, sizeof name, "kahe.p%u.key", set);
    vec v = vec_get(file, name);
    vec_check(&v, octets, 128);
    plmm_kahe_key_mask(key, set, s.b, &context, PLMM_MASK_SUB);
    store_words(octets, key, 8);
    store_words(octets + 64, key + last, 8);
    (void)snprintf(name, sizeof name, "kahe.p%u.masked", set);
    v = vec_get(file, name);
    vec_check(&v, octets, 128);
    plmm_kahe_public(public_a, set, 1);
    store_words(octets, public_a, 16);
    (void)snprintf(name, sizeof name, "kahe.p%u.public", set);
    v = vec_get(file, name);
    vec_check(&v, octets, 128);
    /* two blocks and a bit: the group has three */
    const size_t length = (size_t)f->n * f->slots * 2 + 5;
    for (size_t i = 0; i < length; i++) {
        x[i] = (int32_t)(i * 7919 % 200001) - 100000;
    }
    plmm_kahe_noise noise;
    plmm_kahe_noise_init(&noise, &private_seed, &context);
    plmm_kahe_encrypt(payload, set, x, length, key, &noise, NULL, scratch);
    plmm_hash_bytes(&digest, "kahe.tst", payload, plmm_kahe_bytes(set, length));
    (void)snprintf(name, sizeof name, "kahe.p%u.digest", set);
    v = vec_get(file, name);
    vec_check(&v, digest.b, 32);
}

int main(void)
{
    size_t paths;
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    const plmm__kahe_path *const *all = plmm__kahe_all(&paths);
    CHECK(strcmp(plmm_kahe_isa(), all[0]->name) == 0, "the fastest path is taken");
    test_pinned();
    test_check();
    test_noise();
    for (size_t k = 0; k < paths; k++) {
        (void)fprintf(stderr, "path %s\n", all[k]->name);
        for (size_t s = 0; s < 2; s++) {
            plmm__kahe_use(all[k]);
            test_convolution(all[k], both_sets[s]);
            test_errors(all[k], both_sets[s], s == 0 ? 4095 : 1023, 1);
            test_errors(all[k], both_sets[s], s == 0 ? 4095 : 1023, -1);
            test_keys(both_sets[s]);
            test_definition(both_sets[s], 10000);
            test_definition(both_sets[s], 17000 * (5 * s + 1));
            test_vectors(both_sets[s]);
        }
    }
    plmm__kahe_use(NULL);
    for (size_t s = 0; s < 2; s++) {
        test_foreign(both_sets[s]);
        for (size_t i = 0; i < COUNT(lengths); i++) {
            test_sums(both_sets[s], lengths[i][s]);
        }
    }
    return plmm_test_end();
}
