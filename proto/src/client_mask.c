/* The data plane of a device: encode, mask, pack. */
#include "client_machine.h"
#include "plmm/alloc.h"

/* masks[0..*n) = the self mask and a pair mask for each neighbour that goes on. */
static plmm_status masks_make(const plmm_client_round *m, plmm_mask *masks, size_t *n,
                              plmm_error *err)
{
    PLMM_TRY(plmm_mask_init(&masks[0], m->params.stream, m->self_mask.b, &m->session.id,
                            PLMM_MASK_ADD, err));
    *n = 1;
    for (uint32_t s = 0; s < m->session.k; s++) {
        const plmm_neighbour *p = &m->near[s];
        if (!plmm_set_has(m->going, p->index)) {
            continue;
        }
        PLMM_TRY(plmm_mask_init(&masks[*n], m->params.stream, p->mask.b, &m->session.id,
                                plmm_pair_sign(m->self, p->index), err));
        ++*n;
    }
    return PLMM_OK;
}

plmm_status plmm_client_round_mask(const plmm_client_round *m, uint8_t *payload, plmm_hash *digest,
                                   uint32_t *lanes, const float *delta, size_t length,
                                   plmm_error *err)
{
    if (m->state != PLMM_CLIENT_MASKING) {
        return plmm_fail(err, PLMM_ERR_STATE, "no masking was asked for");
    }
    if (length != m->params.length) {
        return plmm_fail(err, PLMM_ERR_RANGE, "the update has %zu coordinates, the round wants %u",
                         length, m->params.length);
    }
    size_t n = 0, room = (size_t)m->session.k + 1, all = plmm_round_lanes(&m->params);
    plmm_mask *masks = plmm_alloc(room, sizeof *masks);
    if (masks == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for %zu masks", room);
    }
    plmm_encoding e = plmm_round_encoding(&m->params);
    plmm_xnoise noise = plmm_round_xnoise(&m->params);
    plmm_status rc =
        plmm_encode_int((int32_t *)lanes, NULL, &e, delta, length, m->weight,
                        noise.kind != PLMM_NOISE_NONE ? &noise : NULL, &m->rounding, err);
    if (rc == PLMM_OK) {
        plmm_lanes_reduce((int32_t *)lanes, all, m->params.ring_bits);
        rc = masks_make(m, masks, &n, err);
    }
    if (rc == PLMM_OK) {
        plmm_mask_apply(lanes, all, 0, m->params.ring_bits, masks, n);
        plmm_pack(payload, lanes, all, m->params.ring_bits);
        plmm_bulk_hash(digest, payload, plmm_round_payload_bytes(&m->params));
    }
    plmm_wipe(masks, room * sizeof *masks);
    plmm_free(masks);
    plmm_wipe(lanes, all * sizeof lanes[0]);
    return rc;
}
