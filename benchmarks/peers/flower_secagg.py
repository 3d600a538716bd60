#!/usr/bin/env python3
"""What Flower's own SecAgg+ functions cost for one device, and at the server for each device.

By hand, never part of the build or the tests:
    python3 -m venv /tmp/flower && /tmp/flower/bin/pip install 'flwr==1.28.*'
    /tmp/flower/bin/python benchmarks/peers/flower_secagg.py > /tmp/flower.json
    build/release/benchmarks/bench_round secagg --flower /tmp/flower.json

The functions are called as Flower's client mod and server workflow call them (`_setup`, `_share_keys`,
`_collect_masked_vectors`, `_unmask`; `combine_shares`, `generate_shared_key`, `pseudo_rand_gen`), without
messages, serialisation of records or a network. Seconds are CPU seconds of this process, the least of
--repeat runs. One JSON line a result: `device` by stage with its bytes up; `server` for each survivor and
each dropped device, both from the least number of shares that suffices (t) and from all that the workflow
combines (`_all`). The sum of a small round is checked first.
"""

import argparse
import importlib
import json
import sys
import time

import numpy as np

import flwr
from flwr.common import ndarray_to_bytes, ndarrays_to_parameters
from flwr.common.parameter import bytes_to_ndarray
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import (
    pseudo_rand_gen,
    share_keys_plaintext_concat,
)
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key

mod = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")

MOD_RANGE = 1 << 32  # the defaults of SecAggPlusWorkflow
TARGET_RANGE = 1 << 22
CLIP = 8.0
WEIGHT_MAX = 1000.0


def cpu(f, repeat):
    """(least CPU seconds, last result) of f()."""
    best, out = float("inf"), None
    for _ in range(repeat):
        t0 = time.process_time()
        out = f()
        best = min(best, time.process_time() - t0)
    return best, out


def configs(k, t):
    """What the server tells a device at the beginning: it counts itself among k + 1 shares."""
    return {
        Key.SAMPLE_NUMBER: k + 1,
        Key.SHARE_NUMBER: k + 1,
        Key.THRESHOLD: t,
        Key.CLIPPING_RANGE: CLIP,
        Key.TARGET_RANGE: TARGET_RANGE,
        Key.MOD_RANGE: MOD_RANGE,
        Key.MAX_WEIGHT: WEIGHT_MAX,
    }


def new_state(nid, k, t):
    """A device after stage 0, with its public keys."""
    state = mod.SecAggPlusState(nid=nid)
    keys = mod._setup(state, configs(k, t))
    return state, [keys[Key.PUBLIC_KEY_1], keys[Key.PUBLIC_KEY_2]]


def boxes_for(dst, others, k, t):
    """Each other device's sealed shares for dst. All deal shares of the same right size."""
    seed = create_shares(others[0].rd_seed or bytes(32), t, k + 1)[0]
    secret = create_shares(others[0].sk1, t, k + 1)[0]
    srcs, boxes = [], []
    for o in others:
        key = generate_shared_key(bytes_to_private_key(o.sk2), bytes_to_public_key(dst.pk2))
        srcs.append(o.nid)
        boxes.append(encrypt(key, share_keys_plaintext_concat(o.nid, dst.nid, seed, secret)))
    return {Key.CIPHERTEXT_LIST: boxes, Key.SOURCE_LIST: srcs}


def measure_device(k, t, d, repeat):
    """One device of k neighbours and d coordinates through all its stages."""
    states, keys = {}, {}
    for nid in range(1, k + 2):
        states[nid], keys[nid] = new_state(nid, k, t)
    me = states[1]
    setup, _ = cpu(lambda: mod._setup(mod.SecAggPlusState(nid=1), configs(k, t)), repeat)
    named = {str(nid): pair for nid, pair in keys.items()}
    share, shared = cpu(lambda: mod._share_keys(me, dict(named)), repeat)
    incoming = boxes_for(me, [states[n] for n in range(2, k + 2)], k, t)
    update = ndarrays_to_parameters([np.random.rand(d).astype(np.float32) - 0.5])
    collect, out = cpu(lambda: mod._collect_masked_vectors(me, incoming, 500, update), repeat)
    dead = k // 10
    ask = {
        Key.ACTIVE_NODE_ID_LIST: list(range(1, k + 2 - dead)),
        Key.DEAD_NODE_ID_LIST: list(range(k + 2 - dead, k + 2)),
    }
    unmask, revealed = cpu(lambda: mod._unmask(me, ask), repeat)
    up = sum(len(b) for b in out[Key.MASKED_PARAMETERS])
    sealed = sum(len(b) for b in shared[Key.CIPHERTEXT_LIST])
    shares = sum(len(b) for b in revealed[Key.SHARE_LIST])
    total = setup + share + collect + unmask
    return {
        "side": "device", "k": k, "t": t, "d": d, "setup_s": setup, "share_keys_s": share,
        "collect_s": collect, "unmask_s": unmask, "device_s": total,
        "up_bytes": up + sealed + shares + sum(len(b) for b in keys[1]), "vector_bytes": up,
    }


