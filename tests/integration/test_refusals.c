/* An aggregator at its socket: octets that are no frame, requests that are too long, a device that
 * nobody certified, a replayed frame, and, in a round with nineteen honest devices, a vector of the
 * wrong length from a device that signs it. Each is refused with its sentence, and the round
 * completes without. */
#include "fleet.h"

#include "plmm/line.h"

enum { LIAR = 20, REPLY_MAX = 1 << 16, ANSWER_MS = 3000 };

typedef struct talker {
    plmm_line *line;
    char dir[64];
    const uint8_t *reply; /* borrowed until the next request */
    size_t len;
} talker;

/* One request; false if the connection broke or nothing came back. */
static bool ask(talker *t, const void *bytes, size_t len)
{
    plmm_error err = {0};
    uint64_t until = plmm_clock_ms() + ANSWER_MS;
    plmm_line_news news;
    CHECK(plmm_line_ask(t->line, bytes, len, NULL, 0, &err) == PLMM_OK, "%s", err.msg);
    do {
        news = plmm_line_wait(t->line, ANSWER_MS);
    } while (news == PLMM_LINE_NEW && plmm_clock_ms() < until);
    if (news != PLMM_LINE_REPLY) {
        plmm_line_give_up(t->line);
        return false;
    }
    plmm_line_reply(t->line, &t->reply, &t->len);
    return true;
}

static void dial(talker *t, uint32_t port)
{
    char url[64];
    plmm_error err = {0};
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
    CHECK(plmm_line_open(&t->line, url, REPLY_MAX, &err) == PLMM_OK, "%s", err.msg);
}

static bool said(talker *t, const char *text)
{
    for (int i = 0; i < 200; i++) {
        if (fleet_log_has(t->dir, "serve", text)) {
            return true;
        }
        plmm_clock_sleep_ms(10);
    }
    return false;
}

static void not_frames(talker *t)
{
    static uint8_t noise[3000];
    memset(noise, 'x', sizeof noise);
    CHECK(ask(t, noise, sizeof noise) && t->len == 0, "noise is answered with nothing");
    CHECK(said(t, "ev=frame.refused device=0"), "noise");
    CHECK(ask(t, "PLM1", 4) && t->len == 0, "a beginning");
    CHECK(said(t, "the request ends inside a frame"), "a beginning");
    CHECK(ask(t, "", 0) && t->len == 0, "an empty request of nobody is answered at once");
}

/* On a connection of its own, which does not survive it. */
static void too_long(talker *t, uint32_t port)
{
    static uint8_t huge[1 << 20];
    plmm_line *kept = t->line;
    dial(t, port);
    CHECK(!ask(t, huge, sizeof huge), "a request beyond the limit has no answer");
    plmm_line_close(t->line);
    t->line = kept;
    CHECK(ask(t, "", 0), "and others are heard");
}

