/* fleet.h -- one seed of a run: devices and experts in virtual time, driven by one event queue.
 *
 * The parties are the production machines of proto/; this room only plays the world around them:
 * links, crashes, journals, clocks. Everything that takes real time and no decision (training,
 * scoring, selecting) is computed on a pool of threads, keyed by what it is and not by when it ran,
 * and enters at its virtual time: the result does not depend on the number of threads.
 *
 *   fleet.c          the queue's loop, slots and links
 *   fleet_client.c   a device's side
 *   fleet_agg.c      an expert's side: the driver of a round's machines
 *   fleet_round.c    rounds: their parameters, groups and beginning, their check, merge and end
 *   fleet_epoch.c    rosters that serve more than one round
 *   fleet_privacy.c  noise, clips, accounts and budgets
 *   fleet_jobs.c     training and masking
 *   fleet_feed.c     streams and buffers
 *   fleet_score.c    held-out questions
 *   fleet_version.c  versions and fetching them
 */
#ifndef PLMM_SIM_FLEET_H
#define PLMM_SIM_FLEET_H

#include "data.h"

#include "plmm/agg_round.h"
#include "plmm/buffer.h"
#include "plmm/client_round.h"
#include "plmm/embed.h"
#include "plmm/event_queue.h"
#include "plmm/feedback.h"
#include "plmm/manifest.h"
#include "plmm/merge.h"
#include "plmm/pool.h"
#include "plmm/progress.h"
#include "plmm/registrar.h"
#include "plmm/run_record.h"
#include "plmm/sim_run.h"
#include "plmm/trainer.h"

typedef struct bytes {
    uint8_t *p;
    size_t len;
} bytes;

/* Borrowed octets. */
typedef struct span {
    const uint8_t *p;
    size_t len;
} span;

/* A party's journal: records in the order in which they were persisted. */
typedef struct journal {
    bytes *v;
    size_t n, cap;
} journal;

/* Scratch memory of a thread of the pool. */
typedef struct worker {
    plmm_trainer *trainer;
    plmm_embedder embedder;
    plmm_sample sample;
} worker;

/* A device: what it heard, kept and can train on. */
typedef struct holder {
    plmm_device_traits traits;
    plmm_buffer *buffer;
    size_t fed;              /* dialogues of its stream that arrived */
    plmm_examples *examples; /* [experts] */
    uint64_t busy_until_ms;  /* it trains for one expert at a time */
} holder;

typedef enum job_state { JOB_NONE, JOB_WAITING, JOB_DONE, JOB_FAILED } job_state;

/* A device as a client of one expert. */
typedef struct client {
    uint32_t device, expert;
    uint32_t group;          /* of the round that it was called to last */
    plmm_link link;          /* last one it verified */
    plmm_channels *channels; /* NULL: none yet, or none at all */
    bytes epoch;             /* of one-shot rounds, as it was left with it; empty: none */
    uint64_t id;             /* at the expert: device + 1 */
    plmm_sign_sk key;
    plmm_key frames; /* of the frames with the aggregator; zero: not made yet */
    plmm_certificate certificate;
    plmm_hash version; /* that it has */
    uint64_t version_no;
    uint64_t last_round;
    uint32_t last_attempt;
    plmm_account *spent;  /* its own account with this expert; NULL: nothing yet */
    uint64_t tree;        /* the last of the expert's trees that it took part in, from 1 */
    plmm_client_round *m; /* NULL: in no round, or crashed */
    bool down;            /* crashed, to be restarted */
    bool called;          /* to the round that the expert runs now */
    bool entered;         /* it took part in it */
    uint64_t generation;  /* of the machine: events of an earlier one are void */
    uint64_t tick_at_ms;  /* of its next tick in the queue, UINT64_MAX: none */
    plmm_round_fate fate;
    journal log;
    plmm_seed seed;           /* of START, and */
    plmm_round_params params; /* of the round: the checker's key to what was masked */
    bytes upload;             /* the masked vector, as stored */
    uint32_t *plain;          /* the same before the masks: of the checker */
    job_state job;
    float *delta;
    size_t delta_len;
    plmm_feedback feedback; /* empty unless secagg.error_feedback */
    plmm_trainer_stats stats;
    uint64_t trained_at_ms;
} client;

/* A sub-cohort of an expert's round, with its own seal, session and machine; a round that is not
 * split has one. */
