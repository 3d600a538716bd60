/* Every lie an aggregator could tell a device, each caught: the device leaves, and none of its
 * shares leaves it. Research: "Malicious server" of Bonawitz, Bell, Pasquini and the tests of fcp.
 * The lie goes to device 0 (or to some), signed with the aggregator's true key. Claims C1 to C7,
 * C9. */
#include "forge.h"

enum { N = 20 }; /* k = 12, t = 8 */

typedef void (*lie_fn)(fleet *f, forgery *g, uint32_t to);

typedef struct row {
    const char *name;
    uint32_t type; /* of the message that is changed */
    lie_fn lie;
    plmm_abort reason; /* of device 0 */
    plmm_refusal refusal;
    const char *says;
} row;

/* ---- INVITE ---- */

static void params_edit(forgery *g, void (*edit)(plmm_round_params *))
{
    plmm_round_params p;
    CHECK(plmm_params_decode(&p, &g->f, NULL) == PLMM_OK, "params");
    edit(&p);
    g->f.body_len = plmm_params_encode(g->f.body, &p);
}

#define PARAM_LIE(name, change)                                                                    \
    static void name##_edit(plmm_round_params *p)                                                  \
    {                                                                                              \
        change;                                                                                    \
    }                                                                                              \
    static void name(fleet *f, forgery *g, uint32_t to)                                            \
    {                                                                                              \
        (void)f;                                                                                   \
        (void)to;                                                                                  \
        params_edit(g, name##_edit);                                                               \
    }

PARAM_LIE(low_n_min, p->n_min = 3)
PARAM_LIE(low_gamma, p->gamma_ppm = 50000)
PARAM_LIE(low_sigma, p->sigma = 20)
PARAM_LIE(curious, p->trust = PLMM_TRUST_CURIOUS)
PARAM_LIE(other_stream, p->stream = 9)
PARAM_LIE(wrap, p->ring_bits -= 1)
PARAM_LIE(heavy, p->weight_max = 1 << 20; p->quant_bits = 2; p->ring_bits = 32)
PARAM_LIE(loose_clip, p->clip = 1e6)
PARAM_LIE(long_training, p->steps = 1u << 30)
PARAM_LIE(other_length, p->length += 1)
PARAM_LIE(other_names, p->names.b[0] ^= 1)
PARAM_LIE(other_method, p->method = 77)
PARAM_LIE(other_model, p->model.b[0] ^= 1)

/* Larger than anything a device keeps an invitation in. */
static void invite_tail(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len = FORGE_BULK;
}

/* ---- ROSTER: ids | k entries | proof. What needs the registrar's signature is signed with its
 * key: the check must not lean on the one before it. ---- */

static plmm_roster_head head_of(const forgery *g)
{
    plmm_roster_head h = {0};
    CHECK(plmm_roster_head_decode(&h, &g->f, NULL) == PLMM_OK, "head");
    return h;
}

static void head_set(forgery *g, const plmm_roster_head *h)
{
    g->f.body_len = plmm_roster_head_encode(g->f.body, h);
}

static uint8_t *entry(forgery *g, uint32_t slot)
{
    return g->bulk + (size_t)head_of(g).seal.n * 8 + (size_t)slot * PLMM_ROSTER_ENTRY;
}

/* The head changed, and sealed by whom `key` is. */
static void reseal(forgery *g, plmm_roster_head *h, const plmm_sign_sk *key)
{
    plmm_round_seal_sign(&h->seal, "medicine", key);
    head_set(g, h);
}

static void seal_forged(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    plmm_roster_head h = head_of(g);
    reseal(g, &h, &f->agg_sk);
}

static void seal_flipped(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    plmm_roster_head h = head_of(g);
    h.seal.root.b[0] ^= 1;
    head_set(g, &h);
}

/* A true seal, of the attempt before: for other parameters. */
static void seal_of_before(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    plmm_roster_head h = head_of(g);
    plmm_round_params p = *plmm_agg_round_params(f->agg);
    p.beacon.b[0] ^= 1;
    plmm_round_params_hash(&h.seal.params, &p);
    reseal(g, &h, &f->registrar_sk);
}

static void seal_of_group(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    plmm_roster_head h = head_of(g);
    h.seal.group = 1;
    reseal(g, &h, &f->registrar_sk);
}

static void other_ids(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->bulk[(N - 1) * 8] ^= 1;
}

static void link_made_up(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    plmm_roster_head h = head_of(g);
    h.seal.link.value.b[9] ^= 1;
    reseal(g, &h, &f->registrar_sk);
}

static void link_known(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    plmm_roster_head h = head_of(g);
    h.seal.link = f->anchor.link;
    reseal(g, &h, &f->registrar_sk);
}

static void link_far(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    plmm_roster_head h = head_of(g);
    h.seal.link.index = UINT64_MAX;
    reseal(g, &h, &f->registrar_sk);
}

/* The ids as they now are, sealed. */
static void reseal_ids(fleet *f, forgery *g)
{
    plmm_roster_head h = head_of(g);
    plmm_hash_bytes(&h.seal.ids, "ids.v1..", g->bulk, (size_t)N * 8);
    reseal(g, &h, &f->registrar_sk);
}

static void without_me(fleet *f, forgery *g, uint32_t to)
{
    plmm_store_le64(g->bulk + (size_t)to * 8, 1); /* device 0 has the smallest id */
    reseal_ids(f, g);
}

static void unsorted(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    uint8_t id[8];
    memcpy(id, g->bulk + 80, 8);
    memcpy(g->bulk + 80, g->bulk + 88, 8);
    memcpy(g->bulk + 88, id, 8);
    reseal_ids(f, g);
}

static void me_twice(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    memcpy(g->bulk + 8, g->bulk, 8);
    reseal_ids(f, g);
}

static void entry_of_another(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    memcpy(entry(g, 3), entry(g, 4), PLMM_ROSTER_ENTRY);
}

static void swapped_key(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    entry(g, 7)[136] ^= 1; /* a channel key that its owner did not sign */
}

static void proof_flipped(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->bulk[g->f.bulk_len - 1] ^= 1;
}

static void proof_longer(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len += 32;
}

static void proof_shorter(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len -= 32;
}

/* A roster, sealed, in which this device has other keys than it advertised. */
static void other_root(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    plmm_roster_head h = head_of(g);
    h.seal.root.b[5] ^= 1;
    reseal(g, &h, &f->registrar_sk);
}

static void truncated(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len -= 1;
}

static void sized(fleet *f, forgery *g, uint32_t n, uint32_t eligible)
{
    plmm_roster_head h = head_of(g);
    h.seal.n = n;
    h.seal.eligible = eligible;
    reseal(g, &h, &f->registrar_sk);
}

static void oversize(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    sized(f, g, N + 1, N + 1);
}

static void huge(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    sized(f, g, UINT32_MAX, UINT32_MAX);
}

static void one_device(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    sized(f, g, 1, N);
}

static void more_than_eligible(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    sized(f, g, N, N - 1);
}

/* All of gamma of 60 eligible devices may be on the roster: 6 of 20 and not 2. */
static void many_eligible(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    sized(f, g, N, 60);
}

static void degree(forgery *g, uint32_t k, uint32_t t)
{
    plmm_roster_head h = head_of(g);
    h.k = k != 0 ? k : h.k;
    h.t = t != 0 ? t : h.t;
    head_set(g, &h);
}

static void fewer_neighbours(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    degree(g, 4, 0);
}

static void lower_threshold(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    degree(g, 0, 2);
}

/* ---- INBOX, GO ---- */

static void inbox_without_me(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    forge_clear(g->bulk, to);
}

static void inbox_hides_a_box(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    uint32_t set_n = plmm_set_bytes(N);
    forge_clear(g->bulk + set_n, 0);
    uint8_t *box = g->bulk + set_n + 2;
    memmove(box, box + PLMM_BOX, 11 * PLMM_BOX);
    g->f.bulk_len -= PLMM_BOX;
}

static void inbox_short(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len -= 1;
}

static void inbox_few(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    uint32_t set_n = plmm_set_bytes(N);
    memset(g->bulk, 0, set_n);
    plmm_set_put(g->bulk, to);
}

static void other_session(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.session.b[0] ^= 1;
}

static void set_without_me(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    forge_clear(g->bulk, to);
}

static void set_with_unknown(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    plmm_set_put(g->bulk, N + 1);
}

static void set_with_dead(fleet *f, forgery *g, uint32_t to) /* device 13 is gone by then */
{
    (void)f;
    (void)to;
    plmm_set_put(g->bulk, 13);
}

static void set_with_late_dead(fleet *f, forgery *g, uint32_t to) /* 14 shared, and was gone then */
{
    (void)f;
    (void)to;
    plmm_set_put(g->bulk, 14);
}

static void set_tiny(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    memset(g->bulk, 0, plmm_set_bytes(N));
    for (uint32_t i = 0; i < 5; i++) {
        plmm_set_put(g->bulk, (to + i) % N);
    }
}

static void set_wrong_length(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len += 1;
}

/* Enough survivors, but not enough of this device's neighbours. */
static void set_starves_me(fleet *f, forgery *g, uint32_t to)
{
    uint32_t near[12];
    forge_near(f, near, 12, to);
    for (uint32_t i = 0; i < 5; i++) {
        forge_clear(g->bulk, near[i]); /* 7 of 12 are left, t = 8 */
    }
}

/* ---- AGREED ---- */

static void agreed_few(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    memset(g->bulk, 0, 2);
    for (uint32_t i = 0; i < 7; i++) {
        plmm_set_put(g->bulk, i);
    }
    g->f.bulk_len = 2 + 7 * PLMM_TAG_BYTES;
}

static void agreed_forged(fleet *f, forgery *g, uint32_t to)
{
    (void)to;
    fleet_random(f, g->bulk + 2, 12 * PLMM_TAG_BYTES);
}

static void agreed_short(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    g->f.bulk_len -= 3;
}

/* The tags this device itself sent, given back to it. */
static fleet_bytes own_agree;
static void agreed_reflected(fleet *f, forgery *g, uint32_t to)
{
    (void)f;
    (void)to;
    static plmm_frame frame;
    CHECK(plmm_frame_decode(&frame, own_agree.p, own_agree.len, NULL) == PLMM_OK, "own agree");
    memcpy(g->bulk, frame.bulk, frame.bulk_len);
    g->f.bulk_len = frame.bulk_len;
}

static const row rows[] = {
    {"parameters: n_min", PLMM_MSG_INVITE, low_n_min, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "may sum only 3 devices"},
    {"parameters: gamma", PLMM_MSG_INVITE, low_gamma, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "to be corrupt"},
    {"parameters: sigma", PLMM_MSG_INVITE, low_sigma, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "sigma 20"},
    {"parameters: trust", PLMM_MSG_INVITE, curious, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "semi-malicious"},
    {"parameters: stream", PLMM_MSG_INVITE, other_stream, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "stream 9"},
    {"parameters: the sum wraps", PLMM_MSG_INVITE, wrap, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK, ""},
    {"parameters: weight", PLMM_MSG_INVITE, heavy, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK, "weigh"},
    {"parameters: clip", PLMM_MSG_INVITE, loose_clip, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "clips"},
    {"parameters: steps", PLMM_MSG_INVITE, long_training, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "steps"},
    {"parameters: length", PLMM_MSG_INVITE, other_length, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "coordinates"},
    {"parameters: names", PLMM_MSG_INVITE, other_names, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "names or shapes"},
    {"parameters: method", PLMM_MSG_INVITE, other_method, PLMM_ABORT_POLICY, PLMM_REFUSAL_WEAK,
     "method 77"},
    {"a private model", PLMM_MSG_INVITE, other_model, PLMM_ABORT_MODEL, PLMM_REFUSAL_MODEL,
     "another version"},
    {"an invitation with a tail", PLMM_MSG_INVITE, invite_tail, PLMM_ABORT_NOT_SELECTED,
     PLMM_REFUSAL_NONE, ""},

    {"a seal of its own", PLMM_MSG_ROSTER, seal_forged, PLMM_ABORT_LIE, PLMM_REFUSAL_SEAL,
     "not by the registrar"},
    {"a seal changed", PLMM_MSG_ROSTER, seal_flipped, PLMM_ABORT_LIE, PLMM_REFUSAL_SEAL,
     "not by the registrar"},
    {"a seal of before", PLMM_MSG_ROSTER, seal_of_before, PLMM_ABORT_LIE, PLMM_REFUSAL_ROSTER,
     "other parameters"},
    {"a seal of a group", PLMM_MSG_ROSTER, seal_of_group, PLMM_ABORT_LIE, PLMM_REFUSAL_ROSTER,
     "other parameters"},
    {"other devices", PLMM_MSG_ROSTER, other_ids, PLMM_ABORT_LIE, PLMM_REFUSAL_ROSTER,
     "for other devices"},
    {"a link made up", PLMM_MSG_ROSTER, link_made_up, PLMM_ABORT_LIE, PLMM_REFUSAL_LINK,
     "not of the registrar's chain"},
    {"a link known before", PLMM_MSG_ROSTER, link_known, PLMM_ABORT_LIE, PLMM_REFUSAL_LINK,
     "does not come after"},
    {"a link beyond the chain", PLMM_MSG_ROSTER, link_far, PLMM_ABORT_LIE, PLMM_REFUSAL_LINK,
     "does not come after"},
    {"roster without me", PLMM_MSG_ROSTER, without_me, PLMM_ABORT_LIE, PLMM_REFUSAL_NOT_LISTED,
     "not have this device"},
    {"me twice", PLMM_MSG_ROSTER, me_twice, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM, "do not increase"},
    {"roster out of order", PLMM_MSG_ROSTER, unsorted, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "do not increase"},
    {"an entry of another", PLMM_MSG_ROSTER, entry_of_another, PLMM_ABORT_LIE, PLMM_REFUSAL_ENTRY,
     "another device's"},
    {"a key in the middle", PLMM_MSG_ROSTER, swapped_key, PLMM_ABORT_LIE, PLMM_REFUSAL_ENTRY,
     "not of the roster that was"},
    {"a proof changed", PLMM_MSG_ROSTER, proof_flipped, PLMM_ABORT_LIE, PLMM_REFUSAL_ENTRY,
     "not of the roster that was"},
    {"a proof with a tail", PLMM_MSG_ROSTER, proof_longer, PLMM_ABORT_LIE, PLMM_REFUSAL_ENTRY,
     "not of the roster that w"},
    {"a proof cut", PLMM_MSG_ROSTER, proof_shorter, PLMM_ABORT_LIE, PLMM_REFUSAL_ENTRY,
     "not of the roster that was"},
    {"my key changed", PLMM_MSG_ROSTER, other_root, PLMM_ABORT_LIE, PLMM_REFUSAL_ENTRY, ""},
    {"roster cut", PLMM_MSG_ROSTER, truncated, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "roster of 20 devices has"},
    {"roster too large", PLMM_MSG_ROSTER, oversize, PLMM_ABORT_POLICY, PLMM_REFUSAL_COHORT,
     "the roster has 21 devices"},
    {"roster of 2^32 - 1", PLMM_MSG_ROSTER, huge, PLMM_ABORT_POLICY, PLMM_REFUSAL_COHORT,
     "the roster has 4294967295"},
    {"a cohort of one", PLMM_MSG_ROSTER, one_device, PLMM_ABORT_POLICY, PLMM_REFUSAL_COHORT,
     "the roster has 1 devices"},
    {"more than may", PLMM_MSG_ROSTER, more_than_eligible, PLMM_ABORT_POLICY, PLMM_REFUSAL_COHORT,
     "of 19 that may take"},
    {"honest ones left out", PLMM_MSG_ROSTER, many_eligible, PLMM_ABORT_POLICY, PLMM_REFUSAL_DEGREE,
     "computes 16"},
    {"fewer neighbours", PLMM_MSG_ROSTER, fewer_neighbours, PLMM_ABORT_POLICY, PLMM_REFUSAL_DEGREE,
     "announced 4"},
    {"a lower threshold", PLMM_MSG_ROSTER, lower_threshold, PLMM_ABORT_POLICY, PLMM_REFUSAL_DEGREE,
     "threshold 2"},

    {"inbox: I did not share", PLMM_MSG_INBOX, inbox_without_me, PLMM_ABORT_LIE,
     PLMM_REFUSAL_NOT_IN_SET, "not have this"},
    {"inbox hides a box", PLMM_MSG_INBOX, inbox_hides_a_box, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "exactly the boxes"},
    {"inbox cut", PLMM_MSG_INBOX, inbox_short, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "boxes it announces"},
    {"inbox: hardly anybody", PLMM_MSG_INBOX, inbox_few, PLMM_ABORT_LIE, PLMM_REFUSAL_TOO_FEW,
     "only 1 of 20"},
    {"inbox of another session", PLMM_MSG_INBOX, other_session, PLMM_ABORT_LIE,
     PLMM_REFUSAL_SESSION, "another session"},
    {"go without me", PLMM_MSG_GO, set_without_me, PLMM_ABORT_LIE, PLMM_REFUSAL_NOT_IN_SET,
     "does not have this device"},
    {"go with an unknown", PLMM_MSG_GO, set_with_unknown, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "beyond the roster"},
    {"go with the dead", PLMM_MSG_GO, set_with_dead, PLMM_ABORT_LIE, PLMM_REFUSAL_ALIVE_AND_DEAD,
     "was out of the round"},
    {"go: too few", PLMM_MSG_GO, set_tiny, PLMM_ABORT_LIE, PLMM_REFUSAL_TOO_FEW, "only 5 of 20"},
    {"go: a wrong length", PLMM_MSG_GO, set_wrong_length, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "wrong length"},
    {"go: my neighbours are gone", PLMM_MSG_GO, set_starves_me, PLMM_ABORT_LIE,
     PLMM_REFUSAL_TOO_FEW, "neighbours are"},

    {"I am dead", PLMM_MSG_SURVIVORS, set_without_me, PLMM_ABORT_LIE, PLMM_REFUSAL_NOT_IN_SET,
     "does not have this device"},
    {"an unknown id", PLMM_MSG_SURVIVORS, set_with_unknown, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "beyond the roster"},
    {"the dead live", PLMM_MSG_SURVIVORS, set_with_dead, PLMM_ABORT_LIE,
     PLMM_REFUSAL_ALIVE_AND_DEAD, "was out of the round"},
    {"the dead live again", PLMM_MSG_SURVIVORS, set_with_late_dead, PLMM_ABORT_LIE,
     PLMM_REFUSAL_ALIVE_AND_DEAD, "out of the r"},
    {"fewer than n_min", PLMM_MSG_SURVIVORS, set_tiny, PLMM_ABORT_LIE, PLMM_REFUSAL_TOO_FEW,
     "only 5 of 20"},
    {"survivors: length", PLMM_MSG_SURVIVORS, set_wrong_length, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "wrong length"},
    {"too few neighbours", PLMM_MSG_SURVIVORS, set_starves_me, PLMM_ABORT_LIE, PLMM_REFUSAL_TOO_FEW,
     "neighbours are"},
    {"survivors of a session", PLMM_MSG_SURVIVORS, other_session, PLMM_ABORT_LIE,
     PLMM_REFUSAL_SESSION, "another sess"},

    {"too few agree", PLMM_MSG_AGREED, agreed_few, PLMM_ABORT_TOO_FEW_AGREE, PLMM_REFUSAL_DISAGREE,
     "only 7 neighbours"},
    {"forged agreement", PLMM_MSG_AGREED, agreed_forged, PLMM_ABORT_TOO_FEW_AGREE,
     PLMM_REFUSAL_DISAGREE, "only 0 neighbours"},
    {"agreement cut", PLMM_MSG_AGREED, agreed_short, PLMM_ABORT_LIE, PLMM_REFUSAL_FORM,
     "MACs it announces"},
    {"my own MACs", PLMM_MSG_AGREED, agreed_reflected, PLMM_ABORT_TOO_FEW_AGREE,
     PLMM_REFUSAL_DISAGREE, "only 0 neighbours"},
};

typedef struct lie_ctx {
    const row *r;
    uint32_t told;
} lie_ctx;

static bool tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    lie_ctx *c = arg;
    static forgery g;
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
        plmm_frame peek;
        CHECK(plmm_frame_peek(&peek, frame->p, frame->len, NULL) == PLMM_OK, "peek");
        if (from == 0 && peek.type == PLMM_MSG_AGREE && own_agree.p == NULL) {
            own_agree = fleet_copy(frame->p, frame->len);
        }
        return true;
    }
    forge_open(&g, frame);
    if (to == 0 && g.f.type == c->r->type) {
        c->r->lie(f, &g, to);
        plmm_free(frame->p);
        *frame = forge_down(f, &g, to);
        c->told++;
    }
    return true;
}

