#include "plmm/cli.h"

#include "plmm/nearest.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLMM_VERSION "0.1.0"

enum { NAMES_MAX = 128 };

static const plmm_cli_option *find_option(const plmm_cli_verb *v, const char *name, size_t len)
{
    for (size_t i = 0; i < v->n_options; i++) {
        if (strlen(v->options[i].name) == len && memcmp(v->options[i].name, name, len) == 0) {
            return &v->options[i];
        }
    }
    return NULL;
}

static plmm_status unknown_option(const plmm_cli_verb *v, const char *arg, size_t len,
                                  plmm_error *err)
{
    const char *names[NAMES_MAX];
    char word[64];
    size_t n = v->n_options < NAMES_MAX ? v->n_options : NAMES_MAX;
    for (size_t i = 0; i < n; i++) {
        names[i] = v->options[i].name;
    }
    (void)snprintf(word, sizeof word, "%.*s", (int)len, arg);
    const char *near = plmm_nearest(word, names, n);
    if (near != NULL) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%s has no option --%s, did you mean --%s", v->name,
                         word, near);
    }
    return plmm_fail(err, PLMM_ERR_RANGE, "%s has no option --%s; see %s --help", v->name, word,
                     v->name);
}

static plmm_status parse_number(const plmm_cli_option *o, const char *text, double *out,
                                plmm_error *err)
{
    char *end = NULL;
    errno = 0;
    double v = strtod(text, &end);
    bool whole = o->type == PLMM_CLI_INT;
    bool good = end != text && *end == '\0' && errno == 0 && isfinite(v) &&
                (!whole || (floor(v) == v && fabs(v) <= 9007199254740992.0));
    if (good && v >= o->min && v <= o->max) {
        *out = v;
        return PLMM_OK;
    }
    return plmm_fail(err, PLMM_ERR_RANGE,
                     whole ? "--%s is %.40s, must be an integer in %.0f..%.0f"
                           : "--%s is %.40s, must be a number in %g..%g",
                     o->name, text, o->min, o->max);
}

static plmm_status add_given(plmm_cli_args *a, const plmm_cli_option *o, const char *text,
                             plmm_error *err)
{
    if (a->n_given == PLMM_CLI_VALUES_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "more than %d options are given",
                         PLMM_CLI_VALUES_MAX);
    }
    double number = 0;
    if (o->type == PLMM_CLI_INT || o->type == PLMM_CLI_REAL) {
        PLMM_TRY(parse_number(o, text, &number, err));
    }
    a->given[a->n_given].option = o;
    a->given[a->n_given].text = text;
    a->given[a->n_given].number = number;
    a->n_given++;
    return PLMM_OK;
}

/* The option at argv[*i]; moves *i over its value. */
static plmm_status parse_option(const plmm_cli_verb *v, int argc, char **argv, int *i,
                                plmm_cli_args *a, plmm_error *err)
{
    const char *name = argv[*i] + 2;
    size_t len = strcspn(name, "=");
    const plmm_cli_option *o = find_option(v, name, len);
    if (o == NULL) {
        return unknown_option(v, name, len, err);
    }
    const char *text = name[len] == '=' ? name + len + 1 : NULL;
    if (o->type == PLMM_CLI_FLAG) {
        return text == NULL ? add_given(a, o, "", err)
                            : plmm_fail(err, PLMM_ERR_RANGE, "--%s takes no value", o->name);
    }
    if (text == NULL) {
        if (*i + 1 >= argc) {
            return plmm_fail(err, PLMM_ERR_RANGE, "--%s needs a value: --%s %s", o->name, o->name,
                             o->value);
        }
        text = argv[++*i];
    }
    return add_given(a, o, text, err);
}

