/* Error feedback over rounds of the real machines: what the sums brought, and what the devices kept
 * back, is to rounding in floats what they were to send; a round that a device missed changes
 * nothing. Where it does not go it is refused. */
#include "fleet.h"
#include "plmm/federate.h"
#include "plmm/feedback.h"

#include <math.h>

enum { N = 6, LENGTH = 40, ROUNDS = 12, ABSENT = 4 };

static plmm_feedback feedback[N];

static void take(fleet *f, uint32_t i, void *arg)
{
    uint32_t lanes[LENGTH + 2];
    plmm_error err = {0};
    CHECK(arg == NULL || plmm_feedback_take(&feedback[i], f->d[i].m, plmm_agg_round_params(f->agg),
                                            lanes, f->d[i].delta, &err) == PLMM_OK,
          "%s", err.msg);
}

static double own_update(uint32_t i, size_t k)
{
    return 0.05 * sin((double)(i * LENGTH + k));
}

/* Largest |sent + kept - wanted| over the coordinates, in units of weight times update. */
static double run(bool with, uint32_t rotate)
{
    static double gap[LENGTH], sum[LENGTH];
    memset(gap, 0, sizeof gap);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        fleet *f = fleet_new(N, LENGTH, 100 + round);
        plmm_round_params *p = &f->cfg.params;
        plmm_error err = {0};
        uint64_t weight;
        p->method = PLMM_METHOD_FFA;
        p->factor = PLMM_FACTOR_B;
        p->quant_bits = 12;
        p->rotate = rotate;
        plmm_encoding fit = plmm_round_encoding(p);
        p->ring_bits = plmm_encoding_ring_bits(&fit);
        f->masking = take;
        f->masking_arg = with ? f : NULL;
        f->d[ABSENT].quits = round % 3 == 1 ? PLMM_MSG_MASKED : 0;
        for (uint32_t i = 0; i < N; i++) {
            f->d[i].weight = 3 + i; /* the same in all rounds */
            f->d[i].cfg.policy.vectors[0].method = p->method;
            f->d[i].cfg.policy.vectors[0].factor = p->factor;
            for (size_t k = 0; k < LENGTH; k++) {
                f->d[i].delta[k] = (float)own_update(i, k);
            }
            plmm_feedback_add(&feedback[i], p, f->d[i].delta);
        }
        fleet_start(f);
        fleet_run(f);
        CHECK(f->finished, "round %u: %s", round, f->text);
        fleet_check_sum(f);
        plmm_encoding e = plmm_round_encoding(plmm_agg_round_params(f->agg));
        CHECK(plmm_decode_sum(sum, &weight, &e, f->result, LENGTH, f->in_sum, &err) == PLMM_OK,
              "%s", err.msg);
        for (uint32_t i = 0; i < N; i++) {
            plmm_feedback_settle(&feedback[i], f->d[i].finished);
            for (size_t k = 0; k < LENGTH && f->d[i].finished; k++) {
                gap[k] -= f->d[i].weight * own_update(i, k);
            }
        }
        for (size_t k = 0; k < LENGTH; k++) {
            gap[k] += sum[k];
        }
        if (round + 1 == ROUNDS && with) {
            for (uint32_t i = 0; i < N; i++) {
                for (size_t k = 0; k < LENGTH; k++) {
                    gap[k] += f->d[i].weight * (double)feedback[i].kept[k];
                }
            }
        }
        fleet_free(f);
    }
    double most = 0;
    for (size_t k = 0; k < LENGTH; k++) {
        most = fabs(gap[k]) > most ? fabs(gap[k]) : most;
    }
    for (uint32_t i = 0; i < N; i++) {
        plmm_feedback_free(&feedback[i]);
    }
    return most;
}

