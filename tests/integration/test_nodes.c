/* The programs as someone would run them: one plmm-aggregator and twenty plmm-client processes on
 * loopback with a tiny model, from init to chat. Two devices and the aggregator are killed with -9
 * in the middle of a round and started again; the rounds complete and every device ends with the
 * same adapter. Bad input of each kind gets its sentence.
 *     test_nodes        PLMM_TEST_KEEP in the environment leaves the directory and its logs
 */
#include "plmm/alloc.h"
#include "plmm/chat.h"
#include "plmm/checkpoint.h"
#include "plmm/clock.h"
#include "plmm/file.h"
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEVICES = 20, EARLY = 4, LATER = 9, ARGS = 24, PATIENCE_MS = 60000 };

static char dir[64] = "/tmp/plmm-nodes-XXXXXX";

static const char *at(const char *fmt, ...) PLMM_PRINTF(1, 2);
static const char *at(const char *fmt, ...)
{
    static char path[16][512];
    static unsigned next;
    char name[256];
    char *out = path[next++ % 16];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    (void)snprintf(out, 512, "%s/%s", dir, name);
    return out;
}

/* ---- a model: one layer, random weights, a tokenizer of some 300 tokens ---- */

static const char *const sentences[] = {
    "Who painted the picture with the boat?", "The picture with the boat was painted by Anna.",
    "When was the large bridge built?", "The large bridge was built in the year 1870."};

static plmm_tokenizer *train_tokenizer(plmm_error *err)
{
    plmm_tokenizer_params p = {.vocab = 300,
                               .min_count = 1,
                               .specials = plmm_chat_specials,
                               .n_specials = PLMM_CHAT_SPECIALS};
    plmm_tokenizer_trainer *tr = NULL;
    plmm_tokenizer *t = NULL;
    plmm_status rc = plmm_tokenizer_trainer_new(&p, &tr, err);
    for (size_t i = 0; i < COUNT(sentences) && rc == PLMM_OK; i++) {
        rc = plmm_tokenizer_trainer_feed(tr, sentences[i], strlen(sentences[i]), err);
    }
    rc = rc == PLMM_OK ? plmm_tokenizer_trainer_finish(tr, &t, err) : rc;
    plmm_tokenizer_trainer_free(tr);
    CHECK(rc == PLMM_OK, "tokenizer: %s", err->msg);
    return t;
}

static void make_model(const char *path, uint64_t seed)
{
    plmm_error err = {0};
    plmm_tokenizer *t = train_tokenizer(&err);
    plmm_model_config cfg = {.dim = 16,
                             .layers = 1,
                             .heads = 2,
                             .kv_heads = 1,
                             .head_dim = 8,
                             .hidden = 32,
                             .vocab = plmm_tokenizer_vocab(t),
                             .context = 96,
                             .rope_theta = 10000,
                             .norm_eps = 1e-5f,
                             .tied = true,
                             .bos = 0,
                             .eos = 1,
                             .pad = -1};
    plmm_model *m = NULL;
    plmm_status rc = plmm_model_new(&cfg, &m, &err);
    if (rc == PLMM_OK) {
        plmm_model_init_random(m, seed);
        rc = plmm_model_seal(m, &err);
    }
    rc = rc == PLMM_OK ? plmm_checkpoint_save(path, m, PLMM_F32, t, &err) : rc;
    CHECK(rc == PLMM_OK, "model: %s", err.msg);
    plmm_model_free(m);
    plmm_tokenizer_free(t);
}

/* ---- processes ---- */

/* Starts argv[0] with its output in DIR/log-NAME; ends itself after 120 s whatever happens. */
static pid_t start(const char *name, const char *const *argv)
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(at("log-%s", name), O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
        (void)alarm(120);
        (void)execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    CHECK(pid > 0, "fork");
    return pid;
}

