/* What a hostile tokenizer file costs: at most its length and 16 MiB, whatever it claims. Each file
 * is read in a process of its own, whose largest resident memory is looked at. */
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/tokenizer.h"
#include "sentence.h"
#include "test.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 24 << 20 };

typedef struct text {
    char *s;
    size_t n;
} text;

static void put(text *t, const char *s)
{
    size_t n = strlen(s);
    memcpy(t->s + t->n, s, n);
    t->n += n;
}

static void repeat(text *t, const char *s, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        put(t, s);
    }
}

#define VOCAB "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"

static void large_id(text *t)
{
    put(t, "{\"model\":{\"vocab\":{\"a\":1048575},\"merges\":[]}}");
}

static void many_tokens(text *t)
{
    put(t, "{\"model\":{\"merges\":[],\"vocab\":{\"a\":0");
    for (unsigned i = 1; i < 1000000; i++) {
        char s[32];
        (void)snprintf(s, sizeof s, ",\"%x\":%u", i + 10, i);
        put(t, s);
    }
    put(t, "}}}");
}

/* As many as the tables just hold, each with a text and a raw form of its own. */
static void tables_full(text *t)
{
    put(t,
        "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"merges\":[],\"vocab\":{\"a\":0");
    for (unsigned i = 1; i < 190000; i++) {
        char s[48];
        (void)snprintf(s, sizeof s, ",\"\xC4\xA0%x\":%u", i, i);
        put(t, s);
    }
    put(t, "}}}");
}

static void many_merges(text *t)
{
    put(t, VOCAB ",\"merges\":[\"a b\"");
    repeat(t, ",\"a b\"", 3000000);
    put(t, "]}}");
}

static void long_token(text *t)
{
    put(t, "{\"model\":{\"vocab\":{\"");
    repeat(t, "aaaaaaaa", 1 << 20);
    put(t, "\":0},\"merges\":[]}}");
}

static void long_tokens(text *t)
{
    put(t, "{\"model\":{\"merges\":[],\"vocab\":{\"a\":0");
    for (unsigned i = 1; i < 20000; i++) {
        char s[1040];
        (void)snprintf(s, sizeof s, ",\"%0*u\":%u", 1024, i, i);
        put(t, s);
    }
    put(t, "}}}");
}

static void large_normalizer(text *t)
{
    put(t, VOCAB ",\"merges\":[]},\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{}");
    repeat(t, ",{}", 4000000);
    put(t, "]}}");
}

static void many_added(text *t)
{
    put(t, VOCAB ",\"merges\":[]},\"added_tokens\":[{\"id\":3,\"content\":\"x\"}");
    for (unsigned i = 4; i < 500000; i++) {
        char s[64];
        (void)snprintf(s, sizeof s, ",{\"id\":%u,\"content\":\"x%x\"}", i, i);
        put(t, s);
    }
    put(t, "]}");
}

/* Each content grows thirtyfold when it is normalised. */
static void growing_added(text *t)
{
    put(t, VOCAB ",\"merges\":[]},\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
                 "\"},\"content\":\"0123456789012345678901234567\"},\"added_tokens\":["
                 "{\"id\":3,\"content\":\"x\"}");
    for (unsigned i = 4; i < 4000; i++) {
        char s[1200];
        (void)snprintf(s, sizeof s, ",{\"id\":%u,\"normalized\":true,\"content\":\"%1000u\"}", i,
                       i);
        put(t, s);
    }
    put(t, "]}");
}

static void deep(text *t)
{
    repeat(t, "[", 1 << 20);
}

static void scores(text *t) /* tokenizer.bin */
{
    uint8_t *p = (uint8_t *)t->s + 4;
    for (unsigned i = 0; i < 1 << 20; i++) {
        char s[16];
        (void)snprintf(s, sizeof s, "%x", i);
        plmm_store_le32(p + 4, (uint32_t)strlen(s));
        memcpy(p + 8, s, strlen(s));
        p += 8 + strlen(s);
    }
    t->n = (size_t)((char *)p - t->s);
}

