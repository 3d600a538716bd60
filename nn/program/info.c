/* plmm-model info: what a model, and an adapter for it, are. */
#include "program.h"

#include <math.h>
#include <stdio.h>

#include "plmm/federate.h"
#include "plmm/json.h"
#include "plmm/train.h"

static void put_u32(plmm_json_writer *w, const char *key, uint32_t v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_u64(w, v);
}

static void put_bool(plmm_json_writer *w, const char *key, bool v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_bool(w, v);
}

static void put_id(plmm_json_writer *w, const char *key, int32_t id)
{
    plmm_json_put_key(w, key);
    plmm_json_put_int(w, id);
}

static void put_adapters(plmm_json_writer *w, const loaded *l)
{
    plmm_json_put_key(w, "adapters");
    plmm_json_open_array(w);
    for (size_t i = 0; i < l->stack.count; i++) {
        const plmm_lora_spec *s = plmm_adapter_spec(l->adapters[i]);
        plmm_json_open_object(w);
        put_u32(w, "rank", s->rank);
        plmm_json_put_key(w, "alpha");
        plmm_json_put_float(w, s->alpha);
        plmm_json_put_key(w, "parameters");
        plmm_json_put_u64(w, plmm_adapter_count(l->adapters[i]));
        plmm_json_put_key(w, "targets");
        plmm_json_open_array(w);
        for (unsigned k = 0; k < PLMM_TARGETS; k++) {
            if ((s->targets >> k & 1u) != 0) {
                plmm_json_put_text(w, plmm_target_name(k));
            }
        }
        plmm_json_close_array(w);
        plmm_json_close_object(w);
    }
    plmm_json_close_array(w);
}

static void put_source(plmm_json_writer *w, const plmm_checkpoint_info *i)
{
    const char *const rows[][2] = {
        {"format", i->format}, {"family", i->family}, {"types", i->types}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        plmm_json_put_key(w, rows[k][0]);
        plmm_json_put_text(w, rows[k][1]);
    }
    plmm_json_put_key(w, "bytes");
    plmm_json_put_u64(w, i->bytes);
}

static void put_scaling(plmm_json_writer *w, const plmm_rope_scaling *s)
{
    plmm_json_put_key(w, "rope_scaling");
    if (s->factor == 0) {
        plmm_json_put_null(w);
        return;
    }
    plmm_json_open_object(w);
    plmm_json_put_key(w, "factor");
    plmm_json_put_float(w, s->factor);
    plmm_json_put_key(w, "low");
    plmm_json_put_float(w, s->low);
    plmm_json_put_key(w, "high");
    plmm_json_put_float(w, s->high);
    put_u32(w, "original", s->original);
    plmm_json_close_object(w);
}

static plmm_status print_json(const loaded *l, const plmm_checkpoint_info *i, plmm_error *err)
{
    const plmm_model_config *c = plmm_model_cfg(l->model);
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    put_source(&w, i);
    plmm_json_put_key(&w, "parameters");
    plmm_json_put_u64(&w, plmm_model_count(l->model));
    put_u32(&w, "dim", c->dim);
    put_u32(&w, "layers", c->layers);
    put_u32(&w, "heads", c->heads);
    put_u32(&w, "kv_heads", c->kv_heads);
    put_u32(&w, "head_dim", c->head_dim);
    put_u32(&w, "hidden", c->hidden);
    put_u32(&w, "vocab", c->vocab);
    put_u32(&w, "context", c->context);
    plmm_json_put_key(&w, "rope_theta");
    plmm_json_put_float(&w, c->rope_theta);
    put_scaling(&w, &c->rope_scaling);
    plmm_json_put_key(&w, "norm_eps");
    plmm_json_put_float(&w, c->norm_eps);
    put_bool(&w, "tied", c->tied);
    put_bool(&w, "qkv_bias", c->qkv_bias);
    put_id(&w, "bos", c->bos);
    put_id(&w, "eos", c->eos);
    if (l->tokenizer != NULL) {
        put_bool(&w, "chat_tokens", l->chat.tokens);
        put_u32(&w, "tokenizer_tokens", plmm_tokenizer_vocab(l->tokenizer));
    }
    put_adapters(&w, l);
    plmm_json_close_object(&w);
    return plmm_json_end(&w, err);
}

static void print_tensors(const loaded *l)
{
    size_t n;
    const plmm_view *v = plmm_model_views(l->model, &n);
    const float *x = plmm_model_weights(l->model);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        size_t count = v[i].rows * v[i].cols;
        for (size_t k = 0; k < count; k++) {
            double w = (double)x[v[i].offset + k];
            sum += w * w;
        }
        (void)printf("  %-52s %6zu x %-6zu rms %.4g\n", v[i].name, v[i].rows, v[i].cols,
                     sqrt(sum / (double)count));
    }
}

