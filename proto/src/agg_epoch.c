/* The aggregator in later rounds of a one-shot epoch: see oneshot_epoch.c. */
#include "agg_machine.h"
#include "plmm/alloc.h"

#include <string.h>

enum { HEAD = PLMM_EPOCH_HEAD };

size_t plmm_agg_round_epoch(const plmm_agg_round *m, uint8_t *out)
{
    size_t len = HEAD + (size_t)m->session.n * PLMM_ROSTER_ENTRY;
    if (m->os == NULL || m->resumed) {
        return 0;
    }
    if (out != NULL) {
        memset(out, 0, HEAD);
        plmm_epoch_put(out, &m->seal);
        memcpy(out + HEAD, m->roster, len - HEAD);
    }
    return len;
}

plmm_status plmm_agg_epoch_read(plmm_agg_epoch *out, const uint8_t *epoch, size_t len,
                                plmm_error *err)
{
    plmm_round_seal seal;
    PLMM_TRY(plmm_epoch_take(&seal, epoch, len, 0, err));
    if (len != HEAD + (size_t)seal.n * PLMM_ROSTER_ENTRY) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "an epoch of %u devices with %zu octets", seal.n,
                         len);
    }
    *out = (plmm_agg_epoch){.round = seal.round, .group = seal.group, .n = seal.n};
    return PLMM_OK;
}

uint64_t plmm_agg_epoch_device(const uint8_t *epoch, uint32_t i)
{
    return plmm_load_le64(epoch + HEAD + (size_t)i * PLMM_ROSTER_ENTRY);
}

plmm_status plmm_agg_epoch_check(const plmm_agg_config *c, plmm_round_seal *seal, plmm_error *err)
{
    PLMM_TRY(plmm_epoch_take(seal, c->epoch, c->epoch_len, 0, err));
    if (c->params.protocol != PLMM_PROTOCOL_ONESHOT || c->params.round <= seal->round ||
        c->params.round - seal->round >= PLMM_EPOCH_ROUNDS || seal->n > c->params.cohort ||
        seal->n > c->checkins_max || c->epoch_len != HEAD + (size_t)seal->n * PLMM_ROSTER_ENTRY) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "the epoch of %u devices that began with round %llu cannot go on in round "
                         "%llu",
                         seal->n, (unsigned long long)seal->round,
                         (unsigned long long)c->params.round);
    }
    return PLMM_OK;
}

/* Place of a device on the epoch's roster, or PLMM_NONE. */
static uint32_t listed(const plmm_agg_round *m, uint64_t device)
{
    uint32_t lo = 0, hi = m->seal.n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        uint64_t id = plmm_agg_epoch_device(m->cfg.epoch, mid);
        if (id == device) {
            return mid;
        }
        if (id < device) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return PLMM_NONE;
}

bool plmm_agg_epoch_has(const plmm_agg_round *m, const plmm_certificate *c)
{
    uint32_t i = listed(m, c->device);
    plmm_entry e;
    if (i == PLMM_NONE) {
        return false;
    }
    plmm_entry_decode(&e, m->cfg.epoch + HEAD + (size_t)i * PLMM_ROSTER_ENTRY);
    return memcmp(e.certificate.key.b, c->key.b, sizeof c->key.b) == 0;
}

bool plmm_agg_epoch_seat(plmm_agg_round *m)
{
    uint32_t n = m->seal.n;
    m->slot_of = plmm_alloc(n, sizeof m->slot_of[0]);
    if (m->slot_of == NULL) {
        return false;
    }
    m->roster_n = n;
    m->invited_n = m->slots_n;
    for (uint32_t i = 0; i < n; i++) {
        plmm_entry e;
        plmm_entry_decode(&e, m->cfg.epoch + HEAD + (size_t)i * PLMM_ROSTER_ENTRY);
        plmm_slot *slot = plmm_agg_find(m, e.certificate.device);
        bool here = slot != NULL;
        if (!here) {
            slot = plmm_agg_seat(m, e.certificate.device);
            slot->entry.certificate = e.certificate;
            slot->known = plmm_known_meet(m->known, &slot->frames, &e.certificate, NULL) == PLMM_OK;
        }
        slot->invited = here;
        m->slot_of[i] = (uint32_t)(slot - m->slots);
    }
    return true;
}
