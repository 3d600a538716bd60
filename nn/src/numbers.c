/* Half precision: IEEE 754 binary16 and bfloat16, to and from float32, nearest with ties to
 * even. */
#include "plmm/safetensors.h"

#include <string.h>

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float plmm_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = h >> 10 & 0x1Fu, m = h & 0x3FFu;
    if (e == 0x1F) {
        return float_of(sign | 0x7F800000u | m << 13);
    }
    if (e != 0) {
        return float_of(sign | (e + 112u) << 23 | m << 13);
    }
    float v = (float)m * 0x1p-24f;
    return sign != 0 ? -v : v;
}

uint16_t plmm_f32_to_f16(float f)
{
    uint32_t u = bits_of(f), sign = u >> 16 & 0x8000u, a = u & 0x7FFFFFFFu;
    if (a > 0x7F800000u) {
        return (uint16_t)(sign | 0x7E00u); /* not a number */
    }
    if (a >= 0x477FF000u) {
        return (uint16_t)(sign | 0x7C00u); /* rounds to 65536 or more */
    }
    if (a < 0x38800000u) { /* subnormal: adding 0.5 leaves the rounded multiple of 2^-24 below */
        float v = float_of(a) + 0.5f;
        return (uint16_t)(sign | (bits_of(v) - bits_of(0.5f)));
    }
    a += 0xFFFu + (a >> 13 & 1u);
    return (uint16_t)(sign | (a - (112u << 23)) >> 13);
}

float plmm_bf16_to_f32(uint16_t h)
{
    return float_of((uint32_t)h << 16);
}

uint16_t plmm_f32_to_bf16(float f)
{
    uint32_t u = bits_of(f);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) {
        return (uint16_t)(u >> 16 | 0x40u);
    }
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

const char *plmm_dtype_name(plmm_dtype t)
{
    switch (t) {
    case PLMM_F32:
        return "f32";
    case PLMM_F16:
        return "f16";
    case PLMM_BF16:
        return "bf16";
    case PLMM_DTYPE_OTHER:
        break;
    }
    return "other";
}
