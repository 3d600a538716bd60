/* The registrar's hash chain, and the lottery that a link decides. */
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/registrar.h"

#include <string.h>

struct plmm_chain {
    uint32_t length, stride, marks_n;
    plmm_hash last;   /* SECRET: link `length` */
    plmm_hash *marks; /* SECRET: marks[i] = link i * stride */
};

static void before(plmm_hash *out, const plmm_hash *value)
{
    plmm_hash_bytes(out, "link.v1.", value->b, sizeof value->b);
}

plmm_status plmm_chain_new(plmm_chain **c, const plmm_seed *seed, uint32_t length, plmm_error *err)
{
    if (length < 1 || length > PLMM_CHAIN_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a chain of %u links, must have 1..%d", length,
                         PLMM_CHAIN_MAX);
    }
    plmm_chain *n = plmm_alloc(1, sizeof *n);
    uint32_t stride = 1;
    while (stride * stride < length) {
        stride *= 2;
    }
    plmm_hash *marks = plmm_alloc(length / stride + 1, sizeof *marks);
    if (n == NULL || marks == NULL) {
        plmm_free(n);
        plmm_free(marks);
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a chain of %u links", length);
    }
    *n = (plmm_chain){
        .length = length, .stride = stride, .marks_n = length / stride + 1, .marks = marks};
    plmm_kdf(n->last.b, seed->b, "chain.v1", NULL, 0);
    plmm_hash value = n->last;
    for (uint32_t i = length;; i--) {
        if (i % stride == 0) {
            marks[i / stride] = value;
        }
        if (i == 0) {
            break;
        }
        before(&value, &value);
    }
    *c = n;
    return PLMM_OK;
}

void plmm_chain_free(plmm_chain *c)
{
    if (c != NULL) {
        plmm_wipe(c->marks, c->marks_n * sizeof c->marks[0]);
        plmm_free(c->marks);
        plmm_wipe(c, sizeof *c);
        plmm_free(c);
    }
}

uint32_t plmm_chain_length(const plmm_chain *c)
{
    return c->length;
}

void plmm_chain_open(const plmm_chain *c, plmm_link *out, uint32_t index)
{
    PLMM_ASSERT(index <= c->length);
    uint32_t mark = (index + c->stride - 1) / c->stride;
    uint32_t at = mark < c->marks_n ? mark * c->stride : c->length;
    plmm_hash value = mark < c->marks_n ? c->marks[mark] : c->last;
    for (; at > index; at--) {
        before(&value, &value);
    }
    *out = (plmm_link){.index = index, .value = value};
}

void plmm_link_before(plmm_link *out, const plmm_link *l)
{
    PLMM_ASSERT(l->index > 0);
    plmm_link r = {.index = l->index - 1};
    before(&r.value, &l->value);
    *out = r;
}

plmm_status plmm_link_follow(const plmm_link *from, const plmm_link *to, plmm_error *err)
{
    if (to->index <= from->index || to->index > PLMM_CHAIN_MAX) {
        return plmm_fail(err, PLMM_ERR_AUTH,
                         "link %llu of the registrar's chain does not come after link %llu",
                         (unsigned long long)to->index, (unsigned long long)from->index);
    }
    plmm_link l = *to;
    while (l.index > from->index) {
        plmm_link_before(&l, &l);
    }
    if (!plmm_equal(&l.value, &from->value, sizeof l.value)) {
        return plmm_fail(err, PLMM_ERR_AUTH, "link %llu is not of the registrar's chain",
                         (unsigned long long)to->index);
    }
    return PLMM_OK;
}

/* ---- the lottery ---- */

void plmm_lottery_init(plmm_lottery *l, const plmm_link *link, uint32_t rate, uint32_t group,
                       uint32_t groups)
{
    plmm_hash h;
    plmm_hash_bytes(&h, "lottery1", link->value.b, sizeof link->value.b);
    *l = (plmm_lottery){.rate = rate, .group = group, .groups = groups};
    memcpy(l->key, h.b, sizeof l->key);
}

bool plmm_lottery_has(const plmm_lottery *l, uint64_t device)
{
    uint8_t id[8];
    if (l->rate == UINT32_MAX && l->groups == 1) {
        return true;
    }
    plmm_store_le64(id, device);
    uint64_t h = plmm_short_hash(l->key, id, sizeof id);
    uint32_t group = (uint32_t)((h & UINT32_MAX) * l->groups >> 32);
    return (l->rate == UINT32_MAX || (uint32_t)(h >> 32) < l->rate) && group == l->group;
}

uint32_t plmm_lottery_rate(uint32_t population, uint32_t want)
{
    if (want >= population) {
        return UINT32_MAX;
    }
    uint64_t rate = ((uint64_t)want << 32) / population;
    return rate < UINT32_MAX ? (uint32_t)rate : UINT32_MAX - 1;
}
