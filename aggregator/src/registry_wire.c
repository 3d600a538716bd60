/* What an aggregator asks its registrar beside seals: fixed layouts, numbers little-endian, signed
 * at their end. */
#include "plmm/registry.h"

#include <string.h>

static const char ask_magic[] = "PLD1", answer_magic[] = "PLD2";
static const char ask_label[] = "devask__", answer_label[] = "devices_";

static uint8_t *put(uint8_t *at, const void *p, size_t len)
{
    memcpy(at, p, len);
    return at + len;
}

static uint8_t *put_u64(uint8_t *at, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        *at++ = (uint8_t)(v >> (8 * i));
    }
    return at;
}

static uint8_t *put_u32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++) {
        *at++ = (uint8_t)(v >> (8 * i));
    }
    return at;
}

static const uint8_t *get(const uint8_t *at, void *p, size_t len)
{
    memcpy(p, at, len);
    return at + len;
}

static const uint8_t *get_u64(const uint8_t *at, uint64_t *v)
{
    *v = 0;
    for (int i = 0; i < 8; i++) {
        *v |= (uint64_t)*at++ << (8 * i);
    }
    return at;
}

static const uint8_t *get_u32(const uint8_t *at, uint32_t *v)
{
    *v = 0;
    for (int i = 0; i < 4; i++) {
        *v |= (uint32_t)*at++ << (8 * i);
    }
    return at;
}

/* The name with zeros behind it, whatever the caller left there. */
static uint8_t *put_expert(uint8_t *at, const char *expert)
{
    memset(at, 0, PLMM_EXPERT_MAX + 1);
    memcpy(at, expert, strnlen(expert, PLMM_EXPERT_MAX));
    return at + PLMM_EXPERT_MAX + 1;
}

static bool is_expert(const uint8_t *at, const char *expert)
{
    uint8_t name[PLMM_EXPERT_MAX + 1];
    (void)put_expert(name, expert);
    return memcmp(at, name, sizeof name) == 0;
}

static uint8_t *sign(uint8_t *from, uint8_t *at, const char *label, const plmm_sign_sk *key)
{
    plmm_signature signature;
    plmm_sign(&signature, key, label, from, (size_t)(at - from));
    return put(at, signature.b, sizeof signature.b);
}

static plmm_status check(const uint8_t *in, size_t len, const char *label, const plmm_sign_pk *key,
                         plmm_error *err)
{
    plmm_signature signature;
    size_t signed_len = len - sizeof signature.b;
    memcpy(signature.b, in + signed_len, sizeof signature.b);
    return plmm_verify(&signature, key, label, in, signed_len, err);
}

void plmm_registry_ask_encode(uint8_t out[PLMM_REGISTRY_ASK], const plmm_registry_ask *q,
                              const plmm_sign_sk *aggregator)
{
    uint8_t *at = put(out, ask_magic, 4);
    at = put_expert(at, q->expert);
    at = put_u64(at, q->after);
    at = put(at, q->nonce, sizeof q->nonce);
    at = sign(out, at, ask_label, aggregator);
    PLMM_ASSERT(at == out + PLMM_REGISTRY_ASK);
}

plmm_status plmm_registry_ask_decode(plmm_registry_ask *q, const uint8_t *in, size_t len,
                                     const char *expert, const plmm_sign_pk *aggregator,
                                     plmm_error *err)
{
    plmm_registry_ask got = {0};
    if (len != PLMM_REGISTRY_ASK || memcmp(in, ask_magic, 4) != 0 || !is_expert(in + 4, expert)) {
        return plmm_fail(err, PLMM_ERR_WIRE, "%zu octets are no question about %s's devices", len,
                         expert);
    }
    if (check(in, len, ask_label, aggregator, err) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_AUTH, "a question that %s's aggregator did not sign",
                         expert);
    }
    const uint8_t *at = get(in + 4, got.expert, sizeof got.expert);
    at = get_u64(at, &got.after);
    (void)get(at, got.nonce, sizeof got.nonce);
    *q = got;
    return PLMM_OK;
}

