/* crypto/rotate: every path is the definition to the bit, R is orthogonal and linear, spreads
 * spikes, and is undone by its inverse; at every length. */
#include "plmm/rng.h"
#include "rotate_internal.h"
#include "test.h"

#include <math.h>

enum { D_MAX = 70000 };

static float x[D_MAX], y[D_MAX], z[D_MAX];

static double dot(const float *a, const float *b, size_t d)
{
    double s = 0;
    for (size_t i = 0; i < d; i++) {
        s += (double)a[i] * (double)b[i];
    }
    return s;
}

static void fill(float *v, size_t d, plmm_rng *r)
{
    for (size_t i = 0; i < d; i++) {
        v[i] = (float)plmm_rng_normal(r);
    }
}

static const size_t lengths[] = {1,   2,    3,    4,    5,    7,     8,     15,    16,   17,  31,
                                 32,  33,   63,   64,   100,  127,   128,   129,   200,  255, 256,
                                 600, 1000, 4095, 4096, 4097, 10000, 40000, 65536, 70000};

static void test_paths_are_the_definition(plmm_rng *r)
{
    size_t count;
    const plmm__hadamard_path *const *paths = plmm__hadamard_paths(&count);
    CHECK(strcmp(paths[count - 1]->name, "portable") == 0, "portable is always there");
    for (size_t i = 0; i < COUNT(lengths); i++) {
        size_t d = lengths[i];
        plmm_hash seed = {{(uint8_t)i, 3}};
        fill(x, d, r);
        memcpy(y, x, d * sizeof x[0]);
        plmm_rotate_ref(y, d, &seed);
        for (size_t p = 0; p < count; p++) {
            memcpy(z, x, d * sizeof x[0]);
            plmm__rotate(paths[p], z, d, &seed);
            CHECK(memcmp(z, y, d * sizeof x[0]) == 0, "%s: d %zu", paths[p]->name, d);
        }
        memcpy(y, x, d * sizeof x[0]);
        plmm_unrotate_ref(y, d, &seed);
        for (size_t p = 0; p < count; p++) {
            memcpy(z, x, d * sizeof x[0]);
            plmm__unrotate(paths[p], z, d, &seed);
            CHECK(memcmp(z, y, d * sizeof x[0]) == 0, "%s: back, d %zu", paths[p]->name, d);
        }
    }
}

static void test_orthogonal(plmm_rng *r)
{
    for (size_t i = 0; i < COUNT(lengths); i++) {
        size_t d = lengths[i];
        plmm_hash seed = {{(uint8_t)i}};
        fill(x, d, r);
        fill(y, d, r);
        double xx = dot(x, x, d), xy = dot(x, y, d);
        memcpy(z, x, d * sizeof x[0]);
        plmm_rotate(z, d, &seed);
        plmm_rotate(y, d, &seed);
        CHECK(fabs(dot(z, z, d) / xx - 1) < 1e-5, "d %zu: the norm stays", d);
        CHECK(fabs(dot(z, y, d) - xy) < 1e-5 * xx, "d %zu: products stay", d);
        plmm_unrotate(z, d, &seed);
        for (size_t k = 0; k < d; k++) {
            z[k] -= x[k];
        }
        CHECK(sqrt(dot(z, z, d) / xx) < 1e-6, "d %zu: there and back", d);
        plmm_rotate(x, d, &(plmm_hash){{(uint8_t)i, 1}});
        for (size_t k = 0; k < d; k++) {
            z[k] = x[k] - y[k];
        }
        CHECK(d < 8 || dot(z, z, d) > 0.1 * xx, "d %zu: another seed, another rotation", d);
    }
}

/* The matrix itself, column by column, at small lengths: R^T R = 1. */
static void test_matrix(void)
{
    enum { SMALL = 40 };
    static float m[SMALL][SMALL];
    for (size_t d = 1; d <= SMALL; d++) {
        const plmm_hash seed = {{(uint8_t)d, 9}};
        for (size_t c = 0; c < d; c++) {
            memset(m[c], 0, sizeof m[c]);
            m[c][c] = 1;
            plmm_rotate(m[c], d, &seed);
        }
        for (size_t a = 0; a < d; a++) {
            for (size_t b = 0; b < d; b++) {
                double want = a == b ? 1 : 0;
                CHECK(fabs(dot(m[a], m[b], d) - want) < 1e-6, "d %zu: columns %zu, %zu", d, a, b);
            }
        }
    }
}

/* One spike, anywhere, ends with every coordinate small: in one transform exactly 2^(-p/2), in two
 * overlapping ones at most a little more than sub-Gaussian. */
static void test_spikes(void)
{
    static const size_t d[] = {256, 300, 511, 513, 40000, 65536, 70000};
    for (size_t i = 0; i < COUNT(d); i++) {
        size_t n = 1;
        while (2 * n <= d[i]) {
            n *= 2;
        }
        for (size_t k = 0; k < 40; k++) {
            size_t at = k * (d[i] - 1) / 39;
            double most = 0;
            memset(x, 0, sizeof x);
            x[at] = 1;
            plmm_rotate(x, d[i], &(plmm_hash){{(uint8_t)k}});
            for (size_t j = 0; j < d[i]; j++) {
                most = fabs((double)x[j]) > most ? fabs((double)x[j]) : most;
            }
            double unit = 1 / sqrt((double)n);
            CHECK(n == d[i] ? fabs(most / unit - 1) < 1e-6 : most < 6 * unit,
                  "d %zu: a spike at %zu leaves %g units", d[i], at, most / unit);
        }
    }
}

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    test_paths_are_the_definition(&r);
    test_orthogonal(&r);
    test_matrix();
    test_spikes();
    return plmm_test_end();
}
