/* The data plane of the aggregator: adding vectors, taking the masks out of the sum. */
#include "agg_machine.h"
#include "plmm/alloc.h"

#include <stdio.h>
#include <string.h>

plmm_status plmm_agg_round_add(const plmm_agg_round *m, void *sum, const uint8_t *payload,
                               size_t len, plmm_error *err)
{
    const plmm_round_params *p = &m->cfg.params;
    const uint32_t set = plmm_round_kahe(p), lanes = plmm_round_lanes(p);
    return set == 0 ? plmm_unpack_add(sum, lanes, p->ring_bits, payload, len, err)
                    : plmm_kahe_add(sum, set, lanes, payload, len, err);
}

enum {
    MASKS = 64,  /* taken out in one pass over the sum */
    PASSES = 8,  /* over the secrets that could not be decoded, as long as that finds liars */
    TRIES = 2000 /* subsets of t shares, if too many are false */
};

/* Everything one unmasking needs; SECRET throughout. */
typedef struct work {
    const plmm_agg_round *m;
    void *sum;
    uint32_t kahe;    /* plmm_kahe_set, 0: masks over Z_{2^b} */
    uint64_t *key;    /* kahe: the sum of the survivors' keys, as far as it is known */
    uint8_t *scratch; /* kahe */
    plmm_shamir_basis basis, probe;
    plmm_share shares[PLMM_NEIGHBOURS_MAX + 1]; /* of one secret */
    plmm_share some[PLMM_NEIGHBOURS_MAX + 1];
    uint32_t points[PLMM_NEIGHBOURS_MAX + 1];
    uint32_t pick[PLMM_NEIGHBOURS_MAX + 1];
    plmm_mask masks[MASKS];
    uint32_t masks_n;
    uint8_t *liar; /* set over n */
    uint8_t *done; /* likewise: whose masks are out */
    bool named;    /* who is stuck lied, or those who hold its shares did */
} work;

static void masks_flush(work *w)
{
    const plmm_round_params *p = &w->m->cfg.params;
    plmm_mask_apply(w->sum, plmm_round_lanes(p), 0, p->ring_bits, w->masks, w->masks_n);
    w->masks_n = 0;
}

/* Takes a mask out of the sum; under Ring-LWE, puts its opposite into the key the sum is under. */
static plmm_status mask_push(work *w, const uint8_t secret[32], plmm_mask_sign sign,
                             plmm_error *err)
{
    if (w->kahe != 0) {
        plmm_kahe_key_mask(w->key, w->kahe, secret, &w->m->session.id,
                           sign == PLMM_MASK_SUB ? PLMM_MASK_ADD : PLMM_MASK_SUB);
        return PLMM_OK;
    }
    if (w->masks_n == MASKS) {
        masks_flush(w);
    }
    return plmm_mask_init(&w->masks[w->masks_n++], w->m->cfg.params.stream, secret,
                          &w->m->session.id, sign, err);
}

/* All keys are in w->key: the sum in place, mod 2^b. */
static void decrypt(work *w)
{
    const plmm_round_params *p = &w->m->cfg.params;
    const size_t lanes = plmm_round_lanes(p);
    plmm_kahe_decrypt(w->sum, w->kahe, w->sum, lanes, w->key,
                      plmm_polynomials_of(w->m->polynomials), w->scratch);
    plmm_lanes_reduce(w->sum, lanes, p->ring_bits);
}

/* The revealed shares of device j; a share's point is the index of who revealed it, plus 1. */
static uint32_t collect(work *w, uint32_t j)
{
    const plmm_agg_round *m = w->m;
    uint32_t k = m->session.k, n = 0;
    const uint32_t *near = plmm_agg_near(m, j);
    for (uint32_t s = 0; s < k; s++) {
        uint32_t i = near[s], at = plmm_find(plmm_agg_near(m, i), k, j);
        if (!plmm_set_has(m->reveal_has + (size_t)i * plmm_set_bytes(k), at)) {
            continue;
        }
        plmm_status rc = plmm_share_decode(&w->shares[n++], i + 1,
                                           m->reveals + ((size_t)i * k + at) * PLMM_REVEAL_SHARE,
                                           PLMM_SHARE_BYTES, NULL);
        PLMM_ASSERT(rc == PLMM_OK); /* checked when it came */
    }
    return n;
}

static bool is_liar(const work *w, uint32_t share)
{
    return plmm_set_has(w->liar, w->shares[share].x - 1);
}

