/* A device, and member of the committee, that lies as the input says in a one-shot round: the
 * aggregator's machine must end the round with an exact sum or a reason. */
#include "fuzz_round.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_oneshot(data, size, false);
    return 0;
}
