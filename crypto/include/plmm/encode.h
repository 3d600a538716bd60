/* plmm/encode.h -- from a float update to lanes of Z_{2^b} and back, and their packing.
 *
 * A device has an update delta (d floats) and a weight w (its number of examples, a positive
 * integer). Its vector has lanes, i in 0..d-1:
 *
 *   v    = delta * min(1, C / |delta|)      C = clip, |.| = L2 norm in double
 *   v    = R v                              with rotate: plmm/rotate.h, R orthogonal
 *   x[i] = round(v[i] * w * s)              stochastic: up with the fraction as probability
 *   x[d] = w                                the weight's lane; not with noise
 *   then, with clip_bit, +A if |delta| <= C, else -A, for adaptive clipping (Andrew et al. 2021)
 *   s    = X F / (C * W)                    X = 2^(q-1) - 1, q = quant_bits, W = weight_max
 *   F    = 1, or max(1, 2^(p/2) / 8) with rotate, 2^p <= d < 2^(p+1)
 *
 * The sum of the lanes over a set of devices is, as long as nothing wraps, s * sum(w v) and sum(w):
 * their quotient is FedAvg's weighted mean. What a device sends is the lane mod 2^b, or, where keys
 * are added under Ring-LWE, the signed integer itself.
 *
 * RANGE. |v[i]| <= C without rotation, so |x[i]| <= X. Rotated, a coordinate is beyond 8 C 2^(-p/2)
 * with probability 2 exp(-32) over the signs, so F makes use of all q bits; one that is beyond is
 * set to X, which only that device's update feels (and before any noise is added). The sum over at
 * most n_max devices stays within n_max * X (and n_max * W in the weight's lane). Signed values are
 * stored in two's complement mod 2^b, so without noise nothing wraps if and only if
 *
 *   n_max * max(X, W) <= 2^(b-1) - 1
 *
 * and plmm_encoding_check refuses parameters for which that does not hold. The step of the
 * quantiser, 1 / s, and the standard deviation of one device's rounding error, at most 1 / (2 s),
 * are in units of w * delta. One device moves the sum of w * delta by at most W * C in L2, plus
 * rounding (at most sqrt(d) / s).
 *
 * WITH NOISE (differential privacy) every device weighs 1 (W = 1) and no weight travels. Rounding
 * is CONDITIONAL (Kairouz, Liu, Steinke 2021): it is repeated until the integers' norm is within
 *
 *   L2^2 = min((c + sqrt d)^2, c^2 + d/4 + sqrt(2 ln(1/beta)) (c + sqrt(d)/2)),
 *
 * c = C s, beta = exp(-1/2); a try succeeds with probability at least 1 - beta. So one device moves
 * the sum by at most plmm_encoding_sensitivity, for any update, proven by a comparison of integers.
 * Then noise is added (plmm/noise.h), and the sum wraps, mod 2^b: nothing is ever clamped after
 * noise. b bounds the probability that any lane of a sum wraps by 2^-PLMM_WRAP_LOG2 a round: beyond
 * n_max * X, there is room for the Chernoff bound of the noise.
 *
 * Doubles are added in a fixed order and nothing is contracted or reordered, so equal inputs give
 * equal lanes on every machine with IEEE 754 arithmetic. Allocates nothing; thread-safe. Lanes,
 * updates and rounding seeds of one device are SECRET; the sum is not. Time of packing depends on
 * lengths only; the floating-point parts may take longer for subnormal numbers, and conditional
 * rounding tells how often it was repeated.
 */
#ifndef PLMM_ENCODE_H
#define PLMM_ENCODE_H

#include "plmm/keys.h"
#include "plmm/mask.h"
#include "plmm/noise.h"

enum {
    PLMM_QUANT_BITS_MIN = 2,
    PLMM_QUANT_BITS_MAX = 31,
    PLMM_QUANT_BITS_MAX_NOISE = 20, /* with noise: squares of a vector's lanes add up in 64 bits */
    PLMM_COHORT_MAX = 1 << 20,
    PLMM_WRAP_LOG2 = 20 /* with noise, a sum wraps with probability below 2^-20 */
};

