/* Degree and threshold of SecAgg+, and its Harary graph. Bell et al. CCS 2020, sections 3 and 4;
 * the order of the tests and the quantiles follow google-parfait/federated-compute
 * fcp/secagg/server/graph_parameter_finder.cc, whose published values the tests hold against
 * ours. */
#include "plmm/graph.h"

#include "degree.h"
#include "plmm/bytes.h"
#include "plmm/limits.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double LN2 = 0.69314718055994530942;

/* ln n!, by Stirling's series from 32 on (error below 1e-16 relative), by the product before. */
static double log_factorial(uint32_t n)
{
    if (n < 32) {
        double p = 1.0;
        for (uint32_t i = 2; i <= n; i++) {
            p *= (double)i;
        }
        return log(p);
    }
    double x = (double)n, r = 1.0 / x, r2 = r * r;
    double series = r * (1.0 / 12 - r2 * (1.0 / 360 - r2 * (1.0 / 1260 - r2 / 1680)));
    return (x + 0.5) * log(x) - x + 0.91893853320467274178 + series;
}

static double log_choose(uint32_t n, uint32_t k)
{
    return log_factorial(n) - log_factorial(k) - log_factorial(n - k);
}

/* Hypergeometric: k draws from n of which `marked` are marked; p[x] = Pr[x marked], x = 0..k. */
void plmm_hypergeometric(double *p, uint32_t n, uint32_t marked, uint32_t k)
{
    uint32_t lo = marked + k > n ? marked + k - n : 0, hi = marked < k ? marked : k;
    memset(p, 0, ((size_t)k + 1) * sizeof p[0]);
    double lp = log_choose(marked, lo) + log_choose(n - marked, k - lo) - log_choose(n, k);
    for (uint32_t x = lo;; x++) {
        p[x] = exp(lp);
        if (x == hi) {
            return;
        }
        lp += log((double)(marked - x) * (double)(k - x) /
                  ((double)(x + 1) * (double)(n - marked - k + x + 1)));
    }
}

/* Smallest t with Pr[X > t] <= bound. */
uint32_t plmm_upper_quantile(const double *p, uint32_t k, double bound)
{
    double tail = 0.0;
    uint32_t t = k;
    while (t > 0 && tail + p[t] <= bound) {
        tail += p[t--];
    }
    return t;
}

/* Smallest t with Pr[X <= t] >= bound: fewer than t happens with probability below bound. */
uint32_t plmm_lower_quantile(const double *p, uint32_t k, double bound)
{
    double sum = p[0];
    uint32_t t = 0;
    while (t < k && sum < bound) {
        sum += p[++t];
    }
    return t;
}

static uint32_t ppm_floor(uint32_t n, uint32_t ppm)
{
    return (uint32_t)((uint64_t)n * ppm / 1000000);
}

static uint32_t ppm_ceil(uint32_t n, uint32_t ppm)
{
    return (uint32_t)(((uint64_t)n * ppm + 999999) / 1000000);
}

plmm_counts plmm_counts_of(const plmm_graph_params *p)
{
    plmm_counts c = {.corrupt = ppm_ceil(p->n, p->gamma_ppm),
                     .dropped = ppm_floor(p->n, p->delta_ppm)};
    c.corrupt = p->corrupt != 0 ? p->corrupt : c.corrupt == 0 ? 1 : c.corrupt;
    c.surviving = ppm_ceil(p->n, 1000000 - p->delta_ppm);
    return c;
}

/* Two disjoint runs of k/2 bad devices cut the cycle: union bound over where they stand. */
static bool connected(const plmm_graph_params *p, const plmm_counts *c, uint32_t k)
{
    uint32_t bad = c->corrupt + c->dropped;
    if (k > bad || k == p->n - 1) {
        return true;
    }
    double lp = log((double)p->n) + log((double)(p->n - k - 1)) - LN2 + log_factorial(bad) +
                log_factorial(p->n - k) - log_factorial(p->n) - log_factorial(bad - k);
    return lp < -((double)p->sigma + 1) * LN2;
}

static bool try_degree(plmm_graph_degree *out, const plmm_graph_params *p, const plmm_counts *c,
                       uint32_t k)
{
    double pmf[PLMM_NEIGHBOURS_MAX + 1]; /* 8 KiB */
    if (!connected(p, c, k)) {
        return false;
    }
    plmm_hypergeometric(pmf, p->n, c->corrupt, k);
    uint32_t t1 = plmm_upper_quantile(pmf, k, exp2(-((double)p->sigma + 1)) / (double)p->n);
    plmm_hypergeometric(pmf, p->n, c->surviving, k);
    uint32_t t2 = plmm_lower_quantile(pmf, k, exp2(-(double)p->eta) / (double)p->n);
    uint32_t least = t1;
    if (p->trust == PLMM_TRUST_SEMI_MALICIOUS) {
        least = (4 * (t1 + k) - 5 + 7) / 8; /* ceil((t1 + k - 1.25) / 2) */
    }
    if (t2 <= least) {
        return false;
    }
    *out = (plmm_graph_degree){.k = k, .t = least + 1 > 2 ? least + 1 : 2, .corrupt = t1};
    return true;
}

