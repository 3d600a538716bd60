/* The tables of a tokenizer, shared by its readers, its trainer and the encoder. */
#ifndef PLMM_NN_TOKENIZER_INTERNAL_H
#define PLMM_NN_TOKENIZER_INTERNAL_H

#include "plmm/json.h"
#include "plmm/tokenizer.h"

enum token_kind {
    TOKEN_HOLE, /* an id that no token has */
    TOKEN_TEXT,
    TOKEN_ADDED,   /* an ordinary text that only added_tokens knows: never the result of a merge */
    TOKEN_BYTE,    /* "<0x0A>": one byte */
    TOKEN_SPECIAL, /* control token: never part of a text */
};

/* Where a token's bytes are: content as in the file, raw as it stands in text. */
typedef struct token {
    uint32_t content, raw; /* offsets into tokenizer.blob */
    uint16_t content_len, raw_len;
    uint8_t kind;
} token;

/* An entry of `added_tokens`: cut out of the text before anything else looks at it. */
typedef struct added_token {
    uint32_t id;
    /* What is searched for, in blob: the content, normalised if `normalized`. */
    uint32_t pattern, len;
    bool normalized, lstrip, rstrip, single_word, special;
    /* The next candidate that begins with the same byte, not longer than this; or -1. */
    int32_t next;
} added_token;

typedef enum bpe_style {
    STYLE_BYTES,    /* symbols are bytes */
    STYLE_SENTENCE, /* symbols are code points; what is unknown falls back to bytes */
} bpe_style;

typedef enum normal_kind { NORMAL_PREPEND, NORMAL_REPLACE, NORMAL_NFC } normal_kind;
typedef struct normal_step {
    normal_kind kind;
    char from[32], to[32]; /* prepend: to */
} normal_step;

typedef enum split_kind {
    SPLIT_GPT2,
    SPLIT_LLAMA3,     /* digits in groups of up to three */
    SPLIT_QWEN2,      /* the same, digits one by one */
    SPLIT_DIGITS,     /* each digit by itself */
    SPLIT_DIGIT_RUNS, /* each run of digits by itself */
    SPLIT_METASPACE,  /* before each U+2581 */
} split_kind;

typedef enum prefix_kind {
    PREFIX_NONE,
    PREFIX_SPACE,      /* a space, unless one is there */
    PREFIX_METASPACE,  /* U+2581 before each stretch between added tokens, unless it is there */
    PREFIX_DUMMY,      /* a space, always */
    PREFIX_META_FIRST, /* the same at the very beginning of the text only */
} prefix_kind;

enum { NORMAL_STEPS_MAX = 8, SPLITS_MAX = 8 };

enum {
    TABLES_MAX = 14 << 20, /* bytes of one tokenizer's tables; what needs more is refused */
    MERGE_RANKS = (1 << 24) - 1,
};
_Static_assert(PLMM_TOKENIZER_VOCAB_MAX <= 1 << 20, "two ids and a rank share 64 bits");
#define MERGE_FREE UINT64_MAX

struct plmm_tokenizer {
    bpe_style style;
    uint32_t n_tokens; /* holes included */
    token *tokens;
    char *blob;
    size_t blob_len, blob_cap;
    size_t room;     /* bytes that the tables may still take */
    uint32_t *slots; /* hash of contents: id + 1, 0 free */
    uint32_t *words; /* the same of texts that are one token for certain; see tokenizer_add_words */
    uint32_t slots_mask;
    /* Hash of pairs: left << 44 | right << 24 | rank, MERGE_FREE, and what it becomes. */
    uint64_t *pairs;
    uint32_t *pair_ids;
    uint32_t pairs_mask;
    int32_t byte_id[256]; /* the token of a single byte, or -1 */
    int32_t unk, bos, eos;
    int32_t prefix_bos, suffix_eos; /* what the template adds; -1 nothing */
    bool byte_fallback, fuse_unk, ignore_merges, strip_first;
    /* No token has it after anything else: words may be cut before it; or NULL. */
    const char *separator;
    bool meta_replace; /* Metaspace: spaces become U+2581 before the prefix */
    prefix_kind prefix;
    normal_step normal[NORMAL_STEPS_MAX];
    size_t n_normal;
    split_kind split[SPLITS_MAX];
    size_t n_split;
    added_token *added;
    size_t n_added;
    int32_t added_first[2][256]; /* [normalized][first byte] -> index into added, or -1 */
    char *source;
    size_t source_len;
    const char *source_name;
};

