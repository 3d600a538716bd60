/* Channels that outlive a round: both sides of a pair always have the same chain key, X25519 is
 * only needed once an epoch, a table only steps forward, and one that was restored from a backup
 * never seals two boxes under one key and nonce. Claim C16. Guards proto/src/channels.c and the
 * use of the table in proto/src/client_round.c and client_steps.c. */
#include "forge.h"
#include "plmm/channels.h"

static plmm_channel_key key_of(uint8_t who, uint64_t since)
{
    plmm_channel_key k = {.since = since};
    plmm_seed s = {{1, who, 2}}; /* X25519 clears bits of the first octet */
    plmm_dh_keypair(&k.pk, &k.sk, &s);
    return k;
}

static plmm_channel_peer peer_of(uint8_t who, const plmm_channel_key *k)
{
    return (plmm_channel_peer){.device = who, .pk = k->pk, .since = k->since};
}

static plmm_key chain(const plmm_channels *c, const plmm_channel_key *own,
                      const plmm_channel_peer *peer, uint64_t round, bool want_hit)
{
    plmm_key k = {{0}};
    bool hit = false;
    plmm_error err = {0};
    CHECK(plmm_channels_key(c, &k, &hit, own, peer, round, &err) == PLMM_OK && hit == want_hit,
          "round %" PRIu64 ": %s", round, err.msg);
    return k;
}

