/* Releases, accounts and budgets. */
#include "plmm/account.h"

#include "plmm/bytes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the cost of a release ---- */

static double cost_sum(const plmm_release *r, double alpha)
{
    double z = sqrt(r->variance) / r->l2;
    switch (r->mechanism) {
    case PLMM_MECHANISM_SKELLAM:
        return plmm_rdp_skellam(alpha, r->l1, r->l2, r->variance);
    case PLMM_MECHANISM_DDGAUSS:
        return plmm_rdp_ddgauss(alpha, r->l1, r->l2, r->dim, r->shares,
                                r->variance / (double)r->shares);
    case PLMM_MECHANISM_GAUSSIAN:
        return plmm_rdp_gaussian(alpha, z);
    default:
        return INFINITY;
    }
}

static double cost_whole(const plmm_release *r, double alpha)
{
    return (r->leaves > 0 ? (double)plmm_tree_depth(r->leaves) : 1.0) * cost_sum(r, alpha);
}

/* Poisson sampling of any mechanism, at an integer order (Zhu and Wang, Theorem 5): ln A, where A is at
 * most (1-q)^(a-1) (1 + (a-1) q) + C(a,2) q^2 (1-q)^(a-2) e^R(2) + 3 sum_{l>=3} C(a,l) q^l (1-q)^(a-l)
 * e^((l-1) R(l)). The coefficients add to 1, so that is taken off each term. whole[i]: R at order i. */
static double sampled_moment(const double *whole, uint32_t alpha, double q)
{
    double excess = 0.0, log_comb = log(alpha), most = -INFINITY;
    for (uint32_t l = 2; l <= alpha; l++) {
        if (!(whole[l] < INFINITY)) {
            return INFINITY;
        }
        log_comb += log((double)(alpha - l + 1) / (double)l);
        double coefficient = log_comb + l * log(q) + (double)(alpha - l) * log1p(-q);
        double gain = (double)(l - 1) * whole[l] + (l > 2 ? log(3.0) : 0.0);
        double term = coefficient + gain + log(-expm1(-gain));
        double hi = term > most ? term : most; /* ln of the sum so far is most + ln excess */
        excess = excess * exp(most - hi) + exp(term - hi);
        most = hi;
    }
    double log_a1 = most + log(excess);
    return log_a1 < 700.0 ? log1p(exp(log_a1)) : log_a1;
}

enum { SAMPLED_ORDER_MAX = 64 };

/* The curve against who does not see the cohort. */
static void cost_sampled(double *rdp, const plmm_release *r)
{
    double whole[SAMPLED_ORDER_MAX + 1] = {0}, moment[SAMPLED_ORDER_MAX + 1] = {0};
    for (uint32_t a = 2; a <= SAMPLED_ORDER_MAX; a++) {
        whole[a] = cost_whole(r, a);
        moment[a] = fmin(sampled_moment(whole, a, r->rate), (a - 1.0) * whole[a]);
    }
    for (size_t i = 0; i < PLMM_RDP_ORDERS; i++) {
        double a = plmm_rdp_order(i);
        rdp[i] = cost_whole(r, a);
        if (a < SAMPLED_ORDER_MAX) { /* the moment is convex in the order, and 0 at 1 */
            uint32_t lo = (uint32_t)a;
            double t = a - lo, m = (1.0 - t) * moment[lo] + t * moment[lo + 1];
            rdp[i] = fmin(rdp[i], m / (a - 1.0));
        }
    }
}

