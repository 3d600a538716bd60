/* Stacks of adapters, packed for the products of a step. */
#include "engine.h"

#include <string.h>

void *plmm__carve(plmm__arena *a, size_t n, size_t size)
{
    enum { ALIGN = 64 };
    if (a->overflow || (size != 0 && n > (SIZE_MAX / 2 - a->used) / size)) {
        a->overflow = true;
        return NULL;
    }
    size_t at = a->used;
    a->used += (n * size + ALIGN - 1) / ALIGN * ALIGN;
    return a->base == NULL ? NULL : a->base + at;
}

float *plmm__carve_floats(plmm__arena *a, size_t rows, size_t cols)
{
    if (cols != 0 && rows > SIZE_MAX / sizeof(float) / cols) {
        a->overflow = true;
        return NULL;
    }
    return plmm__carve(a, rows * cols, sizeof(float));
}

plmm__group plmm__group_of(const plmm_model_config *c, unsigned g)
{
    static const unsigned first[PLMM__GROUPS] = {0, 3, 4, 6}, count[PLMM__GROUPS] = {3, 1, 2, 1};
    size_t out = 0;
    plmm__group r = {.first = first[g], .count = count[g]};
    plmm_target_shape(c, r.first, &out, &r.in);
    return r;
}

unsigned plmm__target_group(unsigned target)
{
    static const unsigned group[PLMM_TARGETS] = {0, 0, 0, 1, 2, 2, 3};
    return group[target];
}

size_t plmm__target_column(const plmm_model_config *c, unsigned target)
{
    size_t q = plmm__q_dim(c);
    const size_t at[PLMM_TARGETS] = {0, q, q + plmm__kv_dim(c), 0, 0, c->hidden, 0};
    return at[target];
}

/* Floats of one direction over all layers when every target has `rank` columns. */
static size_t side_floats(const plmm_model_config *c, uint32_t rank)
{
    size_t sum = 0;
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        size_t out = 0, in = 0;
        plmm_target_shape(c, t, &out, &in);
        sum += out + in;
    }
    return sum * rank;
}

void plmm__pack_carve(plmm__pack *p, plmm__arena *arena, const plmm_model_config *c, uint32_t rank,
                      bool backward)
{
    p->rank_max = rank;
    p->backward = backward;
    p->mem = plmm__carve_floats(arena, c->layers, side_floats(c, rank) * (backward ? 2 : 1));
}

plmm_status plmm__pack_check(const plmm__pack *p, const plmm_model_config *c,
                             const plmm_stack *stack, plmm_error *err)
{
    size_t n = stack == NULL ? 0 : stack->count, rank = 0;
    if (n > PLMM_STACK_MAX) {
        return plmm_fail(err, PLMM_ERR_RANGE, "cannot compute: %zu adapters in a stack, at most %d",
                         n, PLMM_STACK_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        if (!plmm__same_shape(plmm_adapter_cfg(stack->adapters[i]), c)) {
            return plmm_fail(err, PLMM_ERR_CONFIG,
                             "cannot compute: adapter %zu of the stack was made for a model of "
                             "another shape",
                             i);
        }
        rank += plmm_adapter_spec(stack->adapters[i])->rank;
    }
    if (rank > p->rank_max) {
        return plmm_fail(
            err, PLMM_ERR_RANGE,
            "cannot compute: the stack's ranks sum to %zu, the workspace was made for %u", rank,
            p->rank_max);
    }
    return PLMM_OK;
}

static bool has_target(const plmm_adapter *a, unsigned t)
{
    return (plmm_adapter_spec(a)->targets >> t & 1) != 0;
}

/* Columns of every target and group, and where the last adapter's begin. */
static void assign_columns(plmm__pack *p, const plmm_stack *stack)
{
    memset(p->width, 0, sizeof p->width);
    p->rank = 0;
    size_t n = stack == NULL ? 0 : stack->count;
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        size_t *width = &p->width[plmm__target_group(t)];
        p->col[t] = *width;
        p->trained[t] = SIZE_MAX;
        for (size_t i = 0; i < n; i++) {
            if (has_target(stack->adapters[i], t)) {
                p->trained[t] = i + 1 == n ? *width : SIZE_MAX;
                *width += plmm_adapter_spec(stack->adapters[i])->rank;
            }
        }
        p->cols[t] = *width - p->col[t];
    }
    if (n > 0) {
        p->rank = plmm_adapter_spec(stack->adapters[n - 1])->rank;
    }
}