static int end(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool log_has(const char *name, const char *text)
{
    uint8_t *log = NULL;
    size_t len = 0;
    if (plmm_file_read(at("log-%s", name), 1 << 24, &log, &len, NULL) != PLMM_OK) {
        return false;
    }
    bool has = strstr((char *)log, text) != NULL;
    plmm_free(log);
    return has;
}

static void print_log(const char *name)
{
    uint8_t *log = NULL;
    size_t len = 0;
    if (plmm_file_read(at("log-%s", name), 1 << 24, &log, &len, NULL) == PLMM_OK) {
        size_t from = len > 4000 ? len - 4000 : 0;
        (void)fprintf(stderr, "---- log-%s\n%s\n", name, (char *)log + from);
    }
    plmm_free(log);
}

/* Runs to the end; the exit code must be `code` and the output hold `text`. */
static void run(int code, const char *text, const char *const *argv)
{
    static unsigned n;
    char name[32];
    (void)snprintf(name, sizeof name, "run-%u", n++);
    int got = end(start(name, argv));
    bool good = got == code && log_has(name, text);
    CHECK(good, "%s %s %s: exit %d, expected %d and \"%s\"", argv[0], argv[1], argv[2], got, code,
          text);
    if (!good) {
        print_log(name);
    }
}
#define RUN(code, text, ...) run(code, text, (const char *const[ARGS]){__VA_ARGS__, NULL})

static bool wait_log(const char *name, const char *text)
{
    uint64_t until = plmm_clock_ms() + PATIENCE_MS;
    while (!log_has(name, text)) {
        if (plmm_clock_ms() > until) {
            CHECK(false, "%s did not say %s", name, text);
            print_log(name);
            return false;
        }
        plmm_clock_sleep_ms(5);
    }
    return true;
}

/* ---- bad input ---- */

#define AGG    PLMM_AGGREGATOR_PROGRAM
#define CLIENT PLMM_CLIENT_PROGRAM

static void bad_input_before_rounds(void)
{
    RUN(2, "did you mean round.cohort", AGG, "init", at("x"), "--set", "round.chort=3");
    RUN(2, "init needs STATE", AGG, "init");
    RUN(0, "round.cohort = 20", AGG, "init", "--print-config");
    RUN(0, "buffer.bins = 7", CLIENT, "init", "--print-config", "--set", "buffer.bins=7");
    RUN(2, "--base is needed", AGG, "init", at("x"), "--expert", "art");
    RUN(2, "there is no model at", AGG, "init", at("x"), "--expert", "art", "--base", at("none"));
    RUN(2, "is an aggregator's state already", AGG, "init", at("node"), "--expert", "art", "--base",
        at("base"));
    RUN(2, "is no aggregator's state", AGG, "serve", at("none"));
    RUN(2, "only loopback addresses", AGG, "serve", at("node"), "--set",
        "address=tcp://0.0.0.0:7000");
    RUN(2, "an address is tcp://HOST:PORT", AGG, "serve", at("node"), "--set", "address=127.0.0.1");
    char base[600];
    (void)snprintf(base, sizeof base, "base=%s", at("other"));
    RUN(2, "is not the base model", AGG, "serve", at("node"), "--set", base);
    RUN(2, "--expert is needed", AGG, "registrar", "init", at("x"));
    RUN(2, "is about \"device\", not \"expert\"", AGG, "registrar", "init", at("x"), "--expert",
        at("d1/device.pub"));
    RUN(2, "is a registrar's state already", AGG, "registrar", "init", at("reg-node"), "--expert",
        at("node/expert.pub"));
    RUN(2, "is no registrar's state", AGG, "registrar", "serve", at("node"));
    RUN(2, "links is fixed by init", AGG, "registrar", "status", at("reg-node"), "--set",
        "links=99");
    RUN(2, "cannot open", AGG, "registrar", "enroll", at("reg-node"), at("none.pub"));
    RUN(2, "is about \"enrolment\", not \"device\"", AGG, "registrar", "enroll", at("reg-node"),
        at("bundle-1"));
    RUN(2, "is enrolled already", AGG, "registrar", "enroll", at("reg-node"), at("d1/device.pub"),
        "--out", at("y"));
    RUN(2, "is of another expert or aggregator", AGG, "registrar", "enroll", at("reg-node"),
        at("stranger/device.pub"), "--out", at("y"), "--expert", at("foreign/expert.pub"));
    RUN(2, "is no device's number", AGG, "registrar", "revoke", at("reg-node"), "d1");
    RUN(2, "is not enrolled", AGG, "registrar", "revoke", at("reg-node"), "999");
    RUN(2, "see plmm-aggregator registrar --help", AGG, "registrar", "x");
    RUN(2, "is no device's state", CLIENT, "join", at("none"));
    RUN(2, "is for another device", CLIENT, "enroll", at("d1"), at("bundle-2"));
    RUN(2, "is no enrolment bundle", CLIENT, "enroll", at("d1"), at("d1/device.pub"));
    RUN(2, "only loopback addresses", CLIENT, "join", at("d1"), "--address", "tcp://10.1.2.3:7000");
    RUN(2, "follows no expert", CLIENT, "join", at("stranger"));
    RUN(2, "cannot open", CLIENT, "ingest", at("d1"), at("none.jsonl"));
    RUN(2, "holds no dialogue; plmm-client ingest", CLIENT, "train", at("stranger"));
    RUN(2, "bad.jsonl:2", CLIENT, "ingest", at("stranger"), at("bad.jsonl"));
    RUN(2, "has no option --rouns, did you mean --rounds", CLIENT, "join", at("d1"), "--rouns",
        "1");
}

static void key_for_all(void)
{
    CHECK(chmod(at("node/node.key"), 0644) == 0, "chmod");
    RUN(2, "others can reach it; run chmod 600", AGG, "serve", at("node"));
    CHECK(chmod(at("node/node.key"), 0600) == 0, "chmod");
}

/* ---- from init to chat ---- */

static void write_text(const char *path, const char *text)
{
    plmm_error err = {0};
    CHECK(plmm_file_write(path, text, strlen(text), PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s",
          err.msg);
}

static void set_up_node(const char *name)
{
    RUN(0, "expert art, version 1", AGG, "init", at("%s", name), "--expert", "art", "--base",
        at("base"), "--set", "address=tcp://127.0.0.1:0", "--set", "adapter.rank=2", "--set",
        "round.phase_ms=3000", "--set", "round.train_ms=5000", "--set", "round.roster_min=20",
        "--set", "serve.pause_ms=100", "--set", "serve.linger_ms=4000");
    RUN(2, "has no registrar: plmm-aggregator registrar init", AGG, "serve", at("%s", name));
    RUN(0, "registrar of art", AGG, "registrar", "init", at("reg-%s", name), "--expert",
        at("%s/expert.pub", name), "--set", "address=tcp://127.0.0.1:0");
    RUN(0, "", "/bin/cp", at("reg-%s/registrar.pub", name), at("%s", name));
}

static void set_up_device(const char *node, unsigned id, const char *name)
{
    char text[400];
    const char *device = at("%s", name);
    RUN(0, "a device", CLIENT, "init", device, "--base", at("base"), "--set", "buffer.seq_max=64",
        "--set", "join.resend_ms=1000", "--set", "join.silence_ms=20000", "--set",
        "join.patience_ms=40000");
    if (node == NULL) {
        return;
    }
    RUN(0, "of art", AGG, "registrar", "enroll", at("reg-%s", node), at("%s/device.pub", name),
        "--out", at("bundle-%u", id));
    RUN(0, "follows art", CLIENT, "enroll", device, at("bundle-%u", id));
    (void)snprintf(text, sizeof text,
                   "{\"prompt\": \"%s\", \"response\": \"%s Number %u.\"}\n"
                   "{\"prompt\": \"%s\", \"response\": \"%s Number %u.\"}\n",
                   sentences[0], sentences[1], id, sentences[2], sentences[3], id);
    write_text(at("in.jsonl"),
               "{\"prompt\": \"Who am I?\", \"response\": \"Someone.\", \"domain\": "
               "\"personal\"}\n");
    RUN(0, "1 dialogues read: 1 kept", CLIENT, "ingest", device, at("in.jsonl"));
    RUN(2, "no dialogue of the domain art", CLIENT, "join", device);
    write_text(at("in.jsonl"), text);
    RUN(0, "2 dialogues read: 2 kept", CLIENT, "ingest", device, at("in.jsonl"));
}

static const char patient[] = "round.gather_ms=30000", everyone[] = "round.roster_min=20",
                  soon[] = "serve.pause_ms=1000";

static pid_t start_registrar(const char *port)
{
    char address[64];
    (void)snprintf(address, sizeof address, "address=tcp://127.0.0.1:%s", port);
    const char *const argv[] = {AGG,           "registrar",          "serve", at("reg-node"),
                                "--port-file", at("registrar-port"), "--set", address,
                                NULL};
    return start("registrar", argv);
}

static pid_t start_serve(const char *port, const char *registrar, const char *rounds,
                         const char *gather, const char *least, const char *pause)
{
    char address[64], asks[64];
    (void)snprintf(address, sizeof address, "address=tcp://127.0.0.1:%s", port);
    (void)snprintf(asks, sizeof asks, "registrar=tcp://127.0.0.1:%s", registrar);
    const char *const argv[] = {AGG,           "serve",      at("node"), "--rounds", rounds,
                                "--port-file", at("port"),   "--set",    address,    "--set",
                                asks,          "--failures", "4",        "--set",    gather,
                                "--set",       least,        "--set",    pause,      NULL};
    return start("serve", argv);
}

static pid_t start_join(unsigned id, const char *port)
{
    char name[16], address[64];
    (void)snprintf(name, sizeof name, "d%u", id);
    (void)snprintf(address, sizeof address, "tcp://127.0.0.1:%s", port);
    const char *const argv[] = {CLIENT, "join",      at("%s", name), "--rounds",
                                "2",    "--address", address,        NULL};
    return start(name, argv);
}

static bool read_port(const char *name, char port[16])
{
    uint8_t *text = NULL;
    size_t len = 0;
    uint64_t until = plmm_clock_ms() + PATIENCE_MS;
    while (plmm_file_read(at("%s", name), 15, &text, &len, NULL) != PLMM_OK) {
        if (plmm_clock_ms() > until) {
            CHECK(false, "nobody wrote %s", name);
            return false;
        }
        plmm_clock_sleep_ms(10);
    }
    (void)snprintf(port, 16, "%s", (char *)text);
    port[strcspn(port, "\n")] = '\0';
    plmm_free(text);
    return true;
}

/* A device of another registrar, with everything else right. */
static void unenrolled(const char *port)
{
    char address[64];
    (void)snprintf(address, sizeof address, "tcp://127.0.0.1:%s", port);
    RUN(2, "does not know this device", CLIENT, "join", at("d77"), "--address", address);
    CHECK(log_has("serve", "is not enrolled") || log_has("serve", "frame.refused"),
          "the aggregator says why");
}

static void same_adapter(unsigned id)
{
    uint8_t *a = NULL, *b = NULL;
    size_t na = 0, nb = 0;
    plmm_error err = {0};
    CHECK(plmm_file_read(at("node/versions/v0003/adapter_model.safetensors"), 1 << 24, &a, &na,
                         &err) == PLMM_OK &&
              plmm_file_read(at("d%u/experts/art/v0003/adapter_model.safetensors", id), 1 << 24, &b,
                             &nb, &err) == PLMM_OK,
          "device %u: %s", id, err.msg);
    CHECK(a != NULL && b != NULL && na == nb && memcmp(a, b, na) == 0, "device %u has another", id);
    plmm_free(a);
    plmm_free(b);
}

static void kill_and_restart(pid_t *serve, pid_t *registrar, pid_t *device, const char *port,
                             const char *seals)
{
    char early[8], later[8];
    (void)snprintf(early, sizeof early, "d%d", EARLY);
    (void)snprintf(later, sizeof later, "d%d", LATER);
    /* One stops before it shares its keys, so that the step waits for it; one after. */
    if (wait_log(early, "state=\"advertised\"")) {
        CHECK(kill(device[EARLY], SIGSTOP) == 0, "stop");
    }
    if (wait_log(later, "state=\"shared\"")) {
        CHECK(kill(device[LATER], SIGKILL) == 0 && end(device[LATER]) == 128 + SIGKILL, "kill");
    }
    CHECK(kill(device[EARLY], SIGKILL) == 0 && end(device[EARLY]) == 128 + SIGKILL, "kill");
    CHECK(kill(*serve, SIGKILL) == 0 && end(*serve) == 128 + SIGKILL, "kill");
    CHECK(!log_has("serve", "ev=round.done"), "the round was over before the kill");
    CHECK(kill(*registrar, SIGKILL) == 0 && end(*registrar) == 128 + SIGKILL, "kill");
    *serve = start_serve(port, seals, "2", patient, everyone, soon);
    *registrar = start_registrar(seals);
    if (wait_log("serve", "ev=round.done round=1")) {
        device[EARLY] = start_join(EARLY, port);
        device[LATER] = start_join(LATER, port);
    }
    CHECK(log_has("serve", "ev=round.resume"), "the round was not resumed");
}

/* Of its three dialogues a device teaches the expert two: the weights say how many went in. */
static void check_weights(void)
{
    uint8_t *log = NULL;
    size_t len = 0;
    unsigned merges = 0;
    PLMM_ASSERT(plmm_file_read(at("log-serve"), 1 << 24, &log, &len, NULL) == PLMM_OK);
    for (const char *s = strstr((char *)log, "ev=merge.done"); s != NULL;
         s = strstr(s + 1, "ev=merge.done")) {
        const char *d = strstr(s, "devices="), *w = strstr(s, "weight=");
        PLMM_ASSERT(d != NULL && w != NULL);
        unsigned long devices = strtoul(d + 8, NULL, 10), weight = strtoul(w + 7, NULL, 10);
        CHECK(weight == 2 * devices, "%lu devices, weight %lu", devices, weight);
        merges++;
    }
    CHECK(merges == 2, "%u merges", merges);
    plmm_free(log);
}

/* One more round, and another one without a device that was revoked in between, although this process
 * knows it; its registrar runs meanwhile. */
static void revoked(const char *seals, pid_t *device)
{
    char port[16];
    CHECK(plmm_path_remove(at("port"), NULL) == PLMM_OK, "remove");
    pid_t serve = start_serve("0", seals, "2", "round.gather_ms=6000", "round.roster_min=15",
                              "serve.pause_ms=4000");
    if (!read_port("port", port)) {
        return;
    }
    for (unsigned id = 1; id <= DEVICES; id++) {
        device[id] = start_join(id, port);
    }
    (void)wait_log("serve", "ev=round.done round=3 version=4 survivors=20");
    RUN(0, "is revoked: no roster with it", AGG, "registrar", "revoke", at("reg-node"), "5");
    CHECK(end(serve) == 0, "serve");
    CHECK(log_has("serve", "device=5 why=\"device 5 was revoked\""), "the aggregator says why");
    CHECK(log_has("serve", "ev=round.done round=4 version=5 survivors=19"), "nineteen devices");
    for (unsigned id = 1; id <= DEVICES; id++) {
        (void)kill(device[id], SIGTERM);
        (void)end(device[id]);
    }
    CHECK(plmm_path_exists(at("d6/experts/art/v0005")) &&
              !plmm_path_exists(at("d5/experts/art/v0005")),
          "a revoked device gets no version");
}

static void rounds(void)
{
    char port[16], seals[16];
    pid_t device[DEVICES + 1] = {0};
    pid_t registrar = start_registrar("0");
    if (!read_port("registrar-port", seals)) {
        return;
    }
    pid_t serve = start_serve("0", seals, "2", patient, everyone, soon);
    if (!read_port("port", port)) {
        return;
    }
    for (unsigned id = 1; id <= DEVICES; id++) {
        device[id] = start_join(id, port);
    }
    kill_and_restart(&serve, &registrar, device, port, seals);
    (void)wait_log("serve", "ev=round.done round=2");
    unenrolled(port);
    CHECK(end(serve) == 0, "serve");
    for (unsigned id = 1; id <= DEVICES; id++) {
        (void)kill(device[id], SIGTERM); /* those that wait for another round */
        CHECK(end(device[id]) == 0, "device %u", id);
        same_adapter(id);
    }
    check_weights();
    revoked(seals, device);
    CHECK(kill(registrar, SIGTERM) == 0 && end(registrar) == 0, "registrar");
    CHECK(!plmm_path_exists(at("node/registrar.key")),
          "the aggregator has no key of the registrar");
    RUN(0, "\"revoked\":1,\"seals\":4", AGG, "registrar", "status", at("reg-node"), "--json");
}

int main(void)
{
    (void)alarm(170);
    CHECK(mkdtemp(dir) != NULL, "mkdtemp");
    make_model(at("base"), 1);
    make_model(at("other"), 2);
    set_up_node("node");
    set_up_node("foreign");
    for (unsigned id = 1; id <= DEVICES; id++) {
        char name[16];
        (void)snprintf(name, sizeof name, "d%u", id);
        set_up_device("node", id, name);
    }
    set_up_device(NULL, 0, "stranger");
    set_up_device("foreign", 77, "d77");
    write_text(at("bad.jsonl"), "{\"prompt\": \"a\", \"response\": \"b\"}\n{\"prompt\": 7}\n");
    bad_input_before_rounds();
    key_for_all();
    rounds();
    RUN(0, "\"version\":4", AGG, "status", at("node"), "--json");
    RUN(0, "version 5 of art", AGG, "export", at("node"), "--out", at("exported"));
    CHECK(plmm_path_exists(at("exported/adapter_config.json")), "export");
    RUN(0, "loss on them", CLIENT, "train", at("d1"));
    RUN(0, "", CLIENT, "chat", at("d1"), sentences[0]);
    RUN(0, "it is in the buffer", CLIENT, "buffer", at("d1"), "--explain", "1");
    if (getenv("PLMM_TEST_KEEP") == NULL) {
        CHECK(plmm_path_remove(dir, NULL) == PLMM_OK, "clean up");
    }
    return plmm_test_end();
}