/* Public parameters of a session; every party checks them itself. */
typedef struct plmm_encoding {
    double clip;         /* C: L2 bound of delta, between 2^-100 and 2^100 */
    uint32_t quant_bits; /* q: values of one device are in -(2^(q-1)-1) .. 2^(q-1)-1; 2..31 */
    uint32_t weight_max; /* W, 1..2^31-1 */
    uint32_t n_max;      /* the most devices a sum may hold, 1..PLMM_COHORT_MAX */
    uint32_t ring_bits;  /* b, PLMM_RING_BITS_MIN..PLMM_RING_BITS_MAX */
    uint32_t rotate;     /* 0 or 1 */
    uint32_t clip_bit;   /* 0 or 1 */
    uint32_t noise;      /* plmm_noise_kind of the sum, whoever adds it; then weight_max is 1 */
    uint32_t length;     /* d; only needed with rotate or noise, else 0 will do */
    uint64_t noise_sum;  /* variance, in 1/16, of all noise that devices may put into a sum:
                            n_max plmm_xnoise_kept(levels); 0 if the aggregator adds it */
    plmm_hash rotation;  /* public seed of the rotation */
} plmm_encoding;

/* Smallest b (>= PLMM_RING_BITS_MIN) that fits the rest of *e without wrapping, 0 if none up to 32
 * does. */
uint32_t plmm_encoding_ring_bits(const plmm_encoding *e);

/* PLMM_ERR_RANGE, naming the field, if a field is out of its range or the sum could wrap.
 * Everything below asserts a checked *e. */
PLMM_NODISCARD plmm_status plmm_encoding_check(const plmm_encoding *e, plmm_error *err);

/* s of the page's head: lanes of the sum divided by it are sum(w v). */
double plmm_encoding_scale(const plmm_encoding *e);

/* Lanes of a vector of d coordinates: d, the weight without noise, the clip's bit if it is on. */
size_t plmm_encoding_lanes(const plmm_encoding *e, size_t d);

/* Largest magnitude of a lane of the sum of `devices` vectors: exceeded never without noise, with
 * noise by any lane with probability below 2^-PLMM_WRAP_LOG2. What a carrier of signed integers
 * must have room for. */
uint64_t plmm_encoding_reach(const plmm_encoding *e, uint32_t devices);

/* An upper bound of the probability that any lane of a sum of n_max vectors wraps in ring_bits; 0
 * without noise. */
double plmm_encoding_wrap(const plmm_encoding *e);

/* How far one device can move the sum of lanes, in lattice units, the clip's bit included: *l2 as
 * above, *l1 = *l2 min(sqrt(lanes), *l2). Adding or removing a device; replacing one is twice
 * that. For encodings with noise (asserted). */
void plmm_encoding_sensitivity(const plmm_encoding *e, double *l2, double *l1);

/* A of the page's head: with noise a tenth of c, at most X, at least 1; without noise 1. */
uint32_t plmm_encoding_clip_amplitude(const plmm_encoding *e);

/* Smallest quant_bits for which rounding adds at most `overhead` (such as 0.01) to the sensitivity
 * c, given clip, length and rotate of an encoding with noise; PLMM_QUANT_BITS_MAX_NOISE at most.
 * Without noise: for which the rounding error of one vector is at most overhead * clip (one
 * standard deviation), up to PLMM_QUANT_BITS_MAX. */
uint32_t plmm_encoding_quant_bits(const plmm_encoding *e, double overhead);

/* Variance in 1/16 of noise whose deviation is multiplier times the L2 sensitivity, rounded up.
 * 0 if it does not fit. For encodings with noise (asserted). */
uint64_t plmm_encoding_noise_units(const plmm_encoding *e, double multiplier);

/* L2 norm of x[0..n): squares added in double in 32 fixed lanes (square i in lane i mod 32), then the
 * lanes by halves. PLMM_ERR_RANGE, naming the first such coordinate, if one is not finite; *norm is
 * then untouched. */
PLMM_NODISCARD plmm_status plmm_vector_norm(double *norm, const float *x, size_t n,
                                            plmm_error *err);

