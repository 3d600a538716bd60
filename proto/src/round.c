#include "plmm/round.h"

#include "plmm/privacy.h"

#include <math.h>
#include <string.h>

void plmm_round_params_init(plmm_round_params *p)
{
    memset(p, 0, sizeof *p);
    p->protocol = PLMM_PROTOCOL_SECAGG;
    p->mask = PLMM_MASK_RING;
    p->stream = PLMM_STREAM_CHACHA20;
    p->rate = UINT32_MAX;
    p->groups = 1;
}

/* Variance of all noise that may get into a sum; of parameters that do not go together: 0. */
static uint64_t noise_sum(const plmm_round_params *p)
{
    if (p->noise == PLMM_NOISE_NONE || plmm_round_noise_check(p, NULL) != PLMM_OK) {
        return 0;
    }
    plmm_xnoise x = plmm_round_xnoise(p);
    /* of a tree: one leaf's node is added, and those that it completes are taken out */
    uint64_t nodes = p->noise_tree > 0 ? plmm_tree_depth(p->noise_tree) : 1;
    return x.kind == PLMM_NOISE_NONE ? nodes * p->noise_units
                                     : p->cohort * plmm_xnoise_kept(&x, x.levels);
}

plmm_encoding plmm_round_encoding(const plmm_round_params *p)
{
    plmm_encoding e = {.clip = p->clip,
                       .quant_bits = p->quant_bits,
                       .weight_max = p->weight_max,
                       .n_max = p->cohort,
                       .ring_bits = p->ring_bits,
                       .rotate = p->rotate,
                       .clip_bit = p->clip_bit,
                       .noise = p->noise,
                       .length = p->length,
                       .noise_sum = noise_sum(p)};
    if (p->rotate != 0) { /* public, of all parameters, and known before anything is trained */
        plmm_hash params;
        plmm_transcript t;
        plmm_round_params_hash(&params, p);
        plmm_transcript_init(&t, "rotate.1");
        plmm_transcript_bytes(&t, params.b, sizeof params.b);
        plmm_transcript_final(&t, &e.rotation);
    }
    return e;
}

plmm_graph_params plmm_round_graph(const plmm_round_params *p, uint32_t n, uint32_t eligible)
{
    uint64_t corrupt = ((uint64_t)eligible * p->gamma_ppm + 999999) / 1000000;
    return (plmm_graph_params){.n = n,
                               .gamma_ppm = p->gamma_ppm,
                               .delta_ppm = p->delta_ppm,
                               .sigma = p->sigma,
                               .eta = p->eta,
                               .trust = p->trust,
                               .corrupt = corrupt == 0 ? 1 : (uint32_t)corrupt};
}

uint32_t plmm_round_lanes(const plmm_round_params *p)
{
    return p->length + (p->noise == 0 ? 1 : 0) + (p->clip_bit != 0 ? 1 : 0);
}

uint32_t plmm_round_kahe(const plmm_round_params *p)
{
    return p->mask == PLMM_MASK_KAHE        ? (uint32_t)PLMM_KAHE_P1
           : p->mask == PLMM_MASK_KAHE_LONG ? (uint32_t)PLMM_KAHE_P2
                                            : 0;
}

size_t plmm_round_sum_bytes(const plmm_round_params *p)
{
    const uint32_t set = plmm_round_kahe(p);
    size_t octets = set == 0 ? (size_t)plmm_round_lanes(p) * 4
                             : plmm_kahe_residues(set, plmm_round_lanes(p)) * 8;
    return (octets + 63) / 64 * 64;
}

size_t plmm_round_payload_bytes(const plmm_round_params *p)
{
    const uint32_t set = plmm_round_kahe(p);
    return set == 0 ? plmm_packed_bytes(plmm_round_lanes(p), p->ring_bits)
                    : plmm_kahe_bytes(set, plmm_round_lanes(p));
}

