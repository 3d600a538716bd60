/* A device that lies as the input says: the aggregator's machine must end the round with an exact
 * sum or a reason. */
#include "fuzz_round.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_round(data, size, false);
    return 0;
}
