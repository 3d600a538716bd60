/* tests/support/ref_model.h -- a Llama forward pass written from the papers, naive and in double:
 * what the engine's losses and, by central differences, all its gradients are compared with. Shares
 * no code with nn/ but the names of its views. */
#ifndef PLMM_TEST_REF_MODEL_H
#define PLMM_TEST_REF_MODEL_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plmm/lora.h"
#include "plmm/model.h"
#include "plmm/train.h"

enum { REF_ADAPTERS = 3 };

typedef struct ref_model {
    const plmm_model *m;
    plmm_model_config c;
    double *w; /* as the model's block */
    size_t adapters_count;
    const plmm_adapter *adapters[REF_ADAPTERS];
    double *a[REF_ADAPTERS]; /* as the adapters' blocks */
} ref_model;

static double *ref_doubles(const float *x, size_t n)
{
    double *d = malloc((n + 1) * sizeof *d);
    for (size_t i = 0; d != NULL && i < n; i++) {
        d[i] = (double)x[i];
    }
    return d;
}

static void ref_make(ref_model *r, const plmm_model *m, const plmm_stack *stack)
{
    memset(r, 0, sizeof *r);
    r->m = m;
    r->c = *plmm_model_cfg(m);
    r->w = ref_doubles(plmm_model_weights(m), plmm_model_count(m));
    r->adapters_count = stack == NULL ? 0 : stack->count;
    for (size_t i = 0; i < r->adapters_count; i++) {
        r->adapters[i] = stack->adapters[i];
        r->a[i] = ref_doubles(plmm_adapter_weights(stack->adapters[i]),
                              plmm_adapter_count(stack->adapters[i]));
    }
}

static void ref_free(ref_model *r)
{
    free(r->w);
    for (size_t i = 0; i < r->adapters_count; i++) {
        free(r->a[i]);
    }
}

static const double *ref_weight(const ref_model *r, int layer, const char *part)
{
    char name[112];
    if (layer >= 0) {
        (void)snprintf(name, sizeof name, "model.layers.%d.%s", layer, part);
    }
    const plmm_view *v = plmm_model_find(r->m, layer >= 0 ? name : part);
    return v == NULL ? NULL : r->w + v->offset;
}

/* y = (W + sum of s B A) x + bias for target index t of a layer. */
static void ref_target(const ref_model *r, int layer, unsigned t, const double *x, double *y)
{
    char name[80];
    size_t out = 0, in = 0;
    plmm_target_shape(&r->c, t, &out, &in);
    const char *part = t < 4 ? "self_attn" : "mlp";
    (void)snprintf(name, sizeof name, "%s.%s.weight", part, plmm_target_name(t));
    const double *w = ref_weight(r, layer, name);
    (void)snprintf(name, sizeof name, "%s.%s.bias", part, plmm_target_name(t));
    const double *bias = ref_weight(r, layer, name);
    for (size_t i = 0; i < out; i++) {
        y[i] = bias == NULL ? 0 : bias[i];
        for (size_t j = 0; j < in; j++) {
            y[i] += w[i * in + j] * x[j];
        }
    }
    for (size_t k = 0; k < r->adapters_count; k++) {
        const plmm_lora_spec *s = plmm_adapter_spec(r->adapters[k]);
        size_t at_a = plmm_adapter_offset(r->adapters[k], (uint32_t)layer, t, PLMM_FACTOR_A);
        size_t at_b = plmm_adapter_offset(r->adapters[k], (uint32_t)layer, t, PLMM_FACTOR_B);
        for (size_t q = 0; at_a != SIZE_MAX && q < s->rank; q++) {
            double h = 0;
            for (size_t j = 0; j < in; j++) {
                h += r->a[k][at_a + q * in + j] * x[j];
            }
            for (size_t i = 0; i < out; i++) {
                y[i] += (double)s->alpha / s->rank * r->a[k][at_b + i * s->rank + q] * h;
            }
        }
    }
}

static void ref_norm(const ref_model *r, const double *gain, const double *x, double *y)
{
    double s = 0;
    for (size_t j = 0; j < r->c.dim; j++) {
        s += x[j] * x[j];
    }
    for (size_t j = 0; j < r->c.dim; j++) {
        y[j] = x[j] / sqrt(s / r->c.dim + (double)r->c.norm_eps) * gain[j];
    }
}

/* Rotates one head at a position: pairs (j, j + half). */
static void ref_rope(const ref_model *r, double *x, size_t pos)
{
    size_t half = r->c.head_dim / 2;
    for (size_t j = 0; j < half; j++) {
        double angle = (double)pos / pow((double)r->c.rope_theta, 2.0 * (double)j / r->c.head_dim);
        double a = x[j], b = x[j + half];
        x[j] = a * cos(angle) - b * sin(angle);
        x[j + half] = a * sin(angle) + b * cos(angle);
    }
}

