/* The aggregator's data plane in a one-shot round: ciphertexts in and out of the sum, the sum of the
 * keys from the members' sums of shares, one decryption. */
#include "agg_machine.h"
#include "plmm/alloc.h"

#include <stdio.h>
#include <string.h>

/* The sums of shares that came: points, rows, seats. */
typedef struct work {
    uint32_t count;
    uint32_t points[PLMM_COMMITTEE_MAX];
    bool wrong[PLMM_COMMITTEE_MAX];
    uint64_t *rows, *key;
    void *combine, *decrypt; /* scratch */
} work;

static void work_free(work *w)
{
    plmm_free(w->rows);
    plmm_free(w->key);
    plmm_free(w->combine);
    plmm_free(w->decrypt);
}

static plmm_status collect(work *w, const plmm_agg_round *m, plmm_error *err)
{
    const plmm_agg_oneshot *o = m->os;
    uint32_t set = o->tables->set;
    size_t row = plmm_packed_share_residues(set);
    for (uint32_t seat = 0; seat < m->session.k; seat++) {
        if (o->summed[seat]) {
            w->points[w->count++] = seat + 1;
        }
    }
    w->rows = plmm_alloc(w->count * row, sizeof w->rows[0]);
    w->key = plmm_alloc(plmm_kahe_key_residues(set), sizeof w->key[0]);
    w->combine = plmm_alloc(plmm_packed_combine_bytes(set, w->count), 1);
    w->decrypt = plmm_alloc(plmm_kahe_scratch_bytes(set), 1);
    if (w->rows == NULL || w->key == NULL || w->combine == NULL || w->decrypt == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory to open the sum");
    }
    for (uint32_t i = 0; i < w->count; i++) {
        plmm_status rc =
            plmm_packed_unpack(w->rows + i * row, set,
                               o->sums + (w->points[i] - 1) * o->share_bytes, o->share_bytes, NULL);
        PLMM_ASSERT(rc == PLMM_OK); /* checked when it came */
    }
    return PLMM_OK;
}

static plmm_status open_sum(work *w, const plmm_agg_round *m, void *sum, plmm_agg_unmasked *out,
                            plmm_error *err)
{
    const plmm_oneshot_tables *t = m->os->tables;
    plmm_error why = {0};
    PLMM_TRY(collect(w, m, err));
    plmm_status rc = plmm_packed_combine(w->key, w->wrong, &t->packed, w->points, w->rows, w->count,
                                         w->combine, &why);
    if (rc != PLMM_OK) {
        (void)snprintf(out->text, sizeof out->text, "the members' sums do not fit together: %s",
                       why.msg);
        return PLMM_OK;
    }
    for (uint32_t i = 0; i < w->count; i++) {
        out->liars += w->wrong[i];
    }
    size_t lanes = plmm_round_lanes(&m->cfg.params);
    plmm_kahe_decrypt(sum, t->set, sum, lanes, w->key, plmm_polynomials_of(m->polynomials),
                      w->decrypt);
    plmm_lanes_reduce(sum, lanes, m->cfg.params.ring_bits);
    out->ok = true;
    return PLMM_OK;
}

plmm_status plmm_oneshot_unmask(const plmm_agg_round *m, void *sum, plmm_agg_unmasked *out,
                                plmm_error *err)
{
    work w = {0};
    plmm_status rc = open_sum(&w, m, sum, out, err);
    work_free(&w);
    return rc;
}

/* Prime of residue i of a ciphertext: groups of 8 blocks, the last of what is left (plmm/kahe.h). */
static uint64_t prime_of(uint32_t set, size_t lanes, size_t i)
{
    const plmm_kahe_info *info = plmm_kahe_info_of(set);
    size_t poly = (size_t)info->n * info->primes, group = poly * PLMM_KAHE_GROUP;
    size_t blocks = plmm_kahe_residues(set, lanes) / poly, g = i / group;
    size_t left = blocks - g * PLMM_KAHE_GROUP;
    size_t width = left < PLMM_KAHE_GROUP ? left : PLMM_KAHE_GROUP;
    return info->prime[(i - g * group) / (info->n * width)];
}

plmm_status plmm_oneshot_drop(const plmm_agg_round *m, void *sum, const uint8_t *payload,
                              size_t len, plmm_error *err)
{
    uint32_t set = m->os->tables->set;
    size_t lanes = plmm_round_lanes(&m->cfg.params), n = plmm_kahe_residues(set, lanes);
    uint64_t *one = plmm_alloc(n, sizeof *one), *all = sum;
    if (one == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory to take a vector out of the sum");
    }
    plmm_status rc = plmm_kahe_add(one, set, lanes, payload, len, err);
    for (size_t i = 0; rc == PLMM_OK && i < n; i++) {
        uint64_t q = prime_of(set, lanes, i);
        all[i] = (all[i] + q - one[i]) % q;
    }
    plmm_free(one);
    return rc;
}