/* Is it the secret that j committed to in R0? */
static bool genuine(const work *w, uint32_t j, bool survivor, const uint8_t secret[32])
{
    const plmm_advert *a = &w->m->slots[w->m->slot_of[j]].entry.advert;
    plmm_hash h;
    plmm_secret_commit(&h, survivor ? PLMM_LABEL_SELF : PLMM_LABEL_ESCROW, secret);
    return plmm_equal(&h, survivor ? &a->commit : &a->escrow, sizeof h);
}

/* The secret from the shares w->pick[0..count) names; all must agree if count > t. */
static bool combine(work *w, plmm_shamir_basis *basis, uint32_t count, uint8_t secret[32])
{
    for (uint32_t i = 0; i < count; i++) {
        w->some[i] = w->shares[w->pick[i]];
        w->points[i] = w->some[i].x;
    }
    return plmm_shamir_basis_init(basis, w->points, count, w->m->session.t, NULL) == PLMM_OK &&
           plmm_shamir_combine(secret, basis, w->some, NULL) == PLMM_OK;
}

/* A small deterministic generator: which subset is tried is no secret and decides nothing. */
static uint32_t next(uint64_t *state, uint32_t below)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*state >> 33) % below);
}

/* Some of the shares w->pick[0..count) are false: up to (count - t) / 2 of them are found by
 * Reed-Solomon decoding. */
static bool corrected(work *w, uint32_t j, bool survivor, uint32_t count, uint8_t secret[32])
{
    for (uint32_t i = 0; i < count; i++) {
        w->some[i] = w->shares[w->pick[i]];
        w->points[i] = w->some[i].x;
    }
    if (plmm_shamir_basis_init(&w->basis, w->points, count, w->m->session.t, NULL) != PLMM_OK ||
        plmm_shamir_correct(&w->basis, w->some, NULL) != PLMM_OK ||
        plmm_shamir_combine(secret, &w->basis, w->some, NULL) != PLMM_OK ||
        !genuine(w, j, survivor, secret)) {
        return false;
    }
    for (uint32_t i = w->basis.m; i < count; i++) {
        plmm_set_put(w->liar, w->some[i].x - 1);
    }
    return true;
}

/* With w->pick[0..t) good: whoever's share is not on their polynomial lied. */
static void blame(work *w, uint32_t have)
{
    uint32_t t = w->m->session.t;
    for (uint32_t i = 0; i < have; i++) {
        uint8_t unused[32];
        bool among = false;
        w->pick[t] = i;
        for (uint32_t p = 0; p < t; p++) {
            among = among || w->pick[p] == i;
        }
        if (!among && !combine(w, &w->probe, t + 1, unused)) {
            plmm_set_put(w->liar, w->shares[i].x - 1);
        }
        plmm_wipe(unused, sizeof unused);
    }
}

/* More are false than decoding can find. The commitment tells the genuine secret, so tries subsets
 * of t, those without known liars first. */
static bool searched(work *w, uint32_t j, bool survivor, uint32_t have, uint8_t secret[32])
{
    uint32_t t = w->m->session.t, n = 0;
    uint32_t pool[PLMM_NEIGHBOURS_MAX];
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < have; i++) {
            if (is_liar(w, i) == (pass == 1)) {
                pool[n++] = i;
            }
        }
        uint64_t state = j;
        for (uint32_t go = 0; n >= t && go < TRIES; go++) {
            for (uint32_t i = 0; i < t; i++) {
                uint32_t at = i + next(&state, n - i), swap = pool[i];
                pool[i] = pool[at];
                pool[at] = swap;
                w->pick[i] = pool[i];
            }
            if (combine(w, &w->basis, t, secret) && genuine(w, j, survivor, secret)) {
                blame(w, have);
                return true;
            }
        }
    }
    return false;
}

/* The secret of j: from those not known to lie; from all, as a false dealer can make an honest
 * neighbour look like a liar; by search if that is wanted. */
static bool recover(work *w, uint32_t j, bool survivor, bool search, uint8_t secret[32])
{
    uint32_t have = collect(w, j), n = 0;
    for (uint32_t i = 0; i < have; i++) {
        if (!is_liar(w, i)) {
            w->pick[n++] = i;
        }
    }
    if (combine(w, &w->basis, n, secret) && genuine(w, j, survivor, secret)) {
        return true;
    }
    if (corrected(w, j, survivor, n, secret)) {
        return true;
    }
    for (uint32_t i = 0; i < have; i++) {
        w->pick[i] = i;
    }
    return (n < have && corrected(w, j, survivor, have, secret)) ||
           (search && searched(w, j, survivor, have, secret));
}

/* What i left in R1 of its pair with j: the secret under i's escrow secret, then its tag. */
static const uint8_t *kept(const plmm_agg_round *m, uint32_t i, uint32_t j)
{
    uint32_t k = m->session.k, at = plmm_find(plmm_agg_near(m, i), k, j);
    return m->escrows + ((size_t)i * k + at) * PLMM_ESCROW;
}

