/* Reader of tokenizer.json (Hugging Face tokenizers). Each part is either understood or refused.
 * The vocabulary and the merges are read where they lie in the text; only the small parts become
 * trees. */
#include "tokenizer_internal.h"
#include "unicode.h"

#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"
#include "plmm/json_walk.h"

#define META "\xE2\x96\x81"

static const char *type_of(const plmm_json *node)
{
    const char *type = plmm_json_text(plmm_json_get(node, "type"));
    return type != NULL ? type : "";
}

static bool is_null(const plmm_json *node)
{
    return node == NULL || plmm_json_type_of(node) == PLMM_JSON_NULL;
}

static bool is_type(const plmm_json *node, const char *type)
{
    return strcmp(type_of(node), type) == 0;
}

/* A member that, if true, or a text, if not empty, asks for something that is not implemented. */
static plmm_status refuse(plmm_json_slice node, const char *where, const char *const *keys,
                          plmm_error *err)
{
    for (; *keys != NULL; keys++) {
        plmm_json_slice v = plmm_json_slice_get(node, *keys);
        plmm_json_type type = plmm_json_slice_type(v);
        bool unset = type == PLMM_JSON_NULL || plmm_json_slice_is(v, "") ||
                     (type == PLMM_JSON_BOOL && !plmm_json_slice_true(v));
        if (!unset) {
            return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "%s.%s is not supported", where, *keys);
        }
    }
    return PLMM_OK;
}

static plmm_status flag(plmm_json_slice node, const char *key, bool *out, plmm_error *err)
{
    plmm_json_slice v = plmm_json_slice_get(node, key);
    plmm_json_type type = plmm_json_slice_type(v);
    if (type != PLMM_JSON_NULL && type != PLMM_JSON_BOOL) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "model.%s is neither true nor false", key);
    }
    *out = plmm_json_slice_true(v);
    return PLMM_OK;
}

/* --- vocabulary and merges --- */

/* What a slice says, for a message. */
static const char *quote(plmm_json_slice v, char buf[48])
{
    size_t n = v.len < 41 ? v.len : 40;
    (void)snprintf(buf, 48, "%.*s%s", (int)n, v.len > 0 ? v.at : "", n < v.len ? "..." : "");
    return buf;
}

static plmm_status id_of(plmm_json_slice key, plmm_json_slice value, uint32_t *id, plmm_error *err)
{
    uint64_t v;
    char buf[48];
    if (!plmm_json_slice_whole(value, PLMM_TOKENIZER_VOCAB_MAX - 1, &v)) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "the token %s has no id in 0..%d", quote(key, buf),
                         (int)PLMM_TOKENIZER_VOCAB_MAX - 1);
    }
    *id = (uint32_t)v;
    return PLMM_OK;
}

/* What the tables of this file need. */
static plmm_status survey(plmm_json_slice vocab, plmm_json_slice merges, plmm_json_slice added,
                          table_sizes *z, plmm_error *err)
{
    plmm_json_walk w;
    uint32_t id = 0;
    *z = (table_sizes){.merges = plmm_json_slice_count(merges)};
    for (plmm_json_walk_init(&w, vocab); plmm_json_walk_next(&w);) {
        PLMM_TRY(id_of(w.key, w.value, &id, err));
        z->ids = id >= z->ids ? id + 1 : z->ids;
        z->blob += 2 * w.key.len;
    }
    for (plmm_json_walk_init(&w, added); plmm_json_walk_next(&w);) {
        plmm_json_slice content = plmm_json_slice_get(w.value, "content");
        PLMM_TRY(id_of(content, plmm_json_slice_get(w.value, "id"), &id, err));
        z->ids = id >= z->ids ? id + 1 : z->ids;
        z->blob += 2 * content.len;
        z->added++;
    }
    if (z->ids == 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "the vocabulary is empty");
    }
    return PLMM_OK;
}

