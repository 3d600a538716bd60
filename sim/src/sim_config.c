#include "plmm/sim_config.h"
#include "plmm/committee.h"
#include "plmm/round.h"

#include "plmm/alloc.h"
#include "plmm/encode.h"
#include "plmm/federate.h"
#include "plmm/feedback.h"
#include "plmm/file.h"
#include "plmm/graph.h"
#include "plmm/limits.h"
#include "plmm/privacy.h"

#include <math.h>
#include <string.h>

typedef plmm_sim_config C;

static const char *const source_names[] = {"world", "files", NULL};
static const char *const rule_names[] = {"scores", "random", "fifo", NULL};
static const char *const optimiser_names[] = {"adamw", "sgd", NULL};
static const char *const schedule_names[] = {"constant", "linear", "cosine", NULL};
static const char *const protocol_names[] = {"secagg", "oneshot", NULL};
static const char *const mask_names[] = {"ring", "kahe", "kahe-long", NULL};
static const char *const stream_names[] = {"chacha20", "aes", NULL};
static const char *const noise_names[] = {"none", "skellam", "gaussian", NULL};
static const char *const mode_names[] = {"distributed", "central", "local", NULL};
static const char *const adversary_names[] = {"server", "models", NULL};
static const char *const trust_names[] = {"curious", "semi-malicious", NULL};

