/* What both machines of a one-shot round compute alike: seats, sizes, bindings. */
#include "oneshot.h"

#include "plmm/alloc.h"
#include "plmm/bytes.h"

#include <string.h>

/* ---- sizes ---- */

size_t plmm_oneshot_box(uint32_t set)
{
    return plmm_packed_share_bytes(set) + PLMM_SEAL_OVERHEAD;
}

size_t plmm_oneshot_boxes(const plmm_round_params *p, uint32_t m)
{
    return PLMM_ONESHOT_NONCE + m * plmm_oneshot_box(plmm_round_kahe(p));
}

size_t plmm_oneshot_bytes(const plmm_round_params *p, uint32_t m)
{
    return plmm_oneshot_boxes(p, m) + plmm_round_payload_bytes(p);
}

/* ---- seats ---- */

plmm_status plmm_seats_draw(plmm_seats *s, uint32_t m, uint32_t n, const plmm_hash *seed,
                            plmm_error *err)
{
    uint32_t *order = plmm_alloc((size_t)2 * n, sizeof *order);
    if (order == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory to draw a committee of %u devices", n);
    }
    s->m = m;
    plmm_committee_draw(s->member, m, n, seed, order);
    plmm_free(order);
    return PLMM_OK;
}

uint32_t plmm_seat_of(const plmm_seats *s, uint32_t index)
{
    for (uint32_t i = 0; i < s->m; i++) {
        if (s->member[i] == index) {
            return i;
        }
    }
    return PLMM_NO_SEAT;
}

void plmm_seats_sorted(const plmm_seats *s, uint32_t *at)
{
    for (uint32_t i = 0; i < s->m; i++) { /* m is small */
        uint32_t to = i;
        for (; to > 0 && at[to - 1] > s->member[i]; to--) {
            at[to] = at[to - 1];
        }
        at[to] = s->member[i];
    }
}

/* ---- bindings ---- */

void plmm_oneshot_ad(uint8_t ad[PLMM_ONESHOT_AD], uint32_t type, const plmm_session *s,
                     uint32_t from, uint32_t to)
{
    plmm_store_le32(ad, PLMM_PROTOCOL_VERSION);
    plmm_store_le32(ad + 4, type);
    memcpy(ad + 8, s->id.b, 32);
    plmm_store_le32(ad + 40, from);
    plmm_store_le32(ad + 44, to);
}

void plmm_vote_hash(plmm_hash *out, const plmm_session *s, const uint8_t *set)
{
    plmm_transcript t;
    plmm_transcript_init(&t, "chosen.1");
    plmm_transcript_u64(&t, PLMM_PROTOCOL_VERSION);
    plmm_transcript_bytes(&t, s->id.b, 32);
    plmm_transcript_bytes(&t, set, plmm_set_bytes(s->n));
    plmm_transcript_final(&t, out);
}

void plmm_vote_tag(plmm_tag *out, const plmm_key *pair, const plmm_hash *vote,
                   const plmm_session *s, uint32_t from, uint32_t to)
{
    uint8_t msg[32 + PLMM_ONESHOT_AD];
    plmm_key key;
    memcpy(msg, vote->b, 32);
    plmm_oneshot_ad(msg + 32, PLMM_MSG_VOTE, s, from, to);
    plmm_key_derive(&key, pair, "vote.key", NULL, 0);
    plmm_mac(out, &key, "vote.mac", msg, sizeof msg);
    plmm_wipe(&key, sizeof key);
}