static fleet *fleet_of_20(uint64_t seed)
{
    fleet *f = fleet_new(N, 3, seed);
    f->cfg.params.n_min = 10;
    f->cfg.roster_min = 10;
    for (uint32_t i = 0; i < N; i++) {
        f->d[i].cfg.policy.n_min = 10;
        f->d[i].cfg.policy.weight_max = 16;
    }
    f->d[13].quits = PLMM_MSG_SHARES;
    f->d[14].quits = PLMM_MSG_CONFIRM;
    return f;
}

static void test_row(const row *r)
{
    fleet *f = fleet_of_20(77);
    lie_ctx c = {.r = r};
    if (r->type == PLMM_MSG_AGREED) {
        f->d[13].quits = f->d[14].quits = 0;
    }
    f->tap = tap;
    f->tap_arg = &c;
    f->until_abort = r->type == PLMM_MSG_INVITE || r->type == PLMM_MSG_ROSTER;
    fleet_start(f);
    fleet_run(f);
    const fleet_device *d = &f->d[0];
    CHECK(c.told > 0, "%s: the lie was told", r->name);
    CHECK(d->aborted == r->reason, "%s: %s: %s", r->name, plmm_abort_str(d->aborted), d->text);
    CHECK(d->refusal == r->refusal, "%s: %s, expected %s: %s", r->name,
          plmm_refusal_str(d->refusal), plmm_refusal_str(r->refusal), d->text);
    CHECK(strstr(d->text, r->says) != NULL, "%s: %s", r->name, d->text);
    CHECK(d->reveal.p == NULL && !d->finished, "%s: no share left the device", r->name);
    fleet_check_sum(f); /* the others go on without it */
    plmm_free(own_agree.p);
    own_agree = (fleet_bytes){0};
    fleet_free(f);
}

