/* What both machines of a one-shot round compute alike: tables, seats, sizes, bindings. */
#include "oneshot.h"

#include "degree.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <string.h>

/* ---- sizes ---- */

size_t plmm_oneshot_box(uint32_t set)
{
    return plmm_packed_share_bytes(set) + PLMM_SEAL_OVERHEAD;
}

size_t plmm_oneshot_boxes(const plmm_round_params *p, uint32_t m)
{
    return PLMM_ONESHOT_NONCE + m * plmm_oneshot_box(plmm_round_kahe(p));
}

size_t plmm_oneshot_bytes(const plmm_round_params *p, uint32_t m)
{
    return plmm_oneshot_boxes(p, m) + plmm_round_payload_bytes(p);
}

/* ---- tables ---- */

static plmm_status tables_fill(plmm_oneshot_tables *t, bool polynomials, plmm_error *err)
{
    uint32_t m = t->committee.m, c = t->committee.c;
    t->matrix = plmm_alloc(plmm_packed_matrix_bytes(t->set, m, c), 1);
    if (polynomials) {
        t->polynomials = plmm_alloc(plmm_kahe_public_residues(t->set, t->lanes), sizeof(uint64_t));
    }
    if (t->matrix == NULL || (polynomials && t->polynomials == NULL)) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for the tables of a committee of %u", m);
    }
    if (polynomials) {
        plmm_kahe_public(t->polynomials, t->set, t->lanes);
    }
    return plmm_packed_init(&t->packed, t->set, m, c, t->matrix, err);
}

plmm_status plmm_oneshot_tables_new(plmm_oneshot_tables **t, const plmm_round_params *p, uint32_t n,
                                    uint32_t eligible, bool polynomials, plmm_error *err)
{
    plmm_graph_params g = plmm_round_graph(p, n, eligible);
    plmm_committee k;
    if (plmm_round_kahe(p) == 0) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a one-shot round with mask %u, must be %d or %d",
                         p->mask, PLMM_MASK_KAHE, PLMM_MASK_KAHE_LONG);
    }
    PLMM_TRY(plmm_committee_solve(&k, &g, PLMM_PACKED_RHO, PLMM_COMMITTEE_SPARE, err));
    plmm_oneshot_tables *r = plmm_alloc(1, sizeof *r);
    if (r == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a committee");
    }
    *r = (plmm_oneshot_tables){.committee = k,
                               .n = n,
                               .set = plmm_round_kahe(p),
                               .lanes = plmm_round_lanes(p),
                               .delta_ppm = p->delta_ppm,
                               .sigma = p->sigma,
                               .eta = p->eta,
                               .trust = p->trust,
                               .corrupt = plmm_counts_of(&g).corrupt};
    plmm_status rc = tables_fill(r, polynomials, err);
    if (rc != PLMM_OK) {
        plmm_oneshot_tables_free(r);
        return rc;
    }
    *t = r;
    return PLMM_OK;
}

void plmm_oneshot_tables_free(plmm_oneshot_tables *t)
{
    if (t != NULL) {
        plmm_free(t->matrix);
        plmm_free(t->polynomials);
        plmm_free(t);
    }
}

bool plmm_oneshot_tables_fit(const plmm_oneshot_tables *t, const plmm_round_params *p, uint32_t n,
                             uint32_t eligible)
{
    plmm_graph_params g = plmm_round_graph(p, n, eligible);
    return t != NULL && t->n == n && t->set == plmm_round_kahe(p) &&
           t->lanes == plmm_round_lanes(p) && t->corrupt == plmm_counts_of(&g).corrupt &&
           t->delta_ppm == p->delta_ppm && t->sigma == p->sigma && t->eta == p->eta &&
           t->trust == p->trust;
}

const plmm_committee *plmm_oneshot_committee(const plmm_oneshot_tables *t)
{
    return &t->committee;
}

/* ---- seats ---- */

plmm_status plmm_seats_draw(plmm_seats *s, uint32_t m, uint32_t n, const plmm_hash *seed,
                            plmm_error *err)
{
    uint32_t *order = plmm_alloc((size_t)2 * n, sizeof *order);
    if (order == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory to draw a committee of %u devices", n);
    }
    s->m = m;
    plmm_committee_draw(s->member, m, n, seed, order);
    plmm_free(order);
    return PLMM_OK;
}

uint32_t plmm_seat_of(const plmm_seats *s, uint32_t index)
{
    for (uint32_t i = 0; i < s->m; i++) {
        if (s->member[i] == index) {
            return i;
        }
    }
    return PLMM_NO_SEAT;
}

void plmm_seats_sorted(const plmm_seats *s, uint32_t *at)
{
    for (uint32_t i = 0; i < s->m; i++) { /* m is small */
        uint32_t to = i;
        for (; to > 0 && at[to - 1] > s->member[i]; to--) {
            at[to] = at[to - 1];
        }
        at[to] = s->member[i];
    }
}

/* ---- bindings ---- */

void plmm_oneshot_ad(uint8_t ad[PLMM_ONESHOT_AD], uint32_t type, const plmm_session *s,
                     uint32_t from, uint32_t to)
{
    plmm_store_le32(ad, PLMM_PROTOCOL_VERSION);
    plmm_store_le32(ad + 4, type);
    memcpy(ad + 8, s->id.b, 32);
    plmm_store_le32(ad + 40, from);
    plmm_store_le32(ad + 44, to);
}

void plmm_vote_hash(plmm_hash *out, const plmm_session *s, const uint8_t *set)
{
    plmm_transcript t;
    plmm_transcript_init(&t, "chosen.1");
    plmm_transcript_u64(&t, PLMM_PROTOCOL_VERSION);
    plmm_transcript_bytes(&t, s->id.b, 32);
    plmm_transcript_bytes(&t, set, plmm_set_bytes(s->n));
    plmm_transcript_final(&t, out);
}

void plmm_vote_tag(plmm_tag *out, const plmm_key *pair, const plmm_hash *vote,
                   const plmm_session *s, uint32_t from, uint32_t to)
{
    uint8_t msg[32 + PLMM_ONESHOT_AD];
    plmm_key key;
    memcpy(msg, vote->b, 32);
    plmm_oneshot_ad(msg + 32, PLMM_MSG_VOTE, s, from, to);
    plmm_key_derive(&key, pair, "vote.key", NULL, 0);
    plmm_mac(out, &key, "vote.mac", msg, sizeof msg);
    plmm_wipe(&key, sizeof key);
}
