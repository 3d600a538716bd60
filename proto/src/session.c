#include "session.h"

#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <string.h>

static const char *const LABEL_ADVERT = "advert.1";

/* Where each field of an entry lies. */
enum {
    AT_KEY = 8,
    AT_CERTIFICATE = AT_KEY + 32,
    AT_ESCROW = AT_CERTIFICATE + 64,
    AT_CHANNEL = AT_ESCROW + 32,
    AT_SINCE = AT_CHANNEL + 32,
    AT_COMMIT = AT_SINCE + 8,
    AT_NONCE = AT_COMMIT + 32,
    AT_SIGNATURE = AT_NONCE + 16,
    AT_END = AT_SIGNATURE + 64
};
_Static_assert((int)AT_END == (int)PLMM_ROSTER_ENTRY, "as in limits.h");

void plmm_entry_encode(uint8_t out[PLMM_ROSTER_ENTRY], const plmm_entry *e)
{
    plmm_store_le64(out, e->certificate.device);
    memcpy(out + AT_KEY, e->certificate.key.b, 32);
    memcpy(out + AT_CERTIFICATE, e->certificate.signature.b, 64);
    memcpy(out + AT_ESCROW, e->advert.escrow.b, 32);
    memcpy(out + AT_CHANNEL, e->advert.channel_key.b, 32);
    plmm_store_le64(out + AT_SINCE, e->advert.since);
    memcpy(out + AT_COMMIT, e->advert.commit.b, 32);
    memcpy(out + AT_NONCE, e->advert.nonce, 16);
    memcpy(out + AT_SIGNATURE, e->advert.signature.b, 64);
}

void plmm_entry_decode(plmm_entry *e, const uint8_t in[PLMM_ROSTER_ENTRY])
{
    e->certificate.device = plmm_load_le64(in);
    memcpy(e->certificate.key.b, in + AT_KEY, 32);
    memcpy(e->certificate.signature.b, in + AT_CERTIFICATE, 64);
    memcpy(e->advert.escrow.b, in + AT_ESCROW, 32);
    memcpy(e->advert.channel_key.b, in + AT_CHANNEL, 32);
    e->advert.since = plmm_load_le64(in + AT_SINCE);
    memcpy(e->advert.commit.b, in + AT_COMMIT, 32);
    memcpy(e->advert.nonce, in + AT_NONCE, 16);
    memcpy(e->advert.signature.b, in + AT_SIGNATURE, 64);
}

static void statement(plmm_hash *out, const plmm_entry *e, const plmm_hash *params)
{
    plmm_transcript t;
    plmm_transcript_init(&t, LABEL_ADVERT);
    plmm_transcript_bytes(&t, params->b, sizeof params->b);
    plmm_transcript_u64(&t, e->certificate.device);
    plmm_transcript_bytes(&t, e->certificate.key.b, 32);
    plmm_transcript_bytes(&t, e->advert.escrow.b, 32);
    plmm_transcript_bytes(&t, e->advert.channel_key.b, 32);
    plmm_transcript_u64(&t, e->advert.since);
    plmm_transcript_bytes(&t, e->advert.commit.b, 32);
    plmm_transcript_bytes(&t, e->advert.nonce, 16);
    plmm_transcript_final(&t, out);
}

void plmm_entry_sign(plmm_entry *e, const plmm_hash *params, const plmm_sign_sk *sk)
{
    plmm_hash h;
    statement(&h, e, params);
    plmm_sign(&e->advert.signature, sk, LABEL_ADVERT, h.b, sizeof h.b);
}

plmm_status plmm_entry_check(const plmm_entry *e, const plmm_hash *params, plmm_error *err)
{
    plmm_hash h;
    statement(&h, e, params);
    if (plmm_verify(&e->advert.signature, &e->certificate.key, LABEL_ADVERT, h.b, sizeof h.b,
                    NULL) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "the keys of device %llu are not signed by it for these parameters",
                         (unsigned long long)e->certificate.device);
    }
    return PLMM_OK;
}

void plmm_secret_commit(plmm_hash *out, const char *label, const uint8_t secret[32])
{
    plmm_hash_bytes(out, label, secret, 32);
}

void plmm_roster_ids(plmm_hash *out, const uint8_t *ids, uint32_t n)
{
    plmm_hash_bytes(out, "ids.v1..", ids, (size_t)n * 8);
}

void plmm_session_make(plmm_session *s, const plmm_round_seal *seal, const plmm_round_params *p)
{
    plmm_transcript t;
    plmm_hash h;
    plmm_round_seal_hash(&h, seal, p->expert);
    plmm_round_seal_beacon(&s->beacon, seal);
    s->n = seal->n;
    plmm_transcript_init(&t, "session2");
    plmm_transcript_u64(&t, PLMM_PROTOCOL_VERSION);
    plmm_transcript_bytes(&t, h.b, 32);
    plmm_transcript_bytes(&t, s->beacon.b, 32);
    plmm_transcript_u64(&t, s->k);
    plmm_transcript_u64(&t, s->t);
    plmm_transcript_bytes(&t, p->model.b, 32);
    plmm_transcript_bytes(&t, p->beacon.b, 32);
    plmm_transcript_final(&t, &s->id);
}