static plmm_status read_vocab(plmm_tokenizer *t, plmm_json_slice vocab, plmm_error *err)
{
    plmm_json_walk w;
    for (plmm_json_walk_init(&w, vocab); plmm_json_walk_next(&w);) {
        char content[PLMM_TOKENIZER_TOKEN_MAX + 1];
        uint32_t id = 0;
        PLMM_TRY(id_of(w.key, w.value, &id, err));
        size_t n = plmm_json_slice_text(w.key, content, sizeof content);
        if (n == SIZE_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "token %u has more than %d bytes", id,
                             (int)PLMM_TOKENIZER_TOKEN_MAX);
        }
        PLMM_TRY(tokenizer_set(t, id, content, n, TOKEN_TEXT, true, err));
    }
    return PLMM_OK;
}

/* The two halves of a merge, "a b" or ["a", "b"], one after the other in `both`. */
static bool halves_of(plmm_json_slice m, char both[2 * PLMM_TOKENIZER_TOKEN_MAX + 2], size_t *a_len,
                      size_t *len)
{
    enum { CAP = PLMM_TOKENIZER_TOKEN_MAX + 1 };
    if (plmm_json_slice_type(m) == PLMM_JSON_STRING) {
        *len = plmm_json_slice_text(m, both, 2 * CAP);
        char *space = *len != SIZE_MAX ? strchr(both, ' ') : NULL;
        if (space == NULL) {
            return false;
        }
        *a_len = (size_t)(space - both);
        --*len;
        memmove(space, space + 1, *len - *a_len);
        return true;
    }
    plmm_json_walk w;
    plmm_json_walk_init(&w, m);
    if (!plmm_json_walk_next(&w)) {
        return false;
    }
    *a_len = plmm_json_slice_text(w.value, both, CAP);
    if (*a_len == SIZE_MAX || !plmm_json_walk_next(&w)) {
        return false;
    }
    size_t b_len = plmm_json_slice_text(w.value, both + *a_len, CAP);
    *len = *a_len + b_len;
    return b_len != SIZE_MAX && !plmm_json_walk_next(&w);
}

static plmm_status read_merges(plmm_tokenizer *t, plmm_json_slice merges, plmm_error *err)
{
    plmm_json_walk w;
    uint32_t rank = 0;
    for (plmm_json_walk_init(&w, merges); plmm_json_walk_next(&w); rank++) {
        char both[2 * PLMM_TOKENIZER_TOKEN_MAX + 2], buf[48];
        size_t a_len, len;
        if (!halves_of(w.value, both, &a_len, &len)) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "merge %u is no pair of tokens", rank);
        }
        int32_t left = tokenizer_lookup(t, both, a_len);
        int32_t right = tokenizer_lookup(t, both + a_len, len - a_len);
        int32_t id = tokenizer_lookup(t, both, len);
        if (left < 0 || right < 0 || id < 0) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "merge %u (%s) uses a token that the vocabulary lacks", rank,
                             quote(w.value, buf));
        }
        tokenizer_add_merge(t, (uint32_t)left, (uint32_t)right, rank, (uint32_t)id);
    }
    return PLMM_OK;
}

/* --- added tokens --- */

static plmm_status read_added(plmm_tokenizer *t, const plmm_json *node, added_token *a,
                              plmm_error *err)
{
    const char *where = "added_tokens", *content;
    bool single = false, lstrip = false, rstrip = false, special = false, normalized = false;
    PLMM_TRY(plmm_json_need_u32(node, where, "id", 0, PLMM_TOKENIZER_VOCAB_MAX - 1, &a->id, err));
    PLMM_TRY(plmm_json_need_text(node, where, "content", PLMM_TOKENIZER_TOKEN_MAX, &content, err));
    PLMM_TRY(plmm_json_may_bool(node, where, "single_word", &single, err));
    PLMM_TRY(plmm_json_may_bool(node, where, "lstrip", &lstrip, err));
    PLMM_TRY(plmm_json_may_bool(node, where, "rstrip", &rstrip, err));
    PLMM_TRY(plmm_json_may_bool(node, where, "special", &special, err));
    PLMM_TRY(plmm_json_may_bool(node, where, "normalized", &normalized, err));
    size_t len = strlen(content);
    int32_t there = tokenizer_lookup(t, content, len);
    if (there < 0) {
        PLMM_TRY(tokenizer_set(t, a->id, content, len, special ? TOKEN_SPECIAL : TOKEN_ADDED, true,
                               err));
    } else if ((uint32_t)there != a->id) {
        return plmm_fail(err, PLMM_ERR_FORMAT,
                         "added token \"%.40s\" has id %u, but %d in the vocabulary", content,
                         a->id, there);
    }
    token *k = &t->tokens[a->id];
    if (special) {
        *k = (token){k->content, k->content, k->content_len, k->content_len, TOKEN_SPECIAL};
    }
    a->normalized = normalized;
    a->special = special;
    a->lstrip = lstrip;
    a->rstrip = rstrip;
    a->single_word = single;
    a->pattern = k->content;
    a->len = k->content_len;
    if (!normalized || t->n_normal == 0) {
        return PLMM_OK;
    }
    plmm_text normal = {0};
    plmm_status rc = tokenizer_normalize(t, content, len, &normal, err);
    if (rc == PLMM_OK) {
        a->pattern = tokenizer_store(t, normal.text, normal.len);
        a->len = (uint32_t)normal.len;
        rc = a->pattern == UINT32_MAX
                 ? plmm_fail(err, PLMM_ERR_NOMEM,
                             "cannot hold the tokens: out of memory, or of the tables' room")
                 : PLMM_OK;
    }
    plmm_text_free(&normal);
    return rc;
}

