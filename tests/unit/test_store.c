/* client/store: what goes in comes out, is refused, is forgotten; and the process killed before
 * every statement. */
#include "plmm/alloc.h"
#include "plmm/db.h"
#include "plmm/file.h"
#include "plmm/store.h"
#include "test.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIM = 3 };

static char dir[] = "/dev/shm/plmm-test-store-XXXXXX"; /* memory: flushing is free */
static char path[PLMM_PATH_MAX];
static plmm_lexicons *lexicons;

static plmm_store *open_store(void)
{
    plmm_store *s = NULL;
    plmm_error err = {0};
    CHECK(plmm_store_open(path, &s, &err) == PLMM_OK, "%s", err.msg);
    return s;
}

static void fresh_file(void)
{
    static const char *const suffix[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < COUNT(suffix); i++) {
        char file[PLMM_PATH_MAX + 8];
        (void)snprintf(file, sizeof file, "%s%s", path, suffix[i]);
        (void)unlink(file);
    }
}

static plmm_buffer_params params(void)
{
    plmm_buffer_params p = plmm_buffer_params_default(DIM);
    p.bins = 3;
    p.seed = 5;
    return p;
}

static plmm_buffer *load(plmm_store *s)
{
    plmm_buffer *b = NULL;
    plmm_error err = {0};
    plmm_buffer_params p = params();
    CHECK(plmm_store_load_buffer(s, &p, lexicons, &b, &err) == PLMM_OK, "%s", err.msg);
    return b;
}

static plmm_store_expert an_expert(void)
{
    plmm_store_expert x = {.certificate.device = 77, .address = "tcp://127.0.0.1:9"};
    memcpy(x.anchor.expert, "medicine", 9);
    memset(&x.anchor.aggregator, 1, sizeof x.anchor.aggregator);
    memset(&x.anchor.registrar, 2, sizeof x.anchor.registrar);
    memset(&x.certificate.key, 3, sizeof x.certificate.key);
    memset(&x.certificate.signature, 4, sizeof x.certificate.signature);
    return x;
}

/* Offer number i: what it says and where it lies are functions of i. */
static plmm_status offer(plmm_store *s, plmm_buffer *b, uint32_t i, plmm_verdict *v, uint64_t *id,
                         plmm_error *err)
{
    static const char *const texts[] = {"pain here",  "money and pain", "hello",
                                        "pain fever", "bank",           "fever pain money"};
    plmm_rng r;
    float states[4 * DIM];
    int32_t tokens[4] = {1, 2, 3, (int32_t)i};
    plmm_rng_init(&r, 9, i);
    for (size_t k = 0; k < COUNT(states); k++) {
        states[k] = (float)plmm_rng_normal(&r);
    }
    plmm_embedding e = {.states = states, .tokens = tokens, .n = 4, .dim = DIM};
    const char *text = texts[i % COUNT(texts)];
    plmm_store_dialogue d = {
        .user = "u", .domain = "", .prompt = text, .response = "the answer", .time = i};
    return plmm_store_offer(s, b, lexicons, &d, text, strlen(text), &e, v, id, err);
}

static plmm_status count_one(void *ctx, const plmm_store_dialogue *d, plmm_error *err)
{
    (void)err;
    CHECK(d->prompt[0] != '\0' && strcmp(d->response, "the answer") == 0, "texts");
    (*(uint32_t *)ctx)++;
    return PLMM_OK;
}

