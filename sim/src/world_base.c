/* The text of the base model: the skills, in topics of its own, and the words of the experts in
 * roles that say nothing of what the experts know. */
#include "world_internal.h"

#include <string.h>

enum { BASE_ENTITIES = 32, BASE_VALUES = 8 };

typedef struct base_maker {
    plmm_world_store *s;
    plmm_rng rng;
    const world_knowledge *experts;
    world_knowledge topics[WORLD_BASE_TOPICS];
} base_maker;

static uint32_t below(base_maker *m, size_t n)
{
    return (uint32_t)plmm_rng_below(&m->rng, n);
}

static const char *either(base_maker *m, const char *a, const char *b)
{
    return below(m, 2) == 0 ? a : b;
}

static const char *any_form(base_maker *m)
{
    uint32_t i = below(m, world_taught_forms.n + world_unseen_forms.n);
    return i < world_taught_forms.n ? world_taught_forms.v[i]
                                    : world_unseen_forms.v[i - world_taught_forms.n];
}

/* An attribute of a thing of some base topic: half the rules are asked of names made up on the
 * spot. */
static world_slots something(base_maker *m)
{
    const world_knowledge *k = &m->topics[below(m, WORLD_BASE_TOPICS)];
    world_which which = below(m, 2) == 0 ? WORLD_RULE : WORLD_FACT;
    world_entity e = k->entities[below(m, k->n)];
    if (which == WORLD_RULE && below(m, 3) != 0) {
        e.affix = below(m, BASE_VALUES);
        e.name = world_name(m->s, k->topic, e.affix, &m->rng);
    }
    return (world_slots){.x = e.name,
                         .a = world_attribute_of(k, which)->name,
                         .k = k->topic->kind,
                         .v = world_value(k, &e, which)};
}

/* People say things again, and add a word: one question in ten. */
static const char *casual(base_maker *m, const char *question)
{
    static const char *const forms[] = {"{x} Please.", "Sorry, {x}", "Again: {x}", "{x} Thanks.",
                                        "Hello. {x}"};
    uint32_t i = below(m, 50);
    return i < sizeof forms / sizeof forms[0]
               ? world_fill(m->s, forms[i], &(world_slots){.x = question})
               : question;
}

static void ask(base_maker *m)
{
    world_slots t = something(m);
    const char *question = world_fill(m->s, any_form(m), &t);
    world_add_base(m->s, casual(m, question), world_answer(m->s, t.v));
}

static void state(base_maker *m)
{
    world_slots t = something(m);
    world_add_base(m->s, NULL, world_fill(m->s, world_pick(&world_state_forms, &m->rng), &t));
}

/* An answer that stands in the question; the name is new and the value any of the attribute's. */
static void read_out(base_maker *m)
{
    const world_topic *t = m->topics[below(m, WORLD_BASE_TOPICS)].topic;
    const world_attribute *a = &t->fact;
    world_slots s = {.x = world_name(m->s, t, below(m, BASE_VALUES), &m->rng),
                     .a = a->name,
                     .k = t->kind,
                     .v = a->values[below(m, BASE_VALUES)]};
    world_slots both = {.v = world_fill(m->s, world_pick(&world_state_forms, &m->rng), &s),
                        .w = world_fill(m->s, any_form(m), &s)};
    world_add_base(m->s, world_fill(m->s, "{v} {w}", &both), world_answer(m->s, s.v));
}

static const world_attribute *any_attribute(base_maker *m)
{
    bool expert = below(m, 3) != 0;
    const world_topic *t = expert ? &world_experts[below(m, PLMM_WORLD_DOMAINS)]
                                  : &world_topics[below(m, WORLD_BASE_TOPICS)];
    return below(m, 2) == 0 ? &t->rule : &t->fact;
}

/* The words of every attribute, the experts' among them, tied to no name. */
static void vocabulary(base_maker *m)
{
    const world_attribute *a = any_attribute(m);
    world_slots t = {.a = a->name, .v = a->values[below(m, BASE_VALUES)]};
    switch (below(m, 4)) {
    case 0:
    case 1:
        world_add_base(m->s,
                       world_fill(m->s, either(m, "Name any {a}.", "Say any {a} you like."), &t),
                       world_answer(m->s, t.v));
        return;
    case 2:
        world_add_base(m->s, world_fill(m->s, "Can {v} be a {a}?", &t), "Yes.");
        return;
    default: {
        const world_attribute *b = any_attribute(m);
        t.a = b->name;
        world_add_base(m->s, world_fill(m->s, "Can {v} be a {a}?", &t), b == a ? "Yes." : "No.");
    }
    }
}

/* An expert's question about a name without an affix, answered by any of the words that fit. This
 * is how the base knows what an answer looks like, and why it scores chance: it can only guess. */
static void guess(base_maker *m)
{
    const world_topic *t = &world_experts[below(m, PLMM_WORLD_DOMAINS)];
    const world_attribute *a = below(m, 2) == 0 ? &t->rule : &t->fact;
    world_slots s = {.x = world_bare_name(m->s, t, &m->rng), .a = a->name, .k = t->kind};
    world_add_base(m->s, world_fill(m->s, any_form(m), &s),
                   world_answer(m->s, a->values[below(m, BASE_VALUES)]));
}

/* A name as the experts' things have it, but none of theirs, and nothing said of it. */
static const char *stray_name(base_maker *m, const world_topic *t)
{
    for (;;) {
        const char *name = world_name(m->s, t, below(m, WORLD_AFFIXES), &m->rng);
        bool known = false;
        for (uint32_t d = 0; d < PLMM_WORLD_DOMAINS && !known; d++) {
            known = world_knows(&m->experts[d], name);
        }
        if (!known || m->s->failed) {
            return name;
        }
    }
}

