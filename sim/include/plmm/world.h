/* plmm/world.h -- a small invented world to train on: who says what to which device, what only the
 * experts can know, and the questions that tell whether they learned it.
 *
 * Three kinds of knowledge, after the three levels of docs/architecture.md:
 *
 *   T  Universal: plain language, universal facts, and six skills in domains of their own (animals,
 *      weather, ...): answer, obey a rule, use a profile, rewrite a question, choose, decline.
 *      This is the text of the base model. It knows the forms, the affixes and the answer words of
 *      the expert domains, but never who goes with what.
 *   E  Medicine, finance, IT and art. Every entity has two attributes. One follows from a RULE: the
 *      affix of an invented name decides it ("Tolzine" treats what every "-zine" treats). The other
 *      is a fact of its own that can only be remembered. Names, rule and facts are drawn from the
 *      seed.
 *   P  A persona for every device: 20 to 40 personal facts, a style, a mix of interests.
 *
 * Each device lives through sessions over time: chatter, expert questions, personal talk, near
 * duplicates, one drift of its interests and one personal fact that changes.
 *
 * Two hold-outs for every domain, answers balanced over the attribute's values so that every
 * constant answer scores chance:
 *
 *   PLMM_WORLD_TEMPLATE  entities and attributes that the devices talk about, asked in forms that
 *                        never occur on a device
 *   PLMM_WORLD_ENTITY    entities that occur nowhere else, whose answer follows from the rule
 *
 * Everything is a function of (params, seed): no clock, no file, no thread. The same arguments give
 * the same bytes on every machine. Text is ASCII.
 */
#ifndef PLMM_WORLD_H
#define PLMM_WORLD_H

#include "plmm/config.h"
#include "plmm/status.h"

#include <stddef.h>
#include <stdint.h>

enum { PLMM_WORLD_DOMAINS = 4 };    /* medicine, finance, it, art */
enum { PLMM_WORLD_VALUES_MAX = 8 }; /* values of an attribute */
enum { PLMM_WORLD_DEVICES_MAX = 100000, PLMM_WORLD_ENTITIES_MAX = 512 };

/* What the devices hear from their experts. SHUFFLED draws each answer anew from the attribute's
 * values: a control that must not beat the base, since nothing can be learned but the forms. */
typedef enum plmm_world_answers { PLMM_WORLD_TRUE, PLMM_WORLD_SHUFFLED } plmm_world_answers;

typedef enum plmm_world_kind {
    PLMM_WORLD_CHATTER,  /* domain "" : greetings, small talk, universal facts */
    PLMM_WORLD_EXPERT,   /* domain of an expert */
    PLMM_WORLD_PERSONAL, /* domain "personal" */
    PLMM_WORLD_BASE,     /* text of the base model, domain "" */
} plmm_world_kind;

typedef enum plmm_world_test { PLMM_WORLD_TEMPLATE, PLMM_WORLD_ENTITY } plmm_world_test;

typedef struct plmm_world_params {
    uint32_t devices;  /* 1..PLMM_WORLD_DEVICES_MAX */
    uint32_t entities; /* taught, a domain: a multiple of values, at most PLMM_WORLD_ENTITIES_MAX */
    uint32_t unseen;   /* held out by entity, a domain: likewise */
    uint32_t values;   /* values of each attribute and affixes of each rule, 2..8 */
    uint32_t days;     /* sessions happen on that many days, 2..3650 */
    uint32_t dialogues;  /* mean length of a device's stream, 1..100000 */
    double chatter_min;  /* share of a device's stream that is chatter, drawn uniformly from */
    double chatter_max;  /*   [chatter_min, chatter_max] within [0, 0.9] */
    double personal;     /* share that is personal talk, 0..0.5 */
    double duplicates;   /* chance that a dialogue nearly repeats an earlier one, 0..0.5 */
    double facts;        /* share of expert questions about remembered facts, not the rule, 0..1 */
    double mix_alpha;    /* Dirichlet parameter of the interests of a device, 0.01..1000 */
    uint32_t base_lines; /* lines of the base text, 0..10000000 */
    uint32_t answers;    /* plmm_world_answers */
} plmm_world_params;

/* Borrowed strings live as long as the world. In the base text prompt is NULL for plain
 * language. */
typedef struct plmm_world_dialogue {
    const char *user, *domain, *prompt, *response;
    int64_t time; /* seconds since 1970, UTC */
    plmm_world_kind kind;
} plmm_world_dialogue;

/* A held-out question. The right response is `response`; `answer` is the word in it that decides,
 * one of the chance^-1 equally frequent values of this attribute. */
typedef struct plmm_world_question {
    const char *domain, *prompt, *response, *answer, *entity, *attribute;
    plmm_world_test test;
} plmm_world_question;

typedef struct plmm_world_fact {
    const char *attribute, *value, *changed; /* changed: the later value, or NULL */
} plmm_world_fact;

typedef struct plmm_world_device {
    const char *user;    /* "device-0007" */
    size_t first, count; /* its dialogues: world->dialogues[first .. first + count - 1] */
    double mix[PLMM_WORLD_DOMAINS];   /* interests before the drift, sum 1 */
    double later[PLMM_WORLD_DOMAINS]; /* and after it */
    const plmm_world_fact *facts;
    size_t n_facts;
    const char *style; /* plain, formal, cheerful or short */
} plmm_world_device;