/* ---- two stories: each half is told that one device of the other half died, and the MACs are
 * carried to and fro as if nothing were. Whoever reveals shares then gives b of a device away in
 * one half and s in the other; hardly anybody has t neighbours that tell the same. ---- */

typedef struct split_ctx {
    fleet_bytes agree[N]; /* what each device sent */
    uint32_t had;
    bool done;
} split_ctx;

static const uint8_t *tag_for(const fleet_bytes *agree, plmm_frame *frame, const uint32_t *near,
                              uint32_t to)
{
    uint32_t slot = plmm_find(near, 12, to), at = 0;
    CHECK(plmm_frame_decode(frame, agree->p, agree->len, NULL) == PLMM_OK, "agree");
    if (slot == 12 || !plmm_set_has(frame->bulk, slot)) {
        return NULL;
    }
    for (uint32_t s = 0; s < slot; s++) {
        at += plmm_set_has(frame->bulk, s);
    }
    return frame->bulk + 2 + (size_t)at * PLMM_TAG_BYTES;
}

/* AGREED for each device, from what its neighbours sent. */
static void split_deliver(fleet *f, split_ctx *c)
{
    static forgery g;
    static plmm_frame frame;
    uint32_t mine[12], theirs[12];
    for (uint32_t i = 0; i < N; i++) {
        if (c->agree[i].p == NULL) {
            continue;
        }
        forge_open(&g, &c->agree[i]);
        g.f.type = PLMM_MSG_AGREED;
        g.f.sender = PLMM_AGGREGATOR_ID;
        g.f.receiver = f->d[i].cfg.certificate.device;
        memset(g.bulk, 0, 2);
        g.f.bulk_len = 2;
        forge_near(f, mine, 12, i);
        for (uint32_t s = 0; s < 12; s++) {
            forge_near(f, theirs, 12, mine[s]);
            const uint8_t *tag =
                c->agree[mine[s]].p == NULL ? NULL : tag_for(&c->agree[mine[s]], &frame, theirs, i);
            if (tag != NULL) {
                plmm_set_put(g.bulk, s);
                memcpy(g.bulk + g.f.bulk_len, tag, PLMM_TAG_BYTES);
                g.f.bulk_len += PLMM_TAG_BYTES;
            }
        }
        fleet_enqueue(f, FLEET_AGG, i, forge_down(f, &g, i));
    }
}

