/* nn: batches of texts with adapters and prefixes of their own, streaming, drafts: each text is to
 * the id what it is alone. */
#include "plmm/alloc.h"
#include "plmm/generate.h"
#include "test.h"
#include "tiny_model.h"

enum { NEW = 20, POSITIONS = 96, DEVICES = 9, PREFIX = 37 };

static int32_t prompts[DEVICES][POSITIONS];
static const size_t lens[DEVICES] = {1, 9, 3, 40, 2, 17, 5, 50, 4};

typedef struct text {
    int32_t ids[POSITIONS];
    size_t n, stop_after;
} text;

static bool collect(void *user, int32_t token)
{
    text *t = user;
    t->ids[t->n++] = token;
    return t->n != t->stop_after;
}

static plmm_decoder *make_decoder(const plmm_model_config *c, uint32_t slots, bool own)
{
    plmm_decoder *d = NULL;
    plmm_error err;
    plmm_decoder_params p = {.slots = slots,
                             .positions = POSITIONS,
                             .rank = 8,
                             .lookahead = PLMM_LOOKAHEAD_MAX,
                             .own_adapters = own};
    PLMM_ASSERT(plmm_decoder_new(c, &p, &d, &err) == PLMM_OK);
    return d;
}

static plmm_sampling sampling(float temperature)
{
    plmm_sampling s = plmm_sampling_default();
    s.max_new = NEW;
    s.temperature = temperature;
    s.top_k = temperature > 0 ? 20 : 0;
    s.seed = 7;
    return s;
}

/* Each device has an adapter of its own rank and targets; one has none, one shares the batch's. */
typedef struct fleet {
    plmm_adapter *a[DEVICES];
    const plmm_adapter *one[DEVICES][1];
    plmm_stack stacks[DEVICES];
} fleet;

static void make_fleet(fleet *f, const plmm_model_config *c)
{
    static const uint32_t targets[] = {PLMM_LORA_ALL, PLMM_LORA_ATTENTION, PLMM_LORA_DOWN};
    for (uint32_t i = 0; i < DEVICES; i++) {
        f->a[i] = tiny_adapter(c, targets[i % 3], 1 + i % 8, i);
        f->one[i][0] = f->a[i];
        f->stacks[i] = (plmm_stack){f->one[i], i == 3 ? 0 : 1};
    }
}

static void free_fleet(fleet *f)
{
    for (size_t i = 0; i < DEVICES; i++) {
        plmm_adapter_free(f->a[i]);
    }
}

/* The texts of all devices by a decoder of so many slots, `together` at a time. */
static void write_all(const plmm_model *m, const fleet *f, uint32_t slots, size_t together,
                      float temperature, int32_t out[DEVICES][NEW])
{
    plmm_decoder *d = make_decoder(plmm_model_cfg(m), slots, true);
    plmm_sampling s = sampling(temperature);
    plmm_error err = {0};
    static text heard[DEVICES];
    memset(heard, 0, sizeof heard);
    for (size_t n = together; n <= DEVICES; n++) { /* the last one counts: streams are by place */
        plmm_query q[DEVICES];
        for (size_t i = 0; i < n; i++) {
            heard[i].n = 0;
            q[i] = (plmm_query){.prompt = prompts[i],
                                .n = lens[i],
                                .each = collect,
                                .user = &heard[i],
                                .stack = i == 5 ? NULL : &f->stacks[i]};
        }
        CHECK(plmm_generate_batch(d, m, &f->stacks[5], q, n, &s, &err) == PLMM_OK, "%s", err.msg);
        for (size_t i = 0; i < n; i++) {
            CHECK(q[i].made == NEW && heard[i].n == NEW, "text %zu has %zu tokens", i, q[i].made);
        }
        memcpy(out[n - 1], heard[n - 1].ids, sizeof out[0]);
    }
    for (size_t i = 0; i < together; i++) {
        memcpy(out[i], heard[i].ids, sizeof out[0]);
    }
    plmm_decoder_free(d);
}

static void test_own_adapters(float temperature, plmm_base base)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 21);
    plmm_error err = {0};
    fleet f;
    static int32_t want[DEVICES][NEW], got[DEVICES][NEW];
    size_t differ = 0;
    bool kinds = base == PLMM_BASE_INT8 || base == PLMM_BASE_INT4;
    CHECK(plmm_model_freeze(m, base, &err) == PLMM_OK, "%s", err.msg);
    make_fleet(&f, &c);
    write_all(m, &f, 1, 1, temperature, want);
    for (size_t i = 1; i < DEVICES; i++) {
        differ += memcmp(want[i], want[0], sizeof want[0]) != 0;
    }
    CHECK(differ == DEVICES - 1, "adapters change texts: %zu", differ);
    for (uint32_t slots = 2; slots <= 11; slots += 3) {
        if (slots == 11 && kinds) { /* a kind of its own: alone and together */
            write_all(m, &f, 9, 1, temperature, want);
        }
        write_all(m, &f, slots, DEVICES, temperature, got);
        CHECK(memcmp(got, want, sizeof got) == 0, "base %d, %u slots: texts differ", base, slots);
    }
    free_fleet(&f);
    plmm_model_free(m);
}