void plmm_account_release(plmm_account *out, const plmm_release *r)
{
    double *server = out->rdp[PLMM_ADVERSARY_SERVER], *models = out->rdp[PLMM_ADVERSARY_MODELS];
    bool possible = r->l2 > 0.0 && r->l1 > 0.0 && r->dim >= 1.0 && r->variance > 0.0 &&
                    (r->mechanism != PLMM_MECHANISM_DDGAUSS || r->shares >= 1);
    bool drawn = r->rate >= 0.0 && r->rate < 1.0 && r->leaves == 0;
    for (size_t i = 0; i < PLMM_RDP_ORDERS; i++) {
        models[i] = possible ? cost_whole(r, plmm_rdp_order(i)) : INFINITY;
        server[i] = r->server_adds ? INFINITY : models[i];
        if (possible && drawn && r->mechanism == PLMM_MECHANISM_GAUSSIAN) {
            models[i] =
                plmm_rdp_sampled_gaussian(plmm_rdp_order(i), sqrt(r->variance) / r->l2, r->rate);
        }
    }
    if (possible && drawn && r->rate == 0.0) {
        memset(models, 0, sizeof out->rdp[PLMM_ADVERSARY_MODELS]);
    } else if (possible && drawn && r->mechanism != PLMM_MECHANISM_GAUSSIAN) {
        cost_sampled(models, r);
    }
    out->distance = r->distance >= 0.0 ? r->distance : INFINITY;
    out->releases = 1;
}

/* ---- accounts ---- */

void plmm_account_init(plmm_account *a)
{
    memset(a, 0, sizeof *a);
}

void plmm_account_add(plmm_account *a, const plmm_account *cost, uint64_t times)
{
    if (times == 0) {
        return; /* 0 * INFINITY is no number */
    }
    for (size_t w = 0; w < PLMM_ADVERSARIES; w++) {
        for (size_t i = 0; i < PLMM_RDP_ORDERS; i++) {
            a->rdp[w][i] += (double)times * cost->rdp[w][i];
        }
    }
    a->distance += (double)times * cost->distance;
    uint64_t more = cost->releases != 0 && times > UINT64_MAX / cost->releases
                        ? UINT64_MAX
                        : times * cost->releases;
    a->releases = more > UINT64_MAX - a->releases ? UINT64_MAX : a->releases + more;
}

static void all_orders(double *orders)
{
    for (size_t i = 0; i < PLMM_RDP_ORDERS; i++) {
        orders[i] = plmm_rdp_order(i);
    }
}

double plmm_account_delta(const plmm_account *a, plmm_adversary who, double epsilon)
{
    double orders[PLMM_RDP_ORDERS];
    all_orders(orders);
    double ideal = plmm_rdp_delta(orders, a->rdp[who], PLMM_RDP_ORDERS, epsilon, NULL);
    double far = a->distance > 0.0 ? (1.0 + exp(epsilon)) * a->distance : 0.0;
    return fmin(1.0, ideal + far);
}

double plmm_account_epsilon(const plmm_account *a, plmm_adversary who, double delta)
{
    PLMM_ASSERT(delta > 0.0 && delta < 1.0);
    double orders[PLMM_RDP_ORDERS];
    all_orders(orders);
    double lo = plmm_rdp_epsilon(orders, a->rdp[who], PLMM_RDP_ORDERS, delta, NULL);
    if (a->distance == 0.0 || lo == INFINITY) {
        return lo;
    }
    /* delta = ideal(e) + (1 + e^e) distance: with e at most `hi`, the second part is at most what it is
     * at hi, and the first may use the rest. Find the smallest hi that holds its own epsilon. */
    double hi = fmax(lo, 1e-3);
    for (int i = 0; i < 200; i++) {
        double rest = delta - (1.0 + exp(hi)) * a->distance;
        if (!(rest > 0.0)) {
            return INFINITY;
        }
        double e = plmm_rdp_epsilon(orders, a->rdp[who], PLMM_RDP_ORDERS, rest, NULL);
        if (e <= hi) {
            return e;
        }
        hi = e * (1.0 + 1e-9);
    }
    return INFINITY;
}

/* ---- budgets ---- */

plmm_status plmm_budget_check(const plmm_budget *b, plmm_error *err)
{
    if (!(b->epsilon > 0.0)) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot use epsilon %g: it must be above 0",
                         b->epsilon);
    }
    if (!(b->delta > 0.0 && b->delta < 1.0)) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot use delta %g: it must be between 0 and 1",
                         b->delta);
    }
    if (b->adversary >= PLMM_ADVERSARIES) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "cannot use adversary %u: it is 0 (who sees the cohort) or 1 (who sees "
                         "the versions)",
                         b->adversary);
    }
    return PLMM_OK;
}

