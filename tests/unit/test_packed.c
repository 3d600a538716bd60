/* crypto/packed: any threshold of shares gives the key, c of them nothing, false ones are found, sums
 * of shares are shares of sums; on every path. */
#include "packed_internal.h"
#include "test.h"
#include "vec.h"

enum { MEMBERS_MAX = 70, SHARE_MAX = 3200 };
static const uint32_t both_sets[] = {PLMM_KAHE_P1, PLMM_KAHE_P2};

static _Alignas(64) uint8_t matrix[2 << 20], scratch[4 << 20];
static uint8_t shares[MEMBERS_MAX * SHARE_MAX];
static uint64_t rows[MEMBERS_MAX * PLMM_PACKED_SHARE_MAX],
    kept[MEMBERS_MAX * PLMM_PACKED_SHARE_MAX];
static uint64_t key[PLMM_KAHE_KEY_MAX], got[PLMM_KAHE_KEY_MAX];

static uint64_t state = 7;
static uint64_t draw(uint64_t below)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (state >> 24) % below;
}

static plmm_packed committee(uint32_t set, uint32_t members, uint32_t privacy)
{
    plmm_packed p;
    plmm_error err = {0};
    CHECK(plmm_packed_matrix_bytes(set, members, privacy) <= sizeof matrix &&
              plmm_packed_scratch_bytes(set, privacy) <= sizeof scratch,
          "this test's memory");
    CHECK(plmm_packed_init(&p, set, members, privacy, matrix, &err) == PLMM_OK, "%s", err.msg);
    return p;
}

static plmm_seed seed_of(uint64_t i)
{
    plmm_seed s = {{1}};
    plmm_store_le64(s.b + 8, i);
    return s;
}

/* rows += the shares of key number i; the key is left in `key`. */
static void share(const plmm_packed *p, uint64_t i)
{
    const size_t n = plmm_packed_share_residues(p->set), octets = plmm_packed_share_bytes(p->set);
    plmm_seed s = seed_of(i), t = seed_of(1000 + i);
    plmm_error err = {0};
    plmm_kahe_key_from_seed(key, p->set, &s);
    plmm_packed_split(shares, p, key, &t, scratch);
    CHECK(scratch[0] == 0 && scratch[plmm_packed_scratch_bytes(p->set, p->privacy) - 1] == 0,
          "wiped");
    for (size_t m = 0; m < p->members; m++) {
        CHECK(plmm_packed_add(rows + m * n, p->set, shares + m * octets, octets, &err) == PLMM_OK,
              "%s", err.msg);
    }
}

/* count members in random order; their rows in kept. */
static void choose(uint32_t *points, size_t count, const plmm_packed *p)
{
    const size_t n = plmm_packed_share_residues(p->set);
    uint32_t all[MEMBERS_MAX];
    for (uint32_t i = 0; i < p->members; i++) {
        all[i] = i + 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at = i + draw(p->members - i);
        uint32_t swap = all[at];
        all[at] = all[i];
        all[i] = points[i] = swap;
        memcpy(kept + i * n, rows + (swap - 1) * n, n * 8);
    }
}

