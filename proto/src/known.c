#include "plmm/known.h"

#include "plmm/alloc.h"

#include <string.h>

enum { FIRST = 64, MOST = 1 << 24 };

typedef struct entry {
    plmm_certificate certificate; /* device 0: a free place */
    plmm_key frames;              /* SECRET */
} entry;

struct plmm_known {
    plmm_sign_sk own; /* SECRET */
    plmm_sign_pk registrar;
    char expert[PLMM_EXPERT_MAX + 1];
    entry *v; /* open addressing by device; cap a power of two, at least a third of it free */
    size_t cap, n, most;
};

_Static_assert(sizeof(plmm_certificate) == 8 + 32 + 64, "no padding: it is compared by octets");

plmm_status plmm_known_new(plmm_known **k, const plmm_sign_sk *own, const plmm_sign_pk *registrar,
                           const char *expert, uint32_t most, plmm_error *err)
{
    PLMM_TRY(plmm_expert_check(expert, err));
    if (most < 1 || most > MOST) {
        return plmm_fail(err, PLMM_ERR_RANGE, "a table of %u devices: must be 1..%d", most, MOST);
    }
    plmm_known *t = plmm_alloc(1, sizeof *t);
    if (t == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "no memory for a table of devices");
    }
    t->own = *own;
    t->registrar = *registrar;
    memcpy(t->expert, expert, strlen(expert));
    t->most = most;
    *k = t;
    return PLMM_OK;
}

static void forget(plmm_known *k)
{
    if (k->v != NULL) {
        plmm_wipe(k->v, k->cap * sizeof *k->v);
        plmm_free(k->v);
    }
    k->v = NULL;
    k->cap = k->n = 0;
}

void plmm_known_free(plmm_known *k)
{
    if (k != NULL) {
        forget(k);
        plmm_wipe(k, sizeof *k);
        plmm_free(k);
    }
}

bool plmm_known_of(const plmm_known *k, const plmm_sign_sk *own, const plmm_sign_pk *registrar,
                   const char *expert)
{
    return plmm_equal(&k->own, own, sizeof k->own) &&
           memcmp(&k->registrar, registrar, sizeof k->registrar) == 0 &&
           strcmp(k->expert, expert) == 0;
}

/* Where the device is, or the free place where it belongs. */
static entry *probe(entry *v, size_t cap, uint64_t device)
{
    size_t at = (size_t)(device * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (cap - 1);
    while (v[at].certificate.device != 0 && v[at].certificate.device != device) {
        at = (at + 1) & (cap - 1);
    }
    return &v[at];
}

/* Room for one more; false: no memory. */
static bool grow(plmm_known *k)
{
    if (k->n == k->most) {
        forget(k);
    }
    if (3 * (k->n + 1) <= 2 * k->cap) {
        return true;
    }
    size_t cap = k->cap == 0 ? FIRST : 2 * k->cap;
    entry *v = plmm_alloc(cap, sizeof *v);
    if (v == NULL) {
        return false;
    }
    size_t n = k->n;
    for (size_t i = 0; i < k->cap; i++) {
        if (k->v[i].certificate.device != 0) {
            *probe(v, cap, k->v[i].certificate.device) = k->v[i];
        }
    }
    forget(k);
    k->v = v;
    k->cap = cap;
    k->n = n;
    return true;
}

static void note(plmm_known *k, const plmm_certificate *c, const plmm_key *frames)
{
    entry *at = k->cap > 0 ? probe(k->v, k->cap, c->device) : NULL;
    if (at == NULL || at->certificate.device == 0) {
        if (!grow(k)) {
            return;
        }
        at = probe(k->v, k->cap, c->device);
        k->n++;
    }
    at->certificate = *c;
    at->frames = *frames;
}

plmm_status plmm_known_meet(plmm_known *k, plmm_key *frames, const plmm_certificate *c,
                            plmm_error *err)
{
    const entry *at = k->cap > 0 && c->device != 0 ? probe(k->v, k->cap, c->device) : NULL;
    if (at != NULL && memcmp(&at->certificate, c, sizeof *c) == 0) {
        *frames = at->frames;
        return PLMM_OK;
    }
    PLMM_TRY(plmm_certificate_check(c, &k->registrar, k->expert, err));
    PLMM_TRY(plmm_frame_key(frames, &k->own, &c->key, k->expert, err));
    note(k, c, frames);
    return PLMM_OK;
}
