#!/usr/bin/env python3
"""Does llama.cpp compute what we do? For each model of tests/vectors/families: the model and its
adapter as we write them for llama.cpp (GGUF), and the merged model read by Transformers, give the
logits of the fixture; llama.cpp gives those of the merged model too.

    python3 tests/llama_cpp_roundtrip.py build/release/nn/plmm-model

Needs llama-cpp-python, transformers, safetensors. Prints one line a model with relative errors in the
Euclidean norm and fails above 1e-5.
"""
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from llama_cpp import Llama
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

FAMILIES = ["llama2", "llama3", "smollm2", "tinyllama", "qwen2", "mistral"]


def distance(x, y):
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def llama_cpp(path, ids, **more):
    m = Llama(path, logits_all=True, n_ctx=64, verbose=False, type_k=0, type_v=0, **more)
    m.eval(ids)
    return np.array(m.scores[:len(ids)])


def transformers(path, ids):
    m = AutoModelForCausalLM.from_pretrained(path, torch_dtype=torch.float32)
    with torch.no_grad():
        return m(input_ids=torch.tensor([ids])).logits[0].numpy()


def check(tool, source, out):
    want = load_file(source + "/expected.safetensors")
    ids = [int(i) for i in want["tokens"]]
    adapter = ["--adapter", source + "/adapter"]
    for args in (["convert", source, "--out", out + "/base.gguf", "--dtype", "f32"],
                 ["export", source, *adapter, "--out", out + "/lora.gguf"],
                 ["merge", source, *adapter, "--out", out + "/merged.gguf", "--dtype", "f32"],
                 ["merge", source, *adapter, "--out", out + "/merged", "--dtype", "f32"]):
        subprocess.run([tool, *args], check=True, stdout=subprocess.DEVNULL)
    got = {
        "base": distance(llama_cpp(out + "/base.gguf", ids), want["logits"]),
        "adapter": distance(llama_cpp(out + "/base.gguf", ids, lora_path=out + "/lora.gguf"),
                            want["lora.logits"]),
        "merged": distance(llama_cpp(out + "/merged.gguf", ids), want["lora.logits"]),
        "Transformers, merged": distance(transformers(out + "/merged", ids), want["lora.logits"]),
        "(what the adapter changes)": distance(want["logits"], want["lora.logits"]),
    }
    print(f"{os.path.basename(source):10}", ", ".join(f"{k} {v:.2g}" for k, v in got.items()))
    return all(v < 1e-5 for k, v in got.items() if k[0] != "(")


if __name__ == "__main__":
    ok = True
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as out:
            ok &= check(sys.argv[1], "tests/vectors/families/" + family, out)
    sys.exit(not ok)