/* Any subset of at least rho + c gives the sum of the keys. */
static void test_round_trip(uint32_t set, uint32_t members, uint32_t privacy)
{
    plmm_packed p = committee(set, members, privacy);
    const size_t need = PLMM_PACKED_RHO + privacy, n = plmm_kahe_key_residues(set);
    static uint64_t total[PLMM_KAHE_KEY_MAX];
    uint32_t points[MEMBERS_MAX];
    bool liars[MEMBERS_MAX];
    plmm_error err = {0};
    memset(rows, 0, sizeof rows);
    memset(total, 0, sizeof total);
    for (uint64_t i = 0; i < 3; i++) {
        share(&p, i);
        plmm_kahe_key_add(total, key, set);
    }
    for (int go = 0; go < 6; go++) {
        size_t count = go < 3 ? need : need + draw(members - need + 1);
        choose(points, count, &p);
        CHECK(plmm_packed_combine_bytes(set, count) <= sizeof scratch, "this test's memory");
        memset(liars, 1, sizeof liars);
        CHECK(plmm_packed_combine(got, liars, &p, points, kept, count, scratch, &err) == PLMM_OK,
              "%s", err.msg);
        CHECK(memcmp(got, total, n * 8) == 0, "P%u %u,%u: %zu shares", set, members, privacy,
              count);
        for (size_t i = 0; i < count; i++) {
            CHECK(!liars[i], "nobody is blamed");
        }
    }
    /* one share fewer is refused, and c + rho - 1 with one that is made up gives another key */
    choose(points, need, &p);
    CHECK(plmm_packed_combine(got, NULL, &p, points, kept, need - 1, scratch, &err) ==
                  PLMM_ERR_RANGE &&
              strstr(err.msg, "have") != NULL,
          "%s", err.msg);
    kept[0] ^= 1;
    CHECK(plmm_packed_combine(got, NULL, &p, points, kept, need, scratch, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(memcmp(got, total, n * 8) != 0, "P%u: a made-up share", set);
}

/* False shares: found up to half of the surplus, seen beyond. */
static void test_liars(uint32_t set, uint32_t members, uint32_t privacy)
{
    plmm_packed p = committee(set, members, privacy);
    const size_t need = PLMM_PACKED_RHO + privacy, n = plmm_packed_share_residues(set);
    const size_t most = (members - need) / 2;
    uint32_t points[MEMBERS_MAX];
    bool liars[MEMBERS_MAX];
    plmm_error err = {0};
    memset(rows, 0, sizeof rows);
    share(&p, 5);
    const size_t tries[] = {1, most, most + 1};
    for (size_t go = 0; go < COUNT(tries); go++) {
        const size_t lies = tries[go];
        choose(points, members, &p);
        for (size_t i = 0; i < lies; i++) { /* one residue, all of them, or of one prime */
            uint64_t *row = kept + i * 2 * n;
            for (size_t z = 0; z < n; z++) {
                bool change = i % 3 == 0 ? z == draw(n) || z == 1 : i % 3 == 1 || z < n / 2;
                row[z] = change ? (row[z] + 1 + draw(1000)) % KAHE_PRIME_1 : row[z];
            }
        }
        memset(got, 0xee, sizeof got);
        memset(liars, 1, sizeof liars);
        plmm_status rc = plmm_packed_combine(got, liars, &p, points, kept, members, scratch, &err);
        if (lies > most) {
            CHECK(rc == PLMM_ERR_PEER, "P%u: %zu of %u false ones are too many", set, lies,
                  members);
            CHECK(got[0] == UINT64_C(0xeeeeeeeeeeeeeeee) && liars[0], "untouched");
            continue;
        }
        CHECK(rc == PLMM_OK, "P%u, %zu false: %s", set, lies, err.msg);
        CHECK(memcmp(got, key, plmm_kahe_key_residues(set) * 8) == 0, "P%u: the key all the same",
              set);
        for (size_t i = 0; i < members; i++) {
            CHECK(liars[i] == (i % 2 == 0 && i / 2 < lies), "P%u, %zu false: row %zu", set, lies,
                  i);
        }
    }
    if (most >= 1) { /* with one share too many a lie is seen, but not whose */
        choose(points, need + 1, &p);
        kept[3] = (kept[3] + 1) % KAHE_PRIME_1;
        CHECK(plmm_packed_combine(got, NULL, &p, points, kept, need + 1, scratch, &err) ==
                  PLMM_ERR_PEER,
              "seen");
    }
}

/* Rank of the rows of a (n x n, n small) mod q by elimination: n. */
static bool invertible(uint64_t a[4][4], size_t n, const plmm__ring *r)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        while (at < n && a[at][i] == 0) {
            at++;
        }
        if (at == n) {
            return false;
        }
        for (size_t z = 0; z < n; z++) {
            uint64_t swap = a[i][z];
            a[i][z] = a[at][z];
            a[at][z] = swap;
        }
        uint64_t inv = plmm__pow_mod(a[i][i], r->q - 2, r);
        for (size_t k = i + 1; k < n; k++) {
            uint64_t f = plmm__mul_mod(a[k][i], inv, r);
            for (size_t z = 0; z < n; z++) {
                a[k][z] = plmm__less(a[k][z] + r->q - plmm__mul_mod(f, a[i][z], r), r->q);
            }
        }
    }
    return true;
}