static const plmm_config_key keys[] = {
    PLMM_CONFIG_TEXT(C, name, "name", "run", "what the report calls this run"),
    PLMM_CONFIG_U32S(C, seeds, "seeds", "[1]", 1, 4294967295.0,
                     "one whole run for each; results are given with their spread"),
    PLMM_CONFIG_TEXT(C, model, "model", "models/base",
                     "the base: a Hugging Face directory or a llama2.c file"),
    PLMM_CONFIG_TEXTS(C, experts, "experts", "[]",
                      "domains that have an expert; empty: all domains of the data"),
    PLMM_CONFIG_U32(C, rounds, "rounds", "8", 1, 100000,
                    "rounds an expert runs, aborted ones included"),

    PLMM_CONFIG_ENUM(C, data.source, "data.source", "world", source_names,
                     "a generated world, or dialogues from files"),
    PLMM_CONFIG_TEXT(C, data.root, "data.root", "", "files: directory that data.files lie in"),
    PLMM_CONFIG_TEXTS(C, data.files, "data.files", "[]",
                      "files: JSON or JSON lines of dialogues, in the order of time"),
    PLMM_CONFIG_TEXTS(C, data.domains, "data.domains", "[]",
                      "files: domain of each file, one for all, or empty: the field 'domain'"),
    PLMM_CONFIG_U32(C, data.devices, "data.devices", "64", 3, 100000,
                    "files: devices; a user is a device; dialogues without a user are dealt out"),
    PLMM_CONFIG_U32(C, data.per_device, "data.per_device", "64", 1, 100000,
                    "files: dialogues a device has at most, the first in time"),
    PLMM_CONFIG_U32(C, data.least, "data.least", "4", 1, 100000,
                    "files: users with fewer dialogues are left out"),
    PLMM_CONFIG_REAL(C, data.users_out, "data.users_out", "0.15", 0, 0.9,
                     "files: share of the users that never train and are held out whole"),
    PLMM_CONFIG_REAL(C, data.time_out, "data.time_out", "0.15", 0, 0.9,
                     "files: share of a device's dialogues, the last in time, that is held out"),
    PLMM_CONFIG_U32(C, data.questions, "data.questions", "200", 1, 1000000,
                    "held-out dialogues of a domain and kind that are scored, at most"),

    PLMM_CONFIG_U32(C, world_seed, "world.seed", "0", 0, 4294967295.0,
                    "seed of the world; 0: that of the run, so that each has another world"),
    PLMM_WORLD_KEYS(C, world, "world."),

    PLMM_CONFIG_ENUM(C, select.rule, "select.rule", "scores", rule_names,
                     "what a full buffer keeps: EOE, DSS and IDD decide, or a rival"),
    PLMM_CONFIG_U32(C, select.bins, "select.bins", "64", 1, 4096,
                    "dialogue sets that a device's buffer holds"),
    PLMM_CONFIG_U32(C, select.seq_max, "select.seq_max", "64", 8, 8192,
                    "tokens of a dialogue that are embedded for selection"),
    PLMM_CONFIG_REAL(C, select.before, "select.before", "0.5", 0, 1,
                     "share of a device's stream that came before the first round; the rest comes "
                     "evenly until the last"),
    PLMM_CONFIG_TEXT(
        C, select.lexicons, "select.lexicons", "",
        "files: directory of word lists, one a domain, for the domain score; empty: the "
        "score is left out. A world brings its own"),

    PLMM_CONFIG_TEXTS(C, lora.targets, "lora.targets", "[\"q\",\"k\",\"v\",\"o\"]",
                      "adapted matrices: q, k, v, o, gate, up, down"),
    PLMM_CONFIG_U32(C, lora.rank, "lora.rank", "8", 1, 256, "rank of the adapters"),
    PLMM_CONFIG_REAL(C, lora.alpha, "lora.alpha", "16", 0.001, 100000, "scale is alpha / rank"),
    PLMM_CONFIG_REAL(C, lora.dropout, "lora.dropout", "0", 0, 0.9, "dropout before A"),

    PLMM_CONFIG_TEXT(
        C, train.method, "train.method", "alternate",
        "what travels and is averaged: naive (both factors), ffa (B), alternate (in turns)"),
    PLMM_CONFIG_ENUM(C, train.optimiser, "train.optimiser", "adamw", optimiser_names,
                     "on the device"),
    PLMM_CONFIG_U32(C, train.steps, "train.steps", "8", 1, 100000, "optimiser steps in a round"),
    PLMM_CONFIG_U32(C, train.batch_tokens, "train.batch_tokens", "256", 1, 1048576,
                    "tokens of a step"),
    PLMM_CONFIG_U32(C, train.seq_max, "train.seq_max", "128", 8, 65536,
                    "tokens of an example; longer ones are cut"),
    PLMM_CONFIG_U32(C, train.examples_min, "train.examples_min", "4", 1, 100000,
                    "a device with fewer examples of a domain does not check in with its expert"),
    PLMM_CONFIG_REAL(C, train.learning_rate, "train.learning_rate", "0.005", 1e-9, 100, "peak"),
    PLMM_CONFIG_REAL(C, train.floor, "train.floor", "1", 0, 1, "of the schedule, as a share of it"),
    PLMM_CONFIG_REAL(C, train.clip, "train.clip", "1", 0, 1e6, "norm of a gradient; 0: no limit"),
    PLMM_CONFIG_REAL(C, train.decay, "train.decay", "0", 0, 10, "AdamW's weight decay"),
    PLMM_CONFIG_U32(C, train.warmup, "train.warmup", "0", 0, 100000, "steps"),
    PLMM_CONFIG_ENUM(C, train.schedule, "train.schedule", "constant", schedule_names,
                     "of the learning rate, within a round"),

    PLMM_CONFIG_ENUM(
        C, secagg.protocol, "secagg.protocol", "secagg", protocol_names,
        "secagg: neighbours, four exchanges; oneshot: one message a device, opened by a "
        "committee (secagg.mask must be kahe or kahe-long)"),
    PLMM_CONFIG_ENUM(C, secagg.mask, "secagg.mask", "ring", mask_names,
                     "what hides a vector: streams over Z_2^b, or Ring-LWE with added keys"),
    PLMM_CONFIG_ENUM(C, secagg.stream, "secagg.stream", "aes", stream_names,
                     "cipher that expands seeds into masks"),
    PLMM_CONFIG_U32(C, secagg.cohort, "secagg.cohort", "20", 3, 10000,
                    "devices in a round, or in each group of it, at most"),
    PLMM_CONFIG_U32(C, secagg.groups, "secagg.groups", "1", 1, PLMM_SIM_GROUPS_MAX,
                    "random sub-cohorts of a round, each with its own sum: shows who moved it"),
    PLMM_CONFIG_U32(C, secagg.channels, "secagg.channels", "64", 0, PLMM_CHANNELS_MAX,
                    "pairs that a device remembers the channel key of, from its first round on (96 "
                    "bytes each); 0: fresh keys in each round"),
    PLMM_CONFIG_U32(
        C, secagg.epoch_rounds, "secagg.epoch_rounds", "16", 1, PLMM_EPOCH_ROUNDS,
        "oneshot: rounds that one sealed roster serves, as long as enough of its devices "
        "come; who is not on it sits them out; 1: each round is sealed (and without "
        "secagg.channels)"),
    PLMM_CONFIG_U32(C, secagg.rotate, "secagg.rotate", "0", 0, 1,
                    "1: a random rotation spreads an update over its coordinates before rounding"),
    PLMM_CONFIG_U32(C, secagg.error_feedback, "secagg.error_feedback", "0", 0, 1,
                    "1: devices add what rounding took to their next update (not with noise, nor "
                    "with train.method alternate)"),
    PLMM_CONFIG_U32(C, secagg.n_min, "secagg.n_min", "10", 3, 10000,
                    "fewest updates that may be summed; devices insist on it"),
    PLMM_CONFIG_U32(C, secagg.roster_min, "secagg.roster_min", "0", 0, 10000,
                    "fewest devices to go on with after they sent keys; 0: the cohort less delta"),
    PLMM_CONFIG_REAL(C, secagg.over, "secagg.over", "0", 0, 4,
                     "over-provisioning: cohort * (1 + over) devices are invited"),
    PLMM_CONFIG_REAL(C, secagg.gamma, "secagg.gamma", "0.1", 0, 0.499,
                     "share of devices that may collude with the aggregator"),
    PLMM_CONFIG_REAL(C, secagg.delta, "secagg.delta", "0.2", 0, 0.999,
                     "share of devices that may drop out"),
    PLMM_CONFIG_U32(C, secagg.sigma, "secagg.sigma", "40", 1, 80, "bits of privacy"),
    PLMM_CONFIG_U32(C, secagg.eta, "secagg.eta", "20", 1, 60, "bits of success"),
    PLMM_CONFIG_ENUM(C, secagg.trust, "secagg.trust", "semi-malicious", trust_names,
                     "what the aggregator may do"),
    PLMM_CONFIG_U32(C, secagg.quant_bits, "secagg.quant_bits", "18", 2, 31,
                    "bits of one device's coordinate; the ring's follow from them and the cohort"),
    PLMM_CONFIG_U32(C, secagg.weight_max, "secagg.weight_max", "64", 1, 65536,
                    "most examples that count; bounds a device's influence"),
    PLMM_CONFIG_REAL(C, secagg.clip, "secagg.clip", "4", 1e-6, 1e6, "L2 norm of an update"),
    PLMM_CONFIG_U32(C, secagg.gather_ms, "secagg.gather_ms", "10000", 1, 1073741824,
                    "virtual time to wait for check-ins, at most"),
    PLMM_CONFIG_U32(C, secagg.phase_ms, "secagg.phase_ms", "8000", 1, 1073741824,
                    "virtual time for a step without training, at most"),
    PLMM_CONFIG_U32(C, secagg.train_ms, "secagg.train_ms", "30000", 1, 1073741824,
                    "virtual time for training and upload, at most"),
    PLMM_CONFIG_U32(C, secagg.period_ms, "secagg.period_ms", "3600000", 1, 1073741824,
                    "virtual time from the start of a round to that of the next"),
    PLMM_CONFIG_U32(C, secagg.resend_ms, "secagg.resend_ms", "10000", 1, 1073741824,
                    "a device repeats what was not answered after this time"),
    PLMM_CONFIG_U32(C, secagg.silence_ms, "secagg.silence_ms", "300000", 2, 1073741824,
                    "a device leaves a round when it heard nothing for this time"),

    PLMM_CONFIG_ENUM(C, privacy.noise, "privacy.noise", "none", noise_names,
                     "integer noise that makes rounds differentially private; all devices then "
                     "weigh the same"),
    PLMM_CONFIG_ENUM(C, privacy.mode, "privacy.mode", "distributed", mode_names,
                     "who adds it: each device a share, the aggregator, or each device all of it"),
    PLMM_CONFIG_REAL(C, privacy.epsilon, "privacy.epsilon", "8", 0, 1e6,
                     "budget of an expert: no round begins that would exceed it; 0: no bound"),
    PLMM_CONFIG_REAL(C, privacy.delta, "privacy.delta", "1e-5", 1e-15, 0.5, "of every epsilon"),
    PLMM_CONFIG_ENUM(C, privacy.adversary, "privacy.adversary", "server", adversary_names,
                     "against whom: who sees the cohort and the sums, or the versions only"),
    PLMM_CONFIG_REAL(C, privacy.multiplier, "privacy.multiplier", "0", 0, 1e6,
                     "noise's deviation over the sensitivity; 0: what makes `rounds` rounds spend "
                     "privacy.epsilon"),
    PLMM_CONFIG_U32(C, privacy.levels, "privacy.levels", "16", 0, PLMM_NOISE_LEVELS_MAX,
                    "parts of a device's noise that are taken out again when few drop (Skellam, "
                    "distributed); 0: noise for the worst case stays in"),
    PLMM_CONFIG_U32(C, privacy.tree, "privacy.tree", "0", 0, PLMM_TREE_MAX,
                    "central mode: so many rounds share a tree of correlated noise (DP-FTRL), and "
                    "a device takes part in one of them; 0: each round has noise of its own"),
    PLMM_CONFIG_REAL(C, privacy.overhead, "privacy.overhead", "0.02", 1e-6, 10,
                     "what rounding may add to the sensitivity: chooses the quantiser's bits, at "
                     "most secagg.quant_bits"),
    PLMM_CONFIG_REAL(C, privacy.device_epsilon, "privacy.device_epsilon", "0", 0, 1e6,
                     "budget that each device keeps for itself; 0: no bound"),
    PLMM_CONFIG_REAL(C, privacy.adaptive, "privacy.adaptive", "0", 0, 1,
                     "quantile of the updates' norms that the clip follows; 0: it stays at "
                     "secagg.clip"),
    PLMM_CONFIG_REAL(C, privacy.adaptive_rate, "privacy.adaptive_rate", "0.2", 1e-6, 10,
                     "how fast it follows"),

    PLMM_CONFIG_REALS(C, faults.drop, "faults.drop", "[0,0,0,0,0]", 0, 1,
                      "chance that a device vanishes before its answer to R0, R1, R2, R3, R4"),
    PLMM_CONFIG_REALS(C, faults.crash, "faults.crash", "[0,0,0,0,0]", 0, 1,
                      "chance that it crashes there instead, and resumes from its journal"),
    PLMM_CONFIG_REAL(C, faults.lie, "faults.lie", "0", 0, 1,
                     "share of the devices that lie: they send the opposite of what they learned, "
                     "as long and as heavy as the round allows"),
    PLMM_CONFIG_REAL(C, faults.aggregator_crash, "faults.aggregator_crash", "0", 0, 1,
                     "chance that the aggregator crashes in a round, and resumes"),
    PLMM_CONFIG_U32(C, faults.restart_ms, "faults.restart_ms", "3000", 1, 1073741824,
                    "virtual time until a crashed party is back"),
    PLMM_CONFIG_REAL(C, faults.lose, "faults.lose", "0", 0, 0.9,
                     "chance that the link loses a frame for a while (resend_ms)"),
    PLMM_CONFIG_REAL(C, faults.duplicate, "faults.duplicate", "0", 0, 1,
                     "chance that a frame arrives twice"),
    PLMM_CONFIG_REAL(C, faults.reorder, "faults.reorder", "0", 0, 1,
                     "chance that a frame is overtaken by later ones"),
    PLMM_CONFIG_U32(C, faults.resend_ms, "faults.resend_ms", "1000", 1, 1073741824,
                    "virtual time until the link repeats a lost frame"),
    PLMM_CONFIG_U32(C, faults.delay_ms, "faults.delay_ms", "50", 0, 1073741824,
                    "median one-way delay of a frame"),
    PLMM_CONFIG_REAL(C, faults.delay_sigma, "faults.delay_sigma", "0.3", 0, 3,
                     "spread of the delay: sigma of its logarithm"),
    PLMM_CONFIG_REAL(C, faults.speed, "faults.speed", "2000", 0.001, 1e12,
                     "median training speed of a device, tokens a second"),
    PLMM_CONFIG_REAL(C, faults.speed_sigma, "faults.speed_sigma", "0.4", 0, 3,
                     "spread of the speed over devices: sigma of its logarithm"),
    PLMM_CONFIG_REAL(C, faults.up_kbps, "faults.up_kbps", "2000", 0.001, 1e9,
                     "median uplink of a device, kilobit a second"),
    PLMM_CONFIG_REAL(C, faults.down_kbps, "faults.down_kbps", "8000", 0.001, 1e9,
                     "median downlink of a device, kilobit a second"),
    PLMM_CONFIG_REAL(C, faults.link_sigma, "faults.link_sigma", "0.4", 0, 3,
                     "spread of the rates over devices: sigma of the logarithm"),
    PLMM_CONFIG_U32(C, faults.checkin_ms, "faults.checkin_ms", "2000", 0, 1073741824,
                    "devices check in within this time of a round's start"),

    PLMM_CONFIG_U32(C, score.every, "score.every", "1", 1, 100000,
                    "experts are scored after every so many rounds, and after the last"),
    PLMM_CONFIG_U32(C, score.batch_tokens, "score.batch_tokens", "512", 8, 1048576,
                    "tokens that are scored at a time"),
};

