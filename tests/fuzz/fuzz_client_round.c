/* An aggregator that lies as the input says: no device may answer twice, mask two vectors with one
 * mask, or fail. */
#include "fuzz_round.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_round(data, size, true);
    return 0;
}