/* Perfect privacy, exhaustively: for every c members the map from the random values to their shares
 * is one to one, so that their shares are uniform whatever the key is. */
static void test_privacy(uint32_t set, uint32_t members, uint32_t privacy)
{
    plmm_packed p = committee(set, members, privacy);
    const size_t terms = PLMM_PACKED_RHO + privacy, made = members - privacy;
    size_t subsets = 0;
    for (uint32_t pick = 0; pick < 1u << members; pick++) {
        if ((uint32_t)__builtin_popcount(pick) != privacy) {
            continue;
        }
        for (size_t k = 0; k < plmm_kahe_info_of(set)->primes; k++) {
            uint64_t a[4][4] = {{0}};
            for (uint32_t i = 0, n = 0; i < members; i++) {
                for (size_t j = 0; (pick >> i & 1) != 0 && j < privacy; j++) {
                    a[n][j] =
                        i < privacy
                            ? (i == j ? 1 : 0)
                            : p.matrix[(k * made + i - privacy) * terms + PLMM_PACKED_RHO + j];
                }
                n += pick >> i & 1;
            }
            CHECK(invertible(a, privacy, &plmm__rings()[k]), "members %x learn something", pick);
        }
        subsets++;
    }
    CHECK(subsets > 100, "%zu subsets", subsets);
}

/* Real shares of two keys, in many sharings: the same distribution (chi-square of 16 cells). */
static void test_shares_uniform(void)
{
    enum { TIMES = 400, CELLS = 16 };
    plmm_packed p = committee(PLMM_KAHE_P1, 24, 4);
    const size_t octets = plmm_packed_share_bytes(p.set), n = plmm_packed_share_residues(p.set);
    static uint64_t a[PLMM_PACKED_SHARE_MAX], b[PLMM_PACKED_SHARE_MAX];
    double count[3][2][CELLS] = {{{0}}};
    for (int which = 0; which < 2; which++) {
        for (size_t i = 0; i < PLMM_KAHE_KEY_MAX; i++) {
            key[i] = which == 0 ? 0 : KAHE_PRIME_1 - 1 - i;
        }
        for (uint64_t go = 0; go < TIMES; go++) {
            plmm_seed s = seed_of(go + 5000);
            plmm_packed_split(shares, &p, key, &s, scratch);
            CHECK(plmm_packed_unpack(a, p.set, shares + octets, octets, NULL) == PLMM_OK &&
                      plmm_packed_unpack(b, p.set, shares + 20 * octets, octets, NULL) == PLMM_OK,
                  "shares");
            for (size_t z = 0; z < n; z++) {
                count[0][which][a[z] >> 46]++;
                count[1][which][b[z] >> 46]++;
                count[2][which][(a[z] >> 46 ^ b[z] >> 46)]++; /* jointly */
            }
        }
    }
    const double expect = (double)TIMES * (double)n / CELLS;
    for (int kind = 0; kind < 3; kind++) {
        for (int which = 0; which < 2; which++) {
            double chi = 0;
            for (int c = 0; c < CELLS; c++) {
                double d = count[kind][which][c] - expect;
                chi += d * d / expect;
            }
            CHECK(chi < 45.0, "kind %d, key %d: chi-square %g of 15", kind, which, chi); /* 1e-4 */
        }
    }
}

