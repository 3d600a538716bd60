#!/usr/bin/env python3
"""Our privacy accountants beside google/differential-privacy's dp_accounting and mpmath. By hand:

    pip install dp-accounting mpmath
    tests/dp_oracle.py build/release/tests/dump_account

Prints, for each kind of value, how many were compared and the largest relative difference; exit status 1 if one is
beyond its bound or if we claim less than what is exact.
"""
import math
import subprocess
import sys

import mpmath as mp
from absl import logging
from dp_accounting import NeighboringRelation, dp_event, rdp
from dp_accounting.pld import privacy_loss_distribution as pld

mp.mp.dps = 40
logging.set_verbosity(logging.ERROR)
failed = False


def ours(program, questions):
    lines = "".join(" ".join(map(repr, q)).replace("'", "") + "\n" for q in questions)
    out = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return [float(x) for x in out.stdout.split()]


def compare(what, got, want, bound, least=None):
    """least: relative slack below `want` that is allowed, if it is exact or a lower bound."""
    global failed
    worst = max(abs(g - w) / abs(w) for g, w in zip(got, want))
    low = min((g - w) / abs(w) for g, w in zip(got, want))
    bad = worst > bound or (least is not None and low < -least)
    failed |= bad
    print(f"{what}: {len(got)} values, largest difference {worst:.2e}, lowest {low:+.2e}{'  FAILED' if bad else ''}")


def exact_order(a, z, q):
    """Renyi divergence by 40-digit quadrature."""
    a, z, q = (mp.mpf(repr(float(v))) for v in (a, z, q))

    def f(x):
        return mp.npdf(x, 0, z) * (1 - q + q * mp.exp((2 * x - 1) / (2 * z * z))) ** a

    points = [-40 * z, -10 * z, -3 * z, 0, a / 2, a, a + 3 * z, a + 10 * z, a + 40 * z]
    return float(mp.log(mp.quad(f, sorted(points))) / (a - 1))


def exact_gaussian(z, e):
    z, e = mp.mpf(repr(z)), mp.mpf(repr(e))
    return float(mp.ncdf(1 / (2 * z) - e * z) - mp.exp(e) * mp.ncdf(-1 / (2 * z) - e * z))


def their_epsilon(q, z, t, delta):
    a = rdp.RdpAccountant()
    a.compose(dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(z)), t)
    return a.get_epsilon(delta)


def tree_epsilon(z, leaves, trees, delta):
    a = rdp.RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_SPECIAL)
    a.compose(dp_event.SingleEpochTreeAggregationDpEvent(z, leaves), trees)
    return a.get_epsilon(delta)


def main(program):
    orders = [(a, z, q) for a in (1.1, 1.25, 1.5, 2.5, 3.9, 6.3, 10.9) for z in (0.3, 0.5, 1.0, 2.5, 8.0)
              for q in (1e-4, 0.01, 0.1, 0.5)]
    compare("fractional orders, mpmath", ours(program, [("order", *o) for o in orders]),
            [exact_order(*o) for o in orders], 1e-8, 1e-8)
    whole = [(a, z, q) for a in (2, 3, 7, 16, 63, 256) for z in (0.5, 1.0, 2.5, 8.0) for q in (1e-4, 0.01, 0.1, 0.5)]
    compare("integer orders, dp_accounting", ours(program, [("order", *o) for o in whole]),
            [float(rdp.rdp_privacy_accountant._compute_log_a_int(q, z, a) / (a - 1)) for a, z, q in whole], 1e-6)
    wor = [(a, z, q) for a in (2, 3, 5, 8, 16, 33, 64, 2.5, 7.3) for z in (1.0, 2.0, 5.0) for q in (0.01, 0.1)]
    compare("without replacement, dp_accounting", ours(program, [("wor", *o) for o in wor]),
            [float(rdp.rdp_privacy_accountant._compute_rdp_sample_wor_gaussian_scalar(q, z, a)) for a, z, q in wor],
            1e-3)
    sums = [(1.0, 1.0, 1, 1e-5), (0.01, 1.0, 1000, 1e-5), (0.01, 0.7, 5000, 1e-5), (0.1, 1.0, 100, 1e-5),
            (0.1, 2.0, 100, 1e-6), (0.05, 0.8, 200, 1e-6), (0.004, 1.1, 10000, 1e-5), (0.5, 4.0, 300, 1e-7),
            (0.001, 0.8, 1000, 1e-6), (0.02, 1.3, 10000, 1e-6)]
    got = ours(program, [("rdp", *s) for s in sums])
    # Their series at fractional orders adds magnitudes of terms of both signs, and is above the exact value.
    as_is = [their_epsilon(*s) for s in sums]
    print(f"epsilon by Renyi divergence, dp_accounting as it is: ours is lower by up to "
          f"{max((t - g) / t for g, t in zip(got, as_is)):.2e}")
    rdp.rdp_privacy_accountant._compute_log_a_frac = lambda q, z, a: exact_order(a, z, q) * (a - 1)
    compare("epsilon by Renyi divergence, dp_accounting with exact fractional orders", got,
            [their_epsilon(*s) for s in sums], 1e-3, 1e-6)
    theirs = [pld.from_gaussian_mechanism(z, sampling_prob=q, value_discretization_interval=1e-4).self_compose(t)
              .get_epsilon_for_delta(d) for q, z, t, d in sums]
    compare("epsilon by loss distributions, dp_accounting", ours(program, [("pld", *s) for s in sums]), theirs, 1e-3)
    plain = [(1.0, z, t, d) for z, t, d in ((1.0, 1, 1e-5), (10.0, 100, 1e-5), (50.0, 10000, 1e-6), (3.0, 20, 1e-8))]
    exact = []
    for _, z, t, d in plain:
        zt = z / math.sqrt(t)
        exact.append(float(mp.findroot(lambda e: mp.log(exact_gaussian(zt, float(e))) - mp.log(d), (0.5, 3.0),
                                       solver="anderson", tol=1e-20, verify=False)))
    compare("loss distributions, exact Gaussian", ours(program, [("pld", *p) for p in plain]), exact, 1e-3, 1e-12)
    trees = [(z, leaves, t, d) for z in (0.7, 2.0, 8.83) for leaves in (1, 2, 3, 4, 31, 32, 1000) for t in (1, 5)
             for d in (1e-5, 1e-8)]
    compare("tree aggregation, dp_accounting", ours(program, [("tree", *x) for x in trees]),
            [tree_epsilon(*x) for x in trees], 1e-3)
    deltas = [(z, e) for z in (0.5, 1.0, 4.5, 30.0) for e in (0.1, 1.0, 4.0)]
    deltas = [p for p in deltas if exact_gaussian(*p) > 1e-300]
    compare("delta of the Gaussian, mpmath", ours(program, [("delta", *p) for p in deltas]),
            [exact_gaussian(*p) for p in deltas], 1e-10)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
