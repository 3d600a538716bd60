/* plmm-sim: fleets of devices in virtual time. */
#include "program.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const plmm_cli_option run_options[] = {
    {"set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"},
    {"out", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "where results go; default: out/NAME"},
    {"seed", PLMM_CLI_INT, "N", NULL, 1, 4294967295.0, "run this one seed instead of the list"},
    {"threads", PLMM_CLI_INT, "N", "0", 0, 256, "0: as many as processors; the result is the same"},
    {"save", PLMM_CLI_TEXT, "DIR", NULL, 0, 0,
     "write the trained experts there (PEFT directories)"},
    {"quiet", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "no progress lines"},
    {"print-config", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "list all keys with help instead"},
};

static const plmm_cli_option world_options[] = {
    {"out", PLMM_CLI_TEXT, "DIR", "out/world", 0, 0, "where the files go"},
    {"set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"},
    {"print-config", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "list all keys with help instead"},
};

static const plmm_cli_verb verbs[] = {
    {"run", "[CONFIG]", 0, 1, "run a fleet and report what its experts learned",
     "Devices select, train and mask; aggregators sum and merge; the protocol is the one that is\n"
     "deployed, with dropouts, crashes and bad links as the configuration says. Writes "
     "report.html,\n"
     "rounds.csv, run.db and timing.json; equal seeds give equal files (timing.json apart), "
     "whatever\n"
     "the number of threads.\n"
     "\n"
     "  plmm-sim run configs/quickstart.json --out out/quickstart\n"
     "  plmm-sim run configs/msc.json --set data.root=DIR --set model=DIR/stories260K.bin",
     run_options, COUNT(run_options), verb_run},
    {"report", "DIR", 1, 1, "draw the report of a run again, from its run.db",
     "Writes DIR/report.html and prints the table.\n"
     "\n"
     "  plmm-sim report out/quickstart",
     NULL, 0, verb_report},
    {"world", "[CONFIG]", 0, 1, "write a generated world: texts, devices, hold-outs",
     "Takes the keys world.* and seeds[0] of a configuration and writes base.jsonl and base.txt "
     "(text\n"
     "of the base model), devices.jsonl, holdout-DOMAIN.jsonl, lexicon-DOMAIN.txt, personas.jsonl "
     "and\n"
     "world.json. The same configuration gives the same bytes.\n"
     "\n"
     "  plmm-sim world configs/quickstart.json --out out/world\n"
     "  plmm-sim world --set world.devices=1000 --set world.answers=shuffled --out out/control",
     world_options, COUNT(world_options), verb_world},
};

int main(int argc, char **argv)
{
    static const plmm_cli_program program = {
        "plmm-sim", "simulate fleets of devices in virtual time",
        "Keys, bounds and defaults: plmm-sim world --print-config", verbs, COUNT(verbs)};
    return plmm_cli_main(&program, argc, argv);
}