/* As many as just fit, all cuts of which are merges. */
static void scores_full(text *t)
{
    uint8_t *p = (uint8_t *)t->s + 4;
    for (unsigned i = 0; i < 90000; i++) {
        char s[16];
        (void)snprintf(s, sizeof s, "%x", i);
        plmm_store_le32(p + 4, (uint32_t)strlen(s));
        memcpy(p + 8, s, strlen(s));
        p += 8 + strlen(s);
    }
    t->n = (size_t)((char *)p - t->s);
}

static void pieces(text *t) /* tokenizer.model */
{
    sentence_file f = {(uint8_t *)t->s, 0};
    for (unsigned i = 0; i < 1000000; i++) {
        char s[16];
        (void)snprintf(s, sizeof s, "%x", i);
        sentence_piece(&f, s, 0, 1);
    }
    sentence_specs(&f, 2, 0);
    t->n = f.n;
}

static void one_long_piece(text *t)
{
    static const uint8_t head[] = {0x0A, 0x84, 0x80, 0x80, 0x08, 0x0A, 0x80, 0x80, 0x80, 0x08};
    memcpy(t->s, head, sizeof head); /* it claims 16 MiB */
    t->n = 16 << 20;
}

typedef enum kind { JSON, BIN, MODEL } kind;

static plmm_status parse(kind k, const text *t, plmm_tokenizer **out, plmm_error *err)
{
    return k == JSON  ? plmm_tokenizer_parse_json(t->s, t->n, "hostile", out, err)
           : k == BIN ? plmm_tokenizer_parse_llama2c((uint8_t *)t->s, t->n, "hostile", out, err)
                      : plmm_tokenizer_parse_sentence((uint8_t *)t->s, t->n, "hostile", out, err);
}

static size_t peak(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (size_t)u.ru_maxrss << 10;
}

typedef struct row {
    const char *name;
    void (*make)(text *t);
    kind k;
    plmm_status want;
} row;

/* In a process of its own, whose heap nothing has touched: 0 as expected. */
static int child(const row *r)
{
    plmm_tokenizer *out = NULL;
    plmm_error err = {0};
    text t = {plmm_alloc(SIZE, 1), 0}; /* zeroed: all of it is resident before */
    r->make(&t);
    size_t before = peak();
    plmm_status rc = parse(r->k, &t, &out, &err);
    size_t took = peak() - before;
    (void)printf("%s: %zu bytes, status %d, %zu KiB more\n", r->name, t.n, rc, took >> 10);
    plmm_tokenizer_free(out);
    plmm_free(t.s);
    if (rc != r->want || t.n > SIZE) {
        (void)fprintf(stderr, "%s: %d %s\n", r->name, rc, err.msg);
        return 1;
    }
#ifdef PLMM_SANITIZED
    return 0; /* it takes memory of its own */
#else
    return took <= t.n + (16u << 20) ? 0 : 2;
#endif
}

int main(void)
{
    static const row rows[] = {
        {"large id", large_id, JSON, PLMM_ERR_UNSUPPORTED},
        {"many tokens", many_tokens, JSON, PLMM_ERR_UNSUPPORTED},
        {"tables full", tables_full, JSON, PLMM_OK},
        {"many merges", many_merges, JSON, PLMM_ERR_UNSUPPORTED},
        {"long token", long_token, JSON, PLMM_ERR_UNSUPPORTED},
        {"long tokens", long_tokens, JSON, PLMM_ERR_UNSUPPORTED},
        {"large normalizer", large_normalizer, JSON, PLMM_ERR_FORMAT},
        {"many added", many_added, JSON, PLMM_ERR_UNSUPPORTED},
        {"growing added", growing_added, JSON, PLMM_ERR_NOMEM},
        {"deep", deep, JSON, PLMM_ERR_FORMAT},
        {"bin", scores, BIN, PLMM_ERR_UNSUPPORTED},
        {"bin, full", scores_full, BIN, PLMM_OK},
        {"model", pieces, MODEL, PLMM_ERR_UNSUPPORTED},
        {"one long piece", one_long_piece, MODEL, PLMM_ERR_FORMAT},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        (void)fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            int rc = child(&rows[i]);
            (void)fflush(NULL);
            _exit(rc);
        }
        int status = -1;
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "fork");
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: %d", rows[i].name, status);
    }
    return plmm_test_end();
}
