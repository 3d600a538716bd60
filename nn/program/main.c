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

static const plmm_cli_verb verbs[] = {
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
};

int main(int argc, char **argv)
{
    static const plmm_cli_program program = {"plmm-model",
                                             "make, train, try and measure language models",
                                             "A MODEL is a Hugging Face directory (Llama, Mistral "
                                             "without windows, Qwen2) or a llama2.c\n"
                                             ".bin file; adapters are PEFT directories.",
                                             verbs, COUNT(verbs)};
    return plmm_cli_main(&program, argc, argv);
}