/* What the tables are made for. */
typedef struct table_sizes {
    uint32_t ids;  /* one more than the largest */
    size_t merges; /* 0: tokenizer_reserve_merges comes later */
    size_t blob;   /* bytes of all contents, twice if they are stored raw as well */
    size_t added;
    size_t scratch; /* bytes that the reader takes beside the tables */
} table_sizes;

/* An empty tokenizer, all ids holes. PLMM_ERR_UNSUPPORTED when its tables would take more than
 * TABLES_MAX, PLMM_ERR_NOMEM. */
plmm_status tokenizer_new(bpe_style style, const table_sizes *z, plmm_tokenizer **out,
                          plmm_error *err) PLMM_NODISCARD;
plmm_status tokenizer_reserve_merges(plmm_tokenizer *t, size_t n, plmm_error *err) PLMM_NODISCARD;

/* Keeps a copy of the file, or the block itself (of plmm_alloc) even on failure of the caller. */
plmm_status tokenizer_keep_source(plmm_tokenizer *t, const char *bytes, size_t len,
                                  const char *name, plmm_error *err) PLMM_NODISCARD;
void tokenizer_take_source(plmm_tokenizer *t, char *bytes, size_t len, const char *name);

/* Gives id its content; raw bytes are derived from the style. PLMM_ERR_FORMAT if the id is taken or
 * out of range or the content too long; a content that is there already keeps its first id unless
 * `unique` asks for an error. */
plmm_status tokenizer_set(plmm_tokenizer *t, uint32_t id, const char *content, size_t len,
                          enum token_kind kind, bool unique, plmm_error *err);

/* Id of the token with this content, or -1. */
int32_t tokenizer_lookup(const plmm_tokenizer *t, const char *content, size_t len);

/* A merge of two tokens into one; the first entry of a pair stays. What was reserved bounds the
 * calls; rank < MERGE_RANKS. */
void tokenizer_add_merge(plmm_tokenizer *t, uint32_t left, uint32_t right, uint32_t rank,
                         uint32_t id);

/* Where the merge of a pair is, or UINT32_MAX. */
static inline uint32_t tokenizer_find_merge(const plmm_tokenizer *t, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 20 | right;
    uint32_t i = (uint32_t)(pair * 0x9E3779B97F4A7C15u >> 32) & t->pairs_mask;
    while (t->pairs[i] >> 24 != pair) {
        if (t->pairs[i] == MERGE_FREE) {
            return UINT32_MAX;
        }
        i = (i + 1) & t->pairs_mask;
    }
    return t->pairs[i] != MERGE_FREE ? i : UINT32_MAX;
}

static inline uint32_t tokenizer_rank(const plmm_tokenizer *t, uint32_t at)
{
    return (uint32_t)t->pairs[at] & 0xFFFFFFu;
}

/* The token that a word is, without looking at merges; -1: unknown, merge it. */
int32_t tokenizer_word(const plmm_tokenizer *t, const char *word, size_t n);

/* Once the tokens and merges are there, before added tokens: finds the tokens whose own text
 * merges into them (or, with ignore_merges, all), for tokenizer_word. PLMM_ERR_NOMEM. */
plmm_status tokenizer_add_words(plmm_tokenizer *t, plmm_error *err) PLMM_NODISCARD;

/* A word of code points under byte_fallback: cut where a separator follows something else. */
bool tokenizer_separates(const char *s, size_t n, size_t at, const char *sep, size_t len);

