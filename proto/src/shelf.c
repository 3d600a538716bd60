/* Tables of one-shot rounds and public polynomials: making them, and keeping them for others. */
#include "degree.h"
#include "oneshot.h"
#include "plmm/alloc.h"

struct plmm_shelf {
    plmm_oneshot_tables **tables; /* [places], of which used are not NULL */
    uint32_t places, used, oldest, made;
    plmm_polynomials *polynomials[2]; /* of set 1 and 2 */
};

/* ---- tables ---- */

static plmm_status tables_new(plmm_oneshot_tables **t, const plmm_round_params *p, uint32_t n,
                              uint32_t eligible, plmm_error *err)
{
    plmm_graph_params g = plmm_round_graph(p, n, eligible);
    plmm_committee k;
    uint32_t set = plmm_round_kahe(p);
    if (set == 0) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a one-shot round with mask %u, must be %d or %d",
                         p->mask, PLMM_MASK_KAHE, PLMM_MASK_KAHE_LONG);
    }
    PLMM_TRY(plmm_committee_solve(&k, &g, PLMM_PACKED_RHO, PLMM_COMMITTEE_SPARE, err));
    plmm_oneshot_tables *r = plmm_alloc(1, sizeof *r);
    void *matrix = plmm_alloc(plmm_packed_matrix_bytes(set, k.m, k.c), 1);
    if (r == NULL || matrix == NULL) {
        plmm_free(r);
        plmm_free(matrix);
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for the tables of a committee of %u", k.m);
    }
    *r = (plmm_oneshot_tables){.holders = 1,
                               .committee = k,
                               .n = n,
                               .set = set,
                               .delta_ppm = p->delta_ppm,
                               .sigma = p->sigma,
                               .eta = p->eta,
                               .trust = p->trust,
                               .corrupt = plmm_counts_of(&g).corrupt,
                               .matrix = matrix};
    plmm_status rc = plmm_packed_init(&r->packed, set, k.m, k.c, matrix, err);
    if (rc != PLMM_OK) {
        plmm_tables_drop(r);
        return rc;
    }
    *t = r;
    return PLMM_OK;
}

void plmm_tables_drop(plmm_oneshot_tables *t)
{
    if (t != NULL && --t->holders == 0) {
        plmm_free(t->matrix);
        plmm_free(t);
    }
}

/* Another round of the same shape has the same. */
static bool tables_fit(const plmm_oneshot_tables *t, const plmm_round_params *p, uint32_t n,
                       uint32_t eligible)
{
    plmm_graph_params g = plmm_round_graph(p, n, eligible);
    return t->n == n && t->set == plmm_round_kahe(p) && t->corrupt == plmm_counts_of(&g).corrupt &&
           t->delta_ppm == p->delta_ppm && t->sigma == p->sigma && t->eta == p->eta &&
           t->trust == p->trust;
}

static void shelf_put(plmm_shelf *s, plmm_oneshot_tables *t)
{
    t->holders++;
    s->made++;
    if (s->used < s->places) {
        s->tables[s->used++] = t;
        return;
    }
    plmm_tables_drop(s->tables[s->oldest]);
    s->tables[s->oldest] = t;
    s->oldest = (s->oldest + 1) % s->places;
}

plmm_status plmm_tables_take(plmm_oneshot_tables **t, plmm_shelf *s, const plmm_round_params *p,
                             uint32_t n, uint32_t eligible, plmm_error *err)
{
    for (uint32_t i = 0; s != NULL && i < s->used; i++) {
        if (tables_fit(s->tables[i], p, n, eligible)) {
            *t = s->tables[i];
            (*t)->holders++;
            return PLMM_OK;
        }
    }
    PLMM_TRY(tables_new(t, p, n, eligible, err));
    if (s != NULL) {
        shelf_put(s, *t);
    }
    return PLMM_OK;
}

const plmm_committee *plmm_oneshot_committee(const plmm_oneshot_tables *t)
{
    return &t->committee;
}

/* ---- polynomials ---- */

static plmm_polynomials *polynomials_new(uint32_t set, uint32_t lanes)
{
    plmm_polynomials *q = plmm_alloc(1, sizeof *q);
    uint64_t *a = plmm_alloc(plmm_kahe_public_residues(set, lanes), sizeof *a);
    if (q == NULL || a == NULL) {
        plmm_free(q);
        plmm_free(a);
        return NULL;
    }
    plmm_kahe_public(a, set, lanes);
    *q = (plmm_polynomials){.holders = 1, .set = set, .lanes = lanes, .a = a};
    return q;
}

void plmm_polynomials_drop(plmm_polynomials *q)
{
    if (q != NULL && --q->holders == 0) {
        plmm_free(q->a);
        plmm_free(q);
    }
}

const uint64_t *plmm_polynomials_of(const plmm_polynomials *q)
{
    return q == NULL ? NULL : q->a;
}

plmm_polynomials *plmm_polynomials_take(plmm_shelf *s, const plmm_round_params *p)
{
    uint32_t set = plmm_round_kahe(p), lanes = plmm_round_lanes(p);
    if (s == NULL || set == 0) {
        return NULL;
    }
    plmm_polynomials **at = &s->polynomials[set - 1];
    if (*at == NULL || (*at)->lanes < lanes) {
        plmm_polynomials *longer = polynomials_new(set, lanes);
        if (longer == NULL) {
            return NULL;
        }
        plmm_polynomials_drop(*at);
        *at = longer;
        s->made++;
    }
    (*at)->holders++;
    return *at;
}

/* ---- the shelf ---- */

plmm_status plmm_shelf_new(plmm_shelf **s, uint32_t places, plmm_error *err)
{
    PLMM_ASSERT(places > 0);
    plmm_shelf *r = plmm_alloc(1, sizeof *r);
    plmm_oneshot_tables **tables = plmm_alloc(places, sizeof *tables);
    if (r == NULL || tables == NULL) {
        plmm_free(r);
        plmm_free(tables);
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a shelf of %u tables", places);
    }
    *r = (plmm_shelf){.tables = tables, .places = places};
    *s = r;
    return PLMM_OK;
}

void plmm_shelf_free(plmm_shelf *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->used; i++) {
        plmm_tables_drop(s->tables[i]);
    }
    plmm_polynomials_drop(s->polynomials[0]);
    plmm_polynomials_drop(s->polynomials[1]);
    plmm_free(s->tables);
    plmm_free(s);
}

plmm_status plmm_shelf_tables(plmm_shelf *s, const plmm_oneshot_tables **t,
                              const plmm_round_params *p, uint32_t n, uint32_t eligible,
                              plmm_error *err)
{
    plmm_oneshot_tables *taken = NULL;
    PLMM_TRY(plmm_tables_take(&taken, s, p, n, eligible, err));
    taken->holders--; /* the shelf's own is left */
    *t = taken;
    return PLMM_OK;
}

plmm_status plmm_shelf_polynomials(plmm_shelf *s, const plmm_round_params *p, plmm_error *err)
{
    plmm_polynomials *taken = plmm_polynomials_take(s, p);
    if (taken == NULL && plmm_round_kahe(p) != 0) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for the polynomials of %u lanes",
                         (unsigned)plmm_round_lanes(p));
    }
    plmm_polynomials_drop(taken);
    return PLMM_OK;
}

uint32_t plmm_shelf_made(const plmm_shelf *s)
{
    return s->made;
}
