/* plmm/encode.h -- from a float update to lanes of Z_{2^b} and back, and their packing.
 *
 * A device has an update delta (d floats) and a weight w (its number of examples, a positive
 * integer). Its vector has d + 1 lanes, i in 0..d-1:
 *
 *   v    = delta * min(1, C / |delta|)      C = clip, |.| = L2 norm in double
 *   x[i] = round(v[i] * w * s)   mod 2^b    stochastic: up with the fraction as probability
 *   x[d] = w                     mod 2^b
 *   s    = X / (C * W)                      X = 2^(q-1) - 1, q = quant_bits, W = weight_max
 *
 * The sum of the lanes over a set of devices is, as long as nothing wraps, s * sum(w v) and sum(w):
 * their quotient is FedAvg's weighted mean.
 *
 * BOUNDS. |v[i]| <= C and w <= W give |x[i]| <= X for every lane of every device. The sum over at
 * most n_max devices stays within n_max * X (and n_max * W in the last lane). Signed values are
 * stored in two's complement mod 2^b, so nothing wraps if and only if
 *
 *   n_max * max(X, W) <= 2^(b-1) - 1
 *
 * and plmm_encoding_check refuses parameters for which that does not hold. The step of the
 * quantiser, 1 / s, and the standard deviation of one device's rounding error, at most 1 / (2 s),
 * are in units of w * delta. One device moves the sum of w * delta by at most W * C in L2, plus
 * rounding (at most sqrt(d) / s).
 *
 * Doubles are added in a fixed order and nothing is contracted or reordered, so equal inputs give
 * equal lanes on every machine with IEEE 754 arithmetic. Allocates nothing; thread-safe. Lanes,
 * updates and rounding seeds of one device are SECRET; the sum is not. Time of packing depends on
 * lengths only; the floating-point parts may take longer for subnormal numbers.
 */
#ifndef PLMM_ENCODE_H
#define PLMM_ENCODE_H

#include "plmm/keys.h"
#include "plmm/mask.h"

enum { PLMM_QUANT_BITS_MIN = 2, PLMM_QUANT_BITS_MAX = 31, PLMM_COHORT_MAX = 1 << 20 };

/* Public parameters of a session; every party checks them itself. */
typedef struct plmm_encoding {
    double clip;         /* C: L2 bound of delta, between 2^-100 and 2^100 */
    uint32_t quant_bits; /* q: values of one device are in -(2^(q-1)-1) .. 2^(q-1)-1; 2..31 */
    uint32_t weight_max; /* W, 1..2^31-1 */
    uint32_t n_max;      /* the most devices a sum may hold, 1..PLMM_COHORT_MAX */
    uint32_t ring_bits;  /* b, PLMM_RING_BITS_MIN..PLMM_RING_BITS_MAX */
} plmm_encoding;

/* Smallest b (>= PLMM_RING_BITS_MIN) that fits the rest of *e without wrapping, 0 if none up to 32
 * does. */
uint32_t plmm_encoding_ring_bits(const plmm_encoding *e);

/* PLMM_ERR_RANGE, naming the field, if a field is out of its range or the sum could wrap.
 * Everything below asserts a checked *e. */
PLMM_NODISCARD plmm_status plmm_encoding_check(const plmm_encoding *e, plmm_error *err);

/* s of the page's head: lanes of the sum divided by it are sum(w v). */
double plmm_encoding_scale(const plmm_encoding *e);

/* L2 norm of x[0..n): squares added in double in eight fixed lanes. PLMM_ERR_RANGE, naming the
 * first such coordinate, if one is not finite; *norm is then untouched. */
PLMM_NODISCARD plmm_status plmm_vector_norm(double *norm, const float *x, size_t n,
                                            plmm_error *err);

/* x[0..d] (d + 1 lanes) = the vector of delta[0..d) and weight. Rounding draws one 32-bit word a
 * lane from plmm_expand(rounding, "round.v1"): the expected value is exact to 2^-32 of a step; the
 * seed must be fresh and private. *norm (may be NULL) is the norm before clipping. PLMM_ERR_RANGE
 * if weight is not in 1..W or a coordinate is not finite; x is then untouched. */
PLMM_NODISCARD plmm_status plmm_encode(uint32_t *x, double *norm, const plmm_encoding *e,
                                       const float *delta, size_t d, uint32_t weight,
                                       const plmm_seed *rounding, plmm_error *err);

/* Lane as a signed integer: its two's complement in b bits. */
static inline int32_t plmm_lane_signed(uint32_t lane, uint32_t bits)
{
    uint32_t top = UINT32_C(1) << (bits - 1);
    int64_t v = (int64_t)(lane & (top | (top - 1)));
    return (int32_t)(v - ((lane & top) != 0 ? (int64_t)top * 2 : 0));
}

/* From the unmasked sum x[0..d] over `devices` vectors: mean[i] = sum(w v[i]) / sum(w) and
 * *weight_sum = sum(w). Correctly rounded from double to float.
 * PLMM_ERR_RANGE if devices is not in 1..n_max. PLMM_ERR_PEER, naming the lane, if a lane is beyond
 * devices * X, or the last not in devices .. devices * W: a device sent what it must not, or masks
 * did not cancel. mean and *weight_sum are then untouched. */
PLMM_NODISCARD plmm_status plmm_decode_mean(float *mean, uint64_t *weight_sum,
                                            const plmm_encoding *e, const uint32_t *x, size_t d,
                                            uint32_t devices, plmm_error *err);

/* The same without the division: sum[i] = sum(w v[i]), in double. */
PLMM_NODISCARD plmm_status plmm_decode_sum(double *sum, uint64_t *weight_sum,
                                           const plmm_encoding *e, const uint32_t *x, size_t d,
                                           uint32_t devices, plmm_error *err);

/* ---- packing: lane i is bits i b .. i b + b - 1 of a little-endian string of bits ---- */

/* ceil(n * bits / 8). n <= 2^34, bits in the ring's range: asserted. */
size_t plmm_packed_bytes(size_t n, uint32_t bits);

/* out[0..plmm_packed_bytes(n, bits)) = the lanes, which must be below 2^bits (asserted); the last
 * octet is padded with zero bits. */
void plmm_pack(uint8_t *out, const uint32_t *x, size_t n, uint32_t bits);

/* Foreign octets. PLMM_ERR_WIRE if len is not plmm_packed_bytes(n, bits) or a padding bit is set; x
 * is then untouched. Every other string of octets is a vector. */
PLMM_NODISCARD plmm_status plmm_unpack(uint32_t *x, size_t n, uint32_t bits, const uint8_t *in,
                                       size_t len, plmm_error *err);

/* acc = acc + unpacked mod 2^bits, without the array between; errors as plmm_unpack. */
PLMM_NODISCARD plmm_status plmm_unpack_add(uint32_t *acc, size_t n, uint32_t bits,
                                           const uint8_t *in, size_t len, plmm_error *err);

#endif
