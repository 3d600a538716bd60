/* base/core: statuses, allocation, bytes, digits, the seeded generator. */
#include "plmm/alloc.h"
#include "plmm/bytes.h"
#include "plmm/hex.h"
#include "plmm/rng.h"
#include "plmm/status.h"
#include "test.h"

static void test_status(void)
{
    plmm_error err = {0};
    CHECK(plmm_fail(&err, PLMM_ERR_RANGE, "k is %d", 7) == PLMM_ERR_RANGE, "code is returned");
    CHECK(plmm_fail_in(&err, err.code, "cannot read %s", "x") == PLMM_ERR_RANGE, "code is kept");
    CHECK(strcmp(err.msg, "cannot read x: k is 7") == 0, "got '%s'", err.msg);
    CHECK(plmm_fail(NULL, PLMM_ERR_IO, "x") == PLMM_ERR_IO, "err may be NULL");
    CHECK(plmm_status_exit(PLMM_ERR_CONFIG) == 2 && plmm_status_exit(PLMM_ERR_IO) == 1, "exits");
    CHECK(strcmp(plmm_status_str((plmm_status)39), "unknown status") == 0, "outside the map");
}

static void test_alloc(void)
{
    uint8_t *p = plmm_alloc(100, 1);
    CHECK(p != NULL && (uintptr_t)p % PLMM_ALIGN == 0 && p[99] == 0, "zeroed and aligned");
    p[99] = 7;
    p = plmm_grow(p, 100, 200, 1);
    CHECK(p != NULL && p[99] == 7 && p[199] == 0, "grown, kept and zeroed");
    CHECK(plmm_alloc(SIZE_MAX / 2, 4) == NULL, "the product is checked");
    CHECK(plmm_alloc_unset(SIZE_MAX / 2, 4) == NULL && plmm_alloc_unset(SIZE_MAX, 1) == NULL,
          "too");
    plmm_alloc_fail_at(1);
    void *q = plmm_alloc(1, 1);
    CHECK(q != NULL && plmm_alloc(1, 1) == NULL && plmm_alloc(1, 1) == NULL, "fails from the k-th");
    plmm_alloc_fail_at(-1);
    plmm_free(q);
    plmm_free(p);
    plmm_free(NULL);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
}

static void test_bytes(void)
{
    uint8_t b[8];
    plmm_store_le64(b, UINT64_C(0x0123456789abcdef));
    CHECK(b[0] == 0xef && plmm_load_le64(b) == UINT64_C(0x0123456789abcdef), "le64");
    CHECK(plmm_load_le32(b) == 0x89abcdefu && plmm_load_be32(b) == 0xefcdab89u, "32");
    plmm_store_be32(b, 1);
    CHECK(b[3] == 1 && b[0] == 0, "be32");
}

static void test_hex(void)
{
    const uint8_t bytes[] = {0x00, 0x09, 0xaf, 0xff};
    uint8_t back[4];
    char text[9];
    plmm_error err;
    plmm_hex_write(text, bytes, sizeof bytes);
    CHECK(strcmp(text, "0009afff") == 0, "digits are %s", text);
    CHECK(plmm_hex_read(back, 4, text, "it", &err) == PLMM_OK && memcmp(back, bytes, 4) == 0,
          "digits come back");
    static const char *const bad[] = {"",         "0009aff",  "0009afff0",
                                      "0009afFf", "0009af f", "0009afg0"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        CHECK(plmm_hex_read(back, 4, bad[i], "the key", &err) == PLMM_ERR_FORMAT, "took %s",
              bad[i]);
        CHECK(strcmp(err.msg, "the key is not 8 lower-case hexadecimal digits") == 0, "%s",
              err.msg);
    }
}

static void test_rng(void)
{
    plmm_rng a, b, c;
    plmm_rng_init(&a, 1, 2);
    plmm_rng_init(&b, 1, 2);
    plmm_rng_init(&c, 2, 1);
    /* Reference: a transcription of the authors' xoshiro256starstar.c from state {1, 2, 3, 4}. */
    static const uint64_t want[] = {11520, 0, 1509978240, UINT64_C(1215971899390074240)};
    plmm_rng k = {{1, 2, 3, 4}};
    for (size_t i = 0; i < COUNT(want); i++) {
        uint64_t got = plmm_rng_u64(&k);
        CHECK(got == want[i], "draw %zu is %" PRIu64, i, got);
    }
    CHECK(plmm_rng_u64(&a) == plmm_rng_u64(&b), "same name, same stream");
    CHECK(plmm_rng_u64(&a) != plmm_rng_u64(&c), "other name, other stream");
    double sum = 0, sq = 0;
    uint64_t hist[10] = {0};
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        double z = plmm_rng_normal(&a);
        sum += z;
        sq += z * z;
        hist[plmm_rng_below(&a, 10)]++;
    }
    /* Six standard errors each. */
    CHECK(sum / n < 0.019 && sum / n > -0.019, "mean %g", sum / n);
    CHECK(sq / n < 1.027 && sq / n > 0.973, "variance %g", sq / n);
    for (int i = 0; i < 10; i++) {
        CHECK(hist[i] > 9430 && hist[i] < 10570, "digit %d came %" PRIu64 " times", i, hist[i]);
    }
}

int main(void)
{
    test_status();
    test_alloc();
    test_bytes();
    test_hex();
    test_rng();
    return plmm_test_end();
}
