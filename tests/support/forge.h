/* tests/support/forge.h -- taking a frame apart and signing it again: what a lying party does. */
#ifndef PLMM_FORGE_H
#define PLMM_FORGE_H

#include "fleet.h"
#include "plmm/bytes.h"

enum { FORGE_BULK = 1 << 17 };

typedef struct forgery {
    plmm_frame f;
    uint8_t bulk[FORGE_BULK];
} forgery;

static inline void forge_open(forgery *g, const fleet_bytes *b)
{
    plmm_error err = {0};
    CHECK(plmm_frame_decode(&g->f, b->p, b->len, &err) == PLMM_OK, "%s", err.msg);
    CHECK(g->f.bulk_len <= FORGE_BULK, "room");
    memset(g->bulk, 0, sizeof g->bulk);
    if (g->f.bulk_len > 0) {
        memcpy(g->bulk, g->f.bulk, g->f.bulk_len);
    }
}

static inline fleet_bytes forge_seal(forgery *g, const plmm_sign_sk *sk)
{
    size_t head;
    uint8_t *p = plmm_alloc(1, PLMM_FRAME_SMALL + (size_t)g->f.bulk_len);
    plmm_bulk_hash(&g->f.bulk_hash, g->bulk, g->f.bulk_len);
    plmm_frame_head(p, &head, &g->f, sk);
    memcpy(p + head, g->bulk, g->f.bulk_len);
    return (fleet_bytes){p, head + g->f.bulk_len};
}

static inline void forge_clear(uint8_t *set, uint32_t i)
{
    set[i / 8] = (uint8_t)(set[i / 8] & ~(1u << (i % 8)));
}

/* near[0..k) = neighbours of a device, from the seal. */
static inline void forge_near(fleet *f, uint32_t *near, uint32_t k, uint32_t device)
{
    static uint32_t order[FLEET_MAX], place[FLEET_MAX];
    const plmm_round_seal *seal = plmm_agg_round_seal(f->agg);
    plmm_hash beacon;
    plmm_round_seal_beacon(&beacon, seal);
    plmm_graph_init(order, place, seal->n, &beacon);
    plmm_graph_neighbours(near, device, order, place, seal->n, k);
}

#endif