/* Opens what j, who dropped, left of its pair with i, a survivor. False if i said something else of
 * it in R1; *said: j said so, too, and so it was j who lied, else it may have been either. */
static bool pair_open(const plmm_agg_round *m, uint32_t j, uint32_t i, const uint8_t escrow[32],
                      plmm_key *pair, bool *said)
{
    uint8_t tag[PLMM_PAIR_TAG];
    const uint8_t *mine = kept(m, j, i), *theirs = kept(m, i, j) + sizeof pair->b;
    plmm_escrow_turn(pair->b, mine, escrow, &m->session, j, i);
    plmm_pair_tag(tag, pair, &m->session);
    *said = plmm_equal(mine + sizeof pair->b, theirs, sizeof tag);
    return plmm_equal(tag, theirs, sizeof tag);
}

/* Are all secrets there that j, who dropped, has with survivors? Else w->named: it is certain that
 * it was j who lied. */
static bool pairs_good(work *w, uint32_t j, const uint8_t escrow[32])
{
    const plmm_agg_round *m = w->m;
    const uint32_t *near = plmm_agg_near(m, j);
    uint32_t bad = 0;
    bool sure = false;
    for (uint32_t s = 0; s < m->session.k; s++) {
        plmm_key pair;
        bool said;
        if (plmm_set_has(m->survivors, near[s]) &&
            !pair_open(m, j, near[s], escrow, &pair, &said)) {
            bad++;
            sure = sure || said;
        }
        plmm_wipe(&pair, sizeof pair);
    }
    w->named = w->named && (bad == 0 || sure || bad > m->corrupt);
    return bad == 0;
}

/* The pair masks of j, who dropped, that are in the vectors of its surviving neighbours. */
static plmm_status pairs_push(work *w, uint32_t j, const uint8_t escrow[32], plmm_error *err)
{
    const plmm_agg_round *m = w->m;
    const uint32_t *near = plmm_agg_near(m, j);
    plmm_status rc = PLMM_OK;
    for (uint32_t s = 0; rc == PLMM_OK && s < m->session.k; s++) {
        plmm_key pair;
        bool said, added = plmm_pair_sign(near[s], j) == PLMM_MASK_ADD;
        if (plmm_set_has(m->survivors, near[s])) {
            (void)pair_open(m, j, near[s], escrow, &pair, &said);
            rc = mask_push(w, pair.b, added ? PLMM_MASK_SUB : PLMM_MASK_ADD, err);
            plmm_wipe(&pair, sizeof pair);
        }
    }
    return rc;
}

/* Takes out the masks of j; *good = what is needed for it was there. */
static plmm_status remove_one(work *w, uint32_t j, bool search, bool *good, plmm_error *err)
{
    bool survivor = plmm_set_has(w->m->survivors, j);
    uint8_t secret[32];
    plmm_status rc = PLMM_OK;
    *good = recover(w, j, survivor, search, secret) && (survivor || pairs_good(w, j, secret));
    if (*good) {
        rc = survivor ? mask_push(w, secret, PLMM_MASK_SUB, err) : pairs_push(w, j, secret, err);
    }
    plmm_wipe(secret, sizeof secret);
    return rc;
}

/* Takes out the masks of all whose secret can be had; *stuck = the first whose cannot, or
 * PLMM_NONE. */
static plmm_status pass(work *w, bool search, uint32_t *stuck, plmm_error *err)
{
    const plmm_agg_round *m = w->m;
    *stuck = PLMM_NONE;
    for (uint32_t j = 0; j < m->session.n && !(search && *stuck != PLMM_NONE); j++) {
        if (!plmm_set_has(m->going, j) || plmm_set_has(w->done, j)) {
            continue;
        }
        bool good;
        PLMM_TRY(remove_one(w, j, search, &good, err));
        if (good) {
            plmm_set_put(w->done, j);
        } else {
            *stuck = *stuck == PLMM_NONE ? j : *stuck;
        }
    }
    return PLMM_OK;
}

/* What is decoded at one device finds liars that are neighbours of others, too: goes around as long
 * as that helps, then searches. */