static void assign_memory(plmm__pack *p, const plmm_model_config *c)
{
    float *at = p->mem;
    for (unsigned g = 0; g < PLMM__GROUPS; g++) {
        size_t n = c->layers * plmm__group_of(c, g).in * p->width[g];
        p->at[g] = at;
        p->a[g] = p->backward ? at + n : NULL;
        at += p->backward ? 2 * n : n;
    }
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        size_t out = 0, in = 0;
        plmm_target_shape(c, t, &out, &in);
        size_t n = c->layers * out * p->cols[t];
        p->bt[t] = at;
        p->bs[t] = p->backward ? at + n : NULL;
        at += p->backward ? 2 * n : n;
    }
}

/* One matrix of one adapter, whose columns begin at `col` of the group and `own` of the target. */
static void fill_matrix(plmm__pack *p, const plmm_model_config *c, const plmm_adapter *a,
                        uint32_t l, unsigned t, size_t col)
{
    size_t out = 0, in = 0, r = plmm_adapter_spec(a)->rank, own = col - p->col[t];
    unsigned g = plmm__target_group(t);
    size_t width = p->width[g], cols = p->cols[t];
    plmm_target_shape(c, t, &out, &in);
    float s = plmm_adapter_scale(a);
    const float *fa = plmm_adapter_weights(a) + plmm_adapter_offset(a, l, t, PLMM_FACTOR_A);
    const float *fb = plmm_adapter_weights(a) + plmm_adapter_offset(a, l, t, PLMM_FACTOR_B);
    float *at = p->at[g] + l * in * width + col;
    float *bt = p->bt[t] + l * out * cols + own * out;
    for (size_t i = 0; i < in; i++) {
        for (size_t j = 0; j < r; j++) {
            at[i * width + j] = s * fa[j * in + i];
        }
    }
    plmm__kernels_best()->transpose(out, r, fb, r, bt, out);
    if (p->backward) {
        memcpy(p->a[g] + (l * width + col) * in, fa, r * in * sizeof *fa);
        float *bs = p->bs[t] + l * out * cols + own;
        for (size_t i = 0; i < out; i++) {
            for (size_t j = 0; j < r; j++) {
                bs[i * cols + j] = s * fb[i * r + j];
            }
        }
    }
}

void plmm__pack_fill(plmm__pack *p, const plmm_model_config *c, const plmm_stack *stack)
{
    assign_columns(p, stack);
    assign_memory(p, c);
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        size_t col = p->col[t];
        for (size_t i = 0; stack != NULL && i < stack->count; i++) {
            if (has_target(stack->adapters[i], t)) {
                for (uint32_t l = 0; l < c->layers; l++) {
                    fill_matrix(p, c, stack->adapters[i], l, t, col);
                }
                col += plmm_adapter_spec(stack->adapters[i])->rank;
            }
        }
    }
}

void plmm__pack_apply(const plmm__pack *p, const plmm_model_config *c, uint32_t layer, unsigned g,
                      size_t rows, const float *x, float *h, float *y, size_t ldy)
{
    const plmm__kernels *k = plmm__kernels_best();
    plmm__group group = plmm__group_of(c, g);
    size_t width = p->width[g];
    if (width == 0) {
        return;
    }
    if (x != NULL) {
        k->gemm(rows, width, group.in, x, group.in, 1, p->at[g] + layer * group.in * width, width,
                h, width, false);
    }
    for (unsigned t = group.first; t < group.first + group.count; t++) {
        size_t out = 0, in = 0, cols = p->cols[t];
        plmm_target_shape(c, t, &out, &in);
        if (cols > 0) {
            k->gemm(rows, out, cols, h + p->col[t], width, 1, p->bt[t] + layer * out * cols, out,
                    y + plmm__target_column(c, t), ldy, true);
        }
    }
}
