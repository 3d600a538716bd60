/* aggregator/version and client/expert: published, fetched in chunks, installed; every file
 * damaged. */
#include "plmm/expert.h"
#include "plmm/version.h"

#include "tiny.h"

#include <unistd.h>

static char dir[] = "/dev/shm/plmm-test-version-XXXXXX"; /* memory: flushing is free */
static plmm_sign_sk aggregator_key;
static plmm_anchor anchor;

static void path_of(char out[PLMM_PATH_MAX], const char *a, const char *b)
{
    plmm_error err;
    CHECK(plmm_path_join(out, PLMM_PATH_MAX, a, b, &err) == PLMM_OK, "%s", err.msg);
}

static void keys(void)
{
    plmm_seed a = {{1}}, r = {{2}};
    plmm_sign_sk sk;
    plmm_sign_keypair(&anchor.aggregator, &aggregator_key, &a);
    plmm_sign_keypair(&anchor.registrar, &sk, &r);
    memcpy(anchor.expert, "medicine", 9);
}

static plmm_version_note note(const plmm_model *m, uint64_t round)
{
    plmm_version_note n = {.method = PLMM_METHOD_ALTERNATE,
                           .factor = plmm_method_factor(PLMM_METHOD_ALTERNATE, round),
                           .round = round,
                           .survivors = (uint32_t)round * 3,
                           .base_name = "tiny"};
    plmm_version_base(&n.base, m);
    return n;
}

static bool same_floats(const plmm_adapter *a, const plmm_adapter *b)
{
    return plmm_adapter_count(a) == plmm_adapter_count(b) &&
           memcmp(plmm_adapter_weights(a), plmm_adapter_weights(b),
                  plmm_adapter_count(a) * sizeof(float)) == 0;
}

