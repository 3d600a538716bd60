/* quant.h -- numbers of a few bits by blocks of 32 that share a scale, as GGUF's Q8_0 and Q4_0 store
 * them (ggml, block_q8_0 and block_q4_0), so that such a file can be used as it lies:
 *
 *   int8   2 octets binary16 scale d, then 32 int8 q           x_i = d q_i
 *   4-bit  2 octets binary16 scale d, then 16 octets           x_i = d (q_i - 8), the low nibbles are
 *                                                              x_0..15, the high ones x_16..31
 *
 * A row of a matrix is a whole number of blocks; the last one is filled up with zeros. Little-endian.
 * Plain functions of their arguments: thread-safe, they allocate nothing. */
#ifndef PLMM_NN_QUANT_H
#define PLMM_NN_QUANT_H

#include <stddef.h>
#include <stdint.h>

enum { PLMM__QUANT_BLOCK = 32, PLMM__Q8_BYTES = 34, PLMM__Q4_BYTES = 18 };

typedef enum plmm__quant { PLMM__Q8_0, PLMM__Q4_0 } plmm__quant;

/* Octets of a block, and of a row of n numbers. */
size_t plmm__quant_block_bytes(plmm__quant kind);
size_t plmm__quant_row_bytes(plmm__quant kind, size_t n);

/* out[plmm__quant_row_bytes()] = the row x[n], rounded as ggml's reference does: int8 with
 * d = max |x| / 127, 4-bit with d = the x of largest magnitude / -8. Finite x; a scale beyond
 * binary16 (|x| above 8e6 or 5e5) becomes infinite. */
void plmm__quantize_row(plmm__quant kind, const float *x, size_t n, uint8_t *out);

/* out[n] = the first n numbers of the row, exactly d q. */
void plmm__dequantize_row(plmm__quant kind, const uint8_t *row, size_t n, float *out);

#endif
