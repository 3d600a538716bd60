#include "data.h"

#include "plmm/alloc.h"
#include "plmm/enrol.h"
#include "plmm/file.h"
#include "plmm/rng.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void sim_data_free(sim_data *d)
{
    for (size_t i = 0; i < d->n_files; i++) {
        plmm_dialogues_free(&d->files[i]);
    }
    plmm_free(d->files);
    plmm_free(d->dialogues);
    plmm_free(d->devices);
    plmm_free(d->questions);
    plmm_lexicons_free(d->lexicons);
    plmm_world_free(&d->world);
    *d = (sim_data){0};
}

static plmm_status no_memory(plmm_error *err)
{
    return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold the dialogues: out of memory");
}

static int32_t find_expert(const sim_data *d, const char *name)
{
    for (uint32_t e = 0; e < d->n_experts; e++) {
        if (strcmp(d->experts[e], name) == 0) {
            return (int32_t)e;
        }
    }
    return SIM_NO_EXPERT;
}

static plmm_status add_expert(sim_data *d, const char *name, plmm_error *err)
{
    PLMM_TRY(plmm_expert_check(name, err));
    if (find_expert(d, name) != SIM_NO_EXPERT) {
        return PLMM_OK;
    }
    if (d->n_experts == PLMM_SIM_EXPERTS_MAX || strlen(name) >= PLMM_SIM_NAME) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "cannot add the domain %s: at most %d domains of at most %d characters",
                         name, PLMM_SIM_EXPERTS_MAX, PLMM_SIM_NAME - 1);
    }
    (void)snprintf(d->experts[d->n_experts++], PLMM_SIM_NAME, "%s", name);
    return PLMM_OK;
}

/* ---- a generated world ---- */

static plmm_status world_names(sim_data *d, const plmm_sim_config *c, plmm_error *err)
{
    d->kinds[PLMM_WORLD_TEMPLATE] = "new wording";
    d->kinds[PLMM_WORLD_ENTITY] = "unseen entities";
    for (size_t i = 0; i < PLMM_WORLD_DOMAINS && c->experts_n == 0; i++) {
        PLMM_TRY(add_expert(d, plmm_world_domain(i), err));
    }
    for (uint32_t i = 0; i < c->experts_n; i++) {
        bool known = false;
        for (size_t k = 0; k < PLMM_WORLD_DOMAINS; k++) {
            known = known || strcmp(plmm_world_domain(k), c->experts[i]) == 0;
        }
        if (!known) {
            return plmm_fail(err, PLMM_ERR_CONFIG,
                             "experts names %s, the world has medicine, finance, it and art",
                             c->experts[i]);
        }
        PLMM_TRY(add_expert(d, c->experts[i], err));
    }
    return PLMM_OK;
}

static plmm_status world_lexicons(sim_data *d, plmm_error *err)
{
    PLMM_TRY(plmm_lexicons_new(&d->lexicons, err));
    for (size_t i = 0; i < PLMM_WORLD_DOMAINS; i++) {
        const plmm_world_words *w = &d->world.lexicon[i];
        size_t len = 0;
        for (size_t k = 0; k < w->count; k++) {
            len += strlen(w->words[k]) + 1;
        }
        char *text = plmm_alloc(len + 1, 1);
        if (text == NULL) {
            return no_memory(err);
        }
        char *p = text;
        for (size_t k = 0; k < w->count; k++) {
            size_t n = strlen(w->words[k]);
            memcpy(p, w->words[k], n);
            p[n] = '\n';
            p += n + 1;
        }
        const char *name = plmm_world_domain(i);
        plmm_status rc = plmm_lexicons_add(d->lexicons, name, text, len, "the world", err);
        plmm_free(text);
        PLMM_TRY(rc);
        d->expert_of[i] = find_expert(d, name);
    }
    return PLMM_OK;
}

static void world_questions(sim_data *d, const plmm_sim_config *c, uint32_t e, uint32_t kind)
{
    uint32_t taken = 0;
    for (size_t i = 0; i < d->world.n_questions && taken < c->data.questions; i++) {
        const plmm_world_question *q = &d->world.questions[i];
        if ((uint32_t)q->test == kind && strcmp(q->domain, d->experts[e]) == 0) {
            d->questions[d->n_questions++] = (sim_question){q->prompt, q->response, e, kind};
            taken++;
        }
    }
}

