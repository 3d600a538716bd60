/* tests/support/forge.h -- taking a frame apart and making it authentic again: what a lying party does. */
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

static inline fleet_bytes forge_seal(forgery *g, const plmm_key *key, plmm_way way)
{
    size_t head;
    uint8_t *p = plmm_alloc(1, PLMM_FRAME_SMALL + (size_t)g->f.bulk_len);
    plmm_bulk_hash(&g->f.bulk_hash, g->bulk, g->f.bulk_len);
    plmm_frame_head(p, &head, &g->f, key, way);
    memcpy(p + head, g->bulk, g->f.bulk_len);
    return (fleet_bytes){p, head + g->f.bulk_len};
}

/* The key that device i and the aggregator share. */
static inline plmm_key forge_key(const fleet *f, uint32_t i)
{
    plmm_key k = {{0}};
    CHECK(plmm_frame_key(&k, &f->d[i].cfg.key, &f->anchor.aggregator, f->anchor.expert, NULL) ==
              PLMM_OK,
          "key of device %u", i);
    return k;
}

/* By sk if the type is one that is signed, else under the key of device 0: who is asked then finds that it
 * is another message. */
static inline fleet_bytes forge_sign(const fleet *f, forgery *g, const plmm_sign_sk *sk)
{
    if (!plmm_message_signed(g->f.type)) {
        plmm_key k = forge_key(f, 0);
        return forge_seal(g, &k, PLMM_TO_DEVICE);
    }
    size_t head;
    uint8_t *p = plmm_alloc(1, PLMM_FRAME_SMALL + (size_t)g->f.bulk_len);
    plmm_bulk_hash(&g->f.bulk_hash, g->bulk, g->f.bulk_len);
    plmm_frame_sign(p, &head, &g->f, sk);
    memcpy(p + head, g->bulk, g->f.bulk_len);
    return (fleet_bytes){p, head + g->f.bulk_len};
}

/* By the aggregator, for device `to`. */
static inline fleet_bytes forge_down(const fleet *f, forgery *g, uint32_t to)
{
    plmm_key k = forge_key(f, to);
    return plmm_message_signed(g->f.type) ? forge_sign(f, g, &f->agg_sk)
                                          : forge_seal(g, &k, PLMM_TO_DEVICE);
}

/* By device `from`, for the aggregator. */
static inline fleet_bytes forge_up(const fleet *f, forgery *g, uint32_t from)
{
    plmm_key k = forge_key(f, from);
    return plmm_message_signed(g->f.type) ? forge_sign(f, g, &f->d[from].cfg.key)
                                          : forge_seal(g, &k, PLMM_TO_AGGREGATOR);
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