/* x[0..plmm_encoding_lanes(e, d)) = the vector of delta[0..d) and weight, mod 2^b. Without noise
 * (asserted: with noise use plmm_encode_int). Lane i is rounded by word i of the AES-256-CTR stream
 * (plmm_mask_fill) of plmm_kdf(seed, "round.v3") in the context of zeros: the expected value is
 * exact to 2^-32 of a step; the seed must be fresh and private. *norm (may be NULL) is the norm
 * before clipping. PLMM_ERR_RANGE if weight is not in 1..W, a coordinate is not finite, or d is not
 * e->length (where that is needed); x is then untouched. */
PLMM_NODISCARD plmm_status plmm_encode(uint32_t *x, double *norm, const plmm_encoding *e,
                                       const float *delta, size_t d, uint32_t weight,
                                       const plmm_seed *seed, plmm_error *err);

/* The same as signed integers, not reduced, with noise: rounding is then conditional (try k > 0
 * draws from plmm_seed_derive(seed, "round.v2", k)) and the components of *noise are added from
 * plmm_xnoise_root(seed); noise may be NULL where the aggregator adds it (conditional rounding
 * alone). Sums of the integers are exact if they stay within plmm_encoding_reach; mod 2^b,
 * plmm_lanes_reduce of it is what travels in a ring. */
PLMM_NODISCARD plmm_status plmm_encode_int(int32_t *x, double *norm, const plmm_encoding *e,
                                           const float *delta, size_t d, uint32_t weight,
                                           const plmm_xnoise *noise, const plmm_seed *seed,
                                           plmm_error *err);

/* x[i] = x[i] mod 2^bits, in place. */
void plmm_lanes_reduce(int32_t *x, size_t n, uint32_t bits);

/* Error feedback (without noise: asserted): residual[0..d) = v - what x[0..d) (plmm_encode_int's
 * lanes of delta at that weight) decode to, so that a device can add it to its next update instead
 * of losing it. What clipping took away is not in it: a residual is below sqrt(d) / (s w), which
 * should be well below the clip. residual may be delta. */
void plmm_encode_residual(float *residual, const plmm_encoding *e, const int32_t *x,
                          const float *delta, size_t d, uint32_t weight);

/* Lane as a signed integer: its two's complement in b bits. */
static inline int32_t plmm_lane_signed(uint32_t lane, uint32_t bits)
{
    uint32_t top = UINT32_C(1) << (bits - 1);
    int64_t v = (int64_t)(lane & (top | (top - 1)));
    return (int32_t)(v - ((lane & top) != 0 ? (int64_t)top * 2 : 0));
}

/* From the unmasked sum x[0..plmm_encoding_lanes(e, d)) over `devices` vectors: mean[i] =
 * sum(w v[i]) / sum(w), rotated back, and *weight_sum = sum(w), which is `devices` with noise.
 * Correctly rounded from double to float, but for the rotation.
 * PLMM_ERR_RANGE if devices is not in 1..n_max or d not e->length. PLMM_ERR_PEER, naming the lane,
 * if a lane is beyond plmm_encoding_reach, or the weight's not in devices .. devices * W: a device
 * sent what it must not, or masks did not cancel. mean and *weight_sum are then untouched. */
PLMM_NODISCARD plmm_status plmm_decode_mean(float *mean, uint64_t *weight_sum,
                                            const plmm_encoding *e, const uint32_t *x, size_t d,
                                            uint32_t devices, plmm_error *err);

/* The same without the division: sum[i] = sum(w v[i]), in double. */
PLMM_NODISCARD plmm_status plmm_decode_sum(double *sum, uint64_t *weight_sum,
                                           const plmm_encoding *e, const uint32_t *x, size_t d,
                                           uint32_t devices, plmm_error *err);

/* How many of the `devices` were within the clip, from the clip's lane (asserted to be there): an
 * integer without noise, else an unbiased estimate of deviation sqrt(variance of the sum's noise)
 * / (2 A), which may lie outside 0..devices. */
double plmm_decode_clip_count(const plmm_encoding *e, const uint32_t *x, size_t d,
                              uint32_t devices);

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
