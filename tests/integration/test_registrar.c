/* A registrar as a process, asked over TCP what an aggregator may ask, and what it may not. The
 * requests are those of real rounds, played in memory up to their seal. A round has one roster:
 * after kill -9 the registrar gives the same seal again and refuses another roster, as it refuses
 * revoked devices and a cohort drawn by another link; and two registrars on one state cannot both
 * seal. Strangers get no answer.
 *     test_registrar registrar DIR PORT        the process */
#include "../support/fleet.h"

#include "plmm/clock.h"
#include "plmm/file.h"
#include "plmm/line.h"
#include "plmm/registry.h"
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEVICES = 24, LENGTH = 20, SEED = 5, ANSWER_MS = 5000 };

static char dir[64] = "/tmp/plmm-registrar-XXXXXX";

static const char *at(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *out = path[next++ % 4];
    (void)snprintf(out, sizeof path[0], "%s/%s", dir, name);
    return out;
}

/* ---- rounds, played up to the seal ---- */

typedef struct request {
    uint8_t bytes[1 << 15];
    size_t len;
} request;

/* What the devices see of a round. */
typedef struct story {
    uint64_t round;
    uint32_t left_out[3]; /* devices that do not come; DEVICES: nobody */
    uint32_t rate;
    plmm_link link; /* index 0: the anchor's */
} story;

static bool without(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    const story *s = arg;
    (void)f;
    (void)to;
    (void)frame;
    return from != s->left_out[0] && from != s->left_out[1] && from != s->left_out[2];
}

/* The machine as it was when it asked for the seal, from the journal: it asks again. */
static void ask_again(const fleet *f, request *out)
{
    plmm_agg_round *m = NULL;
    plmm_agg_actions acts = {0};
    plmm_agg_status st = {0};
    plmm_error err = {0};
    out->len = 0;
    CHECK(plmm_agg_round_new(&m, &f->cfg, &err) == PLMM_OK, "%s", err.msg);
    for (uint32_t i = 0; i < f->journal.n && !st.spent; i++) {
        const fleet_bytes *r = &f->journal.record[i];
        CHECK(plmm_agg_round_replay(m, r->p, r->len, &acts, &err) == PLMM_OK, "%s", err.msg);
        plmm_agg_round_status(m, &st);
    }
    plmm_agg_event ev = {.type = PLMM_AGG_EV_RESUME, .now_ms = f->now};
    CHECK(plmm_agg_round_step(m, &ev, &acts, &err) == PLMM_OK, "%s", err.msg);
    for (uint32_t i = 0; i < acts.n; i++) {
        if (acts.v[i].type == PLMM_AGG_DO_SEAL && acts.v[i].len <= sizeof out->bytes) {
            memcpy(out->bytes, acts.v[i].bytes, acts.v[i].len);
            out->len = acts.v[i].len;
        }
    }
    CHECK(out->len > 0, "no request for a seal");
    plmm_agg_round_free(m);
}

/* Everything of the fleet but the round is the same in each story: keys, devices, registrar. */
static void play(story s, request *out)
{
    fleet *f = fleet_new(DEVICES, LENGTH, SEED);
    f->cfg.params.round = s.round;
    f->cfg.params.rate = s.rate;
    if (s.link.index != 0) {
        f->cfg.link = s.link;
    }
    f->tap = without;
    f->tap_arg = &s;
    f->until_abort = true; /* who is refused is not waited for */
    fleet_start(f);
    fleet_run(f);
    ask_again(f, out);
    fleet_free(f);
}

/* ---- the process ---- */

static void on_term(int number)
{
    (void)number;
    plmm_registry_stop();
}

/* The keys of the fleet; *enrolled (may be NULL) are its devices. */
static plmm_registrar_config keys(plmm_certificate enrolled[DEVICES])
{
    fleet *f = fleet_new(DEVICES, LENGTH, SEED);
    plmm_registrar_config c = {.expert = "medicine",
                               .key = f->registrar_sk,
                               .aggregator = f->anchor.aggregator,
                               .chain_length = FLEET_CHAIN};
    c.chain = f->chain;
    for (uint32_t i = 0; enrolled != NULL && i < DEVICES; i++) {
        enrolled[i] = f->d[i].cfg.certificate;
    }
    fleet_free(f);
    return c;
}

