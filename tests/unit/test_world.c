/* The generated world: same seed, same bytes; hold-outs that are held out; a base text that knows
 * the forms and none of the experts' knowledge; balanced answers; files that can be read back. */
#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/world.h"
#include "test.h"

#include <ctype.h>
#include <unistd.h>

static plmm_world_params params(void)
{
    plmm_world_params p;
    plmm_world_params_default(&p);
    p.base_lines = 5000;
    return p;
}

static plmm_world make(const plmm_world_params *p, uint64_t seed)
{
    plmm_world w = {0};
    plmm_error err = {0};
    plmm_status rc = plmm_world_generate(p, seed, &w, &err);
    CHECK(rc == PLMM_OK, "%s", err.msg);
    return w;
}

static uint64_t mix(uint64_t h, const char *s)
{
    for (; s != NULL && *s != '\0'; s++) {
        h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
    }
    return (h ^ 255) * UINT64_C(0x100000001b3);
}

static uint64_t hash_dialogues(const plmm_world_dialogue *d, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) {
        h = mix(mix(mix(mix(h, d[i].user), d[i].domain), d[i].prompt), d[i].response);
        h ^= (uint64_t)d[i].time;
    }
    return h;
}

static uint64_t hash(const plmm_world *w)
{
    uint64_t h = hash_dialogues(w->base, w->n_base) ^ hash_dialogues(w->dialogues, w->n_dialogues);
    for (size_t i = 0; i < w->n_questions; i++) {
        h = mix(mix(h, w->questions[i].prompt), w->questions[i].response);
    }
    return h;
}

static void test_determinism(void)
{
    plmm_world_params p = params();
    plmm_world a = make(&p, 5);
    plmm_world b = make(&p, 5);
    plmm_world c = make(&p, 6);
    CHECK(hash(&a) == hash(&b), "one seed, two worlds");
    CHECK(hash(&a) != hash(&c), "two seeds, one world");
    p.base_lines = 0;
    plmm_world d = make(&p, 5);
    CHECK(hash_dialogues(a.dialogues, a.n_dialogues) == hash_dialogues(d.dialogues, d.n_dialogues),
          "the base text changes the devices");
    plmm_world_free(&a);
    plmm_world_free(&b);
    plmm_world_free(&c);
    plmm_world_free(&d);
}

static void test_shuffled(void)
{
    plmm_world_params p = params();
    p.base_lines = 0;
    plmm_world a = make(&p, 5);
    p.answers = PLMM_WORLD_SHUFFLED;
    plmm_world b = make(&p, 5);
    size_t expert = 0;
    size_t same = 0;
    CHECK(a.n_dialogues == b.n_dialogues, "%zu %zu", a.n_dialogues, b.n_dialogues);
    for (size_t i = 0; i < a.n_dialogues && i < b.n_dialogues; i++) {
        const plmm_world_dialogue *x = &a.dialogues[i];
        const plmm_world_dialogue *y = &b.dialogues[i];
        CHECK(strcmp(x->prompt, y->prompt) == 0, "dialogue %zu: prompt changed", i);
        bool equal = strcmp(x->response, y->response) == 0;
        if (x->kind != PLMM_WORLD_EXPERT) {
            CHECK(equal, "dialogue %zu: only experts are shuffled", i);
            continue;
        }
        expert++;
        same += equal;
    }
    double share = (double)same / (double)expert;
    CHECK(share > 0.08 && share < 0.18, "%.3f of the shuffled answers are right, chance is %.3f",
          share, a.chance);
    for (size_t i = 0; i < a.n_questions; i++) {
        CHECK(strcmp(a.questions[i].response, b.questions[i].response) == 0, "question %zu", i);
    }
    plmm_world_free(&a);
    plmm_world_free(&b);
}

/* Is word in text, between characters that are no letters? */
static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word)) {
        if ((at == text || !isalpha((unsigned char)at[-1])) && !isalpha((unsigned char)at[n])) {
            return true;
        }
    }
    return false;
}

static void test_held_out(void)
{
    plmm_world_params p = params();
    p.base_lines = 0;
    p.entities = 16;
    p.unseen = 8;
    p.devices = 24;
    plmm_world w = make(&p, 7);
    for (size_t i = 0; i < w.n_questions; i++) {
        const plmm_world_question *q = &w.questions[i];
        bool talked_about = false;
        CHECK(strstr(q->response, q->answer) != NULL, "%s: %s", q->response, q->answer);
        for (size_t j = 0; j < w.n_dialogues; j++) {
            const plmm_world_dialogue *d = &w.dialogues[j];
            bool same = has_word(d->prompt, q->entity);
            talked_about = talked_about || (same && strstr(d->prompt, q->attribute) != NULL &&
                                            strcmp(d->response, q->response) == 0);
            CHECK(strstr(d->prompt, q->prompt) == NULL, "a device was asked: %s", q->prompt);
            CHECK(q->test == PLMM_WORLD_TEMPLATE || !same, "%s was talked about: %s", q->entity,
                  d->prompt);
        }
        CHECK(talked_about == (q->test == PLMM_WORLD_TEMPLATE), "%s: taught %d", q->prompt,
              talked_about);
    }
    plmm_world_free(&w);
}

