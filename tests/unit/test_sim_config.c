/* Configurations of the simulator: what is wrong is said in a sentence that names the key. */
#include "plmm/sim_config.h"

#include "test.h"

static void refused(void)
{
    static const struct {
        const char *set[3];
        const char *says;
    } rows[] = {
        {{"secagg.gama=0.1"}, "secagg.gamma"},
        {{"secagg.gamma=0.7"}, "secagg.gamma"},
        {{"rounds=0"}, "rounds"},
        {{"rounds=ten"}, "rounds"},
        {{"train.method=fedex"}, "fedex"},
        {{"train.method=best"}, "alternate"},
        {{"secagg.cohort=60"}, "there are only 48 devices"},
        {{"secagg.n_min=30"}, "secagg.n_min is 30"},
        {{"world.values=7"}, "multiples"},
        {{"world.chatter_min=0.8"}, "world.chatter_min"},
        {{"faults.drop=0.1,0.1"}, "faults.drop has 2"},
        {{"data.source=files"}, "data.files is empty"},
        {{"data.source=files", "data.files=a,b"}, NULL},
        {{"seeds=[]"}, "seeds is empty"},
        {{"lora.targets=[]"}, "lora.targets"},
        {{"secagg.silence_ms=5", "secagg.resend_ms=5"}, "secagg.silence_ms"},
        {{"secagg.delta=0.9"}, "secagg"},
        {{"secagg.error_feedback=1"}, "secagg.error_feedback is 1"},
        {{"secagg.error_feedback=1", "train.method=ffa"}, NULL},
        {{"secagg.error_feedback=1", "train.method=ffa", "privacy.noise=skellam"},
         "secagg.error_feedback is 1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        static plmm_sim_config c;
        plmm_error err = {0};
        size_t n = rows[i].set[2] != NULL ? 3 : rows[i].set[1] != NULL ? 2 : 1;
        plmm_status rc = plmm_sim_config_load(&c, NULL, rows[i].set, n, &err);
        bool good = rows[i].says == NULL;
        CHECK((rc == PLMM_OK) == good, "%s: status %d %s", rows[i].set[0], rc, err.msg);
        CHECK(good || rc == PLMM_ERR_CONFIG || rc == PLMM_ERR_UNSUPPORTED, "%s: status %d",
              rows[i].set[0], rc);
        CHECK(good || strstr(err.msg, rows[i].says) != NULL, "%s: '%s' does not name '%s'",
              rows[i].set[0], err.msg, rows[i].says);
    }
}

/* A tree of noise and what does not go with it. */
static void trees(void)
{
    static const struct {
        const char *set, *says;
    } rows[] = {
        {"privacy.delta=1e-6", NULL},
        {"privacy.noise=none", "privacy.tree is 8: privacy.noise is none"},
        {"privacy.mode=distributed", "privacy.tree is 8: privacy.mode must be central"},
        {"privacy.mode=local", "privacy.tree is 8: privacy.mode must be central"},
        {"secagg.protocol=oneshot", "privacy.tree is 8: secagg.protocol must be secagg"},
        {"secagg.groups=2", "privacy.tree is 8: secagg.groups must be 1"},
        {"secagg.rotate=1", "privacy.tree is 8: secagg.rotate must be 0"},
        {"privacy.adaptive=0.5", "privacy.tree is 8: privacy.adaptive must be 0"},
        {"train.method=alternate", "privacy.tree is 8: train.method is alternate"},
        {"privacy.adversary=server", "privacy.mode is central"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        static plmm_sim_config c;
        plmm_error err = {0};
        const char *const set[] = {"privacy.noise=skellam",    "privacy.mode=central",
                                   "privacy.adversary=models", "privacy.tree=8",
                                   "train.method=ffa",         rows[i].set};
        plmm_status rc = plmm_sim_config_load(&c, NULL, set, COUNT(set), &err);
        CHECK(rc == (rows[i].says == NULL ? PLMM_OK : PLMM_ERR_CONFIG), "%s: status %d %s",
              rows[i].set, rc, err.msg);
        CHECK(rows[i].says == NULL || strstr(err.msg, rows[i].says) != NULL, "%s: %s", rows[i].set,
              err.msg);
    }
}

static void files(void)
{
    static plmm_sim_config c;
    static const char *const names[] = {"configs/quickstart.json", "configs/msc.json",
                                        "configs/chatdoctor.json", "configs/tldr.json",
                                        "configs/ftrl.json"};
    plmm_error err = {0};
    CHECK(plmm_sim_config_load(&c, NULL, NULL, 0, &err) == PLMM_OK, "defaults: %s", err.msg);
    CHECK(plmm_sim_config_load(&c, "no/such.json", NULL, 0, &err) == PLMM_ERR_NOTFOUND &&
              strstr(err.msg, "no/such.json") != NULL,
          "%s", err.msg);
    for (size_t i = 0; i < COUNT(names); i++) {
        CHECK(plmm_sim_config_load(&c, names[i], NULL, 0, &err) == PLMM_OK, "%s: %s", names[i],
              err.msg);
    }
}

int main(void)
{
    refused();
    trees();
    files();
    return plmm_test_end();
}
