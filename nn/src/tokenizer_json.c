/* Reader of tokenizer.json (Hugging Face tokenizers). Each part is either understood or refused. */
#include "tokenizer_internal.h"
#include "unicode.h"

#include <stdio.h>
#include <string.h>

#include "plmm/alloc.h"

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
static plmm_status refuse(const plmm_json *node, const char *where, const char *const *keys,
                          plmm_error *err)
{
    for (; *keys != NULL; keys++) {
        const plmm_json *v = plmm_json_get(node, *keys);
        const char *text = plmm_json_text(v);
        bool set = text != NULL ? text[0] != '\0' : !is_null(v);
        if (set && plmm_json_type_of(v) == PLMM_JSON_BOOL) {
            set = plmm_json_true(v);
        }
        if (set) {
            return plmm_fail(err, PLMM_ERR_UNSUPPORTED, "%s.%s is not supported", where, *keys);
        }
    }
    return PLMM_OK;
}

/* --- vocabulary and merges --- */

/* One more than the largest id of vocab and added_tokens. */
static plmm_status count_ids(const plmm_json *root, const plmm_json *vocab, uint32_t *n,
                             plmm_error *err)
{
    double top = -1;
    for (const plmm_json *v = plmm_json_first(vocab); v != NULL; v = plmm_json_next(v)) {
        double id = plmm_json_number(v);
        if (plmm_json_type_of(v) != PLMM_JSON_NUMBER || id < 0 || id >= PLMM_TOKENIZER_VOCAB_MAX ||
            id != (double)(uint32_t)id) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "the vocabulary's token \"%.40s\" has no id in 0..%d",
                             plmm_json_key(v), (int)PLMM_TOKENIZER_VOCAB_MAX - 1);
        }
        top = id > top ? id : top;
    }
    const plmm_json *added = plmm_json_get(root, "added_tokens");
    for (const plmm_json *a = plmm_json_first(added); a != NULL; a = plmm_json_next(a)) {
        uint32_t id;
        PLMM_TRY(
            plmm_json_need_u32(a, "added_tokens", "id", 0, PLMM_TOKENIZER_VOCAB_MAX - 1, &id, err));
        top = id > top ? id : top;
    }
    if (top < 0) {
        return plmm_fail(err, PLMM_ERR_FORMAT, "the vocabulary is empty");
    }
    *n = (uint32_t)top + 1;
    return PLMM_OK;
}

static plmm_status read_vocab(plmm_tokenizer *t, const plmm_json *vocab, plmm_error *err)
{
    for (const plmm_json *v = plmm_json_first(vocab); v != NULL; v = plmm_json_next(v)) {
        const char *content = plmm_json_key(v);
        PLMM_TRY(tokenizer_set(t, (uint32_t)plmm_json_number(v), content, strlen(content),
                               TOKEN_TEXT, true, err));
    }
    return PLMM_OK;
}

/* The two halves of a merge: "a b" or ["a", "b"]. */
static bool halves_of(const plmm_json *m, const char **a, size_t *a_len, const char **b,
                      size_t *b_len)
{
    const char *text = plmm_json_text(m);
    if (text != NULL) {
        const char *space = strchr(text, ' ');
        if (space == NULL) {
            return false;
        }
        *a = text;
        *a_len = (size_t)(space - text);
        *b = space + 1;
        *b_len = strlen(*b);
        return true;
    }
    const plmm_json *first = plmm_json_first(m);
    const plmm_json *second = first != NULL ? plmm_json_next(first) : NULL;
    *a = plmm_json_text(first);
    *b = plmm_json_text(second);
    if (*a == NULL || *b == NULL || plmm_json_next(second) != NULL) {
        return false;
    }
    *a_len = strlen(*a);
    *b_len = strlen(*b);
    return true;
}

