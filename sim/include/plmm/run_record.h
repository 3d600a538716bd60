/* plmm/run_record.h -- what a run leaves behind: rounds, scores and facts in memory, and the
 * writers of rounds.csv, run.db and report.html.
 *
 * Nothing in a record comes from a real clock, a thread or the machine: equal configurations and
 * seeds give equal records, and equal records give equal bytes. Wall time goes to timing.json,
 * elsewhere. One thread at a time.
 */
#ifndef PLMM_RUN_RECORD_H
#define PLMM_RUN_RECORD_H

#include "plmm/faults.h"
#include "plmm/status.h"

/* Spans of virtual time in a round. Upload starts when the last survivor has finished its
 * training. */
typedef enum plmm_phase {
    PLMM_PHASE_CHECKIN,
    PLMM_PHASE_ADVERTISE,
    PLMM_PHASE_SHARE,
    PLMM_PHASE_TRAIN,
    PLMM_PHASE_UPLOAD,
    PLMM_PHASE_AGREE,
    PLMM_PHASE_REVEAL,
    PLMM_PHASE_PUBLISH,
    PLMM_PHASES
} plmm_phase;

const char *plmm_phase_name(plmm_phase p);
/* "advertise", "share", "masked", "agree", "reveal" for 0..4. */
const char *plmm_step_name(unsigned step);

typedef struct plmm_round_record {
    uint32_t seed_index, expert; /* indices into the run's lists */
    uint32_t slot;               /* it was the slot-th that this expert began, from 1 */
    uint32_t round, attempt;     /* from 1; after an aborted round comes the next number */
    uint32_t group, groups;      /* sub-cohort 0.. of the round; 1: the round is not split */
    uint32_t epoch; /* one-shot: rounds since its roster was sealed; 0: in this round */
    bool completed;
    char reason[160];                             /* why it was aborted, else empty */
    uint32_t invited, cohort;                     /* checked in and selected; entered the roster */
    uint32_t neighbours, threshold, bits, length; /* k, t, b, coordinates of the vector */
    uint32_t survivors;                           /* whose vectors are in the sum */
    uint32_t dropped[PLMM_STEPS];                 /* devices gone before they answered step i */
    uint32_t late; /* devices that were too slow for a step, told so by the aggregator */
    uint32_t restarts, duplicates, lost, frames;
    uint64_t start_ms, end_ms, phase_ms[PLMM_PHASES];
    uint64_t bytes_up, bytes_down; /* of protocol frames */
    uint64_t bytes_version;        /* of downloads of the newest version, by `fetches` devices */
    uint32_t fetches;
    double train_loss;  /* mean over survivors of their last local loss, nats a token */
    double update_norm; /* L2 of the averaged update */
    double clipped;     /* share of the survivors whose update was clipped */
    double clip;        /* L2 norm that updates were clipped to */
    /* Privacy spent with this round and all before it, at the run's delta: against the aggregator,
     * and against who sees the versions only; NAN where it is not bounded. */
    double epsilon, epsilon_models;
    /* Of a group, beside the others of its round: cosine of its update with theirs; loss on the
     * held-out questions with its update alone, nats a token. NAN where there is none. */
    double cosine, nll_alone;
    uint32_t lying;              /* survivors that were made to lie, as the simulator knows */
    bool sum_checked, sum_exact; /* unmasked sum against the plain sum of the survivors' inputs */
} plmm_round_record;

/* Score of an expert on one kind of held-out questions after its slot-th round (0: before the
 * first, which is the base), with the version that it then had. */
typedef struct plmm_score_record {
    uint32_t seed_index, expert, slot, version, kind;
    uint32_t items;
    double nll;    /* nats a response token */
    double exact;  /* share of greedy answers that match, or NAN when not asked for */
    double chance; /* share that guessing gets, or NAN when there is no such number */
} plmm_score_record;

typedef struct plmm_run_fact {
    char *section, *key, *value, *help;
} plmm_run_fact;

