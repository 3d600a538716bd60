#!/usr/bin/env python3
"""Logits of tinystories656K_hf by Transformers in double, for tests/long/test_logits.c.

    python3 tests/vectors/gen/tinystories.py DATA/tinystories656K_hf tests/vectors/tinystories656K.safetensors

tokens [n] (with BOS), rows [8] some positions, logits [8][2048] there, nll [1] mean over all next tokens.
"""
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXT = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
        "One day, she saw a big red ball. She wanted to play with it, but it was too high. "
        "Her mom said, \"Lily, let's go home.\" Lily was sad and started to cry.")

folder = sys.argv[1]
weights = load_file(folder + "/model.safetensors")
weights.setdefault("model.embed_tokens.weight", weights.get("lm_head.weight"))
weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder))
model.load_state_dict(weights, strict=True)
model = model.double().eval()
ids = PreTrainedTokenizerFast(tokenizer_file=folder + "/tokenizer.json").encode(TEXT, add_special_tokens=False)
tokens = torch.tensor([1] + ids)
with torch.no_grad():
    logits = model(input_ids=tokens[None]).logits[0]
nll = torch.nn.functional.cross_entropy(logits[:-1], tokens[1:])
rows = torch.linspace(0, len(tokens) - 1, 8).long()
save_file({"tokens": tokens.float(), "rows": rows.float(), "logits": logits[rows].float().contiguous(),
           "nll": nll.reshape(1).float()}, sys.argv[2])
print(len(tokens), "tokens, nll", nll.item())