static const plmm_config_table table = {"plmm-sim run", keys, sizeof keys / sizeof keys[0]};

const plmm_config_table *plmm_sim_config_table(void)
{
    return &table;
}

void plmm_sim_config_default(plmm_sim_config *c)
{
    memset(c, 0, sizeof *c);
    plmm_config_defaults(&table, c);
}

static plmm_status check_data(const plmm_sim_config *c, plmm_error *err)
{
    if (c->data.source != PLMM_SIM_FILES) {
        const plmm_world_params *p = &c->world;
        if (p->entities % p->values != 0 || p->unseen % p->values != 0) {
            return plmm_fail(err, PLMM_ERR_CONFIG,
                             "world.entities is %u and world.unseen is %u, both must be multiples "
                             "of world.values (%u)",
                             p->entities, p->unseen, p->values);
        }
        return PLMM_OK;
    }
    if (c->data.files_n == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "data.files is empty, name at least one file of dialogues");
    }
    if (c->data.domains_n > 1 && c->data.domains_n != c->data.files_n) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "data.domains has %u names for %u files, expected one for each, one for "
                         "all, or none",
                         c->data.domains_n, c->data.files_n);
    }
    if (c->data.users_out == 0 && c->data.time_out == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "data.users_out and data.time_out are both 0, so nothing is held out to "
                         "score on; set one of them");
    }
    return PLMM_OK;
}