static void test_refusals(void)
{
    static const struct {
        uint32_t set, members, privacy;
        plmm_status want;
    } tries[] = {
        {0, 40, 10, PLMM_ERR_UNSUPPORTED},
        {3, 40, 10, PLMM_ERR_UNSUPPORTED},
        {1, 40, 0, PLMM_ERR_RANGE},
        {1, 25, 10, PLMM_ERR_RANGE},
        {1, 26, 10, PLMM_OK},
        {1, 513, 10, PLMM_ERR_RANGE},
        {1, 40, UINT32_MAX, PLMM_ERR_RANGE},
        {1, 40, 41, PLMM_ERR_RANGE},
    };
    plmm_packed p;
    plmm_error err = {0};
    for (size_t i = 0; i < COUNT(tries); i++) {
        CHECK(plmm_packed_init(&p, tries[i].set, tries[i].members, tries[i].privacy, matrix,
                               &err) == tries[i].want,
              "try %zu: %s", i, err.msg);
        CHECK((plmm_packed_matrix_bytes(tries[i].set, tries[i].members, tries[i].privacy) == 0) ==
                  (tries[i].want != PLMM_OK),
              "try %zu", i);
    }
    p = committee(PLMM_KAHE_P1, 40, 10);
    memset(rows, 0, sizeof rows);
    share(&p, 1);
    uint32_t points[40];
    static const uint32_t wrong[] = {0, 41, UINT32_MAX};
    for (size_t i = 0; i < 4; i++) {
        choose(points, 30, &p);
        points[7] = i < 3 ? wrong[i] : points[8];
        CHECK(plmm_packed_combine(got, NULL, &p, points, kept, 30, scratch, &err) == PLMM_ERR_RANGE,
              "point %u", points[7]);
    }
    uint8_t octets[800];
    plmm_packed_pack(octets, 1, rows);
    CHECK(plmm_packed_unpack(kept, 1, octets, 799, &err) == PLMM_ERR_WIRE, "short");
    rows[127] = KAHE_PRIME_0;
    plmm_packed_pack(octets, 1, rows);
    kept[127] = 5;
    CHECK(plmm_packed_unpack(kept, 1, octets, 800, &err) == PLMM_ERR_WIRE &&
              plmm_packed_add(kept, 1, octets, 800, &err) == PLMM_ERR_WIRE && kept[127] == 5,
          "q itself");
}

/* tests/vectors/gen/kahe.py has shared the same key among 23 with c = 5. */
static void test_vectors(uint32_t set)
{
    plmm_packed p = committee(set, 23, 5);
    plmm_seed s, private_seed;
    plmm_hash context, digest;
    char name[40];
    for (size_t i = 0; i < 32; i++) {
        s.b[i] = (uint8_t)i;
        private_seed.b[i] = (uint8_t)(100 + i);
        context.b[i] = (uint8_t)(200 + i);
    }
    plmm_kahe_key_from_seed(key, set, &s);
    plmm_kahe_key_mask(key, set, s.b, &context, PLMM_MASK_SUB);
    plmm_packed_split(shares, &p, key, &private_seed, scratch);
    plmm_hash_bytes(&digest, "kahe.tst", shares, 23 * plmm_packed_share_bytes(set));
    (void)snprintf(name, sizeof name, "packed.p%u.digest", set);
    vec v = vec_get("tests/vectors/kahe.vec", name);
    vec_check(&v, digest.b, 32);
}

int main(void)
{
    size_t paths;
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    const plmm__kahe_path *const *all = plmm__kahe_all(&paths);
    for (size_t k = 0; k < paths; k++) {
        plmm__kahe_use(all[k]);
        (void)fprintf(stderr, "path %s\n", all[k]->name);
        for (size_t s = 0; s < 2; s++) {
            test_vectors(both_sets[s]);
            test_round_trip(both_sets[s], 70, 28);
            test_round_trip(both_sets[s], 17, 1);
            test_liars(both_sets[s], 70, 28);
            test_liars(both_sets[s], 40, 21);
        }
    }
    plmm__kahe_use(NULL);
    for (size_t s = 0; s < 2; s++) {
        test_privacy(both_sets[s], 20, 3);
        test_privacy(both_sets[s], 18, 2);
    }
    test_shares_uniform();
    test_refusals();
    return plmm_test_end();
}
