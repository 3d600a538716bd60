/* A request to seal, changed as the input says and signed again by the aggregator: the registrar
 * answers with one well-formed frame, and seals nothing whose roster is not to the octet what it
 * was asked. Then the input as a record of the registrar, as a seal, and as a table of channels. */
#include "forge.h"
#include "plmm/channels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N = 4 };

static fleet *world;

static fleet *world_of(void)
{
    if (world == NULL) {
        world = fleet_new(N, 3, 1);
        fleet_start(world);
        fleet_run(world);
        PLMM_ASSERT(world->finished && world->request.p != NULL);
    }
    return world;
}

static plmm_registrar *registrar_of(const fleet *f)
{
    plmm_registrar *r = NULL;
    plmm_registrar_config c = {.expert = "medicine",
                               .key = f->registrar_sk,
                               .aggregator = f->anchor.aggregator,
                               .chain = {{5}},
                               .chain_length = 4};
    PLMM_ASSERT(plmm_registrar_new(&r, &c, NULL) == PLMM_OK);
    return r;
}

static void ask(const fleet *f, plmm_registrar *r, forgery *g)
{
    static plmm_registrar_answer a;
    static plmm_frame frame;
    plmm_seal_answer said;
    plmm_enrolled all = {f->enrolled, f->enrolled_n};
    fleet_bytes b = forge_sign(f, g, &f->agg_sk);
    if (plmm_registrar_seal(r, b.p, b.len, &all, &a, NULL) == PLMM_OK) {
        PLMM_ASSERT(plmm_frame_decode(&frame, a.frame, a.frame_len, NULL) == PLMM_OK);
        PLMM_ASSERT(plmm_frame_verify(&frame, &f->anchor.registrar, NULL) == PLMM_OK);
        PLMM_ASSERT(plmm_seal_answer_decode(&said, &frame, NULL) == PLMM_OK);
        PLMM_ASSERT(a.sealed == (said.refusal == 0));
        if (a.sealed) {
            PLMM_ASSERT(said.seal.n * PLMM_ROSTER_ENTRY == g->f.bulk_len);
            PLMM_ASSERT(plmm_round_seal_check(&said.seal, "medicine", &f->anchor.registrar, NULL) ==
                        PLMM_OK);
        }
    }
    plmm_free(b.p);
}

static void octets(const fleet *f, plmm_registrar *r, const uint8_t *data, size_t size)
{
    plmm_round_seal s;
    plmm_channels *c = NULL;
    (void)plmm_registrar_restore(r, data, size, NULL);
    if (plmm_round_seal_decode(&s, 7, data, size, NULL) == PLMM_OK) {
        uint8_t again[PLMM_SEAL_MAX];
        PLMM_ASSERT(plmm_round_seal_encode(again, &s) == size && memcmp(again, data, size) == 0);
        (void)plmm_link_follow(&f->anchor.link, &s.link, NULL);
    }
    PLMM_ASSERT(plmm_channels_new(&c, 16, NULL) == PLMM_OK);
    if (plmm_channels_decode(c, data, size, NULL) == PLMM_OK) {
        uint8_t *again = plmm_alloc(plmm_channels_bytes(c), 1);
        plmm_channels_encode(c, again);
        PLMM_ASSERT(plmm_channels_bytes(c) == size && memcmp(again, data, size) == 0);
        plmm_free(again);
    }
    plmm_channels_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static forgery g;
    fleet *f = world_of();
    plmm_registrar *r = registrar_of(f);
    forge_open(&g, &f->request);
    for (size_t at = 0; at + 3 <= size && at < 48; at += 3) {
        uint32_t place = plmm_load_le32((uint8_t[4]){data[at], data[at + 1], 0, 0});
        if (place < g.f.bulk_len) {
            g.bulk[place] ^= data[at + 2];
        } else if (place % 4 == 0) {
            g.f.body[place % (g.f.body_len + 1)] ^= data[at + 2];
        } else if (place % 4 == 1) {
            g.f.bulk_len = data[at + 2] % (N + 2) * PLMM_ROSTER_ENTRY;
        } else if (place % 4 == 2) {
            g.f.round += data[at + 2];
        }
        ask(f, r, &g);
    }
    octets(f, r, data, size);
    plmm_registrar_free(r);
    return 0;
}