static void test_selection(void)
{
    plmm_error err = {0};
    plmm_verdict v, w;
    fresh_file();
    plmm_store *s = open_store();
    plmm_buffer *b = load(s);
    CHECK(plmm_buffer_count(b) == 0, "empty at first");
    bool replaced = false, let_go = false;
    for (uint32_t i = 0; i < 60; i++) {
        uint64_t id = 0;
        bool still = false;
        CHECK(offer(s, b, i, &v, &id, &err) == PLMM_OK && id == i + 1, "%u: %s", i, err.msg);
        CHECK(plmm_store_verdict(s, lexicons, id, &w, &still, &err) == PLMM_OK, "%s", err.msg);
        CHECK(w.kind == v.kind && w.rule == v.rule && w.metrics == v.metrics &&
                  w.domain == v.domain && w.peers == v.peers && w.bins == v.bins &&
                  w.candidates == v.candidates && w.replaced == v.replaced &&
                  w.replaced_domain == v.replaced_domain,
              "verdict %u", i);
        for (size_t k = 0; k < PLMM_SCORES; k++) {
            CHECK(w.score[k] == v.score[k] && w.higher[k] == v.higher[k] &&
                      w.replaced_score[k] == v.replaced_score[k],
                  "score %zu", k);
        }
        CHECK(still == (v.kind != PLMM_VERDICT_LET_GO), "%u still", i);
        replaced = replaced || v.kind == PLMM_VERDICT_REPLACED;
        let_go = let_go || v.kind == PLMM_VERDICT_LET_GO;
        uint32_t kept = 0;
        CHECK(plmm_store_each(s, count_one, &kept, &err) == PLMM_OK, "%s", err.msg);
        CHECK(kept == plmm_buffer_count(b), "%u texts, %u bins", kept, plmm_buffer_count(b));
        if (i % 7 == 3) { /* across a restart nothing changes */
            plmm_buffer_free(b);
            plmm_store_close(s);
            s = open_store();
            b = load(s);
        }
    }
    CHECK(replaced && let_go, "all verdicts occurred");
    plmm_buffer_free(b);
    plmm_store_close(s);
}

/* The same offers with and without restarts end in the same bins. */
static void test_restarts(void)
{
    uint64_t ids[2][3] = {{0}};
    for (int restart = 0; restart < 2; restart++) {
        plmm_error err = {0};
        plmm_verdict v;
        fresh_file();
        plmm_store *s = open_store();
        plmm_buffer *b = load(s);
        for (uint32_t i = 0; i < 40; i++) {
            CHECK(offer(s, b, i, &v, NULL, &err) == PLMM_OK, "%s", err.msg);
            if (restart != 0) {
                plmm_buffer_free(b);
                b = load(s);
            }
        }
        for (uint32_t i = 0; i < 3; i++) {
            ids[restart][i] = plmm_buffer_get(b, i).id;
        }
        plmm_buffer_free(b);
        plmm_store_close(s);
    }
    CHECK(memcmp(ids[0], ids[1], sizeof ids[0]) == 0, "%d %d %d, restarted %d %d %d",
          (int)ids[0][0], (int)ids[0][1], (int)ids[0][2], (int)ids[1][0], (int)ids[1][1],
          (int)ids[1][2]);
}

static bool grep(const char *what)
{
    static const char *const suffix[] = {"", "-wal", "-shm"};
    size_t n = strlen(what);
    bool found = false;
    for (size_t i = 0; i < COUNT(suffix); i++) {
        char file[PLMM_PATH_MAX + 8];
        uint8_t *data = NULL;
        size_t len = 0;
        (void)snprintf(file, sizeof file, "%s%s", path, suffix[i]);
        if (plmm_file_read(file, 1 << 24, &data, &len, NULL) == PLMM_OK) {
            for (size_t k = 0; k + n <= len; k++) {
                found = found || memcmp(data + k, what, n) == 0;
            }
            plmm_free(data);
        }
    }
    return found;
}

static plmm_status same_response(void *ctx, const plmm_store_dialogue *d, plmm_error *err)
{
    return strcmp(d->response, ctx) == 0 ? PLMM_OK
                                         : plmm_fail(err, PLMM_ERR_STATE, "is '%s'", d->response);
}