static void test_refusals(void)
{
    plmm_error err = {0};
    float kept[3] = {1, 2, 3}, delta[3] = {0};
    plmm_round_params p = {.length = 3, .method = PLMM_METHOD_FFA};
    plmm_feedback f = {.kept = kept, .length = 3, .method = PLMM_METHOD_FFA};
    CHECK(plmm_feedback_check(PLMM_METHOD_FFA, 0, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_feedback_check(PLMM_METHOD_NAIVE, 0, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_feedback_check(PLMM_METHOD_FFA, 1, &err) == PLMM_ERR_UNSUPPORTED, "noise");
    CHECK(strstr(err.msg, "noise") != NULL, "%s", err.msg);
    CHECK(plmm_feedback_check(PLMM_METHOD_ALTERNATE, 0, &err) == PLMM_ERR_UNSUPPORTED, "method");
    CHECK(plmm_feedback_check(99, 0, &err) == PLMM_ERR_UNSUPPORTED, "method");
    p.noise = 1;
    plmm_feedback_add(&f, &p, delta);
    CHECK(delta[0] == 0, "nothing is added to an update that gets noise");
    p.noise = 0;
    p.factor = 1;
    plmm_feedback_add(&f, &p, delta);
    CHECK(delta[0] == 0, "nor to another factor");
    p.factor = 0;
    plmm_feedback_add(&f, &p, delta);
    CHECK(delta[0] == 1 && delta[2] == 3, "else it is");
}

/* Octets for the store give the same back, and nothing else is one. */
static void test_octets(void)
{
    plmm_error err = {0};
    float taken[3] = {1.5f, -2e-9f, 3}, delta[3] = {1, 1, 1};
    plmm_round_params p = {.length = 3, .method = PLMM_METHOD_NAIVE, .factor = 2};
    plmm_feedback f = {.taken = taken, .length = 3, .method = PLMM_METHOD_NAIVE, .factor = 2};
    plmm_feedback g = {0};
    uint8_t *b = NULL;
    size_t len = 9;
    CHECK(plmm_feedback_encode(&f, &b, &len, &err) == PLMM_OK && b == NULL && len == 0,
          "nothing was taken");
    f.pending = true;
    CHECK(plmm_feedback_encode(&f, &b, &len, &err) == PLMM_OK && len == PLMM_FEEDBACK_HEAD + 12,
          "%s", err.msg);
    CHECK(plmm_feedback_decode(&g, b, len, &err) == PLMM_OK, "%s", err.msg);
    plmm_feedback_add(&g, &p, delta);
    CHECK(delta[0] == 2.5f && delta[1] == 1 - 2e-9f && delta[2] == 4, "%g %g %g", (double)delta[0],
          (double)delta[1], (double)delta[2]);
    CHECK(memcmp(g.kept, taken, sizeof taken) == 0, "to the bit");
    for (size_t cut = 0; cut < len; cut++) {
        CHECK(plmm_feedback_decode(&g, b, cut, &err) == PLMM_ERR_FORMAT, "%zu octets", cut);
    }
    b[0] ^= 1;
    CHECK(plmm_feedback_decode(&g, b, len, &err) == PLMM_ERR_FORMAT, "another kind");
    b[0] ^= 1;
    b[16] = 4;
    CHECK(plmm_feedback_decode(&g, b, len, &err) == PLMM_ERR_FORMAT, "another length");
    b[16] = 3;
    memset(b + len - 4, 0xff, 4);
    CHECK(plmm_feedback_decode(&g, b, len, &err) == PLMM_ERR_FORMAT, "no number");
    CHECK(g.kept != NULL && g.kept[0] == 1.5f, "unchanged by what was refused");
    plmm_free(b);
    f.length = PLMM_FEEDBACK_MAX + 1;
    CHECK(plmm_feedback_encode(&f, &b, &len, &err) == PLMM_OK && b == NULL, "too long to be kept");
    plmm_feedback_free(&g);
}

int main(void)
{
    CHECK(plmm_crypto_init(NULL) == PLMM_OK, "libsodium starts");
    for (uint32_t rotate = 0; rotate < 2; rotate++) {
        double with = run(true, rotate), without = run(false, rotate);
        CHECK(with < 1e-3, "rotate %u: %g is lost", rotate, with);
        CHECK(without > 20 * with, "rotate %u: %g is lost without it: nothing is shown", rotate,
              without);
    }
    test_refusals();
    test_octets();
    return plmm_test_end();
}
