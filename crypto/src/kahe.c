/* Key-additive encryption: sets, bounds, keys, and vectors cut into groups for a path. The
 * arithmetic is in the paths (kahe_portable.c and its fellows), the constructions in kahe.h. */
#include "kahe_internal.h"

#include <math.h>
#include <string.h>

/* ---- sets ---- */

const plmm_kahe_info *plmm_kahe_info_of(uint32_t set)
{
    static const plmm_kahe_info sets[] = {
        {2048, 1, {KAHE_PRIME_0, 0}, 32, 1, 32},
        {4096, 2, {KAHE_PRIME_0, KAHE_PRIME_1}, 84, 3, 28},
    };
    return set == PLMM_KAHE_P1 ? &sets[0] : set == PLMM_KAHE_P2 ? &sets[1] : NULL;
}

static const plmm_kahe_info *info_of(uint32_t set)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    PLMM_ASSERT(f != NULL);
    return f;
}

/* The largest |sum of errors| that leaves sum(m) + T sum(e) below q / 2 (for P2 by 2^50 and more,
 * see slots_of in kahe_portable.c): (q / 2 - T / 2) / T, rounded down. */
static uint64_t errors_max(uint32_t set)
{
    return set == PLMM_KAHE_P1 ? 131070 : 32766;
}

plmm_status plmm_kahe_check(uint32_t set, uint64_t devices, uint64_t max_abs, size_t length,
                            uint32_t tail_bits, plmm_error *err)
{
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    if (f == NULL) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "cannot encrypt with parameter set %u: there are 1 and 2", set);
    }
    if (length < 1 || length > PLMM_KAHE_LENGTH_MAX || tail_bits < 1 || tail_bits > 256) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot encrypt %zu coordinates with a tail of 2^-%u: 1..%d, and 1..256",
                         length, tail_bits, PLMM_KAHE_LENGTH_MAX);
    }
    const uint64_t room = (UINT64_C(1) << (f->slot_bits - 1)) - 1;
    if (devices < 1 || max_abs > room || devices > room / (max_abs > 0 ? max_abs : 1)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot sum %llu vectors of coordinates up to %llu under set P%u: the sum "
                         "must stay within %llu",
                         (unsigned long long)devices, (unsigned long long)max_abs, set,
                         (unsigned long long)room);
    }
    const uint64_t most = errors_max(set);
    if (devices <= most / 32) {
        return PLMM_OK; /* an error is at most 32 in magnitude */
    }
    /* The sum of n errors is a binomial of 64 n fair bits less 32 n: beyond s with a probability of
     * at most 2 exp(-2 s^2 / (64 n)) (Hoeffding), at each of the coefficients. */
    double exponent = (double)most * (double)most / (32.0 * (double)devices);
    double bits = exponent / log(2.0) - 1.0 - log2((double)length);
    if (!(bits >= (double)tail_bits)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot sum %llu vectors of %zu coordinates under set P%u: their errors "
                         "would reach half of q with a probability above 2^-%u",
                         (unsigned long long)devices, length, set, tail_bits);
    }
    return PLMM_OK;
}

/* ---- sizes ---- */

/* Blocks of a vector, and groups of them. */
static size_t blocks_of(const plmm_kahe_info *f, size_t length)
{
    const size_t block = (size_t)f->n * f->slots;
    PLMM_ASSERT(length >= 1 && length <= PLMM_KAHE_LENGTH_MAX);
    return (length + block - 1) / block;
}

size_t plmm_kahe_residues(uint32_t set, size_t length)
{
    const plmm_kahe_info *f = info_of(set);
    return blocks_of(f, length) * f->n * f->primes;
}

size_t plmm_kahe_bytes(uint32_t set, size_t length)
{
    return plmm_kahe_residues(set, length) / KAHE_RESIDUES * KAHE_PACKED;
}

size_t plmm_kahe_key_residues(uint32_t set)
{
    const plmm_kahe_info *f = info_of(set);
    return (size_t)f->n * f->primes;
}

size_t plmm_kahe_key_bytes(uint32_t set)
{
    return plmm_kahe_key_residues(set) / KAHE_RESIDUES * KAHE_PACKED;
}

