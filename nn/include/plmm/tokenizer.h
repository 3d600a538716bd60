/* plmm/tokenizer.h -- text to token ids and back: byte-pair encoding, exactly as the model was
 * trained.
 *
 * Reads
 *   tokenizer.json              of Hugging Face tokenizers, model BPE: byte-level in the manner of
 *                               GPT-2, Llama 3 and Qwen2, or in the manner of SentencePiece with
 *                               byte fallback
 *   vocab.json with merges.txt  GPT-2's older pair, read as the tokenizer.json it stands for
 *   tokenizer.model             of SentencePiece, model type BPE without a character map, as Llama
 *                               2, TinyLlama and Mistral have it
 *   tokenizer.bin               of llama2.c
 *   the keys of a .gguf file    models "gpt2" (gpt-2, llama-bpe, qwen2, smollm) and "llama", read as
 *                               the tokenizer.json or tokenizer.model that they stand for
 * and trains a byte-level one of its own, written as a tokenizer.json that Hugging Face opens with
 * the same ids. What a file asks for and is not implemented is refused by its name.
 *
 * A tokenizer is immutable once made: every function that takes a const one is thread-safe. Merging
 * takes O(n log n) for a word of n bytes, so a text without spaces is no trap.
 *
 * Reading a file, whatever is in it, takes at most its length (it is kept, to be written again) and
 * 16 MiB: a vocabulary whose tables would take more is refused with PLMM_ERR_UNSUPPORTED. Llama 3's
 * 128,000 tokens take 13 MiB.
 *
 * Text is bytes: UTF-8 is expected, anything else is passed on by byte tokens where there are any
 * and becomes the unknown token otherwise. Encoding never fails because of what the text contains.
 */
#ifndef PLMM_TOKENIZER_H
#define PLMM_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "plmm/gguf.h"
#include "plmm/status.h"

enum {
    PLMM_TOKENIZER_FILE_MAX = 64 << 20, /* bytes of a tokenizer file */
    PLMM_TOKENIZER_VOCAB_MAX = 1 << 20, /* tokens */
    PLMM_TOKENIZER_TOKEN_MAX = 1024,    /* bytes of one token */
    PLMM_TOKENIZER_TEXT_MAX = 64 << 20, /* bytes of one text to encode */
};

typedef struct plmm_tokenizer plmm_tokenizer;

/* A growing array of ids. Start it with {0}; free it with plmm_ids_free; n may be set back to 0 to
 * use it again. */
typedef struct plmm_ids {
    int32_t *v;
    size_t n, cap;
} plmm_ids;

plmm_status plmm_ids_push(plmm_ids *ids, int32_t id, plmm_error *err) PLMM_NODISCARD;
void plmm_ids_free(plmm_ids *ids); /* leaves {0} */

/* Opens a file, whose first bytes tell what it is, or in a directory its `tokenizer.json`, else its
 * `tokenizer.model`, else its `tokenizer.bin`, else GPT-2's older pair of `vocab.json` and
 * `merges.txt`.
 * PLMM_ERR_NOTFOUND, _FORMAT, _UNSUPPORTED, _IO, _NOMEM. */
plmm_status plmm_tokenizer_load(const char *path, plmm_tokenizer **out,
                                plmm_error *err) PLMM_NODISCARD;

/* The same from memory (copied); name is used in messages only. */
plmm_status plmm_tokenizer_parse_json(const char *json, size_t len, const char *name,
                                      plmm_tokenizer **out, plmm_error *err) PLMM_NODISCARD;
plmm_status plmm_tokenizer_parse_llama2c(const uint8_t *bytes, size_t len, const char *name,
                                         plmm_tokenizer **out, plmm_error *err) PLMM_NODISCARD;

plmm_status plmm_tokenizer_parse_sentence(const uint8_t *bytes, size_t len, const char *name,
                                          plmm_tokenizer **out, plmm_error *err) PLMM_NODISCARD;

/* From the keys tokenizer.ggml.* of an open file; name is used in messages only. PLMM_ERR_FORMAT,
 * PLMM_ERR_UNSUPPORTED (another model or pre-tokenizer), PLMM_ERR_NOMEM. */
plmm_status plmm_tokenizer_from_gguf(const plmm_gguf *g, const char *name, plmm_tokenizer **out,
                                     plmm_error *err) PLMM_NODISCARD;

void plmm_tokenizer_free(plmm_tokenizer *t);

/* Writes the tokenizer into an existing directory, as `tokenizer.json` (or `tokenizer.model` or
 * `tokenizer.bin` if it was read from one), replaced atomically; one that was read from a single
 * file is written back byte for byte. PLMM_ERR_RANGE for too long a path, PLMM_ERR_IO. */