static plmm_status unmask(work *w, plmm_agg_unmasked *out, plmm_error *err)
{
    uint32_t n = w->m->session.n, stuck = PLMM_NONE, before = 0, liars = 0;
    for (uint32_t go = 0; go == 0 || (stuck != PLMM_NONE && liars > before && go < PASSES); go++) {
        before = liars;
        PLMM_TRY(pass(w, false, &stuck, err));
        liars = plmm_set_count(w->liar, n);
    }
    if (stuck != PLMM_NONE) {
        PLMM_TRY(pass(w, true, &stuck, err));
    }
    if (stuck != PLMM_NONE) {
        uint64_t device = w->m->slots[w->m->slot_of[stuck]].entry.certificate.device;
        out->device = w->named ? device : 0;
        (void)snprintf(out->text, sizeof out->text,
                       "the shares of device %llu do not give the secrets it committed to",
                       (unsigned long long)device);
        return PLMM_OK;
    }
    if (w->kahe == 0) {
        masks_flush(w);
    } else {
        decrypt(w);
    }
    out->ok = true;
    return PLMM_OK;
}

/* The sum is in the clear: takes out the noise that these survivors can do without, and adds the
 * aggregator's own before anything else reads it. Whoever revealed nothing leaves its surplus in. */
static plmm_status noise(const plmm_agg_round *m, uint32_t *sum, plmm_error *err)
{
    const plmm_round_params *p = &m->cfg.params;
    uint32_t level, survivors = plmm_set_count(m->survivors, m->session.n);
    size_t lanes = plmm_round_lanes(p);
    plmm_seed own;
    if (plmm_round_surplus(p, survivors, &level)) {
        plmm_xnoise x = plmm_round_xnoise(p);
        for (uint32_t i = 0; i < m->session.n; i++) {
            if (plmm_set_has(m->survivors, i) && (m->did[i] & PLMM_DID_REVEAL) != 0) {
                PLMM_TRY(plmm_xnoise_remove((int32_t *)sum, lanes, &x, level, &m->surplus[i], err));
            }
        }
        plmm_lanes_reduce((int32_t *)sum, lanes, p->ring_bits);
    }
    if (p->noise_tree > 0) {
        own = m->cfg.tree;
    } else {
        plmm_seed_derive(&own, &m->seed, "noise.01", p->attempt);
    }
    plmm_status rc = plmm_round_add_central(sum, p, &own, err);
    plmm_wipe(&own, sizeof own);
    return rc;
}

/* Memory for the key of a sum under Ring-LWE. */
static bool kahe_begin(work *w)
{
    w->kahe = plmm_round_kahe(&w->m->cfg.params);
    if (w->kahe == 0) {
        return true;
    }
    const size_t room = plmm_kahe_scratch_bytes(w->kahe), n = plmm_kahe_key_residues(w->kahe);
    w->scratch = plmm_alloc(room + 8 * n, 1);
    w->key = w->scratch == NULL ? NULL : (uint64_t *)(void *)(w->scratch + room);
    return w->scratch != NULL;
}

static void kahe_end(work *w)
{
    if (w->key != NULL) {
        plmm_wipe(w->key, 8 * plmm_kahe_key_residues(w->kahe));
    }
    plmm_free(w->scratch);
}

plmm_status plmm_agg_round_drop(const plmm_agg_round *m, void *sum, const uint8_t *payload,
                                size_t len, plmm_error *err)
{
    if (m->os == NULL) {
        return plmm_fail(err, PLMM_ERR_STATE, "inputs of this round stay in its sum");
    }
    return plmm_oneshot_drop(m, sum, payload, len, err);
}

plmm_status plmm_agg_round_unmask(const plmm_agg_round *m, void *sum, plmm_agg_unmasked *out,
                                  plmm_error *err)
{
    if (m->phase != PLMM_AGG_UNMASK) {
        return plmm_fail(err, PLMM_ERR_STATE, "no sum was to be unmasked");
    }
    if (m->os != NULL) {
        memset(out, 0, sizeof *out);
        PLMM_TRY(plmm_oneshot_unmask(m, sum, out, err));
        return out->ok ? noise(m, sum, err) : PLMM_OK;
    }
    work *w = plmm_alloc(1, sizeof *w);
    uint8_t *liar = plmm_alloc(2, plmm_set_bytes(m->session.n));
    plmm_status rc = PLMM_OK;
    memset(out, 0, sizeof *out);
    if (w != NULL) {
        w->m = m;
        w->sum = sum;
        w->named = true;
    }
    if (w == NULL || liar == NULL || !kahe_begin(w)) {
        rc = plmm_fail(err, PLMM_ERR_NOMEM, "no memory to unmask the sum");
    } else {
        w->liar = liar;
        w->done = liar + plmm_set_bytes(m->session.n);
        rc = unmask(w, out, err);
        rc = rc == PLMM_OK && out->ok ? noise(m, sum, err) : rc;
        out->liars = plmm_set_count(liar, m->session.n);
    }
    if (w != NULL) {
        kahe_end(w);
        plmm_wipe(w, sizeof *w);
    }
    plmm_free(w);
    plmm_free(liar);
    return rc;
}
