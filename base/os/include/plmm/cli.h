/* plmm/cli.h -- a program with verbs: `plmm-model info DIR --json`. One table gives the parsing,
 * the messages and --help. Options may stand anywhere after the verb, as --name value or
 * --name=value; -- ends them. Unknown verbs and options are refused with the nearest known name.
 *
 *     static const plmm_cli_option info_options[] = {
 *         {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print JSON"},
 *         {"top", PLMM_CLI_INT, "N", "10", 1, 1000, "rows to show"},
 *     };
 *     static plmm_status info(plmm_cli_args *a, plmm_error *err)
 *     {
 *         int64_t top = plmm_cli_int(a, "top");
 *         const char *dir = a->operands[0];
 *         ...
 *     }
 *     static const plmm_cli_verb verbs[] = {
 *         {"info", "DIR", 1, 1, "say what a model is", "Prints ...", info_options, 2, info},
 *     };
 *     int main(int argc, char **argv)
 *     {
 *         static const plmm_cli_program p = {
 *             "plmm-model", "train and use models", "...", verbs, 1
 *         };
 *         return plmm_cli_main(&p, argc, argv);
 *     }
 */
#ifndef PLMM_CLI_H
#define PLMM_CLI_H

#include "plmm/status.h"

typedef enum plmm_cli_type {
    PLMM_CLI_FLAG, /* no value */
    PLMM_CLI_TEXT,
    PLMM_CLI_INT,  /* bounds apply */
    PLMM_CLI_REAL, /* bounds apply */
    PLMM_CLI_LIST  /* text, may be given several times */
} plmm_cli_type;

typedef struct plmm_cli_option {
    const char *name; /* without the dashes */
    plmm_cli_type type;
    const char *value;    /* its name in the help: "N", "DIR"; NULL for a flag */
    const char *fallback; /* as if given so; NULL: none (a number is then 0, a text NULL) */
    double min, max;      /* of a number */
    const char *help;
} plmm_cli_option;

enum { PLMM_CLI_VALUES_MAX = 256 };

struct plmm_cli_verb;

/* What was typed, already checked. Borrowed from argv: lives as long as main. */
typedef struct plmm_cli_args {
    const struct plmm_cli_verb *verb;
    const char *operands[PLMM_CLI_VALUES_MAX];
    size_t n_operands;
    struct {
        const plmm_cli_option *option;
        const char *text; /* "" for a flag */
        double number;
    } given[PLMM_CLI_VALUES_MAX];
    size_t n_given;
    int exit_code; /* for the verb to set; used when it returns PLMM_OK */
} plmm_cli_args;

typedef plmm_status (*plmm_cli_run)(plmm_cli_args *a, plmm_error *err);

typedef struct plmm_cli_verb {
    const char *name;
    const char *operands; /* as in the usage line: "CONFIG [OUT]"; "" for none */
    size_t min_operands, max_operands;
    const char *summary; /* one line */
    const char *detail;  /* paragraphs for `verb --help`, examples; may be NULL */
    const plmm_cli_option *options;
    size_t n_options;
    plmm_cli_run run;
} plmm_cli_verb;

typedef struct plmm_cli_program {
    const char *name;
    const char *summary; /* one line */
    const char *detail;  /* for --help; may be NULL */
    const plmm_cli_verb *verbs;
    size_t n_verbs;
} plmm_cli_program;

/* The options of a run; the name must be one of the verb's (asserted). The last one given
 * counts. */
bool plmm_cli_flag(const plmm_cli_args *a, const char *name);        /* given? of any type */
const char *plmm_cli_text(const plmm_cli_args *a, const char *name); /* given, fallback or NULL */
int64_t plmm_cli_int(const plmm_cli_args *a, const char *name);
double plmm_cli_real(const plmm_cli_args *a, const char *name);
/* The i-th value of a list option, NULL after the last. */
const char *plmm_cli_item(const plmm_cli_args *a, const char *name, size_t i);

/* Parses argv after the program's name into *a. PLMM_ERR_RANGE with a sentence. Does not see
 * --help. */
PLMM_NODISCARD plmm_status plmm_cli_parse(const plmm_cli_verb *verb, int argc, char **argv,
                                          plmm_cli_args *a, plmm_error *err);

/* Writes to standard output: a plmm_json_sink for what verbs print. ctx is not used.
 * PLMM_ERR_IO. */
PLMM_NODISCARD plmm_status plmm_cli_put(void *ctx, const char *bytes, size_t len, plmm_error *err);

/* The whole of main: --help, --version, `help VERB`, parsing, running; an error goes to standard
 * error as "name: message". Result: 0, 2 for the user's mistakes (usage, files, configuration), 1
 * for other failures, or the verb's exit_code. */
int plmm_cli_main(const plmm_cli_program *p, int argc, char **argv);

#endif
