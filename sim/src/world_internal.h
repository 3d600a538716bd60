/* world_internal.h -- what the parts of the world generator share: the store that owns every string
 * and array, the tables of words, and the drawn knowledge of a topic. */
#ifndef PLMM_WORLD_INTERNAL_H
#define PLMM_WORLD_INTERNAL_H

#include "plmm/rng.h"
#include "plmm/world.h"

/* ---- store: strings and growing arrays; a failed allocation is remembered, not reported, and the
 * generator looks at `failed` once at the end ---- */

typedef struct world_chunk {
    struct world_chunk *next;
    size_t used, size;
    char bytes[];
} world_chunk;

typedef struct plmm_world_store {
    world_chunk *chunks;
    bool failed;
    plmm_world_dialogue *base, *dialogues;
    size_t n_base, cap_base, n_dialogues, cap_dialogues;
    plmm_world_question *questions;
    size_t n_questions, cap_questions;
    plmm_world_device *devices;
    const char **words[PLMM_WORLD_DOMAINS];
} plmm_world_store;

/* A zeroed block that lives as long as the store; NULL (and failed) when out of memory. */
void *world_take(plmm_world_store *s, size_t n, size_t size);
/* A copy of text[0..len); "" when out of memory. */
const char *world_text(plmm_world_store *s, const char *text, size_t len);

/* What a template's braces stand for: {x} name, {a} attribute, {k} kind, {v} value, {w} another. */
typedef struct world_slots {
    const char *x, *a, *k, *v, *w;
} world_slots;

/* The template with its slots filled; at most 1023 bytes. */
const char *world_fill(plmm_world_store *s, const char *form, const world_slots *slots);

void world_add_base(plmm_world_store *s, const char *prompt, const char *response);
void world_add_dialogue(plmm_world_store *s, const plmm_world_dialogue *d);
void world_add_question(plmm_world_store *s, const plmm_world_question *q);

/* ---- tables ---- */

typedef struct world_list {
    const char *const *v;
    uint32_t n;
} world_list;

enum { WORLD_BASE_TOPICS = 12, WORLD_AFFIXES = 8, WORLD_PERSONAL = 40 };

typedef struct world_attribute {
    const char *name;
    const char *values[PLMM_WORLD_VALUES_MAX];
} world_attribute;

/* A domain of the experts or of the base: things of one kind with a rule and a fact. */
typedef struct world_topic {
    const char *name, *kind;
    bool prefix; /* the rule is in the start of the name; names are then in small letters */
    const char *affix[WORLD_AFFIXES];
    world_attribute rule, fact;
} world_topic;

/* A personal attribute ("favourite drink") and its values. */
typedef struct world_personal {
    const char *name;
    const world_list *values;
} world_personal;

extern const world_topic world_experts[PLMM_WORLD_DOMAINS];
extern const world_topic world_topics[WORLD_BASE_TOPICS];
extern const world_personal world_personals[WORLD_PERSONAL];

extern const world_list world_taught_forms; /* questions of the devices: {a} {x} {k} */
extern const world_list world_unseen_forms; /* of the hold-outs alone, and of the base's topics */
extern const world_list world_state_forms;  /* plain sentences: {a} {x} {k} {v} */
extern const world_list world_facts;        /* universal: question, answer, question, ... */
extern const world_list world_chats;        /* small talk: prompt, response, ... */
extern const world_list world_plain; /* plain sentences of every day: {x} person, {v} thing */
/* A word {x} and nothing on it. */
extern const world_list world_neutral_forms, world_neutral_replies;
extern const world_list world_tell_forms, world_ask_forms, world_ask_unseen_forms;
extern const world_list world_people, world_things, world_secrets;

/* ---- knowledge ---- */

typedef struct world_entity {
    const char *name;
    uint32_t affix, fact;
} world_entity;

/* What is true in one topic. The first `taught` entities are talked about, the rest are held
 * out. */
typedef struct world_knowledge {
    const world_topic *topic;
    uint32_t values;              /* used of each list */
    uint32_t rule[WORLD_AFFIXES]; /* affix -> value: a permutation */
    world_entity *entities;
    uint32_t n, taught;
} world_knowledge;

typedef enum world_which { WORLD_RULE, WORLD_FACT } world_which;

/* Draws rule, names and facts: every affix and every fact value equally often among the taught and
 * among the rest. No name is in `not` (n_not topics), nor twice. */
void world_learn(plmm_world_store *s, const world_topic *topic, uint32_t values, uint32_t taught,
                 uint32_t rest, const world_knowledge *not_in, uint32_t n_not, plmm_rng *rng,
                 world_knowledge *k);

/* A name of the topic with that affix, which may or may not exist. */
const char *world_name(plmm_world_store *s, const world_topic *t, uint32_t affix, plmm_rng *rng);

/* A name without an affix. */
const char *world_bare_name(plmm_world_store *s, const world_topic *t, plmm_rng *rng);

const world_attribute *world_attribute_of(const world_knowledge *k, world_which which);
const char *world_value(const world_knowledge *k, const world_entity *e, world_which which);

/* Is this a name of k? */
bool world_knows(const world_knowledge *k, const char *name);

/* One of the list. */
const char *world_pick(const world_list *l, plmm_rng *rng);

/* "It is fever." */
const char *world_answer(plmm_world_store *s, const char *value);

void world_base_text(plmm_world_store *s, const plmm_world_params *p,
                     const world_knowledge *experts, uint64_t seed);
void world_fleet(plmm_world_store *s, const plmm_world_params *p, const world_knowledge *experts,
                 uint64_t seed);
void world_questions(plmm_world_store *s, const plmm_world_params *p,
                     const world_knowledge *experts, uint64_t seed, size_t first[]);

/* Streams of the seed. */
enum {
    WORLD_STREAM_E = 1,
    WORLD_STREAM_BASE = 100,
    WORLD_STREAM_TEST = 200,
    WORLD_STREAM_FLEET = 300
};

#endif
