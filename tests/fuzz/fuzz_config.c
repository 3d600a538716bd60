/* Any bytes as a configuration: refused, or its dump reads back to the same bytes. The first byte
 * 's' tries the rest as a --set instead. */
#include "plmm/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct part {
    char name[6];
    double weight;
} part;

typedef struct sample {
    uint32_t rounds;
    uint64_t seed;
    double gamma;
    bool on;
    char out[8];
    uint32_t method;
    char names[2][4];
    uint32_t names_n;
    uint32_t sizes[2];
    uint32_t sizes_n;
    part parts[2];
    uint32_t parts_n;
} sample;

static const char *const methods[] = {"naive", "ffa", NULL};
static const plmm_config_key part_keys[] = {
    PLMM_CONFIG_TEXT(part, name, "name", "x", "name"),
    PLMM_CONFIG_REAL(part, weight, "weight", "1", 0, 10, "weight"),
};
static const plmm_config_table part_table = {"part", part_keys, 2};
static const plmm_config_key keys[] = {
    PLMM_CONFIG_U32(sample, rounds, "rounds", "1", 0, 9, "rounds"),
    PLMM_CONFIG_U64(sample, seed, "seed", "1", 0, 9e15, "seed"),
    PLMM_CONFIG_REAL(sample, gamma, "s.gamma", "0.5", -1, 1, "gamma"),
    PLMM_CONFIG_BOOL(sample, on, "s.on", "true", "on"),
    PLMM_CONFIG_TEXT(sample, out, "out", "", "out"),
    PLMM_CONFIG_ENUM(sample, method, "method", "ffa", methods, "method"),
    PLMM_CONFIG_TEXTS(sample, names, "names", "", "names"),
    PLMM_CONFIG_U32S(sample, sizes, "sizes", "", 0, 7, "sizes"),
    PLMM_CONFIG_OBJECTS(sample, parts, "parts", "[]", &part_table, "parts"),
};
static const plmm_config_table table = {"sample", keys, 9};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    sample a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    plmm_config_defaults(&table, &a);
    plmm_config_defaults(&table, &b);
    plmm_status rc;
    if (len > 0 && data[0] == 's') {
        char *text = malloc(len);
        if (text == NULL) {
            return 0;
        }
        memcpy(text, data + 1, len - 1);
        text[len - 1] = '\0';
        rc = plmm_config_set(&table, text, &a, NULL);
        free(text);
    } else {
        rc = plmm_config_parse(&table, (const char *)data, len, "fuzz", &a, NULL);
    }
    if (rc != PLMM_OK) {
        PLMM_ASSERT(memcmp(&a, &b, sizeof a) == 0);
        return 0;
    }
    plmm_text t = {0};
    plmm_json_writer w;
    plmm_json_begin(&w, PLMM_JSON_PRETTY, plmm_text_sink, &t);
    plmm_config_dump(&table, &a, &w);
    PLMM_ASSERT(plmm_json_end(&w, NULL) == PLMM_OK);
    PLMM_ASSERT(plmm_config_parse(&table, t.text, t.len, "dump", &b, NULL) == PLMM_OK);
    PLMM_ASSERT(memcmp(&a, &b, sizeof a) == 0);
    plmm_text_free(&t);
    return 0;
}
