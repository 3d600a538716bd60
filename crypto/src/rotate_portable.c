/* The loops of the rotation, 4 floats at a time. */
#define VL   4
#define PATH plmm__hadamard_portable
#define NAME "portable"
#include "rotate_impl.h"