static bool split_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    split_ctx *c = arg;
    forge_open(&g, frame);
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
        if (g.f.type == PLMM_MSG_AGREE && c->agree[from].p == NULL) {
            c->agree[from] = fleet_copy(frame->p, frame->len);
            if (++c->had == N - 2) { /* all but the two who were told nothing */
                c->done = true;
                split_deliver(f, c);
            }
        }
        return g.f.type != PLMM_MSG_AGREE; /* the honest machine need not see */
    }
    if (g.f.type == PLMM_MSG_SURVIVORS) {
        if (to == 18 || to == 2) {
            return false;
        }
        forge_clear(g.bulk, to < N / 2 ? 18 : 2);
        plmm_free(frame->p);
        *frame = forge_down(f, &g, to);
    }
    return true;
}

static void test_split(void)
{
    split_ctx c = {.had = 0};
    fleet *f = fleet_of_20(78);
    f->d[13].quits = f->d[14].quits = 0;
    f->tap = split_tap;
    f->tap_arg = &c;
    fleet_start(f);
    fleet_run(f);
    CHECK(c.done && !f->finished, "two stories were told, and do not end in a sum");
    uint32_t revealed = 0;
    for (uint32_t i = 0; i < N; i++) {
        revealed += f->d[i].reveal.p != NULL;
        CHECK(i == 2 || i == 18 || f->d[i].reveal.p != NULL ||
                  f->d[i].aborted == PLMM_ABORT_TOO_FEW_AGREE,
              "device %u: %s", i, f->d[i].text);
        plmm_free(c.agree[i].p);
    }
    /* 2t > k + corrupt: not both shares of anybody t times */
    CHECK(revealed < 8, "%u devices revealed shares, t = 8", revealed);
    fleet_free(f);
}

