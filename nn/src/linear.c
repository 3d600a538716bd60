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

static panel forward_bf16(const product *p, size_t k0, size_t kc, size_t n0, size_t width)
{
    p->kernels->from_bf16(p->w->forward + n0 * p->k + k0 * width, p->scratch, kc * width);
    return (panel){p->scratch, width};
}

static panel backward_bf16(const product *p, size_t k0, size_t kc, size_t n0, size_t width)
{
    p->kernels->from_bf16(p->w->backward + n0 * p->k + k0 * width, p->scratch, kc * width);
    return (panel){p->scratch, width};
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
                 .scratch = scratch};
    p.panel = w->panels != NULL ? sealed_panel : w->blocks != NULL ? turned_blocks : forward_bf16;
    run(&p);
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
                 .scratch = scratch};
    p.panel = w->rows != NULL ? plain_rows : w->blocks != NULL ? plain_blocks : backward_bf16;
    run(&p);
}