static bool same(const plmm_key *a, const plmm_key *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* Whoever computes it, from the table or by X25519, whenever they last met. */
static void test_both_sides(void)
{
    plmm_channels *a = NULL, *b = NULL;
    plmm_channel_key ka = key_of(1, 10), kb = key_of(2, 13);
    plmm_channel_peer pa = peer_of(1, &ka), pb = peer_of(2, &kb);
    CHECK(plmm_channels_new(&a, 4, NULL) == PLMM_OK && plmm_channels_new(&b, 4, NULL) == PLMM_OK,
          "tables");
    plmm_channels_begin(a, &ka);
    plmm_channels_begin(b, &kb);
    plmm_key last = {{0}};
    static const uint64_t rounds[] = {13, 14, 20, 21, 100, 265};
    for (size_t i = 0; i < COUNT(rounds); i++) {
        plmm_key x = chain(a, &ka, &pb, rounds[i], i > 0);
        plmm_key y = chain(b, &kb, &pa, rounds[i], i % 2 == 0 && i > 0);
        plmm_key z = chain(NULL, &kb, &pa, rounds[i], false);
        CHECK(same(&x, &y) && same(&x, &z) && !same(&x, &last), "round %" PRIu64, rounds[i]);
        last = x;
        plmm_channels_put(a, &pb, rounds[i], &x);
        if (i % 2 == 1) { /* b loses its table every second time */
            plmm_channels_put(b, &pa, rounds[i], &y);
        } else {
            plmm_channels_begin(b, &kb);
        }
    }
    plmm_channels_free(a);
    plmm_channels_free(b);
}

static void test_refused(void)
{
    plmm_channels *a;
    plmm_key k;
    plmm_channel_key ka = key_of(1, 10), kb = key_of(2, 13), kc = key_of(3, 5);
    plmm_channel_peer pb = peer_of(2, &kb);
    CHECK(plmm_channels_new(&a, 2, NULL) == PLMM_OK, "table");
    plmm_channels_begin(a, &ka);
    k = chain(a, &ka, &pb, 20, false);
    plmm_channels_put(a, &pb, 20, &k);
    CHECK(plmm_channels_key(a, &k, NULL, &ka, &pb, 20, NULL) == PLMM_ERR_STATE,
          "the key of a round that is over is gone");
    CHECK(plmm_channels_key(a, &k, NULL, &ka, &pb, 19, NULL) == PLMM_ERR_STATE, "or an older one");
    pb.since = 14 + 300;
    CHECK(plmm_channels_key(a, &k, NULL, &ka, &pb, 21, NULL) == PLMM_ERR_STATE, "of the future");
    pb.since = 0;
    CHECK(plmm_channels_key(a, &k, NULL, &ka, &pb, 21, NULL) == PLMM_ERR_STATE, "of no round");
    plmm_channel_peer zero = {.device = 9, .since = 10};
    CHECK(plmm_channels_key(a, &k, NULL, &ka, &zero, 21, NULL) == PLMM_ERR_PEER, "of low order");
    plmm_channel_peer self = peer_of(9, &ka);
    CHECK(plmm_channels_key(a, &k, NULL, &ka, &self, 21, NULL) == PLMM_ERR_PEER, "its own");
    CHECK(plmm_channels_own(a, 10 + PLMM_EPOCH_ROUNDS - 1) != NULL &&
              plmm_channels_own(a, 10 + PLMM_EPOCH_ROUNDS) == NULL &&
              plmm_channels_own(a, 9) == NULL,
          "an epoch has an end");
    /* the same device with a new key is another pair */
    plmm_channel_peer fresh = {.device = 2, .pk = kc.pk, .since = 15};
    plmm_key y = chain(a, &ka, &fresh, 21, false);
    plmm_channels_put(a, &fresh, 21, &y);
    CHECK(plmm_channels_count(a) == 1, "it replaces the old one");
    plmm_channels_free(a);
}

static void test_table(void)
{
    enum { MAX = 8, ALL = 20 };
    plmm_channels *a, *b;
    plmm_channel_key ka = key_of(1, 1);
    plmm_error err = {0};
    CHECK(plmm_channels_new(&a, MAX, NULL) == PLMM_OK &&
              plmm_channels_new(&b, MAX, NULL) == PLMM_OK,
          "tables");
    plmm_channels_begin(a, &ka);
    for (uint8_t i = 0; i < ALL; i++) {
        plmm_channel_key k = key_of((uint8_t)(10 + i), 1);
        plmm_channel_peer p = peer_of((uint8_t)(10 + i), &k);
        plmm_key c = chain(a, &ka, &p, 1, false);
        plmm_channels_put(a, &p, 1, &c);
        for (uint8_t j = 0; j <= i; j++) { /* the last MAX are there */
            plmm_channel_key l = key_of((uint8_t)(10 + j), 1);
            plmm_channel_peer q = peer_of((uint8_t)(10 + j), &l);
            (void)chain(a, &ka, &q, 2, j + MAX > i);
        }
    }
    uint8_t bytes[4096];
    size_t len = plmm_channels_bytes(a);
    CHECK(len <= sizeof bytes && plmm_channels_count(a) == MAX, "%zu octets", len);
    plmm_channels_encode(a, bytes);
    CHECK(plmm_channels_decode(b, bytes, len, &err) == PLMM_OK, "%s", err.msg);
    uint8_t again[4096];
    plmm_channels_encode(b, again);
    CHECK(plmm_channels_bytes(b) == len && memcmp(bytes, again, len) == 0, "the same table");
    for (size_t cut = 0; cut < len; cut++) {
        CHECK(plmm_channels_decode(b, bytes, cut, NULL) == PLMM_ERR_FORMAT &&
                  plmm_channels_count(b) == 0,
              "cut to %zu", cut);
    }
    memcpy(bytes + 80 + 88, bytes + 80, 8); /* a device twice */
    CHECK(plmm_channels_decode(b, bytes, len, NULL) == PLMM_ERR_FORMAT, "a device twice");
    plmm_channels_free(b);
    CHECK(plmm_channels_new(&b, MAX - 1, NULL) == PLMM_OK &&
              plmm_channels_decode(b, again, len, NULL) == PLMM_ERR_RANGE,
          "too large");
    plmm_channels_free(a);
    plmm_channels_free(b);
    CHECK(plmm_channels_new(&a, 0, NULL) == PLMM_ERR_RANGE, "no place");
}

/* ---- in rounds ---- */

enum { N = 8, NONCES = 4096 };

typedef struct books {
    uint8_t nonces[NONCES][24];
    uint32_t n;
} books;

static bool nonce_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    books *b = arg;
    (void)to;
    fleet_watch(f, from, frame);
    forge_open(&g, frame);
    for (uint32_t at = 0; g.f.type == PLMM_MSG_SHARES && at < g.f.bulk_len; at += PLMM_BOX) {
        for (uint32_t i = 0; i < b->n; i++) {
            CHECK(memcmp(b->nonces[i], g.bulk + at, 24) != 0, "a nonce twice");
        }
        CHECK(b->n < NONCES, "room");
        memcpy(b->nonces[b->n++], g.bulk + at, 24);
    }
    return true;
}

