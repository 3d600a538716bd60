/* Products with the base's matrices, whatever they are stored as. A product runs over blocks of rows
 * and of the inner dimension; the panel of 64 columns that a block needs either lies ready (f32,
 * sealed) or is made in scratch memory that stays in the cache. Every element sums along the inner
 * dimension in order, so blocks change nothing. */
#include "nn_internal.h"
#include "quant.h"

typedef struct product product;

/* Floats of rows k0..k0+kc of columns n0..n0+width of the right factor. */
typedef struct panel {
    const float *b;
    size_t ld;
} panel;

typedef panel panel_fn(const product *p, size_t k0, size_t kc, size_t n0, size_t width);

struct product {
    const plmm__kernels *kernels;
    const plmm__matrix *w;
    panel_fn *panel;
    size_t m, n, k; /* c[m][n] (+)= a[m][k] b[k][n] */
    const float *a;
    float *c;
    size_t ldc;
    bool accumulate, ready; /* ready: panels are read in place */
    const uint16_t *halves; /* bf16: the panels of this direction */
    float *scratch;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- panels ---- */

static panel sealed_panel(const product *p, size_t k0, size_t kc, size_t n0, size_t width)
{
    (void)kc;
    return (panel){p->w->panels + n0 * p->k + k0 * width, width};
}

static panel plain_rows(const product *p, size_t k0, size_t kc, size_t n0, size_t width)
{
    (void)kc;
    (void)width;
    return (panel){p->w->rows + k0 * p->n + n0, p->n};
}

static void unpack(const product *p, size_t row, size_t col, size_t n, float *out)
{
    const plmm__matrix *w = p->w;
    const uint8_t *x = w->blocks + row * w->row_bytes;
    if (w->quant == PLMM__Q8_0) {
        p->kernels->from_q8(x + col / PLMM__QUANT_BLOCK * PLMM__Q8_BYTES, out, n);
    } else {
        p->kernels->from_q4(x + col / PLMM__QUANT_BLOCK * PLMM__Q4_BYTES, out, n);
    }
}

/* Outputs n0.. are rows of the blocks: unpacked, then turned. */
static panel turned_blocks(const product *p, size_t k0, size_t kc, size_t n0, size_t width)
{
    float *rows = p->scratch + (size_t)PLMM__BLOCK_K * PLMM__PANEL;
    for (size_t i = 0; i < width; i++) {
        unpack(p, n0 + i, k0, kc, rows + i * PLMM__BLOCK_K);
    }
    p->kernels->transpose(width, kc, rows, PLMM__BLOCK_K, p->scratch, PLMM__PANEL);
    return (panel){p->scratch, PLMM__PANEL};
}

static panel plain_blocks(const product *p, size_t k0, size_t kc, size_t n0, size_t width)
{
    for (size_t i = 0; i < kc; i++) {
        unpack(p, k0 + i, n0, width, p->scratch + i * PLMM__PANEL);
    }
    return (panel){p->scratch, PLMM__PANEL};
}

static const uint16_t *half_panel(const uint16_t *panels, size_t k, size_t n0, size_t k0)
{
    return panels + n0 * (k + k % 2) + k0 * PLMM__PANEL;
}

static panel plain_halves(const product *p, size_t k0, size_t kc, size_t n0, size_t width)
{
    (void)width;
    p->kernels->from_bf16(half_panel(p->halves, p->k, n0, k0), p->scratch, kc * PLMM__PANEL);
    return (panel){p->scratch, PLMM__PANEL};
}

/* ---- blocks ---- */

typedef struct block {
    size_t m0, rows, n0, width, k0, kc;
} block;

/* Where the next block's part of the right factor lies, to be fetched meanwhile. */
static const float *next_panel(const product *p, const block *x, panel now, bool along_k)
{
    if (!p->ready) {
        return now.b;
    }
    block y = *x;
    if (along_k && x->k0 + x->kc < p->k) {
        y.k0 += x->kc;
    } else if (x->n0 + x->width < p->n) {
        y.n0 += x->width;
        y.k0 = along_k ? 0 : x->k0;
    } else if (!along_k && x->k0 + x->kc < p->k) {
        y.n0 = 0;
        y.k0 += x->kc;
    }
    y.width = least(PLMM__PANEL, p->n - y.n0);
    /* the kernel reads as many rows as it has now */
    return y.width == x->width && y.k0 + x->kc <= p->k ? p->panel(p, y.k0, x->kc, y.n0, y.width).b
                                                       : now.b;
}

static void run_block(const product *p, block x, bool along_k)
{
    x.kc = least(PLMM__BLOCK_K, p->k - x.k0);
    x.width = least(PLMM__PANEL, p->n - x.n0);
    panel b = p->panel(p, x.k0, x.kc, x.n0, x.width);
    p->kernels->gemm_panel(x.rows, x.width, x.kc, p->a + x.m0 * p->k + x.k0, p->k, b.b, b.ld,
                           next_panel(p, &x, b, along_k), p->c + x.m0 * p->ldc + x.n0, p->ldc,
                           p->accumulate || x.k0 > 0);
}

/* The smaller of the two, c or a, is what is gone over again for each panel. */
static void run(const product *p)
{
    enum { FEW = 128, MANY = 512 }; /* rows: a panel that must be made should serve many */
    size_t rows = p->ready ? FEW : MANY;
    for (size_t m = 0; m < p->m; m += rows) {
        block x = {.m0 = m, .rows = least(rows, p->m - m)};
        if (p->n >= p->k) {
            for (x.n0 = 0; x.n0 < p->n; x.n0 += PLMM__PANEL) {
                for (x.k0 = 0; x.k0 < p->k; x.k0 += PLMM__BLOCK_K) {
                    run_block(p, x, true);
                }
            }
        } else {
            for (x.k0 = 0; x.k0 < p->k; x.k0 += PLMM__BLOCK_K) {
                for (x.n0 = 0; x.n0 < p->n; x.n0 += PLMM__PANEL) {
                    run_block(p, x, false);
                }
            }
        }
    }
}

/* ---- halves ---- */

/* Inner terms of each of the fewest equal blocks, a multiple of 32. */
static size_t half_depth(size_t k)
{
    size_t blocks = (k + PLMM__HALF_K - 1) / PLMM__HALF_K;
    return ((k + blocks - 1) / blocks + 31) / 32 * 32;
}

static void run_halves(const product *p)
{
    const plmm__half *h = p->w->half;
    uint32_t *packed = (uint32_t *)(void *)p->scratch;
    float factors[PLMM__HALF_ROWS];
    size_t depth = half_depth(p->k);
    for (size_t m = 0; m < p->m; m += PLMM__HALF_ROWS) {
        size_t rows = least(PLMM__HALF_ROWS, p->m - m);
        for (size_t k = 0; k < p->k; k += depth) {
            size_t kc = least(depth, p->k - k);
            h->pack(rows, kc, p->a + m * p->k + k, p->k, packed, factors);
            for (size_t n = 0; n < p->n; n += PLMM__PANEL) {
                const uint16_t *b = half_panel(p->halves, p->k, n, k);
                bool last = n + PLMM__PANEL >= p->n;
                const uint16_t *next = last ? b : half_panel(p->halves, p->k, n + PLMM__PANEL, k);
                h->multiply(rows, least(PLMM__PANEL, p->n - n), kc, packed, factors,
                            p->w->half_scale, b, next, p->c + m * p->ldc + n, p->ldc,
                            p->accumulate || k > 0);
            }
        }
    }
}

_Static_assert((size_t)PLMM__HALF_ROWS *PLMM__HALF_STRIDE <= PLMM__SCRATCH,
               "packed rows fit into the scratch memory");
_Static_assert(PLMM__HALF_K % 32 == 0 && PLMM__HALF_K + 16 <= PLMM__HALF_STRIDE,
               "whole registers are written");

void plmm__linear(const plmm__matrix *w, size_t rows, const float *x, float *y, size_t ldy,
                  bool accumulate, float *scratch)
{
    product p = {.kernels = plmm__kernels_best(),
                 .w = w,
                 .m = rows,
                 .n = w->out,
                 .k = w->in,
                 .a = x,
                 .c = y,
                 .ldc = ldy,
                 .accumulate = accumulate,
                 .ready = w->panels != NULL,
                 .halves = w->forward,
                 .scratch = scratch};
    p.panel = w->panels != NULL ? sealed_panel : w->blocks != NULL ? turned_blocks : plain_halves;
    if (w->half != NULL) {
        run_halves(&p);
    } else {
        run(&p);
    }
}

void plmm__linear_back(const plmm__matrix *w, size_t rows, const float *dy, float *dx,
                       float *scratch)
{
    product p = {.kernels = plmm__kernels_best(),
                 .w = w,
                 .m = rows,
                 .n = w->in,
                 .k = w->out,
                 .a = dy,
                 .c = dx,
                 .ldc = w->in,
                 .ready = w->rows != NULL,
                 .halves = w->backward,
                 .scratch = scratch};
    p.panel = w->rows != NULL ? plain_rows : w->blocks != NULL ? plain_blocks : plain_halves;
    if (w->half != NULL) {
        run_halves(&p);
    } else {
        run(&p);
    }
}