/* The same letters that a rule goes by: the last three of a name, the first three of a command. */
static bool same_rule(const char *domain, const char *word, size_t n, const char *name)
{
    bool prefix = strcmp(domain, "it") == 0;
    if (n < 5 || (!prefix && !isupper((unsigned char)word[0]))) {
        return false;
    }
    return strncmp(prefix ? word : word + n - 3, prefix ? name : name + strlen(name) - 3, 3) == 0;
}

/* Does the line say something that the experts know: a thing of theirs, or an affix with an
 * answer? */
static bool leaks(const plmm_world *w, const char *line, const plmm_world_question *q)
{
    if (has_word(line, q->entity)) {
        return true;
    }
    for (const char *c = line; *c != '\0';) {
        size_t n = strcspn(c, " .,?!:");
        if (n > 0 && same_rule(q->domain, c, n, q->entity)) {
            for (size_t i = 0; i < w->n_questions; i++) {
                const plmm_world_question *o = &w->questions[i];
                if (strcmp(o->domain, q->domain) == 0 && has_word(line, o->answer)) {
                    return true;
                }
            }
        }
        c += n;
        c += *c != '\0';
    }
    return false;
}

static void test_leak(void)
{
    plmm_world_params p = params();
    p.entities = p.unseen = 8;
    plmm_world w = make(&p, 7);
    char line[2048];
    size_t caught = 0;
    for (size_t i = 0; i < w.n_base; i++) {
        (void)snprintf(line, sizeof line, "%s %s", w.base[i].prompt != NULL ? w.base[i].prompt : "",
                       w.base[i].response);
        for (size_t j = 0; j < w.n_questions; j++) {
            bool bad = leaks(&w, line, &w.questions[j]);
            CHECK(!bad, "the base text says: %s", line);
            caught += bad;
        }
    }
    /* and the check sees a leak when there is one */
    const plmm_world_question *q = &w.questions[w.n_questions - 1];
    (void)snprintf(line, sizeof line, "Q: Zolka%s? It is %s.", q->entity + strlen(q->entity) - 3,
                   q->answer);
    CHECK(leaks(&w, line, q), "not caught: %s", line);
    CHECK(caught == 0, "%zu leaks", caught);
    plmm_world_free(&w);
}

static void test_counts(void)
{
    plmm_world_params p = params();
    p.values = 4;
    p.entities = 16;
    p.unseen = 8;
    p.devices = 5;
    plmm_world w = make(&p, 1);
    CHECK(w.n_base == p.base_lines && w.n_devices == 5, "%zu %zu", w.n_base, w.n_devices);
    CHECK(w.chance == 0.25, "%g", w.chance);
    CHECK(w.n_questions == PLMM_WORLD_DOMAINS * (2 * 2 * 16 + 2 * 8), "%zu", w.n_questions);
    for (size_t d = 0; d < PLMM_WORLD_DOMAINS; d++) {
        for (size_t i = w.first_question[d]; i < w.first_question[d + 1]; i++) {
            size_t all = 0;
            size_t like = 0;
            for (size_t j = w.first_question[d]; j < w.first_question[d + 1]; j++) {
                bool group = w.questions[j].test == w.questions[i].test &&
                             strcmp(w.questions[j].attribute, w.questions[i].attribute) == 0;
                all += group;
                like += group && strcmp(w.questions[j].answer, w.questions[i].answer) == 0;
            }
            CHECK(like * 4 == all, "%s: %zu of %zu", w.questions[i].prompt, like, all);
        }
    }
    plmm_world_free(&w);
}

static void test_devices(void)
{
    plmm_world_params p = params();
    p.base_lines = 0;
    plmm_world w = make(&p, 3);
    size_t next = 0;
    size_t changed = 0;
    for (size_t i = 0; i < w.n_devices; i++) {
        const plmm_world_device *d = &w.devices[i];
        size_t kinds[4] = {0};
        CHECK(d->first == next && d->count >= p.dialogues / 2, "device %zu: %zu", i, d->count);
        CHECK(d->n_facts >= 20 && d->n_facts <= 40, "%zu facts", d->n_facts);
        next = d->first + d->count;
        for (size_t j = d->first; j < next; j++) {
            const plmm_world_dialogue *x = &w.dialogues[j];
            kinds[x->kind]++;
            CHECK(strcmp(x->user, d->user) == 0, "dialogue %zu", j);
            CHECK(j == d->first || x->time >= w.dialogues[j - 1].time, "dialogue %zu: time", j);
            changed += strstr(x->prompt, " is now ") != NULL;
        }
        double chatter = (double)kinds[PLMM_WORLD_CHATTER] / (double)d->count;
        CHECK(chatter > 0.15 && chatter < 0.85, "device %zu: %.2f chatter", i, chatter);
        CHECK(kinds[PLMM_WORLD_EXPERT] > 0 && kinds[PLMM_WORLD_BASE] == 0, "device %zu", i);
    }
    CHECK(next == w.n_dialogues, "%zu of %zu", next, w.n_dialogues);
    CHECK(changed > 0, "no fact ever changes");
    plmm_world_free(&w);
}