plmm_status plmm_account_fits(const plmm_account *a, const plmm_account *cost, uint64_t times,
                              const plmm_budget *b, plmm_error *err)
{
    PLMM_TRY(plmm_budget_check(b, err));
    plmm_account after = *a;
    if (cost != NULL) {
        plmm_account_add(&after, cost, times);
    }
    plmm_adversary who = (plmm_adversary)b->adversary;
    double e = plmm_account_epsilon(&after, who, b->delta);
    if (e <= b->epsilon) { /* INFINITY <= INFINITY: no bound */
        return PLMM_OK;
    }
    return plmm_fail(err, PLMM_ERR_POLICY,
                     "the privacy budget is epsilon %g at delta %g against %s; %g is spent in %llu "
                     "releases and it would be %g",
                     b->epsilon, b->delta,
                     who == PLMM_ADVERSARY_SERVER ? "who sees the cohort" : "who sees the versions",
                     plmm_account_epsilon(a, who, b->delta), (unsigned long long)a->releases, e);
}

uint64_t plmm_account_left(const plmm_account *a, const plmm_account *cost, const plmm_budget *b,
                           uint64_t most)
{
    uint64_t lo = 0, hi = most;
    while (lo < hi) {
        uint64_t mid = hi - (hi - lo) / 2;
        if (plmm_account_fits(a, cost, mid, b, NULL) == PLMM_OK) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    return lo;
}

char *plmm_account_sentence(char *out, size_t size, const plmm_account *a, plmm_adversary who,
                            double delta, const char *noise)
{
    static const char *const against[PLMM_ADVERSARIES] = {
        "against the aggregator and all it colludes with, who see the cohort and every sum (no "
        "amplification by sampling), assuming at most gamma of the eligible devices are corrupt "
        "and the registrar does not collude",
        "against who sees the published versions only, assuming that they learn nothing of who "
        "took part and that devices are drawn independently at the round's rate"};
    PLMM_ASSERT((uint32_t)who < PLMM_ADVERSARIES && size > 0);
    double e = plmm_account_epsilon(a, who, delta);
    char number[32];
    (void)snprintf(number, sizeof number, e < INFINITY ? "%.4g" : "unbounded", e);
    (void)snprintf(
        out, size,
        "(epsilon, delta) = (%s, %g) after %llu releases; unit: one device's whole data, "
        "its vector or zero; %s%s%s",
        number, delta, (unsigned long long)a->releases, against[who], noise != NULL ? "; " : "",
        noise != NULL ? noise : "");
    return out;
}

/* ---- octets ---- */

static const uint8_t MAGIC[8] = "PLMMacc1";

static void put_double(uint8_t *out, double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    plmm_store_le64(out, u);
}

static bool get_cost(double *v, const uint8_t *in)
{
    uint64_t u = plmm_load_le64(in);
    memcpy(v, &u, sizeof u);
    return u >> 63 == 0 && *v >= 0.0; /* neither NaN nor -0 */
}

void plmm_account_encode(uint8_t *out, const plmm_account *a)
{
    const double *curve = &a->rdp[0][0];
    memcpy(out, MAGIC, 8);
    plmm_store_le64(out + 8, a->releases);
    put_double(out + 16, a->distance);
    for (size_t i = 0; i < (size_t)PLMM_ADVERSARIES * PLMM_RDP_ORDERS; i++) {
        put_double(out + 24 + 8 * i, curve[i]);
    }
}

plmm_status plmm_account_decode(plmm_account *out, const uint8_t *in, size_t len, plmm_error *err)
{
    plmm_account a;
    double *curve = &a.rdp[0][0];
    size_t same = 0;
    while (len == PLMM_ACCOUNT_BYTES && same < 8 && in[same] == MAGIC[same]) {
        same++;
    }
    if (same != 8) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "not a privacy account of this version: %zu octets, expected %d", len,
                         (int)PLMM_ACCOUNT_BYTES);
    }
    a.releases = plmm_load_le64(in + 8);
    bool good = get_cost(&a.distance, in + 16);
    for (size_t i = 0; i < (size_t)PLMM_ADVERSARIES * PLMM_RDP_ORDERS; i++) {
        good = get_cost(&curve[i], in + 24 + 8 * i) && good;
    }
    if (!good) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "privacy account holds a number that is no cost");
    }
    *out = a;
    return PLMM_OK;
}
