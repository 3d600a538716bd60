#include "plmm/faults.h"

#include "plmm/rng.h"

#include <math.h>

/* Streams of different subjects must not meet; the subject's kind is mixed into the seed. */
enum { OF_DEVICE = 1, OF_ROUND, OF_AGGREGATOR, OF_FRAME };
enum { LOST_MAX = 8 };

static plmm_rng stream(uint64_t seed, uint64_t kind, uint64_t id)
{
    plmm_rng r;
    plmm_rng_init(&r, seed ^ kind * UINT64_C(0x9e3779b97f4a7c15), id);
    return r;
}

static double lognormal(plmm_rng *r, double median, double sigma)
{
    return median * exp(sigma * plmm_rng_normal(r));
}

plmm_fault_params plmm_fault_params_default(void)
{
    return (plmm_fault_params){.drop_n = PLMM_STEPS,
                               .crash_n = PLMM_STEPS,
                               .restart_ms = 5000,
                               .resend_ms = 1000,
                               .delay_ms = 50,
                               .speed = 2000,
                               .up_kbps = 2000,
                               .down_kbps = 8000,
                               .checkin_ms = 1000};
}

plmm_device_traits plmm_device_draw(const plmm_fault_params *p, uint64_t seed, uint32_t device)
{
    plmm_rng r = stream(seed, OF_DEVICE, device);
    plmm_device_traits t;
    t.tokens_per_s = lognormal(&r, p->speed, p->speed_sigma);
    t.up_kbps = lognormal(&r, p->up_kbps, p->link_sigma);
    t.down_kbps = lognormal(&r, p->down_kbps, p->link_sigma);
    t.lies = plmm_rng_double(&r) < p->lie;
    return t;
}

plmm_round_fate plmm_fate_draw(const plmm_fault_params *p, uint64_t seed, uint32_t device,
                               uint64_t round_id)
{
    plmm_rng r = stream(seed, OF_ROUND, round_id << 24 ^ device);
    plmm_round_fate f = {.drop_step = -1, .crash_step = -1};
    f.checkin_ms = (uint32_t)plmm_rng_below(&r, (uint64_t)p->checkin_ms + 1);
    for (int i = 0; i < PLMM_STEPS; i++) {
        double drop = plmm_rng_double(&r);
        double crash = plmm_rng_double(&r);
        if (f.drop_step < 0 && drop < p->drop[i]) {
            f.drop_step = i;
        }
        if (f.drop_step < 0 && f.crash_step < 0 && crash < p->crash[i]) {
            f.crash_step = i;
        }
    }
    return f;
}

int plmm_aggregator_fate_draw(const plmm_fault_params *p, uint64_t seed, uint64_t round_id)
{
    plmm_rng r = stream(seed, OF_AGGREGATOR, round_id);
    int step = (int)plmm_rng_below(&r, PLMM_STEPS);
    return plmm_rng_double(&r) < p->aggregator_crash ? step : -1;
}

plmm_delivery plmm_delivery_draw(const plmm_fault_params *p, uint64_t seed, uint64_t frame_id,
                                 size_t bytes, double kbps)
{
    plmm_rng r = stream(seed, OF_FRAME, frame_id);
    double transfer = (double)bytes * 8.0 / kbps; /* bytes * 8 bit / (kbit/s) = ms */
    plmm_delivery d = {.copies = 1};
    while (d.lost < LOST_MAX && plmm_rng_double(&r) < p->lose) {
        d.lost++;
    }
    double once = lognormal(&r, p->delay_ms, p->delay_sigma) + transfer;
    if (plmm_rng_double(&r) < p->reorder) {
        once += 4.0 * p->delay_ms * (1.0 + plmm_rng_double(&r));
    }
    d.after_ms[0] = (uint64_t)(once + 0.5) + (uint64_t)d.lost * p->resend_ms;
    if (plmm_rng_double(&r) < p->duplicate) {
        d.copies = 2;
        d.after_ms[1] = d.after_ms[0] + (uint64_t)(lognormal(&r, p->delay_ms, 0.5) + 0.5);
    }
    return d;
}
