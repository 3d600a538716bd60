/* client/examples and client/embed: dialogues as tokens to train on, texts as states to select
 * by. */
#include "plmm/embed.h"
#include "plmm/trainer.h"

#include "tiny.h"

#include <math.h>

static const char *const corpus[] = {"the fever is high and the pain is bad",
                                     "the bank pays for the bond and the loan",
                                     "the server stores the file and the key"};

static plmm_tokenizer *tokenizer(void)
{
    plmm_tokenizer_params p = {.vocab = 300,
                               .min_count = 2,
                               .specials = plmm_chat_specials,
                               .n_specials = PLMM_CHAT_SPECIALS};
    plmm_tokenizer_trainer *tr = NULL;
    plmm_tokenizer *t = NULL;
    plmm_error err = {0};
    CHECK(plmm_tokenizer_trainer_new(&p, &tr, &err) == PLMM_OK, "%s", err.msg);
    for (size_t i = 0; i < COUNT(corpus); i++) {
        CHECK(plmm_tokenizer_trainer_feed(tr, corpus[i], strlen(corpus[i]), &err) == PLMM_OK, "%s",
              err.msg);
    }
    CHECK(plmm_tokenizer_trainer_finish(tr, &t, &err) == PLMM_OK, "%s", err.msg);
    plmm_tokenizer_trainer_free(tr);
    return t;
}

static void test_examples(const plmm_tokenizer *t)
{
    plmm_chat chat;
    plmm_examples x = {0};
    plmm_sample s = {0};
    plmm_error err = {0};
    plmm_chat_init(&chat, t, plmm_tokenizer_bos(t), plmm_tokenizer_eos(t));
    for (int i = 0; i < 40; i++) {
        CHECK(plmm_examples_add(&x, &chat, corpus[i % 3], "the fever", 64, &s, &err) == PLMM_OK,
              "%s", err.msg);
    }
    CHECK(plmm_examples_add(&x, &chat, "what", "", 64, &s, &err) == PLMM_OK && x.n == 40,
          "nothing to learn is left out");
    size_t at = 0;
    for (size_t i = 0; i < x.n; i++) {
        uint32_t loss = 0;
        CHECK(x.start[i] == at && x.len[i] >= 8, "example %zu", i);
        for (uint32_t k = 0; k < x.len[i]; k++, at++) {
            loss += x.targets[at] >= 0;
            CHECK(x.targets[at] < 0 || (k + 1 < x.len[i] ? x.targets[at] == x.tokens[at + 1]
                                                         : x.targets[at] == chat.end),
                  "a target is the next token");
        }
        CHECK(loss == x.loss[i] && loss >= 1 && loss < x.len[i], "loss on the response alone");
    }
    CHECK(at == x.count, "packed");
    uint32_t before = x.len[0];
    plmm_examples_clear(&x);
    CHECK(plmm_examples_add(&x, &chat, corpus[0], "the fever", 10, &s, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(x.n == 1 && x.len[0] <= 10 && x.len[0] < before, "cut to %u", x.len[0]);
    plmm_examples_free(&x);
    long live = plmm_alloc_live();
    for (long k = 0;; k++) {
        err = (plmm_error){0};
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_examples_add(&x, &chat, corpus[0], "the fever", 64, &s, &err);
        plmm_alloc_fail_at(-1);
        CHECK(rc == PLMM_OK || (rc == PLMM_ERR_NOMEM && x.n == 0 && x.count == 0), "k=%ld", k);
        if (rc == PLMM_OK) {
            break;
        }
    }
    CHECK(x.n == 1, "after failures it goes on");
    plmm_examples_free(&x);
    plmm_sample_free(&s);
    CHECK(plmm_alloc_live() <= live, "leak");
}

static void test_embed(const plmm_tokenizer *t)
{
    plmm_model_config cfg = tiny_cfg;
    cfg.vocab = plmm_tokenizer_vocab(t);
    cfg.context = 64;
    plmm_model *m = NULL;
    plmm_workspace *w = NULL;
    plmm_embedder e = {0};
    plmm_embedding one, two;
    plmm_error err = {0};
    plmm_workspace_params wp = {.tokens = 64, .seq_max = 64, .rank = 0, .use = PLMM_USE_EVAL};
    CHECK(plmm_model_new(&cfg, &m, &err) == PLMM_OK, "%s", err.msg);
    plmm_model_init_random(m, 4);
    CHECK(plmm_model_seal(m, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_workspace_new(&cfg, &wp, &w, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_embed(&e, m, NULL, t, w, 64, corpus[0], strlen(corpus[0]), &one, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(one.n > 5 && one.dim == cfg.dim, "%zu tokens", one.n);
    float *want = plmm_alloc(one.n * one.dim, sizeof *want);
    CHECK(plmm_hidden(w, m, NULL, one.tokens, one.n, PLMM_HIDDEN_NORMED, want, &err) == PLMM_OK &&
              memcmp(want, one.states, one.n * one.dim * sizeof *want) == 0,
          "the last hidden states");
    double eoe = plmm_eoe_norm(&one);
    CHECK(eoe > 0.5 && eoe <= 1, "eoe %g", eoe);
    CHECK(plmm_embed(&e, m, NULL, t, w, 4, corpus[1], strlen(corpus[1]), &two, &err) == PLMM_OK &&
              two.n == 4,
          "cut to 4: %s", err.msg);
    CHECK(plmm_embed(&e, m, NULL, t, w, 64, "", 0, &two, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    plmm_free(want);
    plmm_embedder_free(&e);
    plmm_workspace_free(w);
    plmm_model_free(m);
}

int main(void)
{
    plmm_tokenizer *t = tokenizer();
    test_examples(t);
    test_embed(t);
    plmm_tokenizer_free(t);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
