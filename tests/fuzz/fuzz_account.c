/* A privacy account from foreign bytes: what is accepted comes back to the octet, and answers every
 * question with a number. */
#include "plmm/account.h"

#include <math.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    plmm_account a;
    plmm_error err;
    if (plmm_account_decode(&a, data, size, &err) != PLMM_OK) {
        return 0;
    }
    uint8_t back[PLMM_ACCOUNT_BYTES];
    plmm_account_encode(back, &a);
    PLMM_ASSERT(memcmp(back, data, size) == 0);
    for (uint32_t w = 0; w < PLMM_ADVERSARIES; w++) {
        double e = plmm_account_epsilon(&a, (plmm_adversary)w, 1e-6);
        double d = plmm_account_delta(&a, (plmm_adversary)w, 1.0);
        PLMM_ASSERT(e >= 0.0 && d >= 0.0 && d <= 1.0);
    }
    plmm_budget b = {.epsilon = 1.0, .delta = 1e-6};
    char text[300];
    (void)plmm_account_left(&a, &a, &b, 1000);
    (void)plmm_account_sentence(text, sizeof text, &a, PLMM_ADVERSARY_SERVER, 1e-6, NULL);
    plmm_account_add(&a, &a, 7);
    return 0;
}
