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
    return plmm_test_end();
}
