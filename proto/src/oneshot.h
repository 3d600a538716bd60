/* oneshot.h -- the inside of one-shot rounds, shared by
 *   oneshot.c         sizes, seats, bindings
 *   shelf.c           tables, polynomials, and what keeps them
 *   oneshot_client.c  a device, and a device that is a member of the committee
 *   oneshot_mask.c    a device's data plane
 *   oneshot_agg.c     the aggregator's handling of each message, and how each phase ends
 *   oneshot_unmask.c  its data plane */
#ifndef PLMM_PROTO_ONESHOT_H
#define PLMM_PROTO_ONESHOT_H

#include "plmm/oneshot.h"
#include "plmm/seal.h"
#include "session.h"

#define PLMM_NO_SEAT UINT32_MAX

struct plmm_oneshot_tables {
    uint32_t holders;
    plmm_committee committee;
    uint32_t n, set;
    uint32_t corrupt, delta_ppm, sigma, eta, trust;
    plmm_packed packed;
    void *matrix;
};

/* plmm_kahe_public of a set, for vectors of so many lanes and shorter ones. */
typedef struct plmm_polynomials {
    uint32_t holders;
    uint32_t set, lanes;
    uint64_t *a;
} plmm_polynomials;

/* Of the shelf, or made and put there; made for this holder alone if s is NULL. Let go with _drop. */
PLMM_NODISCARD plmm_status plmm_tables_take(plmm_oneshot_tables **t, plmm_shelf *s,
                                            const plmm_round_params *p, uint32_t n,
                                            uint32_t eligible, plmm_error *err);
void plmm_tables_drop(plmm_oneshot_tables *t); /* NULL is fine */
/* NULL: no shelf, no memory, or masks that need none: made again with each vector, then. */
plmm_polynomials *plmm_polynomials_take(plmm_shelf *s, const plmm_round_params *p);
void plmm_polynomials_drop(plmm_polynomials *q);                /* NULL is fine */
const uint64_t *plmm_polynomials_of(const plmm_polynomials *q); /* NULL of NULL */

/* The places of a committee's members on the roster, in the order of the draw, and back. */
typedef struct plmm_seats {
    uint32_t m;
    uint32_t member[PLMM_COMMITTEE_MAX];
} plmm_seats;

/* PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm_seats_draw(plmm_seats *s, uint32_t m, uint32_t n,
                                           const plmm_hash *seed, plmm_error *err);
/* at[0..m) = their places on the roster, increasing. */
void plmm_seats_sorted(const plmm_seats *s, uint32_t *at);
uint32_t plmm_seat_of(const plmm_seats *s, uint32_t index); /* or PLMM_NO_SEAT */

/* What an invitation names an epoch by. */
void plmm_epoch_mark(plmm_hash *out, const plmm_round_seal *seal, const char *expert);
/* What both sides keep of an epoch begins with its round and seal: PLMM_EPOCH_HEAD octets.
 * PLMM_ERR_FORMAT if in[0..len) is not that and `fixed` octets more at least. */
enum { PLMM_EPOCH_HEAD = 8 + 4 + PLMM_SEAL_MAX };
void plmm_epoch_put(uint8_t *out, const plmm_round_seal *seal);
PLMM_NODISCARD plmm_status plmm_epoch_take(plmm_round_seal *seal, const uint8_t *in, size_t len,
                                           size_t fixed, plmm_error *err);
/* The session of a later round: bound to its own parameters besides the seal of the first. */
void plmm_epoch_session(plmm_session *s, const plmm_hash *params);

/* Octets of a box: a share, sealed. */
size_t plmm_oneshot_box(uint32_t set);

/* Associated data of a box, fixed fields in a fixed order, and of a vote. Places on the roster. */
enum { PLMM_ONESHOT_AD = 4 + 4 + 32 + 4 + 4 };
void plmm_oneshot_ad(uint8_t ad[PLMM_ONESHOT_AD], uint32_t type, const plmm_session *s,
                     uint32_t from, uint32_t to);

/* What a member says of a set of survivors, to another member: H(session, set), then the tag. */
void plmm_vote_hash(plmm_hash *out, const plmm_session *s, const uint8_t *set);
void plmm_vote_tag(plmm_tag *out, const plmm_key *pair, const plmm_hash *vote,
                   const plmm_session *s, uint32_t from, uint32_t to);

#endif
