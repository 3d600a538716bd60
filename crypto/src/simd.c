/* How wide vector code may be: asked of the processor, or set by a test. */
#include "simd_internal.h"

#include <stdatomic.h>

plmm__simd plmm__simd_widest(void)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2")) {
        return PLMM__SIMD_PORTABLE;
    }
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512ifma")
               ? PLMM__SIMD_AVX512
               : PLMM__SIMD_AVX2;
#else
    return PLMM__SIMD_PORTABLE;
#endif
}

static atomic_int chosen = -1;

plmm__simd plmm__simd_now(void)
{
    int level = atomic_load_explicit(&chosen, memory_order_relaxed);
    return level < 0 ? plmm__simd_widest() : (plmm__simd)level;
}

void plmm__simd_use(plmm__simd level)
{
    PLMM_ASSERT(level <= plmm__simd_widest());
    atomic_store_explicit(&chosen, (int)level, memory_order_relaxed);
}

const char *plmm__simd_name(plmm__simd level)
{
    static const char *const names[] = {"portable", "avx2", "avx512"};
    return names[level];
}
