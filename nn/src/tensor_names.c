/* Names and shapes of a model's tensors, as files know them. */
#include "tensor_names.h"

#include <stdio.h>

#include "nn_internal.h"

typedef enum extent { ONE, DIM, HIDDEN, QUERY, KEY } extent;

static const struct {
    const char *hf, *gguf;
    extent rows, cols;
    bool bias, rotated;
} parts[] = {
    {"input_layernorm.weight", "attn_norm.weight", ONE, DIM, false, false},
    {"self_attn.q_proj.weight", "attn_q.weight", QUERY, DIM, false, true},
    {"self_attn.k_proj.weight", "attn_k.weight", KEY, DIM, false, true},
    {"self_attn.v_proj.weight", "attn_v.weight", KEY, DIM, false, false},
    {"self_attn.q_proj.bias", "attn_q.bias", ONE, QUERY, true, true},
    {"self_attn.k_proj.bias", "attn_k.bias", ONE, KEY, true, true},
    {"self_attn.v_proj.bias", "attn_v.bias", ONE, KEY, true, false},
    {"self_attn.o_proj.weight", "attn_output.weight", DIM, QUERY, false, false},
    {"post_attention_layernorm.weight", "ffn_norm.weight", ONE, DIM, false, false},
    {"mlp.gate_proj.weight", "ffn_gate.weight", HIDDEN, DIM, false, false},
    {"mlp.up_proj.weight", "ffn_up.weight", HIDDEN, DIM, false, false},
    {"mlp.down_proj.weight", "ffn_down.weight", DIM, HIDDEN, false, false},
};
enum { PARTS = sizeof parts / sizeof parts[0], BIASES = 3, FIRST_BIAS = 4 };

static size_t per_layer(const plmm_model_config *c)
{
    return c->qkv_bias ? PARTS : PARTS - BIASES;
}

size_t plmm__named_count(const plmm_model_config *c)
{
    return 2 + per_layer(c) * c->layers + (c->tied ? 0 : 1);
}

static size_t extent_of(const plmm_model_config *c, extent e)
{
    switch (e) {
    case ONE:
        return 1;
    case DIM:
        return c->dim;
    case HIDDEN:
        return c->hidden;
    case QUERY:
        return plmm__q_dim(c);
    case KEY:
        break;
    }
    return plmm__kv_dim(c);
}

static void outer(plmm__named *out, const char *hf, const char *gguf, size_t rows, size_t cols)
{
    *out = (plmm__named){.rows = rows, .cols = cols};
    (void)snprintf(out->hf, sizeof out->hf, "%s", hf);
    (void)snprintf(out->gguf, sizeof out->gguf, "%s", gguf);
}

void plmm__named_at(const plmm_model_config *c, size_t i, plmm__named *out)
{
    size_t n = per_layer(c), inner = n * c->layers;
    PLMM_ASSERT(i < plmm__named_count(c));
    if (i == 0) {
        outer(out, "model.embed_tokens.weight", "token_embd.weight", c->vocab, c->dim);
    } else if (i == inner + 1) {
        outer(out, "model.norm.weight", "output_norm.weight", 1, c->dim);
    } else if (i == inner + 2) {
        outer(out, "lm_head.weight", "output.weight", c->vocab, c->dim);
    } else {
        size_t k = (i - 1) % n, l = (i - 1) / n;
        k += !c->qkv_bias && k >= FIRST_BIAS ? BIASES : 0;
        *out = (plmm__named){.rows = extent_of(c, parts[k].rows),
                             .cols = extent_of(c, parts[k].cols),
                             .rotated = parts[k].rotated};
        (void)snprintf(out->hf, sizeof out->hf, "model.layers.%zu.%s", l, parts[k].hf);
        (void)snprintf(out->gguf, sizeof out->gguf, "blk.%zu.%s", l, parts[k].gguf);
    }
}

uint64_t plmm__named_parameters(const plmm_model_config *c)
{
    uint64_t dim = c->dim, q = plmm__q_dim(c), kv = plmm__kv_dim(c);
    uint64_t layer =
        2 * dim + 2 * dim * q + 2 * dim * kv + 3 * dim * c->hidden + (c->qkv_bias ? q + 2 * kv : 0);
    return c->layers * layer + dim + c->vocab * dim * (c->tied ? 1 : 2);
}

const char *plmm__gguf_architecture(const plmm_model_config *c)
{
    return c->qkv_bias ? "qwen2" : "llama";
}
