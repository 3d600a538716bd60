/* The codec: what is encoded decodes to itself; every truncation, every flipped bit and every other
 * form of the same message is refused. Claim C13. */
#include "plmm/bytes.h"
#include "plmm/rng.h"
#include "plmm/wire.h"
#include "test.h"

static plmm_rng rng;
static plmm_sign_pk pk;
static plmm_sign_sk sk;
static plmm_key key = {{5}};

static void random_bytes(void *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)p)[i] = (uint8_t)plmm_rng_u64(&rng);
    }
}

static uint64_t random_int(void)
{
    return plmm_rng_u64(&rng) >> plmm_rng_below(&rng, 64);
}

static bool takes_bulk(uint32_t type)
{
    static const uint32_t none[] = {PLMM_MSG_CHECKIN,  PLMM_MSG_INVITE,    PLMM_MSG_ADVERT,
                                    PLMM_MSG_RECEIVED, PLMM_MSG_RESULT,    PLMM_MSG_POLL,
                                    PLMM_MSG_MANIFEST, PLMM_MSG_GET_CHUNK, PLMM_MSG_GET_MANIFEST,
                                    PLMM_MSG_SEAL};
    for (size_t i = 0; i < COUNT(none); i++) {
        if (none[i] == type) {
            return false;
        }
    }
    return true;
}

static plmm_frame random_frame(uint8_t *bulk, size_t bulk_max)
{
    plmm_frame f = {.type = 1 + (uint32_t)plmm_rng_below(&rng, PLMM_MSG_COUNT - 1),
                    .expert = "it.2-x_y",
                    .round = random_int(),
                    .attempt = (uint32_t)random_int(),
                    .has_session = plmm_rng_below(&rng, 2) == 0,
                    .sender = random_int(),
                    .receiver = random_int(),
                    .body_len = (uint32_t)plmm_rng_below(
                        &rng, plmm_rng_below(&rng, 20) == 0 ? PLMM_BODY_MAX + 1 : 90),
                    .bulk_len = (uint32_t)plmm_rng_below(&rng, bulk_max + 1)};
    f.type = plmm_message_known(f.type) ? f.type : PLMM_MSG_CONTRIB;
    f.bulk_len = takes_bulk(f.type) ? f.bulk_len : 0;
    random_bytes(f.body, f.body_len);
    random_bytes(bulk, f.bulk_len);
    if (f.has_session) {
        random_bytes(&f.session, sizeof f.session);
    }
    plmm_bulk_hash(&f.bulk_hash, bulk, f.bulk_len);
    return f;
}

enum { BULK = 400 };
static uint8_t buf[PLMM_FRAME_SMALL + BULK + 64];

static size_t put(const plmm_frame *f, const uint8_t *bulk)
{
    size_t head;
    if (plmm_message_signed(f->type)) {
        plmm_frame_sign(buf, &head, f, &sk);
    } else {
        plmm_frame_head(buf, &head, f, &key, PLMM_TO_DEVICE);
    }
    memcpy(buf + head, bulk, f->bulk_len);
    return head + f->bulk_len;
}

/* Is it by whom it must be, and does the other form say that it is not? */
static plmm_status authentic(const plmm_frame *f, plmm_error *err)
{
    plmm_status s = plmm_frame_verify(f, &pk, err);
    plmm_status t = plmm_frame_authentic(f, &key, PLMM_TO_DEVICE, err);
    CHECK(s == PLMM_ERR_AUTH || t == PLMM_ERR_AUTH, "by both");
    return plmm_message_signed(f->type) ? s : t;
}

static void test_round_trip(void)
{
    uint8_t bulk[BULK];
    for (int i = 0; i < 400; i++) {
        plmm_frame f = random_frame(bulk, BULK), g;
        size_t len = put(&f, bulk), size = 0;
        plmm_error err = {0};
        CHECK(plmm_frame_size(&size, buf, &err) == PLMM_OK && size == len, "case %d", i);
        CHECK(plmm_frame_decode(&g, buf, len, &err) == PLMM_OK, "case %d: %s", i, err.msg);
        CHECK(g.type == f.type && g.round == f.round && g.attempt == f.attempt &&
                  g.sender == f.sender && g.receiver == f.receiver && g.body_len == f.body_len &&
                  g.bulk_len == f.bulk_len && g.has_session == f.has_session &&
                  strcmp(g.expert, f.expert) == 0 && memcmp(g.body, f.body, f.body_len) == 0 &&
                  memcmp(&g.session, &f.session, 32) == 0 &&
                  (f.bulk_len == 0 || memcmp(g.bulk, bulk, f.bulk_len) == 0),
              "case %d", i);
        CHECK((f.bulk_len == 0) == (g.bulk == NULL), "case %d", i);
        CHECK(authentic(&g, &err) == PLMM_OK, "case %d: %s", i, err.msg);
        CHECK(plmm_frame_peek(&g, buf, len - f.bulk_len, &err) == PLMM_OK && g.type == f.type,
              "case %d: %s", i, err.msg);
    }
}