static plmm_status check_secagg(const plmm_sim_config *c, plmm_error *err)
{
    uint32_t devices = c->data.source == PLMM_SIM_WORLD ? c->world.devices : c->data.devices;
    if (c->secagg.cohort > devices) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "secagg.cohort is %u, but there are only %u devices; lower it or raise "
                         "%s.devices",
                         c->secagg.cohort, devices,
                         c->data.source == PLMM_SIM_WORLD ? "world" : "data");
    }
    if ((uint64_t)c->secagg.groups * c->secagg.n_min > devices) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "secagg.groups is %u groups of at least secagg.n_min = %u devices, but "
                         "there are only %u devices",
                         c->secagg.groups, c->secagg.n_min, devices);
    }
    if (plmm_stream_name(c->secagg.stream + 1) == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "secagg.stream is %s, which this build lacks",
                         stream_names[c->secagg.stream]);
    }
    if (c->secagg.n_min > c->secagg.cohort) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "secagg.n_min is %u, must be at most secagg.cohort (%u)", c->secagg.n_min,
                         c->secagg.cohort);
    }
    if (c->secagg.silence_ms <= c->secagg.resend_ms) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "secagg.silence_ms is %u, must be above secagg.resend_ms (%u)",
                         c->secagg.silence_ms, c->secagg.resend_ms);
    }
    plmm_graph_params g = {c->secagg.cohort,
                           (uint32_t)lround(c->secagg.gamma * 1e6),
                           (uint32_t)lround(c->secagg.delta * 1e6),
                           c->secagg.sigma,
                           c->secagg.eta,
                           c->secagg.trust == 0 ? PLMM_TRUST_CURIOUS : PLMM_TRUST_SEMI_MALICIOUS,
                           0};
    plmm_graph_degree d;
    plmm_committee k;
    bool oneshot = c->secagg.protocol + 1 == PLMM_PROTOCOL_ONESHOT;
    if (oneshot && c->secagg.mask + 1 == PLMM_MASK_RING) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "secagg.mask is ring, with secagg.protocol oneshot it must be kahe or "
                         "kahe-long");
    }
    plmm_status rc =
        oneshot ? plmm_committee_solve(&k, &g, PLMM_COMMITTEE_RHO, PLMM_COMMITTEE_SPARE, err)
                : plmm_graph_degree_solve(&d, &g, err);
    return rc == PLMM_OK ? rc : plmm_fail_in(err, PLMM_ERR_CONFIG, "secagg");
}