/* ---- a second, different message of each kind that is answered ---- */

typedef struct second_ctx {
    uint32_t type, after;
    bool done;
} second_ctx;

static fleet_bytes first_of[PLMM_MSG_COUNT];

static void second_change(forgery *g)
{
    if (g->f.type == PLMM_MSG_ROSTER) {
        degree(g, 14, 9);
    } else {
        forge_clear(g->bulk, 6);
    }
    if (g->f.type == PLMM_MSG_AGREED) {
        g->f.bulk_len -= PLMM_TAG_BYTES;
    }
}

static bool second_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    second_ctx *c = arg;
    static forgery g;
    if (from != FLEET_AGG) {
        fleet_watch(f, from, frame);
        forge_open(&g, frame);
        if (from == 0 && g.f.type == c->after &&
            !c->done) { /* it has answered: now another story */
            c->done = true;
            forge_open(&g, &first_of[c->type]);
            second_change(&g);
            fleet_enqueue(f, FLEET_AGG, 0, forge_down(f, &g, 0));
        }
        return true;
    }
    forge_open(&g, frame);
    if (to == 0 && first_of[g.f.type].p == NULL) {
        first_of[g.f.type] = fleet_copy(frame->p, frame->len);
    }
    return true;
}

static void test_second(void)
{
    static const second_ctx kinds[] = {
        {PLMM_MSG_ROSTER, PLMM_MSG_SHARES, false},    {PLMM_MSG_INBOX, PLMM_MSG_CONFIRM, false},
        {PLMM_MSG_GO, PLMM_MSG_MASKED, false},        {PLMM_MSG_SURVIVORS, PLMM_MSG_AGREE, false},
        {PLMM_MSG_SURVIVORS, PLMM_MSG_REVEAL, false}, {PLMM_MSG_AGREED, PLMM_MSG_REVEAL, false}};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        fleet *f = fleet_of_20(79);
        f->d[13].quits = f->d[14].quits = 0;
        second_ctx c = kinds[k];
        f->tap = second_tap;
        f->tap_arg = &c;
        fleet_start(f);
        fleet_run(f);
        const fleet_device *d = &f->d[0];
        CHECK(d->refusal == PLMM_REFUSAL_TWO_STORIES, "second %s: %s", plmm_message_str(c.type),
              plmm_refusal_str(d->refusal));
        CHECK(c.done && d->aborted == PLMM_ABORT_LIE && strstr(d->text, "two different") != NULL,
              "second %s after %s: %s", plmm_message_str(c.type), plmm_message_str(c.after),
              d->text);
        for (uint32_t i = 0; i < PLMM_MSG_COUNT; i++) {
            plmm_free(first_of[i].p);
            first_of[i] = (fleet_bytes){0};
        }
        fleet_free(f);
    }
}

