#!/usr/bin/env python3
"""Exact probabilities of the noise tables, for tests/vectors/noise.vec.

Run by hand: python3 tests/vectors/gen/noise.py > tests/vectors/noise.vec
Needs mpmath, and computes nothing as crypto/ does: Skellam's by the integral of its characteristic function (a
trapezoid sum, exact to the aliases P(k + 2^14)), the discrete Gaussian's by summing exp(-k^2 / 2v) itself.

mass.KIND.UNITS: (k as 4 octets, the nearest integer to 2^93 P(|X| = k) as 12 octets), little-endian, repeated.
"""
import struct

import mpmath as mp

mp.mp.prec = 420
POINTS = 1 << 14


def skellam(v, ks):
    total = {k: mp.mpf(0) for k in ks}
    for j in range(POINTS // 2 + 1):
        t = 2 * mp.pi * j / POINTS
        w = mp.e ** (v * (mp.cos(t) - 1)) * (1 if j in (0, POINTS // 2) else 2)
        if w < mp.mpf(2) ** -300:
            continue
        for k in ks:
            total[k] += w * mp.cos(k * t)
    return {k: total[k] / POINTS for k in ks}


def gaussian(v, ks):
    norm, k = mp.mpf(1), 1
    q = mp.e ** (-1 / (2 * v))
    term, step = mp.mpf(1), q
    while term > mp.mpf(2) ** -300:
        term *= step
        step *= q * q
        norm += 2 * term
    return {k: mp.e ** (-mp.mpf(k) ** 2 / (2 * v)) / norm for k in ks}


def main():
    print("# Made by tests/vectors/gen/noise.py, which says how. name: hex")
    for name, pmf in (("skellam", skellam), ("gaussian", gaussian)):
        for units in (1, 3, 16, 100, 256, 5000, 16384, 250001, 1617984, 1800000):
            sd = (units / 16) ** 0.5
            ks = sorted({int(sd * f) for f in (0, 0.2, 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10.8)} | {1, 2, 3, 7, 12, 20})
            p = pmf(mp.mpf(units) / 16, ks)
            out = b""
            for k in ks:
                if k > 0:
                    mass = int(mp.nint(2 * p[k] * mp.mpf(2) ** 93))
                    out += struct.pack("<I", k) + mass.to_bytes(12, "little")
            print(f"mass.{name}.{units}: {out.hex()}")


main()