/* A tree of noise goes with few other choices. */
static plmm_status check_tree(const plmm_sim_config *c, plmm_error *err)
{
    const struct {
        bool bad;
        const char *why;
    } rule[] = {
        {c->privacy.noise == PLMM_NOISE_NONE,
         "privacy.noise is none: set it to gaussian or skellam"},
        {c->privacy.mode + 1 != PLMM_NOISE_CENTRAL,
         "privacy.mode must be central: only the aggregator's own noise can be taken out again"},
        {c->secagg.protocol + 1 != PLMM_PROTOCOL_SECAGG,
         "secagg.protocol must be secagg: a one-shot roster stays for an epoch, and a device takes "
         "part once in a tree"},
        {c->secagg.groups != 1,
         "secagg.groups must be 1: each group's sum would need noise of its own"},
        {c->secagg.rotate != 0,
         "secagg.rotate must be 0: each round would turn the noise differently"},
        {c->privacy.adaptive > 0, "privacy.adaptive must be 0: the noise is of one clip"},
        {strcmp(c->train.method, "alternate") == 0,
         "train.method is alternate, whose vector is another one every round: set it to ffa or "
         "naive"},
    };
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        if (rule[i].bad) {
            return plmm_fail(err, PLMM_ERR_CONFIG, "privacy.tree is %u: %s", c->privacy.tree,
                             rule[i].why);
        }
    }
    return PLMM_OK;
}

