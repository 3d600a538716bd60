/* Differential privacy of a node's rounds: their noise, and the account with its budget, which is kept
 * in the store's settings. */
#include "node.h"

#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/log.h"
#include "plmm/privacy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUANT_BITS_LEAST = 4 };
static const double CLIP_MIN = 1e-6, CLIP_MAX = 1e6; /* those of vector.clip */

plmm_status node_account(const node *n, plmm_account *a, plmm_error *err)
{
    char *text = NULL;
    uint8_t bytes[PLMM_ACCOUNT_BYTES];
    plmm_account_init(a);
    PLMM_TRY(plmm_node_get(n->store, "privacy.account", &text, err));
    if (text == NULL) {
        return PLMM_OK;
    }
    plmm_status rc = plmm_hex_read(bytes, sizeof bytes, text, "the privacy account", err);
    plmm_free(text);
    return rc == PLMM_OK ? plmm_account_decode(a, bytes, sizeof bytes, err) : rc;
}

static plmm_budget budget_of(const node_config *c)
{
    return (plmm_budget){.epsilon = c->privacy.epsilon > 0 ? c->privacy.epsilon : (double)INFINITY,
                         .delta = c->privacy.delta,
                         .adversary = c->privacy.adversary};
}

/* Noise of the configured multiplier, or what makes so many rounds spend the budget. */
static plmm_status calibrate(const node_config *c, plmm_round_params *p, plmm_error *err)
{
    plmm_budget b = budget_of(c);
    if (c->privacy.multiplier > 0) {
        plmm_encoding e = plmm_round_encoding(p);
        p->noise_units = plmm_encoding_noise_units(&e, c->privacy.multiplier);
        e = plmm_round_encoding(p);
        p->ring_bits = plmm_encoding_ring_bits(&e);
        return PLMM_OK;
    }
    uint64_t leaves = p->noise_tree > 0 ? p->noise_tree : 1;
    uint64_t times = (c->privacy.rounds + leaves - 1) / leaves;
    plmm_status rc = plmm_round_calibrate(p, times, &b, err);
    while (rc == PLMM_ERR_RANGE && p->quant_bits > QUANT_BITS_LEAST) {
        p->quant_bits--; /* a coarser lattice: noise that a table can draw */
        rc = plmm_round_calibrate(p, times, &b, err);
    }
    return rc;
}

/* ---- adaptive clipping: the setting is "CONFIGURED NEXT", so that another vector.clip begins
 * anew ---- */

static const char CLIP[] = "privacy.clip";

static plmm_status clip_of(const node *n, double *clip, plmm_error *err)
{
    char *text = NULL, *end = NULL;
    *clip = n->config.clip;
    PLMM_TRY(plmm_node_get(n->store, CLIP, &text, err));
    if (text == NULL) {
        return PLMM_OK;
    }
    double from = strtod(text, &end), next = strtod(end, &end);
    bool good = *end == '\0' && next >= CLIP_MIN && next <= CLIP_MAX;
    plmm_free(text);
    if (!good) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "the clip in the node's state is damaged");
    }
    *clip = from == n->config.clip ? next : *clip;
    return PLMM_OK;
}

double node_privacy_next_clip(const node *n, const plmm_round_params *p, const uint32_t *sum,
                              uint32_t devices)
{
    if (p->clip_bit == 0) {
        return p->clip;
    }
    double next = plmm_round_next_clip(p, sum, devices, n->config.privacy.adaptive,
                                       n->config.privacy.adaptive_rate);
    return fmin(CLIP_MAX, fmax(CLIP_MIN, next));
}

plmm_status node_privacy_keep_clip(const node *n, double clip, plmm_error *err)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%a %a", n->config.clip, clip);
    plmm_log(PLMM_LOG_INFO, "privacy.clip", "next=%.6g", clip);
    return plmm_node_set(n->store, CLIP, text, err);
}

/* ---- trees: the present one is in the settings. Its leaves are the steps from version to version,
 * each of which happens once, whatever rounds and attempts it took. ---- */