/* ---- frames that are no lies but noise: not of the aggregator, of another round, out of turn
 * ---- */

static void feed_bytes(fleet *f, uint32_t to, fleet_bytes b, plmm_status want, plmm_refusal refusal,
                       const char *what)
{
    plmm_status rc = PLMM_OK;
    plmm_client_state before = plmm_client_round_state(f->d[to].m);
    fleet_client_event(
        f, to, (plmm_client_event){.type = PLMM_CLIENT_EV_FRAME, .bytes = b.p, .len = b.len}, &rc);
    CHECK(rc == want && f->d[to].refused == refusal, "%s: %s, %s: %s", what, plmm_status_str(rc),
          plmm_refusal_str(f->d[to].refused), f->text);
    CHECK(plmm_client_round_state(f->d[to].m) == before, "%s: the state is as it was", what);
    plmm_free(b.p);
}

static void feed(fleet *f, uint32_t to, forgery *g, plmm_status want, plmm_refusal refusal,
                 const char *what)
{
    feed_bytes(f, to, forge_down(f, g, to), want, refusal, what);
}

/* Under other keys than the aggregator has with device 0, or for the other way. */
static void feed_unauthentic(fleet *f, forgery *g)
{
    plmm_key own = forge_key(f, 0), other = forge_key(f, 1), none = {{0}};
    plmm_status auth = PLMM_ERR_AUTH;
    plmm_refusal why = PLMM_REFUSAL_SIGNATURE;
    feed_bytes(f, 0, forge_seal(g, &other, PLMM_TO_DEVICE), auth, why, "another device's key");
    feed_bytes(f, 0, forge_seal(g, &none, PLMM_TO_DEVICE), auth, why, "no key");
    feed_bytes(f, 0, forge_seal(g, &own, PLMM_TO_AGGREGATOR), auth, why, "the way up");
    fleet_bytes cut = forge_seal(g, &own, PLMM_TO_DEVICE);
    cut.p[cut.len - g->f.bulk_len - 1] ^= 1;
    feed_bytes(f, 0, cut, auth, why, "a bit of the tag");
    fleet_bytes bulk = forge_seal(g, &own, PLMM_TO_DEVICE);
    bulk.p[bulk.len - 1] ^= 1;
    feed_bytes(f, 0, bulk, PLMM_ERR_WIRE, PLMM_REFUSAL_FORM, "a bit of the bulk");
}