typedef struct group {
    uint32_t expert, index;
    plmm_agg_config config;
    plmm_seed seed;     /* of START: the checker's key to central noise */
    plmm_agg_round *m;  /* NULL: crashed, or never started */
    bool running;       /* its round has not ended */
    bool open;          /* its sum is open and waits for those of the other groups */
    int crash_step;     /* of this round, -1: none (any more) */
    bytes epoch;        /* durable: of one-shot rounds, empty: none */
    uint32_t epoch_age; /* rounds since its roster was sealed */
    bool epoch_over;    /* no further round goes on with it */
    uint64_t tick_at_ms, generation;
    journal log;
    uint32_t *sum; /* plmm_round_sum_bytes octets */
    plmm_agg_phase phase;
    uint64_t phase_since_ms;
    uint64_t train_from_ms, collect_end_ms;
    uint64_t *survivors; /* [cohort] */
    uint32_t n_survivors;
    plmm_round_record record;
    bool recorded;
} group;

/* An expert with its aggregator. */
typedef struct expert {
    uint32_t index;
    const char *name;
    plmm_sign_sk key, registrar_key;
    plmm_sign_pk key_public, registrar;
    plmm_registrar *sealer; /* the registrar of this expert */
    plmm_known *known;      /* the devices that its aggregator has met */
    uint64_t *enrolled;     /* [devices] ids */
    plmm_link link;         /* last opened link of its chain */
    plmm_policy policy;     /* of its devices */
    plmm_account spent;     /* privacy: of all rounds so far, for a device that is in all */
    plmm_account cost;      /* of the round that runs */
    uint64_t charged;       /* the last round that was added, or the last tree */
    double clip;            /* moved by adaptive clipping; 0: as configured */
    plmm_seed tree;         /* of the present tree of noise, if privacy.tree */
    uint64_t trees;         /* begun so far; 0: none */
    uint64_t tree_version;  /* that leaf 0 of the present one trains */
    plmm_adapter *adapter;  /* that this round trains */
    plmm_adapter *next;     /* published in this round, NULL before */
    uint64_t version;       /* 0: the base */
    plmm_manifest manifest; /* of the newest version */
    plmm_hash hash;
    bytes file;     /* its adapter as it travels */
    bytes *stored;  /* [devices] masked vectors as they came */
    group *groups;  /* [groups of a round] */
    uint64_t round; /* the last that was begun: one a slot, aborted or not */
    bool settled;   /* it is over */
    plmm_examples questions[SIM_KINDS];
    plmm_score_record scores[SIM_KINDS]; /* the last ones */
} expert;

/* Wall time by what it went to; of the machine, not of the result. */
typedef struct stopwatch {
    uint64_t load_us, feed_us, train_us, mask_us, sum_us, score_us, total_us;
    uint64_t tokens, trainings;
} stopwatch;

typedef struct fleet {
    const plmm_sim_config *cfg;
    const plmm_sim_options *options;
    uint64_t seed;
    uint32_t seed_index;
    plmm_run *run;
    plmm_model *model;
    plmm_tokenizer *tokenizer;
    plmm_hash model_hash;
    plmm_chat chat;
    plmm_lora_spec spec;
    plmm_method method;
    plmm_pool *pool;
    worker *workers; /* [threads of the pool] */
    sim_data data;
    plmm_event_queue queue;
    plmm_shelf *shelf; /* of all machines */
    holder *holders;   /* [devices] */
    client *clients;   /* [experts][devices] */
    expert *experts;
    client **waiting; /* whose training is to be computed */
    size_t n_waiting;
    uint32_t slot;    /* rounds begun, of each expert */
    uint32_t running; /* experts whose round has not ended */
    uint64_t slot_start_ms, end_ms;
    uint64_t frames;        /* sent so far: names their fates */
    plmm_round_params told; /* of the first round, for the report */
    plmm_progress *progress;
    uint64_t *done; /* rounds of all seeds, for the progress line */
    stopwatch watch;
} fleet;

enum sim_event_kind {
    EV_SLOT,
    EV_CHECKIN,     /* party: client, tag: generation */
    EV_TO_CLIENT,   /* data */
    EV_TO_AGG,      /* party: group; data */
    EV_CLIENT_TICK, /* tag: generation */
    EV_CLIENT_BACK, /* a crashed device restarts */
    EV_TRAINED,     /* tag: generation */
    EV_MASK,        /* tag: generation */
    EV_AGG_TICK,    /* tag: generation */
    EV_AGG_BACK     /* a crashed aggregator restarts */
};

/* ---- fleet.c ---- */

/* Runs one seed; the caller has filled cfg .. seed_index, run, model, tokenizer, pool, progress and
 * done, the rest is zero. Everything else is made and freed here. */
