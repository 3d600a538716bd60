/* client/lexicon: parsing, refusals, scores; and the files that ship. */
#include "plmm/alloc.h"
#include "plmm/lexicon.h"
#include "test.h"

#include <math.h>

static plmm_lexicons *two(void)
{
    plmm_lexicons *l = NULL;
    plmm_error err;
    static const char med[] = "# body\nFever\n pain  2 \nx-ray # hyphen\ncell\n\n";
    static const char it[] = "server\r\ncell\t0.5\nserver 3\n";
    CHECK(plmm_lexicons_new(&l, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_add(l, "medicine", med, sizeof med - 1, "med", &err) == PLMM_OK, "%s",
          err.msg);
    CHECK(plmm_lexicons_add(l, "it", it, sizeof it - 1, "it", &err) == PLMM_OK, "%s", err.msg);
    return l;
}

static void test_score(void)
{
    plmm_lexicons *l = two();
    static const struct {
        const char *text;
        plmm_lexicon_count how;
        uint32_t words;
        double w0, w1;
        int32_t dominant;
    } rows[] = {
        {"", PLMM_LEXICON_DISTINCT, 0, 0, 0, PLMM_DOMAIN_NONE},
        {" ,.!- ' ", PLMM_LEXICON_DISTINCT, 0, 0, 0, PLMM_DOMAIN_NONE},
        {"hello you", PLMM_LEXICON_DISTINCT, 2, 0, 0, PLMM_DOMAIN_NONE},
        {"Fever, FEVER and pain", PLMM_LEXICON_DISTINCT, 4, 3, 0, 0},
        {"Fever, FEVER and pain", PLMM_LEXICON_REPEATS, 4, 4, 0, 0},
        {"an X-ray of the server", PLMM_LEXICON_DISTINCT, 5, 1, 3, 1}, /* the last weight counts */
        {"cell", PLMM_LEXICON_DISTINCT, 1, 1, 0.5, 0},                 /* in both */
        {"fevers painful x ray", PLMM_LEXICON_DISTINCT, 4, 0, 0, PLMM_DOMAIN_NONE}, /* no stems */
        {"\xe2\x80\x9c"
         "pain\xe2\x80\x9d\xe2\x80\x94"
         "cell",
         PLMM_LEXICON_DISTINCT, 2, 3, 0.5, 0},
        {"na\xc3\xafve pain", PLMM_LEXICON_DISTINCT, 2, 2, 0, 0},
        {"-pain- 'fever'", PLMM_LEXICON_DISTINCT, 2, 3, 0, 0},
        {"pain--fever don't", PLMM_LEXICON_DISTINCT, 3, 3, 0, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_lexicon_score s =
            plmm_lexicons_score(l, rows[i].how, rows[i].text, strlen(rows[i].text));
        double n = rows[i].words > 0 ? rows[i].words : 1;
        double dss = (rows[i].w0 + rows[i].w1) / 2 / n;
        CHECK(s.words == rows[i].words, "row %zu: %u words", i, s.words);
        CHECK(s.weight[0] == rows[i].w0 && s.weight[1] == rows[i].w1, "row %zu: %g %g", i,
              s.weight[0], s.weight[1]);
        CHECK(s.dominant == rows[i].dominant, "row %zu: %d", i, s.dominant);
        CHECK(fabs(s.dss - dss) < 1e-15, "row %zu: dss %g", i, s.dss);
    }
    CHECK(strcmp(plmm_lexicons_name(l, 1), "it") == 0 && plmm_lexicons_find(l, "it") == 1, "names");
    CHECK(strcmp(plmm_lexicons_name(l, PLMM_DOMAIN_NONE), "none") == 0, "none");
    plmm_lexicons_free(l);
}

static void test_refusals(void)
{
    plmm_lexicons *l = two();
    static const struct {
        const char *name, *text, *want;
    } rows[] = {
        {"art", "paint brush\n", "t:1: 'brush' is not a weight"},
        {"art", "a\npaint 0\n", "t:2: '0' is not a weight"},
        {"art", "paint 101", "is not a weight"},
        {"art", "paint nan", "is not a weight"},
        {"art", "paint -1", "is not a weight"},
        {"art", "oil,paint", "is not a word"},
        {"art", "-paint", "is not a word"},
        {"art", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "is not a word"},
        {"art", "# nothing\n\n", "no word in the lexicon"},
        {"it", "a", "has a lexicon already"},
        {"", "a", "must have 1 to 31 bytes"},
        {"a-name-that-is-longer-than-thirty-one", "a", "must have 1 to 31 bytes"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_error err = {0};
        plmm_status rc =
            plmm_lexicons_add(l, rows[i].name, rows[i].text, strlen(rows[i].text), "t", &err);
        CHECK(rc == PLMM_ERR_CONFIG && strstr(err.msg, rows[i].want) != NULL, "row %zu: %d '%s'", i,
              rc, err.msg);
        CHECK(plmm_lexicons_count(l) == 2, "row %zu: unchanged", i);
    }
    plmm_lexicon_score s = plmm_lexicons_score(l, PLMM_LEXICON_DISTINCT, "pain paint a", 12);
    CHECK(s.weight[0] == 2 && s.weight[2] == 0, "no word of a refused lexicon stays");
    plmm_lexicons_free(l);
}

static void test_limits(void)
{
    plmm_lexicons *l = NULL;
    plmm_error err;
    CHECK(plmm_lexicons_new(&l, &err) == PLMM_OK, "%s", err.msg);
    plmm_lexicon_score none = plmm_lexicons_score(l, PLMM_LEXICON_DISTINCT, "pain", 4);
    CHECK(none.words == 1 && none.dss == 0 && none.dominant == PLMM_DOMAIN_NONE, "no lexicon");
    size_t cap = (size_t)PLMM_LEXICON_WORDS_MAX * 8 + 16, len = 0;
    char *text = plmm_alloc(cap, 1);
    for (int i = 0; i <= PLMM_LEXICON_WORDS_MAX; i++) {
        len += (size_t)snprintf(text + len, cap - len, "w%d\n", i);
    }
    plmm_status rc = plmm_lexicons_add(l, "big", text, len, "big", &err);
    CHECK(rc == PLMM_ERR_CONFIG && strstr(err.msg, "more than") != NULL, "%d %s", rc, err.msg);
    len = (size_t)(strrchr(text, 'w') - text);
    CHECK(plmm_lexicons_add(l, "big", text, len, "big", &err) == PLMM_OK, "%s", err.msg);
    plmm_lexicon_score s = plmm_lexicons_score(l, PLMM_LEXICON_DISTINCT, text, len);
    CHECK(s.weight[0] == PLMM_LEXICON_WORDS_MAX && s.dss == 1, "each is found: %g", s.weight[0]);
    CHECK(plmm_lexicons_add(l, "one", "more", 4, "one", &err) == PLMM_ERR_CONFIG, "full");
    plmm_free(text);
    plmm_lexicons_free(l);
}

static void test_shipped(void)
{
    plmm_lexicons *l = NULL;
    plmm_error err;
    CHECK(plmm_lexicons_new(&l, &err) == PLMM_OK, "%s", err.msg);
    plmm_status rc = plmm_lexicons_load(l, "client/lexicons", &err);
    CHECK(rc == PLMM_OK, "%s", err.msg);
    static const struct {
        const char *domain, *text;
    } rows[] = {
        {"medicine", "My throat is sore and the doctor prescribed an antibiotic."},
        {"finance", "Should I pay down the mortgage or invest in bonds?"},
        {"it", "The server refuses my password since the last upgrade."},
        {"art", "Which pigments did the fresco painters use?"},
        {"emotion", "I felt so lonely and sad that I cried."},
        {"none", "See you tomorrow at seven then"},
    };
    CHECK(plmm_lexicons_count(l) == 5, "%u", plmm_lexicons_count(l));
    for (size_t i = 0; rc == PLMM_OK && i < COUNT(rows); i++) {
        plmm_lexicon_score s =
            plmm_lexicons_score(l, PLMM_LEXICON_DISTINCT, rows[i].text, strlen(rows[i].text));
        CHECK(strcmp(plmm_lexicons_name(l, s.dominant), rows[i].domain) == 0, "'%s' is %s",
              rows[i].text, plmm_lexicons_name(l, s.dominant));
    }
    plmm_lexicons_free(l);
    CHECK(plmm_lexicons_new(&l, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_lexicons_load(l, "client/nowhere", &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_lexicons_load(l, "client/src", &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    plmm_lexicons_free(l);
}

static void test_oom(void)
{
    for (long k = 0;; k++) {
        plmm_error err = {0};
        plmm_lexicons *l = NULL;
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_lexicons_new(&l, &err);
        rc = rc == PLMM_OK ? plmm_lexicons_add(l, "a", "b", 1, "a", &err) : rc;
        rc = rc == PLMM_OK ? plmm_lexicons_load(l, "client/lexicons", &err) : rc;
        plmm_alloc_fail_at(-1);
        plmm_lexicons_free(l);
        CHECK(plmm_alloc_live() == 0, "k=%ld leaks", k);
        if (rc == PLMM_OK) {
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && err.msg[0] != '\0', "k=%ld: %d %s", k, rc, err.msg);
    }
}

int main(void)
{
    test_score();
    test_refusals();
    test_limits();
    test_shipped();
    test_oom();
    return plmm_test_end();
}