bool plmm_graph_in_range(const plmm_graph_params *p)
{
    return p->n >= 3 && p->n <= PLMM_DEVICES_MAX && p->gamma_ppm < 500000 &&
           p->delta_ppm < 1000000 && p->sigma >= 1 && p->sigma <= 80 && p->eta >= 1 &&
           p->eta <= 60 &&
           (p->trust == PLMM_TRUST_CURIOUS || p->trust == PLMM_TRUST_SEMI_MALICIOUS);
}

bool plmm_degree_find(plmm_graph_degree *out, const plmm_graph_params *p)
{
    if (!plmm_graph_in_range(p)) {
        return false;
    }
    plmm_counts c = plmm_counts_of(p);
    if (c.corrupt >= p->n || c.dropped >= p->n - c.corrupt) {
        return false;
    }
    uint32_t last = p->n - 1 < PLMM_NEIGHBOURS_MAX ? p->n - 1 : PLMM_NEIGHBOURS_MAX;
    for (uint32_t k = 2; k <= last; k += 2) {
        if (try_degree(out, p, &c, k)) {
            return true;
        }
    }
    /* n even: the complete graph is the one odd degree there is */
    return last == p->n - 1 && last % 2 == 1 && try_degree(out, p, &c, last);
}

bool plmm_degree_holds(const plmm_graph_params *p, uint32_t k, uint32_t t)
{
    plmm_graph_degree d;
    if (!plmm_graph_in_range(p) || k < 2 || k > p->n - 1 || k > PLMM_NEIGHBOURS_MAX ||
        (k % 2 == 1 && k != p->n - 1)) {
        return false;
    }
    plmm_counts c = plmm_counts_of(p);
    if (c.corrupt >= p->n || c.dropped >= p->n - c.corrupt || !try_degree(&d, p, &c, k) ||
        d.t != t) {
        return false;
    }
    uint32_t below = k % 2 == 1 ? k - 1 : k - 2;
    return below < 2 || !try_degree(&d, p, &c, below);
}

uint32_t plmm_graph_smallest(const plmm_graph_params *p, uint32_t from, uint32_t to)
{
    plmm_graph_params q = *p;
    plmm_graph_degree unused;
    for (q.n = from; q.n <= to; q.n++) {
        if (plmm_degree_find(&unused, &q)) {
            return q.n;
        }
    }
    return 0;
}

/* Nearest n above p->n: each of the next 100, then steps of an eighth; 0 if none up to the
 * bound. */
static uint32_t nearest_n(const plmm_graph_params *p)
{
    uint32_t n = plmm_graph_smallest(p, p->n + 1, p->n + 100);
    for (uint32_t at = p->n + 101; n == 0 && at <= PLMM_DEVICES_MAX; at += at / 8) {
        n = plmm_graph_smallest(p, at, at);
    }
    return n;
}

/* Largest whole per cent below *field for which the rest is enough; UINT32_MAX if none. */
static uint32_t nearest_part(plmm_graph_params *q, uint32_t *field)
{
    plmm_graph_degree unused;
    uint64_t gamma = q->gamma_ppm, corrupt = q->corrupt;
    for (uint32_t step = (*field + 9999) / 10000; step > 0; step--) {
        *field = (step - 1) * 10000;
        if (corrupt != 0 && gamma != 0) { /* a part of as many eligible as before */
            q->corrupt = (uint32_t)((corrupt * q->gamma_ppm + gamma - 1) / gamma);
            q->corrupt = q->corrupt == 0 ? 1 : q->corrupt;
        }
        if (plmm_degree_find(&unused, q)) {
            return *field;
        }
    }
    return UINT32_MAX;
}

static plmm_status refuse(const plmm_graph_params *p, plmm_error *err)
{
    plmm_graph_params q = *p, r = *p;
    uint32_t n = nearest_n(p);
    uint32_t delta = nearest_part(&q, &q.delta_ppm), gamma = nearest_part(&r, &r.gamma_ppm);
    char hint[3][48] = {"", "", ""};
    if (n != 0) {
        (void)snprintf(hint[0], sizeof hint[0], ", %u devices", n);
    }
    if (delta != UINT32_MAX) {
        (void)snprintf(hint[1], sizeof hint[1], ", delta %.2f", delta / 1e6);
    }
    if (gamma != UINT32_MAX) {
        (void)snprintf(hint[2], sizeof hint[2], ", gamma %.2f", gamma / 1e6);
    }
    bool any = n != 0 || delta != UINT32_MAX || gamma != UINT32_MAX;
    return plmm_fail(
        err, PLMM_ERR_RANGE,
        "no neighbour graph protects %u devices with gamma %g, delta %g, sigma %u, eta "
        "%u against %s aggregator; nearest that is enough%s%s%s%s",
        p->n, p->gamma_ppm / 1e6, p->delta_ppm / 1e6, p->sigma, p->eta,
        p->trust == PLMM_TRUST_CURIOUS ? "a curious" : "a semi-malicious", any ? "" : ": none",
        hint[0], hint[1], hint[2]);
}

