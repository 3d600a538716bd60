/* How each phase of a round ends. Nothing else moves a round on. */
#include "agg_machine.h"
#include "plmm/bytes.h"

#include <stdio.h>
#include <string.h>

void plmm_agg_abort(plmm_agg_round *m, plmm_agg_actions *out, plmm_abort reason, const char *fmt,
                    ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(m->text, sizeof m->text, fmt, ap);
    va_end(ap);
    m->phase = PLMM_AGG_ABORTED;
    m->reason = reason;
    plmm_agg_action *a = plmm_agg_emit(out, PLMM_AGG_DO_ABORT);
    a->reason = reason;
    a->text = m->text;
    plmm_agg_announce(m, out, PLMM_MSG_RESULT);
}

/* What a device does in a phase. */
static uint8_t deed(plmm_agg_phase phase)
{
    switch (phase) {
    case PLMM_AGG_SHARE:
        return PLMM_DID_SHARE;
    case PLMM_AGG_CONFIRM:
    case PLMM_AGG_DELIVER:
        return PLMM_DID_CONFIRM;
    case PLMM_AGG_COLLECT:
        return PLMM_DID_MASK;
    case PLMM_AGG_AGREE:
        return PLMM_DID_AGREE;
    case PLMM_AGG_REVEAL:
        return PLMM_DID_REVEAL;
    case PLMM_AGG_NEW:
    case PLMM_AGG_GATHER:
    case PLMM_AGG_ADVERTISE:
    case PLMM_AGG_SEAL:
    case PLMM_AGG_UNMASK:
    case PLMM_AGG_PUBLISH:
    case PLMM_AGG_DONE:
    case PLMM_AGG_ABORTED:
    case PLMM_AGG_PHASES:
        break;
    }
    return 0;
}

/* Who takes part in a phase; NULL: all of the roster. */
static const uint8_t *members(const plmm_agg_round *m)
{
    switch (m->phase) {
    case PLMM_AGG_CONFIRM:
    case PLMM_AGG_DELIVER:
        return m->sharers;
    case PLMM_AGG_COLLECT:
        return m->going;
    case PLMM_AGG_AGREE:
        return m->os != NULL ? m->sharers : m->survivors;
    case PLMM_AGG_REVEAL:
        return m->agreed;
    case PLMM_AGG_NEW:
    case PLMM_AGG_GATHER:
    case PLMM_AGG_ADVERTISE:
    case PLMM_AGG_SEAL:
    case PLMM_AGG_SHARE:
    case PLMM_AGG_UNMASK:
    case PLMM_AGG_PUBLISH:
    case PLMM_AGG_DONE:
    case PLMM_AGG_ABORTED:
    case PLMM_AGG_PHASES:
        break;
    }
    return NULL;
}

bool plmm_agg_awaits(const plmm_agg_round *m, uint32_t index)
{
    uint8_t d = deed(m->phase);
    const uint8_t *set = members(m);
    return d != 0 && (m->did[index] & (d | PLMM_IS_OUT)) == 0 &&
           (set == NULL || plmm_set_has(set, index));
}

void plmm_agg_enter(plmm_agg_round *m, plmm_agg_actions *out, plmm_agg_phase phase)
{
    m->phase = phase;
    m->awaited = 0;
    for (uint32_t i = 0; i < m->session.n; i++) {
        m->awaited += plmm_agg_awaits(m, i);
    }
    plmm_agg_announce(m, out, plmm_agg_question(m));
}

void plmm_agg_answered(plmm_agg_round *m, plmm_agg_actions *out)
{
    PLMM_ASSERT(m->awaited > 0);
    if (--m->awaited == 0) {
        plmm_agg_close(m, out);
    }
}

void plmm_agg_expel(plmm_agg_round *m, plmm_agg_actions *out, uint32_t index)
{
    uint64_t device = m->slots[m->slot_of[index]].entry.certificate.device;
    bool awaited = plmm_agg_awaits(m, index);
    m->record[0] = PLMM_RECORD_EXPEL;
    plmm_store_le64(m->record + 1, device);
    plmm_agg_journal(m, out, m->record, 9);
    m->did[index] |= PLMM_IS_OUT;
    m->expelled++;
    if (awaited) {
        plmm_agg_answered(m, out);
    }
}

/* ---- gather: choose whom to invite ---- */

