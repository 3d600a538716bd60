/* plmm-model: make, train, try and measure the small models that experts are adapters of. */
#include "program.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const plmm_cli_option pretrain_options[] = {
    {"out", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "where the model goes, a Hugging Face directory"},
    {"held-out", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "text or dialogues to measure the loss on"},
    {"init", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "go on from this model instead of a new one"},
    {"config", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "shape as a config.json instead of the options"},
    {"tokenizer", PLMM_CLI_TEXT, "PATH", NULL, 0, 0,
     "use this one; otherwise one is trained first"},
    {"vocab", PLMM_CLI_INT, "N", "1024", 260, 1 << 20, "tokens of the trained tokenizer"},
    {"dim", PLMM_CLI_INT, "N", "96", 8, 65536, "width of the model"},
    {"layers", PLMM_CLI_INT, "N", "4", 1, 1024, "layers"},
    {"heads", PLMM_CLI_INT, "N", "6", 1, 4096, "query heads"},
    {"kv-heads", PLMM_CLI_INT, "N", "3", 1, 4096, "key and value heads"},
    {"hidden", PLMM_CLI_INT, "N", "256", 1, 1 << 20, "width of the feed-forward part"},
    {"context", PLMM_CLI_INT, "N", "256", 8, 1 << 20, "longest sequence"},
    {"untied", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "an output head of its own"},
    {"epochs", PLMM_CLI_REAL, "X", "1", 1e-6, 1e6, "passes over the text"},
    {"steps", PLMM_CLI_INT, "N", "0", 0, 1e12, "steps instead of epochs"},
    {"batch-tokens", PLMM_CLI_INT, "N", "4096", 1, 1 << 24, "tokens of a step"},
    {"lr", PLMM_CLI_REAL, "X", "0.003", 0, 10, "peak learning rate; falls as a cosine to a tenth"},
    {"warmup", PLMM_CLI_INT, "N", "100", 0, 1e9, "steps of rising learning rate"},
    {"decay", PLMM_CLI_REAL, "X", "0.1", 0, 10, "weight decay"},
    {"clip", PLMM_CLI_REAL, "X", "1", 0, 1e9, "largest norm of a gradient; 0: no limit"},
    {"responses-only", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "do not learn the prompts of dialogues"},
    {"seed", PLMM_CLI_INT, "N", "1", 0, 1e15, "of weights and order"},
    {"threads", PLMM_CLI_INT, "N", "0", 0, 256, "0: one a processor; the result is the same"},
    {"shards", PLMM_CLI_INT, "N", "8", 1, 256, "parts of a batch that threads share"},
    {"dtype", PLMM_CLI_TEXT, "TYPE", "f32", 0, 0, "of the written weights: f32, f16 or bf16"},
    {"save-every", PLMM_CLI_INT, "N", "0", 0, 1e12, "write the model also every N steps"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "report as one line of JSON"},
    {"quiet", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "no progress"},
};

