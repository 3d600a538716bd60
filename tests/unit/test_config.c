/* base/json: one table gives parsing, overrides, printing and dumping. */
#include "plmm/alloc.h"
#include "plmm/config.h"
#include "test.h"

typedef struct expert {
    char domain[8];
    double weight;
} expert;

typedef struct sample {
    uint32_t rounds;
    uint64_t seed;
    double gamma, delta;
    bool verbose;
    char out[16];
    uint32_t method;
    char domains[3][8];
    uint32_t domains_n;
    double rates[2];
    uint32_t rates_n;
    uint32_t sizes[4];
    uint32_t sizes_n;
    expert experts[2];
    uint32_t experts_n;
} sample;

static const char *const methods[] = {"naive", "ffa", "alternate", NULL};

static const plmm_config_key expert_keys[] = {
    PLMM_CONFIG_TEXT(expert, domain, "domain", "it", "name of the domain"),
    PLMM_CONFIG_REAL(expert, weight, "weight", "1", 0, 10, "its weight"),
};
static const plmm_config_table expert_table = {"expert", expert_keys, COUNT(expert_keys)};

static const plmm_config_key keys[] = {
    PLMM_CONFIG_U32(sample, rounds, "rounds", "10", 1, 1000, "rounds to run"),
    PLMM_CONFIG_U64(sample, seed, "seed", "1", 0, 9007199254740992.0, "where randomness starts"),
    PLMM_CONFIG_REAL(sample, gamma, "secagg.gamma", "0.1", 0, 0.5, "share of corrupt devices"),
    PLMM_CONFIG_REAL(sample, delta, "secagg.drop.delta", "0.2", 0, 0.5, "share of dropouts"),
    PLMM_CONFIG_BOOL(sample, verbose, "verbose", "false", "say more"),
    PLMM_CONFIG_TEXT(sample, out, "out", "", "directory"),
    PLMM_CONFIG_ENUM(sample, method, "method", "alternate", methods, "how to merge"),
    PLMM_CONFIG_TEXTS(sample, domains, "domains", "it,art", "domains"),
    PLMM_CONFIG_REALS(sample, rates, "rates", "[]", 0, 1, "rates"),
    PLMM_CONFIG_U32S(sample, sizes, "sizes", "1,2", 0, 9, "sizes"),
    PLMM_CONFIG_OBJECTS(sample, experts, "experts", "[{}]", &expert_table, "experts"),
};
static const plmm_config_table table = {"sample", keys, COUNT(keys)};

static char *dump(const sample *s)
{
    plmm_text t = {0};
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_COMPACT, plmm_text_sink, &t);
    plmm_config_dump(&table, s, &w);
    CHECK(plmm_json_end(&w, NULL) == PLMM_OK, "dump");
    return t.text;
}

static const char *const default_dump =
    "{\"rounds\":10,\"seed\":1,\"secagg\":{\"gamma\":0.1,\"drop\":{\"delta\":0.2}},"
    "\"verbose\":false,\"out\":\"\",\"method\":\"alternate\",\"domains\":[\"it\",\"art\"],"
    "\"rates\":[],\"sizes\":[1,2],\"experts\":[{\"domain\":\"it\",\"weight\":1}]}";

static void test_defaults(void)
{
    sample s = {0};
    plmm_config_defaults(&table, &s);
    char *got = dump(&s);
    CHECK(strcmp(got, default_dump) == 0, "got %s", got);
    sample back = {0};
    plmm_error err = {0};
    plmm_config_defaults(&table, &back);
    CHECK(plmm_config_parse(&table, got, strlen(got), "f", &back, &err) == PLMM_OK, "%s", err.msg);
    CHECK(memcmp(&s, &back, sizeof s) == 0, "a dump reads back");
    plmm_free(got);
}

static void test_parse(void)
{
    static const char text[] =
        "{\"secagg\": {\"drop\": {\"delta\": 0.3}}, \"method\": \"ffa\", \"rates\": [0.5, 1],"
        "\"domains\": [\"tax\"], \"experts\": [{}, {\"domain\": \"art\", \"weight\": 2}]}";
    sample s = {0};
    plmm_error err = {0};
    plmm_config_defaults(&table, &s);
    CHECK(plmm_config_parse(&table, text, strlen(text), "f", &s, &err) == PLMM_OK, "%s", err.msg);
    CHECK(s.delta == 0.3 && s.gamma == 0.1 && s.method == 1, "values");
    CHECK(s.domains_n == 1 && strcmp(s.domains[0], "tax") == 0 && s.domains[1][0] == 0, "texts");
    CHECK(s.rates_n == 2 && s.rates[1] == 1, "reals");
    CHECK(s.experts_n == 2 && s.experts[0].weight == 1 && s.experts[1].weight == 2, "objects");
}