static void gather_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    if (m->slots_n < m->cfg.roster_min) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_CHECKINS,
                       "only %u devices checked in within %u ms, at least %u", m->slots_n,
                       m->cfg.gather_ms, m->cfg.roster_min);
        return;
    }
    if (m->resumed) {
        plmm_agg_epoch_begin(m, out);
        return;
    }
    uint64_t over = ((uint64_t)m->cfg.params.cohort * m->cfg.over_ppm + 999999) / 1000000;
    uint64_t want = m->cfg.params.cohort + over;
    uint32_t left = want < m->slots_n ? (uint32_t)want : m->slots_n;
    m->invited_n = left;
    /* selection sampling (Knuth, Algorithm S): each subset is equally likely */
    for (uint32_t i = 0; left > 0; i++) {
        uint8_t draw[8];
        plmm_seed one;
        plmm_seed_derive(&one, &m->seed, "cohort.1", i);
        plmm_expand(draw, sizeof draw, &one, "cohort.x");
        if (plmm_load_le64(draw) % (m->slots_n - i) < left) {
            m->slots[i].invited = true;
            left--;
        }
    }
    m->awaited = m->invited_n < m->cfg.params.cohort ? m->invited_n : m->cfg.params.cohort;
    m->phase = PLMM_AGG_ADVERTISE;
    plmm_agg_announce(m, out, PLMM_MSG_INVITE);
}

/* ---- advertise: the roster, to be sealed ---- */

static void advertise_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    if (m->adverts_n < m->cfg.roster_min) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_KEYS,
                       "only %u of %u invited devices advertised keys within %u ms, at least %u",
                       m->adverts_n, m->invited_n, m->cfg.phase_ms, m->cfg.roster_min);
    } else if (!plmm_agg_roster_make(m)) {
        plmm_agg_abort(m, out, PLMM_ABORT_LOCAL, "no memory for %u devices", m->adverts_n);
    } else {
        m->phase = PLMM_AGG_SEAL;
        plmm_agg_announce(m, out, PLMM_MSG_SEAL_REQUEST);
    }
}

static void seal_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    plmm_agg_abort(m, out, PLMM_ABORT_NO_SEAL, "the registrar did not answer within %u ms",
                   m->cfg.phase_ms);
}

void plmm_agg_begin(plmm_agg_round *m, plmm_agg_actions *out)
{
    plmm_agg_enter(m, out, m->os != NULL ? PLMM_AGG_COLLECT : PLMM_AGG_SHARE);
}

/* ---- the later phases ---- */

static uint32_t near_in(const plmm_agg_round *m, uint32_t i, const uint8_t *set)
{
    const uint32_t *near = plmm_agg_near(m, i);
    uint32_t c = 0;
    for (uint32_t s = 0; s < m->session.k; s++) {
        c += plmm_set_has(set, near[s]);
    }
    return c;
}

/* set = devices that did `what` and are not out, and have t neighbours among them; the others are
 * out. Leaving one out may take a neighbour from another: until nothing changes. */
static uint32_t set_of(plmm_agg_round *m, uint8_t *set, uint8_t what)
{
    uint32_t n = m->session.n, count = 0;
    memset(set, 0, plmm_set_bytes(n));
    for (uint32_t i = 0; i < n; i++) {
        if ((m->did[i] & (what | PLMM_IS_OUT)) == what) {
            plmm_set_put(set, i);
            count++;
        }
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < n; i++) {
            if (plmm_set_has(set, i) && near_in(m, i, set) < m->session.t) {
                set[i / 8] = (uint8_t)(set[i / 8] & ~(1u << (i % 8)));
                count--;
                changed = true;
            }
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        m->did[i] |= plmm_set_has(set, i) ? 0 : PLMM_IS_OUT;
    }
    return count;
}

static void share_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    uint32_t count = set_of(m, m->sharers, PLMM_DID_SHARE);
    if (count < m->cfg.params.n_min) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_SHARES,
                       "only %u of %u devices shared their secrets and have %u neighbours that "
                       "did, at least %u",
                       count, m->session.n, m->session.t, m->cfg.params.n_min);
        return;
    }
    plmm_agg_enter(m, out, PLMM_AGG_CONFIRM);
}

static void confirm_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    for (uint32_t i = 0; i < m->session.n; i++) {
        if (m->complaints[i] > m->corrupt) { /* more than could be slander */
            m->did[i] |= PLMM_IS_OUT;
        }
    }
    uint32_t count = set_of(m, m->going, PLMM_DID_CONFIRM);
    if (count < m->cfg.params.n_min) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_SHARES,
                       "only %u of %u devices confirmed their shares, at least %u", count,
                       m->session.n, m->cfg.params.n_min);
        return;
    }
    plmm_agg_enter(m, out, PLMM_AGG_COLLECT);
}

/* First device of `of` that has fewer than t neighbours in `set`; PLMM_NONE if there is none. */
static uint32_t starved(const plmm_agg_round *m, const uint8_t *of, const uint8_t *set)
{
    for (uint32_t i = 0; i < m->session.n; i++) {
        if (plmm_set_has(of, i) && near_in(m, i, set) < m->session.t) {
            return i;
        }
    }
    return PLMM_NONE;
}