/* One round of devices that have tables; their seeds are of `life`. */
static void round_with(plmm_channels **tables, uint64_t round, uint64_t life, books *b,
                       uint32_t *pairs)
{
    fleet *f = fleet_new(N, 3, 51);
    f->cfg.params.round = round;
    f->tap = nonce_tap;
    f->tap_arg = b;
    for (uint32_t i = 0; i < N; i++) {
        f->d[i].cfg.channels = tables[i];
        plmm_seed_derive(&f->d[i].seed, &f->d[i].seed, "life.001", life);
    }
    fleet_start(f);
    fleet_run(f);
    CHECK(f->finished, "round %" PRIu64 ": %s", round, f->text);
    fleet_check_sum(f);
    *pairs = 0;
    for (uint32_t i = 0; i < N; i++) {
        CHECK(f->d[i].finished, "device %u: %s", i, f->d[i].text);
        *pairs += plmm_channels_count(tables[i]);
    }
    fleet_free(f);
}

static void test_rounds(void)
{
    static books b;
    plmm_channels *tables[N];
    static uint8_t saved[N][4096];
    size_t len[N];
    plmm_dh_pk key;
    uint32_t pairs = 0, first = 0;
    for (uint32_t i = 0; i < N; i++) {
        CHECK(plmm_channels_new(&tables[i], N, NULL) == PLMM_OK, "table");
    }
    round_with(tables, 7, 1, &b, &first);
    CHECK(first > 0 && plmm_channels_own(tables[0], 8) != NULL, "the first round fills the tables");
    key = plmm_channels_own(tables[0], 8)->pk;
    for (uint32_t i = 0; i < N; i++) {
        len[i] = plmm_channels_bytes(tables[i]);
        plmm_channels_encode(tables[i], saved[i]);
    }
    round_with(tables, 8, 2, &b, &pairs);
    CHECK(pairs >= first && memcmp(&plmm_channels_own(tables[0], 9)->pk, &key, sizeof key) == 0,
          "the second keeps the key and the pairs");
    for (uint32_t i = 0; i < N; i++) { /* a backup from after the first round comes back */
        CHECK(plmm_channels_decode(tables[i], saved[i], len[i], NULL) == PLMM_OK, "restored");
    }
    round_with(tables, 8, 3, &b, &pairs);
    round_with(tables, 20, 4, &b, &pairs);
    uint64_t next = 7 + PLMM_EPOCH_ROUNDS;
    round_with(tables, next, 5, &b, &pairs);
    CHECK(memcmp(&plmm_channels_own(tables[0], next)->pk, &key, sizeof key) != 0,
          "an epoch later there is another key");
    for (uint32_t i = 0; i < N; i++) {
        plmm_channels_free(tables[i]);
    }
}

/* A device that loses its table meets those that have theirs. */
static void test_mixed(void)
{
    static books b;
    plmm_channels *tables[N];
    uint32_t pairs;
    b.n = 0;
    for (uint32_t i = 0; i < N; i++) {
        CHECK(plmm_channels_new(&tables[i], i % 2 == 0 ? N : 2, NULL) == PLMM_OK, "table");
    }
    round_with(tables, 7, 1, &b, &pairs);
    plmm_channels_clear(tables[3]);
    round_with(tables, 9, 2, &b, &pairs);
    for (uint32_t i = 0; i < N; i++) {
        plmm_channels_free(tables[i]);
    }
}

int main(void)
{
    test_both_sides();
    test_refused();
    test_table();
    test_rounds();
    test_mixed();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