/* A message without a bulk in the schema has none: what is kept of it has a bound of its own. */
static void test_bulk(void)
{
    uint8_t bulk[1] = {7};
    for (uint32_t type = 1; type < PLMM_MSG_COUNT; type++) {
        if (!plmm_message_known(type)) {
            continue;
        }
        plmm_frame f = {.type = type, .expert = "art", .sender = 5, .bulk_len = 1}, g;
        plmm_bulk_hash(&f.bulk_hash, bulk, 1);
        size_t len = put(&f, bulk);
        plmm_status want = takes_bulk(type) ? PLMM_OK : PLMM_ERR_WIRE;
        CHECK(plmm_frame_decode(&g, buf, len, NULL) == want, "%s", plmm_message_str(type));
        CHECK(plmm_frame_peek(&g, buf, len - 1, NULL) == want, "%s", plmm_message_str(type));
    }
}

/* No frame has a second form that passes: neither a shorter one nor one with a bit changed. */
static void test_damage(void)
{
    uint8_t bulk[BULK];
    for (int i = 0; i < 4; i++) {
        plmm_frame f = random_frame(bulk, 40), g;
        size_t len = put(&f, bulk);
        for (size_t cut = 0; cut < len; cut++) {
            CHECK(plmm_frame_decode(&g, buf, cut, NULL) == PLMM_ERR_WIRE, "cut to %zu", cut);
        }
        CHECK(plmm_frame_decode(&g, buf, len + 1, NULL) == PLMM_ERR_WIRE, "an octet more");
        for (size_t bit = 0; bit < 8 * len; bit++) {
            buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
            plmm_status rc = plmm_frame_decode(&g, buf, len, NULL);
            CHECK(rc == PLMM_ERR_WIRE || (rc == PLMM_OK && authentic(&g, NULL) == PLMM_ERR_AUTH),
                  "case %d: bit %zu", i, bit);
            buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

/* A frame that bounces, one under another key, and one that says it is another type: nobody's. */
static void test_ways(void)
{
    plmm_frame f = {.type = PLMM_MSG_POLL, .expert = "art", .sender = 5}, g;
    uint8_t none[1] = {0}, twice[sizeof buf];
    plmm_error err = {0};
    size_t len = put(&f, none), begun, done = 0;
    CHECK(plmm_frame_decode(&g, buf, len, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_frame_authentic(&g, &key, PLMM_TO_DEVICE, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_frame_authentic(&g, &key, PLMM_TO_AGGREGATOR, &err) == PLMM_ERR_AUTH &&
              strstr(err.msg, "poll message of device 5 is not authenticated") != NULL,
          "the other way: %s", err.msg);
    plmm_key other = key;
    other.b[31] ^= 1;
    CHECK(plmm_frame_authentic(&g, &other, PLMM_TO_DEVICE, NULL) == PLMM_ERR_AUTH, "another key");
    plmm_hash digest;
    plmm_frame_begin(twice, &begun, &digest, &f);
    for (int i = 0; i < 2; i++) { /* one beginning, an end for each */
        done = begun;
        plmm_frame_finish(twice, &done, &digest, i == 0 ? &other : &key, PLMM_TO_DEVICE);
        CHECK(done == len && (memcmp(twice, buf, len) == 0) == (i == 1), "in two parts");
    }
}

/* The type tells which form it has: a signature where a tag belongs does not decode, nor the reverse. */
static void test_authenticators(void)
{
    static const uint32_t types[] = {PLMM_MSG_POLL, PLMM_MSG_SEAL};
    for (size_t i = 0; i < COUNT(types); i++) {
        plmm_frame f = {.type = types[i], .expert = "art", .sender = 5}, g;
        uint8_t none[1] = {0};
        plmm_error err = {0};
        size_t len = put(&f, none);
        size_t have = types[i] == PLMM_MSG_SEAL ? 64 : PLMM_TAG_BYTES, want = 80 - have;
        CHECK(plmm_frame_decode(&g, buf, len, &err) == PLMM_OK, "%s", err.msg);
        CHECK(buf[len - have - 2] == 0x62 && buf[len - have - 1] == have, "the last field");
        buf[len - have - 1] = (uint8_t)want;
        len = len - have + want;
        plmm_store_le32(buf + 4, (uint32_t)(len - PLMM_FRAME_PREFIX));
        CHECK(plmm_frame_decode(&g, buf, len, &err) == PLMM_ERR_WIRE &&
                  strstr(err.msg, "authenticator") != NULL,
              "%s: %s", plmm_message_str(types[i]), err.msg);
    }
}

/* One key for the two, one for each expert, and none with who has no key of the group. */
static void test_frame_key(void)
{
    plmm_seed seed = {{8}};
    plmm_sign_pk peer, bad = {{1}};
    plmm_sign_sk peer_sk;
    plmm_key a, b, c;
    plmm_error err = {0};
    plmm_sign_keypair(&peer, &peer_sk, &seed);
    CHECK(plmm_frame_key(&a, &sk, &peer, "art", &err) == PLMM_OK &&
              plmm_frame_key(&b, &peer_sk, &pk, "art", &err) == PLMM_OK && plmm_equal(&a, &b, 32),
          "%s", err.msg);
    CHECK(plmm_frame_key(&c, &sk, &peer, "it", &err) == PLMM_OK && !plmm_equal(&a, &c, 32),
          "of another expert");
    CHECK(plmm_frame_key(&c, &sk, &bad, "art", &err) == PLMM_ERR_PEER, "%s", err.msg);
    CHECK(plmm_frame_key(&c, &sk, &peer, "no name", &err) == PLMM_ERR_RANGE, "%s", err.msg);
}

static void test_bounds(void)
{
    uint8_t in[PLMM_FRAME_PREFIX] = {'P', 'L', 'M', '1'};
    size_t size = 7;
    plmm_error err = {0};
    plmm_store_le32(in + 4, PLMM_ENVELOPE_MAX + 1);
    CHECK(plmm_frame_size(&size, in, &err) == PLMM_ERR_WIRE && size == 7, "%s", err.msg);
    plmm_store_le32(in + 4, 0);
    plmm_store_le32(in + 8, PLMM_BULK_MAX + 1);
    CHECK(plmm_frame_size(&size, in, &err) == PLMM_ERR_WIRE && size == 7, "%s", err.msg);
    plmm_store_le32(in + 8, PLMM_BULK_MAX);
    CHECK(plmm_frame_size(&size, in, &err) == PLMM_OK && size == 12 + PLMM_BULK_MAX, "largest");
    in[0] = 'X';
    CHECK(plmm_frame_size(&size, in, &err) == PLMM_ERR_WIRE, "magic");
}

/* The same envelope in another protobuf form: decoders of protobuf take it, we must not. */
static void reform(const char *what, size_t at, size_t drop, const uint8_t *add, size_t add_len)
{
    plmm_frame f = {.type = PLMM_MSG_POLL, .expert = "art", .sender = 5}, g;
    uint8_t none[1] = {0};
    size_t len = put(&f, none);
    plmm_error err = {0};
    CHECK(plmm_frame_decode(&g, buf, len, &err) == PLMM_OK, "%s", err.msg);
    at = at == SIZE_MAX ? len : PLMM_FRAME_PREFIX + at;
    memmove(buf + at + add_len, buf + at + drop, len - at - drop);
    for (size_t i = 0; i < add_len; i++) {
        buf[at + i] = add[i];
    }
    len = len - drop + add_len;
    plmm_store_le32(buf + 4, (uint32_t)(len - PLMM_FRAME_PREFIX));
    CHECK(plmm_frame_decode(&g, buf, len, &err) == PLMM_ERR_WIRE, "%s was taken", what);
}

static void test_forms(void)
{
    /* begins: 08 01 (version) 10 10 (type 16) 1a 03 'a' 'r' 't' 38 05 (sender) 62 10 tag */
    static const uint8_t overlong[] = {0x08, 0x81, 0x00}, unknown[] = {0x78, 0x01},
                         zero[] = {0x20, 0x00}, twice[] = {0x08, 0x01},
                         type_first[] = {0x10, 0x10, 0x08, 0x01}, version2[] = {0x08, 0x02},
                         no_type[] = {0x10, 0x00}, type99[] = {0x10, 0x63},
                         nul[] = {0x1a, 0x04, 'a', 'r', 't', 0}, upper[] = {0x1a, 0x01, 'A'};
    reform("an overlong varint", 0, 2, overlong, sizeof overlong);
    reform("an unknown field", 0, 0, unknown, sizeof unknown);
    reform("a default that is written", 9, 0, zero, sizeof zero);
    reform("a field twice", 0, 0, twice, sizeof twice);
    reform("fields out of order", 0, 4, type_first, sizeof type_first);
    reform("an unknown field at the end", SIZE_MAX, 0, unknown, sizeof unknown);
    reform("version 2", 0, 2, version2, sizeof version2);
    reform("no type", 2, 2, no_type, sizeof no_type);
    reform("type 99", 2, 2, type99, sizeof type99);
    reform("a NUL in a name", 4, 5, nul, sizeof nul);
    reform("a name in capitals", 4, 5, upper, sizeof upper);
    reform("no name", 4, 5, NULL, 0);
}

/* ---- bodies ---- */

static void test_params(void)
{
    for (int i = 0; i < 200; i++) {
        plmm_round_params p, q;
        memset(&p, 0, sizeof p);
        memcpy(p.expert, "it", 3);
        uint32_t *const words[] = {&p.cohort,     &p.n_min,        &p.gamma_ppm,  &p.delta_ppm,
                                   &p.sigma,      &p.eta,          &p.trust,      &p.stream,
                                   &p.ring_bits,  &p.quant_bits,   &p.weight_max, &p.length,
                                   &p.method,     &p.factor,       &p.steps,      &p.batch_tokens,
                                   &p.protocol,   &p.mask,         &p.rate,       &p.group,
                                   &p.groups,     &p.rotate,       &p.clip_bit,   &p.noise,
                                   &p.noise_mode, &p.noise_levels, &p.noise_tree, &p.noise_leaf};
        for (size_t w = 0; w < COUNT(words); w++) {
            *words[w] = (uint32_t)random_int();
        }
        p.round = random_int();
        p.attempt = (uint32_t)random_int();
        p.noise_units = random_int();
        p.clip = plmm_rng_normal(&rng);
        p.learning_rate = plmm_rng_double(&rng);
        random_bytes(&p.names, sizeof p.names);
        random_bytes(&p.model, sizeof p.model);
        random_bytes(&p.beacon, sizeof p.beacon);
        plmm_frame f = {
            .type = PLMM_MSG_INVITE, .expert = "it", .round = p.round, .attempt = p.attempt};
        f.body_len = plmm_params_encode(f.body, &p);
        plmm_error err = {0};
        CHECK(plmm_params_decode(&q, &f, &err) == PLMM_OK, "%s", err.msg);
        plmm_hash a, b;
        plmm_round_params_hash(&a, &p);
        plmm_round_params_hash(&b, &q);
        CHECK(memcmp(&a, &b, sizeof a) == 0, "case %d", i);
        for (size_t w = 0; w < COUNT(words); w++) { /* every field is in the hash */
            *words[w] ^= 1;
            plmm_round_params_hash(&b, &p);
            CHECK(memcmp(&a, &b, sizeof a) != 0, "field %zu is not in the hash", w);
            *words[w] ^= 1;
        }
        p.noise_units ^= UINT64_C(1) << 40;
        plmm_round_params_hash(&b, &p);
        CHECK(memcmp(&a, &b, sizeof a) != 0, "noise_units is not in the hash");
        p.noise_units ^= UINT64_C(1) << 40;
        for (uint32_t cut = 0; cut < f.body_len; cut++) {
            plmm_frame c = f;
            c.body_len = cut;
            CHECK(plmm_params_decode(&q, &c, NULL) == PLMM_ERR_WIRE || cut > 3, "cut to %u", cut);
        }
    }
}

static void test_small_bodies(void)
{
    plmm_frame f = {.type = PLMM_MSG_CHECKIN, .sender = 12};
    plmm_checkin c = {.streams = 2}, d;
    plmm_advert a, b;
    plmm_result r = {.reason = 3, .survivors = 17}, s;
    plmm_chunk_request q = {.file = 2, .offset = 1 << 20, .length = PLMM_CHUNK_MAX}, t;
    random_bytes(&c.certificate.key, sizeof c.certificate.key);
    random_bytes(&c.certificate.signature, sizeof c.certificate.signature);
    random_bytes(&c.model, sizeof c.model);
    c.certificate.device = 12;
    f.body_len = plmm_checkin_encode(f.body, &c);
    CHECK(plmm_checkin_decode(&d, &f, NULL) == PLMM_OK, "checkin");
    CHECK(d.certificate.device == 12 && d.streams == 2 &&
              memcmp(&d.certificate.key, &c.certificate.key, 32) == 0 &&
              memcmp(&d.model, &c.model, 32) == 0,
          "checkin");
    random_bytes(&a, sizeof a);
    f.body_len = plmm_advert_encode(f.body, &a);
    CHECK(plmm_advert_decode(&b, &f, NULL) == PLMM_OK && memcmp(&a, &b, sizeof a) == 0, "advert");
    CHECK(plmm_checkin_decode(&d, &f, NULL) == PLMM_ERR_WIRE, "an advert is no check-in");
    f.body_len = plmm_result_encode(f.body, &r);
    CHECK(plmm_result_decode(&s, &f, NULL) == PLMM_OK && s.reason == 3 && s.survivors == 17,
          "result");
    f.body_len = plmm_chunk_request_encode(f.body, &q);
    CHECK(plmm_chunk_request_decode(&t, &f, NULL) == PLMM_OK && t.offset == q.offset, "chunk");
    uint8_t moved[PLMM_BODY_MAX]; /* the first field last: as long, and not its form */
    memcpy(moved, f.body + 34, f.body_len - 34);
    memcpy(moved + f.body_len - 34, f.body, 34);
    plmm_frame g = f;
    memcpy(g.body, moved, f.body_len);
    CHECK(plmm_chunk_request_decode(&t, &g, NULL) == PLMM_ERR_WIRE, "fields in another order");
    q.length = PLMM_CHUNK_MAX + 1;
    f.body_len = plmm_chunk_request_encode(f.body, &q);
    CHECK(plmm_chunk_request_decode(&t, &f, NULL) == PLMM_ERR_WIRE, "a chunk too long");
    f.body[f.body_len++] = 0x78; /* unknown field 15 */
    f.body[f.body_len++] = 1;
    CHECK(plmm_chunk_request_decode(&t, &f, NULL) == PLMM_ERR_WIRE, "an unknown field");
}

static void test_certificates(void)
{
    plmm_certificate c, bad;
    plmm_error err = {0};
    CHECK(plmm_certificate_issue(&c, &sk, "it", 9, &pk, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_certificate_check(&c, &pk, "it", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_certificate_check(&c, &pk, "art", &err) == PLMM_ERR_AUTH, "another expert");
    bad = c;
    bad.device = 10;
    CHECK(plmm_certificate_check(&bad, &pk, "it", &err) == PLMM_ERR_AUTH, "another device");
    bad = c;
    bad.key.b[3] ^= 1;
    CHECK(plmm_certificate_check(&bad, &pk, "it", &err) == PLMM_ERR_AUTH &&
              strstr(err.msg, "enroll") != NULL,
          "another key: %s", err.msg);
    CHECK(plmm_certificate_issue(&c, &sk, "it", 0, &pk, &err) == PLMM_ERR_RANGE, "id 0");
    static const char *const names[] = {
        "",  "It",  "a b",      "-a",
        ".", "a/b", "\xc3\xa4", "0123456789012345678901234567890123456789abcdefgh"};
    for (size_t i = 0; i < COUNT(names); i++) {
        CHECK(plmm_expert_check(names[i], &err) == PLMM_ERR_RANGE, "%s", names[i]);
    }
    CHECK(plmm_expert_check("it.v2-a_b", &err) == PLMM_OK, "a good name");
}

int main(void)
{
    plmm_seed seed = {{3}};
    plmm_rng_init(&rng, plmm_test_seed(1), 0);
    plmm_sign_keypair(&pk, &sk, &seed);
    test_round_trip();
    test_bulk();
    test_damage();
    test_ways();
    test_authenticators();
    test_frame_key();
    test_bounds();
    test_forms();
    test_params();
    test_small_bodies();
    test_certificates();
    return plmm_test_end();
}