/* One query head of one position over the keys and values before it. */
static void ref_attend(const ref_model *r, const double *q, const double *k, const double *v,
                       size_t pos, size_t kv_dim, double *out)
{
    size_t hd = r->c.head_dim;
    double *p = calloc(pos + 1, sizeof *p), sum = 0;
    for (size_t s = 0; s <= pos; s++) {
        for (size_t j = 0; j < hd; j++) {
            p[s] += q[j] * k[s * kv_dim + j] / sqrt((double)hd);
        }
        p[s] = exp(p[s]);
        sum += p[s];
    }
    for (size_t j = 0; j < hd; j++) {
        out[j] = 0;
        for (size_t s = 0; s <= pos; s++) {
            out[j] += p[s] / sum * v[s * kv_dim + j];
        }
    }
    free(p);
}

static void ref_attention(const ref_model *r, int l, size_t n, double *x)
{
    const plmm_model_config *c = &r->c;
    size_t d = c->dim, hd = c->head_dim, qd = c->heads * hd, kd = c->kv_heads * hd;
    double *q = calloc(n * (qd + 2 * kd) + d + qd, sizeof *q);
    double *k = q + n * qd, *v = k + n * kd, *norm = v + n * kd, *mix = norm + d;
    double *add = calloc(d, sizeof *add);
    for (size_t t = 0; t < n; t++) {
        ref_norm(r, ref_weight(r, l, "input_layernorm.weight"), x + t * d, norm);
        ref_target(r, l, 0, norm, q + t * qd);
        ref_target(r, l, 1, norm, k + t * kd);
        ref_target(r, l, 2, norm, v + t * kd);
        for (size_t h = 0; h < c->heads; h++) {
            ref_rope(r, q + t * qd + h * hd, t);
        }
        for (size_t h = 0; h < c->kv_heads; h++) {
            ref_rope(r, k + t * kd + h * hd, t);
        }
    }
    for (size_t t = 0; t < n; t++) {
        for (size_t h = 0; h < c->heads; h++) {
            size_t at = h / (c->heads / c->kv_heads) * hd;
            ref_attend(r, q + t * qd + h * hd, k + at, v + at, t, kd, mix + h * hd);
        }
        ref_target(r, l, 3, mix, add);
        for (size_t j = 0; j < d; j++) {
            x[t * d + j] += add[j];
        }
    }
    free(q);
    free(add);
}

static void ref_feed_forward(const ref_model *r, int l, size_t n, double *x)
{
    size_t d = r->c.dim, h = r->c.hidden;
    double *norm = calloc(2 * d + 2 * h, sizeof *norm), *add = norm + d, *g = add + d, *u = g + h;
    for (size_t t = 0; t < n; t++) {
        ref_norm(r, ref_weight(r, l, "post_attention_layernorm.weight"), x + t * d, norm);
        ref_target(r, l, 4, norm, g);
        ref_target(r, l, 5, norm, u);
        for (size_t j = 0; j < h; j++) {
            g[j] = g[j] / (1 + exp(-g[j])) * u[j];
        }
        ref_target(r, l, 6, g, add);
        for (size_t j = 0; j < d; j++) {
            x[t * d + j] += add[j];
        }
    }
    free(norm);
}

/* Logits [n][vocab] of one sequence. */
static void ref_logits(const ref_model *r, const int32_t *tokens, size_t n, double *out)
{
    size_t d = r->c.dim;
    const double *embed = ref_weight(r, -1, "model.embed_tokens.weight");
    const double *head = r->c.tied ? embed : ref_weight(r, -1, "lm_head.weight");
    double *x = calloc((n + 1) * d, sizeof *x), *norm = x + n * d;
    for (size_t t = 0; t < n; t++) {
        memcpy(x + t * d, embed + (size_t)tokens[t] * d, d * sizeof *x);
    }
    for (int l = 0; l < (int)r->c.layers; l++) {
        ref_attention(r, l, n, x);
        ref_feed_forward(r, l, n, x);
    }
    for (size_t t = 0; t < n; t++) {
        ref_norm(r, ref_weight(r, -1, "model.norm.weight"), x + t * d, norm);
        for (size_t i = 0; i < r->c.vocab; i++) {
            out[t * r->c.vocab + i] = 0;
            for (size_t j = 0; j < d; j++) {
                out[t * r->c.vocab + i] += head[i * d + j] * norm[j];
            }
        }
    }
    free(x);
}

/* Sum of the negative log likelihoods of a batch. */
static double ref_loss(const ref_model *r, const plmm_batch *b)
{
    size_t vocab = r->c.vocab, first = 0;
    double *logits = calloc(b->count * vocab, sizeof *logits), nll = 0;
    for (size_t s = 0; s < b->seqs; s++) {
        ref_logits(r, b->tokens + first, b->lens[s], logits);
        for (size_t t = 0; t < b->lens[s]; t++) {
            int32_t target = b->targets[first + t];
            double sum = 0, *z = logits + t * vocab;
            for (size_t i = 0; i < vocab; i++) {
                sum += exp(z[i]);
            }
            nll += target < 0 ? 0 : log(sum) - z[target];
        }
        first += b->lens[s];
    }
    free(logits);
    return nll;
}

/* Derivative of the loss by *p: central differences. */
static double ref_slope(const ref_model *r, const plmm_batch *b, double *p)
{
    const double h = 1e-5;
    double at = *p;
    *p = at + h;
    double up = ref_loss(r, b);
    *p = at - h;
    double down = ref_loss(r, b);
    *p = at;
    return (up - down) / (2 * h);
}

#endif