static const plmm_cli_option distill_options[] = {
    {"out", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "where the model goes, a Hugging Face directory"},
    {"held-out", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "text or dialogues to measure the loss on"},
    {"init", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "the student to begin with, instead of a new one"},
    {"teacher-weight", PLMM_CLI_REAL, "X", "0.7", 0, 1,
     "part of the teacher in the loss; the rest is the text's"},
    {"temperature", PLMM_CLI_REAL, "X", "2", 0.01, 100, "softens both distributions"},
    {"hidden-weight", PLMM_CLI_REAL, "X", "0", 0, 1e6,
     "of the distance of last hidden states; for a student as wide as its teacher"},
    {"config", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "shape as a config.json instead of the options"},
    {"dim", PLMM_CLI_INT, "N", "96", 8, 65536, "width of the model"},
    {"layers", PLMM_CLI_INT, "N", "4", 1, 1024, "layers"},
    {"heads", PLMM_CLI_INT, "N", "6", 1, 4096, "query heads"},
    {"kv-heads", PLMM_CLI_INT, "N", "3", 1, 4096, "key and value heads"},
    {"hidden", PLMM_CLI_INT, "N", "256", 1, 1 << 20, "width of the feed-forward part"},
    {"context", PLMM_CLI_INT, "N", "0", 0, 1 << 20, "longest sequence; 0: the teacher's"},
    {"untied", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "an output head of its own"},
    {"epochs", PLMM_CLI_REAL, "X", "1", 1e-6, 1e6, "passes over the text"},
    {"steps", PLMM_CLI_INT, "N", "0", 0, 1e12, "steps instead of epochs"},
    {"batch-tokens", PLMM_CLI_INT, "N", "4096", 1, 1 << 24, "tokens of a step"},
    {"lr", PLMM_CLI_REAL, "X", "0.003", 0, 10, "peak learning rate; falls as a cosine to a tenth"},
    {"warmup", PLMM_CLI_INT, "N", "100", 0, 1e9, "steps of rising learning rate"},
    {"decay", PLMM_CLI_REAL, "X", "0.1", 0, 10, "weight decay"},
    {"clip", PLMM_CLI_REAL, "X", "1", 0, 1e9, "largest norm of a gradient; 0: no limit"},
    {"responses-only", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "do not learn the prompts of dialogues"},
    {"seed", PLMM_CLI_INT, "N", "1", 0, 1e15, "of weights and order"},
    {"threads", PLMM_CLI_INT, "N", "0", 0, 256, "0: one a processor; the result is the same"},
    {"shards", PLMM_CLI_INT, "N", "8", 1, 256, "parts of a batch that threads share"},
    {"dtype", PLMM_CLI_TEXT, "TYPE", "f32", 0, 0, "of the written weights: f32, f16 or bf16"},
    {"save-every", PLMM_CLI_INT, "N", "0", 0, 1e12, "write the model also every N steps"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "report as one line of JSON"},
    {"quiet", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "no progress"},
};

static const plmm_cli_option quantize_options[] = {
    {"type", PLMM_CLI_TEXT, "TYPE", "q8_0", 0, 0, "q8_0 (8.5 bits a weight) or q4_0 (4.5 bits)"},
    {"out", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "where model.gguf goes, and the tokenizer beside it"},
    {"held-out", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "text or dialogues to measure on"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "report as one line of JSON"},
};

static const plmm_cli_option prune_options[] = {
    {"depth", PLMM_CLI_INT, "N", "1", 1, 1024, "layers that stay"},
    {"out", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "where the model goes, a Hugging Face directory"},
    {"data", PLMM_CLI_TEXT, "FILE", NULL, 0, 0,
     "take out what this text misses least; else evenly spread layers stay"},
    {"held-out", PLMM_CLI_TEXT, "FILE", NULL, 0, 0,
     "text or dialogues to measure on; default: the data"},
    {"dtype", PLMM_CLI_TEXT, "TYPE", "f32", 0, 0, "of the written weights: f32, f16 or bf16"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "report as one line of JSON"},
    {"quiet", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "no progress"},
};

#define ADAPTER                                                                                    \
    {                                                                                              \
        "adapter", PLMM_CLI_LIST, "DIR", NULL, 0, 0,                                               \
            "PEFT directory on top; may be given several times"                                    \
    }
#define QUIET                                                                                      \
    {                                                                                              \
        "quiet", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "no progress"                                    \
    }

#define TEMPLATE                                                                                   \
    {                                                                                              \
        "template", PLMM_CLI_TEXT, "NAME", NULL, 0, 0,                                             \
            "of chats: llama2, llama3, chatml, smollm2, qwen2, qwen2.5, zephyr, mistral"           \
    }
#define BASE                                                                                       \
    {                                                                                              \
        "base", PLMM_CLI_TEXT, "FORM", "f32", 0, 0,                                                \
            "keep the frozen weights as f32, bf16, int8 or int4"                                   \
    }
#define RECOMPUTE                                                                                  \
    {                                                                                              \
        "recompute", PLMM_CLI_FLAG, NULL, NULL, 0, 0,                                              \
            "compute activations twice rather than keep them"                                      \
    }

