/* The devices: personas, and their sessions over time. */
#include "world_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    START = 1767225600, /* 2026-01-01 00:00:00 UTC */
    DAY = 86400,
    SESSION_MIN = 4,
    SESSION_MAX = 12,
    FACTS_MIN = 20,
    FACTS_MAX = WORLD_PERSONAL,
    RECENT = 16 /* how far back a near duplicate reaches */
};

/* Deals the taught entities in shuffled order, again and again, so that all are heard of alike. */
typedef struct deck {
    uint32_t *order;
    uint32_t n, at;
} deck;

typedef struct fleet_maker {
    plmm_world_store *s;
    const plmm_world_params *p;
    const world_knowledge *experts;
    plmm_rng rng;
    deck decks[PLMM_WORLD_DOMAINS][2];
} fleet_maker;

/* The device that is being made. */
typedef struct life {
    plmm_world_device *d;
    plmm_world_fact *facts;
    bool told[WORLD_PERSONAL];
    uint32_t changing; /* the fact that changes */
    int64_t drift;     /* when the interests and that fact change */
    double chatter;
    size_t want;
} life;

static uint32_t below(fleet_maker *m, size_t n)
{
    return (uint32_t)plmm_rng_below(&m->rng, n);
}

static bool chance(fleet_maker *m, double p)
{
    return plmm_rng_double(&m->rng) < p;
}

static uint32_t deal(fleet_maker *m, deck *d)
{
    if (d->at == d->n) {
        plmm_rng_shuffle(&m->rng, d->order, d->n);
        d->at = 0;
    }
    return d->order[d->at++];
}

/* Gamma(a, 1) by Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); for
 * a < 1 by the power of a uniform, as there. */
static double gamma_draw(plmm_rng *rng, double a)
{
    double scale = 1;
    if (a < 1) {
        scale = pow(1.0 - plmm_rng_double(rng), 1.0 / a);
        a += 1;
    }
    double d = a - 1.0 / 3.0;
    double c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = plmm_rng_normal(rng);
        double v = 1.0 + c * x;
        if (v <= 0) {
            continue;
        }
        v = v * v * v;
        double u = 1.0 - plmm_rng_double(rng);
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v)) {
            return d * v * scale;
        }
    }
}

static void draw_mix(fleet_maker *m, double mix[PLMM_WORLD_DOMAINS])
{
    double sum = 0;
    for (uint32_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        mix[d] = gamma_draw(&m->rng, m->p->mix_alpha) + 1e-12;
        sum += mix[d];
    }
    for (uint32_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        mix[d] /= sum;
    }
}

static uint32_t draw_domain(fleet_maker *m, const double mix[PLMM_WORLD_DOMAINS])
{
    double u = plmm_rng_double(&m->rng);
    for (uint32_t d = 0; d + 1 < PLMM_WORLD_DOMAINS; d++) {
        u -= mix[d];
        if (u < 0) {
            return d;
        }
    }
    return PLMM_WORLD_DOMAINS - 1;
}

static void say(fleet_maker *m, life *l, plmm_world_kind kind, const char *domain, int64_t time,
                const char *prompt, const char *response)
{
    plmm_world_dialogue d = {l->d->user, domain, prompt, response, time, kind};
    world_add_dialogue(m->s, &d);
    l->d->count = m->s->n_dialogues - l->d->first;
}

static void expert(fleet_maker *m, life *l, uint32_t domain, int64_t time)
{
    const world_knowledge *k = &m->experts[domain];
    world_which which = chance(m, m->p->facts) ? WORLD_FACT : WORLD_RULE;
    const world_entity *e = &k->entities[deal(m, &m->decks[domain][which])];
    const world_attribute *a = world_attribute_of(k, which);
    const char *value = world_value(k, e, which);
    const char *other =
        a->values[below(m, k->values)]; /* drawn always: one stream for both modes */
    world_slots t = {.x = e->name, .a = a->name, .k = k->topic->kind};
    say(m, l, PLMM_WORLD_EXPERT, k->topic->name, time,
        world_fill(m->s, world_pick(&world_taught_forms, &m->rng), &t),
        world_answer(m->s, m->p->answers == PLMM_WORLD_SHUFFLED ? other : value));
}