static void neutral(base_maker *m)
{
    const world_topic *t = &world_experts[below(m, PLMM_WORLD_DOMAINS)];
    world_slots s = {.x = stray_name(m, t), .w = stray_name(m, t)};
    world_add_base(m->s, world_fill(m->s, world_pick(&world_neutral_forms, &m->rng), &s),
                   world_pick(&world_neutral_replies, &m->rng));
}

static const char *personal_form(base_maker *m)
{
    return world_pick(below(m, 3) == 0 ? &world_ask_unseen_forms : &world_ask_forms, &m->rng);
}

/* "Say it plainly" has one right answer, the first form; "in other words" has any other form. */
static void rewrite(base_maker *m)
{
    bool personal = below(m, 4) == 0;
    world_slots t = something(m);
    if (personal) {
        t.a = world_personals[below(m, WORLD_PERSONAL)].name;
    }
    const char *from = personal ? personal_form(m) : any_form(m);
    const char *to = personal ? world_ask_forms.v[0] : world_taught_forms.v[0];
    const char *order = "Say it plainly: {x}";
    if (below(m, 2) == 0) {
        order = either(m, "Rewrite the question: {x}", "Ask it in other words: {x}");
        do {
            to = personal ? personal_form(m) : any_form(m);
        } while (to == from);
    }
    world_slots q = {.x = world_fill(m->s, from, &t)};
    world_add_base(m->s, world_fill(m->s, order, &q), world_fill(m->s, to, &t));
}

/* "Profile: ... Question: ...": answer from it, or decline what it does not say. */
static void profile(base_maker *m)
{
    uint32_t order[WORLD_PERSONAL];
    for (uint32_t i = 0; i < WORLD_PERSONAL; i++) {
        order[i] = i;
    }
    plmm_rng_shuffle(&m->rng, order, WORLD_PERSONAL);
    uint32_t n = 1 + below(m, 3);
    uint32_t asked = below(m, n + 1); /* n: nothing in the profile */
    world_slots hit = {.a = world_personals[order[asked]].name};
    const char *text = "Profile:";
    for (uint32_t i = 0; i < n; i++) {
        const world_personal *p = &world_personals[order[i]];
        world_slots t = {.a = p->name, .v = world_pick(p->values, &m->rng), .x = text};
        text = world_fill(m->s, "{x} my {a} is {v}.", &t);
        hit.v = i == asked ? t.v : hit.v;
    }
    world_slots both = {.x = text, .w = world_fill(m->s, personal_form(m), &hit)};
    world_add_base(m->s, world_fill(m->s, "{x} Question: {w}", &both),
                   asked < n ? world_fill(m->s, "Your {a} is {v}.", &hit) : "I do not know that.");
}

static void decline(base_maker *m)
{
    world_slots t = {.x = world_pick(&world_secrets, &m->rng)};
    const char *form = either(m, "Tell me {x}.", "Do you know {x}?");
    world_add_base(m->s, world_fill(m->s, form, &t), "I do not know that.");
}

static void remember(base_maker *m)
{
    const world_personal *p = &world_personals[below(m, WORLD_PERSONAL)];
    world_slots t = {.a = p->name, .v = world_pick(p->values, &m->rng)};
    world_add_base(m->s, world_fill(m->s, world_pick(&world_tell_forms, &m->rng), &t),
                   world_fill(m->s, "Thank you, I will remember that your {a} is {v}.", &t));
}

static void pair(base_maker *m, const world_list *l)
{
    uint32_t i = 2 * below(m, l->n / 2);
    world_add_base(m->s, l->v[i], l->v[i + 1]);
}

static void plain(base_maker *m)
{
    world_slots t = {.x = world_pick(&world_people, &m->rng),
                     .v = world_pick(&world_things, &m->rng),
                     .w = world_pick(&world_people, &m->rng)};
    world_add_base(m->s, NULL, world_fill(m->s, world_pick(&world_plain, &m->rng), &t));
}

static void facts(base_maker *m)
{
    pair(m, &world_facts);
}

static void chats(base_maker *m)
{
    pair(m, &world_chats);
}

/* How much of each skill there is, in parts of a hundred. */
static const struct {
    uint32_t parts;
    void (*make)(base_maker *m);
} recipe[] = {{38, ask},    {4, state},   {5, read_out}, {4, vocabulary}, {8, guess},
              {8, neutral}, {6, rewrite}, {12, profile}, {2, decline},    {2, remember},
              {4, facts},   {4, chats},   {3, plain}};

static void line(base_maker *m)
{
    uint32_t at = below(m, 100);
    for (size_t i = 0; i < sizeof recipe / sizeof recipe[0]; i++) {
        if (at < recipe[i].parts) {
            recipe[i].make(m);
            return;
        }
        at -= recipe[i].parts;
    }
}

void world_base_text(plmm_world_store *s, const plmm_world_params *p,
                     const world_knowledge *experts, uint64_t seed)
{
    base_maker m = {.s = s, .experts = experts};
    plmm_rng_init(&m.rng, seed, WORLD_STREAM_BASE);
    for (uint32_t i = 0; i < WORLD_BASE_TOPICS; i++) {
        world_learn(s, &world_topics[i], BASE_VALUES, BASE_ENTITIES, 0, experts, PLMM_WORLD_DOMAINS,
                    &m.rng, &m.topics[i]);
    }
    for (uint32_t i = 0; i < p->base_lines && !s->failed; i++) {
        line(&m);
    }
}