PLMM_NODISCARD plmm_status fleet_run(fleet *f, plmm_error *err);

/* 32 octets that depend on the run's seed, on what they are for, and on two numbers. */
void fleet_seed(const fleet *f, plmm_seed *out, const char *what, uint64_t a, uint64_t b);
PLMM_NODISCARD plmm_status fleet_post(fleet *f, uint32_t kind, uint32_t party, uint64_t after_ms,
                                      uint64_t tag, plmm_error *err);
typedef enum way { TO_AGG, TO_CLIENT } way;
/* Sends head|tail over the link of c, as the faults will have it; counts it in the round's
 * record. */
PLMM_NODISCARD plmm_status fleet_send(fleet *f, client *c, way to, span head, span tail,
                                      plmm_error *err);
client *fleet_client(fleet *f, uint32_t expert, uint32_t device);
/* The group that c was called to last; group `party` of an event, and its number. */
group *fleet_group_of(fleet *f, const client *c);
group *fleet_group(fleet *f, uint32_t party);
uint32_t fleet_party(const fleet *f, const group *g);
PLMM_NODISCARD plmm_status journal_add(journal *j, const uint8_t *p, size_t len, plmm_error *err);
void journal_clear(journal *j);
bool device_ready(fleet *f, const expert *e, uint32_t d);
PLMM_NODISCARD plmm_status bytes_copy(bytes *b, const uint8_t *p, size_t len, plmm_error *err);
void bytes_free(bytes *b);
/* The steps R0..R4 that a message of a device belongs to, or -1. */
int step_of_message(uint32_t type);
/* A round has ended; starts the next slot when it was the last. */
PLMM_NODISCARD plmm_status fleet_round_ended(fleet *f, plmm_error *err);

/* ---- sim_run.c ---- */

/* The facts of the report, from the first seed. */
PLMM_NODISCARD plmm_status fleet_tell(fleet *f, plmm_error *err);

/* ---- fleet_client.c ---- */
PLMM_NODISCARD plmm_status client_check_in(fleet *f, client *c, plmm_error *err);
PLMM_NODISCARD plmm_status client_frame(fleet *f, client *c, const uint8_t *p, size_t len,
                                        plmm_error *err);
PLMM_NODISCARD plmm_status client_tick(fleet *f, client *c, plmm_error *err);
PLMM_NODISCARD plmm_status client_back(fleet *f, client *c, plmm_error *err);
PLMM_NODISCARD plmm_status client_trained(fleet *f, client *c, plmm_error *err);
PLMM_NODISCARD plmm_status client_mask(fleet *f, client *c, plmm_error *err);
PLMM_NODISCARD plmm_status client_linked(fleet *f, client *c, plmm_error *err);
/* Makes the key of its frames with the aggregator, if it has none yet. */
PLMM_NODISCARD plmm_status client_frames(fleet *f, client *c, plmm_error *err);
void client_free(client *c);

/* ---- fleet_agg.c ---- */

/* Starts the machine of g, whose configuration is made; its round runs. */
PLMM_NODISCARD plmm_status agg_start(fleet *f, group *g, plmm_error *err);
PLMM_NODISCARD plmm_status agg_frame(fleet *f, group *g, const uint8_t *p, size_t len,
                                     plmm_error *err);
PLMM_NODISCARD plmm_status agg_tick(fleet *f, group *g, plmm_error *err);
PLMM_NODISCARD plmm_status agg_back(fleet *f, group *g, plmm_error *err);
/* The version with the open sum of g is out. */
PLMM_NODISCARD plmm_status agg_published(fleet *f, group *g, plmm_error *err);
void group_forget(group *g); /* its machine, journal and sum */

/* ---- fleet_round.c ---- */

/* Begins the next round of e, each of its groups. */
PLMM_NODISCARD plmm_status round_begin(fleet *f, expert *e, plmm_error *err);
/* The sum of g, just opened: against the plain sum of what the survivors put in, to the bit. */
PLMM_NODISCARD plmm_status round_check(fleet *f, group *g, plmm_error *err);
/* If no group of e is to be waited for any more: merges the open sums, publishes, and ends the
 * round. */
PLMM_NODISCARD plmm_status round_settle(fleet *f, expert *e, plmm_error *err);
/* Completes the records of the last round and hands them to the run. */
PLMM_NODISCARD plmm_status round_close(fleet *f, expert *e, plmm_error *err);
void expert_free(fleet *f, expert *e);

/* ---- fleet_epoch.c ---- */

/* Whether the next round of e, whose parameters are made, goes on with the rosters of its groups:
 * all of them or none. Forgets those that do not serve any more. Else calls the devices on them that
 * are ready: called[i] of the roster[i] of group i. */
