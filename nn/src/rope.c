/* Rotary frequencies: plain (Su et al., 2021) and stretched as Llama 3.1 does. */
#include <math.h>

#include "nn_internal.h"

static const double two_pi = 6.283185307179586;

double plmm__rope_factor(const plmm_rope_scaling *s, double f)
{
    if (s->factor == 0) {
        return 1;
    }
    double length = two_pi / f, factor = (double)s->factor, low = (double)s->low;
    double high = (double)s->high, original = s->original;
    if (length < original / high) {
        return 1;
    }
    if (length > original / low) {
        return factor;
    }
    double smooth = (original / length - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
}

float plmm__rope_freq(const plmm_model_config *c, size_t j)
{
    double power = pow((double)c->rope_theta, 2.0 * (double)j / c->head_dim);
    float freq = (float)(1.0 / power);
    return (float)((double)freq / plmm__rope_factor(&c->rope_scaling, (double)freq));
}

void plmm__rope_tables(const plmm_model_config *c, size_t positions, float *cosines, float *sines)
{
    size_t half = c->head_dim / 2;
    for (size_t j = 0; j < half; j++) {
        float freq = plmm__rope_freq(c, j);
        for (size_t p = 0; p < positions; p++) {
            float angle = (float)p * freq;
            cosines[p * half + j] = (float)cos((double)angle);
            sines[p * half + j] = (float)sin((double)angle);
        }
    }
}

bool plmm__same_angles(const plmm_model_config *a, const plmm_model_config *b)
{
    const plmm_rope_scaling *s = &a->rope_scaling, *t = &b->rope_scaling;
    return a->rope_theta == b->rope_theta && s->factor == t->factor && s->low == t->low &&
           s->high == t->high && s->original == t->original;
}
