/* Which of the AES paths this processor can run. */
#include "aes_internal.h"

#include <stdatomic.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
/* sys/auxv.h, of which a room without a system needs one function. */
extern unsigned long getauxval(unsigned long type);
#endif

#if defined(__x86_64__)
/* Leaf 7, ECX bit 9; clang 14 does not know it by name. Not without the wide registers. */
static bool has_vaes(void)
{
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c >> 9 & 1) != 0 &&
           __builtin_cpu_supports("avx2");
}

static size_t paths(const plmm__aes **out)
{
    size_t n = 0;
    bool vaes = has_vaes();
    if (vaes && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
        out[n++] = &plmm__aes_vaes512;
    }
    if (vaes) {
        out[n++] = &plmm__aes_vaes256;
    }
    if (__builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1")) {
        out[n++] = &plmm__aes_aesni;
    }
    return n;
}
#elif defined(__aarch64__) && defined(__linux__) && defined(__AARCH64EL__)
static size_t paths(const plmm__aes **out)
{
    const unsigned long hwcap = 16, aes = 1UL << 3;
    out[0] = &plmm__aes_armv8;
    return (getauxval(hwcap) & aes) != 0 ? 1 : 0;
}
#else
static size_t paths(const plmm__aes **out)
{
    (void)out;
    return 0;
}
#endif

size_t plmm__aes_all(const plmm__aes *out[PLMM__AES_PATHS])
{
    size_t n = paths(out);
    out[n++] = &plmm__aes_portable;
    return n;
}

/* Asking the processor is slow on virtual machines (each question leaves the guest): once. */
static const plmm__aes *_Atomic chosen;

const plmm__aes *plmm__aes_best(void)
{
    const plmm__aes *best = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (best == NULL) {
        const plmm__aes *all[PLMM__AES_PATHS];
        (void)plmm__aes_all(all);
        best = all[0];
        atomic_store_explicit(&chosen, best, memory_order_relaxed);
    }
    return best;
}

void plmm__aes_use(const plmm__aes *k)
{
    atomic_store_explicit(&chosen, k, memory_order_relaxed);
}
