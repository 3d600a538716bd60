#include "peers.h"

#include "plmm/alloc.h"

#include <string.h>

static size_t place(uint64_t key, size_t cap)
{
    return (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (cap - 1);
}

void plmm__peers_free(plmm__peers *p)
{
    plmm_free(p->v);
    plmm_free(p->pipes);
    *p = (plmm__peers){0};
}

/* Its entry, or the free one where it belongs. */
static plmm__peer *probe(plmm__peer *v, size_t cap, uint64_t device)
{
    size_t i = place(device, cap);
    while (v[i].device != 0 && v[i].device != device) {
        i = (i + 1) & (cap - 1);
    }
    return &v[i];
}

plmm__peer *plmm__peers_find(plmm__peers *p, uint64_t device)
{
    if (p->cap == 0 || device == 0) {
        return NULL;
    }
    plmm__peer *at = probe(p->v, p->cap, device);
    return at->device != 0 ? at : NULL;
}

plmm_status plmm__peers_add(plmm__peers *p, uint64_t device, plmm__peer **peer, plmm_error *err)
{
    PLMM_ASSERT(device != 0);
    plmm__peer *found = plmm__peers_find(p, device);
    if (found == NULL && 2 * (p->n + 1) > p->cap) {
        size_t cap = p->cap == 0 ? 64 : 2 * p->cap;
        plmm__peer *v = plmm_alloc(cap, sizeof *v);
        if (v == NULL) {
            return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %zu devices", cap);
        }
        for (size_t i = 0; i < p->cap; i++) {
            if (p->v[i].device != 0) {
                *probe(v, cap, p->v[i].device) = p->v[i];
            }
        }
        plmm_free(p->v);
        p->v = v;
        p->cap = cap;
    }
    if (found == NULL) {
        found = probe(p->v, p->cap, device);
        *found = (plmm__peer){.device = device, .slot = PLMM__NO_SLOT};
        p->n++;
    }
    *peer = found;
    return PLMM_OK;
}

static struct plmm__pipe_entry *probe_pipe(struct plmm__pipe_entry *v, size_t cap, uint32_t pipe)
{
    size_t i = place(pipe, cap);
    while (v[i].pipe != 0 && v[i].pipe != pipe) {
        i = (i + 1) & (cap - 1);
    }
    return &v[i];
}

plmm__peer *plmm__peers_by_pipe(plmm__peers *p, uint32_t pipe)
{
    if (p->pipes_cap == 0) {
        return NULL;
    }
    struct plmm__pipe_entry *e = probe_pipe(p->pipes, p->pipes_cap, pipe);
    plmm__peer *peer = e->pipe != 0 ? plmm__peers_find(p, e->device) : NULL;
    return peer != NULL && peer->pipe == pipe ? peer : NULL;
}

/* A table with what is still true of the old one. */
static plmm_status rebuild_pipes(plmm__peers *p, plmm_error *err)
{
    size_t cap = 64;
    while (cap < 4 * (p->n + 1)) {
        cap *= 2;
    }
    struct plmm__pipe_entry *v = plmm_alloc(cap, sizeof *v);
    if (v == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "out of memory for %zu connections", cap);
    }
    size_t n = 0;
    for (size_t i = 0; i < p->cap; i++) {
        if (p->v[i].device != 0 && p->v[i].pipe != 0) {
            *probe_pipe(v, cap, p->v[i].pipe) =
                (struct plmm__pipe_entry){p->v[i].pipe, p->v[i].device};
            n++;
        }
    }
    plmm_free(p->pipes);
    p->pipes = v;
    p->pipes_cap = cap;
    p->pipes_n = n;
    return PLMM_OK;
}

plmm_status plmm__peers_bind(plmm__peers *p, plmm__peer *peer, uint32_t pipe, plmm_error *err)
{
    PLMM_ASSERT(pipe != 0);
    if (peer->pipe == pipe) {
        return PLMM_OK;
    }
    if (2 * (p->pipes_n + 1) > p->pipes_cap) {
        PLMM_TRY(rebuild_pipes(p, err));
    }
    struct plmm__pipe_entry *e = probe_pipe(p->pipes, p->pipes_cap, pipe);
    p->pipes_n += e->pipe == 0;
    *e = (struct plmm__pipe_entry){pipe, peer->device};
    peer->pipe = pipe;
    return PLMM_OK;
}
