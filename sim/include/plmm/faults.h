/* plmm/faults.h -- how devices and links behave: who is slow, who vanishes at which step, which
 * frame comes late, twice or never, who crashes and comes back.
 *
 * Every draw is a pure function of (seed, what it is about), each from a stream of its own: what
 * happens to one frame never depends on how many other frames were sent before it. Thread-safe.
 */
#ifndef PLMM_FAULTS_H
#define PLMM_FAULTS_H

#include "plmm/status.h"

/* Steps of a round, as in docs/protocol.md: advertise, share, masked, agree, reveal. */
enum { PLMM_STEPS = 5 };

typedef struct plmm_fault_params {
    /* Probabilities, 0..1, that a device leaves the round for good before it answers step i, and
     * that it crashes when its answer to step i is ready, and restarts. */
    double drop[PLMM_STEPS];
    uint32_t drop_n; /* PLMM_STEPS; here for the configuration table */
    double crash[PLMM_STEPS];
    uint32_t crash_n;        /* likewise */
    double lie;              /* share of the devices that lie, 0..1 */
    double aggregator_crash; /* the aggregator crashes once in a round and restarts, 0..1 */
    uint32_t restart_ms;     /* a crashed party is back after this many virtual milliseconds */
    double lose, duplicate;  /* of a frame, 0..1; a lost one is sent again after resend_ms */
    double reorder;          /* a frame is held back so long that later ones pass it, 0..1 */
    uint32_t resend_ms;
    uint32_t delay_ms;         /* median one-way delay of a frame */
    double delay_sigma;        /* of its logarithm: 0 = always the median */
    double speed;              /* median tokens a second that a device trains */
    double speed_sigma;        /* of its logarithm, over devices */
    double up_kbps, down_kbps; /* median link rates, kilobit a second */
    double link_sigma;
    uint32_t checkin_ms; /* devices check in uniformly within this time */
} plmm_fault_params;

/* No faults, 50 ms links, 2000 tokens a second, 8 Mbit/s down and 2 Mbit/s up. */
plmm_fault_params plmm_fault_params_default(void);

/* What a device is for a whole run. */
typedef struct plmm_device_traits {
    double tokens_per_s, up_kbps, down_kbps;
    bool lies; /* it sends the opposite of what it learned, as large as the round allows */
} plmm_device_traits;
plmm_device_traits plmm_device_draw(const plmm_fault_params *p, uint64_t seed, uint32_t device);

/* What befalls a device in one attempt at a round. -1: nothing. At most one drop and one crash. */
typedef struct plmm_round_fate {
    int drop_step, crash_step;
    uint32_t checkin_ms;
} plmm_round_fate;
plmm_round_fate plmm_fate_draw(const plmm_fault_params *p, uint64_t seed, uint32_t device,
                               uint64_t round_id);

/* At which step the aggregator crashes in this round, or -1. */
int plmm_aggregator_fate_draw(const plmm_fault_params *p, uint64_t seed, uint64_t round_id);

/* Delivery of one frame: 1 or 2 copies, each after its own time. frame_id is unique in a run. */
typedef struct plmm_delivery {
    unsigned copies, lost; /* lost: times it had to be sent again */
    uint64_t after_ms[2];
} plmm_delivery;
plmm_delivery plmm_delivery_draw(const plmm_fault_params *p, uint64_t seed, uint64_t frame_id,
                                 size_t bytes, double kbps);

#endif