plmm_status plmm_tokenizer_save(const plmm_tokenizer *t, const char *dir,
                                plmm_error *err) PLMM_NODISCARD;

/* The file's bytes that plmm_tokenizer_save would write, and its name; they live as long as t. */
const char *plmm_tokenizer_source(const plmm_tokenizer *t, size_t *len, const char **name);

/* One more than the largest id. A model may have more rows than that, never fewer. */
uint32_t plmm_tokenizer_vocab(const plmm_tokenizer *t);

/* The id of the token whose content is exactly this text ("<|end|>", "</s>"), or -1. The text is as
 * in the file: for ordinary byte-level tokens that is GPT-2's printable form of bytes. */
int32_t plmm_tokenizer_find(const plmm_tokenizer *t, const char *content);

/* Begin and end of text as the tokenizer itself knows them (its template, else the usual names);
 * -1 if there is none. config.json has the last word: see plmm/checkpoint.h. */
int32_t plmm_tokenizer_bos(const plmm_tokenizer *t);
int32_t plmm_tokenizer_eos(const plmm_tokenizer *t);

enum {
    PLMM_ENCODE_BOS = 1, /* put the begin-of-text token first, if there is one */
    PLMM_ENCODE_EOS = 2, /* put the end-of-text token last, if there is one */
    /* Special tokens written in the text are recognised. Never set this for text of a user: it
     * could forge the turns of a dialogue. */
    PLMM_ENCODE_SPECIALS = 4,
    /* The text goes on from special tokens that are already there: what a tokenizer puts before the
     * beginning of a text alone is left out. */
    PLMM_ENCODE_INNER = 8,
};

/* Appends the ids of text[0..len) to *ids (unchanged on failure). */
plmm_status plmm_tokenizer_encode(const plmm_tokenizer *t, const char *text, size_t len,
                                  unsigned flags, plmm_ids *ids, plmm_error *err) PLMM_NODISCARD;

enum { PLMM_DECODE_SKIP_SPECIALS = 1 };

/* Text of ids as bytes, NUL-terminated, in a new block (*len without the NUL; plmm_free). Ids that
 * are no token give nothing. Bytes that are no UTF-8 (a sequence cut short) are kept as they
 * are. */
plmm_status plmm_tokenizer_decode(const plmm_tokenizer *t, const int32_t *ids, size_t n,
                                  unsigned flags, char **text, size_t *len,
                                  plmm_error *err) PLMM_NODISCARD;

/* Bytes of one token for printing while generating: at most PLMM_TOKENIZER_TOKEN_MAX + 1 are
 * written to buf, NUL-terminated; returns their number. Nothing for special tokens. `first`: the
 * token opens the text, where SentencePiece-style tokenizers drop one space. */
size_t plmm_tokenizer_piece(const plmm_tokenizer *t, int32_t id, bool first,
                            char buf[PLMM_TOKENIZER_TOKEN_MAX + 1]);

/* --- training of a byte-level tokenizer (GPT-2's splitting, all 256 bytes, no normaliser) --- */

typedef struct plmm_tokenizer_params {
    uint32_t vocab;              /* wished size: 256 + specials .. PLMM_TOKENIZER_VOCAB_MAX */
    uint32_t min_count;          /* a pair is merged if it was seen at least so often (>= 1) */
    const char *const *specials; /* contents, get ids 0, 1, ... in this order */
    size_t n_specials;           /* at most 64 */
} plmm_tokenizer_params;

typedef struct plmm_tokenizer_trainer plmm_tokenizer_trainer;

/* Params are borrowed until free. One thread at a time. */
plmm_status plmm_tokenizer_trainer_new(const plmm_tokenizer_params *p, plmm_tokenizer_trainer **out,
                                       plmm_error *err) PLMM_NODISCARD;
/* Counts the words of one text; a word never spans two texts. Memory grows with the number of
 * different words only. Specials written in the text are ordinary text here: leave them out. */
plmm_status plmm_tokenizer_trainer_feed(plmm_tokenizer_trainer *tr, const char *text, size_t len,
                                        plmm_error *err) PLMM_NODISCARD;
/* Learns the merges and makes the tokenizer; may be smaller than wished if the text has no more
 * pairs. Deterministic: the most frequent pair first, ties by the smaller ids, as Hugging Face
 * trains. The first special is begin of text, the second end of text, if there are such.
 * PLMM_ERR_RANGE if vocab does not hold the bytes and the specials. */
plmm_status plmm_tokenizer_trainer_finish(plmm_tokenizer_trainer *tr, plmm_tokenizer **out,
                                          plmm_error *err) PLMM_NODISCARD;
void plmm_tokenizer_trainer_free(plmm_tokenizer_trainer *tr);

#endif
