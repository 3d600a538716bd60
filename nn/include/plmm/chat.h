/* plmm/chat.h -- a dialogue as token ids, with the positions that a model learns from.
 *
 * With a tokenizer that has the tokens <|user|>, <|assistant|> and <|end|>:
 *     [bos] <|user|> prompt <|assistant|> response <|end|>
 * and with any other, in plain text:
 *     [bos] "User: prompt\nAssistant:" " response" [eos, else "\n"]
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
    bool tokens; /* the first form */
    int32_t bos, end, user, assistant;
    int32_t stop; /* generation ends at this id (-1: only at a line break, in plain text) */
} plmm_chat;

/* bos and eos: the model's, -1 for none. */
void plmm_chat_init(plmm_chat *c, const plmm_tokenizer *tokenizer, int32_t bos, int32_t eos);

/* One sequence: ids[i] is to be followed by targets[i], -1 where nothing is learnt; n of each. */
typedef struct plmm_sample {
    plmm_ids ids, targets;
} plmm_sample;
void plmm_sample_free(plmm_sample *s); /* leaves {0} */

/* What a model is asked: up to where the response begins. Replaces *ids' contents.
 * max (0: no limit, else >= 8): a longer prompt loses its oldest words, never its frame. */
plmm_status plmm_chat_prompt(const plmm_chat *c, const char *prompt, size_t max, plmm_ids *ids,
                             plmm_error *err) PLMM_NODISCARD;

/* Prompt and response with targets; replaces *s' contents. At most max ids (0: no limit, else >=
 * 8): first the prompt is cut at its beginning, down to a quarter of max, then the response at its
 * end. An empty prompt with a response is plain text: [bos] text [end], all of it learnt. */
plmm_status plmm_chat_sample(const plmm_chat *c, const char *prompt, const char *response,
                             size_t max, plmm_sample *s, plmm_error *err) PLMM_NODISCARD;

#endif
