#include "plmm/channels.h"

#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <string.h>

static const char *const LABEL = "chan.v2.";

typedef struct pair {
    uint64_t device;
    plmm_dh_pk pk;
    uint64_t next, used; /* round of `chain`; the clock of its last use */
    plmm_key chain;      /* SECRET: C_next */
} pair;

struct plmm_channels {
    plmm_channel_key own; /* since 0: none */
    uint64_t clock;
    uint32_t max, n, mask;
    pair *pairs;     /* [0, n) in use */
    uint32_t *table; /* hash of the device -> pair + 1 */
};

plmm_status plmm_channels_new(plmm_channels **c, uint32_t peers_max, plmm_error *err)
{
    if (peers_max < 1 || peers_max > PLMM_CHANNELS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a table of %u channels, must be 1..%d", peers_max,
                         PLMM_CHANNELS_MAX);
    }
    uint32_t places = 4;
    while (places < 2 * peers_max) {
        places *= 2;
    }
    plmm_channels *n = plmm_alloc(1, sizeof *n);
    pair *pairs = plmm_alloc(peers_max, sizeof *pairs);
    uint32_t *table = plmm_alloc(places, sizeof *table);
    if (n == NULL || pairs == NULL || table == NULL) {
        plmm_free(n);
        plmm_free(pairs);
        plmm_free(table);
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for %u channels", peers_max);
    }
    *n = (plmm_channels){.max = peers_max, .mask = places - 1, .pairs = pairs, .table = table};
    *c = n;
    return PLMM_OK;
}

static void forget_pairs(plmm_channels *c)
{
    plmm_wipe(c->pairs, c->n * sizeof c->pairs[0]);
    memset(c->table, 0, ((size_t)c->mask + 1) * sizeof c->table[0]);
    c->n = 0;
    c->clock = 0;
}

void plmm_channels_free(plmm_channels *c)
{
    if (c != NULL) {
        forget_pairs(c);
        plmm_free(c->pairs);
        plmm_free(c->table);
        plmm_wipe(c, sizeof *c);
        plmm_free(c);
    }
}

void plmm_channels_clear(plmm_channels *c)
{
    forget_pairs(c);
    plmm_wipe(&c->own, sizeof c->own);
}

bool plmm_channel_current(uint64_t since, uint64_t round)
{
    return since >= 1 && since <= round && round - since < PLMM_EPOCH_ROUNDS;
}

const plmm_channel_key *plmm_channels_own(const plmm_channels *c, uint64_t round)
{
    return plmm_channel_current(c->own.since, round) ? &c->own : NULL;
}

void plmm_channels_begin(plmm_channels *c, const plmm_channel_key *key)
{
    forget_pairs(c);
    c->own = *key;
}

/* ---- the table: linear probing; places of the pairs ---- */

static uint32_t place_of(const plmm_channels *c, uint64_t device)
{
    uint32_t at = (uint32_t)(device * UINT64_C(0x9E3779B97F4A7C15) >> 32) & c->mask;
    while (c->table[at] != 0 && c->pairs[c->table[at] - 1].device != device) {
        at = (at + 1) & c->mask;
    }
    return at;
}

static const pair *find(const plmm_channels *c, const plmm_channel_peer *peer)
{
    uint32_t at = c->table[place_of(c, peer->device)];
    const pair *p = at == 0 ? NULL : &c->pairs[at - 1];
    return p != NULL && plmm_equal(&p->pk, &peer->pk, sizeof p->pk) ? p : NULL;
}

static void table_build(plmm_channels *c)
{
    memset(c->table, 0, ((size_t)c->mask + 1) * sizeof c->table[0]);
    for (uint32_t i = 0; i < c->n; i++) {
        c->table[place_of(c, c->pairs[i].device)] = i + 1;
    }
}

/* ---- the ratchet ---- */

static void advance(plmm_key *chain, uint64_t steps)
{
    for (; steps > 0; steps--) {
        plmm_key_derive(chain, chain, "ratchet1", NULL, 0);
    }
}

static plmm_status agree(plmm_key *out, const plmm_channel_key *own, const plmm_channel_peer *peer,
                         uint64_t round, plmm_error *err)
{
    plmm_key shared;
    uint8_t info[8];
    uint64_t base = own->since > peer->since ? own->since : peer->since;
    PLMM_TRY(plmm_dh_agree(&shared, &own->sk, &own->pk, &peer->pk, LABEL, err));
    plmm_store_le64(info, base);
    plmm_key_derive(out, &shared, "chan.b1.", info, sizeof info);
    plmm_wipe(&shared, sizeof shared);
    advance(out, round - base);
    return PLMM_OK;
}

