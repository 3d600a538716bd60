/* plmm/chat.h -- a dialogue as token ids, with the positions that a model learns from.
 *
 * With a tokenizer that has the tokens <|user|>, <|assistant|> and <|end|>:
 *     [bos] <|user|> prompt <|assistant|> response <|end|>
 * and with any other, in plain text:
 *     [bos] "User: prompt\nAssistant:" " response" [eos, else "\n"]
 * unless one of the families' chat templates is chosen, or is told by the tokenizer's own tokens
 * (<|start_header_id|>: llama3, <|im_start|>: chatml): then as Transformers' apply_chat_template
 * writes it, id by id.
 * Loss is on the response and its end only. What a user writes is encoded as plain text: a
 * "<|end|>" in it cannot close a turn. Functions are thread-safe.
 */
#ifndef PLMM_CHAT_H
#define PLMM_CHAT_H

#include "plmm/tokenizer.h"

#define PLMM_CHAT_BEGIN     "<|begin|>"
#define PLMM_CHAT_END       "<|end|>"
#define PLMM_CHAT_USER      "<|user|>"
#define PLMM_CHAT_ASSISTANT "<|assistant|>"

enum { PLMM_CHAT_SPECIALS = 4 };
extern const char *const plmm_chat_specials[PLMM_CHAT_SPECIALS]; /* for training a tokenizer */

/* How one tokenizer writes a chat. Borrows the tokenizer. */
typedef struct plmm_chat {
    const plmm_tokenizer *tokenizer;
    const struct plmm__chat_template *form; /* NULL: one of our own two forms */
    bool tokens;                            /* turns end with a token, not with a line break */
    int32_t bos, eos, end, user, assistant;
    int32_t stop; /* generation ends at this id (-1: only at a line break, in plain text) */
} plmm_chat;

/* bos and eos: the model's, -1 for none. */
void plmm_chat_init(plmm_chat *c, const plmm_tokenizer *tokenizer, int32_t bos, int32_t eos);

/* Makes c follow a family's template:
 *   llama2    Llama-2-chat: the system's text inside the first turn; turns alternate
 *   llama3    Llama-3-Instruct
 *   chatml    <|im_start|>role ... <|im_end|>, without a system's text if none is said
 *   smollm2, qwen2, qwen2.5   the same with the text that these models say as the system's
 *   zephyr    TinyLlama-Chat
 *   mistral   Mistral-Instruct v0.2: no system's text; turns alternate
 * PLMM_ERR_CONFIG for another name, or when the tokenizer lacks a token that the template needs; c
 * is then unchanged. */
plmm_status plmm_chat_use(plmm_chat *c, const char *name, plmm_error *err) PLMM_NODISCARD;

/* Name of template i, NULL beyond the last. */
const char *plmm_chat_template(size_t i);

typedef enum plmm_chat_role {
    PLMM_ROLE_SYSTEM,
    PLMM_ROLE_USER,
    PLMM_ROLE_ASSISTANT
} plmm_chat_role;

typedef struct plmm_chat_message {
    plmm_chat_role role;
    const char *text;
} plmm_chat_message;

/* A whole dialogue by the template of c; a system's message may only be the first. ask: up to where
 * the next answer begins. Replaces *ids' contents. PLMM_ERR_STATE without a template (c->form NULL),
 * PLMM_ERR_RANGE for messages out of turn, PLMM_ERR_UNSUPPORTED for a role that the template lacks,
 * PLMM_ERR_NOMEM. */
plmm_status plmm_chat_encode(const plmm_chat *c, const plmm_chat_message *messages, size_t n,
                             bool ask, plmm_ids *ids, plmm_error *err) PLMM_NODISCARD;

/* One sequence: ids[i] is to be followed by targets[i], -1 where nothing is learnt; n of each. */
typedef struct plmm_sample {
    plmm_ids ids, targets;
} plmm_sample;
void plmm_sample_free(plmm_sample *s); /* leaves {0} */

/* What a model is asked: up to where the response begins. Replaces *ids' contents.
 * max (0: no limit, else >= 8): a longer prompt loses its oldest words, never its frame;
 * PLMM_ERR_RANGE if a template's frame alone is longer. */
plmm_status plmm_chat_prompt(const plmm_chat *c, const char *prompt, size_t max, plmm_ids *ids,
                             plmm_error *err) PLMM_NODISCARD;

/* Prompt and response with targets; replaces *s' contents. At most max ids (0: no limit, else >=
 * 8): first the prompt is cut at its beginning, down to a quarter of max, then the response at its
 * end. An empty prompt with a response is plain text: [bos] text [end], all of it learnt. */
plmm_status plmm_chat_sample(const plmm_chat *c, const char *prompt, const char *response,
                             size_t max, plmm_sample *s, plmm_error *err) PLMM_NODISCARD;

#endif
