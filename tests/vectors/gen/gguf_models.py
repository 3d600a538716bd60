#!/usr/bin/env python3
"""Fixtures of tests/unit/test_gguf.c: files written by gguf-py (the library of llama.cpp).

    python3 tests/vectors/gen/gguf_models.py tests/vectors

  gguf/llama.gguf     a random Llama with stretched positions and a tensor of every type that is
                      read; q8_0 and q4_0 are quantised by gguf-py, q4_K and q6_K by the simple
                      rounding below (llama.cpp searches for better scales)
  gguf/llama.safetensors
                      what gguf-py makes of one tensor of each type, under Hugging Face's names and
                      in its row order; tokens; logits of Transformers with these weights (logits)
                      and with the weights before quantisation (logits.before)
  gguf/qwen2.gguf     families/qwen2 in f32
Made with gguf 0.19, torch 2.15, transformers 4.47.1.
"""
import sys

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

PARTS = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def gguf_name(hf):
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if hf in outer:
        return outer[hf]
    _, _, layer, rest = hf.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def permute(w, heads):
    """As convert_hf_to_gguf.py: rows of the two halves of a head to neighbouring pairs."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def q4_k(w):
    x = w.reshape(-1, 8, 32)
    low, high = np.minimum(x.min(-1), 0), np.maximum(x.max(-1), 0)
    step, low = (high - low) / 15, -low
    d = (step.max(-1) / 63).astype(np.float16)
    m = (low.max(-1) / 63).astype(np.float16)
    s = np.clip(np.round(step / d[:, None].astype(np.float32)), 1, 63).astype(np.uint8)
    n = np.clip(np.round(low / m[:, None].astype(np.float32)), 0, 63).astype(np.uint8)
    scale = d[:, None].astype(np.float32) * s
    q = np.clip(np.round((x + (m[:, None].astype(np.float32) * n)[..., None]) / scale[..., None]), 0, 15)
    q = q.astype(np.uint8).reshape(-1, 4, 2, 32)
    packed = np.empty((x.shape[0], 12), np.uint8)
    packed[:, 0:4] = s[:, :4] | (s[:, 4:] >> 4) << 6
    packed[:, 4:8] = n[:, :4] | (n[:, 4:] >> 4) << 6
    packed[:, 8:12] = (s[:, 4:] & 15) | (n[:, 4:] & 15) << 4
    qs = (q[:, :, 0] | q[:, :, 1] << 4).reshape(-1, 128)
    blocks = np.concatenate([d[:, None].view(np.uint8), m[:, None].view(np.uint8), packed, qs], 1)
    return blocks.reshape(w.shape[0], -1)


def q6_k(w):
    x = w.reshape(-1, 16, 16)
    step = np.abs(x).max(-1) / 31
    d = (step.max(-1) / 127).astype(np.float16)
    s = np.clip(np.round(step / d[:, None].astype(np.float32)), 1, 127).astype(np.int8)
    s[:, ::2] *= -1  # signs occur in real files
    scale = d[:, None].astype(np.float32) * s
    q = (np.clip(np.round(x / scale[..., None]), -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = np.concatenate([(q[:, :, 0] & 15) | (q[:, :, 2] & 15) << 4,
                          (q[:, :, 1] & 15) | (q[:, :, 3] & 15) << 4], -1).reshape(-1, 128)
    high = (q[:, :, 0] >> 4 | q[:, :, 1] >> 4 << 2 | q[:, :, 2] >> 4 << 4 | q[:, :, 3] >> 4 << 6)
    blocks = np.concatenate([low, high.reshape(-1, 64), s.view(np.uint8), d[:, None].view(np.uint8)], 1)
    return blocks.reshape(w.shape[0], -1)


def encode(w, kind):
    w = w.astype(np.float32)
    if kind == T.Q4_K:
        return q4_k(w)
    if kind == T.Q6_K:
        return q6_k(w)
    return gguf.quantize(w, kind)


def write(path, arch, c, tensors, kinds, divisors=None):
    """tensors: under Hugging Face's names. Returns them as gguf-py reads them back, in its order."""
    w = gguf.GGUFWriter(path, arch)
    w.add_type("model")
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_vocab_size(c["vocab_size"])
    if arch == "llama":
        w.add_rope_dimension_count(c["hidden_size"] // c["num_attention_heads"])
    w.add_tokenizer_model("no_vocab")
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_array("general.tags", ["test", "", "random"])
    back = {}
    if divisors is not None:
        w.add_tensor("rope_freqs.weight", divisors.astype(np.float32))
    for hf, x in tensors.items():
        heads = {"q": c["num_attention_heads"], "k": c["num_key_value_heads"]}
        head = next((heads[k] for k in heads if f".{k}_proj." in hf and arch == "llama"), None)
        x = permute(x, head) if head else x
        kind = T.F32 if x.ndim == 1 else next((k for part, k in kinds.items() if part in hf), T.F32)
        data = encode(x, kind)
        w.add_tensor(gguf_name(hf), data, raw_dtype=kind)
        y = gguf.dequantize(data, kind).astype(np.float32).reshape(x.shape)
        back[hf] = torch.from_numpy(np.ascontiguousarray(unpermute(y, head) if head else y))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return back


def llama3_divisors(c):
    s, d = c["rope_scaling"], c["hidden_size"] // c["num_attention_heads"]
    freq = 1.0 / c["rope_theta"] ** (np.arange(0, d, 2, dtype=np.float32) / d)
    out = []
    for f in freq:
        length = 2 * np.pi / f
        smooth = ((s["original_max_position_embeddings"] / length - s["low_freq_factor"]) /
                  (s["high_freq_factor"] - s["low_freq_factor"]))
        out.append(1 if smooth > 1 else s["factor"] if smooth < 0 else 1 / ((1 - smooth) / s["factor"] + smooth))
    return np.array(out)


def logits(config, tensors, tokens):
    model = LlamaForCausalLM(config)
    model.load_state_dict(tensors)
    with torch.no_grad():
        return model.double()(input_ids=tokens[None]).logits[0].float()


def make_llama(out):
    torch.manual_seed(7)
    c = dict(hidden_size=32, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, vocab_size=48, max_position_embeddings=256, rms_norm_eps=1e-5,
             rope_theta=500.0, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                                 high_freq_factor=4.0,
                                                 original_max_position_embeddings=32))
    config = LlamaConfig(**c, attn_implementation="eager")
    model = LlamaForCausalLM(config)
    before = {}
    for name, p in model.named_parameters():
        before[name] = (1 if "norm" in name else 0) + 0.2 * torch.randn_like(p.data)
    kinds = {"embed_tokens": T.Q8_0, "q_proj": T.Q4_0, "k_proj": T.F16, "v_proj": T.BF16,
             "o_proj": T.Q8_0, "gate_proj": T.Q4_0, "up_proj": T.Q8_0, "0.mlp.down_proj": T.Q4_K,
             "1.mlp.down_proj": T.Q6_K, "lm_head": T.F16}
    after = write(out + "/llama.gguf", "llama", c, {k: v.numpy() for k, v in before.items()}, kinds,
                  llama3_divisors(c))
    tokens = torch.randint(0, 48, (24,))
    after_logits, before_logits = logits(config, after, tokens), logits(config, before, tokens)
    kept = {k: v for k, v in after.items()
            if "down_proj" in k or "embed" in k or (".0.self_attn" in k)}
    save_file({**kept, "tokens": tokens.float(), "logits": after_logits,
               "logits.before": before_logits}, out + "/llama.safetensors")


if __name__ == "__main__":
    make_llama(sys.argv[1] + "/gguf")
    write(sys.argv[1] + "/gguf/qwen2.gguf", "qwen2",
          dict(hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=6,
               num_key_value_heads=2, vocab_size=48, max_position_embeddings=512, rms_norm_eps=1e-6,
               rope_theta=1000000.0),
          {k: v.numpy() for k, v in load_file(sys.argv[1] + "/families/qwen2/model.safetensors").items()},
          {})