static plmm_status load_world(sim_data *d, const plmm_sim_config *c, uint64_t seed, plmm_error *err)
{
    plmm_world_params p = c->world;
    p.base_lines = 0;
    PLMM_TRY(plmm_world_generate(&p, c->world_seed != 0 ? c->world_seed : seed, &d->world, err));
    const plmm_world *w = &d->world;
    d->chance = w->chance;
    d->exact = true;
    d->dialogues = plmm_alloc(w->n_dialogues, sizeof *d->dialogues);
    d->devices = plmm_alloc(w->n_devices, sizeof *d->devices);
    d->questions = plmm_alloc(w->n_questions, sizeof *d->questions);
    if (d->dialogues == NULL || d->devices == NULL || d->questions == NULL) {
        return no_memory(err);
    }
    d->n_dialogues = w->n_dialogues;
    d->n_devices = w->n_devices;
    for (size_t i = 0; i < w->n_dialogues; i++) {
        /* The generator knows the domain; a device does not, it has its lexicons. */
        d->dialogues[i] =
            (sim_dialogue){w->dialogues[i].prompt, w->dialogues[i].response, SIM_BY_LEXICON};
    }
    for (size_t i = 0; i < w->n_devices; i++) {
        d->devices[i] = (sim_device){w->devices[i].first, w->devices[i].count};
    }
    for (uint32_t e = 0; e < d->n_experts; e++) {
        for (uint32_t kind = 0; kind < SIM_KINDS; kind++) {
            world_questions(d, c, e, kind);
        }
    }
    return world_lexicons(d, err);
}

/* ---- files of dialogues ---- */

/* A dialogue of a file with its user's number and its domain. */
typedef struct record {
    const plmm_dialogue *d;
    uint32_t user;
    int32_t expert;
} record;

typedef struct records {
    record *v;
    size_t n;
    uint32_t users;
    uint32_t *count, *first, *order; /* [users], [users], [n]: dialogues by user, in file order */
} records;

static void records_free(records *r)
{
    plmm_free(r->v);
    plmm_free(r->count);
    plmm_free(r->first);
    plmm_free(r->order);
}

/* The domain of a file: of the configuration, or NULL: the dialogue's own. */
static const char *file_domain(const plmm_sim_config *c, size_t file)
{
    return c->data.domains_n == 0 ? NULL : c->data.domains[c->data.domains_n == 1 ? 0 : file];
}

/* Lower-case letters, digits, '.', '-', '_' of any text: a name that the protocol takes. */
static void plain_name(char out[PLMM_SIM_NAME], const char *text)
{
    size_t n = 0;
    for (; *text != '\0' && n < PLMM_EXPERT_MAX; text++) {
        int c = tolower((unsigned char)*text);
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    (n > 0 && (c == '.' || c == '-' || c == '_'));
        out[n] = (char)(good ? c : '-');
        n += good || n > 0;
    }
    out[n] = '\0';
}

static plmm_status file_names(sim_data *d, const plmm_sim_config *c, plmm_error *err)
{
    d->kinds[0] = "later dialogues";
    d->kinds[1] = "new users";
    for (uint32_t i = 0; i < c->experts_n; i++) {
        PLMM_TRY(add_expert(d, c->experts[i], err));
    }
    for (uint32_t i = 0; i < c->data.domains_n && c->experts_n == 0; i++) {
        PLMM_TRY(add_expert(d, c->data.domains[i], err));
    }
    for (size_t f = 0; f < d->n_files && c->experts_n == 0 && c->data.domains_n == 0; f++) {
        for (size_t i = 0; i < d->files[f].n; i++) {
            char name[PLMM_SIM_NAME];
            plain_name(name, d->files[f].v[i].domain);
            PLMM_TRY(name[0] == '\0' ? PLMM_OK : add_expert(d, name, err));
        }
    }
    if (d->n_experts == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "the dialogues of %s name no domain; set data.domains",
                         c->data.files_n > 0 ? c->data.files[0] : "data.files");
    }
    return PLMM_OK;
}

static plmm_status read_files(sim_data *d, const plmm_sim_config *c, plmm_error *err)
{
    d->files = plmm_alloc(c->data.files_n, sizeof *d->files);
    if (d->files == NULL) {
        return no_memory(err);
    }
    for (; d->n_files < c->data.files_n; d->n_files++) {
        char path[PLMM_PATH_MAX];
        PLMM_TRY(plmm_path_join(path, sizeof path, c->data.root, c->data.files[d->n_files], err));
        plmm_status rc = plmm_dialogues_read(path, 0, &d->files[d->n_files], err);
        if (rc != PLMM_OK) {
            return plmm_fail_in(err, rc, "cannot use data.files (--set data.root=DIR says where)");
        }
    }
    return PLMM_OK;
}

/* A table from user name to number, by open addressing. */
typedef struct users {
    const char **name;
    uint32_t *id;
    size_t cap;
    uint32_t n;
} users;