static const plmm_cli_option info_options[] = {
    ADAPTER,
    {"tensors", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "list every tensor"},
    {"methods", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "no MODEL: compare the ways to sum adapters"},
    {"train", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "what memory training an adapter takes"},
    {"rank", PLMM_CLI_INT, "N", "8", 1, PLMM_RANK_MAX, "with --train: rank of the adapter"},
    {"targets", PLMM_CLI_TEXT, "LIST", "all", 0, 0,
     "with --train: of q,k,v,o,gate,up,down; or all"},
    {"length", PLMM_CLI_INT, "N", "0", 0, 1 << 20,
     "with --train: longest sequence; 0: the context"},
    BASE,
    RECOMPUTE,
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print one line of JSON"},
};

static const plmm_cli_option train_options[] = {
    TEMPLATE,
    {"out", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "where the adapter goes, a PEFT directory"},
    {"held-out", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "dialogues to measure the loss on"},
    ADAPTER,
    {"init", PLMM_CLI_TEXT, "DIR", NULL, 0, 0, "go on from this adapter instead of a new one"},
    {"rank", PLMM_CLI_INT, "N", "8", 1, PLMM_RANK_MAX, "rank of a new adapter"},
    {"alpha", PLMM_CLI_REAL, "X", "0", 0, 1e6, "scale times rank; 0: twice the rank"},
    {"targets", PLMM_CLI_TEXT, "LIST", "all", 0, 0, "of q,k,v,o,gate,up,down; or all, attention"},
    {"dropout", PLMM_CLI_REAL, "X", "0", 0, 0.99, "on the input of the adapter"},
    {"epochs", PLMM_CLI_REAL, "X", "3", 1e-6, 1e6, "passes over the dialogues"},
    {"steps", PLMM_CLI_INT, "N", "0", 0, 1e12, "steps instead of epochs"},
    {"batch-tokens", PLMM_CLI_INT, "N", "512", 1, 1 << 24, "tokens of a step"},
    {"max-length", PLMM_CLI_INT, "N", "0", 0, 1 << 20, "cut dialogues to N tokens; 0: the context"},
    {"lr", PLMM_CLI_REAL, "X", "0.002", 0, 10, "peak learning rate; falls as a cosine to a tenth"},
    {"warmup", PLMM_CLI_INT, "N", "10", 0, 1e9, "steps of rising learning rate"},
    {"decay", PLMM_CLI_REAL, "X", "0", 0, 10, "weight decay"},
    {"clip", PLMM_CLI_REAL, "X", "1", 0, 1e9, "largest norm of a gradient; 0: no limit"},
    BASE,
    RECOMPUTE,
    {"mezo", PLMM_CLI_REAL, "EPS", "0", 0, 1,
     "train by forward passes alone, with perturbations of this size; try 0.001, --lr 0.0001"},
    {"seed", PLMM_CLI_INT, "N", "1", 0, 1e15, "of the adapter and the order"},
    {"dtype", PLMM_CLI_TEXT, "TYPE", "f32", 0, 0, "of the written weights: f32, f16 or bf16"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "report as one line of JSON"},
    QUIET,
};