/* Copies bytes into the blob; returns the offset, UINT32_MAX when out of memory. */
uint32_t tokenizer_store(plmm_tokenizer *t, const char *bytes, size_t len);

/* Once all tokens and added tokens are there: byte_id, usual names, search lists. */
plmm_status tokenizer_finish(plmm_tokenizer *t, plmm_error *err);

/* The readers, which leave the source to the caller. */
plmm_status tokenizer_read_json(const char *json, size_t len, const char *name,
                                plmm_tokenizer **out, plmm_error *err) PLMM_NODISCARD;
plmm_status tokenizer_read_llama2c(const uint8_t *bytes, size_t len, const char *name,
                                   plmm_tokenizer **out, plmm_error *err) PLMM_NODISCARD;
plmm_status tokenizer_read_sentence(const uint8_t *bytes, size_t len, const char *name,
                                    plmm_tokenizer **out, plmm_error *err) PLMM_NODISCARD;

/* --- vocabularies with scores instead of merges --- */

/* Kinds of pieces as SentencePiece and GGUF number them. */
enum piece_kind {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER, /* cut out of the text before anything is merged */
    PIECE_UNUSED,
    PIECE_BYTE
};
typedef struct scored_piece {
    const char *s;
    size_t n;
    float score; /* finite */
    enum piece_kind kind;
} scored_piece;

/* Any two neighbours whose concatenation is a token merge, the highest score first, the leftmost
 * of equals. `at` gives piece after piece, called n times from `begin` on (an opaque position that
 * it moves). */
typedef struct scored_vocab {
    uint32_t n;
    size_t content; /* bytes of all pieces */
    size_t cut;  /* pieces that are cut out of texts: of the user, control, unknown; or 0: none */
    bool spaces; /* pieces write a space as it is, not as U+2581 */
    size_t begin;
    scored_piece (*at)(const void *ctx, size_t *position);
    const void *ctx;
} scored_vocab;
plmm_status tokenizer_from_scores(const scored_vocab *v, plmm_tokenizer **out,
                                  plmm_error *err) PLMM_NODISCARD;

/* From vocab.json and merges.txt. */
plmm_status tokenizer_load_merges(const char *vocab, const char *merges, plmm_tokenizer **out,
                                  plmm_error *err) PLMM_NODISCARD;

/* GPT-2's printable form of bytes: byte -> code point, and back (-1 if it is none). */
uint32_t byte_to_char(unsigned char b);
int char_to_byte(uint32_t cp);

/* Runs the normaliser over s; the result is in out (emptied first). */
plmm_status tokenizer_normalize(const plmm_tokenizer *t, const char *s, size_t n, plmm_text *out,
                                plmm_error *err) PLMM_NODISCARD;

/* Length of the first piece of s[0..n), n > 0, by one splitting rule. */
size_t split_next(split_kind kind, const char *s, size_t n);

/* The words of s by all splitting rules, in order; stops at the first failure of `word`. */
typedef plmm_status (*word_fn)(void *ctx, const char *s, size_t n, plmm_error *err);
plmm_status split_words(const split_kind *kinds, size_t n_kinds, const char *s, size_t n,
                        word_fn word, void *ctx, plmm_error *err) PLMM_NODISCARD;

/* Scratch of the merge loop, reused from word to word; {0} to start. */
typedef struct bpe_symbol {
    int32_t id; /* -1: merged away */
    uint32_t prev, next;
} bpe_symbol;
typedef struct bpe_entry {
    uint32_t rank, pos, id;
} bpe_entry;
typedef struct bpe_scratch {
    bpe_symbol *sym;
    size_t n, cap;
    bpe_entry *heap;
    size_t n_heap, heap_cap;
} bpe_scratch;
/* Appends the ids of a word by merging. */
plmm_status bpe_encode(const plmm_tokenizer *t, const char *word, size_t n, bpe_scratch *s,
                       plmm_ids *out, plmm_error *err) PLMM_NODISCARD;
void bpe_scratch_free(bpe_scratch *s);

#endif
