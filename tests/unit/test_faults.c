/* Faults are a function of the seed and the subject, and come as often as they are asked for. */
#include "plmm/faults.h"

#include "test.h"

static void rates(void)
{
    plmm_fault_params p = plmm_fault_params_default();
    p.drop[0] = 0.1;
    p.drop[2] = 0.2;
    p.crash[1] = 0.3;
    p.checkin_ms = 500;
    enum { N = 20000 };
    unsigned drops[PLMM_STEPS] = {0};
    unsigned crashes = 0;
    for (uint32_t i = 0; i < N; i++) {
        plmm_round_fate f = plmm_fate_draw(&p, 7, i % 100, i / 100);
        plmm_round_fate again = plmm_fate_draw(&p, 7, i % 100, i / 100);
        CHECK(memcmp(&f, &again, sizeof f) == 0, "fate %u is not the same twice", i);
        CHECK(f.checkin_ms <= 500, "check-in after %u ms", f.checkin_ms);
        CHECK(f.drop_step < 0 || f.crash_step < f.drop_step, "nobody crashes after leaving");
        if (f.drop_step >= 0) {
            drops[f.drop_step]++;
        }
        crashes += f.crash_step == 1;
    }
    CHECK(drops[0] > 0.09 * N && drops[0] < 0.11 * N, "%u of %d left at R0", drops[0], N);
    CHECK(drops[2] > 0.165 * N && drops[2] < 0.195 * N, "%u of %d left at R2", drops[2], N);
    CHECK(drops[1] + drops[3] + drops[4] == 0, "somebody left where nobody should");
    CHECK(crashes > 0.25 * N && crashes < 0.29 * N, "%u of %d crashed at R1", crashes, N);
}

static void deliveries(void)
{
    plmm_fault_params p = plmm_fault_params_default();
    p.lose = 0.1;
    p.duplicate = 0.2;
    p.reorder = 0.05;
    unsigned lost = 0;
    unsigned twice = 0;
    enum { N = 20000 };
    for (uint64_t i = 0; i < N; i++) {
        plmm_delivery d = plmm_delivery_draw(&p, 3, i, 1000, 800);
        CHECK(d.after_ms[0] >= 10, "1000 octets at 800 kbit/s take 10 ms, not %" PRIu64,
              d.after_ms[0]);
        lost += d.lost > 0;
        twice += d.copies == 2;
        CHECK(d.copies == 1 || d.after_ms[1] >= d.after_ms[0], "the copy comes first");
    }
    CHECK(lost > 0.09 * N && lost < 0.11 * N, "%u of %d lost", lost, N);
    CHECK(twice > 0.18 * N && twice < 0.22 * N, "%u of %d doubled", twice, N);
    plmm_fault_params calm = plmm_fault_params_default();
    plmm_delivery d = plmm_delivery_draw(&calm, 3, 1, 0, 800);
    CHECK(d.copies == 1 && d.lost == 0 && d.after_ms[0] == calm.delay_ms, "a calm link is plain");
}

int main(void)
{
    rates();
    deliveries();
    return plmm_test_end();
}
