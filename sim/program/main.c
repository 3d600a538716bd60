/* plmm-sim: fleets of devices in virtual time. */
#include "program.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const plmm_cli_option world_options[] = {
    {"out", PLMM_CLI_TEXT, "DIR", "out/world", 0, 0, "where the files go"},
    {"set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"},
    {"print-config", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "list all keys with help instead"},
};

static const plmm_cli_verb verbs[] = {
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
