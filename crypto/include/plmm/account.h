/* plmm/account.h -- what rounds cost in privacy: Renyi accounting, and the account a party keeps.
 *
 * The unit is one device's whole data: two runs are neighbours when one device's vector is its own
 * in the one and zero in the other (who took part is known to who sees the cohort). A release is
 * one noisy sum that left, or could have left, the mask; its cost is a curve: Renyi divergence at
 * the fixed orders below. Curves of successive releases add, whatever was chosen in between in
 * view of the earlier ones as long as each release was charged with its own parameters.
 *
 * An epsilon without its adversary says nothing, so every one here names it (plmm_adversary).
 *
 * Lengths (l1, l2), variances and dimensions are of the integer lattice: coordinates as they are
 * summed, after scaling, rotation and rounding. z is always a noise multiplier: standard deviation
 * over l2 sensitivity. Every function is pure, allocates nothing and is thread-safe; a number that
 * is unbounded is INFINITY. What is returned is never less than the exact value, but for rounding
 * of doubles (1e-9 relative).
 *
 * Sources: Mironov, Talwar, Zhang 2019 (arXiv 1908.10530; Poisson-sampled Gaussian); Canonne,
 * Kamath, Steinke 2020 (2004.00010; Prop. 12 conversion, discrete Gaussian); Kairouz, Liu, Steinke
 * 2021 (2102.06387; distributed discrete Gaussian, conditional rounding); Agarwal, Kairouz, Liu
 * 2021 (2110.04995; Skellam); Zhu, Wang 2019 (Theorem 5; Poisson sampling of any mechanism); Wang,
 * Balle, Kasiviswanathan 2019 (1808.00087; sampling without replacement); Kairouz et al. 2021
 * (2103.00039; tree aggregation); Choquette-Choo et al. 2023 (2306.08153; banded matrices);
 * Andrew et al. 2021 (1905.03871; adaptive clipping).
 */
#ifndef PLMM_ACCOUNT_H
#define PLMM_ACCOUNT_H

#include "plmm/status.h"

/* ---- Renyi divergence of one release, at one order alpha > 1 ---- */

/* 1.1, 1.2 ... 10.9, 11, 12 ... 63, 128, 256, 512, 1024. */
enum { PLMM_RDP_ORDERS = 156 };
double plmm_rdp_order(size_t i); /* i < PLMM_RDP_ORDERS */

/* alpha / (2 z^2). Also of the central discrete Gaussian, of any dimension (CKS20). */
double plmm_rdp_gaussian(double alpha, double z);

/* The same when each device takes part independently with probability q, 0..1, and the adversary
 * does not see who did. Exact: the binomial sum at integer orders, quadrature of a positive
 * integrand elsewhere. */
double plmm_rdp_sampled_gaussian(double alpha, double z, double q);

/* When a fixed part q of the devices is drawn without replacement; neighbours replace one device,
 * and z is relative to that sensitivity. Theorem 27 of 1808.00087, between integers by convexity. */
double plmm_rdp_wor_gaussian(double alpha, double z, double q);

/* Skellam noise of this variance in every coordinate. Agarwal et al.; between integers the moment
 * (alpha - 1) * RDP is convex, so a chord bounds it. */
double plmm_rdp_skellam(double alpha, double l1, double l2, double variance);

/* Sum of n independent discrete Gaussians of variance local_variance (>= 1/4, else INFINITY). */
double plmm_rdp_ddgauss(double alpha, double l1, double l2, double dim, uint32_t n,
                        double local_variance);

/* Tree aggregation (Kairouz et al. 2021, 2103.00039; Honaker 2015): the prefix sums of `leaves` >= 1
 * successive vectors follow from the noisy sums of the whole aligned blocks of 1, 2, 4 ... of them,
 * the nodes. A vector is in at most as many nodes as this, floor(log2(leaves)) + 1 =
 * ceil(log2(leaves + 1)), so a device that is in at most one leaf costs that many releases of one
 * node, whatever is chosen in between: alpha ceil(log2(leaves + 1)) / (2 z^2) with Gaussian
 * nodes. No amplification. */
