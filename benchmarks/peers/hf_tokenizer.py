#!/usr/bin/env python3
"""What Hugging Face's tokenizers takes for what bench_tokenizer measures: the same file, lines and whole, one thread.

By hand, never part of the build or the tests; needs the package tokenizers (for a tokenizer.model also transformers, sentencepiece, protobuf):
    benchmarks/peers/hf_tokenizer.py TOKENIZER TEXT [--seconds S]
    build/release/benchmarks/bench_tokenizer TOKENIZER TEXT [S]

TOKENIZER is a tokenizer.json, a tokenizer.model, or a directory with GPT-2's vocab.json and merges.txt. Lines go through one
encode_batch_fast call, so that Python's calls do not count. CPU seconds of this process, the median of the runs.
"""
import os

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import argparse
import json
import shutil
import statistics
import tempfile
import time

import tokenizers
from tokenizers import Tokenizer


def load(path):
    if os.path.isdir(path):
        if os.path.exists(f"{path}/tokenizer.json"):
            return Tokenizer.from_file(f"{path}/tokenizer.json")
        return tokenizers.ByteLevelBPETokenizer(f"{path}/vocab.json", f"{path}/merges.txt")._tokenizer
    if path.endswith(".model"):
        with tempfile.TemporaryDirectory() as tmp:
            shutil.copy(path, f"{tmp}/tokenizer.model")
            with open(f"{tmp}/tokenizer_config.json", "w") as f:
                json.dump({"tokenizer_class": "LlamaTokenizer"}, f)
            from transformers import AutoTokenizer
            return AutoTokenizer.from_pretrained(tmp)._tokenizer
    return Tokenizer.from_file(path)


def measure(tok, texts, size, seconds):
    batch = getattr(tok, "encode_batch_fast", tok.encode_batch)
    out = batch(texts, add_special_tokens=False)
    ids = [i for e in out for i in e.ids]
    s = 0
    for i in ids:
        s = (s * 31 + i) & 0xFFFFFFFFFFFFFFFF
    took = []
    while len(took) < 3 or sum(took) < seconds:
        t = time.process_time()
        batch(texts, add_special_tokens=False)
        took.append(time.process_time() - t)
    return {"bytes": size, "tokens": len(ids), "sum": s & 0xFFFFFFFF, "mb_per_s": round(1e-6 * size / statistics.median(took), 2)}


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("tokenizer")
    args.add_argument("text")
    args.add_argument("--seconds", type=float, default=3)
    args = args.parse_args()
    t = time.process_time()
    tok = load(args.tokenizer)
    head = {"bench": "tokenizer", "of": f"tokenizers {tokenizers.__version__}"}
    print(json.dumps(head | {"file": args.tokenizer, "mode": "open", "ms": round(1e3 * (time.process_time() - t), 1)}))
    text = open(args.text, encoding="utf-8", newline="").read()
    size = len(text.encode())
    lines = text.split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    for mode, texts in (("lines", lines), ("whole", [text])):
        print(json.dumps(head | {"file": args.text, "mode": mode} | measure(tok, texts, size, args.seconds)))


if __name__ == "__main__":
    main()