static plmm_status check_privacy(const plmm_sim_config *c, plmm_error *err)
{
    if (c->privacy.tree > 0) {
        PLMM_TRY(check_tree(c, err));
    }
    if (c->privacy.noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    if (c->privacy.epsilon <= 0 && c->privacy.multiplier <= 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "privacy.epsilon and privacy.multiplier are both 0: one of them says how "
                         "much noise there is");
    }
    if (c->privacy.mode + 1 == PLMM_NOISE_CENTRAL &&
        c->privacy.adversary == PLMM_ADVERSARY_SERVER) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "privacy.mode is central: what the aggregator adds promises nothing "
                         "against itself; set privacy.adversary to models");
    }
    if (c->privacy.noise == PLMM_NOISE_GAUSSIAN && c->privacy.levels > 0 &&
        c->privacy.mode + 1 == PLMM_NOISE_DISTRIBUTED) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "privacy.levels is %u: parts of gaussian noise do not add up to gaussian "
                         "noise; set it to 0 or privacy.noise to skellam",
                         c->privacy.levels);
    }
    return PLMM_OK;
}

plmm_status plmm_sim_config_check(const plmm_sim_config *c, plmm_error *err)
{
    if (c->seeds_n == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "seeds is empty, name at least one");
    }
    if (c->faults.drop_n != PLMM_STEPS || c->faults.crash_n != PLMM_STEPS) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "faults.drop has %u and faults.crash has %u values, each must have %d, "
                         "one for each of R0 to R4",
                         c->faults.drop_n, c->faults.crash_n, PLMM_STEPS);
    }
    if (c->world.chatter_min > c->world.chatter_max) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "world.chatter_min is %g, must be at most world.chatter_max (%g)",
                         c->world.chatter_min, c->world.chatter_max);
    }
    if (c->lora.targets_n == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "lora.targets is empty, expected some of q, k, v, o, gate, up, down");
    }
    plmm_method method;
    PLMM_TRY(plmm_method_parse(c->train.method, &method, err));
    if (c->secagg.error_feedback != 0 &&
        plmm_feedback_check((uint32_t)method, c->privacy.noise, err) != PLMM_OK) {
        return plmm_fail_in(err, PLMM_ERR_CONFIG, "secagg.error_feedback is 1");
    }
    PLMM_TRY(check_data(c, err));
    PLMM_TRY(check_privacy(c, err));
    return check_secagg(c, err);
}

plmm_status plmm_sim_config_load(plmm_sim_config *c, const char *path, const char *const *sets,
                                 size_t n_sets, plmm_error *err)
{
    plmm_sim_config_default(c);
    if (path != NULL) {
        uint8_t *text = NULL;
        size_t len = 0;
        PLMM_TRY(plmm_file_read(path, 1 << 20, &text, &len, err));
        plmm_status rc = plmm_config_parse(&table, (const char *)text, len, path, c, err);
        plmm_free(text);
        PLMM_TRY(rc);
    }
    for (size_t i = 0; i < n_sets; i++) {
        PLMM_TRY(plmm_config_set(&table, sets[i], c, err));
    }
    return plmm_sim_config_check(c, err);
}
