/* checkpoint_place.h -- where a model lies. */
#ifndef PLMM_NN_CHECKPOINT_PLACE_H
#define PLMM_NN_CHECKPOINT_PLACE_H

#include "plmm/file.h"

typedef struct plmm__place {
    char dir[PLMM_PATH_MAX];  /* of the model, and of its tokenizer */
    char file[PLMM_PATH_MAX]; /* config.json, or the one file */
    bool hf;                  /* a Hugging Face directory */
} plmm__place;

/* PLMM_ERR_NOTFOUND when there is no model at path, or several. */
plmm_status plmm__checkpoint_place(const char *path, plmm__place *out,
                                   plmm_error *err) PLMM_NODISCARD;

#endif
