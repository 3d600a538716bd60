#include "plmm/world.h"

#include "world_internal.h"

#include "plmm/alloc.h"

#include <string.h>

const char *const plmm_world_answer_names[] = {"true", "shuffled", NULL};

typedef struct holder {
    plmm_world_params world;
} holder;
_Static_assert(offsetof(holder, world) == 0, "the table is used for plmm_world_params itself");

static const plmm_config_key keys[] = {PLMM_WORLD_KEYS(holder, world, "")};

const plmm_config_table plmm_world_config_table = {"a world to train on", keys,
                                                   sizeof keys / sizeof keys[0]};

void plmm_world_params_default(plmm_world_params *p)
{
    plmm_config_defaults(&plmm_world_config_table, p);
}

const char *plmm_world_domain(size_t d)
{
    PLMM_ASSERT(d < PLMM_WORLD_DOMAINS);
    return world_experts[d].name;
}

const char *plmm_world_kind_name(plmm_world_kind k)
{
    static const char *const names[] = {"chatter", "expert", "personal", "base"};
    return names[k];
}

const char *plmm_world_test_name(plmm_world_test t)
{
    return t == PLMM_WORLD_TEMPLATE ? "template" : "entity";
}

static plmm_status check_count(const char *name, uint32_t v, uint32_t min, uint32_t max,
                               plmm_error *err)
{
    return v >= min && v <= max ? PLMM_OK
                                : plmm_fail(err, PLMM_ERR_CONFIG, "%s is %u, must be in %u..%u",
                                            name, (unsigned)v, (unsigned)min, (unsigned)max);
}

static plmm_status check_real(const char *name, double v, double min, double max, plmm_error *err)
{
    return v >= min && v <= max
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_CONFIG, "%s is %g, must be in %g..%g", name, v, min, max);
}

static plmm_status check(const plmm_world_params *p, plmm_error *err)
{
    PLMM_TRY(check_count("world devices", p->devices, 1, PLMM_WORLD_DEVICES_MAX, err));
    PLMM_TRY(check_count("world values", p->values, 2, PLMM_WORLD_VALUES_MAX, err));
    PLMM_TRY(check_count("world entities", p->entities, p->values, PLMM_WORLD_ENTITIES_MAX, err));
    PLMM_TRY(check_count("world unseen", p->unseen, p->values, PLMM_WORLD_ENTITIES_MAX, err));
    PLMM_TRY(check_count("world days", p->days, 2, 3650, err));
    PLMM_TRY(check_count("world dialogues", p->dialogues, 1, 100000, err));
    PLMM_TRY(check_count("world base_lines", p->base_lines, 0, 10000000, err));
    PLMM_TRY(check_real("world chatter_min", p->chatter_min, 0, p->chatter_max, err));
    PLMM_TRY(check_real("world chatter_max", p->chatter_max, 0, 0.9, err));
    PLMM_TRY(check_real("world personal", p->personal, 0, 0.5, err));
    PLMM_TRY(check_real("world duplicates", p->duplicates, 0, 0.5, err));
    PLMM_TRY(check_real("world facts", p->facts, 0, 1, err));
    PLMM_TRY(check_real("world mix_alpha", p->mix_alpha, 0.01, 1000, err));
    if (p->entities % p->values != 0 || p->unseen % p->values != 0) {
        return plmm_fail(
            err, PLMM_ERR_CONFIG,
            "world entities (%u) and unseen (%u) must be multiples of values (%u), so that "
            "every answer is equally frequent",
            (unsigned)p->entities, (unsigned)p->unseen, (unsigned)p->values);
    }
    return PLMM_OK;
}

static void question(plmm_world_store *s, const world_knowledge *k, const world_entity *e,
                     world_which which, const char *form, plmm_world_test test)
{
    const world_attribute *a = world_attribute_of(k, which);
    const char *v = world_value(k, e, which);
    world_slots t = {.x = e->name, .a = a->name, .k = k->topic->kind};
    world_add_question(s, &(plmm_world_question){.domain = k->topic->name,
                                                 .prompt = world_fill(s, form, &t),
                                                 .response = world_answer(s, v),
                                                 .answer = v,
                                                 .entity = e->name,
                                                 .attribute = a->name,
                                                 .test = test});
}

/* Two different forms a question. A taught entity is asked in forms that no device uses; an unseen
 * one in the devices' forms, so that the entity is all that is new. */
