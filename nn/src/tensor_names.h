/* tensor_names.h -- the tensors of a model before there is one: what a file must hold, under Hugging
 * Face's and llama.cpp's names, so that files are judged before memory is taken for their weights. */
#ifndef PLMM_NN_TENSOR_NAMES_H
#define PLMM_NN_TENSOR_NAMES_H

#include "plmm/model.h"

typedef struct plmm__named {
    char hf[112], gguf[64];
    size_t rows, cols;
    bool rotated; /* rows are q's or k's: llama.cpp turns neighbouring pairs, we turn halves */
} plmm__named;

/* Number of tensors of a model of this shape, and the i-th, in the order of plmm_model_views. */
size_t plmm__named_count(const plmm_model_config *c);
void plmm__named_at(const plmm_model_config *c, size_t i, plmm__named *out);

/* Parameters of a model of this shape; no overflow within plmm_model_config_check's ranges. */
uint64_t plmm__named_parameters(const plmm_model_config *c);

/* The row, among those of neighbouring pairs, of our row (llama2.c's and llama.cpp's order). */
static inline size_t plmm__pair_row(const plmm_model_config *c, size_t row)
{
    size_t half = c->head_dim / 2, k = row % c->head_dim;
    return row - k + k % half * 2 + k / half;
}

/* llama.cpp's name of the architecture: "llama" or "qwen2". Rows of q and k are in neighbouring
 * pairs for the former only. */
const char *plmm__gguf_architecture(const plmm_model_config *c);

#endif
