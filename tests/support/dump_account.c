/* Numbers of our accountants for tests/dp_oracle.py: reads lines, writes one number a line.
 *   order A Z Q        Renyi divergence of a Poisson-sampled Gaussian
 *   wor A Z Q          ... drawn without replacement
 *   rdp Q Z T DELTA    epsilon of T of them by the default orders
 *   pld Q Z T DELTA    ... by loss distributions
 *   delta Z EPSILON    exact delta of the Gaussian
 *   z EPSILON DELTA Q T   calibration
 *   tree Z LEAVES T DELTA  epsilon of T trees for a device that is in a leaf of each
 *   skellam A L1 L2 V, ddgauss A L1 L2 DIM N V */
#include "plmm/account.h"
#include "plmm/pld.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double rdp_epsilon(const double *v)
{
    double orders[PLMM_RDP_ORDERS], rdp[PLMM_RDP_ORDERS];
    for (size_t i = 0; i < PLMM_RDP_ORDERS; i++) {
        orders[i] = plmm_rdp_order(i);
        rdp[i] = v[2] * plmm_rdp_sampled_gaussian(orders[i], v[1], v[0]);
    }
    return plmm_rdp_epsilon(orders, rdp, PLMM_RDP_ORDERS, v[3], NULL);
}

static double tree_epsilon(const double *v)
{
    plmm_account tree, all;
    plmm_account_init(&all);
    plmm_account_release(&tree, &(plmm_release){.mechanism = PLMM_MECHANISM_GAUSSIAN,
                                                .leaves = (uint32_t)v[1],
                                                .l1 = 1,
                                                .l2 = 1,
                                                .dim = 1,
                                                .variance = v[0] * v[0],
                                                .rate = 1});
    plmm_account_add(&all, &tree, (uint64_t)v[2]);
    return plmm_account_epsilon(&all, PLMM_ADVERSARY_MODELS, v[3]);
}

static double answer(const char *what, const double *v)
{
    double out = -1.0;
    if (strcmp(what, "tree") == 0) {
        return tree_epsilon(v);
    }
    if (strcmp(what, "order") == 0) {
        return plmm_rdp_sampled_gaussian(v[0], v[1], v[2]);
    }
    if (strcmp(what, "wor") == 0) {
        return plmm_rdp_wor_gaussian(v[0], v[1], v[2]);
    }
    if (strcmp(what, "rdp") == 0) {
        return rdp_epsilon(v);
    }
    if (strcmp(what, "pld") == 0) {
        return plmm_pld_gaussian_epsilon(&out, v[1], v[0], (uint32_t)v[2], v[3], NULL) == PLMM_OK
                   ? out
                   : -1.0;
    }
    if (strcmp(what, "delta") == 0) {
        return plmm_gaussian_delta(v[0], v[1]);
    }
    if (strcmp(what, "z") == 0) {
        return plmm_calibrate_z(v[0], v[1], v[2], (uint64_t)v[3]);
    }
    if (strcmp(what, "skellam") == 0) {
        return plmm_rdp_skellam(v[0], v[1], v[2], v[3]);
    }
    return plmm_rdp_ddgauss(v[0], v[1], v[2], v[3], (uint32_t)v[4], v[5]);
}

int main(void)
{
    char line[256], what[16];
    double v[6];
    while (fgets(line, sizeof line, stdin) != NULL) {
        int n = sscanf(line, "%15s %lf %lf %lf %lf %lf %lf", what, &v[0], &v[1], &v[2], &v[3],
                       &v[4], &v[5]);
        if (n < 3) {
            (void)fprintf(stderr, "cannot read: %s", line);
            return EXIT_FAILURE;
        }
        (void)printf("%.17g\n", answer(what, v));
    }
    return EXIT_SUCCESS;
}