typedef struct plmm_run {
    char *name;   /* of the configuration */
    char *config; /* all of it, as JSON that plmm-sim reads; NULL if not given */
    uint64_t *seeds;
    char **experts, **kinds;
    size_t n_seeds, n_experts, n_kinds;
    plmm_round_record *rounds;
    plmm_score_record *scores;
    plmm_run_fact *facts;
    size_t n_rounds, n_scores, n_facts;
    size_t cap_rounds, cap_scores, cap_facts; /* private */
} plmm_run;

/* Copies the names. Free with plmm_run_free. */
PLMM_NODISCARD plmm_status plmm_run_new(plmm_run **out, const char *name, const uint64_t *seeds,
                                        size_t n_seeds, const char *const *experts,
                                        size_t n_experts, const char *const *kinds, size_t n_kinds,
                                        plmm_error *err);
void plmm_run_free(plmm_run *run); /* NULL is fine */

PLMM_NODISCARD plmm_status plmm_run_add_round(plmm_run *run, const plmm_round_record *r,
                                              plmm_error *err);
PLMM_NODISCARD plmm_status plmm_run_add_score(plmm_run *run, const plmm_score_record *s,
                                              plmm_error *err);
/* A line of the report's tables: section, key, value and one sentence of help (may be NULL). */
PLMM_NODISCARD plmm_status plmm_run_add_fact(plmm_run *run, const char *section, const char *key,
                                             const char *help, plmm_error *err, const char *fmt,
                                             ...) PLMM_PRINTF(6, 7);

/* Keeps the configuration (copied): with it the run can be repeated from its own output. */
PLMM_NODISCARD plmm_status plmm_run_set_config(plmm_run *run, const char *json, plmm_error *err);

/* Puts rounds and scores into the order (seed, expert, slot, kind), whatever the order
 * in which parallel seeds added them. The writers call for it to have been done. */
void plmm_run_sort(plmm_run *run);

typedef struct plmm_spread {
    double mean, sd, lo, hi; /* sd: sample standard deviation over seeds, 0 for one seed */
    size_t n;                /* seeds that have the value; 0: all others are NAN */
} plmm_spread;

/* One expert on one kind of questions, over the seeds: the base, the last score, and their
 * difference taken within each seed. */
typedef struct plmm_summary {
    uint32_t items; /* of the first seed */
    uint32_t version;
    plmm_spread base_nll, nll, nll_gain;       /* gain: base - expert, positive is better */
    plmm_spread base_exact, exact, exact_gain; /* gain: expert - base, positive is better */
    plmm_spread chance;
} plmm_summary;
plmm_summary plmm_run_summary(const plmm_run *run, uint32_t expert, uint32_t kind);

/* Mean and spread over seeds of a score after one slot; n = 0 if nobody measured there. */
plmm_spread plmm_run_nll_at(const plmm_run *run, uint32_t expert, uint32_t kind, uint32_t slot);
plmm_spread plmm_run_exact_at(const plmm_run *run, uint32_t expert, uint32_t kind, uint32_t slot);

/* Rounds whose unmasked sum was compared with the plain sum, and how many were equal to the bit. */
void plmm_run_checked(const plmm_run *run, size_t *checked, size_t *exact);

/* The files. Each is written beside its name and renamed, so that a reader never sees half of
 * one. */
PLMM_NODISCARD plmm_status plmm_run_write_csv(const plmm_run *run, const char *path,
                                              plmm_error *err);
PLMM_NODISCARD plmm_status plmm_run_write_db(const plmm_run *run, const char *path,
                                             plmm_error *err);
PLMM_NODISCARD plmm_status plmm_run_write_report(const plmm_run *run, const char *path,
                                                 plmm_error *err);
/* Reads what plmm_run_write_db wrote. PLMM_ERR_NOTFOUND, PLMM_ERR_FORMAT, PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_run_read_db(plmm_run **out, const char *path, plmm_error *err);

/* The result as lines of text, for a terminal: one table, one line a domain and kind. The string is
 * the caller's, plmm_free; NULL when out of memory. */
char *plmm_run_table(const plmm_run *run);

#endif
