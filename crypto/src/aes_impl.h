/* aes_impl.h -- counter mode added to lanes, over vectors of WIDTH blocks. Included by one file a
 * set of instructions (and by a test, with a processor written in C), which defines
 *
 *   vec                        WIDTH blocks of 128 bits
 *   WIDTH                      1, 2 or 4
 *   v_load(p), v_store(p, x)   not aligned
 *   v_add, v_sub, v_and, v_xor lanes of 32 bits
 *   v_all(u)                   every lane u
 *   v_round_key(p)             the 16 octets at p in every block
 *   v_counter(u)               in every block, lanes 0, 0, 0, u
 *   v_enc(b, k)                a round: rows shifted, octets substituted, columns mixed, k added
 *   v_enc_last(b, k)           the last round: the same without the columns
 *
 * and, where the instructions add the key before a round and not after it (ARMv8), KEY_FIRST with
 *
 *   v_enc(b, k)                a round: k added, rows shifted, octets substituted, columns mixed
 *   v_enc_last(b, k, l)        the last round: the same without the columns, then l added
 */
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Eight vectors are in flight: as many as hide the latency of a round. */
enum { FLIGHT = 8, STEP_BLOCKS = FLIGHT * WIDTH };
_Static_assert(PLMM__AES_GROUP_BLOCKS % STEP_BLOCKS == 0, "a group is whole steps");

/* The number of a block in its group, where a big-endian counter has its last octet. */
#define AT(i)                                                                                      \
    {                                                                                              \
        0, 0, 0, (uint32_t)(i) << 24                                                               \
    }
#define FOUR(i) AT(i), AT(i + 1), AT(i + 2), AT(i + 3)
static const uint32_t number[PLMM__AES_GROUP_BLOCKS][4] = {FOUR(0),  FOUR(4),  FOUR(8),  FOUR(12),
                                                           FOUR(16), FOUR(20), FOUR(24), FOUR(28)};
#undef FOUR
#undef AT

INLINE vec key_of(const plmm_mask *m, int round)
{
    return v_round_key(m->key + (size_t)16 * (size_t)round);
}

#if defined(KEY_FIRST)
INLINE vec start(const plmm_mask *m, vec counter)
{
    (void)m;
    return counter;
}

INLINE void cipher(vec b[FLIGHT], const plmm_mask *m)
{
    for (int r = 0; r < PLMM__AES_ROUNDS - 1; r++) {
        const vec k = key_of(m, r);
        UNROLL for (int j = 0; j < FLIGHT; j++)
        {
            b[j] = v_enc(b[j], k);
        }
    }
    const vec k = key_of(m, PLMM__AES_ROUNDS - 1), l = key_of(m, PLMM__AES_ROUNDS);
    UNROLL for (int j = 0; j < FLIGHT; j++)
    {
        b[j] = v_enc_last(b[j], k, l);
    }
}
#else
/* Blocks differ in five bits, so the first key is added to the counter once for all of them. */
INLINE vec start(const plmm_mask *m, vec counter)
{
    return v_xor(key_of(m, 0), counter);
}

INLINE void cipher(vec b[FLIGHT], const plmm_mask *m)
{
    for (int r = 1; r < PLMM__AES_ROUNDS; r++) {
        const vec k = key_of(m, r);
        UNROLL for (int j = 0; j < FLIGHT; j++)
        {
            b[j] = v_enc(b[j], k);
        }
    }
    const vec k = key_of(m, PLMM__AES_ROUNDS);
    UNROLL for (int j = 0; j < FLIGHT; j++)
    {
        b[j] = v_enc_last(b[j], k);
    }
}
#endif

/* x +/- the keystream of m in the blocks whose numbers are given. */
INLINE void step(vec x[FLIGHT], const plmm_mask *m, vec counter, const uint32_t numbers[][4])
{
    vec b[FLIGHT];
    const vec first = start(m, counter);
    UNROLL for (int j = 0; j < FLIGHT; j++)
    {
        b[j] = v_xor(first, v_load(numbers[j * WIDTH]));
    }
    cipher(b, m);
    if (m->sign == PLMM_MASK_ADD) {
        UNROLL for (int j = 0; j < FLIGHT; j++)
        {
            x[j] = v_add(x[j], b[j]);
        }
    } else {
        UNROLL for (int j = 0; j < FLIGHT; j++)
        {
            x[j] = v_sub(x[j], b[j]);
        }
    }
}

static void apply(uint32_t *x, size_t groups, uint32_t block, uint32_t low, const plmm_mask *masks,
                  size_t count)
{
    const vec keep = v_all(low);
    for (; groups > 0; groups--, block += PLMM__AES_GROUP_BLOCKS) {
        const vec counter = v_counter(__builtin_bswap32(block));
        for (size_t s = 0; s < PLMM__AES_GROUP_BLOCKS; s += STEP_BLOCKS, x += 4 * STEP_BLOCKS) {
            vec sum[FLIGHT];
            UNROLL for (size_t j = 0; j < FLIGHT; j++)
            {
                sum[j] = v_load(x + j * 4 * WIDTH);
            }
            for (size_t i = 0; i < count; i++) {
                step(sum, &masks[i], counter, number + s);
            }
            UNROLL for (size_t j = 0; j < FLIGHT; j++)
            {
                v_store(x + j * 4 * WIDTH, v_and(sum[j], keep));
            }
        }
    }
}