static bool noise_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    bool *done = arg;
    if (from != FLEET_AGG || to != 0 || *done) {
        return true;
    }
    forge_open(&g, frame);
    if (g.f.type != PLMM_MSG_SURVIVORS) {
        return true;
    }
    *done = true;
    forgery h = g;
    feed_unauthentic(f, &h);
    h.f.round -= 1;
    feed(f, 0, &h, PLMM_ERR_STALE, PLMM_REFUSAL_ROUND, "of an earlier round");
    h = g;
    h.f.attempt += 1;
    feed(f, 0, &h, PLMM_ERR_STALE, PLMM_REFUSAL_ROUND, "of another attempt");
    h = g;
    h.f.receiver = 1007;
    feed(f, 0, &h, PLMM_ERR_PEER, PLMM_REFUSAL_SIGNATURE, "for another device");
    h = g;
    memcpy(h.f.expert, "finance", 8);
    feed(f, 0, &h, PLMM_ERR_PEER, PLMM_REFUSAL_SIGNATURE, "of another expert");
    h = g;
    h.f.sender = 1007;
    feed(f, 0, &h, PLMM_ERR_PEER, PLMM_REFUSAL_SIGNATURE, "by a device");
    h = g;
    h.f.type = PLMM_MSG_AGREED;
    feed(f, 0, &h, PLMM_ERR_PEER, PLMM_REFUSAL_TURN, "out of turn");
    h = g;
    h.f.type = PLMM_MSG_MASKED;
    h.f.has_session = false;
    feed(f, 0, &h, PLMM_ERR_PEER, PLMM_REFUSAL_TURN, "a device's message");
    h = g;
    h.f.has_session = false;
    feed(f, 0, &h, PLMM_ERR_WIRE, PLMM_REFUSAL_FORM, "without a session");
    return true;
}