size_t plmm_registry_answer_encode(uint8_t out[PLMM_REGISTRY_ANSWER], const plmm_registry_answer *a,
                                   const plmm_registry_ask *q, const plmm_sign_sk *registrar)
{
    PLMM_ASSERT(a->n <= PLMM_REGISTRY_PAGE);
    uint8_t *at = put(out, answer_magic, 4);
    at = put_expert(at, q->expert);
    at = put(at, q->nonce, sizeof q->nonce);
    at = put_u64(at, a->serial);
    at = put_u64(at, a->round);
    at = put_u64(at, a->link.index);
    at = put(at, a->link.value.b, sizeof a->link.value.b);
    at = put_u32(at, a->population);
    at = put_u32(at, a->n);
    for (uint32_t i = 0; i < a->n; i++) {
        const plmm_node_device *d = &a->v[i];
        uint8_t revoked = d->revoked;
        at = put_u64(at, d->certificate.device);
        at = put(at, d->certificate.key.b, sizeof d->certificate.key.b);
        at = put(at, d->certificate.signature.b, sizeof d->certificate.signature.b);
        at = put(at, &revoked, 1);
        at = put_u64(at, d->serial);
    }
    return (size_t)(sign(out, at, answer_label, registrar) - out);
}

static plmm_status get_device(plmm_node_device *d, const uint8_t *at, plmm_error *err)
{
    uint8_t revoked = 0;
    *d = (plmm_node_device){0};
    at = get_u64(at, &d->certificate.device);
    at = get(at, d->certificate.key.b, sizeof d->certificate.key.b);
    at = get(at, d->certificate.signature.b, sizeof d->certificate.signature.b);
    at = get(at, &revoked, 1);
    (void)get_u64(at, &d->serial);
    d->revoked = revoked != 0;
    if (d->certificate.device == 0 || d->certificate.device > INT64_MAX || revoked > 1) {
        return plmm_fail(err, PLMM_ERR_WIRE, "the registrar names a device %llu that cannot be",
                         (unsigned long long)d->certificate.device);
    }
    return PLMM_OK;
}

plmm_status plmm_registry_answer_decode(plmm_registry_answer *a, const uint8_t *in, size_t len,
                                        const plmm_registry_ask *q, const plmm_sign_pk *registrar,
                                        plmm_error *err)
{
    const size_t names = 4 + PLMM_EXPERT_MAX + 1;
    if (len < PLMM_REGISTRY_HEAD + sizeof(plmm_signature) || memcmp(in, answer_magic, 4) != 0 ||
        !is_expert(in + 4, q->expert) || memcmp(in + names, q->nonce, sizeof q->nonce) != 0) {
        return plmm_fail(err, PLMM_ERR_WIRE,
                         "%zu octets are no answer to a question about %s's devices", len,
                         q->expert);
    }
    if (check(in, len, answer_label, registrar, err) != PLMM_OK) {
        return plmm_fail(err, PLMM_ERR_AUTH, "an answer that %s's registrar did not sign",
                         q->expert);
    }
    const uint8_t *at = in + names + sizeof q->nonce;
    at = get_u64(at, &a->serial);
    at = get_u64(at, &a->round);
    at = get_u64(at, &a->link.index);
    at = get(at, a->link.value.b, sizeof a->link.value.b);
    at = get_u32(at, &a->population);
    at = get_u32(at, &a->n);
    size_t rest = len - PLMM_REGISTRY_HEAD - sizeof(plmm_signature);
    if (a->n > PLMM_REGISTRY_PAGE || rest != (size_t)a->n * PLMM_REGISTRY_ENTRY) {
        return plmm_fail(err, PLMM_ERR_WIRE, "the registrar's list of %u devices has %zu octets",
                         a->n, rest);
    }
    for (uint32_t i = 0; i < a->n; i++) {
        PLMM_TRY(get_device(&a->v[i], at + (size_t)i * PLMM_REGISTRY_ENTRY, err));
    }
    return PLMM_OK;
}
