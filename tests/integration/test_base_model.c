/* The base model that ships: it is small, it has the skills it was made for, it knows nothing of
 * what the experts know, an adapter learns that from the devices' dialogues, and one trained on
 * shuffled answers does not. The full measurements are in docs/world.md; this is the alarm. */
#include "plmm/alloc.h"
#include "plmm/chat.h"
#include "plmm/checkpoint.h"
#include "plmm/file.h"
#include "plmm/rng.h"
#include "plmm/train.h"
#include "plmm/world.h"
#include "test.h"

/* Sanitizers watch the same calls on a little of the data, and leave what is learned to the others. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STEPS = 2, LINES = 200, ENTITIES = 8, JUDGED = 0 };
#else
enum { STEPS = 40, LINES = 2500, ENTITIES = 32, JUDGED = 1 };
#endif
enum { STEP_TOKENS = 512, SEQ_MAX = 128, BATCH_SEQS = 64 };

typedef struct fixture {
    plmm_model *model;
    plmm_tokenizer *tokenizer;
    plmm_chat chat;
    plmm_workspace *workspace;
    plmm_sample sample;
    int32_t tokens[STEP_TOKENS + SEQ_MAX], targets[STEP_TOKENS + SEQ_MAX];
    uint32_t lens[BATCH_SEQS];
    plmm_batch batch;
} fixture;

static bool ok(plmm_status rc, const plmm_error *err)
{
    CHECK(rc == PLMM_OK, "%s", err->msg);
    return rc == PLMM_OK;
}

static void clear(fixture *f)
{
    f->batch = (plmm_batch){.tokens = f->tokens, .targets = f->targets, .lens = f->lens};
}

static void add(fixture *f, const char *prompt, const char *response)
{
    plmm_error err = {0};
    if (ok(plmm_chat_sample(&f->chat, prompt, response, SEQ_MAX, &f->sample, &err), &err)) {
        size_t n = f->sample.ids.n;
        memcpy(f->tokens + f->batch.count, f->sample.ids.v, n * sizeof *f->tokens);
        memcpy(f->targets + f->batch.count, f->sample.targets.v, n * sizeof *f->targets);
        f->lens[f->batch.seqs++] = (uint32_t)n;
        f->batch.count += n;
    }
}

static bool full(const fixture *f)
{
    return f->batch.count >= STEP_TOKENS || f->batch.seqs == BATCH_SEQS;
}

/* Sequences of the batch that greedy decoding would give word for word. */
static size_t hits(fixture *f, const plmm_stack *stack)
{
    plmm_error err = {0};
    plmm_loss_sum each[BATCH_SEQS] = {{0}};
    size_t n = 0;
    (void)ok(plmm_score(f->workspace, f->model, stack, &f->batch, each, &err), &err);
    for (size_t i = 0; i < f->batch.seqs; i++) {
        n += each[i].hits == each[i].count;
    }
    clear(f);
    return n;
}

/* Share of right answers to the held-out questions of a domain and kind. */
static double held_out(fixture *f, const plmm_world *w, size_t domain, plmm_world_test test,
                       const plmm_stack *stack)
{
    size_t n = 0;
    size_t right = 0;
    clear(f);
    for (size_t i = w->first_question[domain]; i < w->first_question[domain + 1]; i++) {
        if (w->questions[i].test == test) {
            add(f, w->questions[i].prompt, w->questions[i].response);
            n++;
            right += full(f) ? hits(f, stack) : 0;
        }
    }
    right += hits(f, stack);
    return (double)right / (double)n;
}

/* An adapter trained on all devices' dialogues of one domain, without federation. */
static plmm_adapter *train(fixture *f, const plmm_world *w, size_t domain)
{
    plmm_error err = {0};
    plmm_lora_spec spec = {.targets = PLMM_LORA_ALL, .rank = 8, .alpha = 16};
    plmm_adapter *a = NULL;
    plmm_adamw *o = NULL;
    plmm_adamw_params ap = plmm_adamw_params_default();
    plmm_rng rng;
    plmm_rng_init(&rng, 1, 1);
    if (!ok(plmm_adapter_new(plmm_model_cfg(f->model), &spec, &a, &err), &err) ||
        !ok(plmm_adamw_new(plmm_adapter_count(a), &ap, &o, &err), &err)) {
        return a;
    }
    float *grads = plmm_alloc(plmm_adapter_count(a), sizeof *grads);
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, 1};
    plmm_adapter_init(a, 1);
    for (uint64_t step = 0; step < STEPS && grads != NULL; step++) {
        clear(f);
        while (!full(f)) {
            const plmm_world_dialogue *d = &w->dialogues[plmm_rng_below(&rng, w->n_dialogues)];
            if (strcmp(d->domain, plmm_world_domain(domain)) == 0) {
                add(f, d->prompt, d->response);
            }
        }
        plmm_step_params p = {.lr =
                                  plmm_schedule_lr(PLMM_SCHEDULE_LINEAR, 0.01F, 0, step, 5, STEPS),
                              .clip = 1,
                              .factors = PLMM_FACTOR_AB};
        (void)ok(
            plmm_step_lora(f->workspace, f->model, &stack, a, o, &f->batch, &p, grads, NULL, &err),
            &err);
    }
    plmm_free(grads);
    plmm_adamw_free(o);
    return a;
}