static plmm_status read_all_added(plmm_tokenizer *t, plmm_json_slice list, plmm_error *err)
{
    enum { NODES = 64 }; /* of one */
    plmm_json_walk w;
    for (plmm_json_walk_init(&w, list); plmm_json_walk_next(&w);) {
        plmm_json *a;
        PLMM_TRY(plmm_json_slice_tree(w.value, "added_tokens", NODES, &a, err));
        plmm_status rc = read_added(t, a, &t->added[t->n_added], err);
        plmm_json_free(a);
        PLMM_TRY(rc);
        t->n_added++;
    }
    return PLMM_OK;
}

/* --- normaliser --- */

static plmm_status short_text(const plmm_json *node, const char *where, const char *key,
                              char out[32], plmm_error *err)
{
    const char *text;
    PLMM_TRY(plmm_json_need_text(node, where, key, 31, &text, err));
    (void)snprintf(out, 32, "%s", text);
    return PLMM_OK;
}

static plmm_status read_normal(plmm_tokenizer *t, const plmm_json *node, unsigned depth,
                               plmm_error *err)
{
    if (is_null(node)) {
        return PLMM_OK;
    }
    if (is_type(node, "Sequence") && depth < 4) {
        const plmm_json *list = plmm_json_get(node, "normalizers");
        for (const plmm_json *s = plmm_json_first(list); s != NULL; s = plmm_json_next(s)) {
            PLMM_TRY(read_normal(t, s, depth + 1, err));
        }
        return PLMM_OK;
    }
    if (t->n_normal == NORMAL_STEPS_MAX) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "normalizer has more than %d steps",
                         (int)NORMAL_STEPS_MAX);
    }
    normal_step *step = &t->normal[t->n_normal];
    if (is_type(node, "Prepend")) {
        step->kind = NORMAL_PREPEND;
        PLMM_TRY(short_text(node, "normalizer", "prepend", step->to, err));
    } else if (is_type(node, "Replace") &&
               plmm_json_text(plmm_json_get(plmm_json_get(node, "pattern"), "String")) != NULL) {
        step->kind = NORMAL_REPLACE;
        PLMM_TRY(short_text(plmm_json_get(node, "pattern"), "normalizer.pattern", "String",
                            step->from, err));
        PLMM_TRY(short_text(node, "normalizer", "content", step->to, err));
        if (step->from[0] == '\0') {
            return plmm_fail(err, PLMM_ERR_FORMAT, "normalizer.pattern.String is empty");
        }
    } else if (is_type(node, "NFC")) {
        step->kind = NORMAL_NFC;
    } else {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "normalizer \"%.40s\" is not supported",
                         type_of(node));
    }
    t->n_normal++;
    return PLMM_OK;
}

/* --- pre-tokenizer --- */

static plmm_status add_split(plmm_tokenizer *t, split_kind kind, plmm_error *err)
{
    if (t->n_split == SPLITS_MAX) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "pre_tokenizer has more than %d steps",
                         (int)SPLITS_MAX);
    }
    t->split[t->n_split++] = kind;
    return PLMM_OK;
}

