#include "half.h"

#include "kernels.h"

#if defined(__x86_64__) && defined(PLMM_HAVE_HALF)
#include <cpuid.h>

/* Not all compilers know these features by name. */
static bool cpuid_bit(unsigned leaf, bool in_edx, unsigned bit)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, leaf, &a, &b, &c, &d) != 0 && ((in_edx ? d : a) >> bit & 1) != 0;
}

static bool has_fp16(void)
{
    return cpuid_bit(0, true, 23);
}

static bool has_bf16(void)
{
    return cpuid_bit(1, false, 5);
}

/* The state of these registers is the operating system's to allow: the f32 kernels have asked. */
static bool wide_registers(void)
{
    size_t count = 0;
    return plmm__kernels_all(&count)[0] == &plmm__kernels_avx512;
}

/* Intel's VDPBF16PS takes twice as long as two f32 multiply-adds (measured on family 6 model 207),
 * AMD's half as long. */
static const plmm__half *choose(void)
{
    if (plmm__kernels_best() != &plmm__kernels_avx512) {
        return NULL;
    }
    return has_fp16()                                   ? &plmm__half_fp16
           : has_bf16() && __builtin_cpu_is("amd") != 0 ? &plmm__half_bf16
                                                        : NULL;
}

const plmm__half *const *plmm__half_all(size_t *count)
{
    static const plmm__half *const all[] = {&plmm__half_bf16, &plmm__half_fp16};
    bool bf16 = wide_registers() && has_bf16(), fp16 = wide_registers() && has_fp16();
    *count = (size_t)bf16 + (size_t)fp16;
    return bf16 ? all : all + 1;
}
#else
static const plmm__half *choose(void)
{
    return NULL;
}

const plmm__half *const *plmm__half_all(size_t *count)
{
    *count = 0;
    return NULL;
}
#endif

static struct {
    bool set;
    const plmm__half *half;
} chosen;

void plmm__half_use(bool use, const plmm__half *h)
{
    chosen.set = use;
    chosen.half = h;
}

const plmm__half *plmm__half_best(void)
{
    return chosen.set ? chosen.half : choose();
}
