/* crypto/aes: every path this processor has equals the reference; and so does the template of the
 * vector paths over processors written in C, for those it lacks. */
#include "aes_paths.h"

#define TAG   _4
#define WIDTH 4
#include "aes_emulated.h"
#define TAG   _2
#define WIDTH 2
#include "aes_emulated.h"
#define TAG   _1
#define WIDTH 1
#include "aes_emulated.h"
#define TAG   _arm
#define WIDTH 1
#define KEY_FIRST
#include "aes_emulated.h"

#undef apply

int main(void)
{
    const plmm__aes *paths[PLMM__AES_PATHS];
    const plmm__aes emulated[] = {
        {"the template of 512 bits, emulated", plmm__aes_round_keys, apply_4},
        {"the template of 256 bits, emulated", plmm__aes_round_keys, apply_2},
        {"the template of 128 bits, emulated", plmm__aes_round_keys, apply_1},
        {"the template of ARMv8, emulated", plmm__aes_round_keys, apply_arm},
    };
    uint64_t seed = plmm_test_seed(1);
    size_t n = plmm__aes_all(paths);
    for (size_t i = 0; i < n; i++) {
        aes_path_check(paths[i], seed, 20);
    }
    for (size_t i = 0; i < COUNT(emulated); i++) {
        aes_path_check(&emulated[i], seed, 4);
    }
    return plmm_test_end();
}
