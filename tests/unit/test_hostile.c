/* Model files whose headers lie: each is refused, and none costs more memory than its own length and
 * 16 MiB: a child that reads it may not map more than that. */
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/checkpoint.h"
#include "plmm/file.h"
#include "plmm/json.h"
#include "plmm/peft.h"
#include "test.h"

enum { MIB = 1 << 20, SIZE = 30 * MIB };

static char dir[] = "/tmp/plmm-test-hostile-XXXXXX";
static plmm_text text; /* the file that is being made */

static void must(plmm_status rc, const plmm_error *err)
{
    if (rc != PLMM_OK) {
        (void)fprintf(stderr, "%s\n", err->msg);
        exit(EXIT_FAILURE);
    }
}

static void add(const void *bytes, size_t n)
{
    plmm_error err;
    must(plmm_text_sink(&text, bytes, n, &err), &err);
}

static void add_text(const char *s)
{
    add(s, strlen(s));
}

static void add_u32(uint32_t v)
{
    uint8_t b[4];
    plmm_store_le32(b, v);
    add(b, sizeof b);
}

static void add_u64(uint64_t v)
{
    uint8_t b[8];
    plmm_store_le64(b, v);
    add(b, sizeof b);
}

/* Writes what was added as dir/name and begins anew. */
static void finish(const char *name)
{
    char path[PLMM_PATH_MAX];
    plmm_error err;
    must(plmm_path_join(path, sizeof path, dir, name, &err), &err);
    must(plmm_file_write(path, text.text, text.len, PLMM_MODE_PUBLIC, &err), &err);
    plmm_text_free(&text);
}

/* The header that was added becomes a safetensors file with `data` bytes of zeros after it. */
static void finish_safetensors(const char *name, size_t data)
{
    plmm_text header = text;
    static const char zeros[4096];
    text = (plmm_text){0};
    add_u64(header.len);
    add(header.text, header.len);
    for (size_t n; data > 0; data -= n) {
        n = data < sizeof zeros ? data : sizeof zeros;
        add(zeros, n);
    }
    plmm_text_free(&header);
    finish(name);
}

/* --- a child with little memory --- */

static size_t mapped(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    if (f == NULL || fscanf(f, "%lu", &pages) != 1) {
        pages = 0;
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t length(const char *name)
{
    char path[PLMM_PATH_MAX];
    plmm_map map = {NULL, 0};
    plmm_error err;
    must(plmm_path_join(path, sizeof path, dir, name, &err), &err);
    if (!plmm_path_exists(path)) {
        return 0;
    }
    must(plmm_file_map(path, &map, &err), &err);
    size_t n = map.len;
    plmm_file_unmap(&map);
    return n;
}

typedef plmm_status (*load_fn)(plmm_error *err);

/* Exit status of the child: 0 when the file was refused for what is wrong with it. */
static int child(load_fn load, size_t allowance)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
    struct rlimit r = {.rlim_cur = mapped() + allowance, .rlim_max = RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &r) != 0) {
        return 4;
    }
#else
    (void)allowance;
    (void)mapped;
#endif
    plmm_error err = {0};
    plmm_status rc = load(&err);
    (void)fprintf(stderr, "  %s\n", err.msg);
    return rc == PLMM_ERR_FORMAT || rc == PLMM_ERR_UNSUPPORTED || rc == PLMM_ERR_RANGE ||
                   rc == PLMM_ERR_CONFIG
               ? 0
               : 3;
}

static void refused(const char *what, load_fn load, size_t bytes)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(child(load, bytes + (size_t)16 * MIB));
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
              WEXITSTATUS(status) == 0,
          "%s: status %x", what, (unsigned)status);
}

/* --- safetensors --- */

static plmm_status open_safetensors(plmm_error *err)
{
    plmm_safetensors *s;
    return plmm_safetensors_open_dir(dir, &s, err);
}

static void safetensors_of(const char *what)
{
    refused(what, open_safetensors,
            length("model.safetensors") + length("model.safetensors.index.json"));
}