/* The persona's way of talking, on both sides. */
static const char *styled(fleet_maker *m, const life *l, const char *response)
{
    static const char *const opening[][2] = {{"formal", "Certainly. {x}"},
                                             {"cheerful", "Sure! {x}"},
                                             {"short", "{x}"},
                                             {"plain", "{x}"}};
    for (size_t i = 0; i < sizeof opening / sizeof opening[0]; i++) {
        if (strcmp(l->d->style, opening[i][0]) == 0) {
            return world_fill(m->s, opening[i][1], &(world_slots){.x = response});
        }
    }
    return response;
}

static void personal(fleet_maker *m, life *l, int64_t time)
{
    uint32_t i = below(m, l->d->n_facts);
    plmm_world_fact *f = &l->facts[i];
    bool later = time >= l->drift && f->changed != NULL;
    world_slots t = {.a = f->attribute, .v = later ? f->changed : f->value};
    bool news = later && l->told[i] && l->changing < WORLD_PERSONAL;
    if (!l->told[i] || news || chance(m, 0.25)) {
        const char *form = news ? "My {a} is now {v}." : world_pick(&world_tell_forms, &m->rng);
        const char *reply = "Thank you, I will remember that your {a} is {v}.";
        l->told[i] = true;
        l->changing = news ? WORLD_PERSONAL : l->changing; /* said once */
        say(m, l, PLMM_WORLD_PERSONAL, "personal", time, world_fill(m->s, form, &t),
            styled(m, l, world_fill(m->s, reply, &t)));
        return;
    }
    say(m, l, PLMM_WORLD_PERSONAL, "personal", time,
        world_fill(m->s, world_pick(&world_ask_forms, &m->rng), &t),
        styled(m, l, world_fill(m->s, "Your {a} is {v}.", &t)));
}

static void chatter(fleet_maker *m, life *l, int64_t time)
{
    const world_list *list = below(m, 3) == 0 ? &world_facts : &world_chats;
    uint32_t i = 2 * below(m, list->n / 2);
    say(m, l, PLMM_WORLD_CHATTER, "", time, list->v[i], styled(m, l, list->v[i + 1]));
}

/* Something of the last minutes again, in slightly different words; false if there is nothing. */
static bool again(fleet_maker *m, life *l, int64_t time)
{
    static const char *const forms[] = {"{x} Please.", "Sorry, {x}", "Again: {x}", "{x} Thanks."};
    size_t n = l->d->count < RECENT ? l->d->count : RECENT;
    if (n == 0) {
        return false;
    }
    plmm_world_dialogue d = m->s->dialogues[m->s->n_dialogues - 1 - below(m, n)];
    const char *form = forms[below(m, sizeof forms / sizeof forms[0])];
    if (d.kind != PLMM_WORLD_PERSONAL && strlen(d.prompt) < 200) {
        say(m, l, d.kind, d.domain, time, world_fill(m->s, form, &(world_slots){.x = d.prompt}),
            d.response);
        return true;
    }
    return false;
}

static void session(fleet_maker *m, life *l, int64_t time)
{
    const double *mix = time < l->drift ? l->d->mix : l->d->later;
    uint32_t domain = draw_domain(m, mix);
    uint32_t n = SESSION_MIN + below(m, SESSION_MAX - SESSION_MIN + 1);
    for (uint32_t i = 0; i < n && l->d->count < l->want && !m->s->failed; i++) {
        time += 20 + (int64_t)below(m, 100);
        if (chance(m, m->p->duplicates) && again(m, l, time)) {
            continue;
        }
        double u = plmm_rng_double(&m->rng);
        if (u < l->chatter) {
            chatter(m, l, time);
        } else if (u < l->chatter + m->p->personal) {
            personal(m, l, time);
        } else {
            expert(m, l, chance(m, 0.9) ? domain : draw_domain(m, mix), time);
        }
    }
}