static void test_publish(const plmm_model *m)
{
    char root[PLMM_PATH_MAX], half[PLMM_PATH_MAX];
    plmm_error err = {0};
    plmm_versions v;
    plmm_manifest one, two, got;
    uint64_t current = 9, found = 0;
    path_of(root, dir, "versions");
    path_of(half, root, ".new-1");
    CHECK(plmm_versions_open(&v, root, "No Name", &err) == PLMM_ERR_RANGE, "%s", err.msg);
    CHECK(plmm_versions_open(&v, root, "medicine", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_version_current(&v, &current, &err) == PLMM_OK && current == 0, "none yet");
    plmm_adapter *a = tiny_adapter(1, 0), *b = tiny_adapter(2, 0.4f), *back = NULL;
    plmm_version_note n = note(m, 0);
    CHECK(plmm_dir_make(half, PLMM_MODE_DIR, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_versions_open(&v, root, "medicine", &err) == PLMM_OK && !plmm_path_exists(half),
          "what a crash left is removed");
    CHECK(plmm_version_publish(&v, &n, a, &aggregator_key, &one, &err) == PLMM_OK, "%s", err.msg);
    CHECK(one.version == 1 && one.files_n == 2 && one.files[0].size > 0, "%u files", one.files_n);
    CHECK(strcmp(one.files[0].name, "adapter_config.json") == 0, "%s", one.files[0].name);
    n = note(m, 4);
    CHECK(plmm_version_publish(&v, &n, b, &aggregator_key, &two, &err) == PLMM_OK, "%s", err.msg);
    plmm_hash h;
    plmm_manifest_hash(&h, &one);
    CHECK(two.version == 2 && plmm_equal(&two.parent, &h, sizeof h) && two.survivors == 12 &&
              two.round == 4,
          "a child of the first");
    CHECK(plmm_version_current(&v, &current, &err) == PLMM_OK && current == 2, "the second");
    /* A restarted aggregator finishes the round again. */
    CHECK(plmm_version_publish(&v, &n, a, &aggregator_key, &got, &err) == PLMM_OK, "%s", err.msg);
    CHECK(got.version == 2 && plmm_version_current(&v, &current, &err) == PLMM_OK && current == 2,
          "once");
    CHECK(plmm_version_load(&v, 2, &tiny_cfg, &back, &err) == PLMM_OK && same_floats(b, back), "%s",
          err.msg);
    plmm_manifest_hash(&h, &two);
    CHECK(plmm_version_find(&v, &h, &found, &err) == PLMM_OK && found == 2, "%s", err.msg);
    h.b[0]++;
    CHECK(plmm_version_find(&v, &h, &found, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_version_verify(&v, 2, &anchor, &got, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_version_point(&v, 1, &err) == PLMM_OK &&
              plmm_version_current(&v, &current, &err) == PLMM_OK && current == 1,
          "%s", err.msg);
    CHECK(plmm_version_point(&v, 7, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(plmm_version_point(&v, 2, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_version_manifest(&v, 0, &got, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    plmm_adapter_free(a);
    plmm_adapter_free(b);
    plmm_adapter_free(back);
}

/* Every octet of every file counts: flip one in each and see it refused by name. */
static void test_damage(void)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors",
                                        "manifest.pb"};
    char root[PLMM_PATH_MAX], folder[PLMM_PATH_MAX], file[PLMM_PATH_MAX];
    plmm_error err = {0};
    plmm_versions v;
    plmm_adapter *a = NULL;
    path_of(root, dir, "versions");
    path_of(folder, root, "v0002");
    CHECK(plmm_versions_open(&v, root, "medicine", &err) == PLMM_OK, "%s", err.msg);
    for (size_t i = 0; i < COUNT(names); i++) {
        uint8_t *data = NULL;
        size_t len = 0;
        path_of(file, folder, names[i]);
        CHECK(plmm_file_read(file, 1 << 20, &data, &len, &err) == PLMM_OK, "%s", err.msg);
        for (size_t at = 0; at < len; at += 1 + len / 40) {
            data[at] ^= 1;
            CHECK(plmm_file_write(file, data, len, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s",
                  err.msg);
            plmm_status rc = plmm_version_verify(&v, 2, &anchor, NULL, &err);
            CHECK(rc != PLMM_OK, "%s: octet %zu", names[i], at);
            CHECK(i == 2 || (rc == PLMM_ERR_FORMAT && strstr(err.msg, names[i]) != NULL), "%s",
                  err.msg);
            CHECK(i == 2 || plmm_version_load(&v, 2, &tiny_cfg, &a, &err) == PLMM_ERR_FORMAT,
                  "not loaded");
            data[at] ^= 1;
        }
        CHECK(plmm_file_write(file, data, len - 1, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s",
              err.msg);
        CHECK(plmm_version_verify(&v, 2, &anchor, NULL, &err) != PLMM_OK, "cut");
        CHECK(plmm_file_write(file, data, len, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
        plmm_free(data);
    }
    CHECK(plmm_version_verify(&v, 2, &anchor, NULL, &err) == PLMM_OK, "whole again: %s", err.msg);
    plmm_anchor other = anchor;
    other.aggregator = anchor.registrar;
    CHECK(plmm_version_verify(&v, 2, &other, NULL, &err) == PLMM_ERR_AUTH, "%s", err.msg);
    path_of(file, root, "current");
    CHECK(plmm_file_write(file, "what", 4, PLMM_MODE_PUBLIC, &err) == PLMM_OK, "%s", err.msg);
    uint64_t current = 0;
    CHECK(plmm_version_current(&v, &current, &err) == PLMM_ERR_FORMAT, "%s", err.msg);
    CHECK(plmm_version_point(&v, 2, &err) == PLMM_OK, "%s", err.msg);
}

/* Copies version `version` into the device's folder, in parts; lie: flips an octet on the way. */
static plmm_status fetch(const plmm_versions *v, const plmm_expert *x, uint64_t version, bool lie,
                         plmm_error *err)
{
    plmm_manifest m;
    uint8_t data[1000];
    PLMM_TRY(plmm_version_manifest(v, version, &m, err));
    PLMM_TRY(plmm_expert_begin(x, err));
    for (uint32_t f = 0; f < m.files_n; f++) {
        for (uint64_t at = 0; at < m.files[f].size; at += sizeof data) {
            uint64_t left = m.files[f].size - at;
            size_t len = left < sizeof data ? (size_t)left : sizeof data;
            plmm_fetch_part part = {.file = f, .offset = at, .data = data, .len = len};
            PLMM_TRY(plmm_version_read(v, &m, f, at, data, len, err));
            data[0] ^= lie && f == 1 ? 1 : 0;
            PLMM_TRY(plmm_expert_write(x, &m, &part, err));
        }
    }
    return plmm_expert_install(x, &m, err);
}

static void test_install(const plmm_model *m)
{
    char root[PLMM_PATH_MAX], from[PLMM_PATH_MAX];
    plmm_error err = {0};
    plmm_versions v;
    plmm_expert x;
    plmm_manifest got;
    plmm_adapter *a = NULL, *b = NULL;
    uint8_t data[4];
    plmm_hash base;
    path_of(from, dir, "versions");
    path_of(root, dir, "device");
    CHECK(plmm_versions_open(&v, from, "medicine", &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_expert_open(&x, root, &anchor, &err) == PLMM_OK, "%s", err.msg);
    plmm_expert_base(&base, m);
    CHECK(plmm_expert_load(&x, 1, m, &base, &a, NULL, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(fetch(&v, &x, 1, false, &err) == PLMM_OK, "%s", err.msg);
    CHECK(fetch(&v, &x, 2, true, &err) == PLMM_ERR_FORMAT, "%s", err.msg);
    CHECK(plmm_expert_verify(&x, 1, &got, &err) == PLMM_OK && got.version == 1,
          "the old one stays: %s", err.msg);
    CHECK(plmm_expert_verify(&x, 2, &got, &err) == PLMM_ERR_NOTFOUND, "%s", err.msg);
    CHECK(fetch(&v, &x, 2, false, &err) == PLMM_OK, "%s", err.msg);
    CHECK(fetch(&v, &x, 2, false, &err) == PLMM_OK, "again: %s", err.msg);
    CHECK(plmm_expert_load(&x, 2, m, &base, &a, &got, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_version_load(&v, 2, &tiny_cfg, &b, &err) == PLMM_OK, "%s", err.msg);
    CHECK(same_floats(a, b), "both sides have the same floats");
    base.b[3] ^= 1;
    plmm_adapter *none = NULL;
    CHECK(plmm_expert_load(&x, 2, m, &base, &none, &got, &err) == PLMM_ERR_STATE && none == NULL,
          "%s", err.msg);
    plmm_fetch_part part = {.file = 0, .offset = got.files[0].size - 3, .data = data, .len = 4};
    CHECK(plmm_expert_write(&x, &got, &part, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    CHECK(plmm_version_read(&v, &got, 0, got.files[0].size - 3, data, 4, &err) == PLMM_ERR_RANGE,
          "%s", err.msg);
    CHECK(plmm_version_read(&v, &got, 9, 0, data, 4, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    got.method = 77;
    CHECK(plmm_expert_install(&x, &got, &err) == PLMM_ERR_RANGE, "%s", err.msg);
    /* Another version 2, signed by the same aggregator. */
    char twin[PLMM_PATH_MAX];
    plmm_versions w;
    path_of(twin, dir, "twin");
    CHECK(plmm_versions_open(&w, twin, "medicine", &err) == PLMM_OK, "%s", err.msg);
    for (uint64_t round = 6; round < 8; round++) {
        plmm_version_note n = note(m, round);
        CHECK(plmm_version_publish(&w, &n, a, &aggregator_key, NULL, &err) == PLMM_OK, "%s",
              err.msg);
    }
    CHECK(fetch(&w, &x, 2, false, &err) == PLMM_ERR_PEER, "%s", err.msg);
    CHECK(plmm_expert_verify(&x, 2, &got, &err) == PLMM_OK && got.round == 4, "the old one stays");
    CHECK(plmm_expert_prune(&x, 2, 0, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_expert_verify(&x, 1, &got, &err) == PLMM_ERR_NOTFOUND &&
              plmm_expert_verify(&x, 2, &got, &err) == PLMM_OK,
          "pruned");
    plmm_adapter_free(a);
    plmm_adapter_free(b);
}

static void test_identities(const plmm_model *m)
{
    plmm_hash a, b, c;
    plmm_error err = {0};
    plmm_model *other = tiny_model(1);
    plmm_version_base(&a, m);
    plmm_expert_base(&b, other);
    CHECK(plmm_equal(&a, &b, sizeof a), "the same weights, the same identity on both sides");
    plmm_model_params(other)[5] += 1e-6f;
    plmm_expert_base(&c, other);
    CHECK(!plmm_equal(&a, &c, sizeof a), "one float differs");
    plmm_adapter *x = tiny_adapter(1, 0);
    CHECK(plmm_version_names(&a, x, PLMM_FACTOR_B, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_expert_names(&b, x, PLMM_FACTOR_B, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_expert_names(&c, x, PLMM_FACTOR_A, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_equal(&a, &b, sizeof a) && !plmm_equal(&a, &c, sizeof a), "names of coordinates");
    plmm_adapter_free(x);
    plmm_model_free(other);
}

static void test_oom(const plmm_model *m)
{
    char root[PLMM_PATH_MAX];
    path_of(root, dir, "oom");
    plmm_adapter *a = tiny_adapter(1, 0.1f);
    long before = plmm_alloc_live();
    for (long k = 0;; k++) {
        plmm_error err = {0};
        plmm_versions v;
        plmm_adapter *b = NULL;
        plmm_version_note n = note(m, 0);
        CHECK(plmm_path_remove(root, &err) == PLMM_OK, "%s", err.msg);
        plmm_alloc_fail_at(k);
        plmm_status rc = plmm_versions_open(&v, root, "medicine", &err);
        rc = rc == PLMM_OK ? plmm_version_publish(&v, &n, a, &aggregator_key, NULL, &err) : rc;
        rc = rc == PLMM_OK ? plmm_version_load(&v, 1, &tiny_cfg, &b, &err) : rc;
        plmm_alloc_fail_at(-1);
        plmm_adapter_free(b);
        CHECK(plmm_alloc_live() == before, "k=%ld leaks", k);
        if (rc == PLMM_OK) {
            break;
        }
        CHECK(rc == PLMM_ERR_NOMEM && err.msg[0] != '\0', "k=%ld: %d %s", k, rc, err.msg);
    }
    plmm_adapter_free(a);
}

int main(void)
{
    plmm_error err;
    CHECK(mkdtemp(dir) != NULL, "no temporary directory");
    keys();
    plmm_model *m = tiny_model(1);
    test_identities(m);
    test_publish(m);
    test_damage();
    test_install(m);
    test_oom(m);
    plmm_model_free(m);
    CHECK(plmm_path_remove(dir, &err) == PLMM_OK, "%s", err.msg);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
    return plmm_test_end();
}
