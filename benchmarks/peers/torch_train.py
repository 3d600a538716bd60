#!/usr/bin/env python3
"""The LoRA step of bench_train in PyTorch, and the ratio to ours on the same machine.

By hand, never part of the build or the tests (python3-torch, Debian 12's 1.13.1, or a PyPI torch):
    /usr/bin/python3 benchmarks/peers/torch_train.py build/release/benchmarks/bench_train [SHAPE ...]

The model is bench_train's: RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied head,
random weights; adapters of rank 8 on q, k, v, o; forward, backward, clipping at norm 1, AdamW. The base
is frozen. PyTorch runs in a process of its own with one thread, then with two; ours as one process, and
as two at once (a device a core). Medians of wall time over --seconds; one JSON line a shape:
  torch_1_ms, torch_2_ms     a step with one and two threads
  ours_B_1_ms, ours_B_2_ms   with a base in B (f32, bf16): a step alone, and half a step while another
                             process does the same
  ratio_B_1, ratio_B_2       torch / ours; the second takes the better of torch's two settings
  ratio_B_cpu                the same of processor time, one thread each: what neighbours take of the
                             machine does not count
OPENBLAS_CORETYPE is left as it is, and printed: an OpenBLAS older than the processor falls back to slow
kernels unless it names a newer core (SkylakeX).
"""
import json
import math
import os
import subprocess
import sys
import time

SHAPES = {  # dim, layers, heads, kv heads, hidden, vocab, seq, batch: as in bench_train.c
    "i": (64, 4, 4, 4, 192, 512, 64, 4),
    "ii": (128, 6, 4, 4, 384, 1024, 128, 4),
    "iii": (288, 6, 6, 6, 768, 32000, 128, 4),
    "iv": (576, 30, 9, 3, 1536, 49152, 128, 1),
}
RANK, ALPHA = 8, 16.0


def median(times):
    return sorted(times)[len(times) // 2]


def torch_step_ms(shape, threads, seconds):
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    dim, layers, heads, kv_heads, hidden, vocab, seq, batch = SHAPES[shape]
    head = dim // heads
    kv = head * kv_heads

    def weight(out, inner):
        return torch.randn(out, inner) * 0.02

    def adapter(out, inner):
        a, b = torch.randn(RANK, inner) / math.sqrt(inner), torch.zeros(out, RANK)
        return a.requires_grad_(), b.requires_grad_()

    base, adapters = [], []
    for _ in range(layers):
        base.append([weight(dim, dim), weight(kv, dim), weight(kv, dim), weight(dim, dim),
                     weight(hidden, dim), weight(hidden, dim), weight(dim, hidden)])
        adapters.append([adapter(dim, dim), adapter(kv, dim), adapter(kv, dim), adapter(dim, dim)])
    embed = weight(vocab, dim)
    angle = torch.outer(torch.arange(seq).float(),
                        10000 ** (-torch.arange(0, head, 2).float() / head))
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    mask = torch.full((seq, seq), -math.inf).triu(1)

    def norm(x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)

    def rotate(x):
        half = x.shape[-1] // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def adapted(x, w, ab):
        return F.linear(x, w) + F.linear(F.linear(x, ab[0]), ab[1]) * (ALPHA / RANK)

    def attend(q, k, v):
        if hasattr(F, "scaled_dot_product_attention"):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(head) + mask, -1) @ v

    def layer(x, w, ab):
        n = norm(x)

        def split(y, count):
            return y.view(batch, seq, count, head).transpose(1, 2)

        q = rotate(split(adapted(n, w[0], ab[0]), heads))
        k = rotate(split(adapted(n, w[1], ab[1]), kv_heads))
        v = split(adapted(n, w[2], ab[2]), kv_heads)
        if heads != kv_heads:
            k = k.repeat_interleave(heads // kv_heads, 1)
            v = v.repeat_interleave(heads // kv_heads, 1)
        mix = attend(q, k, v).transpose(1, 2).reshape(batch, seq, dim)
        x = x + adapted(mix, w[3], ab[3])
        n = norm(x)
        return x + F.linear(F.silu(F.linear(n, w[4])) * F.linear(n, w[5]), w[6])

    tokens = torch.randint(vocab, (batch, seq))
    targets = torch.randint(vocab, (batch * seq,))
    trained = [f for ab in adapters for pair in ab for f in pair]
    optimiser = torch.optim.AdamW(trained, lr=1e-3)

    def step():
        optimiser.zero_grad()
        x = embed[tokens]
        for w, ab in zip(base, adapters):
            x = layer(x, w, ab)
        loss = F.cross_entropy(F.linear(norm(x), embed).view(-1, vocab), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()

    step()
    times, cpu, begin = [], [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        t, c = time.perf_counter(), time.process_time()
        step()
        times.append(time.perf_counter() - t)
        cpu.append(time.process_time() - c)
    return 1e3 * median(times), 1e3 * median(cpu), torch.__version__


def measure_torch(shape, threads, seconds):
    """In a process of its own: thread counts of BLAS are fixed when it is loaded."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
    out = subprocess.run([sys.executable, __file__, "--torch", shape, str(threads), str(seconds)],
                         env=env, check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def start_ours(bench, shape, base, seconds):
    return subprocess.Popen([bench, shape, str(seconds), base], stdout=subprocess.PIPE, text=True)


def first_line(process):
    out, _ = process.communicate()
    return json.loads(out.splitlines()[0])


def main(args):
    seconds = 3.0
    if "--seconds" in args:
        at = args.index("--seconds")
        seconds = float(args[at + 1])
        del args[at:at + 2]
    if not args:
        sys.exit(__doc__)
    bench, shapes = args[0], args[1:] or list(SHAPES)
    for shape in shapes:
        ours, torch = {}, {t: measure_torch(shape, t, seconds) for t in (1, 2)}
        for base in ("f32", "bf16"):
            alone = first_line(start_ours(bench, shape, base, seconds))
            pair = [start_ours(bench, shape, base, seconds) for _ in range(2)]
            beside = [first_line(p) for p in pair]
            ours[base] = (alone["wall_ms"], alone["ms"], sum(b["wall_ms"] for b in beside) / 4)
        best = min(torch[1]["ms"], torch[2]["ms"])
        line = {"bench": "torch_train", "shape": shape, "torch": torch[1]["version"],
                "coretype": os.environ.get("OPENBLAS_CORETYPE", "detected"),
                "torch_1_ms": torch[1]["ms"], "torch_2_ms": torch[2]["ms"]}
        for base, (one, cpu, two) in ours.items():
            line.update({f"ours_{base}_1_ms": one, f"ours_{base}_2_ms": two,
                         f"ratio_{base}_1": round(torch[1]["ms"] / one, 2),
                         f"ratio_{base}_2": round(best / two, 2),
                         f"ratio_{base}_cpu": round(torch[1]["cpu_ms"] / cpu, 2)})
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--torch"]:
        ms, cpu, version = torch_step_ms(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
        print(json.dumps({"ms": round(ms, 3), "cpu_ms": round(cpu, 3), "version": version}))
    else:
        main(sys.argv[1:])
