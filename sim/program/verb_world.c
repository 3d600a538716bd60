/* plmm-sim world: the generated world as files. */
#include "program.h"

#include <stdio.h>
#include <string.h>

/* What a hold-out has, and what guessing would score. */
static void summary(const plmm_world *w, const char *dir)
{
    (void)printf("%zu lines of base text, %zu devices with %zu dialogues\n", w->n_base,
                 w->n_devices, w->n_dialogues);
    for (size_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        size_t asked[2] = {0, 0};
        for (size_t i = w->first_question[d]; i < w->first_question[d + 1]; i++) {
            asked[w->questions[i].test]++;
        }
        (void)printf(
            "%-9s held out: %zu questions in new forms, %zu on new things; chance %.1f%%\n",
            plmm_world_domain(d), asked[PLMM_WORLD_TEMPLATE], asked[PLMM_WORLD_ENTITY],
            100.0 * w->chance);
    }
    (void)printf("written to %s\n", dir);
}

plmm_status verb_world(plmm_cli_args *a, plmm_error *err)
{
    static plmm_sim_config c; /* large */
    plmm_world w = {0};
    const char *dir = plmm_cli_text(a, "out");
    PLMM_TRY(load_config(a, &c, err));
    if (plmm_cli_flag(a, "print-config")) {
        return print_config(&c, err);
    }
    PLMM_TRY(plmm_world_generate(&c.world, c.world_seed != 0 ? c.world_seed : c.seeds[0], &w, err));
    plmm_status rc = plmm_world_write(&w, dir, err);
    if (rc == PLMM_OK) {
        summary(&w, dir);
    }
    plmm_world_free(&w);
    return rc;
}
