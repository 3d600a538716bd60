/* tests/support/small_sim.h -- a fleet small enough for a test: a model of one layer with random
 * weights, a tokenizer trained on a page of the world's own text, a dozen devices, two experts. */
#ifndef PLMM_SMALL_SIM_H
#define PLMM_SMALL_SIM_H

#include "plmm/chat.h"
#include "plmm/sim_run.h"

#include "test.h"

typedef struct small_sim {
    plmm_sim_config cfg;
    plmm_model *model;
    plmm_tokenizer *tokenizer;
} small_sim;

static inline plmm_tokenizer *small_tokenizer(const plmm_sim_config *c)
{
    plmm_error err = {0};
    plmm_tokenizer_params p = {400, 2, plmm_chat_specials, PLMM_CHAT_SPECIALS};
    plmm_tokenizer_trainer *t = NULL;
    plmm_tokenizer *out = NULL;
    plmm_world w = {0};
    plmm_world_params wp = c->world;
    wp.devices = 2;
    CHECK(plmm_world_generate(&wp, 9, &w, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_tokenizer_trainer_new(&p, &t, &err) == PLMM_OK, "%s", err.msg);
    for (size_t i = 0; i < w.n_dialogues; i++) {
        const char *s = w.dialogues[i].response;
        CHECK(plmm_tokenizer_trainer_feed(t, s, strlen(s), &err) == PLMM_OK, "%s", err.msg);
    }
    CHECK(plmm_tokenizer_trainer_finish(t, &out, &err) == PLMM_OK, "%s", err.msg);
    plmm_tokenizer_trainer_free(t);
    plmm_world_free(&w);
    return out;
}

static inline void small_sim_open(small_sim *s)
{
    static const char *const sets[] = {"name=small",
                                       "seeds=[1,2]",
                                       "rounds=2",
                                       "experts=medicine,it",
                                       "world.devices=20",
                                       "world.dialogues=30",
                                       "world.entities=8",
                                       "world.unseen=8",
                                       "world.values=4",
                                       "world.chatter_min=0",
                                       "world.chatter_max=0.1",
                                       "world.mix_alpha=10",
                                       "select.bins=16",
                                       "lora.rank=2",
                                       "lora.targets=q,v",
                                       "train.steps=2",
                                       "train.batch_tokens=96",
                                       "train.seq_max=48",
                                       "train.examples_min=1",
                                       "train.learning_rate=0.01",
                                       "secagg.cohort=10",
                                       "secagg.n_min=5",
                                       "data.questions=12",
                                       "faults.speed=500"};
    plmm_error err = {0};
    CHECK(plmm_sim_config_load(&s->cfg, NULL, sets, COUNT(sets), &err) == PLMM_OK, "%s", err.msg);
    s->tokenizer = small_tokenizer(&s->cfg);
    plmm_model_config m = {.dim = 16,
                           .layers = 1,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_dim = 8,
                           .hidden = 32,
                           .vocab = plmm_tokenizer_vocab(s->tokenizer),
                           .context = 128,
                           .rope_theta = 10000,
                           .norm_eps = 1e-5f,
                           .tied = true,
                           .bos = plmm_tokenizer_bos(s->tokenizer),
                           .eos = plmm_tokenizer_eos(s->tokenizer),
                           .pad = -1};
    s->model = NULL;
    CHECK(plmm_model_new(&m, &s->model, &err) == PLMM_OK, "%s", err.msg);
    plmm_model_init_random(s->model, 3);
    CHECK(plmm_model_seal(s->model, &err) == PLMM_OK, "%s", err.msg);
}

static inline void small_sim_set(small_sim *s, const char *assignment)
{
    plmm_error err = {0};
    CHECK(plmm_config_set(plmm_sim_config_table(), assignment, &s->cfg, &err) == PLMM_OK, "%s",
          err.msg);
}

static inline void small_sim_close(small_sim *s)
{
    plmm_model_free(s->model);
    plmm_tokenizer_free(s->tokenizer);
}

/* The run, or NULL after a failed CHECK. */
static inline plmm_run *small_sim_run(small_sim *s, uint32_t threads, bool spoil)
{
    plmm_sim_options o = {.threads = threads, .quiet = true, .spoil_sums = spoil};
    plmm_sim_timing timing;
    plmm_run *run = NULL;
    plmm_error err = {0};
    plmm_status rc = plmm_sim_run_model(&s->cfg, &o, s->model, s->tokenizer, &run, &timing, &err);
    CHECK(rc == PLMM_OK, "%s", err.msg);
    return run;
}

#endif
