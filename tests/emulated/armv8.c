/* Runs on an emulated ARMv8: its AES instructions must be there, be chosen, and equal the reference. */
#include "aes_paths.h"

#include "plmm/keys.h"

/* libsodium is not there to wipe. */
void plmm_wipe(void *p, size_t len)
{
    memset(p, 0, len);
}

int main(void)
{
    const plmm__aes *paths[PLMM__AES_PATHS];
    size_t n = plmm__aes_all(paths);
    CHECK(n == 2 && paths[0] == &plmm__aes_armv8, "the processor has AES");
    CHECK(plmm__aes_best() == &plmm__aes_armv8, "and it is used");
    for (size_t i = 0; i < n; i++) {
        aes_path_check(paths[i], 1, 20);
    }
    return plmm_test_end();
}
