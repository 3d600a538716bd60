#!/usr/bin/env python3
"""Writes the fixtures of the chat templates: what Transformers' apply_chat_template gives, as text and as ids.

    tests/vectors/gen/chat_templates.py tests/vectors/chat

Needs transformers, tokenizers and jinja2; run by hand. The templates are the ones that the families' repositories publish
(tokenizer_config.json: Llama-2-7b-chat, Meta-Llama-3-8B-Instruct, SmolLM2-135M-Instruct, Qwen2-0.5B-Instruct,
Qwen2.5-0.5B-Instruct, TinyLlama-1.1B-Chat-v1.0, Mistral-7B-Instruct-v0.2), without the parts for tools; the tokenizers are two
small ones made here, byte-level and in the manner of SentencePiece.
"""
import json
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
          "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
          "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
          "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
          "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
          "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
LLAMA3 = ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
          "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
          "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")
CHATML = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ SYSTEM }}{% endif %}"
          "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
ZEPHYR = ("{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
          "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
          "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n"
          "{% endif %}\n{% endfor %}")
MISTRAL = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
           "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
           "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles') }}"
           "{% endif %}{% endfor %}")


def chatml(system):
    return CHATML.replace("{{ SYSTEM }}", "{{ '<|im_start|>system\n" + system + "<|im_end|>\n' }}" if system else "")


BYTES = {"llama3": LLAMA3, "chatml": chatml(None),
         "smollm2": chatml("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
         "qwen2": chatml("You are a helpful assistant."),
         "qwen2.5": chatml("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.")}
SENTENCE = {"llama2": LLAMA2, "zephyr": ZEPHYR, "mistral": MISTRAL}

CORPUS = ["You are a helpful AI assistant. The user asks what a cow is; the assistant answers: a cow is an animal that gives milk.",
          "<|user|>\n<|assistant|>\n<|system|>\n[INST] What is this? [/INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n", "system user assistant\n\n"] * 30
TALKS = [["What is a cow?"], [" \n What is a cow? \t", "An animal. ", "And milk?"], ["sys:Be brief.", "Is café 12 naïve?", "No.\n", "Why?", "  So"],
         ["sys: Be brief. ", "\u00a0hm\u3000"], ["", "x"], ["你好 👩‍🚀\n\n", "ok"]]


def byte_level():
    split = pre_tokenizers.Split(Regex(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
                                       r"\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated")
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"]
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=specials, show_progress=False,
                                                        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tok, specials[0], specials[1]


def sentence():
    specials = ["<unk>", "<s>", "</s>"]
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=500, special_tokens=specials + [f"<0x{b:02X}>" for b in range(256)],
                                                        show_progress=False, max_token_length=12))
    spec = json.loads(tok.to_str())
    spec["added_tokens"] = [t for t in spec["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(spec)), "<s>", "</s>"


def messages(talk):
    out = []
    for text in talk:
        if text.startswith("sys:"):
            out.append({"role": "system", "content": text[4:]})
        else:
            out.append({"role": "assistant" if out and out[-1]["role"] == "user" else "user", "content": text})
    return out


def main():
    to = sys.argv[1]
    os.makedirs(to, exist_ok=True)
    for file, (tok, bos, eos), templates in (("bytes", byte_level(), BYTES), ("sentence", sentence(), SENTENCE)):
        tok.save(f"{to}/{file}.json", pretty=False)
        fast = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token=bos, eos_token=eos)
        with open(f"{to}/{file}.jsonl", "w") as f:
            for name, template in templates.items():
                for talk in TALKS:
                    for ask in (False, True):
                        row = {"template": name, "ask": ask, "messages": messages(talk)}
                        try:
                            row["text"] = fast.apply_chat_template(row["messages"], chat_template=template, tokenize=False, add_generation_prompt=ask)
                            out = fast.apply_chat_template(row["messages"], chat_template=template, tokenize=True, add_generation_prompt=ask)
                            row["ids"] = list(out["input_ids"] if not isinstance(out, list) else out)
                        except Exception as e:
                            row["error"] = type(e).__name__
                        f.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