static plmm_status set_prefix(plmm_tokenizer *t, prefix_kind kind, plmm_error *err)
{
    if (t->n_split > 0 || t->prefix != PREFIX_NONE) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "pre_tokenizer adds a space after another step: not supported");
    }
    t->prefix = kind;
    return PLMM_OK;
}

static plmm_status read_split(plmm_tokenizer *t, const plmm_json *node, plmm_error *err)
{
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define THE_REST     "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    static const struct {
        const char *regex;
        split_kind kind;
    } known[] = {
        {CONTRACTIONS "\\p{N}{1,3}" THE_REST, SPLIT_LLAMA3},
        {CONTRACTIONS "\\p{N}" THE_REST, SPLIT_QWEN2},
        {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
         SPLIT_GPT2},
    };
    bool invert = false;
    PLMM_TRY(plmm_json_may_bool(node, "pre_tokenizer", "invert", &invert, err));
    const char *regex = plmm_json_text(plmm_json_get(plmm_json_get(node, "pattern"), "Regex"));
    const char *behavior = plmm_json_text(plmm_json_get(node, "behavior"));
    for (size_t i = 0; regex != NULL && i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].regex, regex) == 0 && !invert && behavior != NULL &&
            (strcmp(behavior, "Isolated") == 0 || strcmp(behavior, "isolated") == 0)) {
            return add_split(t, known[i].kind, err);
        }
    }
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                     "pre_tokenizer splits by \"%.80s\": only the patterns of GPT-2, Llama 3 and "
                     "Qwen2 with behavior Isolated are supported",
                     regex != NULL ? regex : "(no Regex)");
}

static plmm_status read_byte_level(plmm_tokenizer *t, const plmm_json *node, plmm_error *err)
{
    bool add_space = true, use_regex = true;
    PLMM_TRY(plmm_json_may_bool(node, "pre_tokenizer", "add_prefix_space", &add_space, err));
    PLMM_TRY(plmm_json_may_bool(node, "pre_tokenizer", "use_regex", &use_regex, err));
    if (add_space) {
        PLMM_TRY(set_prefix(t, PREFIX_SPACE, err));
    }
    t->style = STYLE_BYTES;
    return use_regex ? add_split(t, SPLIT_GPT2, err) : PLMM_OK;
}

static plmm_status read_metaspace(plmm_tokenizer *t, const plmm_json *node, plmm_error *err)
{
    const char *replacement = META, *scheme = NULL;
    bool add_space = true, split = true;
    const char *where = "pre_tokenizer";
    PLMM_TRY(plmm_json_may_text(node, where, "replacement", 8, &replacement, err));
    PLMM_TRY(plmm_json_may_text(node, where, "prepend_scheme", 16, &scheme, err));
    PLMM_TRY(plmm_json_may_bool(node, where, "add_prefix_space", &add_space, err));
    PLMM_TRY(plmm_json_may_bool(node, where, "split", &split, err));
    if (strcmp(replacement, META) != 0) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "pre_tokenizer.replacement \"%s\" is not supported", replacement);
    }
    scheme = scheme != NULL ? scheme : add_space ? "always" : "never";
    t->meta_replace = true;
    if (strcmp(scheme, "never") != 0) {
        PLMM_TRY(set_prefix(t, strcmp(scheme, "first") == 0 ? PREFIX_META_FIRST : PREFIX_METASPACE,
                            err));
    }
    return split ? add_split(t, SPLIT_METASPACE, err) : PLMM_OK;
}

static plmm_status read_pre(plmm_tokenizer *t, const plmm_json *node, unsigned depth,
                            plmm_error *err)
{
    if (is_null(node)) {
        return PLMM_OK;
    }
    if (is_type(node, "Sequence") && depth < 4) {
        const plmm_json *list = plmm_json_get(node, "pretokenizers");
        for (const plmm_json *s = plmm_json_first(list); s != NULL; s = plmm_json_next(s)) {
            PLMM_TRY(read_pre(t, s, depth + 1, err));
        }
        return PLMM_OK;
    }
    if (is_type(node, "ByteLevel")) {
        return read_byte_level(t, node, err);
    }
    if (is_type(node, "Metaspace")) {
        return read_metaspace(t, node, err);
    }
    if (is_type(node, "Split")) {
        return read_split(t, node, err);
    }
    if (is_type(node, "Digits")) {
        bool each = false;
        PLMM_TRY(plmm_json_may_bool(node, "pre_tokenizer", "individual_digits", &each, err));
        return add_split(t, each ? SPLIT_DIGITS : SPLIT_DIGIT_RUNS, err);
    }
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "pre_tokenizer \"%.40s\" is not supported",
                     type_of(node));
}