static void test_safetensors(void)
{
    add_u64(UINT64_MAX - 7);
    add_text("{}");
    finish("model.safetensors");
    safetensors_of("a header of 2^64 bytes");
    for (add_text("{\"a\":["); text.len < SIZE;) {
        add_text("[],");
    }
    add_text("[]]}");
    finish_safetensors("model.safetensors", 0);
    safetensors_of("ten million values");
    for (add_text("{\"a\":"); text.len < SIZE;) {
        add_text("[");
    }
    finish_safetensors("model.safetensors", 0);
    safetensors_of("depth");
    add_text("{");
    for (unsigned i = 0; text.len < SIZE; i++) {
        char row[128];
        (void)snprintf(row, sizeof row,
                       "%s\"%07x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                       i == 0 ? "" : ",", i);
        add_text(row);
    }
    add_text("}");
    finish_safetensors("model.safetensors", 0);
    safetensors_of("half a million tensors");
    add_text("{");
    for (unsigned i = 0; i + 1 < PLMM_ST_TENSORS_MAX; i++) {
        char row[128];
        (void)snprintf(row, sizeof row,
                       "%s\"%05x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                       i == 0 ? "" : ",", i);
        add_text(row);
    }
    add_text(",\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,5]}}");
    finish_safetensors("model.safetensors", 5);
    safetensors_of("as many tensors as are read");
    plmm_error err;
    char path[PLMM_PATH_MAX];
    must(plmm_path_join(path, sizeof path, dir, "model.safetensors", &err), &err);
    must(plmm_path_remove(path, &err), &err);
    for (add_text("{\"weight_map\":{"); text.len < SIZE;) {
        add_text("\"a\":\"b\",");
    }
    add_text("\"a\":\"b\"}}");
    finish("model.safetensors.index.json");
    safetensors_of("an index of millions of tensors");
    must(plmm_path_join(path, sizeof path, dir, "model.safetensors.index.json", &err), &err);
    must(plmm_path_remove(path, &err), &err);
}

/* --- models --- */

static plmm_status load_model(plmm_error *err)
{
    plmm_model *m;
    return plmm_checkpoint_load(dir, &m, NULL, err);
}

static void model_of(const char *what)
{
    refused(what, load_model, length("model.safetensors") + length("config.json"));
}

#define CONFIG(dim, layers, vocab)                                                                 \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":" dim                               \
    ",\"num_hidden_layers\":" layers                                                               \
    ",\"num_attention_heads\":64,\"intermediate_size\":64,\"vocab_size\":" vocab "}"

static void test_models(void)
{
    for (add_text("{\"a\":["); text.len < MIB - 10;) {
        add_text("[],");
    }
    add_text("[]]}");
    finish("config.json");
    model_of("a configuration of values");
    add_text(CONFIG("65536", "1024", "1048576"));
    finish("config.json");
    add_text("{\"lm_head.weight\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]}}");
    finish_safetensors("model.safetensors", 4);
    model_of("a configuration of a trillion parameters");
    /* as many numbers as it says, but in one tensor of another shape */
    add_text(CONFIG("128", "1", "65536"));
    finish("config.json");
    add_text("{\"model.embed_tokens.weight\":{\"dtype\":\"F16\",\"shape\":[20000000],"
             "\"data_offsets\":[0,40000000]}}");
    finish_safetensors("model.safetensors", 40000000);
    model_of("enough numbers in the wrong place");
}

/* A sound model of a million positions costs no more for that. */
static plmm_status load_long(plmm_error *err)
{
    PLMM_TRY(load_model(err));
    return plmm_fail(err, PLMM_ERR_FORMAT, "loaded");
}

static void test_long(void)
{
    plmm_model_config c = {.dim = 2048,
                           .layers = 1,
                           .heads = 2,
                           .kv_heads = 1,
                           .head_dim = 1024,
                           .hidden = 1,
                           .vocab = 2,
                           .context = 1048576,
                           .rope_theta = 1e4f,
                           .tied = true,
                           .bos = -1,
                           .eos = -1,
                           .pad = -1};
    plmm_model *m = NULL;
    plmm_error err;
    must(plmm_model_new(&c, &m, &err), &err);
    must(plmm_checkpoint_save(dir, m, PLMM_F32, NULL, &err), &err);
    size_t bytes = 2 * plmm_model_count(m) * sizeof(float); /* weights and panels */
    plmm_model_free(m);
    refused("a long context", load_long, bytes + length("model.safetensors"));
}

/* --- adapters --- */

static plmm_status load_adapter(plmm_error *err)
{
    static const plmm_model_config cfg = {.dim = 4096,
                                          .layers = 64,
                                          .heads = 32,
                                          .kv_heads = 32,
                                          .head_dim = 128,
                                          .hidden = 16384,
                                          .vocab = 9,
                                          .context = 9,
                                          .rope_theta = 1e4f};
    plmm_adapter *a;
    return plmm_peft_load(dir, &cfg, &a, err);
}

static void test_adapters(void)
{
    add_text("{\"r\":256,\"target_modules\":\"all-linear\"}");
    finish("adapter_config.json");
    add_text("{}");
    finish_safetensors("adapter_model.safetensors", 0);
    refused("rank 256 of nothing", load_adapter, length("adapter_model.safetensors"));
    for (add_text("{\"a\":["); text.len < MIB - 10;) {
        add_text("{},");
    }
    add_text("{}]}");
    finish("adapter_config.json");
    refused("an adapter's configuration of values", load_adapter, length("adapter_config.json"));
}

/* --- GGUF and llama2.c --- */

static plmm_status load_file(plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_model *m;
    PLMM_TRY(plmm_path_join(path, sizeof path, dir, "x.gguf", err));
    return plmm_checkpoint_load(path, &m, NULL, err);
}

static void file_of(const char *what)
{
    finish("x.gguf");
    refused(what, load_file, length("x.gguf"));
}

static void gguf(uint64_t tensors, uint64_t keys)
{
    add_text("GGUF");
    add_u32(3);
    add_u64(tensors);
    add_u64(keys);
}

static void test_files(void)
{
    gguf(1000000000, 1000000000);
    file_of("a billion tensors");
    for (gguf(0, 65536); text.len < SIZE;) {
        add_u64(1);
        add_text("k");
        add_u32(4);
        add_u32(0);
    }
    file_of("as many keys as are read");
    for (gguf(65536, 0); text.len < SIZE;) {
        add_u64(1);
        add_text("t");
        add_u32(1);
        add_u64(1);
        add_u32(0);
        add_u64(0);
    }
    file_of("as many tensors as are read");
    gguf(0, 1);
    add_u64(1);
    add_text("k");
    add_u32(9);
    add_u32(8);
    add_u64(UINT64_MAX);
    while (text.len < SIZE) {
        add_u64(0);
    }
    file_of("an array of texts without end");
    for (uint32_t i = 0; i < 7; i++) {
        add_u32(i == 5 ? 1048576 : i == 3 || i == 4 ? 16 : 1024); /* heads 16 */
    }
    file_of("llama2.c's header of billions");
}

int main(void)
{
    plmm_error err;
#if defined(__GLIBC__)
    (void)mallopt(M_MMAP_THRESHOLD, 65536); /* so that nothing freed here serves a child */
#endif
    CHECK(mkdtemp(dir) != NULL, "%s", dir);
    test_safetensors();
    test_models();
    test_long();
    test_adapters();
    test_files();
    must(plmm_path_remove(dir, &err), &err);
    return plmm_test_end();
}