/* Residues of a whole group. */
static size_t group_residues(const plmm_kahe_info *f)
{
    return (size_t)PLMM_KAHE_GROUP * f->n * f->primes;
}

size_t plmm_kahe_public_residues(uint32_t set, size_t length)
{
    const plmm_kahe_info *f = info_of(set);
    size_t groups = (blocks_of(f, length) + PLMM_KAHE_GROUP - 1) / PLMM_KAHE_GROUP;
    return groups * group_residues(f);
}

/* a of one group; then what is secret: words, quotients of the key, work */
static size_t secret_bytes(const plmm_kahe_info *f)
{
    return 8 * ((size_t)(PLMM_KAHE_GROUP + f->primes) * f->n + group_residues(f));
}

size_t plmm_kahe_scratch_bytes(uint32_t set)
{
    const plmm_kahe_info *f = info_of(set);
    return 8 * group_residues(f) + secret_bytes(f);
}

/* ---- streams ---- */

void plmm__kahe_stream(plmm_mask *out, const uint8_t secret[32], const plmm_hash *context)
{
    plmm_status rc =
        plmm_mask_init(out, PLMM_STREAM_AES256CTR, secret, context, PLMM_MASK_ADD, NULL);
    PLMM_ASSERT(rc == PLMM_OK); /* every build has it */
}

void plmm__kahe_words(uint64_t *words, size_t n, uint64_t first, const plmm_mask *stream)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    plmm_mask_fill((uint32_t *)(void *)words, 2 * n, 2 * first, stream);
#else
    for (size_t i = 0; i < n; i++) {
        uint32_t halves[2];
        plmm_mask_fill(halves, 2, 2 * (first + i), stream);
        words[i] = halves[0] | (uint64_t)halves[1] << 32;
    }
#endif
}

/* The rule of plmm__kahe_uniform word by word, for the rare case that a word is rejected. */
static void __attribute__((noinline))
redraw(uint64_t *words, size_t n, uint64_t q, const plmm_mask *stream, uint64_t first)
{
    for (size_t i = 0; i < n;) {
        plmm__kahe_words(&words[i], 1, first++, stream);
        words[i] &= KAHE_LOW_50;
        i += words[i] < q ? 1 : 0;
    }
}

void plmm__kahe_uniform(uint64_t *x, size_t n, uint64_t q, const plmm_mask *stream, uint64_t first,
                        bool minus)
{
    const plmm__kahe_path *path = plmm__kahe_best();
    uint64_t words[KAHE_N_MAX];
    PLMM_ASSERT(n <= KAHE_N_MAX && n % KAHE_RESIDUES == 0);
    plmm__kahe_words(words, n, first, stream);
    if (!path->uniform(words, n, q)) {
        redraw(words, n, q, stream, first);
    }
    (void)path->combine(x, words, n, q, minus); /* they are residues */
    plmm_wipe(words, n * sizeof words[0]);
}

/* ---- public polynomials ---- */

static void group_public(uint64_t *a, uint32_t set, const plmm_kahe_info *f, uint64_t group)
{
    const size_t n = (size_t)PLMM_KAHE_GROUP * f->n;
    plmm_hash text, context = {{(uint8_t)set}};
    plmm_mask stream;
    plmm_hash_bytes(&text, "kahe.pub", PLMM_KAHE_TEXT, sizeof PLMM_KAHE_TEXT - 1);
    for (size_t p = 0; p < f->primes; p++, a += n) {
        context.b[1] = (uint8_t)p;
        plmm__kahe_stream(&stream, text.b, &context);
        plmm__kahe_words(a, n, group << 16, &stream);
        for (size_t i = 0; i < n; i++) {
            a[i] = plmm__less(a[i] & KAHE_LOW_50, f->prime[p]);
        }
    }
}

void plmm_kahe_public(uint64_t *a, uint32_t set, size_t length)
{
    const plmm_kahe_info *f = info_of(set);
    const size_t step = group_residues(f), groups = plmm_kahe_public_residues(set, length) / step;
    for (size_t g = 0; g < groups; g++) {
        group_public(a + g * step, set, f, g);
    }
}