static int role(char **argv)
{
    char url[64], port_file[256];
    plmm_error err = {0};
    struct sigaction act = {.sa_handler = on_term};
    (void)sigaction(SIGTERM, &act, NULL);
    (void)snprintf(dir, sizeof dir, "%s", argv[2]);
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%s", argv[3]);
    (void)snprintf(port_file, sizeof port_file, "%s", at("port"));
    plmm_registry_config c = {.url = url, .registrar = keys(NULL), .port_file = port_file};
    plmm_status rc = plmm_node_open(at("registrar.db"), &c.store, &err);
    rc = rc == PLMM_OK ? plmm_registry_run(&c, &err) : rc;
    plmm_node_close(c.store);
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
    }
    return rc == PLMM_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

typedef struct office {
    char *self;
    pid_t pid;
    plmm_line *line;
} office;

static void open_office(office *o)
{
    uint8_t *text = NULL;
    size_t len = 0;
    char url[64];
    plmm_error err = {0};
    (void)unlink(at("port"));
    o->pid = fork();
    if (o->pid == 0) {
        int fd = open(at("log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(fd, STDERR_FILENO);
        (void)alarm(50);
        char *const argv[] = {o->self, (char[]){"registrar"}, dir, (char[]){"0"}, NULL};
        (void)execv(o->self, argv);
        _exit(127);
    }
    for (int i = 0; i < 1000 && plmm_file_read(at("port"), 16, &text, &len, NULL) != PLMM_OK; i++) {
        plmm_clock_sleep_ms(10);
    }
    CHECK(text != NULL, "the registrar does not listen");
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u",
                   text != NULL ? (unsigned)strtoul((char *)text, NULL, 10) : 1);
    plmm_free(text);
    CHECK(plmm_line_open(&o->line, url, 1 << 20, &err) == PLMM_OK, "%s", err.msg);
}

static void close_office(office *o, int number)
{
    int status = 0;
    plmm_line_close(o->line);
    CHECK(kill(o->pid, number) == 0 && waitpid(o->pid, &status, 0) == o->pid &&
              (number == SIGKILL || status == 0),
          "the registrar ended with %x", (unsigned)status);
}

/* The answer's octets; false if there was none. */
static bool ask(office *o, const uint8_t *bytes, size_t len, const uint8_t **out, size_t *out_len)
{
    uint64_t until = plmm_clock_ms() + ANSWER_MS;
    plmm_line_news news;
    plmm_error err = {0};
    CHECK(plmm_line_ask(o->line, bytes, len, NULL, 0, &err) == PLMM_OK, "%s", err.msg);
    do {
        news = plmm_line_wait(o->line, ANSWER_MS);
    } while (news == PLMM_LINE_NEW && plmm_clock_ms() < until);
    if (news != PLMM_LINE_REPLY) {
        plmm_line_give_up(o->line);
        return false;
    }
    plmm_line_reply(o->line, out, out_len);
    return *out_len > 0;
}

/* The answer to a request for a seal, signed by the registrar. */
static plmm_seal_answer seal(office *o, const request *r)
{
    const uint8_t *bytes = NULL;
    size_t len = 0;
    plmm_frame f;
    plmm_seal_answer a = {.refusal = PLMM_REFUSALS};
    plmm_error err = {0};
    plmm_sign_pk key;
    plmm_registrar_config c = keys(NULL);
    memcpy(key.b, c.key.b + 32, sizeof key.b); /* an Ed25519 secret key ends with the public one */
    CHECK(ask(o, r->bytes, r->len, &bytes, &len), "no answer");
    CHECK(len > 0 && plmm_frame_decode(&f, bytes, len, &err) == PLMM_OK &&
              plmm_frame_verify(&f, &key, &err) == PLMM_OK &&
              plmm_seal_answer_decode(&a, &f, &err) == PLMM_OK,
          "%s", err.msg);
    return a;
}

/* ---- what is checked ---- */

#define NOBODY                                                                                     \
    {                                                                                              \
        DEVICES, DEVICES, DEVICES                                                                  \
    }
static const story everyone = {7, NOBODY, UINT32_MAX, {0}};

static void one_roster(office *o)
{
    static request r, other;
    play(everyone, &r);
    plmm_seal_answer first = seal(o, &r), again = seal(o, &r);
    CHECK(first.refusal == 0 && first.seal.n == DEVICES && first.seal.link.index == 1, "sealed: %s",
          first.text);
    CHECK(memcmp(&first.seal, &again.seal, sizeof first.seal) == 0, "the same request again");
    story s = everyone;
    s.left_out[0] = 3;
    play(s, &other);
    again = seal(o, &other);
    CHECK(again.refusal == PLMM_REFUSAL_SECOND_SEAL, "a second roster: %u %s", again.refusal,
          again.text);
    close_office(o, SIGKILL);
    open_office(o);
    again = seal(o, &other);
    CHECK(again.refusal == PLMM_REFUSAL_SECOND_SEAL, "... after a crash: %u %s", again.refusal,
          again.text);
    again = seal(o, &r);
    CHECK(again.refusal == 0 && memcmp(&first.seal, &again.seal, sizeof first.seal) == 0,
          "the same seal after a crash");
}

static void strangers(office *o)
{
    static request r;
    const uint8_t *bytes;
    size_t len = 0;
    play(everyone, &r);
    r.bytes[r.len - 9] ^= 1;
    CHECK(!ask(o, r.bytes, r.len, &bytes, &len), "a changed entry is not answered");
    r.bytes[r.len - 9] ^= 1;
    CHECK(!ask(o, r.bytes, r.len - 1, &bytes, &len), "half a request is not answered");
    CHECK(!ask(o, (const uint8_t *)"?", 1, &bytes, &len), "noise is not answered");
    CHECK(seal(o, &r).refusal == 0, "and others are heard");
}

static plmm_registry_answer devices;

static bool list(office *o, uint64_t after, const plmm_sign_sk *key)
{
    uint8_t question[PLMM_REGISTRY_ASK];
    const uint8_t *bytes;
    size_t len = 0;
    plmm_error err = {0};
    plmm_sign_pk pk;
    plmm_registrar_config c = keys(NULL);
    plmm_registry_ask q = {.expert = "medicine", .after = after, .nonce = {1, 2, 3}};
    plmm_registry_ask_encode(question, &q, key);
    if (!ask(o, question, sizeof question, &bytes, &len)) {
        return false;
    }
    memcpy(pk.b, c.key.b + 32, sizeof pk.b);
    CHECK(plmm_registry_answer_decode(&devices, bytes, len, &q, &pk, &err) == PLMM_OK, "%s",
          err.msg);
    static uint8_t copy[PLMM_REGISTRY_ANSWER];
    memcpy(copy, bytes, len);
    q.nonce[0] = 9;
    CHECK(plmm_registry_answer_decode(&devices, copy, len, &q, &pk, NULL) == PLMM_ERR_WIRE,
          "an old answer");
    q.nonce[0] = 1;
    copy[len / 2] ^= 4;
    CHECK(plmm_registry_answer_decode(&devices, copy, len, &q, &pk, NULL) != PLMM_OK,
          "a changed answer");
    CHECK(plmm_registry_answer_decode(&devices, copy, 20, &q, &pk, NULL) == PLMM_ERR_WIRE, "short");
    copy[len / 2] ^= 4;
    return plmm_registry_answer_decode(&devices, copy, len, &q, &pk, NULL) == PLMM_OK;
}

static void revoke(uint64_t device)
{
    plmm_node_store *s = NULL;
    plmm_error err = {0};
    CHECK(plmm_node_open(at("registrar.db"), &s, &err) == PLMM_OK &&
              plmm_node_device_revoke(s, device, &err) == PLMM_OK,
          "%s", err.msg);
    plmm_node_close(s);
}

static void revoked(office *o)
{
    static request with, sans;
    plmm_certificate all[DEVICES];
    fleet *f = fleet_new(DEVICES, LENGTH, SEED);
    plmm_registrar_config c = keys(all);
    CHECK(!list(o, 0, &c.key), "the list is the aggregator's alone");
    CHECK(list(o, 0, &f->agg_sk) && devices.n == DEVICES && devices.population == DEVICES &&
              devices.round == 7 && devices.link.index == 1,
          "%u devices, round %d", devices.n, (int)devices.round);
    uint64_t serial = devices.serial;
    story s = {8, NOBODY, UINT32_MAX, {0}};
    play(s, &with);
    s.left_out[0] = 5;
    play(s, &sans);
    revoke(all[5].device);
    plmm_seal_answer a = seal(o, &with);
    CHECK(a.refusal == PLMM_REFUSAL_CERTIFICATE, "a revoked device: %u %s", a.refusal, a.text);
    a = seal(o, &sans);
    CHECK(a.refusal == 0 && a.seal.n == DEVICES - 1 && a.seal.population == DEVICES - 1,
          "without it: %s", a.text);
    CHECK(list(o, serial, &f->agg_sk) && devices.n == 1 && devices.v[0].revoked &&
              devices.v[0].certificate.device == all[5].device,
          "%u changes", devices.n);
    fleet_free(f);
}

/* A cohort that the aggregator drew by a link of its own, and so of its own choice. */
static void ineligible(office *o)
{
    static request r;
    story s = {9, {5, DEVICES, DEVICES}, UINT32_MAX / 10 * 9, {.index = 2, .value = {{0xee}}}};
    play(s, &r);
    plmm_seal_answer a = seal(o, &r);
    CHECK(a.refusal == PLMM_REFUSAL_ELIGIBLE, "a cohort of its own making: %u %s", a.refusal,
          a.text);
}

/* Two processes on one state, which must not be. Each was started before either sealed the round,
 * and they are asked for different rosters of it. */
static void two_offices(office *o)
{
    static request r, other;
    office second = {.self = o->self};
    const uint8_t *bytes;
    size_t len = 0;
    story s = {10, {5, 6, DEVICES}, UINT32_MAX, {0}};
    play(s, &r);
    s.left_out[2] = 7;
    play(s, &other);
    open_office(&second);
    plmm_seal_answer a = seal(o, &r);
    CHECK(a.refusal == 0 && a.seal.n == DEVICES - 2, "the first: %s", a.text);
    CHECK(!ask(&second, other.bytes, other.len, &bytes, &len), "the second seals nothing");
    a = seal(&second, &other);
    CHECK(a.refusal == PLMM_REFUSAL_SECOND_SEAL, "and says so: %u %s", a.refusal, a.text);
    plmm_seal_answer same = seal(&second, &r);
    CHECK(same.refusal == 0 && same.seal.n == DEVICES - 2, "%s", same.text);
    close_office(&second, SIGTERM);
}

int main(int argc, char **argv)
{
    plmm_error err = {0};
    office o = {.self = argv[0]};
    plmm_node_store *s = NULL;
    plmm_certificate all[DEVICES];
    (void)alarm(55);
    CHECK(plmm_crypto_init(&err) == PLMM_OK, "%s", err.msg);
    if (argc == 4) {
        return role(argv);
    }
    (void)keys(all);
    CHECK(mkdtemp(dir) != NULL && plmm_node_open(at("registrar.db"), &s, &err) == PLMM_OK, "%s",
          err.msg);
    for (uint32_t i = 0; i < DEVICES; i++) {
        CHECK(plmm_node_device_add(s, &all[i], "", 0, &err) == PLMM_OK, "%s", err.msg);
    }
    plmm_node_close(s);
    open_office(&o);
    one_roster(&o);
    strangers(&o);
    revoked(&o);
    ineligible(&o);
    two_offices(&o);
    close_office(&o, SIGTERM);
    CHECK(plmm_path_remove(dir, NULL) == PLMM_OK, "clean up");
    return plmm_test_end();
}
