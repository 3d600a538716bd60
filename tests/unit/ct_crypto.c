/* Constant time, after Langley's ctgrind: secrets are marked undefined for valgrind's memcheck,
 * which then reports every branch and every address that depends on one. Run by ctest where
 * valgrind is installed. Not covered: verdicts (a box opens or not, shares agree or not), which are
 * public by what follows them. */
#include "aes_internal.h"
#include "kahe_internal.h"
#include "noise_internal.h"
#include "plmm/alloc.h"
#include "plmm/encode.h"
#include "plmm/kahe.h"
#include "plmm/mask.h"
#include "plmm/packed.h"
#include "plmm/seal.h"
#include "plmm/shamir.h"
#include "simd_internal.h"
#include "test.h"

#include <valgrind/memcheck.h>

static void secret(void *p, size_t n)
{
    VALGRIND_MAKE_MEM_UNDEFINED(p, n);
}

static void public(void *p, size_t n)
{
    VALGRIND_MAKE_MEM_DEFINED(p, n);
}

static void ct_keys(void)
{
    plmm_seed seed = {{1}}, derived;
    plmm_key key = {{2}};
    plmm_sign_pk sign_pk;
    plmm_sign_sk sign_sk;
    plmm_signature sig;
    plmm_dh_pk pk;
    plmm_dh_sk sk;
    uint8_t out[300], box[64 + PLMM_SEAL_OVERHEAD], msg[64] = {0};
    plmm_nonce nonce;
    plmm_tag tag;
    plmm_nonce_counter(&nonce, 1);
    secret(&seed, sizeof seed);
    secret(&key, sizeof key);
    secret(msg, sizeof msg);
    plmm_seed_derive(&derived, &seed, "ct.test1", 1);
    plmm_expand(out, sizeof out, &seed, "ct.test2");
    plmm_key_derive(&key, &key, "ct.test3", "x", 1);
    plmm_sign_keypair(&sign_pk, &sign_sk, &seed);
    public(&sign_pk, sizeof sign_pk);
    plmm_sign(&sig, &sign_sk, "ct.test4", "message", 7);
    plmm_dh_keypair(&pk, &sk, &derived);
    plmm_seal(box, msg, sizeof msg, "ad", 2, &nonce, &key);
    plmm_mac(&tag, &key, "ct.test5", msg, sizeof msg);
    plmm_wipe(&seed, sizeof seed);
}

static void ct_stream(uint32_t stream)
{
    uint32_t x[300] = {0};
    uint8_t s[32] = {3};
    plmm_hash context = {{4}};
    plmm_mask m;
    secret(s, sizeof s);
    secret(x, sizeof x);
    CHECK(plmm_mask_init(&m, stream, s, &context, PLMM_MASK_SUB, NULL) == PLMM_OK, "init");
    plmm_mask_apply(x, 300, 5, 21, &m, 1);
    plmm_mask_fill(x, 20, 77, &m);
    plmm_mask_apply_ref(x, 20, 5, 21, &m, 1);
    plmm_ring_add(x, x, 300, 21);
}

/* Valgrind has AES-NI but neither VAES nor AVX-512, and the processor it shows says so. */
static void ct_masks(void)
{
    const plmm__aes *paths[PLMM__AES_PATHS];
    size_t n = plmm__aes_all(paths);
    ct_stream(PLMM_STREAM_CHACHA20);
    for (size_t k = 0; k < n; k++) {
        (void)fprintf(stderr, "AES by %s\n", paths[k]->name);
        plmm__aes_use(paths[k]);
        ct_stream(PLMM_STREAM_AES256CTR);
    }
    plmm__aes_use(NULL);
}

/* Noise of every size of table, by every path that valgrind can run, and its layers. */
static void ct_noise(void)
{
    static const uint64_t units[] = {16, 256, 16384, 250000};
    static plmm_noise_table t;
    static int32_t x[200];
    size_t n;
    const plmm__noise_path *paths = plmm__noise_paths(&n);
    plmm_seed seed = {{7}}, next;
    const plmm_xnoise layers = {PLMM_NOISE_SKELLAM, PLMM_STREAM_CHACHA20, 5000, 10, 7, 1, 3};
    secret(&seed, sizeof seed);
    secret(x, sizeof x);
    for (size_t p = 0; p < n; p++) {
        (void)fprintf(stderr, "noise by %s\n", paths[p].name);
        for (size_t i = 0; i < COUNT(units) * 2; i++) {
            uint32_t kind = i % 2 == 0 ? PLMM_NOISE_SKELLAM : PLMM_NOISE_GAUSSIAN;
            CHECK(plmm_noise_table_init(&t, kind, units[i / 2], NULL) == PLMM_OK, "table");
            plmm__noise_draw(&paths[p], x, 200, &t, PLMM_STREAM_CHACHA20, &seed, i, 0);
        }
    }
    plmm_xnoise_root(&next, &seed);
    CHECK(plmm_xnoise_add(x, 200, &layers, &next, NULL) == PLMM_OK, "layers");
    plmm_xnoise_chain(&next, &next, 2);
}

