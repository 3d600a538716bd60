/* Blocks of GGUF tensors to float32, as ggml-quants.c computes them: every product in its order. */
#include <string.h>

#include "plmm/bytes.h"
#include "plmm/gguf.h"
#include "plmm/safetensors.h"

typedef void (*block_fn)(const uint8_t *p, float *out);

static void read_f32(const uint8_t *p, float *out)
{
    uint32_t u = plmm_load_le32(p);
    memcpy(out, &u, sizeof u);
}

static void read_f16(const uint8_t *p, float *out)
{
    *out = plmm_f16_to_f32(plmm_load_le16(p));
}

static void read_bf16(const uint8_t *p, float *out)
{
    *out = plmm_bf16_to_f32(plmm_load_le16(p));
}

static void read_q4_0(const uint8_t *p, float *out)
{
    float d = plmm_f16_to_f32(plmm_load_le16(p));
    for (size_t i = 0; i < 16; i++) {
        out[i] = (float)((p[2 + i] & 15) - 8) * d;
        out[16 + i] = (float)((p[2 + i] >> 4) - 8) * d;
    }
}

static void read_q8_0(const uint8_t *p, float *out)
{
    float d = plmm_f16_to_f32(plmm_load_le16(p));
    for (size_t i = 0; i < 32; i++) {
        out[i] = (float)(int8_t)p[2 + i] * d;
    }
}

/* Scale and minimum of group g, 6 bits each, of the 12 bytes s. */
static void scale_of(const uint8_t *s, size_t g, uint8_t *scale, uint8_t *min)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *min = s[g + 4] & 63;
    } else {
        *scale = (uint8_t)((s[g + 4] & 15) | (s[g - 4] >> 6) << 4);
        *min = (uint8_t)((s[g + 4] >> 4) | (s[g] >> 6) << 4);
    }
}

static void read_q4_k(const uint8_t *p, float *out)
{
    float d = plmm_f16_to_f32(plmm_load_le16(p)), m = plmm_f16_to_f32(plmm_load_le16(p + 2));
    for (size_t g = 0; g < 8; g++) {
        uint8_t scale, min;
        scale_of(p + 4, g, &scale, &min);
        float step = d * (float)scale, low = m * (float)min;
        const uint8_t *q = p + 16 + g / 2 * 32;
        for (size_t i = 0; i < 32; i++) {
            out[g * 32 + i] = step * (float)(g % 2 == 0 ? q[i] & 15 : q[i] >> 4) - low;
        }
    }
}

static void read_q6_k(const uint8_t *p, float *out)
{
    float d = plmm_f16_to_f32(plmm_load_le16(p + 208));
    for (size_t i = 0; i < 256; i++) {
        size_t half = i / 128, k = i % 128, quarter = k / 32, l = k % 32;
        uint8_t low = p[half * 64 + (quarter % 2) * 32 + l];
        uint8_t high = p[128 + half * 32 + l];
        int q = (quarter < 2 ? low & 15 : low >> 4) | (high >> (2 * quarter) & 3) << 4;
        int8_t scale = (int8_t)p[192 + i / 16];
        out[i] = d * (float)scale * (float)(q - 32);
    }
}

static const struct {
    plmm_gguf_type type;
    const char *name;
    size_t weights, bytes;
    block_fn read;
} types[] = {
    {PLMM_GGUF_TYPE_F32, "f32", 1, 4, read_f32},
    {PLMM_GGUF_TYPE_F16, "f16", 1, 2, read_f16},
    {PLMM_GGUF_TYPE_BF16, "bf16", 1, 2, read_bf16},
    {PLMM_GGUF_TYPE_Q4_0, "q4_0", 32, 18, read_q4_0},
    {PLMM_GGUF_TYPE_Q8_0, "q8_0", 32, 34, read_q8_0},
    {PLMM_GGUF_TYPE_Q4_K, "q4_K", 256, 144, read_q4_k},
    {PLMM_GGUF_TYPE_Q6_K, "q6_K", 256, 210, read_q6_k},
};
enum { TYPES = sizeof types / sizeof types[0] };

static size_t find(plmm_gguf_type t)
{
    size_t i = 0;
    while (i < TYPES && types[i].type != t) {
        i++;
    }
    return i;
}

const char *plmm_gguf_type_name(plmm_gguf_type t)
{
    size_t i = find(t);
    return i < TYPES ? types[i].name : NULL;
}

size_t plmm_gguf_block(plmm_gguf_type t, size_t *bytes)
{
    size_t i = find(t);
    PLMM_ASSERT(i < TYPES);
    *bytes = types[i].bytes;
    return types[i].weights;
}

void plmm_gguf_read_row(const plmm_gguf_tensor *t, uint64_t row, float *out)
{
    size_t k = find(t->type);
    PLMM_ASSERT(k < TYPES && t->shape[0] != 0 && row < t->count / t->shape[0]);
    uint64_t blocks = t->shape[0] / types[k].weights;
    const uint8_t *p = t->data + row * blocks * types[k].bytes;
    for (uint64_t i = 0; i < blocks; i++) {
        types[k].read(p + i * types[k].bytes, out + i * types[k].weights);
    }
}