/* A prefix and the rest of a prompt say what the whole prompt says. */
static void test_prefix(void)
{
    plmm_model_config c = tiny_config();
    plmm_model *m = tiny_model(&c, 22), *other = tiny_model(&c, 23);
    plmm_sampling s = sampling(0);
    plmm_error err = {0};
    plmm_prefix *p = NULL;
    fleet f;
    make_fleet(&f, &c);
    plmm_decoder *d = make_decoder(&c, 3, true);
    CHECK(plmm_prefix_new(d, m, &f.stacks[0], prompts[7], PREFIX, &p, &err) == PLMM_OK, "%s",
          err.msg);
    if (p == NULL) {
        return;
    }
    CHECK(plmm_prefix_count(p) == PREFIX, "%zu", plmm_prefix_count(p));
    int32_t want[2][NEW], got[3][NEW], whole[2][POSITIONS];
    for (size_t i = 0; i < 2; i++) {
        memcpy(whole[i], prompts[7], PREFIX * sizeof **whole);
        memcpy(whole[i] + PREFIX, prompts[i], 9 * sizeof **whole);
        plmm_query q = {.prompt = whole[i], .n = PREFIX + 9, .out = want[i], .cap = NEW};
        CHECK(plmm_generate_batch(d, m, &f.stacks[0], &q, 1, &s, &err) == PLMM_OK, "%s", err.msg);
    }
    plmm_query q[3] = {
        {.prompt = prompts[0], .n = 9, .out = got[0], .cap = NEW, .prefix = p},
        {.prompt = prompts[2], .n = 3, .out = got[2], .cap = NEW, .stack = &f.stacks[2]},
        {.prompt = prompts[1], .n = 9, .out = got[1], .cap = NEW, .prefix = p}};
    CHECK(plmm_generate_batch(d, m, &f.stacks[0], q, 3, &s, &err) == PLMM_OK, "%s", err.msg);
    CHECK(memcmp(got[0], want[0], sizeof want[0]) == 0, "the first differs");
    CHECK(memcmp(got[1], want[1], sizeof want[1]) == 0, "the second differs");
    CHECK(memcmp(got[0], got[1], sizeof got[0]) != 0, "the prompts tell them apart");
    CHECK(plmm_generate_batch(d, other, &f.stacks[0], q, 1, &s, &err) == PLMM_ERR_CONFIG, "%s",
          err.msg);
    q[0].n = POSITIONS - PREFIX + 1;
    CHECK(plmm_generate_batch(d, m, NULL, q, 1, &s, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    q[0].n = POSITIONS - PREFIX - 2;
    CHECK(plmm_generate_batch(d, m, &f.stacks[0], q, 1, &s, &err) == PLMM_OK && q[0].made == 2,
          "room for two: %zu", q[0].made);
    for (long k = 0; k < 3; k++) {
        plmm_prefix *none = NULL;
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_prefix_new(d, m, NULL, prompts[0], 4, &none, &err);
        plmm_alloc_fail_at(-1);
        CHECK(rc == PLMM_ERR_NOMEM && none == NULL, "call %ld: %d", k, rc);
    }
    plmm_prefix_free(p);
    plmm_decoder_free(d);
    free_fleet(&f);
    plmm_model_free(m);
    plmm_model_free(other);
}

/* A draft changes nothing, whether it is good, bad or the model itself. */
static void check_draft(const plmm_model *m, const plmm_model *by, float temperature,
                        uint32_t ahead, bool all)
{
    plmm_sampling s = sampling(temperature);
    plmm_error err = {0};
    plmm_decoder *d = make_decoder(plmm_model_cfg(m), 1, false);
    plmm_decoder *f = make_decoder(plmm_model_cfg(by), 1, false);
    plmm_draft draft = {f, by, NULL, ahead};
    for (size_t i = 0; i < DEVICES; i++) {
        text want = {.n = 0}, got = {.n = 0};
        plmm_draft_count count = {0};
        size_t made = 0;
        s.max_new = i == 7 ? 1000 : i == 8 ? 1 : NEW; /* to the last position; one token */
        s.stops = 0;
        got.stop_after = want.stop_after = i == 5 ? 4 : 0;
        CHECK(plmm_generate(d, m, NULL, prompts[i], lens[i], &s, collect, &want, &made, &err) ==
                  PLMM_OK,
              "%s", err.msg);
        CHECK(plmm_generate_drafted(d, m, NULL, &draft, prompts[i], lens[i], &s, collect, &got,
                                    &count, &err) == PLMM_OK,
              "%s", err.msg);
        CHECK(got.n == want.n && memcmp(got.ids, want.ids, want.n * sizeof *want.ids) == 0,
              "%u ahead: text %zu differs", ahead, i);
        CHECK(count.made == made && count.accepted <= count.proposed && count.passes <= made,
              "%zu made, %zu accepted of %zu", count.made, count.accepted, count.proposed);
        if (all && i < 5) {
            CHECK(count.accepted == count.proposed, "it disagrees with itself: %zu of %zu",
                  count.accepted, count.proposed);
            CHECK(count.passes <= (NEW - 1 + ahead) / (ahead + 1), "%zu passes", count.passes);
        }
    }
    plmm_decoder_free(d);
    plmm_decoder_free(f);
}

static void test_drafts(plmm_base base)
{
    plmm_model_config c = tiny_config(), small = c;
    small.layers = 1;
    plmm_model *m = tiny_model(&c, 24), *by = tiny_model(&small, 25);
    plmm_error err = {0};
    CHECK(plmm_model_freeze(m, base, &err) == PLMM_OK, "%s", err.msg);
    for (uint32_t ahead = 1; ahead <= PLMM_LOOKAHEAD_MAX; ahead = ahead * 2 + 1) {
        check_draft(m, m, 0, ahead, true);
        check_draft(m, m, 0.8f, ahead, true);
        check_draft(m, by, 0, ahead, false);
        check_draft(m, by, 0.8f, ahead, false);
    }
    plmm_model_free(m);
    plmm_model_free(by);
}

static void test_refusals(void)
{
    plmm_model_config c = tiny_config(), other = c;
    other.vocab = 51;
    plmm_model *m = tiny_model(&c, 26), *wrong = tiny_model(&other, 26);
    plmm_decoder *d = make_decoder(&c, 2, false), *w = make_decoder(&other, 1, false);
    plmm_decoder *own = make_decoder(&c, 2, true), *f = make_decoder(&c, 1, false), *none = NULL;
    plmm_sampling s = sampling(0);
    plmm_error err = {0};
    fleet fl;
    make_fleet(&fl, &c);
    plmm_query q = {.prompt = prompts[0], .n = 3, .stack = &fl.stacks[0]};
    CHECK(plmm_generate_batch(d, m, NULL, &q, 1, &s, &err) == PLMM_ERR_STATE, "%s", err.msg);
    CHECK(plmm_generate_batch(own, m, NULL, &q, 1, &s, &err) == PLMM_OK, "%s", err.msg);
    const plmm_adapter *two[] = {fl.a[7], fl.a[7]};
    plmm_stack deep = {two, 2}; /* rank 16 of 8 */
    q.stack = &deep;
    CHECK(plmm_generate_batch(own, m, NULL, &q, 1, &s, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    plmm_draft draft = {w, wrong, NULL, 2};
    CHECK(plmm_generate_drafted(d, m, NULL, &draft, prompts[0], 3, &s, NULL, NULL, NULL, &err) ==
              PLMM_ERR_CONFIG,
          "%s", err.msg);
    draft = (plmm_draft){d, m, NULL, 2};
    CHECK(plmm_generate_drafted(d, m, NULL, &draft, prompts[0], 3, &s, NULL, NULL, NULL, &err) ==
              PLMM_ERR_STATE,
          "%s", err.msg);
    draft = (plmm_draft){f, m, NULL, 0};
    CHECK(plmm_generate_drafted(d, m, NULL, &draft, prompts[0], 3, &s, NULL, NULL, NULL, &err) ==
              PLMM_ERR_RANGE,
          "%s", err.msg);
    plmm_decoder_params p = {.slots = 1, .positions = 5, .lookahead = PLMM_LOOKAHEAD_MAX + 1};
    CHECK(plmm_decoder_new(&c, &p, &none, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    plmm_decoder_free(d);
    plmm_decoder_free(w);
    plmm_decoder_free(own);
    plmm_decoder_free(f);
    free_fleet(&fl);
    plmm_model_free(m);
    plmm_model_free(wrong);
}

int main(void)
{
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    for (size_t i = 0; i < DEVICES; i++) {
        for (size_t j = 0; j < POSITIONS; j++) {
            prompts[i][j] = (int32_t)plmm_rng_below(&r, 50);
        }
    }
    for (int base = PLMM_BASE_F32; base <= PLMM_BASE_INT4; base++) {
        test_own_adapters(0, (plmm_base)base);
        test_own_adapters(0.8f, (plmm_base)base);
        test_drafts((plmm_base)base);
    }
    test_prefix();
    test_refusals();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