/* --- decoder and template --- */

static plmm_status read_decoder(plmm_tokenizer *t, const plmm_json *node, unsigned depth,
                                plmm_error *err)
{
    static const char *const fine[] = {"ByteLevel", "ByteFallback", "Fuse", "Replace"};
    if (is_null(node)) {
        return PLMM_OK;
    }
    if (is_type(node, "Sequence") && depth < 4) {
        const plmm_json *list = plmm_json_get(node, "decoders");
        for (const plmm_json *s = plmm_json_first(list); s != NULL; s = plmm_json_next(s)) {
            PLMM_TRY(read_decoder(t, s, depth + 1, err));
        }
        return PLMM_OK;
    }
    if (is_type(node, "Strip") || is_type(node, "Metaspace")) {
        const char *scheme = plmm_json_text(plmm_json_get(node, "prepend_scheme"));
        const plmm_json *add = plmm_json_get(node, "add_prefix_space");
        t->strip_first =
            scheme != NULL ? strcmp(scheme, "never") != 0 : add == NULL || plmm_json_true(add);
        return PLMM_OK;
    }
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        if (is_type(node, fine[i])) {
            return PLMM_OK;
        }
    }
    return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "decoder \"%.40s\" is not supported",
                     type_of(node));
}

/* The first special token before the text and the first after it. */
static plmm_status read_template(plmm_tokenizer *t, const plmm_json *node, unsigned depth,
                                 plmm_error *err)
{
    if (is_type(node, "Sequence")) {
        const plmm_json *list = plmm_json_get(node, "processors");
        for (const plmm_json *s = plmm_json_first(list); s != NULL; s = plmm_json_next(s)) {
            if (depth < 4) {
                PLMM_TRY(read_template(t, s, depth + 1, err));
            }
        }
        return PLMM_OK;
    }
    if (!is_type(node, "TemplateProcessing")) {
        return PLMM_OK;
    }
    bool after = false;
    const plmm_json *list = plmm_json_get(node, "single");
    for (const plmm_json *s = plmm_json_first(list); s != NULL; s = plmm_json_next(s)) {
        const char *name = plmm_json_text(plmm_json_get(plmm_json_get(s, "SpecialToken"), "id"));
        int32_t *slot = after ? &t->suffix_eos : &t->prefix_bos;
        if (name != NULL && *slot < 0) {
            *slot = plmm_tokenizer_find(t, name);
        }
        after = after || plmm_json_get(s, "Sequence") != NULL;
    }
    return PLMM_OK;
}

/* --- the whole --- */

static plmm_status read_unknown(plmm_tokenizer *t, plmm_json_slice model, plmm_error *err)
{
    char unk[PLMM_TOKENIZER_TOKEN_MAX + 1];
    plmm_json_slice v = plmm_json_slice_get(model, "unk_token");
    if (plmm_json_slice_type(v) == PLMM_JSON_NULL) {
        return PLMM_OK;
    }
    if (plmm_json_slice_text(v, unk, sizeof unk) == SIZE_MAX) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "model.unk_token is no text of at most %d bytes",
                         (int)PLMM_TOKENIZER_TOKEN_MAX);
    }
    t->unk = plmm_tokenizer_find(t, unk);
    return PLMM_OK;
}

static plmm_status read_model(plmm_tokenizer *t, plmm_json_slice model, plmm_error *err)
{
    static const char *const refused[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix", NULL};
    PLMM_TRY(refuse(model, "model", refused, err));
    PLMM_TRY(flag(model, "byte_fallback", &t->byte_fallback, err));
    PLMM_TRY(flag(model, "fuse_unk", &t->fuse_unk, err));
    PLMM_TRY(flag(model, "ignore_merges", &t->ignore_merges, err));
    if (t->ignore_merges && t->style != STYLE_BYTES) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "model.ignore_merges is supported for byte-level tokenizers only");
    }
    PLMM_TRY(read_vocab(t, plmm_json_slice_get(model, "vocab"), err));
    PLMM_TRY(read_merges(t, plmm_json_slice_get(model, "merges"), err));
    PLMM_TRY(read_unknown(t, model, err));
    return tokenizer_add_words(t, err);
}