static uint32_t user_number(users *u, const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = name; *p != '\0'; p++) {
        h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    }
    size_t i = (size_t)(h % u->cap);
    while (u->name[i] != NULL && strcmp(u->name[i], name) != 0) {
        i = i + 1 == u->cap ? 0 : i + 1;
    }
    if (u->name[i] == NULL) {
        u->name[i] = name;
        u->id[i] = u->n++;
    }
    return u->id[i];
}

/* Users by name; dialogues that name nobody are dealt out in turns to `dealt` invented users. */
static plmm_status collect(const sim_data *d, const plmm_sim_config *c, uint32_t dealt, records *r,
                           plmm_error *err)
{
    size_t total = 0;
    for (size_t f = 0; f < d->n_files; f++) {
        total += d->files[f].n;
    }
    users u = {.cap = 2 * total + 1};
    u.name = plmm_alloc(u.cap, sizeof *u.name);
    u.id = plmm_alloc(u.cap, sizeof *u.id);
    r->v = plmm_alloc(total, sizeof *r->v);
    if (u.name == NULL || u.id == NULL || r->v == NULL) {
        plmm_free(u.name);
        plmm_free(u.id);
        return no_memory(err);
    }
    uint32_t anonymous = 0;
    for (size_t f = 0; f < d->n_files; f++) {
        const char *domain = file_domain(c, f);
        for (size_t i = 0; i < d->files[f].n; i++) {
            const plmm_dialogue *x = &d->files[f].v[i];
            char own[PLMM_SIM_NAME];
            plain_name(own, x->domain);
            record *q = &r->v[r->n];
            *q = (record){x, 0, find_expert(d, domain != NULL ? domain : own)};
            if (q->expert != SIM_NO_EXPERT) {
                q->user = x->user[0] != '\0' ? user_number(&u, x->user) : UINT32_MAX - anonymous++;
                r->n++;
            }
        }
    }
    for (size_t i = 0; i < r->n; i++) {
        if (r->v[i].user > UINT32_MAX - anonymous) {
            r->v[i].user = u.n + (UINT32_MAX - r->v[i].user) % dealt;
        }
    }
    r->users = u.n + (anonymous > 0 ? dealt : 0);
    plmm_free(u.name);
    plmm_free(u.id);
    return PLMM_OK;
}

static plmm_status group(records *r, plmm_error *err)
{
    r->count = plmm_alloc((size_t)r->users + 1, sizeof *r->count);
    r->first = plmm_alloc((size_t)r->users + 1, sizeof *r->first);
    r->order = plmm_alloc(r->n, sizeof *r->order);
    if (r->count == NULL || r->first == NULL || r->order == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < r->n; i++) {
        r->count[r->v[i].user]++;
    }
    for (uint32_t u = 1; u < r->users; u++) {
        r->first[u] = r->first[u - 1] + r->count[u - 1];
    }
    for (uint32_t u = 0; u < r->users; u++) {
        r->count[u] = 0;
    }
    for (size_t i = 0; i < r->n; i++) {
        uint32_t u = r->v[i].user;
        r->order[r->first[u] + r->count[u]++] = (uint32_t)i;
    }
    return PLMM_OK;
}

/* Moves at most `most` of the questions of one expert and kind, spread evenly over what could be
 * asked, behind the n there are; returns how many. */
static size_t thin_kind(sim_data *d, size_t n, size_t kept, uint32_t most, const uint32_t at[2])
{
    size_t have = 0;
    for (size_t i = 0; i < n; i++) {
        have += d->questions[i].expert == at[0] && d->questions[i].kind == at[1];
    }
    size_t want = have < most ? have : most;
    size_t seen = 0;
    for (size_t i = 0; i < n; i++) {
        if (d->questions[i].expert != at[0] || d->questions[i].kind != at[1]) {
            continue;
        }
        if ((seen + 1) * want / have > seen * want / have) { /* the next of want even steps */
            d->questions[n + kept++] = d->questions[i];
        }
        seen++;
    }
    return kept;
}

static void thin_questions(sim_data *d, uint32_t most)
{
    size_t kept = 0;
    size_t n = d->n_questions;
    for (uint32_t e = 0; e < d->n_experts; e++) {
        for (uint32_t kind = 0; kind < SIM_KINDS; kind++) {
            kept = thin_kind(d, n, kept, most, (const uint32_t[2]){e, kind});
        }
    }
    memmove(d->questions, d->questions + n, kept * sizeof *d->questions);
    d->n_questions = kept;
}

