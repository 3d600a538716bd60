/* number_writer.h -- float32 numbers into a file, rounded to a narrower type on the way. */
#ifndef PLMM_NN_NUMBER_WRITER_H
#define PLMM_NN_NUMBER_WRITER_H

#include "plmm/file.h"
#include "plmm/safetensors.h"

/* Set file and dtype, leave the rest 0. */
typedef struct plmm__numbers {
    plmm_file_writer *file;
    plmm_dtype dtype; /* not PLMM_DTYPE_OTHER */
    size_t used;
    uint8_t buf[16384];
} plmm__numbers;

size_t plmm__number_bytes(plmm_dtype dtype);

/* Nearest, ties to even. PLMM_ERR_RANGE naming the tensor when a finite value does not fit f16;
 * PLMM_ERR_IO. */
plmm_status plmm__numbers_put(plmm__numbers *w, const char *name, const float *x, size_t n,
                              plmm_error *err) PLMM_NODISCARD;

/* Zero bytes. */
plmm_status plmm__numbers_pad(plmm__numbers *w, size_t n, plmm_error *err) PLMM_NODISCARD;

/* To be called before the file is committed. */
plmm_status plmm__numbers_flush(plmm__numbers *w, plmm_error *err) PLMM_NODISCARD;

#endif