def measure_server(k, t, d, repeat):
    """The server's work for one survivor and for one dropped device."""
    owner, _ = new_state(1, k, t)
    neighbours = [new_state(n, k, t)[1][0] for n in range(2, k + 2)]
    alive = k + 1 - k // 10
    seed = b"\x07" * 32
    vector = [np.zeros(d, dtype=np.int64)]
    payload = ndarray_to_bytes(np.zeros(d, dtype=np.int64))
    of_seed, of_key = create_shares(seed, t, k + 1), create_shares(owner.sk1, t, k + 1)

    def gather():
        return parameters_addition(vector, [bytes_to_ndarray(payload)])

    def self_mask():
        return parameters_subtraction(vector, pseudo_rand_gen(seed, MOD_RANGE, [(d,)]))

    def pair_masks():
        out = vector
        for pk in neighbours:
            key = generate_shared_key(bytes_to_private_key(owner.sk1), bytes_to_public_key(pk))
            out = parameters_subtraction(out, pseudo_rand_gen(key, MOD_RANGE, [(d,)]))
        return out

    add, _ = cpu(gather, repeat)
    one, _ = cpu(self_mask, repeat)
    pairs, _ = cpu(pair_masks, repeat)
    line = {"side": "server", "k": k, "t": t, "d": d, "add_s": add, "self_mask_s": one,
            "pair_masks_s": pairs}
    for name, shares, secret in (("seed", of_seed, seed), ("key", of_key, owner.sk1)):
        for suffix, count in (("", t), ("_all", alive)):
            s, got = cpu(lambda: combine_shares(shares[:count]), repeat)
            if got != secret:
                sys.exit("shares do not combine")
            line[f"combine_{name}{suffix}_s"] = s
    for suffix in ("", "_all"):
        line[f"survivor{suffix}_s"] = add + one + line[f"combine_seed{suffix}_s"]
        line[f"dropped{suffix}_s"] = pairs + line[f"combine_key{suffix}_s"]
    return line


def check_round(n, d):
    """A whole round of n devices on a complete graph by the same functions: the masks cancel."""
    t = n // 2 + 1
    states, keys = {}, {}
    for nid in range(1, n + 1):
        states[nid], keys[nid] = new_state(nid, n - 1, t)
    named = {str(nid): pair for nid, pair in keys.items()}
    boxes = {nid: ([], []) for nid in states}
    for nid, s in states.items():
        out = mod._share_keys(s, dict(named))
        for to, box in zip(out[Key.DESTINATION_LIST], out[Key.CIPHERTEXT_LIST]):
            boxes[to][0].append(box)
            boxes[to][1].append(nid)
    total = [np.zeros(1, dtype=np.int64), np.zeros(d, dtype=np.int64)]
    for nid, s in states.items():
        update = ndarrays_to_parameters([np.full(d, 1.0, dtype=np.float32)])
        c = {Key.CIPHERTEXT_LIST: boxes[nid][0], Key.SOURCE_LIST: boxes[nid][1]}
        out = mod._collect_masked_vectors(s, c, int(WEIGHT_MAX), update)
        got = [bytes_to_ndarray(b) for b in out[Key.MASKED_PARAMETERS]]
        total = [a + b for a, b in zip(total, got)]
    for nid, s in states.items():
        shares = [o.rd_seed_share_dict[nid] for o in list(states.values())[:t]]
        dims = [v.shape for v in total]
        total = parameters_subtraction(total, pseudo_rand_gen(combine_shares(shares), MOD_RANGE, dims))
    total = parameters_mod(total, MOD_RANGE)
    want = n * round((1.0 + CLIP) * TARGET_RANGE / (2 * CLIP))
    if np.abs(total[1].astype(np.int64) - want).max() > n:
        sys.exit("the masks do not cancel: nothing measured here means anything")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--size", action="append", metavar="K,T,D",
                   help="neighbours, threshold, coordinates (default: 96,67,1000000, 96,67,50000 and 100,67,50000)")
    a = p.parse_args()
    sizes = [tuple(int(x) for x in s.split(",")) for s in a.size or ["96,67,1000000", "96,67,50000", "100,67,50000"]]
    check_round(5, 1000)
    for k, t, d in sizes:
        for line in (measure_device(k, t, d, a.repeat), measure_server(k, t, d, a.repeat)):
            line = {"peer": f"flower {flwr.__version__}", **line}
            print(json.dumps({x: round(y, 6) if isinstance(y, float) else y for x, y in line.items()}),
                  flush=True)


if __name__ == "__main__":
    main()
