#include "quant.h"

#include <math.h>
#include <string.h>

#include "plmm/safetensors.h"

size_t plmm__quant_block_bytes(plmm__quant kind)
{
    return kind == PLMM__Q8_0 ? PLMM__Q8_BYTES : PLMM__Q4_BYTES;
}

size_t plmm__quant_row_bytes(plmm__quant kind, size_t n)
{
    return (n + PLMM__QUANT_BLOCK - 1) / PLMM__QUANT_BLOCK * plmm__quant_block_bytes(kind);
}

/* The element of largest magnitude, the first of several. */
static float extreme(const float *x)
{
    float best = 0;
    for (size_t i = 0; i < PLMM__QUANT_BLOCK; i++) {
        best = fabsf(x[i]) > fabsf(best) ? x[i] : best;
    }
    return best;
}

static void store_scale(float d, uint8_t *out)
{
    uint16_t h = plmm_f32_to_f16(d);
    out[0] = (uint8_t)(h & 0xff);
    out[1] = (uint8_t)(h >> 8);
}

static float load_scale(const uint8_t *block)
{
    return plmm_f16_to_f32((uint16_t)(block[0] | block[1] << 8));
}

static void quantize_q8(const float *x, uint8_t *out)
{
    float d = fabsf(extreme(x)) / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    store_scale(d, out);
    for (size_t i = 0; i < PLMM__QUANT_BLOCK; i++) {
        out[2 + i] = (uint8_t)(int8_t)roundf(x[i] * inverse);
    }
}

static unsigned nibble(float x)
{
    int q = (int)(x + 8.5f);
    return q > 15 ? 15u : (unsigned)q;
}

static void quantize_q4(const float *x, uint8_t *out)
{
    enum { HALF = PLMM__QUANT_BLOCK / 2 };
    float d = extreme(x) / -8.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    store_scale(d, out);
    for (size_t i = 0; i < HALF; i++) {
        out[2 + i] = (uint8_t)(nibble(x[i] * inverse) | nibble(x[HALF + i] * inverse) << 4);
    }
}

void plmm__quantize_row(plmm__quant kind, const float *x, size_t n, uint8_t *out)
{
    for (size_t at = 0; at < n; at += PLMM__QUANT_BLOCK) {
        float block[PLMM__QUANT_BLOCK] = {0};
        size_t left = n - at < PLMM__QUANT_BLOCK ? n - at : PLMM__QUANT_BLOCK;
        memcpy(block, x + at, left * sizeof *x);
        if (kind == PLMM__Q8_0) {
            quantize_q8(block, out);
        } else {
            quantize_q4(block, out);
        }
        out += plmm__quant_block_bytes(kind);
    }
}

static float element(plmm__quant kind, const uint8_t *block, size_t i)
{
    enum { HALF = PLMM__QUANT_BLOCK / 2 };
    float d = load_scale(block);
    if (kind == PLMM__Q8_0) {
        return d * (float)(int8_t)block[2 + i];
    }
    unsigned q = i < HALF ? block[2 + i] & 15u : (unsigned)block[2 + i - HALF] >> 4;
    return d * ((float)q - 8.0f);
}

void plmm__dequantize_row(plmm__quant kind, const uint8_t *row, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *block = row + i / PLMM__QUANT_BLOCK * plmm__quant_block_bytes(kind);
        out[i] = element(kind, block, i % PLMM__QUANT_BLOCK);
    }
}
