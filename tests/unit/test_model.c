/* nn: the layout of models and adapters, and what their makers refuse. */
#include <math.h>

#include "plmm/alloc.h"
#include "plmm/lora.h"
#include "plmm/model.h"
#include "test.h"

static const plmm_model_config small = {.dim = 12,
                                        .layers = 2,
                                        .heads = 4,
                                        .kv_heads = 2,
                                        .head_dim = 6,
                                        .hidden = 10,
                                        .vocab = 17,
                                        .context = 9,
                                        .rope_theta = 10000,
                                        .norm_eps = 1e-5f,
                                        .tied = false,
                                        .qkv_bias = true,
                                        .bos = 1,
                                        .eos = 2,
                                        .pad = -1};

static void test_views(void)
{
    plmm_model *m = NULL;
    plmm_error err;
    CHECK(plmm_model_new(&small, &m, &err) == PLMM_OK, "new");
    size_t n = 0, at = 0;
    const plmm_view *v = plmm_model_views(m, &n);
    CHECK(n == 3 + 12 * 2, "%zu views", n);
    for (size_t i = 0; i < n; i++) {
        CHECK(v[i].offset == at, "%s starts at %zu, not %zu", v[i].name, v[i].offset, at);
        at += v[i].rows * v[i].cols;
    }
    CHECK(at == plmm_model_count(m), "views tile the block");
    const plmm_view *k = plmm_model_find(m, "model.layers.1.self_attn.k_proj.weight");
    CHECK(k != NULL && k->rows == 12 && k->cols == 12, "k_proj");
    const plmm_view *o = plmm_model_find(m, "model.layers.0.self_attn.o_proj.weight");
    CHECK(o != NULL && o->rows == 12 && o->cols == 24, "o_proj");
    CHECK(plmm_model_find(m, "lm_head.weight") != NULL, "separate head");
    CHECK(plmm_model_find(m, "model.layers.2.mlp.up_proj.weight") == NULL, "no third layer");
    plmm_model_free(m);
}

static void test_seal(void)
{
    plmm_model *m = NULL;
    plmm_error err;
    CHECK(plmm_model_new(&small, &m, &err) == PLMM_OK, "new");
    plmm_model_init_random(m, 1);
    CHECK(!plmm_model_sealed(m), "not yet sealed");
    CHECK(plmm_model_seal(m, &err) == PLMM_OK && plmm_model_sealed(m), "sealed");
    const plmm_view *v = plmm_model_find(m, "model.layers.1.mlp.down_proj.weight");
    plmm_model_params(m)[v->offset + 3] = INFINITY;
    CHECK(plmm_model_seal(m, &err) == PLMM_ERR_RANGE, "infinite weight");
    CHECK(strstr(err.msg, v->name) != NULL, "names the tensor: %s", err.msg);
    plmm_model_free(m);
}

static void test_config_refusals(void)
{
    static const struct {
        const char *name;
        size_t offset;
        uint32_t value;
    } rows[] = {{"dim", offsetof(plmm_model_config, dim), 0},
                {"layers", offsetof(plmm_model_config, layers), 1025},
                {"kv_heads", offsetof(plmm_model_config, kv_heads), 3},
                {"head_dim", offsetof(plmm_model_config, head_dim), 7},
                {"hidden", offsetof(plmm_model_config, hidden), 1u << 21},
                {"vocab", offsetof(plmm_model_config, vocab), 0},
                {"context", offsetof(plmm_model_config, context), 0},
                {"rope_theta", offsetof(plmm_model_config, rope_theta), 0},
                {"norm_eps", offsetof(plmm_model_config, norm_eps), 0xbf800000u},
                {"bos", offsetof(plmm_model_config, bos), 17}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_model_config c = small;
        memcpy((char *)&c + rows[i].offset, &rows[i].value, sizeof rows[i].value);
        plmm_error err;
        plmm_model *m = NULL;
        CHECK(plmm_model_new(&c, &m, &err) == PLMM_ERR_CONFIG && m == NULL, "%s", rows[i].name);
        CHECK(strstr(err.msg, rows[i].name) != NULL, "%s is named: %s", rows[i].name, err.msg);
    }
}

