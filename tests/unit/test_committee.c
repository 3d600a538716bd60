/* Sizes of one-shot committees against exact tails computed apart; quorums that intersect; refusals
 * that name the nearest choice; the draw. Claim C8. */
#include "plmm/alloc.h"
#include "plmm/committee.h"
#include "plmm/limits.h"
#include "test.h"

enum { CURIOUS = PLMM_TRUST_CURIOUS, SEMI = PLMM_TRUST_SEMI_MALICIOUS };

typedef struct row {
    uint32_t n, gamma, delta, trust, m, c, alive; /* gamma, delta: per cent */
} row;

/* Computed apart (a Python implementation with exact tails), rho = 16, no spare. */
static const row table[] = {
    {100, 5, 5, SEMI, 26, 5, 21},        {1000, 5, 5, SEMI, 44, 17, 33},
    {10000, 5, 5, SEMI, 46, 18, 34},     {100, 5, 10, SEMI, 32, 5, 22},
    {1000, 5, 10, CURIOUS, 50, 17, 33},  {1000, 5, 10, SEMI, 56, 18, 38},
    {10000, 5, 10, CURIOUS, 54, 19, 36}, {10000, 5, 10, SEMI, 60, 20, 41},
    {100, 10, 10, SEMI, 36, 10, 26},     {1000, 10, 10, CURIOUS, 62, 26, 43},
    {1000, 10, 10, SEMI, 70, 28, 50},    {10000, 10, 10, CURIOUS, 64, 28, 44},
    {10000, 10, 10, SEMI, 76, 31, 54},   {100, 20, 10, SEMI, 46, 20, 36},
    {1000, 20, 10, CURIOUS, 82, 44, 60}, {1000, 20, 10, SEMI, 100, 49, 75},
    {10000, 20, 10, SEMI, 116, 57, 87},  {100, 33, 10, SEMI, 60, 33, 50},
    {1000, 33, 10, SEMI, 162, 93, 128},  {10000, 33, 10, SEMI, 198, 113, 156},
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

static void test_table(void)
{
    for (size_t i = 0; i < COUNT(table); i++) {
        const row *r = &table[i];
        plmm_graph_params p = params(r);
        plmm_committee k;
        plmm_error err = {0};
        CHECK(plmm_committee_solve(&k, &p, 16, 0, &err) == PLMM_OK, "row %zu: %s", i, err.msg);
        CHECK(k.m == r->m && k.c == r->c && k.alive == r->alive, "row %zu: m %u c %u alive %u", i,
              k.m, k.c, k.alive);
        CHECK(k.need == 16 + k.c && k.quorum == (r->trust == CURIOUS ? 1 : (k.m + k.c) / 2 + 1),
              "row %zu: need %u quorum %u", i, k.need, k.quorum);
        CHECK(r->trust == CURIOUS || (2 * k.quorum > k.m + k.c && k.quorum <= k.alive),
              "row %zu: quorums share an honest member and can be had", i);
        CHECK(plmm_committee_solve(&k, &p, 16, PLMM_COMMITTEE_SPARE, &err) == PLMM_OK &&
                  k.m >= r->m && k.need == 18 + k.c && k.need <= k.alive,
              "row %zu with spare: m %u c %u need %u", i, k.m, k.c, k.need);
    }
}

static void test_refused(void)
{
    plmm_committee k = {.m = 77};
    plmm_error err = {0};
    plmm_graph_params p = params(&(row){16, 10, 10, SEMI, 0, 0, 0});
    CHECK(plmm_committee_solve(&k, &p, 16, 0, &err) == PLMM_ERR_RANGE && k.m == 77, "16 devices");
    CHECK(strstr(err.msg, "nearest that is enough, ") != NULL &&
              strstr(err.msg, " devices") != NULL,
          "%s", err.msg);
    p = params(&(row){1000, 40, 50, SEMI, 0, 0, 0});
    CHECK(plmm_committee_solve(&k, &p, 16, 0, &err) == PLMM_ERR_RANGE &&
              strstr(err.msg, "delta 0.") != NULL,
          "%s", err.msg);
    p = params(&(row){1000, 10, 10, 9, 0, 0, 0});
    CHECK(plmm_committee_solve(&k, &p, 16, 0, &err) == PLMM_ERR_RANGE, "trust 9");
    p.trust = SEMI;
    CHECK(plmm_committee_solve(&k, &p, 0, 0, &err) == PLMM_ERR_RANGE, "rho 0");
}

/* What is named as enough is enough. */
static void test_nearest(void)
{
    plmm_graph_params p = params(&(row){16, 10, 10, SEMI, 0, 0, 0});
    plmm_committee k;
    plmm_error err = {0};
    CHECK(plmm_committee_solve(&k, &p, 16, 0, &err) != PLMM_OK, "16 devices");
    const char *at = strstr(err.msg, "enough, ");
    p.n = at != NULL ? (uint32_t)strtoul(at + 8, NULL, 10) : 0;
    CHECK(plmm_committee_solve(&k, &p, 16, 0, &err) == PLMM_OK, "%u devices: %s", p.n, err.msg);
}

static void test_draw(void)
{
    enum { N = 200, M = 40, DRAWS = 400 };
    uint32_t order[2 * N], out[M], again[M], hits[N] = {0};
    for (uint32_t d = 0; d < DRAWS; d++) {
        plmm_hash seed = {{(uint8_t)d, (uint8_t)(d >> 8), 5}};
        bool seen[N] = {false};
        plmm_committee_draw(out, M, N, &seed, order);
        plmm_committee_draw(again, M, N, &seed, order);
        CHECK(memcmp(out, again, sizeof out) == 0, "the same for all");
        for (uint32_t i = 0; i < M; i++) {
            CHECK(out[i] < N && !seen[out[i]], "draw %u: member %u twice", d, out[i]);
            seen[out[i]] = true;
            hits[out[i]]++;
        }
    }
    for (uint32_t i = 0; i < N; i++) { /* mean 80, sd 8 */
        CHECK(hits[i] > 35 && hits[i] < 125, "device %u is drawn %u times", i, hits[i]);
    }
}

int main(void)
{
    test_table();
    test_refused();
    test_nearest();
    test_draw();
    return plmm_test_end();
}
