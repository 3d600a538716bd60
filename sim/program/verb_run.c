/* plmm-sim run: a fleet from a configuration to its report. */
#include "program.h"

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/sim_run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void print_result(const plmm_run *run, const plmm_sim_timing *t, const char *dir)
{
    size_t checked;
    size_t exact;
    size_t completed = 0;
    uint64_t gone = 0;
    plmm_run_checked(run, &checked, &exact);
    for (size_t i = 0; i < run->n_rounds; i++) {
        completed += run->rounds[i].completed;
        for (unsigned s = 0; s < PLMM_STEPS; s++) {
            gone += run->rounds[i].dropped[s];
        }
    }
    char *table = plmm_run_table(run);
    (void)printf("\n%s\n", table != NULL ? table : "");
    plmm_free(table);
    (void)printf("margin and change: mean \xc2\xb1 standard deviation over %zu seed%s\n",
                 run->n_seeds, run->n_seeds == 1 ? "" : "s");
    (void)printf("rounds: %zu of %zu completed, %" PRIu64 " dropouts, %zu of %zu sums checked "
                 "equal the survivors' inputs to the bit\n",
                 completed, run->n_rounds, gone, exact, checked);
    (void)printf("time:   %.1f s on %" PRIu32 " thread%s (training %.1f s, selecting %.1f s, "
                 "scoring %.1f s, masking %.1f s, unmasking %.1f s, the rest %.1f s)\n",
                 t->total, t->threads, t->threads == 1 ? "" : "s", t->train, t->feed, t->score,
                 t->mask, t->sum, t->rest);
    (void)printf("files:  %s/report.html rounds.csv run.db timing.json\n", dir);
}

plmm_status verb_run(plmm_cli_args *a, plmm_error *err)
{
    static plmm_sim_config c;
    PLMM_TRY(load_config(a, &c, err));
    if (plmm_cli_flag(a, "seed")) {
        c.seeds[0] = (uint32_t)plmm_cli_int(a, "seed");
        c.seeds_n = 1;
    }
    if (plmm_cli_flag(a, "print-config")) {
        return print_config(&c, err);
    }
    if (a->n_operands == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "no configuration was named; try plmm-sim run configs/quickstart.json");
    }
    char dir[PLMM_PATH_MAX];
    const char *out = plmm_cli_text(a, "out");
    (void)snprintf(dir, sizeof dir, "%s%s", out != NULL ? out : "out/", out != NULL ? "" : c.name);
    struct sigaction act = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &act, NULL);
    (void)sigaction(SIGTERM, &act, NULL);
    plmm_sim_options o = {.threads = (uint32_t)plmm_cli_int(a, "threads"),
                          .quiet = plmm_cli_flag(a, "quiet"),
                          .stop = &stop,
                          .save = plmm_cli_text(a, "save")};
    plmm_run *result = NULL;
    plmm_sim_timing timing;
    PLMM_TRY(plmm_sim_run(&c, &o, &result, &timing, err));
    plmm_status rc = plmm_sim_write(result, &timing, dir, err);
    if (rc == PLMM_OK) {
        print_result(result, &timing, dir);
        size_t checked;
        size_t exact;
        plmm_run_checked(result, &checked, &exact);
        a->exit_code = exact == checked ? 0 : 1; /* a sum that is not exact is a failure */
    }
    plmm_run_free(result);
    return rc;
}