plmm_status plmm_channels_key(const plmm_channels *c, plmm_key *out, bool *hit,
                              const plmm_channel_key *own, const plmm_channel_peer *peer,
                              uint64_t round, plmm_error *err)
{
    PLMM_ASSERT(plmm_channel_current(own->since, round));
    if (!plmm_channel_current(peer->since, round)) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "the channel key of device %llu is of round %llu, this is round %llu",
                         (unsigned long long)peer->device, (unsigned long long)peer->since,
                         (unsigned long long)round);
    }
    bool mine = c != NULL && c->own.since != 0 && plmm_equal(&c->own.pk, &own->pk, sizeof own->pk);
    const pair *p = mine ? find(c, peer) : NULL;
    if (hit != NULL) {
        *hit = p != NULL;
    }
    if (p == NULL) {
        return agree(out, own, peer, round, err);
    }
    if (p->next > round) {
        return plmm_fail(err, PLMM_ERR_STATE,
                         "the channel with device %llu is at round %llu, past round %llu",
                         (unsigned long long)peer->device, (unsigned long long)p->next,
                         (unsigned long long)round);
    }
    *out = p->chain;
    advance(out, round - p->next);
    return PLMM_OK;
}

static pair *oldest(const plmm_channels *c)
{
    pair *old = &c->pairs[0];
    for (uint32_t i = 1; i < c->n; i++) {
        old = c->pairs[i].used < old->used ? &c->pairs[i] : old;
    }
    return old;
}

void plmm_channels_put(plmm_channels *c, const plmm_channel_peer *peer, uint64_t round,
                       const plmm_key *chain)
{
    uint32_t place = place_of(c, peer->device), at = c->table[place];
    bool evict = at == 0 && c->n == c->max;
    pair *p = evict ? oldest(c) : &c->pairs[at != 0 ? at - 1 : c->n];
    *p = (pair){.device = peer->device,
                .pk = peer->pk,
                .next = round + 1,
                .used = ++c->clock,
                .chain = *chain};
    advance(&p->chain, 1);
    if (evict) {
        table_build(c);
    } else if (at == 0) {
        c->table[place] = ++c->n;
    }
}

uint32_t plmm_channels_count(const plmm_channels *c)
{
    return c->n;
}

/* ---- octets ---- */

enum { HEAD = 4 + 4 + 8 + 32 + 32, PAIR = 8 + 32 + 8 + 8 + 32 };
static const uint8_t MAGIC[4] = {'C', 'H', 'N', '1'};

size_t plmm_channels_bytes(const plmm_channels *c)
{
    return HEAD + (size_t)c->n * PAIR;
}

void plmm_channels_encode(const plmm_channels *c, uint8_t *out)
{
    memcpy(out, MAGIC, 4);
    plmm_store_le32(out + 4, c->n);
    plmm_store_le64(out + 8, c->own.since);
    memcpy(out + 16, c->own.pk.b, 32);
    memcpy(out + 48, c->own.sk.b, 32);
    uint8_t *at = out + HEAD;
    for (uint32_t i = 0; i < c->n; i++, at += PAIR) {
        const pair *p = &c->pairs[i];
        plmm_store_le64(at, p->device);
        memcpy(at + 8, p->pk.b, 32);
        plmm_store_le64(at + 40, p->next);
        plmm_store_le64(at + 48, p->used);
        memcpy(at + 56, p->chain.b, 32);
    }
}

static bool decode(plmm_channels *c, const uint8_t *in, size_t len)
{
    uint32_t n = plmm_load_le32(in + 4);
    const uint8_t *at = in + HEAD;
    if (memcmp(in, MAGIC, 4) != 0 || len != HEAD + (size_t)n * PAIR) {
        return false;
    }
    c->own.since = plmm_load_le64(in + 8);
    memcpy(c->own.pk.b, in + 16, 32);
    memcpy(c->own.sk.b, in + 48, 32);
    for (uint32_t i = 0; i < n; i++, at += PAIR) {
        pair p = {.device = plmm_load_le64(at),
                  .next = plmm_load_le64(at + 40),
                  .used = plmm_load_le64(at + 48)};
        memcpy(p.pk.b, at + 8, 32);
        memcpy(p.chain.b, at + 56, 32);
        uint32_t place = place_of(c, p.device);
        if (c->table[place] != 0) {
            return false; /* a device twice */
        }
        c->pairs[i] = p;
        c->table[place] = i + 1;
        c->n = i + 1;
        c->clock = p.used > c->clock ? p.used : c->clock;
    }
    return true;
}

plmm_status plmm_channels_decode(plmm_channels *c, const uint8_t *in, size_t len, plmm_error *err)
{
    plmm_channels_clear(c);
    if (len < HEAD || len > HEAD + (size_t)PLMM_CHANNELS_MAX * PAIR) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "a table of channels of %zu octets", len);
    }
    if (plmm_load_le32(in + 4) > c->max) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a table of %u channels does not fit one of %u",
                         plmm_load_le32(in + 4), c->max);
    }
    if (!decode(c, in, len)) {
        plmm_channels_clear(c);
        return plmm_fail(err, PLMM_ERR_FORMAT, "a table of channels is damaged");
    }
    return PLMM_OK;
}
