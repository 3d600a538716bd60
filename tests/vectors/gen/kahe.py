#!/usr/bin/env python3
"""Second implementation of crypto/kahe, crypto/packed and crypto/bulk, for tests/vectors/kahe.vec, from the
comments of plmm/kahe.h, plmm/packed.h and plmm/bulk.h.

Run by hand: python3 tests/vectors/gen/kahe.py > tests/vectors/kahe.vec
Needs only `cryptography` (AES); BLAKE2b is hashlib's.
"""
import hashlib
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Q0, Q1 = 1125899906826241, 1125899906629633
PSI = {Q0: 1094367314627419, Q1: 967006076000656}
SETS = {1: (2048, (Q0,), 32, 1, 32), 2: (4096, (Q0, Q1), 84, 3, 28)}
TEXT = b"plmm kahe public polynomials, 2026: none of our choosing"
LOW = (1 << 50) - 1


def out(name, value):
    print(f"{name}: {value.hex()}")


def blake2b(construction, label, msg, key=b""):
    assert len(construction) == 8 and len(label) == 8
    return hashlib.blake2b(msg, digest_size=32, key=key, person=construction + label).digest()


def words(secret, context, first, n):
    """plmm_mask_init and plmm_mask_fill with AES-256-CTR, as 64-bit words."""
    key = blake2b(b"plmm.kdf", b"mask.key", struct.pack("<I", 2) + context, secret)
    skip = first % 2
    counter = (first // 2).to_bytes(16, "big")
    stream = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(8 * (n + skip)))
    return list(struct.unpack(f"<{n + skip}Q", stream))[skip:]


def uniform(secret, context, first, n, q):
    return [w & LOW for w in words(secret, context, first, n + 64) if w & LOW < q][:n]


def key_stream(set_, secret, context):
    n, primes, *_ = SETS[set_]
    return [x for p, q in enumerate(primes) for x in uniform(secret, context, p << 16, n, q)]


def context_of(*octets):
    return bytes(octets) + bytes(32 - len(octets))


def public(set_, group, p):
    n, primes, *_ = SETS[set_]
    secret = blake2b(b"plmm.hsh", b"kahe.pub", TEXT)
    return [w & LOW if w & LOW < primes[p] else (w & LOW) - primes[p]
            for w in words(secret, context_of(set_, p), group << 16, 8 * n)]


def brv(i, bits):
    return int(format(i, f"0{bits}b")[::-1], 2)


def transform(c, q):
    """Values at psi^(2 brv(i) + 1): a recursive cyclic transform of c_j psi^j, then put in order."""
    n = len(c)
    psi = pow(PSI[q], 4096 // n, q)

    def cyclic(v, w):
        if len(v) == 1:
            return v
        even, odd = cyclic(v[0::2], w * w % q), cyclic(v[1::2], w * w % q)
        half, f, res = len(v) // 2, 1, [0] * len(v)
        for i in range(half):
            t = f * odd[i] % q
            res[i], res[i + half] = (even[i] + t) % q, (even[i] - t) % q
            f = f * w % q
        return res

    twisted = [x * pow(psi, j, q) % q for j, x in enumerate(c)]
    natural = cyclic(twisted, psi * psi % q)  # natural[i] = c(psi^(2 i + 1))
    bits = n.bit_length() - 1
    return [natural[brv(i, bits)] for i in range(n)]


def pack(residues):
    v = 0
    for i in range(0, len(residues), 8):
        for j, x in enumerate(residues[i:i + 8]):
            v |= x << (50 * j)
        yield v.to_bytes(50, "little")
        v = 0


def encrypt(set_, x, key, private_seed, context):
    n, primes, t, slots, bits = SETS[set_]
    secret = blake2b(b"plmm.kdf", b"kahe.err", b"", private_seed)
    block = n * slots
    blocks = -(-len(x) // block)
    octets = b""
    for g in range(-(-blocks // 8)):
        r = min(8, blocks - 8 * g)
        noise = words(secret, context, 8 * n * g, 8 * n)
        base = 8 * block * g
        at = lambda i: x[i] if i < len(x) else 0
        polys = [[sum(at(base + (s * n + i) * r + l) << (bits * s) for s in range(slots))
                  + ((bin(noise[8 * i + l]).count("1") - 32) << t) for i in range(n)] for l in range(r)]
        for p, q in enumerate(primes):
            a = public(set_, g, p)
            rows = [transform([c % q for c in poly], q) for poly in polys]
            residues = [(rows[l][i] + a[8 * i + l] * key[p * n + i]) % q for i in range(n) for l in range(r)]
            octets += b"".join(pack(residues))
    return octets


def le(v):
    return struct.pack(f"<{len(v)}Q", *v)


def packed(set_, key, seed, members, c):
    """Shares of all members by Lagrange interpolation through -1..-16 and 1..c."""
    n, primes, *_ = SETS[set_]
    rho, b = 16, n // 16
    secret = blake2b(b"plmm.kdf", b"kahe.shr", b"", seed)
    shares = [[] for _ in range(members)]
    for p, q in enumerate(primes):
        xs = [q - 1 - r for r in range(rho)] + list(range(1, c + 1))
        ys = [key[p * n + r * b:p * n + (r + 1) * b] for r in range(rho)]
        ys += [uniform(secret, context_of(set_), (p << 24) + (i << 14), b, q) for i in range(c)]
        for m in range(1, members + 1):
            if m <= c:
                row = ys[rho + m - 1]
            else:
                row = [0] * b
                for j, xj in enumerate(xs):
                    num = den = 1
                    for k, xk in enumerate(xs):
                        if k != j:
                            num, den = num * (m - xk) % q, den * (xj - xk) % q
                    w = num * pow(den, -1, q) % q
                    row = [(s + w * y) % q for s, y in zip(row, ys[j])]
            shares[m - 1] += row
    return shares


def bulk(v):
    leaves = b"".join(blake2b(b"plmm.lea", b"bulk.v1.", v[i:i + 8192]) for i in range(0, len(v), 8192))
    return blake2b(b"plmm.top", b"bulk.v1.", struct.pack("<Q", len(v)) + leaves)


print("# Made by tests/vectors/gen/kahe.py: see there and plmm/kahe.h, plmm/packed.h.")
seed, private, session = bytes(range(32)), bytes(range(100, 132)), bytes(range(200, 232))
for s, (size, qs, _, slot_n, _) in SETS.items():
    k = key_stream(s, blake2b(b"plmm.kdf", b"kahe.key", b"", seed), context_of(s))
    out(f"kahe.p{s}.key", le(k[:8] + k[-8:]))
    mask = key_stream(s, seed, session)
    k = [(a - b) % qs[i // size] for i, (a, b) in enumerate(zip(k, mask))]
    out(f"kahe.p{s}.masked", le(k[:8] + k[-8:]))
    out(f"kahe.p{s}.public", le(public(s, 0, 0)[:16]))
    vector = [i * 7919 % 200001 - 100000 for i in range(size * slot_n * 2 + 5)]
    out(f"kahe.p{s}.digest", blake2b(b"plmm.hsh", b"kahe.tst", encrypt(s, vector, k, private, session)))
    rows = packed(s, k, private, 23, 5)
    out(f"packed.p{s}.digest", blake2b(b"plmm.hsh", b"kahe.tst", b"".join(b"".join(pack(r)) for r in rows)))
out("bulk.300000", bulk(bytes((i * i + i // 8192) % 256 for i in range(300000))))