/* One of the small parts, as a tree. */
static plmm_status read_part(plmm_tokenizer *t, plmm_json_slice root, const char *name,
                             plmm_status (*read)(plmm_tokenizer *, const plmm_json *, unsigned,
                                                 plmm_error *),
                             plmm_error *err)
{
    enum { NODES = 4096 };
    plmm_json *part;
    PLMM_TRY(plmm_json_slice_tree(plmm_json_slice_get(root, name), name, NODES, &part, err));
    plmm_status rc = read(t, part, 0, err);
    plmm_json_free(part);
    return rc;
}

static plmm_status read_parts(plmm_tokenizer *t, plmm_json_slice root, plmm_error *err)
{
    PLMM_TRY(read_part(t, root, "pre_tokenizer", read_pre, err));
    PLMM_TRY(read_model(t, plmm_json_slice_get(root, "model"), err));
    PLMM_TRY(read_part(t, root, "normalizer", read_normal, err));
    PLMM_TRY(read_all_added(t, plmm_json_slice_get(root, "added_tokens"), err));
    PLMM_TRY(read_part(t, root, "decoder", read_decoder, err));
    PLMM_TRY(read_part(t, root, "post_processor", read_template, err));
    return tokenizer_finish(t, err);
}

static plmm_status need(plmm_json_slice node, const char *where, plmm_json_type type,
                        plmm_error *err)
{
    return plmm_json_slice_type(node) == type
               ? PLMM_OK
               : plmm_fail(err, PLMM_ERR_FORMAT, "%s is not %s", where,
                           type == PLMM_JSON_OBJECT ? "an object" : "an array");
}

static plmm_status read_root(plmm_json_slice root, plmm_tokenizer **out, plmm_error *err)
{
    char buf[48];
    plmm_json_slice model = plmm_json_slice_get(root, "model");
    PLMM_TRY(need(model, "model", PLMM_JSON_OBJECT, err));
    plmm_json_slice type = plmm_json_slice_get(model, "type");
    if (plmm_json_slice_type(type) == PLMM_JSON_STRING && !plmm_json_slice_is(type, "BPE") &&
        !plmm_json_slice_is(type, "")) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "model.type is %s, only \"BPE\" is supported",
                         quote(type, buf));
    }
    plmm_json_slice vocab = plmm_json_slice_get(model, "vocab");
    plmm_json_slice merges = plmm_json_slice_get(model, "merges");
    plmm_json_slice added = plmm_json_slice_get(root, "added_tokens");
    PLMM_TRY(need(vocab, "model.vocab", PLMM_JSON_OBJECT, err));
    PLMM_TRY(need(merges, "model.merges", PLMM_JSON_ARRAY, err));
    if (plmm_json_slice_type(added) != PLMM_JSON_NULL) {
        PLMM_TRY(need(added, "added_tokens", PLMM_JSON_ARRAY, err));
    }
    table_sizes z;
    plmm_tokenizer *t;
    PLMM_TRY(survey(vocab, merges, added, &z, err));
    z.merges += z.merges == 0; /* reserves a table in any case */
    PLMM_TRY(tokenizer_new(STYLE_SENTENCE, &z, &t, err));
    plmm_status rc = read_parts(t, root, err);
    if (rc != PLMM_OK) {
        plmm_tokenizer_free(t);
        return rc;
    }
    *out = t;
    return PLMM_OK;
}

plmm_status tokenizer_read_json(const char *json, size_t len, const char *name,
                                plmm_tokenizer **out, plmm_error *err)
{
    plmm_json_slice root;
    PLMM_TRY(plmm_json_check(json, len, name, NULL, &root, err));
    plmm_status rc = read_root(root, out, err);
    return rc == PLMM_OK ? rc : plmm_fail_in(err, rc, "cannot use tokenizer %s", name);
}
