/* Later rounds of a one-shot epoch: the roster that was sealed once, its committee and the keys of
 * the pairs are used again, so that a device sends its contribution and nothing else.
 *
 * A device keeps what it verified of the roster: the seal, its place, and the peers whose entries
 * came with it. The aggregator keeps the seal and the entries. An invitation names the epoch by its
 * mark, H(seal), where the beacon of a first round stands. */
#include "client_machine.h"
#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <string.h>

enum {
    HEAD = PLMM_EPOCH_HEAD,
    PEER = 4 + 8 + 32 + 8 /* index, device, channel key, since */
};

void plmm_epoch_mark(plmm_hash *out, const plmm_round_seal *seal, const char *expert)
{
    plmm_hash h;
    plmm_round_seal_hash(&h, seal, expert);
    plmm_hash_bytes(out, "epoch.mk", h.b, sizeof h.b);
}

void plmm_epoch_session(plmm_session *s, const plmm_hash *params)
{
    uint8_t both[64];
    memcpy(both, s->id.b, 32);
    memcpy(both + 32, params->b, 32);
    plmm_hash_bytes(&s->id, "session3", both, sizeof both);
}

void plmm_epoch_put(uint8_t *out, const plmm_round_seal *seal)
{
    plmm_store_le64(out, seal->round);
    plmm_store_le32(out + 8, plmm_round_seal_encode(out + 12, seal));
}

plmm_status plmm_epoch_take(plmm_round_seal *seal, const uint8_t *in, size_t len, size_t fixed,
                            plmm_error *err)
{
    uint32_t octets = len < HEAD + fixed ? 0 : plmm_load_le32(in + 8);
    if (octets == 0 || octets > PLMM_SEAL_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "what was kept of an epoch has %zu octets", len);
    }
    return plmm_round_seal_decode(seal, plmm_load_le64(in), in + 12, octets, err);
}

/* ---- a device ---- */

void plmm_client_epoch_note(plmm_client_round *m, const plmm_round_seal *seal)
{
    m->epoch_len = HEAD + 4 + 32 + (size_t)m->near_n * PEER;
    m->epoch = plmm_alloc(m->epoch_len, 1);
    if (m->epoch == NULL) { /* no later round, then */
        m->epoch_len = 0;
        return;
    }
    plmm_epoch_put(m->epoch, seal);
    plmm_store_le32(m->epoch + HEAD, m->self);
    memcpy(m->epoch + HEAD + 4, m->channel.pk.b, 32);
    uint8_t *at = m->epoch + HEAD + 36;
    for (uint32_t i = 0; i < m->near_n; i++, at += PEER) {
        plmm_store_le32(at, m->near[i].index);
        plmm_store_le64(at + 4, m->near[i].peer.device);
        memcpy(at + 12, m->near[i].peer.pk.b, 32);
        plmm_store_le64(at + 44, m->near[i].peer.since);
    }
}

const uint8_t *plmm_client_round_epoch(const plmm_client_round *m, size_t *len)
{
    *len = m->epoch_len;
    return m->epoch;
}

/* Does the invitation go on with the epoch that this device keeps, and can it? */
bool plmm_client_epoch_goes_on(const plmm_client_round *m, const plmm_round_params *p,
                               plmm_round_seal *seal)
{
    const uint8_t *e = m->cfg.epoch;
    plmm_hash mark;
    if (p->protocol != PLMM_PROTOCOL_ONESHOT || e == NULL || m->cfg.channels == NULL ||
        plmm_epoch_take(seal, e, m->cfg.epoch_len, 36, NULL) != PLMM_OK) {
        return false;
    }
    plmm_epoch_mark(&mark, seal, p->expert);
    const plmm_channel_key *own = plmm_channels_own(m->cfg.channels, p->round);
    return plmm_equal(&mark, &p->beacon, sizeof mark) && own != NULL && p->round > seal->round &&
           memcmp(own->pk.b, e + HEAD + 4, 32) == 0;
}

static plmm_status peers_take(plmm_client_round *m, plmm_neighbour *near, uint32_t near_n,
                              plmm_error *err)
{
    const uint8_t *at = m->cfg.epoch + HEAD + 36;
    for (uint32_t i = 0; i < near_n; i++, at += PEER) {
        plmm_neighbour *p = &near[i];
        p->index = plmm_load_le32(at);
        p->peer.device = plmm_load_le64(at + 4);
        memcpy(p->peer.pk.b, at + 12, 32);
        p->peer.since = plmm_load_le64(at + 44);
        PLMM_TRY(plmm_channels_key(m->cfg.channels, &p->channel, NULL, &m->channel, &p->peer,
                                   m->params.round, err));
    }
    return PLMM_OK;
}

/* Session, seats and channels of the round, from what was verified when the epoch began. */
static plmm_status resume(plmm_client_round *m, plmm_oneshot *o, const plmm_round_seal *seal,
                          plmm_error *err)
{
    uint32_t near_n = 0, self = plmm_load_le32(m->cfg.epoch + HEAD);
    plmm_session s = {.k = o->tables->committee.m, .t = o->tables->committee.need};
    plmm_session_make(&s, seal, &m->params);
    plmm_epoch_session(&s, &m->params_hash);
    PLMM_TRY(plmm_oneshot_sit(o, &s, self, &near_n, err));
    size_t room = PLMM_FRAME_SMALL + plmm_oneshot_room(o, s.n);
    if (m->cfg.epoch_len != HEAD + 36 + (size_t)near_n * PEER || self >= s.n) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "what was kept of the epoch is of another one");
    }
    plmm_neighbour *near = plmm_alloc(near_n, sizeof *near);
    uint8_t *out = plmm_alloc(room, 1);
    plmm_status rc = near == NULL || out == NULL
                         ? plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a one-shot round")
                         : peers_take(m, near, near_n, err);
    if (rc != PLMM_OK) {
        plmm_free(near);
        plmm_free(out);
        return rc;
    }
    plmm_free(m->out);
    m->out = out;
    m->out_cap = room;
    m->near = near;
    m->near_n = near_n;
    m->session = s;
    m->self = self;
    m->os = o;
    return PLMM_OK;
}

plmm_status plmm_client_epoch_resume(plmm_client_round *m, plmm_client_step *s,
                                     const plmm_round_seal *seal)
{
    plmm_error why = {0};
    plmm_oneshot *o = NULL;
    plmm_refusal refusal = PLMM_REFUSAL_NONE;
    m->channel = *plmm_channels_own(m->cfg.channels, m->params.round);
    plmm_status rc = plmm_oneshot_new(&o, m, seal, NULL, &refusal, &why);
    if (rc == PLMM_ERR_POLICY || rc == PLMM_ERR_RANGE) { /* (C5) */
        s->out->refusal = refusal;
        return plmm_client_leave(m, s->out, PLMM_ABORT_POLICY, NULL, "%s", why.msg);
    }
    rc = rc == PLMM_OK ? resume(m, o, seal, &why) : rc;
    if (rc != PLMM_OK) {
        plmm_oneshot_free(o);
    }
    if (rc == PLMM_ERR_NOMEM) {
        return plmm_fail(s->err, rc, "%s", why.msg);
    }
    if (rc != PLMM_OK) {
        return plmm_client_leave(m, s->out, PLMM_ABORT_LOST, NULL, "%s", why.msg);
    }
    plmm_client_accept(m, s, PLMM_CLIENT_TRAINING, PLMM_AFTER_TRAIN);
    return PLMM_OK;
}