static plmm_world make(uint32_t answers, uint32_t base_lines)
{
    plmm_world w = {0};
    plmm_error err = {0};
    plmm_world_params p;
    plmm_world_params_default(&p);
    p.values = 8;
    p.entities = p.unseen = ENTITIES;
    p.answers = answers;
    p.base_lines = base_lines;
    (void)ok(plmm_world_generate(&p, 21, &w, &err), &err);
    return w;
}

/* What the base can do, on text it has not seen: names and facts are of another seed. */
static void test_skills(fixture *f)
{
    static const struct {
        const char *start;
        double least;
    } rows[] = {{"Profile:", 0.85}, {"Say it plainly:", 0.75}, {"Please remember that my", 0.9}};
    plmm_world w = make(PLMM_WORLD_TRUE, LINES);
    for (size_t r = 0; r < COUNT(rows); r++) {
        size_t n = 0;
        size_t right = 0;
        clear(f);
        for (size_t i = 0; i < w.n_base; i++) {
            const plmm_world_dialogue *d = &w.base[i];
            if (d->prompt != NULL &&
                strncmp(d->prompt, rows[r].start, strlen(rows[r].start)) == 0) {
                add(f, d->prompt, d->response);
                n++;
                right += full(f) ? hits(f, NULL) : 0;
            }
        }
        right += hits(f, NULL);
        CHECK(!JUDGED || (double)right >= rows[r].least * (double)n, "%s %zu of %zu", rows[r].start,
              right, n);
    }
    plmm_world_free(&w);
}

static void test_expert(fixture *f, uint32_t answers)
{
    enum { IT = 2 };
    plmm_world w = make(answers, 0);
    plmm_adapter *a = train(f, &w, IT);
    const plmm_adapter *one[] = {a};
    plmm_stack stack = {one, 1};
    for (unsigned t = 0; t < 2; t++) {
        double base = held_out(f, &w, IT, (plmm_world_test)t, NULL);
        double expert = held_out(f, &w, IT, (plmm_world_test)t, &stack);
        (void)fprintf(stderr, "%s, %s answers: base %.3f, expert %.3f, chance %.3f\n",
                      plmm_world_test_name((plmm_world_test)t), plmm_world_answer_names[answers],
                      base, expert, w.chance);
        CHECK(!JUDGED || base < 0.35, "the base scores %.3f", base);
        bool right = answers == PLMM_WORLD_TRUE ? expert > base + 0.4 : expert < 0.35;
        CHECK(!JUDGED || right, "%s answers: base %.3f, expert %.3f",
              plmm_world_answer_names[answers], base, expert);
    }
    plmm_adapter_free(a);
    plmm_world_free(&w);
}

static void test_size(void)
{
    plmm_error err = {0};
    plmm_map m = {0};
    if (ok(plmm_file_map("models/base/model.safetensors", &m, &err), &err)) {
        CHECK(m.len <= 4U << 20, "%zu bytes", m.len);
    }
    plmm_file_unmap(&m);
}

int main(void)
{
    static fixture f;
    plmm_error err = {0};
    plmm_workspace_params wp = {
        .tokens = STEP_TOKENS, .seq_max = SEQ_MAX, .rank = 8, .use = PLMM_USE_LORA};
    test_size();
    if (ok(plmm_checkpoint_load("models/base", &f.model, &f.tokenizer, &err), &err) &&
        ok(plmm_workspace_new(plmm_model_cfg(f.model), &wp, &f.workspace, &err), &err)) {
        plmm_chat_init(&f.chat, f.tokenizer, plmm_model_cfg(f.model)->bos,
                       plmm_model_cfg(f.model)->eos);
        CHECK(f.chat.tokens, "the tokenizer lacks the tokens of a chat");
        test_skills(&f);
        test_expert(&f, PLMM_WORLD_TRUE);
        test_expert(&f, PLMM_WORLD_SHUFFLED);
    }
    plmm_sample_free(&f.sample);
    plmm_workspace_free(f.workspace);
    plmm_model_free(f.model);
    plmm_tokenizer_free(f.tokenizer);
    return plmm_test_end();
}
