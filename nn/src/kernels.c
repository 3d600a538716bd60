#include "kernels.h"

#include <stdatomic.h>

#include "plmm/model.h"

#if defined(__x86_64__)
#define HAVE_X86 1
#include <cpuid.h>
#else
#define HAVE_X86 0
#endif

#if HAVE_X86
/* clang 14 does not know this one by name */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}
#endif

static const plmm__kernels *chosen;

void plmm__kernels_use(const plmm__kernels *k)
{
    chosen = k;
}

static const plmm__kernels *find_best(void)
{
#if HAVE_X86
    if (has_avx512()) {
        return &plmm__kernels_avx512;
    }
    if (has_avx2()) {
        return &plmm__kernels_avx2;
    }
#endif
    return &plmm__kernels_baseline;
}

const plmm__kernels *plmm__kernels_best(void)
{
    /* Asking takes microseconds: on virtual machines the question leaves the processor. */
    static _Atomic(const plmm__kernels *) found;
    if (chosen != NULL) {
        return chosen;
    }
    const plmm__kernels *k = atomic_load_explicit(&found, memory_order_relaxed);
    if (k == NULL) {
        k = find_best();
        atomic_store_explicit(&found, k, memory_order_relaxed);
    }
    return k;
}

const plmm__kernels *const *plmm__kernels_all(size_t *count)
{
#if HAVE_X86
    static const plmm__kernels *const all[] = {&plmm__kernels_avx512, &plmm__kernels_avx2,
                                               &plmm__kernels_baseline, &plmm__kernels_ref};
    size_t skip = has_avx512() ? 0 : has_avx2() ? 1 : 2;
#else
    static const plmm__kernels *const all[] = {&plmm__kernels_baseline, &plmm__kernels_ref};
    size_t skip = 0;
#endif
    *count = sizeof all / sizeof all[0] - skip;
    return all + skip;
}

const char *plmm_nn_isa(void)
{
    return plmm__kernels_best()->name;
}
