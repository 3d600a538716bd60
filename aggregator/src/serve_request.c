/* Requests of devices: what is a machine's goes to it, what asks for a version's files is answered
 * here, and who waits is held until there is news. */
#include "serve_internal.h"

#include "plmm/alloc.h"
#include "plmm/clock.h"
#include "plmm/log.h"

#include <string.h>

static bool asks_for_version(const plmm_frame *f)
{
    return f->type == PLMM_MSG_GET_MANIFEST || f->type == PLMM_MSG_GET_CHUNK;
}

static void refuse(plmm__serve *s, uint64_t device, const plmm_error *err)
{
    s->result->refused++;
    plmm_log(PLMM_LOG_WARN, "frame.refused", "device=%llu why=\"%s\"", (unsigned long long)device,
             err->msg);
}

/* ---- versions ---- */

static plmm_status append_chunk(plmm__serve *s, uint32_t slot, const plmm_fetch_query *q,
                                const plmm_manifest *m, const plmm_key *frames, plmm_error *err)
{
    uint8_t head[PLMM_FRAME_SMALL];
    size_t head_len = 0;
    if (q->file >= m->files_n || q->offset > m->files[q->file].size) {
        return plmm_fail(err, PLMM_ERR_PEER, "asks for file %u at %llu, beyond version %llu",
                         q->file, (unsigned long long)q->offset, (unsigned long long)m->version);
    }
    uint64_t rest = m->files[q->file].size - q->offset;
    size_t len = rest < q->length ? (size_t)rest : q->length;
    uint8_t *data = plmm_alloc(len, 1);
    if (data == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for a chunk");
    }
    plmm_status rc = s->c->hooks.read(s->c->hooks.ctx, m, q->file, q->offset, data, len, err);
    if (rc == PLMM_OK) {
        rc = plmm_fetch_answer_chunk(head, &head_len, q, s->c->round.params.expert, data, len,
                                     frames, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_hub_append(s->hub, slot, head, head_len, err);
    }
    if (rc == PLMM_OK) {
        rc = plmm_hub_append(s->hub, slot, data, len, err);
    }
    plmm_free(data);
    return rc;
}

static plmm_status answer_known(plmm__serve *s, uint32_t slot, const plmm_key *frames,
                                const uint8_t *bytes, size_t len, plmm_error *err)
{
    plmm_fetch_query q;
    plmm_manifest m;
    PLMM_TRY(plmm_fetch_query_decode(&q, bytes, len, s->c->round.params.expert, frames, err));
    bool newest = plmm_is_zero(&q.manifest, sizeof q.manifest);
    PLMM_TRY(s->c->hooks.find(s->c->hooks.ctx, newest ? NULL : &q.manifest, &m, err));
    if (!q.is_manifest) {
        return append_chunk(s, slot, &q, &m, frames, err);
    }
    uint8_t out[PLMM_FRAME_SMALL];
    size_t out_len = 0;
    PLMM_TRY(plmm_fetch_answer_manifest(out, &out_len, &m, q.device, frames, err));
    return plmm_hub_append(s->hub, slot, out, out_len, err);
}

static plmm_status answer_fetch(plmm__serve *s, uint32_t slot, const plmm_frame *f,
                                const uint8_t *bytes, size_t len, plmm_error *err)
{
    plmm_certificate who;
    plmm_key frames;
    plmm_status rc = plmm_node_device_get(s->c->store, f->sender, &who, err);
    if (rc != PLMM_OK) {
        (void)plmm__registrar_sync(s, false); /* it may be new */
        return rc;
    }
    PLMM_TRY(plmm_known_meet(s->known, &frames, &who, err));
    rc = answer_known(s, slot, &frames, bytes, len, err);
    plmm_wipe(&frames, sizeof frames);
    return rc;
}

/* ---- frames of a round ---- */

/* Which machine a frame belongs to: the one of its round, or the present one. */
static uint32_t route(const plmm__serve *s, const plmm_frame *f)
{
    const plmm__machine *old = &s->machines[s->cur ^ 1u];
    bool is_old = old->m != NULL && f->round == old->round && f->attempt == old->attempt;
    return is_old ? s->cur ^ 1u : s->cur;
}

/* Has machine i a message for the device (a repeated answer)? */
static bool has_waiting(plmm__serve *s, uint64_t device, uint32_t i)
{
    const plmm__peer *p = plmm__peers_find(&s->peers, device);
    return p != NULL && p->waiting[i] != 0;
}

/* The device has shown over this connection who it is. */
static void recognise(plmm__serve *s, uint64_t device, uint32_t pipe)
{
    plmm__peer *peer = NULL;
    plmm_error err = {0};
    plmm_status rc = plmm__peers_add(&s->peers, device, &peer, &err);
    rc = rc == PLMM_OK ? plmm__peers_bind(&s->peers, peer, pipe, &err) : rc;
    if (rc != PLMM_OK) {
        plmm__serve_fail(s, rc, &err);
    }
}

static void to_machine(plmm__serve *s, uint32_t pipe, const plmm_frame *f, const uint8_t *bytes,
                       size_t len, uint64_t *device)
{
    uint32_t i = route(s, f);
    if (s->machines[i].m == NULL || f->sender == PLMM_AGGREGATOR_ID) {
        return; /* no round is open yet: the device will ask again */
    }
    plmm_agg_event ev = {
        .type = PLMM_AGG_EV_FRAME, .now_ms = plmm_clock_ms(), .bytes = bytes, .len = len};
    plmm_error err = {0};
    plmm_certificate who;
    if (f->type == PLMM_MSG_CHECKIN &&
        plmm_node_device_get(s->c->store, f->sender, &who, &err) != PLMM_OK) {
        refuse(s, f->sender, &err); /* not in the table, or revoked, whatever it can show */
        (void)plmm__registrar_sync(s, false);
        return;
    }
    if (f->type == PLMM_MSG_CHECKIN &&
        plmm_node_device_barred(s->c->store, f->sender, s->machines[i].round, &err) != PLMM_OK) {
        refuse(s, f->sender, &err);
        return;
    }
    plmm_status rc = plmm__round_step(s, i, &ev, &err);
    if (rc == PLMM_ERR_STALE) {
        plmm_log(PLMM_LOG_DEBUG, "frame.stale", "device=%llu type=%s why=\"%s\"",
                 (unsigned long long)f->sender, plmm_message_str(f->type), err.msg);
    }
    /* A stale frame counts as a sign of life only if the machine had an answer to it. */
    if (rc == PLMM_OK || (rc == PLMM_ERR_STALE && has_waiting(s, f->sender, i))) {
        recognise(s, f->sender, pipe);
        *device = f->sender;
    } else if (rc != PLMM_ERR_STALE) {
        refuse(s, f->sender, &err);
    }
}

/* The frame at the beginning of bytes[0..len). */
static plmm_status next_frame(plmm_frame *f, const uint8_t *bytes, size_t len, size_t *size,
                              plmm_error *err)
{
    if (len < PLMM_FRAME_PREFIX) {
        return plmm_fail(err, PLMM_ERR_WIRE, "the request ends inside a frame");
    }
    PLMM_TRY(plmm_frame_size(size, bytes, err));
    if (*size > len) {
        return plmm_fail(err, PLMM_ERR_WIRE, "the request ends inside a frame");
    }
    return plmm_frame_decode(f, bytes, *size, err);
}

/* All frames of a request; *device = who sent them, if a machine knows it. */
static void take_frames(plmm__serve *s, const plmm_hub_request *r, uint64_t *device)
{
    size_t size = 0;
    for (size_t at = 0; at < r->len; at += size) {
        plmm_error err = {0};
        plmm_frame f;
        const uint8_t *bytes = r->bytes + at;
        if (next_frame(&f, bytes, r->len - at, &size, &err) != PLMM_OK) {
            refuse(s, 0, &err);
            return;
        }
        if (!asks_for_version(&f)) {
            to_machine(s, r->pipe, &f, bytes, size, device);
        } else if (plmm_hub_pending(s->hub, r->slot) > 0) {
            /* A small question has an answer of a chunk: a reply holds one. */
            (void)plmm_fail(&err, PLMM_ERR_PEER, "asks for two parts of a version at once");
            refuse(s, f.sender, &err);
            return;
        } else if (answer_fetch(s, r->slot, &f, bytes, size, &err) != PLMM_OK) {
            refuse(s, f.sender, &err);
        }
    }
}

/* Must the request wait because the worker reads the machine? Those that ask for versions need
 * not. */
static bool must_wait(const plmm__serve *s, const plmm_hub_request *r)
{
    plmm_frame f;
    size_t size;
    return s->frozen && !(next_frame(&f, r->bytes, r->len, &size, NULL) == PLMM_OK &&
                          asks_for_version(&f) && size == r->len);
}

/* ---- replies ---- */

static void reply(plmm__serve *s, uint32_t slot)
{
    s->bytes_down += plmm_hub_pending(s->hub, slot);
    s->result->bytes_down += plmm_hub_pending(s->hub, slot);
    plmm_hub_reply(s->hub, slot);
}

static void let_go(plmm__serve *s, plmm__peer *p)
{
    uint32_t slot = p->slot;
    p->slot = PLMM__NO_SLOT;
    s->held--;
    reply(s, slot);
}

/* Puts the messages that wait for p into the reply of slot. One that the machine does not have any
 * more is dropped: the device asks again for what it misses. */
static void deliver(plmm__serve *s, plmm__peer *p, uint32_t slot)
{
    for (uint32_t i = 0; i < PLMM__MACHINES; i++) {
        const plmm_agg_round *m = s->machines[i].m;
        for (uint32_t msg = 0; msg < PLMM_MSG_COUNT && m != NULL; msg++) {
            uint8_t *at;
            size_t len = 0, max = plmm_agg_round_frame_max(m);
            plmm_error err = {0};
            if ((p->waiting[i] >> msg & 1u) == 0) {
                continue;
            }
            plmm_status rc = plmm_hub_reserve(s->hub, slot, max, &at, &err);
            rc = rc == PLMM_OK
                     ? plmm_agg_round_render(m, (plmm_message)msg, p->device, at, max, &len, &err)
                     : rc;
            plmm_hub_commit(s->hub, slot, rc == PLMM_OK ? len : 0);
            plmm_log(PLMM_LOG_DEBUG, "message.send", "device=%llu type=%s bytes=%zu",
                     (unsigned long long)p->device, plmm_message_str(msg), len);
        }
        p->waiting[i] = 0;
    }
}

static bool has_news(const plmm__peer *p)
{
    return (p->waiting[0] | p->waiting[1]) != 0;
}

/* Keeps an empty request open until there is news for its device. */
static void hold(plmm__serve *s, plmm__peer *p, uint32_t slot)
{
    if (p->slot != PLMM__NO_SLOT) {
        let_go(s, p); /* its device has given that one up */
    }
    p->slot = slot;
    p->until = plmm_clock_ms() + s->c->hold_ms;
    s->next_release = p->until < s->next_release ? p->until : s->next_release;
    s->held++;
}

/* ---- the loop's side ---- */

void plmm__request_take(plmm__serve *s, const plmm_hub_request *r)
{
    if (r->len > 0 && must_wait(s, r)) {
        s->later.v[(s->later.at + s->later.n++) % plmm_hub_slots(s->hub)] = *r;
        return;
    }
    s->bytes_up += r->len;
    s->result->bytes_up += r->len;
    if (r->len > 0) {
        plmm__due *due = &s->due[s->due_n++];
        *due = (plmm__due){r->slot, 0};
        take_frames(s, r, &due->device);
        plmm_hub_release(s->hub, r->slot);
        return;
    }
    plmm__peer *p = plmm__peers_by_pipe(&s->peers, r->pipe);
    /* A quarter of the slots stays free for requests that have something to say. */
    if (p == NULL || s->held >= plmm_hub_slots(s->hub) / 4 * 3) {
        reply(s, r->slot);
        return;
    }
    hold(s, p, r->slot);
}

void plmm__request_retry(plmm__serve *s)
{
    for (uint32_t n = s->later.n; n > 0; n--) {
        plmm_hub_request r = s->later.v[s->later.at];
        s->later.at = (s->later.at + 1) % plmm_hub_slots(s->hub);
        s->later.n--;
        plmm__request_take(s, &r);
    }
}

void plmm__request_answer(plmm__serve *s)
{
    for (uint32_t i = 0; i < s->due_n; i++) {
        plmm__peer *p = plmm__peers_find(&s->peers, s->due[i].device);
        if (p != NULL) {
            deliver(s, p, s->due[i].slot);
        }
        reply(s, s->due[i].slot);
    }
    s->due_n = 0;
    for (size_t i = 0; i < s->peers.cap; i++) {
        plmm__peer *p = &s->peers.v[i];
        if (p->device != 0 && p->slot != PLMM__NO_SLOT && has_news(p)) {
            deliver(s, p, p->slot);
            let_go(s, p);
        }
    }
}

void plmm__request_release(plmm__serve *s, uint64_t now)
{
    if (now < s->next_release) {
        return;
    }
    s->next_release = UINT64_MAX;
    for (size_t i = 0; i < s->peers.cap; i++) {
        plmm__peer *p = &s->peers.v[i];
        if (p->device == 0 || p->slot == PLMM__NO_SLOT) {
            continue;
        }
        if (p->until <= now) {
            let_go(s, p);
        } else if (p->until < s->next_release) {
            s->next_release = p->until;
        }
    }
}
