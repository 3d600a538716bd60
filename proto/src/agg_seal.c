/* The roster of a round, its seal by the registrar, and the session that follows from it. */
#include "agg_machine.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <stdlib.h>
#include <string.h>

typedef struct seat {
    uint64_t device;
    uint32_t slot;
} seat;

static int seat_cmp(const void *a, const void *b)
{
    uint64_t x = ((const seat *)a)->device, y = ((const seat *)b)->device;
    return x < y ? -1 : x > y;
}

static bool roster_alloc(plmm_agg_round *m)
{
    size_t n = m->adverts_n;
    m->slot_of = plmm_alloc(n, sizeof m->slot_of[0]);
    m->ids = plmm_alloc(n, 8);
    m->nodes = plmm_alloc(plmm_merkle_nodes((uint32_t)n), sizeof m->nodes[0]);
    m->request = plmm_alloc(1, PLMM_FRAME_SMALL + n * PLMM_ROSTER_ENTRY);
    return m->slot_of != NULL && m->ids != NULL && m->nodes != NULL && m->request != NULL;
}

static void request_make(plmm_agg_round *m, const uint8_t *bulk)
{
    plmm_frame f = {.type = PLMM_MSG_SEAL_REQUEST,
                    .round = m->cfg.params.round,
                    .attempt = m->cfg.params.attempt,
                    .sender = PLMM_AGGREGATOR_ID,
                    .receiver = PLMM_REGISTRAR_ID};
    size_t head, len = (size_t)m->roster_n * PLMM_ROSTER_ENTRY;
    memcpy(f.expert, m->cfg.params.expert, sizeof f.expert);
    f.body_len = plmm_params_encode(f.body, &m->cfg.params);
    f.bulk_len = (uint32_t)len;
    plmm_bulk_hash(&f.bulk_hash, bulk, len);
    plmm_frame_sign(m->request, &head, &f, &m->cfg.key);
    memmove(m->request + head, bulk, len);
    m->roster = m->request + head;
    m->request_len = head + len;
}

bool plmm_agg_roster_make(plmm_agg_round *m)
{
    uint32_t n = m->adverts_n, count = 0;
    seat *seats = plmm_alloc(n, sizeof *seats);
    if (seats == NULL || !roster_alloc(m)) {
        plmm_free(seats);
        return false;
    }
    for (uint32_t s = 0; s < m->slots_n; s++) {
        if (m->slots[s].advertised) {
            seats[count++] = (seat){.device = m->slots[s].entry.certificate.device, .slot = s};
        }
    }
    qsort(seats, n, sizeof *seats, seat_cmp);
    uint8_t *bulk = m->request + PLMM_FRAME_SMALL;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *entry = bulk + (size_t)i * PLMM_ROSTER_ENTRY;
        m->slot_of[i] = seats[i].slot;
        plmm_entry_encode(entry, &m->slots[seats[i].slot].entry);
        memcpy(m->ids + (size_t)i * 8, entry, 8);
        plmm_merkle_leaf(&m->nodes[i], entry, PLMM_ROSTER_ENTRY);
    }
    plmm_free(seats);
    plmm_merkle_build(m->nodes, n);
    m->roster_n = n;
    request_make(m, bulk);
    return true;
}

/* ---- the registrar's answer ---- */

/* Is the seal for what was asked? */
static bool seal_ours(const plmm_agg_round *m, const plmm_round_seal *s)
{
    plmm_hash ids;
    plmm_roster_ids(&ids, m->ids, m->roster_n);
    return s->group == m->cfg.params.group && s->n == m->roster_n && s->eligible >= s->n &&
           plmm_equal(&s->params, &m->params_hash, sizeof s->params) &&
           plmm_equal(&s->ids, &ids, sizeof ids) &&
           plmm_equal(&s->root, &m->nodes[plmm_merkle_nodes(m->roster_n) - 1], sizeof s->root);
}

static plmm_status answer_decode(const plmm_agg_round *m, plmm_seal_answer *a, plmm_agg_step *s)
{
    plmm_frame *f = &s->frame;
    PLMM_TRY(plmm_frame_decode(f, s->event->bytes, s->event->len, s->err));
    if (f->type != PLMM_MSG_SEAL || f->sender != PLMM_REGISTRAR_ID ||
        f->receiver != PLMM_AGGREGATOR_ID || strcmp(f->expert, m->cfg.params.expert) != 0 ||
        f->round != m->cfg.params.round || f->attempt != m->cfg.params.attempt) {
        return plmm_fail(s->err, PLMM_ERR_PEER, "the %s message is no seal of this round",
                         plmm_message_str(f->type));
    }
    PLMM_TRY(plmm_frame_verify(f, &m->cfg.registrar, s->err));
    PLMM_TRY(plmm_seal_answer_decode(a, f, s->err));
    if (a->refusal != PLMM_REFUSAL_NONE) {
        return PLMM_OK;
    }
    if (!seal_ours(m, &a->seal)) {
        return plmm_fail(s->err, PLMM_ERR_PEER, "the registrar sealed another roster");
    }
    return plmm_round_seal_check(&a->seal, m->cfg.params.expert, &m->cfg.registrar, s->err);
}

