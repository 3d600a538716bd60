/* Degree and threshold against published values and our table; the graph's shape. Claims C5, C8. */
#include "plmm/graph.h"
#include "plmm/limits.h"
#include "test.h"

enum { CURIOUS = PLMM_TRUST_CURIOUS, SEMI = PLMM_TRUST_SEMI_MALICIOUS };

typedef struct row {
    uint32_t n, gamma, delta, trust, k, t;
} row;

/* google-parfait/federated-compute graph_parameter_finder_test.cc @de83f70c, per cent. */
static const row published[] = {
    {100, 30, 30, SEMI, 92, 62},    {1000, 30, 30, SEMI, 872, 584},  {100, 5, 33, CURIOUS, 28, 6},
    {1000, 5, 33, CURIOUS, 72, 24}, {10000, 5, 33, CURIOUS, 86, 29}, {1000, 5, 33, SEMI, 398, 223},
    {1000, 33, 5, CURIOUS, 78, 60}, {10000, 33, 5, CURIOUS, 92, 70}, {1000, 33, 5, SEMI, 132, 109},
    {100, 5, 5, CURIOUS, 12, 6},    {1000, 5, 5, CURIOUS, 30, 17},   {10000, 5, 5, CURIOUS, 34, 20},
    {100, 5, 5, SEMI, 16, 11},      {1000, 5, 5, SEMI, 52, 37},      {10000, 5, 5, SEMI, 62, 44},
};

/* Computed apart with exact tails (a Python implementation of the same procedure). */
static const row table[] = {
    {100, 5, 10, CURIOUS, 16, 6},
    {100, 5, 10, SEMI, 26, 16},
    {1000, 5, 10, CURIOUS, 36, 19},
    {1000, 5, 10, SEMI, 78, 52},
    {10000, 5, 10, CURIOUS, 42, 22},
    {10000, 5, 10, SEMI, 96, 64},
    {100, 10, 10, CURIOUS, 22, 11},
    {100, 10, 10, SEMI, 32, 22},
    {1000, 10, 10, CURIOUS, 48, 27},
    {1000, 10, 10, SEMI, 96, 67},
    {10000, 10, 10, CURIOUS, 54, 31},
    {10000, 10, 10, SEMI, 122, 85},
    {100, 20, 10, CURIOUS, 32, 21},
    {100, 20, 10, SEMI, 42, 32},
    {1000, 20, 10, CURIOUS, 68, 44},
    {1000, 20, 10, SEMI, 140, 104},
    {10000, 20, 10, CURIOUS, 80, 51},
    {10000, 20, 10, SEMI, 184, 136},
    {100, 33, 10, CURIOUS, 42, 32},
    {100, 33, 10, SEMI, 54, 44},
    {1000, 33, 10, CURIOUS, 102, 72},
    {1000, 33, 10, SEMI, 218, 171},
    {10000, 33, 10, CURIOUS, 126, 88},
    {10000, 33, 10, SEMI, 310, 242},
    {100, 10, 20, CURIOUS, 28, 11},
    {100, 10, 20, SEMI, 52, 32},
    {1000, 10, 20, CURIOUS, 66, 31},
    {1000, 10, 20, SEMI, 194, 124},
    {10000, 10, 20, CURIOUS, 78, 37},
    {10000, 10, 20, SEMI, 280, 179},
    {100, 10, 30, CURIOUS, 34, 11},
    {100, 10, 30, SEMI, 72, 42},
    {1000, 10, 30, CURIOUS, 88, 36},
    {1000, 10, 30, SEMI, 414, 247},
    {10000, 10, 30, CURIOUS, 108, 44},
    {10000, 10, 30, SEMI, 778, 465},
    /* small cohorts: corrupt = max(1, ceil(gamma n)) */
    {16, 10, 20, SEMI, 10, 7},
    {20, 10, 20, SEMI, 12, 8},
    {24, 10, 20, SEMI, 12, 8},
    {48, 10, 20, SEMI, 24, 15},
    {100, 45, 45, CURIOUS, 92, 46},
};

static plmm_graph_params params(const row *r)
{
    return (plmm_graph_params){.n = r->n,
                               .gamma_ppm = r->gamma * 10000,
                               .delta_ppm = r->delta * 10000,
                               .sigma = 40,
                               .eta = 20,
                               .trust = r->trust};
}

static void check_rows(const char *name, const row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        plmm_graph_params p = params(&rows[i]);
        plmm_graph_degree d = {0};
        plmm_error err = {0};
        CHECK(plmm_graph_degree_solve(&d, &p, &err) == PLMM_OK, "%s %zu: %s", name, i, err.msg);
        CHECK(d.k == rows[i].k && d.t == rows[i].t, "%s: n %u gamma %u delta %u trust %u: %u,%u",
              name, p.n, rows[i].gamma, rows[i].delta, p.trust, d.k, d.t);
        CHECK(p.trust == CURIOUS || 2 * d.t > d.k + d.corrupt, "two answers cannot be disjoint");
    }
}