/* ---- keys ---- */

static void key_uniform(uint64_t *key, const plmm_kahe_info *f, const plmm_mask *stream, bool minus)
{
    for (size_t p = 0; p < f->primes; p++) {
        plmm__kahe_uniform(key + p * f->n, f->n, f->prime[p], stream, (uint64_t)p << 16, minus);
    }
}

void plmm_kahe_key_from_seed(uint64_t *key, uint32_t set, const plmm_seed *seed)
{
    const plmm_hash context = {{(uint8_t)set}};
    uint8_t secret[32];
    plmm_mask stream;
    plmm_kdf(secret, seed->b, "kahe.key", NULL, 0);
    plmm__kahe_stream(&stream, secret, &context);
    memset(key, 0, 8 * plmm_kahe_key_residues(set));
    key_uniform(key, info_of(set), &stream, false);
    plmm_wipe(secret, sizeof secret);
    plmm_wipe(&stream, sizeof stream);
}

void plmm_kahe_key_mask(uint64_t *key, uint32_t set, const uint8_t secret[32],
                        const plmm_hash *context, plmm_mask_sign sign)
{
    plmm_mask stream;
    PLMM_ASSERT(sign == PLMM_MASK_ADD || sign == PLMM_MASK_SUB);
    plmm__kahe_stream(&stream, secret, context);
    key_uniform(key, info_of(set), &stream, sign == PLMM_MASK_SUB);
    plmm_wipe(&stream, sizeof stream);
}

static void key_combine(uint64_t *key, const uint64_t *x, uint32_t set, bool minus)
{
    const plmm_kahe_info *f = info_of(set);
    for (size_t p = 0; p < f->primes; p++) {
        /* its verdict is not asked for: a branch on it would be one on keys */
        (void)plmm__kahe_best()->combine(key + p * f->n, x + p * f->n, f->n, f->prime[p], minus);
    }
}

void plmm_kahe_key_add(uint64_t *key, const uint64_t *x, uint32_t set)
{
    key_combine(key, x, set, false);
}

void plmm_kahe_key_sub(uint64_t *key, const uint64_t *x, uint32_t set)
{
    key_combine(key, x, set, true);
}

void plmm_kahe_key_pack(uint8_t *out, const uint64_t *key, uint32_t set)
{
    plmm__kahe_best()->pack(out, key, plmm_kahe_key_residues(set));
}

plmm_status plmm_kahe_key_unpack(uint64_t *key, uint32_t set, const uint8_t *in, size_t len,
                                 plmm_error *err)
{
    const plmm_kahe_info *f = info_of(set);
    const plmm__kahe_path *path = plmm__kahe_best();
    if (len != plmm_kahe_key_bytes(set)) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "cannot read a key of %zu octets: those of P%u have %zu", len, set,
                         plmm_kahe_key_bytes(set));
    }
    uint64_t x[PLMM_KAHE_KEY_MAX];
    bool ok = true;
    for (size_t p = 0; p < f->primes; p++) {
        ok = path->unpack(x + p * f->n, in + len / f->primes * p, f->n, f->prime[p]) && ok;
    }
    if (ok) {
        memcpy(key, x, 8 * plmm_kahe_key_residues(set));
    }
    plmm_wipe(x, 8 * plmm_kahe_key_residues(set));
    return ok ? PLMM_OK
              : plmm_fail(err, PLMM_ERR_WIRE,
                          "cannot read a key: a residue is not below its prime");
}

/* ---- errors ---- */

void plmm_kahe_noise_init(plmm_kahe_noise *out, const plmm_seed *private_seed,
                          const plmm_hash *context)
{
    uint8_t secret[32];
    plmm_kdf(secret, private_seed->b, "kahe.err", NULL, 0);
    plmm__kahe_stream(&out->stream, secret, context);
    plmm_wipe(secret, sizeof secret);
}

/* ---- vectors ---- */