static void test_texts(void)
{
    plmm_error err = {0};
    plmm_verdict v;
    bool still = false;
    char better[] = "my preferred words";
    fresh_file();
    plmm_store *s = open_store();
    plmm_buffer *b = load(s);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(offer(s, b, i, &v, NULL, &err) == PLMM_OK, "%s", err.msg);
    }
    CHECK(plmm_store_annotate(s, 1, better, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_dialogue_get(s, 1, same_response, better, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_annotate(s, 9, better, &err) == PLMM_ERR_NOTFOUND, "no such set");
    CHECK(grep(better), "it is in the file");
    CHECK(plmm_store_forget(s, b, 1, &err) == PLMM_OK, "%s", err.msg);
    CHECK(!grep(better) && !grep("pain here"), "forgotten, also in the log");
    CHECK(plmm_store_forget(s, b, 1, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_store_dialogue_get(s, 1, same_response, better, &err) == PLMM_ERR_NOTFOUND, "gone");
    CHECK(plmm_store_verdict(s, lexicons, 1, &v, &still, &err) == PLMM_ERR_NOTFOUND, "verdict");
    CHECK(plmm_buffer_count(b) == 2 && plmm_buffer_get(b, 0).id == 3, "the last bin moved");
    plmm_buffer_free(b);
    b = load(s);
    CHECK(plmm_buffer_count(b) == 2 && plmm_buffer_get(b, 0).id == 3, "in the file too");
    plmm_buffer_params p = params();
    plmm_buffer *c = NULL;
    p.bins = 1;
    CHECK(plmm_store_load_buffer(s, &p, lexicons, &c, &err) == PLMM_ERR_RANGE && c == NULL,
          "too few bins");
    p.bins = 9, p.dim = 4;
    CHECK(plmm_store_load_buffer(s, &p, lexicons, &c, &err) == PLMM_ERR_RANGE && c == NULL,
          "another model");
    CHECK(strstr(err.msg, "have 3 numbers, this model's have 4") != NULL, "%s", err.msg);
    plmm_buffer_free(b);
    plmm_store_close(s);
}

static void test_settings_and_experts(void)
{
    plmm_error err = {0};
    char *value = NULL;
    fresh_file();
    plmm_store *s = open_store();
    CHECK(plmm_store_get(s, "a", &value, &err) == PLMM_OK && value == NULL, "nothing yet");
    CHECK(plmm_store_set(s, "a", "1", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_set(s, "a", "2", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_get(s, "a", &value, &err) == PLMM_OK && strcmp(value, "2") == 0, "replaced");
    plmm_free(value);
    CHECK(plmm_store_set(s, "a", NULL, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_get(s, "a", &value, &err) == PLMM_OK && value == NULL, "removed");
    CHECK(plmm_store_set(s, "", "2", &err) == PLMM_ERR_RANGE, "no name");
    plmm_store_expert x = an_expert(), y;
    CHECK(plmm_store_expert_get(s, "medicine", &y, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_store_expert_add(s, &x, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_expert_get(s, "medicine", &y, &err) == PLMM_OK, "%s", err.msg);
    CHECK(memcmp(&x.anchor, &y.anchor, sizeof x.anchor) == 0 && y.certificate.device == 77 &&
              memcmp(&x.certificate.key, &y.certificate.key, 32) == 0 &&
              strcmp(y.address, x.address) == 0,
          "as it was");
    x.address[6] = '2';
    CHECK(plmm_store_expert_add(s, &x, &err) == PLMM_OK, "another address: %s", err.msg);
    x.anchor.aggregator.b[0]++;
    CHECK(plmm_store_expert_add(s, &x, &err) == PLMM_ERR_STATE, "another key");
    plmm_hash h = {{7}};
    CHECK(plmm_store_expert_use(s, "medicine", 3, &h, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_expert_use(s, "medicine", 2, &h, &err) == PLMM_ERR_STATE, "rolled back");
    plmm_hash other = {{8}};
    CHECK(plmm_store_expert_use(s, "medicine", 3, &other, &err) == PLMM_ERR_STATE, "%s", err.msg);
    CHECK(plmm_store_expert_use(s, "medicine", 3, &h, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_expert_use(s, "art", 2, &h, &err) == PLMM_ERR_NOTFOUND, "nobody");
    CHECK(plmm_store_expert_traffic(s, "medicine", 10, 20, &err) == PLMM_OK &&
              plmm_store_expert_traffic(s, "medicine", 1, 2, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_store_expert_traffic(s, "art", 1, 2, &err) == PLMM_ERR_NOTFOUND, "nobody");
    CHECK(plmm_store_expert_get(s, "medicine", &y, &err) == PLMM_OK && y.version == 3 &&
              y.manifest.b[0] == 7 && y.bytes_up == 11 && y.bytes_down == 22,
          "%s", err.msg);
    char names[2][PLMM_EXPERT_MAX + 1];
    size_t n = 0;
    CHECK(plmm_store_experts(s, names, 2, &n, &err) == PLMM_OK && n == 1 &&
              strcmp(names[0], "medicine") == 0,
          "%zu", n);
    plmm_store_close(s);
}

static plmm_status next_record(void *ctx, uint64_t seq, const uint8_t *record, size_t len,
                               plmm_error *err)
{
    (void)err;
    uint64_t *last = ctx;
    CHECK(seq > *last && len == seq % 5 && (len == 0 || record[0] == (uint8_t)seq), "record %d",
          (int)seq);
    *last = seq;
    return PLMM_OK;
}

static plmm_status see_outcome(void *ctx, const plmm_store_outcome *o, plmm_error *err)
{
    (void)err;
    uint64_t *want = ctx;
    CHECK(o->round == *want && strcmp(o->text, "why") == 0, "round %d", (int)o->round);
    *want -= 1;
    return PLMM_OK;
}

/* ---- what rounding took ---- */

static bool has_note(plmm_store *s, const char *name, const char *text)
{
    plmm_error err = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    CHECK(plmm_store_note_get(s, "medicine", name, &bytes, &len, &err) == PLMM_OK, "%s", err.msg);
    bool same = bytes == NULL
                    ? text == NULL
                    : text != NULL && len == strlen(text) && memcmp(bytes, text, len) == 0;
    plmm_free(bytes);
    return same;
}

/* One round that takes `text`, or nothing; the file is closed and opened in between. */
static plmm_store *round_with(plmm_store *s, uint64_t round, const char *text, uint32_t reason)
{
    plmm_error err = {0};
    uint8_t record[1] = {1};
    plmm_store_note note = {PLMM_STORE_RESIDUAL_NOW, (const uint8_t *)text,
                            text != NULL ? strlen(text) : 0};
    plmm_store_outcome o = {.round = round, .attempt = 1, .reason = reason};
    CHECK(plmm_store_round_upload(s, "medicine", 1, record, 1, record, 1, &note, text != NULL,
                                  &err) == PLMM_OK,
          "%s", err.msg);
    plmm_store_close(s);
    s = open_store();
    CHECK(has_note(s, PLMM_STORE_RESIDUAL_NOW, text), "of the round under way");
    CHECK(plmm_store_round_end(s, "medicine", &o, &err) == PLMM_OK, "%s", err.msg);
    CHECK(has_note(s, PLMM_STORE_RESIDUAL_NOW, NULL), "settled");
    return s;
}

static void test_residual(void)
{
    plmm_error err = {0};
    fresh_file();
    plmm_store *s = open_store();
    plmm_store_expert x = an_expert();
    plmm_verdict v;
    CHECK(plmm_store_expert_add(s, &x, &err) == PLMM_OK, "%s", err.msg);
    s = round_with(s, 1, "rest-of-one", 0);
    CHECK(has_note(s, PLMM_STORE_RESIDUAL, "rest-of-one"), "it completed");
    s = round_with(s, 2, "rest-of-two", 8);
    CHECK(has_note(s, PLMM_STORE_RESIDUAL, "rest-of-one") && !grep("rest-of-two"), "it did not");
    s = round_with(s, 3, NULL, 0);
    CHECK(has_note(s, PLMM_STORE_RESIDUAL, "rest-of-one"), "nothing was taken");
    s = round_with(s, 4, "rest-of-four", 0);
    CHECK(has_note(s, PLMM_STORE_RESIDUAL, "rest-of-four") && !grep("rest-of-one"), "replaced");
    plmm_buffer *b = load(s);
    CHECK(offer(s, b, 1, &v, NULL, &err) == PLMM_OK && plmm_buffer_count(b) == 1, "%s", err.msg);
    CHECK(plmm_store_forget(s, b, plmm_buffer_get(b, 0).id, &err) == PLMM_OK, "%s", err.msg);
    CHECK(has_note(s, PLMM_STORE_RESIDUAL, NULL) && !grep("rest-of-four"), "forgotten");
    plmm_buffer_free(b);
    s = round_with(s, 5, "rest-of-five", 0);
    CHECK(plmm_store_residual_forget(s, "art", &err) == PLMM_OK &&
              has_note(s, PLMM_STORE_RESIDUAL, "rest-of-five"),
          "of another expert");
    CHECK(plmm_store_residual_forget(s, "medicine", &err) == PLMM_OK &&
              has_note(s, PLMM_STORE_RESIDUAL, NULL),
          "of this one");
    plmm_store_close(s);
}

static void test_rounds(void)
{
    plmm_error err = {0};
    uint8_t bytes[5] = {0}, *vector = NULL;
    size_t len = 0;
    uint64_t last = 0;
    fresh_file();
    plmm_store *s = open_store();
    plmm_store_expert x = an_expert();
    CHECK(plmm_store_expert_add(s, &x, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_store_round_append(s, "art", 1, bytes, 1, &err) == PLMM_ERR_RANGE, "nobody");
    for (uint64_t seq = 1; seq < 9; seq++) {
        memset(bytes, (int)seq, sizeof bytes);
        CHECK(plmm_store_round_append(s, "medicine", seq, bytes, seq % 5, &err) == PLMM_OK, "%s",
              err.msg);
    }
    CHECK(plmm_store_round_append(s, "medicine", 8, bytes, 1, &err) == PLMM_ERR_STATE, "%s",
          err.msg);
    CHECK(plmm_store_round_vector(s, "medicine", &vector, &len, &err) == PLMM_ERR_NOTFOUND, "none");
    memset(bytes, 11, sizeof bytes);
    CHECK(plmm_store_round_upload(s, "medicine", 11, bytes, 1, (const uint8_t *)"masked-octets", 13,
                                  NULL, 0, &err) == PLMM_OK,
          "%s", err.msg);
    CHECK(plmm_store_round_upload(s, "medicine", 12, bytes, 1, (const uint8_t *)"second", 6, NULL,
                                  0, &err) == PLMM_ERR_STATE,
          "a second vector");
    plmm_store_close(s);
    s = open_store();
    CHECK(plmm_store_round_vector(s, "medicine", &vector, &len, &err) == PLMM_OK && len == 13 &&
              memcmp(vector, "masked-octets", 13) == 0,
          "the vector");
    plmm_free(vector);
    CHECK(plmm_store_round_each(s, "medicine", next_record, &last, &err) == PLMM_OK && last == 11,
          "the refused record left nothing: last is %d", (int)last);
    plmm_store_outcome o = {.round = 4, .attempt = 2, .text = "why"};
    CHECK(grep("masked-octets"), "in the file");
    CHECK(plmm_store_round_end(s, "medicine", &o, &err) == PLMM_OK, "%s", err.msg);
    CHECK(!grep("masked-octets"), "the vector and the secrets are overwritten");
    CHECK(plmm_store_round_vector(s, "medicine", &vector, &len, &err) == PLMM_ERR_NOTFOUND, "gone");
    CHECK(plmm_store_expert_get(s, "medicine", &x, &err) == PLMM_OK && x.last_round == 4 &&
              x.last_attempt == 2,
          "noted");
    CHECK(plmm_store_round_end(s, "medicine", &o, &err) == PLMM_ERR_STATE, "twice");
    for (o.round = 5; o.round < 9; o.round++) {
        CHECK(plmm_store_round_end(s, "medicine", &o, &err) == PLMM_OK, "%s", err.msg);
    }
    o.round = 0;
    CHECK(plmm_store_round_end(s, "medicine", &o, &err) == PLMM_OK, "%s", err.msg);
    last = 8;
    CHECK(plmm_store_rounds(s, "medicine", 3, see_outcome, &last, &err) == PLMM_OK && last == 5,
          "three newest");
    plmm_store_close(s);
}

/* ---- killed before the k-th statement ---- */

enum { OPS = 15 };

static plmm_status operation(plmm_store *s, plmm_buffer *b, uint32_t i, plmm_error *err)
{
    plmm_verdict v;
    plmm_store_expert x = an_expert();
    plmm_hash h = {{1}};
    plmm_store_outcome o = {.round = 1, .attempt = 1, .time = 3, .text = "done"};
    uint8_t record[3] = {1, 2, (uint8_t)i};
    switch (i) {
    case 0:
        return plmm_store_expert_add(s, &x, err);
    case 6:
        return plmm_store_round_append(s, "medicine", 1, record, 3, err);
    case 7:
        return plmm_store_round_upload(s, "medicine", 2, record, 3, record, 3, NULL, 0, err);
    case 8:
        return plmm_store_forget(s, b, plmm_buffer_get(b, 0).id, err);
    case 9:
        return plmm_store_round_append(s, "medicine", 3, record, 3, err);
    case 10:
        return plmm_store_round_end(s, "medicine", &o, err);
    case 11:
        return plmm_store_expert_use(s, "medicine", 1, &h, err);
    case 12:
        return plmm_store_set(s, "k", "v", err);
    default:
        return offer(s, b, i, &v, NULL, err);
    }
}

static long statements_left = -1;

static void before_statement(const char *sql)
{
    (void)sql;
    if (statements_left-- == 0) {
        (void)kill(getpid(), SIGKILL);
    }
}

/* FNV-1a over every value of every table. */
static uint64_t dump(void)
{
    static const char *const tables[] = {"settings", "dialogues", "bins",    "buffer", "verdicts",
                                         "experts",  "journal",   "uploads", "rounds"};
    sqlite3 *db = NULL;
    uint64_t h = UINT64_C(14695981039346656037);
    CHECK(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK, "open");
    for (size_t t = 0; t < COUNT(tables); t++) {
        char sql[64];
        sqlite3_stmt *st = NULL;
        (void)snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY 1, 2", tables[t]);
        CHECK(sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK, "%s", sql);
        while (sqlite3_step(st) == SQLITE_ROW) {
            for (int c = 0; c < sqlite3_column_count(st); c++) {
                const uint8_t *p = sqlite3_column_blob(st, c);
                for (int k = 0, n = sqlite3_column_bytes(st, c); k < n; k++) {
                    h = (h ^ p[k]) * UINT64_C(1099511628211);
                }
                h = (h ^ 0xff) * UINT64_C(1099511628211);
            }
        }
        (void)sqlite3_finalize(st);
    }
    (void)sqlite3_close(db);
    return h;
}

/* Runs operations first.. and tells how many returned, dying before statement `at` (-1: never). */
static uint32_t run_child(uint32_t first, long at, bool *died)
{
    int fd[2];
    CHECK(pipe(fd) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        plmm_error err = {0};
        plmm_store *s = NULL;
        statements_left = at;
        plmm_db_on_statement(before_statement);
        bool ok = plmm_store_open(path, &s, &err) == PLMM_OK;
        plmm_buffer *b = ok ? load(s) : NULL;
        for (uint32_t i = first; ok && i < OPS; i++) {
            ok = operation(s, b, i, &err) == PLMM_OK && write(fd[1], "x", 1) == 1;
        }
        _exit(ok ? 0 : 1);
    }
    (void)close(fd[1]);
    int status = 0;
    char c;
    uint32_t done = 0;
    while (read(fd[0], &c, 1) == 1) {
        done++;
    }
    (void)close(fd[0]);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "wait");
    *died = WIFSIGNALED(status);
    CHECK(*died || WEXITSTATUS(status) == 0, "the child failed");
    return done;
}

static void test_kill(void)
{
    uint64_t want[OPS + 1];
    bool died = false;
    fresh_file();
    plmm_store *s = open_store();
    plmm_buffer *b = load(s);
    want[0] = dump();
    for (uint32_t i = 0; i < OPS; i++) {
        plmm_error err = {0};
        CHECK(operation(s, b, i, &err) == PLMM_OK, "%u: %s", i, err.msg);
        want[i + 1] = dump();
    }
    plmm_buffer_free(b);
    plmm_store_close(s);
    long kills = 0;
    for (long at = 0;; at++) {
        fresh_file();
        uint32_t done = run_child(0, at, &died);
        if (!died) {
            CHECK(done == OPS && dump() == want[OPS], "the run to its end");
            break;
        }
        kills++;
        plmm_store_close(open_store()); /* recovers, or makes the tables */
        uint64_t got = dump();
        uint32_t next = done < OPS && got == want[done + 1] ? done + 1 : done;
        CHECK(got == want[next], "killed at %ld after %u operations: half of one is there", at,
              done);
        if (at % 4 == 0) { /* and life goes on as if nothing had been */
            (void)run_child(next, -1, &died);
            CHECK(!died && dump() == want[OPS], "killed at %ld, then finished", at);
        }
    }
    CHECK(kills > 60, "only %ld statements", kills);
}

static void test_oom(void)
{
    plmm_error err = {0};
    fresh_file();
    plmm_store *s = open_store();
    plmm_buffer *b = load(s);
    for (uint32_t i = 0; i < OPS; i++) {
        CHECK(operation(s, b, i, &err) == PLMM_OK, "%s", err.msg);
    }
    plmm_buffer_free(b);
    plmm_store_close(s);
    for (long k = 0;; k++) {
        plmm_buffer_params p = params();
        s = NULL, b = NULL, err = (plmm_error){0};
        char *value = NULL;
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_store_open(path, &s, &err);
        rc = rc == PLMM_OK ? plmm_store_load_buffer(s, &p, lexicons, &b, &err) : rc;
        rc = rc == PLMM_OK ? plmm_store_get(s, "k", &value, &err) : rc;
        plmm_alloc_fail_at(-1);
        plmm_free(value);
        plmm_buffer_free(b);
        plmm_store_close(s);
        if (rc == PLMM_OK) {
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && err.msg[0] != '\0', "k=%ld: %d %s", k, rc, err.msg);
    }
}

int main(void)
{
    plmm_error err;
    CHECK(mkdtemp(dir) != NULL, "no temporary directory");
    CHECK(plmm_path_join(path, sizeof path, dir, "device.db", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_new(&lexicons, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_add(lexicons, "m", "pain\nfever", 10, "m", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_add(lexicons, "f", "money\nbank", 10, "f", &err) == PLMM_OK, "%s", err.msg);
    test_selection();
    test_restarts();
    test_texts();
    test_settings_and_experts();
    test_rounds();
    test_residual();
    test_kill();
    test_oom();
    plmm_lexicons_free(lexicons);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
    return plmm_test_end();
}