static bool session_alloc(plmm_agg_round *m)
{
    size_t n = m->session.n, k = m->os != NULL ? 0 : m->session.k, nk = n * k;
    m->near = plmm_alloc(nk, sizeof m->near[0]);
    m->did = plmm_alloc(n, 1);
    m->complaints = plmm_alloc(n, sizeof m->complaints[0]);
    m->boxes = plmm_alloc(nk, PLMM_BOX);
    m->escrows = plmm_alloc(nk, PLMM_ESCROW);
    m->tags = plmm_alloc(nk, PLMM_TAG_BYTES);
    m->reveals = plmm_alloc(nk, PLMM_REVEAL_SHARE);
    m->reveal_has = plmm_alloc(n, plmm_set_bytes((uint32_t)k));
    m->surplus = plmm_alloc(n, sizeof m->surplus[0]);
    m->sharers = plmm_alloc(4, plmm_set_bytes(m->session.n));
    m->proving = plmm_alloc(3 * n, sizeof m->proving[0]);
    m->ack_index = plmm_alloc(n, sizeof m->ack_index[0]);
    m->ack_seq = plmm_alloc(n, sizeof m->ack_seq[0]);
    if (m->near == NULL || m->did == NULL || m->complaints == NULL || m->boxes == NULL ||
        m->escrows == NULL || m->tags == NULL || m->reveals == NULL || m->reveal_has == NULL ||
        m->surplus == NULL || m->proving == NULL || m->sharers == NULL || m->ack_index == NULL ||
        m->ack_seq == NULL) {
        return false;
    }
    m->going = m->sharers + plmm_set_bytes(m->session.n);
    m->survivors = m->going + plmm_set_bytes(m->session.n);
    m->agreed = m->survivors + plmm_set_bytes(m->session.n);
    return true;
}

static bool session_fill(plmm_agg_round *m)
{
    uint32_t n = m->session.n;
    for (uint32_t i = 0; i < n; i++) {
        m->slots[m->slot_of[i]].index = i;
    }
    plmm_session_make(&m->session, &m->seal, &m->cfg.params);
    if (m->os != NULL) {
        memset(m->going, 0xff, plmm_set_bytes(n)); /* everyone trains at once */
        return plmm_agg_oneshot_seats(m, NULL) == PLMM_OK;
    }
    uint32_t *order = plmm_alloc((size_t)2 * n, sizeof *order);
    if (order == NULL) {
        return false;
    }
    plmm_graph_init(order, order + n, n, &m->session.beacon);
    for (uint32_t i = 0; i < n; i++) {
        plmm_graph_neighbours(m->near + (size_t)i * m->session.k, i, order, order + n, n,
                              m->session.k);
    }
    plmm_free(order);
    return true;
}

/* Neighbours and threshold, or the committee, for those who are on the roster. */
static plmm_status degree_take(plmm_agg_round *m, plmm_error *err)
{
    plmm_graph_degree d;
    if (m->cfg.params.protocol == PLMM_PROTOCOL_ONESHOT) {
        return plmm_agg_oneshot_new(m, m->seal.n, m->seal.eligible, err);
    }
    plmm_graph_params g = plmm_round_graph(&m->cfg.params, m->seal.n, m->seal.eligible);
    PLMM_TRY(plmm_graph_degree_solve(&d, &g, err));
    m->session.k = d.k;
    m->session.t = d.t;
    m->corrupt = d.corrupt;
    return PLMM_OK;
}

static void sealed(plmm_agg_round *m, plmm_agg_actions *out, const plmm_seal_answer *a)
{
    plmm_error why = {0};
    if (a->refusal != PLMM_REFUSAL_NONE) {
        plmm_agg_abort(m, out, PLMM_ABORT_NO_SEAL, "the registrar refused the roster (%s): %s",
                       plmm_refusal_str(a->refusal), a->text);
        return;
    }
    m->seal = a->seal;
    if (degree_take(m, &why) != PLMM_OK) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_KEYS, "%u devices are eligible: %.300s",
                       a->seal.eligible, why.msg);
        return;
    }
    m->session.n = a->seal.n;
    if (!session_alloc(m) || !session_fill(m)) {
        plmm_free(m->did); /* no session: as before it */
        m->did = NULL;
        plmm_agg_abort(m, out, PLMM_ABORT_LOCAL, "no memory for %u devices with %u neighbours",
                       a->seal.n, m->session.k);
        return;
    }
    plmm_agg_begin(m, out);
}

/* The roster of an epoch that goes on: who checked in is invited, the others are out. */
void plmm_agg_epoch_begin(plmm_agg_round *m, plmm_agg_actions *out)
{
    plmm_error why = {0};
    uint32_t here = m->slots_n;
    m->session.n = m->seal.n;
    if (degree_take(m, &why) != PLMM_OK) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_KEYS, "%s", why.msg);
        return;
    }
    if (!plmm_agg_epoch_seat(m) || !session_alloc(m) || !session_fill(m)) {
        plmm_free(m->did);
        m->did = NULL;
        plmm_agg_abort(m, out, PLMM_ABORT_LOCAL, "no memory for %u devices", m->seal.n);
        return;
    }
    plmm_epoch_session(&m->session, &m->params_hash);
    m->invited_n = here;
    for (uint32_t i = 0; i < m->session.n; i++) {
        m->did[i] |= m->slots[m->slot_of[i]].invited ? 0 : PLMM_IS_OUT;
    }
    plmm_agg_begin(m, out);
}

plmm_status plmm_agg_on_sealed(plmm_agg_round *m, plmm_agg_step *s)
{
    plmm_seal_answer a;
    if (m->phase != PLMM_AGG_SEAL) {
        return plmm_fail(s->err, m->phase < PLMM_AGG_SEAL ? PLMM_ERR_STATE : PLMM_ERR_STALE,
                         "no seal is awaited in phase %s", plmm_agg_phase_str(m->phase));
    }
    PLMM_TRY(answer_decode(m, &a, s));
    plmm_agg_journal(m, s->out, s->event->bytes, s->event->len);
    sealed(m, s->out, &a);
    return PLMM_OK;
}

const plmm_round_seal *plmm_agg_round_seal(const plmm_agg_round *m)
{
    return m->seal.n > 0 ? &m->seal : NULL;
}