plmm_status plmm_round_payload_check(const plmm_round_params *p, const uint8_t *payload, size_t len,
                                     plmm_error *err)
{
    if (plmm_round_kahe(p) != 0) {
        return plmm_kahe_payload_check(plmm_round_kahe(p), plmm_round_lanes(p), payload, len, err);
    }
    if (len != plmm_round_payload_bytes(p)) {
        return plmm_fail(err, PLMM_ERR_WIRE, "a vector of %zu octets: it has %zu", len,
                         plmm_round_payload_bytes(p));
    }
    unsigned used = (unsigned)((uint64_t)plmm_round_lanes(p) * p->ring_bits % 8);
    if (used != 0 && payload[len - 1] >> used != 0) {
        return plmm_fail(err, PLMM_ERR_WIRE, "a vector whose padding is not zero");
    }
    return PLMM_OK;
}

/* Under Ring-LWE vectors are integers, so the sum must fit a slot: encodings fit ring_bits. */
static plmm_status kahe_check(const plmm_round_params *p, plmm_error *err)
{
    const uint32_t set = plmm_round_kahe(p);
    if (set == 0) {
        return PLMM_OK;
    }
    const plmm_kahe_info *f = plmm_kahe_info_of(set);
    if (p->ring_bits > f->slot_bits) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "ring_bits is %u, mask %u has room for sums of %u bits", p->ring_bits,
                         p->mask, f->slot_bits);
    }
    PLMM_TRY(plmm_kahe_check(set, p->cohort, 0, plmm_round_lanes(p), p->sigma, err));
    if (plmm_round_payload_bytes(p) > PLMM_BULK_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "vector length is %u: under mask %u that is %zu octets, at most %d",
                         p->length, p->mask, plmm_round_payload_bytes(p), PLMM_BULK_MAX);
    }
    return PLMM_OK;
}

static plmm_status counts_check(const plmm_round_params *p, plmm_error *err)
{
    if (p->round < 1 || p->round > INT64_MAX || p->attempt < 1 || p->attempt > PLMM_ATTEMPTS_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "round and attempt count from 1, attempt %u to %d: take the next round",
                         p->attempt, PLMM_ATTEMPTS_MAX);
    }
    if (p->cohort < 3 || p->cohort > PLMM_DEVICES_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cohort is %u, must be 3..%d", p->cohort,
                         PLMM_DEVICES_MAX);
    }
    if (p->n_min < 3 || p->n_min > p->cohort) {
        return plmm_fail(err, PLMM_ERR_RANGE, "n_min is %u, must be 3..cohort (%u)", p->n_min,
                         p->cohort);
    }
    if (p->gamma_ppm >= 500000 || p->delta_ppm >= 1000000 || p->sigma < 1 || p->sigma > 80 ||
        p->eta < 1 || p->eta > 60 || p->trust < PLMM_TRUST_CURIOUS ||
        p->trust > PLMM_TRUST_SEMI_MALICIOUS) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "gamma %g must be below 0.5, delta %g below 1, sigma %u in 1..80, eta %u "
                         "in 1..60, trust %u in 1..2",
                         p->gamma_ppm / 1e6, p->delta_ppm / 1e6, p->sigma, p->eta, p->trust);
    }
    return PLMM_OK;
}

/* How the sum is made: what this build can. */
static plmm_status ways_check(const plmm_round_params *p, plmm_error *err)
{
    bool one = p->protocol == PLMM_PROTOCOL_ONESHOT;
    if ((!one && p->protocol != PLMM_PROTOCOL_SECAGG) || p->mask < PLMM_MASK_RING ||
        p->mask > PLMM_MASK_KAHE_LONG || (one && p->mask == PLMM_MASK_RING)) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "protocol %u with mask %u is not in this build",
                         p->protocol, p->mask);
    }
    if (one && p->noise_levels != 0) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "noise_levels is %u, must be 0: a one-shot round has no message in which "
                         "noise is taken out again",
                         p->noise_levels);
    }
    if (plmm_stream_name(p->stream) == NULL) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "mask stream %u is not in this build",
                         p->stream);
    }
    if (p->rate == 0 || p->groups < 1 || p->groups > PLMM_GROUPS_MAX || p->group >= p->groups) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "rate is %u, must be positive; group is %u of %u, of at most %d", p->rate,
                         p->group, p->groups, PLMM_GROUPS_MAX);
    }
    return PLMM_OK;
}

