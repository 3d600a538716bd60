/* The data plane of a device in a one-shot round: encode, encrypt under a fresh key, share the key,
 * seal the shares. Key, error and sharing come from the round's own seed and from nothing that is
 * ever shared. */
#include "client_machine.h"
#include "plmm/alloc.h"

#include <string.h>

typedef struct work {
    uint64_t *key;
    uint8_t *shares;
    void *encrypt, *split; /* scratch */
    size_t key_bytes, shares_bytes;
} work;

static void work_free(work *w)
{
    if (w->key != NULL) {
        plmm_wipe(w->key, w->key_bytes);
    }
    if (w->shares != NULL) {
        plmm_wipe(w->shares, w->shares_bytes);
    }
    plmm_free(w->key);
    plmm_free(w->shares);
    plmm_free(w->encrypt);
    plmm_free(w->split);
}

static plmm_status work_alloc(work *w, const plmm_oneshot_tables *t, plmm_error *err)
{
    w->key_bytes = plmm_kahe_key_residues(t->set) * sizeof(uint64_t);
    w->shares_bytes = t->committee.m * plmm_packed_share_bytes(t->set);
    w->key = plmm_alloc_unset(w->key_bytes, 1);
    w->shares = plmm_alloc_unset(w->shares_bytes, 1);
    w->encrypt = plmm_alloc_unset(plmm_kahe_scratch_bytes(t->set), 1);
    w->split = plmm_alloc_unset(plmm_packed_scratch_bytes(t->set, t->committee.c), 1);
    return w->key == NULL || w->shares == NULL || w->encrypt == NULL || w->split == NULL
               ? plmm_fail(err, PLMM_ERR_NOMEM, "no memory to encrypt a vector")
               : PLMM_OK;
}

/* A box for each member, behind the nonce that all of them share: each has a key of its own. */
static void seal_all(const plmm_client_round *m, uint8_t *payload, const uint8_t *shares)
{
    const plmm_oneshot *o = m->os;
    size_t share = plmm_packed_share_bytes(o->tables->set), box = share + PLMM_SEAL_OVERHEAD;
    plmm_seed fresh;
    plmm_nonce nonce;
    plmm_oneshot_secret(m, "nonce.os", &fresh);
    plmm_nonce_seed(&nonce, &fresh);
    memcpy(payload, nonce.b, sizeof nonce.b);
    for (uint32_t i = 0; i < o->seats.m; i++) {
        uint8_t ad[PLMM_ONESHOT_AD];
        uint32_t to = o->seats.member[i];
        plmm_oneshot_ad(ad, PLMM_MSG_CONTRIB, &m->session, m->self, to);
        plmm_seal(payload + PLMM_ONESHOT_NONCE + i * box, shares + i * share, share, ad, sizeof ad,
                  &nonce, plmm_oneshot_channel(m, to));
    }
    plmm_wipe(&fresh, sizeof fresh);
}

static void conceal(const plmm_client_round *m, work *w, uint8_t *payload, const int32_t *x)
{
    const plmm_oneshot_tables *t = m->os->tables;
    plmm_seed secret;
    plmm_kahe_noise noise;
    plmm_oneshot_secret(m, "kahe.key", &secret);
    plmm_kahe_key_from_seed(w->key, t->set, &secret);
    plmm_oneshot_secret(m, "kahe.err", &secret);
    plmm_kahe_noise_init(&noise, &secret, &m->session.id);
    plmm_kahe_encrypt(payload + plmm_oneshot_boxes(&m->params, t->committee.m), t->set, x,
                      plmm_round_lanes(&m->params), w->key, &noise,
                      plmm_polynomials_of(m->polynomials), w->encrypt);
    plmm_oneshot_secret(m, "kahe.shr", &secret);
    plmm_packed_split(w->shares, &t->packed, w->key, &secret, w->split);
    seal_all(m, payload, w->shares);
    plmm_wipe(&noise, sizeof noise);
    plmm_wipe(&secret, sizeof secret);
}

plmm_status plmm_oneshot_mask(const plmm_client_round *m, uint8_t *payload, plmm_hash *digest,
                              uint32_t *lanes, const float *delta, size_t length, plmm_error *err)
{
    plmm_encoding e = plmm_round_encoding(&m->params);
    plmm_xnoise noise = plmm_round_xnoise(&m->params);
    plmm_seed rounding;
    work w = {0};
    int32_t *x = (int32_t *)lanes;
    plmm_status rc = work_alloc(&w, m->os->tables, err);
    plmm_oneshot_secret(m, "rounding", &rounding);
    if (rc == PLMM_OK) {
        rc = plmm_encode_int(x, NULL, &e, delta, length, m->weight,
                             noise.kind != PLMM_NOISE_NONE ? &noise : NULL, &rounding, err);
    }
    if (rc == PLMM_OK) {
        conceal(m, &w, payload, x);
        plmm_bulk_hash(digest, payload, plmm_oneshot_bytes(&m->params, m->os->seats.m));
    }
    plmm_wipe(&rounding, sizeof rounding);
    plmm_wipe(lanes, plmm_round_lanes(&m->params) * sizeof lanes[0]);
    work_free(&w);
    return rc;
}