static void test_noise(void)
{
    bool done = false;
    fleet *f = fleet_of_20(80);
    f->tap = noise_tap;
    f->tap_arg = &done;
    fleet_start(f);
    fleet_run(f);
    CHECK(done && f->finished && f->d[0].finished, "noise does not stop a round: %s", f->text);
    fleet_check_sum(f);
    fleet_free(f);
}

/* A result of before, replayed to a device that has checked in: it waits on. (The round goes on,
 * and the true result of a device that is turned away has its nonce.) */
static bool old_result_tap(fleet *f, uint32_t from, uint32_t to, fleet_bytes *frame, void *arg)
{
    static forgery g;
    bool *done = arg;
    (void)frame;
    if (from != FLEET_AGG || to != 0 || *done) {
        return true;
    }
    *done = true; /* the first thing device 0 hears */
    plmm_result r = {.reason = (uint32_t)PLMM_ABORT_NOT_SELECTED, .nonce = {1, 2, 3}};
    memset(&g, 0, sizeof g);
    g.f = (plmm_frame){.type = PLMM_MSG_RESULT,
                       .expert = "medicine",
                       .round = 6,
                       .attempt = 1,
                       .sender = PLMM_AGGREGATOR_ID,
                       .receiver = 1000};
    g.f.body_len = plmm_result_encode(g.f.body, &r);
    feed(f, 0, &g, PLMM_ERR_STALE, PLMM_REFUSAL_ROUND, "a result of another check-in");
    return true;
}

static void test_old_result(void)
{
    bool done = false;
    fleet *f = fleet_of_20(82);
    f->tap = old_result_tap;
    f->tap_arg = &done;
    fleet_start(f);
    fleet_run(f);
    CHECK(done && f->finished && f->d[0].finished, "it is in the round: %s", f->d[0].text);
    fleet_free(f);
    f = fleet_of_20(83);
    f->cfg.params.cohort = 16;
    f->cfg.checkins_max = 20;
    fleet_start(f);
    fleet_run(f);
    uint32_t away = 0;
    for (uint32_t i = 0; i < N; i++) {
        away += f->d[i].aborted == PLMM_ABORT_NOT_SELECTED;
    }
    CHECK(away >= 2, "who is not invited hears so: %u", away);
    fleet_free(f);
}

/* A round this device was in before, or an older one, is not entered again (C6). */
static void test_replayed_round(void)
{
    static const struct {
        uint64_t round;
        uint32_t attempt;
    } last[] = {{7, 1}, {7, 2}, {8, 1}};
    for (size_t i = 0; i < COUNT(last); i++) {
        fleet *f = fleet_of_20(81);
        f->d[0].cfg.last_round = last[i].round;
        f->d[0].cfg.last_attempt = last[i].attempt;
        fleet_start(f);
        fleet_run(f);
        CHECK(!f->d[0].finished && f->d[0].reveal.p == NULL && f->d[0].masked.p == NULL,
              "row %zu: it sat the round out", i);
        CHECK(f->finished, "row %zu: the others did not: %s", i, f->text);
        fleet_free(f);
    }
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (argc < 2 || strcmp(argv[1], rows[i].name) == 0) {
            test_row(&rows[i]);
        }
    }
    test_split();
    test_second();
    test_noise();
    test_replayed_round();
    test_old_result();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
