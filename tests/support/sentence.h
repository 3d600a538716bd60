/* tests/support/sentence.h -- writes SentencePiece models, small and large, for tests. */
#ifndef PLMM_TEST_SENTENCE_H
#define PLMM_TEST_SENTENCE_H

#include <stdint.h>
#include <string.h>

/* A growing file in a block of the caller. */
typedef struct sentence_file {
    uint8_t *bytes;
    size_t n;
} sentence_file;

/* A piece of fewer than 100 bytes; kind as in sentencepiece_model.proto. */
static inline void sentence_piece(sentence_file *f, const char *s, float score, uint8_t kind)
{
    size_t len = strlen(s);
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    uint8_t *p = f->bytes + f->n;
    *p++ = 0x0A;
    *p++ = (uint8_t)(2 + len + 5 + 2);
    *p++ = 0x0A;
    *p++ = (uint8_t)len;
    memcpy(p, s, len);
    p += len;
    *p++ = 0x15;
    for (unsigned i = 0; i < 4; i++) {
        *p++ = (uint8_t)(bits >> (8 * i));
    }
    *p++ = 0x18;
    *p++ = kind;
    f->n = (size_t)(p - f->bytes);
}

/* trainer_spec.model_type and normalizer_spec: dummy prefix, nothing removed. */
static inline void sentence_specs(sentence_file *f, uint8_t model_type, uint8_t remove_spaces)
{
    const uint8_t tail[] = {0x12, 2, 0x18, model_type, 0x1A, 4, 0x18, 1, 0x20, remove_spaces};
    memcpy(f->bytes + f->n, tail, sizeof tail);
    f->n += sizeof tail;
}

#endif
