#!/usr/bin/env python3
"""Fixtures of tests/unit/test_torch.c, by PyTorch, Transformers and PEFT in double precision.

    python3 tests/vectors/gen/torch_nn.py tests/vectors

Two random models (grouped-query attention, one with a head of its own, one tied and with q, k, v
biases), each a Hugging Face directory with expected.safetensors beside the weights:
  tokens, targets [2][12]  targets -1 where there is no loss (stored as f32)
  logits, hidden, loss     of the base
  grad.NAME                gradient of the mean loss by each base tensor
  step.NAME                base tensors after 5 AdamW steps (lr 1e-2, decay 0.1 on matrices, norm clipped at 0.5)
  adapter/                 a PEFT adapter (rank 4, alpha 6, all seven targets), with
  lora.logits, lora.loss, lora.grad.NAME, lora.step.NAME   the same with the adapter, which alone is trained
"""
import copy
import json
import os
import sys

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

SHAPE = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=40, max_position_embeddings=32, rope_theta=10000.0,
             bos_token_id=1, eos_token_id=2, pad_token_id=None)


def loss_of(model, tokens, targets):
    logits = model(input_ids=tokens).logits
    return logits, torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-1)


def train(model, tokens, targets):
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.dim() == 1]
    opt = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1},
                             {"params": plain, "weight_decay": 0.0}],
                            lr=1e-2, betas=(0.9, 0.999), eps=1e-8)
    for _ in range(5):
        opt.zero_grad()
        loss_of(model, tokens, targets)[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        opt.step()


def randomise(model, sd):
    for name, p in model.named_parameters():
        p.data = ((1 if name.endswith("norm.weight") else 0) + sd * torch.randn_like(p)).float()


def make_qwen2(config):
    """Qwen2 is Llama with biases on q, k and v alone; Transformers 4.36 does not have it by name."""
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        layer.self_attn.o_proj.bias = None
    return model


def rename_qwen2(out):
    with open(out + "/config.json") as f:
        c = json.load(f)
    c.update(architectures=["Qwen2ForCausalLM"], model_type="qwen2")
    del c["attention_bias"]
    with open(out + "/config.json", "w") as f:
        json.dump(c, f, indent=2, sort_keys=True)


def make(out, config, seed):
    torch.manual_seed(seed)
    base = make_qwen2(config) if config.attention_bias else LlamaForCausalLM(config)
    randomise(base, 0.2)
    base.save_pretrained(out, safe_serialization=True)
    if config.attention_bias:
        rename_qwen2(out)
    base = base.double()
    tokens = torch.randint(0, config.vocab_size, (2, 12))
    targets = torch.randint(0, config.vocab_size, (2, 12))
    targets[torch.rand(2, 12) < 0.3] = -1
    t = {"tokens": tokens, "targets": targets}
    logits, loss = loss_of(base, tokens, targets)
    loss.backward()
    t.update(logits=logits, loss=loss.reshape(1))
    t["hidden"] = base.model(input_ids=tokens).last_hidden_state
    trained = copy.deepcopy(base)
    for name, p in base.named_parameters():
        t["grad." + name] = p.grad
    train(trained, tokens, targets)
    for name, p in trained.named_parameters():
        t["step." + name] = p.data

    peft = get_peft_model(copy.deepcopy(base).float(), LoraConfig(
        r=4, lora_alpha=6, lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    for name, p in peft.named_parameters():
        if "lora_" in name:
            p.data = 0.3 * torch.randn_like(p)
    peft.save_pretrained(out + "/adapter", safe_serialization=True)
    peft = peft.double()
    logits, loss = loss_of(peft, tokens, targets)
    loss.backward()
    t.update({"lora.logits": logits, "lora.loss": loss.reshape(1)})
    for name, p in peft.named_parameters():
        if p.requires_grad:
            t["lora.grad." + name.replace(".default", "")] = p.grad
    train(peft, tokens, targets)
    for name, p in peft.named_parameters():
        if p.requires_grad:
            t["lora.step." + name.replace(".default", "")] = p.data
    os.remove(out + "/adapter/README.md")
    os.remove(out + "/generation_config.json")
    save_file({k: v.detach().float().contiguous() for k, v in t.items()}, out + "/expected.safetensors")


if __name__ == "__main__":
    make(sys.argv[1] + "/llama_gqa",
         LlamaConfig(**SHAPE, rms_norm_eps=1e-6, tie_word_embeddings=False), 1)
    make(sys.argv[1] + "/qwen2_tied",
         LlamaConfig(**SHAPE, rms_norm_eps=1e-5, tie_word_embeddings=True, attention_bias=True), 2)