plmm_status plmm_round_params_check(const plmm_round_params *p, plmm_error *err)
{
    PLMM_TRY(plmm_expert_check(p->expert, err));
    PLMM_TRY(counts_check(p, err));
    PLMM_TRY(ways_check(p, err));
    PLMM_TRY(plmm_round_noise_check(p, err));
    if (p->length < 1 || p->length > PLMM_VECTOR_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "vector length is %u, must be 1..%d", p->length,
                         PLMM_VECTOR_MAX);
    }
    plmm_encoding e = plmm_round_encoding(p);
    PLMM_TRY(plmm_encoding_check(&e, err));
    PLMM_TRY(kahe_check(p, err));
    if (p->steps < 1 || p->batch_tokens < 1 || !isfinite(p->learning_rate) ||
        p->learning_rate <= 0.0) {
        return plmm_fail(err, PLMM_ERR_RANGE,
                         "steps is %u, batch_tokens %u and learning_rate %g: all must be positive",
                         p->steps, p->batch_tokens, p->learning_rate);
    }
    return PLMM_OK;
}

void plmm_round_params_hash(plmm_hash *out, const plmm_round_params *p)
{
    plmm_transcript t;
    plmm_transcript_init(&t, "params.1");
    plmm_transcript_u64(&t, PLMM_PROTOCOL_VERSION);
    plmm_transcript_str(&t, p->expert);
    const uint64_t words[] = {
        p->round,       p->attempt,    p->cohort, p->n_min,      p->gamma_ppm,   p->delta_ppm,
        p->sigma,       p->eta,        p->trust,  p->protocol,   p->mask,        p->stream,
        p->rate,        p->group,      p->groups, p->ring_bits,  p->quant_bits,  p->weight_max,
        p->rotate,      p->clip_bit,   p->noise,  p->noise_mode, p->noise_units, p->noise_levels,
        p->noise_tree,  p->noise_leaf, p->length, p->method,     p->factor,      p->steps,
        p->batch_tokens};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        plmm_transcript_u64(&t, words[i]);
    }
    plmm_transcript_f64(&t, p->clip);
    plmm_transcript_f64(&t, p->learning_rate);
    plmm_transcript_bytes(&t, p->names.b, sizeof p->names.b);
    plmm_transcript_bytes(&t, p->model.b, sizeof p->model.b);
    plmm_transcript_bytes(&t, p->beacon.b, sizeof p->beacon.b);
    plmm_transcript_final(&t, out);
}

const char *plmm_abort_str(uint32_t reason)
{
    static const char *const text[] = {
        "the round completed",
        "too few devices checked in",
        "too few devices advertised keys",
        "too few devices shared their secrets",
        "too few masked vectors arrived",
        "too few devices agreed on who survived",
        "too few shares were revealed to unmask the sum",
        "this device was not selected for the round",
        "this device was too late for a step and is out of the round",
        "this device's policy forbids the round",
        "the aggregator broke the protocol",
        "this device has another version of the expert",
        "this device lost the vector it had masked and sits the round out",
        "a local failure",
        "the aggregator was silent for too long",
        "the registrar did not seal the roster",
    };
    return reason < sizeof text / sizeof text[0] ? text[reason] : "unknown reason";
}

const char *plmm_refusal_str(uint32_t refusal)
{
    static const char *const text[PLMM_REFUSALS] = {
        "none",           "weak parameters", "another model",   "replayed round", "forged seal",
        "foreign roster", "foreign link",    "not eligible",    "cohort",         "degree",
        "not listed",     "foreign entry",   "bad key",         "not certified",  "second seal",
        "no link left",   "bad signature",   "another session", "malformed",      "out of turn",
        "two stories",    "not in set",      "alive and dead",  "too few",        "disagreement",
        "bad vector",     "wrong share",
    };
    return refusal < PLMM_REFUSALS ? text[refusal] : "unknown";
}