static void test_refusals(void)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"{\"secagg\": {\"gama\": 0.1}}", "f: secagg.gama is not a key, did you mean secagg.gamma"},
        {"{\"xyzzy\": 1}", "f: xyzzy is not a key; --print-config lists those there are"},
        {"{\"rounds\": 0}", "f: rounds is 0, must be an integer in 1..1000"},
        {"{\"rounds\": \"7\"}", "f: rounds is \"7\", must be an integer in 1..1000"},
        {"{\"rounds\": 1, \"rounds\": 2}", "f: rounds is given twice"},
        {"{\"secagg\": 3}", "f: secagg is 3, must be an object"},
        {"{\"secagg\": {\"gamma\": 0.6}}", "f: secagg.gamma is 0.6, must be a number in 0..0.5"},
        {"{\"method\": \"fedex\"}", "f: method is \"fedex\", must be one of naive, ffa, alternate"},
        {"{\"out\": \"0123456789abcdef\"}",
         "f: out is \"0123456789abcdef\", must be a string of at most 15 bytes"},
        {"{\"domains\": [\"a\", 2]}", "f: domains[1] is 2, must be a string of at most 7 bytes"},
        {"{\"sizes\": [1,2,3,4,5]}",
         "f: sizes is an array of 5, must be a list of at most 4 integers in 0..9"},
        {"{\"rates\": [2]}", "f: rates[0] is 2, must be a number in 0..1"},
        {"{\"experts\": [{\"wieght\": 1}]}",
         "f: experts[0].wieght is not a key, did you mean weight"},
        {"{\"experts\": [{\"weight\": 11}]}",
         "f: experts[0].weight is 11, must be a number in 0..10"},
        {"[]", "f: is an array of 0, must be an object"},
        {"{", "f:1:2: expected a member's name in double quotes"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        sample s = {0}, before;
        plmm_error err = {0};
        plmm_config_defaults(&table, &s);
        before = s;
        CHECK(plmm_config_parse(&table, rows[i].text, strlen(rows[i].text), "f", &s, &err) !=
                  PLMM_OK,
              "row %zu", i);
        CHECK(strcmp(err.msg, rows[i].message) == 0, "row %zu: got '%s'", i, err.msg);
        CHECK(memcmp(&s, &before, sizeof s) == 0, "row %zu changed the configuration", i);
    }
}

static void test_set(void)
{
    static const struct {
        const char *text, *message; /* NULL: accepted */
    } rows[] = {
        {"rounds=12", NULL},
        {"out=a=b", NULL},
        {"out=", NULL},
        {"method=naive", NULL},
        {"domains=a,b,c", NULL},
        {"domains=", NULL},
        {"sizes=[3]", NULL},
        {"sizes=3,4", NULL},
        {"verbose=true", NULL},
        {"experts=[{\"domain\":\"law\"}]", NULL},
        {"rounds", "--set rounds: expected key=value"},
        {"round=1", "--set: round is not a key, did you mean rounds"},
        {"rounds=ten", "--set: rounds is \"ten\", must be an integer in 1..1000"},
        {"rounds=1001", "--set: rounds is 1001, must be an integer in 1..1000"},
        {"sizes=a", "--set: sizes[0] is \"a\", must be an integer in 0..9"},
        {"verbose=yes", "--set: verbose is \"yes\", must be true or false"},
    };
    sample s = {0};
    plmm_config_defaults(&table, &s);
    for (size_t i = 0; i < COUNT(rows); i++) {
        plmm_error err = {0};
        plmm_status rc = plmm_config_set(&table, rows[i].text, &s, &err);
        CHECK((rc == PLMM_OK) == (rows[i].message == NULL), "%s: %s", rows[i].text, err.msg);
        CHECK(rows[i].message == NULL || strcmp(err.msg, rows[i].message) == 0, "%s: got '%s'",
              rows[i].text, err.msg);
    }
    CHECK(s.rounds == 12 && s.method == 0 && s.domains_n == 0 && s.verbose, "values");
    CHECK(s.sizes_n == 2 && s.sizes[1] == 4, "list");
    CHECK(strcmp(s.experts[0].domain, "law") == 0 && s.experts[0].weight == 1, "objects");
}

static void test_print(void)
{
    sample s = {0};
    plmm_text t = {0};
    plmm_config_defaults(&table, &s);
    CHECK(plmm_config_print(&table, &s, plmm_text_sink, &t, NULL) == PLMM_OK, "print");
    CHECK(strstr(t.text, "secagg.gamma = 0.1\n    share of corrupt devices\n"
                         "    a number in 0..0.5; default 0.1\n") != NULL,
          "got %s", t.text);
    CHECK(strstr(t.text, "experts[].weight\n    its weight\n") != NULL, "got %s", t.text);
    plmm_text_free(&t);
}

static void test_out_of_memory(void)
{
    static const char text[] = "{\"rounds\": 3, \"domains\": [\"tax\"]}";
    sample s = {0}, before;
    plmm_config_defaults(&table, &s);
    before = s;
    for (long k = 0;; k++) {
        plmm_error err = {0};
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_config_parse(&table, text, strlen(text), "f", &s, &err);
        plmm_alloc_fail_at(-1);
        if (rc == PLMM_OK) {
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && memcmp(&s, &before, sizeof s) == 0, "k=%ld", k);
    }
    CHECK(s.rounds == 3, "it worked at last");
}

int main(void)
{
    test_defaults();
    test_parse();
    test_refusals();
    test_set();
    test_print();
    test_out_of_memory();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
