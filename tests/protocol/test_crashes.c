/* A crash at every single point where a party makes something durable, just before and just after:
 * the round ends as it would have, with the same sum; then vectors that are lost and journals that
 * are damaged. Claims C4, C11. */
#include "fleet.h"

enum { N = 5, LENGTH = 4 };

static fleet *one_round(uint32_t crash_at, bool before, uint32_t drops)
{
    fleet *f = fleet_new(N, LENGTH, 9);
    f->crash_at = crash_at;
    f->crash_before = before;
    f->d[3].quits = drops;
    fleet_start(f);
    fleet_run(f);
    return f;
}

static void test_every_point(uint32_t drops, uint32_t stride)
{
    fleet *clean = one_round(0, false, drops);
    CHECK(clean->finished && clean->crashes == 0, "a clean round: %s", clean->text);
    uint32_t points = clean->persists;
    CHECK(points > 12 * N - 12, "%u points", points);
    for (uint32_t p = 1; p <= points; p += stride) {
        for (int before = 0; before < 2; before++) {
            fleet *f = one_round(p, before == 1, drops);
            CHECK(f->crashes == 1, "point %u: %u crashes", p, f->crashes);
            CHECK(f->finished && f->in_sum == clean->in_sum, "point %u, %s: %u in the sum: %s", p,
                  before == 1 ? "before" : "after", f->in_sum, f->text);
            fleet_check_sum(f);
            for (uint32_t i = 0; i < N; i++) {
                CHECK(f->d[i].gone || f->d[i].finished, "point %u: device %u: %s", p, i,
                      f->d[i].text);
            }
            fleet_free(f);
        }
    }
    fleet_free(clean);
}

/* ---- a device whose stored vector is gone does not mask another one ---- */

static bool lose_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static plmm_frame peek;
    bool *done = arg;
    (void)to;
    CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "peek");
    if (from != 2 || peek.type != PLMM_MSG_MASKED || *done) {
        return true;
    }
    *done = true;
    fleet_device *d = &f->d[2];
    plmm_error err = {0};
    plmm_client_round *m;
    plmm_client_actions out;
    CHECK(plmm_client_round_new(&m, &d->cfg, &err) == PLMM_OK, "%s", err.msg);
    for (uint32_t r = 0; r < d->journal.n; r++) {
        CHECK(plmm_client_round_replay(m, d->journal.record[r].p, d->journal.record[r].len, &err) ==
                  PLMM_OK,
              "%s", err.msg);
    }
    plmm_client_event e = {.type = PLMM_CLIENT_EV_UPLOAD_LOST, .now_ms = f->now};
    CHECK(plmm_client_round_step(m, &e, &out, &err) == PLMM_OK && out.n == 1 &&
              out.v[0].type == PLMM_CLIENT_DO_ABORT && out.v[0].reason == PLMM_ABORT_LOST &&
              out.v[0].round == 7,
          "it sits the round out");
    uint32_t lanes[LENGTH + 1];
    uint8_t payload[64];
    plmm_hash digest;
    CHECK(plmm_client_round_mask(m, payload, &digest, lanes, d->delta, LENGTH, &err) ==
              PLMM_ERR_STATE,
          "no other vector is masked");
    plmm_client_round_free(m);
    return true;
}

static void test_lost_vector(void)
{
    bool done = false;
    fleet *f = fleet_new(N, LENGTH, 10);
    f->tap = lose_tap;
    f->tap_arg = &done;
    fleet_start(f);
    fleet_run(f);
    CHECK(done, "the vector was sent");
    fleet_free(f);
}

/* ---- damaged journals are said to be damaged; nothing crashes ---- */

static plmm_status replay_device(const fleet *f, const fleet_journal *j, plmm_error *err)
{
    plmm_client_round *m;
    plmm_status rc = plmm_client_round_new(&m, &f->d[1].cfg, err);
    for (uint32_t r = 0; rc == PLMM_OK && r < j->n; r++) {
        rc = plmm_client_round_replay(m, j->record[r].p, j->record[r].len, err);
    }
    plmm_client_round_free(m);
    return rc;
}

static plmm_status replay_agg(const fleet *f, const fleet_journal *j, plmm_error *err)
{
    plmm_agg_round *m;
    plmm_agg_actions out;
    plmm_status rc = plmm_agg_round_new(&m, &f->cfg, err);
    for (uint32_t r = 0; rc == PLMM_OK && r < j->n; r++) {
        rc = plmm_agg_round_replay(m, j->record[r].p, j->record[r].len, &out, err);
    }
    plmm_agg_round_free(m);
    return rc;
}

static void damage(fleet *f, fleet_journal *j, bool device)
{
    plmm_error err = {0};
    plmm_status (*replay)(const fleet *, const fleet_journal *, plmm_error *) =
        device ? replay_device : replay_agg;
    CHECK(replay(f, j, &err) == PLMM_OK, "whole: %s", err.msg);
    for (uint32_t r = 0; r < j->n; r++) {
        fleet_bytes *b = &j->record[r];
        uint8_t kind = b->p[0];
        b->p[0] ^= 0x20;
        CHECK(replay(f, j, &err) == PLMM_ERR_FORMAT, "record %u of another kind", r);
        b->p[0] = kind;
        b->len--;
        CHECK(replay(f, j, &err) == PLMM_ERR_FORMAT, "record %u cut", r);
        b->len++;
        if (r > 0 && r + 1 < j->n && device) { /* order matters to a device */
            fleet_bytes t = j->record[r];
            j->record[r] = j->record[r + 1];
            j->record[r + 1] = t;
            CHECK(replay(f, j, &err) == PLMM_ERR_FORMAT, "records %u and %u swapped", r, r + 1);
            j->record[r + 1] = j->record[r];
            j->record[r] = t;
        }
    }
}

static void test_damaged_journals(void)
{
    fleet *f = fleet_new(N, LENGTH, 11);
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished, "%s", f->text);
    damage(f, &f->d[1].journal, true);
    damage(f, &f->journal, false);
    fleet_free(f);
}

/* ---- memory that is refused at any point ends in a status, not in a crash ---- */

static void test_out_of_memory(void)
{
    for (long k = 0; k < 12; k++) {
        fleet *f = fleet_new(N, LENGTH, 12);
        plmm_error err = {0};
        plmm_agg_round *agg = NULL;
        plmm_client_round *client = NULL;
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_agg_round_new(&agg, &f->cfg, &err);
        plmm_status rc2 = plmm_client_round_new(&client, &f->d[0].cfg, &err);
        plmm_alloc_fail_at(-1);
        CHECK((rc == PLMM_OK) == (agg != NULL) && (rc == PLMM_OK || rc == PLMM_ERR_NOMEM), "%ld",
              k);
        CHECK((rc2 == PLMM_OK) == (client != NULL), "%ld", k);
        plmm_agg_round_free(agg);
        plmm_client_round_free(client);
        fleet_free(f);
    }
}

int main(void)
{
    test_every_point(0, 1);
    test_every_point(PLMM_MSG_MASKED, 3);
    test_lost_vector();
    test_damaged_journals();
    test_out_of_memory();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
