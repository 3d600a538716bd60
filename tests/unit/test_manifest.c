/* Versions of an expert: the manifest's one form and signature, and fetching it from an aggregator
 * that may lie. Claim C9. */
#include "plmm/manifest.h"
#include "plmm/rng.h"
#include "test.h"

enum { FILES = 4, SIZE_MAX_ = 700000 };

static plmm_sign_sk agg_sk;
static plmm_key frames; /* of device and aggregator */
static plmm_anchor anchor;
static plmm_manifest manifest;
static uint8_t content[FILES][SIZE_MAX_], got[FILES][SIZE_MAX_];

static void digest(plmm_hash *out, const uint8_t *p, size_t len)
{
    plmm_digest d;
    plmm_digest_init(&d);
    plmm_digest_update(&d, p, len);
    plmm_digest_final(&d, out);
}

static void setup(void)
{
    static const char *const names[FILES] = {"a.bin", "b", "c.empty", "d.json"};
    static const uint64_t sizes[FILES] = {SIZE_MAX_, PLMM_CHUNK_MAX, 0, 17};
    plmm_seed s = {{1}}, t = {{2}};
    plmm_rng rng;
    plmm_rng_init(&rng, 1, 0);
    plmm_sign_keypair(&anchor.aggregator, &agg_sk, &s);
    plmm_sign_pk device_pk;
    plmm_sign_sk device_sk;
    plmm_sign_keypair(&device_pk, &device_sk, &t);
    memcpy(anchor.expert, "finance", 8);
    CHECK(plmm_frame_key(&frames, &agg_sk, &device_pk, "finance", NULL) == PLMM_OK, "key");
    manifest = (plmm_manifest){.expert = "finance",
                               .version = 3,
                               .method = 2,
                               .factor = 1,
                               .round = 2,
                               .survivors = 18,
                               .files_n = FILES};
    for (uint32_t i = 0; i < FILES; i++) {
        for (size_t b = 0; b < sizes[i]; b++) {
            content[i][b] = (uint8_t)plmm_rng_u64(&rng);
        }
        (void)snprintf(manifest.files[i].name, sizeof manifest.files[i].name, "%s", names[i]);
        manifest.files[i].size = sizes[i];
        digest(&manifest.files[i].digest, content[i], sizes[i]);
    }
    plmm_error err;
    CHECK(plmm_manifest_sign(&manifest, &agg_sk, &err) == PLMM_OK, "%s", err.msg);
}