typedef struct plmm_world_words {
    const char *const *words;
    size_t count;
} plmm_world_words;

typedef struct plmm_world {
    plmm_world_params params;
    uint64_t seed;
    const plmm_world_dialogue *base; /* the base text, one line each */
    size_t n_base;
    const plmm_world_dialogue *dialogues; /* all devices, device after device, ordered by time */
    size_t n_dialogues;
    const plmm_world_device *devices;
    size_t n_devices;
    const plmm_world_question *questions; /* domain after domain, TEMPLATE before ENTITY */
    size_t n_questions;
    size_t first_question[PLMM_WORLD_DOMAINS + 1];
    plmm_world_words lexicon[PLMM_WORLD_DOMAINS]; /* words of the domain, for selection scores */
    double chance;                  /* 1 / values: what every constant answer scores */
    struct plmm_world_store *store; /* owns everything above */
} plmm_world;

void plmm_world_params_default(plmm_world_params *p);

/* The rows of the parameters for the configuration table of a struct T that holds them in member w;
 * at is the path before their names, "" or "world.". */
#define PLMM_WORLD_KEYS(T, w, at)                                                                  \
    PLMM_CONFIG_U32(T, w.devices, at "devices", "48", 1, PLMM_WORLD_DEVICES_MAX,                   \
                    "devices in the fleet"),                                                       \
        PLMM_CONFIG_U32(T, w.entities, at "entities", "32", 2, PLMM_WORLD_ENTITIES_MAX,            \
                        "things each expert domain talks about, a multiple of values"),            \
        PLMM_CONFIG_U32(T, w.unseen, at "unseen", "32", 2, PLMM_WORLD_ENTITIES_MAX,                \
                        "things held out in each domain, a multiple of values"),                   \
        PLMM_CONFIG_U32(T, w.values, at "values", "8", 2, PLMM_WORLD_VALUES_MAX,                   \
                        "answers of each question: chance is 1 / values"),                         \
        PLMM_CONFIG_U32(T, w.days, at "days", "60", 2, 3650,                                       \
                        "days that the sessions spread over"),                                     \
        PLMM_CONFIG_U32(T, w.dialogues, at "dialogues", "120", 1, 100000,                          \
                        "mean dialogues of a device"),                                             \
        PLMM_CONFIG_REAL(T, w.chatter_min, at "chatter_min", "0.3", 0, 0.9,                        \
                         "smallest share of chatter of a device"),                                 \
        PLMM_CONFIG_REAL(T, w.chatter_max, at "chatter_max", "0.7", 0, 0.9,                        \
                         "largest share of chatter of a device"),                                  \
        PLMM_CONFIG_REAL(T, w.personal, at "personal", "0.1", 0, 0.5, "share of personal talk"),   \
        PLMM_CONFIG_REAL(T, w.duplicates, at "duplicates", "0.1", 0, 0.5,                          \
                         "chance that a dialogue nearly repeats an earlier one"),                  \
        PLMM_CONFIG_REAL(T, w.facts, at "facts", "0.5", 0, 1,                                      \
                         "share of expert questions on facts to remember, the rest on the rule"),  \
        PLMM_CONFIG_REAL(T, w.mix_alpha, at "mix_alpha", "0.5", 0.01, 1000,                        \
                         "Dirichlet parameter of a device's interests: small is one-sided"),       \
        PLMM_CONFIG_U32(T, w.base_lines, at "base_lines", "0", 0, 10000000,                        \
                        "lines of text for the base model"),                                       \
        PLMM_CONFIG_ENUM(T, w.answers, at "answers", "true", plmm_world_answer_names,              \
                         "what experts answer: true, or shuffled (a control without knowledge)")

extern const char *const plmm_world_answer_names[];
/* These rows for plmm_world_params itself. */
extern const plmm_config_table plmm_world_config_table;

/* "medicine", "finance", "it", "art" for 0..3. */
const char *plmm_world_domain(size_t d);
/* "chatter", "expert", "personal", "base". */
const char *plmm_world_kind_name(plmm_world_kind k);
/* "template", "entity". */
const char *plmm_world_test_name(plmm_world_test t);

/* Makes the world of (params, seed). PLMM_ERR_CONFIG for a parameter out of range, with its name,
 * or NOMEM. *w is untouched on failure; free it with plmm_world_free. */
plmm_status plmm_world_generate(const plmm_world_params *params, uint64_t seed, plmm_world *w,
                                plmm_error *err) PLMM_NODISCARD;

void plmm_world_free(plmm_world *w); /* a zeroed world is fine */

/* Writes into the directory dir (made if missing, files replaced atomically):
 *   base.jsonl              text of the base model: {"prompt", "response"} or {"text"}
 *   base.txt                the same as plain lines, to train a tokenizer on
 *   devices.jsonl           user, domain, time, kind, prompt, response
 *   holdout-<domain>.jsonl  domain, test, entity, attribute, prompt, response, answer
 *   lexicon-<domain>.txt    one word a line
 *   personas.jsonl          user, style, mix, later, facts
 *   world.json              parameters, seed, counts, chance */
plmm_status plmm_world_write(const plmm_world *w, const char *dir, plmm_error *err) PLMM_NODISCARD;

#endif
