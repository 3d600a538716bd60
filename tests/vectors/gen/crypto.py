#!/usr/bin/env python3
"""Second implementation of crypto/, for tests/vectors/crypto.vec.

Run by hand: python3 tests/vectors/gen/crypto.py > tests/vectors/crypto.vec
Needs only `cryptography` (Ed25519, X25519, ChaCha20, Poly1305); BLAKE2b is hashlib's, everything else is
written here from the header comments. Published vectors are asserted before anything is written:
RFC 8439 A.1, FIPS 197 A.3 and C.3, NIST SP 800-38A F.5.5, RFC 8032 7.1, RFC 7748 6.1, draft-irtf-cfrg-xchacha-03 A.3.1, RFC 7693 (BLAKE2b), and the
Shamir shares of google-parfait/federated-compute fcp/secagg/shared/shamir_secret_sharing_test.cc.
"""
import hashlib
import itertools
import math
import struct
from fractions import Fraction

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

P = 2147483659


def le32(v):
    return struct.pack("<I", v)


def le64(v):
    return struct.pack("<Q", v)


def out(name, value):
    print(f"{name}: {value.hex()}")


def raw_pk(k):
    return k.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


# ---- keys.h ----

def blake2b(size, construction, label, msg, key=b""):
    assert len(construction) == 8 and len(label) == 8
    return hashlib.blake2b(msg, digest_size=size, key=key, person=construction + label).digest()


def kdf(key, label, info=b""):
    return blake2b(32, b"plmm.kdf", label, info, key)


def chacha20(key, counter, n):
    c = Cipher(algorithms.ChaCha20(key, le32(counter) + bytes(12)), None).encryptor()
    return c.update(bytes(n))


def aes_ctr(key, counter, n):
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(n))


def expand(seed, label, n):
    return chacha20(kdf(seed, label), 0, n)


def transcript(label, fields):
    return blake2b(32, b"plmm.trn", label, b"".join(le64(len(f)) + f for f in fields))


def sign(seed, label, msg):
    digest = hashlib.blake2b(msg, digest_size=32).digest()
    return Ed25519PrivateKey.from_private_bytes(seed).sign(b"plmm.sig" + label + digest)


def agree(sk, peer, label):
    k = X25519PrivateKey.from_private_bytes(sk)
    own = raw_pk(k)
    both = sorted([own, peer], key=lambda b: int.from_bytes(b, "little"))
    return kdf(k.exchange(X25519PublicKey.from_public_bytes(peer)), label, both[0] + both[1])


def montgomery(ed):
    """The Curve25519 key of an Ed25519 one: u = (1 + y) / (1 - y), RFC 7748 4.1."""
    p = 2**255 - 19
    y = int.from_bytes(ed, "little") & (2**255 - 1)
    return ((1 + y) * pow(1 - y, -1, p) % p).to_bytes(32, "little")


def identity_agree(seed, peer, label, info):
    own = raw_pk(Ed25519PrivateKey.from_private_bytes(seed))
    sk = X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
    assert raw_pk(sk) == montgomery(own)
    both = sorted([own, peer], key=lambda b: int.from_bytes(b, "little"))
    raw = sk.exchange(X25519PublicKey.from_public_bytes(montgomery(peer)))
    return kdf(raw, label, both[0] + both[1] + info)


# ---- seal.h ----

def hchacha20(key, nonce):
    """First and last rows of the ChaCha20 state after the rounds, without the final addition."""
    s = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key))
    s += list(struct.unpack("<4I", nonce))

    def rotl(x, k):
        return ((x << k) | (x >> (32 - k))) & 0xFFFFFFFF

    def quarter(a, b, c, d):
        for x, y, z, k in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[x] = (s[x] + s[y]) & 0xFFFFFFFF
            s[z] = rotl(s[z] ^ s[x], k)

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *(s[:4] + s[12:]))


def seal(key, nonce, ad, msg):
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], msg, ad)


# ---- mask.h ----

def mask_key(secret, stream, context):
    return kdf(secret, b"mask.key", le32(stream) + context)