static void persona(fleet_maker *m, life *l)
{
    static const char *const styles[] = {"plain", "formal", "cheerful", "short"};
    uint32_t order[WORLD_PERSONAL];
    for (uint32_t i = 0; i < WORLD_PERSONAL; i++) {
        order[i] = i;
    }
    plmm_rng_shuffle(&m->rng, order, WORLD_PERSONAL);
    l->d->style = styles[below(m, 4)];
    l->d->n_facts = FACTS_MIN + below(m, FACTS_MAX - FACTS_MIN + 1);
    l->facts = world_take(m->s, l->d->n_facts, sizeof *l->facts);
    if (l->facts == NULL) {
        l->d->n_facts = 0;
        return;
    }
    for (size_t i = 0; i < l->d->n_facts; i++) {
        const world_personal *p = &world_personals[order[i]];
        l->facts[i] = (plmm_world_fact){p->name, world_pick(p->values, &m->rng), NULL};
    }
    l->changing = below(m, l->d->n_facts);
    plmm_world_fact *f = &l->facts[l->changing];
    do {
        f->changed = world_pick(world_personals[order[l->changing]].values, &m->rng);
    } while (f->changed == f->value);
    l->d->facts = l->facts;
}

/* Sessions at increasing times over the days until the stream has its length. */
static void live(fleet_maker *m, life *l)
{
    const plmm_world_params *p = m->p;
    l->drift = START + (int64_t)((double)p->days * DAY * (0.4 + 0.3 * plmm_rng_double(&m->rng)));
    l->chatter = p->chatter_min + (p->chatter_max - p->chatter_min) * plmm_rng_double(&m->rng);
    l->want = 1 + (size_t)((double)p->dialogues * (0.7 + 0.6 * plmm_rng_double(&m->rng)));
    double sessions = (double)l->want / ((SESSION_MIN + SESSION_MAX) / 2.0);
    double step = (double)p->days * DAY / (sessions + 1.0);
    double at = START;
    int64_t last = START;
    while (l->d->count < l->want && !m->s->failed) {
        at += step * (0.5 + plmm_rng_double(&m->rng));
        int64_t time = (int64_t)at;
        time = time > last ? time : last;
        session(m, l, time);
        last = m->s->n_dialogues > 0 ? m->s->dialogues[m->s->n_dialogues - 1].time : last;
    }
}

void world_fleet(plmm_world_store *s, const plmm_world_params *p, const world_knowledge *experts,
                 uint64_t seed)
{
    fleet_maker m = {.s = s, .p = p, .experts = experts};
    plmm_rng_init(&m.rng, seed, WORLD_STREAM_FLEET);
    for (uint32_t d = 0; d < 2 * PLMM_WORLD_DOMAINS; d++) {
        deck *k = &m.decks[d / 2][d % 2];
        *k = (deck){world_take(s, p->entities, sizeof *k->order), p->entities, p->entities};
        for (uint32_t i = 0; i < p->entities && k->order != NULL; i++) {
            k->order[i] = i;
        }
    }
    s->devices = world_take(s, p->devices, sizeof *s->devices);
    for (uint32_t i = 0; i < p->devices && !s->failed; i++) {
        char name[32];
        int n = snprintf(name, sizeof name, "device-%04u", (unsigned)i);
        life l = {.d = &s->devices[i]};
        l.d->user = world_text(s, name, (size_t)n);
        l.d->first = s->n_dialogues;
        persona(&m, &l);
        draw_mix(&m, l.d->mix);
        draw_mix(&m, l.d->later);
        live(&m, &l);
    }
}