static void test_form(void)
{
    uint8_t buf[PLMM_MANIFEST_MAX + 1], again[PLMM_MANIFEST_MAX];
    size_t len, len2;
    plmm_error err = {0};
    plmm_manifest m;
    CHECK(plmm_manifest_encode(buf, &len, &manifest, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_manifest_decode(&m, buf, len, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_manifest_encode(again, &len2, &m, &err) == PLMM_OK && len2 == len &&
              memcmp(buf, again, len) == 0,
          "one form");
    CHECK(plmm_manifest_verify(&m, &anchor, &err) == PLMM_OK, "%s", err.msg);
    for (size_t cut = 0; cut < len; cut++) {
        CHECK(plmm_manifest_decode(&m, buf, cut, NULL) == PLMM_ERR_WIRE, "cut to %zu", cut);
    }
    for (size_t bit = 0; bit < 8 * len; bit++) {
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(plmm_manifest_decode(&m, buf, len, NULL) == PLMM_ERR_WIRE ||
                  plmm_manifest_verify(&m, &anchor, NULL) == PLMM_ERR_AUTH,
              "bit %zu", bit);
        buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    plmm_anchor other = anchor;
    memcpy(other.expert, "art", 4);
    CHECK(plmm_manifest_decode(&m, buf, len, NULL) == PLMM_OK &&
              plmm_manifest_verify(&m, &other, &err) == PLMM_ERR_AUTH,
          "another expert's");
}

static void test_checks(void)
{
    static const char *const names[] = {"", ".hidden", "a/b", "..", "a b", "b"};
    plmm_error err = {0};
    for (size_t i = 0; i < COUNT(names); i++) { /* the last: not after the one before it */
        plmm_manifest m = manifest;
        (void)snprintf(m.files[3].name, sizeof m.files[3].name, "%s", names[i]);
        CHECK(plmm_manifest_check(&m, &err) == PLMM_ERR_RANGE, "%s", names[i]);
    }
    plmm_manifest m = manifest;
    m.files_n = 0;
    CHECK(plmm_manifest_check(&m, &err) == PLMM_ERR_RANGE, "no files");
    m.files_n = PLMM_FILES_MAX + 1;
    CHECK(plmm_manifest_check(&m, &err) == PLMM_ERR_RANGE, "too many files");
    m = manifest;
    m.version = 0;
    CHECK(plmm_manifest_check(&m, &err) == PLMM_ERR_RANGE, "version 0");
}

/* The aggregator's side as a driver does it; `lie` spoils the n-th answer. */
static size_t answer(uint8_t *out, const uint8_t *request, size_t len, uint32_t lie)
{
    plmm_fetch_query q;
    plmm_error err = {0};
    size_t n = 0;
    CHECK(plmm_fetch_query_decode(&q, request, len, "finance", &frames, &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(q.device == 42, "device");
    if (q.is_manifest) {
        plmm_manifest m = manifest;
        m.version += lie == 1 ? 1 : 0; /* not signed */
        m.version -= lie == 2 ? 2 : 0; /* old */
        if (lie == 2) {
            CHECK(plmm_manifest_sign(&m, &agg_sk, &err) == PLMM_OK, "sign");
        }
        CHECK(plmm_fetch_answer_manifest(out, &n, &m, q.device, &frames, &err) == PLMM_OK, "%s",
              err.msg);
        return n;
    }
    static uint8_t data[PLMM_CHUNK_MAX];
    memcpy(data, content[q.file] + q.offset, q.length);
    data[0] ^= lie == 3 && q.file == 0 ? 1 : 0;
    if (lie == 4) {
        q.length--;
    }
    q.offset += lie == 5 ? 1 : 0;
    CHECK(plmm_fetch_answer_chunk(out, &n, &q, "finance", data, q.length, &frames, &err) == PLMM_OK,
          "%s", err.msg);
    memcpy(out + n, data, q.length);
    return n + q.length;
}

static plmm_status fetch(plmm_fetch *f, uint32_t lie, plmm_error *err)
{
    static uint8_t request[PLMM_FRAME_SMALL], reply[PLMM_FRAME_SMALL + PLMM_CHUNK_MAX];
    while (!f->complete) {
        size_t len;
        plmm_fetch_part part;
        PLMM_TRY(plmm_fetch_request(f, &frames, request, &len, err));
        len = answer(reply, request, len, lie);
        PLMM_TRY(plmm_fetch_receive(f, &frames, reply, len, &part, err));
        if (part.len > 0) {
            memcpy(got[part.file] + part.offset, part.data, part.len);
        }
    }
    return PLMM_OK;
}

/* Requests and answers under another key, or for the other way, are nobody's. */
static void test_strangers(void)
{
    static uint8_t request[PLMM_FRAME_SMALL], reply[PLMM_FRAME_SMALL];
    plmm_key other = frames;
    plmm_fetch_query q;
    plmm_fetch_part part;
    plmm_fetch f;
    plmm_error err = {0};
    size_t len;
    other.b[0] ^= 1;
    plmm_fetch_init(&f, &anchor, 42, NULL, 2);
    CHECK(plmm_fetch_request(&f, &frames, request, &len, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_fetch_query_decode(&q, request, len, "finance", &other, &err) == PLMM_ERR_AUTH, "%s",
          err.msg);
    len = answer(reply, request, len, 0);
    CHECK(plmm_fetch_query_decode(&q, reply, len, "finance", &frames, &err) == PLMM_ERR_PEER,
          "an answer is no request: %s", err.msg);
    CHECK(plmm_fetch_receive(&f, &other, reply, len, &part, &err) == PLMM_ERR_AUTH &&
              !f.have_manifest,
          "%s", err.msg);
    CHECK(plmm_fetch_receive(&f, &frames, reply, len, &part, &err) == PLMM_OK && f.have_manifest,
          "%s", err.msg);
}

static void test_fetch(void)
{
    static const struct {
        uint32_t lie;
        plmm_status rc;
        const char *says;
    } lies[] = {{0, PLMM_OK, ""},
                {1, PLMM_ERR_AUTH, "not signed"},
                {2, PLMM_ERR_PEER, "has 2 already"},
                {3, PLMM_ERR_AUTH, "a.bin does not have the digest"},
                {4, PLMM_ERR_PEER, "were asked for"},
                {5, PLMM_ERR_STALE, "not asked for"}};
    for (size_t i = 0; i < COUNT(lies); i++) {
        plmm_fetch f;
        plmm_error err = {0};
        memset(got, 0, sizeof got);
        plmm_fetch_init(&f, &anchor, 42, NULL, 2);
        CHECK(fetch(&f, lies[i].lie, &err) == lies[i].rc && strstr(err.msg, lies[i].says) != NULL,
              "lie %u: %s", lies[i].lie, err.msg);
        CHECK(f.complete == (lies[i].lie == 0), "lie %u", lies[i].lie);
        CHECK(lies[i].lie != 0 ||
                  (memcmp(got, content, sizeof got) == 0 && f.bytes_down > SIZE_MAX_),
              "the files");
    }
    plmm_fetch f;
    plmm_error err = {0};
    plmm_hash want;
    plmm_manifest_hash(&want, &manifest);
    plmm_fetch_init(&f, &anchor, 42, &want, 0);
    CHECK(fetch(&f, 0, &err) == PLMM_OK, "%s", err.msg);
    want.b[0] ^= 1;
    plmm_fetch_init(&f, &anchor, 42, &want, 0);
    CHECK(fetch(&f, 0, &err) == PLMM_ERR_PEER, "another version than asked for");
}

int main(void)
{
    setup();
    test_form();
    test_checks();
    test_strangers();
    test_fetch();
    return plmm_test_end();
}