def mask_lanes(key, offset, n, bits, aes=False):
    if aes:
        stream = aes_ctr(key, (offset // 4).to_bytes(16, "big"), 4 * n + 16)[4 * (offset % 4):]
    else:
        stream = chacha20(key, offset // 16, 64 * (n // 16 + 2))[4 * (offset % 16):]
    return [v % 2**bits for v in struct.unpack(f"<{n}I", stream[:4 * n])]


# ---- shamir.h ----

def combine(points):
    """Value at 0 of the polynomial through the points."""
    total = 0
    for i, (xi, yi) in enumerate(points):
        num = den = 1
        for j, (xj, _) in enumerate(points):
            if i != j:
                num = num * -xj % P
                den = den * (xi - xj) % P
        total = (total + yi * num * pow(den, P - 2, P)) % P
    return total


def split(secret, seed, t, xs):
    value = int.from_bytes(secret, "little")
    shares = [[] for _ in xs]
    b = expand(seed, b"shamir.c", 16 * 9 * t)
    for l in range(9):
        c = [value >> 31 * l & 0x7FFFFFFF]
        c += [int.from_bytes(b[16 * (9 * k + l):16 * (9 * k + l) + 16], "little") % P
              for k in range(1, t)]
        for s, x in zip(shares, xs):
            s.append(sum(ck * pow(x, k, P) for k, ck in enumerate(c)) % P)
    return [b"".join(le32(v) for v in s) for s in shares]


# ---- encode.h ----

def encode(delta, clip, q, weight_max, bits, weight, seed):
    s = [0.0] * 32
    for i, v in enumerate(delta):
        s[i % 32] += v * v
    while len(s) > 1:
        s = [a + b for a, b in zip(s, s[len(s) // 2:])]
    norm = math.sqrt(s[0])
    most = 2 ** (q - 1) - 1
    scale = float(most) / (clip * float(weight_max))
    factor = (clip / norm if norm > clip else 1.0) * float(weight) * scale
    key = kdf(kdf(seed, b"round.v3"), b"mask.key", le32(2) + bytes(32))
    words = struct.unpack(f"<{len(delta)}I", aes_ctr(key, bytes(16), 4 * len(delta)))
    x = []
    for v, w in zip(delta, words):
        y = Fraction(max(-float(most), min(float(most), v * factor)))
        f = math.floor(y)
        x.append((f + (1 if w < (y - f) * 2**32 else 0)) % 2**bits)
    return x + [weight], norm


def pack(x, bits):
    value = sum(v << (bits * i) for i, v in enumerate(x))
    return value.to_bytes((len(x) * bits + 7) // 8, "little")


def words(x):
    return b"".join(le32(v) for v in x)


# ---- published values first ----

def published():
    h = bytes.fromhex
    a1 = [
        (bytes(32), 0, "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
                       "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"),
        (bytes(32), 1, "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
                       "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"),
        (bytes(31) + b"\x01", 1, "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
                                 "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0"),
        (b"\x00\xff" + bytes(30), 2,
         "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
         "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096"),
    ]
    for i, (key, counter, want) in enumerate(a1):
        assert chacha20(key, counter, 64) == h(want), i
        out(f"rfc8439.a1.{i + 1}", key + le32(counter) + h(want))
    seed = h("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    pk = h("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert raw_pk(Ed25519PrivateKey.from_private_bytes(seed)) == pk
    out("rfc8032.seed", seed)
    out("rfc8032.pk", pk)
    alice = h("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = h("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    a_pk = h("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    b_pk = raw_pk(X25519PrivateKey.from_private_bytes(bob))
    shared = h("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert raw_pk(X25519PrivateKey.from_private_bytes(alice)) == a_pk
    k = X25519PrivateKey.from_private_bytes(alice)
    assert k.exchange(X25519PublicKey.from_public_bytes(b_pk)) == shared
    assert agree(alice, b_pk, b"test.dh1") == agree(bob, a_pk, b"test.dh1")
    out("rfc7748.alice", alice + a_pk)
    out("rfc7748.bob", bob + b_pk)
    out("agree.key", agree(alice, b_pk, b"test.dh1"))
    key = bytes(range(0x80, 0xa0))
    nonce = bytes(range(0x40, 0x58))
    ad = h("50515253c0c1c2c3c4c5c6c7")
    msg = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
           b"future, sunscreen would be it.")
    box = h("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f"
            "4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f"
            "76b2383565d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49")
    assert seal(key, nonce, ad, msg) == box
    out("xchacha.key", key)
    out("xchacha.nonce", nonce)
    out("xchacha.ad", ad)
    out("xchacha.msg", msg)
    out("xchacha.box", box)
    abc = h("bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319")
    assert hashlib.blake2b(b"abc", digest_size=32).digest() == abc
    out("blake2b256.abc", abc)
    fcp = ["70cf762e6ed4aa1c", "30a0c5ac26eb91cc", "3f73ee902844b747", "1d48f0cf72e01a8d",
           "4a1fcc7406bdbb88"]
    for three in itertools.combinations(range(5), 3):
        for limb, want in ((0, 0), (1, 33)):
            points = [(i + 1, int(fcp[i][8 * limb:8 * limb + 8], 16)) for i in three]
            assert combine(points) == want
    out("fcp.shares", h("".join(fcp)))
    key, text = bytes(range(32)), h("00112233445566778899aabbccddeeff")
    block = h("8ea2b7ca516745bfeafc49904b496089")
    assert Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(text) == block
    out("fips197.c3", key + text + block)
    key = h("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    out("fips197.a3", key + h("fe4890d1e6188d0b046df344706c631e"))  # w[56..59]
    counter = bytes(range(0xf0, 0x100))
    text = h("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
             "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
    box = h("601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
            "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6")
    stream = bytes(a ^ b for a, b in zip(text, box))
    assert aes_ctr(key, counter, 64) == stream
    out("sp800-38a.f55", key + counter + stream)


# ---- then our own constructions ----

def own():
    seed = bytes(range(32))
    label = b"test.lbl"
    out("kdf.out", kdf(seed, label, b"info"))
    out("seed_derive.7", kdf(seed, label, le64(7)))
    out("expand.100", expand(seed, label, 100))
    out("hash.abc", blake2b(32, b"plmm.hsh", label, b"abc"))
    fields = [b"ab", b"", b"plmm", le64(2**40 + 1), struct.pack("<d", -0.1)]
    out("transcript.out", transcript(label, fields))
    out("sign.out", sign(seed, label, b"message"))
    other = bytes([9]) + bytes(31)
    pk, other_pk = (raw_pk(Ed25519PrivateKey.from_private_bytes(s)) for s in (seed, other))
    assert (identity_agree(seed, other_pk, b"test.id1", b"art")
            == identity_agree(other, pk, b"test.id1", b"art"))
    out("identity_agree.key", identity_agree(seed, other_pk, b"test.id1", b"art"))
    out("nonce_seed.out", kdf(seed, b"nonce.r1")[:24])
    out("mac.out", blake2b(16, b"plmm.mac", label, b"message", key=seed))
    context = hashlib.blake2b(b"context", digest_size=32).digest()
    out("mask.context", context)
    key = mask_key(seed, 1, context)
    out("mask.key", key)
    out("mask.b32.at0", words(mask_lanes(key, 0, 40, 32)))
    out("mask.b20.at1003", words(mask_lanes(key, 1003, 40, 20)))
    key = mask_key(seed, 2, context)
    out("mask.aes.key", key)
    out("mask.aes.b32.at0", words(mask_lanes(key, 0, 40, 32, True)))
    out("mask.aes.b20.at1003", words(mask_lanes(key, 1003, 40, 20, True)))
    out("mask.aes.b32.end", words(mask_lanes(key, 2**34 - 40, 40, 32, True)))
    secret = hashlib.blake2b(b"secret", digest_size=32).digest()
    out("shamir.secret", secret)
    for name, t, xs in (("a", 3, [1, 2, 3, 4, 5]), ("b", 7, [P - 1, 12, 7, 2**31, 9, 1000003, 40]),
                        ("long", 70, list(range(3, 74)))):
        shares = split(secret, seed, t, xs)
        for pick in itertools.combinations(range(len(xs)), t):
            limbs = [combine([(xs[i], struct.unpack_from("<I", shares[i], 4 * l)[0]) for i in pick])
                     for l in range(9)]
            assert sum(v << 31 * l for l, v in enumerate(limbs)) == int.from_bytes(secret, "little")
        out(f"shamir.{name}.points", words(xs))
        out(f"shamir.{name}.shares", b"".join(shares))
    delta = struct.unpack("<37f", struct.pack("<37f", *(math.sin(i) * 0.3 for i in range(37))))
    out("encode.delta", struct.pack("<37f", *delta))
    for name, clip, q, w_max, bits, w in (("clipped", 0.5, 16, 20, 24, 7), ("whole", 4.0, 12, 1, 19, 1)):
        x, norm = encode(delta, clip, q, w_max, bits, w, seed)
        out(f"encode.{name}.params", struct.pack("<dIIII", clip, q, w_max, bits, w))
        out(f"encode.{name}.norm", struct.pack("<d", norm))
        out(f"encode.{name}.lanes", words(x))
        out(f"encode.{name}.packed", pack(x, bits))


print("# Made by tests/vectors/gen/crypto.py, which says where each value comes from. name: hex")
published()
own()