static plmm_status add_operand(const plmm_cli_verb *v, const char *text, plmm_cli_args *a,
                               plmm_error *err)
{
    if (a->n_operands >= v->max_operands || a->n_operands >= PLMM_CLI_VALUES_MAX) {
        if (text[0] == '-' && text[1] != '\0') {
            return plmm_fail(err, PLMM_ERR_RANGE, "%.40s is not an option; options begin with --",
                             text);
        }
        return plmm_fail(err, PLMM_ERR_RANGE, "%.80s is one word too many; usage: %s %s", text,
                         v->name, v->operands);
    }
    a->operands[a->n_operands++] = text;
    return PLMM_OK;
}

plmm_status plmm_cli_parse(const plmm_cli_verb *verb, int argc, char **argv, plmm_cli_args *a,
                           plmm_error *err)
{
    memset(a, 0, sizeof *a);
    a->verb = verb;
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            PLMM_TRY(parse_option(verb, argc, argv, &i, a, err));
        } else {
            PLMM_TRY(add_operand(verb, argv[i], a, err));
        }
    }
    if (a->n_operands < verb->min_operands) {
        return plmm_fail(err, PLMM_ERR_RANGE, "%s needs %s; see %s --help", verb->name,
                         verb->operands, verb->name);
    }
    return PLMM_OK;
}

/* ---- what was given ---- */

/* Index of the last time the option was given, or n_given. */
static size_t last_given(const plmm_cli_args *a, const char *name, const plmm_cli_option **o)
{
    *o = find_option(a->verb, name, strlen(name));
    PLMM_ASSERT(*o != NULL);
    size_t at = a->n_given;
    for (size_t i = 0; i < a->n_given; i++) {
        at = a->given[i].option == *o ? i : at;
    }
    return at;
}

bool plmm_cli_flag(const plmm_cli_args *a, const char *name)
{
    const plmm_cli_option *o;
    return last_given(a, name, &o) < a->n_given;
}

const char *plmm_cli_text(const plmm_cli_args *a, const char *name)
{
    const plmm_cli_option *o;
    size_t i = last_given(a, name, &o);
    return i < a->n_given ? a->given[i].text : o->fallback;
}

double plmm_cli_real(const plmm_cli_args *a, const char *name)
{
    const plmm_cli_option *o;
    size_t i = last_given(a, name, &o);
    PLMM_ASSERT(o->type == PLMM_CLI_INT || o->type == PLMM_CLI_REAL);
    if (i < a->n_given) {
        return a->given[i].number;
    }
    return o->fallback != NULL ? strtod(o->fallback, NULL) : 0;
}

int64_t plmm_cli_int(const plmm_cli_args *a, const char *name)
{
    return (int64_t)plmm_cli_real(a, name);
}

const char *plmm_cli_item(const plmm_cli_args *a, const char *name, size_t i)
{
    const plmm_cli_option *o;
    (void)last_given(a, name, &o);
    for (size_t j = 0; j < a->n_given; j++) {
        if (a->given[j].option == o && i-- == 0) {
            return a->given[j].text;
        }
    }
    return NULL;
}

/* ---- help ---- */

static void print_program_help(const plmm_cli_program *p, FILE *f)
{
    (void)fprintf(f, "%s: %s\n\nusage: %s VERB [OPTION...]\n\nverbs:\n", p->name, p->summary,
                  p->name);
    for (size_t i = 0; i < p->n_verbs; i++) {
        (void)fprintf(f, "  %-10s %s\n", p->verbs[i].name, p->verbs[i].summary);
    }
    (void)fprintf(f, "\n%s VERB --help explains a verb; %s --version prints the version.\n",
                  p->name, p->name);
    if (p->detail != NULL) {
        (void)fprintf(f, "\n%s\n", p->detail);
    }
}

static void print_option_help(const plmm_cli_option *o, FILE *f)
{
    char left[64];
    (void)snprintf(left, sizeof left, "--%s%s%s", o->name, o->value != NULL ? " " : "",
                   o->value != NULL ? o->value : "");
    (void)fprintf(f, "  %-22s %s", left, o->help);
    if (o->type == PLMM_CLI_INT) {
        (void)fprintf(f, " (%.0f..%.0f)", o->min, o->max);
    } else if (o->type == PLMM_CLI_REAL) {
        (void)fprintf(f, " (%g..%g)", o->min, o->max);
    } else if (o->type == PLMM_CLI_LIST) {
        (void)fprintf(f, " (may be repeated)");
    }
    if (o->fallback != NULL) {
        (void)fprintf(f, " [%s]", o->fallback);
    }
    (void)fputc('\n', f);
}

