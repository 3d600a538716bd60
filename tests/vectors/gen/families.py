#!/usr/bin/env python3
"""Fixtures of tests/unit/test_families.c, by Transformers and PEFT in double precision.

    python3 tests/vectors/gen/families.py tests/vectors/families

One random model of each family that is read, with what sets it apart:
  llama2     as many heads for keys as for queries, a head of its own
  llama3     stretched rotary positions, grouped queries; bf16, in shards
  smollm2    tied embeddings, three query heads a key head
  tinyllama  grouped queries, f16
  qwen2      biases on q, k, v; tied
  mistral    no sliding window, heads wider than width / heads
each a Hugging Face directory with a PEFT adapter and expected.safetensors:
  tokens, targets [24]   targets -1 where there is no loss (stored as f32)
  logits, loss           of the base
  lora.logits, lora.loss, lora.grad.NAME   with the adapter (rank 2, alpha 3, all seven targets)
Made with torch 2.15, transformers 4.47.1, peft 0.13.2.
"""
import os
import shutil
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM)

LEN = 24
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COMMON = dict(num_hidden_layers=2, vocab_size=48, max_position_embeddings=512, bos_token_id=1,
              eos_token_id=2, pad_token_id=None)
SCALING = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
               original_max_position_embeddings=32)
FAMILIES = {
    "llama2": (LlamaForCausalLM, LlamaConfig(
        **COMMON, hidden_size=16, intermediate_size=40, num_attention_heads=2,
        num_key_value_heads=2, rms_norm_eps=1e-5), torch.float32),
    "llama3": (LlamaForCausalLM, LlamaConfig(
        **COMMON, hidden_size=32, intermediate_size=48, num_attention_heads=2,
        num_key_value_heads=1, rms_norm_eps=1e-5, rope_theta=500.0, rope_scaling=SCALING),
        torch.bfloat16),
    "smollm2": (LlamaForCausalLM, LlamaConfig(
        **COMMON, hidden_size=24, intermediate_size=64, num_attention_heads=3,
        num_key_value_heads=1, rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True),
        torch.float32),
    "tinyllama": (LlamaForCausalLM, LlamaConfig(
        **COMMON, hidden_size=32, intermediate_size=56, num_attention_heads=8,
        num_key_value_heads=2, rms_norm_eps=1e-5), torch.float16),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(
        **COMMON, hidden_size=24, intermediate_size=48, num_attention_heads=6,
        num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
        use_sliding_window=False, sliding_window=16, max_window_layers=1), torch.float32),
    "mistral": (MistralForCausalLM, MistralConfig(
        **COMMON, hidden_size=20, intermediate_size=36, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-5, sliding_window=None),
        torch.float32),
}


def loss_of(model, tokens, targets):
    logits = model(input_ids=tokens[None]).logits[0]
    return logits, torch.nn.functional.cross_entropy(logits, targets, ignore_index=-1)


def randomise(model, dtype):
    for name, p in model.named_parameters():
        p.data = ((1 if name.endswith("norm.weight") else 0) + 0.3 * torch.randn_like(p)).to(dtype)


def make(out, kind, config, dtype, seed):
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    base = kind(config)
    randomise(base, dtype)
    base.config.torch_dtype = dtype
    shutil.rmtree(out, ignore_errors=True)
    base.save_pretrained(out, safe_serialization=True,
                         max_shard_size="12KB" if dtype == torch.bfloat16 else "1GB")
    os.remove(out + "/generation_config.json")
    base = base.double()
    tokens = torch.randint(0, config.vocab_size, (LEN,))
    targets = torch.randint(0, config.vocab_size, (LEN,))
    targets[torch.rand(LEN) < 0.3] = -1
    t = {"tokens": tokens, "targets": targets}
    with torch.no_grad():
        logits, loss = loss_of(base, tokens, targets)
    t.update({"logits": logits, "loss": loss.reshape(1)})
    peft = get_peft_model(base, LoraConfig(r=2, lora_alpha=3, lora_dropout=0.0,
                                           task_type="CAUSAL_LM", target_modules=TARGETS))
    for name, p in peft.named_parameters():
        if "lora_" in name:
            p.data = (0.3 * torch.randn_like(p)).float()
    peft.save_pretrained(out + "/adapter", safe_serialization=True)
    os.remove(out + "/adapter/README.md")
    peft = peft.double()
    logits, loss = loss_of(peft, tokens, targets)
    loss.backward()
    t.update({"lora.logits": logits, "lora.loss": loss.reshape(1)})
    for name, p in peft.named_parameters():
        if p.requires_grad:
            t["lora.grad." + name.replace(".default", "")] = p.grad
    save_file({k: v.detach().float().contiguous() for k, v in t.items()},
              out + "/expected.safetensors")


if __name__ == "__main__":
    for i, (name, (kind, config, dtype)) in enumerate(FAMILIES.items()):
        make(sys.argv[1] + "/" + name, kind, config, dtype, i + 1)
