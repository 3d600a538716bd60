/* The loops of the rotation, 8 floats at a time. */
#define VL   8
#define PATH plmm__hadamard_avx2
#define NAME "avx2"
#include "rotate_impl.h"
