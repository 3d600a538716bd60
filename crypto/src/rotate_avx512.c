/* The loops of the rotation, 16 floats at a time. */
#define VL   16
#define PATH plmm__hadamard_avx512
#define NAME "avx512"
#include "rotate_impl.h"