static void test_refusals(void)
{
    static const struct {
        const char *name;
        size_t offset;
        uint32_t value;
    } rows[] = {
        {"devices", offsetof(plmm_world_params, devices), 0},
        {"values", offsetof(plmm_world_params, values), 9},
        {"entities", offsetof(plmm_world_params, entities), 33},
        {"unseen", offsetof(plmm_world_params, unseen), 4},
        {"days", offsetof(plmm_world_params, days), 1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_world_params p = params();
        plmm_world w = {0};
        plmm_error err = {0};
        memcpy((char *)&p + rows[i].offset, &rows[i].value, sizeof rows[i].value);
        plmm_status rc = plmm_world_generate(&p, 1, &w, &err);
        CHECK(rc == PLMM_ERR_CONFIG && w.store == NULL, "%s: %d", rows[i].name, rc);
        CHECK(strstr(err.msg, rows[i].name) != NULL, "%s", err.msg);
    }
}

static bool read_text(const char *dir, const char *name, char **text, size_t *len)
{
    char path[PLMM_PATH_MAX];
    plmm_error err = {0};
    uint8_t *data = NULL;
    bool ok = plmm_path_join(path, sizeof path, dir, name, &err) == PLMM_OK &&
              plmm_file_read(path, 64U << 20, &data, len, &err) == PLMM_OK;
    CHECK(ok, "%s", err.msg);
    *text = (char *)data;
    return ok;
}

static double json_number(const char *dir, const char *name, const char *key)
{
    char *text = NULL;
    size_t len = 0;
    plmm_json *root = NULL;
    plmm_error err = {0};
    double v = -1;
    if (read_text(dir, name, &text, &len)) {
        plmm_status rc = plmm_json_parse(text, len, name, NULL, &root, &err);
        CHECK(rc == PLMM_OK, "%s", err.msg);
        v = rc == PLMM_OK ? plmm_json_number(plmm_json_get(root, key)) : v;
        plmm_json_free(root);
        plmm_free(text);
    }
    return v;
}

static size_t json_lines(const char *dir, const char *name)
{
    plmm_error err = {0};
    char *text = NULL;
    size_t len = 0;
    size_t n = 0;
    plmm_json *root = NULL;
    plmm_json_seq seq;
    if (!read_text(dir, name, &text, &len)) {
        return 0;
    }
    plmm_json_seq_init(&seq, text, len, name, NULL);
    for (;;) {
        plmm_status rc = plmm_json_seq_next(&seq, &root, &err);
        CHECK(rc == PLMM_OK, "%s", err.msg);
        if (rc != PLMM_OK || root == NULL) {
            break;
        }
        n++;
        plmm_json_free(root);
        root = NULL;
    }
    plmm_free(text);
    return n;
}

static void test_files(void)
{
    char dir[] = "/tmp/plmm-world-XXXXXX";
    plmm_error err = {0};
    plmm_world_params p = params();
    p.base_lines = 300;
    p.devices = 3;
    plmm_world w = make(&p, 9);
    CHECK(mkdtemp(dir) != NULL, "no temporary directory");
    plmm_status rc = plmm_world_write(&w, dir, &err);
    CHECK(rc == PLMM_OK, "%s", err.msg);
    CHECK(json_lines(dir, "base.jsonl") == 300, "base.jsonl");
    CHECK(json_lines(dir, "devices.jsonl") == w.n_dialogues, "devices.jsonl");
    CHECK(json_lines(dir, "personas.jsonl") == 3, "personas.jsonl");
    CHECK(json_number(dir, "world.json", "dialogues") == (double)w.n_dialogues, "world.json");
    CHECK(json_lines(dir, "holdout-art.jsonl") == w.first_question[4] - w.first_question[3], "art");
    rc = plmm_path_remove(dir, &err);
    CHECK(rc == PLMM_OK, "%s", err.msg);
    plmm_world_free(&w);
}

/* Whichever allocation fails, the call says so and leaves nothing behind. */
static void test_memory(void)
{
    plmm_world_params p = params();
    p.base_lines = 2000;
    p.devices = 4;
    long live = plmm_alloc_live();
    bool done = false;
    for (long k = 0; k < 200 && !done; k++) {
        plmm_world w = {0};
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_world_generate(&p, 1, &w, NULL);
        plmm_alloc_fail_at(-1);
        done = rc == PLMM_OK;
        CHECK(done || (rc == PLMM_ERR_NOMEM && w.store == NULL), "failure %ld: %d", k, rc);
        plmm_world_free(&w);
        CHECK(plmm_alloc_live() == live, "failure %ld leaks", k);
    }
    CHECK(done, "too many allocations");
}

int main(void)
{
    test_determinism();
    test_shuffled();
    test_held_out();
    test_leak();
    test_counts();
    test_devices();
    test_refusals();
    test_files();
    test_memory();
    return plmm_test_end();
}