static void print_shape(const loaded *l)
{
    const plmm_model_config *c = plmm_model_cfg(l->model);
    const plmm_rope_scaling *s = &c->rope_scaling;
    (void)printf("%zu parameters: %u layers of width %u, feed-forward %u\n",
                 plmm_model_count(l->model), c->layers, c->dim, c->hidden);
    (void)printf(
        "attention: %u heads of %u, %u for keys and values%s; rope theta %g, norm eps %g\n",
        c->heads, c->head_dim, c->kv_heads, c->qkv_bias ? ", with biases" : "",
        (double)c->rope_theta, (double)c->norm_eps);
    if (s->factor != 0) {
        (void)printf("rotary positions stretched %g times beyond %u (llama3, %g to %g)\n",
                     (double)s->factor, s->original, (double)s->low, (double)s->high);
    }
    (void)printf("context %u, vocabulary %u, %s head\n", c->context, c->vocab,
                 c->tied ? "tied" : "separate");
    if (l->tokenizer == NULL) {
        (void)printf("begin of text %d, end of text %d, no tokenizer\n", c->bos, c->eos);
    } else {
        (void)printf("begin of text %d, end of text %d, tokenizer of %u, chats with %s\n", c->bos,
                     c->eos, plmm_tokenizer_vocab(l->tokenizer),
                     l->chat.tokens ? "their own tokens" : "plain text");
    }
}

static void print_text(const loaded *l, const plmm_checkpoint_info *from, bool tensors)
{
    (void)printf("%s: %s, %s, %.2f MB of weights\n", from->family, from->format, from->types,
                 (double)from->bytes / 1e6);
    print_shape(l);
    for (size_t i = 0; i < l->stack.count; i++) {
        const plmm_lora_spec *s = plmm_adapter_spec(l->adapters[i]);
        (void)printf("adapter %zu: rank %u, alpha %g, %zu parameters, on", i + 1, s->rank,
                     (double)s->alpha, plmm_adapter_count(l->adapters[i]));
        for (unsigned k = 0; k < PLMM_TARGETS; k++) {
            if ((s->targets >> k & 1u) != 0) {
                (void)printf(" %s", plmm_target_name(k));
            }
        }
        (void)printf("\n");
    }
    if (tensors) {
        print_tensors(l);
    }
}

static void print_methods(void)
{
    size_t n = 0;
    const plmm_method_info *m = plmm_method_table(&n);
    (void)puts("how adapters of many devices become one; d x k a matrix, r the rank\n");
    for (size_t i = 0; i < n; i++) {
        (void)printf("%s: %s\n", m[i].name, m[i].title);
        (void)printf("  exact                  %s\n", m[i].exact);
        (void)printf("  secure aggregation     %s\n", m[i].secagg);
        (void)printf("  differential privacy   %s\n", m[i].dp);
        (void)printf("  mixed ranks            %s\n", m[i].mixed_ranks);
        (void)printf("  numbers up a matrix    %s\n", m[i].bytes_up);
        if (m[i].refusal != NULL) {
            (void)printf("  refused                %s\n", m[i].refusal);
        }
    }
}

static void put_mib(const char *what, size_t bytes)
{
    (void)printf("  %-24s %10.2f MiB\n", what, (double)bytes / 1048576.0);
}

/* The memory of `train` with the same options, allocated before its first step. */
static plmm_status print_training(plmm_cli_args *a, const loaded *l, plmm_error *err)
{
    const plmm_model_config *c = plmm_model_cfg(l->model);
    plmm_lora_spec spec = {.rank = (uint32_t)plmm_cli_int(a, "rank"), .alpha = 1};
    uint32_t length = (uint32_t)plmm_cli_int(a, "length");
    length = length > 0 && length < c->context ? length : c->context;
    plmm_workspace_params p = {.tokens = length < 512 ? 512 : length,
                               .seq_max = length,
                               .use = PLMM_USE_LORA,
                               .recompute = plmm_cli_flag(a, "recompute")};
    plmm_base base;
    PLMM_TRY(targets_of(plmm_cli_text(a, "targets"), &spec.targets, err));
    PLMM_TRY(base_of(plmm_cli_text(a, "base"), &base, err));
    plmm_train_memory m = plmm_train_memory_of(c, base, &spec, &p);
    (void)printf("training an adapter of rank %u on sequences of up to %u tokens, base in %s%s:\n",
                 spec.rank, length, plmm_cli_text(a, "base"),
                 p.recompute ? ", activations computed twice" : "");
    put_mib("base", m.base);
    put_mib("workspace, a thread", m.workspace);
    put_mib("gradients, a thread", m.gradients);
    put_mib("adapter, a device", m.adapter);
    put_mib("its moments", m.moments);
    put_mib("all of one device", m.total);
    return PLMM_OK;
}

plmm_status verb_info(plmm_cli_args *a, plmm_error *err)
{
    loaded l;
    if (plmm_cli_flag(a, "methods")) {
        print_methods();
        return PLMM_OK;
    }
    if (a->n_operands == 0) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "info needs a MODEL, or --methods");
    }
    plmm_checkpoint_info source;
    PLMM_TRY(plmm_checkpoint_describe(a->operands[0], &source, err));
    PLMM_TRY(load_model(a, &l, err));
    plmm_status rc = PLMM_OK;
    if (plmm_cli_flag(a, "train")) {
        rc = print_training(a, &l, err);
    } else if (plmm_cli_flag(a, "json")) {
        rc = print_json(&l, &source, err);
    } else {
        print_text(&l, &source, plmm_cli_flag(a, "tensors"));
    }
    loaded_free(&l);
    return rc;
}
