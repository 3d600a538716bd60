/* An aggregator that lies as the input says in a one-shot round: whatever devices and members are
 * told, each answers once. */
#include "fuzz_round.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_oneshot(data, size, true);
    return 0;
}