typedef struct tree {
    plmm_seed seed; /* SECRET */
    uint64_t begun; /* the version that its leaf 0 trains */
    bool charged;
    plmm_hash of; /* the parameters it goes with */
} tree;
enum { TREE_BYTES = 32 + 8 + 1 + 32 };

static plmm_status tree_read(const node *n, tree *t, bool *there, plmm_error *err)
{
    char *text = NULL;
    uint8_t b[TREE_BYTES];
    PLMM_TRY(plmm_node_get(n->store, "privacy.tree", &text, err));
    *there = text != NULL;
    if (text == NULL) {
        return PLMM_OK;
    }
    plmm_status rc = plmm_hex_read(b, sizeof b, text, "the tree of noise", err);
    memcpy(t->seed.b, b, 32);
    t->begun = plmm_load_le64(b + 32);
    t->charged = b[40] != 0;
    memcpy(t->of.b, b + 41, 32);
    plmm_wipe(b, sizeof b);
    plmm_wipe(text, strlen(text));
    plmm_free(text);
    return rc;
}

static plmm_status tree_write(const node *n, const tree *t, plmm_error *err)
{
    char text[2 * TREE_BYTES + 1];
    uint8_t b[TREE_BYTES];
    memcpy(b, t->seed.b, 32);
    plmm_store_le64(b + 32, t->begun);
    b[40] = t->charged;
    memcpy(b + 41, t->of.b, 32);
    plmm_hex_write(text, b, sizeof b);
    plmm_status rc = plmm_node_set(n->store, "privacy.tree", text, err);
    plmm_wipe(b, sizeof b);
    plmm_wipe(text, sizeof text);
    return rc;
}

/* What must be the same in all rounds of a tree: the lattice, the noise and the vector. */
static void tree_parameters(plmm_hash *out, const plmm_round_params *p)
{
    plmm_round_params q;
    plmm_round_params_init(&q);
    q.noise = p->noise;
    q.noise_mode = p->noise_mode;
    q.noise_units = p->noise_units;
    q.noise_tree = p->noise_tree;
    q.stream = p->stream;
    q.quant_bits = p->quant_bits;
    q.weight_max = p->weight_max;
    q.clip = p->clip;
    q.cohort = p->cohort;
    q.length = p->length;
    q.method = p->method;
    q.factor = p->factor;
    q.names = p->names;
    plmm_round_params_hash(out, &q);
}

static plmm_status newest_published(void *ctx, const plmm_node_version *v, plmm_error *err)
{
    (void)err;
    *(uint64_t *)ctx = v->version;
    return PLMM_OK;
}

/* The tree that a round from `version` on is of, and whether it is a new one. A version that was
 * published before has used its leaf: whoever put an older one back begins anew. */
static plmm_status tree_of(const node *n, uint64_t version, const plmm_round_params *p, tree *t,
                           bool *fresh, plmm_error *err)
{
    plmm_hash of;
    bool there = false;
    uint64_t newest = 0;
    tree_parameters(&of, p);
    PLMM_TRY(tree_read(n, t, &there, err));
    PLMM_TRY(plmm_node_versions(n->store, 1, newest_published, &newest, err));
    *fresh = !there || version < t->begun || version - t->begun >= p->noise_tree ||
             newest > version || !plmm_equal(&t->of, &of, sizeof of);
    if (*fresh) {
        t->begun = version;
        t->charged = false;
        t->of = of;
        return plmm_seed_system(&t->seed, err);
    }
    return PLMM_OK;
}

/* The new tree in place of the old, and with it nobody has taken part. */
static plmm_status tree_begin(const node *n, const tree *t, plmm_error *err)
{
    PLMM_TRY(plmm_node_begin(n->store, err));
    plmm_status rc = tree_write(n, t, err);
    rc = rc == PLMM_OK ? plmm_node_part_clear(n->store, err) : rc;
    return plmm_node_end(n->store, rc, err);
}