static void test_adapter(void)
{
    plmm_lora_spec spec = {.targets = PLMM_LORA_Q | PLMM_LORA_DOWN, .rank = 3, .alpha = 6};
    plmm_adapter *a = NULL, *b = NULL;
    plmm_error err;
    CHECK(plmm_adapter_new(&small, &spec, &a, &err) == PLMM_OK, "new");
    size_t n = 0, at = 0, count = 0;
    const plmm_view *v = plmm_adapter_views(a, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(v[i].offset == at, "%s starts at %zu", v[i].name, v[i].offset);
        at += v[i].rows * v[i].cols;
    }
    CHECK(n == 8 && at == plmm_adapter_count(a), "views tile the block");
    CHECK(strcmp(v[5].name, "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight") == 0,
          "got %s", v[5].name);
    CHECK(v[5].rows == 12 && v[5].cols == 3, "[out][rank]");
    CHECK(plmm_adapter_offset(a, 0, 6, PLMM_FACTOR_B) == v[5].offset, "offset");
    CHECK(plmm_adapter_offset(a, 0, 1, PLMM_FACTOR_B) == SIZE_MAX, "k is not adapted");
    plmm_adapter_range(a, PLMM_FACTOR_B, &at, &count);
    CHECK(at == v[4].offset && at + count == plmm_adapter_count(a), "B is a range");
    plmm_adapter_init(a, 7);
    const float *w = plmm_adapter_weights(a);
    double dot = 0, norm = 0, rest = 0;
    for (size_t j = 0; j < v[1].cols; j++) {
        dot += (double)w[v[1].offset + j] * (double)w[v[1].offset + v[1].cols + j];
        norm += (double)w[v[1].offset + j] * (double)w[v[1].offset + j];
    }
    for (size_t j = at; j < at + count; j++) {
        rest += fabs((double)w[j]);
    }
    CHECK(fabs(dot) < 1e-6 && fabs(norm - 1) < 1e-6 && rest == 0, "orthonormal A, zero B");
    CHECK(plmm_adapter_clone(a, &b, &err) == PLMM_OK, "clone");
    CHECK(memcmp(plmm_adapter_weights(b), w, plmm_adapter_count(a) * sizeof *w) == 0, "equal");
    plmm_adapter_free(a);
    plmm_adapter_free(b);
}

static void test_target_names(void)
{
    plmm_error err;
    uint32_t bits = 0;
    for (unsigned t = 0; t < PLMM_TARGETS; t++) {
        const char *name = plmm_target_name(t);
        uint32_t full = 0, brief = 0;
        CHECK(plmm_target_parse(name, strlen(name), &full, &err) == PLMM_OK && full == 1u << t,
              "%s is %u", name, full);
        CHECK(plmm_target_parse(name, strlen(name) - 5, &brief, &err) == PLMM_OK && brief == full,
              "%s in short is %u", name, brief);
    }
    static const char *const bad[] = {"", "q_", "qq", "gat", "q_projx", "proj"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        CHECK(plmm_target_parse(bad[i], strlen(bad[i]), &bits, &err) == PLMM_ERR_CONFIG &&
                  bits == 0 && strstr(err.msg, "must be of q_proj") != NULL,
              "took '%s'", bad[i]);
    }
}

static void test_spec_refusals(void)
{
    static const plmm_lora_spec rows[] = {{0, 4, 1, 0},    {128, 4, 1, 0},    {1, 0, 1, 0},
                                          {1, 257, 1, 0},  {1, 4, 0, 0},      {1, 4, NAN, 0},
                                          {1, 4, 1, 1.0f}, {1, 4, 1, -0.125f}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_adapter *a = NULL;
        plmm_error err;
        CHECK(plmm_adapter_new(&small, &rows[i], &a, &err) == PLMM_ERR_CONFIG && a == NULL,
              "row %zu", i);
    }
}

/* Every allocation of the makers fails once: no leak, no output. */
static void test_out_of_memory(void)
{
    plmm_lora_spec spec = {.targets = PLMM_LORA_ALL, .rank = 2, .alpha = 2};
    for (long k = 0;; k++) {
        plmm_model *m = NULL;
        plmm_adapter *a = NULL;
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_model_new(&small, &m, NULL);
        rc = rc != PLMM_OK ? rc : plmm_model_seal(m, NULL);
        rc = rc != PLMM_OK ? rc : plmm_adapter_new(&small, &spec, &a, NULL);
        plmm_alloc_fail_at(-1);
        CHECK(rc == PLMM_OK || rc == PLMM_ERR_NOMEM, "call %ld gave %d", k, rc);
        plmm_model_free(m);
        plmm_adapter_free(a);
        CHECK(plmm_alloc_live() == 0, "call %ld leaks", k);
        if (rc == PLMM_OK) {
            break;
        }
    }
}

int main(void)
{
    test_views();
    test_seal();
    test_config_refusals();
    test_adapter();
    test_target_names();
    test_spec_refusals();
    test_out_of_memory();
    return plmm_test_end();
}