static plmm_status read_merges(plmm_tokenizer *t, const plmm_json *merges, plmm_error *err)
{
    uint32_t rank = 0;
    for (const plmm_json *m = plmm_json_first(merges); m != NULL; m = plmm_json_next(m), rank++) {
        const char *a, *b;
        size_t a_len, b_len;
        char both[2 * PLMM_TOKENIZER_TOKEN_MAX];
        if (!halves_of(m, &a, &a_len, &b, &b_len) || a_len > PLMM_TOKENIZER_TOKEN_MAX ||
            b_len > PLMM_TOKENIZER_TOKEN_MAX) {
            return plmm_fail(err, PLMM_ERR_FORMAT, "merge %u is no pair of tokens", rank);
        }
        memcpy(both, a, a_len);
        memcpy(both + a_len, b, b_len);
        int32_t left = tokenizer_lookup(t, a, a_len), right = tokenizer_lookup(t, b, b_len);
        int32_t id = tokenizer_lookup(t, both, a_len + b_len);
        if (left < 0 || right < 0 || id < 0) {
            return plmm_fail(err, PLMM_ERR_FORMAT,
                             "merge %u (\"%.40s\") uses a token that the vocabulary lacks", rank,
                             a);
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
        PLMM_TRY(
            tokenizer_set(t, a->id, content, len, special ? TOKEN_SPECIAL : TOKEN_TEXT, true, err));
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
                 ? plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold the tokens: out of memory")
                 : PLMM_OK;
    }
    plmm_text_free(&normal);
    return rc;
}

static plmm_status read_all_added(plmm_tokenizer *t, const plmm_json *list, plmm_error *err)
{
    size_t n = plmm_json_count(list);
    if (n == 0) {
        return PLMM_OK;
    }
    t->added = plmm_alloc(n, sizeof *t->added);
    if (t->added == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %zu added tokens", n);
    }
    for (const plmm_json *a = plmm_json_first(list); a != NULL; a = plmm_json_next(a)) {
        PLMM_TRY(read_added(t, a, &t->added[t->n_added], err));
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
static void read_template(plmm_tokenizer *t, const plmm_json *node)
{
    if (is_type(node, "Sequence")) {
        const plmm_json *list = plmm_json_get(node, "processors");
        for (const plmm_json *s = plmm_json_first(list); s != NULL; s = plmm_json_next(s)) {
            if (!is_type(s, "Sequence")) {
                read_template(t, s);
            }
        }
        return;
    }
    if (!is_type(node, "TemplateProcessing")) {
        return;
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
}

/* --- the whole --- */

static plmm_status read_model(plmm_tokenizer *t, const plmm_json *model, plmm_error *err)
{
    static const char *const refused[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix", NULL};
    const char *unk = NULL;
    PLMM_TRY(refuse(model, "model", refused, err));
    PLMM_TRY(plmm_json_may_bool(model, "model", "byte_fallback", &t->byte_fallback, err));
    PLMM_TRY(plmm_json_may_bool(model, "model", "fuse_unk", &t->fuse_unk, err));
    PLMM_TRY(plmm_json_may_bool(model, "model", "ignore_merges", &t->ignore_merges, err));
    PLMM_TRY(plmm_json_may_text(model, "model", "unk_token", PLMM_TOKENIZER_TOKEN_MAX, &unk, err));
    if (t->ignore_merges && t->style != STYLE_BYTES) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "model.ignore_merges is supported for byte-level tokenizers only");
    }
    PLMM_TRY(read_vocab(t, plmm_json_get(model, "vocab"), err));
    PLMM_TRY(read_merges(t, plmm_json_get(model, "merges"), err));
    if (unk != NULL) {
        t->unk = plmm_tokenizer_find(t, unk);
    }
    return PLMM_OK;
}

static plmm_status read_rest(plmm_tokenizer *t, const plmm_json *root, plmm_error *err)
{
    PLMM_TRY(read_model(t, plmm_json_get(root, "model"), err));
    PLMM_TRY(read_normal(t, plmm_json_get(root, "normalizer"), 0, err));
    PLMM_TRY(read_all_added(t, plmm_json_get(root, "added_tokens"), err));
    PLMM_TRY(read_decoder(t, plmm_json_get(root, "decoder"), 0, err));
    read_template(t, plmm_json_get(root, "post_processor"));
    return tokenizer_finish(t, err);
}

static plmm_status read_root(const plmm_json *root, plmm_tokenizer **out, plmm_error *err)
{
    const plmm_json *model, *vocab, *merges, *added = NULL;
    PLMM_TRY(plmm_json_need_node(root, "tokenizer", "model", PLMM_JSON_OBJECT, &model, err));
    if (!is_type(model, "BPE") && !is_type(model, "")) {
        return plmm_fail(err, PLMM_ERR_UNSUPPORTED,
                         "model.type is \"%.40s\", only \"BPE\" is supported", type_of(model));
    }
    PLMM_TRY(plmm_json_need_node(model, "model", "vocab", PLMM_JSON_OBJECT, &vocab, err));
    PLMM_TRY(plmm_json_need_node(model, "model", "merges", PLMM_JSON_ARRAY, &merges, err));
    PLMM_TRY(plmm_json_may_node(root, "tokenizer", "added_tokens", PLMM_JSON_ARRAY, &added, err));
    uint32_t n = 0;
    PLMM_TRY(count_ids(root, vocab, &n, err));
    plmm_tokenizer *t = tokenizer_alloc(STYLE_SENTENCE, n, plmm_json_count(merges));
    if (t == NULL) {
        return plmm_fail(err, PLMM_ERR_NOMEM, "cannot hold %u tokens: out of memory", n);
    }
    plmm_status rc = read_pre(t, plmm_json_get(root, "pre_tokenizer"), 0, err);
    if (rc == PLMM_OK) {
        rc = read_rest(t, root, err);
    }
    if (rc != PLMM_OK) {
        plmm_tokenizer_free(t);
        return rc;
    }
    *out = t;
    return PLMM_OK;
}

plmm_status plmm_tokenizer_parse_json(const char *json, size_t len, const char *name,
                                      plmm_tokenizer **out, plmm_error *err)
{
    plmm_json *root;
    plmm_tokenizer *t = NULL;
    PLMM_TRY(plmm_json_parse(json, len, name, NULL, &root, err));
    plmm_status rc = read_root(root, &t, err);
    plmm_json_free(root);
    if (rc == PLMM_OK) {
        rc = tokenizer_keep_source(t, json, len, "tokenizer.json", err);
    }
    if (rc != PLMM_OK) {
        plmm_tokenizer_free(t);
        return plmm_fail_in(err, rc, "cannot use tokenizer %s", name);
    }
    *out = t;
    return PLMM_OK;
}