plmm_status node_privacy_tree(const node *n, plmm_seed *seed, plmm_error *err)
{
    tree t = {0};
    bool there = false;
    PLMM_TRY(tree_read(n, &t, &there, err));
    *seed = t.seed;
    plmm_wipe(&t, sizeof t);
    return there ? PLMM_OK : plmm_fail(err, PLMM_ERR_FORMAT, "the tree of noise is gone");
}

/* Sets the leaf, once there is room for its tree in the budget. */
static plmm_status tree_prepare(const node *n, uint64_t version, plmm_round_params *p,
                                const plmm_account *spent, const plmm_account *cost,
                                plmm_error *err)
{
    tree t = {0};
    bool fresh = false;
    plmm_budget b = budget_of(&n->config);
    plmm_status rc = tree_of(n, version, p, &t, &fresh, err);
    rc = rc == PLMM_OK ? plmm_account_fits(spent, cost, t.charged ? 0 : 1, &b, err) : rc;
    rc = rc == PLMM_OK && fresh ? tree_begin(n, &t, err) : rc;
    p->noise_leaf = (uint32_t)(version - t.begun);
    plmm_wipe(&t, sizeof t);
    return rc;
}

/* *counted: this tree was charged before; if `charge`, it is from now on. */
static plmm_status tree_charged(const node *n, bool charge, bool *counted, plmm_error *err)
{
    tree t = {0};
    bool there = false;
    plmm_status rc = tree_read(n, &t, &there, err);
    *counted = t.charged;
    t.charged = true;
    rc = rc == PLMM_OK && charge ? tree_write(n, &t, err) : rc;
    plmm_wipe(&t, sizeof t);
    return rc;
}