/* What is the same for all groups; scratch is cut up. Returns where a group's a can be made. */
static uint64_t *group_begin(plmm__group *g, uint32_t set, const uint64_t *key, void *scratch)
{
    const plmm_kahe_info *f = info_of(set);
    uint64_t *words = (uint64_t *)scratch + group_residues(f);
    uint64_t *quotients = words + (size_t)PLMM_KAHE_GROUP * f->n;
    PLMM_ASSERT((uintptr_t)scratch % 64 == 0);
    *g = (plmm__group){.info = f,
                       .rings = plmm__rings(),
                       .key = key,
                       .key_quotients = quotients,
                       .words = words,
                       .work = quotients + (size_t)f->n * f->primes};
    for (size_t p = 0; p < f->primes; p++) {
        plmm__kahe_best()->quotients(quotients + p * f->n, key + p * f->n, f->n, &g->rings[p]);
    }
    return scratch;
}

static void group_end(plmm__group *g)
{
    plmm_wipe(g->words, secret_bytes(g->info));
}

/* Group `at` of a vector. */
static void group_enter(plmm__group *g, uint32_t set, size_t length, size_t at, const uint64_t *a,
                        uint64_t *made)
{
    const plmm_kahe_info *f = g->info;
    const size_t blocks = blocks_of(f, length) - at * PLMM_KAHE_GROUP;
    g->blocks = blocks < PLMM_KAHE_GROUP ? (uint32_t)blocks : PLMM_KAHE_GROUP;
    g->left = length - at * PLMM_KAHE_GROUP * f->n * f->slots;
    if (a == NULL) {
        group_public(made, set, f, at);
    }
    g->a = a == NULL ? made : a + at * group_residues(f);
}

static size_t groups_of(const plmm_kahe_info *f, size_t length)
{
    return (blocks_of(f, length) + PLMM_KAHE_GROUP - 1) / PLMM_KAHE_GROUP;
}

void plmm_kahe_encrypt(uint8_t *payload, uint32_t set, const int32_t *x, size_t length,
                       const uint64_t *key, const plmm_kahe_noise *noise, const uint64_t *a,
                       void *scratch)
{
    plmm__group g;
    uint64_t *made = group_begin(&g, set, key, scratch);
    const size_t words = (size_t)PLMM_KAHE_GROUP * g.info->n, groups = groups_of(g.info, length);
    for (size_t i = 0; i < groups; i++) {
        group_enter(&g, set, length, i, a, made);
        plmm__kahe_words(g.words, words, words * i, &noise->stream);
        plmm__kahe_best()->encrypt(payload +
                                       i * group_residues(g.info) / KAHE_RESIDUES * KAHE_PACKED,
                                   x + i * words * g.info->slots, &g);
    }
    group_end(&g);
}

void plmm_kahe_decrypt(void *out, uint32_t set, const uint64_t *sum, size_t length,
                       const uint64_t *key, const uint64_t *a, void *scratch)
{
    plmm__group g;
    uint64_t *made = group_begin(&g, set, key, scratch);
    const size_t coordinates = (size_t)PLMM_KAHE_GROUP * g.info->n * g.info->slots;
    const size_t groups = groups_of(g.info, length);
    for (size_t i = 0; i < groups; i++) {
        group_enter(&g, set, length, i, a, made);
        plmm__kahe_best()->decrypt((uint8_t *)out + 4 * i * coordinates,
                                   sum + i * group_residues(g.info), &g);
    }
    group_end(&g);
}

enum { CHUNK = 512 }; /* residues: 4 KiB beside 3,200 octets of a payload, all in the first cache */

/* The prime of residue `at` of a ciphertext, and how many more of it follow. */
static uint64_t prime_at(const plmm_kahe_info *f, size_t blocks, size_t at)
{
    const size_t whole = group_residues(f);
    size_t left = blocks - at / whole * PLMM_KAHE_GROUP;
    size_t run = f->n * (left < PLMM_KAHE_GROUP ? left : PLMM_KAHE_GROUP);
    return f->prime[at % whole / run];
}

/* sum +/- the residues [0, end) of a payload. Stops at the first chunk with one that is none, and
 * returns where that chunk begins; its residues are not added. */
