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