plmm_status node_privacy_prepare(const node *n, uint64_t version, plmm_round_params *p,
                                 plmm_error *err)
{
    const node_config *c = &n->config;
    if (c->privacy.noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    plmm_account spent, cost;
    plmm_budget b = budget_of(c);
    uint32_t room = c->cohort - c->n_min;
    p->noise = c->privacy.noise;
    p->noise_mode = c->privacy.mode + 1;
    p->noise_tree = c->privacy.tree;
    bool removable = p->noise_mode == PLMM_NOISE_DISTRIBUTED && p->noise == PLMM_NOISE_SKELLAM &&
                     p->protocol == PLMM_PROTOCOL_SECAGG; /* one-shot has no message for it */
    p->noise_levels = removable ? c->privacy.levels : 0;
    p->clip_bit = c->privacy.adaptive > 0;
    if (p->clip_bit != 0) {
        PLMM_TRY(clip_of(n, &p->clip, err));
    }
    p->noise_levels = p->noise_levels < room ? p->noise_levels : room;
    p->weight_max = 1;
    plmm_encoding e = plmm_round_encoding(p);
    uint32_t bits = plmm_encoding_quant_bits(&e, c->privacy.overhead);
    p->quant_bits = p->quant_bits < bits ? p->quant_bits : bits;
    PLMM_TRY(calibrate(c, p, err));
    PLMM_TRY(node_account(n, &spent, err));
    plmm_round_cost(&cost, p);
    return p->noise_tree > 0 ? tree_prepare(n, version, p, &spent, &cost, err)
                             : plmm_account_fits(&spent, &cost, 1, &b, err);
}

/* *before: this attempt was charged before, or the tree that it is of; if `charge`, it is from now
 * on. */
static plmm_status counted(const node *n, const plmm_round_params *p, bool charge, bool *before,
                           plmm_error *err)
{
    char name[48], *last = NULL;
    if (p->noise_tree > 0) {
        return tree_charged(n, charge, before, err);
    }
    (void)snprintf(name, sizeof name, "%llu.%u", (unsigned long long)p->round, p->attempt);
    PLMM_TRY(plmm_node_get(n->store, "privacy.last", &last, err));
    *before = last != NULL && strcmp(last, name) == 0; /* before a crash */
    plmm_free(last);
    return charge ? plmm_node_set(n->store, "privacy.last", name, err) : PLMM_OK;
}

plmm_status node_privacy_released(const node *n, const plmm_round_params *p, plmm_error *err)
{
    const node_config *c = &n->config;
    if (p->noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    plmm_account spent, cost;
    uint8_t bytes[PLMM_ACCOUNT_BYTES];
    char text[2 * PLMM_ACCOUNT_BYTES + 1], sentence[640], what[128];
    bool before = false;
    if (p->noise_tree > 0) {
        PLMM_TRY(plmm_node_part_note(n->store, p->round, err));
    }
    PLMM_TRY(counted(n, p, false, &before, err));
    if (before) {
        return PLMM_OK;
    }
    PLMM_TRY(node_account(n, &spent, err));
    plmm_round_cost(&cost, p);
    plmm_account_add(&spent, &cost, 1);
    plmm_account_encode(bytes, &spent);
    plmm_hex_write(text, bytes, sizeof bytes);
    PLMM_TRY(plmm_node_set(n->store, "privacy.account", text, err));
    PLMM_TRY(counted(n, p, true, &before, err));
    (void)snprintf(what, sizeof what,
                   "a tree of noise over %u rounds, in one of which a device takes part at most",
                   p->noise_tree);
    plmm_log(PLMM_LOG_INFO, "privacy.spent", "round=%llu attempt=%u account=\"%s\"",
             (unsigned long long)p->round, p->attempt,
             plmm_account_sentence(sentence, sizeof sentence, &spent,
                                   (plmm_adversary)c->privacy.adversary, c->privacy.delta,
                                   p->noise_tree > 0 ? what : NULL));
    return PLMM_OK;
}

/* A tree of noise goes with few other choices. */
static plmm_status check_tree(const node_config *c, plmm_error *err)
{
    const struct {
        bool bad;
        const char *why;
    } rule[] = {
        {c->privacy.noise == PLMM_NOISE_NONE,
         "privacy.noise is none: set it to gaussian or skellam"},
        {c->privacy.mode + 1 != PLMM_NOISE_CENTRAL,
         "privacy.mode must be central: only the aggregator's own noise can be taken out again"},
        {c->protocol + 1 != PLMM_PROTOCOL_SECAGG,
         "round.protocol must be secagg: a one-shot roster stays for an epoch, and a device takes "
         "part once in a tree"},
        {c->rotate != 0, "vector.rotate must be 0: each round would turn the noise differently"},
        {c->privacy.adaptive > 0, "privacy.adaptive must be 0: the noise is of one clip"},
        {c->method == PLMM_METHOD_ALTERNATE,
         "method is alternate, whose vector is another one every round: set it to ffa or naive"},
    };
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        if (rule[i].bad) {
            return plmm_fail(err, PLMM_ERR_CONFIG, "privacy.tree is %u: %s", c->privacy.tree,
                             rule[i].why);
        }
    }
    return PLMM_OK;
}

plmm_status node_privacy_check(const node_config *c, plmm_error *err)
{
    if (c->privacy.tree > 0) {
        PLMM_TRY(check_tree(c, err));
    }
    if (c->privacy.noise == PLMM_NOISE_NONE && c->privacy.adaptive > 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "privacy.adaptive is %g and privacy.noise none: how many updates are "
                         "within the clip would be told without noise; set privacy.noise",
                         c->privacy.adaptive);
    }
    if (c->privacy.noise == PLMM_NOISE_NONE) {
        return PLMM_OK;
    }
    if (c->privacy.epsilon <= 0 && c->privacy.multiplier <= 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "privacy.epsilon and privacy.multiplier are both 0: one of them says how "
                         "much noise there is");
    }
    if (c->privacy.mode + 1 == PLMM_NOISE_CENTRAL &&
        c->privacy.adversary == PLMM_ADVERSARY_SERVER) {
        return plmm_fail(err, PLMM_ERR_CONFIG,
                         "privacy.mode is central: what the aggregator adds promises nothing "
                         "against itself; set privacy.adversary to models");
    }
    return PLMM_OK;
}