void plmm_direction_key(plmm_key *out, const plmm_key *pair, const char *label,
                        const plmm_session *s, uint32_t from, uint32_t to)
{
    uint8_t info[32 + 8];
    memcpy(info, s->id.b, 32);
    plmm_store_le32(info + 32, from);
    plmm_store_le32(info + 36, to);
    plmm_key_derive(out, pair, label, info, sizeof info);
}

void plmm_pair_secret(plmm_key *out, const plmm_key *pair, const plmm_session *s, uint32_t a,
                      uint32_t b)
{
    plmm_direction_key(out, pair, PLMM_LABEL_PAIR, s, a < b ? a : b, a < b ? b : a);
}

void plmm_pair_tag(uint8_t tag[PLMM_PAIR_TAG], const plmm_key *secret, const plmm_session *s)
{
    plmm_key h;
    plmm_key_derive(&h, secret, "pairtag1", s->id.b, sizeof s->id.b);
    memcpy(tag, h.b, PLMM_PAIR_TAG);
    plmm_wipe(&h, sizeof h);
}

void plmm_escrow_turn(uint8_t out[32], const uint8_t in[32], const uint8_t escrow[32],
                      const plmm_session *s, uint32_t owner, uint32_t other)
{
    plmm_key root, pad;
    memcpy(root.b, escrow, sizeof root.b);
    plmm_direction_key(&pad, &root, "escrow.1", s, owner, other);
    for (uint32_t i = 0; i < sizeof pad.b; i++) {
        out[i] = in[i] ^ pad.b[i];
    }
    plmm_wipe(&root, sizeof root);
    plmm_wipe(&pad, sizeof pad);
}

void plmm_box_binding(plmm_hash *out, const plmm_session *s, uint32_t from, uint32_t to)
{
    uint8_t b[16 + 32 + 8];
    plmm_store_le64(b, PLMM_PROTOCOL_VERSION);
    plmm_store_le64(b + 8, PLMM_MSG_SHARES);
    memcpy(b + 16, s->id.b, 32);
    plmm_store_le32(b + 48, from);
    plmm_store_le32(b + 52, to);
    plmm_hash_bytes(out, PLMM_LABEL_BOX, b, sizeof b);
}

void plmm_agree_statement(plmm_hash *out, const plmm_session *s, const uint8_t *sharers,
                          const uint8_t *going, const uint8_t *survivors)
{
    plmm_transcript t;
    plmm_transcript_init(&t, PLMM_LABEL_AGREE);
    plmm_transcript_u64(&t, PLMM_PROTOCOL_VERSION);
    plmm_transcript_bytes(&t, s->id.b, 32);
    plmm_transcript_bytes(&t, sharers, plmm_set_bytes(s->n));
    plmm_transcript_bytes(&t, going, plmm_set_bytes(s->n));
    plmm_transcript_bytes(&t, survivors, plmm_set_bytes(s->n));
    plmm_transcript_final(&t, out);
}

void plmm_agree_message(plmm_hash *out, const plmm_hash *statement, uint32_t from, uint32_t to)
{
    uint8_t b[32 + 8];
    memcpy(b, statement->b, 32);
    plmm_store_le32(b + 32, from);
    plmm_store_le32(b + 36, to);
    plmm_hash_bytes(out, PLMM_LABEL_AGREE, b, sizeof b);
}

/* ---- no key twice: sort places of 32-octet keys, look at neighbours ---- */

typedef struct keys {
    const uint8_t *roster;
    uint32_t *at; /* octet of the roster where a key begins */
    uint32_t n;
} keys;

static int key_cmp(const keys *k, uint32_t a, uint32_t b)
{
    return memcmp(k->roster + k->at[a], k->roster + k->at[b], 32);
}

static void key_swap(const keys *k, uint32_t a, uint32_t b)
{
    uint32_t t = k->at[a];
    k->at[a] = k->at[b];
    k->at[b] = t;
}

static void key_sift(const keys *k, uint32_t i, uint32_t n)
{
    for (uint32_t c = 2 * i + 1; c < n; i = c, c = 2 * i + 1) {
        if (c + 1 < n && key_cmp(k, c + 1, c) > 0) {
            c++;
        }
        if (key_cmp(k, i, c) >= 0) {
            return;
        }
        key_swap(k, i, c);
    }
}

static bool key_twice(const keys *k)
{
    for (uint32_t i = k->n / 2; i-- > 0;) {
        key_sift(k, i, k->n);
    }
    for (uint32_t end = k->n; end > 1; end--) {
        key_swap(k, 0, end - 1);
        key_sift(k, 0, end - 1);
    }
    for (uint32_t i = 1; i < k->n; i++) {
        if (key_cmp(k, i - 1, i) == 0) {
            return true;
        }
    }
    return false;
}

plmm_status plmm_roster_unique(const uint8_t *roster, uint32_t n, bool *unique, plmm_error *err)
{
    static const uint32_t fields[] = {AT_KEY, AT_CHANNEL};
    keys k = {.roster = roster, .at = plmm_alloc((size_t)2 * n, sizeof(uint32_t)), .n = 2 * n};
    if (k.at == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory to check a roster of %u devices", n);
    }
    for (uint32_t i = 0; i < k.n; i++) {
        k.at[i] = i / 2 * PLMM_ROSTER_ENTRY + fields[i % 2];
    }
    *unique = !key_twice(&k);
    plmm_free(k.at);
    return PLMM_OK;
}
