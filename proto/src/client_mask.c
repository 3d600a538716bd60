/* The data plane of a device: encode; then mask and pack over Z_{2^b}, or encrypt under a key that is
 * the sum of what the masks would be. */
#include "client_machine.h"
#include "plmm/alloc.h"

#include <string.h>

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

/* payload = lanes mod 2^b, masked and packed. */
static plmm_status mask_ring(const plmm_client_round *m, uint8_t *payload, uint32_t *lanes,
                             plmm_error *err)
{
    const size_t room = (size_t)m->session.k + 1, all = plmm_round_lanes(&m->params);
    size_t n = 0;
    plmm_mask *masks = plmm_alloc(room, sizeof *masks);
    if (masks == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for %zu masks", room);
    }
    plmm_status rc = masks_make(m, masks, &n, err);
    if (rc == PLMM_OK) {
        plmm_lanes_reduce((int32_t *)lanes, all, m->params.ring_bits);
        plmm_mask_apply(lanes, all, 0, m->params.ring_bits, masks, n);
        plmm_pack(payload, lanes, all, m->params.ring_bits);
    }
    plmm_wipe(masks, room * sizeof *masks);
    plmm_free(masks);
    return rc;
}

/* The key: masks of keys from the same secrets that make masks of vectors over Z_{2^b}. */
static void key_make(const plmm_client_round *m, uint64_t *key, uint32_t set)
{
    memset(key, 0, 8 * plmm_kahe_key_residues(set));
    plmm_kahe_key_mask(key, set, m->self_mask.b, &m->session.id, PLMM_MASK_ADD);
    for (uint32_t s = 0; s < m->session.k; s++) {
        const plmm_neighbour *p = &m->near[s];
        if (plmm_set_has(m->going, p->index)) {
            plmm_kahe_key_mask(key, set, p->mask.b, &m->session.id,
                               plmm_pair_sign(m->self, p->index));
        }
    }
}

/* payload = lanes, signed integers, encrypted. The errors come from a seed of their own: the secrets
 * that make the key are shared, and half of them revealed. */
static plmm_status mask_kahe(const plmm_client_round *m, uint8_t *payload, const int32_t *lanes,
                             plmm_error *err)
{
    const uint32_t set = plmm_round_kahe(&m->params);
    const size_t key_n = plmm_kahe_key_residues(set), room = plmm_kahe_scratch_bytes(set);
    uint8_t *scratch = plmm_alloc_unset(room + 8 * key_n, 1);
    if (scratch == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory to encrypt a vector");
    }
    uint64_t *key = (uint64_t *)(void *)(scratch + room);
    plmm_kahe_noise noise;
    plmm_kahe_noise_init(&noise, &m->errors, &m->session.id);
    key_make(m, key, set);
    plmm_kahe_encrypt(payload, set, lanes, plmm_round_lanes(&m->params), key, &noise,
                      plmm_polynomials_of(m->polynomials), scratch);
    plmm_wipe(&noise, sizeof noise);
    plmm_wipe(key, 8 * key_n);
    plmm_free(scratch);
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
    if (m->os != NULL) {
        return plmm_oneshot_mask(m, payload, digest, lanes, delta, length, err);
    }
    int32_t *plain = (int32_t *)lanes; /* of the same size, and the one may be read as the other */
    plmm_encoding e = plmm_round_encoding(&m->params);
    plmm_xnoise noise = plmm_round_xnoise(&m->params);
    plmm_status rc =
        plmm_encode_int(plain, NULL, &e, delta, length, m->weight,
                        noise.kind != PLMM_NOISE_NONE ? &noise : NULL, &m->rounding, err);
    if (rc == PLMM_OK) {
        rc = plmm_round_kahe(&m->params) == 0 ? mask_ring(m, payload, lanes, err)
                                              : mask_kahe(m, payload, plain, err);
    }
    if (rc == PLMM_OK) {
        plmm_bulk_hash(digest, payload, plmm_round_payload_bytes(&m->params));
    }
    plmm_wipe(lanes, plmm_round_lanes(&m->params) * sizeof lanes[0]);
    return rc;
}

plmm_status plmm_client_round_residual(const plmm_client_round *m, float *residual, uint32_t *lanes,
                                       const float *delta, size_t length, plmm_error *err)
{
    if (m->state != PLMM_CLIENT_MASKING || m->params.noise != PLMM_NOISE_NONE) {
        return plmm_fail(err, PLMM_ERR_STATE, "no masking without noise was asked for");
    }
    plmm_encoding e = plmm_round_encoding(&m->params);
    int32_t *plain = (int32_t *)lanes;
    PLMM_TRY(plmm_encode_int(plain, NULL, &e, delta, length, m->weight, NULL, &m->rounding, err));
    plmm_encode_residual(residual, &e, plain, delta, length, m->weight);
    plmm_wipe(lanes, plmm_round_lanes(&m->params) * sizeof lanes[0]);
    return PLMM_OK;
}
