/* plmm-client: a device. */
#include "device.h"

#define SET                                                                                        \
    {                                                                                              \
        "set", PLMM_CLI_LIST, "KEY=VALUE", NULL, 0, 0, "override a key of the configuration"       \
    }
#define EXPERT                                                                                     \
    {                                                                                              \
        "expert", PLMM_CLI_TEXT, "NAME", NULL, 0, 0, "which expert, if it follows several"         \
    }

static const plmm_cli_option init_options[] = {
    {"base", PLMM_CLI_TEXT, "MODEL", NULL, 0, 0,
     "base model: a Hugging Face directory or a llama2.c file (needed)"},
    SET,
    {"print-config", PLMM_CLI_FLAG, NULL, NULL, 0, 0,
     "print every key with its help and make nothing"},
};
static const plmm_cli_option plain_options[] = {SET};
static const plmm_cli_option ingest_options[] = {
    {"max", PLMM_CLI_INT, "N", "0", 0, 1000000000, "stop after N dialogues; 0: all"},
    {"user", PLMM_CLI_TEXT, "NAME", NULL, 0, 0, "only dialogues of this user"},
    SET,
};
static const plmm_cli_option show_options[] = {
    {"explain", PLMM_CLI_INT, "ID", "0", 0, 9007199254740992.0,
     "what became of the dialogue ID when it came, and why"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print JSON lines"},
    SET,
};
static const plmm_cli_option expert_options[] = {EXPERT, SET};
static const plmm_cli_option join_options[] = {
    EXPERT,
    {"rounds", PLMM_CLI_INT, "N", "1", 0, 1000000, "rounds to complete; 0: go on"},
    {"address", PLMM_CLI_TEXT, "URL", NULL, 0, 0, "dial this instead of the enrolment's address"},
    {"update", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "only fetch the newest version"},
    SET,
};

#define OPTIONS(o) o, sizeof o / sizeof o[0]

static const plmm_cli_verb verbs[] = {
    {"init", "STATE", 0, 1, "make a device: an identity and an empty buffer",
     "Makes the directory STATE. Hand STATE/device.pub to the expert's operator for enrolment;\n"
     "STATE/device.key is this device and never leaves it.",
     OPTIONS(init_options), device_init},
    {"enroll", "STATE BUNDLE", 2, 2, "follow an expert",
     "BUNDLE is what plmm-aggregator registrar enroll wrote for this device. Its keys are trusted "
     "from now "
     "on.",
     OPTIONS(plain_options), device_enroll},
    {"ingest", "STATE FILE", 2, 2, "offer dialogues to the buffer",
     "FILE is JSON lines or a JSON array with prompt and response, instruction, input and output, "
     "or\n"
     "messages; user, domain and time are optional. What the buffer lets go is not kept.",
     OPTIONS(ingest_options), device_ingest},
    {"buffer", "STATE", 1, 1, "show what was kept, and why", NULL, OPTIONS(show_options),
     device_show},
    {"train", "STATE", 1, 1, "train the personal adapter on the buffer",
     "The personal adapter lies on top of the expert's and never leaves the device.",
     OPTIONS(expert_options), device_train},
    {"join", "STATE", 1, 1, "take part in an expert's rounds",
     "Trains on the buffer, sends a masked update, installs the version that the round makes. It "
     "may be\n"
     "killed at any time: the next join goes on with the round that was open.",
     OPTIONS(join_options), device_join},
    {"chat", "STATE QUESTION", 2, 2, "ask one question",
     "Answers with the base model, the newest installed version of the expert and the personal "
     "adapter.",
     OPTIONS(expert_options), device_chat},
};

int main(int argc, char **argv)
{
    static const plmm_cli_program program = {
        "plmm-client", "a device: keeps what is worth learning, learns, takes part in rounds",
        "Configuration: STATE/device.json, overridden by --set KEY=VALUE; init --print-config "
        "explains the keys.",
        verbs, sizeof verbs / sizeof verbs[0]};
    return plmm_cli_main(&program, argc, argv);
}