static size_t add_until(uint64_t *sum, const plmm_kahe_info *f, size_t blocks,
                        const uint8_t *payload, size_t end, bool minus)
{
    const plmm__kahe_path *path = plmm__kahe_best();
    uint64_t x[CHUNK];
    for (size_t at = 0; at < end; at += CHUNK) {
        const uint64_t q = prime_at(f, blocks, at);
        if (!path->unpack(x, payload + at / KAHE_RESIDUES * KAHE_PACKED, CHUNK, q)) {
            return at;
        }
        bool ok = path->combine(sum + at, x, CHUNK, q, minus);
        PLMM_ASSERT(ok);
    }
    return end;
}

static plmm_status check_bytes(uint32_t set, size_t length, size_t len, plmm_error *err)
{
    if (len != plmm_kahe_bytes(set, length)) {
        return plmm_fail(
            err, PLMM_ERR_WIRE,
            "cannot take a ciphertext of %zu octets: %zu coordinates under P%u are %zu", len,
            length, set, plmm_kahe_bytes(set, length));
    }
    return PLMM_OK;
}

static plmm_status no_residue(plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_WIRE,
                     "cannot take a ciphertext: a residue of it is not below its prime");
}

plmm_status plmm_kahe_payload_check(uint32_t set, size_t length, const uint8_t *payload, size_t len,
                                    plmm_error *err)
{
    const plmm_kahe_info *f = info_of(set);
    uint64_t x[CHUNK];
    PLMM_TRY(check_bytes(set, length, len, err));
    for (size_t at = 0; at < plmm_kahe_residues(set, length); at += CHUNK) {
        const uint8_t *from = payload + at / KAHE_RESIDUES * KAHE_PACKED;
        if (!plmm__kahe_best()->unpack(x, from, CHUNK, prime_at(f, blocks_of(f, length), at))) {
            return no_residue(err);
        }
    }
    return PLMM_OK;
}

plmm_status plmm_kahe_add(uint64_t *sum, uint32_t set, size_t length, const uint8_t *payload,
                          size_t len, plmm_error *err)
{
    const plmm_kahe_info *f = info_of(set);
    const size_t n = plmm_kahe_residues(set, length), blocks = blocks_of(f, length);
    PLMM_TRY(check_bytes(set, length, len, err));
    size_t done = add_until(sum, f, blocks, payload, n, false);
    if (done != n) {
        size_t undone = add_until(sum, f, blocks, payload, done, true);
        PLMM_ASSERT(undone == done);
        return no_residue(err);
    }
    return PLMM_OK;
}

void plmm_kahe_merge(uint64_t *sum, const uint64_t *other, uint32_t set, size_t length)
{
    const plmm_kahe_info *f = info_of(set);
    const size_t n = plmm_kahe_residues(set, length), blocks = blocks_of(f, length);
    for (size_t at = 0; at < n; at += CHUNK) {
        bool ok =
            plmm__kahe_best()->combine(sum + at, other + at, CHUNK, prime_at(f, blocks, at), false);
        PLMM_ASSERT(ok);
    }
}

/* ---- paths ---- */

static const plmm__kahe_path *chosen; /* by a test */

const plmm__kahe_path *const *plmm__kahe_all(size_t *count)
{
#if defined(__x86_64__)
    static const plmm__kahe_path *const all[] = {&plmm__kahe_avx512, &plmm__kahe_portable};
    size_t skip =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("avx512vbmi") &&
                __builtin_cpu_supports("avx512vpopcntdq")
            ? 0
            : 1;
#else
    static const plmm__kahe_path *const all[] = {&plmm__kahe_portable};
    size_t skip = 0;
#endif
    *count = sizeof all / sizeof all[0] - skip;
    return all + skip;
}

const plmm__kahe_path *plmm__kahe_best(void)
{
    size_t count;
    return chosen != NULL ? chosen : plmm__kahe_all(&count)[0];
}

void plmm__kahe_use(const plmm__kahe_path *path)
{
    chosen = path;
}

const char *plmm_kahe_isa(void)
{
    return plmm__kahe_best()->name;
}