bool epoch_goes_on(fleet *f, expert *e, uint32_t *called, uint32_t *roster);
/* Fewest devices with which a round of an epoch of n goes on. */
uint32_t epoch_least(const fleet *f, const plmm_round_params *p, uint32_t n);
/* The round of g is over: what it leaves for later ones is kept, or what it went on with forgotten. */
PLMM_NODISCARD plmm_status epoch_keep(fleet *f, group *g, plmm_error *err);
/* The round of c is over: likewise. */
PLMM_NODISCARD plmm_status epoch_left(client *c, plmm_error *err);

/* ---- fleet_privacy.c ---- */

plmm_budget privacy_budget(const plmm_sim_config *c);
/* What devices insist on. */
void privacy_policy(const plmm_sim_config *c, plmm_policy *p);
/* Noise, clip and quantiser of a round, but for the variance, which privacy_calibrate sets with
 * ring_bits; it also prices the round. */
void privacy_fields(const fleet *f, expert *e, plmm_round_params *p);
/* Whether c may take part in its expert's next round: once in a tree. */
bool privacy_rested(const fleet *f, const client *c);
PLMM_NODISCARD plmm_status privacy_calibrate(const fleet *f, expert *e, plmm_round_params *p,
                                             plmm_error *err);
/* PLMM_ERR_POLICY, with the sentence, if the round would exceed the budget. */
PLMM_NODISCARD plmm_status privacy_may_begin(const fleet *f, const expert *e, plmm_error *err);
/* From now on the sum of g can be opened: it counts, whatever becomes of it. */
void privacy_released(const fleet *f, const group *g);
/* From now on the vector of c can be in a sum. */
PLMM_NODISCARD plmm_status privacy_uploads(const fleet *f, client *c, plmm_error *err);
void privacy_record(const fleet *f, const expert *e, plmm_round_record *r);
/* plain: the survivors' lanes added up; becomes what the open sum has to be. */
PLMM_NODISCARD plmm_status privacy_expect(fleet *f, const group *g, uint32_t *plain,
                                          plmm_error *err);
/* The clip of the next round, from the open sums of this one. */
void privacy_adapt(const fleet *f, expert *e);

/* ---- fleet_jobs.c ---- */

/* Virtual milliseconds that c needs for a round's training. */
uint64_t job_training_ms(const fleet *f, const client *c, const plmm_round_params *p);
/* Puts the training of c on the list; it is computed when its result is asked for, together with
 * all that wait then. */
PLMM_NODISCARD plmm_status job_train(fleet *f, client *c, plmm_error *err);
PLMM_NODISCARD plmm_status job_need(fleet *f, client *c, plmm_error *err);
void job_forget(fleet *f, client *c);
/* Masks the delta of c and keeps the vector; and for the checker the lanes before the masks. */
PLMM_NODISCARD plmm_status job_mask(fleet *f, client *c, plmm_hash *digest, plmm_error *err);

/* ---- fleet_feed.c ---- */

/* What arrived until slot: offered to the buffers; examples follow. All devices, on the pool. */
PLMM_NODISCARD plmm_status feed_until(fleet *f, uint32_t slot, plmm_error *err);
PLMM_NODISCARD plmm_status feed_open(fleet *f, plmm_error *err);

/* ---- fleet_score.c ---- */
PLMM_NODISCARD plmm_status score_open(fleet *f, plmm_error *err);
/* Loss on the held-out questions of e, of all kinds together, with another adapter. */
PLMM_NODISCARD plmm_status score_alone(fleet *f, expert *e, const plmm_adapter *adapter,
                                       double *nll, plmm_error *err);
/* Records the score of e after this slot (0: the base), if it is one of those to be scored. */
PLMM_NODISCARD plmm_status score_slot(fleet *f, expert *e, plmm_error *err);

/* ---- fleet_version.c ---- */

/* Makes the manifest and the file of e's newest adapter. */
PLMM_NODISCARD plmm_status version_publish(fleet *f, expert *e, const plmm_adapter *adapter,
                                           uint32_t survivors, plmm_error *err);
/* c fetches the newest version through the real messages; *ms is how long it took. */
PLMM_NODISCARD plmm_status version_fetch(fleet *f, client *c, uint64_t *ms, plmm_error *err);

/* Writes e's newest adapter as a PEFT directory dir/<seed>/<expert>. */
PLMM_NODISCARD plmm_status version_save(fleet *f, expert *e, const char *dir, plmm_error *err);

#endif