/* The check-in of a device whose certificate is by `registrar`. */
static plmm_client_round *check_in(uint8_t id, uint8_t registrar, uint8_t *out, size_t *len)
{
    plmm_client_round *m = NULL;
    plmm_error err = {0};
    plmm_sign_pk pk;
    plmm_sign_sk key;
    plmm_anchor anchor = fleet_anchor();
    plmm_client_config c = {.resend_ms = 1000, .silence_ms = 60000};
    plmm_manifest first = {0};
    plmm_client_actions acts;
    plmm_client_event ev = {.type = PLMM_CLIENT_EV_START, .now_ms = plmm_clock_ms()};
    fleet_keys(registrar, &pk, &key);
    fleet_keys(id, &pk, &c.key);
    CHECK(plmm_certificate_issue(&c.certificate, &key, FLEET_EXPERT, id, &pk, &err) == PLMM_OK,
          "%s", err.msg);
    plmm_policy_default(&c.policy, &anchor);
    c.policy.clip_max = 40000;
    fleet_device d = {.id = id};
    CHECK(fleet_installed(&d, &first, &c.policy, &err) == PLMM_OK, "policy");
    c.model = fleet_hash;
    CHECK(plmm_seed_system(&ev.seed, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_client_round_new(&m, &c, &err) == PLMM_OK &&
              plmm_client_round_step(m, &ev, &acts, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(acts.n == 1 && acts.v[0].type == PLMM_CLIENT_DO_SEND, "it checks in");
    memcpy(out, acts.v[0].bytes, acts.v[0].len);
    *len = acts.v[0].len;
    return m;
}

static void strangers(talker *t)
{
    uint8_t frame[PLMM_FRAME_SMALL];
    size_t len = 0;
    plmm_client_round_free(check_in(3, FLEET_AGGREGATOR, frame, &len));
    CHECK(ask(t, frame, len) && t->len == 0, "a stranger gets nothing");
    CHECK(said(t, "ev=frame.refused device=3"), "a certificate by somebody else");
}

/* ---- a device that takes part and lies in R2 ---- */

typedef struct liar {
    plmm_client_round *m;
    uint8_t out[1 << 16];
    size_t len;
    uint8_t vector[1 << 14];
    bool lied, train, mask;
    size_t payload_len;
} liar;

/* The head of its upload, rewritten for a vector that is three octets short, and authentic. */
static void shorten(liar *l, const plmm_client_action *a)
{
    plmm_frame f;
    plmm_error err = {0};
    plmm_sign_pk pk;
    plmm_sign_sk key;
    plmm_key frames = {{0}};
    uint8_t whole[1 << 15];
    size_t len = 0;
    memcpy(whole, a->bytes, a->len);
    memcpy(whole + a->len, l->vector, l->payload_len);
    CHECK(plmm_frame_decode(&f, whole, a->len + l->payload_len, &err) == PLMM_OK, "%s", err.msg);
    fleet_keys(LIAR, &pk, &key);
    f.bulk_len = (uint32_t)l->payload_len - 3;
    plmm_bulk_hash(&f.bulk_hash, l->vector, f.bulk_len);
    plmm_anchor anchor = fleet_anchor();
    CHECK(plmm_frame_key(&frames, &key, &anchor.aggregator, FLEET_EXPERT, &err) == PLMM_OK, "%s",
          err.msg);
    plmm_frame_head(l->out + l->len, &len, &f, &frames, PLMM_TO_AGGREGATOR);
    memcpy(l->out + l->len + len, l->vector, f.bulk_len);
    l->len += len + f.bulk_len;
    l->lied = true;
}

static uint64_t obey(liar *l, const plmm_client_actions *acts)
{
    uint64_t seq = 0;
    for (uint32_t i = 0; i < acts->n; i++) {
        const plmm_client_action *a = &acts->v[i];
        if (a->type == PLMM_CLIENT_DO_SEND) {
            memcpy(l->out + l->len, a->bytes, a->len);
            l->len += a->len;
        } else if (a->type == PLMM_CLIENT_DO_SEND_UPLOAD) {
            shorten(l, a);
        } else if (a->type == PLMM_CLIENT_DO_PERSIST || a->type == PLMM_CLIENT_DO_PERSIST_UPLOAD) {
            seq = a->seq;
        } else if (a->type == PLMM_CLIENT_DO_TRAIN) {
            l->train = true;
        } else if (a->type == PLMM_CLIENT_DO_MASK) {
            l->mask = true;
            l->payload_len = a->payload_len;
        }
    }
    return seq;
}

static void step(liar *l, plmm_client_event ev)
{
    for (;;) {
        plmm_client_actions acts;
        ev.now_ms = plmm_clock_ms();
        if (plmm_client_round_step(l->m, &ev, &acts, NULL) != PLMM_OK) {
            return;
        }
        uint64_t seq = obey(l, &acts);
        if (seq == 0) {
            return;
        }
        ev = (plmm_client_event){.type = PLMM_CLIENT_EV_PERSISTED, .seq = seq};
    }
}

static void work(liar *l)
{
    static float delta[FLEET_LENGTH];
    static uint32_t lanes[FLEET_LENGTH + 1];
    if (l->train) {
        l->train = false;
        step(l, (plmm_client_event){.type = PLMM_CLIENT_EV_TRAINED, .weight = 1});
    }
    if (l->mask) {
        plmm_client_event ev = {.type = PLMM_CLIENT_EV_MASKED};
        plmm_error err = {0};
        l->mask = false;
        CHECK(l->payload_len <= sizeof l->vector &&
                  plmm_client_round_mask(l->m, l->vector, &ev.digest, lanes, delta, FLEET_LENGTH,
                                         &err) == PLMM_OK,
              "%s", err.msg);
        step(l, ev);
    }
}

static void take_reply(talker *t, liar *l)
{
    size_t size = 0;
    for (size_t at = 0; at + PLMM_FRAME_PREFIX <= t->len; at += size) {
        if (plmm_frame_size(&size, t->reply + at, NULL) != PLMM_OK) {
            return;
        }
        step(l, (plmm_client_event){
                    .type = PLMM_CLIENT_EV_FRAME, .bytes = t->reply + at, .len = size});
    }
}

static void lie(talker *t)
{
    static liar l;
    uint8_t again[PLMM_FRAME_SMALL];
    size_t again_len = 0;
    uint64_t until = plmm_clock_ms() + 30000;
    l.m = check_in(LIAR, FLEET_REGISTRAR, l.out, &l.len);
    memcpy(again, l.out, l.len);
    again_len = l.len;
    bool replayed = false;
    while (!l.lied && plmm_clock_ms() < until) {
        size_t len = l.len;
        l.len = 0;
        if (ask(t, l.out, len)) {
            take_reply(t, &l);
        }
        work(&l);
        if (!replayed && plmm_client_round_state(l.m) >= PLMM_CLIENT_SHARED) {
            replayed = ask(t, again, again_len);
            CHECK(said(t, "ev=frame.stale device=20 type=checkin"), "a replayed check-in");
        }
    }
    CHECK(l.lied && ask(t, l.out, l.len), "the vector was sent");
    CHECK(said(t, "ev=frame.refused device=20 why=\""), "a vector of the wrong length");
    plmm_client_round_free(l.m);
}

static void check_round(const char *dir)
{
    uint8_t *sum = NULL, *ids = NULL;
    size_t sum_len = 0, ids_len = 0;
    plmm_error err = {0};
    CHECK(plmm_file_read(fleet_path(dir, "versions/2/sum.bin"), 1 << 20, &sum, &sum_len, &err) ==
                  PLMM_OK &&
              plmm_file_read(fleet_path(dir, "versions/2/devices.bin"), 1 << 20, &ids, &ids_len,
                             &err) == PLMM_OK,
          "%s", err.msg);
    if (sum != NULL && ids != NULL) {
        uint32_t n = (uint32_t)(ids_len / sizeof(uint64_t)), wrong = 0;
        const uint32_t *lanes = (const uint32_t *)(const void *)sum;
        for (uint32_t i = 0; i <= FLEET_LENGTH; i++) {
            wrong += lanes[i] != fleet_expected((const uint64_t *)(const void *)ids, n, 1, i);
        }
        CHECK(n == FLEET_DEVICES - 1 && wrong == 0, "%u devices, %u wrong lanes", n, wrong);
    }
    plmm_free(sum);
    plmm_free(ids);
}

static void drive(char *self)
{
    static talker t = {.dir = "/tmp/plmm-refusals-XXXXXX"};
    pid_t device[FLEET_DEVICES] = {0};
    int status = 0;
    CHECK(mkdtemp(t.dir) != NULL, "mkdtemp");
    fleet_init(t.dir);
    char *argv[] = {self, "serve", t.dir, "0", "1", "10000", NULL};
    pid_t registrar = fleet_start_registrar(self, t.dir, 0);
    pid_t serve = fleet_start(self, t.dir, "serve", argv);
    uint32_t port = fleet_wait_port(t.dir, "port");
    dial(&t, port);
    not_frames(&t);
    too_long(&t, port);
    strangers(&t);
    for (uint8_t id = 1; id < FLEET_DEVICES; id++) {
        char name[8];
        (void)snprintf(name, sizeof name, "%u", id);
        char *args[] = {self, "join", t.dir, name, "2", "0", NULL};
        fleet_enrol_device(t.dir, id, port);
        device[id] = fleet_start(self, t.dir, name, args);
    }
    lie(&t);
    for (uint8_t id = 1; id < FLEET_DEVICES; id++) {
        CHECK(waitpid(device[id], &status, 0) == device[id] && status == 0, "device %u: %x", id,
              (unsigned)status);
    }
    CHECK(waitpid(serve, &status, 0) == serve && status == 0, "serve: %x", (unsigned)status);
    fleet_end_registrar(registrar);
    check_round(t.dir);
    plmm_line_close(t.line);
    if (plmm_test_failures > 0) {
        fleet_show_log(t.dir, "serve");
    }
    if (getenv("PLMM_TEST_KEEP") != NULL) {
        return;
    }
    CHECK(plmm_path_remove(t.dir, NULL) == PLMM_OK, "clean up");
}

int main(int argc, char **argv)
{
    plmm_error err = {0};
    if (plmm_crypto_init(&err) != PLMM_OK) {
        fleet_die("crypto", &err);
    }
    if (argc == 6) {
        return fleet_role(argv);
    }
    (void)alarm(100);
    drive(argv[0]);
    return plmm_test_end();
}