uint32_t plmm_tree_depth(uint32_t leaves);

/* ---- sensitivities ---- */

/* Norm after conditional stochastic rounding of a vector of l2 norm <= c and dim coordinates to
 * integers, where log_inv_beta = ln(1/beta) (0.5 in the papers; INFINITY: unconditional). */
double plmm_rounded_l2(double c, double dim, double log_inv_beta);
/* l1 norm of an integer vector of that l2 norm. */
double plmm_rounded_l1(double l2, double dim);

/* Sensitivity of C x (or of B z added to A x, A = B C) for x of `steps` rows, each of norm <= 1,
 * when one device is in at most `times` of them, any two at least `apart` steps from each other.
 * C is lower triangular with `bands` diagonals, c[t * bands + k] = C[t + k][t] (column t, below its
 * diagonal). Exact for bands <= apart (its columns are then orthogonal); else PLMM_ERR_RANGE.
 * work: 2 * (steps + 1) doubles. */
PLMM_NODISCARD plmm_status plmm_mf_sensitivity(double *out, const double *c, uint32_t steps,
                                               uint32_t bands, uint32_t apart, uint32_t times,
                                               double *work, plmm_error *err);
/* First `bands` coefficients of (1 - x)^(-1/2): the banded square root of the prefix sum. */
void plmm_mf_square_root(double *c, uint32_t bands);

/* Multiplier that is left for the sum when a count of sensitivity 1/2 with noise of standard
 * deviation sigma_b is released beside it and both together shall cost what z does:
 * (z^-2 - (2 sigma_b)^-2)^(-1/2); INFINITY if no noise is enough. Andrew et al. 2021. */
double plmm_adaptive_z(double z, double sigma_b);

/* ---- conversion ---- */

/* Smallest epsilon (>= 0) that the curve rdp[0..n) at orders[0..n) gives for delta in (0, 1), and
 * smallest delta (<= 1) for epsilon >= 0. *order, if not NULL: where. CKS20 Prop. 12; 0 where the
 * divergence alone bounds the total variation by delta. */
double plmm_rdp_epsilon(const double *orders, const double *rdp, size_t n, double delta,
                        double *order);
double plmm_rdp_delta(const double *orders, const double *rdp, size_t n, double epsilon,
                      double *order);

/* Exact delta of the Gaussian mechanism (Balle, Wang 2018). */
double plmm_gaussian_delta(double z, double epsilon);

/* ---- releases and accounts ---- */

typedef enum plmm_adversary {
    /* The aggregator, and whoever listens or colludes: sees the cohort and every sum as it leaves
     * the mask. No amplification by sampling. */
    PLMM_ADVERSARY_SERVER = 0,
    /* Sees the published versions and nothing of who took part: neither the links of the
     * registrar's chain, nor check-ins, nor the roster. */
    PLMM_ADVERSARY_MODELS = 1
} plmm_adversary;
enum { PLMM_ADVERSARIES = 2 };

typedef enum plmm_mechanism {
    PLMM_MECHANISM_NONE = 0,    /* no noise: costs INFINITY against everybody */
    PLMM_MECHANISM_SKELLAM = 1, /* numbers of plmm_noise in plmm/noise.h and of round parameters */
    PLMM_MECHANISM_DDGAUSS = 2, /* `shares` discrete Gaussians add up to the variance */
    PLMM_MECHANISM_GAUSSIAN = 3 /* continuous; or one discrete Gaussian */
} plmm_mechanism;

typedef struct plmm_release {
    uint32_t mechanism; /* plmm_mechanism */
    uint32_t shares;    /* DDGAUSS: how many shares make up the variance; >= 1 */
    uint32_t leaves;  /* > 0: a whole tree of so many, each node with this noise, for a device in at
                           most one leaf: charge it once a tree, not for each leaf. 0: one sum */
    bool server_adds; /* the server sees the sum before its noise: no promise against it */
    double l1, l2;    /* sensitivity: of one device's whole lattice vector */
    double dim;       /* coordinates */
    double
        variance; /* of each coordinate of the sum's noise, that of corrupt devices not counted */
    double rate;  /* probability that a device takes part, if drawn as Poisson; else 1 */
    double distance; /* total variation between the true noise and the ideal one, all draws */
} plmm_release;

