/* A run: the model, every seed, the facts of the report, timing.json and the other files. */
#include "plmm/sim_run.h"
#include "plmm/committee.h"
#include "plmm/round.h"

#include "fleet.h"

#include "plmm/alloc.h"
#include "plmm/checkpoint.h"
#include "plmm/clock.h"
#include "plmm/file.h"
#include "plmm/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* ---- facts: what the reader of a report must know ---- */

typedef struct teller {
    plmm_run *run;
    plmm_error *err;
    plmm_status rc;
    const char *section;
} teller;

static void tell(teller *t, const char *key, const char *help, const char *fmt, ...)
    PLMM_PRINTF(4, 5);

static void tell(teller *t, const char *key, const char *help, const char *fmt, ...)
{
    char value[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    if (t->rc == PLMM_OK) {
        t->rc = plmm_run_add_fact(t->run, t->section, key, help, t->err, "%s", value);
    }
}

static void tell_secagg(teller *t, const plmm_sim_config *c, const plmm_round_params *p)
{
    plmm_graph_params g = plmm_round_graph(p, p->cohort, p->cohort);
    plmm_graph_degree d = {0};
    plmm_committee m = {0};
    bool oneshot = p->protocol == PLMM_PROTOCOL_ONESHOT;
    plmm_status rc =
        oneshot ? plmm_committee_solve(&m, &g, PLMM_COMMITTEE_RHO, PLMM_COMMITTEE_SPARE, NULL)
                : plmm_graph_degree_solve(&d, &g, NULL);
    PLMM_ASSERT(rc == PLMM_OK); /* the configuration was checked */
    t->section = "Secure aggregation";
    tell(t, "devices in a round, n", "chosen anew each round among those that check in", "%" PRIu32,
         p->cohort);
    if (p->groups > 1) {
        tell(t, "groups of a round", "disjoint and random; each has its own sum", "%" PRIu32,
             p->groups);
    }
    tell(t, oneshot ? "committee m, of whom t open a sum" : "neighbours k, threshold t",
         "computed from n, gamma, delta, sigma and eta; every device computes them again and "
         "refuses "
         "others. A smaller roster gets its own",
         "%" PRIu32 ", %" PRIu32, oneshot ? m.m : d.k, oneshot ? m.need : d.t);
    tell(t, "corrupt share gamma", "counted as at least one device", "%g", c->secagg.gamma);
    tell(t, "dropout share delta", NULL, "%g", c->secagg.delta);
    tell(t, "sigma, eta", "bits of privacy and of success", "%" PRIu32 ", %" PRIu32,
         c->secagg.sigma, c->secagg.eta);
    tell(t, "aggregator", NULL, "%s",
         c->secagg.trust == 0 ? "honest but curious"
                              : "semi-malicious: it may lie after the keys "
                                "are distributed");
    tell(t, "fewest updates in a sum, n_min", "devices refuse to open a smaller one", "%" PRIu32,
         p->n_min);
    tell(t, "bits b of a masked coordinate",
         "quantiser bits and headroom for n devices: a sum of honest inputs cannot wrap",
         "%" PRIu32 " (%" PRIu32 " of the quantiser)", p->ring_bits, p->quant_bits);
    tell(t, "clip", "L2 norm of an update and largest weight: they bound a device's influence",
         "%g, %" PRIu32 " examples", p->clip, p->weight_max);
    tell(t, "mask stream", NULL, "%s", plmm_stream_name(p->stream));
}

static void tell_protection(teller *t, const plmm_round_params *p)
{
    t->section = "What this protects, and what it does not";
    tell(t, "a curious aggregator", NULL,
         "learns the sum of at least %" PRIu32
         " updates and of their weights, who took part, and when; with the stated share of "
         "colluding devices nothing more",
         p->n_min);
    tell(
        t, "a lying aggregator", NULL,
        "is refused: a device answers one survivor set, once, and only for a set that holds itself "
        "and at least n_min others agree on");
    tell(t, "a lying device", NULL,
         "cannot read others; what it adds is bounded by the quantiser's range and not checked "
         "further");
    if (p->noise == PLMM_NOISE_NONE) {
        tell(t, "differential privacy", NULL,
             "none in this run: how much a sum tells about one of its members is not limited");
    }
    tell(t, "this simulation", NULL,
         "runs the production protocol with keys from the run's seed: it says what is learned and "
         "what it costs, and keeps no secret");
}

static void tell_noise(teller *t, const plmm_sim_config *c, const plmm_round_params *p)
{
    plmm_release r;
    plmm_round_release(&r, p);
    tell(t, "noise",
         "of each coordinate of a sum, from honest survivors alone; multiplier: over what one "
         "device can move the sum by, its rounding and its clip's bit included",
         "%s, %s: deviation %.4g lattice steps, multiplier %.4g, in %" PRIu32 " bits",
         plmm_noise_name(p->noise), plmm_noise_mode_name(p->noise_mode), sqrt(r.variance),
         sqrt(r.variance) / r.l2, p->ring_bits);
    if (p->noise_levels > 0) {
        tell(t, "noise taken out again",
             "devices add for the most dropouts; what the survivors can do without is revealed "
             "after they are agreed on",
             "in %" PRIu32 " parts", p->noise_levels);
    }
    if (p->noise_tree > 0) {
        tell(t, "tree of noise",
             "DP-FTRL: noise of a round is taken out again as later ones complete it; charged once "
             "a tree, for a device that is in one round of it, which the aggregator sees to; no "
             "amplification by sampling",
             "%" PRIu32 " rounds, a device is in at most %" PRIu32 " of its nodes", p->noise_tree,
             plmm_tree_depth(p->noise_tree));
    }
    if (p->clip_bit != 0) {
        tell(t, "clip", "moves after each round; the bit that steers it is noised and accounted",
             "follows the quantile %g of the updates' norms", c->privacy.adaptive);
    }
    if (c->privacy.epsilon > 0) {
        tell(t, "budget", "no round begins that would exceed it", "epsilon %g against %s",
             c->privacy.epsilon,
             c->privacy.adversary == PLMM_ADVERSARY_SERVER ? "the aggregator"
                                                           : "who sees the versions only");
    }
}

/* The dearest expert, and the dearest device, at the end of the first seed. */
static void tell_privacy(teller *t, const fleet *f, const plmm_round_params *p)
{
    const plmm_sim_config *c = f->cfg;
    double delta = c->privacy.delta, most = -1.0, own = 0.0;
    plmm_adversary who = (plmm_adversary)c->privacy.adversary;
    const expert *dear = &f->experts[0];
    char tree[128];
    t->section = "Differential privacy";
    tell_noise(t, c, p);
    (void)snprintf(tree, sizeof tree,
                   "a tree of noise over %" PRIu32
                   " rounds, in one of which a device takes part at most",
                   p->noise_tree);
    for (uint32_t i = 0; i < f->data.n_experts; i++) {
        const expert *e = &f->experts[i];
        double spent = plmm_account_epsilon(&e->spent, PLMM_ADVERSARY_MODELS, delta);
        dear = spent > most ? e : dear;
        most = spent > most ? spent : most;
    }
    for (size_t i = 0; i < f->data.n_devices * f->data.n_experts; i++) {
        const plmm_account *a = f->clients[i].spent;
        double spent = a != NULL ? plmm_account_epsilon(a, who, delta) : 0.0;
        own = spent > own ? spent : own;
    }
    for (uint32_t w = 0; w < PLMM_ADVERSARIES; w++) {
        char sentence[640];
        tell(t, w == PLMM_ADVERSARY_SERVER ? "spent, against the aggregator" : "spent, versions",
             "of the expert that spent most, for a device in every one of its rounds; attempts "
             "that could have been opened count",
             "%s",
             plmm_account_sentence(sentence, sizeof sentence, &dear->spent, (plmm_adversary)w,
                                   delta, p->noise_tree > 0 ? tree : NULL));
    }
    tell(t, "spent, most of any device",
         "by its own account with one expert, against whom the budget is", "epsilon %.4g", own);
}

static void tell_training(teller *t, const plmm_sim_config *c, plmm_method method,
                          const plmm_model *model, size_t travel)
{
    static const char *const rules[] = {"EOE, DSS and IDD must all be higher", "random", "fifo"};
    size_t methods = 0;
    const plmm_model_config *m = plmm_model_cfg(model);
    const plmm_method_info *info = plmm_method_table(&methods);
    t->section = "Training";
    tell(t, "base", NULL, "%s: %zu weights, %" PRIu32 " layers of width %" PRIu32, c->model,
         plmm_model_count(model), m->layers, m->dim);
    tell(t, "adapter", "low-rank factors on the frozen base", "rank %" PRIu32 ", alpha %g",
         c->lora.rank, c->lora.alpha);
    tell(t, "method", info[method].title, "%s; %zu numbers travel in the first round",
         info[method].name, travel);
    tell(t, "on the device", NULL, "%" PRIu32 " steps of %" PRIu32 " tokens, %s, learning rate %g",
         c->train.steps, c->train.batch_tokens, c->train.optimiser == 0 ? "AdamW" : "SGD",
         c->train.learning_rate);
    tell(t, "selection", "which dialogues a full buffer keeps", "%" PRIu32 " bins, %s",
         c->select.bins, rules[c->select.rule]);
}

static void tell_fleet(teller *t, const plmm_sim_config *c, const sim_data *d)
{
    t->section = "Fleet and faults";
    if (c->data.source == PLMM_SIM_WORLD) {
        tell(t, "devices", NULL, "%zu, from a generated world of %s", d->n_devices,
             c->world.answers == PLMM_WORLD_SHUFFLED ? "SHUFFLED answers (a control)"
                                                     : "true answers");
    } else {
        tell(t, "devices", NULL, "%zu, from %" PRIu32 " file%s of dialogues", d->n_devices,
             c->data.files_n, c->data.files_n == 1 ? "" : "s");
    }
    tell(t, "dialogues", "each arrives once, in the order of time", "%zu", d->n_dialogues);
    const double *p = c->faults.drop;
    tell(t, "chance to vanish at R0 to R4", NULL, "%g, %g, %g, %g, %g", p[0], p[1], p[2], p[3],
         p[4]);
    p = c->faults.crash;
    tell(t, "chance to crash and resume at R0 to R4", NULL, "%g, %g, %g, %g, %g", p[0], p[1], p[2],
         p[3], p[4]);
    tell(t, "chance that the aggregator crashes in a round", NULL, "%g",
         c->faults.aggregator_crash);
    tell(t, "frames lost, doubled, overtaken", NULL, "%g, %g, %g", c->faults.lose,
         c->faults.duplicate, c->faults.reorder);
    tell(t, "links", "medians over devices", "%g kbit/s up, %g kbit/s down, %" PRIu32 " ms one way",
         c->faults.up_kbps, c->faults.down_kbps, c->faults.delay_ms);
}

static plmm_status tell_all(plmm_run *run, const fleet *f, plmm_error *err)
{
    teller t = {run, err, PLMM_OK, ""};
    const plmm_round_params *p = &f->told;
    tell_secagg(&t, f->cfg, p);
    tell_protection(&t, p);
    if (p->noise != PLMM_NOISE_NONE) {
        tell_privacy(&t, f, p);
    }
    tell_training(&t, f->cfg, f->method, f->model, p->length);
    tell_fleet(&t, f->cfg, &f->data);
    return t.rc;
}

plmm_status fleet_tell(fleet *f, plmm_error *err)
{
    return f->seed_index == 0 ? tell_all(f->run, f, err) : PLMM_OK;
}

/* ---- seeds ---- */

static plmm_status keep_config(plmm_run *run, const plmm_sim_config *cfg, plmm_error *err)
{
    plmm_text json = {0};
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &json);
    plmm_config_dump(plmm_sim_config_table(), cfg, &w);
    plmm_status rc = plmm_json_end(&w, err);
    rc = rc != PLMM_OK ? rc : plmm_run_set_config(run, json.text, err);
    plmm_text_free(&json);
    return rc;
}