static void test_refusals(void)
{
    static const struct {
        plmm_graph_params p;
        const char *says;
    } bad[] = {
        {{11, 300000, 300000, 40, 20, SEMI, 0}, "nearest that is enough, "},
        {{2, 100000, 200000, 40, 20, SEMI, 0}, "a cohort of 2 devices is impossible"},
        {{10001, 100000, 100000, 40, 20, SEMI, 0}, "must be 3..10000"},
        {{100, 500000, 100000, 40, 20, SEMI, 0}, "gamma 0.5 must be"},
        {{100, 100000, 1000000, 40, 20, SEMI, 0}, "delta 1 0..0.999999"},
        {{100, 100000, 100000, 0, 20, SEMI, 0}, "sigma 0 1..80"},
        {{100, 100000, 100000, 40, 61, SEMI, 0}, "eta 61 1..60"},
        {{100, 100000, 100000, 40, 20, 3, 0}, "trust 3 1 or 2"},
        {{100, 450000, 450000, 40, 20, SEMI, 0}, "nearest that is enough"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        plmm_graph_degree d = {7, 7, 7};
        plmm_error err = {0};
        CHECK(plmm_graph_degree_solve(&d, &bad[i].p, &err) == PLMM_ERR_RANGE, "row %zu", i);
        CHECK(d.k == 7 && strstr(err.msg, bad[i].says) != NULL, "row %zu: %s", i, err.msg);
        (void)fprintf(stderr, "%s\n", err.msg);
    }
}

/* At least one device is corrupt, even if nobody expects any. */
static void test_nobody_corrupt(void)
{
    plmm_graph_params p = {20, 0, 200000, 40, 20, SEMI, 0};
    plmm_graph_degree d, e;
    CHECK(plmm_graph_degree_solve(&d, &p, NULL) == PLMM_OK, "gamma 0");
    p.gamma_ppm = 50000;
    CHECK(plmm_graph_degree_solve(&e, &p, NULL) == PLMM_OK, "gamma 0.05");
    CHECK(d.corrupt >= 1 && d.k == e.k && d.t == e.t, "%u,%u and %u,%u", d.k, d.t, e.k, e.t);
}

/* What the refusal names is really reachable. */
static void test_nearest(void)
{
    for (uint32_t n = 3; n < 40; n++) {
        plmm_graph_params p = {n, 300000, 300000, 40, 20, SEMI, 0};
        plmm_graph_degree d;
        plmm_error err = {0};
        if (plmm_graph_degree_solve(&d, &p, &err) == PLMM_OK) {
            CHECK(d.k < n && d.t <= d.k && d.t > d.corrupt, "n %u: %u,%u", n, d.k, d.t);
            continue;
        }
        const char *says = strstr(err.msg, "enough, ");
        unsigned other = 0;
        CHECK(says != NULL && sscanf(says + 8, "%u devices", &other) == 1, "n %u: %s", n, err.msg);
        p.n = other;
        CHECK(plmm_graph_degree_solve(&d, &p, &err) == PLMM_OK, "n %u names %u", n, other);
        CHECK(plmm_graph_smallest(&p, n, other) == other, "n %u: a nearer one than %u", n, other);
    }
}

enum { N = 1000 };

static void check_graph(uint32_t n, uint32_t k, const plmm_hash *seed)
{
    static uint32_t order[N], place[N], near[N][N];
    plmm_graph_init(order, place, n, seed);
    for (uint32_t i = 0; i < n; i++) {
        CHECK(order[place[i]] == i, "n %u: place of %u", n, i);
        plmm_graph_neighbours(near[i], i, order, place, n, k);
        for (uint32_t s = 0; s < k; s++) {
            CHECK(near[i][s] < n && near[i][s] != i, "n %u k %u: %u", n, k, i);
            CHECK(s == 0 || near[i][s - 1] < near[i][s], "n %u k %u: sorted", n, k);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t s = 0; s < k; s++) {
            CHECK(plmm_find(near[near[i][s]], k, i) < k, "n %u k %u: %u is mutual", n, k, i);
        }
    }
}

/* Every octet, at every place, with a rest of every length; what lies behind the set is not counted. */
static void test_count(void)
{
    for (uint32_t v = 0; v < 256; v++) {
        const uint8_t set[3] = {(uint8_t)v, (uint8_t)(v * 37 + 11), (uint8_t)~v};
        for (uint32_t n = 0; n <= 24; n++) {
            uint32_t want = 0;
            for (uint32_t i = 0; i < n; i++) {
                want += plmm_set_has(set, i);
            }
            CHECK(plmm_set_count(set, n) == want, "%u of the first %u of %u", want, n, v);
        }
    }
}

int main(void)
{
    test_count();
    check_rows("published", published, COUNT(published));
    check_rows("table", table, COUNT(table));
    test_refusals();
    test_nearest();
    test_nobody_corrupt();

    plmm_hash seed = {{1}}, other = {{2}};
    static const uint32_t shapes[][2] = {{3, 2},   {4, 2},    {4, 3},    {5, 4},    {20, 12},
                                         {21, 20}, {100, 32}, {101, 32}, {1000, 96}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        check_graph(shapes[i][0], shapes[i][1], &seed);
        check_graph(shapes[i][0], shapes[i][1], &other);
    }
    uint32_t a[64], b[64], c[64], p[64];
    plmm_graph_init(a, p, 64, &seed);
    plmm_graph_init(b, p, 64, &seed);
    plmm_graph_init(c, p, 64, &other);
    CHECK(memcmp(a, b, sizeof a) == 0, "one seed, one graph");
    CHECK(memcmp(a, c, sizeof a) != 0, "another seed, another graph");

    uint8_t set[2] = {0x81, 0x03};
    CHECK(plmm_set_count(set, 10) == 4 && plmm_set_count(set, 9) == 3, "count");
    CHECK(plmm_set_canonical(set, 10) && !plmm_set_canonical(set, 9), "unused bits are zero");
    return plmm_test_end();
}