static void ct_shares(void)
{
    enum { N = 20, T = 13 };
    static plmm_share shares[N];
    static plmm_shamir_basis basis;
    uint8_t s[32] = {5}, encoded[PLMM_SHARE_BYTES], back[32];
    uint32_t xs[N];
    plmm_seed seed = {{6}};
    secret(s, sizeof s);
    secret(&seed, sizeof seed);
    CHECK(plmm_shamir_split(shares, N, T, NULL, s, &seed, NULL) == PLMM_OK, "split");
    plmm_share_encode(encoded, &shares[3]);
    for (size_t i = 0; i < N; i++) {
        xs[i] = shares[i].x;
    }
    public(xs, sizeof xs);
    CHECK(plmm_shamir_basis_init(&basis, xs, N, T, NULL) == PLMM_OK, "basis");
    public(shares, sizeof shares); /* the verdict of combine is public, so are its inputs here */
    CHECK(plmm_shamir_combine(back, &basis, shares, NULL) == PLMM_OK, "combine");
    public(s, sizeof s);
    CHECK(memcmp(back, s, sizeof s) == 0, "the secret comes back");
}

/* Valgrind has no AVX-512: the other paths. Whether a word of a key's stream is no residue and thrown
 * away (once in 2^32) is seen, and says nothing of the words that are taken: tests/ct.supp allows that
 * one branch, in plmm__kahe_uniform. */
static void ct_kahe(uint32_t set)
{
    enum { D = 50 };
    static _Alignas(64) uint64_t key[PLMM_KAHE_KEY_MAX], other[PLMM_KAHE_KEY_MAX];
    uint8_t *payload = plmm_alloc(plmm_kahe_bytes(set, D), 1), pair[32] = {1};
    void *scratch = plmm_alloc(plmm_kahe_scratch_bytes(set), 1);
    int32_t x[D] = {0};
    plmm_seed errors = {{9}}, seed = {{7}};
    plmm_kahe_noise noise;
    if (payload == NULL || scratch == NULL) {
        CHECK(false, "no memory");
        return;
    }
    (void)fprintf(stderr, "Ring-LWE by %s\n", plmm_kahe_isa());
    secret(&errors, sizeof errors);
    secret(&seed, sizeof seed);
    secret(pair, sizeof pair);
    secret(x, sizeof x);
    plmm_kahe_key_from_seed(key, set, &seed);
    memcpy(other, key, sizeof key);
    plmm_kahe_key_mask(key, set, pair, &(plmm_hash){{1}}, PLMM_MASK_ADD);
    plmm_kahe_key_mask(key, set, pair, &(plmm_hash){{2}}, PLMM_MASK_SUB);
    plmm_kahe_key_add(key, other, set);
    plmm_kahe_key_sub(key, other, set);
    plmm_kahe_noise_init(&noise, &errors, &(plmm_hash){{1}});
    plmm_kahe_encrypt(payload, set, x, D, key, &noise, NULL, scratch);
    plmm_free(payload);
    plmm_free(scratch);
}

static void ct_packed(uint32_t set)
{
    enum { MEMBERS = 24, PRIVACY = 4 };
    static _Alignas(64) uint64_t key[PLMM_KAHE_KEY_MAX];
    void *matrix = plmm_alloc(plmm_packed_matrix_bytes(set, MEMBERS, PRIVACY), 1);
    void *scratch = plmm_alloc(plmm_packed_scratch_bytes(set, PRIVACY), 1);
    uint8_t *shares = plmm_alloc(MEMBERS * plmm_packed_share_bytes(set), 1);
    plmm_seed seed = {{5}};
    plmm_packed p;
    if (matrix == NULL || scratch == NULL || shares == NULL) {
        CHECK(false, "no memory");
        return;
    }
    CHECK(plmm_packed_init(&p, set, MEMBERS, PRIVACY, matrix, NULL) == PLMM_OK, "packed");
    plmm_kahe_key_from_seed(key, set, &(plmm_seed){{7}});
    secret(key, sizeof key);
    secret(&seed, sizeof seed);
    plmm_packed_split(shares, &p, key, &seed, scratch);
    plmm_free(matrix);
    plmm_free(scratch);
    plmm_free(shares);
}

static void ct_packing(void)
{
    enum { D = 200 };
    uint32_t x[D] = {0}, y[D];
    uint8_t packed[4 * D];
    for (uint32_t bits = 11; bits <= 32; bits += 7) {
        size_t len = plmm_packed_bytes(D, bits);
        memset(x, 0, sizeof x);
        for (size_t i = 0; i < D; i++) { /* the lanes are secret, that they are in range is not */
            secret(&x[i], (bits - 1) / 8);
        }
        plmm_pack(packed, x, D, bits);
        secret(packed, len - 1); /* the padding is checked */
        public(packed + len - 1, 1);
        CHECK(plmm_unpack(y, D, bits, packed, len, NULL) == PLMM_OK, "unpack");
        CHECK(plmm_unpack_add(y, D, bits, packed, len, NULL) == PLMM_OK, "add");
    }
}

int main(int argc, char **argv)
{
    (void)argv;
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    if (argc > 1) { /* proof that this test can fail: a branch on a secret */
        uint8_t s[1] = {7};
        secret(s, sizeof s);
        CHECK(s[0] != 9, "planted");
    }
    ct_keys();
    ct_masks();
    ct_noise();
    size_t paths;
    const plmm__kahe_path *const *all = plmm__kahe_all(&paths);
    for (size_t k = 0; k < paths; k++) {
        plmm__kahe_use(all[k]);
        for (uint32_t set = PLMM_KAHE_P1; set <= PLMM_KAHE_P2; set++) {
            ct_kahe(set);
            ct_packed(set);
        }
    }
    plmm__kahe_use(NULL);
    for (plmm__simd level = PLMM__SIMD_PORTABLE; level <= plmm__simd_widest(); level++) {
        (void)fprintf(stderr, "sharing and packing by %s\n", plmm__simd_name(level));
        plmm__simd_use(level);
        ct_shares();
        ct_packing();
    }
    return plmm_test_end();
}