static plmm_status new_run(const plmm_sim_config *cfg, plmm_run **run, plmm_error *err)
{
    sim_data names = {0};
    uint64_t seeds[PLMM_SIM_SEEDS_MAX];
    const char *experts[PLMM_SIM_EXPERTS_MAX];
    plmm_status rc = sim_data_names(&names, cfg, err);
    if (rc == PLMM_OK) {
        for (uint32_t i = 0; i < cfg->seeds_n; i++) {
            seeds[i] = cfg->seeds[i];
        }
        for (uint32_t i = 0; i < names.n_experts; i++) {
            experts[i] = names.experts[i];
        }
        rc = plmm_run_new(run, cfg->name, seeds, cfg->seeds_n, experts, names.n_experts,
                          names.kinds, SIM_KINDS, err);
    }
    sim_data_free(&names);
    return rc;
}

static void add_timing(plmm_sim_timing *t, const fleet *f)
{
    const stopwatch *w = &f->watch;
    t->load += (double)w->load_us / 1e6;
    t->feed += (double)w->feed_us / 1e6;
    t->train += (double)w->train_us / 1e6;
    t->mask += (double)w->mask_us / 1e6;
    t->sum += (double)w->sum_us / 1e6;
    t->score += (double)w->score_us / 1e6;
    t->total += (double)w->total_us / 1e6;
    t->trained_tokens += w->tokens;
    t->trainings += w->trainings;
    t->frames += f->frames;
}

