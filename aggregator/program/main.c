/* plmm-aggregator: an expert's server. */
#include "node.h"

#include <string.h>

static const plmm_cli_option init_options[] = {
    {"expert", PLMM_CLI_TEXT, "NAME", NULL, 0, 0, "name of the expert: a-z 0-9 . - _ (needed)"},
    {"base", PLMM_CLI_TEXT, "MODEL", NULL, 0, 0,
     "base model: a Hugging Face directory or a llama2.c file (needed)"},
    {"set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"},
    {"print-config", PLMM_CLI_FLAG, NULL, NULL, 0, 0,
     "print every key with its help and make nothing"},
};

static const plmm_cli_option serve_options[] = {
    {"rounds", PLMM_CLI_INT, "N", "0", 0, 1000000, "stop after N completed rounds; 0: go on"},
    {"failures", PLMM_CLI_INT, "N", "0", 0, 1000000,
     "stop with exit code 3 after N aborted attempts in a row; 0: go on"},
    {"port-file", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "write the port there once it listens"},
    {"debug", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "log every message"},
    {"set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"},
};

static const plmm_cli_option status_options[] = {
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print one JSON object"},
    {"rows", PLMM_CLI_INT, "N", "10", 1, 10000, "rounds and versions to show"},
    {"set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"},
};

static const plmm_cli_option export_options[] = {
    {"out", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "directory to write (needed)"},
    {"version", PLMM_CLI_INT, "N", "0", 0, 999999, "which version; 0: the newest"},
    {"set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"},
};

/* Only for the help: main takes it before. */
static plmm_status see_registrar(plmm_cli_args *a, plmm_error *err)
{
    (void)a;
    return plmm_fail(err, PLMM_ERR_CONFIG, "see plmm-aggregator registrar --help");
}

#define OPTIONS(o) o, sizeof o / sizeof o[0]

static const plmm_cli_verb verbs[] = {
    {"init", "STATE", 0, 1, "begin an expert: keys, configuration, first version",
     "Makes the directory STATE with a key for the node (mode 0600), the configuration node.json, "
     "the\n"
     "database node.db, version 1 (an adapter that changes nothing yet) and expert.pub, which the "
     "registrar\n"
     "is begun with.\n\n"
     "  plmm-aggregator init art --expert art --base models/base --set round.cohort=20",
     OPTIONS(init_options), node_init},
    {"serve", "STATE", 1, 1, "run rounds of training",
     "Listens on the address of the configuration (loopback addresses only: the channel is not "
     "encrypted\n"
     "yet) and runs rounds until it is stopped. It may be killed at any time: the next serve goes "
     "on with\n"
     "the round that was open. Exit code 3: --failures attempts in a row were aborted.",
     OPTIONS(serve_options), node_serve},
    {"status", "STATE", 1, 1, "show devices, rounds and versions", NULL, OPTIONS(status_options),
     node_status},
    {"export", "STATE", 1, 1, "write a version as a PEFT adapter directory",
     "Verifies the version's signature and files, and copies them. Python's peft opens the "
     "result:\n"
     "PeftModel.from_pretrained(base, DIR).",
     OPTIONS(export_options), node_export},
    {"registrar", "VERB ...", 0, PLMM_CLI_VALUES_MAX, "certify devices and seal rosters", NULL,
     NULL, 0, see_registrar},
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "registrar") == 0) {
        return registrar_main(argc - 1, argv + 1);
    }
    static const plmm_cli_program program = {
        "plmm-aggregator", "an expert's server: sums what devices learned, publishes versions",
        "An aggregator learns the sum of at least round.n_min devices' updates and nothing of "
        "one.\n"
        "Configuration: STATE/node.json, overridden by --set KEY=VALUE; init --print-config "
        "explains the keys.",
        verbs, sizeof verbs / sizeof verbs[0]};
    return plmm_cli_main(&program, argc, argv);
}
