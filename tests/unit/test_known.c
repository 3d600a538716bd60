/* The table of devices that an aggregator has met: it never stands in for a check that would fail. C7. */
#include "plmm/alloc.h"
#include "plmm/known.h"
#include "test.h"

enum { DEVICES = 300 };

static plmm_sign_sk own, registrar_sk;
static plmm_sign_pk own_pk, registrar;

/* Identity and certificate of a device; `turn` gives it another key. */
static plmm_certificate enrol(uint64_t device, uint8_t turn, plmm_sign_sk *sk)
{
    plmm_seed seed = {{turn, (uint8_t)device, (uint8_t)(device >> 8)}};
    plmm_sign_pk pk;
    plmm_certificate c;
    plmm_error err = {0};
    plmm_sign_keypair(&pk, sk, &seed);
    CHECK(plmm_certificate_issue(&c, &registrar_sk, "art", device, &pk, &err) == PLMM_OK, "%s",
          err.msg);
    return c;
}

static plmm_known *table(uint32_t most)
{
    plmm_known *k = NULL;
    plmm_error err = {0};
    CHECK(plmm_known_new(&k, &own, &registrar, "art", most, &err) == PLMM_OK, "%s", err.msg);
    return k;
}

/* The key is the one that the device computes. */
static void meet(plmm_known *k, uint64_t device, uint8_t turn)
{
    plmm_sign_sk sk;
    plmm_key here, there;
    plmm_error err = {0};
    plmm_certificate c = enrol(device, turn, &sk);
    CHECK(plmm_frame_key(&there, &sk, &own_pk, "art", &err) == PLMM_OK, "%s", err.msg);
    for (int again = 0; again < 2; again++) {
        memset(&here, 0, sizeof here);
        CHECK(plmm_known_meet(k, &here, &c, &err) == PLMM_OK && plmm_equal(&here, &there, 32),
              "device %d: %s", (int)device, err.msg);
    }
}

static void test_many(void)
{
    plmm_known *k = table(DEVICES), *small = table(7);
    for (uint64_t d = 1; d <= DEVICES; d++) {
        meet(k, d, 1);
        meet(small, d, 1); /* it is emptied many times */
        meet(small, 1, 1);
    }
    for (uint64_t d = DEVICES; d > 0; d--) {
        meet(k, d, 1);
    }
    plmm_known_free(k);
    plmm_known_free(small);
    plmm_known_free(NULL);
}

/* Who is known is known by its certificate to the octet: an id alone says nothing. */
static void test_false_certificates(void)
{
    plmm_known *k = table(DEVICES);
    plmm_sign_sk sk, mallory_sk;
    plmm_key frames = {{7}};
    plmm_certificate true_one = enrol(5, 1, &sk), mallory = enrol(6, 1, &mallory_sk), c;
    for (int met = 0; met < 2; met++) {
        c = mallory; /* its own, under the other's id */
        c.device = 5;
        CHECK(plmm_known_meet(k, &frames, &c, NULL) == PLMM_ERR_AUTH, "met %d: another id", met);
        c = true_one;
        c.key = mallory.key;
        CHECK(plmm_known_meet(k, &frames, &c, NULL) == PLMM_ERR_AUTH, "met %d: another key", met);
        c = true_one;
        c.signature.b[63] ^= 1;
        CHECK(plmm_known_meet(k, &frames, &c, NULL) == PLMM_ERR_AUTH, "met %d: a bit", met);
        c = true_one;
        c.device = 0;
        CHECK(plmm_known_meet(k, &frames, &c, NULL) == PLMM_ERR_AUTH, "met %d: no id", met);
        CHECK(frames.b[0] == 7, "untouched");
        CHECK(met == 1 || plmm_known_meet(k, &(plmm_key){{0}}, &true_one, NULL) == PLMM_OK, "met");
    }
    meet(k, 5, 2); /* certified again, with another key: the newer counts */
    meet(k, 5, 1);
    meet(k, 6, 1);
    plmm_known_free(k);
}

static void test_of(void)
{
    plmm_known *k = table(1), *none = NULL;
    plmm_error err = {0};
    CHECK(plmm_known_of(k, &own, &registrar, "art"), "its own");
    CHECK(!plmm_known_of(k, &registrar_sk, &registrar, "art") &&
              !plmm_known_of(k, &own, &own_pk, "art") && !plmm_known_of(k, &own, &registrar, "it"),
          "another's");
    CHECK(plmm_known_new(&none, &own, &registrar, "no name", 1, &err) == PLMM_ERR_RANGE &&
              plmm_known_new(&none, &own, &registrar, "art", 0, &err) == PLMM_ERR_RANGE &&
              none == NULL,
          "%s", err.msg);
    plmm_known_free(k);
}

/* Without memory for the table everything is computed, and right. */
static void test_no_memory(void)
{
    plmm_known *k = NULL;
    plmm_error err = {0};
    plmm_sign_sk sk;
    plmm_key frames;
    plmm_certificate c = enrol(9, 1, &sk);
    plmm_alloc_fail_at(0);
    CHECK(plmm_known_new(&k, &own, &registrar, "art", 1, &err) == PLMM_ERR_NOMEM && k == NULL, "%s",
          err.msg);
    plmm_alloc_fail_at(-1);
    k = table(8);
    plmm_alloc_fail_at(0);
    CHECK(plmm_known_meet(k, &frames, &c, &err) == PLMM_OK, "%s", err.msg);
    plmm_alloc_fail_at(-1);
    meet(k, 9, 1);
    plmm_known_free(k);
}

int main(void)
{
    plmm_sign_keypair(&own_pk, &own, &(plmm_seed){{101}});
    plmm_sign_keypair(&registrar, &registrar_sk, &(plmm_seed){{102}});
    test_many();
    test_false_certificates();
    test_of();
    test_no_memory();
    CHECK(plmm_alloc_live() == 0, "%ld blocks leaked", plmm_alloc_live());
    return plmm_test_end();
}