static void take_user(sim_data *d, const plmm_sim_config *c, const records *r, uint32_t user,
                      bool held_out)
{
    uint32_t n = r->count[user] < c->data.per_device ? r->count[user] : c->data.per_device;
    uint32_t later = held_out ? n : (uint32_t)ceil(c->data.time_out * n);
    later = !held_out && later == n ? n - 1 : later;
    sim_device dev = {d->n_dialogues, n - later};
    for (uint32_t i = 0; i < n; i++) {
        const record *q = &r->v[r->order[r->first[user] + i]];
        if (i < n - later) {
            d->dialogues[d->n_dialogues++] =
                (sim_dialogue){q->d->prompt, q->d->response, q->expert};
        } else {
            d->questions[d->n_questions++] =
                (sim_question){q->d->prompt, q->d->response, (uint32_t)q->expert, held_out ? 1 : 0};
        }
    }
    if (!held_out) {
        d->devices[d->n_devices++] = dev;
    }
}

static uint32_t held_out_users(const plmm_sim_config *c)
{
    return (uint32_t)ceil(c->data.users_out * c->data.devices / (1 - c->data.users_out));
}

static plmm_status choose_users(sim_data *d, const plmm_sim_config *c, const records *r,
                                uint64_t seed, plmm_error *err)
{
    uint32_t *pick = plmm_alloc((size_t)r->users + 1, sizeof *pick);
    d->dialogues = plmm_alloc(r->n, sizeof *d->dialogues);
    d->devices = plmm_alloc(c->data.devices, sizeof *d->devices);
    d->questions = plmm_alloc(2 * r->n + 1, sizeof *d->questions);
    if (pick == NULL || d->dialogues == NULL || d->devices == NULL || d->questions == NULL) {
        plmm_free(pick);
        return no_memory(err);
    }
    uint32_t n = 0;
    for (uint32_t u = 0; u < r->users; u++) {
        pick[n] = u;
        n += r->count[u] >= c->data.least && r->count[u] >= 2;
    }
    plmm_rng rng;
    plmm_rng_init(&rng, seed, 0x75736572); /* "user" */
    plmm_rng_shuffle(&rng, pick, n);
    uint32_t out = held_out_users(c);
    if (n < c->data.devices + (out > 0 ? 1 : 0)) {
        plmm_free(pick);
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "the files have %u users with at least %u dialogues, but data.devices is "
                         "%u%s; lower it or data.least",
                         n, c->data.least, c->data.devices,
                         out > 0 ? " and some are held out" : "");
    }
    for (uint32_t i = 0; i < n && i < c->data.devices + out; i++) {
        take_user(d, c, r, pick[i], i >= c->data.devices);
    }
    plmm_free(pick);
    thin_questions(d, c->data.questions);
    return PLMM_OK;
}

static plmm_status load_files(sim_data *d, const plmm_sim_config *c, uint64_t seed, plmm_error *err)
{
    records r = {0};
    uint32_t dealt = held_out_users(c) + c->data.devices;
    size_t total = 0;
    for (size_t f = 0; f < d->n_files; f++) {
        total += d->files[f].n;
    }
    size_t full = total / c->data.per_device; /* as many users as make all of them busy */
    dealt = full > dealt && full < UINT32_MAX / 2 ? (uint32_t)full : dealt;
    d->chance = (double)NAN;
    plmm_status rc = collect(d, c, dealt, &r, err);
    rc = rc != PLMM_OK ? rc : group(&r, err);
    rc = rc != PLMM_OK ? rc : choose_users(d, c, &r, seed, err);
    records_free(&r);
    PLMM_TRY(rc);
    PLMM_TRY(plmm_lexicons_new(&d->lexicons, err));
    if (c->select.lexicons[0] != '\0') {
        PLMM_TRY(plmm_lexicons_load(d->lexicons, c->select.lexicons, err));
    }
    return PLMM_OK;
}

/* ---- either ---- */

plmm_status sim_data_names(sim_data *d, const plmm_sim_config *c, plmm_error *err)
{
    if (c->data.source == PLMM_SIM_WORLD) {
        return world_names(d, c, err);
    }
    if (d->files == NULL) {
        PLMM_TRY(read_files(d, c, err));
    }
    return file_names(d, c, err);
}

plmm_status sim_data_load(sim_data *d, const plmm_sim_config *c, uint64_t seed, plmm_error *err)
{
    *d = (sim_data){0};
    plmm_status rc = sim_data_names(d, c, err);
    if (rc == PLMM_OK) {
        rc = c->data.source == PLMM_SIM_WORLD ? load_world(d, c, seed, err)
                                              : load_files(d, c, seed, err);
    }
    if (rc != PLMM_OK) {
        sim_data_free(d);
    }
    return rc;
}