plmm_status plmm_sim_run_model(const plmm_sim_config *cfg, const plmm_sim_options *options,
                               plmm_model *model, plmm_tokenizer *tokenizer, plmm_run **out,
                               plmm_sim_timing *timing, plmm_error *err)
{
    plmm_run *run = NULL;
    plmm_pool *pool = NULL;
    plmm_progress progress;
    uint64_t done = 0;
    *timing = (plmm_sim_timing){0};
    PLMM_TRY(plmm_crypto_init(err));
    PLMM_TRY(plmm_sim_config_check(cfg, err));
    PLMM_TRY(new_run(cfg, &run, err));
    plmm_status rc = keep_config(run, cfg, err);
    rc = rc != PLMM_OK ? rc : plmm_pool_new(options->threads, &pool, err);
    plmm_progress_start(&progress, "run", "rounds",
                        (uint64_t)cfg->seeds_n * run->n_experts * cfg->rounds);
    if (options->quiet) {
        plmm_progress_silence(&progress);
    }
    for (uint32_t i = 0; rc == PLMM_OK && i < cfg->seeds_n; i++) {
        fleet f = {.cfg = cfg,
                   .options = options,
                   .seed = cfg->seeds[i],
                   .seed_index = i,
                   .run = run,
                   .model = model,
                   .tokenizer = tokenizer,
                   .pool = pool,
                   .progress = &progress,
                   .done = &done};
        rc = fleet_run(&f, err);
        add_timing(timing, &f);
    }
    if (rc == PLMM_OK) {
        plmm_progress_end(&progress);
    }
    timing->threads = pool == NULL ? 0 : plmm_pool_threads(pool);
    timing->rest = timing->total - timing->load - timing->feed - timing->train - timing->mask -
                   timing->sum - timing->score;
    plmm_pool_free(pool);
    if (rc != PLMM_OK) {
        plmm_run_free(run);
        return rc;
    }
    plmm_run_sort(run);
    *out = run;
    return PLMM_OK;
}