/* Cost so far, or of one release (a release is an account with releases = 1). Plain data. */
typedef struct plmm_account {
    double rdp[PLMM_ADVERSARIES][PLMM_RDP_ORDERS];
    double distance;   /* enters delta as (1 + e^epsilon) * distance */
    uint64_t releases; /* sums, aborted ones that could have been opened included */
} plmm_account;

/* (epsilon, delta), against which adversary. */
typedef struct plmm_budget {
    double epsilon;     /* > 0; INFINITY: no bound */
    double delta;       /* in (0, 1) */
    uint32_t adversary; /* plmm_adversary */
} plmm_budget;

void plmm_account_init(plmm_account *a); /* nothing spent */

/* Cost of one release. Never fails: what is not possible costs INFINITY. */
void plmm_account_release(plmm_account *out, const plmm_release *r);

/* Adds the cost `times` times. */
void plmm_account_add(plmm_account *a, const plmm_account *cost, uint64_t times);

/* Epsilon at delta in (0, 1), delta at epsilon >= 0, against this adversary. */
double plmm_account_epsilon(const plmm_account *a, plmm_adversary who, double delta);
double plmm_account_delta(const plmm_account *a, plmm_adversary who, double epsilon);

/* PLMM_ERR_RANGE, naming the field, if it makes no sense. */
PLMM_NODISCARD plmm_status plmm_budget_check(const plmm_budget *b, plmm_error *err);

/* PLMM_ERR_POLICY, with the epsilon spent, the epsilon it would be and the budget, if *a and
 * `times` of *cost (NULL: 0) together are beyond the budget; PLMM_OK if they are not. */
PLMM_NODISCARD plmm_status plmm_account_fits(const plmm_account *a, const plmm_account *cost,
                                             uint64_t times, const plmm_budget *b, plmm_error *err);
/* How many more of *cost fit, at most `most`. */
uint64_t plmm_account_left(const plmm_account *a, const plmm_account *cost, const plmm_budget *b,
                           uint64_t most);

/* "(epsilon, delta) = (1.23, 1e-05) after 12 releases; unit: ...; against ...; assuming ..." into
 * out, cut at size. noise: "Skellam noise, distributed" or what made it; may be NULL. Returns out. */
char *plmm_account_sentence(char *out, size_t size, const plmm_account *a, plmm_adversary who,
                            double delta, const char *noise);

enum { PLMM_ACCOUNT_BYTES = 8 + 8 + 8 + 8 * PLMM_ADVERSARIES * PLMM_RDP_ORDERS };

/* PLMM_ACCOUNT_BYTES octets. Decoding takes foreign bytes: PLMM_ERR_FORMAT for another length,
 * version, or a number that is no cost. */
void plmm_account_encode(uint8_t *out, const plmm_account *a);
PLMM_NODISCARD plmm_status plmm_account_decode(plmm_account *out, const uint8_t *in, size_t len,
                                               plmm_error *err);

/* ---- calibration ---- */

/* Smallest z (to 1e-9 relative, from above) with which `times` Poisson-sampled Gaussians of rate q
 * are within (epsilon, delta) by the curve at plmm_rdp_order; INFINITY if none up to 2^20 is. */
double plmm_calibrate_z(double epsilon, double delta, double q, uint64_t times);

/* Smallest variance, in multiples of 1 / PLMM_VARIANCE_UNITS, with which `times` of *r fit *b from
 * nothing spent (r->variance is ignored). PLMM_ERR_RANGE if none up to 2^62 units does. */
enum { PLMM_VARIANCE_UNITS = 16 };
PLMM_NODISCARD plmm_status plmm_calibrate_units(uint64_t *units, const plmm_release *r,
                                                uint64_t times, const plmm_budget *b,
                                                plmm_error *err);

#endif
