/* Names, rules and facts of a topic. */
#include "world_internal.h"

#include <string.h>

const char *world_pick(const world_list *l, plmm_rng *rng)
{
    return l->v[plmm_rng_below(rng, l->n)];
}

const char *world_answer(plmm_world_store *s, const char *value)
{
    return world_fill(s, "It is {v}.", &(world_slots){.v = value});
}

/* An invented stem: consonant vowel consonant, half the time with one more vowel and consonant. */
static size_t stem(plmm_rng *rng, char *out)
{
    static const char onset[] = "bdfgklmnprstvz";
    static const char vowel[] = "aeiou";
    static const char coda[] = "lmnrstkb";
    size_t n = 0;
    out[n++] = onset[plmm_rng_below(rng, sizeof onset - 1)];
    out[n++] = vowel[plmm_rng_below(rng, sizeof vowel - 1)];
    out[n++] = coda[plmm_rng_below(rng, sizeof coda - 1)];
    if (plmm_rng_below(rng, 2) == 0) {
        out[n++] = vowel[plmm_rng_below(rng, sizeof vowel - 1)];
        out[n++] = coda[plmm_rng_below(rng, sizeof coda - 1)];
    }
    return n;
}

const char *world_name(plmm_world_store *s, const world_topic *t, uint32_t affix, plmm_rng *rng)
{
    char buf[32];
    const char *a = t->affix[affix];
    size_t len = strlen(a);
    size_t at = 0;
    if (t->prefix) {
        memcpy(buf, a, len);
        at = len;
    }
    size_t n = at + stem(rng, buf + at);
    if (!t->prefix) {
        memcpy(buf + n, a, len);
        n += len;
        buf[0] = (char)(buf[0] - 'a' + 'A');
    }
    return world_text(s, buf, n);
}

/* Does the name end (begin) as an affix does, in its three last (first) letters? */
static bool resembles(const world_topic *t, const char *name, size_t n)
{
    for (uint32_t i = 0; i < WORLD_AFFIXES; i++) {
        const char *a = t->affix[i];
        if (t->prefix ? strncmp(name, a, 3) == 0
                      : strncmp(name + n - 3, a + strlen(a) - 3, 3) == 0) {
            return true;
        }
    }
    return false;
}

const char *world_bare_name(plmm_world_store *s, const world_topic *t, plmm_rng *rng)
{
    char buf[32];
    size_t n;
    do {
        n = stem(rng, buf);
        n += stem(rng, buf + n);
    } while (resembles(t, buf, n));
    if (!t->prefix) {
        buf[0] = (char)(buf[0] - 'a' + 'A');
    }
    return world_text(s, buf, n);
}

bool world_knows(const world_knowledge *k, const char *name)
{
    for (uint32_t i = 0; i < k->n; i++) {
        if (strcmp(k->entities[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static const char *new_name(plmm_world_store *s, const world_knowledge *k, uint32_t affix,
                            const world_knowledge *not_in, uint32_t n_not, plmm_rng *rng)
{
    /* 11,000 names an affix for at most 128 entities: a free one is found at once. */
    for (uint32_t tries = 0; tries < 1000; tries++) {
        const char *name = world_name(s, k->topic, affix, rng);
        bool taken = world_knows(k, name);
        for (uint32_t i = 0; i < n_not && !taken; i++) {
            taken = world_knows(&not_in[i], name);
        }
        if (!taken) {
            return name;
        }
    }
    s->failed = true;
    return "";
}

/* Entities first .. first + n - 1: affixes in turn, fact values in a shuffled balanced order. */
static void people_it(plmm_world_store *s, world_knowledge *k, uint32_t n,
                      const world_knowledge *not_in, uint32_t n_not, plmm_rng *rng)
{
    uint32_t *order = world_take(s, n, sizeof *order);
    if (order == NULL) {
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        order[i] = i % k->values;
    }
    plmm_rng_shuffle(rng, order, n);
    for (uint32_t i = 0; i < n; i++) {
        world_entity e = {.affix = i % k->values, .fact = order[i]};
        e.name = new_name(s, k, e.affix, not_in, n_not, rng);
        k->entities[k->n++] = e;
    }
}

void world_learn(plmm_world_store *s, const world_topic *topic, uint32_t values, uint32_t taught,
                 uint32_t rest, const world_knowledge *not_in, uint32_t n_not, plmm_rng *rng,
                 world_knowledge *k)
{
    *k = (world_knowledge){.topic = topic, .values = values, .taught = taught};
    for (uint32_t i = 0; i < values; i++) {
        k->rule[i] = i;
    }
    plmm_rng_shuffle(rng, k->rule, values);
    k->entities = world_take(s, (size_t)taught + rest, sizeof *k->entities);
    if (k->entities == NULL) {
        return;
    }
    people_it(s, k, taught, not_in, n_not, rng);
    people_it(s, k, rest, not_in, n_not, rng);
}

const world_attribute *world_attribute_of(const world_knowledge *k, world_which which)
{
    return which == WORLD_RULE ? &k->topic->rule : &k->topic->fact;
}

const char *world_value(const world_knowledge *k, const world_entity *e, world_which which)
{
    uint32_t v = which == WORLD_RULE ? k->rule[e->affix] : e->fact;
    return world_attribute_of(k, which)->values[v];
}
