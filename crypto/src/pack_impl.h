/* pack_impl.h -- packing over registers of QUADS words of 64 bits. Included by one file a set of
 * instructions, which defines
 *
 *   vec, QUADS                    a register
 *   v_load(p), v_store(p, x)      not aligned
 *   v_and, v_or
 *   v_even(a, b), v_odd(a, b)     in each half of 128 bits, the lower (upper) word of a, then of b
 *   q_perm(x, i)                  word j = word i[j] of x, where i is what q_index made of 64-bit
 *   q_index(p)                    numbers at p
 *   q_srl(x, s), q_sll(x, s)      words shifted by words; 64 and more gives 0
 *   q_all(u)
 *   d_perm(x, i)                  the same with lanes of 32 bits
 *   d_add, d_srl, d_sll, d_all    lanes of 32 bits
 */
#include <string.h>

enum { LANES = 2 * QUADS };

/* ---- pack ---- */

/* Lanes are joined to units of 2 or 4 (of 34..64 and 32..64 bits), and the words of the output are
 * taken from the at most three units they lie in. */
typedef struct packing {
    vec at[3];           /* which unit, as it lies in the register of units */
    vec right, left[2];  /* by how much it is shifted */
    vec low, upper, two; /* a lane in each word; the shift that joins; that of a pair */
} packing;

static vec words(const uint64_t w[QUADS])
{
    return v_load(w);
}

static void packing_init(packing *p, uint32_t bits, uint32_t unit)
{
    uint64_t at[3][QUADS], right[QUADS], left[2][QUADS];
    for (uint64_t j = 0; j < QUADS; j++) {
        uint64_t first = 64 * j / unit, skip = 64 * j % unit;
        for (uint64_t k = 0; k < 3; k++) {
            uint64_t m = (first + k) % QUADS;
            bool four = unit == 4 * bits; /* then v_even and v_odd have mixed them */
            at[k][j] = !four ? m : m < QUADS / 2 ? 2 * m : 2 * m + 1 - QUADS;
        }
        right[j] = skip;
        left[0][j] = unit - skip;
        left[1][j] = 2 * unit - skip;
    }
    for (size_t k = 0; k < 3; k++) {
        p->at[k] = q_index(at[k]);
    }
    p->right = words(right);
    p->left[0] = words(left[0]);
    p->left[1] = words(left[1]);
    p->low = q_all(UINT32_MAX);
    p->upper = q_all(bits);
    p->two = q_all(2 * bits);
}

/* Two lanes in each word to one number. */
static inline vec pairs(vec x, const packing *p)
{
    return v_or(v_and(x, p->low), q_sll(q_srl(x, q_all(32)), p->upper));
}

static inline vec assemble(vec units, const packing *p)
{
    vec a = q_srl(q_perm(units, p->at[0]), p->right);
    vec b = q_sll(q_perm(units, p->at[1]), p->left[0]);
    vec c = q_sll(q_perm(units, p->at[2]), p->left[1]);
    return v_or(a, v_or(b, c));
}

/* A whole register is stored for each step, so the last steps are left to the caller. */
static size_t pack(uint8_t *out, size_t len, const uint32_t *x, size_t n, uint32_t bits,
                   uint32_t *any)
{
    const bool four = bits <= 16;
    const size_t lanes = four ? 2 * LANES : LANES, octets = lanes * bits / 8;
    packing p;
    packing_init(&p, bits, (four ? 4 : 2) * bits);
    vec seen = q_all(0);
    size_t done = 0;
    for (; n - done >= lanes && len >= sizeof(vec); done += lanes, out += octets, len -= octets) {
        vec units, first = v_load(x + done);
        seen = v_or(seen, first);
        if (four) {
            vec second = v_load(x + done + LANES);
            seen = v_or(seen, second);
            first = pairs(first, &p);
            second = pairs(second, &p);
            units = v_or(v_even(first, second), q_sll(v_odd(first, second), p.two));
        } else {
            units = pairs(first, &p);
        }
        v_store(out, assemble(units, &p));
    }
    uint32_t each[LANES];
    v_store(each, seen);
    for (size_t i = 0; i < LANES; i++) {
        *any |= each[i];
    }
    return done;
}

/* ---- unpack ---- */

/* Lane i lies in the words first[i] and first[i] + 1 of 32 bits. */
typedef struct unpacking {
    vec first, second, right, left, low;
} unpacking;

static void unpacking_init(unpacking *u, uint32_t bits)
{
    uint32_t first[LANES], second[LANES], right[LANES], left[LANES];
    for (uint32_t i = 0; i < LANES; i++) {
        first[i] = i * bits / 32;
        second[i] = (first[i] + 1) % LANES; /* of the last lane of 32 bits: shifted out */
        right[i] = i * bits % 32;
        left[i] = 32 - right[i];
    }
    u->first = v_load(first);
    u->second = v_load(second);
    u->right = v_load(right);
    u->left = v_load(left);
    u->low = d_all(UINT32_MAX >> (32 - bits));
}

static inline vec lanes_of(const uint8_t *in, const unpacking *u)
{
    vec w = v_load(in);
    return v_or(d_srl(d_perm(w, u->first), u->right), d_sll(d_perm(w, u->second), u->left));
}

static size_t unpack(uint32_t *x, size_t n, uint32_t bits, const uint8_t *in, size_t len)
{
    unpacking u;
    unpacking_init(&u, bits);
    size_t done = 0, octets = LANES * bits / 8;
    for (; n - done >= LANES && len >= sizeof(vec); done += LANES, in += octets, len -= octets) {
        v_store(x + done, v_and(lanes_of(in, &u), u.low));
    }
    return done;
}

static size_t unpack_add(uint32_t *acc, size_t n, uint32_t bits, const uint8_t *in, size_t len)
{
    unpacking u;
    unpacking_init(&u, bits);
    size_t done = 0, octets = LANES * bits / 8;
    for (; n - done >= LANES && len >= sizeof(vec); done += LANES, in += octets, len -= octets) {
        v_store(acc + done, v_and(d_add(v_load(acc + done), lanes_of(in, &u)), u.low));
    }
    return done;
}