void world_questions(plmm_world_store *s, const plmm_world_params *p,
                     const world_knowledge *experts, uint64_t seed, size_t first[])
{
    plmm_rng rng;
    plmm_rng_init(&rng, seed, WORLD_STREAM_TEST);
    for (uint32_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        const world_knowledge *k = &experts[d];
        first[d] = s->n_questions;
        for (uint32_t i = 0; i < 2 * p->entities; i++) {
            uint32_t f = (uint32_t)plmm_rng_below(&rng, world_unseen_forms.n);
            for (uint32_t j = 0; j < 2; j++) {
                question(s, k, &k->entities[i / 2], i % 2 == 0 ? WORLD_RULE : WORLD_FACT,
                         world_unseen_forms.v[(f + j) % world_unseen_forms.n], PLMM_WORLD_TEMPLATE);
            }
        }
        for (uint32_t i = p->entities; i < k->n; i++) {
            uint32_t f = (uint32_t)plmm_rng_below(&rng, world_taught_forms.n);
            for (uint32_t j = 0; j < 2; j++) {
                question(s, k, &k->entities[i], WORLD_RULE,
                         world_taught_forms.v[(f + j) % world_taught_forms.n], PLMM_WORLD_ENTITY);
            }
        }
    }
    first[PLMM_WORLD_DOMAINS] = s->n_questions;
}

/* Lexicon of a domain: its name, kind, attributes, values and entity names that are talked
 * about. */
static void lexicon(plmm_world_store *s, const world_knowledge *k, uint32_t d,
                    plmm_world_words *out)
{
    const world_topic *t = k->topic;
    const char **w = world_take(s, 4 + 2 * (size_t)k->values + k->taught, sizeof *w);
    if (w == NULL) {
        return;
    }
    size_t n = 0;
    w[n++] = t->kind;
    w[n++] = t->rule.name;
    w[n++] = t->fact.name;
    for (uint32_t i = 0; i < k->values; i++) {
        w[n++] = t->rule.values[i];
        w[n++] = t->fact.values[i];
    }
    for (uint32_t i = 0; i < k->taught; i++) {
        w[n++] = k->entities[i].name;
    }
    s->words[d] = w;
    *out = (plmm_world_words){w, n};
}

static void store_free(plmm_world_store *s)
{
    if (s == NULL) {
        return;
    }
    for (world_chunk *c = s->chunks; c != NULL;) {
        world_chunk *next = c->next;
        plmm_free(c);
        c = next;
    }
    plmm_free(s->base);
    plmm_free(s->dialogues);
    plmm_free(s->questions);
    plmm_free(s);
}

static void make(plmm_world_store *s, plmm_world *w)
{
    const plmm_world_params *p = &w->params;
    world_knowledge experts[PLMM_WORLD_DOMAINS];
    for (uint32_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        plmm_rng rng;
        plmm_rng_init(&rng, w->seed, WORLD_STREAM_E + d);
        world_learn(s, &world_experts[d], p->values, p->entities, p->unseen, NULL, 0, &rng,
                    &experts[d]);
        lexicon(s, &experts[d], d, &w->lexicon[d]);
    }
    if (s->failed) {
        return;
    }
    world_questions(s, p, experts, w->seed, w->first_question);
    world_fleet(s, p, experts, w->seed);
    if (!s->failed && p->base_lines > 0) {
        world_base_text(s, p, experts, w->seed);
    }
}

plmm_status plmm_world_generate(const plmm_world_params *params, uint64_t seed, plmm_world *w,
                                plmm_error *err)
{
    PLMM_TRY(check(params, err));
    plmm_world_store *s = plmm_alloc(1, sizeof *s);
    if (s == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a world: out of memory");
    }
    plmm_world out = {.params = *params, .seed = seed, .store = s};
    make(s, &out);
    if (s->failed) {
        store_free(s);
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot make a world: out of memory");
    }
    out.base = s->base;
    out.n_base = s->n_base;
    out.dialogues = s->dialogues;
    out.n_dialogues = s->n_dialogues;
    out.devices = s->devices;
    out.n_devices = params->devices;
    out.questions = s->questions;
    out.n_questions = s->n_questions;
    out.chance = 1.0 / params->values;
    *w = out;
    return PLMM_OK;
}

void plmm_world_free(plmm_world *w)
{
    store_free(w->store);
    *w = (plmm_world){0};
}
