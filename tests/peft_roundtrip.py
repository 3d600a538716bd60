#!/usr/bin/env python3
"""Models and adapters between plmm and Hugging Face, both ways, compared by their logits.

    tests/peft_roundtrip.py BUILD_DIR [--data DIR] [--write tests/vectors/hf]

Needs torch, transformers and peft; run by hand. BUILD_DIR holds nn/plmm-model and tests/dump_logits.
--data adds real models; --write makes the small fixture that the unit tests read. Exit 0: all within 1e-4.
"""
import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers import MistralConfig, MistralForCausalLM

TOLERANCE = 1e-4
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
worst = 0.0


def ours(build, model, adapter, ids):
    out = subprocess.run([f"{build}/tests/dump_logits", model, adapter or "-", *map(str, ids)],
                         check=True, capture_output=True).stdout
    return np.frombuffer(out, dtype="<f4").reshape(len(ids), -1)


def theirs(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def compare(name, a, b):
    global worst
    error = float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-9))
    worst = max(worst, error)
    print(f"{'ok  ' if error <= TOLERANCE else 'FAIL'} {name}: largest relative difference {error:.2e}")


def small(kind=LlamaConfig, **more):
    shape = dict(vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                 num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32)
    shape.update(more)
    return kind(**shape)


def randomise(model, scale):
    for p in model.parameters():
        if p.dim() == 2:
            torch.nn.init.normal_(p, std=scale)
    return model.eval()


def with_adapter(base, targets, rank):
    model = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank + 1, target_modules=targets,
                                            lora_dropout=0.1, task_type="CAUSAL_LM"))
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.2)
    return model.eval()


def theirs_to_ours(build, tmp, ids):
    cases = [("llama, separate head", LlamaForCausalLM(small(rms_norm_eps=1e-5)), ALL, 3),
             ("llama, tied head", LlamaForCausalLM(small(tie_word_embeddings=True)), ["q_proj", "v_proj"], 4),
             ("llama, rope theta 5e5", LlamaForCausalLM(small(rope_theta=500000.0)), ALL[4:], 2),
             ("mistral", MistralForCausalLM(small(MistralConfig, sliding_window=None)), ALL, 5)]
    for i, (name, base, targets, rank) in enumerate(cases):
        randomise(base, 0.15)
        where, adapter = f"{tmp}/theirs{i}", f"{tmp}/theirs{i}_adapter"
        base.save_pretrained(where, safe_serialization=True)
        compare(f"{name}: written by Transformers, read by plmm", ours(build, where, None, ids), theirs(base, ids))
        model = with_adapter(base, targets, rank)
        model.save_pretrained(adapter, safe_serialization=True)
        compare(f"{name}: adapter written by PEFT, read by plmm", ours(build, where, adapter, ids), theirs(model, ids))
    sharded = LlamaForCausalLM(small())
    sharded.save_pretrained(f"{tmp}/shards", safe_serialization=True, max_shard_size="4KB")
    compare("shards written by Transformers, read by plmm", ours(build, f"{tmp}/shards", None, ids),
            theirs(sharded, ids))
    half = randomise(LlamaForCausalLM(small()), 0.15).to(torch.bfloat16)
    half.save_pretrained(f"{tmp}/half", safe_serialization=True)
    half = AutoModelForCausalLM.from_pretrained(f"{tmp}/half", torch_dtype=torch.float32).eval()
    compare("bf16 written by Transformers, read by plmm", ours(build, f"{tmp}/half", None, ids), theirs(half, ids))


def ours_to_theirs(build, tmp):
    rows = [{"prompt": f"what is {a} of {b}?", "response": f"{a} is the {b} of the day."}
            for a in ("red", "blue", "green", "white") for b in ("cow", "dog", "house", "tree")]
    with open(f"{tmp}/rows.jsonl", "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    tool = f"{build}/nn/plmm-model"
    subprocess.run([tool, "pretrain", f"{tmp}/rows.jsonl", "--out", f"{tmp}/ours", "--steps", "30", "--dim", "32",
                    "--heads", "4", "--kv-heads", "2", "--hidden", "48", "--layers", "3", "--vocab", "320",
                    "--quiet"], check=True, stdout=subprocess.DEVNULL)
    for dtype in ("f32", "bf16"):
        subprocess.run([tool, "train", f"{tmp}/ours", f"{tmp}/rows.jsonl", "--out", f"{tmp}/ours_{dtype}",
                        "--steps", "40", "--rank", "3", "--dtype", dtype, "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
    ids = [0, 2, 60, 70, 80, 90, 100, 110, 3, 77, 88, 99]
    base = AutoModelForCausalLM.from_pretrained(f"{tmp}/ours").eval()
    compare("base written by plmm, read by Transformers", ours(build, f"{tmp}/ours", None, ids), theirs(base, ids))
    for dtype in ("f32", "bf16"):
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(f"{tmp}/ours"),
                                          f"{tmp}/ours_{dtype}").eval()
        adapted = theirs(model, ids)
        assert np.abs(adapted - theirs(base, ids)).max() > 0.01, "the adapter does nothing"
        compare(f"{dtype} adapter written by plmm, read by PEFT",
                ours(build, f"{tmp}/ours", f"{tmp}/ours_{dtype}", ids), adapted)


def real(build, data):
    where = f"{data}/tinystories656K_hf"
    model = AutoModelForCausalLM.from_pretrained(where).eval()
    with open(f"{where}/model.safetensors", "rb") as f:  # its only head tensor is lm_head.weight
        n = struct.unpack("<Q", f.read(8))[0]
        assert "lm_head.weight" in json.loads(f.read(n))
    ids = [1, 80, 1443, 75, 400, 555, 4, 900, 1200, 31, 7, 66]
    compare("tinystories656K", ours(build, where, None, ids), theirs(model, ids))


def write_fixture(to):
    torch.manual_seed(7)
    ids = [1, 5, 60, 33, 2, 17, 48]
    base = randomise(LlamaForCausalLM(small(bos_token_id=1, eos_token_id=2)), 0.15)
    shutil.rmtree(to, ignore_errors=True)
    base.save_pretrained(to, safe_serialization=True)
    base_logits = theirs(base, ids)
    model = with_adapter(base, ALL, 3)
    model.save_pretrained(f"{to}/adapter", safe_serialization=True)
    os.unlink(f"{to}/generation_config.json")
    os.unlink(f"{to}/adapter/README.md")
    with open(f"{to}/logits.json", "w") as f:
        rows = {"ids": ids, "base": base_logits.tolist(), "adapter": theirs(model, ids).tolist()}
        json.dump(json.loads(json.dumps(rows), parse_float=lambda x: round(float(x), 6)), f)
        f.write("\n")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("build")
    args.add_argument("--data")
    args.add_argument("--write")
    args = args.parse_args()
    torch.manual_seed(1)
    if args.write:
        write_fixture(args.write)
    with tempfile.TemporaryDirectory() as tmp:
        theirs_to_ours(args.build, tmp, [1, 5, 60, 33, 2, 17, 48, 0, 9, 22])
        ours_to_theirs(args.build, tmp)
    if args.data:
        real(args.build, args.data)
    print(f"largest relative difference {worst:.2e}, allowed {TOLERANCE:.0e}")
    return worst > TOLERANCE


if __name__ == "__main__":
    sys.exit(main())