static const plmm_cli_option generate_options[] = {
    {"prompt", PLMM_CLI_TEXT, "TEXT", "", 0, 0, "what to continue, or the question"},
    {"chat", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "the prompt is a user's turn; print the answer"},
    TEMPLATE,
    ADAPTER,
    BASE,
    {"max-new", PLMM_CLI_INT, "N", "64", 1, 1 << 20, "tokens at most"},
    {"temperature", PLMM_CLI_REAL, "X", "0", 0, 100, "0: always the most probable token"},
    {"top-k", PLMM_CLI_INT, "N", "0", 0, 1 << 20, "draw from the N most probable; 0: from all"},
    {"top-p", PLMM_CLI_REAL, "X", "1", 0, 1, "draw from the fewest that have this probability"},
    {"seed", PLMM_CLI_INT, "N", "1", 0, 1e15, "of the drawing"},
    {"stop", PLMM_CLI_TEXT, "TEXT", NULL, 0, 0, "end before this text"},
    {"draft", PLMM_CLI_TEXT, "MODEL", NULL, 0, 0,
     "a smaller model of the same tokens proposes; the text stays the same"},
    {"ahead", PLMM_CLI_INT, "N", "4", 1, 16, "tokens that the draft proposes at once"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print text and ids as one line of JSON"},
};

static const plmm_cli_option eval_options[] = {
    TEMPLATE,
    ADAPTER,
    BASE,
    {"max", PLMM_CLI_INT, "N", "0", 0, 1e12, "only the first N dialogues; 0: all"},
    {"max-new", PLMM_CLI_INT, "N", "48", 1, 1 << 20, "tokens of an answer at most"},
    {"no-generate", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "likelihoods only: much faster"},
    {"show", PLMM_CLI_INT, "N", "0", 0, 1e9, "print the first N answers"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print one line of JSON"},
    QUIET,
};

#define DTYPE_AS_SOURCE                                                                            \
    {                                                                                              \
        "dtype", PLMM_CLI_TEXT, "TYPE", NULL, 0, 0,                                                \
            "of the written weights: f32, f16 or bf16; otherwise the source's"                     \
    }
#define SHARD                                                                                      \
    {                                                                                              \
        "shard-mb", PLMM_CLI_INT, "N", "5000", 1, 1e9, "weights of a file at most, in megabytes"   \
    }

static const plmm_cli_option convert_options[] = {
    {"out", PLMM_CLI_TEXT, "PATH", NULL, 0, 0, "a Hugging Face directory, or a file *.gguf"},
    DTYPE_AS_SOURCE,
    SHARD,
};

static const plmm_cli_option export_options[] = {
    {"adapter", PLMM_CLI_LIST, "DIR", NULL, 0, 0, "the PEFT directory"},
    {"out", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "the GGUF file for llama.cpp's --lora"},
    {"dtype", PLMM_CLI_TEXT, "TYPE", NULL, 0, 0, "f32 (the default) or f16"},
};

static const plmm_cli_option merge_options[] = {
    ADAPTER,
    {"out", PLMM_CLI_TEXT, "PATH", NULL, 0, 0, "a Hugging Face directory, or a file *.gguf"},
    {"held-out", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "dialogues or text to measure perplexity on"},
    DTYPE_AS_SOURCE,
    SHARD,
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "report as one line of JSON"},
};

static const plmm_cli_option tokenize_options[] = {
    {"text", PLMM_CLI_TEXT, "TEXT", NULL, 0, 0, "what to tokenize"},
    {"file", PLMM_CLI_TEXT, "FILE", NULL, 0, 0, "a file instead; otherwise standard input"},
    {"lines", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "the input is JSON lines {\"text\": ..}"},
    {"decode", PLMM_CLI_TEXT, "IDS", NULL, 0, 0, "the text of these ids, as \"1 2 3\""},
    {"bos", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "begin-of-text token first"},
    {"eos", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "end-of-text token last"},
    {"specials", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "special tokens in the text are recognised"},
    {"json", PLMM_CLI_FLAG, NULL, NULL, 0, 0, "print one line of JSON"},
};

static const plmm_cli_verb verbs[] = {
    {"info", "[MODEL]", 0, 1, "say what a model is",
     "  plmm-model info models/base --tensors\n"
     "  plmm-model info models/base --adapter out/expert --json\n"
     "  plmm-model info --methods",
     info_options, COUNT(info_options), verb_info},
    {"pretrain", "FILE...", 1, 200, "make a base model from text",
     "Reads text (parts separated by empty lines) and dialogues (.jsonl, .json), trains a "
     "byte-level\n"
     "tokenizer unless one is given, and a Llama-family model on it. Writes config.json,\n"
     "model.safetensors and tokenizer.json. Equal arguments give equal files on one instruction "
     "set,\n"
     "with any number of threads.\n"
     "\n"
     "  plmm-model pretrain base.jsonl --out models/mine --dtype bf16 --epochs 3\n"
     "  plmm-model pretrain more.txt --init models/mine --out models/mine2 --lr 0.001",
     pretrain_options, COUNT(pretrain_options), verb_pretrain},
    {"distill", "TEACHER FILE...", 2, 200,
     "make a smaller model that predicts what a larger one does",
     "Trains a student on text or dialogues, on what the teacher holds likely at each token as "
     "well as on\n"
     "the token itself. The student has the teacher's tokenizer; --init begins with a model (one "
     "that was\n"
     "pruned, say), the options of a shape with a new one. Prints size, perplexity and speed of "
     "both.\n"
     "\n"
     "  plmm-model distill models/base text.txt --out out/small --dim 64 --layers 2 --held-out "
     "held.jsonl\n"
     "  plmm-model prune models/base --depth 3 --data text.txt --out out/cut\n"
     "  plmm-model distill models/base text.txt --init out/cut --hidden-weight 1 --out out/small",
     distill_options, COUNT(distill_options), verb_distill},
    {"prune", "MODEL", 1, 1, "take layers out of a model",
     "Keeps --depth of the layers and prints size, perplexity and speed before and after.\n"
     "\n"
     "  plmm-model prune models/base --depth 3 --data text.txt --out out/cut",
     prune_options, COUNT(prune_options), verb_prune},
    {"quantize", "MODEL", 1, 1, "write a model in fewer bits",
     "Writes a GGUF file of 8 or 4 bits a weight and prints size, perplexity and speed before and "
     "after.\n"
     "\n"
     "  plmm-model quantize models/base --type q4_0 --out out/small --held-out held.jsonl\n"
     "  plmm-model generate out/small/model.gguf --prompt \"Once\"",
     quantize_options, COUNT(quantize_options), verb_quantize},
    {"train", "MODEL FILE...", 2, 200, "train an adapter on dialogues",
     "Trains a LoRA adapter on dialogues (JSON lines or a JSON array with prompt and response,\n"
     "instruction and output, messages, ...), on the responses only, and writes it as a PEFT\n"
     "directory. Adapters given with --adapter stay frozen below the new one.\n"
     "\n"
     "  plmm-model train models/base it.jsonl --out out/it --rank 8 --held-out it-held.jsonl",
     train_options, COUNT(train_options), verb_train},
    {"generate", "MODEL", 1, 1, "continue a text or answer a question",
     "  plmm-model generate stories260K.bin --prompt \"Once upon a time\" --max-new 200\n"
     "  plmm-model generate models/base --chat --prompt \"What is a cow?\" --adapter out/expert",
     generate_options, COUNT(generate_options), verb_generate},
    {"eval", "MODEL FILE", 2, 2, "measure on dialogues",
     "Prints the loss (nats a token of the responses) and the perplexity; and of greedy answers "
     "the\n"
     "share that matches exactly (case, punctuation and spacing aside) and ROUGE-1 precision, "
     "recall\n"
     "and F. By domain if the file names domains.\n"
     "\n"
     "  plmm-model eval models/base held.jsonl --adapter out/expert --show 5",
     eval_options, COUNT(eval_options), verb_eval},
    {"convert", "MODEL", 1, 1, "write a model in another form",
     "Reads a model of any form and writes a Hugging Face directory (the source's config.json and\n"
     "tokenizer go along), or a GGUF file without its vocabulary.\n"
     "\n"
     "  plmm-model convert stories260K.gguf --out out/stories --dtype bf16\n"
     "  plmm-model convert models/base --out base.gguf",
     convert_options, COUNT(convert_options), verb_convert},
    {"export", "MODEL", 1, 1, "write an adapter for llama.cpp",
     "  plmm-model export models/base --adapter out/expert --out expert.gguf\n"
     "  llama-cli -m base.gguf --lora expert.gguf ...",
     export_options, COUNT(export_options), verb_export},
    {"merge", "MODEL", 1, 1, "add adapters to the weights of a model",
     "Prints size and, of --held-out, the perplexity before and after.\n"
     "\n"
     "  plmm-model merge models/base --adapter out/expert --out out/merged --held-out held.jsonl",
     merge_options, COUNT(merge_options), verb_merge},
    {"tokenize", "MODEL|FILE", 1, 1, "turn text into token ids and back",
     "  plmm-model tokenize models/base --text \"Hello, world\"\n"
     "  plmm-model tokenize tokenizer.json --decode \"12 80 7\"",
     tokenize_options, COUNT(tokenize_options), verb_tokenize},
};

int main(int argc, char **argv)
{
    static const plmm_cli_program program = {
        "plmm-model", "make, train, try and measure language models",
        "A MODEL is a Hugging Face directory (Llama, Mistral "
        "without windows, Qwen2), a .gguf file of llama.cpp or a\n"
        "llama2.c .bin file; adapters are PEFT directories.",
        verbs, COUNT(verbs)};
    return plmm_cli_main(&program, argc, argv);
}