static uint64_t id_of(const plmm_agg_round *m, uint32_t index)
{
    return m->slots[m->slot_of[index]].entry.certificate.device;
}

/* Vectors that came are in the sum: nobody can be taken out again, so a device without t surviving
 * neighbours, survivor or not, ends the round. */
static void collect_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    uint32_t n = m->session.n, count = 0;
    memset(m->survivors, 0, plmm_set_bytes(n));
    for (uint32_t i = 0; i < n; i++) {
        if ((m->did[i] & PLMM_DID_MASK) != 0) {
            plmm_set_put(m->survivors, i);
            count++;
        } else {
            m->did[i] |= PLMM_IS_OUT;
        }
    }
    uint32_t poor = starved(m, m->going, m->survivors);
    if (count < m->cfg.params.n_min) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_VECTORS,
                       "only %u of %u masked vectors arrived within %u ms, at least %u", count,
                       plmm_set_count(m->going, n), m->cfg.train_ms, m->cfg.params.n_min);
    } else if (poor != PLMM_NONE) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_VECTORS,
                       "only %u of the %u neighbours of device %llu survived, at least %u",
                       near_in(m, poor, m->survivors), m->session.k,
                       (unsigned long long)id_of(m, poor), m->session.t);
    } else {
        plmm_agg_enter(m, out, PLMM_AGG_AGREE);
    }
}

static void agree_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    memset(m->agreed, 0, plmm_set_bytes(m->session.n));
    for (uint32_t i = 0; i < m->session.n; i++) {
        if ((m->did[i] & (PLMM_DID_AGREE | PLMM_IS_OUT)) == PLMM_DID_AGREE) {
            plmm_set_put(m->agreed, i);
        }
    }
    uint32_t poor = starved(m, m->going, m->agreed);
    if (poor != PLMM_NONE) {
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_AGREE,
                       "only %u of the %u neighbours of device %llu agreed within %u ms, at least "
                       "%u",
                       near_in(m, poor, m->agreed), m->session.k,
                       (unsigned long long)id_of(m, poor), m->cfg.phase_ms, m->session.t);
        return;
    }
    plmm_agg_enter(m, out, PLMM_AGG_REVEAL);
}

static void reveal_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    for (uint32_t j = 0; j < m->session.n; j++) {
        uint32_t have = 0;
        const uint32_t *near = plmm_agg_near(m, j);
        for (uint32_t s = 0; s < m->session.k; s++) {
            uint32_t at = plmm_find(plmm_agg_near(m, near[s]), m->session.k, j);
            have +=
                plmm_set_has(m->reveal_has + (size_t)near[s] * plmm_set_bytes(m->session.k), at);
        }
        if (plmm_set_has(m->going, j) && have < m->session.t) {
            plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_REVEALS,
                           "only %u shares of device %llu were revealed within %u ms, at least %u",
                           have, (unsigned long long)id_of(m, j), m->cfg.phase_ms, m->session.t);
            return;
        }
    }
    m->phase = PLMM_AGG_UNMASK;
    m->deadline_ms = UINT64_MAX;
    if (!m->replaying) {
        plmm_agg_emit(out, PLMM_AGG_DO_UNMASK);
    }
}

void plmm_agg_close(plmm_agg_round *m, plmm_agg_actions *out)
{
    switch (m->phase) {
    case PLMM_AGG_GATHER:
        gather_close(m, out);
        break;
    case PLMM_AGG_ADVERTISE:
        advertise_close(m, out);
        break;
    case PLMM_AGG_SEAL:
        seal_close(m, out);
        break;
    case PLMM_AGG_SHARE:
        share_close(m, out);
        break;
    case PLMM_AGG_CONFIRM:
        confirm_close(m, out);
        break;
    case PLMM_AGG_COLLECT:
        (m->os != NULL ? plmm_agg_contrib_close : collect_close)(m, out);
        break;
    case PLMM_AGG_DELIVER:
        plmm_agg_deliver_close(m, out);
        break;
    case PLMM_AGG_AGREE:
        (m->os != NULL ? plmm_agg_vote_close : agree_close)(m, out);
        break;
    case PLMM_AGG_REVEAL:
        (m->os != NULL ? plmm_agg_sum_close : reveal_close)(m, out);
        break;
    case PLMM_AGG_UNMASK: /* of a journal: the sum could not be unmasked */
        plmm_agg_abort(m, out, PLMM_ABORT_TOO_FEW_REVEALS, "the sum could not be unmasked");
        break;
    case PLMM_AGG_NEW:
    case PLMM_AGG_PUBLISH:
    case PLMM_AGG_DONE:
    case PLMM_AGG_ABORTED:
    case PLMM_AGG_PHASES:
        break;
    }
}