plmm_status plmm_graph_degree_solve(plmm_graph_degree *out, const plmm_graph_params *p,
                                    plmm_error *err)
{
    if (p->n < 3 || p->n > PLMM_DEVICES_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a cohort of %u devices is impossible, must be 3..%d",
                         p->n, PLMM_DEVICES_MAX);
    }
    if (!plmm_graph_in_range(p)) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "gamma %g must be 0..0.499999, delta %g 0..0.999999, sigma %u 1..80, eta "
                         "%u 1..60, trust %u 1 or 2",
                         p->gamma_ppm / 1e6, p->delta_ppm / 1e6, p->sigma, p->eta, p->trust);
    }
    plmm_graph_degree found;
    if (!plmm_degree_find(&found, p)) {
        return refuse(p, err);
    }
    *out = found;
    return PLMM_OK;
}

void plmm_graph_init(uint32_t *order, uint32_t *place, uint32_t n, const plmm_hash *seed)
{
    enum { DRAWS = 64 };
    uint8_t block[DRAWS * 8];
    plmm_seed root, here;
    memcpy(root.b, seed->b, sizeof root.b);
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i;
    }
    /* Fisher-Yates; a 64-bit draw mod (i + 1) is uniform to n 2^-64, and nothing here is secret. */
    for (uint32_t i = n - 1, drawn = 0; i > 0; i--, drawn++) {
        if (drawn % DRAWS == 0) {
            plmm_seed_derive(&here, &root, "graph.v1", drawn / DRAWS);
            plmm_expand(block, sizeof block, &here, "graph.pm");
        }
        uint32_t j = (uint32_t)(plmm_load_le64(block + (size_t)8 * (drawn % DRAWS)) % (i + 1));
        uint32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (uint32_t i = 0; i < n; i++) {
        place[order[i]] = i;
    }
}

static void sift_down(uint32_t *a, uint32_t i, uint32_t n)
{
    for (uint32_t c = 2 * i + 1; c < n; i = c, c = 2 * i + 1) {
        if (c + 1 < n && a[c + 1] > a[c]) {
            c++;
        }
        if (a[i] >= a[c]) {
            return;
        }
        uint32_t t = a[i];
        a[i] = a[c];
        a[c] = t;
    }
}

static void heap_sort(uint32_t *a, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;) {
        sift_down(a, i, n);
    }
    for (uint32_t end = n; end > 1; end--) {
        uint32_t t = a[0];
        a[0] = a[end - 1];
        a[end - 1] = t;
        sift_down(a, 0, end - 1);
    }
}

void plmm_graph_neighbours(uint32_t *out, uint32_t device, const uint32_t *order,
                           const uint32_t *place, uint32_t n, uint32_t k)
{
    PLMM_ASSERT(device < n && k < n && (k % 2 == 0 || k == n - 1));
    uint32_t m = 0;
    if (k == n - 1) {
        for (uint32_t i = 0; i < n; i++) {
            if (i != device) {
                out[m++] = i;
            }
        }
        return;
    }
    for (uint32_t step = 1; step <= k / 2; step++) {
        out[m++] = order[(place[device] + step) % n];
        out[m++] = order[(place[device] + n - step) % n];
    }
    heap_sort(out, k);
}

uint32_t plmm_set_count(const uint8_t *set, uint32_t n)
{
    uint32_t c = 0;
    for (uint32_t i = 0; i < n / 8; i++) { /* bits of an octet: of pairs, of fours, of all */
        uint32_t v = set[i] - (set[i] >> 1 & 0x55u);
        v = (v & 0x33) + (v >> 2 & 0x33);
        c += (v + (v >> 4)) & 0x0f;
    }
    for (uint32_t i = n / 8 * 8; i < n; i++) {
        c += plmm_set_has(set, i);
    }
    return c;
}

bool plmm_set_canonical(const uint8_t *set, uint32_t n)
{
    return n % 8 == 0 || set[n / 8] >> (n % 8) == 0;
}

uint32_t plmm_find(const uint32_t *a, uint32_t n, uint32_t x)
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (a[mid] < x) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < n && a[lo] == x ? lo : n;
}