plmm_status plmm_sim_run(const plmm_sim_config *cfg, const plmm_sim_options *options,
                         plmm_run **run, plmm_sim_timing *timing, plmm_error *err)
{
    plmm_model *model = NULL;
    plmm_tokenizer *tokenizer = NULL;
    plmm_status rc = plmm_checkpoint_load(cfg->model, &model, &tokenizer, err);
    if (rc != PLMM_OK) {
        return plmm_fail_in(err, rc, "cannot use model (--set model=PATH chooses another)");
    }
    if (tokenizer == NULL) {
        rc = plmm_fail(err, PLMM_ERR_NOTFOUND,
                       "%s has no tokenizer; put its tokenizer.json or tokenizer.bin beside it",
                       cfg->model);
    }
    rc = rc != PLMM_OK ? rc : plmm_sim_run_model(cfg, options, model, tokenizer, run, timing, err);
    plmm_model_free(model);
    plmm_tokenizer_free(tokenizer);
    return rc;
}

/* ---- files ---- */

static plmm_status write_timing(const plmm_sim_timing *t, const char *path, plmm_error *err)
{
    plmm_text text = {0};
    plmm_json_writer w;
    struct utsname host = {0};
    (void)uname(&host);
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &text);
    plmm_json_open_object(&w);
    const struct {
        const char *key;
        double v;
    } seconds[] = {{"total_s", t->total}, {"load_s", t->load}, {"select_s", t->feed},
                   {"train_s", t->train}, {"mask_s", t->mask}, {"unmask_s", t->sum},
                   {"score_s", t->score}, {"rest_s", t->rest}};
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++) {
        plmm_json_put_key(&w, seconds[i].key);
        plmm_json_put_real(&w, seconds[i].v);
    }
    const struct {
        const char *key;
        uint64_t v;
    } counts[] = {{"threads", t->threads},
                  {"processors", plmm_pool_cpus()},
                  {"trainings", t->trainings},
                  {"trained_tokens", t->trained_tokens},
                  {"frames", t->frames}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        plmm_json_put_key(&w, counts[i].key);
        plmm_json_put_u64(&w, counts[i].v);
    }
    plmm_json_put_key(&w, "instruction_set");
    plmm_json_put_text(&w, plmm_nn_isa());
    plmm_json_put_key(&w, "machine");
    plmm_json_put_text(&w, host.machine);
    plmm_json_put_key(&w, "system");
    plmm_json_put_text(&w, host.release);
    plmm_json_close_object(&w);
    plmm_status rc = plmm_json_end(&w, err);
    rc = rc != PLMM_OK ? rc : plmm_file_write(path, text.text, text.len, PLMM_MODE_PUBLIC, err);
    plmm_text_free(&text);
    return rc;
}

plmm_status plmm_sim_write(const plmm_run *run, const plmm_sim_timing *timing, const char *dir,
                           plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    PLMM_TRY(plmm_dir_make(dir, 0755, err));
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "rounds.csv", err));
    PLMM_TRY(plmm_run_write_csv(run, path, err));
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "run.db", err));
    PLMM_TRY(plmm_run_write_db(run, path, err));
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "report.html", err));
    PLMM_TRY(plmm_run_write_report(run, path, err));
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "timing.json", err));
    return write_timing(timing, path, err);
}