static void print_verb_help(const plmm_cli_program *p, const plmm_cli_verb *v, FILE *f)
{
    (void)fprintf(f, "%s %s: %s\n\nusage: %s %s%s%s%s\n", p->name, v->name, v->summary, p->name,
                  v->name, *v->operands != '\0' ? " " : "", v->operands,
                  v->n_options > 0 ? " [OPTION...]" : "");
    if (v->n_options > 0) {
        (void)fprintf(f, "\noptions (default in brackets):\n");
    }
    for (size_t i = 0; i < v->n_options; i++) {
        print_option_help(&v->options[i], f);
    }
    if (v->detail != NULL) {
        (void)fprintf(f, "\n%s\n", v->detail);
    }
}

/* ---- main ---- */

static const plmm_cli_verb *find_verb(const plmm_cli_program *p, const char *name)
{
    for (size_t i = 0; i < p->n_verbs; i++) {
        if (strcmp(p->verbs[i].name, name) == 0) {
            return &p->verbs[i];
        }
    }
    return NULL;
}

static int no_verb(const plmm_cli_program *p, const char *name)
{
    const char *names[NAMES_MAX];
    size_t n = p->n_verbs < NAMES_MAX ? p->n_verbs : NAMES_MAX;
    for (size_t i = 0; i < n; i++) {
        names[i] = p->verbs[i].name;
    }
    const char *near = plmm_nearest(name, names, n);
    (void)fprintf(stderr, "%s: there is no verb %.60s%s%s; see %s --help\n", p->name, name,
                  near != NULL ? ", did you mean " : "", near != NULL ? near : "", p->name);
    return 2;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

/* Output that could not be written (a full disk, a closed pipe) is a failure, not a success. */
static int finish(const plmm_cli_program *p, int code)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == 0) {
        (void)fprintf(stderr, "%s: cannot write to standard output\n", p->name);
        return 1;
    }
    return code;
}

static int run_verb(const plmm_cli_program *p, const plmm_cli_verb *v, int argc, char **argv)
{
    plmm_cli_args args;
    plmm_error err = {0};
    plmm_status rc = plmm_cli_parse(v, argc, argv, &args, &err);
    if (rc == PLMM_OK) {
        rc = v->run(&args, &err);
    }
    if (rc != PLMM_OK) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "%s: %s\n", p->name,
                      err.msg[0] != '\0' ? err.msg : plmm_status_str(rc));
        return plmm_status_exit(rc);
    }
    return finish(p, args.exit_code);
}

plmm_status plmm_cli_put(void *ctx, const char *bytes, size_t len, plmm_error *err)
{
    (void)ctx;
    return fwrite(bytes, 1, len, stdout) == len
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_IO, "cannot write to standard output");
}

int plmm_cli_main(const plmm_cli_program *p, int argc, char **argv)
{
    bool help = argc > 1 && strcmp(argv[1], "help") == 0;
    if (argc < 2 || (help && argc == 2)) {
        print_program_help(p, argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : finish(p, 0);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_program_help(p, stdout);
        return finish(p, 0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("%s %s\n", p->name, PLMM_VERSION);
        return finish(p, 0);
    }
    const char *name = help ? argv[2] : argv[1];
    const plmm_cli_verb *v = find_verb(p, name);
    if (v == NULL) {
        return no_verb(p, name);
    }
    if (help || wants_help(argc - 2, argv + 2)) {
        print_verb_help(p, v, stdout);
        return finish(p, 0);
    }
    return run_verb(p, v, argc - 2, argv + 2);
}
